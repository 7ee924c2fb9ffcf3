//! Reading request bodies within a size and a time, and checking their type.
//! Source: R14 (413 without buffering); RFC 9110 §8.3, §15.5.
use crate::limits::Limits;
use crate::pace::Pace;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Buf, Bytes, BytesMut};
use florin_rail::{Blame, Class, Refusal};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The body is larger than allowed.
pub const BODY_TOO_LARGE: Refusal = Refusal::new("body-too-large", Class::TooLarge, Blame::Asker, false);
/// The body did not arrive in time.
pub const BODY_TOO_SLOW: Refusal = Refusal::new("body-too-slow", Class::TooSlow, Blame::Asker, true);
/// The body ended early or its framing is wrong.
pub const BODY_BROKEN: Refusal = Refusal::new("body-broken", Class::BadRequest, Blame::Asker, true);
/// The content type is not the wanted one.
pub const WRONG_CONTENT_TYPE: Refusal =
    Refusal::new("wrong-content-type", Class::UnsupportedType, Blame::Asker, false);

/// Why the server's own limit cut a body off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyFault {
    /// More bytes than `Limits::body_bytes_max`.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// Slower than `Limits::body_timeout` or `Limits::body_stall_timeout`.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection or the framing broke.
    #[error("the body is broken")]
    Broken,
}

/// Reads a whole body of at most `max` bytes within `timeout`.
///
/// # Errors
/// In order: `body-too-large` (a declared length is refused before reading), `body-too-slow`, `body-broken`.
pub async fn read_body(body: Body, max: usize, timeout: Duration) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(BODY_TOO_LARGE);
    }
    tokio::time::timeout(timeout, collect(body, max)).await.unwrap_or(Err(BODY_TOO_SLOW))
}

async fn collect(mut body: Body, max: usize) -> Result<Bytes, Refusal> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| refusal_of(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len().saturating_add(data.len()) > max {
            return Err(BODY_TOO_LARGE);
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// The refusal of a failed read, wherever in the chain of causes our own limit stands.
fn refusal_of(error: &(dyn Error + 'static)) -> Refusal {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(fault) = cause.downcast_ref::<BodyFault>() {
            return match fault {
                BodyFault::TooLarge => BODY_TOO_LARGE,
                BodyFault::TooSlow => BODY_TOO_SLOW,
                BodyFault::Broken => BODY_BROKEN,
            };
        }
        next = cause.source();
    }
    BODY_BROKEN
}

/// Checks the media type; parameters and letter case do not matter.
///
/// # Errors
/// `wrong-content-type`, with the wanted type as detail.
pub fn require_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    if is_type(headers, wanted) {
        return Ok(());
    }
    Err(WRONG_CONTENT_TYPE.with_detail(format!("send {wanted}")))
}

/// Whether the one content type is `wanted`.
pub(crate) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().ok().and_then(|text| text.split(';').next()).unwrap_or("");
    essence.trim().eq_ignore_ascii_case(wanted)
}

/// A request body under the server's limits, whatever the handler does with it.
pub(crate) struct CappedBody {
    inner: Incoming,
    left: u64,
    ended: bool,
    whole: Duration,
    stall: Duration,
    /// Set at the first poll: time before the handler reads is not the asker's.
    whole_by: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    pace: Arc<Pace>,
}

impl CappedBody {
    pub(crate) fn new(inner: Incoming, limits: &Limits, pace: Arc<Pace>) -> Self {
        Self {
            inner,
            left: limits.body_bytes_max,
            ended: false,
            whole: limits.body_timeout,
            stall: limits.body_stall_timeout,
            whole_by: None,
            alarm: None,
            pace,
        }
    }

    /// Ready once the next frame is overdue.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.alarm.is_none() {
            let now = Instant::now();
            let whole_by = *self.whole_by.get_or_insert_with(|| later(now, self.whole));
            self.alarm = Some(Box::pin(sleep_until(later(now, self.stall).min(whole_by))));
        }
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyFault> {
        let length = frame.data_ref().map_or(0, Buf::remaining);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(length).ok_or(BodyFault::TooLarge)?;
        Ok(frame)
    }
}

/// A point in time, or about thirty years on where the clock cannot express it.
pub(crate) fn later(now: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(1_000_000_000);
    now.checked_add(by.min(FAR)).unwrap_or(now)
}

impl HttpBody for CappedBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        let Poll::Ready(polled) = Pin::new(&mut this.inner).poll_frame(cx) else {
            ready!(this.poll_overdue(cx));
            return Poll::Ready(Some(Err(BodyFault::TooSlow)));
        };
        this.alarm = None;
        Poll::Ready(match polled {
            None => {
                this.ended = true;
                None
            }
            Some(Ok(frame)) => Some(this.take(frame)),
            Some(Err(_)) => Some(Err(BodyFault::Broken)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for CappedBody {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.pace.leave_unread();
        }
    }
}
