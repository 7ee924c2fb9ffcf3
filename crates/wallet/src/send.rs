//! `send`: coins for somebody without a payment, as a text, and taking back what nobody has claimed. The coins are exact
//! and set aside before the text is shown. Source: VarietyCash §1.2 (transferability), §3 (Refresh); docs/wallet.md, "Send".

use std::fmt;

use florin_books::{DocumentKey, Needs, Rejected, Transition, TxId};
use florin_coin::cash::{self, CASH_COINS_MAX, Cash, CashError, CashSeal};
use florin_coin::{CoinCause, holder};
use florin_crypto::{ByteArray, Bytes, KeyFileParams, Zeroizing, cbor, digest};
use florin_money::Amount;
use florin_parties::Certificate;
use florin_shell::exchange::{Exchange, NotAuthentic};
use florin_shell::house::ActError;
use florin_shell::{ExitCode, Passphrase};
use florin_store::CommitError;
use serde::Serialize;

use crate::apply::Apply;
use crate::documents::{End, Item, Kind, LostCoin, Note, OpenSent, Proof, SENT, UNTOLD};
use crate::limits::{day_of, spent_key, spent_of};
use crate::pay::Policy;
use crate::purse::{EXP_MS, Owned, add_coins, coin_set, remove_coins};
use crate::refusal::WalletError;
use crate::report::{Lost, text, utc};
use crate::wallet::Wallet;
use florin_books::HoldingChange;

/// How often coins are chosen anew where another command takes one of them.
const TRIES_MAX: usize = 4;

/// For whom coins are sent.
pub enum SendTo<'a> {
    /// Whoever has the text.
    Bearer,
    /// Whoever has the text and the passphrase.
    Passphrase(&'a Passphrase),
    /// The owner of a card.
    Card(&'a str),
}

/// How coins are sent.
pub struct SendOptions<'a> {
    /// What is said with them.
    pub memo: String,
    /// For whom.
    pub to: SendTo<'a>,
    /// What the owner allows.
    pub policy: Policy,
}

/// How sent coins stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SendState {
    /// Sent; nobody is known to have claimed them.
    Sent,
    /// All of them are in this wallet again.
    TakenBack,
    /// Some are in this wallet again, the others were claimed.
    PartlyTakenBack,
    /// All of them were claimed.
    Claimed,
}

/// What `send` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SendReport {
    /// How they stand.
    pub state: SendState,
    /// The id, for taking back.
    pub id: String,
    /// How much was sent.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// For whom: `bearer`, `passphrase`, or a name.
    pub to: String,
    /// What was said with it.
    pub memo: String,
    /// When, in RFC 3339.
    pub since: String,
    /// The text for the receiver; none where they are not under way any more.
    pub text: Option<String>,
    /// Coins that are not in this wallet again, and why.
    pub lost: Vec<Lost>,
    /// Whether this shows what was sent before.
    pub resumed: bool,
}

impl SendReport {
    /// How the program ends: `Refused` where a take-back found coins claimed.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self.state {
            SendState::Sent | SendState::TakenBack => ExitCode::Done,
            SendState::PartlyTakenBack | SendState::Claimed => ExitCode::Refused,
        }
    }
}

impl fmt::Display for SendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            SendState::Sent => {
                if let Some(text) = &self.text {
                    writeln!(f, "{text}")?;
                }
                match self.to.as_str() {
                    BEARER => writeln!(f, "{} for whoever has this text: it is money", self.amount)?,
                    PASSPHRASE => {
                        writeln!(f, "{} for whoever has this text and the passphrase", self.amount)?
                    }
                    name => writeln!(f, "{} for {name}", self.amount)?,
                }
                writeln!(f, "not claimed, as far as is known; florin wallet send --take-back {}", self.id)?;
            }
            SendState::TakenBack => writeln!(f, "took {} back", self.amount)?,
            SendState::PartlyTakenBack => {
                writeln!(f, "of {} some was claimed; the rest is taken back", self.amount)?
            }
            SendState::Claimed => writeln!(f, "{} was claimed", self.amount)?,
        }
        self.lost.iter().try_for_each(|coin| writeln!(f, "claimed: {}: {}", coin.worth, coin.cause))
    }
}

/// Something sent that nobody is known to have claimed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SentRow {
    /// Its id.
    pub id: String,
    /// How much.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// For whom.
    pub to: String,
    /// What was said with it.
    pub memo: String,
    /// Since when, in RFC 3339.
    pub since: String,
}

impl SentRow {
    pub(crate) fn of(sent: &OpenSent) -> Self {
        Self {
            id: sent.text_id(),
            amount: sent.amount,
            to: sent.to.clone(),
            memo: sent.memo.clone(),
            since: utc(sent.since),
        }
    }
}

