//! The purse: coins as holdings, what they are worth, which of them pay an amount, and change.
//! Source: VarietyCash §2.6, §3 (Change); books.md (holdings); `florin_money::select`.

use std::fmt;

use florin_books::{
    Account, ExchangeId, Held, Holding, HoldingChange, HoldingId, PartyId, Rejected, Transition, TxId,
};
use florin_coin::{BadCoin, COINS_PER_PAYMENT_MAX, Coin, CoinSet, HeldCoin, HolderChoice, holder};
use florin_money::{Amount, CoinList, Currency, Selection, select};
use florin_shell::exchange::{self, Exchange};
use florin_shell::house::ActError;
use florin_store::CommitError;
use serde::Serialize;

use crate::documents::{LostCoin, Note};
use crate::refund::LIST_FULL;
use crate::refusal::WalletError;
use crate::report::{text, utc};
use crate::send::SentRow;
use crate::wallet::Wallet;

/// Coins that stop paying within so long are shown as expiring, and are refreshed.
pub(crate) const EXPIRING_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// How often the wallet changes coins for one payment: each change leaves fewer coins, so that it ends.
const CHANGES_MAX: usize = 16;
/// A change lasts at most so long.
pub(crate) const EXP_MS: u64 = 23 * 60 * 60 * 1000;

/// A coin of the purse.
#[derive(Clone)]
pub(crate) struct Owned {
    pub id: HoldingId,
    pub coin: HeldCoin,
    pub reserved: bool,
    pub reserved_for: Option<ExchangeId>,
}

impl Owned {
    fn of(held: &Held) -> Option<Self> {
        let coin = HeldCoin::from_bytes(&held.holding.token)?;
        let reserved_for = held.reserved_for;
        Some(Self { id: held.holding.id, coin, reserved: reserved_for.is_some(), reserved_for })
    }
}

/// What the purse holds of one currency.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BalanceRow {
    /// Coins that can be spent.
    #[serde(serialize_with = "text")]
    pub free: Amount,
    /// Coins set aside for what is under way.
    #[serde(serialize_with = "text")]
    pub reserved: Amount,
    /// Coins that were sent and that nobody is known to have claimed.
    #[serde(serialize_with = "text")]
    pub sent: Amount,
    /// Free coins that stop paying within 30 days; they are refreshed by themselves.
    #[serde(serialize_with = "text")]
    pub expiring: Amount,
    /// Coins that no longer pay and can still be refreshed.
    #[serde(serialize_with = "text")]
    pub expired: Amount,
    /// Coins whose grace period is over: they neither pay nor can be refreshed.
    #[serde(serialize_with = "text")]
    pub lapsed: Amount,
    /// How many free coins there are.
    pub coins: usize,
    /// When the first of the free coins stops paying, in RFC 3339.
    pub pays_until: Option<String>,
    /// Until when it can be refreshed then; none without free coins, or without end.
    pub refreshable_until: Option<String>,
}

/// What the purse holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BalanceReport {
    /// One row for each currency of the operator.
    pub balances: Vec<BalanceRow>,
    /// What was sent and not claimed as far as this wallet knows: only taking it back finds out.
    pub sent: Vec<SentRow>,
}

impl fmt::Display for BalanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.balances {
            let coins = if row.coins == 1 { "coin" } else { "coins" };
            write!(f, "{} in {} {coins}", row.free, row.coins)?;
            if !row.reserved.is_zero() {
                write!(f, ", {} set aside", row.reserved)?;
            }
            if !row.sent.is_zero() {
                write!(f, ", {} sent and not claimed", row.sent)?;
            }
            if !row.expiring.is_zero() {
                write!(f, ", {} expiring", row.expiring)?;
            }
            writeln!(f)?;
            if let Some(until) = &row.pays_until {
                let refresh = row.refreshable_until.as_deref().unwrap_or("without end");
                writeln!(f, "the first of them pays until {until}, and can be refreshed until {refresh}")?;
            }
            if !row.expired.is_zero() {
                let how = "florin wallet refresh exchanges it, florin wallet redeem all pays it out";
                writeln!(f, "{} no longer pays: {how}", row.expired)?;
            }
            if !row.lapsed.is_zero() {
                writeln!(
                    f,
                    "{} is past its grace period: only the operator can say what becomes of it",
                    row.lapsed
                )?;
            }
        }
        self.sent.iter().try_for_each(|row| row.fmt(f))
    }
}

