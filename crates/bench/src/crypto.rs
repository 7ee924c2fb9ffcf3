//! What the cryptography of one payment costs on this machine, now: the same calls of `florin_crypto` that the issuer
//! makes for a ValidationReq, with the same sizes, on one thread, nothing else.
//! Source: performance.md ("the crypto limit"); the steps are those of `issuer/payment.rs`.
//!
//! Counted: two HPKE opens, the payee's signature, the tags and ids of the coins in and out, K_I, the verdict's
//! signature, the exported reply keys and the salt, the two sealed replies. Not counted, but shown: the hashes of what
//! was received (cause, transcript, EncC1, ids).

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use florin_books::{Epoch, PartyId, Timestamp};
use florin_coin::com::pay_id;
use florin_coin::messages::{Outcome, ValidationReq, Verdict};
use florin_coin::{Coin, CoinSet};
use florin_crypto::{
    ByteArray, Bytes, Digest, Envelope, Exporter, KemSecretKey, MacKey, NumberCipher, Secret, Sign1,
    SigningKey, cbor, digest, random, reply_seal,
};
use florin_money::{Amount, Currency};
use florin_parties::{IdentityKeys, OperatorKeys, ReplyFrame};
use florin_rail::{Context, cause, label, transcript};
use florin_shell::entropy::OsEntropy;
use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::machine::cpu_of_thread;
use crate::market::expiry;
use crate::supply::Shape;

const RAIL: &str = "coin";
const TAG: &str = "florin/v1/coin/tag";
/// How long one window is.
const WINDOW: Duration = Duration::from_millis(60);
/// How long one window beside a load is, and how long it waits between: a fortieth of the time of one core.
const BESIDE_WINDOW: Duration = Duration::from_millis(10);
const BESIDE_PAUSE: Duration = Duration::from_millis(390);
/// How many windows for each figure.
const WINDOWS: usize = 9;

/// Processor time of the cryptography of one payment, in microseconds: the best of several windows.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct CryptoCost {
    /// All that is counted, measured as one.
    pub payment_us: f64,
    /// Two HPKE opens.
    pub opens_us: f64,
    /// One signature verification.
    pub verify_us: f64,
    /// One signature.
    pub sign_us: f64,
    /// Tags and ids of the coins in and out, and K_I.
    pub coins_us: f64,
    /// Exported keys, and two sealed replies.
    pub replies_us: f64,
    /// Not counted: the hashes of what was received.
    pub hashes_us: f64,
}

impl CryptoCost {
    /// The cheaper of two measurements, figure by figure.
    #[must_use]
    pub fn best(self, other: Self) -> Self {
        Self {
            payment_us: self.payment_us.min(other.payment_us),
            opens_us: self.opens_us.min(other.opens_us),
            verify_us: self.verify_us.min(other.verify_us),
            sign_us: self.sign_us.min(other.sign_us),
            coins_us: self.coins_us.min(other.coins_us),
            replies_us: self.replies_us.min(other.replies_us),
            hashes_us: self.hashes_us.min(other.hashes_us),
        }
    }
}

/// The same measurement beside a load, in short windows while the server works: what the cryptography costs at that
/// time, on cores that are as busy (and as disturbed by others) as the server's.
pub struct Beside {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Vec<f64>>,
}

impl Beside {
    /// Begins, on a thread of its own.
    ///
    /// # Errors
    /// Those of [`measure`].
    pub fn start(shape: &Shape, currency: Currency) -> Result<Self, BenchError> {
        let bench = Bench::new(shape, currency)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let worker = std::thread::spawn(move || {
            let mut found = Vec::new();
            while !stopping.load(Ordering::SeqCst) {
                std::thread::sleep(BESIDE_PAUSE);
                found.push(window(BESIDE_WINDOW, &mut || bench.payment()));
            }
            found
        });
        Ok(Self { stop, worker })
    }

    /// Ends; microseconds of processor time of one payment, the median window.
    #[must_use]
    pub fn finish(self) -> Option<f64> {
        self.stop.store(true, Ordering::SeqCst);
        let mut found = self.worker.join().ok()?;
        found.sort_by(f64::total_cmp);
        found.get(found.len() / 2).copied()
    }
}

