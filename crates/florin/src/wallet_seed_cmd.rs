//! `florin wallet seed|restore`, and the seed that `init --restore` reads. It never stands in a command line, which others
//! of the machine can see. Source: docs/wallet.md, "The seed".

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use florin_shell::exit::ExitCode;
use florin_wallet::{OpenOptions, ROLE, Seed, seed_text};

use crate::common::StateArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::wallet_cmd::{keys_dir, with};

/// A seed and the white space that people put between.
const SEED_BYTES_MAX: u64 = 1024;

/// The seed in a file, or at standard input for `-`.
pub fn read_seed(file: &Path) -> Result<Seed, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().take(SEED_BYTES_MAX).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|f| f.take(SEED_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|e| Failure::of(ExitCode::Usage, format!("{}: {e}", file.display())))?;
    text.parse().map_err(|e: florin_wallet::SeedError| {
        Failure::new(ExitCode::Usage, "input-not-valid", e.to_string())
    })
}

/// Shows the seed.
pub fn seed(state: &StateArgs, output: Output) -> Result<ExitCode, Failure> {
    let places = state.places(ROLE)?;
    let needs = florin_wallet::needs(&places.state)?;
    let keys_dir = if needs.second_factor { keys_dir(&places)? } else { None };
    let passphrase = state.passphrase(&places.state)?;
    let text = seed_text(&OpenOptions::new(places.state, keys_dir, &passphrase))?;
    if output.json {
        output.value(&serde_json::json!({"seed": text.as_str()}));
    } else {
        // What is kept of the output is the seed and nothing else.
        eprintln!("Write this down and keep it where nobody else looks:");
        output.line(text.as_str());
    }
    Ok(ExitCode::Done)
}

/// Asks for refunds.
pub async fn restore(state: &StateArgs, output: Output) -> Result<ExitCode, Failure> {
    with(state, output, async |w| {
        let report = w.restore().await?;
        let code = report.exit_code();
        Ok((report, code))
    })
    .await
}
