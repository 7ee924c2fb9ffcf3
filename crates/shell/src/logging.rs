//! Logs, to stderr: for people on a terminal, as JSON lines for collectors (`FLORIN_LOG_FORMAT=json`), as much as
//! `FLORIN_LOG` asks for. Source: G13 (nothing internal leaves); <https://no-color.org>.
//!
//! Bodies, keys and coins are in no log: our code never logs them, and what the libraries of the network have to say
//! below a warning (which at their finest levels is the traffic itself) is left out whatever the filter asks for.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::ExitCode;

/// What is logged if nothing else is said.
const FILTER: &str = "info";
/// Libraries that see the traffic.
const NETWORK: [&str; 6] = ["hyper", "hyper_util", "rustls", "tokio_rustls", "hyper_rustls", "axum"];

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// A variable is not text.
    #[error("{variable} is not UTF-8")]
    NotText {
        /// Which one.
        variable: &'static str,
    },
    /// `FLORIN_LOG` is no filter.
    #[error("FLORIN_LOG={value:?} is no log filter (as in `info` or `warn,florin_store=debug`): {source}")]
    Filter {
        /// What it says.
        value: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// `FLORIN_LOG_FORMAT` is neither.
    #[error("FLORIN_LOG_FORMAT={value:?}: it is `human` or `json`")]
    Format {
        /// What it says.
        value: String,
    },
    /// Somebody in this process has set up logs before.
    #[error("logs are set up already")]
    Twice,
}

impl LoggingError {
    /// How a program ends because of it.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        ExitCode::Configuration
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Human { color: bool },
    Json,
}

/// Sets up the logs of this process. Call once, first.
///
/// # Errors
/// `NotText`, `Filter`, `Format`, `Twice`.
pub fn start() -> Result<(), LoggingError> {
    start_at(FILTER)
}

/// As [`start`], with another filter for when `FLORIN_LOG` is not set: what a person runs by hand says less.
///
/// # Errors
/// `NotText`, `Filter`, `Format`, `Twice`.
pub fn start_at(filter: &str) -> Result<(), LoggingError> {
    let (filter, format) = settings(filter, io::stderr().is_terminal(), &|name| std::env::var_os(name))?;
    subscriber(filter, format, io::stderr).try_init().map_err(|_| LoggingError::Twice)
}

fn settings(
    otherwise: &str,
    terminal: bool,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(EnvFilter, Format), LoggingError> {
    let text = |variable: &'static str| {
        let set = lookup(variable).filter(|value| !value.is_empty());
        set.map(|value| value.into_string().map_err(|_| LoggingError::NotText { variable })).transpose()
    };
    let value = text("FLORIN_LOG")?.unwrap_or_else(|| otherwise.to_owned());
    let filter =
        EnvFilter::builder().parse(&value).map_err(|source| LoggingError::Filter { value, source })?;
    let plain = lookup("NO_COLOR").is_some_and(|value| !value.is_empty());
    let format = match text("FLORIN_LOG_FORMAT")?.as_deref() {
        None | Some("human") => Format::Human { color: terminal && !plain },
        Some("json") => Format::Json,
        Some(value) => return Err(LoggingError::Format { value: value.to_owned() }),
    };
    Ok((filter, format))
}

fn subscriber<W>(filter: EnvFilter, format: Format, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        Format::Human { color } => lines.with_ansi(color).with_target(false).boxed(),
        Format::Json => lines.with_ansi(false).json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter_fn(is_harmless)).with_filter(filter))
}

/// Whether it cannot be the traffic.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    let from = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::WARN || !NETWORK.contains(&from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn set(variables: &[(&str, &str)], terminal: bool) -> Result<(EnvFilter, Format), LoggingError> {
        let lookup = |name: &str| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
        };
        settings(FILTER, terminal, &lookup)
    }

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(variables: &[(&str, &str)]) -> String {
        let paper = Paper::default();
        let (filter, format) = set(variables, true).unwrap();
        let to = paper.clone();
        tracing::subscriber::with_default(subscriber(filter, format, move || to.clone()), || {
            tracing::info!(port = 7400, "ready \u{1b}[31m");
            tracing::debug!("detail");
            tracing::trace!(target: "hyper::proto::h1", "GET / cookie");
            tracing::warn!(target: "rustls::conn", "handshake failed");
        });
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn people_get_colour_on_a_terminal_only_and_not_with_no_color() {
        let format = |variables: &[(&str, &str)], terminal| set(variables, terminal).unwrap().1;
        assert_eq!(format(&[], true), Format::Human { color: true });
        assert_eq!(format(&[], false), Format::Human { color: false });
        assert_eq!(format(&[("NO_COLOR", "1")], true), Format::Human { color: false });
        assert_eq!(format(&[("NO_COLOR", "")], true), Format::Human { color: true });
        assert_eq!(format(&[("FLORIN_LOG_FORMAT", "json")], true), Format::Json);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(matches!(set(&[("FLORIN_LOG_FORMAT", "xml")], true), Err(LoggingError::Format { .. })));
        assert!(matches!(set(&[("FLORIN_LOG", "a=b=c")], true), Err(LoggingError::Filter { .. })));
    }

    #[test]
    fn the_filter_says_how_much_and_control_bytes_are_escaped() {
        let plain = written(&[("NO_COLOR", "1")]);
        assert!(
            plain.contains("ready") && plain.contains("port=7400") && !plain.contains("detail"),
            "{plain}"
        );
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert!(written(&[("FLORIN_LOG", "debug")]).contains("detail"));
        assert!(!written(&[("FLORIN_LOG", "error")]).contains("ready"));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let json = written(&[("FLORIN_LOG_FORMAT", "json")]);
        let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!((&first["level"], &first["port"]), (&"INFO".into(), &7400.into()));
    }

    #[test]
    fn traffic_is_in_no_log_however_fine() {
        for filter in ["trace", "hyper::proto::h1=trace,warn"] {
            let log = written(&[("FLORIN_LOG", filter)]);
            assert!(!log.contains("cookie") && log.contains("handshake failed"), "{log}");
        }
    }
}
