//! Which coins to ask for: small change for exact payments, or as few coins as possible.
//! Source: VarietyCash §2.4 (the withdrawal names a list of denominations); the choice is the wallet's.

use florin_money::{Amount, CoinList, Denominations};

/// Which coins to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CoinMix {
    /// Two of each small value, so that most payments need no change; the rest in large coins.
    #[default]
    Mixed,
    /// As few coins as possible.
    Few,
}

/// How many of each small value.
const SMALL_EACH: u64 = 2;

impl CoinMix {
    /// The coins of this mix that are worth the amount; nothing where no coins make it up.
    pub(crate) fn list(self, amount: Amount, denominations: &Denominations) -> Option<CoinList> {
        if amount.currency() != denominations.currency() {
            return None;
        }
        let mut left = amount.minor();
        let mut values: Vec<u64> = Vec::new();
        if self == Self::Mixed {
            for value in denominations.values() {
                let worth = value.checked_mul(SMALL_EACH).filter(|worth| *worth <= left / 2);
                let Some(rest) = worth.and_then(|worth| left.checked_sub(worth)) else { break };
                // Not every rest can be made up where the values are odd ones; then what is left stays as it is.
                if denominations.split_minor(rest).is_err() {
                    break;
                }
                values.extend((0..SMALL_EACH).map(|_| *value));
                left = rest;
            }
        }
        values.extend(denominations.split_minor(left).ok()?.values());
        CoinList::of_values(values).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use florin_coin::{COINS_ISSUED_MAX, COINS_PER_PAYMENT_MAX};
    use florin_money::{Currency, DENOMINATIONS_DEFAULT, Selection, select};
    use proptest::prelude::*;

    fn denominations() -> Denominations {
        Denominations::one_two_five(Currency::FLO, DENOMINATIONS_DEFAULT)
    }

    fn flo(minor: u64) -> Amount {
        Amount::new(minor, Currency::FLO)
    }

    #[test]
    fn ten_florins_pay_every_small_price_exactly() {
        let list = CoinMix::Mixed.list(flo(1000), &denominations()).unwrap();
        assert_eq!(list.total_minor(), 1000);
        let purse: Vec<u64> = list.values().collect();
        for price in 1..=500 {
            let chosen = select(&purse, price, COINS_PER_PAYMENT_MAX, &denominations());
            assert!(matches!(chosen, Selection::Exact(_)), "{price}");
        }
        assert_eq!(CoinMix::Few.list(flo(1000), &denominations()).unwrap().count(), 1);
    }

    #[test]
    fn another_currency_and_values_that_do_not_fit_are_no_list() {
        let eur: Currency = "1 EUR".parse::<Amount>().unwrap().currency();
        assert!(CoinMix::Mixed.list(Amount::new(5, eur), &denominations()).is_none());
        let fives = Denominations::new(Currency::FLO, vec![5]).unwrap();
        assert!(CoinMix::Mixed.list(flo(7), &fives).is_none());
    }

    proptest! {
        #[test]
        fn a_mix_is_worth_its_amount_and_small_enough(minor in 1u64..100_000_000_000, few: bool) {
            let mix = if few { CoinMix::Few } else { CoinMix::Mixed };
            let list = mix.list(flo(minor), &denominations()).unwrap();
            prop_assert_eq!(list.total_minor(), minor);
            prop_assert!(denominations().contains_all(&list));
            prop_assert!(minor > 5_000_000_000 || list.count() <= COINS_ISSUED_MAX, "{}", list.count());
        }
    }
}
