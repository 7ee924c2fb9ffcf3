//! Registration is open to everybody, so it is limited by address. Source: VarietyCash §3 (spoilers at registration); G10.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use florin_http::{PeerAddress, Problem};

const HOUR: Duration = Duration::from_secs(3600);
/// Addresses remembered at a time; when there are more, those whose hour is over are forgotten first.
const ADDRESSES_MAX: usize = 16_384;

/// How many registrations an address has made since when.
pub struct Limit {
    per_hour: u32,
    seen: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Limit {
    /// At most so many an hour from one address.
    #[must_use]
    pub fn new(per_hour: u32) -> Self {
        Self { per_hour, seen: Mutex::new(HashMap::new()) }
    }

    /// Counts one; false if it is too many.
    fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ADDRESSES_MAX {
            seen.retain(|_, (since, _)| now.duration_since(*since) < HOUR);
            if seen.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let (since, count) = seen.entry(address).or_insert((now, 0));
        if now.duration_since(*since) >= HOUR {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= self.per_hour
    }
}

/// Refuses what is too many.
pub async fn limit(State(limit): State<Arc<Limit>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerAddress>().map(|p| p.0.ip());
    match peer {
        Some(address) if !limit.admit(address, Instant::now()) => {
            Problem::from(florin_http::serve::TOO_MANY_REQUESTS.after(600)).into_response()
        }
        _ => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_number_and_another_hour_gives_it_anew() {
        let limit = Limit::new(2);
        let (a, b) = (IpAddr::from([1, 1, 1, 1]), IpAddr::from([2, 2, 2, 2]));
        let now = Instant::now();
        assert!(limit.admit(a, now) && limit.admit(a, now));
        assert!(!limit.admit(a, now));
        assert!(limit.admit(b, now));
        assert!(limit.admit(a, now + HOUR));
    }
}
