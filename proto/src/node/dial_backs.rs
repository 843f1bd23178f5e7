//! Dialling callers back (PROTOCOL §5.3, §5.1): which endpoints of a caller, and how often.
//!
//! Entry type is [`DialBacks`]. A caller can name anybody's endpoints, so only those are dialled
//! that lie where the call came from: whoever calls can make us dial themselves and nobody else. A
//! caller that asks what came of it learns that of the very address from where it called alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::contact::{Contact, source_of};
use crate::key::PublicKey;
use crate::message::{DialOutcome, Request, Response};
use crate::table::Status;
use crate::time::{Span, Time};

use super::calls::Purpose;
use super::io::{Output, RequestId};
use super::{Node, Turn};

/// Dials back under way: a quarter of all calls; when many nodes start at once, nearly as many come.
const UNDER_WAY_MAX: usize = 256;
/// Those of callers that want to know what comes of it: they take longer, and are few.
pub(super) const ASKED_MAX: usize = 32;
/// Dials back to one source in a minute.
const PER_SOURCE_MAX: u32 = 64;
/// Sources counted; while there are so many, no other one is dialled back.
pub(super) const SOURCES_MAX: usize = 4_096;
const WINDOW: Span = Span::from_mins(1);
/// How long the host may take to dial a caller that wants to know what comes of it.
const PATIENCE: Span = Span::from_secs(10);

/// What was dialled back lately.
#[derive(Debug, Default)]
pub(super) struct DialBacks {
    under_way: usize,
    /// When a source was first dialled back in its present minute, and how often since.
    sources: BTreeMap<IpAddr, (Time, u32)>,
    /// When those whose minute was over were last forgotten.
    swept_at: Time,
    /// Callers that are told what came of it: which of the endpoints they named are being dialled.
    asked: BTreeMap<RequestId, Vec<bool>>,
    /// How many endpoints that are.
    asked_under_way: usize,
}

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// From the same machine.
    Machine,
    /// From the same wire.
    Wire,
    /// From the same private network.
    Site,
    /// From everywhere.
    World,
}

impl Scope {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip if ip.is_loopback() => Self::Machine,
            IpAddr::V4(ip) if ip.is_link_local() => Self::Wire,
            IpAddr::V4(ip) if ip.is_private() => Self::Site,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::Wire,
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Site,
            _ => Self::World,
        }
    }
}

impl DialBacks {
    /// Takes note of one that begins; false if there are too many.
    fn begin(&mut self, source: IpAddr, now: Time) -> bool {
        let source = source_of(source);
        if self.sources.len() >= SOURCES_MAX || now >= self.swept_at + WINDOW {
            self.forget_old(now);
        }
        let is_known = self.sources.contains_key(&source);
        if self.under_way >= UNDER_WAY_MAX || (!is_known && self.sources.len() >= SOURCES_MAX) {
            return false;
        }
        let (since, count) = self.sources.entry(source).or_insert((now, 0));
        if now >= *since + WINDOW {
            (*since, *count) = (now, 0);
        }
        if *count >= PER_SOURCE_MAX {
            return false;
        }
        *count += 1;
        self.under_way += 1;
        true
    }

    /// The same for a caller that waits to be told what came of it.
    fn begin_asked(&mut self, source: IpAddr, now: Time) -> bool {
        let begins = self.asked_under_way < ASKED_MAX && self.begin(source, now);
        self.asked_under_way += usize::from(begins);
        begins
    }

    /// How many callers wait to be told what came of it.
    pub(super) fn asked_len(&self) -> usize {
        self.asked.len()
    }

    /// How many sources are counted.
    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Forgets the sources whose minute is over: nothing hangs on them any more.
    pub(super) fn forget_old(&mut self, now: Time) {
        self.sources.retain(|_, (since, _)| now < *since + WINDOW);
        if self.sources.is_empty() {
            self.sources = BTreeMap::new();
        }
        self.swept_at = now;
    }

    /// Takes note of one that has ended.
    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

impl Node {
    /// Dials a caller back, if it is worth trying: what it says of itself is hearsay until then.
    /// One that we could not reach for long may be back.
    pub(super) fn dial_back(&mut self, turn: Turn<'_>, caller: Contact, source: SocketAddr) {
        let is_good = self.table.status(&caller.address(), turn.now) == Some(Status::Good);
        let near = |endpoint: &&SocketAddr| is_near(endpoint.ip(), source.ip());
        let near: Vec<SocketAddr> = caller.endpoints().iter().filter(near).copied().collect();
        if is_good || near.is_empty() || !self.dial_backs.begin(source.ip(), turn.now) {
            return;
        }
        let is_all = near.len() == caller.endpoints().len();
        let to = if is_all { caller.clone() } else { Contact::new(*caller.key(), near) };
        let endpoints = self.config.endpoints.clone();
        if !self.call(turn, to, Request::Ping { endpoints }, Purpose::DialBack(caller)) {
            self.dial_backs.end();
        }
    }
}

/// What a caller is told that wants to know what comes of dialling it back.
impl Node {
    /// Has those endpoints dialled that lie at the very address of the caller, as far as there is room.
    pub(super) fn answer_dial_back(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        (from, source): (&PublicKey, SocketAddr),
        endpoints: &[SocketAddr],
    ) {
        let may_tell = self.is_among(Scope::of(source.ip()));
        let mut is_dialled = |endpoint: &SocketAddr| {
            may_tell
                && is_at(*endpoint, source.ip())
                && self.dial_backs.begin_asked(source.ip(), turn.now)
        };
        let dialled: Vec<bool> = endpoints.iter().map(&mut is_dialled).collect();
        let of_caller = endpoints.iter().zip(&dialled);
        let endpoints: Vec<_> =
            of_caller.filter_map(|(endpoint, dialled)| dialled.then_some(*endpoint)).collect();
        if endpoints.is_empty() {
            let outcomes = vec![DialOutcome::NotTried; dialled.len()];
            return self.reply(id, Ok(Response::DialledBack { outcomes }));
        }
        self.dial_backs.asked.insert(id, dialled);
        let deadline = turn.now + PATIENCE;
        self.desk.push(Output::DialBack { id, key: *from, endpoints, deadline });
    }

