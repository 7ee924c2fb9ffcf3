//! Answers of the service that are held back until they are paid, in memory and within bounds.
//! Source: web.md §2.4 (`authorization`: the whole answer is held back until settled), §4 (5); issue, slice "authorization".

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, StatusCode};

use crate::program::GateConfig;
use crate::x402::SettleResponse;

/// How much is held back, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct HoldSettings {
    /// The largest answer, in bytes of its body.
    pub answer_bytes_max: usize,
    /// All of them together, those that are still expected counted as the largest.
    pub total_bytes_max: usize,
    /// How long the body of an answer may take.
    pub answer_time: Duration,
    /// How long an answer stays for a request that is repeated.
    pub keep: Duration,
}

impl Default for HoldSettings {
    fn default() -> Self {
        Self {
            answer_bytes_max: 1024 * 1024,
            total_bytes_max: 64 * 1024 * 1024,
            answer_time: Duration::from_secs(60),
            keep: Duration::from_secs(15 * 60),
        }
    }
}

impl HoldSettings {
    /// Those of a gate.
    #[must_use]
    pub fn of(config: &GateConfig) -> Self {
        let default = Self::default();
        Self {
            answer_bytes_max: config.hold_bytes_max,
            total_bytes_max: default.total_bytes_max.max(config.hold_bytes_max.saturating_mul(4)),
            answer_time: Duration::from_secs(config.upstream_timeout_s),
            keep: Duration::from_secs(config.replay_window_s.saturating_add(config.max_timeout_s)),
        }
    }
}

/// An answer of the service, whole.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Once it is settled, what `PAYMENT-RESPONSE` says.
    pub(crate) settled: Option<SettleResponse>,
}

impl Held {
    /// As it is sent.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    fn size(&self) -> usize {
        let headers = self.headers.iter().map(|(n, v)| n.as_str().len().saturating_add(v.len()));
        headers.fold(self.body.len(), usize::saturating_add)
    }
}

/// What stands under an order.
#[derive(Clone)]
pub(crate) enum Found {
    /// The service is being called.
    Calling,
    /// Its answer.
    Held(Box<Held>),
}

/// Why the service is not called now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoPlace {
    /// It is being called for this order.
    Calling,
    /// It has answered for this order.
    Held,
    /// Too much is held back already.
    Full,
}

struct Slot {
    found: Found,
    bytes: usize,
    since: Instant,
}

#[derive(Default)]
struct Inside {
    slots: HashMap<[u8; 16], Slot>,
    bytes: usize,
}

impl Inside {
    fn remove(&mut self, order: &[u8; 16]) {
        if let Some(slot) = self.slots.remove(order) {
            self.bytes = self.bytes.saturating_sub(slot.bytes);
        }
    }

    fn put(&mut self, order: [u8; 16], slot: Slot) {
        self.remove(&order);
        self.bytes = self.bytes.saturating_add(slot.bytes);
        self.slots.insert(order, slot);
    }

    /// Lets go of what is held longer than it is kept; then, while there is no room, of what is settled, the oldest first.
    /// What is not settled yet stays: its payer has a right to it and the service may not be asked twice.
    fn make_room(&mut self, wanted: usize, settings: &HoldSettings) -> bool {
        let old = |slot: &Slot| matches!(slot.found, Found::Held(..)) && slot.since.elapsed() > settings.keep;
        let gone: Vec<_> = self.slots.iter().filter(|(_, s)| old(s)).map(|(order, _)| *order).collect();
        gone.iter().for_each(|order| self.remove(order));
        while self.bytes.saturating_add(wanted) > settings.total_bytes_max {
            let settled = self
                .slots
                .iter()
                .filter(|(_, s)| matches!(&s.found, Found::Held(held) if held.settled.is_some()));
            let Some(oldest) = settled.min_by_key(|(_, s)| s.since).map(|(order, _)| *order) else {
                return false;
            };
            self.remove(&oldest);
        }
        true
    }
}

/// The answers that are held back, by their orders.
pub(crate) struct Shelf {
    settings: HoldSettings,
    inside: Mutex<Inside>,
}

impl Shelf {
    pub(crate) fn new(settings: HoldSettings) -> Self {
        Self { settings, inside: Mutex::default() }
    }

