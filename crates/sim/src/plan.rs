//! What a seed expands to: who takes part, what goes wrong and how often. All of it is printed.
//! Source: reliability.md, habit 4 ("print every option a seed expands to").

use std::fmt;

use florin_merchant::Settle;

use crate::dice::Dice;

/// A run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many people have a wallet.
    pub people: u64,
    /// What each of them does, in matters.
    pub matters: u64,
    /// How often people do two things at once, in a thousand.
    pub at_once: u64,
    /// How often they send the operator what no honest program would, in a thousand.
    pub attacks: u64,
    /// What the shop has its payments settled to.
    pub settle: Settle,
    /// Messages that get lost, in a thousand.
    pub lost: u64,
    /// Answers that get lost after the deed, in a thousand.
    pub answers_lost: u64,
    /// Messages that arrive twice, in a thousand.
    pub doubled: u64,
    /// Messages and answers that are altered on their way, in a thousand.
    pub altered: u64,
    /// The longest a message is under way, in milliseconds.
    pub delay_max_ms: u64,
    /// Lines that are cut for a while, in one direction.
    pub cuts: u64,
    /// Failures of the operator's disks at a write.
    pub operator_disk: u64,
    /// Syncs that take long, in a thousand.
    pub slow_syncs: u64,
    /// Boundaries of writes, out of 256 buckets, at which each machine's disks fail when they first come there.
    pub aims: u64,
    /// Whether the disks of operator and shop already fail when they begin, in a thousand.
    pub early: u64,
    /// The longest that the operator stays away when it was killed, in milliseconds.
    pub down_max_ms: u64,
    /// Kills of the operator between two writes.
    pub operator_kills: u64,
    /// Failures of a wallet's disk.
    pub wallet_disk: u64,
    /// Kills of a wallet.
    pub wallet_kills: u64,
    /// Failures of the gate's disk.
    pub gate_disk: u64,
    /// Kills of the gate.
    pub gate_kills: u64,
    /// How often the disks of somebody are full for a while.
    pub full: u64,
    /// How often somebody's clock jumps, and is set right again.
    pub clock_jumps: u64,
    /// Debits that the bank refuses, in a thousand.
    pub bank_refuses: u64,
    /// Booked orders that come back, in a thousand.
    pub bank_returns: u64,
    /// The longest the bank takes to book, in milliseconds.
    pub bank_slow_ms: u64,
    /// Records between two folds.
    pub fold_every: u64,
    /// Transitions in a batch.
    pub batch_max: u64,
    /// How far a wallet's clock is off, in milliseconds.
    pub skew_ms: u64,
    /// How much a clock gains or loses, in millionths.
    pub drift_ppm: u64,
    /// Messages that a thief sends again, and as many that he forges, in a thousand.
    pub thief: u64,
    /// Whether everybody starts anew before everything is added up, in a thousand.
    pub anew: u64,
}

impl Plan {
    /// The plan of a seed. Every fifth seed has a quiet network, every seventh no crash: a fault that only comes alone is
    /// found, too.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, "plan");
        let net = if seed.is_multiple_of(5) { 0 } else { 1 };
        let crash = if seed.is_multiple_of(7) { 0 } else { 1 };
        let some = |max: u64, on: u64| dice.within(0, max).saturating_mul(on);
        let pick = |of: &[u64]| dice.one_of(of).copied().unwrap_or(0);
        Self {
            seed,
            people: dice.within(2, 3),
            matters: dice.within(6, 16),
            at_once: pick(&[0, 0, 300]),
            attacks: pick(&[0, 300]),
            settle: dice
                .one_of(&[Settle::Refresh, Settle::Refresh, Settle::Redeem, Settle::Aggregate])
                .copied()
                .unwrap_or_default(),
            lost: some(300, net),
            answers_lost: some(200, net),
            doubled: some(100, net),
            altered: pick(&[0, 0, 20, 150]).saturating_mul(net),
            delay_max_ms: pick(&[5, 50, 500, 5_000]),
            cuts: some(4, net),
            operator_disk: some(4, crash),
            slow_syncs: pick(&[50, 50, 600]),
            aims: pick(&[0, 2, 6]).saturating_mul(crash),
            early: pick(&[0, 0, 1_000]).saturating_mul(crash),
            down_max_ms: pick(&[700, 700, 5_000, 100_000]),
            operator_kills: some(2, crash),
            wallet_disk: some(3, crash),
            wallet_kills: some(2, crash),
            gate_disk: some(2, crash),
            gate_kills: some(2, crash),
            full: pick(&[0, 0, 1, 2]).saturating_mul(crash),
            clock_jumps: pick(&[0, 0, 1, 3]),
            bank_refuses: pick(&[0, 0, 100, 400]),
            bank_returns: pick(&[0, 0, 0, 100]),
            bank_slow_ms: pick(&[1, 200, 5_000]),
            fold_every: pick(&[1, 3, 16, 4096]),
            batch_max: pick(&[1, 4, 512]),
            skew_ms: pick(&[0, 0, 1_000, 60_000]),
            drift_ppm: pick(&[0, 50, 1_000]),
            thief: pick(&[0, 50, 300]),
            anew: pick(&[0, 1_000]),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The fields as they are called, in their order: none can be forgotten.
        let fields = format!("{self:?}");
        let inside = fields.trim_start_matches("Plan { ").trim_end_matches(" }");
        f.write_str(&inside.replace(", ", " ").replace(": ", "=").replace('_', "-"))
    }
}
