//! What was said, page by page. Nothing here is held in memory.

use crate::address::Address;
use crate::store::{Store, StoreError};

use super::io::{Drawer, Entry, MessageNumber};
use super::records::{entry_from_bytes, entry_to_bytes};
use super::{Agent, Turn};

/// How many entries are looked through to find the last ones of a page.
const SCAN: usize = 4_096;

impl Agent {
    /// The last `limit` entries with `contact` before number `before` (all, if none), oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn history(
        &self,
        store: &dyn Store<Drawer>,
        contact: &Address,
        before: Option<MessageNumber>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let Some(number) = self.people.number_of(contact) else { return Ok(Vec::new()) };
        let end = before.map_or(u64::MAX, |before| before.0);
        let mut from = 0;
        let mut page = Vec::new();
        // Keys are in order of time, so the wanted page is the end of the range.
        loop {
            let (low, high) = (key(number, from), key(number, end));
            let entries = store.scan(Drawer::History, &low, &high, SCAN)?;
            let full = entries.len() == SCAN;
            for (name, value) in entries {
                let entry = entry_from_bytes(parse_number(&name)?, &value)?;
                from = entry.number.0 + 1;
                page.push(entry);
            }
            let surplus = page.len().saturating_sub(limit);
            page.drain(..surplus);
            if !full {
                return Ok(page);
            }
        }
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
            if let Some(value) = store.get(Drawer::History, &key(contact, number.0))? {
                return entry_from_bytes(number, &value).map(Some);
            }
        }
        Ok(None)
    }

    pub(super) fn write_entry(&mut self, contact: u32, entry: &Entry) {
        let key = key(contact, entry.number.0);
        self.journal.put_readable(Drawer::History, key, entry_to_bytes(entry));
    }

    pub(super) fn read_entry(
        &self,
        turn: Turn<'_>,
        contact: u32,
        number: MessageNumber,
    ) -> Result<Option<Entry>, StoreError> {
        let value = self.journal.get(turn.store, Drawer::History, &key(contact, number.0))?;
        value.map(|value| entry_from_bytes(number, &value)).transpose()
    }
}

fn key(contact: u32, number: u64) -> Vec<u8> {
    [&contact.to_be_bytes()[..], &number.to_be_bytes()].concat()
}

fn parse_number(key: &[u8]) -> Result<MessageNumber, StoreError> {
    let number = key.last_chunk::<8>().ok_or(StoreError::Damaged("history"))?;
    Ok(MessageNumber(u64::from_be_bytes(*number)))
}
