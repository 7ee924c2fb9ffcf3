//! The closed loop again with more coins in circulation: the operator is killed, coins that nobody holds are issued in its
//! books, and it is started again. Source: performance.md, "cost as circulation grows".

use std::sync::Arc;
use std::time::Instant;

use florin_books::{Clock, Epoch};
use florin_money::Currency;
use florin_operator::lanes::{BOOKS, lane, spec};
use florin_operator::{OperatorVaults, VaultPlaces};
use florin_shell::clock::SystemClock;
use florin_shell::passphrase::Passphrase;

use crate::books::issue;
use crate::coin::{CoinOptions, Stage};
use crate::error::BenchError;
use crate::load::Pace;
use crate::report::Scaled;

/// An epoch of their own, which the operator itself never issues in.
const EPOCH: Epoch = Epoch(u16::MAX);

impl Stage {
    /// The closed loop at each number of live coins that is asked for.
    pub(crate) async fn at_scale(
        &mut self,
        options: &CoinOptions,
        payments: usize,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Scaled>, BenchError> {
        let mut found = Vec::new();
        let mut issued: u64 = 0;
        for &live in &options.live {
            say(&format!("{live} live coins: the operator is killed and started again"));
            self.kill()?;
            let (state, currency, more) =
                (self.state.clone(), self.market.currency(), live.saturating_sub(issued));
            let added = tokio::task::spawn_blocking(move || add(&state, currency, more));
            added.await.map_err(|_| BenchError::Worker)??;
            issued = live.max(issued);
            let begun = Instant::now();
            let (programs, state, address) = (options.programs.clone(), self.state.clone(), self.address);
            let started = tokio::task::spawn_blocking(move || programs.operator(&state, address));
            self.operator = Some(started.await.map_err(|_| BenchError::Worker)??);
            let start_ms = begun.elapsed().as_secs_f64() * 1e3;
            let items = self.prepare(payments).await?;
            let load = self.load(options, options.outstanding, Pace::Closed);
            found.push(Scaled { live, start_ms, window: self.measure(load, items).await? });
        }
        Ok(found)
    }

    /// Kills the operator.
    pub(crate) fn kill(&mut self) -> Result<(), BenchError> {
        let killed = self.operator.take().map_or(Ok(()), crate::Running::kill);
        killed.map_err(|source| BenchError::Program { program: "operator", source })
    }
}

/// Issues coins in the books of an operator that does not run.
fn add(state: &std::path::Path, currency: Currency, coins: u64) -> Result<(), BenchError> {
    // Where `operator init --dir` lays it.
    let second = state.with_extension("keys").join("second-factor");
    let places = VaultPlaces { state: state.to_path_buf(), second: Some(second) };
    let vaults = OperatorVaults::open(&places, &Passphrase::none())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registers = florin_operator::keys::registers(currency);
    let house = lane(state, spec(BOOKS, &registers), &vaults.store_key("books")?, &clock, false)?;
    issue(&house.books, EPOCH, currency, coins)?;
    Ok(house.books.stop()?)
}
