//! Saying something in a room, and bringing notes on their way.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::entry::{Author, Entry, Marks, MessageNumber, MessageState, Steps};
use crate::agent::io::{CommandError, Drawer, Refusal};
use crate::agent::records::{Admission, ContactRecord};
use crate::agent::{Agent, Turn};
use crate::content::{Content, Text};
use crate::envelope::{SizeClass, TTL_DEFAULT};
use crate::key::PublicKey;
use crate::payload::{ContentType, MessageId};
use crate::room::{HEADS_MAX, Note, RoomId, Said, Step};
use crate::store::StoreError;
use crate::time::Span;

use super::hearing::room_of;
use super::records::{delivery_key, delivery_to_bytes};
use super::{ANSWERS_MAX, Cause, OwnRoom, PAGES_MAX, RoomError, RoomEvent, RoomLine, Share};

/// The most refusals on their way to whomever: whoever has held an invitation can ask under any number of keys.
const REFUSALS_MAX: usize = 16;

/// The most notes on their way to one member that nobody has said, beside one answer.
const NOTES_TO_ONE_MAX: usize = 32;

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
        let others = self.seat_of(number)?.state().members().len().saturating_sub(1);
        self.check_outbox(ttl)?;
        self.check_outbox_for(others, Share::Common)?;
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
            self.send_note_to(turn, contact, &note, ttl, Share::Common);
            deliveries.push(super::Delivery { member: to.address(), state });
        }
        self.write_room(number);
        let room = self.rooms.get(number).ok_or(RoomError::NoRoom)?.id;
        Ok(RoomLine { room, entry, deliveries, is_forked: false })
    }

    /// Brings a note on its way that a seat wants to be sent.
    pub(super) fn send_step(
        &mut self,
        turn: Turn<'_>,
        number: u32,
        (to, note): (&PublicKey, &Note),
        cause: Cause<'_>,
    ) {
        let seat = self.rooms.get(number).and_then(OwnRoom::seat);
        let is_known =
            seat.is_some_and(|seat| seat.state().is_member(to) || seat.state().was_member(to));
        match cause {
            _ if !is_known || matches!(note, Note::Refuse { .. }) => {
                self.send_refusal(turn, to, note);
            }
            Cause::Wanted(by) if by == to => self.send_answer(turn, to, note),
            cause => self.send_note(turn, to, note, cause.share()),
        }
    }

    /// Brings a note on its way to somebody in a room with us, which nobody has said. What does not fit is asked for again
    /// by whoever lacks it.
    fn send_note(&mut self, turn: Turn<'_>, to: &PublicKey, note: &Note, share: Share) {
        let Some(contact) = self.know_fellow(turn, to) else { return };
        let theirs = self.outbox.of_rooms().filter(|note| note.contact == contact);
        let waiting = theirs.filter(|note| !Note::is_said(&note.body)).count();
        if waiting < NOTES_TO_ONE_MAX && self.check_outbox_for(1, share).is_ok() {
            return self.send_note_to(turn, contact, note, TTL_DEFAULT, share);
        }
        let number = room_of(note).and_then(|room| self.rooms.number_of(&room));
        self.rooms.untold.extend(number.map(|number| (number, contact)));
    }

    /// Something has come to somebody whom we could not tell all: they are told the last events, and ask for what these
    /// name.
    fn tell_untold(&mut self, turn: Turn<'_>, contact: u32) {
        let untold = self.rooms.untold.iter().filter(|(_, member)| *member == contact);
        for (number, _) in untold.copied().collect::<Vec<_>>() {
            self.rooms.untold.remove(&(number, contact));
            let key = self.people.get(contact).and_then(|record| record.key);
            let seat = self.rooms.get(number).and_then(OwnRoom::seat);
            // Also if we have left: who else would tell them?
            let theirs = key.zip(seat).filter(|(key, seat)| seat.state().is_member(key));
            let Some((key, seat)) = theirs else { continue };
            let share = if seat.is_member() { Share::Common } else { Share::Own };
            let heads = seat.log().heads_for(self.identity.public());
            let events = heads.as_slice().iter().filter_map(|id| seat.log().get(id));
            for note in Note::pages(events.map(|event| &**event), SizeClass::K16) {
                self.send_note(turn, &key, &note, share);
            }
        }
    }

    /// Whom we could not tell all, and to whom nothing is on its way whose end would remind us, is told when there is room.
    pub(super) fn tell_idle_untold(&mut self, turn: Turn<'_>) {
        if self.rooms.untold.is_empty() || self.check_outbox_for(1, Share::Common).is_err() {
            return;
        }
        let awaited: BTreeSet<_> = self.outbox.of_rooms().map(|note| note.contact).collect();
        let untold = self.rooms.untold.iter().map(|(_, contact)| *contact);
        for contact in untold.filter(|contact| !awaited.contains(contact)).collect::<BTreeSet<_>>()
        {
            self.tell_untold(turn, contact);
        }
    }

    /// Whom we may not have told all before the program ended. Whoever is told without need has lost nothing: it is the
    /// last events alone.
    pub(in crate::agent) fn restore_untold(&mut self) {
        let is_full = self.check_outbox_for(1, Share::Common).is_err();
        let mut waiting: BTreeMap<u32, (usize, BTreeSet<RoomId>)> = BTreeMap::new();
        for note in self.outbox.of_rooms().filter(|note| !Note::is_said(&note.body)) {
            let (count, rooms) = waiting.entry(note.contact).or_default();
            *count += 1;
            rooms.extend(Note::from_bytes(&note.body).ok().as_ref().and_then(room_of));
        }
        waiting.retain(|_, (count, _)| is_full || *count >= NOTES_TO_ONE_MAX);
        for (contact, (_, rooms)) in waiting {
            let numbers = rooms.iter().filter_map(|room| self.rooms.by_id.get(room));
            self.rooms.untold.extend(numbers.map(|number| (*number, contact)));
        }
    }

    /// Brings what somebody has asked for on its way.
    pub(super) fn send_answer(&mut self, turn: Turn<'_>, to: &PublicKey, note: &Note) {
        if let Some(contact) = self.know_fellow(turn, to) {
            self.send_note_to(turn, contact, note, TTL_DEFAULT, Share::Common);
        }
    }

    /// Whether there is room for the answer to somebody who may lack all of a log: else many who want it, and fetch
    /// nothing, would keep us from speaking.
    pub(super) fn can_answer(&self) -> bool {
        let answers = self.outbox.of_rooms().filter(|note| Note::is_page(&note.body)).count();
        answers + PAGES_MAX <= ANSWERS_MAX
            && self.check_outbox_for(PAGES_MAX, Share::Common).is_ok()
    }

    /// Whether what somebody wants is on its way to them: events of the room. To whoever asks to be let in these are several
    /// at once; one alone may be for what they were before they lost their data or had this key.
    pub(super) fn is_answered(&self, number: u32, to: &PublicKey, wanted: &Note) -> bool {
        let contact = self.people.number_of(&to.address());
        let room = self.rooms.get(number).map(|room| room.id);
        let asks = matches!(wanted, Note::Ask { .. });
        let theirs = self.outbox.of_rooms().filter(|note| Some(note.contact) == contact);
        let mut theirs = theirs.filter(|note| !asks || Note::is_page(&note.body));
        theirs.any(|note| match Note::from_bytes(&note.body) {
            Ok(note @ Note::Events(_)) => room_of(&note) == room,
            _ => false,
        })
    }

    /// Whether one more refusal may be on its way.
    pub(super) fn can_refuse(&self) -> bool {
        let to_nobody = |contact| self.people.get(contact).is_some_and(is_nobody);
        let refusals = self.outbox.of_rooms();
        let refusals =
            refusals.filter(|note| Note::is_refusal(&note.body) || to_nobody(note.contact));
        refusals.count() < REFUSALS_MAX
    }

    /// Tells somebody that they are not let in, or that whoever let them in had no right to it any more. That makes nobody
    /// a fellow: of whom nothing is known, no more is kept than brings this on its way, and nothing once it has come to its end.
    pub(super) fn send_refusal(&mut self, turn: Turn<'_>, to: &PublicKey, note: &Note) {
        let has_room = self.check_outbox_for(1, Share::Common).is_ok();
        if !(has_room && self.can_refuse() && self.replaced_by().is_none()) {
            return;
        }
        let address = to.address();
        let contact = match self.people.number_of(&address) {
            Some(known) => known,
            None if self.make_room_for_contact().is_err() => return,
            None => {
                let name = self.people.digits(address);
                let (key, admission) = (Some(*to), Admission::Stranger);
                let record = ContactRecord::new(address, name);
                self.new_contact(ContactRecord { key, admission, ..record })
            }
        };
        self.send_note_to(turn, contact, note, TTL_DEFAULT, Share::Common);
    }

    /// A refusal has come to its end: of whom nothing else is to be known, nothing is.
    fn forget_turned_away(&mut self, contact: u32) {
        if self.people.get(contact).is_some_and(is_nobody) && self.on_their_way(contact) == 0 {
            self.forget_contact(contact);
        }
    }

    pub(super) fn send_note_to(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        note: &Note,
        ttl: Span,
        share: Share,
    ) {
        if self.check_outbox_for(1, share).is_err() {
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
        if state.is_final() {
            self.tell_untold(turn, contact);
            self.forget_turned_away(contact);
        }
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

/// Of whom nothing is to be known once nothing is on its way to them.
fn is_nobody(record: &ContactRecord) -> bool {
    record.admission == Admission::Stranger && !record.is_fellow
}
