//! Where a request goes: its path in one form, and its URL as the payer sees it.
//! Source: RFC 9112 §3.2 (origin, absolute and asterisk form); web.md profile (the resource is part of TID_PY).

use axum::http::{HeaderMap, Uri, header};

use crate::path::{CleanPath, PathFault, TARGET_BYTES_MAX};

/// The longest URL of a page that costs something: it stands in headers and in what the payer signs for.
pub const PRICED_URL_BYTES_MAX: usize = 1000;

/// How the gate is seen from outside.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// Scheme and host that payers see, such as `https://shop.example`; by default what each request says.
    pub public_url: Option<String>,
    /// Whether this listener speaks TLS itself.
    pub tls: bool,
    /// Whether a proxy of one's own stands in front, whose `X-Forwarded-*` counts.
    pub trust_forwarded: bool,
}

/// Where a request goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) path: CleanPath,
    /// Path and query for the service.
    pub(crate) onward: String,
    pub(crate) scheme: String,
    pub(crate) host: String,
}

/// Why it cannot be told where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TargetFault {
    Path(PathFault),
    Host,
}

impl Target {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap, outside: &Outside) -> Result<Self, TargetFault> {
        let path = CleanPath::parse(uri.path()).map_err(TargetFault::Path)?;
        let mut onward = path.as_str().to_owned();
        if let Some(query) = uri.query() {
            onward.push('?');
            onward.push_str(&clean_query(query).map_err(TargetFault::Path)?);
        }
        if onward.len() > TARGET_BYTES_MAX {
            return Err(TargetFault::Path(PathFault::TooLong));
        }
        let named = host_of(uri, headers)?;
        let (scheme, host) = outside.seen(headers, named);
        Ok(Self { path, onward, scheme, host })
    }

    /// The URL, as the payer sees it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.onward)
    }
}

impl Outside {
    fn seen(&self, headers: &HeaderMap, named: String) -> (String, String) {
        let own = self.public_url.as_deref().and_then(|url| url.trim_end_matches('/').split_once("://"));
        if let Some((scheme, host)) = own {
            return (scheme.to_owned(), host.to_owned());
        }
        let said = |name: &str| {
            let value = headers.get(name).filter(|_| self.trust_forwarded)?.to_str().ok()?;
            value.split(',').next().map(|first| first.trim().to_ascii_lowercase())
        };
        let scheme = said("x-forwarded-proto").filter(|s| matches!(s.as_str(), "http" | "https"));
        let host = said("x-forwarded-host").filter(|host| is_host(host));
        let default = if self.tls { "https" } else { "http" };
        (scheme.unwrap_or_else(|| default.to_owned()), host.unwrap_or(named))
    }
}

/// The one host: that of an absolute target counts more than the header (RFC 9112 §3.2.2).
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<String, TargetFault> {
    let mut values = headers.get_all(header::HOST).iter();
    let (header, None) = (values.next(), values.next()) else { return Err(TargetFault::Host) };
    let header = header.map(|value| value.to_str().map_err(|_| TargetFault::Host)).transpose()?;
    let host = uri.authority().map(axum::http::uri::Authority::as_str).or(header);
    host.map(str::to_ascii_lowercase).filter(|host| is_host(host)).ok_or(TargetFault::Host)
}

/// A name or address with or without a port, and nothing that could mean more than that.
pub(crate) fn is_host(host: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !host.is_empty() && host.len() <= 255 && host.bytes().all(allowed)
}

/// A query is the service's business; only what does not belong into a header or a URL is escaped.
fn clean_query(query: &str) -> Result<String, PathFault> {
    let mut out = String::with_capacity(query.len());
    for byte in query.bytes() {
        match byte {
            b if b.is_ascii_control() => return Err(PathFault::Control),
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b' ' | 0x80.. => {
                out.push_str(&format!("%{byte:02X}"));
            }
            b => out.push(char::from(b)),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn url(target: &str, pairs: &[(&'static str, &str)], outside: &Outside) -> Result<String, TargetFault> {
        Target::of(&target.parse().unwrap(), &headers(pairs), outside).map(|t| t.url())
    }

    #[test]
    fn the_url_is_the_one_that_the_payer_sees() {
        let plain = Outside::default();
        let ours =
            [("host", "Shop.example:8080"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")];
        assert_eq!(url("/a//b?q=1&r=%2F", &ours, &plain).unwrap(), "http://shop.example:8080/a/b?q=1&r=%2F");
        let behind = Outside { trust_forwarded: true, ..Outside::default() };
        let said =
            [("host", "10.0.0.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.example")];
        assert_eq!(url("/a", &said, &behind).unwrap(), "https://shop.example/a");
        let fixed = Outside { public_url: Some("https://shop.example/".into()), ..Outside::default() };
        assert_eq!(url("/a", &ours, &fixed).unwrap(), "https://shop.example/a");
        let tls = Outside { tls: true, ..Outside::default() };
        assert_eq!(url("/a", &[("host", "[::1]:7410")], &tls).unwrap(), "https://[::1]:7410/a");
    }

    #[test]
    fn an_absolute_target_is_priced_by_its_path_and_names_the_host() {
        let plain = Outside::default();
        assert_eq!(url("http://shop/x/../a?b", &[("host", "other")], &plain).unwrap(), "http://shop/a?b");
        assert_eq!(url("http://u@shop/a", &[("host", "shop")], &plain), Err(TargetFault::Host));
    }

    #[test]
    fn a_host_is_one_and_is_only_a_host() {
        let plain = Outside::default();
        for bad in ["a/b", "a b", "u@a", "a?b", "a#b", "", "a\"b"] {
            assert_eq!(url("/", &[("host", bad)], &plain), Err(TargetFault::Host), "{bad}");
        }
        assert_eq!(url("/", &[], &plain), Err(TargetFault::Host));
        assert_eq!(url("/", &[("host", "a"), ("host", "a")], &plain), Err(TargetFault::Host));
    }

    #[test]
    fn a_query_is_passed_on_and_cannot_break_out() {
        let found = clean_query("x=\"{}|^`<> \\&y=%zz&é").unwrap();
        assert_eq!(found, "x=%22%7B%7D%7C%5E%60%3C%3E%20%5C&y=%zz&%C3%A9");
        assert_eq!(clean_query("a\r\nb"), Err(PathFault::Control));
    }
}
