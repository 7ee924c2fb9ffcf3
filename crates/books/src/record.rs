//! What the lane appended: enough to redo the change and to give the reply again. Source: books.md, "Deciding" and
//! "Retention".

use florin_crypto::{Digest, digest};
use minicbor::{Decode, Encode};

use crate::account::Posting;
use crate::holding::HoldingChange;
use crate::ids::{Seq, Timestamp};
use crate::token::{Epoch, Issued, Skip, TokenNumber};
use crate::transition::{DocumentWrite, Effect, Mark, OnceKey};

/// What was spent, created, posted and written. It stays to the end of its epoch.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Core {
    /// Its place in the journal.
    #[n(0)]
    pub seq: Seq,
    /// Lane time.
    #[n(1)]
    pub time: Timestamp,
    /// What caused it.
    #[n(2)]
    pub cause: Digest,
    /// The once keys that it took.
    #[n(3)]
    pub once: Vec<OnceKey>,
    /// The tokens that it spent.
    #[n(4)]
    pub consumed: Vec<TokenNumber>,
    /// The tokens that it issued, with their numbers.
    #[n(5)]
    pub created: Vec<Issued>,
    /// Changes of holdings.
    #[n(6)]
    pub holdings: Vec<HoldingChange>,
    /// Marks set.
    #[n(7)]
    pub marks: Vec<Mark>,
    /// Postings.
    #[n(8)]
    pub postings: Vec<Posting>,
    /// Documents written.
    #[n(9)]
    pub documents: Vec<DocumentWrite>,
    /// Outbox.
    #[n(10)]
    pub effects: Vec<Effect>,
    /// H(seed): the chain stays whole when the seed has gone.
    #[n(11)]
    pub seed_digest: Digest,
    /// Epochs whose live tokens ended all at once; absent where there are none, so that other records keep their bytes.
    #[n(12)]
    pub drops: Option<Vec<Epoch>>,
    /// Numbers passed over; only where books were restored. Last, and absent otherwise: the bytes of all other records
    /// are what they were before there was such a thing.
    #[n(13)]
    pub skipped: Option<Vec<Skip>>,
}

/// A change that happened.
///
/// Shape: `[core, seed]`; the seed is null once it has gone.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Record {
    /// What happened.
    #[n(0)]
    pub core: Core,
    /// What only a repeated reply needs.
    #[cbor(n(1), with = "crate::codec::optional_bytes")]
    pub seed: Option<Vec<u8>>,
}

impl Core {
    /// The epochs that it dropped.
    #[must_use]
    pub fn dropped(&self) -> &[Epoch] {
        self.drops.as_deref().unwrap_or_default()
    }
}

impl Record {
    /// The seed, if it is still there.
    #[must_use]
    pub fn seed(&self) -> Option<&[u8]> {
        self.seed.as_deref()
    }

    /// The same without its seed: the chain does not notice.
    #[must_use]
    pub fn stripped(self) -> Self {
        Self { seed: None, ..self }
    }

    /// Whether the seed is the one that the core names (or has gone).
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.seed.as_ref().is_none_or(|s| seed_digest(s) == self.core.seed_digest)
    }
}

/// A record and its bytes, encoded once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// Its deterministic encoding.
    pub bytes: Vec<u8>,
    /// The chain up to and including it.
    pub chain: Digest,
}

/// H(seed).
#[must_use]
pub fn seed_digest(seed: &[u8]) -> Digest {
    digest("florin/v1/books/seed", &[seed])
}

/// The next link: H(previous, core); the core holds H(seed).
#[must_use]
pub fn link(previous: &Digest, core: &[u8]) -> Digest {
    digest("florin/v1/books/chain", &[previous.as_ref(), core])
}
