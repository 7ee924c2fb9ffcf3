//! Dual control: what changes the epochs outside the calendar, releases large pay-outs, or joins a purchase to its payments
//! (a trace), needs an order that two key holders have signed. Each signs the same bytes with the key in its own file, in one place or in two; the operator knows
//! the public halves only, and carries an order out once. Source: VarietyCash §1.2 (no insider alone); ADR 0028.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use florin_books::{DocumentKey, DocumentKind, Epoch, Needs, OnceKey, PartyId, Seq, Timestamp, Transition};
use florin_coin::EpochError;
use florin_coin::issuer::is_above;
use florin_crypto::cose::Sign1;
use florin_crypto::{ByteArray, Bytes, Digest, Entropy, cbor, digest, random, sign1};
use florin_parties::bank::OrderId;
use florin_parties::{Enrolment, Participant};
use florin_rail::common::SKEW_MS;
use florin_rail::{Blame, Class, Context, Refusal};
use florin_shell::house::ActError;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::epochs::EpochsError;
use crate::key_holder::{HOLDERS, KeyHolder, KnownHolder};
use crate::operator::Operator;
use crate::owed::{creditors, request};
use crate::trace_log::Subject;

/// The number in once keys of what the operator itself orders.
pub const RAIL_NUMBER: u8 = 9;
/// An order of two key holders, in once keys: its nonce. In both lanes, so that it is carried out once in each; a trace, which
/// changes no coins, in the identity lane only.
pub const STEP_ORDER: u8 = 1;
/// An order that was carried out, by its nonce; identity lane.
pub const EXECUTED: DocumentKind = DocumentKind(0x0304);
/// What an order in text form begins with.
pub const ORDER_PREFIX: &str = "florinorder1";
/// An order is good for at most so long.
pub const ORDER_LIFE_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// The longest reason, in characters.
pub const REASON_MAX: usize = 200;
/// Pay-outs released by one order; more need another one.
const RELEASED_MAX: usize = 256;

/// Not an order in its one form.
pub const ORDER_MALFORMED: Refusal = Refusal::new("order-malformed", Class::BadRequest, Blame::Asker, false);
/// It names another operator.
pub const ORDER_OTHER_OPERATOR: Refusal =
    Refusal::new("order-other-operator", Class::Denied, Blame::Asker, false);
/// It is over, or too far ahead.
pub const ORDER_EXPIRED: Refusal = Refusal::new("order-expired", Class::Gone, Blame::Asker, false);
/// A signature is over other bytes.
pub const ORDER_ALTERED: Refusal = Refusal::new("order-altered", Class::Denied, Blame::Asker, false);
/// A signature is by none of the two.
pub const ORDER_NOT_BY_HOLDER: Refusal =
    Refusal::new("order-not-by-holder", Class::Denied, Blame::Asker, false);
/// One holder has signed twice.
pub const ORDER_SAME_HOLDER: Refusal = Refusal::new("order-same-holder", Class::Denied, Blame::Asker, false);
/// Fewer than two have signed.
pub const ORDER_NEEDS_TWO: Refusal = Refusal::new("order-needs-two", Class::Denied, Blame::Asker, false);
/// It was carried out before.
pub const ORDER_REPLAYED: Refusal = Refusal::new("order-replayed", Class::Conflict, Blame::Asker, false);
/// A trace is carried out by the trace, everything else here.
pub const ORDER_OTHER_COMMAND: Refusal =
    Refusal::new("order-other-command", Class::BadRequest, Blame::Asker, false);
/// The epochs do not allow it.
pub const EPOCH_CANNOT: Refusal = Refusal::new("epoch-cannot", Class::Conflict, Blame::Asker, false);