/// Adds to a transition: coins arrive that nobody can ask for again.
pub(crate) fn add_coins(t: &mut Transition, issuer: PartyId, coins: &[Coin], currency: Currency) {
    add_held(t, issuer, coins, currency, HolderChoice::Nobody);
}

/// Adds to a transition: coins arrive that a holder can ask for again.
pub(crate) fn add_held(
    t: &mut Transition,
    issuer: PartyId,
    coins: &[Coin],
    currency: Currency,
    holder: HolderChoice,
) {
    for coin in coins {
        let worth = Amount::new(coin.value, currency);
        t.holdings.push(HoldingChange::Add(Holding {
            id: coin.holding_id(),
            issuer,
            value: worth,
            expires: coin.expires,
            token: HeldCoin { worth, coin: coin.clone(), holder }.to_bytes(),
        }));
        t.post(Account::Holdings(issuer), Account::World, worth);
    }
}

/// Adds to a transition: coins that were set aside for an exchange leave. The exchange itself is ended elsewhere.
pub(crate) fn remove_coins(t: &mut Transition, issuer: PartyId, exchange: &Exchange, coins: &[Owned]) {
    for owned in coins {
        t.holdings.push(HoldingChange::Remove(owned.id, exchange.id));
        t.post(Account::World, Account::Holdings(issuer), owned.coin.worth);
    }
}

/// Adds to a transition: the exchange is over; the bad coins leave, the good and the expired ones are free again. Gives
/// those that left.
pub(crate) fn part_coins(
    t: &mut Transition,
    issuer: PartyId,
    exchange: &Exchange,
    coins: &[Owned],
    causes: &[BadCoin],
) -> Vec<LostCoin> {
    t.remove(exchange.key());
    let mut lost = Vec::new();
    for (index, owned) in (0u32..).zip(coins) {
        match causes.iter().find(|bad| bad.index == index) {
            // One that was revoked or has expired may be worth something yet: it is exchanged, or shown as what it is.
            Some(bad) if !bad.cause.is_final() => {
                t.holdings.push(HoldingChange::Release(owned.id, exchange.id));
            }
            Some(bad) => {
                remove_coins(t, issuer, exchange, std::slice::from_ref(owned));
                lost.push(LostCoin { worth: owned.coin.worth, cause: bad.cause });
            }
            _ => t.holdings.push(HoldingChange::Release(owned.id, exchange.id)),
        }
    }
    lost
}

/// The coins of an exchange as they go into an envelope.
pub(crate) fn coin_set(coins: &[Owned], currency: Currency) -> Result<CoinSet, WalletError> {
    let plain = coins.iter().map(|owned| owned.coin.coin.clone()).collect();
    CoinSet::new(plain, currency).map_err(|_| WalletError::Damaged { what: "coins" })
}