/// An issuer's side of one payment, taken apart.
struct Bench {
    keys: OperatorKeys,
    tags: MacKey,
    k_i: MacKey,
    ids: NumberCipher,
    payee: IdentityKeys,
    body: Vec<u8>,
    outer: Envelope,
    request: ValidationReq,
    signed: Sign1,
    coins_in: Vec<Tagged>,
    coins_out: Vec<Tagged>,
    verdict: Vec<u8>,
    payer_part: Vec<u8>,
    answer: Vec<u8>,
}

/// A coin as its tag covers it.
struct Tagged {
    id: [u8; 16],
    bytes: Vec<u8>,
    tag: [u8; 32],
}

/// Measures, on this thread.
///
/// # Errors
/// `Ask`, `Money`: the payment cannot be made.
pub fn measure(shape: &Shape, currency: Currency) -> Result<CryptoCost, BenchError> {
    let bench = Bench::new(shape, currency)?;
    let (outer, inner) = bench.opens().ok_or(BenchError::Denied { path: "crypto" })?;
    Ok(CryptoCost {
        payment_us: time(|| bench.payment()),
        opens_us: time(|| {
            black_box(bench.opens());
        }),
        verify_us: time(|| {
            black_box(bench.verify());
        }),
        sign_us: time(|| {
            black_box(bench.sign());
        }),
        coins_us: time(|| {
            black_box(bench.coins());
        }),
        replies_us: time(|| {
            black_box(bench.replies(&outer, &inner));
        }),
        hashes_us: time(|| {
            black_box(bench.hashes());
        }),
    })
}

/// Microseconds of one call: the best window.
fn time(mut work: impl FnMut()) -> f64 {
    (0..WINDOWS).map(|_| window(WINDOW, &mut work)).fold(f64::INFINITY, f64::min)
}

fn window(length: Duration, work: &mut impl FnMut()) -> f64 {
    let (began, cpu) = (Instant::now(), cpu_of_thread());
    let mut calls: u32 = 0;
    while began.elapsed() < length {
        for _ in 0..4 {
            work();
        }
        calls = calls.saturating_add(4);
    }
    let wall = began.elapsed();
    let spent = cpu.and_then(|before| cpu_of_thread()?.checked_sub(before)).filter(|spent| !spent.is_zero());
    spent.unwrap_or(wall).as_secs_f64() * 1e6 / f64::from(calls)
}

impl Bench {
    fn new(shape: &Shape, currency: Currency) -> Result<Self, BenchError> {
        let chance = &mut OsEntropy;
        let (signing, kem) = (SigningKey::generate(chance), KemSecretKey::generate(chance));
        let id = PartyId::new(random(chance));
        let keys = OperatorKeys::new(id, signing, kem);
        let tags = MacKey::new(&Secret::random(chance));
        let ids = NumberCipher::new(&Secret::random(chance));
        let tagged =
            |list: &florin_money::CoinList| list.values().map(|v| coin(&tags, &ids, v, currency)).collect();
        let coins_in: Vec<(Coin, Tagged)> = tagged(&shape.coins_in);
        let coins_out: Vec<(Coin, Tagged)> = tagged(&shape.coins_out);
        let payee = IdentityKeys::generate(chance);
        let (coins, coins_in): (Vec<Coin>, Vec<Tagged>) = coins_in.into_iter().unzip();
        let (new, coins_out): (Vec<Coin>, Vec<Tagged>) = coins_out.into_iter().unzip();
        let asked =
            crate::market::sealed_payment(&keys, &payee, CoinSet::new(coins, currency)?, &shape.coins_out)?;
        let missing = || BenchError::Denied { path: "crypto" };
        let outer: Envelope = cbor::decode_strict(&asked).map_err(|_| missing())?;
        let (plain, _) = keys.open(RAIL, "validation-req", &[], &outer).map_err(|_| missing())?;
        let signed = Sign1::parse(&plain).map_err(|_| missing())?;
        let request: ValidationReq =
            cbor::decode_strict(signed.payload_unverified()).map_err(|_| missing())?;
        let amount = Amount::new(shape.coins_in.total_minor(), currency);
        let verdict = verdict(&keys, &request.com, amount);
        let signed_verdict = keys.sign(&keys.signing_kid(), &verdict).ok_or_else(missing)?;
        let context = Context::new(RAIL, "payer-verdict", id, request.payer);
        let no_causes: Vec<u8> = Vec::new();
        let payer_part = cbor::encode(&(
            &context,
            &request.com,
            (Bytes(signed_verdict.clone()), no_causes, ByteArray([0; 16])),
        ));
        let answer =
            cbor::encode(&(&context, &request.com, (Bytes(signed_verdict), Bytes(payer_part.clone())), new));
        let k_i = MacKey::new(&Secret::random(chance));
        Ok(Self {
            keys,
            tags,
            k_i,
            ids,
            payee,
            body: asked,
            outer,
            request,
            signed,
            coins_in,
            coins_out,
            verdict,
            payer_part,
            answer,
        })
    }

