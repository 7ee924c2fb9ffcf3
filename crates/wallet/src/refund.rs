//! Refund: coins that were bought by name or with a one-time key come again, new ones in place of the old. After a loss, and
//! where the operator's list of a holder is full.
//! Source: VarietyCash §3 (Refund); docs/rails/coin.md, "Refund"; ADR 0026.

use std::fmt;

use florin_books::{Transition, TxId};
use florin_coin::HolderChoice;
use florin_coin::refund::{self, Holder, read_refund};
use florin_crypto::{ByteArray, Bytes, SigningKey, cbor};
use florin_money::Amount;
use florin_shell::ExitCode;
use florin_shell::exchange::{self, Exchange, NotAuthentic};
use serde::Serialize;

use crate::apply::Apply;
use crate::documents::{End, Item, Kind, Note, Proof, REFUND_KEYS, following, single};
use crate::purse::{BalanceReport, Owned, add_held, remove_coins};
use crate::refusal::WalletError;
use crate::report::text;
use crate::wallet::Wallet;

/// The operator's word for a list of a holder that takes no more: a refund makes one entry of all.
pub(crate) const LIST_FULL: &str = "refund-list-full";
/// The operator's word for a holder to whom nothing was ever issued.
const UNKNOWN: &str = "nothing-to-refund";
/// After so many one-time keys in a row that the operator does not know there are no more.
const GAP: u32 = 20;
/// While coins are on their way no refund is asked for.
const UNDER_WAY: &str =
    "coins are on their way: a purchase or a payment is open, or a text is not claimed (status, take-back)";
/// A request lasts at most so long.
const EXP_MS: u64 = 23 * 60 * 60 * 1000;

/// What came again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RefundRow {
    /// Whose the coins are: `named`, or `refundable` by a one-time key.
    pub holder: &'static str,
    /// Which one-time key.
    pub key: Option<u32>,
    /// What it was worth.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
}

/// What `restore` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RestoreReport {
    /// The identity that the operator knows by these keys, if any.
    pub name: Option<String>,
    /// What came again.
    pub refunded: Vec<RefundRow>,
    /// How many one-time keys the operator knew.
    pub keys: u32,
    /// What is not known yet, such as the refund of a participant that the operator has blocked; `status` asks again.
    pub open: Vec<String>,
    /// The purse.
    #[serde(flatten)]
    pub balance: BalanceReport,
}

impl RestoreReport {
    /// How the program ends: `NotKnownYet` while something is open.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.open.is_empty() { ExitCode::Done } else { ExitCode::NotKnownYet }
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => writeln!(f, "registered as {name}")?,
            None => writeln!(f, "the operator knows no registration by these keys")?,
        }
        for row in &self.refunded {
            match row.key {
                None => writeln!(f, "refunded {}, bought by name", row.amount)?,
                Some(key) => writeln!(f, "refunded {}, by one-time key {key}", row.amount)?,
            }
        }
        if self.refunded.is_empty() {
            writeln!(f, "there was nothing to refund")?;
        }
        self.open
            .iter()
            .try_for_each(|what| writeln!(f, "not known yet: {what}; florin wallet status asks again"))?;
        self.balance.fmt(f)
    }
}

/// What must not be on its way while a refund is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The holder's own coins.
    Holder,
    /// Any coins: whoever asks for everything asks for what comes, too.
    All,
}

