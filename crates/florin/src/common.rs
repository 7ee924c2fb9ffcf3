//! Options that programs with keys share: where their state is, and what opens it. Source: architecture.md, "Conventions".

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use florin_http::{Client, ClientConfig};
use florin_shell::exit::ExitCode;
use florin_shell::home;
use florin_shell::passphrase::{NO_PASSPHRASE_WARNING, Passphrase, PassphraseSource, Purpose};
use florin_shell::vault::{SECOND_FACTOR_FILE, Vault};

use crate::failure::Failure;

/// Where a program's state is, and what opens it.
#[derive(Args, Clone, Debug)]
pub struct StateArgs {
    /// The folder of the state [default: $FLORIN_HOME/ROLE, else the XDG state folder].
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Reads the passphrase from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "no_passphrase")]
    pub passphrase_file: Option<PathBuf>,
    /// Uses no passphrase.
    #[arg(long)]
    pub no_passphrase: bool,
    /// The second factor, a key file in another folder [default: the XDG config folder; beside DIR if that is given].
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Uses no second factor (only when the keys are made).
    #[arg(long, conflicts_with = "key_file")]
    pub no_key_file: bool,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Places {
    /// The state.
    pub state: PathBuf,
    /// The second factor's file.
    pub second: Option<PathBuf>,
}

impl StateArgs {
    /// The folder of the state.
    pub fn state(&self, role: &str) -> Result<PathBuf, Failure> {
        Ok(match &self.dir {
            Some(dir) => absolute(dir)?,
            None => home::role_dir(role)?,
        })
    }

    /// Where state and second factor are.
    pub fn places(&self, role: &str) -> Result<Places, Failure> {
        let state = self.state(role)?;
        let second = match (&self.key_file, self.no_key_file, &self.dir) {
            (_, true, _) => None,
            (Some(file), false, _) => Some(absolute(file)?),
            (None, false, None) => Some(home::key_dir(role)?.join(SECOND_FACTOR_FILE)),
            (None, false, Some(_)) => Some(beside(&state).join(SECOND_FACTOR_FILE)),
        };
        Ok(Places { state, second })
    }

    /// The passphrase for keys that are made now.
    pub fn new_passphrase(&self) -> Result<Passphrase, Failure> {
        if self.no_passphrase {
            eprintln!("{NO_PASSPHRASE_WARNING}");
        }
        Ok(Passphrase::read(&self.source(), Purpose::Create)?)
    }

    /// The passphrase for the keys in `dir`; not asked for where they have none.
    pub fn passphrase(&self, dir: &Path) -> Result<Passphrase, Failure> {
        if !Vault::needs(dir)?.passphrase {
            return Ok(Passphrase::none());
        }
        Ok(Passphrase::read(&self.source(), Purpose::Open)?)
    }

    fn source(&self) -> PassphraseSource {
        match (&self.passphrase_file, self.no_passphrase) {
            (Some(file), _) => PassphraseSource::File(file.clone()),
            (None, true) => PassphraseSource::None,
            (None, false) => PassphraseSource::Prompt,
        }
    }
}

/// `DIR.keys`, beside the state, not in it.
fn beside(state: &Path) -> PathBuf {
    let mut name = state.file_name().unwrap_or_default().to_os_string();
    name.push(".keys");
    state.with_file_name(name)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::of(ExitCode::Usage, format!("{}: {e}", path.display())))
}

/// What was started in the background a moment ago may not listen yet: waits for it, a little while. Whether it is there
/// is for the request itself to say.
pub async fn await_listener(url: &str) {
    let host =
        url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default().to_owned();
    for _ in 0..LISTENS_TRIES {
        if host.contains(':') && tokio::net::TcpStream::connect(&host).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else {
            return;
        }
    }
}

/// Tries of a tenth of a second each.
const LISTENS_TRIES: u32 = 50;

/// A client for others' pages.
pub fn client(ca_file: Option<PathBuf>) -> Result<Client, Failure> {
    Client::new(ClientConfig { ca_file, ..ClientConfig::default() })
        .map_err(|e| Failure::of(ExitCode::Configuration, e.to_string()))
}
