//! SIGKILL under load: the real operator process is killed at random moments while clients buy, change, pay and redeem;
//! after each start it is ready soon, every answer that anybody has read is given again byte for byte, and what nobody
//! had an answer to ends once. At the end the books and the clients' purses agree to the coin, and the audit is clean.
//! Source: reliability R3; books.md, "Exactly once".

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use florin_bench::{Acknowledged, Programs, Running};
use florin_http::{Client, ClientConfig};
use tokio::task::JoinSet;

use crate::clients::{self, Clients, Log, lock};
use crate::dice::Dice;
use crate::error::FaultsError;
use crate::fault::Setting;
use crate::report::Tally;
use crate::scratch::Scratch;

const CLIENTS: usize = 4;
/// What each client buys to begin with, in minor units.
const BEGIN_MINOR: u64 = 20_000;
/// Older answers that are asked for again after each start, besides all those of the last round.
const OLDER: u64 = 6;
/// After so many kills a new operator takes over, as its journal and the clients' log would otherwise grow without end.
const KILLS_PER_OPERATOR: u64 = 1_000;
const READY_MEDIAN_MAX: Duration = Duration::from_secs(2);
const READY_MAX: Duration = Duration::from_secs(5);
const NEVER_READY: Duration = Duration::from_secs(30);

/// What the kills have shown so far.
#[derive(Default)]
struct Shown {
    kills: u64,
    ready: Vec<Duration>,
    answers: u64,
    asked_again: u64,
    repeated: u64,
    turnover: u64,
}

/// Kills so many times.
///
/// # Errors
/// What keeps the load from beginning.
pub fn run(setting: &Setting, kills: u64) -> Result<Tally, FaultsError> {
    let (runtime, mut shown, mut tally) = (clients::runtime()?, Shown::default(), Tally::default());
    while shown.kills < kills {
        let now = kills.saturating_sub(shown.kills).min(KILLS_PER_OPERATOR);
        let mut folder = Scratch::on_disk("kill")?;
        let killed = runtime.block_on(one_operator(setting, folder.path(), now, &mut shown));
        if let Err(error) = killed {
            let kept = folder.keep().display();
            tally.finding(format!("{error} (after {} kills; state and logs: {kept})", shown.kills));
            break;
        }
    }
    tally.tries = shown.kills;
    tally.count("answers", shown.answers);
    tally.count("asked again", shown.asked_again);
    tally.count("sent again", shown.repeated);
    tally.count("minor units bought", shown.turnover);
    shown.ready.sort_unstable();
    let middle = shown.ready.get(shown.ready.len() / 2).copied().unwrap_or_default();
    let longest = shown.ready.last().copied().unwrap_or_default();
    tally.figure("ready median s", middle.as_secs_f64());
    tally.figure("ready longest s", longest.as_secs_f64());
    if middle > READY_MEDIAN_MAX || longest > READY_MAX {
        tally.finding(format!("ready again only after {middle:?} (median), {longest:?} (longest)"));
    }
    Ok(tally)
}

async fn one_operator(
    setting: &Setting,
    folder: &Path,
    kills: u64,
    shown: &mut Shown,
) -> Result<(), FaultsError> {
    let (programs, state) = (Programs::new(&setting.florin), folder.join("operator"));
    let bank = programs.bank(&folder.join("bank"))?;
    programs.init_operator(&state, bank.url())?;
    let mut operator = programs.operator(&state, SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = operator.address().ok_or_else(|| FaultsError::Found("it listens nowhere".into()))?;
    let (url, http) = (operator.url().to_owned(), Client::new(ClientConfig::default())?);
    let log: Log = Arc::new(Mutex::new(Vec::new()));
    let town = Arc::new(Clients::open(&http, &url, bank.url(), &log, CLIENTS).await?);
    for me in 0..CLIENTS {
        town.buy(me, BEGIN_MINOR).await?;
    }
    let mut clients = JoinSet::new();
    for (me, number) in (0..CLIENTS).zip(1..) {
        clients.spawn(Arc::clone(&town).live(me, Dice::new(setting.seed, number)));
    }
    let (mut dice, mut checked) = (Dice::new(setting.seed, shown.kills), 0);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(dice.within(5, 64))).await;
        operator = restart(operator, &programs, &state, address, &http, &mut shown.ready).await?;
        shown.kills = shown.kills.saturating_add(1);
        let again = to_ask_again(&log, &mut checked, &mut dice);
        shown.asked_again = shown.asked_again.saturating_add(u64::try_from(again.len()).unwrap_or(0));
        town.ask_again(&again).await?;
        if let Some(ended) = clients.try_join_next() {
            return Err(FaultsError::Found(format!("a client ended early: {ended:?}")));
        }
    }
    town.end();
    clients::ended(clients).await?;
    let all = std::mem::take(&mut *lock(&log));
    let (answers, repeated) = (u64::try_from(all.len()).unwrap_or(0), town.market.repeated());
    if answers < kills || repeated < kills {
        return Err(FaultsError::Found(format!("hardly any load: {answers} answers, {repeated} sent again")));
    }
    shown.answers = shown.answers.saturating_add(answers);
    shown.repeated = shown.repeated.saturating_add(repeated);
    town.ask_again(&all).await?;
    let counted = town.count(&clients::shown(&http, &url, &state).await?)?;
    shown.turnover = shown.turnover.saturating_add(counted.bought);
    operator.kill().map_err(|source| FaultsError::Program { program: "operator".into(), source })?;
    let audit = programs.audit(&state)?;
    if audit.code() == Some(0) {
        Ok(())
    } else {
        Err(FaultsError::Found(format!("the audit ended: {audit}")))
    }
}

/// SIGKILL, start on the same folder and port, wait until ready.
async fn restart(
    operator: Running,
    programs: &Programs,
    state: &Path,
    address: SocketAddr,
    http: &Client,
    ready: &mut Vec<Duration>,
) -> Result<Running, FaultsError> {
    operator.kill().map_err(|source| FaultsError::Program { program: "operator".into(), source })?;
    let (programs, state) = (programs.clone(), state.to_path_buf());
    let began = Instant::now();
    let started = tokio::task::spawn_blocking(move || programs.operator(&state, address)).await;
    let operator =
        started.map_err(|error| FaultsError::Found(format!("a start was interrupted: {error}")))??;
    while !is_ready(http, operator.url()).await {
        if began.elapsed() > NEVER_READY {
            return Err(FaultsError::Found("it does not become ready".into()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ready.push(began.elapsed());
    Ok(operator)
}

async fn is_ready(http: &Client, url: &str) -> bool {
    http.get(&format!("{url}/readyz"), []).await.is_ok_and(|answer| answer.status.is_success())
}

/// Everything that was read since the last time, and some older answers.
fn to_ask_again(log: &Log, checked: &mut usize, dice: &mut Dice) -> Vec<Acknowledged> {
    let log = lock(log);
    let (old, new) = log.split_at_checked(*checked).unwrap_or((&[], &log));
    let mut again = new.to_vec();
    again.extend((0..OLDER).filter_map(|_| dice.one_of(old).cloned()));
    *checked = log.len();
    again
}
