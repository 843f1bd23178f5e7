//! Taking in what others send about rooms (PROTOCOL §4.17).
//!
//! A note passes the door at which strangers wait if and only if it is of a room that we are in and its author belongs to
//! it, has belonged to it, or shows an invitation that the room knows; or if it answers our own wish to be let in.

use crate::agent::io::{Drawer, Event, Output};
use crate::agent::records::Letter;
use crate::agent::requests::Door;
use crate::agent::{Agent, Promise, Turn};
use crate::key::PublicKey;
use crate::room::{Change, Heard, MEMBERS_MAX, Note, RoomId, Seat, Step, Verdict};
use crate::store::StoreError;

use super::lines::NewLine;
use super::{Cause, OwnRoom, Place, RoomEvent, Share};

impl Agent {
    /// A note has come; whether it is taken. What is not stays where it is, and its author learns nothing.
    pub(in crate::agent) fn hear_note(
        &mut self,
        turn: Turn<'_>,
        letter: Letter,
    ) -> Result<bool, StoreError> {
        let sender = letter.sender.address();
        let number = self.people.number_of(&sender);
        if number.is_some_and(|number| self.is_blocked(number)) {
            return Ok(false);
        }
        let Ok(note) = Note::from_bytes(&letter.payload.body) else {
            // Perhaps a later program's: of a contact it is shown as what is not known.
            let Door::Open(contact) = self.door(&sender, turn.now) else { return Ok(false) };
            self.learn_key(turn, contact, letter.sender);
            self.on_message(turn, contact, letter)?;
            return Ok(true);
        };
        let Some(number) = room_of(&note).and_then(|room| self.rooms.number_of(&room)) else {
            return Ok(self.pass_over(turn, &letter));
        };
        let Some(room) = self.rooms.get(number) else { return Ok(false) };
        match &room.place {
            Place::Joining(_) => self.hear_at_the_door(turn, number, &letter, note),
            Place::Seat(seat) if is_heard(seat, &letter.sender, &note) => {
                if !self.can_follow_up(turn, number, &letter.sender, &note) {
                    return Ok(false);
                }
                self.hear_in_room(turn, number, &letter, note)
            }
            Place::Seat(seat) if matches!(note, Note::Refuse { .. }) || seat.has_left() => {
                Ok(self.pass_over(turn, &letter))
            }
            // Perhaps their admission, or that our removal was overruled, is still on its way: it waits where it is until
            // we have that.
            Place::Seat(_) => Ok(false),
        }
    }

    /// Whether what a note brings about can be done: a line needs its author's record, an answer and a refusal their place
    /// on the way, and whose key is replaced lets nobody in. What cannot stays where it is.
    fn can_follow_up(
        &mut self,
        turn: Turn<'_>,
        number: u32,
        author: &PublicKey,
        note: &Note,
    ) -> bool {
        match note {
            Note::Said { .. } => self.know_fellow(turn, author).is_some(),
            // What letting somebody in takes must have room.
            Note::Ask { .. }
                if self.replaced_by().is_some()
                    || !self.can_answer()
                    || self.check_outbox_for(2 * MEMBERS_MAX, Share::Common).is_err() =>
            {
                false
            }
            Note::Ask { join, .. } => {
                let seat = self.rooms.get(number).and_then(OwnRoom::seat);
                let token = seat.and_then(|seat| seat.state().tokens().get(join.token()));
                let is_open =
                    token.is_some_and(|token| token.is_open() && token.expires_at > turn.now);
                is_open || self.can_refuse()
            }
            Note::Want { .. } => self.replaced_by().is_none() && self.can_answer(),
            Note::Events(_) | Note::Refuse { .. } => true,
        }
    }

