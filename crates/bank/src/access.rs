//! The secret that opens one account at the sandbox bank (or the bank's own counter for tests).
//! Source: house rule 17 (secrets are shy types); the bank keeps its digest only.

use data_encoding::BASE64URL_NOPAD;
use florin_crypto::{Digest, MacKey, Secret, Zeroizing, digest};

/// A bearer secret: whoever has it acts for the account.
///
/// Shape: 32 bytes; text: 43 characters of base64url without padding (RFC 4648 §5).
pub struct Access(Secret<32>);

impl Access {
    /// Takes secret bytes.
    #[must_use]
    pub const fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// The secret of an account: a function of the request that opened it, so a repeated request gets it again.
    #[must_use]
    pub fn of_account(key: &MacKey, txid: &[u8; 16], iban: &str) -> Self {
        Self(Secret::new(key.tag("florin/v1/bank/access", &[txid, iban.as_bytes()])))
    }

    /// Reads the text form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?);
        Secret::from_slice(&bytes).map(Self)
    }

    /// The text form, for the holder or for the `Authorization` header.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL_NOPAD.encode(self.0.expose()))
    }

    /// What the bank keeps of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest("florin/v1/bank/access-digest", &[self.0.expose()])
    }

    /// Equality in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0)
    }

    /// A second copy, made on purpose.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.duplicate())
    }
}
