//! File descriptors: connections take them, and so do the files of the books. A program takes as many as it may have, and
//! accepts no more connections than leave enough for everything else: one that cannot open a file of its books has to end.
//! Source: reliability.md, R14; docs/operator.md ("Fixed").

use florin_http::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Books, logs, sockets for commands, connections to others.
const BESIDES: usize = 256;

/// Takes as many descriptors as the connections of these limits and what is besides need, as far as the system gives them;
/// where it does not, fewer connections are accepted, and a warning says so.
#[must_use]
pub fn within_descriptors(limits: Limits) -> Limits {
    let wanted = limits.connections_max.saturating_add(besides(&limits));
    let allowed = raise(u64::try_from(wanted).unwrap_or(u64::MAX));
    let room = usize::try_from(allowed).unwrap_or(usize::MAX);
    let connections_max = connections_within(room, &limits);
    if connections_max < limits.connections_max {
        tracing::warn!(
            allowed,
            connections_max,
            "this process may have few files open, so fewer connections are accepted: raise its limit (ulimit -n, LimitNOFILE)"
        );
    }
    Limits { connections_max, ..limits }
}

/// Each request may need a connection to somebody else.
const fn besides(limits: &Limits) -> usize {
    limits.in_flight_max.saturating_add(BESIDES)
}

/// All of them, or what is left of the room; at least half of it.
fn connections_within(room: usize, limits: &Limits) -> usize {
    let half = room.checked_div(2).unwrap_or(0);
    limits.connections_max.min(room.saturating_sub(besides(limits)).max(half))
}

/// Raises the soft limit, never the hard one; what is allowed then.
fn raise(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let Some(current) = now.current else { return u64::MAX };
    let most = now.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if most > current {
        // Where the system refuses, what there was is still there.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: now.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_books() {
        let limits = Limits::default();
        assert_eq!((limits.connections_max, limits.in_flight_max), (4096, 1024));
        assert_eq!(connections_within(1_000_000, &limits), 4096);
        assert_eq!(connections_within(4096 + 1024 + BESIDES, &limits), 4096);
        assert_eq!(connections_within(4096, &limits), 4096 - 1024 - BESIDES);
        assert_eq!(connections_within(1024, &limits), 512);
        assert_eq!(connections_within(0, &limits), 0);
    }

    #[test]
    fn the_soft_limit_goes_up_and_never_down() {
        let before = getrlimit(Resource::Nofile);
        let (Some(soft), hard) = (before.current, before.maximum) else { return };
        assert_eq!(raise(1), soft);
        assert_eq!(raise(soft.saturating_add(1)), hard.map_or(soft + 1, |hard| hard.min(soft + 1)));
        assert_eq!(getrlimit(Resource::Nofile).maximum, hard);
    }
}
