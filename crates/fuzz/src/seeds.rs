//! Where each corpus begins: good inputs of every kind. `FLORIN_BLESS=1 cargo test -p florin-fuzz-targets` writes those that
//! are missing into `fuzz/corpus`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use florin_crypto::digest;
use serde_json::{Value, json};

use crate::TARGETS;

type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

fn tagged(seeds: &mut Seeds, target: &'static str, first: u8, data: impl AsRef<[u8]>) {
    let bytes = [&[first], data.as_ref()].concat();
    seeds.entry(target).or_default().push(bytes);
}

fn plain(seeds: &mut Seeds, target: &'static str, all: &[&str]) {
    seeds.entry(target).or_default().extend(all.iter().map(|text| text.as_bytes().to_vec()));
}

/// Every byte string in the vectors of the coin rail.
fn vectors() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/coin");
    let mut found = Vec::new();
    for file in ["messages.json", "values.json", "steps.json"] {
        let all: Value = serde_json::from_slice(&std::fs::read(dir.join(file)).unwrap()).unwrap();
        for vector in all.as_array().unwrap() {
            let inputs = vector["inputs"].as_object().unwrap().values();
            let texts = inputs.chain([&vector["output"]]).filter_map(Value::as_str);
            found.extend(texts.filter_map(|text| HEXLOWER.decode(text.as_bytes()).ok()));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn texts(seeds: &mut Seeds) {
    plain(seeds, "amount", &["12.30 FLO", "0.05 FLO", "12 JPY", "3.0001 BEANS", "184467440737095516.15 FLO"]);
    plain(
        seeds,
        "payto",
        &[
            "DE89370400440532013000",
            "payto://iban/COBADEFFXXX/DE89370400440532013000?amount=EUR:1",
            "GB82 WEST 1234 5698 7654 32",
            "DE85999999010000000000",
        ],
    );
    let seed = florin_wallet::Seed::new(crate::crypto::secret("seed"));
    let words: &[(u8, &str)] = &[
        (0, "party_00000000000000000000000000000001"),
        (0, "tx_000102030405060708090a0b0c0d0e0f"),
        (0, "order_000102030405060708090a0b0c0d0e0f"),
        (1, "Cafe.1-x"),
        (2, "2026-11-21T08:30:05.123Z"),
        (2, "2024-02-29"),
        (4, "AAECAwQFBgcICQoLDA0ODw"),
        (5, "AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKCwwNDg8"),
        (6, "99999901"),
        (6, "0000000007"),
        (7, "https://shop.example/a?b=c"),
        (7, "http://[::1]:7410"),
        (8, "-12.30 FLO"),
    ];
    words.iter().for_each(|(first, text)| tagged(seeds, "words", *first, text));
    tagged(seeds, "words", 3, seed.to_text().as_bytes());
    plain(seeds, "path", &["/", "/a/../b//c", "/%61%7e;x=1/", "/\u{fc}/%c3%bc", "/a%252e"]);
}

fn web(seeds: &mut Seeds) {
    let entry = json!({"scheme": "exact", "network": "florin:AAECAwQFBgcICQoLDA0ODw", "amount": "5", "asset": "FLO",
        "payTo": "party_00000000000000000000000000000001", "maxTimeoutSeconds": 60,
        "extra": {"rail": "coin", "decimals": 2, "certificate": "AAAA", "name": "Shop", "rule": "GET /a/*",
            "paymentFlow": "upfront", "signature": "AQID"}});
    let facilitated = json!({"scheme": "exact", "extra": {"rule": "facilitator/redeem", "signature": "AA"}});
    let envelope = vectors().into_iter().find_map(|bytes| {
        florin_crypto::decode_strict::<florin_crypto::Envelope>(&bytes).ok().filter(|e| e.ct.len() < 4112)
    });
    let presentation = florin_merchant::offer::Presentation {
        r: [1; 16],
        payer: florin_books::PartyId::new([2; 16]),
        deadline: florin_books::Timestamp(7),
        enc_c1: envelope.expect("an envelope"),
    };
    let payload = serde_json::to_value(florin_merchant::offer::CoinPayload::new(&presentation)).unwrap();
    let paying =
        json!({"x402Version": 2, "resource": {"url": "http://a/"}, "accepted": entry, "payload": payload});
    let small = json!({"x402Version": 2, "accepted": facilitated, "payload": {"r": "AA"}});
    let required = json!({"x402Version": 2, "error": "x", "resource": {"url": "http://a/", "mimeType": "text/html"},
        "accepts": [entry, facilitated]});
    let settled = json!({"success": true, "transaction": "x", "network": "florin:a",
        "extensions": {"florin": {"receipt": "AA", "verdict": "AA"}}});
    for (kind, value) in [(0, &paying), (0, &small), (1, &required), (2, &settled)] {
        tagged(seeds, "x402", kind, BASE64.encode(value.to_string().as_bytes()));
        // With the bit for JSON, three from the kind on.
        let kind = if kind == 0 {
            9
        } else if kind == 1 {
            10
        } else {
            8
        };
        tagged(seeds, "x402", kind, value.to_string());
    }
    for value in [&entry, &facilitated, &payload, &json!({"b": [1, -2, null], "\u{fc}": {"a": "\u{1}"}})] {
        plain(seeds, "offer", &[&value.to_string()]);
    }
    let problem = json!({"type": "https://florin.example/problems#bad-request", "title": "t", "status": 400,
        "slug": "bad-request", "detail": "d", "log_id": "1"});
    tagged(seeds, "problem", 0, problem.to_string());
    tagged(seeds, "problem", 17, format!("120 {problem}"));
    tagged(
        seeds,
        "problem",
        2,
        json!({"florin": 1, "keys": "AQI", "name": "x", "openings": {"orders": 1,
        "boxes": 2, "log": ""}})
        .to_string(),
    );
    bank(seeds);
}

fn bank(seeds: &mut Seeds) {
    let line = json!({"number": 1, "at_unix_ms": 2, "kind": "deposit", "direction": "credit", "amount": "1.00 FLO",
        "balance": "-1.00 FLO", "other": null, "other_name": "", "remittance": "r", "order": null, "reason": null});
    let order = json!({"id": "order_00", "direction": "debit", "account": "DE1", "amount": "1 FLO", "remittance": "",
        "mandate": {"id": "M", "signed_at_unix_ms": 1}});
    let all = [
        (0, json!({"txid": "tx_00", "holder": "A", "number": "7"})),
        (1, json!({"txid": "tx_00", "amount": "1.00 FLO"})),
        (2, json!({"txid": "tx_00", "to": "DE1", "amount": "1.00 FLO", "remittance": "r"})),
        (
            4,
            json!({"iban": "DE1", "holder": "A", "opening": "0.00 FLO", "entries": [line], "closing": "1.00 FLO",
            "next": 1, "more": false}),
        ),
        (5, json!({"account": "DE1", "orders": [order]})),
        (
            7,
            json!({"events": [{"id": "00", "at_unix_ms": 1, "news": {"what": "credited", "amount": "1 FLO",
            "payer": "DE1", "remittance": "r"}}], "cursor": 9}),
        ),
        (9, json!({"outcome": "rejected", "reason": "AM04"})),
        (12, json!({"name": "B", "bank_code": "99990001", "currency": "FLO", "exponent": 2, "test": true})),
    ];
    all.iter().for_each(|(kind, value)| tagged(seeds, "bank_json", *kind, value.to_string()));
}

fn settings(seeds: &mut Seeds) {
    let rules = "[[rule]]\npath = \"/free\"\nfree = true\n\n[[rule]]\npath = \"/a/**\"\nmethods = [\"GET\", \"post\"]\n\
        price = \"0.05 FLO\"\nsettle = \"redeem\"\nflow = \"authorization\"\ndescription = \"a page\"\n";
    tagged(seeds, "rules", 0, rules);
    tagged(seeds, "rules", 1, "[[rule]]\npath = \"/*.html\"\nprice = \"1 FLO\"\n");
    let operator = toml::to_string_pretty(&florin_operator::OperatorConfig::default()).unwrap();
    tagged(seeds, "settings", 0, operator);
    tagged(
        seeds,
        "settings",
        0,
        "grace_days = \"unlimited\"\npayout_release_above = \"100.00\"\n[bank]\nurl = \"x\"\n",
    );
    let gate = toml::to_string_pretty(&florin_merchant::GateConfig::default()).unwrap();
    tagged(seeds, "settings", 1, gate);
    let bank = "name = \"B\"\nbank_code = \"99990001\"\nlisten = \"127.0.0.1:1\"\ndirectory = \"d\"\n\
        [[peers]]\nbank_code = \"99990002\"\nurl = \"http://localhost:2\"\n";
    tagged(seeds, "settings", 2, bank);
}

fn encodings(seeds: &mut Seeds) {
    let kinds = crate::messages::kinds();
    let mut found: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for bytes in vectors().iter().filter(|bytes| bytes.len() <= 1200) {
        for kind in 0..kinds {
            if crate::messages::is_read(kind, bytes) && found.entry(kind).or_default().len() < 3 {
                found.entry(kind).or_default().push(bytes.clone());
            }
        }
    }
    for (kind, all) in found {
        all.iter().for_each(|bytes| tagged(seeds, "messages", u8::try_from(kind).unwrap(), bytes));
    }
    for (kind, bytes) in [
        (0, "830163464c4f02"),
        (1, "8263464c4f02"),
        (2, "63464c4f"),
        (3, "828202058201 02"),
        (4, "8363464c4f02820102"),
    ] {
        let bytes = HEXLOWER.decode(bytes.replace(' ', "").as_bytes()).unwrap();
        tagged(seeds, "money_cbor", kind, bytes);
    }
    tagged(seeds, "select", 32, [3, 4, 0, 0, 1, 2, 5, 6, 3, 3, 3]);
    tagged(seeds, "select", 5, [200, 9, 255, 254, 9, 10, 11]);
}

/// Scripts of edits: none, one bit, a byte, a piece that is gone, doubled, cut off.
const SCRIPTS: [&[u8]; 6] =
    [&[], &[0, 0, 0, 9, 1], &[2, 0, 1, 3, 0xff], &[3, 0, 0, 20, 4], &[5, 0, 0, 30, 8], &[6, 0, 0, 40, 0]];

fn scripts(seeds: &mut Seeds) {
    for script in SCRIPTS {
        for (target, kinds) in [
            ("envelope", 2),
            ("cose", 2),
            ("key_file", 1),
            ("cash", 3),
            ("directory", 2),
            ("order", 1),
            ("redo", 15),
            ("vault", 1),
            ("store", 6),
            ("second_copy", 2),
            ("backup", 4),
        ] {
            (0..kinds).for_each(|kind| tagged(seeds, target, kind, script));
        }
        for kind in [0_u8, 2, 3] {
            (0..15).step_by(4).for_each(|place| tagged(seeds, "record", kind, [&[place], script].concat()));
        }
        (0..16).step_by(5).for_each(|place| tagged(seeds, "checkpoint", place, script));
        for which in 0..u8::try_from(crate::issuer::kinds()).unwrap() {
            tagged(seeds, "issuer", which, [&[0], script].concat());
            tagged(seeds, "issuer", which, [&[3], script].concat());
            tagged(seeds, "issuer", which, [&[4], script].concat());
        }
        for which in 0..u8::try_from(crate::asker::kinds()).unwrap() {
            tagged(seeds, "asker", which, [&[0], script].concat());
            tagged(seeds, "asker", which, [&[3], script].concat());
        }
    }
    tagged(seeds, "vault", 1, b"florin claim keys 1\n");
    let mut coins = crate::world::World::new();
    let set = crate::world::set(&coins.take(&[100, 5]));
    tagged(seeds, "token", 0, set.to_text());
    tagged(seeds, "token", 18, florin_crypto::encode(&set));
    tagged(seeds, "token", 2, [0, 1, 0, 1, 0, 64, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0]);
    let held = florin_coin::HeldCoin {
        worth: crate::world::flo(5),
        coin: set.coins[1].clone(),
        holder: florin_coin::HolderChoice::Nobody,
    };
    tagged(seeds, "token", 1, held.to_bytes());
    tagged(seeds, "cash", 255, florin_coin::cash::card(&coins.certificate));
}

fn all() -> Seeds {
    let mut seeds = Seeds::new();
    texts(&mut seeds);
    web(&mut seeds);
    settings(&mut seeds);
    encodings(&mut seeds);
    scripts(&mut seeds);
    seeds
}

#[test]
fn the_corpus_begins_with_good_inputs_of_every_kind() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let seeds = all();
    for target in TARGETS {
        let inputs = seeds.get(target.name).unwrap_or_else(|| panic!("{} has no seeds", target.name));
        for input in inputs {
            (target.run)(input);
            let name = HEXLOWER.encode(&digest("fuzz/seed", &[input]).0[..6]);
            let file = corpus.join(target.name).join(format!("seed-{name}"));
            if std::env::var_os("FLORIN_BLESS").is_some() {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, input).unwrap();
            }
            let there = std::fs::read(&file).ok();
            assert!(there.as_ref() == Some(input), "{}: FLORIN_BLESS=1 writes it", file.display());
        }
    }
}
