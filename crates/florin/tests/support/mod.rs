//! The real programs, as a person would run them: started, killed, asked. Each test has a folder of its own.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take until it listens.
const STARTS_IN: Duration = Duration::from_secs(30);

/// A folder with everything of one test, and the commands run in it.
pub struct Home {
    dir: tempfile::TempDir,
}

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    /// Where it listens.
    pub url: String,
    /// Everything it printed before it listened.
    pub said: Vec<String>,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `florin ARGS` in this home.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_florin"));
        command
            .args(args)
            .env("FLORIN_HOME", self.path("state"))
            .env("FLORIN_KEYS", self.path("keys"))
            .env_remove("FLORIN_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).stderr(Stdio::piped()).output().unwrap()
    }

    /// Runs a command that must do what it is asked; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "florin {args:?} ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same as JSON.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut all = vec!["--json"];
        all.extend_from_slice(args);
        let text = self.ok(&all);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|e| panic!("florin {args:?}: {e}: {text}"))
    }

    /// Runs a command that must fail with this exit code; its JSON.
    pub fn fails(&self, args: &[&str], code: i32) -> serde_json::Value {
        let mut all = vec!["--json"];
        all.extend_from_slice(args);
        let output = self.run(&all);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "florin {args:?}:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or(serde_json::Value::Null)
    }

    /// Starts a program that prints `listening on URL`.
    pub fn start(&self, args: &[&str]) -> Program {
        self.start_command(args, self.command(args))
    }

    /// The same in another environment.
    pub fn start_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Program {
        let mut command = self.command(args);
        command.envs(environment.iter().copied());
        self.start_command(args, command)
    }

    /// The same, with everything that it logs in a file.
    pub fn start_logged(&self, args: &[&str], log: &Path) -> Program {
        let mut command = self.command(args);
        let file = std::fs::File::options().create(true).append(true).open(log).unwrap();
        command.env("FLORIN_LOG", "trace").stderr(file);
        self.start_command(args, command)
    }

    fn start_command(&self, args: &[&str], mut command: Command) -> Program {
        let child = command.stdout(Stdio::piped()).spawn().unwrap();
        // From here on it is killed whatever happens.
        let mut program = Program { child, url: String::new(), said: Vec::new() };
        let out = program.child.stdout.take().unwrap();
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                // Nobody may be listening any more; the pipe must be emptied all the same.
                let _ = send.send(line);
            }
        });
        let until = Instant::now() + STARTS_IN;
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if let Some(url) = line.strip_prefix("listening on ") {
                url.clone_into(&mut program.url);
                program.said.push(line);
                return program;
            }
            program.said.push(line);
        }
        panic!("florin {args:?} does not listen; it said {:?}", program.said);
    }
}

impl Program {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and its exit code.
    pub fn stop(mut self) -> i32 {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code().unwrap_or(-1);
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not stop");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free address on a loopback host of its own, for programs that must come back at the same place: nobody else gets the
/// port while they are away.
pub fn free_address() -> String {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let host = format!("127.1.0.{}", LAST.fetch_add(1, Ordering::Relaxed).checked_add(1).unwrap());
    let listener = TcpListener::bind((host.as_str(), 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Waits until something holds.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not in {limit:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// `python3 -m http.server` over a folder: a server that is not ours. Nothing where there is no python3.
pub fn foreign_server(folder: &Path) -> Option<(Child, String)> {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        return None;
    }
    let address = free_address();
    Some((foreign_server_at(folder, &address), format!("http://{address}")))
}

/// The same at an address of one's choice.
pub fn foreign_server_at(folder: &Path, address: &str) -> Child {
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", port, "--bind", host, "--directory"]).arg(folder);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("python3 listens", Duration::from_secs(20), || std::net::TcpStream::connect(address).is_ok());
    child
}
