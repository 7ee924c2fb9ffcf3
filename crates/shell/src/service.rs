//! A program that listens: bind, serve until told to stop, and stop when the books have failed.
//! Source: architecture.md, "Conventions" (plain HTTP on loopback only); books.md (an error inside append or fsync).

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use florin_http::{BindFault, Limits, ServeCounters, ServeReport, Stop, TlsAcceptor, TlsFault};
use florin_store::Books;
use tokio::net::{TcpListener, TcpSocket};

use crate::descriptors::within_descriptors;
use crate::exit::ExitCode;

/// How often the books are asked whether they still stand. Nothing is acknowledged in between: who asks for a commit
/// is told at once that they have stopped.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted. The usual 128 are full as soon as many come at once, and whoever is turned away by
/// the kernel tries again only after a second; the kernel takes less where `net.core.somaxconn` says so.
const BACKLOG: u32 = 4096;
/// How often a port that is taken is tried again.
const PORT_TRIES: u32 = 20;

/// Where a program listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// The PEM file of the certificate chain, leaf first.
    pub tls_cert: Option<PathBuf>,
    /// The PEM file of its private key.
    pub tls_key: Option<PathBuf>,
}

/// Why a program cannot listen, in the order of checking.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// One of the two files without the other.
    #[error("a TLS certificate and its key go together: {given} is given alone")]
    TlsHalf {
        /// The setting that is there.
        given: &'static str,
    },
    /// Plain HTTP where others can reach it.
    #[error(transparent)]
    Plain(#[from] BindFault),
    /// The certificate or key is not usable.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// Somebody else has the port, or it may not be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl ServiceError {
    /// How a program ends because of it.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::TlsHalf { .. } | Self::Plain(_) | Self::Tls(_) => ExitCode::Configuration,
            Self::Bind { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => ExitCode::Busy,
                io::ErrorKind::PermissionDenied => ExitCode::NotAllowed,
                _ => ExitCode::Configuration,
            },
        }
    }
}

/// An open listener. No connection is accepted before [`serve_until`].
pub struct Bound {
    /// The listener.
    pub listener: TcpListener,
    /// TLS, if any.
    pub acceptor: Option<TlsAcceptor>,
    /// The address with the port that was really taken.
    pub address: SocketAddr,
}

impl Bound {
    /// Its URL for people on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.acceptor.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

impl Listen {
    /// Plain HTTP at an address.
    #[must_use]
    pub const fn plain(address: SocketAddr) -> Self {
        Self { address, tls_cert: None, tls_key: None }
    }

    /// Checks what can be checked without taking the port, and gives the TLS acceptor: for `config check`.
    ///
    /// # Errors
    /// `TlsHalf`, `Plain`, `Tls`.
    pub fn check(&self) -> Result<Option<TlsAcceptor>, ServiceError> {
        let files = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => return Err(ServiceError::TlsHalf { given: "tls_cert" }),
            (None, Some(_)) => return Err(ServiceError::TlsHalf { given: "tls_key" }),
        };
        florin_http::check_bind(self.address, files.is_some())?;
        Ok(files.map(|(cert, key)| florin_http::acceptor(cert, key)).transpose()?)
    }

    /// Takes the port.
    ///
    /// # Errors
    /// `TlsHalf`, `Plain`, `Tls`, `Bind`.
    pub async fn bind(&self) -> Result<Bound, ServiceError> {
        let acceptor = self.check()?;
        let failed = |source| ServiceError::Bind { address: self.address, source };
        let listener = patiently(self.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Bound { listener, acceptor, address })
    }
}

