//! A shop that sells pages for coins, in several manners.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use florin_books::{PartyId, Timestamp, TxId};
use florin_coin::IssuerKey;
use florin_coin::messages::Outcome;
use florin_coin::payee::{self, Presented};
use florin_coin::web::{WebPayment, network, sign_offer};
use florin_crypto::{Envelope, SeededEntropy, cbor, random};
use florin_money::{Amount, Currency};
use florin_parties::IdentityKeys;
use florin_parties::asker::{prepare_register, read_register};
use florin_wallet::WebAnswer;
use serde_json::{Value, json};

use super::World;

/// How the shop deals with payments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Honest,
    /// Takes payments to the operator and says nothing definite.
    Mute,
    /// Never takes a payment anywhere.
    Asleep,
    /// Asks the operator for more than was paid.
    Greedy,
    /// Says 402 again to whatever comes.
    Stubborn,
    /// Says that it is paid and proves nothing.
    Boaster,
    /// Breaks off the first page of each payment.
    Cutting,
    /// Calls its service first, which fails with this status; nothing is settled.
    Failing(u16),
}

struct Order {
    header: Vec<u8>,
    answer: Option<(bool, Value)>,
    cut: bool,
}

pub struct Shop {
    keys: IdentityKeys,
    entropy: Mutex<SeededEntropy>,
    certificate: Mutex<Option<Vec<u8>>>,
    pub manner: Mutex<Manner>,
    orders: Mutex<HashMap<[u8; 16], Order>>,
    /// What was received for the page's price, in minor units.
    pub received: Mutex<u64>,
    /// How many payments were presented, by their transactions.
    pub presented: Mutex<Vec<[u8; 16]>>,
}

/// The page of a path: its bytes and its price in minor units; nothing for a free one.
pub fn page(path: &str) -> (Vec<u8>, Option<u64>) {
    let price = path.rsplit('/').next().and_then(|last| last.parse().ok());
    let bytes = (0..5000u32).map(|i| (i.wrapping_mul(31) % 256) as u8).chain(path.bytes()).collect();
    (bytes, price)
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            let parts: Vec<String> =
                names.iter().map(|name| format!("{}:{}", json!(name), canonical(&members[*name]))).collect();
            format!("{{{}}}", parts.join(","))
        }
        other => other.to_string(),
    }
}

impl Shop {
    pub fn new(entropy: &mut SeededEntropy) -> Self {
        let keys = IdentityKeys::generate(entropy);
        let seed: [u8; 16] = random(entropy);
        Self {
            keys,
            entropy: Mutex::new(SeededEntropy::new(seed)),
            certificate: Mutex::new(None),
            manner: Mutex::new(Manner::Honest),
            orders: Mutex::new(HashMap::new()),
            received: Mutex::new(0),
            presented: Mutex::new(Vec::new()),
        }
    }

    pub fn id(&self) -> PartyId {
        self.keys.id()
    }

