//! Paying a late holder by hand: coins of an epoch that was dropped, by the archive (which knows
//! them when their tag key is forgotten), once for each coin.
//! Source: VarietyCash §2.6 (bearer instruments); ADR 0028.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use florin_books::{Account, Epoch, TokenNumber, TxId};
use florin_coin::issuer::{Honour, Witnesses, honour, honour_needs};
use florin_coin::{Coin, CoinSet, EpochEntry};
use florin_crypto::random;
use florin_money::Amount;
use florin_parties::bank::BankAccount;
use florin_rail::{Blame, Class, Refusal};
use florin_shell::entropy::OsEntropy;
use florin_shell::house::ActError;
use serde::{Deserialize, Serialize};

use crate::archive::{ArchiveError, EpochArchive};
use crate::lanes::IDENTITY;
use crate::operator::Operator;

/// At most so many coins at once.
pub const COINS_MAX: usize = 256;
/// The text holds no coins of this operator's currency that add up.
pub const COINS_UNREADABLE: Refusal =
    Refusal::new("coins-unreadable", Class::BadRequest, Blame::Asker, false);
/// A coin is not this operator's, or stands there twice.
pub const COINS_NOT_GENUINE: Refusal = Refusal::new("coins-not-genuine", Class::Denied, Blame::Asker, false);
/// The coins' epoch is not dropped: a wallet exchanges them.
pub const EPOCH_NOT_DROPPED: Refusal = Refusal::new("epoch-not-dropped", Class::Conflict, Blame::Asker, true);
/// A coin was spent before its epoch was dropped.
pub const COINS_NOT_ARCHIVED: Refusal =
    Refusal::new("coins-not-archived", Class::Denied, Blame::Asker, false);
/// A coin was paid by hand before.
pub const COINS_HONOURED: Refusal = Refusal::new("coins-honoured", Class::Conflict, Blame::Asker, false);

/// Why a late holder was not paid.
#[derive(Debug, thiserror::Error)]
pub enum HonourError {
    /// Refused; nothing has changed.
    #[error("{}", .0.detail.as_deref().unwrap_or(.0.slug))]
    Refused(Refusal),
    /// The books.
    #[error(transparent)]
    Act(#[from] ActError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What was paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HonourReport {
    /// Its id.
    pub id: String,
    /// How many coins.
    pub coins: usize,
    /// What they were worth.
    pub amount: String,
    /// Where the money goes, with only its ends shown.
    pub to: String,
}

impl fmt::Display for HonourReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} coins ordered to {}", self.amount, self.coins, self.to)
    }
}

impl Operator {
    /// Pays coins in text form to a bank account.
    ///
    /// # Errors
    /// `Refused`, in this order: `coins-unreadable`, `coins-not-genuine`, `epoch-not-dropped`, `coins-not-archived`,
    /// `coins-honoured`. `Act`, `Archive`.
    pub async fn honour(&self, text: &str, to: &BankAccount) -> Result<HonourReport, HonourError> {
        let refuse = |refusal: Refusal, why: &str| HonourError::Refused(refusal.with_detail(why));
        let readable = CoinSet::from_text(text).filter(|set| {
            (1..=COINS_MAX).contains(&set.coins.len()) && set.total.currency() == self.currency
        });
        let set = readable.ok_or_else(|| {
            refuse(COINS_UNREADABLE, "this is no text of 1 to 256 coins of this operator's currency")
        })?;
        let known = self.late(&set)?;
        let know = |coin: &Coin, number: &TokenNumber| {
            let (archive, witnesses) = known.get(&number.epoch)?;
            // One that was spent is refused below, whatever its tag.
            Some(!archive.live.is_live(number) || witnesses.has(coin))
        };
        let examined = self.issuer.examine_late(&set, know).map_err(HonourError::Refused)?;
        let numbers = examined.map_err(|bad| {
            let why: Vec<String> = bad.iter().map(|b| format!("{}: {}", b.index, b.cause.slug())).collect();
            refuse(COINS_NOT_GENUINE, &why.join(", "))
        })?;
        let mut archives: BTreeMap<Epoch, (Account, EpochArchive)> = BTreeMap::new();
        let mut from: BTreeMap<Account, Amount> = BTreeMap::new();
        for (number, coin) in numbers.iter().zip(&set.coins) {
            if let std::collections::btree_map::Entry::Vacant(place) = archives.entry(number.epoch) {
                place.insert(self.archive_of(number.epoch)?);
            }
            let Some((account, archive)) = archives.get(&number.epoch) else { continue };
            if !archive.live.is_live(number) {
                return Err(refuse(COINS_NOT_ARCHIVED, "a coin was spent before its epoch was dropped"));
            }
            let sum = from.entry(*account).or_insert(Amount::new(0, self.currency));
            *sum = Amount::new(sum.minor().saturating_add(coin.value), self.currency);
        }
        let from: Vec<(Account, Amount)> = from.into_iter().collect();
        let paid = Honour { id: TxId::new(random(&mut OsEntropy)), account: to.clone(), amount: set.total };
        let done = self
            .lanes
            .books
            .act(&honour_needs(&numbers), |_, moment| {
                Some(honour(&numbers, &paid, &from, IDENTITY, moment.now))
            })
            .await?;
        if done.is_none() {
            return Err(refuse(COINS_HONOURED, "a coin was paid by hand before"));
        }
        Ok(HonourReport {
            id: paid.id.to_string(),
            coins: numbers.len(),
            amount: paid.amount.to_string(),
            to: to.masked(),
        })
    }

    /// The archives of the coins' epochs that know them without a tag key.
    fn late(&self, set: &CoinSet) -> Result<BTreeMap<Epoch, (EpochArchive, Witnesses)>, HonourError> {
        let (epochs, mut known) = (self.issuer.epochs(), BTreeMap::new());
        let named: BTreeSet<Epoch> = set.coins.iter().map(|coin| coin.epoch).collect();
        let dropped = |epoch: &Epoch| epochs.entry(*epoch).is_some_and(|e| e.dropped.is_some());
        for epoch in named.into_iter().filter(dropped) {
            let archive = self.archive_of(epoch)?.1;
            let Some(bytes) = &archive.witnesses else { continue };
            let path = self.archives().path(epoch);
            let witnesses = Witnesses::read(&bytes.0).ok_or(ArchiveError::Damaged { path })?;
            known.insert(epoch, (archive, witnesses));
        }
        Ok(known)
    }

    fn archive_of(&self, epoch: Epoch) -> Result<(Account, EpochArchive), HonourError> {
        let entry = self.issuer.epochs().entry(epoch);
        let Some(EpochEntry { archived: Some(archived), dropped: Some(dropped), .. }) = entry else {
            let why = format!("epoch {} is not dropped: a wallet exchanges its coins", epoch.0);
            return Err(HonourError::Refused(EPOCH_NOT_DROPPED.with_detail(why)));
        };
        Ok((dropped.to, self.archives().read(epoch, &archived.digest)?))
    }
}
