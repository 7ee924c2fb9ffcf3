//! Refund: a holder gets his unspent coins again after a loss, nobody else does, and nothing is made or lost by it.
//! Source: VarietyCash §3 (Refund), §2.4; docs/rails/coin.md, "Refund"; ADR 0026.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

mod support;

use florin_books::{OnceKey, PartyId, Transition, TxId};
use florin_coin::issuer::{
    CoinModule, HOLDER_ENTRIES_MAX, HolderEntry, HolderList, PendingIssuance, SoftwareModule,
};
use florin_coin::kinds::{CLAIM, HOLDER};
use florin_coin::messages::Outcome;
use florin_coin::purchase_messages::WDesc;
use florin_coin::purchaser;
use florin_coin::refund::{self, Holder, Refunded};
use florin_coin::refund_messages::RefundReq;
use florin_coin::{Coin, CoinCause, HolderChoice, Prepared, holder, payer};
use florin_crypto::{ByteArray, SigningKey, cbor, digest};
use florin_parties::Roles;
use florin_parties::bank::BankNews;
use florin_parties::sealed::sign;
use florin_rail::{Context, Refusal};
use support::*;

fn key(n: u64) -> SigningKey {
    SigningKey::from_seed(&secret("refund", n))
}

fn ask(w: &mut World, holder: &Holder<'_>) -> Prepared {
    let (issuer, tx) = (w.key(), (TxId::new(w.draw()), w.exp()));
    refund::refund(&issuer, holder, tx, &mut w.entropy).unwrap()
}

fn refunded(w: &mut World, holder: &Holder<'_>) -> Result<Vec<Coin>, Refusal> {
    let asked = ask(w, holder);
    let answer = w.post(asked.path, &asked.body)?;
    Ok(coins_of(&read(w, &asked, &answer)))
}

fn read(w: &World, asked: &Prepared, answer: &[u8]) -> Refunded {
    refund::read_refund(&asked.pending, answer, &w.list).unwrap()
}

fn coins_of(refunded: &Refunded) -> Vec<Coin> {
    refunded.sets.iter().flat_map(|set| set.coins.clone()).collect()
}

/// Change, for a holder.
fn change(w: &mut World, coins: &[Coin], values: &[u64], holder: HolderChoice) -> Result<Vec<Coin>, Refusal> {
    let (issuer, tx) = (w.key(), (TxId::new(w.draw()), w.exp()));
    let asked = holder::change_for(&issuer, set(coins), list(values), holder, tx, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body)?;
    let news = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
    assert_eq!(news.holder, holder);
    Ok(news.coins)
}

/// What is wrong with a coin, as its holder hears when he gives it for change.
fn cause(w: &mut World, coin: &Coin) -> Option<CoinCause> {
    let (issuer, txid, exp) = (w.key(), TxId::new(w.draw()), w.exp());
    let one = std::slice::from_ref(coin);
    let asked = holder::change(&issuer, set(one), list(&[coin.value]), txid, exp, &mut w.entropy).unwrap();
    let answer = w.post(asked.path, &asked.body).unwrap();
    let news = holder::read_exchange(&asked.pending, &answer, &w.list).unwrap();
    news.causes.first().map(|bad| bad.cause)
}

fn pay(w: &mut World, shop: &Person, coins: &[Coin]) -> Outcome {
    let deal = w.deal(shop, coins);
    let values: Vec<u64> = coins.iter().map(|c| c.value).collect();
    let v = w.validate(shop, &deal, &values);
    w.read(&v).verdict.outcome
}