    pub fn manner(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub fn received(&self) -> u64 {
        *self.received.lock().unwrap()
    }

    async fn certificate(&self, world: &World) -> Vec<u8> {
        if let Some(known) = self.certificate.lock().unwrap().clone() {
            return known;
        }
        let now = world.house.clock.now();
        let prepared = {
            let mut entropy = self.entropy.lock().unwrap();
            let tx = (TxId::new(random(&mut *entropy)), now.plus_ms(1000));
            prepare_register(&self.keys, Some("the-shop"), &world.list, tx, now, &mut *entropy).unwrap()
        };
        let answer = world.serve(&prepared.path, &prepared.body).await.unwrap();
        let read = read_register(&prepared.pending, &answer, &world.list).unwrap();
        self.certificate.lock().unwrap().insert(read.bytes).clone()
    }

    async fn entry(&self, world: &World, price: u64) -> Value {
        let certificate = self.certificate(world).await;
        let mut entry = json!({
            "scheme": "exact", "network": network(world.list.operator), "amount": price.to_string(), "asset": "FLO",
            "payTo": self.id().to_string(), "maxTimeoutSeconds": 60,
            "extra": {"rail": "coin", "certificate": BASE64URL_NOPAD.encode(&certificate), "rule": "/"},
            "unknown": {"b": [1, null], "a": true},
        });
        let signature = sign_offer(self.id(), &self.keys.signing, canonical(&entry).as_bytes(), "/");
        entry["extra"]["signature"] = BASE64URL_NOPAD.encode(&signature).into();
        entry
    }

    pub async fn answer(&self, world: &World, request: Request<Body>) -> WebAnswer {
        let (bytes, price) = page(request.uri().path());
        let Some(price) = price else { return plain(StatusCode::OK, bytes) };
        let entry = self.entry(world, price).await;
        let url = request.uri().to_string();
        let Some(header) = request.headers().get("payment-signature").cloned() else {
            return unpaid(&entry, &url);
        };
        let manner = *self.manner.lock().unwrap();
        if manner == Manner::Asleep {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "outcome-open");
        }
        if manner == Manner::Stubborn {
            return unpaid(&entry, &url);
        }
        if let Manner::Failing(status) = manner {
            return plain(StatusCode::from_u16(status).unwrap(), b"sorry".to_vec());
        }
        if manner == Manner::Boaster {
            let said = json!({"success": true, "transaction": "x", "network": "florin:x"});
            return settled(StatusCode::OK, &said, b"not the page".to_vec());
        }
        let payload: Value = serde_json::from_slice(&BASE64.decode(header.as_bytes()).unwrap()).unwrap();
        assert_eq!(payload["accepted"], entry, "what was accepted is echoed verbatim");
        let text = |name: &str| payload["payload"][name].as_str().unwrap().to_owned();
        let r: [u8; 16] = BASE64URL_NOPAD.decode(text("r").as_bytes()).unwrap().try_into().unwrap();
        let accepted = canonical(&entry);
        let web = WebPayment {
            accepted_jcs: accepted.as_bytes(),
            method: request.method().as_str(),
            resource: &url,
            r,
        };
        let amount = Amount::new(price, Currency::FLO);
        let deadline = Timestamp(payload["payload"]["deadline"].as_u64().unwrap());
        let payer: PartyId = text("payer").parse().unwrap();
        let com = web.com(amount, payer, self.id(), world.list.operator, deadline).unwrap();
        let enc_c1: Envelope =
            cbor::decode_strict(&BASE64URL_NOPAD.decode(text("enc_c1").as_bytes()).unwrap()).unwrap();
        let tid = *com.tid.bytes();
        let first = !self.orders.lock().unwrap().contains_key(&tid);
        if first {
            self.presented.lock().unwrap().push(tid);
            let order = Order { header: header.as_bytes().to_vec(), answer: None, cut: false };
            self.orders.lock().unwrap().insert(tid, order);
        }
        assert_eq!(
            self.orders.lock().unwrap()[&tid].header,
            header.as_bytes(),
            "the same bytes are repeated"
        );
        let known = self.orders.lock().unwrap()[&tid].answer.clone();
        let known = match known {
            Some(answer) => answer,
            None => {
                let presented = Presented { payer, tid: com.tid, com: com.digest(), deadline, enc_c1 };
                let Some(answer) = self.validate(world, &presented, amount, manner).await else {
                    return unpaid(&entry, &url);
                };
                self.orders.lock().unwrap().get_mut(&tid).unwrap().answer = Some(answer.clone());
                answer
            }
        };
        if manner == Manner::Mute {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "outcome-open");
        }
        let (paid, said) = known;
        if !paid {
            return settled(StatusCode::PAYMENT_REQUIRED, &said, Vec::new());
        }
        if manner == Manner::Cutting {
            let mut orders = self.orders.lock().unwrap();
            let order = orders.get_mut(&tid).unwrap();
            if !order.cut {
                order.cut = true;
                let mut answer = settled(StatusCode::OK, &said, Vec::new());
                answer.body = Body::new(CutBody(false));
                return answer;
            }
        }
        settled(StatusCode::OK, &said, bytes)
    }

    async fn validate(
        &self,
        world: &World,
        presented: &Presented,
        price: Amount,
        manner: Manner,
    ) -> Option<(bool, Value)> {
        let claimed = Amount::new(
            if manner == Manner::Greedy { price.minor() + 1 } else { price.minor() },
            Currency::FLO,
        );
        let now = world.house.clock.now();
        let prepared = {
            let mut entropy = self.entropy.lock().unwrap();
            let issuer = IssuerKey::of(&world.list, now).unwrap();
            let list = super::denominations().split(claimed).unwrap();
            let v_desc = payee::refresh(claimed, list).unwrap();
            payee::validation_req(&issuer, &self.keys, presented, v_desc, &mut *entropy).unwrap()
        };
        let answer = world.serve(prepared.path, &prepared.body).await.ok()?;
        let issuance = payee::read_issuance1(&prepared.pending, &answer, &world.list).unwrap();
        let paid = issuance.verdict.outcome == Outcome::Paid;
        let verdict = BASE64URL_NOPAD.encode(&issuance.for_payer);
        let mut florin = json!({"verdict": verdict});
        if paid {
            *self.received.lock().unwrap() += issuance.coins.iter().map(|c| c.value).sum::<u64>();
            let receipt = payee::receipt(&self.keys, presented.payer, &presented.com, now);
            florin["receipt"] = BASE64URL_NOPAD.encode(&receipt).into();
        }
        let said =
            json!({"success": paid, "transaction": "t", "network": "n", "extensions": {"florin": florin}});
        Some((paid, said))
    }
}

/// A body that begins and then breaks off.
struct CutBody(bool);

impl axum::body::HttpBody for CutBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        let first = !std::mem::replace(&mut self.0, true);
        let beginning = || hyper::body::Frame::data(Bytes::from_static(b"the beginning"));
        std::task::Poll::Ready(Some(if first { Ok(beginning()) } else { Err(std::io::Error::other("cut")) }))
    }
}

fn plain(status: StatusCode, bytes: Vec<u8>) -> WebAnswer {
    WebAnswer { status, headers: HeaderMap::new(), body: Body::from(bytes) }
}

fn coded(value: &Value) -> HeaderValue {
    HeaderValue::from_str(&BASE64.encode(value.to_string().as_bytes())).unwrap()
}

fn unpaid(entry: &Value, url: &str) -> WebAnswer {
    let other = json!({"scheme": "exact", "network": "eip155:1", "amount": "1", "asset": "x", "payTo": "y",
        "maxTimeoutSeconds": 1});
    let required = json!({"x402Version": 2, "resource": {"url": url}, "accepts": [other, entry]});
    let mut answer = plain(StatusCode::PAYMENT_REQUIRED, b"{}".to_vec());
    answer.headers.insert("payment-required", coded(&required));
    answer
}

fn settled(status: StatusCode, said: &Value, bytes: Vec<u8>) -> WebAnswer {
    let mut answer = plain(status, bytes);
    answer.headers.insert("payment-response", coded(said));
    answer
}

fn problem(status: StatusCode, slug: &str) -> WebAnswer {
    let body = json!({"slug": slug, "same_bytes_may_be_sent_again": true}).to_string();
    let mut answer = plain(status, body.into_bytes());
    answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answer
}
