//! Whether the bank's books agree with each other: the audit of the journal, and what a bank's books must hold besides.
//! Source: books.md, "The rules every commit obeys".

use std::collections::BTreeMap;

use florin_books::{Account, AuditReport, PartyId};
use florin_store::StoreError;

use crate::sandbox::desk::Desk;
use crate::sandbox::documents::{
    ACCOUNT, CustomerAccount, ENTRY, ORDER, OrderState, PlacedOrder, StatementEntry, entry_key,
};

/// Something in the bank's books that does not agree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Imbalance {
    /// The customers' money is not what the bank has, in cash and with other banks.
    #[error("customers own {customers}, the bank has {assets} (minor units)")]
    Assets {
        /// What is owed to customers, orders under way included.
        customers: i128,
        /// Cash and clearing.
        assets: i128,
    },
    /// A balance belongs to an account that has no document, or to none that a bank has.
    #[error("{0:?} has a balance and no owner")]
    Ownerless(Account),
    /// A customer is owed money and owes money at once: what came in did not settle the debt.
    #[error("{0} is owed money and owes money")]
    Unsettled(PartyId),
    /// A statement does not end with the account's balance.
    #[error("{iban}: the statement ends with {statement}, the books say {books} (minor units)")]
    Statement {
        /// Which.
        iban: String,
        /// The last line.
        statement: i128,
        /// The balance.
        books: i128,
    },
    /// A statement line does not follow from the one before.
    #[error("{iban}: line {number} of the statement is missing or does not add up")]
    Line {
        /// Which.
        iban: String,
        /// Where.
        number: u64,
    },
    /// What is set aside is not what waits.
    #[error("set aside {held}, in flight {in_flight}, waiting orders {waiting} (minor units)")]
    InFlight {
        /// According to the accounts.
        held: i128,
        /// According to the balances.
        in_flight: i128,
        /// According to the orders.
        waiting: i128,
    },
    /// A document cannot be read.
    #[error("a document cannot be read")]
    Unreadable,
}

impl Desk {
    /// Checks everything; both lists are empty in sound books. Orders must not be taken meanwhile.
    ///
    /// # Errors
    /// Those of the store.
    pub fn audit(&self) -> Result<(AuditReport, Vec<Imbalance>), StoreError> {
        let report = self.books().audit()?;
        let balances: Vec<(Account, i64)> = self
            .books()
            .view(|lane| lane.balances().map(|(account, _, minor)| (account, minor)).collect())
            .map_err(|_| StoreError::Unknown)?;
        let mut findings = Vec::new();
        let accounts: Vec<CustomerAccount> = self.documents(ACCOUNT, &mut findings)?;
        let orders: Vec<PlacedOrder> = self.documents(ORDER, &mut findings)?;
        let entries = self.entries(&mut findings)?;
        let owed = assets_and_owners(&balances, &accounts, &mut findings);
        for account in &accounts {
            let books = owed.get(&account.party()).copied().unwrap_or(0).saturating_add(account.held.into());
            statement(account, books, &entries, &mut findings);
        }
        let held = accounts.iter().map(|a| i128::from(a.held)).fold(0, i128::saturating_add);
        let in_flight = balances.iter().filter(|(a, _)| *a == Account::InFlight);
        let in_flight = in_flight.map(|(_, b)| i128::from(*b).saturating_neg()).fold(0, i128::saturating_add);
        let waiting = orders.iter().filter(|o| o.order.direction == florin_parties::bank::Direction::Credit);
        let waiting = waiting.filter(|o| matches!(o.state, OrderState::Accepted(_) | OrderState::Sent));
        let waiting = waiting.map(|o| i128::from(o.order.amount.minor())).fold(0, i128::saturating_add);
        if held != in_flight || held != waiting {
            findings.push(Imbalance::InFlight { held, in_flight, waiting });
        }
        Ok((report, findings))
    }

    fn documents<T: for<'b> minicbor::Decode<'b, ()>>(
        &self,
        kind: florin_books::DocumentKind,
        findings: &mut Vec<Imbalance>,
    ) -> Result<Vec<T>, StoreError> {
        let mut read = Vec::new();
        for (_, document) in self.books().scan(kind)? {
            match minicbor::decode(&document.value) {
                Ok(value) => read.push(value),
                Err(_) => findings.push(Imbalance::Unreadable),
            }
        }
        Ok(read)
    }

    fn entries(
        &self,
        findings: &mut Vec<Imbalance>,
    ) -> Result<BTreeMap<[u8; 16], StatementEntry>, StoreError> {
        let mut read = BTreeMap::new();
        for (key, document) in self.books().scan(ENTRY)? {
            match minicbor::decode(&document.value) {
                Ok(entry) => drop(read.insert(key.id, entry)),
                Err(_) => findings.push(Imbalance::Unreadable),
            }
        }
        Ok(read)
    }
}

/// Compares what customers own with what the bank has; gives what each customer is owed.
fn assets_and_owners(
    balances: &[(Account, i64)],
    accounts: &[CustomerAccount],
    findings: &mut Vec<Imbalance>,
) -> BTreeMap<PartyId, i128> {
    let mut owed: BTreeMap<PartyId, i128> = accounts.iter().map(|a| (a.party(), 0)).collect();
    let (mut customers, mut assets) = (0_i128, 0_i128);
    for (account, balance) in balances {
        let balance = i128::from(*balance);
        match account {
            Account::Bank(_) => assets = assets.saturating_add(balance),
            Account::InFlight => customers = customers.saturating_sub(balance),
            Account::Party(party) | Account::Due(party) => {
                customers = customers.saturating_sub(balance);
                match owed.get_mut(party) {
                    Some(sum) => *sum = sum.saturating_sub(balance),
                    None => findings.push(Imbalance::Ownerless(*account)),
                }
            }
            other => findings.push(Imbalance::Ownerless(*other)),
        }
    }
    let owes = balances.iter().filter_map(|(account, _)| match account {
        Account::Due(party) => Some(*party),
        _ => None,
    });
    let both = owes.filter(|party| balances.iter().any(|(a, _)| *a == Account::Party(*party)));
    findings.extend(both.map(Imbalance::Unsettled));
    if customers != assets {
        findings.push(Imbalance::Assets { customers, assets });
    }
    owed
}

/// Follows one statement from its first line to its last.
fn statement(
    account: &CustomerAccount,
    books: i128,
    entries: &BTreeMap<[u8; 16], StatementEntry>,
    findings: &mut Vec<Imbalance>,
) {
    let iban = account.iban.iban().to_owned();
    let mut balance = 0_i128;
    for number in 1..=account.entries {
        let Some(entry) = entries.get(&entry_key(&account.party(), number).id) else {
            return findings.push(Imbalance::Line { iban, number });
        };
        let amount = i128::from(entry.amount.minor());
        balance = match entry.direction {
            florin_parties::bank::Direction::Credit => balance.saturating_add(amount),
            florin_parties::bank::Direction::Debit => balance.saturating_sub(amount),
        };
        if entry.number != number || i128::from(entry.balance_after) != balance {
            return findings.push(Imbalance::Line { iban, number });
        }
    }
    if balance != books {
        findings.push(Imbalance::Statement { iban, statement: balance, books });
    }
}
