//! An exact list of host names a page answers to, so that a foreign name which resolves to loopback (DNS
//! rebinding) reaches nothing. Source: RFC 9110 §7.2, §15.5.20.
use crate::problem::Problem;
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use florin_rail::{Blame, Class, Refusal};
use std::sync::Arc;

/// The request names a host that is not served here.
pub const WRONG_HOST: Refusal = Refusal::new("wrong-host", Class::UnknownHost, Blame::Asker, false);

/// Lets a request through only if its host (`name:port` as the browser sends it) is in the list.
pub fn only_hosts(router: Router, hosts: impl IntoIterator<Item = impl Into<String>>) -> Router {
    let hosts: Arc<[String]> = hosts.into_iter().map(Into::into).collect();
    router.layer(from_fn(move |request: Request, next: Next| {
        let hosts = Arc::clone(&hosts);
        async move { check(&hosts, request, next).await }
    }))
}

async fn check(hosts: &[String], request: Request, next: Next) -> Response {
    if names_one_of(hosts, request.uri(), request.headers()) {
        return next.run(request).await;
    }
    Problem::from(WRONG_HOST).into_response()
}

/// The one Host header must be listed, and so must the authority of an absolute request target.
fn names_one_of(hosts: &[String], uri: &Uri, headers: &HeaderMap) -> bool {
    let listed = |name: &str| hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
    let mut values = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (values.next(), values.next()) else { return false };
    host.to_str().is_ok_and(listed) && uri.authority().is_none_or(|authority| listed(authority.as_str()))
}
