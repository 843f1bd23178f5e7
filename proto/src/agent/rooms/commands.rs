//! What a person wants of their rooms.

use rand_core::RngCore;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::agent::drawer::Drawer;
use crate::agent::io::{CommandError, Refusal};
use crate::agent::outbox::OUTBOX_MAX;
use crate::agent::{Agent, Turn};
use crate::envelope::{TTL_MAX, TTL_MIN};
use crate::key::PublicKey;
use crate::payload::ContentType;
use crate::room::{
    Change, Event, Invitation, Join, Joining, LogError, Note, OTHERS_MAX, Refused, Role, RoomId,
    RoomName, Seat,
};
use crate::store::StoreError;
use crate::time::Span;

use super::hearing::room_of;
use super::{
    Cause, OwnRoom, Place, ROOMS_MAX, RoomChange, RoomCommand, RoomError, RoomOutcome, Share,
};

impl From<RoomError> for Refusal {
    fn from(error: RoomError) -> Self {
        Self::Command(CommandError::Room(error))
    }
}

impl Agent {
    /// The person wants something of a room.
    pub(in crate::agent) fn obey_about_room(
        &mut self,
        turn: Turn<'_>,
        command: RoomCommand,
    ) -> Result<RoomOutcome, Refusal> {
        let says_nothing = matches!(command, RoomCommand::MarkRead(_) | RoomCommand::Forget(_));
        if let Some(by) = self.replaced_by().filter(|_| !says_nothing) {
            return Err(CommandError::Replaced(by).into());
        }
        match command {
            RoomCommand::Create(name) => self.create_room(turn, name),
            RoomCommand::Invite { room, lifetime } => self.invite_to_room(turn, room, lifetime),
            RoomCommand::Join(invitation) => self.join_room(turn, *invitation),
            RoomCommand::Change { room, change } => {
                let number = self.number_of_room(&room)?;
                let change = self.change_of(number, change)?;
                self.change_room(turn, number, change)?;
                self.outcome(number)
            }
            RoomCommand::Say { room, text, answers, ttl } => {
                let line = self.say_in_room(turn, room, text, answers, ttl)?;
                Ok(RoomOutcome::Said(Box::new(line)))
            }
            RoomCommand::MarkRead(room) => {
                let number = self.number_of_room(&room)?;
                if let Some(room) = self.rooms.by_number.get_mut(&number) {
                    room.unread = 0;
                }
                self.write_head(number);
                self.outcome(number)
            }
            RoomCommand::Forget(room) => self.forget_room(turn, room),
        }
    }

    fn create_room(&mut self, turn: Turn<'_>, name: RoomName) -> Result<RoomOutcome, Refusal> {
        self.check_rooms()?;
        let nonce = self.draw();
        let event = Event::found(self.identity.key(), name, nonce, turn.now);
        let (id, me) = (event.room(), self.identity.key().clone());
        let seat = Seat::found(me, event).ok_or(RoomError::NoRoom)?;
        let number = self.take_contact_number();
        self.rooms.insert(number, OwnRoom::new(id, Place::Seat(Box::new(seat))));
        self.write_head(number);
        self.write_room(number);
        self.outcome(number)
    }

    fn invite_to_room(
        &mut self,
        turn: Turn<'_>,
        room: RoomId,
        lifetime: Span,
    ) -> Result<RoomOutcome, Refusal> {
        let number = self.number_of_room(&room)?;
        let (others, expires_at) = (self.admitters(number)?, turn.now + lifetime);
        let seed = Zeroizing::new(self.draw());
        let inviter = *self.identity.public();
        let invitation = Invitation::new(room, inviter, others, *seed, expires_at);
        let token = invitation.token();
        self.change_room(turn, number, Change::Invite { token, expires_at })?;
        Ok(RoomOutcome::Invited(Box::new(invitation)))
    }

