//! The whole gate: made, opened and served as the program does it, on disk and over HTTP, with the operator's real steps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]
#[path = "common/world.rs"]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use florin_books::{Clock, PartyId};
use florin_coin::web::WebPayment;
use florin_coin::{IssuerKey, payer};
use florin_http::{Answer, Client, ClientConfig, Limits, Problem, Stop, serve};
use florin_merchant::command::{self, Command, SOCKET_FILE};
use florin_merchant::offer::{CoinPayload, Presentation};
use florin_merchant::program::{self, CONFIG_FILE, GateConfig, GateError, Place};
use florin_merchant::x402::{
    PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, PaymentPayload, PaymentRequired,
    PaymentRequirements, SettleResponse, decode_header, encode_header,
};
use florin_money::{Amount, Currency};
use florin_shell::description::Description;
use florin_shell::jcs::jcs;
use florin_shell::service::Listen;
use florin_shell::{ExitCode, Passphrase, SystemClock};
use tokio::net::TcpListener;
use world::{Operator, TestClock};

const PATIENCE: Duration = Duration::from_secs(10);
const PAGE: &[u8] = b"\x00\xffthe page\r\n";

async fn listen(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, None, app, Limits::default(), Stop::new()));
    address
}

/// An address that nobody listens on now.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn description(operator: &Operator) -> axum::Json<Description> {
    let list = &operator.list;
    let network = florin_parties::network_id(list.operator);
    axum::Json(Description::new(&operator.signed_list, &list.name, network, list.test, list.time.0))
}

async fn operator() -> (Arc<Operator>, String) {
    let operator = Arc::new(Operator::new(&TestClock::at(SystemClock.now())));
    let (list, steps) = (operator.clone(), operator.clone());
    let app = Router::new().route("/.well-known/florin", get(async move || description(&list))).route(
        "/v1/{rail}/{step}",
        post(async move |uri: Uri, body: Bytes| match steps.answer(uri.path(), &body).await {
            Ok(answer) => answer.into_response(),
            Err(refusal) => Problem::from(refusal).into_response(),
        }),
    );
    let address = listen(app).await;
    (operator, format!("http://{address}"))
}

/// What a wallet does for one page: asks, reads the offer, pays, asks again.
struct Payer {
    client: Client,
    operator: Arc<Operator>,
}

impl Payer {
    async fn ask(&self, url: &str, payment: Option<&PaymentPayload>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(payment) = payment {
            headers.insert(PAYMENT_SIGNATURE, encode_header(payment).unwrap());
        }
        self.client.request(Method::GET, url, headers, Bytes::new(), 1 << 20).await.unwrap()
    }

