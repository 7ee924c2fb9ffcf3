//! The laws of money, as properties, and the texts and encodings that are refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use florin_money::*;
use proptest::prelude::*;

fn jpy() -> Currency {
    Currency::iso("JPY").unwrap()
}

fn series() -> Denominations {
    Denominations::one_two_five(Currency::FLO, DENOMINATIONS_DEFAULT)
}

fn any_currency() -> impl Strategy<Value = Currency> {
    prop_oneof![
        ("[A-Z][A-Z0-9]{3,7}", 0..=EXPONENT_MAX)
            .prop_map(|(code, exponent)| Currency::own(&code, exponent).unwrap()),
        Just(Currency::FLO),
        Just(jpy()),
    ]
}

fn decode<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Result<T, minicbor::decode::Error> {
    minicbor::decode(bytes)
}

#[test]
fn amounts_print_and_parse() {
    let flo = |minor| Amount::new(minor, Currency::FLO);
    for (text, minor) in [
        ("12.30 FLO", 1230),
        ("12 FLO", 1200),
        ("12.3 FLO", 1230),
        ("0.05 FLO", 5),
        ("000.05 FLO", 5),
        ("184467440737095516.15 FLO", u64::MAX),
    ] {
        assert_eq!(text.parse(), Ok(flo(minor)), "{text}");
    }
    assert_eq!(flo(1230).to_string(), "12.30 FLO");
    assert_eq!(flo(5).to_string(), "0.05 FLO");
    assert_eq!(flo(0).to_string(), "0.00 FLO");
    assert_eq!(format!("{:>10}", flo(5)), "  0.05 FLO");
    assert_eq!(Amount::new(12, jpy()).to_string(), "12 JPY");
    assert_eq!("12 JPY".parse(), Ok(Amount::new(12, jpy())));
}

#[test]
fn texts_that_are_no_amounts() {
    use ParseAmountError::*;
    let beans = "BEANS".parse().unwrap();
    for (text, error) in [
        ("", Shape),
        ("12.30", Shape),
        ("12.30FLO", Shape),
        (" 12.30 FLO", Number),
        ("12.30  FLO", Code),
        ("12.30 FLO ", Code),
        ("12.30\tFLO", Shape),
        (" FLO", Number),
        (".30 FLO", Number),
        ("12. FLO", Number),
        (". FLO", Number),
        ("-1 FLO", Number),
        ("+1 FLO", Number),
        ("1,30 FLO", Number),
        ("1.2.3 FLO", Number),
        ("1_000 FLO", Number),
        ("1e3 FLO", Number),
        ("0x10 FLO", Number),
        ("١ FLO", Number),
        ("1 flo", Code),
        ("1 FL", Code),
        ("1 BEANS", UnknownCurrency { code: beans }),
        ("1.234 FLO", TooManyDecimals { currency: Currency::FLO }),
        ("1.230 FLO", TooManyDecimals { currency: Currency::FLO }),
        ("1.0 JPY", TooManyDecimals { currency: jpy() }),
        ("184467440737095516.16 FLO", Overflow),
        ("99999999999999999999999999 FLO", Overflow),
    ] {
        assert_eq!(text.parse::<Amount>(), Err(error), "{text:?}");
    }
    let own = Currency::own("BEANS", 0).unwrap();
    assert_eq!(Amount::parse("3 BEANS", &[own]), Ok(Amount::new(3, own)));
    assert!(matches!(Amount::parse("3 FLO", &[own]), Err(UnknownCurrency { .. })));
}

