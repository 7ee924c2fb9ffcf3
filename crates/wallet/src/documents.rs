//! What the wallet's books hold besides coins: settings, certificate, enrolment, what is open, and what was.
//! Source: books.md, "The parts of the books" (documents).

use florin_books::{DocumentKey, DocumentKind, ExchangeId, HoldingId, PartyId, Timestamp, TxId};
use florin_coin::{HolderChoice, TidPy};
use florin_crypto::{ByteArray, Bytes, Digest, Envelope, cbor};
use florin_money::{Amount, CoinList, CurrencyCode};
use minicbor::{Decode, Encode};

mod ended;

pub(crate) use ended::{End, Item, Kind, LostCoin, Proof};

/// One document: what the wallet is pinned to and what its owner set.
pub(crate) const SETTINGS: DocumentKind = DocumentKind(0x0601);
/// One document: the certificate.
pub(crate) const CERTIFICATE: DocumentKind = DocumentKind(0x0602);
/// One document: how far the enrolment is.
pub(crate) const ENROLMENT: DocumentKind = DocumentKind(0x0603);
/// A purchase under way.
pub(crate) const PURCHASE: DocumentKind = DocumentKind(0x0604);
/// An invoice of one's own that is not paid yet.
pub(crate) const INVOICE: DocumentKind = DocumentKind(0x0605);
/// Something that has ended.
pub(crate) const HISTORY: DocumentKind = DocumentKind(0x0606);
/// What was spent on one day in one currency.
pub(crate) const SPENT: DocumentKind = DocumentKind(0x0607);

/// Something that has ended and of which nobody has been told yet, by its id in the history.
pub(crate) const UNTOLD: DocumentKind = DocumentKind(0x0608);

/// One document: how many one-time keys for refunds are used.
pub(crate) const REFUND_KEYS: DocumentKind = DocumentKind(0x0619);
/// Coins that were sent and that nobody is known to have claimed.
pub(crate) const SENT: DocumentKind = DocumentKind(0x0620);

/// The name of a document of which there is one.
pub(crate) const fn single(kind: DocumentKind) -> DocumentKey {
    DocumentKey::new(kind, [0; 16])
}

/// A limit that the owner set; none means no limit.
///
/// Shape: `[currency, per payment, per day]`. Units: minor units.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Limit {
    #[n(0)]
    pub currency: CurrencyCode,
    #[n(1)]
    pub per_payment: Option<u64>,
    #[n(2)]
    pub per_day: Option<u64>,
}

/// Shape: `[url, operator, signed key list, CA file, limits]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Settings {
    #[n(0)]
    pub url: String,
    #[n(1)]
    pub operator: PartyId,
    #[n(2)]
    pub keys: Bytes,
    #[n(3)]
    pub ca_file: Option<String>,
    #[n(4)]
    pub limits: Vec<Limit>,
}

/// Shape: `[certificate, name]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct OwnCertificate {
    #[n(0)]
    pub certificate: Bytes,
    #[n(1)]
    pub name: String,
}

/// How far an enrolment is.
///
/// Shape: `[account, roles, expires, tries, confirmed account, confirmed roles]`; the first four describe the code that
/// is waited for, if any.
#[derive(Clone, PartialEq, Eq, Default, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct OwnEnrolment {
    #[n(0)]
    pub awaits: Option<Awaits>,
    #[n(1)]
    pub confirmed: Option<ConfirmedAccount>,
}

/// Shape: `[account, roles, expires, tries left]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Awaits {
    #[n(0)]
    pub account: String,
    #[n(1)]
    pub roles: u8,
    #[n(2)]
    pub expires: Timestamp,
    #[n(3)]
    pub tries_left: u8,
}

/// Shape: `[account, roles]`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct ConfirmedAccount {
    #[n(0)]
    pub account: String,
    #[n(1)]
    pub roles: u8,
}

/// A purchase under way.
///
/// Shape: `[id, amount, list, since, accepted, holder]`; `accepted` is the issuer's id of it and what collects the coins,
/// the holder is who can ask for them again.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct OpenPurchase {
    #[n(0)]
    pub id: ByteArray<16>,
    #[n(1)]
    pub amount: Amount,
    #[n(2)]
    pub list: CoinList,
    #[n(3)]
    pub since: Timestamp,
    #[n(4)]
    pub accepted: Option<Accepted>,
    #[n(5)]
    pub holder: HolderChoice,
}

