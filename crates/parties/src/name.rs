//! A chosen identity. Source: VarietyCash §3, Registration ("choosing an ID (possibly a pseudonym)").

use std::fmt;
use std::str::FromStr;

use florin_books::DocumentKey;
use florin_crypto::digest;

use crate::kinds::NAME;

/// The shortest name.
pub const NAME_LEN_MIN: usize = 3;
/// The longest name.
pub const NAME_LEN_MAX: usize = 40;

/// The name that a participant chose.
///
/// Shape: 3 to 40 characters of `a-z 0-9 . -`, beginning with a letter; capitals are folded when it is parsed. It can
/// never look like a pseudonym, which has an underscore. Errors: [`NameError`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ParticipantName(String);

/// Why a text is not a name, in checking order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// Shorter than 3 or longer than 40 characters.
    #[error("a name has {NAME_LEN_MIN} to {NAME_LEN_MAX} characters")]
    Length,
    /// It does not begin with a letter.
    #[error("a name begins with a letter")]
    Begin,
    /// Another character than a-z, 0-9, full stop and hyphen.
    #[error("a name has letters a-z, digits, full stops and hyphens")]
    Character,
}

impl ParticipantName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands on the wire, where nothing is folded any more: another form of the same name is refused.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn folded(text: &str) -> Result<Self, NameError> {
        let name: Self = text.parse()?;
        if name.0 == text { Ok(name) } else { Err(NameError::Character) }
    }

    /// The document that says who has the name.
    #[must_use]
    pub fn key(&self) -> DocumentKey {
        DocumentKey::new(NAME, digest("florin/v1/parties/name", &[self.0.as_bytes()]).short())
    }
}

impl FromStr for ParticipantName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if !(NAME_LEN_MIN..=NAME_LEN_MAX).contains(&text.chars().count()) {
            return Err(NameError::Length);
        }
        let name = text.to_ascii_lowercase();
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(NameError::Begin);
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        if name.bytes().all(allowed) { Ok(Self(name)) } else { Err(NameError::Character) }
    }
}

impl fmt::Display for ParticipantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, folded) in
            [("abc", "abc"), ("Café.1".replace('é', "e").as_str(), "cafe.1"), ("A-9.z", "a-9.z")]
        {
            assert_eq!(text.parse::<ParticipantName>().unwrap().as_str(), folded);
        }
        let longest = format!("a{}", "9".repeat(39));
        assert!(longest.parse::<ParticipantName>().is_ok());
        for (text, why) in [
            ("", NameError::Length),
            ("ab", NameError::Length),
            (&format!("{longest}9"), NameError::Length),
            ("1ab", NameError::Begin),
            ("-ab", NameError::Begin),
            ("élan", NameError::Begin),
            ("a_b", NameError::Character),
            ("a b", NameError::Character),
            ("abç", NameError::Character),
            ("abc\n", NameError::Character),
        ] {
            assert_eq!(text.parse::<ParticipantName>(), Err(why), "{text}");
        }
    }

    #[test]
    fn one_name_has_one_form_on_the_wire_and_one_document() {
        assert_eq!(ParticipantName::folded("Abc"), Err(NameError::Character));
        let a: ParticipantName = "Abc".parse().unwrap();
        assert_eq!(a, ParticipantName::folded("abc").unwrap());
        assert_eq!(a.key(), ParticipantName::folded("abc").unwrap().key());
        assert_ne!(a.key(), ParticipantName::folded("abd").unwrap().key());
    }
}
