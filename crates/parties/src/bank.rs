//! What the operator says to a bank and hears from it, as plain data; the transport is in `florin-bank`.
//! Source: bank.md, "The `BankRail` design".

use std::fmt;
use std::str::FromStr;

use florin_books::{Id, IdKind, Timestamp};
use florin_money::Amount;
use iban::IbanLike as _;
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Kind of [`OrderId`].
pub enum OrderKind {}
impl IdKind for OrderKind {
    const PREFIX: &'static str = "order";
}
/// A bank order; it is the EndToEndId, so an order is carried out once.
pub type OrderId = Id<OrderKind>;

/// A bank account: an IBAN, with its checksum checked.
///
/// Shape: text `payto://iban/<IBAN>` (RFC 8905); parsed from that form, with or without a BIC segment and query, or
/// from a bare IBAN with or without spaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BankAccount {
    iban: String,
}

/// Why a text is not a bank account, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BankAccountError {
    /// Longer than any payto URI that a bank would give.
    #[error("too long for a bank account")]
    TooLong,
    /// A payto URI of another kind than `iban`.
    #[error("only payto://iban/ is known")]
    OtherKind,
    /// Not an IBAN, or its check digits are wrong.
    #[error("not a valid IBAN")]
    Iban,
}

impl BankAccount {
    /// The IBAN without spaces.
    #[must_use]
    pub fn iban(&self) -> &str {
        &self.iban
    }

    /// Country, check digits and the last four, for people who know the account.
    #[must_use]
    pub fn masked(&self) -> String {
        let end = self.iban.len();
        let tail = self.iban.get(end.saturating_sub(4)..).unwrap_or_default();
        let head = self.iban.get(..4).unwrap_or_default();
        format!("{head}…{tail}")
    }
}

impl fmt::Display for BankAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "payto://iban/{}", self.iban)
    }
}

impl FromStr for BankAccount {
    type Err = BankAccountError;

    fn from_str(text: &str) -> Result<Self, BankAccountError> {
        if text.len() > 512 {
            return Err(BankAccountError::TooLong);
        }
        let iban = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("payto") => {
                let path = rest.split(['?', '#']).next().unwrap_or_default();
                let (kind, account) = path.split_once('/').ok_or(BankAccountError::OtherKind)?;
                if !kind.eq_ignore_ascii_case("iban") {
                    return Err(BankAccountError::OtherKind);
                }
                account.rsplit('/').next().unwrap_or_default()
            }
            Some(_) => return Err(BankAccountError::OtherKind),
            None => text,
        };
        let parsed: iban::Iban = iban.trim().parse().map_err(|_| BankAccountError::Iban)?;
        Ok(Self { iban: parsed.electronic_str().to_owned() })
    }
}

impl<C> Encode<C> for BankAccount {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.iban)?.ok()
    }
}
impl<'b, C> Decode<'b, C> for BankAccount {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let text = d.str()?;
        let account: Self = text.parse().map_err(|_| minicbor::decode::Error::message("not an IBAN"))?;
        if account.iban == text { Ok(account) } else { Err(minicbor::decode::Error::message("not an IBAN")) }
    }
}

/// Which way the money goes, seen from the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Direction {
    /// The operator pays the account.
    #[n(0)]
    Credit,
    /// The operator collects from the account, under a mandate.
    #[n(1)]
    Debit,
}

/// A holder's authorisation to collect from the account.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Mandate {
    /// Its name, at most 35 characters.
    #[n(0)]
    pub id: String,
    /// When it was signed.
    #[n(1)]
    pub signed_at: Timestamp,
}

/// One bank order.
///
/// Units: amounts in the minor units of their currency. `remittance` has at most 140 characters.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Order {
    /// EndToEndId.
    #[n(0)]
    pub id: OrderId,
    /// Which way.
    #[n(1)]
    pub direction: Direction,
    /// The other side's account.
    #[n(2)]
    pub account: BankAccount,
    /// How much.
    #[n(3)]
    pub amount: Amount,
    /// What the holder reads on the statement.
    #[n(4)]
    pub remittance: String,
    /// For a debit.
    #[n(5)]
    pub mandate: Option<Mandate>,
}

/// What a bank tells; each event once, under its own id.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct BankEvent {
    /// The bank's reference of the entry or status, hashed to 16 bytes: what makes it count once.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// When it was booked.
    #[n(1)]
    pub at: Timestamp,
    /// What happened.
    #[n(2)]
    pub what: BankNews,
}

