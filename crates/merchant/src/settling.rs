//! What the settings say of settling: from how much on gathered value is redeemed by itself, and whether the gate may
//! settle as its rules say. Source: VarietyCash §3.2 (V-DESC), §3 (Enrollment); docs/merchant.md.

use florin_money::Amount;
use florin_parties::KeyList;
use serde::{Deserialize, Serialize};

use crate::desk::{Desk, DeskError};
use crate::program::{GateConfig, GateError};
use crate::rules::Rules;
use crate::settle::Settle;

/// What is paid out by itself.
///
/// Shape: the TOML table `[payout]`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayoutSettings {
    /// Gathered value is redeemed when it is at least this, such as `50.00` or `50.00 FLO`; never by itself without it.
    pub aggregate_at: Option<String>,
}

/// From how much on gathered value is redeemed by itself.
///
/// # Errors
/// `AggregateAt`.
pub fn aggregate_at(config: &GateConfig, list: &KeyList) -> Result<Option<Amount>, GateError> {
    let Some(text) = &config.payout.aggregate_at else { return Ok(None) };
    let known: Vec<_> = list.currencies.iter().map(|terms| terms.currency).collect();
    let whole = match known.first().filter(|_| !text.trim().contains(' ')) {
        Some(currency) => format!("{} {currency}", text.trim()),
        None => text.trim().to_owned(),
    };
    let amount = Amount::parse(&whole, &known).ok().filter(|amount| !amount.is_zero());
    amount.map(Some).ok_or_else(|| GateError::AggregateAt(text.clone()))
}

/// A gate that could not settle as its rules say does not begin to take payments.
pub(crate) fn check_enrolment(desk: &Desk, rules: &Rules) -> Result<(), GateError> {
    let money = rules.all().find_map(|rule| {
        let settle = rule.settle.filter(|settle| *settle != Settle::Refresh)?;
        Some((rule.label(), settle))
    });
    let Some((what, settle)) = money else { return Ok(()) };
    let enrolled = desk.redeemer().map_err(DeskError::Act)?.is_some_and(|redeemer| redeemer.enrolled);
    if enrolled {
        Ok(())
    } else {
        Err(GateError::EnrolmentNeeded { what: format!("the rule {what}"), settle })
    }
}
