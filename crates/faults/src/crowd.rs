//! Many askers on one machine: connections from addresses of their own, enough file descriptors for them, and what the
//! spread of their times is. Source: reliability.md, R13, R14.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

/// So many connections from one address: fewer than a server lets it have.
const FROM_ONE_ADDRESS: usize = 200;

/// Connects to a server from the address of the asker of this number; loopback has 16 million.
///
/// # Errors
/// Those of the system.
pub async fn connect(number: usize, to: SocketAddr) -> io::Result<TcpStream> {
    socket(number)?.connect(to).await
}

/// The same for an asker who has hardly any room for answers that it does not read.
///
/// # Errors
/// Those of the system.
pub async fn connect_narrow(number: usize, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(number)?;
    socket.set_recv_buffer_size(2_048)?;
    socket.connect(to).await
}

fn socket(number: usize) -> io::Result<TcpSocket> {
    let place = u16::try_from(number.checked_div(FROM_ONE_ADDRESS).unwrap_or(0)).unwrap_or(u16::MAX);
    let [high, low] = place.to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 9, high, low.saturating_add(1)), 0)))?;
    Ok(socket)
}

/// Lets this process, and what it starts from now on, have so many files open; false where the system does not.
#[must_use]
pub fn allow_files(count: u64) -> bool {
    let (own, limit) = (std::process::id().to_string(), format!("--nofile={count}:"));
    if files_allowed() == count {
        return true;
    }
    let set = Command::new("prlimit").args(["--pid", &own, &limit]).output();
    set.is_ok_and(|output| output.status.success())
}

/// How many files a process may have open where nobody has set anything: what programs are started with here.
pub const FILES_USUAL: u64 = 1_024;

/// How many files this process may have open.
fn files_allowed() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Of sorted times the one below which so many hundredths are.
#[must_use]
pub fn hundredth(sorted: &[Duration], hundredths: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let place = sorted.len().saturating_mul(hundredths).checked_div(100).unwrap_or(0).min(last);
    sorted.get(place).copied().unwrap_or_default()
}

/// Milliseconds.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundredths_are_taken_from_what_is_there() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(hundredth(&times, 99), Duration::from_millis(199));
        assert_eq!(hundredth(&times, 50), Duration::from_millis(101));
        assert_eq!(
            (hundredth(&times[..1], 99), hundredth(&[], 99)),
            (Duration::from_millis(1), Duration::ZERO)
        );
    }

    #[tokio::test]
    async fn askers_have_addresses_of_their_own() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut seen = Vec::new();
        for number in [0, 199, 200, 60_000] {
            let _stream = connect(number, at).await.unwrap();
            seen.push(listener.accept().await.unwrap().1.ip().to_string());
        }
        assert_eq!(seen, ["127.9.0.1", "127.9.0.1", "127.9.0.2", "127.9.1.45"]);
        assert!(files_allowed() > 0);
    }
}
