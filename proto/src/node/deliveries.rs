//! Handing bodies over, a little at a time (PROTOCOL §6.2).
//!
//! Entry type is [`Deliveries`]: what each node said it lacks, by id. Bodies are read from the store
//! only when their turn comes, and a node that reads slowly has two messages of them under way at
//! the most. What finds no room here is met again in a later round. Who lacks what is `exchange`'s
//! business.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::{Envelope, EnvelopeId};
use crate::message::{BODY_BYTES_MAX, ENVELOPES_MAX, Request};
use crate::store::StoreError;

use super::calls::Purpose;
use super::{Node, Turn};

/// Messages of bodies under way to one node.
const TO_ONE_MAX: usize = 2;
/// Messages of bodies under way in all; each holds 1 MiB at the most.
const TO_ALL_MAX: usize = 64;
/// Envelopes lined up for one node.
pub(super) const LINE_MAX: usize = 4_096;
/// Envelopes lined up in all; beyond it each node has room for one message.
pub(super) const LINED_UP_MAX: usize = 65_536;
/// Nodes for whom something is lined up.
pub(super) const LINES_MAX: usize = 1_024;

/// What is to be handed over, node by node.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    lines: BTreeMap<Address, Line>,
    /// Nodes whose next message waits for another's to end.
    turns: VecDeque<Address>,
    lined_up: usize,
    under_way: usize,
}

#[derive(Debug)]
struct Line {
    contact: Contact,
    ids: BTreeSet<EnvelopeId>,
    /// Messages under way, and what is in them: until they end it may be asked for again.
    messages: usize,
    under_way: BTreeSet<EnvelopeId>,
}

impl Deliveries {
    /// How much is remembered, for the node's own count.
    pub(super) fn len(&self) -> usize {
        self.lines.len() + self.lined_up + self.turns.len()
    }

    /// Nodes for whom something is lined up, envelopes for the one with the longest line, and for all.
    pub(super) fn lined_up(&self) -> (usize, usize, usize) {
        let longest = self.lines.values().map(|line| line.ids.len()).max().unwrap_or(0);
        (self.lines.len(), longest, self.lined_up)
    }

    /// Whether anything is lined up for or on its way to this node.
    pub(super) fn is_busy_with(&self, peer: &Address) -> bool {
        self.lines.contains_key(peer)
    }

    fn line_up(&mut self, to: &Contact, ids: impl Iterator<Item = EnvelopeId>) {
        let peer = to.address();
        if self.lines.len() >= LINES_MAX && !self.lines.contains_key(&peer) {
            return;
        }
        let line = self.lines.entry(peer).or_insert_with(|| Line::of(to));
        line.contact = to.clone();
        for id in ids.filter(|id| !line.under_way.contains(id)).collect::<Vec<_>>() {
            let fits = line.ids.len() < LINE_MAX && self.lined_up < LINED_UP_MAX;
            if !fits && line.ids.len() >= ENVELOPES_MAX {
                break;
            }
            self.lined_up += usize::from(line.ids.insert(id));
        }
        self.take_turn(peer);
    }

    fn take_turn(&mut self, peer: Address) {
        if !self.turns.contains(&peer) {
            self.turns.push_back(peer);
        }
    }

    /// The next of the line of a node that may be sent a message now.
    fn pop(&mut self, peer: &Address) -> Option<EnvelopeId> {
        let id = self.lines.get_mut(peer)?.ids.pop_first()?;
        self.lined_up -= 1;
        Some(id)
    }

    fn put_back(&mut self, peer: &Address, id: EnvelopeId) {
        if let Some(line) = self.lines.get_mut(peer) {
            self.lined_up += usize::from(line.ids.insert(id));
        }
    }

    fn drop_line(&mut self, peer: &Address) {
        if let Some(line) = self.lines.get_mut(peer) {
            self.lined_up -= line.ids.len();
            line.ids.clear();
        }
    }

