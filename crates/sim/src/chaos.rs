//! What goes wrong with machines: kills, disks that fail or are full, clocks that jump. Source: reliability.md, R3, R5, R16.

use std::sync::Arc;
use std::time::Duration;

use florin_operator::OperatorError;

use crate::dice::Dice;
use crate::machine::Machine;
use crate::person::Person;
use crate::run::Town;

/// Within so long after the beginning.
const UNTIL_MS: u64 = 60_000;
/// The longest that a disk is full.
const FULL_MAX_MS: u64 = 8_000;
/// The longest that a clock is wrong.
const WRONG_MAX_MS: u64 = 8_000;
/// Ten years.
const YEARS_MS: i64 = 10 * 366 * 24 * 3_600_000;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    OperatorDisk,
    OperatorKill,
    WalletDisk,
    WalletKill,
    GateDisk,
    GateKill,
    Full,
    ClockJump,
}

fn no_start(error: &OperatorError) -> String {
    format!("the operator does not start: {error}")
}

impl Town {
    /// Everything that is to go wrong, one after another; then it waits for ever.
    pub(crate) async fn chaos(&self) -> Result<(), String> {
        let dice = Dice::new(self.plan.seed, "chaos");
        let mut events = Vec::new();
        for (event, times) in [
            (Event::OperatorDisk, self.plan.operator_disk),
            (Event::OperatorKill, self.plan.operator_kills),
            (Event::WalletDisk, self.plan.wallet_disk),
            (Event::WalletKill, self.plan.wallet_kills),
            (Event::GateDisk, self.plan.gate_disk),
            (Event::GateKill, self.plan.gate_kills),
            (Event::Full, self.plan.full),
            (Event::ClockJump, self.plan.clock_jumps),
        ] {
            events.extend((0..times).map(|_| (dice.within(0, UNTIL_MS), event)));
        }
        events.sort_unstable();
        for (at, event) in events {
            let passed = self.clock.passed_ms();
            tokio::time::sleep(Duration::from_millis(at.saturating_sub(passed))).await;
            self.happen(event, &dice).await?;
        }
        std::future::pending().await
    }

    async fn happen(&self, event: Event, dice: &Dice) -> Result<(), String> {
        let person: Option<&Arc<Person>> = dice.one_of(&self.people);
        match event {
            Event::OperatorDisk => self.host.machine.fail_soon(),
            Event::OperatorKill => self.host.restart_some_time().await.map_err(|e| no_start(&e))?,
            Event::WalletDisk => person.iter().for_each(|person| person.machine.fail_soon()),
            Event::WalletKill => {
                if let Some(person) = person {
                    person.restart().await;
                }
            }
            Event::GateDisk => self.shop.machine.fail_soon(),
            Event::GateKill => self.shop.start_anew(&self.host, &self.signed).await,
            Event::Full => {
                let machine = self.somebody(dice);
                machine.set_full(true);
                tokio::time::sleep(Duration::from_millis(dice.within(100, FULL_MAX_MS))).await;
                machine.set_full(false);
            }
            Event::ClockJump => self.jump(dice).await,
        }
        Ok(())
    }

    fn somebody(&self, dice: &Dice) -> &Machine {
        match dice.below(3) {
            0 => &self.host.machine,
            1 => &self.shop.machine,
            _ => dice.one_of(&self.people).map_or(&self.host.machine, |person| &person.machine),
        }
    }

    /// The operator's clock may jump by years and it goes on; what others do with theirs is their own loss, if it is long: they
    /// jump by a minute.
    async fn jump(&self, dice: &Dice) {
        let machine = self.somebody(dice);
        let ms = if machine.name == "operator" {
            dice.one_of(&[2_000, 3_600_000, 86_400_000, YEARS_MS]).copied().unwrap_or(2_000)
        } else {
            i64::try_from(dice.within(1, self.plan.skew_ms.max(2_000))).unwrap_or(1)
        };
        let ms = if dice.per_mille(500) { ms } else { ms.saturating_neg() };
        self.trace.say(&machine.name, format!("the clock jumps by {ms} ms"));
        machine.clock.be_wrong(ms);
        tokio::time::sleep(Duration::from_millis(dice.within(100, WRONG_MAX_MS))).await;
        machine.clock.be_wrong(0);
        self.trace.say(&machine.name, "the clock is right again");
    }
}
