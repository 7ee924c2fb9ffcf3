//! The gate's purse: what is in it, paying it out, and what has happened. Source: VarietyCash §3 (Change, Redeem).

use std::time::Duration;

use florin_books::{ExchangeId, Held, HoldingId, Timestamp, TxId};
use florin_coin::{CoinSet, HeldCoin, IssuerKey, holder};
use florin_crypto::cbor;
use florin_money::{Amount, CoinList, Currency, Denominations, Selection, select};
use florin_shell::exchange::{self, Exchange, Outcome};
use florin_shell::house::ActError;

use crate::apply::Given;
use crate::desk::{Desk, DeskError, PaidOut, refused};
use crate::kinds::{CHANGE, ORDER, PAID_OUT, REDEEM};
use crate::order::{Order, OrderState};

/// A pay-out changes coins at most so often before it gives up; each change leaves far fewer coins than it took.
const CHANGES_MAX: usize = 64;

/// What the gate has in one currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Balance {
    /// What can be paid out now.
    pub free: Amount,
    /// What is set aside for requests under way.
    pub reserved: Amount,
    /// How many coins it has in all.
    pub coins: usize,
    /// What is gathered at the operator.
    pub gathered: Amount,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happened,
    /// How much.
    pub amount: Amount,
    /// Method and URL, or the id of a transfer.
    pub about: String,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happened {
    /// A payment.
    Paid,
    /// A payment that the operator denied or refused.
    Denied,
    /// A payment whose outcome is open.
    Open,
    /// A pay-out.
    PaidOut,
}

impl Happened {
    /// A word for people and scripts.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Denied => "denied",
            Self::Open => "open",
            Self::PaidOut => "paid-out",
        }
    }
}

/// A coin of the purse that is free.
struct Free {
    id: HoldingId,
    held: HeldCoin,
}

impl Desk {
    /// What the gate has, for each currency of the operator.
    ///
    /// # Errors
    /// Those of the books.
    pub fn balance(&self) -> Result<Vec<Balance>, ActError> {
        let held = self.held()?;
        let currencies = self.party.list.currencies.iter().map(|terms| terms.currency);
        let row = |currency| Ok(balance_of(&held, currency, self.gathered(currency)?));
        currencies.map(row).collect()
    }

    fn held(&self) -> Result<Vec<Held>, ActError> {
        let operator = self.party.list.operator;
        let all = self
            .house
            .books
            .view(move |lane| lane.holdings().filter(|h| h.holding.issuer == operator).cloned().collect());
        all.map_err(ActError::Commit)
    }

    fn free(&self, currency: Currency) -> Result<Vec<Free>, ActError> {
        let held = self.held()?.into_iter().filter(|h| h.reserved_for.is_none());
        let coins = held.filter_map(|h| {
            let held = HeldCoin::from_bytes(&h.holding.token)?;
            (held.worth.currency() == currency).then_some(Free { id: h.holding.id, held })
        });
        Ok(coins.collect())
    }

    /// Pays an amount, or all, out to the enrolled account: exact coins, changed first where it takes that.
    ///
    /// # Errors
    /// [`DeskError`], in its order.
    pub async fn payout(&self, amount: Option<Amount>, patience: Duration) -> Result<Amount, DeskError> {
        let redeemer = self.redeemer()?.filter(|redeemer| redeemer.enrolled);
        if redeemer.is_none() {
            return Err(DeskError::NotEnrolled);
        }
        // What a former run began is finished first: it may be this very pay-out.
        if let Some(amount) = self.finish_redeem(patience).await? {
            return Ok(amount);
        }
        let currency = match amount {
            Some(amount) => amount.currency(),
            None => self.first_currency()?,
        };
        let coins = self.party.denominations(currency).ok_or(DeskError::Answer)?;
        let coins_max = usize::try_from(self.party.list.terms.coins_per_payment_max).unwrap_or(usize::MAX);
        for _ in 0..CHANGES_MAX {
            let free = self.free(currency)?;
            let values: Vec<u64> = free.iter().map(|coin| coin.held.coin.value).collect();
            let have =
                Amount::sum(free.iter().map(|c| c.held.worth), currency).unwrap_or(Amount::zero(currency));
            let target = amount.unwrap_or(have);
            if target.is_zero() {
                return Err(DeskError::Nothing);
            }
            match select(&values, target.minor(), coins_max, &coins) {
                Selection::Exact(places) => {
                    return self.redeem(&pick(&free, &places), target, patience).await;
                }
                Selection::Change { give, exact, back } => {
                    let given = pick(&free, &give);
                    match self.change(&given, &exact, &back, currency, patience).await {
                        // None was bad for good: their epoch was revoked, and they are renewed first.
                        Err(DeskError::BadCoins(0)) => {
                            match self.refresh(&given, currency, patience).await {
                                // Where no coins are issued any more they are redeemed as they are.
                                Err(DeskError::Refused(why))
                                    if amount.is_none() && why.starts_with("issuing-ended") =>
                                {
                                    return self.redeem_in_parts(&free, currency, coins_max, patience).await;
                                }
                                done => done?,
                            }
                        }
                        done => done?,
                    }
                }
                Selection::Short { .. } => return Err(DeskError::NotEnough { have }),
                Selection::NotPayable => return Err(DeskError::NotPayable(target)),
            }
        }
        Err(DeskError::NotPayable(amount.unwrap_or(Amount::zero(currency))))
    }

