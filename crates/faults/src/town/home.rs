//! One person's place: commands of the real program with a limit in time, and programs that serve until they are ended.
//! Source: docs/exit-codes.md.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::FaultsError;

/// A command that takes longer hangs: several times what a wallet waits for one matter (20 s), since a command may have
/// several, and each try of one may take as long as a request (30 s).
pub const HANGS_AFTER: Duration = Duration::from_secs(150);
/// How long a program may take until it listens.
const STARTS_IN: Duration = Duration::from_secs(60);
/// How long a program may take to stop in good order.
const STOPS_IN: Duration = Duration::from_secs(30);
/// How often a command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The exit codes of docs/exit-codes.md.
const CODES: [i32; 12] = [0, 1, 2, 3, 4, 65, 69, 73, 74, 75, 77, 78];

/// A folder with its environment.
pub struct Home {
    florin: PathBuf,
    dir: PathBuf,
    env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// It had to be killed, since it did not end.
    pub hung: bool,
    /// What it printed.
    pub out: String,
    /// What it said to people.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

/// A program that serves; it is killed when this is dropped.
pub struct Served {
    child: Child,
    /// Where it listens.
    pub at: SocketAddr,
}

impl Home {
    /// Makes the folder.
    ///
    /// # Errors
    /// `File`.
    pub fn new(florin: &Path, dir: &Path) -> Result<Self, FaultsError> {
        std::fs::create_dir_all(dir).map_err(FaultsError::at(dir))?;
        Ok(Self { florin: florin.to_path_buf(), dir: dir.to_path_buf(), env: Vec::new() })
    }

    /// Variables of the environment of everything that is started here from now on.
    pub fn set(&mut self, env: &[(&str, &str)]) {
        for (name, value) in env {
            self.env.retain(|(known, _)| known != name);
            self.env.push(((*name).to_owned(), (*value).to_owned()));
        }
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Where its programs write their logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.florin);
        let state = (self.dir.join("state"), self.dir.join("keys"));
        command.args(args).env("FLORIN_HOME", state.0).env("FLORIN_KEYS", state.1);
        command.env_remove("FLORIN_LOG").env("RUST_BACKTRACE", "1");
        command.envs(self.env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, or kills it where that does not come.
    ///
    /// # Errors
    /// `Program`: it could not be started.
    pub fn run(&self, args: &[&str]) -> Result<Ended, FaultsError> {
        self.run_within(args, HANGS_AFTER)
    }

    /// The same with another limit.
    ///
    /// # Errors
    /// As [`Home::run`].
    pub fn run_within(&self, args: &[&str], limit: Duration) -> Result<Ended, FaultsError> {
        let failed = |source| FaultsError::Program { program: args.join(" "), source };
        let begun = Instant::now();
        let mut command = self.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        let (out, err) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break Some(status);
            }
            if begun.elapsed() > limit {
                child.kill().and_then(|()| child.wait()).map_err(failed)?;
                break None;
            }
            thread::sleep(LOOK_EVERY);
        };
        let took = begun.elapsed();
        let text = |reading: JoinHandle<String>| reading.join().unwrap_or_default();
        let code = status.and_then(|status| status.code());
        Ok(Ended { code, hung: status.is_none(), out: text(out), err: text(err), took })
    }

