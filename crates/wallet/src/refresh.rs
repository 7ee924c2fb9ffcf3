//! `refresh`: old coins for new ones of the same values, by itself before they expire and by hand in their grace period.
//! Source: VarietyCash §3 (Refresh).

use std::fmt;
use std::time::Duration;

use florin_books::TxId;
use florin_coin::holder::{self, ExchangeNews};
use florin_coin::{Calendar, CoinCause};
use florin_money::{Amount, Currency};
use florin_shell::ExitCode;
use serde::Serialize;

use crate::documents::Note;
use crate::purse::{EXP_MS, EXPIRING_MS, Owned, coin_set};
use crate::refund::LIST_FULL;
use crate::refusal::WalletError;
use crate::report::{Lost, text};
use crate::status::forgive;
use crate::wallet::Wallet;

/// What was refreshed of one currency.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RefreshedRow {
    /// What is in new coins now.
    #[serde(serialize_with = "text")]
    pub refreshed: Amount,
    /// How many coins that was.
    pub coins: usize,
    /// What was past its grace period: it stays in the wallet and does not pay.
    #[serde(serialize_with = "text")]
    pub lapsed: Amount,
}

/// What `refresh` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RefreshReport {
    /// One row for each currency of the operator.
    pub rows: Vec<RefreshedRow>,
    /// Coins that were not taken, and why.
    pub lost: Vec<Lost>,
}

impl RefreshReport {
    /// How the program ends: `Done` if no coin was left out.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.lost.is_empty() { ExitCode::Done } else { ExitCode::Refused }
    }
}

impl fmt::Display for RefreshReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "refreshed {} in {} coins", row.refreshed, row.coins)?;
            if !row.lapsed.is_zero() {
                writeln!(f, "{} is past its grace period and stays as it is: ask the operator", row.lapsed)?;
            }
        }
        self.lost.iter().try_for_each(|coin| writeln!(f, "not taken: {}: {}", coin.worth, coin.cause))
    }
}

impl Wallet {
    /// Whether a coin can no longer be exchanged, as far as the key list says.
    pub(crate) fn is_lapsed(&self, owned: &Owned) -> bool {
        let (keys, coin) = (self.keys(), &owned.coin.coin);
        match keys.epoch(coin.epoch) {
            Some(epoch) => !epoch.exchanges(self.now()),
            None if keys.epochs.is_empty() => {
                keys.terms.grace_end(coin.expires).is_some_and(|end| self.now() > end)
            }
            None => true,
        }
    }

    /// Free coins that soon stop paying, have stopped, or were revoked.
    fn old_coins(&self) -> Result<Vec<Owned>, WalletError> {
        let (now, keys) = (self.now(), self.keys());
        let calendar = Calendar::of(&keys.terms);
        let issuing = keys.issuing(now).map(|epoch| epoch.expires);
        // Where coins live so shortly that new ones expire as soon, nothing is gained.
        let newest = issuing.unwrap_or_else(|| calendar.expiry(calendar.epoch_at(now))).minus_ms(1);
        let until = now.plus_ms(EXPIRING_MS).min(newest);
        let mut old = self.coins()?;
        old.retain(|o| !o.reserved && (o.coin.coin.expires <= until || self.is_revoked(o)));
        Ok(old)
    }

    fn is_revoked(&self, owned: &Owned) -> bool {
        self.keys().epoch(owned.coin.coin.epoch).is_some_and(|epoch| epoch.revoked.is_some())
    }