/// Shape: `[purchase id, secret]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Accepted {
    #[n(0)]
    pub id: TxId,
    #[n(1)]
    pub secret: Bytes,
}

impl OpenPurchase {
    pub(crate) const fn key(&self) -> DocumentKey {
        DocumentKey::new(PURCHASE, self.id.0)
    }
}

/// An invoice of one's own.
///
/// Shape: `[TID_PY, amount, goods, salt, since, deadline, invoice, open]`; `open` once its boxes are there.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct OwnInvoice {
    #[n(0)]
    pub tid: TidPy,
    #[n(1)]
    pub amount: Amount,
    #[n(2)]
    pub goods: String,
    #[n(3)]
    pub salt: ByteArray<16>,
    #[n(4)]
    pub since: Timestamp,
    #[n(5)]
    pub deadline: Timestamp,
    #[n(6)]
    pub invoice: Bytes,
    #[n(7)]
    pub open: bool,
}

impl OwnInvoice {
    pub(crate) const fn key(&self) -> DocumentKey {
        DocumentKey::new(INVOICE, *self.tid.bytes())
    }
}

/// A payment under way, from this purse: what its exchange remembers.
///
/// Shape: `[amount, day, Com, payee's certificate, what, paid]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Payment {
    #[n(0)]
    pub amount: Amount,
    #[n(1)]
    pub day: u64,
    #[n(2)]
    pub com: florin_coin::Com,
    #[n(3)]
    pub certificate: Bytes,
    #[n(4)]
    pub target: Target,
    /// The operator has said that it is paid; only the page has not come.
    #[n(5)]
    pub paid: bool,
}

/// What is paid.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub(crate) enum Target {
    /// A web page: the request that pays, which is repeated.
    #[n(0)]
    Page(#[n(0)] WebRequest),
    /// An invoice: the box where the answer comes.
    #[n(1)]
    Invoice(#[n(0)] TidPy),
    /// A payload that was handed out: whoever asked for it presents it, and the operator says what became of it.
    #[n(2)]
    Payload(#[n(0)] HandedOut),
}

/// What a payload that was handed out pays for.
///
/// Shape: `[method, url]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct HandedOut {
    #[n(0)]
    pub method: String,
    #[n(1)]
    pub url: String,
}

/// A request for a page.
///
/// Shape: `[method, url, [[name, value], ...], data]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct WebRequest {
    #[n(0)]
    pub method: String,
    #[n(1)]
    pub url: String,
    #[n(2)]
    pub headers: Vec<(String, Bytes)>,
    #[n(3)]
    pub data: Bytes,
}

/// Coins that were sent: they stay set aside, for the exchange of the same name, until they are taken back.
///
/// Shape: `[id, amount, memo, to, since, text, coins, gone, taking]`; `gone` are those found claimed, `taking` once a
/// take-back has begun.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct OpenSent {
    #[n(0)]
    pub id: ByteArray<16>,
    #[n(1)]
    pub amount: Amount,
    #[n(2)]
    pub memo: String,
    #[n(3)]
    pub to: String,
    #[n(4)]
    pub since: Timestamp,
    #[n(5)]
    pub text: String,
    #[n(6)]
    pub coins: Vec<HoldingId>,
    #[n(7)]
    pub gone: Vec<LostCoin>,
    #[n(8)]
    pub taking: bool,
}

impl OpenSent {
    pub(crate) const fn key(&self) -> DocumentKey {
        DocumentKey::new(SENT, self.id.0)
    }

    /// What its coins are set aside for.
    pub(crate) const fn exchange(&self) -> ExchangeId {
        ExchangeId::new(self.id.0)
    }
}

/// Coins of others that are being claimed.
///
/// Shape: `[id, memo, coins]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Claim {
    #[n(0)]
    pub id: ByteArray<16>,
    #[n(1)]
    pub memo: String,
    #[n(2)]
    pub coins: florin_coin::CoinSet,
}