    /// Runs a command that must do what it is asked; what it printed.
    ///
    /// # Errors
    /// `Program`, `Said`.
    pub fn ok(&self, args: &[&str]) -> Result<String, FaultsError> {
        let ended = self.run(args)?;
        if ended.code == Some(0) {
            return Ok(ended.out);
        }
        Err(FaultsError::Said { program: args.join(" "), said: ended.said() })
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// As [`Home::ok`].
    pub fn json(&self, args: &[&str]) -> Result<Value, FaultsError> {
        let mut all = vec!["--json"];
        all.extend_from_slice(args);
        let out = self.ok(&all)?;
        Ok(last_json(&out))
    }

    /// Starts a program that says where it listens. Its messages go to [`Home::log`].
    ///
    /// # Errors
    /// `File`, `Program`, `Said`.
    pub fn serve(&self, args: &[&str]) -> Result<Served, FaultsError> {
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.map_err(FaultsError::at(&self.log()))?;
        let mut command = self.command(args);
        let spawned = command.stdout(Stdio::piped()).stderr(log).spawn();
        let program = args.join(" ");
        let child = spawned.map_err(|source| FaultsError::Program { program: program.clone(), source })?;
        // From here on it is killed again where something fails.
        let mut served = Served { child, at: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let url = listening(served.child.stdout.take());
        let at = url.as_deref().and_then(|url| url.trim_end_matches('/').strip_prefix("http://"));
        match at.and_then(|at| at.parse().ok()) {
            Some(at) => served.at = at,
            None => {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(3).collect();
                return Err(FaultsError::Said { program, said: lines.join(" / ") });
            }
        }
        Ok(served)
    }

    /// Lines of the log that must not be there.
    #[must_use]
    pub fn bad_lines(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let bad =
            |line: &&str| ["panicked", "a handler panicked", "log_id="].iter().any(|b| line.contains(b));
        let name = self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        log.lines().filter(bad).map(|line| format!("{name} logs: {line}")).collect()
    }
}

/// The rest of a pipe as text, read on a thread of its own, so that nobody waits for a reader.
fn read_all<R: Read + Send + 'static>(pipe: Option<R>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What follows `listening on`; the rest is read and dropped.
fn listening<R: Read + Send + 'static>(pipe: Option<R>) -> Option<String> {
    let (send, receive) = mpsc::channel();
    let pipe = pipe?;
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix("listening on ") {
                let _ = send.send(url.trim().to_owned());
            }
        }
    });
    receive.recv_timeout(STARTS_IN).ok()
}

fn last_json(out: &str) -> Value {
    let last = out.lines().rev().find(|line| line.starts_with('{'));
    last.and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null)
}

impl Ended {
    /// The last object that it printed.
    #[must_use]
    pub fn json(&self) -> Value {
        last_json(&self.out)
    }

    /// The slug of its error.
    #[must_use]
    pub fn slug(&self) -> Option<String> {
        let json = self.json();
        json.get("error").and_then(|e| e.get("slug")).and_then(Value::as_str).map(ToOwned::to_owned)
    }

    /// Exit code and slug, or what stands in their place.
    #[must_use]
    pub fn said(&self) -> String {
        if self.hung {
            return format!("no end after {:?}", self.took);
        }
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        match self.slug() {
            Some(slug) => format!("{code} {slug}"),
            None if self.code == Some(0) => code,
            None => {
                let line = |text: &str| text.lines().last().unwrap_or_default().to_owned();
                format!("{code} {} {}", line(&self.out), line(&self.err))
            }
        }
    }

    /// Why this is no end that docs/exit-codes.md knows: a code of the list, an object with `--json`, and a slug where
    /// the object is an error.
    #[must_use]
    pub fn indefinite(&self) -> Option<String> {
        let known = !self.hung && self.code.is_some_and(|code| CODES.contains(&code));
        let object = self.json();
        let told = object.is_object() && (object.get("error").is_none() || self.slug().is_some());
        let panicked = self.err.contains("panicked");
        (!known || !told || panicked).then(|| self.said())
    }
}

impl Served {
    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Its number at the system.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A field of `/proc/PID/status` in kB, such as `VmRSS` and `VmHWM`.
    #[must_use]
    pub fn memory_kb(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with(field))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// SIGTERM, and its exit code; killed where it does not stop.
    ///
    /// # Errors
    /// `Program`.
    pub fn stop(mut self) -> Result<Option<i32>, FaultsError> {
        let failed = |source| FaultsError::Program { program: "kill".to_owned(), source };
        Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().map_err(failed)?;
        let begun = Instant::now();
        while begun.elapsed() < STOPS_IN {
            if let Some(status) = self.child.try_wait().map_err(failed)? {
                return Ok(status.code());
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(None)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It is gone already where `stop` was called.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