    fn payment(&self) {
        if let Some((outer, inner)) = black_box(self.opens()) {
            black_box((self.verify(), self.coins(), self.sign(), self.replies(&outer, &inner)));
        }
    }

    fn opens(&self) -> Option<(Exporter, Exporter)> {
        let (_, outer) = self.keys.open(RAIL, "validation-req", &[], &self.outer).ok()?;
        let com = self.request.com.as_bytes();
        let (_, inner) = self.keys.open(RAIL, "enc-c1", com, &self.request.enc_c1).ok()?;
        Some((outer, inner))
    }

    fn verify(&self) -> bool {
        self.signed.verify(&self.payee.signing.verify_key()).is_ok()
    }

    fn coins(&self) -> (bool, [u8; 32]) {
        let looked = self.coins_in.iter().all(|c| {
            black_box(self.ids.decipher(c.id));
            self.tags.verify(TAG, &[&c.bytes], &c.tag)
        });
        for c in &self.coins_out {
            black_box((self.ids.encipher(c.id), self.tags.tag(TAG, &[&c.bytes])));
        }
        (looked, self.k_i.tag("florin/v1/coin/k-i", &[pay_id(&self.request.com).bytes()]))
    }

    fn sign(&self) -> Option<Vec<u8>> {
        self.keys.sign(&self.keys.signing_kid(), &self.verdict)
    }

    fn replies(&self, outer: &Exporter, inner: &Exporter) -> (Vec<u8>, Vec<u8>) {
        let (me, com) = (self.keys.id(), self.request.com);
        black_box(inner.export(label(RAIL, "causes-salt").as_bytes()));
        let payer = ReplyFrame::new(RAIL, "payer-verdict", me, self.request.payer, com).key(inner);
        let payee = ReplyFrame::new(RAIL, "issuance1", me, self.payee.id(), com).key(outer);
        (
            reply_seal(&payer, com.as_bytes(), &self.payer_part),
            reply_seal(&payee, com.as_bytes(), &self.answer),
        )
    }

    fn hashes(&self) -> [Digest; 3] {
        let enc_c1 = cbor::encode(&self.request.enc_c1);
        [
            cause(RAIL, "validation-req", &self.body),
            transcript(RAIL, &[&self.body]),
            digest("florin/v1/coin/enc-c1", &[&enc_c1]),
        ]
    }
}

fn coin(tags: &MacKey, ids: &NumberCipher, value: u64, currency: Currency) -> (Coin, Tagged) {
    let id = ids.encipher(random(&mut OsEntropy));
    let (epoch, expires) = (Epoch(1), expiry());
    let bytes = cbor::encode(&(ByteArray(id), value, currency, epoch, expires));
    let tag = tags.tag(TAG, &[&bytes]);
    (Coin { id: ByteArray(id), value, epoch, expires, tag: ByteArray(tag) }, Tagged { id, bytes, tag })
}

fn verdict(keys: &OperatorKeys, com: &Digest, amount: Amount) -> Vec<u8> {
    cbor::encode(&Verdict {
        context: Context::new(RAIL, "verdict", keys.id(), PartyId::NONE),
        pay_id: pay_id(com),
        com: *com,
        outcome: Outcome::Paid,
        claimed: Some(amount),
        paid: Some(amount),
        at: Timestamp(1_700_000_000_000),
        causes: *com,
        enc_c1: *com,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_opens_verifies_and_tags_what_an_issuer_would() {
        let shape = Shape::new(4, 4).unwrap();
        let bench = Bench::new(&shape, Currency::FLO).unwrap();
        assert!(bench.opens().is_some() && bench.verify() && bench.coins().0);
        assert_eq!((bench.coins_in.len(), bench.coins_out.len()), (4, 4));
        let foreign = Bench::new(&shape, Currency::FLO).unwrap();
        let mixed = Bench { outer: foreign.outer, ..bench };
        assert!(mixed.opens().is_none());
    }
}