#[test]
fn refund_gives_a_named_holder_exactly_what_is_unspent() {
    let mut w = World::new(300);
    let (me, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let first = w.buy_named(&me, &[100, 50, 20]);
    let second = w.buy_named(&me, &[10, 5]);
    assert_eq!(pay(&mut w, &shop, &first[..1]), Outcome::Paid);
    let asked = ask(&mut w, &Holder::Named(&me.keys));
    let answer = w.post(asked.path, &asked.body).unwrap();
    let got = coins_of(&read(&w, &asked, &answer));
    let mut left: Vec<u64> = first.iter().chain(&second).map(|c| c.value).collect();
    left.sort_unstable();
    assert_eq!((left.iter().sum::<u64>() - 100, worth(&got)), (85, 85));
    assert_eq!(w.post(asked.path, &asked.body).unwrap(), answer, "a lost answer comes again");
    assert_eq!(w.live_worth(), 185, "nothing was made, nothing was lost");
    // The old ones are worth nothing, the new ones pay.
    assert_eq!(cause(&mut w, &second[0]), Some(CoinCause::Spent));
    assert_eq!(pay(&mut w, &shop, &got), Outcome::Paid);
    let again = refunded(&mut w, &Holder::Named(&me.keys)).unwrap();
    assert_eq!(worth(&again), 0, "payments that were made stay made");
    assert_eq!(w.live_worth(), 185);
    w.audit();
}

#[test]
fn refund_by_a_one_time_key_names_nobody() {
    let mut w = World::new(301);
    let me = w.enrolled(Roles::PURCHASER);
    let coins = w.buy_refundable(&me, &[100, 20], &key(1));
    let got = refunded(&mut w, &Holder::Key(&key(1))).unwrap();
    assert_eq!((worth(&got), cause(&mut w, &coins[0])), (120, Some(CoinCause::Spent)));
    // The lane of coins has the key and not the purchaser; that of people has the purchaser and not the key (V10).
    let key = key(1).verify_key().to_bytes();
    let in_books = |bytes: &[u8]| w.books.records.iter().any(|r| holds(&cbor::encode(r), bytes));
    let in_identity = |bytes: &[u8]| w.identity.records.iter().any(|r| holds(&cbor::encode(r), bytes));
    assert!(in_books(&key) && !in_identity(&key));
    let issued = w.books.records.iter().filter(|r| !r.core.created.is_empty());
    assert!(issued.clone().count() > 1);
    assert!(issued.clone().all(|r| !holds(&cbor::encode(r), me.id().bytes())));
    w.audit();
}

#[test]
fn refund_is_not_for_whoever_did_not_ask_for_it_when_he_bought() {
    let mut w = World::new(302);
    let me = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&me, &[100]);
    assert_eq!(slug(&refunded(&mut w, &Holder::Named(&me.keys))), "nothing-to-refund");
    assert_eq!(slug(&refunded(&mut w, &Holder::Key(&key(1)))), "nothing-to-refund");
    assert!(w.books.documents.keys().all(|k| k.kind != HOLDER));
    assert_eq!(cause(&mut w, &coins[0]), None);
    w.audit();
}

