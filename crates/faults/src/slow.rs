//! Slow and half-open connections by the thousand beside honest payments: every one must be closed within the server's
//! limits, nobody else may notice, memory stays bounded, and what is too large is refused at once and not read.
//! Source: the issue; reliability.md, R14; limits in docs/operator.md ("Fixed").

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::crowd::{FILES_USUAL, allow_files, connect, connect_narrow, hundredth, ms};
use crate::error::FaultsError;
use crate::fault::Setting;
use crate::honest::{Honest, pages};
use crate::proxy::wire::Reader;
use crate::report::Tally;
use crate::town::{Person, Shop, Site, Town};

/// A half-sent header is closed so soon. Source: R14.
const HEADER_CLOSED_IN: Duration = Duration::from_secs(10);
/// A body has 10 s, and its end is told.
const BODY_CLOSED_IN: Duration = Duration::from_secs(13);
/// Whoever does not read has 30 s.
const UNREAD_CLOSED_IN: Duration = Duration::from_secs(45);
/// Memory of a program under attack. Source: R13.
const MEMORY_MAX_KB: u64 = 512 * 1024;
/// A refusal of what is too large: in the middle of many. Source: R14.
const REFUSED_IN: Duration = Duration::from_millis(10);
/// How many of those are asked for.
const TOO_LARGE: usize = 200;

/// What a slow asker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    /// Connects and says nothing.
    Silent,
    /// Sends a part of a header and stops.
    HalfHeader,
    /// Sends a header byte by byte.
    DripHeader,
    /// Sends a body byte by byte.
    DripBody,
    /// Asks for much and reads nothing.
    Unread,
}

impl Slow {
    /// Of a hundred one that does not read; else, of ten, five half headers, two silent, one dripped header, two bodies.
    const fn of(number: usize) -> Self {
        match (number % 100, number % 10) {
            (5, _) => Self::Unread,
            (_, 0 | 1) => Self::Silent,
            (_, 2) => Self::DripHeader,
            (_, 3 | 4) => Self::DripBody,
            _ => Self::HalfHeader,
        }
    }

    const fn closed_in(self) -> Duration {
        match self {
            Self::Silent | Self::HalfHeader | Self::DripHeader => HEADER_CLOSED_IN,
            Self::DripBody => BODY_CLOSED_IN,
            Self::Unread => UNREAD_CLOSED_IN,
        }
    }
}

/// So many slow connections to the operator, and as many to the gate.
///
/// # Errors
/// What keeps a town from starting.
pub fn run(setting: &Setting, tries: u64) -> Result<Tally, FaultsError> {
    let each = usize::try_from(tries.div_ceil(2)).unwrap_or(usize::MAX);
    // The programs start with what a process may have where nobody has set anything.
    let _ = allow_files(FILES_USUAL);
    let runtime = crate::clients::runtime()?;
    // Outside of loopback each address has a limit of its own; here the same holds.
    let env = [("FLORIN_OPERATOR_LOOPBACK_EXEMPT", "false")];
    let mut town = Town::start(setting, "slow", &env)?;
    let site = runtime.block_on(Site::start())?;
    let operator = format!("http://{}", town.operator_at());
    let shop = town.shop("gate", &operator, &site.url())?;
    let person = town.person("wallet", &operator)?;
    person.home.ok(&["wallet", "buy", "100.00 FLO"])?;
    let files = tries.saturating_add(FILES_USUAL);
    if !allow_files(files) {
        return Err(FaultsError::Said { program: "prlimit".into(), said: format!("no {files} files") });
    }
    let mut tally = Tally { tries, ..Tally::default() };
    too_large(&runtime, town.operator_at(), &mut tally);
    attack(&town, &shop, &person, &runtime, each, &mut tally)?;
    too_large(&runtime, town.operator_at(), &mut Tally::default());
    tally.findings.extend(town.audit()?.1);
    tally.findings.extend(town.bad_lines(&[&shop]));
    for (name, served) in [("operator memory MB", town.operator()), ("gate memory MB", shop.served())] {
        let kb = served.and_then(|served| served.memory_kb("VmHWM")).unwrap_or(0);
        if kb == 0 || kb > MEMORY_MAX_KB {
            tally.finding(format!("{name}: {kb} kB"));
        }
        tally.count(name, kb.div_ceil(1024));
    }
    if setting.keep && !tally.findings.is_empty() {
        eprintln!("slow: state and logs are kept in {}", town.keep().display());
    }
    Ok(tally)
}

