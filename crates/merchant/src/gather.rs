//! Value that the gate has gathered at the operator: what it is, its redemption in one bank order, by hand or by itself.
//! The gate's books keep it as due from the operator; the operator's word is compared where nothing is under way.
//! Source: VarietyCash §3 (Payment with aggregation), §3.2 (V-DESC); books.md, "Exactly once".

use std::time::Duration;

use florin_books::{Account, ExchangeId, Needs, Transition, TxId};
use florin_coin::{IssuerKey, aggregate};
use florin_crypto::{cbor, digest, random};
use florin_http::Stop;
use florin_money::{Amount, Currency};
use florin_shell::exchange::{self, Delivered, Exchange, Outcome};
use florin_shell::house::ActError;
use serde::{Deserialize, Serialize};

use crate::desk::{Desk, DeskError, refused};
use crate::kinds::{REDEEM_AGGREGATE, VALIDATION};

/// How often gathered value is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is paid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayoutFrom {
    /// Coins of the purse.
    Coins,
    /// What is gathered at the operator.
    Gathered,
}

/// What was paid out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PaidFrom {
    /// Of the purse.
    pub coins: Option<Amount>,
    /// Of what was gathered.
    pub gathered: Option<Amount>,
}

impl PaidFrom {
    /// Both together.
    ///
    /// # Errors
    /// `Nothing`: neither.
    pub fn total(&self) -> Result<Amount, DeskError> {
        match (self.coins, self.gathered) {
            (Some(coins), Some(gathered)) => coins.checked_add(gathered).map_err(|_| DeskError::Answer),
            (Some(amount), None) | (None, Some(amount)) => Ok(amount),
            (None, None) => Err(DeskError::Nothing),
        }
    }
}

impl Desk {
    /// What is gathered, as the gate's books have it.
    ///
    /// # Errors
    /// Those of the books.
    pub fn gathered(&self, currency: Currency) -> Result<Amount, ActError> {
        let (due, code) = (Account::Due(self.party.list.operator), currency.code());
        let balance = self.house.books.view(move |lane| lane.balance(due, code)).map_err(ActError::Commit)?;
        Ok(Amount::new(u64::try_from(balance).unwrap_or(0), currency))
    }

