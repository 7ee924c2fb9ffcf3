//! `buy`: WRequest1 to WRequest3, then `collect` until the bank has spoken; coins into the purse, and Issuance2.
//! Source: VarietyCash §3.1, Figures 4 and 5, W1-W3; V6 (the session lasts days), V7, V10.

use std::fmt;
use std::time::Duration;

use florin_coin::purchase_messages::WDesc;
use florin_coin::purchaser;
use florin_coin::{COINS_ISSUED_MAX, Calendar, HolderChoice};
use florin_crypto::{ByteArray, cbor};
use florin_money::Amount;
use florin_parties::Roles;
use florin_parties::bank::Mandate;
use florin_shell::ExitCode;
use florin_shell::exchange::{self, Exchange};
use serde::Serialize;
use tokio::time::Instant;

use crate::documents::{End, HISTORY, Item, Kind, Note, OpenPurchase, PURCHASE};
use crate::mix::CoinMix;
use crate::refund::LIST_FULL;
use crate::refusal::WalletError;
use crate::report::{text, utc};
use crate::wallet::Wallet;
use florin_books::{DocumentKey, Timestamp, TxId};

/// WRequest1 and `collect` last at most so long.
const EXP_MS: u64 = 23 * 60 * 60 * 1000;
/// How often the operator is asked whether the bank has spoken.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How coins are bought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuyOptions {
    /// How long to wait for the bank.
    pub wait: Duration,
    /// Begin another purchase even where one of the same amount is open.
    pub new: bool,
    /// Which coins.
    pub mix: CoinMix,
    /// Who can ask for the coins again if the wallet is lost.
    pub refund: RefundChoice,
}

/// Who can ask for bought coins again if the wallet is lost, and what the operator learns for it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RefundChoice {
    /// Nobody: the purchaser stays anonymous (V10), and what is lost is lost.
    #[default]
    No,
    /// Whoever has the seed, by a one-time key: the purchaser stays anonymous (V10).
    ByKey,
    /// The purchaser by name: the operator keeps whose coins they are.
    ByName,
}

impl Default for BuyOptions {
    fn default() -> Self {
        Self { wait: Duration::from_secs(10), new: false, mix: CoinMix::Mixed, refund: RefundChoice::No }
    }
}

/// How far a purchase is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuyState {
    /// The coins are in the purse.
    Bought,
    /// Accepted; the bank has not spoken yet.
    Waiting,
    /// The bank has refused; nothing was paid.
    Refused,
}

/// What `buy` did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BuyReport {
    /// How far it is.
    pub state: BuyState,
    /// The purchase's id, for `history` and `status`.
    pub id: String,
    /// How much.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// How many coins; 0 where they arrived before this command.
    pub coins: u64,
    /// When it began, in RFC 3339.
    pub since: String,
    /// Who can ask for the coins again after a loss: `anonymous` (nobody), `refundable` (by a one-time key) or `named`;
    /// none where they arrived before this command. What the purchase was begun with counts.
    pub refund: Option<&'static str>,
    /// Whether this continued a purchase that was begun earlier.
    pub resumed: bool,
    /// Why there are no coins: an ISO 20022 code of the bank.
    pub reason: Option<String>,
    /// Until when coins that are bought now pay, in RFC 3339.
    pub pays_until: String,
    /// Until when they can be refreshed after that; none for without end.
    pub refreshable_until: Option<String>,
}

impl BuyReport {
    /// How the program ends.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self.state {
            BuyState::Bought => ExitCode::Done,
            BuyState::Waiting => ExitCode::NotKnownYet,
            BuyState::Refused => ExitCode::Refused,
        }
    }
}

