//! Somebody does deliberately what nobody may do, and the check finds it: with the property that it breaks. A check that
//! passes on all of these proves nothing. Source: docs/models.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use florin_models::house::Broken;
use florin_models::payment::{Play, World};
use stateright::{Checker, HasDiscoveries, Model};

const ONE_VERDICT: &str = "a payment has one verdict";
const COMMITTED: &str = "nothing is said that is not committed";
const BELIEVED: &str = "nobody believes what the operator does not say";
const AT_REST: &str = "once faults stop, all agree and no coin is lost";

/// One coin for both, with this one broken; the shortest way to what it breaks.
fn found(broken: Broken, asks: u8, property: &'static str) {
    let play = Play {
        beginnings: vec![[vec![0], vec![0]]],
        acknowledges: false,
        asks,
        gives_up: false,
        refunds: 0,
        crashes: 0b1111,
        jobs: 2,
        broken,
    };
    let until = HasDiscoveries::AnyOf([property].into());
    let checker = World::new(play).unwrap().checker().finish_when(until).spawn_bfs().join();
    let way = checker.discovery(property);
    let way = way.unwrap_or_else(|| panic!("{broken:?} was not found"));
    println!("{broken:?}: {} states, then {:?}", checker.unique_state_count(), way.into_actions());
}

#[test]
fn an_operator_that_answers_before_it_commits_is_found() {
    found(Broken::AnswersFirst, 0, COMMITTED);
}

#[test]
fn an_operator_that_forgets_what_it_has_answered_is_found() {
    found(Broken::ForgetsReplays, 0, ONE_VERDICT);
}

#[test]
fn an_operator_that_answers_before_its_disk_has_it_is_found() {
    found(Broken::ForgetsOnCrash, 0, COMMITTED);
}

#[test]
fn an_operator_that_does_not_record_a_no_is_found() {
    found(Broken::DeniesUnrecorded, 0, COMMITTED);
}

#[test]
fn a_payee_that_gives_goods_for_a_refusal_is_found() {
    found(Broken::GivesOnRefusal, 0, BELIEVED);
}

#[test]
fn a_payer_that_sends_before_it_writes_down_is_found() {
    found(Broken::SendsFirst, 0, AT_REST);
}

#[test]
fn a_payer_that_takes_silence_for_a_no_is_found() {
    found(Broken::TakesSilenceForNo, 0b01, BELIEVED);
}