/// What happened at the bank.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum BankNews {
    /// Somebody paid into the operator's account.
    #[n(0)]
    Credited {
        /// How much.
        #[n(0)]
        amount: Amount,
        /// From which account.
        #[n(1)]
        payer: BankAccount,
        /// What the payer wrote.
        #[n(2)]
        remittance: String,
    },
    /// An order was taken up.
    #[n(1)]
    Accepted(#[n(0)] OrderId),
    /// An order was booked: the money has moved.
    #[n(2)]
    Booked(#[n(0)] OrderId),
    /// An order was refused before it was booked; the reason is an ISO 20022 code such as AM04.
    #[n(3)]
    Rejected(#[n(0)] OrderId, #[n(1)] String),
    /// A booked order came back; the reason is an ISO 20022 code such as MD06.
    #[n(4)]
    Returned(#[n(0)] OrderId, #[n(1)] String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_crypto::cbor;

    const IBAN: &str = "DE89370400440532013000";

    #[test]
    fn accounts_are_read_from_every_usual_form() {
        for text in [
            IBAN,
            "DE89 3704 0044 0532 0130 00",
            " DE89370400440532013000 ",
            "payto://iban/DE89370400440532013000",
            "PAYTO://IBAN/DE89370400440532013000",
            "payto://iban/COBADEFFXXX/DE89370400440532013000",
            "payto://iban/DE89370400440532013000?receiver-name=A&amount=EUR:1",
            "payto://iban/DE89370400440532013000#x",
        ] {
            let account: BankAccount = text.parse().unwrap();
            assert_eq!(account.iban(), IBAN, "{text}");
            assert_eq!(account.to_string().parse(), Ok(account), "{text}");
        }
    }

    #[test]
    fn what_is_no_account_is_refused() {
        for (text, why) in [
            (&*"x".repeat(513), BankAccountError::TooLong),
            ("https://iban/DE89370400440532013000", BankAccountError::OtherKind),
            ("payto://iban", BankAccountError::OtherKind),
            ("payto://ach/122000661/1234", BankAccountError::OtherKind),
            ("payto://iban/", BankAccountError::Iban),
            ("", BankAccountError::Iban),
            ("DE88370400440532013000", BankAccountError::Iban),
            ("DE8937040044053201300", BankAccountError::Iban),
            ("hello", BankAccountError::Iban),
        ] {
            assert_eq!(text.parse::<BankAccount>(), Err(why), "{text}");
        }
    }

    #[test]
    fn only_the_one_form_is_decoded() {
        let account: BankAccount = IBAN.parse().unwrap();
        let bytes = cbor::encode(&account);
        assert_eq!(cbor::decode_strict::<BankAccount>(&bytes), Ok(account));
        for text in ["DE89 3704 0044 0532 0130 00", "de89370400440532013000", "DE88370400440532013000"] {
            assert!(cbor::decode_strict::<BankAccount>(&cbor::encode(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn people_see_only_the_ends() {
        let account: BankAccount = IBAN.parse().unwrap();
        assert_eq!(account.masked(), "DE89…3000");
    }

    #[test]
    fn orders_and_events_are_read_back() {
        let account: BankAccount = IBAN.parse().unwrap();
        let id = OrderId::new([1; 16]);
        let amount: Amount = "1.00 FLO".parse().unwrap();
        let mandate = Some(Mandate { id: "M".into(), signed_at: Timestamp(1) });
        for (direction, mandate) in [(Direction::Credit, None), (Direction::Debit, mandate)] {
            let order =
                Order { id, direction, account: account.clone(), amount, remittance: "text".into(), mandate };
            assert_eq!(cbor::decode_strict::<Order>(&cbor::encode(&order)), Ok(order));
        }
        for what in [
            BankNews::Credited { amount, payer: account, remittance: "text".into() },
            BankNews::Accepted(id),
            BankNews::Booked(id),
            BankNews::Rejected(id, "AM04".into()),
            BankNews::Returned(id, "MD06".into()),
        ] {
            let event = BankEvent { id: [2; 16], at: Timestamp(3), what };
            assert_eq!(cbor::decode_strict::<BankEvent>(&cbor::encode(&event)), Ok(event));
        }
    }
}
