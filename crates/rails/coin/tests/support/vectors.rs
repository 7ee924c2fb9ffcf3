//! Vector files: JSON that other implementations read; made again by every test run and compared.
#![allow(dead_code, reason = "each test file uses another part")]

use std::fmt::Write as _;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use florin_coin::Coin;
use florin_crypto::SeededEntropy;
use florin_rail::Refusal;

use crate::support::{World, slug};

/// The vectors of one file, in the order in which they are to be tried.
#[derive(Default)]
pub struct Vectors {
    entries: Vec<String>,
    pub accepting: usize,
    pub refusing: usize,
}

impl Vectors {
    /// One vector. Inputs whose name ends in `_text` are texts, all others bytes.
    pub fn add(&mut self, name: &str, source: &str, expect: &str, inputs: &[(&str, &[u8])], output: &[u8]) {
        if expect == "accept" {
            self.accepting += 1
        } else {
            self.refusing += 1
        }
        let mut text = format!("  {{\n    \"name\": \"{name}\",\n    \"source\": \"{source}\",\n");
        writeln!(text, "    \"expect\": \"{expect}\",\n    \"inputs\": {{").unwrap();
        let lines: Vec<_> = inputs
            .iter()
            .map(|(key, value)| match key.strip_suffix("_text") {
                Some(key) => format!("      \"{key}\": \"{}\"", std::str::from_utf8(value).unwrap()),
                None => format!("      \"{key}\": \"{}\"", HEXLOWER.encode(value)),
            })
            .collect();
        writeln!(
            text,
            "{}\n    }},\n    \"output\": \"{}\"\n  }}",
            lines.join(",\n"),
            HEXLOWER.encode(output)
        )
        .unwrap();
        self.entries.push(text.trim_end().to_owned());
    }

    /// A message to the issuer: what it answers, drawing from a stream seeded with the vector's name.
    pub fn post(
        &mut self,
        w: &mut World,
        name: &str,
        source: &str,
        expect: &str,
        path: &str,
        body: &[u8],
    ) -> Vec<u8> {
        w.issuer_entropy = Some(SeededEntropy::new(name));
        let answer: Result<Vec<u8>, Refusal> = w.post(path, body);
        w.issuer_entropy = None;
        let sealed_no = !matches!(expect, "accept") && answer.is_ok();
        let said = if answer.is_ok() { "accept" } else { slug(&answer) };
        // A no that is recorded comes sealed; the caller reads it and names its cause.
        assert!(said == expect || sealed_no, "{name}: {said}, not {expect}");
        let output = answer.unwrap_or_default();
        let now = w.now.0.to_string();
        let inputs: [(&str, &[u8]); 3] =
            [("path_text", path.as_bytes()), ("now_ms_text", now.as_bytes()), ("body", body)];
        self.add(name, source, expect, &inputs, &output);
        output
    }

    /// Compares with the file, or writes it (`FLORIN_BLESS=1`).
    pub fn compare(&self, file: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../vectors/coin").join(file);
        let text = format!("[\n{}\n]\n", self.entries.join(",\n"));
        if std::env::var_os("FLORIN_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            return;
        }
        let there = std::fs::read_to_string(&path).expect("the vector file; FLORIN_BLESS=1 writes it");
        assert!(there == text, "{file} is not what the code makes; FLORIN_BLESS=1 writes it anew");
    }
}

/// A coin that was changed.
pub fn with(coin: &Coin, change: impl Fn(&mut Coin)) -> Coin {
    let mut coin = coin.clone();
    change(&mut coin);
    coin
}
