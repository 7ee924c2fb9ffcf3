//! A transition in the making: the accounts as they will be, with every posting, statement line and piece of news that
//! belongs together. Source: books.md, "Deciding".

use std::collections::{BTreeMap, BTreeSet};

use florin_books::{Account, DocumentKey, Effect, EffectId, Facts, PartyId, Timestamp, Transition};
use florin_crypto::{Digest, cbor, digest};
use florin_money::Amount;
use florin_parties::bank::{BankAccount, BankEvent, BankNews, Direction, OrderId};
use florin_rail::Refusal;
use florin_rail::common::FAULT;

use crate::access::Access;
use crate::sandbox::Bank;
use crate::sandbox::documents::{
    ACCOUNT, CustomerAccount, EntryKind, OrderState, PlacedOrder, RejectRule, Settings, StatementEntry, Told,
    account_key, entry_key, event_key, order_key, party_of, settings_key,
};
use crate::sandbox::refusal::WRONG_ACCESS;

/// What a decision may look at.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// The documents asked for.
    pub facts: &'a Facts,
    /// What the bank owes each of the customers asked for; below zero the customer owes the bank.
    pub owed: &'a BTreeMap<PartyId, i64>,
    /// The clock.
    pub now: Timestamp,
}

/// A statement line before it has a number.
pub(crate) struct Line {
    pub(crate) kind: EntryKind,
    pub(crate) direction: Direction,
    pub(crate) amount: Amount,
    pub(crate) other: Option<BankAccount>,
    pub(crate) other_name: String,
    pub(crate) remittance: String,
    pub(crate) order: Option<OrderId>,
    pub(crate) reason: Option<String>,
}

/// A transition in the making.
pub(crate) struct Draft<'a> {
    pub(crate) bank: &'a Bank,
    pub(crate) sight: Sight<'a>,
    pub(crate) t: Transition,
    accounts: BTreeMap<PartyId, CustomerAccount>,
    touched: BTreeSet<PartyId>,
    owed: BTreeMap<PartyId, i64>,
    settings: Settings,
    settings_touched: bool,
}

impl<'a> Draft<'a> {
    /// Begins with what was read.
    pub(crate) fn new(bank: &'a Bank, sight: Sight<'a>, cause: Digest) -> Result<Self, Refusal> {
        let mut accounts = BTreeMap::new();
        for (key, document) in &sight.facts.documents {
            if key.kind == ACCOUNT {
                let account: CustomerAccount = read(&document.value)?;
                accounts.insert(account.party(), account);
            }
        }
        let settings = match sight.facts.document(&settings_key()) {
            Some(bytes) => read(bytes)?,
            None => Settings::default(),
        };
        Ok(Self {
            bank,
            sight,
            t: Transition::new(cause, sight.facts.as_of),
            accounts,
            touched: BTreeSet::new(),
            owed: sight.owed.clone(),
            settings,
            settings_touched: false,
        })
    }

    /// The change, with every document that it touched.
    pub(crate) fn finish(mut self) -> Transition {
        for party in &self.touched {
            if let Some(account) = self.accounts.get(party) {
                self.t.write(account_key(&account.iban), cbor::encode(account));
            }
        }
        if self.settings_touched {
            self.t.write(settings_key(), cbor::encode(&self.settings));
        }
        self.t
    }

    /// The account of whoever asks.
    ///
    /// An unknown account and a wrong secret look the same from outside.
    pub(crate) fn authorise(&self, iban: &BankAccount, access: &Access) -> Result<&CustomerAccount, Refusal> {
        let account = self.account(iban).ok_or(WRONG_ACCESS)?;
        if account.access == access.digest() { Ok(account) } else { Err(WRONG_ACCESS) }
    }

    pub(crate) fn account(&self, iban: &BankAccount) -> Option<&CustomerAccount> {
        self.accounts.get(&party_of(iban))
    }

    /// An account that is known to be there: without it the books are at fault.
    pub(crate) fn known(&self, iban: &BankAccount) -> Result<&CustomerAccount, Refusal> {
        self.account(iban).ok_or(FAULT)
    }

    pub(crate) fn put(&mut self, account: CustomerAccount) {
        let party = account.party();
        self.touched.insert(party);
        self.accounts.insert(party, account);
    }

    pub(crate) fn change(&mut self, iban: &BankAccount, f: impl FnOnce(&mut CustomerAccount)) {
        let party = party_of(iban);
        if let Some(account) = self.accounts.get_mut(&party) {
            f(account);
            self.touched.insert(party);
        }
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) const fn settings_mut(&mut self) -> &mut Settings {
        self.settings_touched = true;
        &mut self.settings
    }

    /// The reason of the first rule that matches an order between these accounts; the rule is used up by one.
    pub(crate) fn ruled_out(&mut self, accounts: &[&BankAccount]) -> Option<String> {
        let matches = |rule: &RejectRule| rule.account.as_ref().is_none_or(|a| accounts.contains(&a));
        let index = self.settings.rules.iter().position(matches)?;
        self.use_rule(index)
    }

    /// As [`Draft::ruled_out`], by the rules that name this account.
    pub(crate) fn ruled_out_by_name(&mut self, account: &BankAccount) -> Option<String> {
        let index = self.settings.rules.iter().position(|rule| rule.account.as_ref() == Some(account))?;
        self.use_rule(index)
    }

    fn use_rule(&mut self, index: usize) -> Option<String> {
        let rule = self.settings_mut().rules.get_mut(index)?;
        rule.left = rule.left.saturating_sub(1);
        let reason = rule.reason.clone();
        self.settings.rules.retain(|rule| rule.left > 0);
        Some(reason)
    }