/// The slow ones come all at once; honest payments go on until the last of them is gone.
fn attack(
    town: &Town,
    shop: &Shop,
    person: &Person,
    runtime: &Runtime,
    each: usize,
    tally: &mut Tally,
) -> Result<(), FaultsError> {
    let honest = Honest::start(town, runtime, 4, 20)?;
    let stop = AtomicBool::new(false);
    let (ended, paid) = std::thread::scope(|threads| {
        let paying = threads.spawn(|| pages(person, shop, "slow", &stop));
        let ended = runtime.block_on(all_slow(&[town.operator_at(), shop.at], each));
        stop.store(true, Ordering::SeqCst);
        let gone = |_| Err(FaultsError::Said { program: "a thread".into(), said: "it panicked".into() });
        (ended, paying.join().unwrap_or_else(gone))
    });
    let (times, repeated) = honest.end(runtime);
    times.tell(["payments", "payment p50 ms", "payment p99 ms"], tally);
    tally.count("payments repeated", repeated);
    paid?.tell(["pages", "page p50 ms", "page p99 ms"], tally);
    let mut longest = [Duration::ZERO; 3];
    let mut refused = 0_u64;
    for (slow, how) in ended {
        match how {
            Ok(After::Closed(took)) => {
                let place = match slow {
                    Slow::DripBody => 1,
                    Slow::Unread => 2,
                    _ => 0,
                };
                if let Some(longest) = longest.get_mut(place) {
                    *longest = took.max(*longest);
                }
            }
            Ok(After::Refused) => refused = refused.saturating_add(1),
            Ok(After::Open) => tally.finding(format!("{slow:?}: open after {:?}", slow.closed_in())),
            Err(error) => tally.finding(format!("{slow:?}: {error}")),
        }
    }
    tally.count("refused at once", refused);
    for (name, longest) in
        ["headers closed in s", "bodies closed in s", "unread closed in s"].iter().zip(longest)
    {
        tally.figure(name, longest.as_secs_f64());
    }
    Ok(())
}

/// What became of a slow connection.
enum After {
    /// The server closed it after so long.
    Closed(Duration),
    /// The server would not have it, or the system did not give it to the server.
    Refused,
    /// It is still there after its time.
    Open,
}

async fn all_slow(servers: &[SocketAddr], each: usize) -> Vec<(Slow, std::io::Result<After>)> {
    let mut askers = JoinSet::new();
    for number in 0..each {
        for server in servers {
            let (slow, server) = (Slow::of(number), *server);
            askers.spawn(async move { (slow, one_slow(slow, number, server).await) });
        }
    }
    askers.join_all().await
}

async fn one_slow(slow: Slow, number: usize, server: SocketAddr) -> std::io::Result<After> {
    let limit = slow.closed_in();
    if slow == Slow::Unread {
        return unread(connect_narrow(number, server).await?, limit).await;
    }
    let mut stream = connect(number, server).await?;
    let begun = Instant::now();
    let after = match slow {
        Slow::Unread => return Ok(After::Open),
        Slow::Silent => closed(&mut stream, limit).await,
        Slow::HalfHeader => {
            let half = b"POST /v1/coin/change HTTP/1.1\r\nhost: florin\r\ncontent-type: application/fl";
            stream.write_all(half).await?;
            closed(&mut stream, limit).await
        }
        Slow::DripHeader | Slow::DripBody => drip(slow, &mut stream, limit).await?,
    };
    Ok(match after {
        // The system may lose the end of a handshake where many come at once; who says nothing does not notice.
        None if !is_held(&stream)? => After::Refused,
        None => After::Open,
        Some(said) if said.starts_with("HTTP/1.1 503") => After::Refused,
        Some(_) => After::Closed(begun.elapsed()),
    })
}

/// Whether the server's end of a connection on this machine is there. Source: proc(5), "/proc/net/tcp".
fn is_held(stream: &TcpStream) -> std::io::Result<bool> {
    let hex = |at: SocketAddr| match at {
        SocketAddr::V4(v4) => format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port()),
        SocketAddr::V6(_) => String::new(),
    };
    let ends = format!("{} {} 01", hex(stream.peer_addr()?), hex(stream.local_addr()?));
    Ok(std::fs::read_to_string("/proc/net/tcp")?.contains(&ends))
}