/// What two key holders can order.
///
/// Shape: `[0]`, `[1, epoch, reason]`, `[2]`, `[3, epoch]`, `[4, epoch]`, `[5, subject, reason]`. A reason has at most
/// [`REASON_MAX`] characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Action {
    /// A new epoch from now.
    #[n(0)]
    Rotate,
    /// The coins of an epoch stop paying.
    #[n(1)]
    RevokeEpoch(#[n(0)] Epoch, #[n(1)] String),
    /// Pay-outs above the limit go to the bank.
    #[n(2)]
    ReleasePayouts,
    /// The live coins of an epoch are written down.
    #[n(3)]
    ArchiveEpoch(#[n(0)] Epoch),
    /// They are ended.
    #[n(4)]
    DropEpoch(#[n(0)] Epoch),
    /// Boxes are opened to join a purchase to its payments, or back; carried out by `Operator::trace_begin`.
    #[n(5)]
    Trace(#[n(0)] Subject, #[n(1)] String),
}

impl Action {
    fn reason_fits(&self) -> bool {
        match self {
            Self::RevokeEpoch(_, reason) | Self::Trace(_, reason) => {
                reason.chars().count() <= REASON_MAX && !reason.chars().any(char::is_control)
            }
            _ => true,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotate => write!(f, "rotate"),
            Self::RevokeEpoch(epoch, reason) => write!(f, "revoke epoch {}: {reason}", epoch.0),
            Self::ReleasePayouts => write!(f, "release pay-outs"),
            Self::ArchiveEpoch(epoch) => write!(f, "archive epoch {}", epoch.0),
            Self::DropEpoch(epoch) => write!(f, "drop epoch {}", epoch.0),
            Self::Trace(subject, reason) => write!(f, "trace {subject}: {reason}"),
        }
    }
}

/// What both sign.
///
/// Shape: `[context, action, nonce, at, exp]`; the context is `order` of the rail `operator`, to the operator. Units:
/// milliseconds. Errors in checking order: `order-malformed`, `order-other-operator`, `order-expired`,
/// `order-altered`, `order-not-by-holder`, `order-same-holder`, `order-needs-two`, `order-replayed`, and what the action
/// itself is refused with. Source: ADR 0028.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Order {
    #[n(0)]
    context: Context,
    /// What is to be done.
    #[n(1)]
    pub action: Action,
    /// Makes it happen once.
    #[n(2)]
    pub nonce: ByteArray<16>,
    /// When it was made.
    #[n(3)]
    pub at: Timestamp,
    /// Until when it is good.
    #[n(4)]
    pub exp: Timestamp,
}

fn context(operator: PartyId) -> Context {
    Context::new("operator", "order", PartyId::NONE, operator)
}

/// An order and its signatures so far.
///
/// Shape: `[order as bytes, [sign1, ...]]`, each over exactly these bytes; text `florinorder1` and base64url.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct SignedOrder {
    #[n(0)]
    order: Bytes,
    #[n(1)]
    signatures: Vec<Bytes>,
}

impl SignedOrder {
    /// An order that nobody has signed.
    #[must_use]
    pub fn new(
        operator: PartyId,
        action: Action,
        at: Timestamp,
        life_ms: u64,
        entropy: &mut dyn Entropy,
    ) -> Self {
        let exp = at.plus_ms(life_ms.min(ORDER_LIFE_MAX_MS));
        let order = Order { context: context(operator), action, nonce: ByteArray(random(entropy)), at, exp };
        Self { order: Bytes(cbor::encode(&order)), signatures: Vec::new() }
    }

    /// What it orders, before anybody trusts it: for whoever is asked to sign. Nothing if it is no order in its one form.
    #[must_use]
    pub fn order_unverified(&self) -> Option<Order> {
        cbor::decode_strict(&self.order.0).ok().filter(|order: &Order| order.action.reason_fits())
    }

    /// Whether both orders are the same one, whoever has signed them.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.order == other.order
    }

    /// What its transition has as cause.
    pub(crate) fn cause(&self) -> Digest {
        digest("florin/v1/operator/order", &[&self.order.0])
    }

    /// How many have signed.
    #[must_use]
    pub const fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// Adds a holder's signature.
    ///
    /// # Errors
    /// `order-malformed`; `order-same-holder`: it has signed already.
    pub fn sign(&mut self, holder: &KeyHolder) -> Result<(), Refusal> {
        self.order_unverified().ok_or(ORDER_MALFORMED)?;
        let kid = holder.known().kid();
        let signed = |s: &Bytes| Sign1::parse(&s.0).is_ok_and(|s| s.kid() == kid);
        if self.signatures.iter().any(signed) {
            return Err(ORDER_SAME_HOLDER);
        }
        self.signatures.push(Bytes(sign1(&holder.signing, &kid, &self.order.0)));
        Ok(())
    }

    /// As text.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{ORDER_PREFIX}{}", BASE64URL_NOPAD.encode(&cbor::encode(self)))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// `order-malformed`.
    pub fn from_text(text: &str) -> Result<Self, Refusal> {
        let read = || {
            let encoded = text.trim().strip_prefix(ORDER_PREFIX)?;
            let signed: Self = cbor::decode_strict(&BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?).ok()?;
            signed.order_unverified().map(|_| signed)
        };
        read().ok_or(ORDER_MALFORMED)
    }

    /// Checks everything but whether it was carried out before; the order, and who has signed it.
    ///
    /// # Errors
    /// In the order of [`Order`].
    pub fn verify(
        &self,
        operator: PartyId,
        holders: &[KnownHolder; HOLDERS],
        now: Timestamp,
    ) -> Result<(Order, Vec<String>), Refusal> {
        let order = self.order_unverified().ok_or(ORDER_MALFORMED)?;
        if order.context != context(operator) {
            return Err(ORDER_OTHER_OPERATOR);
        }
        let over = now > order.exp || order.at > now.plus_ms(SKEW_MS);
        if over || order.exp.since(order.at) > ORDER_LIFE_MAX_MS {
            return Err(ORDER_EXPIRED);
        }
        let mut names = Vec::with_capacity(HOLDERS);
        for signature in &self.signatures {
            let signed = Sign1::parse(&signature.0).map_err(|_| ORDER_MALFORMED)?;
            if signed.payload_unverified() != self.order.0 {
                return Err(ORDER_ALTERED);
            }
            let holder = holders.iter().find(|h| h.kid() == signed.kid()).ok_or(ORDER_NOT_BY_HOLDER)?;
            signed.verify(&holder.verify).map_err(|_| ORDER_NOT_BY_HOLDER)?;
            if names.contains(&holder.name) {
                return Err(ORDER_SAME_HOLDER);
            }
            names.push(holder.name.clone());
        }
        if names.len() == HOLDERS { Ok((order, names)) } else { Err(ORDER_NEEDS_TWO) }
    }

    /// Whether two have signed it, as far as that can be told later: a holder who is not named any more cannot be checked.
    #[must_use]
    pub fn was_signed(&self, holders: &[KnownHolder; HOLDERS]) -> bool {
        let mut kids = Vec::with_capacity(HOLDERS);
        for signature in &self.signatures {
            let Ok(signed) = Sign1::parse(&signature.0) else { return false };
            let known = holders.iter().find(|holder| holder.kid() == signed.kid());
            let is_false = known.is_some_and(|holder| signed.verify(&holder.verify).is_err());
            if is_false || signed.payload_unverified() != self.order.0 || kids.contains(&signed.kid()) {
                return false;
            }
            kids.push(signed.kid());
        }
        kids.len() == HOLDERS
    }
}

