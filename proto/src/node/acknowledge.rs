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
use crate::time::Time;
use crate::verified::Verified;

use super::io::{Event, Family};
use super::keys::{self, Expiring};
use super::records::{Custody, Role, Tombstone};
use super::{Node, Turn};

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

    /// An acknowledgement kept here, for a node that still relays what it ended. None that may be
    /// over by the other's clock: it would refuse the whole message that carries it.
    pub(super) fn stored_acknowledgement(
        &self,
        turn: Turn<'_>,
        hash: &[u8; 32],
    ) -> Result<Option<Verified<Acknowledgement>>, StoreError> {
        let Some(bytes) = turn.store.get(Family::Acknowledgements, hash)? else { return Ok(None) };
        let acknowledgement =
            Acknowledgement::from_stored(&bytes).ok_or(StoreError::Damaged("acknowledgements"))?;
        let lasts = acknowledgement.expires_at() > turn.now + CLOCK_TOLERANCE;
        Ok(Some(acknowledgement).filter(|_| lasts))
    }

    /// Removes an envelope and leaves a tombstone in its place.
    pub(super) fn bury(
        &mut self,
        turn: Turn<'_>,
        id: &EnvelopeId,
        custody: &Custody,
        acknowledgement: Option<[u8; 32]>,
    ) {
        self.remove_envelope(id, custody);
        let expires_at = custody.expires_at;
        let tombstone = Tombstone { acknowledgement, expires_at, ended_at: turn.now };
        self.desk.put(Family::Tombstones, id.as_bytes().to_vec(), tombstone.to_bytes());
        self.stats.tombstones += 1;
    }

    /// Removes everything but the expiry entry, which later finds the tombstone or nothing.
    pub(super) fn remove_envelope(&mut self, id: &EnvelopeId, custody: &Custody) {
        self.desk.delete(Family::Envelopes, keys::envelope(custody.expires_at, id));
        self.desk.delete(Family::Custody, id.as_bytes().to_vec());
        self.desk.delete(Family::Mailboxes, keys::mailbox(&custody.mailbox, custody.arrival));
        if custody.role != Role::Collected {
            self.desk.delete(Family::Schedule, keys::schedule(custody.due, id));
        }
        self.stats.envelopes = self.stats.envelopes.saturating_sub(1);
        let bytes = u64::from(custody.bytes);
        self.stats.envelope_bytes = self.stats.envelope_bytes.saturating_sub(bytes);
    }

    fn obey(
        &mut self,
        turn: Turn<'_>,
        acknowledgement: &Verified<Acknowledgement>,
    ) -> Result<(Vec<Custody>, Option<Rejection>), StoreError> {
        let mut ended = Vec::new();
        let mut refused = None;
        let (hash, mailbox) = (acknowledgement.hash(), acknowledgement.mailbox());
        for id in acknowledgement.ids() {
            let Some(custody) = self.custody(turn, id)? else { continue };
            match check(acknowledgement, &mailbox, &custody) {
                Ok(()) => {
                    self.bury(turn, id, &custody, Some(hash));
                    self.stats.acknowledged += 1;
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
        if !ended.is_empty() {
            self.keep_acknowledgement(&hash, acknowledgement);
        }
        Ok((ended, refused))
    }

    fn keep_acknowledgement(&mut self, hash: &[u8; 32], acknowledgement: &Acknowledgement) {
        let until: Time = acknowledgement.expires_at();
        self.desk.put(Family::Acknowledgements, hash.to_vec(), acknowledgement.to_stored());
        self.expire_at(until, &Expiring::Acknowledgement(*hash));
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