    /// Learns which epochs were revoked, and exchanges their coins. Whether there were any.
    pub(crate) async fn recoup(&self) -> Result<bool, WalletError> {
        match self.refresh_keys().await {
            Ok(()) | Err(WalletError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut revoked = self.old_coins()?;
        revoked.retain(|owned| self.is_revoked(owned) && !self.is_lapsed(owned));
        for (_, some) in self.batches(&revoked) {
            self.refresh_some(&some, self.patience).await?;
        }
        Ok(!revoked.is_empty())
    }

    /// Refreshes what soon stops paying, if the operator answers at once; whatever comes of it, the command that asked
    /// goes on. What is past its grace period is left alone.
    ///
    /// # Errors
    /// Those of the books.
    pub(crate) async fn refresh_by_the_way(&self) -> Result<(), WalletError> {
        let mut old = self.old_coins()?;
        old.retain(|owned| !self.is_lapsed(owned));
        for (_, some) in self.batches(&old) {
            forgive(self.refresh_some(&some, Duration::ZERO).await.map(|_| ()))?;
        }
        Ok(())
    }

    /// Refreshes by hand: what soon stops paying or has stopped, or with `all` every free coin. What the wallet reckons to
    /// be past its grace period is asked for apart, since the operator has the last word.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `NotKnownYet`, those of the books.
    pub async fn refresh(&self, all: bool) -> Result<RefreshReport, WalletError> {
        let _progress = self.progress("refreshing coins");
        self.refresh_keys().await?;
        while let Some(x) = self.open_one(|note| matches!(note, Note::Refresh))? {
            self.settle(&x).await?;
        }
        let mut old = if all { self.coins()? } else { self.old_coins()? };
        old.retain(|owned| !owned.reserved);
        let (late, timely): (Vec<Owned>, Vec<Owned>) =
            old.into_iter().partition(|owned| self.is_lapsed(owned));
        let zero = |currency| RefreshedRow {
            refreshed: Amount::zero(currency),
            coins: 0,
            lapsed: Amount::zero(currency),
        };
        let rows = self.keys().currencies.iter().map(|terms| zero(terms.currency)).collect();
        let mut report = RefreshReport { rows, lost: Vec::new() };
        for (currency, some) in self.batches(&timely).into_iter().chain(self.batches(&late)) {
            self.refresh_until_taken(currency, some, &mut report).await?;
        }
        Ok(report)
    }

    /// One batch, again without the coins that the operator does not take.
    async fn refresh_until_taken(
        &self,
        currency: Currency,
        mut some: Vec<Owned>,
        report: &mut RefreshReport,
    ) -> Result<(), WalletError> {
        let damaged = |_| WalletError::Damaged { what: "coins" };
        while !some.is_empty() {
            let Some(news) = self.refresh_some(&some, self.patience).await? else { return Ok(()) };
            let row = report.rows.iter_mut().find(|row| row.refreshed.currency() == currency);
            let Some(row) = row else { return Ok(()) };
            if news.causes.is_empty() {
                let worth =
                    Amount::sum(some.iter().map(|owned| owned.coin.worth), currency).map_err(damaged)?;
                row.refreshed = row.refreshed.checked_add(worth).map_err(damaged)?;
                row.coins = row.coins.saturating_add(some.len());
                return Ok(());
            }
            let mut good = Vec::with_capacity(some.len());
            for (index, owned) in (0_u32..).zip(some) {
                let Some(bad) = news.causes.iter().find(|bad| bad.index == index) else {
                    good.push(owned);
                    continue;
                };
                if bad.cause == CoinCause::Expired {
                    row.lapsed = row.lapsed.checked_add(owned.coin.worth).map_err(damaged)?;
                }
                report.lost.push(Lost { worth: owned.coin.worth, cause: bad.cause.slug() });
            }
            some = good;
        }
        Ok(())
    }

    /// Coins by currency, in as many as one request takes.
    fn batches(&self, coins: &[Owned]) -> Vec<(Currency, Vec<Owned>)> {
        let most = self.coins_max().max(1);
        let keys = self.keys();
        let of = |currency: Currency| -> Vec<Owned> {
            coins.iter().filter(|o| o.coin.worth.currency() == currency).cloned().collect()
        };
        let currencies = keys.currencies.iter().map(|terms| terms.currency);
        currencies
            .flat_map(|c| of(c).chunks(most).map(|some| (c, some.to_vec())).collect::<Vec<_>>())
            .collect()
    }

    /// One request. None where somebody else has one of the coins, or has read the answer.
    async fn refresh_some(
        &self,
        coins: &[Owned],
        patience: Duration,
    ) -> Result<Option<ExchangeNews>, WalletError> {
        let Some(currency) = coins.first().map(|owned| owned.coin.worth.currency()) else { return Ok(None) };
        let issuer = self.issuer().await?;
        let set = coin_set(coins, currency)?;
        let amount = set.total;
        let choice = self.choice_of(coins).await?;
        let tx = (TxId::new(self.draw()), self.now().plus_ms(EXP_MS));
        let prepared = holder::refresh_for(&issuer, set, choice, tx, &mut *self.entropy())
            .map_err(|_| WalletError::NotPayable { amount })?;
        let mut x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &Note::Refresh)
            .withdrawn_by(prepared.withdrawn);
        x.reserved = coins.iter().map(|owned| owned.id).collect();
        if !self.set_aside_for(&x, &choice, "florin/v1/wallet/refresh").await? {
            return Ok(None);
        }
        let answer = match self.settle_within(&x, patience).await {
            Err(error) if error.slug() == LIST_FULL => return self.make_room(&choice).await.map(|()| None),
            settled => settled?,
        };
        Ok(answer.and_then(|answer| holder::read_exchange(&x.pending, &answer, &self.keys()).ok()))
    }
}