impl Wallet {
    /// What the purse holds.
    ///
    /// # Errors
    /// Those of the books.
    pub fn balance(&self) -> Result<BalanceReport, WalletError> {
        let now = self.now();
        let soon = now.plus_ms(EXPIRING_MS);
        let (all, sent, keys) = (self.coins()?, self.open_sent()?, self.keys());
        let is_sent = |o: &Owned| o.reserved_for.is_some_and(|by| sent.iter().any(|s| s.exchange() == by));
        let rows = keys.currencies.iter().map(|terms| {
            let currency = terms.currency;
            let of = |wanted: &dyn Fn(&Owned) -> bool| {
                let worth = all.iter().filter(|o| o.coin.worth.currency() == currency && wanted(o));
                let worth: Vec<Amount> = worth.map(|o| o.coin.worth).collect();
                let sum = Amount::sum(worth.iter().copied(), currency);
                sum.map(|sum| (sum, worth.len())).map_err(|_| WalletError::Damaged { what: "coins" })
            };
            let pays = |o: &Owned| o.coin.coin.expires > now;
            let (free, coins) = of(&|o| !o.reserved && pays(o))?;
            let first = all.iter().find(|o| !o.reserved && pays(o) && o.coin.worth.currency() == currency);
            let expires = first.map(|o| o.coin.coin.expires);
            let refreshable = |o: &Owned| keys.grace_end(o.coin.coin.epoch, o.coin.coin.expires);
            Ok(BalanceRow {
                free,
                reserved: of(&|o| o.reserved && !is_sent(o))?.0,
                sent: of(&is_sent)?.0,
                expiring: of(&|o| !o.reserved && pays(o) && o.coin.coin.expires <= soon)?.0,
                expired: of(&|o| !o.reserved && !pays(o) && !self.is_lapsed(o))?.0,
                lapsed: of(&|o| !o.reserved && self.is_lapsed(o))?.0,
                coins,
                pays_until: expires.map(utc),
                refreshable_until: first.and_then(refreshable).map(utc),
            })
        });
        let balances = rows.collect::<Result<_, WalletError>>()?;
        Ok(BalanceReport { balances, sent: sent.iter().map(SentRow::of).collect() })
    }

    /// All coins, those first that stop paying first.
    pub(crate) fn coins(&self) -> Result<Vec<Owned>, WalletError> {
        let mut coins: Vec<Owned> =
            self.house.books.view(|lane| lane.holdings().filter_map(Owned::of).collect())?;
        coins.sort_by_key(|owned| (owned.coin.coin.expires, owned.id));
        Ok(coins)
    }

    /// The coins that are set aside for an exchange, in its order.
    pub(crate) fn coins_of(&self, exchange: &Exchange) -> Result<Vec<Owned>, WalletError> {
        let ids = exchange.reserved.clone();
        let found: Vec<Owned> = self.house.books.view({
            let ids = ids.clone();
            move |lane| ids.iter().filter_map(|id| lane.holding(id)).filter_map(Owned::of).collect()
        })?;
        if found.len() == ids.len() { Ok(found) } else { Err(WalletError::Damaged { what: "coins" }) }
    }

    /// Free coins of a currency that pay now.
    pub(crate) fn free_coins(&self, currency: Currency) -> Result<Vec<Owned>, WalletError> {
        let (now, keys) = (self.now(), self.keys());
        let mut coins = self.coins()?;
        let pays = |o: &Owned| {
            let coin = &o.coin.coin;
            let revoked = keys.epoch(coin.epoch).is_some_and(|epoch| epoch.revoked.is_some());
            !o.reserved && o.coin.worth.currency() == currency && coin.expires > now && !revoked
        };
        coins.retain(pays);
        Ok(coins)
    }

    /// How many coins an envelope may hold.
    pub(crate) fn coins_max(&self) -> usize {
        let terms = usize::try_from(self.keys().terms.coins_per_payment_max).unwrap_or(usize::MAX);
        terms.min(COINS_PER_PAYMENT_MAX)
    }