#[test]
fn refund_of_anothers_coins_is_refused_and_changes_nothing() {
    let mut w = World::new(303);
    let (me, eve) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::PURCHASER));
    w.buy_named(&me, &[100]);
    w.buy_refundable(&me, &[50], &key(1));
    let (issuer, exp) = (w.list.operator, w.exp());
    let request = |sender, holder| RefundReq {
        context: Context::new("coin", "refund", sender, issuer),
        holder,
        txid: TxId::new([9; 16]),
        exp,
    };
    let named = HolderChoice::Named(me.id());
    let by_key = HolderChoice::Key(key(1).verify_key());
    let before = (w.books.records.len(), w.live_worth());
    let cases = [
        ("signed by another participant", &eve.keys.signing, request(me.id(), named)),
        ("by another's id", &eve.keys.signing, request(eve.id(), named)),
        ("by nobody", &me.keys.signing, request(PartyId::NONE, named)),
        ("a named holder by a one-time key", &key(1), request(me.id(), named)),
        ("a key by its owner's registration key", &me.keys.signing, request(PartyId::NONE, by_key)),
        ("a key by another key", &key(2), request(PartyId::NONE, by_key)),
        ("a key by its owner, named", &key(1), request(me.id(), by_key)),
        ("nobody's coins", &me.keys.signing, request(PartyId::NONE, HolderChoice::Nobody)),
        ("the name of nobody", &me.keys.signing, request(PartyId::NONE, HolderChoice::Named(PartyId::NONE))),
        ("an unknown participant", &key(3), {
            let id = florin_parties::party_id(&key(3).verify_key());
            request(id, HolderChoice::Named(id))
        }),
    ];
    for (what, key, request) in cases {
        let body = w.sealed("refund", &sign(key, &request));
        assert_eq!(slug(&w.post(refund::REFUND_PATH, &body)), "bad-request", "{what}");
    }
    assert_eq!((w.books.records.len(), w.live_worth()), before);
    // Somebody else's txid, as somebody else: neither is in the other's way.
    let mine = w.sealed("refund", &sign(&me.keys.signing, &request(me.id(), named)));
    assert_eq!(slug(&w.post(refund::REFUND_PATH, &mine)), "fine");
    let theirs = w.sealed("refund", &sign(&key(1), &request(PartyId::NONE, by_key)));
    assert_eq!(slug(&w.post(refund::REFUND_PATH, &theirs)), "fine");
    // Another request under a taken id: said only to the holder.
    let again = w.sealed("refund", &sign(&me.keys.signing, &request(me.id(), named)));
    assert_eq!(slug(&w.post(refund::REFUND_PATH, &again)), "request-id-reused");
    let forged = w.sealed("refund", &sign(&eve.keys.signing, &request(me.id(), named)));
    assert_eq!(slug(&w.post(refund::REFUND_PATH, &forged)), "bad-request");
    w.audit();
}

/// The later of two refunds has the coins, so a refund whose answer is lost with the wallet is no loss either.
#[test]
fn refund_twice_at_once_makes_nothing_and_the_later_one_has_the_coins() {
    let mut w = World::new(304);
    let me = w.enrolled(Roles::PURCHASER);
    w.buy_named(&me, &[100, 50]);
    let (first, second) = (ask(&mut w, &Holder::Named(&me.keys)), ask(&mut w, &Holder::Named(&me.keys)));
    // The second comes between the first one's decision and its commit.
    let (path, body) = (second.path, second.body.clone());
    w.interruption = Some(Box::new(move |w| drop(w.post(path, &body).unwrap())));
    let answer = w.post(first.path, &first.body).unwrap();
    let winner = coins_of(&read(&w, &first, &answer));
    let answer = w.post(second.path, &second.body).unwrap();
    let loser = coins_of(&read(&w, &second, &answer));
    assert_eq!((worth(&winner), worth(&loser), w.live_worth()), (150, 150, 150));
    assert_eq!(cause(&mut w, &loser[0]), Some(CoinCause::Spent));
    assert_eq!(cause(&mut w, &winner[0]), None);
    w.audit();
}