impl Wallet {
    /// Asks for everything that can be asked for again with the wallet's seed: the coins bought by name, then those of the
    /// one-time keys in turn, until 20 in a row are not known. Also gets the certificate again.
    ///
    /// # Errors
    /// `NotKnownYet`, `NoKey`, those of the books; what came before is in the purse.
    pub async fn restore(&self) -> Result<RestoreReport, WalletError> {
        let progress = self.progress("asking for a refund");
        let mut report = RestoreReport {
            name: None,
            refunded: Vec::new(),
            keys: 0,
            open: Vec::new(),
            balance: BalanceReport { balances: Vec::new(), sent: Vec::new() },
        };
        self.settle_all().await?;
        // A refund ends coins wherever they are: those that are set aside, and those that have not come yet.
        if self.awaits_coins()? || self.coins()?.iter().any(|owned| owned.reserved) {
            report.open.push(UNDER_WAY.to_owned());
            report.balance = self.balance()?;
            return Ok(report);
        }
        let registered = match self.refund(&HolderChoice::Named(self.id()), Reach::All).await {
            Ok(found) => {
                let rows = found.unwrap_or_default().into_iter();
                report.refunded.extend(rows.map(|amount| RefundRow { holder: "named", key: None, amount }));
                true
            }
            // The operator does not know the signature: nobody has registered with these keys.
            Err(error) if error.slug() == "bad-request" => false,
            Err(error @ WalletError::NotKnownYet { .. }) => {
                report.open.push(error.to_string());
                true
            }
            Err(WalletError::UnderWay { .. }) => {
                report.open.push(UNDER_WAY.to_owned());
                true
            }
            Err(error) => return Err(error),
        };
        if registered {
            match self.register(None).await {
                Ok(known) => report.name = Some(known.name),
                Err(error @ (WalletError::NotKnownYet { .. } | WalletError::Refused { .. })) => {
                    report.open.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        self.restore_keys(&mut report).await?;
        progress.finish();
        report.balance = self.balance()?;
        Ok(report)
    }

    async fn restore_keys(&self, report: &mut RestoreReport) -> Result<(), WalletError> {
        let (mut index, mut end) = (0, self.refund_keys_used()?.saturating_add(GAP));
        while index < end {
            let choice = HolderChoice::Key(self.refund_keys.key(index).verify_key());
            let refunded = match self.refund(&choice, Reach::All).await {
                Err(WalletError::UnderWay { .. }) => {
                    report.open.push(UNDER_WAY.to_owned());
                    return Ok(());
                }
                refunded => refunded?,
            };
            if let Some(amounts) = refunded {
                let row = |amount| RefundRow { holder: "refundable", key: Some(index), amount };
                report.refunded.extend(amounts.into_iter().map(row));
                report.keys = report.keys.saturating_add(1);
                self.use_refund_keys(index.saturating_add(1)).await?;
                end = end.max(index.saturating_add(1).saturating_add(GAP));
            }
            index = index.saturating_add(1);
        }
        Ok(())
    }

    /// All coins of a holder again, in place of those in the purse; what they are worth. None: the operator knows none.
    async fn refund(&self, choice: &HolderChoice, reach: Reach) -> Result<Option<Vec<Amount>>, WalletError> {
        let is_it = |note: &Note| matches!(note, Note::Refund { holder } if holder == choice);
        if let Some(x) = self.open_one(is_it)? {
            // What was begun is ended first; where it came too late another one is made.
            match self.finish_refund(&x).await {
                Err(WalletError::Refused { .. }) => {}
                ended => return ended.map(Some),
            }
        }
        let begun = self.begin_refund(choice, reach).await?;
        let x = begun.ok_or(WalletError::UnderWay { what: "something else with these coins" })?;
        match self.finish_refund(&x).await {
            Ok(amounts) => Ok(Some(amounts)),
            Err(error) if error.slug() == UNKNOWN => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn finish_refund(&self, x: &Exchange) -> Result<Vec<Amount>, WalletError> {
        let answer = self.settle(x).await?;
        let news = answer.and_then(|a| read_refund(&x.pending, &a, &self.keys()).ok());
        Ok(news.map(|news| news.sets.iter().map(|set| set.total).collect()).unwrap_or_default())
    }

    /// Persists the request; None where one of the coins was set aside for something else meanwhile.
    async fn begin_refund(
        &self,
        choice: &HolderChoice,
        reach: Reach,
    ) -> Result<Option<Exchange>, WalletError> {
        let issuer = self.issuer().await?;
        let _alone = self.setting_aside.write().await;
        if self.is_elsewhere(choice)? || (reach == Reach::All && self.awaits_coins()?) {
            return Err(WalletError::UnderWay {
                what: "something else with coins that a refund would replace",
            });
        }
        let now = self.now();
        // What is past its grace period is not refunded, and stays as it is.
        let replaced = |o: &Owned| !o.reserved && o.coin.holder == *choice && !self.is_lapsed(o);
        let old: Vec<Owned> = self.coins()?.into_iter().filter(replaced).collect();
        let tx = (TxId::new(self.draw()), now.plus_ms(EXP_MS));
        let prepared = match choice {
            HolderChoice::Key(_) => {
                let key = self.refund_key(choice)?;
                refund::refund(&issuer, &Holder::Key(&key), tx, &mut *self.entropy())
            }
            HolderChoice::Named(_) | HolderChoice::Nobody => {
                refund::refund(&issuer, &Holder::Named(&self.identity), tx, &mut *self.entropy())
            }
        };
        let prepared = prepared.map_err(|_| WalletError::NoKey)?;
        let note = Note::Refund { holder: *choice };
        let mut x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
            .withdrawn_by(prepared.withdrawn);
        x.reserved = old.iter().map(|owned| owned.id).collect();
        Ok(self.begin_with_coins(&x, "florin/v1/wallet/refund").await?.then_some(x))
    }

    /// A refund of one's own coins where the operator's list of them is full. Not while some are on their way elsewhere:
    /// the refund would take them back.
    pub(crate) async fn make_room(&self, choice: &HolderChoice) -> Result<(), WalletError> {
        // Boxed: a refund may ask for keys, and what changes coins waits for it.
        Box::pin(self.refund(choice, Reach::Holder)).await.map(|_| ())
    }

    /// Whether coins are on their way here.
    fn awaits_coins(&self) -> Result<bool, WalletError> {
        let comes = |x: &Exchange| {
            matches!(
                Note::of(x),
                Some(Note::WRequest3(_) | Note::Collect(_) | Note::Change | Note::Refresh | Note::Claim(_))
            )
        };
        Ok(!self.open_purchases()?.is_empty() || exchange::under_way(&self.house)?.iter().any(comes))
    }

    /// The refunds that are open, and whose.
    pub(crate) fn open_refunds(&self) -> Result<Vec<(Exchange, HolderChoice)>, WalletError> {
        let refund = |x: Exchange| match Note::of(&x) {
            Some(Note::Refund { holder }) => Some((x, holder)),
            _ => None,
        };
        Ok(exchange::under_way(&self.house)?.into_iter().filter_map(refund).collect())
    }

    /// No refund is open: one that is answered late would end coins that came meanwhile, as those before.
    ///
    /// # Errors
    /// `UnderWay`, those of the books.
    pub(crate) async fn without_open_refunds(&self) -> Result<(), WalletError> {
        for (x, _) in self.open_refunds()? {
            match self.settle(&x).await {
                Ok(_) | Err(WalletError::Refused { .. }) => {}
                Err(WalletError::NotKnownYet { .. }) => {
                    return Err(WalletError::UnderWay { what: "a refund" });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether coins of this choice are on their way elsewhere.
    fn is_elsewhere(&self, choice: &HolderChoice) -> Result<bool, WalletError> {
        Ok(self.coins()?.iter().any(|owned| owned.reserved && owned.coin.holder == *choice))
    }

    /// Under which choice coins come that are made of these.
    pub(crate) async fn choice_of(&self, coins: &[Owned]) -> Result<HolderChoice, WalletError> {
        match HolderChoice::of_all(coins.iter().map(|owned| owned.coin.holder)) {
            Some(choice) => Ok(choice),
            None => {
                self.without_open_refunds().await?;
                self.new_refund_key().await
            }
        }
    }

    /// A one-time key that was never used.
    pub(crate) async fn new_refund_key(&self) -> Result<HolderChoice, WalletError> {
        let mut index = 0;
        self.change_document(single(REFUND_KEYS), "the refund keys", |used: Option<u32>| {
            index = used.unwrap_or(0);
            index.checked_add(1)
        })
        .await?;
        Ok(HolderChoice::Key(self.refund_keys.key(index).verify_key()))
    }

    fn refund_keys_used(&self) -> Result<u32, WalletError> {
        Ok(self.document(single(REFUND_KEYS))?.unwrap_or(0))
    }

    async fn use_refund_keys(&self, at_least: u32) -> Result<(), WalletError> {
        self.change_document(single(REFUND_KEYS), "the refund keys", |used: Option<u32>| {
            (used.unwrap_or(0) < at_least).then_some(at_least)
        })
        .await
    }

    /// The secret half of a one-time key of this wallet.
    fn refund_key(&self, choice: &HolderChoice) -> Result<SigningKey, WalletError> {
        let indices = 0..self.refund_keys_used()?.saturating_add(GAP);
        let mut keys = indices.map(|index| self.refund_keys.key(index));
        let found = keys.find(|key| HolderChoice::Key(key.verify_key()) == *choice);
        found.ok_or(WalletError::Damaged { what: "a key for refunds" })
    }
}

impl Apply<'_> {
    /// Nothing was bought, so the operator never hears of the last key: it is for the next purchase. Otherwise many
    /// refused purchases in a row would hide what is bought after them from who looks for it by the seed.
    pub(crate) fn give_back_key(&self, choice: &HolderChoice, t: &mut Transition) {
        let last = self.wallet.refund_keys_used().ok().and_then(|used| used.checked_sub(1));
        let Some(last) = last else { return };
        if *choice == HolderChoice::Key(self.wallet.refund_keys.key(last).verify_key()) {
            t.write(single(REFUND_KEYS), cbor::encode(&last));
        }
    }

    /// The new coins take the place of those that were set aside: the operator takes no old one any more.
    pub(crate) fn refunded(
        &self,
        x: &Exchange,
        answer: &[u8],
        t: &mut Transition,
    ) -> Result<(), NotAuthentic> {
        let news = read_refund(&x.pending, answer, &self.keys).map_err(|_| NotAuthentic)?;
        let old = self.wallet.coins_of(x).map_err(|_| NotAuthentic)?;
        t.remove(x.key());
        remove_coins(t, self.keys.operator, x, &old);
        for set in &news.sets {
            let currency = set.total.currency();
            add_held(t, self.keys.operator, &set.coins, currency, news.holder);
            let worth = old.iter().map(|o| o.coin.worth).filter(|worth| worth.currency() == currency);
            // One's own coins for others of one's own are nobody's concern.
            if Amount::sum(worth, currency).is_ok_and(|had| had == set.total) {
                continue;
            }
            let id = following(x.id, currency.code().as_str());
            self.note(
                t,
                &Item {
                    id: ByteArray(*id.bytes()),
                    kind: Kind::Refunded,
                    end: End::Done,
                    amount: set.total,
                    at: self.now,
                    with: self.keys.name.clone(),
                    what: String::new(),
                    lost: Vec::new(),
                    reason: None,
                    proof: Proof { statement: Some(Bytes(news.signed.clone())), ..Proof::default() },
                },
            );
        }
        Ok(())
    }
}
