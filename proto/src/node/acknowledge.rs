//! Ending what has been read (PROTOCOL §3.3, §6.6).
//!
//! An acknowledgement is a command to delete: the only code that obeys one stands here, behind
//! the check that its key is the envelope's mailbox.

use std::collections::BTreeMap;

use crate::acknowledgement::Acknowledgement;
use crate::address::Address;
use crate::envelope::{CLOCK_TOLERANCE, EnvelopeId};
use crate::message::{EnvelopeState, Push, SIGNED_MAX};
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::time::{Span, Time};
use crate::verified::Verified;

use super::io::{Event, Family};
use super::keys::{self, Expiring};
use super::records::{Cause, Custody, Ending, Role, Tombstone};
use super::{Node, Turn};

/// How long a tombstone outlives its envelope at least (PROTOCOL §6.6).
const TOMBSTONE_KEPT: Span = Span::DAY;
/// Endings read at a time.
const ENDINGS_PAGE: u64 = 64;
/// Endings looked through, at most, for what ended last.
const ENDINGS_MAX: u64 = 4_096;

impl Node {
    /// Ends whatever these acknowledgements end, and passes them on to whom it concerns. Returns
    /// the first reason for which one was refused.
    pub(super) fn on_acknowledgements(
        &mut self,
        turn: Turn<'_>,
        acknowledgements: &[Verified<Acknowledgement>],
        from: Option<Address>,
    ) -> Result<Option<Rejection>, StoreError> {
        let mut refused = None;
        let mut concerned: BTreeMap<Address, Vec<Verified<Acknowledgement>>> = BTreeMap::new();
        for acknowledgement in acknowledgements {
            let (ended, reason) = self.obey(turn, acknowledgement)?;
            refused = refused.or(reason);
            let mut whom: Vec<Address> =
                ended.iter().flat_map(|custody| self.known_to(custody)).collect();
            if !ended.is_empty() {
                whom.extend(self.collected_from(&acknowledgement.mailbox()));
            }
            whom.sort_unstable();
            whom.dedup();
            for peer in whom.into_iter().filter(|peer| Some(*peer) != from) {
                concerned.entry(peer).or_default().push(acknowledgement.clone());
            }
        }
        for (peer, acknowledgements) in concerned {
            for some in acknowledgements.chunks(SIGNED_MAX) {
                self.tell(turn, &peer, Push::Acknowledgements(some.to_vec()));
            }
        }
        Ok(refused)
    }

    /// Whom this node tells of an envelope's end: whoever handed it over, and those it was handed to.
    /// So it travels along the ways of the copies, once over each; a sender's node stays out of the
    /// region's sight (PROTOCOL §6.8).
    fn known_to(&self, custody: &Custody) -> Vec<Address> {
        let own = custody.role == Role::Own;
        let is_concerned = |holder: &&Address| {
            Some(**holder) == custody.source
                || custody.is_given_to(holder)
                || own && (self.entries.contains(holder) || self.is_small_network())
        };
        custody.holders.iter().filter(is_concerned).copied().collect()
    }

    /// The tombstone of an envelope that has ended here.
    pub(super) fn tombstone(
        &self,
        turn: Turn<'_>,
        id: &EnvelopeId,
    ) -> Result<Option<Tombstone>, StoreError> {
        let value = self.desk.get(turn, Family::Tombstones, &keys::tombstone(id))?;
        value.map(|bytes| Tombstone::from_bytes(&bytes)).transpose()
    }

    /// What a tombstone points to.
    pub(super) fn ending(
        &self,
        turn: Turn<'_>,
        tombstone: Tombstone,
    ) -> Result<Ending, StoreError> {
        let key = keys::ending(tombstone.ending);
        let value = self.desk.get(turn, Family::Acknowledgements, &key)?;
        Ending::from_bytes(&value.ok_or(StoreError::Damaged("tombstones"))?)
    }

    /// What ended here last, latest first up to a page: at least `envelopes_max` envelopes if there
    /// are so many among the last endings.
    pub(super) fn last_endings(
        &self,
        turn: Turn<'_>,
        envelopes_max: usize,
    ) -> Result<Vec<Ending>, StoreError> {
        let (mut endings, mut envelopes) = (Vec::new(), 0);
        let mut upto = self.endings;
        let end = self.endings.saturating_sub(ENDINGS_MAX);
        while upto > end && envelopes < envelopes_max {
            let from = upto.saturating_sub(ENDINGS_PAGE).max(end);
            let (low, high) = (keys::ending(from), keys::ending(upto));
            let table = Family::Acknowledgements;
            for (_, value) in turn.store.scan(table, &low, &high, ENDINGS_PAGE as usize)? {
                let ending = Ending::from_bytes(&value)?;
                envelopes += ending.ids().len();
                endings.push(ending);
            }
            upto = from;
        }
        Ok(endings)
    }

    /// The sender takes an envelope back.
    pub(super) fn cancel(&mut self, turn: Turn<'_>, id: &EnvelopeId, custody: &Custody) {
        self.bury(id, custody);
        let until = custody.expires_at + TOMBSTONE_KEPT;
        self.keep_ending(turn, Cause::Cancelled(*id), until);
    }

