//! How other nodes see this one: from where its calls come, and whether they reach it (PROTOCOL §5.1).
//!
//! Entry type is [`OutsideView`]. Nothing in the protocol depends on it; it is for people to look at.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::address::Address;
use crate::message::Reachability;
use crate::time::{Span, Time};

use super::dial_backs::Scope;

/// Nodes whose word is remembered; the latest.
const WITNESSES_MAX: usize = 32;
/// Nodes that must agree.
const QUORUM: usize = 2;
/// For how long a call from outside shows that others reach us.
const REACHED_FOR: Span = Span::HOUR;
/// How long a node that has just heard of us may take to dial us back.
const DIAL_BACK_WAIT: Span = Span::from_mins(1);

/// What others have said and done.
#[derive(Debug, Default)]
pub(super) struct OutsideView {
    /// The nodes asked last, oldest first, and the number of the place from where each has seen us call.
    witnesses: VecDeque<(Address, u8)>,
    /// These places, which are few; those that no witness names any more are used again.
    places: Vec<SocketAddr>,
    /// Nodes that knew us before we started: they need not dial us to know that we are there.
    acquainted: BTreeSet<Address>,
    /// When somebody new was first told where we listen.
    introduced_at: Option<Time>,
    reached_at: Option<Time>,
}

impl OutsideView {
    /// Nobody has said anything yet; `acquainted` are those that knew us before.
    pub(super) fn new(acquainted: impl IntoIterator<Item = Address>) -> Self {
        Self { acquainted: acquainted.into_iter().collect(), ..Self::default() }
    }

    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.witnesses.len() + self.places.len() + self.acquainted.len()
    }

    /// A node answered a ping, and with that knows where we listen.
    pub(super) fn note_answer(&mut self, by: Address, observed: Option<SocketAddr>, now: Time) {
        if !self.acquainted.contains(&by) {
            self.introduced_at.get_or_insert(now);
        }
        let Some(observed) = observed else { return };
        self.witnesses.retain(|(witness, _)| *witness != by);
        if self.witnesses.len() == WITNESSES_MAX {
            self.witnesses.pop_front();
        }
        let place = self.place_of(observed);
        self.witnesses.push_back((by, place));
    }

    /// The number of a place; there are never more places than witnesses.
    fn place_of(&mut self, seen: SocketAddr) -> u8 {
        let is_named =
            |number: usize| self.witnesses.iter().any(|(_, at)| usize::from(*at) == number);
        let known = self.places.iter().position(|place| *place == seen);
        let number = known
            .or_else(|| (0..self.places.len()).find(|number| !is_named(*number)))
            .unwrap_or(self.places.len());
        match self.places.get_mut(number) {
            Some(place) => *place = seen,
            None => self.places.push(seen),
        }
        number as u8
    }

    /// A node called from `source`, which it could not have done without reaching us. From within
    /// the own machine or site that shows nothing about endpoints outside.
    pub(super) fn note_call(&mut self, source: SocketAddr, endpoints: &[SocketAddr], now: Time) {
        let scope = Scope::of(source.ip());
        if endpoints.iter().any(|endpoint| Scope::of(endpoint.ip()) == scope) {
            self.reached_at = Some(now);
        }
    }

    /// From where our calls come: of each family the IP address that at least two nodes, and more
    /// than half of those remembered, have seen; with the port that was seen last.
    pub(super) fn observed(&self) -> Vec<SocketAddr> {
        let seen = |is_v4: bool| {
            let family: Vec<_> = self
                .witnesses
                .iter()
                .map(|(_, place)| self.places[usize::from(*place)])
                .filter(|s| s.is_ipv4() == is_v4)
                .collect();
            let votes = |of: &SocketAddr| family.iter().filter(|seen| seen.ip() == of.ip()).count();
            let wins = |of: &&SocketAddr| votes(of) >= QUORUM && votes(of) * 2 > family.len();
            family.iter().rev().find(wins).copied()
        };
        [true, false].into_iter().filter_map(seen).collect()
    }

    /// Whether others reach us at `endpoints`, as far as we know.
    pub(super) fn reachability(&self, endpoints: &[SocketAddr], now: Time) -> Reachability {
        let is_within = |at: Option<Time>, span| at.is_some_and(|at| now < at + span);
        if endpoints.is_empty() {
            return Reachability::Unreachable;
        }
        if is_within(self.reached_at, REACHED_FOR) {
            return Reachability::Reachable;
        }
        let was_awaited = self.introduced_at.is_some_and(|at| now >= at + DIAL_BACK_WAIT);
        match (self.reached_at, was_awaited) {
            (None, true) => Reachability::Unreachable,
            _ => Reachability::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> Address {
        Address::from_bytes([n; 20])
    }

    fn place(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn seen(words: &[(u8, &str)]) -> Vec<SocketAddr> {
        let mut view = OutsideView::default();
        for (by, observed) in words {
            view.note_answer(node(*by), Some(place(observed)), Time::ZERO);
        }
        view.observed()
    }

    #[test]
    fn what_two_and_most_have_seen_counts() {
        let (here, there) = ("192.0.2.1:1", "192.0.2.9:1");
        assert_eq!(seen(&[(1, here)]), []);
        assert_eq!(seen(&[(1, here), (1, here)]), [], "one node has one vote");
        assert_eq!(seen(&[(1, here), (2, "192.0.2.1:2")]), [place("192.0.2.1:2")]);
        assert_eq!(seen(&[(1, here), (2, there), (3, here)]), [place(here)]);
        assert_eq!(seen(&[(1, here), (2, there), (3, here), (4, there)]), []);
        let both = seen(&[(1, here), (2, "[2001:db8::1]:1"), (3, here), (4, "[2001:db8::1]:1")]);
        assert_eq!(both, [place(here), place("[2001:db8::1]:1")]);
    }

    #[test]
    fn the_latest_witnesses_are_remembered() {
        let mut view = OutsideView::default();
        for n in 0..=u8::MAX {
            let observed = if n < 200 { "192.0.2.1:1" } else { "192.0.2.2:1" };
            view.note_answer(node(n), Some(place(observed)), Time::ZERO);
        }
        assert_eq!(view.witnesses.len(), WITNESSES_MAX);
        assert_eq!(view.observed(), [place("192.0.2.2:1")]);
    }

    #[test]
    fn witnesses_of_whom_each_has_seen_another_place_are_told_apart() {
        let mut view = OutsideView::default();
        for n in 0..=u8::MAX {
            let observed = format!("192.0.2.{n}:1");
            view.note_answer(node(n), Some(place(&observed)), Time::ZERO);
            assert_eq!(view.observed(), []);
        }
        assert!(view.places.len() <= WITNESSES_MAX);
        for n in 0..=WITNESSES_MAX as u8 / 2 {
            view.note_answer(node(n), Some(place("192.0.2.255:2")), Time::ZERO);
        }
        assert_eq!(view.observed(), [place("192.0.2.255:2")]);
    }

    #[test]
    fn a_node_is_reachable_while_others_call_it_and_not_if_nobody_does() {
        use Reachability::{Reachable, Unknown, Unreachable};
        let endpoints = [place("192.0.2.1:7667")];
        let (start, soon) = (Time::ZERO, Time::ZERO + DIAL_BACK_WAIT);
        let mut view = OutsideView::new([node(1)]);
        view.note_answer(node(1), None, start);
        assert_eq!(view.reachability(&endpoints, soon), Unknown, "it knew us before");
        view.note_answer(node(2), None, start);
        assert_eq!(view.reachability(&endpoints, start), Unknown);
        assert_eq!(view.reachability(&endpoints, soon), Unreachable);
        view.note_call(place("127.0.0.1:1"), &endpoints, soon);
        assert_eq!(view.reachability(&endpoints, soon), Unreachable, "from this machine");
        view.note_call(place("198.51.100.1:1"), &endpoints, soon);
        assert_eq!(view.reachability(&endpoints, soon), Reachable);
        assert_eq!(view.reachability(&endpoints, soon + REACHED_FOR), Unknown);
        assert_eq!(view.reachability(&[], soon), Unreachable);
    }
}
