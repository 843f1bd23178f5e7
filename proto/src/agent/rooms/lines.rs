//! What was said in a room, page by page, in the order of its authors.
//!
//! It is kept as what was said with somebody is (`agent/history.rs`), under the room's number; the contact of a line is its
//! author. A line that came late stands before the next of its author.

use crate::address::Address;
use crate::agent::entry::{Author, Entry, Marks, MessageNumber, MessageState, Place, Steps};
use crate::agent::history::{PLACES, belongs_before, key, parse_number, place_of};
use crate::agent::io::{Drawer, Refusal};
use crate::agent::records::entry_from_bytes;
use crate::agent::search::{PAGE, Place as SearchPlace, Words};
use crate::agent::{Agent, Turn};
use crate::content::Content;
use crate::key::PublicKey;
use crate::payload::{ContentType, MessageId};
use crate::room::{MEMBERS_MAX, RoomId, Said};
use crate::store::{ScanBack, Store, StoreError};

use super::records::{delivery, delivery_key, order_key, row_key};
use super::{Delivery, OwnRoom, RoomError, RoomEvent, RoomFound, RoomLine};

/// Something that was said and is to be shown.
pub(super) struct NewLine {
    pub(super) author: PublicKey,
    pub(super) id: MessageId,
    pub(super) said: Box<Said>,
    pub(super) missing_before: u64,
    pub(super) is_forked: bool,
}