    fn join_room(
        &mut self,
        turn: Turn<'_>,
        invitation: Invitation,
    ) -> Result<RoomOutcome, Refusal> {
        let known = self.rooms.number_of(&invitation.room());
        let is_member = |room: &OwnRoom| room.seat().is_some_and(Seat::is_member);
        if known.and_then(|number| self.rooms.get(number)).is_some_and(is_member) {
            return Err(RoomError::StillMember.into());
        }
        let (token, me) = (invitation.token(), self.identity.key());
        let fresh = Join::draw(&invitation.room(), &token, me);
        let joining = Joining::new(invitation, me, fresh, turn.now);
        let joining = Box::new(joining.map_err(RoomError::from)?);
        if let Some(number) = known
            && let Some(joining) = self.rooms.joining_mut(number)
            && joining.invitation().token() == token
        {
            // The first answer to what was asked with this invitation is the only one: a new request would miss it.
            joining.begin_anew();
            self.ask_again(turn, number);
            return self.outcome(number);
        }
        let number = match known {
            Some(number) => number,
            None => {
                self.check_rooms()?;
                self.take_contact_number()
            }
        };
        self.begin_joining(number, joining);
        self.ask_again(turn, number);
        self.outcome(number)
    }

    /// Asks all who were asked and have not refused, if it is time, but for those to whom it is on its way.
    pub(super) fn ask_again(&mut self, turn: Turn<'_>, number: u32) {
        let Some(joining) = self.rooms.joining_mut(number) else { return };
        if !joining.is_due(turn.now) {
            return;
        }
        let (ask, asked) = (joining.ask(), joining.not_refused().collect::<Vec<_>>());
        let inviter = *joining.invitation().inviter();
        let ttl = joining.until().since(turn.now).clamp(TTL_MIN, TTL_MAX);
        let body = ask.to_bytes();
        for address in asked {
            let Some(contact) = self.know_by_address(turn, address) else { continue };
            self.learn_key(turn, contact, inviter);
            if self.outbox.of_rooms().any(|note| note.contact == contact && note.body == body) {
                continue;
            }
            // Whoever does not know us listens where everybody can write.
            self.change_contact(contact, |record| record.established &= record.is_present());
            self.send_note_to(turn, contact, &ask, ttl, Share::Common);
        }
    }

    /// Whatever was here of the log of a room that we were in begins anew; what was said stays, and what has come for a
    /// request before this one.
    fn begin_joining(&mut self, number: u32, joining: Box<Joining>) {
        let known = self.rooms.by_number.remove(&number);
        let unread = known.as_ref().map_or(0, |room| room.unread);
        let joining = match known.map(|room| room.place) {
            Some(Place::Joining(before)) => Box::new(joining.after(*before)),
            _ => joining,
        };
        let (from, to) = (number.to_be_bytes(), number.saturating_add(1).to_be_bytes());
        for drawer in [Drawer::RoomEvents, Drawer::RoomHeld, Drawer::RoomOrder] {
            self.journal.delete_range(drawer, from.to_vec(), to.to_vec());
        }
        self.journal.delete(Drawer::Rooms, super::records::seat_key(number));
        let id = joining.invitation().room();
        let room = OwnRoom { unread, ..OwnRoom::new(id, Place::Joining(joining)) };
        self.rooms.insert(number, room);
        self.write_head(number);
        self.write_room(number);
    }

    /// What somebody may change is judged by the room.
    fn change_of(&self, number: u32, change: RoomChange) -> Result<Change, RoomError> {
        Ok(match change {
            RoomChange::Rename(name) => Change::Rename(name),
            RoomChange::Remove(member) => Change::Remove(self.key_in(number, member)?),
            RoomChange::Appoint { member, role } => {
                Change::Appoint { member: self.key_in(number, member)?, role }
            }
            RoomChange::Decide(policy) => Change::Decide(policy),
            RoomChange::Revoke(token) => Change::Revoke(token),
            RoomChange::Leave => Change::Leave,
        })
    }

    /// The key of somebody who belongs to a room, or has belonged to it.
    fn key_in(&self, number: u32, member: Address) -> Result<PublicKey, RoomError> {
        let seat = self.seat_of(number)?;
        let (members, former) = (seat.state().members().keys(), seat.state().former());
        let mut all = members.chain(former);
        all.find(|key| key.address() == member).copied().ok_or(RoomError::NotThere(member))
    }

    fn change_room(&mut self, turn: Turn<'_>, number: u32, change: Change) -> Result<(), Refusal> {
        let members = self.seat_of(number)?.state().members().len();
        if change != Change::Leave {
            self.check_outbox_for(members, Share::Own)?;
        }
        let room = self.rooms.by_number.get_mut(&number).and_then(OwnRoom::seat_mut);
        let seat = room.ok_or(RoomError::NoRoom)?;
        let steps = seat.change(change, turn.now).map_err(|error| match error {
            LogError::NotEntitled(Refused::NotAMember) => RoomError::NoMember,
            LogError::NotEntitled(why) => RoomError::Refused(why),
            other => RoomError::Log(other),
        })?;
        self.carry(turn, number, steps, Cause::Own)?;
        Ok(())
    }

