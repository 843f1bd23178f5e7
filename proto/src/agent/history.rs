//! What was said, page by page, in the order of its authors (PROTOCOL §4.7). Nothing here is held in
//! memory.
//!
//! A conversation is in the order in which its messages were stored, except that a message of
//! somebody else which came late stands before the one that showed that it was missing. The keys of
//! the drawer are in that order:
//!
//! | key after the contact's number | what |
//! |---|---|
//! | message number | a message that came in turn |
//! | number it belongs before less 1 ‖ sequence number ‖ message number | one that came late |
//! | 2^64 − 1 ‖ message number | where that one stands |
//!
//! The drawer of ids leads from a contact's number ‖ message id to the message's number.

use crate::address::Address;
use crate::payload::MessageId;
use crate::store::{ScanBack, Store, StoreError};

use super::entry::{Author, Entry, MessageNumber, Place};
use super::io::{Drawer, Summary};
use super::records::{entry_from_bytes, entry_to_bytes};
use super::{Agent, Turn};

/// What stands for a number of a message above all others.
pub(super) const PLACES: u64 = u64::MAX;

impl Agent {
    /// The last `limit` entries with `contact` before number `before` (all, if none), in the order
    /// of their authors. Reads no more of them than it gives.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn history(
        &self,
        store: &dyn ScanBack<Drawer>,
        contact: &Address,
        before: Option<MessageNumber>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let Some(number) = self.people.number_of(contact) else { return Ok(Vec::new()) };
        let end = match before {
            Some(before) => place_of(store, number, before)?,
            None => key(number, PLACES),
        };
        let rows = store.scan_back(Drawer::History, &key(number, 0), &end, limit)?;
        let page = rows.iter().rev().map(|(key, value)| self.entry(number, key, value));
        let mut page = page.collect::<Result<Vec<_>, _>>()?;
        self.mark_gaps(number, &mut page);
        Ok(page)
    }

    /// The first `limit` entries with `contact` after number `after` (all, if none), in the order of their
    /// authors.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn history_after(
        &self,
        store: &dyn Store<Drawer>,
        contact: &Address,
        after: Option<MessageNumber>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let Some(number) = self.people.number_of(contact) else { return Ok(Vec::new()) };
        let from = match after {
            // The least key above its own.
            Some(after) => [&place_of(store, number, after)?[..], &[0]].concat(),
            None => key(number, 0),
        };
        let rows = store.scan(Drawer::History, &from, &key(number, PLACES), limit)?;
        let page = rows.iter().map(|(key, value)| self.entry(number, key, value));
        let mut page = page.collect::<Result<Vec<_>, _>>()?;
        self.mark_gaps(number, &mut page);
        Ok(page)
    }

    /// Every conversation with what was said last, the one where that is newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn summaries(&self, store: &dyn ScanBack<Drawer>) -> Result<Vec<Summary>, StoreError> {
        let mut summaries = Vec::new();
        for contact in self.contacts() {
            let last = self.history(store, &contact.address, None, 1)?.pop();
            summaries.push(Summary { contact, last });
        }
        let newest = |summary: &Summary| summary.last.as_ref().map(|entry| entry.number);
        // Stable: those with whom nothing was said stay in the order of their names.
        summaries.sort_by_key(|summary| std::cmp::Reverse(newest(summary)));
        Ok(summaries)
    }

    /// One entry, whoever it is with.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn message(
        &self,
        store: &dyn Store<Drawer>,
        number: MessageNumber,
    ) -> Result<Option<Entry>, StoreError> {
        for contact in self.people.numbers() {
            if let Some(entry) = self.entry_of(store, contact, number)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The message with `contact` that its author calls `id`, whoever of the two that is; none if it
    /// has not come or is here no more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn message_by_id(
        &self,
        store: &dyn Store<Drawer>,
        contact: &Address,
        id: &MessageId,
    ) -> Result<Option<Entry>, StoreError> {
        let Some(contact) = self.people.number_of(contact) else { return Ok(None) };
        let number = store.get(Drawer::Ids, &id_key(contact, id))?;
        match number.map(|number| parse_number(&number)).transpose()? {
            Some(number) => self.entry_of(store, contact, number),
            None => Ok(None),
        }
    }

    pub(super) fn write_entry(&mut self, contact: u32, entry: &Entry) {
        let number = entry.number.0;
        let mut place = key(contact, number);
        if let Author::Them { place: Place::Before(later), .. } = entry.author {
            place = late_key(contact, later, entry.sequence, entry.number);
            let pointer = pointer_key(contact, entry.number);
            self.journal.put_readable(Drawer::History, pointer, place.clone());
        }
        self.journal.put_readable(Drawer::History, place, entry_to_bytes(entry));
        if let Some(id) = &entry.id {
            let number = number.to_be_bytes().to_vec();
            self.journal.put_readable(Drawer::Ids, id_key(contact, id), number);
        }
    }

    /// One of our own entries, which are all in turn.
    pub(super) fn read_entry(
        &self,
        turn: Turn<'_>,
        contact: u32,
        number: MessageNumber,
    ) -> Result<Option<Entry>, StoreError> {
        let value = self.journal.get(turn.store, Drawer::History, &key(contact, number.0))?;
        value.map(|value| entry_from_bytes(number, &value)).transpose()
    }

    /// An entry with the key under which it is kept, as [`Self::rewrite`] wants it.
    pub(super) fn read_at(
        &self,
        turn: Turn<'_>,
        contact: u32,
        number: MessageNumber,
    ) -> Result<Option<(Vec<u8>, Entry)>, StoreError> {
        let pointer = pointer_key(contact, number);
        let place = self.journal.get(turn.store, Drawer::History, &pointer)?;
        let key = place.unwrap_or_else(|| key(contact, number.0));
        let value = self.journal.get(turn.store, Drawer::History, &key)?;
        let entry = value.map(|value| entry_from_bytes(number, &value)).transpose()?;
        Ok(entry.map(|entry| (key, self.under_present_key(contact, entry))))
    }

    /// What was said under an earlier key of a contact was said with the same person.
    fn under_present_key(&self, contact: u32, entry: Entry) -> Entry {
        let address = self.people.get(contact).map_or(entry.contact, |record| record.address);
        Entry { contact: address, ..entry }
    }

    /// The number of the message with this contact that its author calls `id`.
    pub(super) fn number_by_id(
        &self,
        turn: Turn<'_>,
        contact: u32,
        id: &MessageId,
    ) -> Result<Option<MessageNumber>, StoreError> {
        let number = self.journal.get(turn.store, Drawer::Ids, &id_key(contact, id))?;
        number.map(|number| parse_number(&number)).transpose()
    }

    /// Writes an entry anew where it stands. What a host keeps of earlier ones is of no use any more: it is
    /// told so by a deletion.
    pub(super) fn rewrite(&mut self, key: Vec<u8>, entry: &Entry) {
        if entry.marks.deleted_at.is_some() {
            self.journal.delete(Drawer::History, key.clone());
        }
        self.journal.put_readable(Drawer::History, key, entry_to_bytes(entry));
    }

    /// Deletes an entry and all that leads to it.
    pub(super) fn remove_entry(&mut self, contact: u32, key: Vec<u8>, entry: &Entry) {
        self.journal.delete_readable(Drawer::History, key);
        self.journal.delete_readable(Drawer::History, pointer_key(contact, entry.number));
        if let Some(id) = &entry.id {
            self.journal.delete_readable(Drawer::Ids, id_key(contact, id));
        }
    }

    /// Deletes all that was said with a contact.
    pub(super) fn forget_history(&mut self, contact: u32) {
        let next = contact.saturating_add(1);
        for drawer in Drawer::OF_CONVERSATIONS {
            self.journal.delete_range(drawer, key(contact, 0), key(next, 0));
        }
        self.forget_files_of(contact);
    }

    fn entry_of(
        &self,
        store: &dyn Store<Drawer>,
        contact: u32,
        number: MessageNumber,
    ) -> Result<Option<Entry>, StoreError> {
        let key = place_of(store, contact, number)?;
        let value = store.get(Drawer::History, &key)?;
        value.map(|value| self.entry(contact, &key, &value)).transpose()
    }

    /// Between what is shown, others of theirs have come that are not: edits, removals. What is missing
    /// before those is missing before the next that is shown.
    fn mark_gaps(&self, contact: u32, page: &mut [Entry]) {
        let Some(received) = self.people.get(contact).map(|record| &record.received) else {
            return;
        };
        let mut shown = None;
        for entry in page {
            let Author::Them { missing_before, .. } = &mut entry.author else { continue };
            if let Some(after) = shown.filter(|after| *after < entry.sequence) {
                *missing_before = received.missing_between(after, entry.sequence);
            }
            shown = shown.max(Some(entry.sequence));
        }
    }

    /// An entry as it is now: what is missing before it may have come since it was stored.
    pub(super) fn entry(
        &self,
        contact: u32,
        key: &[u8],
        value: &[u8],
    ) -> Result<Entry, StoreError> {
        let mut entry =
            self.under_present_key(contact, entry_from_bytes(parse_number(key)?, value)?);
        if let Author::Them { missing_before, place } = &mut entry.author {
            let received = self.people.get(contact).map(|record| &record.received);
            *missing_before = received.map_or(0, |known| known.missing_before(entry.sequence));
            *place = belongs_before(key).map_or(*place, Place::Before);
        }
        Ok(entry)
    }
}