impl fmt::Display for BuyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            BuyState::Bought if self.coins == 0 => writeln!(f, "bought {}", self.amount)?,
            BuyState::Bought => writeln!(f, "bought {} in {} coins", self.amount, self.coins)?,
            BuyState::Waiting => {
                writeln!(f, "{} ordered; the bank has not paid yet", self.amount)?;
                writeln!(f, "the same command again, or florin wallet status, collects the coins")?;
            }
            BuyState::Refused => {
                let reason = self.reason.as_deref().unwrap_or("no reason given");
                writeln!(f, "not bought: the bank refused ({reason}); nothing was paid")?;
            }
        }
        if self.state != BuyState::Refused {
            let refresh = self.refreshable_until.as_deref().unwrap_or("without end");
            writeln!(f, "the coins pay until {}, and can be refreshed until {refresh}", self.pays_until)?;
        }
        match (self.state, self.refund) {
            (BuyState::Refused, _) | (_, None) => {}
            (_, Some("anonymous")) => {
                writeln!(f, "anonymous: if the wallet is lost, so are they (--refundable)")?
            }
            (_, Some(choice)) => writeln!(f, "{choice}: if the wallet is lost, its seed brings them back")?,
        }
        if self.resumed && self.state == BuyState::Bought {
            writeln!(
                f,
                "this ended the purchase of {}; nothing new was ordered (--new begins another one)",
                self.since
            )?;
        } else if self.resumed {
            writeln!(f, "this continued the purchase of {}; --new begins another one", self.since)?;
        }
        writeln!(f, "{}", self.id)
    }
}

impl Wallet {
    /// Buys coins. The same command again continues an open purchase of the same amount, unless a new one is wanted.
    ///
    /// # Errors
    /// `NotRegistered`, `NotEnrolled`, `Currency`, `NotPayable`, `Refused`, `NotKnownYet`, those of the books.
    pub async fn buy(&self, amount: Amount, options: &BuyOptions) -> Result<BuyReport, WalletError> {
        self.certificate()?;
        let progress = self.progress("ordering coins");
        let untold =
            self.untold(Kind::Bought)?.into_iter().find(|item| item.amount == amount && !options.new);
        if let Some(item) = untold {
            self.settle_deliveries().await?;
            return self.bought_before(&item);
        }
        let same = |purchase: &OpenPurchase| purchase.amount == amount;
        let open = self.open_purchases()?.into_iter().find(|p| same(p) && !options.new);
        let (purchase, resumed) = match open {
            Some(purchase) => match self.accepted(&purchase).await {
                Ok(purchase) => (purchase, true),
                // It took too long to begin and never began: nothing was ordered, so a new one is no second one.
                Err(WalletError::Refused { problem, .. })
                    if matches!(problem.slug.as_deref(), Some("purchase-expired" | "withdrawn")) =>
                {
                    (self.begin_purchase(amount, options).await?, false)
                }
                Err(error) => return Err(error),
            },
            None => (self.begin_purchase(amount, options).await?, false),
        };
        progress.say("waiting for the bank");
        let item = self.collect(&purchase, options.wait).await?;
        self.settle_deliveries().await?;
        let arrived = item.as_ref().is_some_and(|item| item.end == End::Done);
        let (expires, refreshable_until) = self.bought_until(arrived)?;
        let report = BuyReport {
            state: BuyState::Waiting,
            id: TxId::new(purchase.id.0).to_string(),
            amount,
            coins: purchase.list.count(),
            since: utc(purchase.since),
            refund: Some(purchase.holder.name()),
            resumed,
            reason: None,
            pays_until: utc(expires),
            refreshable_until,
        };
        if let Some(item) = &item {
            self.reporting(item.id.0);
        }
        self.refresh_by_the_way().await?;
        Ok(match item {
            None => report,
            Some(item) if item.end == End::Done => BuyReport { state: BuyState::Bought, ..report },
            Some(item) => BuyReport { state: BuyState::Refused, reason: item.reason, ..report },
        })
    }

