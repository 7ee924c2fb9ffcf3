//! The wallet's seed: 32 bytes from which its keys are made, and their text form, to be written down on paper.
//! Source: VarietyCash §3 (Refund, "in case of a failure, e.g. disk crash"); ADR 0026; docs/wallet.md, "The seed".
//!
//! Text: `florinseed1` and 56 characters of base32 (RFC 4648, in lower case, without padding) in groups of four, over the
//! seed and three bytes of its digest, so that a slip of the pen is found out.

use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use florin_crypto::{KemSecretKey, Secret, SigningKey, Zeroizing, cbor, derive, digest};
use florin_parties::IdentityKeys;

/// What the text begins with.
const PREFIX: &str = "florinseed1";
const CHECK_BYTES: usize = 3;
const TEXT_CHARACTERS: usize = 56;
const GROUP: usize = 4;

/// A seed. No `Debug`, wiped on drop.
pub struct Seed(Secret<32>);

/// The text is no seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SeedError {
    /// It does not begin as one.
    #[error("a seed begins with {PREFIX}")]
    Prefix,
    /// It has another length, or characters that none has.
    #[error("a seed has 56 letters and digits from 2 to 7 after {PREFIX}, in 14 groups")]
    Characters,
    /// Something was written down or typed wrongly.
    #[error("the seed has a slip in it: its check does not fit")]
    Check,
}

fn check(seed: &[u8]) -> [u8; CHECK_BYTES] {
    let [a, b, c, ..] = digest("florin/v1/wallet/seed-check", &[seed]).0;
    [a, b, c]
}

impl Seed {
    /// The seed of these bytes.
    #[must_use]
    pub const fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    pub(crate) fn secret(&self) -> Secret<32> {
        self.0.duplicate()
    }

    /// To be written down.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(35));
        bytes.extend_from_slice(self.0.expose());
        bytes.extend_from_slice(&check(self.0.expose()));
        let encoded = Zeroizing::new(BASE32_NOPAD.encode(&bytes).to_lowercase());
        let mut text = Zeroizing::new(String::with_capacity(128));
        text.push_str(PREFIX);
        for (place, character) in encoded.chars().enumerate() {
            if place.is_multiple_of(GROUP) {
                text.push(' ');
            }
            text.push(character);
        }
        text
    }

    /// The keys of the participant.
    pub(crate) fn identity(&self) -> IdentityKeys {
        let key = |what: &[u8]| derive::<32>(&[self.0.expose()], what);
        IdentityKeys {
            signing: SigningKey::from_seed(&key(b"florin/v1/wallet/sign")),
            kem: KemSecretKey::from_seed(&key(b"florin/v1/wallet/kem")),
        }
    }

    /// The one-time keys for refunds.
    pub(crate) fn refund_keys(&self) -> RefundKeys {
        RefundKeys(derive(&[self.0.expose()], b"florin/v1/wallet/refund"))
    }
}

impl FromStr for Seed {
    type Err = SeedError;

    /// Spaces, line ends, hyphens and capitals do not matter; 0, 1 and 8, which no seed has, are read as o, l and b.
    fn from_str(text: &str) -> Result<Self, SeedError> {
        let mut plain = Zeroizing::new(String::with_capacity(128));
        let said = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        plain.extend(said.take(128).map(|c| c.to_ascii_lowercase()));
        // Whoever has written down only the groups has written down the seed.
        let bare = plain.len() == TEXT_CHARACTERS && !plain.starts_with(PREFIX);
        let rest = if bare { plain.as_str() } else { plain.strip_prefix(PREFIX).ok_or(SeedError::Prefix)? };
        let mut upper = Zeroizing::new(String::with_capacity(128));
        upper.extend(rest.chars().map(|c| match c {
            '0' => 'O',
            '1' => 'L',
            '8' => 'B',
            other => other.to_ascii_uppercase(),
        }));
        if upper.len() != TEXT_CHARACTERS {
            return Err(SeedError::Characters);
        }
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(upper.as_bytes()).map_err(|_| SeedError::Characters)?);
        let (seed, checked) = bytes.split_at_checked(32).ok_or(SeedError::Characters)?;
        if *checked != check(seed) {
            return Err(SeedError::Check);
        }
        Secret::from_slice(seed).map(Self).ok_or(SeedError::Characters)
    }
}

/// The one-time keys for refunds, by their index: one for each purchase, and one where coins of several are joined.
pub(crate) struct RefundKeys(Secret<32>);

impl RefundKeys {
    pub(crate) fn key(&self, index: u32) -> SigningKey {
        let info = cbor::encode(&("florin/v1/wallet/refund-key", index));
        SigningKey::from_seed(&derive(&[self.0.expose()], &info))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn seed(n: u8) -> Seed {
        Seed::new(Secret::new([n; 32]))
    }

    #[test]
    fn a_seed_is_read_as_it_was_written_however_it_is_typed() {
        let text = seed(7).to_text();
        assert!(text.starts_with("florinseed1 ") && text.len() == 11 + 14 * 5, "{}", *text);
        for typed in [
            text.to_string(),
            text.to_uppercase(),
            text.replace(' ', ""),
            text.replace(' ', "-"),
            format!("\n{}\n", text.replace(' ', "\n")),
            text["florinseed1".len()..].to_owned(),
            text["florinseed1".len()..].replace(' ', ""),
            format!("florinseed1{}", text["florinseed1".len()..].replace('o', "0").replace('l', "1")),
        ] {
            assert!(typed.parse::<Seed>().unwrap().secret().ct_eq(&seed(7).secret()), "{typed}");
        }
    }

    #[test]
    fn every_slip_of_one_character_is_found_out() {
        let text = seed(9).to_text().replace(' ', "");
        for at in PREFIX.len()..text.len() {
            let mut slipped = text.clone().into_bytes();
            slipped[at] = if slipped[at] == b'q' { b'r' } else { b'q' };
            let slipped = String::from_utf8(slipped).unwrap();
            assert_eq!(slipped.parse::<Seed>().err(), Some(SeedError::Check), "{at}");
        }
        assert_eq!(text[..text.len() - 1].parse::<Seed>().err(), Some(SeedError::Characters));
        assert_eq!(format!("{text}a").parse::<Seed>().err(), Some(SeedError::Characters));
        assert_eq!(text.replace("florinseed1", "florinseed2").parse::<Seed>().err(), Some(SeedError::Prefix));
        assert_eq!("".parse::<Seed>().err(), Some(SeedError::Prefix));
    }

    #[test]
    fn each_key_is_one_of_its_own() {
        let (a, b) = (seed(1), seed(2));
        let (k, l) = (a.refund_keys(), b.refund_keys());
        let keys =
            [a.identity().signing, b.identity().signing, k.key(0), k.key(1), l.key(0), k.key(u32::MAX)];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[..i].iter().all(|other| other.verify_key() != one.verify_key()), "{i}");
        }
        assert_eq!(seed(1).refund_keys().key(1).verify_key(), k.key(1).verify_key(), "the same every time");
    }
}
