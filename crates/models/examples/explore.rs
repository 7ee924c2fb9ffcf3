//! A world of one's own size, by hand: `B=7 CRASHES=15 cargo run -p florin-models --example explore payment`; also `purchase` and
//! `intruder`. Source: docs/models.md.
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
use stateright::{Checker, Model};

fn var(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap())
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("payment") => payment(),
        Some("purchase") => purchase(),
        Some("intruder") => intruder(),
        _ => eprintln!("payment, purchase or intruder"),
    }
}

fn payment() {
    let beginnings = [[vec![0], vec![1]], [vec![0], vec![0]], [vec![0, 1], vec![0]]];
    let which = var("B", 7);
    let play = Play {
        beginnings: (0..3).filter(|i| which & (1 << i) != 0).map(|i| beginnings[i].clone()).collect(),
        acknowledges: var("ACK", 0) == 1,
        asks: var("ASKS", 0) as u8,
        gives_up: var("GIVEUP", 0) == 1,
        refunds: var("REFUNDS", 0) as u8,
        crashes: var("CRASHES", 15) as u8,
        jobs: var("JOBS", 2),
        broken: Broken::Nobody,
    };
    let t = std::time::Instant::now();
    let checker =
        World::new(play).unwrap().checker().target_state_count(var("MAX", 1_000_000)).spawn_bfs().join();
    let (counts, journals) = checker.model().house().counts();
    println!(
        "{} unique {} depth {} {:?} journals {journals} {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        counts,
        t.elapsed()
    );
    for (name, path) in checker.discoveries() {
        println!("{name}: {:?}", path.last_state());
        println!("   {:?}", path.into_actions());
    }
}

fn purchase() {
    use florin_models::purchase::{Play, World};
    let play = Play {
        rejects: var("REJECTS", 2) as u8,
        acknowledges: var("ACK", 1) as u8,
        crashes: var("CRASHES", 7) as u8,
        jobs: var("JOBS", 2),
        broken: Broken::Nobody,
    };
    let t = std::time::Instant::now();
    let checker =
        World::new(play).unwrap().checker().target_state_count(var("MAX", 1_000_000)).spawn_bfs().join();
    let (counts, journals) = checker.model().house().counts();
    println!(
        "{} unique {} depth {} {:?} journals {journals} {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        counts,
        t.elapsed()
    );
    for (name, path) in checker.discoveries() {
        println!("{name}: {:?}", path.last_state());
        println!("   {:?}", path.into_actions());
    }
}

fn intruder() {
    use florin_models::intruder::{Weak, World};
    let weak = [Weak::Nothing, Weak::Binding, Weak::Signature][var("WEAK", 0)];
    let t = std::time::Instant::now();
    let world = World::new(weak, var("FORGED", 1) as u8).unwrap();
    println!("composed {:?} in {:?}", world.composed(), t.elapsed());
    let checker = world.checker().target_state_count(var("MAX", 1_000_000)).spawn_bfs().join();
    let (counts, journals) = checker.model().house().counts();
    println!(
        "{} unique {} depth {} {:?} journals {journals} {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        counts,
        t.elapsed()
    );
    for (name, path) in checker.discoveries() {
        println!("{name}: {:?}", path.last_state());
        println!("   {:?}", path.into_actions());
    }
}
