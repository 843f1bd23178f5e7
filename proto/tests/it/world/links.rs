//! What lies between the hosts: calls, answers and streams for pushes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::key::PublicKey;
use comm_proto::message::{DialOutcome, Push, Request, Response};
use comm_proto::node::{CallId, Input};
use comm_proto::rejection::Rejection;
use comm_proto::time::Span;
use rand_core::RngCore;

use super::{At, Happening, World};

/// How links behave; may be changed at any time.
#[derive(Debug)]
pub(crate) struct Links {
    /// Least and greatest latency of one way.
    pub(crate) latency: (Span, Span),
    /// Of a thousand messages, how many are lost.
    pub(crate) lost_of_1000: u64,
    /// Of a thousand answers, how many come twice.
    pub(crate) doubled_of_1000: u64,
    /// The group of each host; everybody is in one when empty.
    groups: BTreeMap<At, usize>,
    /// Streams that hosts want to keep open, from subscriber to source.
    wanted: BTreeSet<(At, At)>,
    open: BTreeSet<(At, At)>,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) from: At,
    /// After a restart nobody waits for it any more.
    pub(super) boot: u32,
    pub(super) call: CallId,
}

/// The port from which every host calls.
pub(super) const CALLING_PORT: u16 = 50_000;

/// Where a host listens.
pub(crate) fn endpoint(at: At) -> SocketAddr {
    ([127, 0, (at >> 8) as u8, at as u8], 4_000).into()
}

fn listener(endpoint: &SocketAddr) -> Option<At> {
    let SocketAddr::V4(endpoint) = endpoint else { return None };
    let [_, _, high, low] = endpoint.ip().octets();
    (endpoint.port() == 4_000).then_some(usize::from(high) << 8 | usize::from(low))
}

impl Default for Links {
    fn default() -> Self {
        Self {
            latency: (Span::from_millis(20), Span::from_millis(60)),
            lost_of_1000: 0,
            doubled_of_1000: 0,
            groups: BTreeMap::new(),
            wanted: BTreeSet::new(),
            open: BTreeSet::new(),
        }
    }
}

impl Links {
    pub(super) fn part(&mut self, groups: &[&[At]]) {
        let numbered = groups.iter().enumerate();
        self.groups =
            numbered.flat_map(|(n, group)| group.iter().map(move |at| (*at, n))).collect();
    }

    pub(super) fn heal(&mut self) {
        self.groups.clear();
    }

    /// Whether anything gets from one host to the other.
    pub(crate) fn reach(&self, from: At, to: At) -> bool {
        let group = |at| self.groups.get(&at);
        self.groups.is_empty() || (group(from).is_some() && group(from) == group(to))
    }

    /// Open streams over links that are cut.
    pub(super) fn torn(&self, _hosts: usize) -> Vec<(At, At)> {
        self.open.iter().filter(|(from, to)| !self.reach(*from, *to)).copied().collect()
    }
}

impl World {
    fn latency(&mut self) -> Span {
        let (least, greatest) = self.links.latency;
        let spread = greatest.as_millis().saturating_sub(least.as_millis()) + 1;
        Span::from_millis(least.as_millis() + self.rng.next_u64() % spread)
    }

    fn is_lost(&mut self) -> bool {
        self.links.lost_of_1000 > 0 && self.rng.next_u64() % 1_000 < self.links.lost_of_1000
    }

    pub(super) fn send_call(
        &mut self,
        asked: Asked,
        to: &Contact,
        request: Request,
        patience: Span,
    ) {
        let late = Happening::Answered { asked, result: Err(Rejection::Unreachable) };
        self.later(patience, late);
        let Some(at) = to.endpoints().iter().find_map(listener) else { return };
        // Whoever answers there must prove the key that was called.
        if at < self.hosts.len() && self.address(at) == to.address() && !self.is_lost() {
            let latency = self.latency();
            self.later(latency, Happening::Asked { asked, to: at, request });
        }
    }

    /// Who is at these endpoints, for a host that dials a caller back.
    pub(super) fn dial_back(
        &self,
        from: At,
        key: &PublicKey,
        endpoints: &[SocketAddr],
    ) -> Vec<DialOutcome> {
        let outcome = |endpoint: &SocketAddr| match listener(endpoint) {
            None => DialOutcome::Refused,
            Some(at) if !self.is_up(at) || !self.links.reach(from, at) => DialOutcome::TimedOut,
            Some(at) if self.address(at) == key.address() => DialOutcome::Reached,
            Some(_) => DialOutcome::OtherKey,
        };
        endpoints.iter().map(outcome).collect()
    }