/// The key under which message `number` is kept if it is one of this contact's.
pub(super) fn place_of(
    store: &dyn Store<Drawer>,
    contact: u32,
    number: MessageNumber,
) -> Result<Vec<u8>, StoreError> {
    let pointer = pointer_key(contact, number);
    let place = store.get(Drawer::History, &pointer)?;
    Ok(place.unwrap_or_else(|| key(contact, number.0)))
}

pub(super) fn key(contact: u32, number: u64) -> Vec<u8> {
    [&contact.to_be_bytes()[..], &number.to_be_bytes()].concat()
}

fn pointer_key(contact: u32, number: MessageNumber) -> Vec<u8> {
    [&key(contact, PLACES)[..], &number.0.to_be_bytes()].concat()
}

pub(super) fn id_key(contact: u32, id: &MessageId) -> Vec<u8> {
    [&contact.to_be_bytes()[..], id.as_bytes()].concat()
}

/// Directly below the key of `later`, in the order of sequence numbers.
fn late_key(contact: u32, later: MessageNumber, sequence: u64, number: MessageNumber) -> Vec<u8> {
    let below = key(contact, later.0.saturating_sub(1));
    [&below[..], &sequence.to_be_bytes(), &number.0.to_be_bytes()].concat()
}

/// Before which message the one under this key belongs, if it came late.
pub(super) fn belongs_before(key: &[u8]) -> Option<MessageNumber> {
    let (below, _) = key.get(4..)?.split_first_chunk::<8>().filter(|(_, rest)| !rest.is_empty())?;
    Some(MessageNumber(u64::from_be_bytes(*below).saturating_add(1)))
}

pub(super) fn parse_number(key: &[u8]) -> Result<MessageNumber, StoreError> {
    let number = key.last_chunk::<8>().ok_or(StoreError::Damaged("history"))?;
    Ok(MessageNumber(u64::from_be_bytes(*number)))
}
