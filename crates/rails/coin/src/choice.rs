//! The holder's choice: whether coins can be asked for again after a loss, and by whom. It travels with the coins:
//! those from a purchase, Change, Refresh or a payment belong to whom their request names.
//! Source: VarietyCash §3 (Refund), §3.1 (W-DESC: anonymous or not), §2.4; ADR 0026.

use florin_books::{DocumentKey, PartyId};
use florin_crypto::{VerifyKey, cbor, digest};
use minicbor::{Decode, Encode};

use crate::kinds::HOLDER;

/// Who can ask for coins again. Naming somebody else gives him a claim to the coins: it is a gift, never a theft.
///
/// Shape: `[0]`, `[1, party id]` or `[2, Ed25519 key]`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum HolderChoice {
    /// Nobody: the holder is anonymous, and what he loses is lost.
    #[default]
    #[n(0)]
    Nobody,
    /// A participant, by its registration key: the holder is not anonymous.
    #[n(1)]
    Named(#[n(0)] PartyId),
    /// Whoever signs with this one-time key, which names nobody.
    #[n(2)]
    Key(#[n(0)] VerifyKey),
}

impl HolderChoice {
    /// The list of what was issued to this holder; none where nobody can ask for it again.
    #[must_use]
    pub fn document(&self) -> Option<DocumentKey> {
        let id = || digest("florin/v1/coin/holder", &[&cbor::encode(self)]).short();
        (*self != Self::Nobody).then(|| DocumentKey::new(HOLDER, id()))
    }

    /// Its name for people and reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Nobody => "anonymous",
            Self::Named(_) => "named",
            Self::Key(_) => "refundable",
        }
    }

    /// The choice for coins that come of several, such as change of coins from two purchases. What all agree on stays.
    /// Else a one-time key among them: it takes the refund from none who had it by a key, and puts no name on coins
    /// that had none. `None` where they differ and none has a key: the holder makes one.
    #[must_use]
    pub fn of_all(choices: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut choices = choices.into_iter();
        let first = choices.next().unwrap_or_default();
        let mut key = matches!(first, Self::Key(_)).then_some(first);
        let mut same = true;
        for choice in choices {
            same &= choice == first;
            key = key.or_else(|| matches!(choice, Self::Key(_)).then_some(choice));
        }
        if same { Some(first) } else { key }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use florin_crypto::{Secret, SigningKey};

    #[test]
    fn coins_of_several_choices_get_no_name_and_lose_no_refund() {
        let key = |n| HolderChoice::Key(SigningKey::from_seed(&Secret::new([n; 32])).verify_key());
        let named = HolderChoice::Named(PartyId::new([1; 16]));
        let nobody = HolderChoice::Nobody;
        for (choices, expected) in [
            (vec![], Some(nobody)),
            (vec![named, named], Some(named)),
            (vec![key(1), key(2)], Some(key(1))),
            (vec![nobody, named, key(2)], Some(key(2))),
            (vec![named, nobody], None),
        ] {
            assert_eq!(HolderChoice::of_all(choices.clone()), expected, "{choices:?}");
        }
    }

    #[test]
    fn a_choice_round_trips_and_only_a_holder_has_a_list() {
        let key = SigningKey::from_seed(&Secret::new([7; 32])).verify_key();
        for choice in
            [HolderChoice::Nobody, HolderChoice::Named(PartyId::new([1; 16])), HolderChoice::Key(key)]
        {
            assert_eq!(cbor::decode_strict::<HolderChoice>(&cbor::encode(&choice)).unwrap(), choice);
            assert_eq!(choice.document().is_none(), choice == HolderChoice::Nobody);
        }
    }
}
