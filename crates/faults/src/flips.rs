//! Bits that flip, sectors that are lost, files that end too early: in any file of an operator, a gate and a wallet that
//! real programs have left. Each opens with exactly what it had, or refuses and names the file; never with another
//! balance, never with a panic. Each try damages one place of one file of a fresh copy.
//!
//! They are opened in this process by the code that `florin operator serve`, `florin gate serve` and `florin wallet`
//! open them with, and audited; one in `BY_PROGRAM_EVERY` by the program too, which must say the same.
//! Source: reliability.md R7 and finding 1; books.md, "Two durable copies of each batch".

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use florin_wallet::{OpenOptions, RequestOptions, Wallet};

use crate::clients::runtime;
use crate::dice::Dice;
use crate::disk;
use crate::error::FaultsError;
use crate::fault::Setting;
use crate::report::Tally;
use crate::subject::{Kind, Subject};
use crate::town::{Person, Shop, Site, Town};

const SECTOR: u64 = 512;
/// One try in so many is looked at by the real program too.
const BY_PROGRAM_EVERY: u64 = 50;
const PAGES: usize = 3;
/// What is on its way to the bank, and the news of it, are written down by then.
const SETTLES: Duration = Duration::from_secs(2);

/// What is done to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit of a byte.
    Bit(u64, u8),
    /// So many bytes from there on are zeros.
    Zeros(u64, u64),
    /// It ends there.
    Cut(u64),
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Same,
    Refused,
}

#[derive(Default)]
struct Shown {
    same: u64,
    refused: u64,
    by_program: u64,
    by_kind: [u64; 3],
}

impl Damage {
    /// One to a file of this many bytes: three times of four a bit.
    #[must_use]
    pub fn choose(len: u64, dice: &mut Dice) -> Self {
        let at = dice.below(len);
        match dice.below(8) {
            0 => {
                let begin = at.saturating_sub(at.checked_rem(SECTOR).unwrap_or(0));
                Self::Zeros(begin, SECTOR.min(len.saturating_sub(begin)))
            }
            1 => Self::Cut(at),
            _ => Self::Bit(at, u8::try_from(dice.below(8)).unwrap_or(0)),
        }
    }

    /// The same bytes with it.
    #[must_use]
    pub fn done_to(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        match self {
            Self::Bit(at, bit) => {
                if let Some(byte) = bytes.get_mut(place(*at)) {
                    *byte ^= 1u8.checked_shl(u32::from(*bit)).unwrap_or(1);
                }
            }
            Self::Zeros(at, len) => {
                let end = place(at.saturating_add(*len)).min(bytes.len());
                if let Some(sector) = bytes.get_mut(place(*at)..end) {
                    sector.fill(0);
                }
            }
            Self::Cut(at) => bytes.truncate(place(*at)),
        }
        bytes
    }
}

/// Damages so many copies.
///
/// # Errors
/// What keeps the programs from leaving their states.
pub fn run(setting: &Setting, tries: u64) -> Result<Tally, FaultsError> {
    let runtime = runtime()?;
    let (mut town, subjects) = runtime.block_on(states(setting))?;
    let (mut tally, mut shown) = (Tally::default(), Shown::default());
    for number in setting.numbers(tries) {
        let mut dice = Dice::new(setting.seed, number);
        let Some(subject) = dice.one_of(&subjects) else { break };
        let (file, damage) = subject.damage(&mut dice)?;
        let name = file.strip_prefix(town.path()).unwrap_or(&file).display().to_string();
        let ended = look(&runtime, subject, &file, number, &mut shown);
        match ended {
            Ok(Ended::Same) => shown.same = shown.same.saturating_add(1),
            Ok(Ended::Refused) => shown.refused = shown.refused.saturating_add(1),
            Err(error) => {
                tally.finding(format!("{name}, {damage:?}, try {number}: {error}"));
                if setting.keep {
                    let kept = std::env::temp_dir().join(format!("florin-flips-{}-{number}", setting.seed));
                    disk::copy(&subject.home, &kept)?;
                    town.keep();
                }
            }
        }
        if let Some(count) = shown.by_kind.get_mut(subject.kind as usize) {
            *count = count.saturating_add(1);
        }
        tally.tries = tally.tries.saturating_add(1);
    }
    told(&mut tally, &shown);
    Ok(tally)
}

fn told(tally: &mut Tally, shown: &Shown) {
    tally.count("harmless", shown.same);
    tally.count("refused", shown.refused);
    tally.count("by the program too", shown.by_program);
    for (kind, count) in ["operator", "gate", "wallet"].into_iter().zip(shown.by_kind) {
        tally.count(kind, count);
    }
}

fn look(
    runtime: &tokio::runtime::Runtime,
    subject: &Subject,
    file: &Path,
    number: u64,
    shown: &mut Shown,
) -> Result<Ended, FaultsError> {
    let said = if number.is_multiple_of(BY_PROGRAM_EVERY) {
        shown.by_program = shown.by_program.saturating_add(1);
        Some(subject.by_program()?)
    } else {
        None
    };
    let looked = catch_unwind(AssertUnwindSafe(|| runtime.block_on(subject.read())));
    let read = looked.unwrap_or_else(|_| Err(FaultsError::Found("opening it panicked".into())));
    let ended = match read {
        Ok(reading) if reading == subject.reading => Ended::Same,
        Ok(reading) => return Err(FaultsError::Found(reading.differs_from(&subject.reading))),
        Err(FaultsError::Refused(why)) if subject.names(&why, file) => Ended::Refused,
        Err(FaultsError::Refused(why)) => {
            return Err(FaultsError::Found(format!("a refusal that does not name it: {why}")));
        }
        Err(error) => return Err(error),
    };
    match said {
        // What one opening has mended, the other finds mended. The audit of an operator does not ask whether it may serve.
        Some(true) if ended != Ended::Same && subject.kind != Kind::Operator => {
            Err(FaultsError::Found("the program took what the same code refuses".into()))
        }
        Some(false) if ended == Ended::Same => {
            Err(FaultsError::Found("the program refused what the same code takes".into()))
        }
        _ => Ok(ended),
    }
}

