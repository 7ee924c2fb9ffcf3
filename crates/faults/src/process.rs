//! A program whose end matters: whether it listens, what it said, with what number it ended. Source: docs/exit-codes.md.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::FaultsError;

/// How long a program may take until it listens or ends.
const STARTS_IN: Duration = Duration::from_secs(30);
/// How long it may take to end.
const ENDS_IN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LISTENING: &str = "listening on ";

/// A program that was started; dropping it kills it.
pub struct Process {
    child: Child,
    said: PathBuf,
    /// Where it listens; nowhere where it ended before.
    pub url: Option<String>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct End {
    /// With what number; none where a signal ended it.
    pub code: Option<i32>,
    /// What it said to people.
    pub said: String,
}

impl Process {
    /// Starts it, and waits until it says where it listens, or ends. What it says goes to `said`, from the beginning.
    ///
    /// # Errors
    /// `File`, `Program`; `Found` where it does neither in time.
    pub fn start(
        program: &Path,
        args: &[&str],
        environment: &[(&'static str, OsString)],
        said: &Path,
    ) -> Result<Self, FaultsError> {
        let name = args.join(" ");
        let errors = File::create(said).map_err(FaultsError::at(said))?;
        let mut command = Command::new(program);
        command.args(args).envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let spawned = command.spawn();
        let child = spawned.map_err(|source| FaultsError::Program { program: name.clone(), source })?;
        let mut process = Self { child, said: said.to_path_buf(), url: None };
        let (send, lines) = mpsc::channel();
        let Some(out) = process.child.stdout.take() else { return Ok(process) };
        thread::spawn(move || {
            // Nobody may be listening any more; the pipe must be emptied all the same.
            BufReader::new(out).lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
        });
        let begun = Instant::now();
        loop {
            match lines.recv_timeout(STARTS_IN.saturating_sub(begun.elapsed())) {
                Ok(line) => {
                    if let Some(url) = line.strip_prefix(LISTENING) {
                        process.url = Some(url.trim().trim_end_matches('/').to_owned());
                        return Ok(process);
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(process),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(FaultsError::Found(format!("{name}: neither listens nor ends")));
                }
            }
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM where it still runs, then its end.
    ///
    /// # Errors
    /// `Program`; `Found` where it does not end.
    pub fn stop(mut self) -> Result<End, FaultsError> {
        if self.is_running() {
            let pid = self.child.id().to_string();
            let sent = Command::new("kill").args(["-TERM", &pid]).stderr(Stdio::null()).status();
            sent.map_err(|source| FaultsError::Program { program: "kill".into(), source })?;
        }
        self.end()
    }

    /// SIGKILL, then its end.
    ///
    /// # Errors
    /// `Program`.
    pub fn kill(mut self) -> Result<End, FaultsError> {
        // It may be gone already.
        let _ = self.child.kill();
        self.end()
    }

    /// Its end, that it comes to by itself.
    ///
    /// # Errors
    /// `Program`; `Found` where it does not end.
    pub fn end(mut self) -> Result<End, FaultsError> {
        let begun = Instant::now();
        while begun.elapsed() < ENDS_IN {
            let looked = self.child.try_wait();
            let status = looked.map_err(|source| FaultsError::Program { program: "wait".into(), source })?;
            if let Some(status) = status {
                return Ok(self.ended(status));
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(FaultsError::Found("the program does not end".into()))
    }

    fn ended(&self, status: ExitStatus) -> End {
        // What it said is for a finding; a file that cannot be read leaves that empty.
        let said = fs::read(&self.said).unwrap_or_default();
        End { code: status.code(), said: String::from_utf8_lossy(&said).into_owned() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is gone already where its end was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl End {
    /// Why this is no clean end: a signal, a panic, a number that no table knows, a failure without a word.
    #[must_use]
    pub fn unclean(&self) -> Option<String> {
        let known = |code: i32| florin_shell::ExitCode::ALL.iter().any(|c| i32::from(c.number()) == code);
        let last = || self.said.lines().last().unwrap_or_default().to_owned();
        if let Some(line) = self.said.lines().find(|line| line.contains("panicked")) {
            return Some(format!("a panic: {line}"));
        }
        match self.code {
            None => Some(format!("ended by a signal; it said {}", last())),
            Some(code) if !known(code) => Some(format!("ended with {code}; it said {}", last())),
            Some(0) => None,
            Some(code) if self.said.trim().is_empty() => Some(format!("ended with {code} without a word")),
            Some(_) => None,
        }
    }
}
