//! What is handed on as text or lies in the open: coins, cash, cards, orders of key holders, key lists, certificates.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use florin_books::TokenNumber;
use florin_coin::cash::{self, CARD_PREFIX, CASH_PREFIX, Cash, CashSeal, SealedCash};
use florin_coin::coin::COINS_PREFIX;
use florin_coin::{CoinSet, HeldCoin};
use florin_crypto::{NumberCipher, SeededEntropy, encode};
use florin_operator::control::{Action, ORDER_PREFIX, SignedOrder};
use florin_operator::{KeyHolder, KnownHolder};
use florin_parties::{Certificate, SignedKeyList};
use florin_shell::Passphrase;

use crate::crypto::{CHEAP, secret};
use crate::edit::edited;
use crate::say::{choice, fine, text};
use crate::world::{NOW, World, set};

pub(crate) const WORDS: &[&str] =
    &["florincoins1", "florincash1", "florincard1", "florinorder1", " ", "\n", "\u{a0}", "AAAA", "="];

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// A text with a prefix around bytes: as it stands, or around the input.
fn around(prefix: &str, how: u8, data: &[u8]) -> Option<String> {
    if how & 1 == 0 {
        return text(data).map(str::to_owned);
    }
    Some(format!("{prefix}{}", BASE64URL_NOPAD.encode(data)))
}

/// Coins as text and in a purse, and the numbers behind their ids.
pub(crate) fn token(data: &[u8]) {
    let (what, data) = choice(data);
    let how = what >> 4;
    match what % 3 {
        0 => {
            let Some(text) = around(COINS_PREFIX, how, data) else { return };
            let Some(coins) = CoinSet::from_text(&text) else { return };
            assert_eq!(coins.to_text(), text.trim(), "two texts of the same coins");
            let sum: u128 = coins.coins.iter().map(|coin| u128::from(coin.value)).sum();
            assert_eq!(sum, u128::from(coins.total.minor()), "coins that do not add up");
        }
        1 => {
            if let Some(held) = HeldCoin::from_bytes(data) {
                assert_eq!(held.to_bytes(), data);
            }
        }
        _ => {
            let Some(block) = data.first_chunk::<16>() else { return };
            let cipher = NumberCipher::new(&secret("ids"));
            assert_eq!(cipher.decipher(cipher.encipher(*block)), *block);
            for block in [*block, cipher.decipher(*block)] {
                if let Some(number) = TokenNumber::from_block(block) {
                    assert_eq!(number.to_block(), block, "two blocks of one number");
                }
            }
        }
    }
}

struct Envelopes {
    bearer: Vec<u8>,
    locked: Vec<u8>,
    mine: Vec<u8>,
    cash: Cash,
}

static CASH: LazyLock<Envelopes> = LazyLock::new(|| {
    let world = &*WORLD;
    let coins = set(&World::new().take(&[100, 20]));
    let cash = Cash { id: [3; 16], coins, memo: "tea".into(), at: NOW };
    let me = fine(Certificate::verify(&world.certificate, &world.list), "a certificate");
    let bytes = |to: &CashSeal<'_>| {
        let text = fine(cash::seal(world.operator(), &cash, to, &mut SeededEntropy::new("cash")), "cash");
        let body = text.strip_prefix(CASH_PREFIX).unwrap_or_default();
        fine(BASE64URL_NOPAD.decode(body.as_bytes()), "a text")
    };
    Envelopes {
        bearer: bytes(&CashSeal::Bearer),
        locked: bytes(&CashSeal::Passphrase(b"passphrase", CHEAP)),
        mine: bytes(&CashSeal::Receiver(&me)),
        cash: cash.clone(),
    }
});

/// Cash with edits, or from nothing: what opens is what was sealed, but for what anybody can write, which is a bearer's.
pub(crate) fn cash(data: &[u8]) {
    let (world, made) = (&*WORLD, &*CASH);
    let (what, data) = choice(data);
    let good = match what % 3 {
        0 => &made.bearer,
        1 => &made.locked,
        _ => &made.mine,
    };
    let text = match what / 64 {
        0 | 1 => format!("{CASH_PREFIX}{}", BASE64URL_NOPAD.encode(&edited(good, data))),
        2 => format!("{CASH_PREFIX}{}", BASE64URL_NOPAD.encode(data)),
        _ => text(data).unwrap_or_default().to_owned(),
    };
    if let Some(bytes) = cash::read_card(&text) {
        assert_eq!(cash::read_card(&cash::card(&bytes)), Some(bytes));
        assert!(text.split_whitespace().collect::<String>().starts_with(CARD_PREFIX));
    }
    let Ok(sealed) = SealedCash::read(&text) else { return };
    let body: String = text.split_whitespace().collect();
    let again = format!("{CASH_PREFIX}{}", BASE64URL_NOPAD.encode(&encode(&sealed)));
    assert_eq!(body, again, "two texts of the same cash");
    if is_dear(&sealed) {
        return;
    }
    let Ok(opened) = sealed.open(world.operator(), &world.me, Some(b"passphrase")) else {
        assert!(encode(&sealed) != *good, "good cash does not open");
        return;
    };
    assert!(opened.coins.adds_up() && cash::is_memo(&opened.memo) && opened.id == sealed.id.0);
    if encode(&sealed) == *good || what / 64 < 2 {
        assert!(opened == made.cash, "changed cash opens as something else");
        assert!(encode(&sealed) == *good, "changed cash opens");
    }
}

