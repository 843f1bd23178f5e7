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

use crate::address::Address;
use crate::store::{ScanBack, Store, StoreError};

use super::io::{Author, Drawer, Entry, MessageNumber, Place};
use super::records::{entry_from_bytes, entry_to_bytes};
use super::{Agent, Turn};

/// What stands for a number of a message above all others.
const PLACES: u64 = u64::MAX;

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
        rows.iter().rev().map(|(key, value)| self.entry(number, key, value)).collect()
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
            let key = place_of(store, contact, number)?;
            if let Some(value) = store.get(Drawer::History, &key)? {
                return self.entry(contact, &key, &value).map(Some);
            }
        }
        Ok(None)
    }

    pub(super) fn write_entry(&mut self, contact: u32, entry: &Entry) {
        let number = entry.number.0;
        let mut place = key(contact, number);
        if let Author::Them { place: Place::Before(later), .. } = entry.author {
            place = late_key(contact, later, entry.sequence, entry.number);
            let pointer = [&key(contact, PLACES)[..], &number.to_be_bytes()].concat();
            self.journal.put(Drawer::History, pointer, place.clone());
        }
        self.journal.put_readable(Drawer::History, place, entry_to_bytes(entry));
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

    /// Deletes all that was said with a contact.
    pub(super) fn forget_history(&mut self, contact: u32) {
        let end = key(contact.saturating_add(1), 0);
        self.journal.delete_range(Drawer::History, key(contact, 0), end);
    }

    /// An entry as it is now: what is missing before it may have come since it was stored.
    fn entry(&self, contact: u32, key: &[u8], value: &[u8]) -> Result<Entry, StoreError> {
        let mut entry = entry_from_bytes(parse_number(key)?, value)?;
        if let Author::Them { missing_before, place } = &mut entry.author {
            let received = self.people.get(contact).map(|record| &record.received);
            *missing_before = received.map_or(0, |known| known.missing_before(entry.sequence));
            *place = belongs_before(key).map_or(*place, Place::Before);
        }
        Ok(entry)
    }
}

/// The key under which message `number` is kept if it is one of this contact's.
fn place_of(
    store: &dyn Store<Drawer>,
    contact: u32,
    number: MessageNumber,
) -> Result<Vec<u8>, StoreError> {
    let pointer = [&key(contact, PLACES)[..], &number.0.to_be_bytes()].concat();
    let place = store.get(Drawer::History, &pointer)?;
    Ok(place.unwrap_or_else(|| key(contact, number.0)))
}

fn key(contact: u32, number: u64) -> Vec<u8> {
    [&contact.to_be_bytes()[..], &number.to_be_bytes()].concat()
}

/// Directly below the key of `later`, in the order of sequence numbers.
fn late_key(contact: u32, later: MessageNumber, sequence: u64, number: MessageNumber) -> Vec<u8> {
    let below = key(contact, later.0.saturating_sub(1));
    [&below[..], &sequence.to_be_bytes(), &number.0.to_be_bytes()].concat()
}

/// Before which message the one under this key belongs, if it came late.
fn belongs_before(key: &[u8]) -> Option<MessageNumber> {
    let (below, _) = key.get(4..)?.split_first_chunk::<8>().filter(|(_, rest)| !rest.is_empty())?;
    Some(MessageNumber(u64::from_be_bytes(*below).saturating_add(1)))
}

fn parse_number(key: &[u8]) -> Result<MessageNumber, StoreError> {
    let number = key.last_chunk::<8>().ok_or(StoreError::Damaged("history"))?;
    Ok(MessageNumber(u64::from_be_bytes(*number)))
}