#[test]
fn arithmetic_is_checked() {
    let (one, max) = (Amount::new(1, Currency::FLO), Amount::new(u64::MAX, Currency::FLO));
    let yen = Amount::new(1, jpy());
    let mismatch = MoneyError::CurrencyMismatch { left: Currency::FLO, right: jpy() };
    assert_eq!(max.checked_add(one), Err(MoneyError::Overflow));
    assert_eq!(one.checked_sub(max), Err(MoneyError::Underflow));
    assert_eq!(max.checked_mul(2), Err(MoneyError::Overflow));
    assert_eq!(one.checked_add(yen), Err(mismatch));
    assert_eq!(one.checked_sub(yen), Err(mismatch));
    assert_eq!(Amount::sum([one, yen], Currency::FLO), Err(mismatch));
    assert_eq!(Amount::sum([one, one], Currency::FLO), Ok(Amount::new(2, Currency::FLO)));
    assert_eq!(Amount::sum([], jpy()), Ok(Amount::zero(jpy())));
    assert_eq!(one.partial_cmp(&yen), None);
    assert!(one < max && Amount::zero(jpy()).is_zero() && !one.is_zero());
    let five = Amount::new(5, Currency::FLO);
    assert_eq!(five.checked_sub(one), Ok(Amount::new(4, Currency::FLO)));
    assert_eq!(five.checked_mul(3), Ok(Amount::new(15, Currency::FLO)));
}

#[test]
fn money_is_told_in_logs_with_its_currency() {
    let five = Amount::new(5, Currency::FLO);
    assert_eq!(format!("{five:?}"), "0.05 FLO");
    assert_eq!(format!("{:?} {:?}", five.currency(), jpy().code()), "FLO/2 JPY");
}

#[test]
fn encodings_that_are_refused() {
    // [1, "FLO", 2] with another exponent, one element more, one less, an indefinite length, a minus.
    assert_eq!(decode::<Amount>(b"\x83\x01\x63FLO\x02").unwrap(), Amount::new(1, Currency::FLO));
    for bytes in [
        b"\x83\x01\x63FLO\x03".as_slice(),
        b"\x83\x01\x63EUR\x00",
        b"\x83\x01\x63eur\x02",
        b"\x83\x01\x64BEAN\x09",
        b"\x84\x01\x63FLO\x02\x00",
        b"\x82\x01\x63FLO",
        b"\x9f\x01\x63FLO\x02\xff",
        b"\x83\x20\x63FLO\x02",
    ] {
        assert!(decode::<Amount>(bytes).is_err(), "{bytes:02x?}");
    }
    // [[2, 5], [1, 2]], then: ascending, equal, a zero count, a zero value, three in an entry, too large.
    assert_eq!(decode::<CoinList>(b"\x82\x82\x02\x05\x82\x01\x02").unwrap().total_minor(), 12);
    for bytes in [
        b"\x82\x82\x01\x02\x82\x02\x05".as_slice(),
        b"\x82\x82\x01\x05\x82\x02\x05",
        b"\x81\x82\x00\x05",
        b"\x81\x82\x01\x00",
        b"\x81\x83\x01\x05\x00",
        b"\x81\x82\x02\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x9f\x82\x02\x05\xff",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(decode::<CoinList>(bytes).is_err(), "{bytes:02x?}");
    }
    // As many entries as a list may have, and one more.
    let longest: Vec<(u32, u64)> = (1..=COIN_LIST_ENTRIES_MAX as u64).rev().map(|value| (1, value)).collect();
    let list = CoinList::new(longest).unwrap();
    let mut bytes = minicbor::to_vec(&list).unwrap();
    assert_eq!(decode::<CoinList>(&bytes).unwrap(), list);
    assert_eq!(bytes[..2], [0x98, 64]);
    bytes[1] = 65;
    assert!(decode::<CoinList>(&[bytes, vec![0x82, 1, 0x18, 99]].concat()).is_err());
    // ["FLO", 2, [1, 2]], then: descending, zero, none.
    assert_eq!(decode::<Denominations>(b"\x83\x63FLO\x02\x82\x01\x02").unwrap().values(), [1, 2]);
    for bytes in
        [b"\x83\x63FLO\x02\x82\x02\x01".as_slice(), b"\x83\x63FLO\x02\x81\x00", b"\x83\x63FLO\x02\x80"]
    {
        assert!(decode::<Denominations>(bytes).is_err(), "{bytes:02x?}");
    }
}

