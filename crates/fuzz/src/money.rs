//! Amounts as text, the encodings of money, and the choice of coins.

use florin_crypto::{decode_strict, encode};
use florin_money::{
    Amount, CoinList, Currency, CurrencyCode, DENOMINATIONS_DEFAULT, Denominations, Selection, select,
};

use crate::say::{choice, fine, one_encoding, some, text};

pub(crate) const WORDS: &[&str] =
    &[" FLO", " EUR", " JPY", " BEANS", "184467440737095516", ".15", "0", "٣", "\u{a0}"];

/// A text is an amount or not; one that is one is written in one form, which reads as the same.
pub(crate) fn amount(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let beans = fine(Currency::own("BEANS", 4), "an own currency");
    for known in [&[][..], &[Currency::FLO], &[beans, Currency::FLO]] {
        let Ok(amount) = Amount::parse(text, known) else { continue };
        assert_eq!(Amount::parse(&amount.to_string(), known), Ok(amount), "{text:?}");
        assert_eq!(decode_strict::<Amount>(&encode(&amount)), Ok(amount));
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        let (number, code) = some(text.split_once(' '), "an amount without a blank");
        assert!(number.chars().all(digits) && code == amount.currency().code().as_str(), "{text:?}");
    }
    if let Ok(code) = text.parse::<CurrencyCode>() {
        assert_eq!(code.as_str(), text);
        if let Ok(currency) = Currency::iso(text) {
            assert_eq!(Currency::own(text, currency.exponent()), Ok(currency));
        }
    }
}

/// Everything of money that has an encoding.
pub(crate) fn encodings(data: &[u8]) {
    let (what, data) = choice(data);
    match what % 5 {
        0 => drop(one_encoding::<Amount>(data)),
        1 => drop(one_encoding::<Currency>(data)),
        2 => drop(one_encoding::<CurrencyCode>(data)),
        3 => {
            if let Some(list) = one_encoding::<CoinList>(data) {
                assert_eq!(CoinList::new(list.entries().to_vec()), Ok(list.clone()));
                let total = list.entries().iter().map(|(n, v)| u128::from(*n).saturating_mul(u128::from(*v)));
                assert_eq!(total.sum::<u128>(), u128::from(list.total_minor()));
            }
        }
        _ => {
            if let Some(d) = one_encoding::<Denominations>(data) {
                assert!(d.values().is_sorted() && d.values().first() > Some(&0));
                for (index, value) in (0..).zip(d.values()) {
                    assert_eq!((d.value(index), d.index_of(*value)), (Some(*value), Some(index)));
                }
                if let Ok(list) = d.split_minor(d.values().iter().fold(0, |sum, v| sum ^ v)) {
                    assert!(d.contains_all(&list));
                }
            }
        }
    }
}

/// A purse, a price and a limit: what is chosen is worth the price, or what is changed is worth what is given for it.
pub(crate) fn selection(data: &[u8]) {
    let (max, rest) = choice(data);
    let (a, rest) = choice(rest);
    let (b, rest) = choice(rest);
    let target = u64::from(a).saturating_mul(u64::from(b).saturating_mul(u64::from(b)).max(1));
    let series = Denominations::one_two_five(Currency::FLO, DENOMINATIONS_DEFAULT);
    let value = |byte: &u8| match byte {
        255 => u64::MAX,
        254 => 0,
        _ => series.value(u16::from(*byte % 24)).unwrap_or(1),
    };
    let purse: Vec<u64> = rest.iter().take(300).map(value).collect();
    let max = usize::from(max % 65);
    let worth = |coins: &[usize]| -> u128 {
        coins.iter().map(|coin| u128::from(some(purse.get(*coin).copied(), "no such coin"))).sum()
    };
    let distinct = |coins: &[usize]| {
        let mut sorted = coins.to_vec();
        sorted.sort_unstable();
        sorted.windows(2).all(|two| two.first() != two.last())
    };
    let have: u128 = purse.iter().map(|v| u128::from(*v)).sum();
    match select(&purse, target, max, &series) {
        Selection::Exact(coins) => {
            assert!(coins.len() <= max && distinct(&coins));
            assert_eq!(worth(&coins), u128::from(target));
        }
        Selection::Change { give, exact, back } => {
            assert!(give.len() <= max && distinct(&give));
            let got = u128::from(exact.total_minor()).saturating_add(u128::from(back.total_minor()));
            assert_eq!(got, worth(&give));
            assert!(exact.is_empty() || exact.total_minor() == target);
        }
        Selection::Short { have: said } => {
            assert!(have < u128::from(target));
            assert_eq!(u128::from(said), have);
        }
        Selection::NotPayable => assert!(have >= u128::from(target)),
    }
}
