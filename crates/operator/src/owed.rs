//! What the operator owes to participants: a pay-out that the bank rejected or returned, or one without an account to go
//! to, stays owed in the identity lane until it is ordered again; value that a payee has gathered stands in the books lane
//! until the payee redeems it. Source: bank.md (payout states); VarietyCash §2.6 (conservation of cash), §3 (aggregation).

use std::fmt;

use florin_books::{Account, Facts, Needs, PartyId, Seq, Timestamp, Transition};
use florin_coin::issuer::is_above;
use florin_coin::kinds::{RAIL_NUMBER, STEP_PAYOUT};
use florin_crypto::{digest, random};
use florin_money::{Amount, Currency};
use florin_parties::bank::{Direction, Order, OrderId};
use florin_parties::treasury::{self, Purpose};
use florin_parties::{Enrolment, Participant};
use florin_shell::house::{ActError, House};
use florin_store::CommitError;
use serde::{Deserialize, Serialize};

use crate::lanes::Lanes;
use crate::reconcile::brake::{self, StoppedLine};

/// What is owed to one participant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwedLine {
    /// To whom.
    pub party: String,
    /// How much.
    pub amount: String,
    /// Where it would go, with only its ends shown; none where no account is confirmed.
    pub account: Option<String>,
    /// Whether it has been ordered from the bank now.
    pub ordered: bool,
    /// Whether it is so much that both key holders have to release it.
    pub waits_for_release: bool,
}

/// What one payee has gathered: the payee's to redeem, so the operator orders nothing for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatheredLine {
    /// Who.
    pub party: String,
    /// How much.
    pub amount: String,
}

/// Everything that is owed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwedReport {
    /// One line for each participant.
    pub owed: Vec<OwedLine>,
    /// One line for each payee that has gathered value; it is in none of the lines above.
    pub gathered: Vec<GatheredLine>,
    /// Why nothing is paid out, if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedLine>,
}

impl fmt::Display for OwedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stopped) = &self.stopped {
            writeln!(f, "{stopped}")?;
        }
        let mut lines: Vec<String> = self
            .owed
            .iter()
            .map(|o| {
                let to = o.account.as_deref().unwrap_or("no confirmed account");
                let done = if o.ordered { ", ordered" } else { "" };
                let waits = if o.waits_for_release { ", waits for release" } else { "" };
                format!("{}  {}  {to}{done}{waits}", o.party, o.amount)
            })
            .collect();
        if lines.is_empty() {
            lines.push("nothing is owed".to_owned());
        }
        lines.extend(self.gathered.iter().map(|g| format!("{}  {}  gathered", g.party, g.amount)));
        write!(f, "{}", lines.join("\n"))
    }
}

/// To whom something is owed, and how much.
pub(crate) fn creditors(identity: &House, currency: Currency) -> Result<Vec<(PartyId, Amount)>, ActError> {
    let code = currency.code();
    let found = identity.books.view(move |lane| {
        let owed = lane.balances().filter_map(move |(account, c, balance)| match account {
            Account::Party(id) if c == code && balance < 0 => {
                Some((id, Amount::new(balance.unsigned_abs(), currency)))
            }
            _ => None,
        });
        owed.collect()
    });
    found.map_err(ActError::Commit)
}

/// Lists what is owed; with `pay`, orders it from the bank where there is a confirmed account, the participant is not
/// blocked, and it is no more than `limit`.
///
/// # Errors
/// Those of the books.
pub async fn owed(
    lanes: &Lanes,
    currency: Currency,
    limit: Option<Amount>,
    pay: bool,
) -> Result<OwedReport, ActError> {
    let identity = &lanes.identity;
    let parties = creditors(identity, currency)?;
    let gathered = creditors(&lanes.books, currency)?;
    let gathered = gathered
        .into_iter()
        .map(|(party, amount)| GatheredLine { party: party.to_string(), amount: amount.to_string() });
    let stopped = brake::stopped(identity)?.map(StoppedLine::of);
    let owed = Vec::with_capacity(parties.len());
    let mut report = OwedReport { owed, gathered: gathered.collect(), stopped };
    for (party, amount) in parties {
        let needs = Needs {
            documents: vec![Enrolment::key_of(party), Participant::key_of(party)],
            ..Needs::default()
        };
        let facts = identity.books.load(&needs)?;
        let account = facts
            .document(&Enrolment::key_of(party))
            .and_then(Enrolment::read)
            .and_then(|e| e.confirmed().map(|c| c.account.masked()));
        let waits_for_release = is_above(amount, limit);
        let ordered = pay && !waits_for_release && order(identity, &needs, party, amount).await?;
        let (party, amount) = (party.to_string(), amount.to_string());
        report.owed.push(OwedLine { party, amount, account, ordered, waits_for_release });
    }
    Ok(report)
}

/// Adds the order for what is owed to somebody; false where there is no account to pay to, or the participant is blocked.
pub(crate) fn request(
    t: &mut Transition,
    facts: &Facts,
    party: PartyId,
    amount: Amount,
    id: OrderId,
    now: Timestamp,
) -> bool {
    let participant = facts.document(&Participant::key_of(party)).and_then(Participant::read);
    let enrolment = facts.document(&Enrolment::key_of(party)).and_then(Enrolment::read);
    let account = enrolment
        .filter(|_| participant.is_some_and(|p| p.is_active()))
        .and_then(|e| e.confirmed().map(|c| c.account.clone()));
    let Some(account) = account else { return false };
    let order = Order {
        id,
        direction: Direction::Credit,
        account,
        amount,
        remittance: "FLORIN PAYOUT".into(),
        mandate: None,
    };
    let purpose = Purpose { rail: RAIL_NUMBER, step: STEP_PAYOUT, reference: *id.bytes() };
    treasury::request(t, order, purpose, Some(Account::Party(party)), now).is_ok()
}

/// Orders it. Ordered twice at once, the second finds nothing owed: the books let nobody be owed less than nothing.
async fn order(identity: &House, needs: &Needs, party: PartyId, amount: Amount) -> Result<bool, ActError> {
    let made = identity
        .act(needs, |facts, moment| {
            let id = OrderId::new(random(moment.entropy));
            let mut t = Transition::new(digest("florin/v1/operator/owed", &[id.bytes()]), Seq(0));
            request(&mut t, facts, party, amount, id, moment.now).then_some(t)
        })
        .await;
    match made {
        Ok(record) => Ok(record.is_some()),
        Err(ActError::Commit(CommitError::Rejected(florin_books::Rejected::Balance { .. }))) => Ok(false),
        Err(e) => Err(e),
    }
}
