//! What can be asked at the desk, one call for each request of the API. Source: docs/bank.md.

use florin_books::{DocumentKey, TxId};
use florin_crypto::Digest;
use florin_money::Amount;
use florin_parties::bank::{BankAccount, BankEvent, Direction, Order, OrderId};
use florin_rail::Refusal;
use florin_rail::common::FAULT;
use serde::de::DeserializeOwned;

use crate::access::Access;
use crate::iban::AccountNumber;
use crate::messages::{
    AccountView, InterbankOutcome, OrdersTaken, Statement, StatementLine, TransferTaken, balance_text,
};
use crate::rail::Cursor;
use crate::sandbox::accounts::{Ask, BlockDebits, Close, Open, PayIn, Request, TransferTo, view};
use crate::sandbox::desk::Desk;
use crate::sandbox::documents::{
    CustomerAccount, EntryKind, PlacedOrder, StatementEntry, Told, account_key, entry_key, event_key,
    order_key,
};
use crate::sandbox::draft::{Draft, Sight, find};
use crate::sandbox::interbank::Receive;
use crate::sandbox::needs;
use crate::sandbox::orders::Submit;
use crate::sandbox::refusal::{CURSOR_UNKNOWN, ORDER_UNKNOWN, WRONG_ACCESS};
use crate::sandbox::returns::{Delay, Reject, Return};

/// Statement lines, or pieces of news, in one answer.
pub const PAGE_MAX: usize = 200;

impl Desk {
    /// Opens an account; the same request gets the same account and the same secret again.
    ///
    /// # Errors
    /// `bad-request`, `account-number-taken`, `request-id-reused`.
    pub fn open(
        &self,
        txid: TxId,
        holder: &str,
        number: Option<AccountNumber>,
    ) -> Result<(BankAccount, Access), Refusal> {
        let reply = self.carry_out(&Open { txid, holder: holder.to_owned(), number })?;
        let iban: String = typed(&reply)?;
        let access = Access::of_account(&self.bank.key, txid.bytes(), &iban);
        Ok((iban.parse().map_err(|_| FAULT)?, access))
    }

    /// Pays cash in.
    ///
    /// # Errors
    /// `wrong-access`, `request-id-reused`, `account-closed`, `wrong-currency`, `wrong-amount`.
    pub fn deposit(
        &self,
        account: &BankAccount,
        access: &Access,
        txid: TxId,
        amount: Amount,
    ) -> Result<AccountView, Refusal> {
        self.ask(account, access, txid, PayIn(amount))
    }

    /// Transfers to an account here or at a peer.
    ///
    /// # Errors
    /// `wrong-access`, `request-id-reused`, `account-closed`, `bad-request`, `wrong-currency`, `wrong-amount`,
    /// `bank-unknown`, `account-unknown`, `insufficient-funds`.
    pub fn transfer(
        &self,
        account: &BankAccount,
        access: &Access,
        txid: TxId,
        to: TransferTo,
    ) -> Result<TransferTaken, Refusal> {
        self.ask(account, access, txid, to)
    }

    /// Forbids or allows collecting from the account.
    ///
    /// # Errors
    /// `wrong-access`, `request-id-reused`, `account-closed`.
    pub fn block_debits(
        &self,
        account: &BankAccount,
        access: &Access,
        txid: TxId,
        blocked: bool,
    ) -> Result<AccountView, Refusal> {
        self.ask(account, access, txid, BlockDebits(blocked))
    }

    /// Closes an empty account.
    ///
    /// # Errors
    /// `wrong-access`, `request-id-reused`, `account-closed`, `account-not-empty`.
    pub fn close(&self, account: &BankAccount, access: &Access, txid: TxId) -> Result<AccountView, Refusal> {
        self.ask(account, access, txid, Close)
    }

    fn ask<T: Ask, R: DeserializeOwned>(
        &self,
        account: &BankAccount,
        access: &Access,
        txid: TxId,
        ask: T,
    ) -> Result<R, Refusal> {
        let (account, access) = (account.clone(), access.duplicate());
        typed(&self.carry_out(&Request { txid, account, access, ask })?)
    }

    /// Takes orders up, all of them or none.
    ///
    /// # Errors
    /// `wrong-access`, `too-many-orders`, `order-id-reused`, `wrong-currency`, `wrong-amount`, `bad-request`,
    /// `account-closed`.
    pub fn submit(
        &self,
        account: &BankAccount,
        access: &Access,
        orders: Vec<Order>,
    ) -> Result<OrdersTaken, Refusal> {
        typed(&self.carry_out(&Submit { account: account.clone(), access: access.duplicate(), orders })?)
    }

    /// Does what another bank asks for.
    ///
    /// # Errors
    /// `request-id-reused`, `bad-request`, `wrong-currency`, `wrong-amount`.
    pub fn receive(&self, payment: &Receive) -> Result<InterbankOutcome, Refusal> {
        typed(&self.carry_out(payment)?)
    }

    /// Returns a booked order, for an ISO 20022 reason.
    ///
    /// # Errors
    /// `order-unknown`, `request-id-reused`, `bad-request`, `order-not-booked`.
    pub fn return_order(&self, txid: TxId, order: OrderId, reason: &str) -> Result<(), Refusal> {
        let placed = self.placed(&order)?.ok_or(ORDER_UNKNOWN)?;
        self.carry_out(&Return { txid, placed, reason: reason.to_owned() }).map(drop)
    }

    /// Sets the booking delay of orders from now on.
    ///
    /// # Errors
    /// `request-id-reused`, `bad-request`.
    pub fn set_delay(&self, txid: TxId, delay_ms: u64) -> Result<(), Refusal> {
        self.carry_out(&Delay { txid, delay_ms }).map(drop)
    }

