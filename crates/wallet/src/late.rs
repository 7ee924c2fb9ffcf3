//! Coins that came too late: nobody exchanges them any more. They stay in the purse, and are handed over as text for the
//! operator to pay by hand. Source: docs/rails/coin.md, "Epochs"; ADR 0028.

use std::fmt;

use florin_money::Amount;
use serde::Serialize;

use crate::purse::{Owned, coin_set};
use crate::refusal::WalletError;
use crate::report::text;
use crate::wallet::Wallet;

/// Late coins of one currency.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LateCoins {
    /// What they are worth.
    #[serde(serialize_with = "text")]
    pub worth: Amount,
    /// How many.
    pub coins: usize,
    /// The coins themselves: whoever has this text has the money.
    pub text: String,
}

/// All late coins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LateReport {
    /// At most so many coins in each text as the operator takes at once.
    pub late: Vec<LateCoins>,
}

/// Coins in one text.
const COINS_MAX: usize = 256;

impl fmt::Display for LateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.late.is_empty() {
            return write!(f, "no coin is late");
        }
        let lines: Vec<String> =
            self.late.iter().map(|l| format!("{} in {} coins:\n{}", l.worth, l.coins, l.text)).collect();
        write!(f, "{}", lines.join("\n"))
    }
}

impl Wallet {
    /// Coins that nobody exchanges any more, as far as the key list says.
    ///
    /// # Errors
    /// Those of the books.
    pub fn late_coins(&self) -> Result<LateReport, WalletError> {
        let late: Vec<Owned> =
            self.coins()?.into_iter().filter(|o| !o.reserved && self.is_lapsed(o)).collect();
        let mut report = LateReport { late: Vec::new() };
        for terms in &self.keys().currencies {
            let of: Vec<Owned> =
                late.iter().filter(|o| o.coin.worth.currency() == terms.currency).cloned().collect();
            for some in of.chunks(COINS_MAX) {
                let set = coin_set(some, terms.currency)?;
                report.late.push(LateCoins { worth: set.total, coins: some.len(), text: set.to_text() });
            }
        }
        Ok(report)
    }
}