/// The document of an order that was carried out: who, what, when.
///
/// Shape: `[signed order, names, at]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Executed {
    /// The order with both signatures.
    #[n(0)]
    pub order: SignedOrder,
    /// Who signed, as the settings called them.
    #[n(1)]
    pub names: Vec<String>,
    /// When it was carried out.
    #[n(2)]
    pub at: Timestamp,
}

/// An order that was carried out, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExecutedReport {
    /// What.
    pub action: String,
    /// Who signed.
    pub holders: Vec<String>,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// How many pay-outs were released.
    pub released: usize,
}

impl fmt::Display for ExecutedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "done: {} (ordered by {})", self.action, self.holders.join(" and "))?;
        if self.released > 0 {
            write!(f, ", {} pay-outs released", self.released)?;
        }
        Ok(())
    }
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Refused; nothing has changed.
    #[error("{}", .0.detail.as_deref().unwrap_or(.0.slug))]
    Refused(Refusal),
    /// The epochs.
    #[error(transparent)]
    Epochs(EpochsError),
    /// The books.
    #[error(transparent)]
    Act(#[from] ActError),
}

impl From<EpochsError> for ControlError {
    fn from(error: EpochsError) -> Self {
        match error {
            EpochsError::Table(why) => Self::Refused(cannot(why)),
            other => Self::Epochs(other),
        }
    }
}

fn cannot(why: EpochError) -> Refusal {
    EPOCH_CANNOT.with_detail(why.to_string())
}

/// The once key of an order, in both lanes.
pub(crate) const fn once(nonce: [u8; 16]) -> OnceKey {
    OnceKey { rail: RAIL_NUMBER, step: STEP_ORDER, party: PartyId::NONE, txid: nonce }
}

