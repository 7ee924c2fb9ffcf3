//! The operator's machine: the real operator with its real pages on simulated disks, killed and started again.
//! Source: reliability.md, R3, R5.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use florin_books::LaneId;
use florin_crypto::SeededEntropy;
use florin_http::{ProblemView, Stop};
use florin_operator::operator::Operator;
use florin_operator::{OperatorConfig, OperatorError, VaultPlaces, routes};
use florin_shell::Passphrase;
use florin_shell::clock::SteadyClock;
use florin_shell::exchange::CONTENT_TYPE;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::bank::{Bank, Line};
use crate::coverage::{Coverage, Fault};
use crate::machine::Machine;
use crate::plan::Plan;
use crate::trace::Trace;
use crate::watch::Watcher;

/// How long a dead operator stays dead at least.
const DOWN: Duration = Duration::from_millis(700);
/// How often it is looked whether its books have failed of themselves.
const WATCH: Duration = Duration::from_secs(1);
/// A process whose disk has failed takes so long to end.
const ENDS: Duration = Duration::from_millis(20);
/// What the operator's keys are drawn from: the same in every process, so that a seed is the same run in all of them.
const KEYS: u64 = 1;

/// Keys and settings of an operator, made once for all runs of a process, and the same in all processes.
pub struct Mould {
    dir: tempfile::TempDir,
    config: OperatorConfig,
}

/// The operator's machine.
pub struct Host {
    /// The machine.
    pub machine: Machine,
    bank: Arc<Bank>,
    watcher: Arc<Watcher>,
    config: OperatorConfig,
    down_max_ms: u64,
    dir: tempfile::TempDir,
    trace: Trace,
    coverage: Coverage,
    running: Mutex<Option<Running>>,
    starting: tokio::sync::Mutex<()>,
}

/// An answer of a page.
pub struct Said {
    /// The status.
    pub status: StatusCode,
    /// The header.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Said {
    /// What it says went wrong.
    #[must_use]
    pub fn problem(&self) -> Option<ProblemView> {
        ProblemView::parse(&self.headers, &self.body)
    }
}

struct Running {
    operator: Arc<Operator>,
    router: Router,
}

/// A folder that needs no disk where there is one.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

fn places(dir: &Path) -> VaultPlaces {
    VaultPlaces { state: dir.join("operator"), second: None }
}

impl Mould {
    /// Makes the keys.
    ///
    /// # Errors
    /// Those of the system, in words.
    pub fn new() -> Result<Self, String> {
        let dir = folder().map_err(|e| e.to_string())?;
        let mut config = OperatorConfig {
            claims_batch: 2,
            claims_wait_ms: 300,
            bank_poll_ms: 100,
            reconcile_every_ms: 0,
            registrations_per_hour: 1_000_000,
            ..OperatorConfig::default()
        };
        let none = Passphrase::none();
        let entropy = &mut SeededEntropy::from_number(KEYS);
        let made = places(dir.path()).create_holders(&none, entropy);
        config.key_holder = made.map_err(|e| e.to_string())?;
        florin_operator::create(&config, &places(dir.path()), &none, entropy).map_err(|e| e.to_string())?;
        for lane in ["identity", "books"] {
            std::fs::remove_dir_all(dir.path().join("operator").join(lane)).map_err(|e| e.to_string())?;
        }
        Ok(Self { dir, config })
    }

    fn copy(&self) -> std::io::Result<tempfile::TempDir> {
        let to = folder()?;
        copy(self.dir.path(), to.path())?;
        Ok(to)
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    let mode = std::fs::metadata(from)?.permissions();
    std::fs::set_permissions(to, mode)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let there: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &there)?;
        } else {
            std::fs::copy(entry.path(), there)?;
        }
    }
    Ok(())
}

