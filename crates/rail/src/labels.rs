//! What stands at the beginning of everything signed, tagged, hashed or sealed, so that nothing made for one message,
//! rail, version or party can be used for another. Source: G2, G3, G11.

use florin_books::PartyId;
use florin_crypto::{Digest, cbor, digest};
use minicbor::{Decode, Encode};

/// The version of the wire; it also stands in the path.
pub const VERSION: u8 = 1;

/// The first element of every signed or tagged payload.
///
/// Shape: `["florin", version, rail, message, sender, recipient]`. Source: G2.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Context {
    #[n(0)]
    florin: String,
    #[n(1)]
    version: u8,
    /// The rail's name.
    #[n(2)]
    pub rail: String,
    /// The message's name.
    #[n(3)]
    pub message: String,
    /// Who made it; [`PartyId::NONE`] for somebody unnamed.
    #[n(4)]
    pub sender: PartyId,
    /// For whom; [`PartyId::NONE`] for anybody.
    #[n(5)]
    pub recipient: PartyId,
}

impl Context {
    /// The context of one message.
    #[must_use]
    pub fn new(rail: &str, message: &str, sender: PartyId, recipient: PartyId) -> Self {
        Self {
            florin: "florin".into(),
            version: VERSION,
            rail: rail.into(),
            message: message.into(),
            sender,
            recipient,
        }
    }
}

/// HPKE `info`: what a receiver can build before it knows the sender.
///
/// Shape: `["florin", version, rail, message, recipient, key id]`. Source: G2.
#[must_use]
pub fn hpke_info(rail: &str, message: &str, recipient: PartyId, key_id: &[u8; 16]) -> Vec<u8> {
    let key_id = cbor::ByteArray(*key_id);
    cbor::encode(&("florin", VERSION, rail, message, recipient, key_id))
}

/// A label for hashing and exporting: `florin/v1/<rail>/<what>`.
#[must_use]
pub fn label(rail: &str, what: &str) -> String {
    format!("florin/v{VERSION}/{rail}/{what}")
}

/// What caused a transition: SHA-256(label, step, raw body). Source: books.md, "Deciding".
#[must_use]
pub fn cause(rail: &str, step: &str, body: &[u8]) -> Digest {
    digest("florin/v1/cause", &[rail.as_bytes(), step.as_bytes(), body])
}

/// The same for a request whose transcript hash is known already, which covers its bytes: they are hashed once. A step
/// always uses one of the two.
#[must_use]
pub fn cause_of(rail: &str, step: &str, th: &Digest) -> Digest {
    digest("florin/v1/cause-of-transcript", &[rail.as_bytes(), step.as_bytes(), th.as_ref()])
}

/// `th`: the hash of what two parties have exchanged so far in a run. Source: G3.
#[must_use]
pub fn transcript(rail: &str, messages: &[&[u8]]) -> Digest {
    digest(&label(rail, "transcript"), messages)
}
