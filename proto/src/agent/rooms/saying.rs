//! Saying something in a room, and bringing notes on their way.

use crate::agent::entry::{Author, Entry, Marks, MessageNumber, MessageState, Steps};
use crate::agent::io::{CommandError, Drawer, Refusal};
use crate::agent::outbox::OUTBOX_MAX;
use crate::agent::{Agent, Turn};
use crate::content::{Content, Text};
use crate::key::PublicKey;
use crate::payload::{ContentType, MessageId};
use crate::room::{HEADS_MAX, Note, RoomId, Said, Step};
use crate::store::StoreError;
use crate::time::Span;

use super::records::{delivery_key, delivery_to_bytes};
use super::{OwnRoom, RoomError, RoomEvent, RoomLine};

impl Agent {
    /// Says something to all members: it is on disk before anything else happens.
    pub(super) fn say_in_room(
        &mut self,
        turn: Turn<'_>,
        room: RoomId,
        text: String,
        answers: Option<MessageNumber>,
        ttl: Span,
    ) -> Result<RoomLine, Refusal> {
        let number = self.number_of_room(&room)?;
        let members = self.seat_of(number)?.state().members().len();
        self.check_outbox(ttl)?;
        self.check_outbox_for(members)?;
        let answers = match answers {
            Some(answered) => Some(self.id_of_line(turn, number, answered)?),
            None => None,
        };
        let text = Text { text: text.into_bytes(), answers, lifetime: None };
        let length = text.text.len();
        let (content_type, body) = Content::Text(text.clone()).write();
        let max = Said::body_max(HEADS_MAX) - (body.len() - length);
        if length == 0 {
            return Err(CommandError::Empty.into());
        }
        if length > max {
            return Err(RoomError::TooLong { length, max }.into());
        }
        let own = self.rooms.by_number.get_mut(&number).and_then(OwnRoom::seat_mut);
        let seat = own.ok_or(RoomError::NoRoom)?;
        let said = seat.say(content_type, body).map_err(|_| RoomError::NoMember)?;
        let sequence = seat.said();
        self.keep_and_send(turn, number, said, (sequence, text), ttl)
    }

    /// Writes down what was said, as it is shown, and brings it on its way to each member.
    fn keep_and_send(
        &mut self,
        turn: Turn<'_>,
        number: u32,
        (id, steps): (MessageId, Vec<Step>),
        (sequence, text): (u64, Text),
        ttl: Span,
    ) -> Result<RoomLine, Refusal> {
        let line = self.take_number();
        let entry = Entry {
            number: line,
            contact: self.address(),
            author: Author::Us { state: MessageState::Queued, envelope: None },
            content_type: ContentType::TEXT,
            body: text.text,
            sequence,
            sent_at: turn.now,
            stored_at: turn.now,
            id: Some(id),
            answers: text.answers,
            marks: Marks::default(),
            steps: Steps::default(),
        };
        self.write_entry(number, &entry);
        let mut deliveries = Vec::new();
        for step in steps {
            let Step::Send { to, note } = step else { continue };
            let Some(contact) = self.know_fellow(turn, &to) else { continue };
            let state = MessageState::Queued;
            let key = delivery_key(number, line.0, contact);
            self.journal.put_readable(Drawer::Deliveries, key, delivery_to_bytes(state));
            self.send_note_to(turn, contact, &note, ttl);
            deliveries.push(super::Delivery { member: to.address(), state });
        }
        self.write_room(number);
        let room = self.rooms.get(number).ok_or(RoomError::NoRoom)?.id;
        Ok(RoomLine { room, entry, deliveries, is_forked: false })
    }

    /// Brings a note on its way to somebody in a room with us. What does not fit is asked for again by whoever
    /// lacks it.
    pub(super) fn send_note(&mut self, turn: Turn<'_>, to: &PublicKey, note: &Note, ttl: Span) {
        if let Some(contact) = self.know_fellow(turn, to) {
            self.send_note_to(turn, contact, note, ttl);
        }
    }

    pub(super) fn send_note_to(&mut self, turn: Turn<'_>, contact: u32, note: &Note, ttl: Span) {
        if self.outbox.len() >= OUTBOX_MAX {
            return;
        }
        let content = Content::Other { content_type: ContentType::ROOM, body: note.to_bytes() };
        // Whoever we write to is known.
        if let Ok(sent) = self.prepare(turn, contact, content, ttl) {
            self.launch(turn, sent);
        }
    }

    /// A note of ours has come further: if it is a line, the person is told to whom.
    pub(in crate::agent) fn on_note_state(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        body: &[u8],
        state: MessageState,
    ) -> Result<(), StoreError> {
        let Ok(Note::Said { said, .. }) = Note::from_bytes(body) else { return Ok(()) };
        let Some(number) = self.rooms.number_of(&said.room) else { return Ok(()) };
        let id = said.id(self.identity.public());
        let Some(line) = self.number_by_id(turn, number, &id)? else { return Ok(()) };
        let key = delivery_key(number, line.0, contact);
        self.journal.put_readable(Drawer::Deliveries, key, delivery_to_bytes(state));
        if let Some(member) = self.people.get(contact).map(|record| record.address) {
            self.room_event(RoomEvent::Delivery { room: said.room, line, member, state });
        }
        Ok(())
    }
}