    /// What the customer can dispose of, in minor units.
    pub(crate) fn available(&self, iban: &BankAccount) -> i64 {
        self.owed.get(&party_of(iban)).copied().unwrap_or(0)
    }

    /// What stands on the statement: also what is set aside for orders.
    pub(crate) fn booked(&self, iban: &BankAccount) -> i64 {
        let held = self.account(iban).map_or(0, |a| a.held);
        self.available(iban).saturating_add(i64::try_from(held).unwrap_or(i64::MAX))
    }

    /// Whether the customer can pay this.
    pub(crate) fn covers(&self, iban: &BankAccount, amount: Amount) -> bool {
        i64::try_from(amount.minor()).is_ok_and(|minor| self.available(iban) >= minor)
    }

    /// Credits a customer, out of `from`; what the customer owes is settled first.
    pub(crate) fn pay_in(&mut self, iban: &BankAccount, amount: Amount, from: Account) {
        let party = party_of(iban);
        let owes = u64::try_from(self.available(iban).saturating_neg()).unwrap_or(0);
        let settled = Amount::new(owes.min(amount.minor()), amount.currency());
        let rest = Amount::new(amount.minor().saturating_sub(settled.minor()), amount.currency());
        self.post_unless_zero(from, Account::Due(party), settled);
        self.post_unless_zero(from, Account::Party(party), rest);
        self.shift(party, amount, true);
    }

    /// Debits a customer, into `to`; what is not there the customer owes from then on. Whoever calls has checked
    /// [`Draft::covers`], unless the money is taken back.
    pub(crate) fn take_out(&mut self, iban: &BankAccount, amount: Amount, to: Account) {
        let party = party_of(iban);
        let has = u64::try_from(self.available(iban)).unwrap_or(0);
        let own = Amount::new(has.min(amount.minor()), amount.currency());
        let lent = Amount::new(amount.minor().saturating_sub(own.minor()), amount.currency());
        self.post_unless_zero(Account::Party(party), to, own);
        self.post_unless_zero(Account::Due(party), to, lent);
        self.shift(party, amount, false);
    }

    /// Sets money aside for an order.
    pub(crate) fn hold(&mut self, iban: &BankAccount, amount: Amount) {
        self.take_out(iban, amount, Account::InFlight);
        self.change(iban, |a| a.held = a.held.saturating_add(amount.minor()));
    }

    /// What was set aside leaves for `to`.
    pub(crate) fn spend_held(&mut self, iban: &BankAccount, amount: Amount, to: Account) {
        self.post_unless_zero(Account::InFlight, to, amount);
        self.change(iban, |a| a.held = a.held.saturating_sub(amount.minor()));
    }

    /// What was set aside is the customer's again.
    pub(crate) fn unhold(&mut self, iban: &BankAccount, amount: Amount) {
        self.pay_in(iban, amount, Account::InFlight);
        self.change(iban, |a| a.held = a.held.saturating_sub(amount.minor()));
    }

    fn post_unless_zero(&mut self, debit: Account, credit: Account, amount: Amount) {
        if !amount.is_zero() && debit != credit {
            self.t.post(debit, credit, amount);
        }
    }

    fn shift(&mut self, party: PartyId, amount: Amount, up: bool) {
        let minor = i64::try_from(amount.minor()).unwrap_or(i64::MAX);
        let owed = self.owed.entry(party).or_default();
        *owed = if up { owed.saturating_add(minor) } else { owed.saturating_sub(minor) };
    }

    /// Adds a statement line; the balance on it is the one after everything posted so far.
    pub(crate) fn enter(&mut self, iban: &BankAccount, line: Line) {
        let balance_after = self.booked(iban);
        let at = self.sight.now;
        let mut number = 0;
        self.change(iban, |a| {
            a.entries = a.entries.saturating_add(1);
            number = a.entries;
        });
        let Line { kind, direction, amount, other, other_name, remittance, order, reason } = line;
        let entry = StatementEntry {
            number,
            at,
            kind,
            direction,
            amount,
            balance_after,
            other,
            other_name,
            remittance,
            order,
            reason,
        };
        self.t.write(entry_key(&party_of(iban), number), cbor::encode(&entry));
    }

    /// Tells whoever reads the news of this account.
    pub(crate) fn tell(&mut self, iban: &BankAccount, what: BankNews) {
        let mut number = 0;
        self.change(iban, |a| {
            a.events = a.events.saturating_add(1);
            number = a.events;
        });
        let code = self.bank.code.to_string();
        let parts: [&[u8]; 3] = [code.as_bytes(), iban.iban().as_bytes(), &number.to_be_bytes()];
        let id = digest("florin/v1/bank/reference", &parts).short();
        let told = Told { number, event: BankEvent { id, at: self.sight.now, what } };
        self.t.write(event_key(&party_of(iban), number), cbor::encode(&told));
    }

    /// Writes an order in its new state.
    pub(crate) fn place(&mut self, placed: &PlacedOrder, state: OrderState) {
        let placed = PlacedOrder { state, ..placed.clone() };
        self.t.write(order_key(&placed.order.id), cbor::encode(&placed));
    }

    pub(crate) fn done(&mut self, effect: EffectId) {
        self.t.effects.push(Effect::Done(effect));
    }
}

/// Reads a document of the bank's own; what cannot be read is a fault of the books.
pub(crate) fn read<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Result<T, Refusal> {
    minicbor::decode(bytes).map_err(|error| FAULT.with_detail(error.to_string()))
}

/// The document, if it is there.
pub(crate) fn find<T: for<'b> minicbor::Decode<'b, ()>>(
    facts: &Facts,
    key: &DocumentKey,
) -> Result<Option<T>, Refusal> {
    facts.document(key).map(read).transpose()
}