#[test]
fn denominations_one_two_five() {
    let all = series();
    assert_eq!(all.values()[..7], [1, 2, 5, 10, 20, 50, 100]);
    assert_eq!((all.values().len(), all.values()[23]), (24, 50_000_000));
    assert_eq!(
        (all.index_of(50), all.index_of(3), all.value(5), all.value(24)),
        (Some(5), None, Some(50), None)
    );
    let most = Denominations::one_two_five(jpy(), usize::MAX);
    assert_eq!(most.values().last(), Some(&10_000_000_000_000_000_000));
    assert!(most.values().len() <= DENOMINATIONS_MAX);
    assert_eq!(Denominations::one_two_five(jpy(), 0).values(), [1]);
    let list = all.split(Amount::new(1_888, Currency::FLO)).unwrap();
    let entries =
        [(1, 1000), (1, 500), (1, 200), (1, 100), (1, 50), (1, 20), (1, 10), (1, 5), (1, 2), (1, 1)];
    assert_eq!(list.entries(), entries);
    assert!(matches!(all.split(Amount::new(1, jpy())), Err(SplitError::CurrencyMismatch { .. })));
}

#[test]
fn denominations_of_ones_own() {
    let new = |values: &[u64]| Denominations::new(jpy(), values.to_vec());
    assert_eq!(new(&[]), Err(DenominationsError::Count));
    assert_eq!(new(&(1..=65).collect::<Vec<_>>()), Err(DenominationsError::Count));
    assert!(new(&(1..=64).collect::<Vec<_>>()).is_ok());
    assert_eq!(new(&[0, 1]), Err(DenominationsError::Zero));
    assert_eq!(new(&[1, 1]), Err(DenominationsError::Order));
    assert_eq!(new(&[2, 1]), Err(DenominationsError::Order));
    let odd = new(&[3, 5]).unwrap();
    assert_eq!(odd.split_minor(6).unwrap().entries(), [(2, 3)], "the largest first would fail");
    assert_eq!(
        odd.split_minor(9).unwrap().entries(),
        [(3, 3)],
        "one of five, and one of three on top, would fail"
    );
    let three = new(&[3, 5, 11]).unwrap();
    assert_eq!(
        three.split_minor(17).unwrap().entries(),
        [(1, 11), (2, 3)],
        "what was taken before stays taken"
    );
    let list = |values: [u64; 2]| CoinList::of_values(values).unwrap();
    assert!(odd.contains_all(&list([3, 5])) && !odd.contains_all(&list([3, 4])));
    for unreachable in [1, 2, 4, 7] {
        assert_eq!(odd.split_minor(unreachable), Err(SplitError::Unreachable));
    }
    assert_eq!(new(&[2]).unwrap().split_minor(u64::MAX), Err(SplitError::Unreachable));
    assert!(odd.split_minor(0).unwrap().is_empty());
}

#[test]
fn selections_by_hand() {
    let select = |purse: &[u64], target, coins_max| select(purse, target, coins_max, &series());
    assert_eq!(select(&[], 0, 32), Selection::Exact(vec![]));
    assert_eq!(select(&[5, 1, 2], 3, 32), Selection::Exact(vec![2, 1]));
    assert_eq!(select(&[1, 1, 1, 1, 1, 5], 5, 32), Selection::Exact(vec![5]), "few coins");
    assert_eq!(
        select(&[50, 20, 20, 20], 60, 32),
        Selection::Exact(vec![1, 2, 3]),
        "the largest first would fail"
    );
    assert_eq!(select(&[5, 2], 8, 32), Selection::Short { have: 7 });
    assert_eq!(select(&[u64::MAX, u64::MAX, 1], u64::MAX, 32), Selection::Exact(vec![0]));
    let list = |values: &[u64]| CoinList::of_values(values.iter().copied()).unwrap();
    assert_eq!(
        select(&[100, 10, 50], 7, 32),
        Selection::Change { give: vec![1], exact: list(&[5, 2]), back: list(&[2, 1]) },
        "the smallest coin that suffices"
    );
    assert_eq!(
        select(&[5, 20, 20, 2], 41, 32),
        Selection::Change { give: vec![2, 1, 0], exact: list(&[20, 20, 1]), back: list(&[2, 2]) },
    );
    assert_eq!(select(&[5], 3, 1), Selection::NotPayable, "3 needs two coins");
    assert_eq!(select(&[5], 5, 0), Selection::NotPayable);
    assert_eq!(select(&[0, 5, 0], 5, 1), Selection::Exact(vec![1]));
}

