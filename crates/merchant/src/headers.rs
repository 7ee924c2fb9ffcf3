//! Which header fields pass the gate. Source: RFC 9110 §7.6.1 (hop-by-hop); web.md §4 (6, 8, 9).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::x402::PAYMENT_SIGNATURE;

/// Cookies whose name begins like this are the gate's own.
pub const OWN_COOKIE_PREFIXES: [&str; 2] = ["florin-gate-", "__Host-florin-gate-"];

/// What a browser's script may read of an answer.
pub(crate) const EXPOSED: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, Payment-Receipt, WWW-Authenticate";
/// What a browser's script may send.
pub(crate) const ALLOWED: &str = "PAYMENT-SIGNATURE, Authorization, Payment-Authorization, \
                                  Access-Control-Expose-Headers, Accept-Payment, Content-Type";

const HOP_BY_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "proxy-authenticate", "transfer-encoding", "upgrade"];
/// By these a request tells some services that it is another one than it was priced as.
const DISGUISES: [&str; 6] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
];
/// What only a proxy in front of the gate may say.
const FORWARDED: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-ssl",
    "x-real-ip",
];

/// The header names that `Connection` lists.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// The protocol that is asked for, or agreed on, in place of HTTP.
pub(crate) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = listed(headers).contains(&header::UPGRADE);
    headers.get(header::UPGRADE).filter(|_| asked).cloned()
}

/// Removes what concerns one connection only.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Nobody may make the gate drop what it relies on by naming it in `Connection`.
    let kept = [header::HOST, header::CONTENT_LENGTH, header::CACHE_CONTROL, header::SET_COOKIE];
    for name in listed(headers).iter().filter(|name| !kept.contains(name)) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Makes a request's header what the service gets: without payments and disguises, with where it came from.
pub(crate) fn for_service(headers: &mut HeaderMap, from: &Origin<'_>) {
    let trailers = headers.get_all(header::TE).iter().any(says_trailers);
    strip_hop_by_hop(headers);
    strip_payments(headers);
    for name in DISGUISES {
        headers.remove(name);
    }
    // The listener has answered `Expect` already.
    for name in [header::TE, header::EXPECT, header::PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    forwarded(headers, from);
}

fn says_trailers(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|v| v.split(',').any(|one| one.trim().eq_ignore_ascii_case("trailers")))
}

/// Where a request came from.
pub(crate) struct Origin<'a> {
    /// The address of the other end.
    pub(crate) address: Option<std::net::IpAddr>,
    /// `http` or `https`, as the payer sees it.
    pub(crate) scheme: &'a str,
    /// The host that the payer named.
    pub(crate) host: &'a str,
    /// Whether the other end is a proxy of one's own, whose word counts.
    pub(crate) trusted: bool,
}

fn forwarded(headers: &mut HeaderMap, from: &Origin<'_>) {
    let before = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
    let mut chain: Vec<String> = if from.trusted { before.map(str::to_owned).collect() } else { Vec::new() };
    if !from.trusted {
        for name in FORWARDED {
            headers.remove(name);
        }
    }
    chain.extend(from.address.map(|address| address.to_canonical().to_string()));
    set(headers, "x-forwarded-for", &chain.join(", "));
    set(headers, "x-forwarded-proto", from.scheme);
    set(headers, "x-forwarded-host", from.host);
    if let Ok(host) = HeaderValue::from_str(from.host) {
        headers.insert(header::HOST, host);
    }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) if !value.is_empty() => drop(headers.insert(name, value)),
        _ => drop(headers.remove(name)),
    }
}

/// Removes everything that pays: bearer money is nobody's business behind the gate.
pub(crate) fn strip_payments(headers: &mut HeaderMap) {
    headers.remove(PAYMENT_SIGNATURE);
    headers.remove("payment-authorization");
    keep_values(headers, &header::AUTHORIZATION, |value| {
        let scheme = value.as_bytes().split(|b| *b == b' ' || *b == b'\t').next().unwrap_or_default();
        (!scheme.eq_ignore_ascii_case(b"payment")).then(|| value.clone())
    });
    keep_values(headers, &header::COOKIE, |value| {
        let Ok(text) = value.to_str() else { return Some(value.clone()) };
        let own = |pair: &&str| OWN_COOKIE_PREFIXES.iter().any(|own| pair.trim_start().starts_with(own));
        if !text.split(';').any(|pair| own(&pair)) {
            return Some(value.clone());
        }
        let kept: Vec<&str> = text.split(';').filter(|pair| !own(pair)).map(str::trim).collect();
        HeaderValue::from_str(&kept.join("; ")).ok().filter(|v| !v.is_empty())
    });
}

fn keep_values(
    headers: &mut HeaderMap,
    name: &HeaderName,
    keep: impl Fn(&HeaderValue) -> Option<HeaderValue>,
) {
    let kept: Vec<HeaderValue> = headers.get_all(name).iter().filter_map(keep).collect();
    headers.remove(name);
    for value in kept {
        headers.append(name.clone(), value);
    }
}