    fn hear_in_room(
        &mut self,
        turn: Turn<'_>,
        number: u32,
        letter: &Letter,
        note: Note,
    ) -> Result<bool, StoreError> {
        let wants_answer = matches!(note, Note::Want { .. } | Note::Ask { .. });
        let is_answered = wants_answer && self.is_answered(number, &letter.sender, &note);
        let Some(room) = self.rooms.by_number.get_mut(&number) else { return Ok(false) };
        if let Note::Said { said, .. } = &note {
            let hash = *said.id(&letter.sender).as_bytes();
            room.written.insert(hash, letter.payload.sent_at.min(letter.came_at));
        }
        let Some(seat) = room.seat_mut() else { return Ok(false) };
        if is_answered {
            // What they want is on its way; who lacks more wants it again.
            self.note_letter(turn, letter);
            return Ok(true);
        }
        let steps = seat.hear(letter.sender, note, turn.now);
        let cause = if wants_answer { Cause::Wanted(&letter.sender) } else { Cause::Others };
        self.carry(turn, number, steps, cause)?;
        // By now whoever was let in is somebody we know.
        self.note_letter(turn, letter);
        Ok(true)
    }

    /// Something comes about a room into which we have asked to be let.
    fn hear_at_the_door(
        &mut self,
        turn: Turn<'_>,
        number: u32,
        letter: &Letter,
        note: Note,
    ) -> Result<bool, StoreError> {
        let Some(mut room) = self.rooms.by_number.remove(&number) else { return Ok(false) };
        let Place::Joining(joining) = &mut room.place else {
            self.rooms.insert(number, room);
            return Ok(false);
        };
        let sender = letter.sender.address();
        let was_asked = joining.asked().any(|asked| asked == sender);
        let is_member = joining.log().is_some_and(|log| log.state().is_member(&letter.sender));
        let mut is_taken = was_asked || is_member;
        match note {
            Note::Events(events) if is_taken => {
                for event in events.into_iter().filter_map(|event| event.verify().ok()) {
                    // What is none of the room's is as if it had not come.
                    let _ = joining.take(event);
                }
            }
            Note::Refuse { room, fresh, reason }
                if joining.check_refusal(&sender, &fresh).is_ok() =>
            {
                joining.note_refusal(sender);
                self.room_event(RoomEvent::NotLetIn { room, by: sender, reason });
            }
            // What members say meanwhile waits where it is until we are in.
            _ => is_taken = false,
        }
        self.step_in(turn, number, room);
        if is_taken {
            self.note_letter(turn, letter);
        }
        Ok(is_taken)
    }

    /// Whoever has been let in takes their seat; else goes on waiting.
    fn step_in(&mut self, turn: Turn<'_>, number: u32, mut room: OwnRoom) {
        let joined = match room.place {
            Place::Joining(joining) => joining.into_log().map_err(Place::Joining),
            seat @ Place::Seat(_) => Err(seat),
        };
        let is_in = joined.is_ok();
        room.place = match joined {
            Ok(log) => {
                let mut seat = Seat::take(self.identity.key().clone(), log);
                seat.count_from(turn.now.as_millis());
                Place::Seat(Box::new(seat))
            }
            Err(place) => place,
        };
        if is_in {
            // Events lie on disk as they came; from now on each behind those that it names.
            let (from, to) = (number.to_be_bytes(), number.saturating_add(1).to_be_bytes());
            self.journal.delete_range(Drawer::RoomEvents, from.to_vec(), to.to_vec());
            room.rows.clear();
        }
        self.rooms.insert(number, room);
        self.write_room(number);
        if !is_in {
            return;
        }
        self.write_head(number);
        self.know_members(turn, number);
        if let Some(room) = self.rooms.get(number).map(|room| self.shown(room)) {
            self.room_event(RoomEvent::Joined(room));
        }
    }

    /// A note that means nothing here. A contact's is as if it had been read; of others nothing is taken.
    fn pass_over(&mut self, turn: Turn<'_>, letter: &Letter) -> bool {
        let is_open = matches!(self.door(&letter.sender.address(), turn.now), Door::Open(_));
        if is_open {
            self.note_letter(turn, letter);
        }
        is_open
    }

