//! A connection's stream with deadlines: for the header, between requests, and for an asker that does not
//! read. hyper has one timer for the first two; here they are two, as an idle wallet is no attack and a
//! half-sent header is. Source: reliability finding 4, R14.
use crate::body::later;
use crate::limits::{Limits, Slot};
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

/// How long, and for how many bytes, a refused body is still read so that the answer is not lost: closing a
/// socket with unread bytes makes the kernel send a reset, which overtakes the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// What a connection is doing; the service writes it, the stream reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A request's header is due.
    Header,
    /// A request is being answered.
    Busy,
    /// Between two requests.
    Idle,
    /// Another protocol took over.
    Upgraded,
}

/// The phase shared by a connection's service and stream.
pub(crate) struct Pace {
    phase: AtomicU8,
    unread: AtomicBool,
}

impl Pace {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { phase: AtomicU8::new(0), unread: AtomicBool::new(false) })
    }

    pub(crate) fn busy(&self) {
        self.set(Phase::Busy);
    }

    pub(crate) fn upgraded(&self) {
        self.set(Phase::Upgraded);
    }

    /// A body was dropped before its end.
    pub(crate) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    fn answered(&self) {
        if self.phase() == Phase::Busy {
            self.set(Phase::Idle);
        }
    }

    fn set(&self, phase: Phase) {
        let code = match phase {
            Phase::Header => 0,
            Phase::Busy => 1,
            Phase::Idle => 2,
            Phase::Upgraded => 3,
        };
        self.phase.store(code, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Header,
            1 => Phase::Busy,
            2 => Phase::Idle,
            _ => Phase::Upgraded,
        }
    }
}

/// An answer's body; when it is dropped, sent or not, the connection is idle again.
pub(crate) struct AnswerBody {
    inner: Body,
    pace: Arc<Pace>,
}

impl AnswerBody {
    pub(crate) const fn new(inner: Body, pace: Arc<Pace>) -> Self {
        Self { inner, pace }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.pace.answered();
    }
}

/// A stream under the limits; it holds the connection's slot, also after an upgrade.
pub(crate) struct PacedStream<S> {
    inner: S,
    pace: Arc<Pace>,
    header_timeout: Duration,
    idle_timeout: Duration,
    write_stall_timeout: Duration,
    /// The phase that `read_alarm` was set for.
    armed: Option<Phase>,
    read_alarm: Option<Pin<Box<Sleep>>>,
    write_alarm: Option<Pin<Box<Sleep>>>,
    linger: Option<Linger>,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    _slot: Slot,
}

struct Linger {
    end: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> PacedStream<S> {
    pub(crate) fn new(inner: S, pace: Arc<Pace>, limits: &Limits, cut: Cut, slot: Slot) -> Self {
        Self {
            inner,
            pace,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            write_stall_timeout: limits.write_stall_timeout,
            armed: None,
            read_alarm: None,
            write_alarm: None,
            linger: None,
            cut: Box::pin(cut.seen()),
            _slot: slot,
        }
    }

    fn arm_for_phase(&mut self) {
        let phase = self.pace.phase();
        if self.armed == Some(phase) {
            return;
        }
        self.armed = Some(phase);
        let wait = match phase {
            Phase::Header => Some(self.header_timeout),
            Phase::Idle => Some(self.idle_timeout),
            Phase::Busy | Phase::Upgraded => None,
        };
        self.read_alarm = wait.map(alarm);
    }

    /// Called when a read or a write has to wait: ready with the reason to give up.
    fn poll_give_up(&mut self, cx: &mut Context<'_>, alarm: Alarm) -> Poll<io::Error> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        let alarm = match alarm {
            Alarm::Read => &mut self.read_alarm,
            Alarm::Write => &mut self.write_alarm,
        };
        match alarm {
            Some(alarm) => alarm.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into()),
            None => Poll::Pending,
        }
    }

    /// What a write came to, with the stall counted.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.write_alarm = None;
            return done;
        }
        let stall = self.write_stall_timeout;
        self.write_alarm.get_or_insert_with(|| alarm(stall));
        self.poll_give_up(cx, Alarm::Write).map(Err)
    }
}

#[derive(Clone, Copy)]
enum Alarm {
    Read,
    Write,
}

fn alarm(wait: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep_until(later(Instant::now(), wait)))
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.arm_for_phase();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        if polled.is_pending() {
            return this.poll_give_up(cx, Alarm::Read).map(Err);
        }
        if this.armed == Some(Phase::Idle) && buf.filled().len() > before {
            // The next request begins: from here on its header is due.
            this.pace.set(Phase::Header);
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacedStream<S> {
    /// Reads and drops what the asker still sends, within bounds.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger = self
            .linger
            .get_or_insert_with(|| Linger { end: Box::pin(sleep(LINGER)), left: LINGER_BYTES_MAX });
        let mut scrap = [0_u8; 8192];
        loop {
            if linger.end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::new(&mut scrap);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf));
            let length = buf.filled().len();
            if read.is_err() || length == 0 || length >= linger.left {
                return Poll::Ready(());
            }
            linger.left = linger.left.saturating_sub(length);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.inner).poll_write(cx, data);
        this.watch_write(cx, done)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.inner).poll_flush(cx);
        this.watch_write(cx, done)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let done = Pin::new(&mut this.inner).poll_shutdown(cx);
            ready!(this.watch_write(cx, done))?;
        }
        // An upgraded stream may be shut in one direction and still be read by its owner.
        if this.pace.phase() != Phase::Upgraded && this.pace.unread.load(Ordering::Relaxed) {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.inner).poll_write_vectored(cx, parts);
        this.watch_write(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Seen when a stop's patience is over and every stream ends.
#[derive(Clone)]
pub(crate) struct Cut(watch::Receiver<bool>);

impl Cut {
    pub(crate) const fn new(receiver: watch::Receiver<bool>) -> Self {
        Self(receiver)
    }

    /// Ends at the cut, or when the server is gone.
    pub(crate) async fn seen(mut self) {
        let _ = self.0.wait_for(|cut| *cut).await;
    }
}
