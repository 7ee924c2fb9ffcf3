//! The table of faults: what can be tried, and how large. Source: the issue ("each is one command of `cargo xtask
//! faults NAME`, with a CI size and a full size").

use std::path::PathBuf;

use crate::error::FaultsError;
use crate::report::Tally;

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// That of CI.
    Ci,
    /// That of the record.
    Full,
}

/// What a run is given.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The `florin` program.
    pub florin: PathBuf,
    /// How large.
    pub size: Size,
    /// So many tries instead of those of the size.
    pub tries: Option<u64>,
    /// The number of the first try: a long sweep is made in parts.
    pub first: u64,
    /// The seed of its choices; the timing is the machine's own.
    pub seed: u64,
    /// Folders of tries with findings are kept.
    pub keep: bool,
}

/// One kind of damage.
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does, in one line.
    pub what: &'static str,
    /// What one try is called.
    pub unit: &'static str,
    /// How many tries in CI.
    pub ci: u64,
    /// How many tries for the record.
    pub full: u64,
    /// Tries it so often as [`Setting::tries_of`] says.
    pub run: fn(&Setting, u64) -> Result<Tally, FaultsError>,
}

impl Setting {
    /// The numbers of so many tries.
    pub const fn numbers(&self, tries: u64) -> std::ops::Range<u64> {
        self.first..self.first.saturating_add(tries)
    }

    /// How many tries of a fault.
    #[must_use]
    pub fn tries_of(&self, fault: &Fault) -> u64 {
        let sized = if self.size == Size::Ci { fault.ci } else { fault.full };
        self.tries.unwrap_or(sized)
    }
}

/// Every fault, in the order in which `faults all` tries them.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "kill",
        what: "SIGKILL of the operator under load",
        unit: "kills",
        ci: 200,
        full: 10_000,
        run: crate::kill::run,
    },
    Fault {
        name: "io",
        what: "the Nth call of the operator to its disk fails, once or from then on",
        unit: "tries",
        ci: 40,
        full: 12_000,
        run: crate::io::run,
    },
    Fault {
        name: "io-purse",
        what: "the Nth call of a wallet or a gate to its disk fails, once or from then on",
        unit: "tries",
        ci: 12,
        full: 3_000,
        run: crate::io_purse::run,
    },
    Fault {
        name: "power",
        what: "the power goes away at any moment of a recorded run of the operator",
        unit: "images",
        ci: 300,
        full: 50_000,
        run: crate::power::run,
    },
    Fault {
        name: "flips",
        what: "a bit flips, a sector is lost or a file ends early, in any file of operator, gate and wallet",
        unit: "flips",
        ci: 300,
        full: 10_000,
        run: crate::flips::run,
    },
    Fault {
        name: "proxy",
        what: "a bad network between wallet, gate and operator",
        unit: "payments",
        ci: 90,
        full: 15_000,
        run: crate::proxy::run,
    },
    Fault {
        name: "clock",
        what: "clocks that jump, step back and stand still",
        unit: "settings of a clock",
        ci: 32,
        full: 1_000,
        run: crate::clock::run,
    },
    Fault {
        name: "slow",
        what: "slow and half-open connections beside honest payments",
        unit: "connections",
        ci: 1_000,
        full: 5_000,
        run: crate::slow::run,
    },
    Fault {
        name: "garbage",
        what: "floods of garbage beside honest payments",
        unit: "pieces of garbage",
        ci: 4_000,
        full: 120_000,
        run: crate::garbage::run,
    },
];

/// The fault of a name.
#[must_use]
pub fn of_name(name: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.name == name)
}