impl Operator {
    /// The order, and who has signed it.
    pub(crate) fn verified(&self, signed: &SignedOrder) -> Result<(Order, Vec<String>), Refusal> {
        signed.verify(self.id, &self.holders, self.clock.now())
    }

    /// Carries out an order of two key holders, once. Not a trace: for that both must open boxes as well.
    ///
    /// # Errors
    /// `Refused`, in the order of [`Order`], a trace with `order-other-command`; `Epochs`, `Act`: then the same order can be given again.
    pub async fn execute(&self, signed: &SignedOrder) -> Result<ExecutedReport, ControlError> {
        let (order, names) = self.verified(signed).map_err(ControlError::Refused)?;
        let key = once(order.nonce.0);
        let needs = Needs { once: vec![key], ..Needs::default() };
        let taken = self.lanes.identity.books.load(&needs).map_err(ActError::Store)?;
        if !taken.once.is_empty() {
            return Err(ControlError::Refused(ORDER_REPLAYED));
        }
        // The books may know it already, from before a crash or from somebody who has gone: then it is put in force and noted.
        if self.lanes.books.books.load(&needs).map_err(ActError::Store)?.once.is_empty() {
            self.act_on(&order.action, key).await?;
        } else {
            self.put_in_force().await?;
        }
        let released = self.note(signed, &order, &names).await?;
        tracing::warn!(action = %order.action, holders = names.join(" and "), "an order of two key holders");
        Ok(ExecutedReport {
            action: order.action.to_string(),
            holders: names,
            at_unix_ms: self.clock.now().0,
            released,
        })
    }

    async fn act_on(&self, action: &Action, key: OnceKey) -> Result<(), ControlError> {
        match action {
            Action::Rotate => self.rotate_epoch(Some(key)).await?,
            Action::RevokeEpoch(epoch, _) => self.revoke_epoch(*epoch, Some(key)).await?,
            Action::ArchiveEpoch(epoch) => self.archive_epoch(*epoch, Some(key)).await?,
            Action::DropEpoch(epoch) => self.drop_epoch(*epoch, Some(key)).await?,
            Action::ReleasePayouts => {}
            Action::Trace(..) => {
                let how = "a trace is carried out by `florin operator trace --order FILE`";
                return Err(ControlError::Refused(ORDER_OTHER_COMMAND.with_detail(how)));
            }
        }
        Ok(())
    }

    /// Writes down that it was carried out; for a release, together with the orders to the bank. After a crash between the
    /// books lane and this one the same order is given again: the books know it by its once key, and it is noted here.
    async fn note(
        &self,
        signed: &SignedOrder,
        order: &Order,
        names: &[String],
    ) -> Result<usize, ControlError> {
        let key = once(order.nonce.0);
        let mut needs = Needs { once: vec![key], ..Needs::default() };
        let mut owed = Vec::new();
        if order.action == Action::ReleasePayouts {
            owed = creditors(&self.lanes.identity, self.currency)?;
            owed.retain(|(_, amount)| is_above(*amount, self.release_above));
            owed.truncate(RELEASED_MAX);
            for (party, _) in &owed {
                needs.documents.extend([Enrolment::key_of(*party), Participant::key_of(*party)]);
            }
        }
        let mut released = 0;
        let done = self.lanes.identity.act(&needs, |facts, moment| {
            released = 0usize;
            let mut t = Transition::new(signed.cause(), Seq(0));
            t.once.push(key);
            for (party, amount) in &owed {
                let id = OrderId::new(random(moment.entropy));
                if request(&mut t, facts, *party, *amount, id, moment.now) {
                    released = released.saturating_add(1);
                }
            }
            let executed = Executed { order: signed.clone(), names: names.to_vec(), at: moment.now };
            t.write(DocumentKey::new(EXECUTED, order.nonce.0), cbor::encode(&executed));
            Some(t)
        });
        match done.await? {
            Some(_) => Ok(released),
            None => Err(ControlError::Refused(ORDER_REPLAYED)),
        }
    }

    /// The orders that were carried out.
    ///
    /// # Errors
    /// Those of the store.
    pub fn executed(&self) -> Result<Vec<Executed>, ActError> {
        let all = self.lanes.identity.books.scan(EXECUTED)?;
        Ok(all.iter().filter_map(|(_, d)| cbor::decode_strict(&d.value).ok()).collect())
    }
}
