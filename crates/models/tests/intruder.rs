//! The intruder reaches nothing while the operator has its repairs; where V2 or V3 is taken out, the same search finds the
//! attack that the repair is against. Source: the issue ("it finds V2 and V3 when those repairs are taken out").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use florin_models::intruder::{Weak, World};
use stateright::{Checker, HasDiscoveries, Model};

const SECRET: &str = "no coin of an honest party is known to anybody else";
const AGREED: &str = "payer, payee and issuer agree on Com, once each";

#[test]
fn with_all_repairs_the_intruder_reaches_nothing() {
    let begun = std::time::Instant::now();
    let world = World::new(Weak::Nothing, 1).unwrap();
    let composed = world.composed();
    let checker = world.checker().spawn_bfs().join();
    let (counts, journals) = checker.model().house().counts();
    println!(
        "intruder: {composed:?} messages made, {} states, {} transitions, {} moves deep, {journals} journals, {counts:?}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f32(),
    );
    checker.assert_properties();
    assert!(checker.unique_state_count() >= 16_698, "fewer states than before");
    assert!(composed.0 >= 51 && composed.1 >= 145, "fewer messages than before");
}

fn attack(weak: Weak, forged: u8, property: &'static str) {
    let until = HasDiscoveries::AnyOf([property].into());
    let world = World::new(weak, forged).unwrap();
    let checker = world.checker().finish_when(until).spawn_bfs().join();
    let way = checker.discovery(property);
    let way = way.unwrap_or_else(|| panic!("nothing was found without {weak:?}")).into_actions();
    println!("without {weak:?}: {} states, then {way:?}", checker.unique_state_count());
}

/// A's SendCoins is brought to the shop for B's order: B's goods, A's coin. Nothing has to be made for it.
#[test]
fn without_v2_send_coins_is_copied_into_another_run() {
    attack(Weak::Binding, 0, AGREED);
}

/// Who has seen EncC1 asks in the shop's name, under its own key: the shop's new coins are the intruder's.
#[test]
fn without_v3_the_coins_of_the_shop_are_taken() {
    attack(Weak::Signature, 1, SECRET);
}