#[test]
fn refund_reaches_coins_from_change_and_payments_that_inherit_the_choice() {
    let mut w = World::new(305);
    let (me, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy_refundable(&me, &[100, 50], &key(1));
    let choice = HolderChoice::Key(key(1).verify_key());
    let small = change(&mut w, &coins[..1], &[50, 20, 20, 10], choice).unwrap();
    let smaller = change(&mut w, &small[..1], &[small[0].value], choice).unwrap();
    assert_eq!(pay(&mut w, &shop, &smaller), Outcome::Paid);
    // What is changed for nobody is out of reach.
    change(&mut w, &small[3..], &[small[3].value], HolderChoice::Nobody).unwrap();
    let left = 150 - smaller[0].value - small[3].value;
    let got = refunded(&mut w, &Holder::Key(&key(1))).unwrap();
    assert_eq!((worth(&got), w.live_worth()), (left, 150));
    // A payee's new coins belong to whom V-DESC names.
    for (holder, by) in [
        (HolderChoice::Named(shop.id()), Holder::Named(&shop.keys)),
        (HolderChoice::Key(key(7).verify_key()), Holder::Key(&key(7))),
    ] {
        let part = refunded(&mut w, &Holder::Key(&key(1))).unwrap();
        let coin = part.iter().min_by_key(|c| c.value).unwrap().clone();
        let deal = w.deal(&shop, std::slice::from_ref(&coin));
        let asked = w.request(&shop, &deal.presented, refresh(&[coin.value]).held_by(holder));
        let answer = w.post(asked.path, &asked.body);
        assert_eq!(w.read(&Validated { asked, answer }).verdict.outcome, Outcome::Paid);
        assert_eq!(worth(&refunded(&mut w, &by).unwrap()), coin.value);
    }
    w.audit();
}

#[test]
fn refund_in_v_desc_names_the_payee_or_a_key_and_money_has_no_holder() {
    let mut w = World::new(306);
    let (me, shop) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::REDEEMER));
    let coins = w.buy(&me, &[100]);
    let deal = w.deal(&shop, &coins);
    let money = florin_coin::payee::redeem(flo(100));
    for v_desc in [
        refresh(&[100]).held_by(HolderChoice::Named(me.id())),
        money.clone().held_by(HolderChoice::Named(shop.id())),
        money.held_by(HolderChoice::Key(key(1).verify_key())),
    ] {
        let asked = w.request(&shop, &deal.presented, v_desc);
        assert_eq!(slug(&w.post(asked.path, &asked.body)), "bad-request");
    }
    assert_eq!(cause(&mut w, &coins[0]), None);
}

/// Whoever comes first has the coin; its value is in one place only.
#[test]
fn refund_races_with_a_payment_of_the_same_coins_and_exactly_one_wins() {
    for late in [false, true] {
        let mut w = World::new(307);
        let (me, shop) = (w.enrolled(Roles::PURCHASER), w.person());
        let coins = w.buy_named(&me, &[100, 50, 20]);
        assert_eq!(pay(&mut w, &shop, &coins[2..]), Outcome::Paid);
        let deal = w.deal(&shop, &coins[..1]);
        let payment = w.request(&shop, &deal.presented, refresh(&[100]));
        let (path, body) = (payment.path, payment.body.clone());
        let interruption: Box<dyn FnOnce(&mut World)> = Box::new(move |w| drop(w.post(path, &body).unwrap()));
        // Before the first decision's commit, or before that of the second, which knows the coin spent before.
        if late {
            w.second_interruption = Some(interruption);
        } else {
            w.interruption = Some(interruption);
        }
        let got = refunded(&mut w, &Holder::Named(&me.keys)).unwrap();
        assert_eq!((worth(&got), w.live_worth()), (50, 170), "late: {late}");
        let answer = w.post(payment.path, &payment.body);
        let v = Validated { asked: payment, answer };
        assert_eq!(w.read(&v).verdict.outcome, Outcome::Paid);
        w.audit();
    }
}

