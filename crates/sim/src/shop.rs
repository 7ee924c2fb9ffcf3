//! The shop's machine: the real gate and till in front of a small service, killed and started again.
//! Source: web.md §2.1, §4; VarietyCash §3.2.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use axum::routing::any;
use florin_books::{LaneId, LaneSpec};
use florin_crypto::SeededEntropy;
use florin_http::Stop;
use florin_merchant::x402::{PAYMENT_RESPONSE, PAYMENT_SIGNATURE, SettleResponse, decode_header};
use florin_merchant::{
    CoinTill, Desk, DeskError, Gate, HoldSettings, Outside, Party, Payable, Proxy, Rules, Settle,
    TillSettings, keep_asking,
};
use florin_money::{Currency, Denominations};
use florin_parties::{IdentityKeys, SignedKeyList};
use florin_wallet::WebAnswer;
use tower::ServiceExt;

use crate::bank::{Bank, iban};
use crate::coverage::Fault;
use crate::host::Host;
use crate::machine::Machine;
use crate::net::Net;
use crate::trace::Trace;
use crate::wire::Wire;

/// Where the shop is.
pub const URL: &str = "https://shop.test";
const RULES: &str = "[[rule]]\npath = \"/a/**\"\nprice = \"0.07 FLO\"\n[[rule]]\npath = \"/b/**\"\nprice = \
                     \"0.30 FLO\"\nflow = \"authorization\"";
/// What its pages cost, in minor units.
pub const PRICES: [(&str, u64); 2] = [("/a", 7), ("/b", 30)];
/// Its account.
pub const ACCOUNT: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(8);
/// How often it is tried to enrol.
const TRIES: u32 = 40;
/// How long a dead shop stays dead.
const DOWN: Duration = Duration::from_millis(300);
/// How often it is looked whether its books have failed of themselves.
const WATCH: Duration = Duration::from_secs(1);
/// A process whose disk has failed takes so long to end.
const ENDS: Duration = Duration::from_millis(20);

/// The shop.
pub struct Shop {
    /// Its machine.
    pub machine: Machine,
    keys: [u8; 8],
    net: Net,
    bank: Arc<Bank>,
    settle: Settle,
    trace: Trace,
    served: Mutex<BTreeMap<String, u64>>,
    posts: Mutex<BTreeMap<String, u64>>,
    running: Mutex<Option<Running>>,
    starting: tokio::sync::Mutex<()>,
}

struct Running {
    desk: Desk,
    router: Router,
}

impl Shop {
    /// A shop that is not open yet.
    #[must_use]
    pub fn new(machine: Machine, net: &Net, bank: &Arc<Bank>, settle: Settle, trace: &Trace) -> Arc<Self> {
        Arc::new(Self {
            keys: machine.dice().below(u64::MAX).to_be_bytes(),
            machine,
            net: net.clone(),
            bank: Arc::clone(bank),
            settle,
            trace: trace.clone(),
            served: Mutex::default(),
            posts: Mutex::default(),
            running: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
        })
    }

    /// The payments for which pages have left it, and how often.
    #[must_use]
    pub fn served(&self) -> BTreeMap<String, u64> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The payments for which something was changed at the service, and how often; without what a failing disk has forgotten.
    #[must_use]
    pub fn posts(&self) -> BTreeMap<String, u64> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let house = self
            .machine
            .house(spec, Arc::new(self.machine.clock.clone()))
            .map_err(florin_shell::house::ActError::Store)?;
        let list = SignedKeyList::verify(signed, None).map_err(|_| DeskError::Answer)?;
        let seed = u64::from_be_bytes(self.keys);
        let identity = IdentityKeys::generate(&mut SeededEntropy::from_number(seed));
        let wire = Wire {
            who: self.machine.name.clone(),
            net: self.net.clone(),
            host: Arc::clone(host),
            shop: None,
        };
        let party = Arc::new(Party { identity, list });
        let desk = Desk { house, party, transport: Arc::new(wire) };
        let member = loop {
            match desk.register(Some("shop"), PATIENCE).await {
                Ok(member) => break member,
                Err(DeskError::Open(_)) => {}
                Err(error) => return Err(error),
            }
        };
        let enrolled = self.settle == Settle::Refresh || self.enrol(&desk).await?;
        let settle = if enrolled { self.settle } else { Settle::Refresh };
        let settings = TillSettings { patience: PATIENCE, settle, ..TillSettings::default() };
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