/// What an operator, a gate and two wallets leave behind after an afternoon: stopped once in good order, then killed.
async fn states(setting: &Setting) -> Result<(Town, Vec<Subject>), FaultsError> {
    let mut town = Town::start(setting, "flips", &[])?;
    let site = Site::start().await?;
    let operator = format!("http://{}", town.operator_at());
    let mut shop = town.shop("shop", &operator, &site.url())?;
    let alice = town.person("alice", &operator)?;
    let bob = town.person("bob", &operator)?;
    alice.home.ok(&["wallet", "buy", "20.00 FLO"])?;
    pay(&alice, &shop, "first")?;
    alice.home.ok(&["wallet", "send", "1.50 FLO"])?;
    town.stop_operator()?;
    town.start_operator()?;
    shop.restart()?;
    bob.home.ok(&["wallet", "buy", "5.00 FLO"])?;
    pay(&alice, &shop, "second")?;
    pay(&bob, &shop, "third")?;
    bob.home.ok(&["wallet", "redeem", "1.00 FLO"])?;
    let subjects = [
        (Kind::Wallet, alice.home.path()),
        (Kind::Wallet, bob.home.path()),
        (Kind::Gate, shop.home.path()),
        (Kind::Operator, town.operator_path()),
    ];
    let subjects: Vec<(Kind, PathBuf)> = subjects.map(|(kind, home)| (kind, home.to_path_buf())).into();
    unclosed(&alice).await?;
    // A kill in the middle of a write leaves a record in one of the two copies; nobody was told of it, and either is right.
    tokio::time::sleep(SETTLES).await;
    shop.kill();
    town.kill_operator();
    let mut made = Vec::new();
    for (kind, home) in subjects {
        let florin = setting.florin.clone();
        made.push(Subject::of(kind, florin, home, &town.path().join("as-left")).await?);
    }
    Ok((town, made))
}

fn pay(person: &Person, shop: &Shop, what: &str) -> Result<(), FaultsError> {
    for page in 0..PAGES {
        let url = format!("http://{}/{what}-{page}", shop.at);
        person.home.ok(&["wallet", "pay", &url])?;
    }
    Ok(())
}

/// Something is written into a wallet that is then not closed: records after its checkpoint.
async fn unclosed(person: &Person) -> Result<(), FaultsError> {
    let wrong = |why: florin_wallet::WalletError| FaultsError::Found(format!("the wallet: {why}"));
    let passphrase = florin_shell::Passphrase::none();
    let (dir, keys) = (person.home.path().join("state/wallet"), person.home.path().join("keys/wallet"));
    let wallet = Wallet::open(OpenOptions::new(dir, Some(keys), &passphrase)).map_err(wrong)?;
    for what in ["lunch", "tea", "a ride"] {
        let options = RequestOptions { what: what.into(), wait: Duration::ZERO, ..RequestOptions::default() };
        wallet.invoice(wallet.amount("1.00 FLO").map_err(wrong)?, &options).await.map_err(wrong)?;
    }
    Ok(())
}

impl Subject {
    /// Puts everything back, and damages one place of one file.
    fn damage(&self, dice: &mut Dice) -> Result<(PathBuf, Damage), FaultsError> {
        disk::restore(&self.as_left, &self.home)?;
        // Half of the tries by files, half by bytes: small files are as dear as large ones.
        let file = if dice.below(2) == 0 {
            dice.one_of(&self.files).map(|(file, _)| file)
        } else {
            let mut at = dice.below(self.files.iter().map(|(_, len)| len).sum());
            self.files.iter().find_map(|(file, len)| match at.checked_sub(*len) {
                Some(rest) => {
                    at = rest;
                    None
                }
                None => Some(file),
            })
        };
        let file = file.ok_or_else(|| FaultsError::Found("there is no file".into()))?.clone();
        let bytes = fs::read(&file).map_err(FaultsError::at(&file))?;
        let damage = Damage::choose(u64::try_from(bytes.len()).unwrap_or(0), dice);
        fs::write(&file, damage.done_to(bytes)).map_err(FaultsError::at(&file))?;
        Ok((file, damage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damage_is_one_bit_or_one_sector_or_an_end() {
        let bytes: Vec<u8> = (0..2_000u32).map(|n| u8::try_from(n % 251).unwrap() | 1).collect();
        let (mut bits, mut zeros, mut cuts) = (0, 0, 0);
        for number in 0..400 {
            let damage = Damage::choose(2_000, &mut Dice::new(9, number));
            let after = damage.done_to(bytes.clone());
            let differ = bytes.iter().zip(&after).filter(|(a, b)| a != b).count();
            match damage {
                Damage::Bit(at, bit) => {
                    let at = usize::try_from(at).unwrap();
                    assert_eq!((differ, after[at] ^ bytes[at]), (1, 1 << bit));
                    bits += 1;
                }
                Damage::Zeros(at, len) => {
                    assert!(at % SECTOR == 0 && len <= SECTOR && after.len() == bytes.len());
                    assert_eq!(differ, usize::try_from(len).unwrap());
                    zeros += 1;
                }
                Damage::Cut(at) => {
                    assert_eq!(after, bytes[..usize::try_from(at).unwrap()]);
                    cuts += 1;
                }
            }
        }
        assert!(bits > 250 && zeros > 20 && cuts > 20, "{bits} {zeros} {cuts}");
    }
}
