//! Whom a round of one envelope is for (PROTOCOL §6.2, §6.8).
//!
//! Entry function is [`Node::choose`]. The sender's node goes through one entry after another, an
//! entry asks first whether another has been there before it, and nodes of the region repeat to a
//! few at a time. When the next round is stands in `custody`.

use rand_core::RngCore;

use crate::contact::Contact;
use crate::table::Status;
use crate::time::Span;

use super::records::{Custody, Role};
use super::{Node, Turn};

/// How many nodes of the region an entry offers an envelope to before it casts it there.
const PROBES: usize = 3;
/// How many of the region must have it from elsewhere for the entry not to cast it.
const FOUND: usize = 2;
/// How long an entry waits for their answers.
pub(super) const PROBE_WAIT: Span = Span::from_secs(1);
/// To how many others a node of the region repeats an envelope in one round.
const REPEATS: usize = 2;

/// From this round on, counted from 0, a node asks one, or one more, whether that one has the envelope or not.
const MEETS_FROM: u32 = 2;
/// Rounds from this one on that are a power of two ask the node that the envelope came from.
const SOURCE_FROM: u32 = 4;
/// One in so many meetings of a node of the region is for those that lack it, who are few.
const LACKING_IN: u64 = 4;

impl Node {
    /// Of `nodes`, the region or our entries, those to offer the envelope to in this round. When none of
    /// those that are not known to have it is chosen, and in later rounds always or most
    /// of the time, it is one at random, or now and then the one that the envelope came from. So a holder that lost
    /// it, or knows of an acknowledgement, is met sooner or later, though there be nodes that never take it.
    pub(super) fn choose(
        &mut self,
        turn: Turn<'_>,
        custody: &Custody,
        mut nodes: Vec<Contact>,
    ) -> Vec<Contact> {
        if custody.role == Role::Collected {
            return self.draw(&mut nodes, 1);
        }
        let mut lacking = nodes.clone();
        lacking.retain(|contact| !custody.holders.contains(&contact.address()));
        let repeats = custody.role == Role::Relayed && !self.is_entry_for(custody);
        let mut chosen = if repeats {
            self.choose_neighbours(custody, lacking)
        } else if custody.role == Role::Own && self.is_behind_entries() {
            self.choose_entries(turn, custody, lacking)
        } else {
            self.choose_region(custody, lacking)
        };
        if chosen.is_empty() || (custody.rounds >= MEETS_FROM && !repeats) {
            nodes.retain(|node| !chosen.contains(node));
            let source = self.source_to_meet(custody).map(|source| vec![source]);
            chosen.extend(source.unwrap_or_else(|| self.draw(&mut nodes, 1)));
        }
        chosen
    }

    /// The node that a relayed envelope came from, in the rounds that are for it. It may be the only one that
    /// knows of the end: whoever was off at that time casts what has ended at nodes that never had it, and
    /// those would ask only each other.
    fn source_to_meet(&self, custody: &Custody) -> Option<Contact> {
        let asks = custody.rounds >= SOURCE_FROM && custody.rounds.is_power_of_two();
        let source = custody.source.filter(|_| asks && custody.role == Role::Relayed)?;
        self.contact(&source)
    }

    /// A node of the region repeats to a few of those that lack it; later to one, in few rounds.
    fn choose_neighbours(&mut self, custody: &Custody, mut lacking: Vec<Contact>) -> Vec<Contact> {
        if custody.rounds < MEETS_FROM {
            return self.draw(&mut lacking, REPEATS);
        }
        let is_for_those = self.source_to_meet(custody).is_none()
            && self.rng.next_u64().is_multiple_of(LACKING_IN);
        self.draw(&mut lacking, usize::from(is_for_those))
    }

    /// An entry asks a few first; then it is all, unless others have been there. A node that has no
    /// entries casts at once.
    fn choose_region(&mut self, custody: &Custody, mut lacking: Vec<Contact>) -> Vec<Contact> {
        if custody.role == Role::Own {
            lacking
        } else if custody.rounds == 0 {
            self.draw(&mut lacking, PROBES)
        } else if self.leaves_it_to_others(custody) {
            Vec::new()
        } else {
            lacking
        }
    }

    /// Whether this node has the envelope from outside the region it belongs to, and lies outside
    /// itself.
    pub(super) fn is_entry_for(&self, custody: &Custody) -> bool {
        custody.role == Role::Relayed && !self.is_in_region(&self.address, &custody.mailbox)
    }

    /// One entry at first: what it does in the first seconds need not be done four times. Then all
    /// that lack it. Then, in each round, a node that was no entry yet, since all entries together
    /// may be liars.
    fn choose_entries(
        &mut self,
        turn: Turn<'_>,
        custody: &Custody,
        mut lacking: Vec<Contact>,
    ) -> Vec<Contact> {
        if custody.rounds == 0 {
            return self.draw(&mut lacking, 1);
        }
        if lacking.is_empty() && custody.rounds > 1 {
            lacking = self.fresh_entries(turn, custody);
            lacking = self.draw(&mut lacking, 1);
        }
        lacking
    }

    /// Nodes of the table that may do an entry's work for this envelope and have not done it yet.
    fn fresh_entries(&self, turn: Turn<'_>, custody: &Custody) -> Vec<Contact> {
        let is_fresh = |contact: &&Contact| {
            let address = contact.address();
            self.table.status(&address, turn.now) != Some(Status::Bad)
                && !custody.holders.contains(&address)
                && !self.is_in_region(&address, &custody.mailbox)
        };
        let fresh = self.table.entries().map(|entry| entry.contact()).filter(is_fresh);
        let mut fresh: Vec<_> = fresh.cloned().collect();
        // The radius is an estimate, rough after a start: whoever lies near its edge may be of the region.
        let edge = self.radius().saturating_mul(2);
        let is_far =
            |contact: &Contact| contact.address().distance(&custody.mailbox).top_bits() > edge;
        if fresh.iter().any(is_far) {
            fresh.retain(is_far);
        }
        fresh
    }

    /// Whether those who were asked at random say that the region has it without this node's doing.
    /// They may lie, so that this holds back some rounds only, and ever more seldom another.
    fn leaves_it_to_others(&self, custody: &Custody) -> bool {
        let casts_anyway = custody.rounds > 1 && custody.rounds.is_power_of_two();
        !casts_anyway && self.is_cast_by_others(custody)
    }

    /// Whether enough nodes of the region gave receipts for it when this node offered it to them.
    fn is_cast_by_others(&self, custody: &Custody) -> bool {
        let has = custody.asked().filter(|holder| {
            Some(**holder) != custody.source
                && !custody.is_given_to(holder)
                && self.is_in_region(holder, &custody.mailbox)
        });
        has.count() >= FOUND
    }

    /// Up to `count` of these, at random.
    pub(super) fn draw(&mut self, nodes: &mut Vec<Contact>, count: usize) -> Vec<Contact> {
        let mut drawn = Vec::new();
        while drawn.len() < count && !nodes.is_empty() {
            let at = (self.rng.next_u64() % nodes.len() as u64) as usize;
            drawn.push(nodes.swap_remove(at));
        }
        drawn
    }
}