    async fn pay(&self, url: &str, values: &[u64], r: u8) -> (PaymentPayload, Vec<u8>) {
        let unpaid = self.ask(url, None).await;
        assert_eq!(unpaid.status, 402);
        let required: PaymentRequired = decode_header(&unpaid.headers, &PAYMENT_REQUIRED, 16_384).unwrap();
        let accepted = required.accepts[0].clone();
        let terms = PaymentRequirements::read(&accepted).unwrap();
        let amount = Amount::new(terms.amount.parse().unwrap(), Currency::FLO);
        let accepted_jcs = jcs(&accepted).unwrap();
        let web = WebPayment {
            accepted_jcs: &accepted_jcs,
            method: "GET",
            resource: &required.resource.url,
            r: [r; 16],
        };
        let list = &self.operator.list;
        let (payer, now) = (PartyId::new([r; 16]), SystemClock.now());
        let deadline = now.plus_ms(30_000);
        let com = web.com(amount, payer, terms.pay_to.parse().unwrap(), list.operator, deadline).unwrap();
        let issuer = IssuerKey::of(list, now).unwrap();
        let coins = self.operator.coins(values).await;
        let paying = payer::send_coins(&issuer, &com, coins, &mut florin_shell::OsEntropy).unwrap();
        let presentation = Presentation { r: [r; 16], payer, deadline, enc_c1: paying.enc_c1 };
        let payload = serde_json::to_value(CoinPayload::new(&presentation)).unwrap();
        let resource = Some(serde_json::to_value(&required.resource).unwrap());
        let payment = PaymentPayload { x402_version: 2, resource, accepted, payload, extensions: None };
        (payment, paying.pending.to_vec())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_is_made_sells_a_page_and_has_its_purse_after_the_next_start() {
    let (operator, url) = operator().await;
    let upstream = listen(Router::new().fallback(async |request: Request| {
        assert!(!request.headers().contains_key(PAYMENT_SIGNATURE));
        ([("content-type", HeaderValue::from_static("application/x-page"))], PAGE)
    }))
    .await;
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("gate");
    let none = Passphrase::none();
    let place = Place { dir: &dir, second_factor: None, passphrase: &none };
    let config = GateConfig {
        operator: url.clone(),
        upstream: format!("http://{upstream}"),
        price: Some("0.37 FLO".into()),
        name: Some("corner-shop".into()),
        listen: "127.0.0.1:0".parse().unwrap(),
        operate: Some(free_address().await),
        ..GateConfig::default()
    };

    // A gate for another operator than the pinned one is not made; made twice, it is the same.
    assert!(matches!(program::open(&place, &config).await, Err(GateError::NoGate(_))));
    let other = Some(PartyId::new([1; 16]));
    assert!(matches!(program::init(&place, &config, other, PATIENCE).await, Err(GateError::KeyList(_))));
    let (desk, member) =
        program::init(&place, &config, Some(operator.list.operator), PATIENCE).await.unwrap();
    let id = desk.party.id();
    desk.house.books.stop().unwrap();
    let (desk, again) = program::init(&place, &config, None, PATIENCE).await.unwrap();
    assert_eq!((desk.party.id(), &again.certificate), (id, &member.certificate));
    desk.house.books.stop().unwrap();
    let remembered = std::fs::read_to_string(dir.join(CONFIG_FILE)).unwrap();
    let remembered: GateConfig = toml::from_str(&remembered).unwrap();
    assert_eq!((remembered.operator, remembered.name.as_deref()), (url, Some("corner-shop")));
    assert!(program::check(&dir, &config).unwrap().contains("0.37 FLO"));

    // A kept key list that is damaged is named.
    let kept = dir.join(program::KEY_LIST_FILE);
    let whole = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, &whole[..whole.len() - 1]).unwrap();
    let damaged = program::open(&place, &config).await.err().unwrap();
    assert_eq!(damaged.exit_code(), ExitCode::BadData);
    assert!(damaged.to_string().starts_with(&format!("{} is damaged", kept.display())), "{damaged}");
    std::fs::write(&kept, &whole).unwrap();

    let (desk, member) = program::open(&place, &config).await.unwrap();
    let bound = Listen::plain(config.listen).bind().await.unwrap();
    let (page, stop) = (format!("{}/page", bound.url()), Stop::new());
    let serving = {
        let (config, stop, dir) = (config.clone(), stop.clone(), dir.clone());
        tokio::spawn(async move { program::serve(&dir, desk, &member, &config, bound, stop).await.unwrap() })
    };
    let payer = Payer { client: Client::new(ClientConfig::default()).unwrap(), operator: operator.clone() };
    let (payment, pending) = payer.pay(&page, &[20, 10, 5, 1, 1], 1).await;
    let answer = payer.ask(&page, Some(&payment)).await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, PAGE));
    assert_eq!(answer.headers["content-type"], "application/x-page");
    let settled: SettleResponse = decode_header(&answer.headers, &PAYMENT_RESPONSE, 16_384).unwrap();
    let receipt = settled.extensions.unwrap()["florin"]["receipt"].as_str().unwrap().to_owned();
    let receipt = data_encoding::BASE64URL_NOPAD.decode(receipt.as_bytes()).unwrap();
    let certificate = florin_parties::Certificate::verify(&again.certificate, &operator.list).unwrap();
    payer::read_receipt(&pending, &receipt, &certificate.verify_key).unwrap();
    assert_eq!(payer.ask(&page, Some(&payment)).await.status.as_u16(), 200, "the same again is served again");
    let metrics = payer.ask(&format!("http://{}/metrics", config.operate.unwrap()), None).await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        metrics.contains("florin_http_requests_served_total 3") && !metrics.contains("/page"),
        "{metrics}"
    );
    let socket = dir.join(SOCKET_FILE);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    commands(&place, &config, &operator).await;
    stop.trigger();
    assert_eq!(serving.await.unwrap(), ExitCode::Done);

    assert!(!socket.exists());
    let balance = command::run(&place, &config, &Command::Balance, PATIENCE).await.unwrap();
    assert_eq!(balance["balances"][0]["free"], "0.27 FLO");
    let (desk, _) = program::open(&place, &config).await.unwrap();
    assert_eq!(desk.balance().unwrap()[0].free, Amount::new(27, Currency::FLO));
    assert!(desk.house.books.audit().unwrap().is_clean());
    assert_eq!(operator.in_circulation(), 27);
    desk.house.books.stop().unwrap();

    // Nothing that was said stands readable on the disk.
    let mut files = vec![dir.clone()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(5).any(|w| w == b"/page"), "{}", path.display());
    }
}

/// What an owner does while the gate is serving.
async fn commands(place: &Place<'_>, config: &GateConfig, operator: &Operator) {
    let run = async |command: Command| command::run(place, config, &command, PATIENCE).await;
    let balance = run(Command::Balance).await.unwrap();
    assert_eq!(
        (&balance["balances"][0]["free"], &balance["payout_to"]),
        (&"0.37 FLO".into(), &serde_json::Value::Null)
    );
    let payout = |amount: &str| Command::Payout { amount: Some(amount.to_owned()), from: None };
    assert_eq!(run(payout("0.10 FLO")).await.unwrap_err().exit_code(), ExitCode::Refused.number());
    run(Command::Enrol { account: world::IBAN.to_owned() }).await.unwrap();
    let enrolled = run(Command::Confirm { code: operator.last_code() }).await.unwrap();
    assert_eq!(enrolled["enrolled"], true);
    assert_eq!(run(payout("9 FLO")).await.unwrap_err().exit_code(), ExitCode::NotEnough.number());
    assert_eq!(run(payout("a lot")).await.unwrap_err().exit_code(), ExitCode::Usage.number());
    assert_eq!(run(payout("0.10 FLO")).await.unwrap()["paid_out"], "0.10 FLO");
    let history = run(Command::History).await.unwrap();
    let words: Vec<&str> =
        history["events"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect();
    assert_eq!(words, ["paid-out", "paid"]);
}

#[tokio::test]
async fn a_payload_of_the_most_coins_stays_within_six_kilobytes() {
    let world = world::World::new().await;
    let values: Vec<u64> = std::iter::repeat_n(1, 22).chain([5, 10]).collect();
    assert_eq!(u64::try_from(values.len()).unwrap(), florin_coin::web::COINS_MAX);
    let coins = world.operator.coins(&values).await;
    let (payment, _) = world.payment("/dear", coins, 1);
    let json = serde_json::to_vec(&payment).unwrap().len();
    assert!(json + 400 <= florin_merchant::x402::PAYLOAD_BYTES_MAX, "{json}");
    assert!(matches!(world.settle("/dear", &payment).await, florin_merchant::Settlement::Paid(_)));
}