    pub(crate) const fn settings(&self) -> &HoldSettings {
        &self.settings
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place of an order: whoever has it calls the service, and nobody else does.
    pub(crate) fn reserve(self: &Arc<Self>, order: [u8; 16]) -> Result<Place, NoPlace> {
        let mut inside = self.inside();
        let bytes = self.settings.answer_bytes_max;
        let room = inside.make_room(bytes, &self.settings);
        match inside.slots.get(&order).map(|slot| &slot.found) {
            Some(Found::Calling) => return Err(NoPlace::Calling),
            Some(Found::Held(..)) => return Err(NoPlace::Held),
            None if !room => return Err(NoPlace::Full),
            None => {}
        }
        inside.put(order, Slot { found: Found::Calling, bytes, since: Instant::now() });
        Ok(Place { shelf: Arc::clone(self), order, held: false })
    }

    /// What stands under an order.
    pub(crate) fn find(&self, order: &[u8; 16]) -> Option<Found> {
        self.inside().slots.get(order).map(|slot| slot.found.clone())
    }

    /// The order is paid.
    pub(crate) fn settled(&self, order: &[u8; 16], response: &SettleResponse) {
        if let Some(Slot { found: Found::Held(held), .. }) = self.inside().slots.get_mut(order) {
            held.settled = Some(response.clone());
        }
    }

    /// The order never will be paid: nobody gets the answer.
    pub(crate) fn forget(&self, order: &[u8; 16]) {
        let mut inside = self.inside();
        if matches!(inside.slots.get(order), Some(Slot { found: Found::Held(..), .. })) {
            inside.remove(order);
        }
    }
}

/// The place of an order whose service is being called; free again when dropped.
pub(crate) struct Place {
    shelf: Arc<Shelf>,
    order: [u8; 16],
    held: bool,
}

impl Place {
    pub(crate) const fn order(&self) -> &[u8; 16] {
        &self.order
    }

    /// Puts the answer there.
    pub(crate) fn hold(mut self, answer: Held) {
        self.held = true;
        let (bytes, since) = (answer.size(), Instant::now());
        self.shelf.inside().put(self.order, Slot { found: Found::Held(Box::new(answer)), bytes, since });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.held {
            self.shelf.inside().remove(&self.order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(answers: usize) -> Arc<Shelf> {
        let settings = HoldSettings {
            answer_bytes_max: 100,
            total_bytes_max: answers.saturating_mul(100),
            ..HoldSettings::default()
        };
        Arc::new(Shelf::new(settings))
    }

    fn held(bytes: usize) -> Held {
        Held {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(vec![7; bytes]),
            settled: None,
        }
    }

    fn response() -> SettleResponse {
        serde_json::from_str(r#"{"success":true,"transaction":"pay_1","network":"florin:x"}"#).unwrap()
    }

    #[test]
    fn one_call_for_one_order_and_its_place_is_free_afterwards() {
        let shelf = shelf(2);
        let place = shelf.reserve([1; 16]).ok().unwrap();
        assert_eq!(shelf.reserve([1; 16]).err(), Some(NoPlace::Calling));
        assert!(matches!(shelf.find(&[1; 16]), Some(Found::Calling)));
        drop(place);
        assert!(shelf.find(&[1; 16]).is_none());
        shelf.reserve([1; 16]).ok().unwrap().hold(held(3));
        assert_eq!(shelf.reserve([1; 16]).err(), Some(NoPlace::Held));
        shelf.forget(&[1; 16]);
        assert!(shelf.reserve([1; 16]).is_ok());
    }

    #[test]
    fn what_is_not_settled_is_not_thrown_away_for_another() {
        let shelf = shelf(2);
        shelf.reserve([1; 16]).ok().unwrap().hold(held(100));
        shelf.reserve([2; 16]).ok().unwrap().hold(held(100));
        assert_eq!(shelf.reserve([3; 16]).err(), Some(NoPlace::Full));
        shelf.settled(&[2; 16], &response());
        let place = shelf.reserve([3; 16]).ok().unwrap();
        assert!(shelf.find(&[1; 16]).is_some() && shelf.find(&[2; 16]).is_none());
        assert_eq!(shelf.reserve([4; 16]).err(), Some(NoPlace::Full), "a call counts as the largest answer");
        place.hold(held(10));
        shelf.forget(&[1; 16]);
        assert!(shelf.reserve([4; 16]).is_ok());
        assert_eq!(shelf.inside().bytes, 10);
    }

    #[test]
    fn an_answer_is_kept_for_its_time() {
        let settings = HoldSettings { keep: Duration::from_millis(20), ..*shelf(2).settings() };
        let shelf = Arc::new(Shelf::new(settings));
        shelf.reserve([1; 16]).ok().unwrap().hold(held(100));
        drop(shelf.reserve([2; 16]));
        std::thread::sleep(Duration::from_millis(40));
        drop(shelf.reserve([2; 16]));
        assert!(shelf.find(&[1; 16]).is_none());
        assert_eq!(shelf.inside().bytes, 0);
    }
}
