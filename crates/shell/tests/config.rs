//! Configuration: precedence, sources, and what an error says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use florin_shell::config::{ConfigError, Loaded, Source, load_from, set};
use florin_shell::exit::ExitCode;
use serde::{Deserialize, Serialize};
use toml::Table;

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Config {
    currency: String,
    test: bool,
    listen: Listen,
    banks: BTreeMap<String, Bank>,
    prices: Vec<Price>,
    #[serde(rename = "retry-after-s")]
    retry_after_s: Option<u32>,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
struct Listen {
    address: SocketAddr,
    tls_cert: Option<PathBuf>,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
struct Bank {
    url: String,
    delay_s: u64,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
struct Price {
    path: String,
    price: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            currency: "FLO".to_owned(),
            test: true,
            listen: Listen { address: "127.0.0.1:7400".parse().unwrap(), tls_cert: None },
            banks: BTreeMap::new(),
            prices: Vec::new(),
            retry_after_s: None,
        }
    }
}

fn load(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded<Config>, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("operator.toml");
    std::fs::write(&path, file).unwrap();
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut table = Table::new();
    flags.iter().for_each(|(key, value)| set(&mut table, key, *value));
    load_from(Some(&path), "FLORIN_OPERATOR_", variables, table)
}

/// An error's words, without the folder of the file.
fn words(result: Result<Loaded<Config>, ConfigError>) -> String {
    let text = result.unwrap_err().to_string();
    match text.find("operator.toml") {
        Some(at) => text[at..].to_owned(),
        None => text,
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "currency = \"EUR\"\ntest = false\n[listen]\naddress = \"127.0.0.1:1\"\n";
    let variables = [("FLORIN_OPERATOR_LISTEN__ADDRESS", "127.0.0.1:2"), ("FLORIN_OPERATOR_CURRENCY", "CHF")];
    let loaded = load(file, &variables, &[("listen.address", "127.0.0.1:3")]).unwrap();
    let Config { currency, test, listen, .. } = &loaded.value;
    assert_eq!((currency.as_str(), test, listen.address.port()), ("CHF", &false, 3));
    assert_eq!(loaded.sources["listen.address"], Source::Flag);
    assert_eq!(loaded.sources["currency"].to_string(), "FLORIN_OPERATOR_CURRENCY");
    assert!(loaded.sources["test"].to_string().ends_with("operator.toml:2"));
    assert_eq!(loaded.sources["listen.tls_cert"], Source::Default);
}

#[test]
fn without_anything_it_is_the_default_and_every_key_is_listed() {
    let loaded: Loaded<Config> = load_from(None, "FLORIN_OPERATOR_", [], Table::new()).unwrap();
    assert_eq!(loaded.value, Config::default());
    let entries = loaded.entries();
    let keys: Vec<&str> = entries.iter().map(|(key, _, _)| key.as_str()).collect();
    let all = ["banks", "currency", "listen.address", "listen.tls_cert", "prices", "retry-after-s", "test"];
    assert_eq!(keys, all);
    assert_eq!(entries[1], ("currency".to_owned(), "FLO".into(), Source::Default));
    assert_eq!(entries[3].1, serde_json::Value::Null);
}

#[test]
fn variables_are_read_as_what_the_setting_is() {
    let variables = [
        ("FLORIN_OPERATOR_TEST", "false"),
        ("FLORIN_OPERATOR_RETRY_AFTER_S", "30"),
        ("FLORIN_OPERATOR_CURRENCY", "978"),
        ("FLORIN_OPERATOR_LISTEN__TLS_CERT", "/etc/florin/cert.pem"),
        ("FLORIN_OPERATOR_BANKS", "{ blue = { url = \"http://127.0.0.1:1\", delay_s = 3 } }"),
        ("FLORIN_WALLET_TEST", "who knows"),
        ("PATH", "/bin"),
    ];
    let config = load("", &variables, &[]).unwrap().value;
    assert_eq!((config.test, config.retry_after_s, config.currency.as_str()), (false, Some(30), "978"));
    assert_eq!(config.listen.tls_cert, Some("/etc/florin/cert.pem".into()));
    assert_eq!(config.banks["blue"].delay_s, 3);
}

#[test]
fn a_file_sets_whole_maps_and_lists_and_parts_of_structures() {
    let file = "[listen]\ntls_cert = \"c\"\n[banks.blue]\nurl = \"u\"\ndelay_s = 1\n[[prices]]\npath = \"/\"\nprice = \"1\"\n";
    let loaded = load(file, &[], &[]).unwrap();
    assert_eq!(loaded.value.listen.address.port(), 7400);
    assert_eq!((loaded.value.banks.len(), loaded.value.prices.len()), (1, 1));
    assert!(loaded.sources["banks"].to_string().ends_with(":3"), "{}", loaded.sources["banks"]);
}

#[test]
fn errors_of_the_file_name_file_line_and_key() {
    for (file, expected) in [
        ("test = true\ncurency = \"EUR\"\n", "operator.toml:2: there is no setting curency"),
        ("\n[listen]\nport = 1\n", "operator.toml:3: there is no setting listen.port"),
        ("\n\ntest = \"yes\"\n", "operator.toml:3: test: invalid type: string \"yes\", expected a boolean"),
        ("[listen]\naddress = \"here\"\n", "operator.toml:2: listen.address: invalid socket address syntax"),
        ("test = true\ntest = false\n", "operator.toml:2: duplicate key"),
        ("test = true\n[listen\n", "operator.toml:2: "),
        ("listen = 7\n", "operator.toml:1: listen: invalid type: integer `7`, expected struct Listen"),
        (
            "[[prices]]\npath = \"/\"\nprice = \"1\"\n[[prices]]\npath = \"/b\"\ncost = \"2\"\n",
            "operator.toml:6: prices: unknown field `cost`, expected `path` or `price`",
        ),
        ("[banks.blue]\nurl = \"u\"\n", "operator.toml:1: banks: missing field `delay_s`"),
    ] {
        let said = words(load(file, &[], &[]));
        assert!(said.starts_with(expected), "{file:?}\n  {said}\n  {expected}");
    }
}

#[test]
fn a_misspelt_or_unfit_variable_is_an_error_that_names_it() {
    for (name, value, expected) in [
        ("FLORIN_OPERATOR_CURENCY", "EUR", "FLORIN_OPERATOR_CURENCY sets nothing"),
        ("FLORIN_OPERATOR_LISTEN", "{}", "FLORIN_OPERATOR_LISTEN sets nothing"),
        ("FLORIN_OPERATOR_BANKS__BLUE", "{}", "FLORIN_OPERATOR_BANKS__BLUE sets nothing"),
        ("FLORIN_OPERATOR_", "1", "FLORIN_OPERATOR_ sets nothing"),
        ("FLORIN_OPERATOR_TEST", "maybe", "FLORIN_OPERATOR_TEST: test: invalid type: string"),
        ("FLORIN_OPERATOR_RETRY_AFTER_S", "-1", "FLORIN_OPERATOR_RETRY_AFTER_S: retry-after-s: "),
    ] {
        let said = words(load("", &[(name, value)], &[]));
        assert!(said.starts_with(expected), "{said}\n  {expected}");
    }
    let odd = [(OsString::from("FLORIN_OPERATOR_CURRENCY"), OsString::from_vec(vec![0xff]))];
    let refused = load_from::<Config>(None, "FLORIN_OPERATOR_", odd, Table::new());
    assert!(matches!(refused, Err(ConfigError::NotText { .. })));
}

#[test]
fn a_bad_flag_is_a_mistake_of_the_command_line() {
    for flag in [("listen.adress", "127.0.0.1:1"), ("listen.address", "nowhere")] {
        let refused = load("", &[], &[flag]).unwrap_err();
        assert_eq!(refused.exit_code(), ExitCode::Usage, "{refused}");
        assert!(refused.to_string().starts_with("command line: "), "{refused}");
    }
    assert_eq!(load("x", &[], &[]).unwrap_err().exit_code(), ExitCode::Configuration);
}

#[test]
fn a_file_that_is_named_must_be_there_and_be_text_of_reasonable_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("operator.toml");
    let read = || load_from::<Config>(Some(&path), "FLORIN_OPERATOR_", [], Table::new());
    assert!(matches!(read(), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&path, [0xff]).unwrap();
    assert!(matches!(read(), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(read(), Err(ConfigError::TooLarge { .. })));
    std::fs::write(&path, "#".repeat(1024 * 1024)).unwrap();
    assert_eq!(read().unwrap().value, Config::default());
}