    /// Notes that a message of a conversation has come of which nothing is shown.
    fn note_letter(&mut self, turn: Turn<'_>, letter: &Letter) {
        let address = letter.sender.address();
        let Some(contact) = self.people.number_of(&address) else { return };
        self.learn_key(turn, contact, letter.sender);
        let (mut were_missing, mut missing) = (0, 0);
        self.change_contact(contact, |record| {
            record.established = true;
            were_missing = record.received.missing();
            record.received.note(letter.payload.sequence.get(), letter.number);
            missing = record.received.missing();
        });
        self.people.note_heard(contact, turn.now);
        let is_present = self.people.get(contact).is_some_and(|record| record.is_present());
        if missing != were_missing && is_present {
            self.promise_event(Event::Missing { contact: address, messages: missing });
        }
    }

    /// Does what a seat says is to be done, and writes down what it is now.
    pub(super) fn carry(
        &mut self,
        turn: Turn<'_>,
        number: u32,
        steps: Vec<Step>,
        cause: Cause<'_>,
    ) -> Result<(), StoreError> {
        self.know_members(turn, number);
        let (mut lines, mut events) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Send { to, note } => self.send_step(turn, number, (&to, &note), cause),
                Step::Heard(Heard::Shown { author, id, said, missing_before, is_forked }) => {
                    lines.push(NewLine { author, id, said, missing_before, is_forked });
                }
                // Whoever was removed goes on: nothing is shown.
                Step::Heard(_) => {}
                Step::Changed(id) => events.extend(self.changed(number, &id)),
                Step::Forked(fork) => {
                    let room = self.rooms.get(number).map(|room| room.id);
                    let by = fork.author.address();
                    events.extend(room.map(|room| RoomEvent::Forked { room, by }));
                }
            }
        }
        // Each author's in their order, so that none of them finds a later one not yet written.
        lines.sort_by_key(|line| (line.author, line.said.sequence));
        for line in lines {
            self.note_line(turn, number, line)?;
        }
        self.write_room(number);
        events.into_iter().for_each(|event| self.room_event(event));
        Ok(())
    }

    /// What an event has changed, if it counts.
    fn changed(&mut self, number: u32, id: &crate::room::EventId) -> Option<RoomEvent> {
        let room = self.rooms.get(number)?;
        let log = room.seat()?.log();
        let event = log.get(id).filter(|_| log.verdict(id) == Some(Verdict::Counts))?;
        let (by, change) = (event.author().address(), Box::new(event.change()?.clone()));
        let room = self.shown(room);
        if let Change::Admit(join) = &*change {
            self.forget_order(number, &join.joiner().address());
        }
        Some(RoomEvent::Changed { room, by, change })
    }

    pub(super) fn room_event(&mut self, event: RoomEvent) {
        let output = Output::Event(Event::Room(event));
        self.journal.promise(Promise::Output(Box::new(output)));
    }
}

/// Whether a note of this author may be heard in a room.
fn is_heard(seat: &Seat, author: &PublicKey, note: &Note) -> bool {
    let is_known = seat.state().is_member(author) || seat.state().was_member(author);
    match note {
        Note::Ask { join, .. } => {
            seat.is_member() && seat.state().tokens().contains_key(join.token())
        }
        // That we are out may turn out to be overruled, and whoever has left still answers for what they did.
        Note::Events(_) | Note::Want { .. } => is_known,
        _ => seat.is_member() && is_known,
    }
}

/// Of which room a note is.
pub(super) fn room_of(note: &Note) -> Option<RoomId> {
    match note {
        Note::Said { said, .. } => Some(said.room),
        Note::Events(events) => events.first().map(crate::room::Event::room),
        Note::Want { room, .. } | Note::Ask { room, .. } | Note::Refuse { room, .. } => Some(*room),
    }
}
