//! Where a message of HTTP/1.1 begins and ends, and nothing else: the proxy passes on bytes as they are.
//! Source: RFC 9112 §6 (message body length), §7.1 (chunked).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// More than any message of ours has.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What ends a head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A message, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// All of it.
    pub bytes: Vec<u8>,
    /// How many bytes its head has, the empty line included.
    pub head: usize,
    /// Its connection ends with it.
    pub last: bool,
}

/// How long a body is.
enum Length {
    Known(usize),
    Chunked,
    UntilTheEnd,
}

/// Reads message after message from one direction of a connection.
pub struct Reader<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Of a stream.
    pub const fn new(from: R) -> Self {
        Self { from, buffer: Vec::new() }
    }

    /// The next request; none where the asker has ended the connection before one.
    ///
    /// # Errors
    /// Those of the stream, or an end in the middle.
    pub async fn request(&mut self) -> io::Result<Option<Message>> {
        self.message(|head| length_of(head).unwrap_or(Length::Known(0))).await
    }

    /// The next answer, to a request of this method.
    ///
    /// # Errors
    /// As [`Reader::request`].
    pub async fn answer(&mut self, method: &str) -> io::Result<Option<Message>> {
        let is_head = method == "HEAD";
        let of = |head: &str| match status_of(head) {
            Some(100..=199 | 204 | 304) => Length::Known(0),
            _ if is_head => Length::Known(0),
            _ => length_of(head).unwrap_or(Length::UntilTheEnd),
        };
        loop {
            let answer = self.message(of).await?;
            // What comes before the answer is dropped: none of ours waits for it.
            match &answer {
                Some(message) if matches!(status_of(&message.head_text()), Some(100..=199)) => {}
                _ => return Ok(answer),
            }
        }
    }

    async fn message(&mut self, length: impl Fn(&str) -> Length) -> io::Result<Option<Message>> {
        let head = loop {
            if let Some(at) = find(&self.buffer, HEAD_END) {
                break at.saturating_add(HEAD_END.len());
            }
            if !self.more().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut()) };
            }
        };
        let text = String::from_utf8_lossy(self.buffer.get(..head).unwrap_or_default()).into_owned();
        let (all, mut last) = match length(&text) {
            Length::Known(body) => (self.fill(head.saturating_add(body)).await?, false),
            Length::Chunked => (self.chunks(head).await?, false),
            Length::UntilTheEnd => {
                while self.more().await? {}
                (self.buffer.len(), true)
            }
        };
        last |= header(&text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let rest = self.buffer.split_off(all.min(self.buffer.len()));
        let bytes = std::mem::replace(&mut self.buffer, rest);
        Ok(Some(Message { bytes, head, last }))
    }

    /// Reads until there are so many bytes.
    async fn fill(&mut self, all: usize) -> io::Result<usize> {
        while self.buffer.len() < all {
            if !self.more().await? {
                return Err(cut());
            }
        }
        Ok(all)
    }

    /// Reads chunks, up to the last one and its trailer.
    async fn chunks(&mut self, mut at: usize) -> io::Result<usize> {
        loop {
            let line = loop {
                match find(self.buffer.get(at..).unwrap_or_default(), b"\r\n") {
                    Some(length) => break length,
                    None if !self.more().await? => return Err(cut()),
                    None => {}
                }
            };
            let end = at.saturating_add(line);
            let text = String::from_utf8_lossy(self.buffer.get(at..end).unwrap_or_default()).into_owned();
            let size = text.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            at = end.saturating_add(2);
            if size > 0 {
                at = self.fill(at.saturating_add(size).saturating_add(2)).await?;
                continue;
            }
            // The trailer ends with an empty line.
            loop {
                let rest = self.buffer.get(at..).unwrap_or_default();
                if rest.starts_with(b"\r\n") {
                    return Ok(at.saturating_add(2));
                }
                if let Some(end) = find(rest, HEAD_END) {
                    return Ok(at.saturating_add(end).saturating_add(HEAD_END.len()));
                }
                if !self.more().await? {
                    return Err(cut());
                }
            }
        }
    }

    async fn more(&mut self) -> io::Result<bool> {
        if self.buffer.len() > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(self.from.read_buf(&mut self.buffer).await? > 0)
    }
}

impl Message {
    /// Its head as text.
    #[must_use]
    pub fn head_text(&self) -> String {
        String::from_utf8_lossy(self.bytes.get(..self.head).unwrap_or_default()).into_owned()
    }

    /// Its body, as it stands on the wire.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.head..).unwrap_or_default()
    }

    /// An answer's status.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        status_of(&self.head_text())
    }

    /// A request's method.
    #[must_use]
    pub fn method(&self) -> String {
        self.head_text().split(' ').next().unwrap_or_default().to_owned()
    }
}

/// `METHOD /path` of a request.
#[must_use]
pub fn target_of(request: &Message) -> Option<String> {
    let head = request.head_text();
    let mut words = head.lines().next()?.split(' ');
    Some(format!("{} {}", words.next()?, words.next()?))
}

fn cut() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn status_of(head: &str) -> Option<u16> {
    head.split(' ').nth(1)?.parse().ok()
}

fn length_of(head: &str) -> Option<Length> {
    if header(head, "transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
        return Some(Length::Chunked);
    }
    header(head, "content-length")?.parse().ok().map(Length::Known)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answers(text: &str, method: &str) -> Vec<(u16, String, bool)> {
        let mut reader = Reader::new(text.as_bytes());
        let mut read = Vec::new();
        while let Ok(Some(answer)) = reader.answer(method).await {
            let body = String::from_utf8_lossy(answer.body()).into_owned();
            read.push((answer.status().unwrap(), body, answer.last));
        }
        read
    }

    #[tokio::test]
    async fn messages_end_where_they_say() {
        let two = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 204 No\r\n\r\n";
        assert_eq!(answers(two, "GET").await, [(200, "abc".into(), false), (204, String::new(), false)]);
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nT: u\r\n\r\nHTTP/1.1 500 X\r\nconnection: close\r\n\r\nrest";
        let body = "2;x=y\r\nab\r\n0\r\nT: u\r\n\r\n".to_owned();
        assert_eq!(answers(chunked, "GET").await, [(200, body, false), (500, "rest".into(), true)]);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(answers(head, "HEAD").await, [(200, String::new(), false), (404, String::new(), false)]);
    }

    #[tokio::test]
    async fn a_message_that_breaks_off_is_an_error_and_no_message() {
        for text in ["GET / HT", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"] {
            assert!(Reader::new(text.as_bytes()).request().await.is_err(), "{text}");
        }
        assert!(Reader::new(&b""[..]).request().await.unwrap().is_none());
        let request =
            Reader::new(&b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"[..]).request().await.unwrap().unwrap();
        assert_eq!((target_of(&request).as_deref(), request.body()), (Some("GET /a?b"), &b""[..]));
    }
}