/// 100 coins of 1, at most 32 a message: merging goes on until the payment is possible.
#[test]
fn small_coins_are_merged() {
    let denominations = series();
    let mut purse = vec![1u64; 100];
    for changes in 0..10 {
        match select(&purse, 99, 32, &denominations) {
            Selection::Exact(coins) => {
                assert!(coins.len() <= 32 && changes > 0);
                return;
            }
            Selection::Change { give, exact, back } => {
                assert!(give.len() <= 32);
                let got: Vec<u64> = exact.values().chain(back.values()).collect();
                assert!(got.len() < give.len(), "a merge saves coins");
                purse =
                    (0..purse.len()).filter(|coin| !give.contains(coin)).map(|coin| purse[coin]).collect();
                purse.extend(got);
                assert_eq!(purse.iter().sum::<u64>(), 100);
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("merging does not end");
}

/// Every subset of the purse: the fewest coins that make up the target.
fn fewest_by_brute_force(purse: &[u64], target: u64) -> Option<usize> {
    (0u32..1 << purse.len())
        .filter(|set| (0..purse.len()).filter(|i| set >> i & 1 == 1).map(|i| purse[i]).sum::<u64>() == target)
        .map(|set| set.count_ones() as usize)
        .min()
}

fn small_purse() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(vec![1u64, 2, 5, 10, 20, 50, 100]), 0..11),
        prop::collection::vec(1u64..60, 0..11),
    ]
}