    /// All coins, as many at a time as one request takes: a bank order for each.
    async fn redeem_in_parts(
        &self,
        free: &[Free],
        currency: Currency,
        coins_max: usize,
        patience: Duration,
    ) -> Result<Amount, DeskError> {
        let mut paid = Amount::zero(currency);
        for part in free.chunks(coins_max.max(1)) {
            let part: Vec<&Free> = part.iter().collect();
            let amount = set_of(&part, currency)?.total;
            let done = self.redeem(&part, amount, patience).await?;
            paid = paid.checked_add(done).map_err(|_| DeskError::Answer)?;
        }
        Ok(paid)
    }

    /// The first currency that the purse has something of.
    fn first_currency(&self) -> Result<Currency, DeskError> {
        let some = self.balance()?.into_iter().find(|balance| !balance.free.is_zero());
        some.map(|balance| balance.free.currency()).ok_or(DeskError::Nothing)
    }

    async fn finish_redeem(&self, patience: Duration) -> Result<Option<Amount>, DeskError> {
        let open = exchange::under_way(&self.house)?;
        let (redeems, changes): (Vec<_>, Vec<_>) =
            open.into_iter().filter(|x| [REDEEM, CHANGE].contains(&x.kind)).partition(|x| x.kind == REDEEM);
        for x in changes {
            self.ended(&x, patience).await?;
        }
        let mut paid: Option<Amount> = None;
        for x in redeems {
            self.ended(&x, patience).await?;
            let amount = self.paid_out(&x)?.map(|p| p.amount);
            paid = paid.or(amount);
        }
        Ok(paid)
    }

    fn paid_out(&self, x: &Exchange) -> Result<Option<PaidOut>, ActError> {
        let key = florin_books::DocumentKey::new(PAID_OUT, *x.id.bytes());
        Ok(self.document(key)?.and_then(|bytes| cbor::decode_strict(&bytes).ok()))
    }

    async fn redeem(&self, coins: &[&Free], amount: Amount, patience: Duration) -> Result<Amount, DeskError> {
        let issuer = IssuerKey::of(&self.party.list, self.now()).ok_or(DeskError::NoKey)?;
        let set = set_of(coins, amount.currency())?;
        let me = &self.party.identity;
        let txid = TxId::new(self.draw());
        let prepared = holder::redeem(&issuer, me, set, txid, self.exp(), &mut *(self.house.entropy)())?;
        let x = self.exchange(REDEEM, &prepared, coins, amount.currency())?;
        self.begin_and_end(&x, patience).await?;
        match self.paid_out(&x)? {
            Some(paid) => Ok(paid.amount),
            None => Err(DeskError::BadCoins(coins.len().saturating_sub(self.left(coins)?))),
        }
    }

    /// Exchanges coins for new ones of the same values, which is how coins of a revoked epoch are taken.
    async fn refresh(
        &self,
        coins: &[&Free],
        currency: Currency,
        patience: Duration,
    ) -> Result<(), DeskError> {
        let issuer = IssuerKey::of(&self.party.list, self.now()).ok_or(DeskError::NoKey)?;
        let set = set_of(coins, currency)?;
        let txid = TxId::new(self.draw());
        let prepared = holder::refresh(&issuer, set, txid, self.exp(), &mut *(self.house.entropy)())?;
        self.exchanged(&prepared, coins, currency, patience).await
    }

    /// Changes coins into `exact` and `back` together.
    async fn change(
        &self,
        coins: &[&Free],
        exact: &CoinList,
        back: &CoinList,
        currency: Currency,
        patience: Duration,
    ) -> Result<(), DeskError> {
        let issuer = IssuerKey::of(&self.party.list, self.now()).ok_or(DeskError::NoKey)?;
        let wanted =
            CoinList::of_values(exact.values().chain(back.values())).map_err(|_| DeskError::Answer)?;
        let set = set_of(coins, currency)?;
        let txid = TxId::new(self.draw());
        let prepared = holder::change(&issuer, set, wanted, txid, self.exp(), &mut *(self.house.entropy)())?;
        self.exchanged(&prepared, coins, currency, patience).await
    }

