//! TLS for listeners, and the rule that plain HTTP is for loopback only.
//! Source: RFC 8446, RFC 5246 through rustls; G12.
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The certificate file cannot be read as PEM certificates.
    #[error("cannot read certificates from {path}: {source}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("there is no certificate in {path}")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file cannot be read as one PEM private key.
    #[error("cannot read a private key from {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rustls_pki_types::pem::Error,
    },
    /// rustls refuses the certificate or the key, or they do not belong together.
    #[error("the certificate or key is not usable: {0}")]
    NotUsable(#[from] rustls::Error),
}

/// Why an address may not be listened on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BindFault {
    /// Reachable by others without TLS.
    #[error("plain HTTP is for loopback only: give a certificate and a key to listen on {address}")]
    PlainBeyondLoopback {
        /// The address.
        address: SocketAddr,
    },
}

/// Refuses to listen without TLS on anything but loopback.
///
/// # Errors
/// [`BindFault::PlainBeyondLoopback`].
pub const fn check_bind(address: SocketAddr, tls: bool) -> Result<(), BindFault> {
    if tls || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(BindFault::PlainBeyondLoopback { address })
}

/// An acceptor from PEM files: the certificate chain, leaf first, and its private key.
///
/// # Errors
/// In order: unreadable or empty certificates, unreadable key, certificate and key not usable together.
pub fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, TlsFault> {
    let chain = read_certificates(certificates)?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|source| TlsFault::Key { path: key.to_owned(), source })?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A client's TLS: the public roots, and those of a file as well.
pub(crate) fn client_config(extra: Option<&Path>) -> Result<rustls::ClientConfig, TlsFault> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra {
        for certificate in read_certificates(path)? {
            roots.add(certificate)?;
        }
    }
    Ok(rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|source| TlsFault::Certificates { path: path.to_owned(), source })?;
    if chain.is_empty() {
        return Err(TlsFault::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}

/// Named here each time, so that no program depends on a process-wide default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