impl Agent {
    /// The last `limit` lines of a room before number `before` (all, if none), in the order of their authors.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn room_history(
        &self,
        store: &dyn ScanBack<Drawer>,
        room: &RoomId,
        before: Option<MessageNumber>,
        limit: usize,
    ) -> Result<Vec<RoomLine>, StoreError> {
        let Some(number) = self.rooms.number_of(room) else { return Ok(Vec::new()) };
        let end = match before {
            Some(before) => place_of(store, number, before)?,
            None => key(number, PLACES),
        };
        let rows = store.scan_back(Drawer::History, &key(number, 0), &end, limit)?;
        rows.iter().rev().map(|(key, value)| self.line(store, number, key, value)).collect()
    }

    /// One line of any room, by its number.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn room_line(
        &self,
        store: &dyn Store<Drawer>,
        line: MessageNumber,
    ) -> Result<Option<RoomLine>, StoreError> {
        for number in self.rooms.numbers() {
            let key = place_of(store, number, line)?;
            if let Some(value) = store.get(Drawer::History, &key)? {
                return self.line(store, number, &key, &value).map(Some);
            }
        }
        Ok(None)
    }

    /// The line of a room that its author calls `id`; none if it is not here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn room_line_by_id(
        &self,
        store: &dyn Store<Drawer>,
        room: &RoomId,
        id: &MessageId,
    ) -> Result<Option<RoomLine>, StoreError> {
        let Some(number) = self.rooms.number_of(room) else { return Ok(None) };
        let row = crate::agent::history::id_key(number, id);
        let Some(line) = store.get(Drawer::Ids, &row)? else { return Ok(None) };
        self.room_line(store, parse_number(&line)?)
    }

    /// Looks at the next 128 lines of a room, from the newest on or from where a step before has ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn search_room(
        &self,
        store: &dyn ScanBack<Drawer>,
        room: &RoomId,
        words: &Words,
        from: Option<SearchPlace>,
    ) -> Result<RoomFound, StoreError> {
        let mut lines = Vec::new();
        let Some(number) = self.rooms.number_of(room) else {
            return Ok(RoomFound { lines, next: None });
        };
        let end = from.map_or_else(|| key(number, PLACES), SearchPlace::into_key);
        let rows = store.scan_back(Drawer::History, &key(number, 0), &end, PAGE)?;
        let next = rows.last().filter(|_| rows.len() == PAGE);
        let next = next.map(|(key, _)| SearchPlace::at(key.clone()));
        for (key, value) in rows {
            let line = self.line(store, number, &key, &value)?;
            let is_text = line.entry.content_type == ContentType::TEXT;
            if is_text && words.are_in(&line.entry.body) {
                lines.push(line);
            }
        }
        Ok(RoomFound { lines, next })
    }

    /// Writes down a line of somebody else, and tells the person.
    pub(super) fn note_line(
        &mut self,
        turn: Turn<'_>,
        number: u32,
        line: NewLine,
    ) -> Result<(), StoreError> {
        let NewLine { author, id, said, missing_before, is_forked } = line;
        let Some(contact) = self.know_fellow(turn, &author) else { return Ok(()) };
        let room = self.rooms.by_number.get_mut(&number);
        let written_at = room.and_then(|room| room.written.remove(id.as_bytes()));
        let sent_at = written_at.unwrap_or(turn.now).min(turn.now);
        let place = self.place_in(turn, number, contact, said.sequence)?;
        let (content_type, body, answers, lifetime) =
            match Content::read(said.content_type, said.body) {
                Content::Text(text) => (ContentType::TEXT, text.text, text.answers, text.lifetime),
                other => {
                    let (content_type, body) = other.write();
                    (content_type, body, None, None)
                }
            };
        let disappears_at = lifetime.map(|lifetime| sent_at + lifetime);
        if disappears_at.is_some_and(|end| end <= turn.now) {
            return Ok(());
        }
        let entry = Entry {
            number: self.take_number(),
            contact: author.address(),
            author: Author::Them { missing_before, place },
            content_type,
            body,
            sequence: said.sequence,
            sent_at,
            stored_at: turn.now,
            id: Some(id),
            answers,
            marks: Marks { disappears_at, ..Marks::default() },
            steps: Steps::default(),
        };
        self.write_entry(number, &entry);
        self.note_fading(turn, number, &entry);
        let row = order_key(number, contact, said.sequence);
        let value = entry.number.0.to_be_bytes().to_vec();
        self.journal.put(Drawer::RoomOrder, row, value);
        if let Some(room) = self.rooms.by_number.get_mut(&number) {
            room.unread = room.unread.saturating_add(1);
        }
        self.write_head(number);
        let room = said.room;
        let line = RoomLine { room, entry, deliveries: Vec::new(), is_forked };
        self.room_event(RoomEvent::Said(Box::new(line)));
        Ok(())
    }

    /// Where a line belongs: before the next of its author that is here.
    fn place_in(
        &self,
        turn: Turn<'_>,
        number: u32,
        author: u32,
        sequence: u64,
    ) -> Result<Place, StoreError> {
        let from = order_key(number, author, sequence.saturating_add(1));
        let to = row_key(number, author.saturating_add(1));
        let next = turn.store.scan(Drawer::RoomOrder, &from, &to, 1)?;
        match next.first() {
            Some((_, value)) => Ok(Place::Before(parse_number(value)?)),
            None => Ok(Place::InTurn),
        }
    }

    /// Whoever comes back counts anew.
    pub(super) fn forget_order(&mut self, number: u32, author: &Address) {
        if let Some(author) = self.people.number_of(author) {
            let (from, to) = (row_key(number, author), row_key(number, author.saturating_add(1)));
            self.journal.delete_range(Drawer::RoomOrder, from, to);
        }
    }

    /// What a line of this room is called.
    pub(super) fn id_of_line(
        &self,
        turn: Turn<'_>,
        number: u32,
        line: MessageNumber,
    ) -> Result<MessageId, Refusal> {
        let known = self.read_at(turn, number, line)?;
        let id = known.and_then(|(_, entry)| entry.id);
        Ok(id.ok_or(RoomError::NoLine(line))?)
    }

    fn line(
        &self,
        store: &dyn Store<Drawer>,
        number: u32,
        key: &[u8],
        value: &[u8],
    ) -> Result<RoomLine, StoreError> {
        let mut entry = entry_from_bytes(parse_number(key)?, value)?;
        let own = self.rooms.get(number);
        let room = own.ok_or(StoreError::Damaged("rooms"))?.id;
        let mut deliveries = Vec::new();
        match &mut entry.author {
            Author::Us { state, .. } => {
                deliveries = self.deliveries(store, number, entry.number)?;
                *state = least(&deliveries);
            }
            Author::Them { missing_before, place } => {
                let seat = own.and_then(OwnRoom::seat);
                let author = seat.and_then(|seat| {
                    let mut members = seat.state().members().keys();
                    members.find(|key| key.address() == entry.contact).copied()
                });
                *missing_before = seat.zip(author).map_or(0, |(seat, author)| {
                    seat.talk().missing_before(&author, entry.sequence)
                });
                *place = belongs_before(key).map_or(*place, Place::Before);
            }
        }
        Ok(RoomLine { room, entry, deliveries, is_forked: false })
    }

    fn deliveries(
        &self,
        store: &dyn Store<Drawer>,
        number: u32,
        line: MessageNumber,
    ) -> Result<Vec<Delivery>, StoreError> {
        let from = delivery_key(number, line.0, 0);
        let to = delivery_key(number, line.0.saturating_add(1), 0);
        let mut deliveries = Vec::new();
        for (key, value) in store.scan(Drawer::Deliveries, &from, &to, MEMBERS_MAX)? {
            let contact = key.last_chunk().ok_or(StoreError::Damaged("deliveries"))?;
            // Whoever was forgotten is nobody any more.
            let Some(record) = self.people.get(u32::from_be_bytes(*contact)) else { continue };
            deliveries.push(Delivery { member: record.address, state: delivery(&value)? });
        }
        Ok(deliveries)
    }
}

/// How far a line has come to all to whom it was sealed: as far as to the one to whom it has come least.
fn least(deliveries: &[Delivery]) -> MessageState {
    let states = deliveries.iter().map(|delivery| delivery.state);
    // To nobody else, it has come to everybody.
    states.min().unwrap_or(MessageState::Accepted)
}