impl fmt::Display for SentRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sent {} to {}, {}, not claimed as far as is known: {}",
            self.amount, self.to, self.since, self.id
        )
    }
}

const BEARER: &str = "bearer";
const PASSPHRASE: &str = "passphrase";

impl OpenSent {
    pub(crate) fn text_id(&self) -> String {
        TxId::new(self.id.0).to_string()
    }

    fn report(&self, resumed: bool) -> SendReport {
        SendReport {
            state: SendState::Sent,
            id: self.text_id(),
            amount: self.amount,
            to: self.to.clone(),
            memo: self.memo.clone(),
            since: utc(self.since),
            text: Some(self.text.clone()),
            lost: Lost::of(&self.gone),
            resumed,
        }
    }

    fn item(&self, end: End, at: florin_books::Timestamp, reason: Option<&str>) -> Item {
        Item {
            id: self.id,
            kind: Kind::Sent,
            end,
            amount: self.amount,
            at,
            with: self.to.clone(),
            what: self.memo.clone(),
            lost: self.gone.clone(),
            reason: reason.map(str::to_owned),
            proof: Proof::default(),
        }
    }
}

impl Wallet {
    /// What was sent and is not known to be claimed, the oldest first.
    pub(crate) fn open_sent(&self) -> Result<Vec<OpenSent>, WalletError> {
        let mut open: Vec<OpenSent> = self.documents(SENT, "sent coins")?;
        open.sort_by_key(|sent| (sent.since, sent.id));
        Ok(open)
    }

    /// Makes a text of coins worth exactly this. What was sent and never told to the owner is shown instead of sending
    /// the same again.
    ///
    /// # Errors
    /// `Input`, `AboveLimit`, `NotEnough`, `NotPayable`, `Cash`, those of the books.
    pub async fn send(&self, amount: Amount, options: &SendOptions<'_>) -> Result<SendReport, WalletError> {
        let memo = options.memo.trim().to_owned();
        if !cash::is_memo(&memo) || amount.is_zero() {
            let what = if amount.is_zero() {
                "an amount to send"
            } else {
                "a memo of one line and at most 100 bytes"
            };
            return Err(WalletError::Input { text: memo, what });
        }
        let card = match &options.to {
            SendTo::Card(text) => Some(self.card_of(text)?),
            SendTo::Bearer | SendTo::Passphrase(_) => None,
        };
        let to = match (&options.to, &card) {
            (SendTo::Passphrase(_), _) => PASSPHRASE.to_owned(),
            (_, Some(card)) => card.name.clone(),
            _ => BEARER.to_owned(),
        };
        let _progress = self.progress("preparing coins");
        for item in self.untold(Kind::Sent)? {
            let same = item.amount == amount && item.what == memo && item.with == to;
            let open: Option<OpenSent> = self.document(DocumentKey::new(SENT, item.id.0))?;
            if let Some(sent) = open.filter(|_| same) {
                self.reporting(sent.id.0);
                return Ok(sent.report(true));
            }
        }
        self.check_limits(amount, &options.policy)?;
        let passphrase = match &options.to {
            SendTo::Passphrase(passphrase) => Zeroizing::new(passphrase.bytes().to_vec()),
            _ => Zeroizing::default(),
        };
        let seal = match (&options.to, &card) {
            (SendTo::Passphrase(_), _) => CashSeal::Passphrase(&passphrase, KeyFileParams::default()),
            (_, Some(card)) => CashSeal::Receiver(card),
            _ => CashSeal::Bearer,
        };
        for _ in 0..TRIES_MAX {
            let coins = self.exact_coins(amount, CASH_COINS_MAX).await?;
            let sent = self.sealed(amount, &memo, &to, &coins, &seal)?;
            if self.set_out(&sent, &options.policy).await? {
                self.reporting(sent.id.0);
                return Ok(sent.report(false));
            }
        }
        Err(WalletError::UnderWay { what: "something else with these coins" })
    }

    fn card_of(&self, text: &str) -> Result<Certificate, WalletError> {
        let other = || WalletError::Input { text: text.to_owned(), what: "a card of this operator" };
        let bytes = cash::read_card(text).ok_or_else(other)?;
        Certificate::verify(&bytes, &self.keys()).map_err(|_| other())
    }

