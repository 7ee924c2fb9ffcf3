//! The proxy itself: it reads whole messages, and damages an exchange in the way that its switch says. What is damaged
//! here is always a single exchange, so each try knows what has happened. Source: reliability.md, R10.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use super::kind::Kind;
use super::wire::{Message, Reader};
use crate::dice::Dice;
use crate::error::FaultsError;

/// How long the first of two waits for a second that is to overtake it.
const OVERTAKE_WAIT: Duration = Duration::from_millis(400);
/// How long the answer of the other end may take, so that no task stays for ever.
const UPSTREAM_MAX: Duration = Duration::from_secs(120);
/// After how long a request comes once more.
const LATE: Duration = Duration::from_millis(700);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing is damaged.
    Clear,
    /// One exchange of so many, and not for long.
    Some(Kind, u64),
    /// Every exchange, until it is healed.
    All(Kind),
}

struct State {
    mode: Mode,
    /// The first exchange of a damage is damaged in any case.
    first: bool,
    dice: Dice,
    /// The first of two that are to change places.
    parked: Option<oneshot::Sender<()>>,
}

/// What a proxy does now; shared by its connections.
pub struct Switch {
    state: Mutex<State>,
    healed: Notify,
    damaged: AtomicU64,
    passed: AtomicU64,
}

/// A proxy before one address. It ends with its runtime.
pub struct Proxy {
    at: SocketAddr,
    switch: Arc<Switch>,
}

/// What comes of an exchange: whether the connection goes on.
type Goes = io::Result<bool>;

impl Switch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Damages the next exchange, and then one of so many.
    pub fn some(&self, kind: Kind, one_in: u64) {
        let mut state = self.state();
        (state.mode, state.first) = (Mode::Some(kind, one_in), true);
    }

    /// Damages every exchange.
    pub fn all(&self, kind: Kind) {
        self.state().mode = Mode::All(kind);
    }

    /// Damages nothing any more; what was held back goes on.
    pub fn heal(&self) {
        self.state().mode = Mode::Clear;
        self.healed.notify_waiters();
    }

    /// How many exchanges were damaged.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::SeqCst)
    }

    /// How many were not.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }

    /// What happens to the next exchange, and whether to every one.
    fn next(&self) -> Option<(Kind, bool)> {
        let mut state = self.state();
        let hit = match state.mode {
            Mode::Clear => None,
            Mode::Some(kind, one_in) => {
                let first = std::mem::take(&mut state.first);
                (first || state.dice.below(one_in) == 0).then_some((kind, false))
            }
            Mode::All(kind) => Some((kind, true)),
        };
        let counter = if hit.is_some() { &self.damaged } else { &self.passed };
        counter.fetch_add(1, Ordering::SeqCst);
        hit
    }

    fn within(&self, low: u64, high: u64) -> u64 {
        self.state().dice.within(low, high)
    }

    fn is_clear(&self) -> bool {
        self.state().mode == Mode::Clear
    }

    /// Waits for so long at least; where everything is damaged, until it is healed.
    async fn hold(&self, at_least: Duration, until_healed: bool) {
        sleep(at_least).await;
        while until_healed && !self.is_clear() {
            // A healing between the look and the waiting is seen at the next look.
            let _ = timeout(Duration::from_millis(100), self.healed.notified()).await;
        }
    }

    /// Lets the next one go first, if one comes soon.
    async fn let_pass(&self) -> Option<oneshot::Sender<()>> {
        let waiting = {
            let mut state = self.state();
            match state.parked.take() {
                Some(first) if !first.is_closed() => return Some(first),
                _ => {
                    let (release, released) = oneshot::channel();
                    state.parked = Some(release);
                    released
                }
            }
        };
        let _ = timeout(OVERTAKE_WAIT, waiting).await;
        None
    }
}

impl Proxy {
    /// Listens in front of an address.
    ///
    /// # Errors
    /// `Runtime`.
    pub async fn start(to: SocketAddr, dice: Dice) -> Result<Self, FaultsError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(FaultsError::Runtime)?;
        let at = listener.local_addr().map_err(FaultsError::Runtime)?;
        let state = Mutex::new(State { mode: Mode::Clear, first: false, dice, parked: None });
        let (damaged, passed) = (AtomicU64::new(0), AtomicU64::new(0));
        let switch = Arc::new(Switch { state, healed: Notify::new(), damaged, passed });
        let shared = Arc::clone(&switch);
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(connection(stream, to, Arc::clone(&shared)))),
                    // Out of file descriptors, which passes.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        });
        Ok(Self { at, switch })
    }

    /// Where it listens.
    #[must_use]
    pub const fn at(&self) -> SocketAddr {
        self.at
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// What it does.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }
}

/// One connection of an asker: exchange after exchange.
async fn connection(mut stream: TcpStream, to: SocketAddr, switch: Arc<Switch>) {
    let _ = stream.set_nodelay(true);
    let (read, mut write) = stream.split();
    let mut reader = Reader::new(read);
    while let Ok(Some(request)) = reader.request().await {
        let exchange = Exchange { to, switch: &switch, request: &request };
        let goes = match switch.next() {
            None => exchange.pass(&mut write).await,
            Some((kind, all)) => exchange.damage(kind, all, &mut write).await,
        };
        match goes {
            Ok(true) if !request.last => {}
            Ok(_) => return,
            // What is to end with a reset says so by this error.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                let _ = write.as_ref().set_zero_linger();
                return;
            }
            Err(_) => return,
        }
    }
}

struct Exchange<'a> {
    to: SocketAddr,
    switch: &'a Switch,
    request: &'a Message,
}

type ToAsker<'w, 's> = &'w mut tokio::net::tcp::WriteHalf<'s>;

