//! Which nodes an envelope, a card or a subscription belongs to (PROTOCOL §5.5, §6.8).
//!
//! Entry type is [`Regions`]: what lookups found lately, and who waits for one. In a network that is
//! no larger than a region everybody belongs, and nothing is looked up.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::EnvelopeId;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::records::{Custody, Role};
use super::routing::SearchPurpose;
use super::{Node, Turn};

/// How long envelopes and mailboxes whose region is being looked up are put off; the end of the lookup
/// takes them up earlier.
pub(super) const LOOKUP_PATIENCE: Span = Span::from_secs(15);
/// Envelopes of one mailbox that may wait for its region; further ones come round by their schedule.
const AWAITING_MAX: usize = 1_024;
/// Nodes remembered of one region; of more, some at random.
const NODES_MAX: usize = 256;
/// A region that looks the same again is kept for twice as long, up to so many times the first.
const KEPT_TIMES_MAX: u64 = 16;
/// Of fewer than so many entries nothing can be told by their distances.
const TELLING: u64 = 4;
/// A network of up to a region that is known whole is counted, while its estimate is at most so many regions.
const COUNTED_BELOW: u64 = 2;
/// From this round on, counted from 0, a node of the region whose table may not show all of it searches.
const NEIGHBOURS_SEARCH_FROM: u32 = 8;

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
    /// How long it is used without another search.
    kept: Span,
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

    /// Adds a node to all regions that reach so far.
    pub(super) fn add(&mut self, contact: &Contact, radius: u64) {
        let address = contact.address();
        for (place, region) in &mut self.found {
            if address.distance(place).top_bits() > radius {
                continue;
            }
            let known = region.nodes.iter().position(|node| node.address() == address);
            match known {
                Some(at) => region.nodes[at] = contact.clone(),
                None if region.nodes.len() < NODES_MAX => region.nodes.push(contact.clone()),
                None => {}
            }
        }
    }

    /// Forgets all regions: the neighbourhood has changed.
    pub(super) fn forget(&mut self) {
        self.found.clear();
    }

    /// Remembers what was found: for twice as long as the time before if it is much the same.
    fn keep(&mut self, mailbox: Address, nodes: Vec<Contact>, now: Time, first: Span) {
        let before = self.found.get(&mailbox).filter(|region| is_alike(&region.nodes, &nodes));
        let kept = before.map_or(first, |region| region.kept.times(2));
        let kept = kept.min(first.times(KEPT_TIMES_MAX));
        if self.found.len() >= self.max && !self.found.contains_key(&mailbox) {
            let oldest = self.found.iter().min_by_key(|(_, region)| region.found_at);
            if let Some(oldest) = oldest.map(|(mailbox, _)| *mailbox) {
                self.found.remove(&oldest);
            }
        }
        self.found.insert(mailbox, Region { nodes, found_at: now, kept });
    }
}

impl Node {
    /// The estimate of the network's size, this node included. A table in which no bucket can be full knows
    /// everybody that it has met, and what it counts is better than what it would be by their distances.
    pub(super) fn network_size(&self) -> u64 {
        let (estimate, counted) = (self.size.estimate(), self.table.len() as u64 + 1);
        let room = self.config.region_nodes.min(self.config.table.bucket_size as u64);
        let is_whole = counted <= room && estimate <= COUNTED_BELOW * room;
        if counted <= TELLING || is_whole {
            return counted;
        }
        estimate.max(counted)
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
            && turn.now.since(region.found_at) < region.kept
        {
            return Found::Nodes(region.nodes.clone());
        }
        self.search(turn, *place, SearchPurpose::Region(aim));
        Found::Searching
    }

    /// Whom a round of this envelope is for. Searches are what an envelope that waits costs most: a
    /// node of the region knows its neighbours, and others ask again in rounds 0, 1, 2, 4, 8, … only.
    pub(super) fn region_of_round(&mut self, turn: Turn<'_>, custody: &Custody) -> Found {
        let place = &custody.mailbox;
        if custody.role == Role::Own {
            return self.find_region(turn, place, Aim::Own);
        }
        if custody.role == Role::Collected {
            return self.who_may_have_ended(turn, custody);
        }
        let known = self.known_region(custody);
        known.map_or_else(|| self.find_region(turn, place, Aim::Relayed), Found::Nodes)
    }

    /// Whom to ask about what was collected for another node: in every other round the node it came from, which
    /// is the most likely to know of its end.
    fn who_may_have_ended(&mut self, turn: Turn<'_>, custody: &Custody) -> Found {
        if self.own_mailboxes.contains(&custody.mailbox) {
            return self.find_region(turn, &custody.mailbox, Aim::Own);
        }
        let source = custody.source.filter(|_| custody.rounds % 2 == 1);
        match source.and_then(|source| self.contact(&source)) {
            Some(source) => Found::Nodes(vec![source]),
            None => self.find_region(turn, &custody.mailbox, Aim::Relayed),
        }
    }

    /// The region of an envelope as far as it need not be searched for this round.
    fn known_region(&self, custody: &Custody) -> Option<Vec<Contact>> {
        if self.is_small_network() {
            return None;
        }
        let found = || self.regions.found.get(&custody.mailbox).map(|region| region.nodes.clone());
        let searches = custody.rounds == 0 || custody.rounds.is_power_of_two();
        if self.is_entry_for(custody) {
            return found().filter(|_| !searches);
        }
        if let Some(neighbours) = self.neighbours_at(&custody.mailbox) {
            return Some(neighbours);
        }
        let searches = searches && custody.rounds >= NEIGHBOURS_SEARCH_FROM;
        found().filter(|_| !searches)
    }

    /// The region of a place as the table shows it, if this node lies in it and the table can show all of it.
    pub(super) fn neighbours_at(&self, place: &Address) -> Option<Vec<Contact>> {
        if self.is_small_network() || !self.is_in_region(&self.address, place) {
            return None;
        }
        let neighbours = self.table.all_within(place, self.radius())?;
        Some(neighbours).filter(|neighbours| neighbours.len() >= self.fewest_of_region())
    }

    /// An estimate that is far too large must not leave an envelope with nobody.
    fn fewest_of_region(&self) -> usize {
        self.config.stored_receipts.max(self.config.table.bucket_size / 2)
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
        let mut nodes: Vec<_> =
            nearest.into_iter().take(within.max(self.fewest_of_region())).collect();
        if nodes.len() > NODES_MAX {
            nodes = self.draw(&mut nodes, NODES_MAX);
        }
        self.regions.keep(place, nodes, turn.now, self.config.region_kept);
        let awaiting = self.regions.awaiting.remove(&place).unwrap_or_default();
        self.relay_found(turn, &awaiting)?;
        self.collect_from_region(turn, &place);
        self.cards_from_region(turn, &place);
        Ok(())
    }
}

/// Whether at least three quarters of the larger of two regions are in both.
fn is_alike(before: &[Contact], now: &[Contact]) -> bool {
    let before: BTreeSet<_> = before.iter().map(Contact::address).collect();
    let common = now.iter().filter(|contact| before.contains(&contact.address())).count();
    common * 4 >= before.len().max(now.len()) * 3
}