/// Whether its key file asks for more than a test pays often.
fn is_dear(sealed: &SealedCash) -> bool {
    let bytes = encode(sealed);
    let costs = || {
        let mut d = minicbor::Decoder::new(&bytes);
        d.array().ok()?;
        (0..3).try_for_each(|_| d.skip()).ok()?;
        let mut d = minicbor::Decoder::new(d.bytes().ok()?);
        d.array().ok()?;
        d.str().ok()?;
        d.u64().ok()?;
        Some((d.u32().ok()?, d.u32().ok()?))
    };
    costs().is_some_and(|(memory, passes)| memory > 1024 || passes > 4)
}

/// A key list or a certificate with edits, or from nothing: it verifies only as it was signed.
pub(crate) fn directory(data: &[u8]) {
    let world = &*WORLD;
    let (what, data) = choice(data);
    let good = if what & 1 == 0 { &world.signed_list } else { &world.certificate };
    let bytes = if what & 2 == 0 { edited(good, data) } else { data.to_vec() };
    if what & 1 == 0 {
        // Not pinned, any operator's list verifies, if it is its own.
        match SignedKeyList::verify(&bytes, None) {
            Ok(list) => {
                assert!(bytes == *good && list == world.list, "a changed list verifies");
                assert!(
                    SignedKeyList::verify(&bytes, Some(world.me.id())).is_err(),
                    "pinned to somebody else"
                );
            }
            Err(_) => assert!(bytes != *good, "a good list does not verify"),
        }
        assert!(SignedKeyList::sign(&world.list, &world.me.signing).is_err(), "signed by somebody else");
    } else {
        match Certificate::verify(&bytes, &world.list) {
            Ok(certificate) => {
                assert!(bytes == *good && certificate.id == world.me.id(), "a changed certificate")
            }
            Err(_) => assert!(bytes != *good, "a good certificate does not verify"),
        }
    }
}

struct Orders {
    holders: [KnownHolder; 2],
    good: Vec<u8>,
}

static ORDERS: LazyLock<Orders> = LazyLock::new(|| {
    let dir = fine(tempfile::tempdir(), "a folder");
    let holder = |name: &str| {
        let path = dir.path().join(name);
        fine(
            KeyHolder::create(&path, name, &Passphrase::none(), &mut SeededEntropy::new(name)),
            "a key holder",
        )
    };
    let (ada, bob) = (holder("Ada"), holder("Bob"));
    let action = Action::RevokeEpoch(florin_books::Epoch(3), "lost".into());
    let mut rng = SeededEntropy::new("order");
    let mut order = SignedOrder::new(WORLD.operator(), action, NOW, 3_600_000, &mut rng);
    fine(order.sign(&ada), "a signature");
    fine(order.sign(&bob), "a signature");
    Orders { holders: [ada.known(), bob.known()], good: encode(&order) }
});

/// An order of two key holders with edits, or from nothing: nobody else makes one, and a text has one order.
pub(crate) fn order(data: &[u8]) {
    let made = &*ORDERS;
    let (what, data) = choice(data);
    let bytes = if what & 2 == 0 { edited(&made.good, data) } else { data.to_vec() };
    let Some(text) = (if what & 4 == 0 { around(ORDER_PREFIX, 1, &bytes) } else { around("", 0, data) })
    else {
        return;
    };
    let Ok(order) = SignedOrder::from_text(&text) else {
        assert!(what & 4 != 0 || bytes != made.good, "a good order is not read");
        return;
    };
    assert_eq!(order.to_text(), text.trim(), "two texts of one order");
    match order.verify(WORLD.operator(), &made.holders, NOW) {
        Ok((_, names)) => {
            let distinct = names.first() != names.last();
            assert!(names.len() < 2 || distinct, "one holder counts as two");
            assert!(
                names.len() < 2 || bytes == made.good || what & 4 != 0,
                "a changed order is signed by two"
            );
        }
        Err(_) => assert!(bytes != made.good || what & 4 != 0, "a good order does not verify"),
    }
}