/// What an exchange remembers.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub(crate) enum Note {
    #[n(0)]
    Register,
    #[n(1)]
    Enrol {
        #[n(0)]
        account: String,
        #[n(1)]
        roles: u8,
        #[n(2)]
        before: Option<ConfirmedAccount>,
    },
    #[n(2)]
    Confirm {
        #[n(0)]
        enrolment: OwnEnrolment,
    },
    #[n(3)]
    WRequest3(#[n(0)] OpenPurchase),
    #[n(4)]
    Collect(#[n(0)] OpenPurchase),
    #[n(5)]
    Change,
    #[n(6)]
    Redeem {
        #[n(0)]
        amount: Amount,
        #[n(1)]
        account: String,
    },
    #[n(7)]
    Pay(#[n(0)] Payment),
    #[n(8)]
    OpenBox(#[n(0)] OwnInvoice),
    #[n(9)]
    Validate(#[n(0)] Receiving),
    /// Something whose answer says nothing more: an acknowledgement, an answer put into a box.
    #[n(10)]
    Deliver,
    /// All coins of a holder again, in place of those that are set aside.
    #[n(23)]
    Refund {
        #[n(0)]
        holder: HolderChoice,
    },
    #[n(20)]
    Refresh,
    #[n(21)]
    Claim(#[n(0)] Claim),
    #[n(22)]
    TakeBack(#[n(0)] OpenSent),
    /// The request to validate was refused: what became of it.
    #[n(24)]
    GiveUp(#[n(0)] Receiving),
}

/// Coins for an invoice of one's own, presented to the operator.
///
/// Shape: `[invoice, ID_PA, H(Com), EncC1, refused]`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Receiving {
    #[n(0)]
    pub(crate) invoice: OwnInvoice,
    #[n(1)]
    pub(crate) payer: PartyId,
    #[n(2)]
    pub(crate) com: Digest,
    #[n(3)]
    pub(crate) enc_c1: Envelope,
    /// The slug with which the operator would not judge them.
    #[n(4)]
    pub(crate) refused: Option<String>,
}

impl Note {
    /// The number in [`florin_shell::exchange::Exchange::kind`].
    pub(crate) const fn kind(&self) -> u16 {
        match self {
            Self::Register => 1,
            Self::Enrol { .. } => 2,
            Self::Confirm { .. } => 3,
            Self::WRequest3(_) => 4,
            Self::Collect(_) => 5,
            Self::Change => 6,
            Self::Redeem { .. } => 7,
            Self::Pay(_) => 8,
            Self::OpenBox(_) => 9,
            Self::Validate(_) => 10,
            Self::Deliver => 11,
            Self::Refund { .. } => 23,
            Self::Refresh => 20,
            Self::Claim(_) => 21,
            Self::TakeBack(_) => 22,
            Self::GiveUp(_) => 24,
        }
    }

    pub(crate) fn of(exchange: &florin_shell::exchange::Exchange) -> Option<Self> {
        cbor::decode_strict(&exchange.note).ok()
    }

    /// The coins that are being received, where it is about that.
    pub(crate) fn into_receiving(self) -> Option<Receiving> {
        match self {
            Self::Validate(receiving) | Self::GiveUp(receiving) => Some(receiving),
            _ => None,
        }
    }

    /// What people call it.
    pub(crate) const fn title(&self) -> &'static str {
        match self {
            Self::Register => "the registration",
            Self::Enrol { .. } => "the enrolment",
            Self::Confirm { .. } => "the confirmation of the code",
            Self::WRequest3(_) => "the purchase",
            Self::Collect(_) => "the collection of bought coins",
            Self::Change => "the change of coins",
            Self::Redeem { .. } => "the redemption",
            Self::Pay(_) => "the payment",
            Self::OpenBox(_) => "the invoice",
            Self::Validate(_) | Self::GiveUp(_) => "the receipt of coins",
            Self::Deliver => "an acknowledgement",
            Self::Refund { .. } => "the refund",
            Self::Refresh => "the refresh of coins",
            Self::Claim(_) => "the receipt of sent coins",
            Self::TakeBack(_) => "the take-back of sent coins",
        }
    }
}

/// The exchange that follows another one: the same name every time.
pub(crate) fn following(exchange: ExchangeId, what: &str) -> ExchangeId {
    ExchangeId::new(
        florin_crypto::digest("florin/v1/wallet/following", &[exchange.bytes(), what.as_bytes()]).short(),
    )
}