impl Host {
    /// A machine with the keys of the mould and empty disks.
    ///
    /// # Errors
    /// Those of the system, in words.
    pub fn new(
        mould: &Mould,
        machine: Machine,
        bank: &Arc<Bank>,
        watcher: &Arc<Watcher>,
        plan: &Plan,
        (trace, coverage): (&Trace, &Coverage),
    ) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self {
            machine,
            bank: Arc::clone(bank),
            watcher: Arc::clone(watcher),
            config: mould.config.clone(),
            down_max_ms: plan.down_max_ms,
            dir: mould.copy().map_err(|e| e.to_string())?,
            trace: trace.clone(),
            coverage: coverage.clone(),
            running: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
        }))
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the operator on what its disks hold.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn start(&self) -> Result<(), OperatorError> {
        // A machine sets its clock when it starts.
        self.machine.clock.be_wrong(0);
        let system = self.machine.clock.clone();
        let even = system.clone();
        let clock =
            Arc::new(SteadyClock::new(Box::new(system), Box::new(move || even.passed_ms()), Box::new(|| 0)));
        let time = Arc::clone(&clock);
        let open = |spec, _: &florin_crypto::Secret<32>| self.machine.house(spec, time.clone());
        let rail = Arc::new(Line(Arc::clone(&self.bank)));
        let places = places(self.dir.path());
        let operator =
            Operator::open_on(self.config.clone(), &places, &Passphrase::none(), rail, clock, &open)?;
        let lanes = [&operator.lanes.identity, &operator.lanes.books];
        let lanes = [LaneId(0), LaneId(1)].into_iter().zip(lanes.map(|house| house.books.clone()));
        self.watcher.started(&operator.issuer, &lanes.collect::<Vec<_>>());
        let stop = Stop::new();
        for task in operator.start_moving(&stop) {
            self.machine.keep(task.abort_handle());
        }
        let router = routes::router(&operator);
        *self.running() = Some(Running { operator, router });
        self.trace.say(&self.machine.name, "started");
        Ok(())
    }

    /// Starts it until it runs: its disk may fail while it starts.
    ///
    /// # Errors
    /// It does not start, and no disk has failed.
    pub async fn start_anyhow(&self) -> Result<(), OperatorError> {
        loop {
            match self.start() {
                Ok(()) => return Ok(()),
                Err(error) if !self.machine.is_broken() => return Err(error),
                Err(_) => self.kill().await,
            }
        }
    }

    /// The operator, while it runs.
    #[must_use]
    pub fn operator(&self) -> Option<Arc<Operator>> {
        self.running().as_ref().map(|running| Arc::clone(&running.operator))
    }

    /// Kills the process.
    pub async fn kill(&self) {
        drop(self.running().take());
        self.machine.kill().await;
    }

    /// Kills it and starts it again, after as long as the plan lets it be away.
    ///
    /// # Errors
    /// It does not start on what its disks hold.
    pub async fn restart_some_time(&self) -> Result<(), OperatorError> {
        let more = self.machine.dice().below(self.down_max_ms);
        self.restart(DOWN.max(Duration::from_millis(more))).await
    }

    /// Kills it and starts it again at once.
    ///
    /// # Errors
    /// It does not start on what its disks hold.
    pub async fn restart_now(&self) -> Result<(), OperatorError> {
        self.restart(DOWN).await
    }

    async fn restart(&self, after: Duration) -> Result<(), OperatorError> {
        // One at a time: two processes on one disk are another matter.
        let _starting = self.starting.lock().await;
        self.kill().await;
        tokio::time::sleep(after).await;
        self.start_anyhow().await
    }

    /// Starts it again whenever its disk has failed: a process whose books have stopped ends.
    ///
    /// # Errors
    /// It does not start on what its disks hold.
    pub async fn watch(&self) -> Result<(), OperatorError> {
        loop {
            let _ = tokio::time::timeout(WATCH, self.machine.failed.notified()).await;
            tokio::time::sleep(ENDS).await;
            let failed = self.running().as_ref().is_some_and(|running| !running.operator.is_ready());
            if failed {
                self.machine.hit(Fault::DiskFailed);
                self.restart_some_time().await?;
            }
        }
    }

    /// One request to its pages; nothing where it is away, or dies before it has answered.
    pub async fn call(&self, path: &str, body: Vec<u8>) -> Option<Said> {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, CONTENT_TYPE);
        let request = request.body(Body::from(body)).ok()?;
        let router = self.running().as_ref().map(|running| running.router.clone())?;
        if self.machine.clock.is_wrong() {
            self.coverage.hit(Fault::ClockOff, path);
        }
        let number = self.machine.doing(path);
        let answering = self.machine.spawn(async move {
            let response = router.oneshot(request).await.ok()?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(Said { status: parts.status, headers: parts.headers, body })
        });
        let said = answering.await.ok()??;
        self.machine.done(number);
        let slug = said.problem().and_then(|problem| problem.slug).unwrap_or_default();
        self.trace.say(&self.machine.name, format!("{path} {} {slug}", said.status.as_u16()));
        Some(said)
    }
}