    /// Enrols its account: without it nothing is settled to money. The operator sends few codes a day; where all of them came
    /// back or went wrong it goes on without.
    async fn enrol(&self, desk: &Desk) -> Result<bool, DeskError> {
        let account = iban(ACCOUNT);
        for _ in 0..TRIES {
            let done = match desk.redeemer()? {
                Some(redeemer) if redeemer.enrolled => return Ok(true),
                Some(_) => match self.bank.code(&account) {
                    Some(code) => desk.confirm(&code, PATIENCE).await.map(|_| ()),
                    None => Ok(()),
                },
                None => desk.enrol(&account, PATIENCE).await.map(|_| ()),
            };
            match done {
                Ok(()) | Err(DeskError::Open(_)) => {}
                // The small transfer came back, or too many codes were wrong.
                Err(DeskError::Refused(_)) => match desk.enrol(&account, PATIENCE).await {
                    Ok(_) | Err(DeskError::Open(_) | DeskError::Refused(_)) => {}
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        Ok(false)
    }

    /// Starts it again whenever its disk has failed, until it runs.
    pub async fn watch(&self, host: &Arc<Host>, signed: &[u8]) {
        loop {
            let _ = tokio::time::timeout(WATCH, self.machine.failed.notified()).await;
            tokio::time::sleep(ENDS).await;
            let failed = self.desk().is_some_and(|desk| desk.house.books.is_failed());
            if failed {
                self.machine.hit(Fault::DiskFailed);
                self.start_anew(host, signed).await;
            }
        }
    }

    /// Ends its process and starts it again, until it runs: its disk may fail while it starts.
    pub async fn start_anew(&self, host: &Arc<Host>, signed: &[u8]) {
        // One at a time: who starts it would wait for ever for books that another has ended.
        let _starting = self.starting.lock().await;
        loop {
            self.kill().await;
            tokio::time::sleep(DOWN).await;
            match self.start(host, signed).await {
                Ok(()) => return,
                Err(error) => self.trace.say(&self.machine.name, format!("does not start: {error}")),
            }
        }
    }

    /// Kills it.
    pub async fn kill(&self) {
        drop(self.running().take());
        self.machine.kill().await;
    }

    /// One request; nothing where the shop is away, or dies before it has answered.
    pub async fn answer(&self, request: Request<Body>) -> Option<WebAnswer> {
        let router = self.running().as_ref().map(|running| running.router.clone())?;
        let (what, step) = (request.uri().path().to_owned(), step(&request));
        let posts = request.method() == Method::POST;
        let number = self.machine.doing(&step);
        let answering = self.machine.spawn(async move {
            let response = router.oneshot(request).await.ok()?;
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, 1 << 20).await.ok()?;
            Some(WebAnswer { status: parts.status, headers: parts.headers, body: Body::from(body) })
        });
        let answer = answering.await.ok()??;
        self.machine.done(number);
        self.note(&answer, posts && !self.machine.is_troubled());
        self.trace.say(&self.machine.name, format!("{what} {}", answer.status.as_u16()));
        Some(answer)
    }

    /// A page that leaves says for which payment. What changes something at the service leaves once for each.
    fn note(&self, answer: &WebAnswer, posts: bool) {
        if answer.status != StatusCode::OK {
            return;
        }
        let said = decode_header::<SettleResponse>(&answer.headers, &PAYMENT_RESPONSE, 1 << 16);
        let payment = said.map_or_else(|_| "nothing".to_owned(), |said| said.transaction);
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let times = served.entry(payment.clone()).or_insert(0);
        *times = times.saturating_add(1);
        drop(served);
        if posts {
            let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
            let times = posts.entry(payment).or_insert(0);
            *times = times.saturating_add(1);
        }
    }
}

/// What a request is for.
#[must_use]
pub fn step(request: &Request<Body>) -> String {
    let page = request.uri().path().split('/').nth(1).unwrap_or_default();
    let pays = if request.headers().contains_key(PAYMENT_SIGNATURE) { "with payment" } else { "without" };
    format!("{} /{page} {pays}", request.method())
}

/// The same request once more; those of the simulation have no body.
#[must_use]
pub fn again(request: &Request<Body>) -> Request<Body> {
    let mut again = Request::new(Body::empty());
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    again
}
