//! HTTP for every Florin program: framing, limits, TLS, the accept loop, refusals as problem+json, operating
//! routes, and the asking side. The only place with status codes. Knows nothing of money or of any rail.
//! Source: RFC 9110, RFC 9112, RFC 9457; G10, G12; reliability findings 4, R2 and R13-R15.
pub mod body;
pub mod client;
pub mod fallback;
pub mod host;
pub mod limits;
pub mod metrics;
mod pace;
pub mod problem;
pub mod serve;
pub mod stop;
pub mod tls;
pub mod url;

pub use body::{read_body, require_type};
pub use client::{Answer, Client, ClientConfig, NotSentCause, SendError, UnknownCause};
pub use fallback::with_fallbacks;
pub use host::only_hosts;
pub use limits::{Limits, RateLimit};
pub use metrics::{Counter, Gauge, Histogram, Registry, operating_routes};
pub use problem::{Problem, ProblemView, status_of};
pub use serve::{PeerAddress, ServeCounters, ServeReport, serve, serve_counted};
pub use stop::Stop;
pub use tls::{BindFault, TlsFault, acceptor, check_bind};
pub use tokio_rustls::TlsAcceptor;
pub use url::{UrlFault, check_url};
