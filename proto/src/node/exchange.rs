//! Two nodes settle who lacks what and what has ended (PROTOCOL §6.2, §6.4).
//!
//! Few envelopes are offered by id, many by digest; bodies follow for what is lacking. Both sides'
//! halves stand here: what we ask, what we make of the answer, and how we answer others.

use std::collections::BTreeSet;

use crate::acknowledgement::Acknowledgement;
use crate::address::Address;
use crate::contact::Contact;
use crate::digest::{self, Digest};
use crate::envelope::{Envelope, EnvelopeId};
use crate::message::{IDS_MAX, Request, Response, SIGNED_MAX};
use crate::receipt::Receipt;
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::verified::Verified;

use super::accept::{Origin, Taken};
use super::acknowledge::to_be_told;
use super::calls::Purpose;
use super::custody::{Rounds, Word};
use super::desk::Promise;
use super::drain::Item;
use super::io::{Event, Family, RequestId};
use super::keys;
use super::records::{Custody, Role, Tombstone};
use super::shares::Group;
use super::{Node, Turn};

/// Mailbox entries looked through for one digest or one new neighbour.
const SCAN_MAX: usize = 4_096;
/// Tombstones compared with one digest.
const TOMBSTONES_MAX: usize = 4_096;

/// What another node said of envelopes we told it of.
pub(super) struct Settled {
    pub(super) receipts: Vec<Verified<Receipt>>,
    pub(super) acknowledgements: Vec<Verified<Acknowledgement>>,
}

impl Node {
    /// Offers to each node what was gathered for it.
    pub(super) fn offer_all(&mut self, turn: Turn<'_>, rounds: Rounds) -> Result<(), StoreError> {
        for (_, (contact, ids)) in rounds {
            self.offer(turn, contact, ids)?;
        }
        Ok(())
    }

    /// Offers `ids` to one node; false when that could not be begun.
    fn offer(
        &mut self,
        turn: Turn<'_>,
        to: Contact,
        ids: Vec<EnvelopeId>,
    ) -> Result<bool, StoreError> {
        if ids.len() <= IDS_MAX {
            let request = Request::Offer { ids: ids.clone() };
            return Ok(self.call(turn, to, request, Purpose::Offer { ids }));
        }
        let mut mailboxes = BTreeSet::new();
        for id in &ids {
            mailboxes.extend(self.custody(turn, id)?.map(|custody| custody.mailbox));
        }
        let (Some(from), Some(upto)) = (mailboxes.first(), mailboxes.last()) else {
            return Ok(false);
        };
        let digest = Digest::new(&ids, &mut self.rng);
        let request = Request::Digest { digest, from: *from, to: *upto };
        Ok(self.call(turn, to, request, Purpose::Digest { ids }))
    }

    /// A new neighbour is told of everything held here that belongs to it too (PROTOCOL §6.2).
    pub(super) fn settle_next(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        let Some((peer, from)) = self.unsettled.pop_first() else { return Ok(()) };
        let Some(contact) = self.contact(&peer) else { return Ok(()) };
        let held = turn.store.scan(Family::Mailboxes, &from, keys::HIGHEST, SCAN_MAX)?;
        let rest = held.last().filter(|_| held.len() == SCAN_MAX);
        // The rest when it has what it lacks of these, from the least key above the last.
        let rest = rest.map(|(last, _)| [&last[..], &[0]].concat());
        let mut ids = Vec::new();
        for (key, value) in held {
            let (mailbox, _) = keys::parse_mailbox(&key).ok_or(DAMAGED)?;
            let id = parse_waiting_id(&value)?;
            if self.is_in_region(&peer, &mailbox) && self.may_be_offered_by_us(turn, &id)? {
                ids.push(id);
            }
        }
        let offered = !ids.is_empty() && self.offer(turn, contact, ids)?;
        if let Some(rest) = rest {
            let later = if offered { &mut self.settling } else { &mut self.unsettled };
            later.insert(peer, rest);
        }
        Ok(())
    }

    /// An offer to this node, or what followed from one, came to its end: the rest of what is to be
    /// settled with it goes on.
    pub(super) fn go_on_settling(&mut self, peer: &Address) {
        if self.deliveries.is_busy_with(peer) {
            return;
        }
        if let Some(from) = self.settling.remove(peer) {
            self.unsettled.insert(*peer, from);
        }
    }