    /// Coins worth exactly this, at most `coins_max`; changes some first where the purse does not have them.
    pub(crate) async fn exact_coins(
        &self,
        amount: Amount,
        coins_max: usize,
    ) -> Result<Vec<Owned>, WalletError> {
        let coins_max = self.coins_max().min(coins_max);
        let denominations = self.denominations(amount.currency())?;
        // Whoever talks to the operator anyway lets no coin expire.
        self.refresh_by_the_way().await?;
        // One change at a time: a payment beside this one would change the same coins, or wait for theirs.
        let _changing = self.changing.lock().await;
        for _ in 0..CHANGES_MAX {
            // Coins of a change that is under way, by a command before this one or beside it, come first.
            while let Some(x) = self.open_one(|note| matches!(note, Note::Change | Note::Refresh))? {
                match self.settle(&x).await {
                    Ok(_) | Err(WalletError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let free = self.free_coins(amount.currency())?;
            let values: Vec<u64> = free.iter().map(|owned| owned.coin.coin.value).collect();
            let pick =
                |places: &[usize]| places.iter().filter_map(|i| free.get(*i).cloned()).collect::<Vec<_>>();
            match select(&values, amount.minor(), coins_max, &denominations) {
                Selection::Exact(places) => return Ok(pick(&places)),
                Selection::Short { have } => {
                    let have = Amount::new(have, amount.currency());
                    return Err(WalletError::NotEnough { have, need: amount });
                }
                Selection::NotPayable => return Err(WalletError::NotPayable { amount }),
                Selection::Change { give, exact, back } => {
                    let wanted = CoinList::of_values(exact.values().chain(back.values()));
                    let wanted = wanted.map_err(|_| WalletError::NotPayable { amount })?;
                    match self.change(&pick(&give), wanted).await {
                        Err(WalletError::CoinsRefused { .. }) if self.recoup().await? => {}
                        done => done?,
                    }
                }
            }
        }
        Err(WalletError::NotPayable { amount })
    }

    /// Persists a request with its coins. False where somebody else has one of them: nothing was begun.
    pub(crate) async fn set_aside(&self, x: &Exchange, label: &str) -> Result<bool, WalletError> {
        let _with_others = self.setting_aside.read().await;
        self.begin_with_coins(x, label).await
    }

    /// The same for a request whose new coins come under a choice: none where a refund of that choice is open.
    pub(crate) async fn set_aside_for(
        &self,
        x: &Exchange,
        choice: &HolderChoice,
        label: &str,
    ) -> Result<bool, WalletError> {
        let _with_others = self.setting_aside.read().await;
        if self.open_refunds()?.iter().any(|(_, holder)| holder == choice) {
            return Err(WalletError::UnderWay { what: "a refund" });
        }
        self.begin_with_coins(x, label).await
    }

    pub(crate) async fn begin_with_coins(&self, x: &Exchange, label: &str) -> Result<bool, WalletError> {
        match exchange::begin(&self.house, x, self.fresh(label, &[x.id.bytes()])).await {
            Ok(()) => Ok(true),
            Err(ActError::Commit(CommitError::Rejected(Rejected::NotHeld { .. }))) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Exchanges coins for others of the same total and the same holder. Where somebody else has one of them, nothing
    /// happens.
    pub(crate) async fn change(&self, give: &[Owned], wanted: CoinList) -> Result<(), WalletError> {
        let Some(currency) = give.first().map(|owned| owned.coin.worth.currency()) else { return Ok(()) };
        let progress = self.progress("changing coins");
        let issuer = self.issuer().await?;
        let set = coin_set(give, currency)?;
        let worth = set.total;
        let choice = self.choice_of(give).await?;
        let tx = (TxId::new(self.draw()), self.now().plus_ms(EXP_MS));
        let prepared = holder::change_for(&issuer, set, wanted, choice, tx, &mut *self.entropy())
            .map_err(|_| WalletError::NotPayable { amount: worth })?;
        let mut x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &Note::Change)
            .withdrawn_by(prepared.withdrawn);
        x.reserved = give.iter().map(|owned| owned.id).collect();
        if !self.set_aside_for(&x, &choice, "florin/v1/wallet/change").await? {
            return Ok(());
        }
        let answer = match self.settle(&x).await {
            // The coins are free again; a refund makes room, and whoever wanted the change looks at the purse anew.
            Err(error) if error.slug() == LIST_FULL => return self.make_room(&choice).await,
            settled => settled?,
        };
        progress.finish();
        let news = answer.and_then(|answer| holder::read_exchange(&x.pending, &answer, &self.keys()).ok());
        if news.is_some_and(|news| !news.causes.is_empty()) {
            return Err(WalletError::CoinsRefused { worth });
        }
        Ok(())
    }
}