    /// Gives coins for coins, and waits for them.
    async fn exchanged(
        &self,
        prepared: &florin_coin::Prepared,
        coins: &[&Free],
        currency: Currency,
        patience: Duration,
    ) -> Result<(), DeskError> {
        let x = self.exchange(CHANGE, prepared, coins, currency)?;
        self.begin_and_end(&x, patience).await?;
        let gone = coins.len().saturating_sub(self.left(coins)?);
        if gone < coins.len() { Err(DeskError::BadCoins(gone)) } else { Ok(()) }
    }

    /// How many of these coins are still in the purse.
    fn left(&self, coins: &[&Free]) -> Result<usize, ActError> {
        let held = self.held()?;
        Ok(coins.iter().filter(|coin| held.iter().any(|h| h.holding.id == coin.id)).count())
    }

    fn exchange(
        &self,
        kind: u16,
        prepared: &florin_coin::Prepared,
        coins: &[&Free],
        currency: Currency,
    ) -> Result<Exchange, DeskError> {
        let values: Vec<u64> = coins.iter().map(|coin| coin.held.coin.value).collect();
        let total = set_of(coins, currency)?.total;
        Ok(Exchange {
            id: ExchangeId::new(self.draw()),
            kind,
            to: prepared.path.to_owned(),
            body: prepared.body.clone(),
            pending: prepared.pending.to_vec(),
            reserved: coins.iter().map(|coin| coin.id).collect(),
            note: cbor::encode(&Given { total, values }),
            since: self.now(),
            withdrawn: prepared.withdrawn,
        })
    }

    async fn begin_and_end(&self, x: &Exchange, patience: Duration) -> Result<(), DeskError> {
        self.begin(x).await?;
        self.ended(x, patience).await
    }

    pub(crate) async fn ended(&self, x: &Exchange, patience: Duration) -> Result<(), DeskError> {
        match self.run(x, patience).await? {
            Outcome::Answered(_) | Outcome::Settled => Ok(()),
            Outcome::Refused(problem) => Err(refused(&problem)),
            Outcome::Open { slug } => Err(DeskError::Open(slug)),
        }
    }

    /// What has happened, the latest first.
    ///
    /// # Errors
    /// Those of the books.
    pub fn history(&self) -> Result<Vec<Event>, ActError> {
        let orders = self.house.books.scan(ORDER)?.into_iter().filter_map(|(_, d)| Order::read(&d.value));
        let mut events: Vec<Event> = orders
            .map(|order| {
                let (at, what) = match &order.state {
                    OrderState::Open(_) => (order.since, Happened::Open),
                    OrderState::Paid(paid) => (paid.at, Happened::Paid),
                    OrderState::Denied(denied) => (denied.at, Happened::Denied),
                };
                Event { at, what, amount: order.amount, about: order.goods }
            })
            .collect();
        for (_, document) in self.house.books.scan(PAID_OUT)? {
            if let Ok(paid) = cbor::decode_strict::<PaidOut>(&document.value) {
                let about = paid.payout.map(|id| id.to_string()).unwrap_or_default();
                events.push(Event { at: paid.at, what: Happened::PaidOut, amount: paid.amount, about });
            }
        }
        events.sort_by_key(|event| std::cmp::Reverse(event.at));
        Ok(events)
    }
}

fn balance_of(held: &[Held], currency: Currency, gathered: Amount) -> Balance {
    let mine: Vec<&Held> = held.iter().filter(|h| h.holding.value.currency() == currency).collect();
    let sum = |reserved: bool| {
        let coins = mine.iter().filter(|h| h.reserved_for.is_some() == reserved);
        // The books keep the sum of all holdings within their own numbers, so this cannot overflow.
        Amount::sum(coins.map(|h| h.holding.value), currency).unwrap_or(Amount::zero(currency))
    };
    Balance { free: sum(false), reserved: sum(true), coins: mine.len(), gathered }
}

fn pick<'a>(free: &'a [Free], places: &[usize]) -> Vec<&'a Free> {
    places.iter().filter_map(|place| free.get(*place)).collect()
}

fn set_of(coins: &[&Free], currency: Currency) -> Result<CoinSet, DeskError> {
    let coins = coins.iter().map(|coin| coin.held.coin.clone()).collect();
    CoinSet::new(coins, currency).map_err(|_| DeskError::Answer)
}

/// The denominations of every currency of the operator: what a price can be.
pub(crate) fn all_denominations(list: &florin_parties::KeyList) -> Vec<Denominations> {
    let of = |terms: &florin_parties::CurrencyTerms| {
        Denominations::new(terms.currency, terms.denominations.clone()).ok()
    };
    list.currencies.iter().filter_map(of).collect()
}
