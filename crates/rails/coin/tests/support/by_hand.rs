//! A coin purchaser made by hand from docs/rails/coin.md, so that it can also say what an honest one never would.
#![allow(dead_code, reason = "each test file uses another part")]

use florin_coin::purchase_messages::{
    Authorisation, WDesc, WRequest1, WRequest2, WRequest2Answer, WRequest3, WRequest3Content,
};
use florin_crypto::{
    ByteArray, Bytes, Digest, Secret, SigningKey, cbor, derive, kem, reply_open, reply_seal,
};
use florin_parties::sealed::sign;
use florin_rail::{Context, hpke_info, transcript};

use crate::support::{Person, World};

/// A purchase between WRequest2 and WRequest3.
pub struct Begun {
    pub k: Secret<32>,
    pub th: Digest,
    pub r_i: [u8; 16],
    pub cookie: Vec<u8>,
    pub authorisation: Authorisation,
    pub claim: [u8; 16],
}

/// WRequest1, WRequest2.
pub fn begin(w: &mut World, me: &Person, w_desc: WDesc) -> Begun {
    let issuer = w.list.operator;
    let request = WRequest1 { context: Context::new("coin", "wrequest1", me.id(), issuer), exp: w.exp() };
    let (envelope, exporter) = w.envelope("wrequest1", &[], &cbor::encode(&request));
    let body = cbor::encode(&envelope);
    let answer = w.post("/v1/coin/wrequest1", &body).unwrap();
    let answer: WRequest2Answer = cbor::decode_strict(&answer).unwrap();
    let info = hpke_info("coin", "wrequest2", me.id(), &answer.envelope.kid);
    let (plaintext, theirs) = kem::open(&me.keys.kem, &info, &[], &answer.envelope).unwrap();
    let request2: WRequest2 = cbor::decode_strict(&plaintext).unwrap();
    let th = transcript("coin", &[&body, &cbor::encode(&answer.envelope)]);
    let k_cp = exporter.export(b"florin/v1/coin/k-cp");
    let k_i = theirs.export(b"florin/v1/coin/k-i");
    let info = cbor::encode(&("florin/v1/coin/purchase-key", th, me.id(), issuer));
    let context = Context::new("coin", "wrequest3", me.id(), issuer);
    Begun {
        k: derive(&[k_cp.expose(), k_i.expose()], &info),
        th,
        r_i: request2.r_i.0,
        cookie: answer.cookie.0,
        authorisation: Authorisation { context, w_desc, r_i: request2.r_i, th },
        claim: w.draw(),
    }
}

impl Begun {
    pub fn key(&self, what: &str) -> Secret<32> {
        derive(&[self.k.expose()], format!("florin/v1/coin/{what}").as_bytes())
    }

    /// WRequest3 with these authorisation bytes inside.
    pub fn around(&self, authorisation: Vec<u8>) -> Vec<u8> {
        let content = WRequest3Content { authorisation: Bytes(authorisation), claim: ByteArray(self.claim) };
        self.sealing(&cbor::encode(&content))
    }

    /// WRequest3 with these plaintext bytes inside.
    pub fn sealing(&self, plaintext: &[u8]) -> Vec<u8> {
        let sealed = Bytes(reply_seal(&self.key("wrequest3"), self.th.as_bytes(), plaintext));
        cbor::encode(&WRequest3 { cookie: Bytes(self.cookie.clone()), sealed })
    }

    /// WRequest3, signed by whichever key.
    pub fn signed_by(&self, key: &SigningKey) -> Vec<u8> {
        self.around(sign(key, &self.authorisation))
    }

    /// What the answer to WRequest3 holds.
    pub fn open(&self, answer: &[u8]) -> Option<Vec<u8>> {
        reply_open(&self.key("accepted"), self.th.as_bytes(), answer).ok().map(|p| p.to_vec())
    }

    /// What a purchaser keeps until the coins are there, as `collect` takes it.
    pub fn kept(&self, w_desc: &WDesc) -> Vec<u8> {
        kept(self.claim, *self.key("issuance").expose(), w_desc)
    }
}

/// `[claim, K secret, list]`.
pub fn kept(claim: [u8; 16], k_issue: [u8; 32], w_desc: &WDesc) -> Vec<u8> {
    cbor::encode(&(ByteArray(claim), ByteArray(k_issue), w_desc.list.clone()))
}
