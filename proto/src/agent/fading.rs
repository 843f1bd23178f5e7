//! Messages that disappear (PROTOCOL §4.10).
//!
//! Entry type is [`Fading`]. The drawer has every message that is to disappear in the order in which they
//! do; memory has no more than when the first does. A program that was not running when it was time
//! removes them as soon as it starts.

use crate::address::Address;
use crate::content::{Content, LIFETIME_MAX, LIFETIME_MIN, Text};
use crate::payload::ContentType;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::entry::{Entry, MessageNumber};
use super::io::{CommandError, Drawer, Event, Refusal};
use super::records::Timing;
use super::{Agent, HIGHEST, Turn};

/// Messages that disappear in one step; more do so in the next.
const AT_ONCE: usize = 256;
/// Messages that are looked at in one step when the clock was set back.
const LOOKED_AT: usize = 1_024;
/// A clock that lies behind by more was set back (PROTOCOL §6.7).
const SET_BACK: Span = Span::from_mins(20);
/// When a message was last noted that is to disappear.
const NOTED_LAST: &[u8] = b"fading-noted";

/// When messages disappear.
#[derive(Debug, Default)]
pub(super) struct Fading {
    /// When the first does.
    next: Option<Time>,
    /// When one was last noted.
    noted: Time,
    /// Where it goes on among those whose time is measured anew.
    measuring: Option<Vec<u8>>,
}

/// One row of the drawer.
struct Row {
    end: Time,
    contact: u32,
    number: MessageNumber,
    noted: Time,
}

impl Fading {
    pub(super) fn read(turn: Turn<'_>) -> Result<Self, StoreError> {
        let noted = turn.store.get(Drawer::Meta, NOTED_LAST)?;
        let noted = noted.map(|value| time(&value)).transpose()?.unwrap_or_default();
        let mut fading = Self { next: None, noted, measuring: None };
        fading.next = first_end(turn, &[])?;
        fading.look_at_clock(turn.now);
        Ok(fading)
    }

    /// When something is to be done.
    pub(super) fn next(&self) -> Option<Time> {
        if self.measuring.is_some() { Some(Time::ZERO) } else { self.next }
    }

    /// A clock that was set back would make messages stay for as long: what is left of their time is
    /// measured from now on.
    fn look_at_clock(&mut self, now: Time) {
        if self.noted > now + SET_BACK && self.next.is_some() {
            self.measuring.get_or_insert_default();
        }
    }
}

