//! `receive`: a text of coins, exchanged at once for new ones of one's own, so that nobody else who has seen the text can
//! spend them. Source: VarietyCash §1.2 (transferability), §3 (Refresh); docs/wallet.md, "Receive".

use std::fmt;

use florin_books::{DocumentKey, ExchangeId, Transition, TxId};
use florin_coin::cash::{self, SealedCash};
use florin_coin::{CoinCause, CoinSet, holder};
use florin_crypto::{ByteArray, Bytes, cbor, digest};
use florin_money::Amount;
use florin_shell::Passphrase;
use florin_shell::exchange::{self, Exchange, NotAuthentic};
use serde::Serialize;

use crate::apply::Apply;
use crate::documents::{Claim, End, HISTORY, Item, Kind, LostCoin, Note, Proof, SENT, UNTOLD};
use crate::purse::{EXP_MS, add_coins};
use crate::refusal::WalletError;
use crate::report::text;
use crate::wallet::Wallet;

/// How coins are received.
#[derive(Default)]
pub struct ReceiveOptions<'a> {
    /// For a text that is sealed with one.
    pub passphrase: Option<&'a Passphrase>,
    /// Take what is left where some of the coins were spent.
    pub rest: bool,
}

/// What `receive` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReceiveReport {
    /// How much is in the purse now.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// What the sender said; nobody vouches for it.
    pub memo: String,
    /// The id, as the sender has it.
    pub id: String,
    /// Whether this ended what was begun before.
    pub resumed: bool,
}

impl fmt::Display for ReceiveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "received {}", self.amount)?;
        let memo: String = self.memo.chars().filter(|c| !c.is_control()).collect();
        if memo.is_empty() { Ok(()) } else { writeln!(f, "{memo}") }
    }
}

/// One's own card: what others need to send to this wallet alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CardReport {
    /// The text.
    pub card: String,
    /// The name on it.
    pub name: String,
}

impl fmt::Display for CardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.card)
    }
}

impl Wallet {
    /// One's own card.
    ///
    /// # Errors
    /// `NotRegistered`, those of the books.
    pub fn card(&self) -> Result<CardReport, WalletError> {
        let own = self.certificate()?;
        Ok(CardReport { card: cash::card(&own.certificate.0), name: own.name })
    }

    /// Claims the coins of a text. The same text again after a crash ends the same claim; after it has ended it is
    /// `CashClaimed`.
    ///
    /// # Errors
    /// `Cash`, `CashOwn`, `CashClaimed`, `CashPartlyClaimed`, `Expired`, `CoinsRefused`, `Refused`, `NotKnownYet`, those of
    /// the books.
    pub async fn receive(
        &self,
        text: &str,
        options: &ReceiveOptions<'_>,
    ) -> Result<ReceiveReport, WalletError> {
        let sealed = SealedCash::read(text)?;
        let id = sealed.id;
        let _progress = self.progress("claiming coins");
        let _one = self.changing.lock().await;
        let is_it = |note: &Note| matches!(note, Note::Claim(claim) if claim.id == id);
        let mut resumed = false;
        if let Some(x) = self.open_one(is_it)? {
            self.settle(&x).await?;
            resumed = true;
        } else if let Some(told) = self.known(id)? {
            return told;
        }
        if !resumed {
            let passphrase = options.passphrase.map(Passphrase::bytes);
            let cash = sealed.open(self.operator(), &self.identity, passphrase)?;
            let claim = Claim { id, memo: cash.memo, coins: cash.coins };
            let x = self.claiming(&claim).await?;
            self.settle(&x).await?;
            if let Some(rest) = self.rest(&claim, options)? {
                let x = self.claiming(&rest).await?;
                self.settle(&x).await?;
            }
        }
        let item: Option<Item> = self.document(DocumentKey::new(HISTORY, id.0))?;
        let item = item.ok_or(WalletError::Damaged { what: "received coins" })?;
        self.outcome(&item, resumed)
    }

    /// What this wallet knows of an envelope already, if that settles the matter.
    fn known(&self, id: ByteArray<16>) -> Result<Option<Result<ReceiveReport, WalletError>>, WalletError> {
        let sent: Option<crate::documents::OpenSent> = self.document(DocumentKey::new(SENT, id.0))?;
        if let Some(sent) = sent {
            return Ok(Some(Err(WalletError::CashOwn { id: sent.text_id() })));
        }
        let item: Option<Item> = self.document(DocumentKey::new(HISTORY, id.0))?;
        if item.as_ref().is_some_and(|item| item.kind == Kind::Sent) {
            return Ok(Some(Err(WalletError::CashClaimed { here: true })));
        }
        let Some(item) = item.filter(|item| item.end == End::Done) else { return Ok(None) };
        let untold = self.untold(Kind::Received)?.iter().any(|other| other.id == id);
        let told =
            if untold { self.outcome(&item, true) } else { Err(WalletError::CashClaimed { here: true }) };
        Ok(Some(told))
    }