    /// What has ended without its owner knowing.
    fn bought_before(&self, item: &Item) -> Result<BuyReport, WalletError> {
        self.reporting(item.id.0);
        let (expires, refreshable_until) = self.bought_until(item.end == End::Done)?;
        Ok(BuyReport {
            state: if item.end == End::Done { BuyState::Bought } else { BuyState::Refused },
            id: TxId::new(item.id.0).to_string(),
            amount: item.amount,
            coins: 0,
            since: utc(item.at),
            refund: None,
            resumed: true,
            reason: item.reason.clone(),
            pays_until: utc(expires),
            refreshable_until,
        })
    }

    /// Until when the latest coins pay, or those that would be issued now where none have come, and until when they can be
    /// refreshed: what the key list says of their epoch, and the terms where it says nothing.
    fn bought_until(&self, arrived: bool) -> Result<(Timestamp, Option<String>), WalletError> {
        let keys = self.keys();
        let latest = if arrived { self.coins()?.pop() } else { None };
        let calendar = Calendar::of(&keys.terms);
        let (epoch, expires) = match (latest, keys.issuing(self.now())) {
            (Some(owned), _) => (owned.coin.coin.epoch, owned.coin.coin.expires),
            (None, Some(issuing)) => (issuing.number, issuing.expires),
            (None, None) => {
                let epoch = calendar.epoch_at(self.now());
                (epoch, calendar.expiry(epoch))
            }
        };
        Ok((expires, keys.grace_end(epoch, expires).map(utc)))
    }

    pub(crate) fn open_purchases(&self) -> Result<Vec<OpenPurchase>, WalletError> {
        let mut open: Vec<OpenPurchase> = self.documents(PURCHASE, "a purchase")?;
        open.sort_by_key(|purchase| purchase.since);
        Ok(open)
    }

    async fn begin_purchase(
        &self,
        amount: Amount,
        options: &BuyOptions,
    ) -> Result<OpenPurchase, WalletError> {
        if options.refund != RefundChoice::No {
            self.without_open_refunds().await?;
        }
        let account = self.account_for(Roles::PURCHASER)?;
        let denominations = self.denominations(amount.currency())?;
        let list = options
            .mix
            .list(amount, &denominations)
            .filter(|l| !l.is_empty() && l.count() <= COINS_ISSUED_MAX);
        let list = list.ok_or(WalletError::NotPayable { amount })?;
        let issuer = self.issuer().await?;
        let now = self.now();
        let exp = now.plus_ms(EXP_MS);
        let prepared = purchaser::wrequest1(&issuer, self.id(), exp, &mut *self.entropy());
        let prepared = prepared.map_err(|_| WalletError::NoKey)?;
        let answer = self.ask("the purchase", prepared.path, prepared.body, self.patience).await?;
        let id: [u8; 16] = self.draw();
        // A mandate's name has at most 35 characters.
        let mandate = Mandate { id: TxId::new(id).to_string().split_off(3), signed_at: now };
        let w_desc = WDesc {
            total: amount,
            list: list.clone(),
            account,
            authorisation: mandate,
            anonymous: options.refund != RefundChoice::ByName,
        };
        let prepared =
            purchaser::wrequest3(&prepared.pending, &answer, &self.identity, w_desc, &mut *self.entropy());
        let slug = Some("not-authentic".to_owned());
        let prepared = prepared.map_err(|_| WalletError::NotKnownYet { what: "the purchase", slug })?;
        let with_others = self.setting_aside.read().await;
        if options.refund != RefundChoice::No && !self.open_refunds()?.is_empty() {
            return Err(WalletError::UnderWay { what: "a refund" });
        }
        let holder = match options.refund {
            RefundChoice::No => HolderChoice::Nobody,
            RefundChoice::ByKey => self.new_refund_key().await?,
            RefundChoice::ByName => HolderChoice::Named(self.id()),
        };
        let purchase = OpenPurchase { id: ByteArray(id), amount, list, since: now, accepted: None, holder };
        let note = Note::WRequest3(purchase.clone());
        let x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
            .withdrawn_by(prepared.withdrawn);
        let mut t = self.fresh("florin/v1/wallet/buy", &[x.id.bytes()]);
        t.write(purchase.key(), cbor::encode(&purchase));
        exchange::begin(&self.house, &x, t).await?;
        drop(with_others);
        self.accepted(&purchase).await
    }