impl Agent {
    /// Has what is said from now on disappear after a time, or stay. Both sides are told.
    pub(super) fn set_timer(
        &mut self,
        turn: Turn<'_>,
        with: Address,
        lifetime: Option<Span>,
        ttl: Span,
    ) -> Result<Entry, Refusal> {
        if lifetime.is_some_and(|lifetime| !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime)) {
            return Err(CommandError::Lifetime.into());
        }
        self.check_outbox(ttl)?;
        let contact = self.know(turn, with)?;
        let sent = self.prepare(turn, contact, Content::Timer(lifetime), ttl)?;
        let text = Text { text: sent.message.body.clone(), ..Text::default() };
        let set_by = Some(self.address());
        self.change_contact(contact, |record| {
            record.timer = Timing { lifetime, set_at: turn.now, set_by };
        });
        Ok(self.keep_and_launch(turn, sent, ContentType::TIMER, text))
    }

    /// Somebody has set the timer of their conversation with us. Whoever set it later counts; a clock that is
    /// ahead does not count for more than ours.
    pub(super) fn on_timer(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        lifetime: Option<Span>,
        sent_at: Time,
    ) {
        let Some(record) = self.people.get(contact) else { return };
        let (known, set_by) = (record.timer, Some(record.address));
        let set_at = sent_at.min(turn.now);
        if (set_at, set_by) >= (known.set_at.min(turn.now), known.set_by) {
            self.change_contact(contact, |record| {
                record.timer = Timing { lifetime, set_at, set_by };
            });
        }
    }

    /// Notes when a message is to disappear, if it is.
    pub(super) fn note_fading(&mut self, turn: Turn<'_>, contact: u32, entry: &Entry) {
        if let Some(end) = entry.marks.disappears_at {
            self.note_end(turn, contact, entry.number, end);
        }
    }

    /// Notes when a message is to disappear, also one that is held.
    pub(super) fn note_end(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        number: MessageNumber,
        end: Time,
    ) {
        let row = Row { end, contact, number, noted: turn.now };
        self.write_fading(&row);
        self.fading.noted = turn.now;
        let noted = turn.now.as_millis().to_be_bytes().to_vec();
        self.journal.put(Drawer::Meta, NOTED_LAST.to_vec(), noted);
    }

    /// Removes what is to be gone by now.
    pub(super) fn fading_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        self.fading.look_at_clock(turn.now);
        if let Some(from) = self.fading.measuring.take() {
            return self.measure_anew(turn, &from);
        }
        if self.fading.next.is_none_or(|next| next > turn.now) {
            return Ok(());
        }
        let end = turn.now.as_millis().saturating_add(1).to_be_bytes();
        let rows = turn.store.scan(Drawer::Fading, &[], &end, AT_ONCE)?;
        let mut last = Vec::new();
        for (key, value) in rows {
            let row = Row::read(&key, &value)?;
            self.journal.delete(Drawer::Fading, key.clone());
            self.fade(turn, &row)?;
            last = key;
        }
        // The least key above the last.
        last.push(0);
        self.fading.next = first_end(turn, &last)?;
        Ok(())
    }

    /// One message, here and on its way, and what waited for it.
    fn fade(&mut self, turn: Turn<'_>, row: &Row) -> Result<(), StoreError> {
        self.forget_held(row.contact, row.number);
        // Whoever was removed took it with them.
        let Some((key, entry)) = self.read_at(turn, row.contact, row.number)? else {
            return Ok(());
        };
        // Its time was measured anew.
        if entry.marks.disappears_at.is_some_and(|end| end > turn.now) {
            return Ok(());
        }
        self.withdraw(turn, row.number)?;
        self.withdraw_edits(turn, row.contact, &entry)?;
        self.forget_unread(turn, row.contact, row.number)?;
        self.remove_entry(row.contact, key, &entry);
        let (number, contact) = (row.number, entry.contact);
        self.promise_event(Event::Disappeared { number, contact });
        Ok(())
    }

    /// Goes through what was noted before the clock was set back: none of it stays for longer than it would
    /// have if it had been noted now.
    fn measure_anew(&mut self, turn: Turn<'_>, from: &[u8]) -> Result<(), StoreError> {
        let rows = turn.store.scan(Drawer::Fading, from, HIGHEST, LOOKED_AT)?;
        let is_last = rows.len() < LOOKED_AT;
        let mut last = Vec::new();
        for (key, value) in rows {
            let row = Row::read(&key, &value)?;
            last.clone_from(&key);
            if row.noted > turn.now + SET_BACK {
                self.journal.delete(Drawer::Fading, key);
                self.put_off(turn, row)?;
            }
        }
        last.push(0);
        if !is_last {
            self.fading.measuring = Some(last);
            return Ok(());
        }
        self.fading.noted = turn.now;
        let noted = turn.now.as_millis().to_be_bytes().to_vec();
        self.journal.put(Drawer::Meta, NOTED_LAST.to_vec(), noted);
        Ok(())
    }

    fn put_off(&mut self, turn: Turn<'_>, row: Row) -> Result<(), StoreError> {
        let end = turn.now + row.end.since(row.noted);
        let Some((key, mut entry)) = self.read_at(turn, row.contact, row.number)? else {
            if self.is_held(turn, row.contact, row.number)? {
                self.write_fading(&Row { end, noted: turn.now, ..row });
            }
            return Ok(());
        };
        entry.marks.disappears_at = Some(end);
        self.rewrite(key, &entry);
        self.write_fading(&Row { end, noted: turn.now, ..row });
        Ok(())
    }

    fn write_fading(&mut self, row: &Row) {
        let noted = row.noted.as_millis().to_be_bytes().to_vec();
        self.journal.put(Drawer::Fading, row.key(), noted);
        self.fading.next = Some(self.fading.next.map_or(row.end, |next| next.min(row.end)));
    }
}

impl Row {
    fn key(&self) -> Vec<u8> {
        let (end, number) = (self.end.as_millis().to_be_bytes(), self.number.0.to_be_bytes());
        [&end[..], &self.contact.to_be_bytes(), &number].concat()
    }

    fn read(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let damaged = StoreError::Damaged("fading");
        let (end, rest) = key.split_first_chunk::<8>().ok_or(damaged.clone())?;
        let (contact, number) = rest.split_first_chunk::<4>().ok_or(damaged.clone())?;
        let number = u64::from_be_bytes(number.try_into().map_err(|_| damaged)?);
        Ok(Self {
            end: Time::from_millis(u64::from_be_bytes(*end)),
            contact: u32::from_be_bytes(*contact),
            number: MessageNumber(number),
            noted: time(value)?,
        })
    }
}

/// When the first message at or above `from` disappears.
fn first_end(turn: Turn<'_>, from: &[u8]) -> Result<Option<Time>, StoreError> {
    let rows = turn.store.scan(Drawer::Fading, from, HIGHEST, 1)?;
    let row = rows.first().map(|(key, value)| Row::read(key, value)).transpose()?;
    Ok(row.map(|row| row.end))
}

fn time(value: &[u8]) -> Result<Time, StoreError> {
    let millis = value.try_into().map_err(|_| StoreError::Damaged("fading"))?;
    Ok(Time::from_millis(u64::from_be_bytes(millis)))
}