    /// Pays out of purse, gathered value or both. An amount without a place is taken from the purse if that has it, else
    /// from what is gathered.
    ///
    /// # Errors
    /// [`DeskError`], in its order.
    pub async fn payout_from(
        &self,
        amount: Option<Amount>,
        from: Option<PayoutFrom>,
        patience: Duration,
    ) -> Result<PaidFrom, DeskError> {
        let place = match (from, amount) {
            (Some(from), _) => Some(from),
            (None, Some(amount)) => Some(self.place_of(amount)?),
            (None, None) => None,
        };
        let mut paid = PaidFrom::default();
        if place != Some(PayoutFrom::Gathered) {
            match self.payout(amount, patience).await {
                Ok(coins) => paid.coins = Some(coins),
                Err(DeskError::Nothing) if place.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        if place != Some(PayoutFrom::Coins) {
            match self.payout_gathered(amount, patience).await {
                Ok(gathered) => paid.gathered = Some(gathered),
                Err(DeskError::Nothing) if paid.coins.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(paid)
    }

    fn place_of(&self, amount: Amount) -> Result<PayoutFrom, DeskError> {
        let currency = amount.currency();
        let row = self.balance()?.into_iter().find(|balance| balance.free.currency() == currency);
        let in_purse = row.is_some_and(|balance| balance.free.minor() >= amount.minor());
        let gathered = self.gathered(currency)?.minor() >= amount.minor();
        Ok(if !in_purse && gathered { PayoutFrom::Gathered } else { PayoutFrom::Coins })
    }

    /// Redeems gathered value, an amount or all of it, in one bank order. What a former run began is finished first, and
    /// is then the answer.
    ///
    /// # Errors
    /// [`DeskError`], in its order.
    pub async fn payout_gathered(
        &self,
        amount: Option<Amount>,
        patience: Duration,
    ) -> Result<Amount, DeskError> {
        if !self.redeemer()?.is_some_and(|redeemer| redeemer.enrolled) {
            return Err(DeskError::NotEnrolled);
        }
        let open = exchange::under_way(&self.house)?.into_iter().find(|x| x.kind == REDEEM_AGGREGATE);
        let x = match open {
            Some(x) => x,
            None => {
                let amount = match amount {
                    Some(amount) => amount,
                    None => self.most_gathered()?,
                };
                let have = self.gathered(amount.currency())?;
                if amount.is_zero() {
                    return Err(DeskError::Nothing);
                }
                if have.minor() < amount.minor() {
                    return Err(DeskError::NotEnough { have });
                }
                self.begin_redemption(amount).await?
            }
        };
        match self.run(&x, patience).await? {
            Outcome::Answered(answer) => {
                let read = aggregate::read_redeemed(&x.pending, &answer, &self.party.list);
                read.map(|redeemed| redeemed.amount).map_err(|_| DeskError::Answer)
            }
            Outcome::Settled => cbor::decode_strict(&x.note).map_err(|_| DeskError::Answer),
            Outcome::Refused(problem) => Err(refused(&problem)),
            Outcome::Open { slug } => Err(DeskError::Open(slug)),
        }
    }

    /// All of the first currency of which something is gathered.
    fn most_gathered(&self) -> Result<Amount, DeskError> {
        for terms in &self.party.list.currencies {
            let amount = self.gathered(terms.currency)?;
            if !amount.is_zero() {
                return Ok(amount);
            }
        }
        Err(DeskError::Nothing)
    }

    /// Persists the request, under a name that is the same for all of a currency: there is one at a time.
    async fn begin_redemption(&self, amount: Amount) -> Result<Exchange, DeskError> {
        let issuer = IssuerKey::of(&self.party.list, self.now()).ok_or(DeskError::NoKey)?;
        let currency = amount.currency();
        let mut entropy = (self.house.entropy)();
        let txid = TxId::new(random(&mut *entropy));
        let wish = (currency, Some(amount.minor()));
        let me = &self.party.identity;
        let prepared = aggregate::redeem(&issuer, me, wish, txid, self.exp(), &mut *entropy)?;
        let name = digest("florin/v1/gate/redeem-aggregate", &[currency.code().as_str().as_bytes()]);
        let x = Exchange {
            id: ExchangeId::new(name.short()),
            kind: REDEEM_AGGREGATE,
            to: prepared.path.to_owned(),
            body: prepared.body,
            pending: prepared.pending.to_vec(),
            reserved: Vec::new(),
            note: cbor::encode(&amount),
            since: self.now(),
            withdrawn: prepared.withdrawn,
        };
        let needs = Needs { documents: vec![x.key()], ..Needs::default() };
        let cause = digest("florin/v1/gate/redeem", &[txid.bytes()]);
        let mut found = None;
        self.house
            .act(&needs, |facts, _| {
                found = facts.document(&x.key()).and_then(|bytes| cbor::decode_strict(bytes).ok());
                if found.is_some() {
                    return None;
                }
                let mut t = Transition::new(cause, facts.as_of);
                x.begin(&mut t);
                Some(t)
            })
            .await?;
        Ok(found.unwrap_or(x))
    }

    /// Asks the operator what is gathered and, where nothing was under way meanwhile, lets the gate's books follow its
    /// word: they may have been set back. False where it did not answer.
    ///
    /// # Errors
    /// Those of the books.
    pub async fn compare_gathered(&self, patience: Duration) -> Result<bool, ActError> {
        let before = self.house.books.durable();
        let quiet = |desk: &Self| -> Result<bool, ActError> {
            let open = exchange::under_way(&desk.house)?;
            Ok(!open.iter().any(|x| [VALIDATION, REDEEM_AGGREGATE].contains(&x.kind)))
        };
        let still = quiet(self)?;
        let Some(said) = tokio::time::timeout(patience, self.ask_gathered()).await.ok().flatten() else {
            return Ok(false);
        };
        if !still || self.house.books.durable() != before {
            return Ok(true);
        }
        let due = Account::Due(self.party.list.operator);
        for amount in said {
            let known = self.gathered(amount.currency())?;
            if known == amount {
                continue;
            }
            tracing::warn!(%known, said = %amount, "the operator's word on what is gathered takes the books' place");
            let cause = digest("florin/v1/gate/gathered", &[&self.draw::<16>()]);
            let mut t = Transition::new(cause, before);
            if let Ok(more) = amount.checked_sub(known) {
                t.post(due, Account::World, more);
            } else if let Ok(less) = known.checked_sub(amount) {
                t.post(Account::World, due, less);
            }
            self.house.commit(t).await.map_err(ActError::Commit)?;
        }
        Ok(true)
    }

    /// The question, once; nothing is recorded anywhere.
    async fn ask_gathered(&self) -> Option<Vec<Amount>> {
        let issuer = IssuerKey::of(&self.party.list, self.now())?;
        let prepared = {
            let mut entropy = (self.house.entropy)();
            aggregate::balance_request(&issuer, &self.party.identity, self.exp(), &mut *entropy).ok()?
        };
        let question = Exchange {
            id: ExchangeId::new(self.draw()),
            kind: REDEEM_AGGREGATE,
            to: prepared.path.to_owned(),
            body: prepared.body,
            pending: prepared.pending.to_vec(),
            reserved: Vec::new(),
            note: Vec::new(),
            since: self.now(),
            withdrawn: prepared.withdrawn,
        };
        match self.transport.send(&question, "").await {
            Delivered::Answer(answer) => {
                aggregate::read_balance(&question.pending, &answer).ok().map(|balance| balance.gathered)
            }
            Delivered::Refused(_) | Delivered::Later { .. } => None,
        }
    }
}

/// Redeems gathered value whenever it is at least `at`, until stopped: one request at a time, persisted before it is
/// sent, so that a crash at any place neither loses nor repeats it.
pub async fn keep_paying_out(desk: Desk, at: Amount, patience: Duration, stop: Stop) {
    while !stop.is_triggered() && !desk.house.books.is_failed() {
        if let Err(error) = pay_out_when(&desk, at, patience).await {
            tracing::warn!(%error, "gathered value could not be redeemed; tried again");
        }
        tokio::select! {
            () = stop.stopped() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// One look: redeems all that is gathered if it is at least `at`. Gives what was redeemed.
///
/// # Errors
/// As [`Desk::payout_gathered`].
pub async fn pay_out_when(desk: &Desk, at: Amount, patience: Duration) -> Result<Option<Amount>, DeskError> {
    let gathered = desk.gathered(at.currency())?;
    if gathered.minor() < at.minor() {
        return Ok(None);
    }
    desk.payout_gathered(Some(gathered), patience).await.map(Some)
}