    /// Has the next orders rejected: those that touch an account, or any.
    ///
    /// # Errors
    /// `request-id-reused`, `bad-request`, `too-many-rules`.
    pub fn set_reject(
        &self,
        txid: TxId,
        account: Option<BankAccount>,
        reason: &str,
        times: u32,
    ) -> Result<(), Refusal> {
        self.carry_out(&Reject { txid, account, reason: reason.to_owned(), times }).map(drop)
    }

    /// The account as it is now.
    ///
    /// # Errors
    /// `wrong-access`.
    pub fn account(&self, iban: &BankAccount, access: &Access) -> Result<AccountView, Refusal> {
        let (facts, owed) = self.look(&needs(vec![account_key(iban)], Vec::new()))?;
        let sight = Sight { facts: &facts, owed: &owed, now: self.now() };
        let draft = Draft::new(&self.bank, sight, Digest([0; 32]))?;
        draft.authorise(iban, access)?;
        view(&draft, iban)
    }

    /// Statement entries after number `since`, at most [`PAGE_MAX`].
    ///
    /// # Errors
    /// `wrong-access`, `cursor-unknown`.
    pub fn statement(&self, iban: &BankAccount, access: &Access, since: u64) -> Result<Statement, Refusal> {
        let account = self.opened(iban, access)?;
        let last = page_end(since, account.entries, PAGE_MAX)?;
        let party = account.party();
        let (first, currency) = (since.saturating_add(1), self.bank.currency);
        let all: Vec<StatementEntry> =
            self.list((since..=last).map(|n| entry_key(&party, n)).collect(), since > 0)?;
        let before = all.iter().find(|e| e.number == since).map_or(0, |e| e.balance_after);
        let entries: Vec<&StatementEntry> = all.iter().filter(|e| e.number >= first).collect();
        let after = entries.last().map_or(before, |e| e.balance_after);
        Ok(Statement {
            iban: iban.iban().to_owned(),
            holder: account.holder,
            opening: balance_text(before, currency),
            entries: entries.into_iter().map(|e| line(e, balance_text(e.balance_after, currency))).collect(),
            closing: balance_text(after, currency),
            next: last,
            more: last < account.entries,
        })
    }

    /// News after the cursor, at most `max` and [`PAGE_MAX`].
    ///
    /// # Errors
    /// `wrong-access`, `cursor-unknown`.
    pub fn events(
        &self,
        iban: &BankAccount,
        access: &Access,
        since: Cursor,
        max: usize,
    ) -> Result<(Vec<BankEvent>, Cursor), Refusal> {
        let account = self.opened(iban, access)?;
        let last = page_end(since.0, account.events, max.min(PAGE_MAX))?;
        let party = account.party();
        let keys = (since.0.saturating_add(1)..=last).map(|n| event_key(&party, n)).collect();
        let told: Vec<Told> = self.list(keys, true)?;
        Ok((told.into_iter().map(|t| t.event).collect(), Cursor(last)))
    }

    fn opened(&self, iban: &BankAccount, access: &Access) -> Result<CustomerAccount, Refusal> {
        let key = account_key(iban);
        let facts = self.books().load(&needs(vec![key], Vec::new()));
        let facts = facts.map_err(|e| super::desk::store_refusal(&e))?;
        let account: CustomerAccount = find(&facts, &key)?.ok_or(WRONG_ACCESS)?;
        if account.access == access.digest() { Ok(account) } else { Err(WRONG_ACCESS) }
    }

    /// An order, whoever gave it.
    pub(crate) fn placed(&self, id: &OrderId) -> Result<Option<PlacedOrder>, Refusal> {
        let facts = self.books().load(&needs(vec![order_key(id)], Vec::new()));
        find(&facts.map_err(|e| super::desk::store_refusal(&e))?, &order_key(id))
    }

    /// The documents of consecutive numbers; the first may be missing unless `all`.
    fn list<T>(&self, keys: Vec<DocumentKey>, all: bool) -> Result<Vec<T>, Refusal>
    where
        T: for<'b> minicbor::Decode<'b, ()>,
    {
        let facts = self.books().load(&needs(keys.clone(), Vec::new()));
        let facts = facts.map_err(|e| super::desk::store_refusal(&e))?;
        let mut found = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            match find(&facts, key)? {
                Some(document) => found.push(document),
                None if !all && index == 0 => {}
                None => return Err(FAULT.with_detail("a numbered document is missing")),
            }
        }
        Ok(found)
    }
}

/// The last number of a page that begins after `since`.
fn page_end(since: u64, count: u64, max: usize) -> Result<u64, Refusal> {
    if since > count {
        return Err(CURSOR_UNKNOWN);
    }
    Ok(count.min(since.saturating_add(u64::try_from(max).unwrap_or(u64::MAX))))
}

fn line(entry: &StatementEntry, balance: String) -> StatementLine {
    let kind = match entry.kind {
        EntryKind::Deposit => "deposit",
        EntryKind::Transfer => "transfer",
        EntryKind::DirectDebit => "direct-debit",
        EntryKind::Return => "return",
    };
    let direction = match entry.direction {
        Direction::Credit => "credit",
        Direction::Debit => "debit",
    };
    StatementLine {
        number: entry.number,
        at_unix_ms: entry.at.0,
        kind: kind.to_owned(),
        direction: direction.to_owned(),
        amount: entry.amount.to_string(),
        balance,
        other: entry.other.as_ref().map(|a| a.iban().to_owned()),
        other_name: entry.other_name.clone(),
        remittance: entry.remittance.clone(),
        order: entry.order.map(|o| o.to_string()),
        reason: entry.reason.clone(),
    }
}

/// A reply of the bank's own books.
fn typed<T: DeserializeOwned>(reply: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(reply).map_err(|error| FAULT.with_detail(error.to_string()))
}