    /// Whether callers from there are the node's own neighbours. Behind a proxy or a container's network
    /// strangers come from the machine itself or a gateway, whose ports are nobody's business.
    fn is_among(&self, scope: Scope) -> bool {
        let is_own = |endpoint: &SocketAddr| Scope::of(endpoint.ip()) == scope;
        scope == Scope::World || self.config.endpoints.iter().any(is_own)
    }

    /// The host has dialled a caller back.
    pub(super) fn on_dialled_back(&mut self, id: RequestId, outcomes: Vec<DialOutcome>) {
        let Some(dialled) = self.dial_backs.asked.remove(&id) else { return };
        let mut came = outcomes.into_iter();
        let mut outcome_of = |dialled: bool| {
            if !dialled {
                return DialOutcome::NotTried;
            }
            self.dial_backs.end();
            self.dial_backs.asked_under_way -= 1;
            came.next().unwrap_or(DialOutcome::Failed)
        };
        let outcomes = dialled.into_iter().map(&mut outcome_of).collect();
        self.reply(id, Ok(Response::DialledBack { outcomes }));
    }
}

/// Whether an endpoint lies at the address from where a call came, whatever that address is: of others in
/// a private network a caller may learn nothing either.
fn is_at(endpoint: SocketAddr, source: IpAddr) -> bool {
    endpoint.port() != 0 && endpoint.ip().to_canonical() == source.to_canonical()
}

/// Whether whoever called from `source` may be the one at `endpoint`.
fn is_near(endpoint: IpAddr, source: IpAddr) -> bool {
    let (endpoint, source) = (endpoint.to_canonical(), source.to_canonical());
    let scope = Scope::of(source);
    endpoint == source || (scope != Scope::World && scope == Scope::of(endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_endpoint_is_near_at_the_same_address_or_in_the_same_private_range() {
        for (endpoint, source, expected) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.2", "192.0.2.1", false),
            ("2001:db8::1", "192.0.2.1", false),
            ("::1", "127.0.0.1", true),
            ("127.0.0.1", "192.0.2.1", false),
            ("192.0.2.1", "127.0.0.1", false),
            ("10.1.2.3", "192.168.4.5", true),
            ("172.16.0.1", "fd00::1", true),
            ("172.32.0.1", "10.0.0.1", false),
            ("10.0.0.1", "127.0.0.1", false),
            ("169.254.0.1", "fe80::1", true),
            ("169.254.169.254", "10.0.0.1", false),
        ] {
            assert_eq!(is_near(ip(endpoint), ip(source)), expected, "{endpoint} from {source}");
        }
    }

    #[test]
    fn whoever_asks_what_came_of_it_asks_of_one_address() {
        for (endpoint, source, expected) in [
            ("192.0.2.1:22", "192.0.2.1", true),
            ("192.0.2.1:22", "::ffff:192.0.2.1", true),
            ("192.0.2.1:0", "192.0.2.1", false),
            ("192.0.2.2:22", "192.0.2.1", false),
            ("10.0.0.2:22", "10.0.0.1", false),
            ("127.0.0.2:22", "127.0.0.1", false),
            ("[fe80::1]:22", "fe80::1", true),
            ("[fe80::2]:22", "fe80::1", false),
        ] {
            let is_at = is_at(endpoint.parse().unwrap(), ip(source));
            assert_eq!(is_at, expected, "{endpoint} from {source}");
        }
    }

    #[test]
    fn one_source_has_its_share_of_a_minute() {
        let mut dial_backs = DialBacks::default();
        let mut begun = |source, now| {
            let begun = (0..100).filter(|_| dial_backs.begin(ip(source), now)).count();
            dial_backs.under_way = 0;
            begun
        };
        assert_eq!(begun("2001:db8::1", Time::ZERO), 64);
        assert_eq!(begun("2001:db8::2", Time::ZERO), 0);
        assert_eq!(begun("2001:db8:0:1::1", Time::ZERO), 64);
        assert_eq!(begun("2001:db8::1", Time::ZERO + WINDOW), 64);
    }

    #[test]
    fn all_sources_together_have_a_bound() {
        let mut dial_backs = DialBacks::default();
        let source = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        assert_eq!((0..300).filter(|n| dial_backs.begin(source(*n), Time::ZERO)).count(), 256);
        dial_backs.end();
        assert!(dial_backs.begin(source(1_000), Time::ZERO));
        for n in 0..10_000 {
            dial_backs.under_way = 0;
            dial_backs.begin(source(n), Time::ZERO);
        }
        assert_eq!(dial_backs.sources.len(), SOURCES_MAX);
        assert!(dial_backs.begin(source(20_000), Time::ZERO + WINDOW));
    }
}