proptest! {
    #[test]
    fn parse_of_print_is_the_amount(minor in any::<u64>(), currency in any_currency()) {
        let amount = Amount::new(minor, currency);
        prop_assert_eq!(Amount::parse(&amount.to_string(), &[currency]), Ok(amount));
        let bytes = minicbor::to_vec(amount).unwrap();
        prop_assert_eq!(decode::<Amount>(&bytes).unwrap(), amount);
        let bytes = minicbor::to_vec(currency).unwrap();
        prop_assert_eq!(decode::<Currency>(&bytes).unwrap(), currency);
        let bytes = minicbor::to_vec(currency.code()).unwrap();
        prop_assert_eq!(decode::<CurrencyCode>(&bytes).unwrap(), currency.code());
    }

    #[test]
    fn no_text_panics(text in "[0-9., A-Z+-]{0,24}") {
        if let Ok(amount) = text.parse::<Amount>() {
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }
    }

    #[test]
    fn a_split_has_the_total(minor in 0..u64::from(u32::MAX) * 50_000_000) {
        let amount = Amount::new(minor, Currency::FLO);
        let list = series().split(amount).unwrap();
        prop_assert_eq!(list.total(Currency::FLO).unwrap(), amount);
        prop_assert!(series().contains_all(&list));
        let bytes = minicbor::to_vec(&list).unwrap();
        prop_assert_eq!(decode::<CoinList>(&bytes).unwrap(), list);
    }

    #[test]
    fn a_split_has_the_fewest_coins(minor in 0u64..300) {
        // The fewest coins for each amount up to the one asked for, from smaller amounts.
        let mut fewest = vec![0u64];
        for amount in 1..=minor {
            let smaller = series().values().iter().filter(|v| **v <= amount).map(|v| fewest[(amount - v) as usize]).min();
            fewest.push(smaller.unwrap() + 1);
        }
        prop_assert_eq!(series().split_minor(minor).unwrap().count(), fewest[minor as usize]);
    }

    #[test]
    fn lists_of_single_coins(values in prop::collection::vec(1u64..40, 0..50)) {
        let list = CoinList::of_values(values.clone()).unwrap();
        prop_assert_eq!(list.total_minor(), values.iter().sum::<u64>());
        prop_assert_eq!(list.count(), values.len() as u64);
        let mut sorted = values;
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        prop_assert_eq!(list.values().collect::<Vec<_>>(), sorted);
        prop_assert_eq!(CoinList::new(list.entries().to_vec()), Ok(list));
    }

    #[test]
    fn denominations_survive_their_encoding(values in prop::collection::btree_set(1..u64::MAX, 1..64)) {
        let list = Denominations::new(Currency::FLO, values.into_iter().collect()).unwrap();
        prop_assert_eq!(decode::<Denominations>(&minicbor::to_vec(&list).unwrap()).unwrap(), list);
    }

    #[test]
    fn selections_are_right(purse in small_purse(), target in 0u64..400, coins_max in 0usize..12) {
        let have: u64 = purse.iter().sum();
        let fewest = fewest_by_brute_force(&purse, target);
        let selection = select(&purse, target, coins_max, &series());
        prop_assert_eq!(matches!(selection, Selection::Short { .. }), have < target);
        let exact_possible = fewest.is_some_and(|coins| coins <= coins_max);
        prop_assert_eq!(matches!(selection, Selection::Exact(_)), exact_possible);
        match selection {
            Selection::Exact(coins) => {
                prop_assert_eq!(Some(coins.len()), fewest, "no more coins than needed");
                prop_assert_eq!(coins.iter().map(|coin| purse[*coin]).sum::<u64>(), target);
                prop_assert!(distinct(&coins));
            }
            Selection::Change { give, exact, back } => {
                prop_assert!(distinct(&give) && give.len() <= coins_max);
                let given = give.iter().map(|coin| purse[*coin]).sum::<u64>();
                prop_assert_eq!(exact.total_minor() + back.total_minor(), given);
                prop_assert!(series().contains_all(&exact) && series().contains_all(&back));
                if exact.is_empty() {
                    prop_assert!(back.count() < give.len() as u64, "a merge saves coins");
                } else {
                    prop_assert_eq!(exact.total_minor(), target);
                    prop_assert!(exact.count() <= coins_max as u64);
                }
            }
            Selection::Short { have: reported } => prop_assert_eq!(reported, have),
            Selection::NotPayable => {
                let coins = series().split_minor(target).unwrap().count();
                let largest: u64 = {
                    let mut sorted = purse.clone();
                    sorted.sort_unstable_by(|a, b| b.cmp(a));
                    sorted.iter().take(coins_max).sum()
                };
                prop_assert!(coins > coins_max as u64 || largest < target);
            }
        }
    }

    #[test]
    fn large_purses_end_soon(
        purse in prop::collection::vec(prop::sample::select(series().values().to_vec()), 0..400),
        share in 0u64..=100,
    ) {
        let have: u64 = purse.iter().sum();
        let target = have / 100 * share;
        match select(&purse, target, 32, &series()) {
            Selection::Exact(coins) => {
                prop_assert!(distinct(&coins) && coins.len() <= 32);
                prop_assert_eq!(coins.iter().map(|coin| purse[*coin]).sum::<u64>(), target);
            }
            Selection::Change { give, exact, back } => {
                let given = give.iter().map(|coin| purse[*coin]).sum::<u64>();
                prop_assert!(distinct(&give) && give.len() <= 32);
                prop_assert_eq!(exact.total_minor() + back.total_minor(), given);
            }
            Selection::NotPayable => {}
            Selection::Short { .. } => prop_assert!(false, "the purse has enough"),
        }
    }
}

fn distinct(coins: &[usize]) -> bool {
    let mut sorted = coins.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len() == coins.len()
}
