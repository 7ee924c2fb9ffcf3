//! The shop's machine: the real gate and till in front of a small service, killed and started again.
//! Source: web.md §2.1, §4; VarietyCash §3.2.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::routing::any;
use florin_books::{LaneId, LaneSpec};
use florin_crypto::SeededEntropy;
use florin_http::Stop;
use florin_merchant::{
    CoinTill, Desk, DeskError, Gate, HoldSettings, Outside, Party, Payable, Proxy, Rules, Settle,
    TillSettings, keep_asking,
};
use florin_money::{Currency, Denominations};
use florin_parties::{IdentityKeys, SignedKeyList};
use florin_wallet::WebAnswer;
use tower::ServiceExt;

use crate::host::Host;
use crate::machine::Machine;
use crate::net::Net;
use crate::trace::Trace;
use crate::wire::Wire;

/// Where the shop is.
pub const URL: &str = "https://shop.test";
const RULES: &str = "[[rule]]\npath = \"/a/**\"\nprice = \"0.07 FLO\"\n[[rule]]\npath = \"/b/**\"\nprice = \
                     \"0.30 FLO\"\nflow = \"authorization\"";
const PATIENCE: Duration = Duration::from_secs(8);

/// The shop.
pub struct Shop {
    /// Its machine.
    pub machine: Machine,
    keys: [u8; 8],
    net: Net,
    trace: Trace,
    running: Mutex<Option<Running>>,
}

struct Running {
    desk: Desk,
    router: Router,
}

impl Shop {
    /// A shop that is not open yet.
    #[must_use]
    pub fn new(machine: Machine, net: &Net, trace: &Trace) -> Arc<Self> {
        let keys = machine.dice().below(u64::MAX).to_be_bytes();
        Arc::new(Self { machine, keys, net: net.clone(), trace: trace.clone(), running: Mutex::default() })
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its side of the operator, while it runs.
    #[must_use]
    pub fn desk(&self) -> Option<Desk> {
        self.running().as_ref().map(|running| running.desk.clone())
    }

    /// Starts on what its disk holds; registers if it has not yet.
    ///
    /// # Errors
    /// What keeps it from opening.
    pub async fn start(&self, host: &Arc<Host>, signed: &[u8]) -> Result<(), DeskError> {
        let spec = LaneSpec { lane: LaneId(1), registers: Vec::new() };
        let house = self.machine.house(spec).map_err(florin_shell::house::ActError::Store)?;
        let list = SignedKeyList::verify(signed, None).map_err(|_| DeskError::Answer)?;
        let seed = u64::from_be_bytes(self.keys);
        let identity = IdentityKeys::generate(&mut SeededEntropy::from_number(seed));
        let wire = Wire { net: self.net.clone(), host: Arc::clone(host), shop: None };
        let party = Arc::new(Party { identity, list });
        let desk = Desk { house, party, transport: Arc::new(wire) };
        let member = loop {
            match desk.register(Some("shop"), PATIENCE).await {
                Ok(member) => break member,
                Err(DeskError::Open(_)) => {}
                Err(error) => return Err(error),
            }
        };
        let settings =
            TillSettings { patience: PATIENCE, settle: Settle::Refresh, ..TillSettings::default() };
        let coins = Denominations::one_two_five(Currency::FLO, 24);
        let rules =
            Rules::parse(RULES, None, &Payable::new(vec![coins], 24)).map_err(|_| DeskError::Answer)?;
        let service = Router::new().fallback(any(async || "the page"));
        let gate = Gate {
            rules,
            till: Arc::new(CoinTill::new(desk.clone(), member, settings)),
            proxy: Proxy::here(service),
            outside: Outside { public_url: Some(URL.into()), ..Outside::default() },
            shop: florin_merchant::Shop { name: "Shop".into(), operator: "Operator".into(), test: true },
            hold: HoldSettings::default(),
            entropy: self.machine.dice().entropy(),
        };
        let (asking, stop) = (desk.clone(), Stop::new());
        self.machine.spawn(async move { keep_asking(asking, PATIENCE, stop).await });
        *self.running() = Some(Running { desk, router: florin_merchant::router(gate) });
        self.trace.say(&self.machine.name, "started");
        Ok(())
    }

    /// Kills it.
    pub async fn kill(&self) {
        drop(self.running().take());
        self.machine.kill().await;
    }

    /// One request; nothing where the shop is away, or dies before it has answered.
    pub async fn answer(&self, request: Request<Body>) -> Option<WebAnswer> {
        let router = self.running().as_ref().map(|running| running.router.clone())?;
        let what = request.uri().path().to_owned();
        let answering = self.machine.spawn(async move {
            let response = router.oneshot(request).await.ok()?;
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, 1 << 20).await.ok()?;
            Some(WebAnswer { status: parts.status, headers: parts.headers, body: Body::from(body) })
        });
        let answer = answering.await.ok()??;
        self.trace.say(&self.machine.name, format!("{what} {}", answer.status.as_u16()));
        Some(answer)
    }
}