    fn sealed(
        &self,
        amount: Amount,
        memo: &str,
        to: &str,
        coins: &[Owned],
        seal: &CashSeal<'_>,
    ) -> Result<OpenSent, WalletError> {
        let (id, since) = (self.draw(), self.now());
        let set = coin_set(coins, amount.currency())?;
        let cash = Cash { id, coins: set, memo: memo.to_owned(), at: since };
        let text =
            cash::seal(self.operator(), &cash, seal, &mut *self.entropy()).map_err(WalletError::Cash)?;
        Ok(OpenSent {
            id: ByteArray(id),
            amount,
            memo: memo.to_owned(),
            to: to.to_owned(),
            since,
            text,
            coins: coins.iter().map(|owned| owned.id).collect(),
            gone: Vec::new(),
            taking: false,
        })
    }

    /// Persists it, sets its coins aside and counts it for the day. False where a coin has gone meanwhile.
    async fn set_out(&self, sent: &OpenSent, policy: &Policy) -> Result<bool, WalletError> {
        let key = spent_key(day_of(sent.since), sent.amount.currency());
        let limits = self.settings()?.limits_in(sent.amount.currency());
        let item = sent.item(End::Open, sent.since, None);
        let needs = Needs { documents: vec![key, sent.key()], ..Needs::default() };
        let mut refused = None;
        let _with_others = self.setting_aside.read().await;
        let begun = self
            .house
            .act(&needs, |facts, _| {
                let spent = spent_of(facts.document(&key));
                if let Err(error) = limits.allow(sent.amount, spent, policy) {
                    refused = Some(error);
                    return None;
                }
                let mut t = Transition::new(digest("florin/v1/wallet/send", &[&sent.id.0]), facts.as_of);
                t.write(sent.key(), cbor::encode(sent));
                t.write(item.key(), cbor::encode(&item));
                if self.tells {
                    t.write(DocumentKey::new(UNTOLD, sent.id.0), cbor::encode(&item));
                }
                t.write(key, cbor::encode(&spent.saturating_add(sent.amount.minor())));
                t.holdings.extend(sent.coins.iter().map(|id| HoldingChange::Reserve(*id, sent.exchange())));
                Some(t)
            })
            .await;
        match (begun, refused) {
            (_, Some(error)) => Err(error),
            (Err(ActError::Commit(CommitError::Rejected(Rejected::NotHeld { .. }))), None) => Ok(false),
            (Err(error), None) => Err(error.into()),
            (Ok(_), None) => Ok(true),
        }
    }

    /// Shows again what was sent and is not known to be claimed. The id may be shortened.
    ///
    /// # Errors
    /// `NoSuchId`, those of the books.
    pub fn show_sent(&self, id: &str) -> Result<SendReport, WalletError> {
        self.find_sent(id)?.map(|sent| sent.report(true)).ok_or(WalletError::NoSuchId { id: id.to_owned() })
    }

    fn find_sent(&self, id: &str) -> Result<Option<OpenSent>, WalletError> {
        let mut found = self.open_sent()?.into_iter().filter(|sent| sent.text_id().starts_with(id));
        match (found.next(), found.next()) {
            (Some(sent), None) if id.len() > "tx_".len() => Ok(Some(sent)),
            _ => Ok(None),
        }
    }

    /// Exchanges what was sent for new coins of one's own, unless somebody has claimed it: one of the two has it.
    ///
    /// # Errors
    /// `NoSuchId`, `Expired`, `Refused`, `NotKnownYet`, those of the books.
    pub async fn take_back(&self, id: &str) -> Result<SendReport, WalletError> {
        let _progress = self.progress("taking coins back");
        let _one = self.changing.lock().await;
        let mut resumed = false;
        let found = self.find_sent(id)?;
        let Some(first) = found else {
            let items = self.items()?.into_iter().rev();
            let mut same = items.filter(|i| i.kind == Kind::Sent && i.text_id() == id && i.end != End::Open);
            return same.next().map(|item| ended(&item)).ok_or(WalletError::NoSuchId { id: id.to_owned() });
        };
        let item_key = first.item(End::Open, first.since, None).key();
        // Each round that takes nothing leaves fewer coins.
        for _ in 0..=first.coins.len() {
            let is_it = |note: &Note| matches!(note, Note::TakeBack(sent) if sent.id == first.id);
            let x = match self.open_one(is_it)? {
                Some(x) => {
                    resumed = true;
                    x
                }
                None => match self.document::<OpenSent>(first.key())? {
                    Some(sent) => self.taking(&sent).await?,
                    None => break,
                },
            };
            self.settle(&x).await?;
        }
        let item: Option<Item> = self.document(item_key)?;
        let item =
            item.filter(|item| item.end != End::Open).ok_or(WalletError::Damaged { what: "sent coins" })?;
        let report = SendReport { resumed, ..ended(&item) };
        if item.reason.as_deref() == Some(CoinCause::Expired.slug()) {
            return Err(WalletError::Expired { worth: item.amount });
        }
        Ok(report)
    }

