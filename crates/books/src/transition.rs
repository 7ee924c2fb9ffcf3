//! The only way to change the books, and what a decision can be. Source: books.md, "Deciding".

use florin_crypto::Digest;
use florin_money::CurrencyCode;
use minicbor::{Decode, Encode};

use crate::account::{Account, Posting};
use crate::holding::HoldingChange;
use crate::ids::{EffectId, PartyId, Seq, Timestamp};
use crate::token::{Epoch, Issue, Skip, TokenNumber};

/// A kind of document; each crate has a range of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct DocumentKind(#[n(0)] pub u16);

/// The name of a document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(array)]
pub struct DocumentKey {
    /// Its kind.
    #[n(0)]
    pub kind: DocumentKind,
    /// Its id within the kind; a longer name is hashed into this.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub id: [u8; 16],
}

impl DocumentKey {
    /// Joins the two.
    #[must_use]
    pub const fn new(kind: DocumentKind, id: [u8; 16]) -> Self {
        Self { kind, id }
    }
}

/// Writes a document, or removes it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct DocumentWrite {
    /// Which.
    #[n(0)]
    pub key: DocumentKey,
    /// The new content; none removes it.
    #[cbor(n(1), with = "crate::codec::optional_bytes")]
    pub value: Option<Vec<u8>>,
}

/// What makes a change happen once: unique for ever in the lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(array)]
pub struct OnceKey {
    /// The rail's number.
    #[n(0)]
    pub rail: u8,
    /// The step's number within the rail.
    #[n(1)]
    pub step: u8,
    /// Whose request it is; [`PartyId::NONE`] for somebody unnamed.
    #[n(2)]
    pub party: PartyId,
    /// The request's own number.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub txid: [u8; 16],
}

/// An id seen once and never again, without value; it may be forgotten after `until`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Mark {
    /// What kind of id.
    #[n(0)]
    pub kind: DocumentKind,
    /// The id.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub id: [u8; 16],
    /// When it may go.
    #[n(2)]
    pub until: Timestamp,
}

/// Something to carry out after the commit, at least once.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Effect {
    /// Put into the outbox.
    #[n(0)]
    Emit(#[n(0)] Outgoing),
    /// Carried out: taken from the outbox. Refused where it is not there, so it settles once.
    #[n(1)]
    Done(#[n(0)] EffectId),
}

/// An entry of the outbox.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Outgoing {
    /// Its own id: the receiver's once key.
    #[n(0)]
    pub id: EffectId,
    /// Which worker carries it out.
    #[n(1)]
    pub kind: u16,
    /// Not before.
    #[n(2)]
    pub due: Timestamp,
    /// What the worker needs.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// What must hold when the lane applies the transition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// The document has not been written since `Transition::as_of`.
    Unchanged(DocumentKey),
    /// Lane time is at least this.
    NotBefore(Timestamp),
    /// Lane time is at most this.
    NotAfter(Timestamp),
    /// After the postings, the balance lies at or above this (debit positive).
    AtLeast(Account, CurrencyCode, i64),
    /// After the postings, the balance lies at or below this: somebody is owed at least so much.
    AtMost(Account, CurrencyCode, i64),
}

/// A change, whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    /// SHA-256(label, step, raw body), or the id of the bank event or timer.
    pub cause: Digest,
    /// The sequence number that the facts were read at; every document written must be unchanged since.
    pub as_of: Seq,
    /// What makes it happen once.
    pub once: Vec<OnceKey>,
    /// What must hold.
    pub requires: Vec<Condition>,
    /// Tokens that must be live, and are then spent.
    pub consumes: Vec<TokenNumber>,
    /// Tokens to issue.
    pub creates: Vec<Issue>,
    /// Epochs whose tokens all end here; what they were worth has to be posted away from their registers.
    pub drops: Vec<Epoch>,
    /// Tokens of other issuers.
    pub holdings: Vec<HoldingChange>,
    /// Ids to remember.
    pub marks: Vec<Mark>,
    /// Zero-sum in each currency.
    pub postings: Vec<Posting>,
    /// Documents to write.
    pub documents: Vec<DocumentWrite>,
    /// Outbox.
    pub effects: Vec<Effect>,
    /// What only a repeated reply needs.
    pub seed: Vec<u8>,
    /// Numbers to pass over; not together with tokens to issue.
    pub skips: Vec<Skip>,
}

impl Transition {
    /// An empty change with a cause.
    #[must_use]
    pub const fn new(cause: Digest, as_of: Seq) -> Self {
        Self {
            cause,
            as_of,
            once: Vec::new(),
            requires: Vec::new(),
            consumes: Vec::new(),
            creates: Vec::new(),
            drops: Vec::new(),
            holdings: Vec::new(),
            marks: Vec::new(),
            postings: Vec::new(),
            documents: Vec::new(),
            effects: Vec::new(),
            seed: Vec::new(),
            skips: Vec::new(),
        }
    }

    /// Adds a document to write.
    pub fn write(&mut self, key: DocumentKey, value: Vec<u8>) {
        self.documents.push(DocumentWrite { key, value: Some(value) });
    }

    /// Adds a document to remove.
    pub fn remove(&mut self, key: DocumentKey) {
        self.documents.push(DocumentWrite { key, value: None });
    }

    /// Moves an amount: debits one account, credits another.
    pub fn post(&mut self, debit: Account, credit: Account, amount: florin_money::Amount) {
        self.postings.push(Posting::debit(debit, amount));
        self.postings.push(Posting::credit(credit, amount));
    }

    /// Adds an entry to the outbox.
    pub fn emit(&mut self, id: EffectId, kind: u16, due: Timestamp, body: Vec<u8>) {
        self.effects.push(Effect::Emit(Outgoing { id, kind, due, body }));
    }
}