    fn forget_room(&mut self, turn: Turn<'_>, id: RoomId) -> Result<RoomOutcome, Refusal> {
        let number = self.number_of_room(&id)?;
        let is_member = |room: &OwnRoom| room.seat().is_some_and(Seat::is_member);
        if self.rooms.get(number).is_some_and(is_member) {
            return Err(RoomError::StillMember.into());
        }
        self.withdraw_questions(turn, &id)?;
        self.rooms.by_number.remove(&number);
        self.rooms.by_id.remove(&id);
        self.rooms.untold.retain(|(room, _)| *room != number);
        let drawers = [
            Drawer::Rooms,
            Drawer::RoomEvents,
            Drawer::RoomHeld,
            Drawer::RoomOrder,
            Drawer::Deliveries,
        ];
        let (from, to) = (number.to_be_bytes(), number.saturating_add(1).to_be_bytes());
        for drawer in drawers {
            self.journal.delete_range(drawer, from.to_vec(), to.to_vec());
        }
        self.forget_history(number);
        self.forget_fellows();
        Ok(RoomOutcome::Forgotten(id))
    }

    /// Nobody answers what we have asked about a room that is not here any more, and nobody needs our answers.
    fn withdraw_questions(&mut self, turn: Turn<'_>, id: &RoomId) -> Result<(), StoreError> {
        let is_idle = |body: &[u8]| match Note::from_bytes(body) {
            Ok(note @ (Note::Ask { .. } | Note::Want { .. })) => room_of(&note) == Some(*id),
            Ok(note @ Note::Events(_)) => Note::is_page(body) && room_of(&note) == Some(*id),
            _ => false,
        };
        for number in self.outbox.numbers_of_type(ContentType::ROOM) {
            if self.outbox.get(number).is_some_and(|message| is_idle(&message.body)) {
                self.withdraw(turn, number)?;
            }
        }
        Ok(())
    }

    /// Those who may let somebody in beside us, the highest first.
    fn admitters(&self, number: u32) -> Result<Vec<Address>, RoomError> {
        let state = self.seat_of(number)?.state();
        let me = self.identity.public();
        let others = state.members().iter().filter(|(key, _)| *key != me);
        let mut others: Vec<(Role, PublicKey)> = others
            .filter(|(_, member)| state.policy().allows(member.role))
            .map(|(key, member)| (member.role, *key))
            .collect();
        others.sort_by(|a, b| b.cmp(a));
        Ok(others.into_iter().take(OTHERS_MAX).map(|(_, key)| key.address()).collect())
    }

    fn check_rooms(&self) -> Result<(), RoomError> {
        if self.rooms.by_number.len() >= ROOMS_MAX { Err(RoomError::TooMany) } else { Ok(()) }
    }

    /// Whether a note to each of so many people has room on its way.
    pub(super) fn check_outbox_for(&self, people: usize, share: Share) -> Result<(), Refusal> {
        if self.outbox.of_rooms().count() + people > share.max() {
            return Err(RoomError::OutboxFull.into());
        }
        if self.outbox.len() + people > OUTBOX_MAX {
            return Err(CommandError::OutboxFull(OUTBOX_MAX).into());
        }
        Ok(())
    }

    pub(super) fn number_of_room(&self, id: &RoomId) -> Result<u32, RoomError> {
        self.rooms.number_of(id).ok_or(RoomError::NoRoom)
    }

    /// Our seat in a room, as long as we have one.
    pub(super) fn seat_of(&self, number: u32) -> Result<&Seat, RoomError> {
        let room = self.rooms.get(number).ok_or(RoomError::NoRoom)?;
        room.seat().ok_or(RoomError::NotYet)
    }

    fn outcome(&self, number: u32) -> Result<RoomOutcome, Refusal> {
        let room = self.rooms.get(number).ok_or(RoomError::NoRoom)?;
        Ok(RoomOutcome::Room(self.shown(room)))
    }

    fn draw(&mut self) -> [u8; 32] {
        let mut drawn = [0; 32];
        self.rng.fill_bytes(&mut drawn);
        drawn
    }
}