/// A process that was killed a moment ago may still have the port.
async fn patiently(address: SocketAddr) -> io::Result<TcpListener> {
    let mut tries = PORT_TRIES;
    loop {
        match listen(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {
                tries = tries.saturating_sub(1);
                tokio::time::sleep(LOOK_EVERY).await;
            }
            other => return other,
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop`, then lets what is under way finish; see [`florin_http::serve()`]. Connections leave descriptors for
/// the books ([`within_descriptors`]).
pub async fn serve_until(
    bound: Bound,
    router: Router,
    limits: Limits,
    counters: ServeCounters,
    stop: Stop,
) -> ServeReport {
    let Bound { listener, acceptor, address } = bound;
    let limits = within_descriptors(limits);
    tracing::info!(%address, tls = acceptor.is_some(), "listening");
    let report = florin_http::serve_counted(listener, acceptor, router, limits, stop, counters).await;
    tracing::info!(%address, requests = report.requests_served, drained = report.drained, "stopped listening");
    report
}

/// Watches the books until `stop`; if they fail, triggers it. Run it beside [`serve_until`] and end with its answer:
/// `Io` (74) if they failed, even while others stopped the program, else `Done`.
pub async fn watch_failure(books: &Books, stop: &Stop) -> ExitCode {
    watch(|| books.is_failed(), stop).await
}

async fn watch(is_failed: impl Fn() -> bool, stop: &Stop) -> ExitCode {
    loop {
        if is_failed() {
            tracing::error!("the books cannot be written any more: stopping; start again to recover");
            stop.trigger();
            return ExitCode::Io;
        }
        if stop.is_triggered() {
            return ExitCode::Done;
        }
        tokio::select! {
            () = stop.stopped() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn listen(address: &str) -> Listen {
        Listen::plain(address.parse().unwrap())
    }

    async fn fault(listen: &Listen) -> ServiceError {
        listen.bind().await.err().unwrap()
    }

    #[tokio::test]
    async fn plain_http_is_for_loopback_and_tls_is_whole_or_not_at_all() {
        assert!(matches!(fault(&listen("0.0.0.0:0")).await, ServiceError::Plain(_)));
        assert!(matches!(fault(&listen("192.0.2.1:0")).await, ServiceError::Plain(_)));
        let half = Listen { tls_cert: Some("cert.pem".into()), ..listen("127.0.0.1:0") };
        assert!(matches!(fault(&half).await, ServiceError::TlsHalf { given: "tls_cert" }));
        let half = Listen { tls_key: Some("key.pem".into()), ..listen("127.0.0.1:0") };
        assert!(matches!(fault(&half).await, ServiceError::TlsHalf { given: "tls_key" }));
        let none = Listen { tls_cert: Some("/none/cert.pem".into()), ..half };
        let unreadable = fault(&none).await;
        assert!(matches!(unreadable, ServiceError::Tls(_)));
        assert_eq!(unreadable.exit_code(), ExitCode::Configuration);
    }

    #[tokio::test]
    async fn many_may_wait_to_be_accepted() {
        let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let many = somaxconn.trim().parse::<usize>().unwrap().min(400);
        let bound = listen("127.0.0.1:0").bind().await.unwrap();
        let in_time = Duration::from_millis(700);
        let connect = |_| std::net::TcpStream::connect_timeout(&bound.address, in_time).unwrap();
        assert_eq!((0..many).map(connect).collect::<Vec<_>>().len(), many);
    }

    #[tokio::test]
    async fn a_port_is_had_by_one() {
        let first = listen("127.0.0.1:0").bind().await.unwrap();
        assert_ne!(first.address.port(), 0);
        assert_eq!(first.url(), format!("http://127.0.0.1:{}", first.address.port()));
        let second = fault(&Listen::plain(first.address)).await;
        assert_eq!(second.exit_code(), ExitCode::Busy);
    }

    #[tokio::test]
    async fn it_serves_until_it_is_stopped() {
        let bound = listen("127.0.0.1:0").bind().await.unwrap();
        let (address, stop) = (bound.address, Stop::new());
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let serving = serve_until(bound, router, Limits::default(), ServeCounters::default(), stop.clone());
        let serving = tokio::spawn(serving);
        let mut asker = tokio::net::TcpStream::connect(address).await.unwrap();
        asker.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        asker.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        stop.trigger();
        let report = serving.await.unwrap();
        assert!(report.drained && report.requests_served == 1, "{report:?}");
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn failed_books_stop_the_program_with_74() {
        let (asked, stop) = (Cell::new(0), Stop::new());
        let fails_later = || asked.replace(asked.get().min(1_u8).saturating_add(1)) >= 2;
        assert_eq!(watch(fails_later, &stop).await.number(), 74);
        assert!(stop.is_triggered());
    }

    #[tokio::test]
    async fn a_stop_ends_the_watch_and_a_failure_still_counts() {
        let stop = Stop::new();
        stop.trigger();
        assert_eq!(watch(|| false, &stop).await, ExitCode::Done);
        assert_eq!(watch(|| true, &stop).await, ExitCode::Io);
    }
}
