//! Garbage of every sort: from bytes that are no HTTP to real requests with one bit changed.
//! Source: the issue ("garbage floods"); reliability.md, R13.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64URL_NOPAD};

use crate::dice::Dice;

/// A request of people who were honest, before it is spoilt.
#[derive(Clone)]
pub struct Real {
    /// Where it went.
    pub path: String,
    /// What was sent.
    pub body: Vec<u8>,
}

/// The sorts of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// No HTTP at all.
    Noise,
    /// Paths that nobody serves.
    Path,
    /// A method that the page does not have.
    Method,
    /// The wrong content type.
    Type,
    /// A body that is no CBOR.
    Cbor,
    /// JSON, whole or broken, where CBOR is wanted.
    Json,
    /// A header line longer than any header may be.
    Header,
    /// A real request with some bits changed.
    Flipped,
    /// A real request that breaks off, its length put right.
    Short,
    /// A body of chance, as long as a real one.
    Chance,
    /// A payment for a page whose header is chance.
    Payment,
    /// A payment for a page with the shape of a real one.
    Shaped,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Noise,
        Self::Path,
        Self::Method,
        Self::Type,
        Self::Cbor,
        Self::Json,
        Self::Header,
        Self::Flipped,
        Self::Short,
        Self::Chance,
        Self::Payment,
        Self::Shaped,
    ];
}

/// A piece of garbage, ready to be sent.
pub struct Garbage {
    /// Its sort.
    pub sort: Sort,
    /// The method it says it has.
    pub method: &'static str,
    /// All of it.
    pub bytes: Vec<u8>,
}

const CBOR: &str = "application/florin+cbor";

/// Any garbage.
pub fn any(dice: &mut Dice, real: &[Real], offer: &str) -> Garbage {
    let sort = dice.one_of(&Sort::ALL).copied().unwrap_or(Sort::Noise);
    let method = match sort {
        Sort::Method => dice.one_of(&["PUT", "DELETE", "PATCH", "GET"]).copied().unwrap_or("PUT"),
        Sort::Path | Sort::Header | Sort::Payment | Sort::Shaped => "GET",
        _ => "POST",
    };
    Garbage { sort, method, bytes: of_sort(sort, method, dice, real, offer) }
}

fn of_sort(sort: Sort, method: &str, dice: &mut Dice, real: &[Real], offer: &str) -> Vec<u8> {
    let known = dice.one_of(real).cloned();
    let known = known.unwrap_or(Real { path: "/v1/coin/change".to_owned(), body: vec![0; 100] });
    let path = known.path.as_str();
    match sort {
        Sort::Noise => chance(dice, 200),
        Sort::Path => {
            let odd = String::from_utf8_lossy(&chance(dice, 20)).into_owned();
            let odd: String = odd.chars().filter(char::is_ascii_alphanumeric).collect();
            let begin = ["/v1/coin/", "/v1/", "/admin/", "/.well-known/", "/%2e%2e/", "//"];
            let begin = dice.one_of(&begin).copied().unwrap_or("/");
            request(method, &format!("{begin}{odd}"), "", &[])
        }
        Sort::Method | Sort::Cbor => request(method, path, CBOR, &cbor(dice)),
        Sort::Type => {
            let types = ["text/plain", "application/json", "application/cbor", "", "x"];
            request(method, path, dice.one_of(&types).copied().unwrap_or(""), &known.body)
        }
        Sort::Json => {
            let bodies = ["{", "{\"a\":[[[[[[[[[[", "[]", "\"\\ud800\"", "{\"amount\":1e999}", "null"];
            let body = dice.one_of(&bodies).copied().unwrap_or("{");
            let kind = if dice.below(2) == 0 { CBOR } else { "application/json" };
            request(method, path, kind, body.as_bytes())
        }
        Sort::Header => {
            let long = "x".repeat(usize::try_from(dice.within(30_000, 70_000)).unwrap_or(40_000));
            format!("GET / HTTP/1.1\r\nhost: florin\r\nx-long: {long}\r\n\r\n").into_bytes()
        }
        Sort::Flipped => request(method, path, CBOR, &flipped(dice, &known.body)),
        Sort::Short => {
            let end = dice.place(known.body.len().max(1));
            request(method, path, CBOR, known.body.get(..end).unwrap_or_default())
        }
        Sort::Chance => request(method, path, CBOR, &chance(dice, known.body.len().max(1))),
        Sort::Payment => paying(&BASE64.encode(&chance(dice, 300))),
        Sort::Shaped => paying(&BASE64.encode(shaped(dice, offer).as_bytes())),
    }
}

fn request(method: &str, path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let kind = if kind.is_empty() { String::new() } else { format!("content-type: {kind}\r\n") };
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: florin\r\n{kind}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn paying(payload: &str) -> Vec<u8> {
    format!("GET /garbage HTTP/1.1\r\nhost: florin\r\npayment-signature: {payload}\r\n\r\n").into_bytes()
}

fn chance(dice: &mut Dice, at_most: usize) -> Vec<u8> {
    let length = dice.place(at_most.max(1)).saturating_add(1);
    (0..length).map(|_| u8::try_from(dice.below(256)).unwrap_or(0)).collect()
}

/// Arrays and maps that promise more than there is, and deep ones.
fn cbor(dice: &mut Dice) -> Vec<u8> {
    let begins: [&[u8]; 6] = [
        &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xbf],
        &[0x81; 3_000],
        &[0xd8, 0x12, 0x84],
        &[0xf9, 0x7e, 0x00],
    ];
    let begin = dice.one_of(&begins).copied().unwrap_or_default();
    [begin, &chance(dice, 60)].concat()
}

/// At least one bit is another one.
fn flipped(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    let mut spoilt = body.to_vec();
    for _ in 0..dice.within(1, 3) {
        let place = dice.place(spoilt.len());
        let bit = 1_u8.checked_shl(u32::try_from(dice.below(8)).unwrap_or(0)).unwrap_or(1);
        if let Some(byte) = spoilt.get_mut(place) {
            *byte ^= bit;
        }
    }
    if spoilt == body {
        spoilt.push(0);
    }
    spoilt
}

/// A payload for the gate's own offer, with chance where the sealed coins are.
fn shaped(dice: &mut Dice, offer: &str) -> String {
    let payer = format!("{:016x}{:016x}", dice.draw(), dice.draw());
    let r = BASE64URL_NOPAD.encode(&dice.draw().to_be_bytes().repeat(2));
    let sealed = BASE64URL_NOPAD.encode(&chance(dice, 600));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline = now.saturating_add(Duration::from_secs(dice.below(90))).as_millis();
    format!(
        "{{\"x402Version\":2,\"resource\":{{\"url\":\"http://florin/garbage\"}},\"accepted\":{offer},\"payload\":{{\
         \"r\":\"{r}\",\"payer\":\"party_{payer}\",\"deadline\":{deadline},\"enc_c1\":\"{sealed}\"}}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_is_made_and_a_spoilt_request_is_another_one() {
        let mut dice = Dice::new(3, 4);
        let real = [Real { path: "/v1/coin/redeem".into(), body: vec![7; 50] }];
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            let garbage = any(&mut dice, &real, "{}");
            seen.insert(garbage.sort);
            if garbage.sort == Sort::Flipped {
                assert!(
                    !garbage.bytes.ends_with(&[7; 50]) && garbage.bytes.starts_with(b"POST /v1/coin/redeem")
                );
            }
        }
        assert_eq!(seen.len(), Sort::ALL.len());
    }
}
