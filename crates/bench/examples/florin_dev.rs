//! dev only
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use std::path::PathBuf;
use std::sync::Arc;
use florin_bank::{BankConfig, BankKeys};
use florin_crypto::{Secret, derive};
use florin_http::{Client, ClientConfig, Stop};
use florin_operator::{Operator, OperatorConfig, VaultPlaces, init::bank_client, init_sandbox};
use florin_shell::{Listen, Passphrase, SystemClock, StorageOptions, create_books, open_books};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let get = |n: &str| args.iter().position(|a| a == n).map(|i| args[i + 1].clone());
    let http = Client::new(ClientConfig::default()).unwrap();
    let dir = PathBuf::from(get("--dir").unwrap_or_default());
    let places = VaultPlaces { state: dir.clone(), second: None };
    let listen = get("--listen").map(|l| Listen::plain(l.parse().unwrap()));
    match (args[1].as_str(), args[2].as_str()) {
        ("bank", "serve") => {
            let bound = listen.unwrap().bind().await.unwrap();
            let root: Secret<32> = Secret::new([7; 32]);
            let key = |l: &[u8]| derive(&[root.expose()], l);
            let cfg: BankConfig = serde_json::from_value(serde_json::json!({"name":"B","bank_code":"99999901","listen":"127.0.0.1:0","directory":dir})).unwrap();
            let spec = florin_bank::lane_spec();
            let o = StorageOptions::default();
            let books = if dir.exists() { open_books(&dir, spec, &key(b"s"), Arc::new(SystemClock), &o) } else { create_books(&dir, spec, &key(b"s"), Arc::new(SystemClock), &o) }.unwrap();
            println!("listening on {}", bound.url());
            let stop = Stop::on_signal().unwrap();
            florin_bank::run(&cfg, books, &BankKeys { access: key(b"a"), admin: key(b"b") }, Arc::new(SystemClock), bound.listener, None, stop).await.unwrap();
        }
        ("operator", "init") => {
            let mut config = OperatorConfig::default();
            config.bank.url = get("--bank").unwrap();
            init_sandbox(config, &places, &Passphrase::none(), &http).await.unwrap();
        }
        ("operator", w) => {
            let text = std::fs::read_to_string(dir.join("operator.toml")).unwrap();
            let config: OperatorConfig = toml_config(&text);
            let rail = Arc::new(bank_client(&config, config.money().unwrap(), &http).unwrap());
            let o = Operator::open(config, &places, &Passphrase::none(), rail).unwrap();
            if w == "audit" {
                let r = florin_operator::audit(&o.lanes).await.unwrap();
                println!("{r}");
                return if r.is_clean() { 0 } else { 1 }.into();
            }
            let bound = listen.unwrap().bind().await.unwrap();
            println!("listening on {}", bound.url());
            return o.run(bound, Stop::on_signal().unwrap()).await.into();
        }
        ("bench", _) => {
            let mut o = florin_bench::CoinOptions::new(florin_bench::Programs::current().unwrap());
            if let Some(s) = get("--seconds") { o.window = std::time::Duration::from_secs(s.parse().unwrap()); }
            if let Some(s) = get("--outstanding") { o.outstanding = s.parse().unwrap(); }
            if let Some(s) = get("--in") { o.coins_in = s.parse().unwrap(); }
            if let Some(s) = get("--out") { o.coins_out = s.parse().unwrap(); }
            if get("--no-open").is_some() { o.open = florin_bench::OpenLoop::Off; }
            o.json = get("--json").map(PathBuf::from);
            match florin_bench::coin(&o, &|s| eprintln!("{s}")).await {
                Ok(r) => println!("{r}"),
                Err(e) => { eprintln!("{e}"); return 1.into(); }
            }
        }
        _ => panic!(),
    }
    0.into()
}
fn toml_config(text: &str) -> OperatorConfig { toml::from_str(text).unwrap() }