    /// Puts a tombstone in an envelope's place. It points to the next ending, which is to be kept.
    fn bury(&mut self, id: &EnvelopeId, custody: &Custody) {
        self.remove_envelope(id, custody);
        let tombstone = Tombstone { ending: self.endings };
        self.desk.put(Family::Tombstones, keys::tombstone(id), tombstone.to_bytes());
        self.stats.tombstones += 1;
    }

    /// Writes down how what has just been buried ended.
    fn keep_ending(&mut self, turn: Turn<'_>, cause: Cause, until: Time) {
        let (number, ending) = (self.endings, Ending { at: turn.now, cause }.to_bytes());
        self.endings += 1;
        self.stats.acknowledgements += 1;
        self.stats.acknowledgement_bytes += ending.len() as u64;
        self.desk.put(Family::Acknowledgements, keys::ending(number), ending);
        self.expire_at(until, &Expiring::Ending(number));
    }

    /// Removes an ending and the tombstones that point to it; returns how many.
    pub(super) fn forget_ending(
        &mut self,
        turn: Turn<'_>,
        number: u64,
    ) -> Result<usize, StoreError> {
        let ending = self.ending(turn, Tombstone { ending: number })?;
        let (ids, bytes) = (ending.ids(), ending.to_bytes().len() as u64);
        for id in &ids {
            self.desk.delete(Family::Tombstones, keys::tombstone(id));
        }
        self.desk.delete(Family::Acknowledgements, keys::ending(number));
        self.stats.tombstones = self.stats.tombstones.saturating_sub(ids.len() as u64);
        self.stats.acknowledgements = self.stats.acknowledgements.saturating_sub(1);
        let left = self.stats.acknowledgement_bytes.saturating_sub(bytes);
        self.stats.acknowledgement_bytes = left;
        Ok(ids.len())
    }

    /// Removes everything about an envelope.
    pub(super) fn remove_envelope(&mut self, id: &EnvelopeId, custody: &Custody) {
        self.desk.delete(Family::Envelopes, keys::envelope(custody.expires_at, id));
        self.desk.delete(Family::Custody, id.as_bytes().to_vec());
        self.desk.delete(Family::Mailboxes, keys::mailbox(&custody.mailbox, custody.arrival));
        if custody.is_scheduled() {
            self.desk.delete(Family::Schedule, keys::schedule(custody.due, id));
        }
        self.discharge(id, custody);
        self.stats.envelopes = self.stats.envelopes.saturating_sub(1);
        let bytes = u64::from(custody.bytes);
        self.stats.envelope_bytes = self.stats.envelope_bytes.saturating_sub(bytes);
        self.stats.held.remove(custody.role);
    }

    fn obey(
        &mut self,
        turn: Turn<'_>,
        acknowledgement: &Verified<Acknowledgement>,
    ) -> Result<(Vec<Custody>, Option<Rejection>), StoreError> {
        let (mut ended, mut bits) = (Vec::new(), 0);
        let mut refused = None;
        let mailbox = acknowledgement.mailbox();
        for (place, id) in acknowledgement.ids().iter().enumerate() {
            let Some(custody) = self.custody(turn, id)? else { continue };
            match check(acknowledgement, &mailbox, &custody) {
                Ok(()) => {
                    self.bury(id, &custody);
                    bits |= 1 << place;
                    self.stats.acknowledged += 1;
                    self.stats.acknowledged_for_others += u64::from(custody.role == Role::Relayed);
                    self.event(Event::Acknowledged { id: *id });
                    if custody.role == Role::Own {
                        self.tell_state(id, EnvelopeState::Delivered { at: turn.now });
                    }
                    ended.push(custody);
                }
                Err(reason) => {
                    self.note_refusal(reason.clone());
                    refused = Some(reason);
                }
            }
        }
        if let Some(last) = ended.iter().map(|custody: &Custody| custody.expires_at).max() {
            let until = acknowledgement.expires_at().max(last + TOMBSTONE_KEPT);
            let acknowledgement = acknowledgement.clone();
            self.keep_ending(turn, Cause::Read { acknowledgement, ended: bits }, until);
        }
        Ok((ended, refused))
    }
}

/// The acknowledgement that ended something, for a node that still relays it. None that may be over
/// by the other's clock: it would refuse the whole message that carries it.
pub(super) fn to_be_told(ending: Ending, now: Time) -> Option<Verified<Acknowledgement>> {
    match ending.cause {
        Cause::Read { acknowledgement, .. } => {
            Some(acknowledgement).filter(|told| told.expires_at() > now + CLOCK_TOLERANCE)
        }
        Cause::Cancelled(_) => None,
    }
}

/// It must come from the mailbox, and outlive the envelope: otherwise a copy could come back when
/// nobody remembers any more that it was read.
fn check(
    acknowledgement: &Acknowledgement,
    mailbox: &Address,
    custody: &Custody,
) -> Result<(), Rejection> {
    if *mailbox != custody.mailbox {
        return Err(Rejection::NotTheMailbox);
    }
    if acknowledgement.expires_at() < custody.expires_at {
        return Err(Rejection::Expired);
    }
    Ok(())
}