#[test]
fn refund_before_the_payment_denies_it_and_the_payer_hears_why() {
    let mut w = World::new(308);
    let (me, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy_named(&me, &[100, 50]);
    let deal = w.deal(&shop, &coins[..1]);
    // An envelope that its receiver has not brought yet can so be taken back.
    assert_eq!(worth(&refunded(&mut w, &Holder::Named(&me.keys)).unwrap()), 150);
    let v = w.validate(&shop, &deal, &[100]);
    let issuance = w.read(&v);
    assert_eq!((issuance.verdict.outcome, issuance.coins.len()), (Outcome::Denied, 0));
    let news = payer::read_payer_verdict(&deal.paying.pending, &issuance.for_payer, &w.list).unwrap();
    assert_eq!(news.causes[0].cause, CoinCause::Spent);
    assert_eq!(w.live_worth(), 150);
    w.audit();
}

#[test]
fn refund_is_refused_to_a_blocked_participant_whose_coins_still_pay() {
    let mut w = World::new(309);
    let (me, shop) = (w.enrolled(Roles::PURCHASER), w.person());
    let coins = w.buy_named(&me, &[100]);
    w.block(me.id());
    assert_eq!(slug(&refunded(&mut w, &Holder::Named(&me.keys))), "participant-blocked");
    assert_eq!(pay(&mut w, &shop, &coins), Outcome::Paid);
    w.audit();
}

#[test]
fn refund_takes_coins_in_grace_and_none_after_it() {
    let mut w = World::new(310);
    let me = w.enrolled(Roles::PURCHASER);
    let coins = w.buy_named(&me, &[100]);
    w.buy_refundable(&me, &[50], &key(1));
    w.now = coins[0].expires.plus_ms(1);
    let got = refunded(&mut w, &Holder::Named(&me.keys)).unwrap();
    assert_eq!((worth(&got), got[0].expires > w.now), (100, true), "new coins for expired ones");
    w.now = w.issuer.coin_times(coins[0].epoch).unwrap().grace_until.unwrap().plus_ms(1);
    assert_eq!(worth(&refunded(&mut w, &Holder::Key(&key(1))).unwrap()), 0);
    assert_eq!(w.live_worth(), 150);
    w.audit();
}

/// A list with so many entries, as so many changes would have made it.
fn fill(w: &mut World, holder: HolderChoice, entries: usize) {
    let document = holder.document().unwrap();
    let mut list = HolderList::read(&w.books.documents[&document].value).unwrap();
    let epoch = list.entries[0].epoch;
    while list.entries.len() < entries {
        let n = u8::try_from(list.entries.len()).unwrap();
        let by = OnceKey { rail: 1, step: 8, party: PartyId::NONE, txid: [n; 16] };
        list.entries.push(HolderEntry { by, epoch });
    }
    let mut t = Transition::new(digest("test/fill", &[]), w.books.lane.seq());
    t.write(document, cbor::encode(&list));
    w.act(BOOKS, t);
}

#[test]
fn refund_empties_a_full_list_and_then_there_is_room_again() {
    let mut w = World::new(311);
    let me = w.enrolled(Roles::PURCHASER);
    let coins = w.buy_named(&me, &[100]);
    let named = HolderChoice::Named(me.id());
    let mut one = coins;
    for _ in 1..HOLDER_ENTRIES_MAX {
        one = change(&mut w, &one, &[100], named).unwrap();
    }
    let before = w.books.records.len();
    assert_eq!(slug(&change(&mut w, &one, &[100], named)), "refund-list-full");
    assert_eq!((w.books.records.len(), w.live_worth()), (before, 100), "nothing happened to the coin");
    let got = refunded(&mut w, &Holder::Named(&me.keys)).unwrap();
    assert_eq!(worth(&got), 100);
    let list = HolderList::read(&w.books.documents[&named.document().unwrap()].value).unwrap();
    assert_eq!(list.entries.len(), 1);
    change(&mut w, &got, &[50, 50], named).unwrap();
    w.audit();
}

/// Anybody can name anybody in an unsigned Change. Entries without a live coin go with the next refund, recorded, so
/// that such a guest cannot keep the list full.
#[test]
fn refund_ends_a_list_without_a_live_coin() {
    let mut w = World::new(312);
    let (me, guest) = (w.enrolled(Roles::PURCHASER), w.enrolled(Roles::PURCHASER));
    let coins = w.buy(&guest, &[100]);
    let named = HolderChoice::Named(me.id());
    let gift = change(&mut w, &coins, &[100], named).unwrap();
    change(&mut w, &gift, &[100], HolderChoice::Nobody).unwrap();
    let asked = ask(&mut w, &Holder::Named(&me.keys));
    let answer = w.post(asked.path, &asked.body).unwrap();
    assert!(read(&w, &asked, &answer).sets.is_empty());
    let list = HolderList::read(&w.books.documents[&named.document().unwrap()].value).unwrap();
    assert_eq!(list.entries, [], "emptied, but still known");
    assert_eq!(w.post(asked.path, &asked.body).unwrap(), answer);
    assert_eq!(worth(&refunded(&mut w, &Holder::Named(&me.keys)).unwrap()), 0);
    // And what is named and not spent is a gift.
    let coins = w.buy(&guest, &[50]);
    change(&mut w, &coins, &[50], named).unwrap();
    assert_eq!(worth(&refunded(&mut w, &Holder::Named(&me.keys)).unwrap()), 50);
    w.audit();
}

#[test]
fn refund_keeps_entries_whose_record_is_not_there() {
    let mut w = World::new(313);
    let me = w.enrolled(Roles::PURCHASER);
    w.buy_named(&me, &[100]);
    let named = HolderChoice::Named(me.id());
    fill(&mut w, named, 3);
    assert_eq!(worth(&refunded(&mut w, &Holder::Named(&me.keys)).unwrap()), 100);
    let list = HolderList::read(&w.books.documents[&named.document().unwrap()].value).unwrap();
    assert_eq!(list.entries.len(), 3, "two that were not found, and the refund's own");
    w.audit();
}

#[test]
fn refund_without_a_name_is_not_for_a_purchase_by_name() {
    let mut w = World::new(314);
    let me = w.enrolled(Roles::PURCHASER);
    let w_desc = WDesc { anonymous: false, ..w.w_desc(&[100]) };
    let asked = w.wrequest3(&me, w_desc);
    let answer = w.post(asked.path, &asked.body).unwrap();
    let accepted = purchaser::read_accepted(&asked.pending, &answer).unwrap();
    let order = w.orders().pop().unwrap();
    w.bank(BankNews::Booked(order.id));
    let claim = w.books.documents.iter().find(|(k, _)| k.kind == CLAIM).unwrap().1.value.clone();
    assert_eq!(PendingIssuance::of(&claim), Some(PendingIssuance { worth: flo(100), named: true }));
    let (issuer, exp, by) = (w.key(), w.exp(), Some(key(1).verify_key()));
    let both = purchaser::collect_refundable(&issuer, &accepted.purchase, by, exp, &mut w.entropy).unwrap();
    assert_eq!(slug(&w.post(both.path, &both.body)), "bad-request");
    let (_, answer) = w.collect(&accepted.purchase);
    assert!(answer.is_ok());
    let claim = w.books.documents.iter().find(|(k, _)| k.kind == CLAIM).unwrap().1.value.clone();
    assert_eq!(PendingIssuance::of(&claim), None);
    assert_eq!(worth(&refunded(&mut w, &Holder::Named(&me.keys)).unwrap()), 100);
}

/// The tag alone does not say what a coin is worth: its number does. Repair: the comparison in `Issuer::look`.
#[test]
fn v9_a_tag_over_another_value_than_the_number_s_is_forged() {
    let mut w = World::new(315);
    let me = w.enrolled(Roles::PURCHASER);
    let coins = w.buy(&me, &[100]);
    let module = SoftwareModule::new(secret("tag", 315));
    let tagged = |coin: &Coin| -> Coin {
        let bytes = cbor::encode(&(coin.id, coin.value, flo(1).currency(), coin.epoch, coin.expires));
        Coin { tag: ByteArray(module.tag(coin.epoch, &bytes).unwrap()), ..coin.clone() }
    };
    assert!(tagged(&coins[0]) == coins[0], "the test makes the issuer's own tags");
    let raised = tagged(&Coin { value: 500, ..coins[0].clone() });
    assert_eq!(cause(&mut w, &raised), Some(CoinCause::Forged));
    assert_eq!(cause(&mut w, &coins[0]), None);
}
