//! What reports have in common: amounts and times as text. Source: docs/wallet.md, "--json".

use data_encoding::BASE64URL_NOPAD;
use florin_money::Amount;
pub(crate) use florin_shell::utc::utc;
use serde::{Serialize, Serializer};

use crate::documents::LostCoin;

/// A coin that the operator did not take.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Lost {
    /// What it was worth.
    #[serde(serialize_with = "text")]
    pub worth: Amount,
    /// Why, as a slug of docs/problems.md.
    pub cause: &'static str,
}

impl Lost {
    pub(crate) fn of(coins: &[LostCoin]) -> Vec<Self> {
        coins.iter().map(|coin| Self { worth: coin.worth, cause: coin.cause.slug() }).collect()
    }
}

/// As people read it.
pub(crate) fn text<T: ToString, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&value.to_string())
}

/// As people read it, or null.
pub(crate) fn optional_text<T: ToString, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.serialize_some(&value.to_string()),
        None => to.serialize_none(),
    }
}

/// Signed bytes as text.
pub(crate) fn base64url<S: Serializer>(value: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(bytes) => to.serialize_some(&BASE64URL_NOPAD.encode(bytes)),
        None => to.serialize_none(),
    }
}
