//! The programs as processes of their own: started, asked where they listen, killed. Source: reliability R3.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::error::BenchError;

/// How long a program may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(30);
/// What the first line of a program that listens begins with.
const LISTENING: &str = "listening on ";

/// The `florin` program on this machine.
#[derive(Clone, Debug)]
pub struct Programs {
    exe: PathBuf,
    init_flags: Vec<String>,
}

/// A program that listens; dropping it kills it (SIGKILL).
pub struct Running {
    child: Child,
    url: String,
}

impl Programs {
    /// The program at a path.
    #[must_use]
    pub fn new(exe: impl Into<PathBuf>) -> Self {
        Self { exe: exe.into(), init_flags: Vec::new() }
    }

    /// The program that is running now.
    ///
    /// # Errors
    /// The system does not say which it is.
    pub fn current() -> Result<Self, BenchError> {
        let exe = std::env::current_exe();
        exe.map(Self::new).map_err(|source| BenchError::Program { program: "florin", source })
    }

    /// The same, making operators with more flags.
    #[must_use]
    pub fn with_init_flags(self, init_flags: Vec<String>) -> Self {
        Self { init_flags, ..self }
    }

    /// Starts a sandbox bank.
    ///
    /// # Errors
    /// `Program`, `NotListening`.
    pub fn bank(&self, dir: &Path) -> Result<Running, BenchError> {
        self.serve("bank", dir, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Makes an operator's state.
    ///
    /// # Errors
    /// `Program`: it could not be started, or refused.
    pub fn init_operator(&self, dir: &Path, bank_url: &str) -> Result<(), BenchError> {
        let failed = |source| BenchError::Program { program: "operator init", source };
        let mut init = Command::new(&self.exe);
        init.args(["operator", "init", "--bank", bank_url, "--no-passphrase", "--dir"]).arg(dir);
        init.args(&self.init_flags);
        let status = quiet(&mut init, &log_of(dir)).and_then(|c| c.status()).map_err(failed)?;
        if status.success() { Ok(()) } else { Err(failed(io::Error::other(status.to_string()))) }
    }

    /// Starts an operator on its state.
    ///
    /// # Errors
    /// `Program`, `NotListening`.
    pub fn operator(&self, dir: &Path, listen: SocketAddr) -> Result<Running, BenchError> {
        self.serve("operator", dir, listen)
    }

    /// Audits an operator's state while no operator runs on it; how the program ended (0: clean).
    ///
    /// # Errors
    /// `Program`: it could not be started.
    pub fn audit(&self, dir: &Path) -> Result<ExitStatus, BenchError> {
        let failed = |source| BenchError::Program { program: "operator audit", source };
        let mut audit = Command::new(&self.exe);
        audit.args(["operator", "audit", "--no-passphrase", "--dir"]).arg(dir);
        quiet(&mut audit, &log_of(dir)).and_then(|c| c.status()).map_err(failed)
    }

    fn serve(&self, program: &'static str, dir: &Path, listen: SocketAddr) -> Result<Running, BenchError> {
        let failed = |source| BenchError::Program { program, source };
        let log = log_of(dir);
        let mut command = Command::new(&self.exe);
        command
            .args([program, "serve", "--no-passphrase", "--listen", &listen.to_string(), "--dir"])
            .arg(dir);
        let errors = File::options().create(true).append(true).open(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let child = command.spawn().map_err(failed)?;
        // From here on a failure kills it again.
        let mut running = Running { child, url: String::new() };
        let said = running.first_line();
        match said.strip_prefix(LISTENING) {
            Some(url) => running.url = url.trim().trim_end_matches('/').to_owned(),
            None => return Err(BenchError::NotListening { program, said, log }),
        }
        Ok(running)
    }
}

/// Where a program's messages go: beside its folder.
fn log_of(dir: &Path) -> PathBuf {
    dir.with_extension("log")
}

fn quiet<'c>(command: &'c mut Command, log: &Path) -> io::Result<&'c mut Command> {
    let file = File::options().create(true).append(true).open(log)?;
    Ok(command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file))
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Address and port, where the URL has them.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.url.split_once("://").and_then(|(_, address)| address.parse().ok())
    }

    /// Its number at the operating system.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// Those of the system.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// The first line it prints; what follows is read and dropped, so that it never waits for a reader.
    fn first_line(&mut self) -> String {
        let Some(stdout) = self.child.stdout.take() else { return String::new() };
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            let _ = send.send(lines.next().and_then(Result::ok).unwrap_or_default());
            lines.take_while(Result::is_ok).for_each(drop);
        });
        receive.recv_timeout(START_MAX).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already where `kill` was called.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
