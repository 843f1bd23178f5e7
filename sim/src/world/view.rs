//! What an outsider sees who looks at all hosts at once: who has whom, and what lies where.

use std::fmt::Write;

use comm_proto::address::Address;
use comm_proto::node::Node;
use comm_proto::time::Span;

use super::{World, story};
use crate::copies::Change;
use crate::host::{At, Host};
use crate::measured::{Fate, Standing};
use crate::people::Letter;

/// How many nodes a region should have, and the fewest that it has (PROTOCOL §5.5).
const REGION: u128 = 20;
const REGION_LEAST: usize = 10;

impl World {
    /// What the adversary has of honest relays that are up.
    pub(crate) fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        if let Some(count) = self.come_and_go {
            standing.churn = (count, self.honest_hosts().count() as u64);
        }
        let all_are_honest = self.hosts.iter().all(Host::is_honest);
        let is_theirs = |address: Address| {
            if all_are_honest {
                return false;
            }
            let owner = self.by_address.get(&address).or_else(|| self.identities.get(&address));
            owner.is_some_and(|at| !self.hosts[*at].is_honest())
        };
        for node in self.hosts.iter().filter(|host| host.is_honest()).filter_map(Host::node) {
            for known in node.table_nodes() {
                standing.table.0 += u64::from(is_theirs(known.address()));
                standing.table.1 += 1;
            }
            for entry in node.entry_nodes() {
                standing.entries.0 += u64::from(is_theirs(entry.address()));
                standing.entries.1 += 1;
            }
        }
        standing
    }

    /// The most bytes that an honest host's disk has held so far, by its own account.
    pub(crate) fn fullest(&self) -> u64 {
        self.fullest
    }

    /// Bytes on an honest host's disk, by its node's account.
    pub(super) fn held(&self, host: At) -> u64 {
        let host = &self.hosts[host];
        let node = host.node().filter(|_| host.is_honest());
        let bounds = node.into_iter().flat_map(Node::bounds);
        bounds.filter(|bound| bound.what == "bytes on disk").map(|bound| bound.held).sum()
    }

    /// Honest hosts that are up.
    pub(crate) fn honest_up(&self) -> u64 {
        self.hosts.iter().filter(|host| host.is_honest() && host.is_up()).count() as u64
    }

    /// Every envelope's fate until now.
    pub(crate) fn fates(&self) -> Vec<Fate> {
        let one = |letter: Letter| {
            let (id, fate) = self.people.fate(letter);
            let (storage, ideal_storage) = self.people.storage(letter, self.now);
            let left = id.map_or(0, |id| self.holders(&id));
            let rest = self.people.expires_at(letter).map_or(Span::ZERO, |at| at.since(self.now));
            Fate {
                id: id.as_ref().map_or_else(String::new, story::short),
                region_copied: self.people.region_copied(letter),
                left,
                storage,
                ideal_storage,
                to_come: rest.times(left),
                first_attempt: self.is_cast(letter),
                first_submission: self.is_submitted(letter),
                theirs: self.theirs_near(&self.people.mailbox(letter)),
                ..fate.clone()
            }
        };
        (0..self.people.count_letters()).map(one).collect()
    }

    /// Notes of which envelopes a host's new copies are the first in the region.
    pub(super) fn note_in_region(&mut self, host: At, copies: &[(Letter, Change)]) {
        for (letter, change) in copies {
            let may_be = self.people.may_be_first_in_region(*letter, host);
            if *change == Change::Laid
                && may_be
                && self.is_in_region(&self.people.mailbox(*letter), host)
            {
                self.people.came_to_region(self.now, *letter);
            }
        }
    }

    /// Whether the first cast succeeded and was made by whom the writer's node turned to first.
    fn is_submitted(&self, letter: Letter) -> bool {
        let cast = self.people.first_cast(letter);
        let casters = cast.caster().map(|at| self.address(at));
        let is_first = casters.zip(cast.turned_to()).is_none_or(|(caster, first)| caster == first);
        self.is_cast(letter) && (is_first || self.is_small())
    }

    /// Whether the first cast reached an honest host inside the mailbox's region, or the reader before that.
    fn is_cast(&self, letter: Letter) -> bool {
        let mailbox = self.people.mailbox(letter);
        let mut reached = self.people.first_cast(letter).reached();
        self.people.is_read_first(letter) || reached.any(|host| self.is_in_region(&mailbox, host))
    }

    /// Whether a host lies in the region of an address, by the true number of nodes.
    fn is_in_region(&self, target: &Address, host: At) -> bool {
        let distance = |at: At| self.address(at).distance(target);
        let radius = u64::try_from((REGION << 64) / self.hosts.len() as u128).unwrap_or(u64::MAX);
        let own = distance(host);
        own.top_bits() <= radius
            || (0..self.hosts.len())
                .filter(|at| distance(*at) < own)
                .nth(REGION_LEAST - 1)
                .is_none()
    }

    /// Whether the writer's own node casts an envelope, as in a small network (PROTOCOL §5.5).
    pub(super) fn is_small(&self) -> bool {
        self.hosts.len() as u128 <= REGION
    }

    /// Who has whom in their table, as a graph for Graphviz. Adversaries are boxes; a broken line leads to an entry.
    pub fn topology(&self) -> String {
        let mut text = "digraph network {\n  node [shape=point, label=\"\"];\n".to_owned();
        for (at, host) in self.hosts.iter().enumerate() {
            let shape = if host.is_honest() { "point" } else { "box" };
            let _ = writeln!(text, "  {at} [shape={shape}];");
            let Some(node) = host.node() else { continue };
            let entries = node.entry_nodes();
            for known in node.table_nodes() {
                let Some(to) = self.by_address.get(&known.address()) else { continue };
                let is_entry = entries.iter().any(|entry| entry.address() == known.address());
                let style = if is_entry { " [style=dashed]" } else { "" };
                let _ = writeln!(text, "  {at} -> {to}{style};");
            }
        }
        text + "}\n"
    }

    /// A line of CSV for every host: minute, host, honest, up, places in its table, envelopes, bytes of bodies,
    /// calls since it is up.
    pub fn every_node(&self, minute: u64) -> String {
        let mut text = String::new();
        for (at, host) in self.hosts.iter().enumerate() {
            let stats = host.node().map(Node::stats).unwrap_or_default();
            let _ = writeln!(
                text,
                "{minute},{at},{},{},{},{},{},{}",
                u8::from(host.is_honest()),
                u8::from(host.is_up()),
                stats.peers,
                stats.envelopes,
                stats.envelope_bytes,
                stats.calls_made
            );
        }
        text
    }
}

/// The columns of [`World::every_node`].
pub const EVERY_NODE: &str = "minute,node,honest,up,table,envelopes,bytes,calls\n";