    fn outcome(&self, item: &Item, resumed: bool) -> Result<ReceiveReport, WalletError> {
        if item.end == End::Done {
            self.reporting(item.id.0);
            let id = TxId::new(item.id.0).to_string();
            return Ok(ReceiveReport { amount: item.amount, memo: item.what.clone(), id, resumed });
        }
        let currency = item.amount.currency();
        let all = |cause: CoinCause| item.lost.iter().all(|lost| lost.cause == cause);
        let bad = Amount::sum(item.lost.iter().map(|lost| lost.worth), currency);
        let left = bad.and_then(|bad| item.amount.checked_sub(bad)).unwrap_or(Amount::zero(currency));
        Err(if !left.is_zero() {
            WalletError::CashPartlyClaimed { left, of: item.amount }
        } else if all(CoinCause::Spent) {
            WalletError::CashClaimed { here: false }
        } else if all(CoinCause::Expired) {
            WalletError::Expired { worth: item.amount }
        } else {
            WalletError::CoinsRefused { worth: item.amount }
        })
    }

    /// The coins that were not refused, if the owner wants them all the same.
    fn rest(&self, claim: &Claim, options: &ReceiveOptions<'_>) -> Result<Option<Claim>, WalletError> {
        let item: Option<Item> = self.document(DocumentKey::new(HISTORY, claim.id.0))?;
        let denied = item.filter(|item| item.end == End::Denied && options.rest);
        let Some(item) = denied else { return Ok(None) };
        let bad: Vec<usize> = self.bad_places(claim, &item);
        let good =
            claim.coins.coins.iter().enumerate().filter(|(i, _)| !bad.contains(i)).map(|(_, c)| c.clone());
        let coins = CoinSet::new(good.collect(), claim.coins.total.currency())
            .map_err(|_| WalletError::Damaged { what: "coins" })?;
        Ok((!coins.coins.is_empty()).then(|| Claim { coins, ..claim.clone() }))
    }

    /// Which coins were refused, as the operator's statement says.
    fn bad_places(&self, claim: &Claim, item: &Item) -> Vec<usize> {
        let statement = item.proof.statement.as_ref();
        let said = statement.and_then(|bytes| holder::read_statement(&bytes.0, &self.keys()).ok());
        let places = said.unwrap_or_default().into_iter().filter_map(|bad| usize::try_from(bad.index).ok());
        places.filter(|place| *place < claim.coins.coins.len()).collect()
    }

    /// Persists the claim: once for these coins, whoever asks.
    async fn claiming(&self, claim: &Claim) -> Result<Exchange, WalletError> {
        let issuer = self.issuer().await?;
        let amount = claim.coins.total;
        let (txid, exp) = (TxId::new(self.draw()), self.now().plus_ms(EXP_MS));
        let prepared = holder::refresh(&issuer, claim.coins.clone(), txid, exp, &mut *self.entropy())
            .map_err(|_| WalletError::NotPayable { amount })?;
        let note = Note::Claim(claim.clone());
        let x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
            .withdrawn_by(prepared.withdrawn);
        let name = digest("florin/v1/wallet/claim", &[&claim.id.0, &cbor::encode(&claim.coins)]);
        let x = Exchange { id: ExchangeId::new(name.short()), ..x };
        exchange::begin(&self.house, &x, self.fresh("florin/v1/wallet/claim", &[x.id.bytes()])).await?;
        Ok(x)
    }
}

impl Apply<'_> {
    /// The answer to a claim: new coins, or a statement about which are bad; then nothing was taken.
    pub(crate) fn claimed(
        &self,
        x: &Exchange,
        claim: &Claim,
        answer: &[u8],
        t: &mut Transition,
    ) -> Result<(), NotAuthentic> {
        let news = holder::read_exchange(&x.pending, answer, &self.keys).map_err(|_| NotAuthentic)?;
        let currency = claim.coins.total.currency();
        t.remove(x.key());
        add_coins(t, self.keys.operator, &news.coins, currency);
        let lost = news.causes.iter().filter_map(|bad| {
            let coin = usize::try_from(bad.index).ok().and_then(|place| claim.coins.coins.get(place))?;
            Some(LostCoin { worth: Amount::new(coin.value, currency), cause: bad.cause })
        });
        let item = Item {
            id: claim.id,
            kind: Kind::Received,
            end: if news.causes.is_empty() { End::Done } else { End::Denied },
            amount: claim.coins.total,
            at: self.now,
            with: String::new(),
            what: claim.memo.clone(),
            lost: lost.collect(),
            reason: None,
            proof: Proof { statement: Some(Bytes(news.signed)), ..Proof::default() },
        };
        t.write(item.key(), cbor::encode(&item));
        if self.wallet.tells && item.end == End::Done {
            t.write(DocumentKey::new(UNTOLD, item.id.0), cbor::encode(&item));
        }
        Ok(())
    }
}
