//! `redeem`: coins for money on the enrolled account. Source: VarietyCash §3 (Redeem); V3 (never another account).

use std::fmt;

use florin_books::TxId;
use florin_coin::{COINS_PER_PAYMENT_MAX, holder};
use florin_money::{Amount, Currency};
use florin_parties::Roles;
use florin_parties::bank::BankAccount;
use florin_shell::ExitCode;
use florin_shell::exchange::Exchange;
use serde::Serialize;

use crate::documents::{End, Kind, Note};
use crate::purse::{Owned, coin_set};
use crate::refusal::WalletError;
use crate::report::{Lost, text};
use crate::wallet::Wallet;

/// A request lasts at most so long.
const EXP_MS: u64 = 23 * 60 * 60 * 1000;

/// How much to redeem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RedeemAmount {
    /// So much.
    Exactly(Amount),
    /// All free coins of a currency.
    All(Currency),
}

/// What `redeem` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RedeemReport {
    /// What goes to the account.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// The account, with only its ends shown.
    pub account: String,
    /// The pay-outs, by their ids at the operator.
    pub payouts: Vec<String>,
    /// Coins that were not taken, and why.
    pub lost: Vec<Lost>,
    /// Whether this ended a redemption that was begun earlier.
    pub resumed: bool,
}

impl RedeemReport {
    /// How the program ends: `Done` if all of it is on its way.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.lost.is_empty() { ExitCode::Done } else { ExitCode::Refused }
    }
}

impl RedeemReport {
    fn add(&mut self, payout: Option<TxId>, amount: Amount) -> Result<(), WalletError> {
        if let Some(payout) = payout {
            self.payouts.push(payout.to_string());
            let sum = self.amount.checked_add(amount);
            self.amount = sum.map_err(|_| WalletError::Damaged { what: "coins" })?;
        }
        Ok(())
    }
}

impl fmt::Display for RedeemReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is on its way to {}", self.amount, self.account)?;
        for coin in &self.lost {
            writeln!(f, "not taken: {}: {}", coin.worth, coin.cause)?;
        }
        if self.resumed {
            writeln!(f, "this ended a redemption that was begun before")?;
        }
        self.payouts.iter().try_for_each(|id| writeln!(f, "{id}"))
    }
}

impl Wallet {
    /// Redeems coins to the enrolled account. A redemption that is under way is ended first, and counts for an amount
    /// that is the same.
    ///
    /// # Errors
    /// `NotEnrolled`, `NotEnough`, `NotPayable`, `Refused`, `NotKnownYet`, those of the books.
    pub async fn redeem(&self, wanted: RedeemAmount) -> Result<RedeemReport, WalletError> {
        let account = self.account_for(Roles::REDEEMER)?;
        let currency = match wanted {
            RedeemAmount::Exactly(amount) => amount.currency(),
            RedeemAmount::All(currency) => currency,
        };
        let _progress = self.progress("redeeming coins");
        let mut report = RedeemReport {
            amount: Amount::zero(currency),
            account: account.masked(),
            payouts: Vec::new(),
            lost: Vec::new(),
            resumed: false,
        };
        for item in self.untold(Kind::Redeemed)?.into_iter().filter(|item| item.amount.currency() == currency)
        {
            let payout = (item.end == End::Done).then(|| TxId::new(item.id.0));
            report.lost.extend(Lost::of(&item.lost));
            report.add(payout, item.amount)?;
            self.reporting(item.id.0);
            report.resumed = true;
        }
        while let Some(x) = self
            .open_one(|note| matches!(note, Note::Redeem { amount, .. } if amount.currency() == currency))?
        {
            self.finish_redeem(&x, &mut report).await?;
            report.resumed = true;
        }
        match wanted {
            RedeemAmount::Exactly(amount) if report.resumed && report.amount == amount => {}
            RedeemAmount::Exactly(amount) => {
                let coins = self.exact_coins(amount, COINS_PER_PAYMENT_MAX).await?;
                self.redeem_coins(&coins, currency, &account, &mut report).await?;
            }
            RedeemAmount::All(currency) => {
                // The grace period is for redeeming, too.
                let mut free = self.coins()?;
                let usable =
                    |o: &Owned| !o.reserved && o.coin.worth.currency() == currency && !self.is_lapsed(o);
                free.retain(usable);
                if free.is_empty() && !report.resumed {
                    let none = Amount::zero(currency);
                    return Err(WalletError::NotEnough { have: none, need: Amount::new(1, currency) });
                }
                for coins in free.chunks(COINS_PER_PAYMENT_MAX) {
                    self.redeem_coins(coins, currency, &account, &mut report).await?;
                }
            }
        }
        Ok(report)
    }

    async fn redeem_coins(
        &self,
        coins: &[Owned],
        currency: Currency,
        account: &BankAccount,
        report: &mut RedeemReport,
    ) -> Result<(), WalletError> {
        let issuer = self.issuer().await?;
        let set = coin_set(coins, currency)?;
        let amount = set.total;
        let (txid, exp) = (TxId::new(self.draw()), self.now().plus_ms(EXP_MS));
        let prepared = holder::redeem(&issuer, &self.identity, set, txid, exp, &mut *self.entropy())
            .map_err(|_| WalletError::NotPayable { amount })?;
        let note = Note::Redeem { amount, account: account.masked() };
        let mut x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
            .withdrawn_by(prepared.withdrawn);
        x.reserved = coins.iter().map(|owned| owned.id).collect();
        if !self.set_aside(&x, "florin/v1/wallet/redeem").await? {
            return Err(WalletError::UnderWay { what: "something else with these coins" });
        }
        self.finish_redeem(&x, report).await
    }

    async fn finish_redeem(&self, x: &Exchange, report: &mut RedeemReport) -> Result<(), WalletError> {
        let Some(Note::Redeem { amount, .. }) = Note::of(x) else { return Ok(()) };
        let coins = match self.coins_of(x) {
            Ok(coins) => coins,
            // Somebody else with this wallet has ended it; the history says how.
            Err(_) if self.document::<Exchange>(x.key())?.is_none() => return Ok(()),
            Err(error) => return Err(error),
        };
        let answer = self.settle(x).await?;
        let Some(news) = answer.and_then(|a| holder::read_exchange(&x.pending, &a, &self.keys()).ok()) else {
            return Ok(());
        };
        for bad in &news.causes {
            let coin = usize::try_from(bad.index).ok().and_then(|index| coins.get(index));
            report.lost.extend(coin.map(|owned| Lost { worth: owned.coin.worth, cause: bad.cause.slug() }));
        }
        self.reporting(news.payout.map_or(*x.id.bytes(), |payout| *payout.bytes()));
        report.add(news.payout, amount)
    }
}