    /// A request under the name that the coins are set aside for.
    async fn taking(&self, sent: &OpenSent) -> Result<Exchange, WalletError> {
        let issuer = self.issuer().await?;
        let probe = Exchange {
            reserved: sent.coins.clone(),
            ..self.exchange("", Vec::new(), Vec::new(), &Note::Deliver)
        };
        let set = coin_set(&self.coins_of(&probe)?, sent.amount.currency())?;
        let amount = set.total;
        let (txid, exp) = (TxId::new(self.draw()), self.now().plus_ms(EXP_MS));
        let prepared = holder::refresh(&issuer, set, txid, exp, &mut *self.entropy())
            .map_err(|_| WalletError::NotPayable { amount })?;
        let sent = OpenSent { taking: true, ..sent.clone() };
        let note = Note::TakeBack(sent.clone());
        let x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
            .withdrawn_by(prepared.withdrawn);
        let x = Exchange { id: sent.exchange(), reserved: sent.coins.clone(), ..x };
        let mut t = self.fresh("florin/v1/wallet/take-back", &[&sent.id.0, txid.bytes()]);
        t.write(x.key(), cbor::encode(&x));
        t.write(sent.key(), cbor::encode(&sent));
        self.house.commit(t).await?;
        Ok(x)
    }
}

/// What the history says of it.
fn ended(item: &Item) -> SendReport {
    let state = match (item.end, item.lost.is_empty()) {
        (End::Open, _) => SendState::Sent,
        (End::Done, _) => SendState::Claimed,
        (_, true) => SendState::TakenBack,
        (_, false) => SendState::PartlyTakenBack,
    };
    SendReport {
        state,
        id: item.text_id(),
        amount: item.amount,
        to: item.with.clone(),
        memo: item.what.clone(),
        since: utc(item.at),
        text: None,
        lost: Lost::of(&item.lost),
        resumed: true,
    }
}

impl Apply<'_> {
    /// The answer to a take-back: all coins are new ones of one's own; or some were claimed, and what is left stays set
    /// aside, since whoever has the text can still claim it.
    pub(crate) fn taken_back(
        &self,
        x: &Exchange,
        mut sent: OpenSent,
        answer: &[u8],
        t: &mut Transition,
    ) -> Result<(), NotAuthentic> {
        let news = holder::read_exchange(&x.pending, answer, &self.keys).map_err(|_| NotAuthentic)?;
        let coins = self.wallet.coins_of(x).map_err(|_| NotAuthentic)?;
        let operator = self.keys.operator;
        let statement = Some(Bytes(news.signed));
        t.remove(x.key());
        if news.causes.is_empty() {
            remove_coins(t, operator, x, &coins);
            add_coins(t, operator, &news.coins, sent.amount.currency());
            t.remove(sent.key());
            let reason = if sent.gone.is_empty() { "taken-back" } else { "partly-claimed" };
            let item = sent.item(End::Never, self.now, Some(reason));
            let item = Item { proof: Proof { statement, ..Proof::default() }, ..item };
            t.write(item.key(), cbor::encode(&item));
            return Ok(());
        }
        let mut left = Vec::new();
        let mut expired = false;
        for (index, owned) in (0u32..).zip(&coins) {
            match news.causes.iter().find(|bad| bad.index == index) {
                None => left.push(owned.id),
                // Nobody can claim it any more: it is the owner's again, for what it is worth.
                Some(bad) if bad.cause == CoinCause::Expired => {
                    expired = true;
                    t.holdings.push(HoldingChange::Release(owned.id, x.id));
                }
                Some(bad) => {
                    remove_coins(t, operator, x, std::slice::from_ref(owned));
                    sent.gone.push(LostCoin { worth: owned.coin.worth, cause: bad.cause });
                }
            }
        }
        if left.is_empty() {
            t.remove(sent.key());
            let (end, reason) =
                if expired { (End::Denied, CoinCause::Expired.slug()) } else { (End::Done, "claimed") };
            let item = sent.item(end, self.now, Some(reason));
            let item = Item { proof: Proof { statement, ..Proof::default() }, ..item };
            t.write(item.key(), cbor::encode(&item));
        } else {
            sent.coins = left;
            t.write(sent.key(), cbor::encode(&sent));
        }
        Ok(())
    }
}

/// What cannot be sealed is named for people elsewhere.
impl From<CashError> for WalletError {
    fn from(error: CashError) -> Self {
        Self::Cash(error)
    }
}