    /// The purchase once the issuer has accepted it.
    async fn accepted(&self, purchase: &OpenPurchase) -> Result<OpenPurchase, WalletError> {
        let is_it = |note: &Note| matches!(note, Note::WRequest3(p) if p.id == purchase.id);
        if let Some(x) = self.open_one(is_it)? {
            self.settle(&x).await?;
        }
        let now: Option<OpenPurchase> = self.document(purchase.key())?;
        now.filter(|p| p.accepted.is_some()).ok_or(WalletError::Damaged { what: "a purchase" })
    }

    /// Asks for the coins until the bank has spoken or `wait` is over. None: not yet.
    pub(crate) async fn collect(
        &self,
        purchase: &OpenPurchase,
        wait: Duration,
    ) -> Result<Option<Item>, WalletError> {
        let until = Instant::now().checked_add(wait);
        loop {
            let x = self.collecting(purchase).await?;
            match self.settle_briefly(&x).await {
                Ok(()) => return self.document(DocumentKey::new(HISTORY, purchase.id.0)),
                Err(WalletError::NotKnownYet { .. }) => {}
                // The request's own time is over: it is asked anew, for the same claim.
                Err(WalletError::Refused { problem, .. })
                    if problem.slug.as_deref() == Some("request-expired") => {}
                Err(error) if error.slug() == LIST_FULL => self.make_room(&purchase.holder).await?,
                Err(error) => return Err(error),
            }
            if until.is_none_or(|end| Instant::now().checked_add(ASK_EVERY).is_none_or(|next| next > end)) {
                return Ok(None);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// One try, whose answer is applied if it is there.
    async fn settle_briefly(&self, x: &Exchange) -> Result<(), WalletError> {
        self.settle_within(x, Duration::ZERO).await.map(|_| ())
    }

    /// The `collect` of a purchase that is under way, or a new one.
    async fn collecting(&self, purchase: &OpenPurchase) -> Result<Exchange, WalletError> {
        let is_it = |note: &Note| matches!(note, Note::Collect(p) if p.id == purchase.id);
        if let Some(x) = self.open_one(is_it)? {
            return Ok(x);
        }
        let damaged = WalletError::Damaged { what: "a purchase" };
        let Some(accepted) = &purchase.accepted else { return Err(damaged) };
        let issuer = self.issuer().await?;
        let exp = self.now().plus_ms(EXP_MS);
        let key = match purchase.holder {
            HolderChoice::Key(key) => Some(key),
            HolderChoice::Named(_) | HolderChoice::Nobody => None,
        };
        let secret = &accepted.secret.0;
        let prepared = purchaser::collect_refundable(&issuer, secret, key, exp, &mut *self.entropy());
        let prepared = prepared.map_err(|_| damaged)?;
        let note = Note::Collect(purchase.clone());
        let x = self
            .exchange(prepared.path, prepared.body, prepared.pending.to_vec(), &note)
            .withdrawn_by(prepared.withdrawn);
        exchange::begin(&self.house, &x, self.fresh("florin/v1/wallet/collect", &[x.id.bytes()])).await?;
        Ok(x)
    }

    /// Sends what is only to be delivered. It costs nothing where it does not arrive now.
    pub(crate) async fn settle_deliveries(&self) -> Result<(), WalletError> {
        for x in exchange::under_way(&self.house)? {
            if matches!(Note::of(&x), Some(Note::Deliver)) {
                match self.settle_within(&x, Duration::ZERO).await {
                    Ok(_) | Err(WalletError::NotKnownYet { .. } | WalletError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