impl Exchange<'_> {
    /// The request to the other end and its answer.
    async fn ask(&self) -> io::Result<Message> {
        let mut upstream = TcpStream::connect(self.to).await?;
        upstream.set_nodelay(true)?;
        upstream.write_all(&self.request.bytes).await?;
        answer_of(&mut upstream, &self.request.method()).await
    }

    async fn pass(&self, write: ToAsker<'_, '_>) -> Goes {
        reply(&self.ask().await?, write).await
    }

    async fn damage(&self, kind: Kind, all: bool, write: ToAsker<'_, '_>) -> Goes {
        let ms = |low, high| Duration::from_millis(self.switch.within(low, high));
        match kind {
            Kind::DelayRequest => {
                sleep(if all { ms(1_500, 2_500) } else { ms(50, 500) }).await;
                self.pass(write).await
            }
            Kind::DelayAnswer => {
                let answer = self.ask().await?;
                sleep(if all { ms(1_500, 2_500) } else { ms(50, 500) }).await;
                reply(&answer, write).await
            }
            Kind::CutBeforeRequest => Ok(false),
            Kind::CutInsideRequest => self.break_request(false).await,
            Kind::ResetRequest => self.break_request(true).await,
            Kind::CutBeforeAnswer => self.ask().await.map(|_| false),
            Kind::CutInsideAnswer => self.break_answer(write).await.map(|()| false),
            Kind::ResetAnswer => {
                self.break_answer(write).await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Kind::DribbleRequest => self.dribble_request(all, write).await,
            Kind::DribbleAnswer => {
                let answer = self.ask().await?;
                self.dribble(&answer.bytes, all, write).await?;
                Ok(!answer.last)
            }
            Kind::Duplicate => {
                let (one, other) = tokio::join!(self.ask(), self.ask());
                let first = self.switch.within(0, 1) == 0;
                let answer = if first { one.or(other) } else { other.or(one) };
                reply(&answer?, write).await
            }
            Kind::DuplicateLate => self.duplicate_late(write).await,
            Kind::HoleRequest => {
                self.switch.hold(ms(200, 400), all).await;
                // It arrives when its asker has gone, or while it still waits.
                if all { self.pass(write).await } else { self.ask().await.map(|_| false) }
            }
            Kind::HoleAnswer => {
                let answer = self.ask().await?;
                self.switch.hold(ms(200, 400), all).await;
                if all { reply(&answer, write).await } else { Ok(false) }
            }
            Kind::Reorder => {
                let first = self.switch.let_pass().await;
                let goes = self.pass(write).await;
                if let Some(first) = first {
                    let _ = first.send(());
                }
                goes
            }
        }
    }

    /// Some bytes of the request arrive; none of them make a whole one.
    async fn break_request(&self, reset: bool) -> Goes {
        let mut upstream = TcpStream::connect(self.to).await?;
        let some = self.some_of(&self.request.bytes);
        upstream.write_all(some).await?;
        upstream.flush().await?;
        if reset {
            // What was sent is to be read before the reset overtakes it.
            sleep(Duration::from_millis(5)).await;
            upstream.set_zero_linger()?;
            drop(upstream);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(false)
    }

    async fn break_answer(&self, write: ToAsker<'_, '_>) -> io::Result<()> {
        let answer = self.ask().await?;
        write.write_all(self.some_of(&answer.bytes)).await?;
        write.flush().await?;
        sleep(Duration::from_millis(5)).await;
        Ok(())
    }

    /// At least one byte, never all.
    fn some_of<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let most = u64::try_from(bytes.len()).unwrap_or(u64::MAX).saturating_sub(1);
        let count = usize::try_from(self.switch.within(1, most.max(1))).unwrap_or(1);
        bytes.get(..count.min(bytes.len().saturating_sub(1))).unwrap_or_default()
    }

    async fn dribble_request(&self, all: bool, write: ToAsker<'_, '_>) -> Goes {
        let mut upstream = TcpStream::connect(self.to).await?;
        upstream.set_nodelay(true)?;
        // The other end may give up in the middle, and says so.
        let _ = self.dribble(&self.request.bytes, all, &mut upstream).await;
        let answer = answer_of(&mut upstream, &self.request.method()).await?;
        reply(&answer, write).await
    }

    /// In sixteen pieces, until it is healed; where everything is damaged, slower than a server waits for a request.
    async fn dribble<W: AsyncWrite + Unpin>(&self, bytes: &[u8], all: bool, to: &mut W) -> io::Result<()> {
        for piece in bytes.chunks(bytes.len().div_ceil(16).max(1)) {
            to.write_all(piece).await?;
            to.flush().await?;
            let pause = if self.switch.is_clear() {
                0
            } else if all {
                700
            } else {
                20
            };
            sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    async fn duplicate_late(&self, write: ToAsker<'_, '_>) -> Goes {
        let answer = self.ask().await?;
        let (to, request) = (self.to, self.request.clone());
        tokio::spawn(async move {
            sleep(LATE).await;
            if let Ok(mut upstream) = TcpStream::connect(to).await
                && upstream.write_all(&request.bytes).await.is_ok()
            {
                let _ = answer_of(&mut upstream, &request.method()).await;
            }
        });
        reply(&answer, write).await
    }
}

async fn answer_of(upstream: &mut TcpStream, method: &str) -> io::Result<Message> {
    let mut reader = Reader::new(upstream);
    let answer = timeout(UPSTREAM_MAX, reader.answer(method)).await;
    answer.map_err(|_| io::ErrorKind::TimedOut)??.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

async fn reply(answer: &Message, write: ToAsker<'_, '_>) -> Goes {
    write.write_all(&answer.bytes).await?;
    Ok(!answer.last)
}
