//! Which URLs a client may send to: https, or plain http on loopback. Source: G12.
use axum::http::Uri;
use std::net::IpAddr;

/// Why a URL is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlFault {
    /// Not a URL.
    #[error("it cannot be read")]
    Unreadable,
    /// Another scheme than http or https, or none.
    #[error("it must begin with https:// (or http:// on loopback)")]
    Scheme,
    /// No host.
    #[error("it names no host")]
    NoHost,
    /// A user name or password stands before the host, where it can pass for one.
    #[error("it must not hold a user name")]
    UserName,
    /// Plain http to another machine.
    #[error("plain http is for loopback only; use https")]
    PlainBeyondLoopback,
}

/// Reads a URL and checks that it may be used: https, or http to loopback (`localhost`, 127.0.0.0/8, `[::1]`).
///
/// # Errors
/// In the order of [`UrlFault`].
pub fn check_url(url: &str) -> Result<Uri, UrlFault> {
    let uri: Uri = url.parse().map_err(|_| UrlFault::Unreadable)?;
    check_uri(&uri, &[])?;
    Ok(uri)
}

/// As [`check_url`], with hosts to which plain http is allowed as well.
pub(crate) fn check_uri(uri: &Uri, plain_http_hosts: &[String]) -> Result<(), UrlFault> {
    let plain = match uri.scheme_str() {
        Some("https") => false,
        Some("http") => true,
        _ => return Err(UrlFault::Scheme),
    };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(UrlFault::NoHost)?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(UrlFault::UserName);
    }
    let allowed = || plain_http_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host));
    if plain && !is_loopback(host) && !allowed() {
        return Err(UrlFault::PlainBeyondLoopback);
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_on_loopback_only() {
        for good in [
            "https://shop.example/a?b=c",
            "https://192.0.2.1:8443/",
            "http://127.0.0.1:7400/",
            "http://127.9.9.9/",
            "http://[::1]:7400/v1",
            "http://localhost:7410",
            "http://LOCALHOST/",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("http://shop.example/", UrlFault::PlainBeyondLoopback),
            ("http://192.168.0.1/", UrlFault::PlainBeyondLoopback),
            ("http://localhost.evil.example/", UrlFault::PlainBeyondLoopback),
            ("http://127.0.0.1.evil.example/", UrlFault::PlainBeyondLoopback),
            ("http://0x7f000001/", UrlFault::PlainBeyondLoopback),
            ("http://127.0.0.1@evil.example/", UrlFault::UserName),
            ("https://user:pass@shop.example/", UrlFault::UserName),
            ("ftp://127.0.0.1/", UrlFault::Scheme),
            ("/only/a/path", UrlFault::Scheme),
            ("127.0.0.1:7400", UrlFault::Scheme),
            ("http://", UrlFault::Unreadable),
            ("http://a b/", UrlFault::Unreadable),
            ("", UrlFault::Unreadable),
        ] {
            assert_eq!(check_url(bad), Err(fault), "{bad}");
        }
    }

    #[test]
    fn plain_http_to_a_named_host_is_allowed_only_when_listed() {
        let uri: Uri = "http://app:8000/".parse().unwrap();
        assert_eq!(check_uri(&uri, &[]), Err(UrlFault::PlainBeyondLoopback));
        assert_eq!(check_uri(&uri, &["app".to_owned()]), Ok(()));
        assert_eq!(check_uri(&uri, &["ap".to_owned()]), Err(UrlFault::PlainBeyondLoopback));
    }
}
