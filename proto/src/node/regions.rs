//! Which nodes an envelope, a card or a subscription belongs to (PROTOCOL §5.5, §6.8).
//!
//! Entry type is [`Regions`]: what lookups found lately, and who waits for one. In a network that is
//! no larger than a region everybody belongs, and nothing is looked up.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::EnvelopeId;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::routing::SearchPurpose;
use super::{Node, Turn};

/// How long envelopes and mailboxes whose region is being looked up are put off; the end of the lookup
/// takes them up earlier.
pub(super) const LOOKUP_PATIENCE: Span = Span::from_secs(15);
/// Envelopes of one mailbox that may wait for its region; further ones come round by their schedule.
const AWAITING_MAX: usize = 1_024;
/// Nodes remembered of one region; of more, some at random.
const NODES_MAX: usize = 256;

/// Regions found lately, and what waits for one to be found.
#[derive(Debug)]
pub(super) struct Regions {
    found: BTreeMap<Address, Region>,
    awaiting: BTreeMap<Address, Vec<EnvelopeId>>,
    max: usize,
}

#[derive(Debug)]
struct Region {
    nodes: Vec<Contact>,
    found_at: Time,
}

/// On whose behalf a region is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// A client of ours: its node stays out of the region's sight and goes through entries.
    Own,
    /// Another node: this node deals with the region itself.
    Relayed,
    /// Another node that looks for a card or publishes one. This node deals with the region too, but
    /// owes the asker nothing: such searches wait until there is room for them.
    Errand,
}

/// Whom to turn to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These.
    Nodes(Vec<Contact>),
    /// A lookup is under way.
    Searching,
}

impl Regions {
    pub(super) fn new(max: usize) -> Self {
        Self { found: BTreeMap::new(), awaiting: BTreeMap::new(), max }
    }

    pub(super) fn found_len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn awaited_len(&self) -> usize {
        self.awaiting.len()
    }

    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.found.len() + self.awaiting.values().map(Vec::len).sum::<usize>()
    }

    /// Notes an envelope to be taken up as soon as its region is found.
    pub(super) fn await_by(&mut self, mailbox: &Address, id: EnvelopeId) {
        if self.awaiting.len() < self.max || self.awaiting.contains_key(mailbox) {
            let ids = self.awaiting.entry(*mailbox).or_default();
            if ids.len() < AWAITING_MAX && !ids.contains(&id) {
                ids.push(id);
            }
        }
    }

    /// Up to `max` places that something waits for, those from `from` on first.
    pub(super) fn awaited(&self, from: &Address, max: usize) -> Vec<Address> {
        let (later, earlier) = (self.awaiting.range(*from..), self.awaiting.range(..*from));
        later.chain(earlier).map(|(place, _)| *place).take(max).collect()
    }

    /// Forgets all regions: the neighbourhood has changed.
    pub(super) fn forget(&mut self) {
        self.found.clear();
    }

    fn keep(&mut self, mailbox: Address, nodes: Vec<Contact>, now: Time) {
        if self.found.len() >= self.max && !self.found.contains_key(&mailbox) {
            let oldest = self.found.iter().min_by_key(|(_, region)| region.found_at);
            if let Some(oldest) = oldest.map(|(mailbox, _)| *mailbox) {
                self.found.remove(&oldest);
            }
        }
        self.found.insert(mailbox, Region { nodes, found_at: now });
    }
}

impl Node {
    /// The estimate of the network's size, this node included.
    pub(super) fn network_size(&self) -> u64 {
        self.size.estimate().max(self.table.len() as u64 + 1)
    }

    /// Whether the network is no larger than a region, so that everybody belongs to each. While it is
    /// being found again, what it was counts: else each restart would show our clients' business
    /// to whoever answers first.
    pub(super) fn is_small_network(&self) -> bool {
        self.network_size() <= self.config.region_nodes && !self.entries.are_restored()
    }

    /// Whether `node` belongs to the region of `place`.
    pub(super) fn is_in_region(&self, node: &Address, place: &Address) -> bool {
        node.distance(place).top_bits() <= self.radius()
    }

    /// The region radius in the top 64 bits of a distance; everything in a small network.
    pub(super) fn radius(&self) -> u64 {
        if self.is_small_network() {
            return u64::MAX;
        }
        self.size.region_radius(self.config.region_nodes)
    }

    /// Whether this node's own clients are hidden behind entries.
    pub(super) fn is_behind_entries(&self) -> bool {
        !self.entries.is_empty() && !self.is_small_network()
    }

    /// Whom to turn to about `place`; begins a lookup where nobody is known yet.
    pub(super) fn find_region(&mut self, turn: Turn<'_>, place: &Address, aim: Aim) -> Found {
        if self.is_small_network() {
            return Found::Nodes(self.table.closest(place, self.table.len()));
        }
        if aim == Aim::Own {
            let entries = self.entry_contacts(turn.now);
            if !entries.is_empty() {
                return Found::Nodes(entries);
            }
        }
        if let Some(region) = self.regions.found.get(place)
            && turn.now.since(region.found_at) < self.config.region_kept
        {
            return Found::Nodes(region.nodes.clone());
        }
        self.search(turn, *place, SearchPurpose::Region(aim));
        Found::Searching
    }

    /// A lookup of `place` has ended with these nodes, nearest first: everybody who waited goes on.
    pub(super) fn on_region_found(
        &mut self,
        turn: Turn<'_>,
        place: Address,
        nearest: Vec<Contact>,
    ) -> Result<(), StoreError> {
        let radius = self.radius();
        let inside = |contact: &&Contact| contact.address().distance(&place).top_bits() <= radius;
        let within = nearest.iter().filter(inside).count();
        // An estimate that is far too small must not leave an envelope with nobody.
        let count = within.max(self.config.stored_receipts.max(self.config.table.bucket_size / 2));
        let mut nodes: Vec<_> = nearest.into_iter().take(count).collect();
        if nodes.len() > NODES_MAX {
            nodes = self.draw(&mut nodes, NODES_MAX);
        }
        self.regions.keep(place, nodes, turn.now);
        let awaiting = self.regions.awaiting.remove(&place).unwrap_or_default();
        self.relay_found(turn, &awaiting)?;
        self.collect_from_region(turn, &place);
        self.cards_from_region(turn, &place);
        Ok(())
    }
}