    pub(super) fn deliver_request(&mut self, asked: Asked, to: At, request: Request) {
        if !self.is_up(to) || !self.links.reach(asked.from, to) {
            return;
        }
        let from = self.hosts[asked.from].key().public();
        if let Some(puppet) = &mut self.hosts[to].puppet {
            if let Some(result) = puppet(&from.address(), &request) {
                self.send_answer(to, asked, result);
            }
            return;
        }
        let id = self.request_id();
        self.hosts[to].asked.insert(id, asked);
        let source = SocketAddr::new(endpoint(asked.from).ip(), CALLING_PORT);
        self.input(to, Input::Request { id, from, source, known: None, request });
    }

    pub(super) fn send_answer(
        &mut self,
        from: At,
        asked: Asked,
        result: Result<Response, Rejection>,
    ) {
        if self.is_lost() || !self.links.reach(from, asked.from) {
            return;
        }
        if self.rng.next_u64() % 1_000 < self.links.doubled_of_1000 {
            let latency = self.latency();
            self.later(latency, Happening::Answered { asked, result: result.clone() });
        }
        let latency = self.latency();
        self.later(latency, Happening::Answered { asked, result });
    }

    /// A puppet tells all who listen to it, quicker than any node could.
    pub(crate) fn push_as(&mut self, from: At, push: &Push) {
        let open = self.links.open.iter().filter(|(_, source)| *source == from);
        for to in open.map(|(to, _)| *to).collect::<Vec<_>>() {
            let told = Happening::Pushed { from, to, push: push.clone() };
            self.later(Span::from_millis(1), told);
        }
    }

    /// A host wants a stream to another kept open, or no longer.
    pub(super) fn listen(&mut self, from: At, to: &Contact, open: bool) {
        let Some(to) = self.at(&to.address()) else { return };
        if !open {
            self.links.wanted.remove(&(from, to));
            self.close_stream(from, to);
        } else if self.links.wanted.insert((from, to)) {
            let latency = self.latency();
            self.later(latency, Happening::Opening { from, to });
        }
    }

    pub(super) fn open_stream(&mut self, from: At, to: At) {
        let wanted = self.links.wanted.contains(&(from, to));
        let possible = self.is_up(from) && self.is_up(to) && self.links.reach(from, to);
        if wanted && possible && self.links.open.insert((from, to)) {
            let (peer, source) = (self.address(from), self.address(to));
            self.input(to, Input::ListenerOpened { peer });
            self.input(from, Input::ListenOpened { to: source });
        }
    }

    /// A stream ends that may still be wanted.
    pub(super) fn tear_stream(&mut self, from: At, to: At) {
        self.close_stream(from, to);
        let source = self.address(to);
        self.input(from, Input::ListenClosed { to: source });
    }

    pub(super) fn close_stream(&mut self, from: At, to: At) {
        if self.links.open.remove(&(from, to)) {
            let peer = self.address(from);
            self.input(to, Input::ListenerClosed { peer });
        }
    }

    /// Tries all streams that are wanted and not open.
    pub(super) fn reopen(&mut self) {
        let missing: Vec<_> = self.links.wanted.difference(&self.links.open).copied().collect();
        for (from, to) in missing {
            let latency = self.latency();
            self.later(latency, Happening::Opening { from, to });
        }
    }

    /// All links of a host end.
    pub(super) fn unplug(&mut self, host: At) {
        self.links.wanted.retain(|(from, _)| *from != host);
        let torn = self.links.open.iter().filter(|(from, to)| *from == host || *to == host);
        for (from, to) in torn.copied().collect::<Vec<_>>() {
            self.tear_stream(from, to);
        }
    }

    pub(super) fn send_push(&mut self, from: At, to: &Address, push: Push) {
        let Some(to) = self.at(to) else { return };
        if self.links.open.contains(&(to, from)) {
            self.pushed.push(push.clone());
            let latency = self.latency();
            self.later(latency, Happening::Pushed { from, to, push });
        }
    }
}