/// What came until the server closed the connection; none where it did not.
async fn closed(stream: &mut TcpStream, limit: Duration) -> Option<String> {
    let mut said = Vec::new();
    let reading = async {
        let mut some = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut some).await {
            said.extend_from_slice(some.get(..count).unwrap_or_default());
        }
    };
    timeout(limit, reading).await.ok()?;
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// A byte every now and then, until the server has had enough.
async fn drip(slow: Slow, stream: &mut TcpStream, limit: Duration) -> std::io::Result<Option<String>> {
    let head = "POST /v1/coin/change HTTP/1.1\r\nhost: florin\r\ncontent-type: application/florin+cbor\r\n";
    let begin =
        if slow == Slow::DripBody { format!("{head}content-length: 4000\r\n\r\n") } else { String::new() };
    let (mut read, mut write) = stream.split();
    write.write_all(begin.as_bytes()).await?;
    let dripping = async {
        for byte in head.as_bytes().iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(400)).await;
        }
    };
    let reading = async {
        let (mut said, mut some) = (Vec::new(), [0; 1024]);
        while let Ok(count @ 1..) = read.read(&mut some).await {
            said.extend_from_slice(some.get(..count).unwrap_or_default());
        }
        String::from_utf8_lossy(&said).into_owned()
    };
    tokio::select! {
        said = reading => Ok(Some(said)),
        () = dripping => Ok(Some(String::new())),
        () = sleep(limit) => Ok(None),
    }
}

/// Asks for more than the system's buffers hold and reads nothing, until asking fails: the server has closed.
async fn unread(mut stream: TcpStream, limit: Duration) -> std::io::Result<After> {
    let begun = Instant::now();
    let one = "GET /metrics HTTP/1.1\r\nhost: florin\r\naccept: text/html\r\n\r\n";
    let many = one.repeat(20);
    // The server stops reading when nobody reads what it answers; then writing has to wait as well.
    let asking = async {
        while stream.write_all(many.as_bytes()).await.is_ok() {}
        begun.elapsed()
    };
    match timeout(limit, asking).await {
        Ok(took) => Ok(After::Closed(took)),
        Err(_) => Ok(After::Open),
    }
}

/// Bodies above the limit are refused before they are sent, quickly.
fn too_large(runtime: &Runtime, operator: SocketAddr, tally: &mut Tally) {
    let head = "POST /v1/coin/change HTTP/1.1\r\nhost: florin\r\ncontent-type: application/florin+cbor\r\n";
    let declared = format!("{head}content-length: 1000000000\r\n\r\n");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n11000\r\n{}", "x".repeat(0x11000));
    for (what, request) in [("413 declared p50 ms", declared), ("413 chunked p50 ms", chunked)] {
        let mut times = Vec::new();
        for number in 0..TOO_LARGE {
            match runtime.block_on(refused(number, operator, &request)) {
                Ok((413, took)) => times.push(took),
                Ok((status, _)) => tally.finding(format!("{what}: status {status}")),
                Err(error) => tally.finding(format!("{what}: {error}")),
            }
        }
        times.sort_unstable();
        if hundredth(&times, 50) > REFUSED_IN {
            tally.finding(format!("{what}: {:?}", hundredth(&times, 50)));
        }
        tally.figure(what, ms(hundredth(&times, 50)));
    }
}

async fn refused(number: usize, operator: SocketAddr, request: &str) -> std::io::Result<(u16, Duration)> {
    // Each from another address, so that none is over its own limit.
    let mut stream = connect(number.saturating_mul(200), operator).await?;
    let begun = Instant::now();
    let (read, mut write) = stream.split();
    let mut reader = Reader::new(read);
    let (sent, answer) = tokio::join!(write.write_all(request.as_bytes()), reader.answer("POST"));
    let took = begun.elapsed();
    let status = answer?.and_then(|answer| answer.status()).unwrap_or(0);
    // Whether all of it was taken does not matter.
    drop(sent);
    Ok((status, took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_held_until_its_server_lets_go() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(3, listener.local_addr().unwrap()).await.unwrap();
        let (held, _) = listener.accept().await.unwrap();
        assert!(is_held(&stream).unwrap());
        drop(held);
        assert!(!is_held(&stream).unwrap());
    }
}
