//! What a seed expands to: who takes part, what goes wrong and how often. All of it is printed.
//! Source: reliability.md, habit 4 ("print every option a seed expands to").

use std::fmt;

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
    /// Messages that get lost, in a thousand.
    pub lost: u64,
    /// Answers that get lost after the deed, in a thousand.
    pub answers_lost: u64,
    /// Messages that arrive twice, in a thousand.
    pub doubled: u64,
    /// The longest a message is under way, in milliseconds.
    pub delay_max_ms: u64,
    /// Crashes of the operator at a write to its disk.
    pub operator_crashes: u64,
    /// Kills of the operator between two writes.
    pub operator_kills: u64,
    /// Kills of a wallet.
    pub wallet_kills: u64,
    /// Kills of the gate.
    pub gate_kills: u64,
    /// Debits that the bank refuses, in a thousand.
    pub bank_refuses: u64,
    /// The longest the bank takes to book, in milliseconds.
    pub bank_slow_ms: u64,
    /// Records between two folds.
    pub fold_every: u64,
    /// Transitions in a batch.
    pub batch_max: u64,
    /// How far a wallet's clock is off, in milliseconds.
    pub skew_ms: u64,
    /// Messages that a thief sends again, in a thousand.
    pub thief: u64,
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
        Self {
            seed,
            people: dice.within(2, 3),
            matters: dice.within(6, 16),
            lost: some(300, net),
            answers_lost: some(200, net),
            doubled: some(100, net),
            delay_max_ms: *dice.one_of(&[5, 50, 500, 5_000]).unwrap_or(&5),
            operator_crashes: some(3, crash),
            operator_kills: some(2, crash),
            wallet_kills: some(3, crash),
            gate_kills: some(2, crash),
            bank_refuses: *dice.one_of(&[0, 0, 100, 400]).unwrap_or(&0),
            bank_slow_ms: *dice.one_of(&[1, 200, 5_000]).unwrap_or(&1),
            fold_every: *dice.one_of(&[1, 3, 16, 4096]).unwrap_or(&16),
            batch_max: *dice.one_of(&[1, 4, 512]).unwrap_or(&4),
            skew_ms: *dice.one_of(&[0, 0, 1_000, 60_000]).unwrap_or(&0),
            thief: *dice.one_of(&[0, 50, 300]).unwrap_or(&0),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} people {} matters {} lost {} answers-lost {} doubled {} delay-max-ms {} operator-crashes {} \
             operator-kills {} wallet-kills {} gate-kills {} bank-refuses {} bank-slow-ms {} fold-every {} batch-max {} \
             skew-ms {} thief {}",
            self.seed,
            self.people,
            self.matters,
            self.lost,
            self.answers_lost,
            self.doubled,
            self.delay_max_ms,
            self.operator_crashes,
            self.operator_kills,
            self.wallet_kills,
            self.gate_kills,
            self.bank_refuses,
            self.bank_slow_ms,
            self.fold_every,
            self.batch_max,
            self.skew_ms,
            self.thief,
        )
    }
}
