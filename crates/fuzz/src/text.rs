//! Short texts that people and other programs write: accounts, names, ids, times, seeds, secrets, URLs.

use florin_bank::messages::{balance_text, parse_balance};
use florin_bank::{Access, AccountNumber, BankCode};
use florin_books::{PartyId, Timestamp, TxId};
use florin_crypto::{decode_strict, encode};
use florin_http::check_url;
use florin_money::Currency;
use florin_parties::bank::{BankAccount, OrderId};
use florin_parties::{ParticipantName, network_id, parse_network_id};
use florin_shell::utc;
use florin_wallet::Seed;

use crate::say::{choice, fine, some, text};

pub(crate) const PAYTO: &[&str] =
    &["payto://iban/", "DE89370400440532013000", "GB82WEST12345698765432", "?amount=", "#", "/", " ", "IBAN"];

pub(crate) const WORDS: &[&str] = &[
    "party_",
    "tx_",
    "order_",
    "florinseed1 ",
    "https://",
    "http://",
    "localhost",
    "127.0.0.1",
    "[::1]",
    "@",
    ":",
    "9999",
    "T",
    "Z",
    ".",
    "-",
    "2026-11-21",
];

/// An account is read from any usual form and has one form of its own.
pub(crate) fn payto(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(account) = text.parse::<BankAccount>() else { return };
    assert_eq!(account.to_string().parse(), Ok(account.clone()), "{text:?}");
    assert_eq!(account.iban().parse(), Ok(account.clone()), "{text:?}");
    assert_eq!(decode_strict::<BankAccount>(&encode(&account)), Ok(account.clone()));
    assert!((15..=34).contains(&account.iban().len()), "{text:?}");
    assert!(account.iban().bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()), "{text:?}");
    assert!(mod97(account.iban()) == 1, "the check digits of {text:?} are wrong");
    assert!(account.masked().chars().count() <= 9);
    if let Some(code) = BankCode::of(&account) {
        let number = account.iban().get(12..).and_then(|n| n.parse::<AccountNumber>().ok());
        let number = some(number, "an account of a sandbox bank has a number");
        assert_eq!(code.account(number), Some(account), "{text:?}");
    }
}

/// ISO 7064 MOD 97-10, written here once more.
fn mod97(iban: &str) -> u32 {
    let (head, tail) = iban.split_at_checked(4).unwrap_or((iban, ""));
    tail.chars().chain(head.chars()).filter_map(|c| c.to_digit(36)).fold(0, |rest: u32, digit| {
        let shift = if digit < 10 { 10 } else { 100 };
        rest.wrapping_mul(shift).wrapping_add(digit).checked_rem(97).unwrap_or(0)
    })
}

/// Whatever a text is: printed again it is the same thing.
pub(crate) fn words(data: &[u8]) {
    let (what, data) = choice(data);
    let Some(text) = text(data) else { return };
    match what % 9 {
        0 => ids(text),
        1 => {
            if let Ok(name) = text.parse::<ParticipantName>() {
                assert_eq!(ParticipantName::folded(name.as_str()), Ok(name.clone()));
                assert_eq!(ParticipantName::folded(text).is_ok(), name.as_str() == text);
            }
        }
        2 => time(text),
        3 => {
            if let Ok(seed) = text.parse::<Seed>() {
                let written = seed.to_text();
                let again: Seed = fine(written.parse(), "a seed that was written is not read");
                assert!(*again.to_text() == *written);
            }
        }
        4 => {
            if let Some(id) = parse_network_id(text) {
                assert_eq!(network_id(id), text);
            }
        }
        5 => {
            if let Some(access) = Access::from_text(text) {
                assert!(*access.to_text() == *text);
            }
        }
        6 => {
            if let Ok(code) = text.parse::<BankCode>() {
                assert_eq!(code.to_string(), text);
            }
            if let Ok(number) = text.parse::<AccountNumber>() {
                assert_eq!(number.to_string().parse(), Ok(number));
            }
        }
        7 => url(text),
        _ => {
            if let Ok(minor) = parse_balance(text, Currency::FLO) {
                assert_eq!(parse_balance(&balance_text(minor, Currency::FLO), Currency::FLO), Ok(minor));
            }
        }
    }
}

fn ids(text: &str) {
    if let Ok(id) = text.parse::<PartyId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<TxId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<OrderId>() {
        assert_eq!(id.to_string(), text);
    }
}

/// What is read as a time is written as the same moment.
fn time(text: &str) {
    let Some(at) = utc::parse(text) else { return };
    assert_eq!(utc::parse(&utc::utc_ms(at)), Some(at), "{text:?}");
    assert_eq!(utc::parse(&utc::utc(at)).map(Timestamp::unix_s), Some(at.unix_s()), "{text:?}");
    let day = some(utc::parse(&utc::date(at)), "a date is a time");
    assert!(day <= at && at.0.saturating_sub(day.0) < 86_400_000, "{text:?}");
}

/// A URL that may be used goes to https, or to this machine; nobody's name stands before the host.
fn url(text: &str) {
    let Ok(uri) = check_url(text) else { return };
    let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
    assert!(!authority.is_empty() && !authority.contains('@'), "{text:?}");
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") => {
            let host = uri.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let address = host.parse::<std::net::IpAddr>();
            assert!(
                host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|a| a.is_loopback()),
                "{text:?} is plain http"
            );
        }
        other => assert_eq!(other, Some("https"), "{text:?} has another scheme"),
    }
}
