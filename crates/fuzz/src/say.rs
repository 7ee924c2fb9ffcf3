//! How a target says that a property does not hold: it panics, which is what libFuzzer and the tests look for.
#![allow(clippy::panic, reason = "a panic is a target's finding")]

use std::fmt::Debug;

use florin_crypto::{decode_strict, encode};
use minicbor::{Decode, Encode};

/// What has to be there.
pub(crate) fn fine<T, E: Debug>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

/// What has to be there.
pub(crate) fn some<T>(option: Option<T>, what: &str) -> T {
    option.unwrap_or_else(|| panic!("{what}"))
}

/// One value has one encoding: what can be read in any form is written in one, which reads as the same value, and no other
/// form is read strictly. Gives the value if the bytes are that form.
pub(crate) fn one_encoding<T>(bytes: &[u8]) -> Option<T>
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    let Ok(value) = minicbor::decode::<T>(bytes) else {
        assert!(decode_strict::<T>(bytes).is_err(), "read strictly, and not at all");
        return None;
    };
    let one = encode(&value);
    let again: T = fine(decode_strict(&one), "what was written is not read");
    assert!(encode(&again) == one, "two encodings of one value");
    match decode_strict::<T>(bytes) {
        Ok(value) => {
            assert!(one == bytes, "another encoding was read strictly");
            Some(value)
        }
        Err(_) => {
            assert!(one != bytes, "the one encoding is refused");
            None
        }
    }
}

/// The text in bytes: what is not UTF-8 never reaches a reader of texts.
pub(crate) fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The first byte, and the rest.
pub(crate) fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