    /// What belongs to our own clients is offered to our entries only (PROTOCOL §6.8).
    fn may_be_offered_by_us(&self, turn: Turn<'_>, id: &EnvelopeId) -> Result<bool, StoreError> {
        let relayed = |custody: Custody| custody.role == Role::Relayed;
        Ok(self.is_small_network() || self.custody(turn, id)?.is_some_and(relayed))
    }

    /// The answer to an offer.
    pub(super) fn on_offered(
        &mut self,
        turn: Turn<'_>,
        from: &Contact,
        offered: &[EnvelopeId],
        wanted: &[EnvelopeId],
        settled: Settled,
    ) -> Result<(), StoreError> {
        let held: BTreeSet<_> =
            settled.receipts.iter().flat_map(|receipt| receipt.ids()).copied().collect();
        for id in offered.iter().filter(|id| !held.contains(id) && !wanted.contains(id)) {
            // Of what has ended there nothing is left here in a moment.
            self.note_not_taken(&[*id], &Rejection::StoreFull);
        }
        self.settle(turn, from, offered, settled)?;
        let asked: BTreeSet<_> = wanted.iter().filter(|id| offered.contains(id)).collect();
        self.deliver(turn, from, asked.into_iter().copied())
    }

    /// The answer to a digest: deliver what the other side's digest lacks.
    pub(super) fn on_digested(
        &mut self,
        turn: Turn<'_>,
        from: &Contact,
        ids: &[EnvelopeId],
        theirs: &Digest,
        acknowledgements: Vec<Verified<Acknowledgement>>,
    ) -> Result<(), StoreError> {
        self.on_acknowledgements(turn, &acknowledgements, Some(from.address()))?;
        let lacking: Vec<_> = ids.iter().filter(|id| !theirs.may_contain(id)).copied().collect();
        self.deliver(turn, from, lacking.into_iter())
    }

    /// The answer to a delivery.
    pub(super) fn on_delivered(
        &mut self,
        turn: Turn<'_>,
        from: &Contact,
        delivered: &[EnvelopeId],
        refused: &[(EnvelopeId, Rejection)],
        settled: Settled,
    ) -> Result<(), StoreError> {
        let receipts = settled.receipts.iter().filter(|receipt| receipt.holder() == from.address());
        let taken = receipts.flat_map(|receipt| receipt.ids()).filter(|id| delivered.contains(id));
        for id in taken.copied().collect::<BTreeSet<_>>() {
            self.stats.relayed += 1;
            self.event(Event::Relayed { id, to: from.address() });
        }
        for (id, reason) in refused.iter().take(delivered.len()) {
            self.note_not_taken(&[*id], reason);
            self.note_refusal(reason.clone());
        }
        let taken: BTreeSet<_> =
            settled.receipts.iter().flat_map(|receipt| receipt.ids()).copied().collect();
        self.settle(turn, from, delivered, settled)?;
        for id in delivered.iter().filter(|id| taken.contains(id)) {
            self.note_given(turn, id, &from.address())?;
        }
        // A full node takes one envelope and not another, by who brought it and how large it is.
        let is_full = refused.len() >= delivered.len();
        let is_later = |reason: &Rejection| match reason {
            Rejection::StoreFull => is_full,
            Rejection::Busy | Rejection::ShuttingDown | Rejection::Leaving => true,
            _ => false,
        };
        let has_room = !refused.iter().any(|(_, reason)| is_later(reason));
        self.on_delivery_ended(turn, &from.address(), delivered, has_room)
    }

    /// Another node offers.
    pub(super) fn answer_offer(
        &mut self,
        turn: Turn<'_>,
        request: RequestId,
        (from, group): (&Address, Group),
        ids: &[EnvelopeId],
    ) -> Result<(), StoreError> {
        let (mut wanted, mut held, mut ended) = (Vec::new(), Vec::new(), BTreeSet::new());
        for id in ids.iter().collect::<BTreeSet<_>>() {
            if let Some(tombstone) = self.tombstone(turn, id)? {
                ended.insert(tombstone);
            } else if self.custody(turn, id)?.is_some() {
                self.heard_of(turn, id, from)?;
                held.push(*id);
            } else {
                wanted.push(*id);
            }
        }
        self.worth_asking_for(turn, group, &mut wanted)?;
        let acknowledgements = self.acknowledgements_of(turn, &ended)?;
        self.stats.receipts_given += held.len() as u64;
        self.desk.promise(Promise::Offered { request, wanted, held, acknowledgements });
        Ok(())
    }

