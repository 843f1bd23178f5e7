//! Our own card and prekeys, and the cards of those we write to (PROTOCOL §3.6).
//!
//! A card leaves only when the disk has the secret of its prekey: a prekey that is lost after
//! somebody sealed to it would lose their message.

use crate::card::{Card, InboxPolicy};
use crate::envelope::{SizeClass, TTL_MAX};
use crate::message::ClientRequest;
use crate::prekey::{OFFERED_FOR, PrekeyRing};
use crate::store::StoreError;
use crate::time::{Span, Time};
use crate::verified::Verified;

use super::contacts::CardLookup;
use super::io::Drawer;
use super::ties::Doubt;
use super::{Agent, Promise, Purpose, Turn};

/// How often the card is published again, so that it stays in a changing region.
const PUBLISH_EVERY: Span = Span::from_secs(12 * 3_600);
/// How soon a failed publication is tried again.
const PUBLISH_AGAIN: Span = Span::from_secs(30);
/// For how long our clock must have called a secret's time over before it is destroyed offline.
const OVERDUE_OFFLINE: Span = Span::from_mins(3 * 60);
/// Where the prekeys are kept.
pub(super) const PREKEYS: &[u8] = b"prekeys";

/// When the card goes out next.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    next: Time,
}

impl Publishing {
    pub(super) fn next(&self) -> Time {
        self.next
    }

    pub(super) fn try_again(&mut self, now: Time) {
        self.next = now + PUBLISH_AGAIN;
    }
}

pub(super) fn read_prekeys(turn: Turn<'_>) -> Result<PrekeyRing, StoreError> {
    let Some(bytes) = turn.store.get(Drawer::Meta, PREKEYS)? else { return Ok(PrekeyRing::new()) };
    PrekeyRing::from_bytes(&bytes).map_err(|_| StoreError::Damaged("prekeys"))
}

impl Agent {
    /// Publishes the card when it is time to.
    pub(super) fn card_due(&mut self, turn: Turn<'_>) {
        if self.node.is_some() && self.publishing.next <= turn.now {
            self.publish_card(turn);
        }
    }

    /// Makes a new prekey if it is time to, and lets the card go once the disk has it.
    pub(super) fn publish_card(&mut self, turn: Turn<'_>) {
        if self.prekeys.rotate(&mut self.rng, turn.now) {
            self.write_prekeys();
        }
        self.publishing.next = turn.now + PUBLISH_EVERY;
        self.journal.promise(Promise::PublishCard);
    }

    /// Destroys the secrets whose time is over. While we are offline nothing but our own clock says so: it may
    /// have been wrong since the machine was switched on, and what waits is sealed to these secrets. So it must
    /// have said it for some time.
    pub(super) fn prekeys_due(&mut self, turn: Turn<'_>) {
        if self.prekeys.next_end().is_none_or(|end| end > turn.now) {
            self.overdue_since = None;
            return;
        }
        let since = *self.overdue_since.get_or_insert(turn.now);
        let until = if self.node.is_some() { turn.now } else { since };
        let is_sure = self.node.is_some() || turn.now >= since + OVERDUE_OFFLINE;
        if !is_sure {
            return;
        }
        self.overdue_since = None;
        if self.prekeys.destroy_due(until) > 0 {
            self.write_prekeys();
        }
    }

    /// When the next secret is to be destroyed.
    pub(super) fn prekeys_next(&self) -> Option<Time> {
        let end = self.prekeys.next_end()?;
        let since = self.overdue_since.filter(|_| self.node.is_none());
        Some(since.map_or(end, |since| since + OVERDUE_OFFLINE))
    }

    fn write_prekeys(&mut self) {
        let bytes = self.prekeys.to_bytes().to_vec();
        self.journal.put(Drawer::Meta, PREKEYS.to_vec(), bytes);
    }

    pub(super) fn send_card(&mut self, turn: Turn<'_>) {
        let policy = InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K64, stamp_min: 0 };
        let prekeys = self.prekeys.current(turn.now).into_iter().collect();
        let expires_at = turn.now + OFFERED_FOR;
        let card = Card::sign(self.identity.key(), prekeys, policy, turn.now, expires_at);
        match card {
            Ok(card) => {
                let request = ClientRequest::PublishCard { card: Box::new(card) };
                self.call(request, Purpose::PublishCard);
            }
            // There is no prekey by a clock that stands before the store's; try when it has moved.
            Err(_) => self.publishing.try_again(turn.now),
        }
    }

    /// Asks for the card of a contact, unless that is under way or was in vain just now.
    pub(super) fn seek_card(&mut self, turn: Turn<'_>, contact: u32) {
        let Some(owner) = self.people.get(contact).map(|record| record.address) else { return };
        let too_early = match self.people.lookup(contact) {
            Some(CardLookup::Asked { .. }) => true,
            Some(CardLookup::Failed { again_at, .. }) => again_at > turn.now,
            None => false,
        };
        if !too_early && self.call(ClientRequest::FindCard { owner }, Purpose::FindCard(contact)) {
            self.people.note_asked(contact);
        }
    }

    /// The card of a contact was found, or not.
    pub(super) fn on_card(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        card: Option<Box<Verified<Card>>>,
    ) -> Result<(), StoreError> {
        let address = self.people.get(contact).map(|record| record.address);
        let card = card.filter(|card| Some(card.address()) == address);
        match card {
            Some(card) => {
                self.people.note_found(contact);
                let known = self.people.get(contact).and_then(|record| record.key);
                if known.is_some_and(|known| known != *card.owner()) {
                    self.doubt(contact, Doubt::OtherKey);
                    return Ok(());
                }
                self.learn_key(turn, contact, *card.owner());
                self.change_contact(contact, |record| {
                    let newer = record.card.as_ref().is_none_or(|known| card.supersedes(known));
                    if newer {
                        record.card = Some(*card);
                    }
                });
            }
            None => self.people.note_not_found(contact, turn.now),
        }
        self.advance_contact(turn, contact)
    }
}
