//! The path of a request in one form: what is priced is what the service gets, whatever way it was written.
//! Source: RFC 3986 §6.2.2 (case, percent-encoding and dot-segments); web.md §6.3.
//! Departs: what two servers may read in two ways (an encoded slash, a backslash, a control character) is refused.

/// The longest path and query of a request.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;

/// Why a path is refused, in checking order for each segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathFault {
    /// Not a path, or one that does not begin with a slash.
    #[error("a path begins with a slash")]
    NoSlash,
    /// Path and query are longer than 8 KiB.
    #[error("path and query are too long")]
    TooLong,
    /// A per cent sign without two hexadecimal digits.
    #[error("a per cent sign is followed by two hexadecimal digits")]
    Escape,
    /// `%2F`, `%5C` or a backslash: servers differ in what they make of it.
    #[error("an encoded slash or a backslash can be read in two ways")]
    HiddenSlash,
    /// A control character, encoded or not.
    #[error("a control character does not belong into a path")]
    Control,
    /// A dot segment with parameters, such as `..;a`: servers differ in what they make of it.
    #[error("a dot segment with parameters can be read in two ways")]
    HiddenDots,
}

/// A path in its one form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CleanPath {
    wire: String,
    segments: Vec<Vec<u8>>,
}

impl CleanPath {
    /// Reads the path of a request: dot segments are resolved, double slashes are one, escapes have one form.
    ///
    /// # Errors
    /// [`PathFault`].
    pub fn parse(path: &str) -> Result<Self, PathFault> {
        let rest = path.strip_prefix('/').ok_or(PathFault::NoSlash)?;
        if path.len() > TARGET_BYTES_MAX {
            return Err(PathFault::TooLong);
        }
        let mut segments: Vec<(String, Vec<u8>)> = Vec::new();
        let mut ends_with_slash = true;
        for raw in rest.split('/') {
            let (wire, decoded) = segment(raw)?;
            let plain = without_parameters(&decoded);
            ends_with_slash = true;
            match (decoded.as_slice(), plain) {
                (b"" | b".", _) => {}
                (b"..", _) => drop(segments.pop()),
                (_, b"." | b"..") => return Err(PathFault::HiddenDots),
                _ => {
                    segments.push((wire, decoded));
                    ends_with_slash = false;
                }
            }
        }
        let mut wire = String::with_capacity(path.len());
        for (segment, _) in &segments {
            wire.push('/');
            wire.push_str(segment);
        }
        if ends_with_slash {
            wire.push('/');
        }
        Ok(Self { wire, segments: segments.into_iter().map(|(_, decoded)| decoded).collect() })
    }

    /// The path as it is sent to the service.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.wire
    }

    /// The decoded segments; a slash at the end leaves none.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.segments.iter().map(Vec::as_slice)
    }
}

/// A segment without what follows a semicolon, which some servers cut off.
pub(crate) fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|b| *b == b';').next().unwrap_or_default()
}

/// A segment as it is sent, and decoded.
fn segment(raw: &str) -> Result<(String, Vec<u8>), PathFault> {
    let (mut wire, mut decoded) = (String::with_capacity(raw.len()), Vec::with_capacity(raw.len()));
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let (value, escaped) = if byte == b'%' {
            let high = bytes.next().and_then(hex).ok_or(PathFault::Escape)?;
            let low = bytes.next().and_then(hex).ok_or(PathFault::Escape)?;
            (high.wrapping_mul(16) | low, true)
        } else {
            (byte, false)
        };
        if value == b'\\' || (escaped && value == b'/') {
            return Err(PathFault::HiddenSlash);
        }
        if value.is_ascii_control() {
            return Err(PathFault::Control);
        }
        decoded.push(value);
        if is_unreserved(value) || (!escaped && is_reserved_here(value)) {
            wire.push(char::from(value));
        } else {
            wire.push_str(&format!("%{value:02X}"));
        }
    }
    Ok((wire, decoded))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

/// RFC 3986 §2.3: an escape of one of these means the character itself.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §3.3: what stands in a segment unescaped besides the unreserved characters.
const fn is_reserved_here(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_one_form() {
        for (raw, clean) in [
            ("/", "/"),
            ("/a", "/a"),
            ("//a", "/a"),
            ("/a//b///c", "/a/b/c"),
            ("/./a/./b", "/a/b"),
            ("/x/../a", "/a"),
            ("/x/%2e%2E/a", "/a"),
            ("/x/.%2e/a", "/a"),
            ("/%2e/a", "/a"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/", "/a/"),
            ("/%61%7e%41", "/a~A"),
            ("/a%3bb", "/a%3Bb"),
            ("/a;b=c", "/a;b=c"),
            ("/%c3%bc", "/%C3%BC"),
            ("/ü", "/%C3%BC"),
            ("/a%252e%252e", "/a%252e%252e"),
            ("/a\"<>{}|^`b", "/a%22%3C%3E%7B%7D%7C%5E%60b"),
        ] {
            let once = CleanPath::parse(raw).unwrap();
            assert_eq!(once.as_str(), clean, "{raw}");
            assert_eq!(CleanPath::parse(once.as_str()).unwrap(), once, "{raw}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (raw, fault) in [
            ("", PathFault::NoSlash),
            ("*", PathFault::NoSlash),
            ("a/b", PathFault::NoSlash),
            ("/a%2Fb", PathFault::HiddenSlash),
            ("/free%2f..%2fpaid", PathFault::HiddenSlash),
            ("/a%5cb", PathFault::HiddenSlash),
            ("/a\\..\\b", PathFault::HiddenSlash),
            ("/a%00", PathFault::Control),
            ("/a%0d%0ab", PathFault::Control),
            ("/a%7F", PathFault::Control),
            ("/a%", PathFault::Escape),
            ("/a%2", PathFault::Escape),
            ("/a%zz", PathFault::Escape),
            ("/free/..;/paid", PathFault::HiddenDots),
            ("/free/%2e.;a=b/paid", PathFault::HiddenDots),
            ("/.%3b/paid", PathFault::HiddenDots),
        ] {
            assert_eq!(CleanPath::parse(raw), Err(fault), "{raw}");
        }
        let longest = format!("/{}", "a".repeat(TARGET_BYTES_MAX - 1));
        assert!(CleanPath::parse(&longest).is_ok());
        assert_eq!(CleanPath::parse(&format!("{longest}a")), Err(PathFault::TooLong));
    }
}