    /// Another node sends a digest.
    pub(super) fn answer_digest(
        &mut self,
        turn: Turn<'_>,
        request: RequestId,
        theirs: &Digest,
        from: &Address,
        to: &Address,
    ) -> Result<(), StoreError> {
        let (low, high) = (keys::mailbox(from, 0), keys::mailbox(to, u64::MAX));
        let held = turn.store.scan(Family::Mailboxes, &low, &high, digest::ITEMS_MAX)?;
        let mut ids =
            held.iter().map(|(_, id)| parse_waiting_id(id)).collect::<Result<Vec<_>, _>>()?;
        let mut acknowledgements = Vec::new();
        for ending in self.last_endings(turn, TOMBSTONES_MAX)? {
            let ended = ending.ids();
            if acknowledgements.len() < SIGNED_MAX && ended.iter().any(|id| theirs.may_contain(id))
            {
                acknowledgements.extend(to_be_told(ending, self.clock.agreed()));
            }
            // What has ended here is not wanted either.
            ids.extend(ended);
        }
        let digest = Digest::new(&ids, &mut self.rng);
        self.reply(request, Ok(Response::Digested { digest, acknowledgements }));
        Ok(())
    }

    /// Another node delivers.
    pub(super) fn answer_delivery(
        &mut self,
        turn: Turn<'_>,
        request: RequestId,
        (from, group): (Address, Group),
        envelopes: &[Envelope],
    ) -> Result<(), StoreError> {
        let origin = Origin { role: Role::Relayed, source: Some(from), group: Some(group) };
        let (mut held, mut refused, mut ended) = (Vec::new(), Vec::new(), BTreeSet::new());
        for envelope in envelopes {
            match self.take(turn, envelope, origin)? {
                Taken::New | Taken::Held => held.push(envelope.id()),
                Taken::Ended(tombstone) => drop(ended.insert(tombstone)),
                Taken::Refused(reason) => {
                    self.note_refusal(reason.clone());
                    refused.push((envelope.id(), reason));
                }
            }
        }
        let acknowledgements = self.acknowledgements_of(turn, &ended)?;
        self.stats.receipts_given += held.len() as u64;
        self.desk.promise(Promise::Delivered { request, held, refused, acknowledgements });
        Ok(())
    }

    /// Notes receipts for what we told the other side of, and ends what it says has ended.
    fn settle(
        &mut self,
        turn: Turn<'_>,
        from: &Contact,
        told: &[EnvelopeId],
        settled: Settled,
    ) -> Result<(), StoreError> {
        for receipt in settled.receipts.iter().filter(|r| r.holder() == from.address()) {
            for id in receipt.ids().iter().filter(|id| told.contains(id)) {
                self.stats.receipts_received += 1;
                self.add_holder(turn, id, receipt, Word::Asked)?;
                self.note_taken_over(turn, Item::Envelope(*id), &from.address());
            }
        }
        self.on_acknowledgements(turn, &settled.acknowledgements, Some(from.address())).map(|_| ())
    }

    /// The acknowledgements that ended these envelopes, each once and as many as one message takes.
    pub(super) fn acknowledgements_of(
        &self,
        turn: Turn<'_>,
        ended: &BTreeSet<Tombstone>,
    ) -> Result<Vec<Verified<Acknowledgement>>, StoreError> {
        let mut found = Vec::new();
        for tombstone in ended {
            if found.len() == SIGNED_MAX {
                break;
            }
            found.extend(to_be_told(self.ending(turn, *tombstone)?, self.clock.agreed()));
        }
        Ok(found)
    }
}

const DAMAGED: StoreError = StoreError::Damaged("mailboxes");

/// The envelope id at the head of a mailbox entry's value.
pub(super) fn parse_waiting_id(value: &[u8]) -> Result<EnvelopeId, StoreError> {
    let id = value.first_chunk::<32>().ok_or(DAMAGED)?;
    Ok(EnvelopeId::from_bytes(*id))
}
