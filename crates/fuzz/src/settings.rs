//! Files that people write: price rules, and the settings of operator, gate and bank.

use axum::http::Method;
use florin_bank::BankConfig;
use florin_merchant::path::CleanPath;
use florin_merchant::rules::{DESCRIPTION_MAX, RULES_MAX};
use florin_merchant::{Flow, GateConfig, Payable, Rules, Settle};
use florin_money::{Currency, Denominations};
use florin_operator::OperatorConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::say::{choice, fine, some, text};

pub(crate) const RULES: &[&str] = &[
    "[[rule]]\n",
    "path = \"/a/**\"\n",
    "price = \"0.05 FLO\"\n",
    "free = true\n",
    "methods = [\"GET\"]\n",
    "settle = \"redeem\"\n",
    "flow = \"authorization\"\n",
    "description = \"x\"\n",
    "\"\"\"",
    "[[[[[[[[",
    "{a=",
    "%2e",
    "**",
    "/",
];
pub(crate) const WORDS: &[&str] = &[
    "name = \"x\"\n",
    "listen = \"127.0.0.1:1\"\n",
    "grace_days = \"unlimited\"\n",
    "[bank]\n",
    "[[key_holder]]\n",
    "currency = \"EUR\"\n",
    "exponent = 2\n",
    "payout_release_above = \"1\"\n",
    "bank_code = \"99990001\"\n",
    "price = \"1 FLO\"\n",
    "flow = \"upfront\"\n",
    "[payout]\n",
    "1979-05-27",
    "inf",
    "0x",
    "'''",
    "[[[[[[[[",
];

/// Paths that are asked for at every set of rules.
const ASKED: [&str; 8] =
    ["/", "/a", "/A/b", "/a/b/c.html", "/a;x=1/b", "/free", "/%C3%BC", "/a/b/c/d/e/f/g/h"];

/// Rules are read or refused; those that are read can be asked about any path and shown.
pub(crate) fn rules(data: &[u8]) {
    let (what, data) = choice(data);
    let Some(text) = text(data) else { return };
    let payable = Payable::new(vec![Denominations::one_two_five(Currency::FLO, 24)], 24);
    let default = (what & 1 == 1).then_some("0.10 FLO");
    let Ok(rules) = Rules::parse(text, default, &payable) else { return };
    let rules = rules.with_settle(Settle::default()).with_flow(Flow::Authorization);
    let all: Vec<_> = rules.all().collect();
    assert!(all.len() <= RULES_MAX.saturating_add(1));
    for rule in &all {
        assert_eq!(rule.price.is_some(), rule.settle.is_some(), "what costs is settled, and nothing else");
        assert!(rule.price.is_none_or(|p| !p.is_zero() && payable.price(&p.to_string()) == Ok(p)));
        let words = rule.description.as_deref().unwrap_or_default();
        assert!(words.chars().count() <= DESCRIPTION_MAX && !words.contains(char::is_control));
        assert!(rule.label().contains(" /"));
    }
    for path in ASKED {
        let clean = fine(CleanPath::parse(path), "a path");
        let get = rules.rule(&Method::GET, &clean);
        assert_eq!(rules.rule(&Method::HEAD, &clean).label(), get.label(), "HEAD costs what GET costs");
    }
    assert_eq!(rules.table().lines().count(), all.len().saturating_add(1), "a line for each rule and a head");
}

fn read_again<T: DeserializeOwned + Serialize>(text: &str) -> Option<T> {
    let read: T = toml::from_str(text).ok()?;
    let written = fine(toml::to_string_pretty(&read), "settings that were read are not written");
    let again: T = fine(toml::from_str(&written), "settings that were written are not read");
    let twice = fine(toml::to_string_pretty(&again), "settings");
    assert_eq!(written, twice, "two forms of the same settings");
    Some(read)
}

/// Settings as a whole, and as a program loads them: the same file, one setting at a time.
pub(crate) fn settings(data: &[u8]) {
    let (what, data) = choice(data);
    let Some(text) = text(data) else { return };
    match what % 3 {
        0 => {
            if let Some(config) = read_again::<OperatorConfig>(text) {
                let _ = (config.money(), config.release_above(), config.iban());
                assert!(config.terms().epoch_days >= 1);
                loaded(text, &config);
            }
        }
        1 => {
            if let Some(config) = read_again::<GateConfig>(text) {
                loaded(text, &config);
            }
        }
        _ => {
            if let Ok(config) = toml::from_str::<BankConfig>(text) {
                assert_eq!(config.bank_code.to_string().parse(), Ok(config.bank_code));
            }
        }
    }
}

fn loaded<T: DeserializeOwned + Serialize + Default + PartialEq>(text: &str, whole: &T) {
    let dir = fine(tempfile::tempdir(), "a folder");
    let file = dir.path().join("settings.toml");
    fine(std::fs::write(&file, text), "a file");
    let loaded = florin_shell::config::load_from::<T>(Some(&file), "FLORIN_", [], toml::Table::new());
    let loaded = some(loaded.ok(), "settings that can be read as a whole are not loaded");
    assert!(loaded.value == *whole, "loaded as other settings than they are");
}
