//! Which links are open, so that only a first call to another node waits for a dial.
//!
//! Entry type is [`OpenLinks`]. A link belongs to whoever dialled it, and is closed when it was not used for two
//! minutes (PROTOCOL §5.2). In a network of a million every byte of this is a megabyte: a link is one number.

use comm_proto::time::{Span, Time};

use super::World;
use crate::host::At;
use crate::ip_plan::HOSTS_MAX;

/// Disuse after which a link is closed.
const IDLE: Span = Span::from_secs(120);
/// Bits of a number that are the time; those above are the host that was dialled.
const TIME_BITS: u32 = 44;
const _: () = assert!(HOSTS_MAX <= 1 << (64 - TIME_BITS));

/// When each host used its links last, or will have dialled them.
#[derive(Debug, Default)]
pub(super) struct OpenLinks(Vec<Links>);

#[derive(Debug, Default)]
struct Links {
    /// Since when the host is on: what others dialled before that has ended.
    since: Time,
    /// In the order of hosts dialled; what is idle is swept when there is no room.
    used: Vec<u64>,
}

impl OpenLinks {
    /// A host is switched on, and has no links.
    pub(super) fn begin(&mut self, host: At, now: Time) {
        *self.of(host) = Links { since: now, used: Vec::new() };
    }

    /// When a link was used last that is still open; a time to come when it is being dialled.
    fn used(&mut self, from: At, to: At, now: Time) -> Option<Time> {
        let since = self.of(to).since;
        let links = &self.of(from).used;
        let place = links.binary_search_by_key(&to, |link| unpack(*link).0).ok()?;
        let (_, used) = unpack(links[place]);
        (used >= since && used + IDLE > now).then_some(used)
    }

    /// A link is used.
    fn note(&mut self, from: At, to: At, used: Time, now: Time) {
        let links = &mut self.of(from).used;
        let link = (to as u64) << TIME_BITS | used.as_millis();
        match links.binary_search_by_key(&to, |link| unpack(*link).0) {
            Ok(place) => links[place] = link,
            Err(_) => {
                if links.len() == links.capacity() {
                    links.retain(|link| unpack(*link).1 + IDLE > now);
                }
                let place = links.partition_point(|link| unpack(*link).0 < to);
                links.insert(place, link);
            }
        }
    }

    /// A link has broken.
    pub(super) fn forget(&mut self, from: At, to: At) {
        self.of(from).used.retain(|link| unpack(*link).0 != to);
    }

    fn of(&mut self, host: At) -> &mut Links {
        if self.0.len() <= host {
            self.0.resize_with(host + 1, Links::default);
        }
        &mut self.0[host]
    }
}

const fn unpack(link: u64) -> (At, Time) {
    ((link >> TIME_BITS) as At, Time::from_millis(link & ((1 << TIME_BITS) - 1)))
}

impl World {
    /// For how long a call from one to another waits until there is a link.
    pub(super) fn dial(&mut self, from: At, to: At) -> Span {
        if self.network.dial == 0 {
            return Span::ZERO;
        }
        let now = self.now;
        let ready = match self.open_links.used(from, to, now) {
            Some(used) => used.max(now),
            None if self.streams.serial(from, to).is_some() => now,
            None => now + self.dialling(from, to),
        };
        self.open_links.note(from, to, ready, now);
        ready.since(now)
    }

    /// How long a dial takes.
    pub(super) fn dialling(&mut self, from: At, to: At) -> Span {
        let mut all = Span::ZERO;
        for _ in 0..self.network.dial {
            all = all + self.latency(from, to) + self.latency(to, from);
        }
        all
    }
}