/// A paid answer belongs to who paid: no shared cache may keep it.
pub(crate) fn make_private(headers: &mut HeaderMap) {
    let before: Vec<&str> =
        headers.get_all(header::CACHE_CONTROL).iter().filter_map(|v| v.to_str().ok()).collect();
    let before = before.join(",");
    let value = if before.contains('"') {
        // A quoted list of names cannot be taken apart safely here.
        "private, no-store".to_owned()
    } else {
        let shared = |d: &&str| {
            let name = d.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
            !name.is_empty() && !["public", "private", "s-maxage"].contains(&name.as_str())
        };
        let rest = before.split(',').map(str::trim).filter(shared);
        std::iter::once("private").chain(rest).collect::<Vec<_>>().join(", ")
    };
    let value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("private, no-store"));
    headers.insert(header::CACHE_CONTROL, value);
    for name in ["cdn-cache-control", "surrogate-control"] {
        headers.remove(name);
    }
}

/// Lets a browser's script read what the gate says, besides what the service lets it read.
pub(crate) fn expose(headers: &mut HeaderMap) {
    let before: Vec<&str> = headers
        .get_all(header::ACCESS_CONTROL_EXPOSE_HEADERS)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .filter(|v| !v.trim().is_empty())
        .collect();
    let all = before.into_iter().chain([EXPOSED]).collect::<Vec<_>>().join(", ");
    let value = HeaderValue::from_str(&all).unwrap_or(HeaderValue::from_static(EXPOSED));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn all<'a>(map: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        map.get_all(name).iter().map(|v| v.to_str().unwrap()).collect()
    }

    #[test]
    fn payments_never_reach_the_service() {
        let mut map = headers(&[
            ("payment-signature", "secret"),
            ("payment-authorization", "Payment secret"),
            ("authorization", "payment secret"),
            ("authorization", "Payment\tsecret"),
            ("authorization", "Basic abc"),
            ("cookie", "a=1; florin-gate-pass=secret; b=2"),
            ("cookie", "__Host-florin-gate-x=secret"),
            ("cookie", "c=3;d=4"),
        ]);
        strip_payments(&mut map);
        assert_eq!(all(&map, "authorization"), ["Basic abc"]);
        assert_eq!(all(&map, "cookie"), ["a=1; b=2", "c=3;d=4"]);
        assert!(!map.values().any(|v| v.to_str().unwrap().contains("secret")));
    }

    #[test]
    fn what_concerns_one_connection_stays_there() {
        let mut map = headers(&[
            ("connection", "close, X-Mine, host, content-length"),
            ("x-mine", "1"),
            ("host", "a"),
            ("content-length", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("trailer", "x-sum"),
            ("expect", "100-continue"),
            ("x-http-method-override", "POST"),
            ("x-original-url", "/paid"),
        ]);
        let from =
            Origin { address: Some([9, 9, 9, 9].into()), scheme: "https", host: "shop", trusted: false };
        for_service(&mut map, &from);
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "content-length",
            "host",
            "te",
            "trailer",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
        ];
        assert_eq!(names, expected);
        assert_eq!(all(&map, "te"), ["trailers"]);
        assert_eq!(all(&map, "host"), ["shop"]);
    }

    #[test]
    fn only_a_proxy_of_ones_own_is_believed() {
        let said = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
        ]);
        let (mut believed, mut not) = (said.clone(), said);
        let from =
            |trusted| Origin { address: Some([9, 9, 9, 9].into()), scheme: "https", host: "shop", trusted };
        for_service(&mut believed, &from(true));
        for_service(&mut not, &from(false));
        assert_eq!(all(&believed, "x-forwarded-for"), ["1.1.1.1, 9.9.9.9"]);
        assert_eq!(all(&not, "x-forwarded-for"), ["9.9.9.9"]);
        assert!(all(&not, "forwarded").is_empty() && all(&not, "x-real-ip").is_empty());
    }

    #[test]
    fn a_paid_answer_is_kept_by_nobody_else() {
        for (before, after) in [
            (vec![], "private"),
            (vec!["public, max-age=60"], "private, max-age=60"),
            (vec!["max-age=60", "S-MaxAge=600, immutable"], "private, max-age=60, immutable"),
            (vec!["no-store"], "private, no-store"),
            (vec!["private"], "private"),
            (vec!["no-cache=\"a, public\""], "private, no-store"),
        ] {
            let pairs: Vec<_> = before.iter().map(|v| ("cache-control", *v)).collect();
            let mut map = headers(&pairs);
            map.insert("cdn-cache-control", HeaderValue::from_static("public"));
            make_private(&mut map);
            assert_eq!(all(&map, "cache-control"), [after], "{before:?}");
            assert!(!map.contains_key("cdn-cache-control"));
        }
    }

    #[test]
    fn what_the_service_exposes_stays_exposed() {
        let mut map = headers(&[("access-control-expose-headers", "X-Total")]);
        expose(&mut map);
        assert_eq!(all(&map, "access-control-expose-headers"), [format!("X-Total, {EXPOSED}")]);
    }
}