    fn forget_if_empty(&mut self, peer: &Address) {
        if self.lines.get(peer).is_some_and(|line| line.ids.is_empty() && line.messages == 0) {
            self.lines.remove(peer);
            self.turns.retain(|next| next != peer);
        }
    }

    fn note_begun(&mut self, peer: &Address, ids: &[EnvelopeId]) {
        if let Some(line) = self.lines.get_mut(peer) {
            line.under_way.extend(ids);
            line.messages += 1;
            self.under_way += 1;
        }
    }

    fn note_ended(&mut self, peer: &Address, ids: &[EnvelopeId]) {
        if let Some(line) = self.lines.get_mut(peer) {
            line.under_way.retain(|id| !ids.contains(id));
            line.messages -= 1;
            self.under_way -= 1;
        }
    }
}

impl Line {
    fn of(contact: &Contact) -> Self {
        let (ids, under_way) = (BTreeSet::new(), BTreeSet::new());
        Self { contact: contact.clone(), ids, messages: 0, under_way }
    }
}

impl Node {
    /// Hands `to` the bodies of `ids`, now or as soon as it has taken what is before them.
    pub(super) fn deliver(
        &mut self,
        turn: Turn<'_>,
        to: &Contact,
        ids: impl Iterator<Item = EnvelopeId>,
    ) -> Result<(), StoreError> {
        self.deliveries.line_up(to, ids);
        self.hand_over(turn)
    }

    /// A message of bodies came to its end: the next of the line, or none of it any more if the node
    /// does not answer or has no room.
    pub(super) fn on_delivery_ended(
        &mut self,
        turn: Turn<'_>,
        peer: &Address,
        ids: &[EnvelopeId],
        goes_on: bool,
    ) -> Result<(), StoreError> {
        self.deliveries.note_ended(peer, ids);
        if goes_on {
            self.deliveries.take_turn(*peer);
        } else {
            self.deliveries.drop_line(peer);
        }
        self.deliveries.forget_if_empty(peer);
        self.hand_over(turn)
    }

    /// Sends as many messages as may be under way, to one node after the other.
    fn hand_over(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        while self.deliveries.under_way < TO_ALL_MAX {
            let Some(peer) = self.deliveries.turns.pop_front() else { break };
            if self.send_page(turn, &peer)? {
                self.deliveries.take_turn(peer);
            }
            self.deliveries.forget_if_empty(&peer);
            // Its line may have ended without a call that would take the settling up.
            self.go_on_settling(&peer);
        }
        Ok(())
    }

    /// Sends the next message to a node; false when nothing was sent.
    fn send_page(&mut self, turn: Turn<'_>, peer: &Address) -> Result<bool, StoreError> {
        let Some(line) = self.deliveries.lines.get(peer) else { return Ok(false) };
        if line.messages >= TO_ONE_MAX {
            return Ok(false);
        }
        let contact = line.contact.clone();
        let envelopes = self.read_page(turn, peer)?;
        if envelopes.is_empty() {
            return Ok(false);
        }
        let ids: Vec<_> = envelopes.iter().map(Envelope::id).collect();
        let purpose = Purpose::Deliver { ids: ids.clone() };
        let sent = self.call(turn, contact, Request::Deliver { envelopes }, purpose);
        if sent {
            self.deliveries.note_begun(peer, &ids);
        } else {
            self.deliveries.drop_line(peer);
        }
        Ok(sent)
    }

    /// As many envelopes of a node's line as one message takes; what has ended meanwhile is left out.
    fn read_page(&mut self, turn: Turn<'_>, peer: &Address) -> Result<Vec<Envelope>, StoreError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < ENVELOPES_MAX
            && let Some(id) = self.deliveries.pop(peer)
        {
            let Some(custody) = self.custody(turn, &id)? else { continue };
            if bytes + custody.bytes as usize > BODY_BYTES_MAX {
                self.deliveries.put_back(peer, id);
                break;
            }
            if let Some(envelope) = self.envelope(turn, &id, custody.expires_at)? {
                bytes += envelope.body().len();
                page.push(envelope);
            }
        }
        Ok(page)
    }
}
