//! The people of rooms, as people to write to.
//!
//! Whoever is in a room with us is known by their key, and the mailboxes of the conversation with them are open, so
//! that what they say in the room comes. That makes nobody a contact: what they write to us alone asks first
//! (PROTOCOL §4.12).

use crate::address::Address;
use crate::agent::contacts::digits;
use crate::agent::records::{Admission, ContactRecord};
use crate::agent::{Agent, Turn};
use crate::key::PublicKey;

use super::{OwnRoom, Place};

impl Agent {
    /// The number of somebody who is in a room with us, and listens to us as we do to them. Nothing for ourselves, or if no
    /// more people fit.
    pub(super) fn know_fellow(&mut self, turn: Turn<'_>, key: &PublicKey) -> Option<u32> {
        let known = self.people.number_of(&key.address()).and_then(|known| self.people.get(known));
        let is_news = known.is_none_or(|record| !record.is_fellow || record.key.is_none());
        let number = self.know_by_address(turn, key.address())?;
        if is_news {
            self.learn_key(turn, number, *key);
            // They listen to all who are in the room.
            self.change_contact(number, |record| record.established = true);
        }
        Some(number)
    }

    /// The number of somebody whom an invitation names, who does not know us yet.
    pub(super) fn know_by_address(&mut self, turn: Turn<'_>, address: Address) -> Option<u32> {
        if address == self.address() {
            return None;
        }
        if let Some(number) = self.people.number_of(&address) {
            if self.people.get(number).is_some_and(|record| !record.is_fellow) {
                self.change_contact(number, |record| record.is_fellow = true);
                self.open_conversation(turn, number);
            }
            return Some(number);
        }
        self.make_room_for_contact().ok()?;
        let name = self.people.digits(address);
        let (is_fellow, admission) = (true, Admission::Stranger);
        Some(self.new_contact(ContactRecord {
            is_fellow,
            admission,
            ..ContactRecord::new(address, name)
        }))
    }

    /// Everybody who belongs to a room is known from now on.
    pub(super) fn know_members(&mut self, turn: Turn<'_>, number: u32) {
        let Some(seat) = self.rooms.get(number).and_then(OwnRoom::seat) else { return };
        let is_unknown = |key: &PublicKey| {
            let known = self.people.number_of(&key.address());
            let known = known.and_then(|number| self.people.get(number));
            known.is_none_or(|record| !record.is_fellow || record.key.is_none())
        };
        let members: Vec<_> = seat.state().members().keys().copied().filter(is_unknown).collect();
        for key in members {
            self.know_fellow(turn, &key);
        }
    }

    /// Whoever is in no room with us any more is forgotten, unless they are more than that.
    pub(in crate::agent) fn forget_fellows(&mut self) {
        let fellows: Vec<_> = self.people.fellows().collect();
        for number in fellows {
            let Some(address) = self.people.get(number).map(|record| record.address) else {
                continue;
            };
            if self.is_in_a_room(&address) || self.on_their_way(number) > 0 {
                continue;
            }
            self.change_contact(number, |record| record.is_fellow = false);
            let stays = self.people.get(number).is_some_and(ContactRecord::is_listened_to);
            if !stays {
                self.close_conversation(number);
            }
            let is_stranger =
                self.people.get(number).is_some_and(|r| r.admission == Admission::Stranger);
            if is_stranger {
                self.forget_contact(number);
            }
        }
    }

    /// Whether somebody belongs to a room of ours, has belonged to it, or is asked to let us in.
    fn is_in_a_room(&self, address: &Address) -> bool {
        self.rooms.by_number.values().any(|room| match &room.place {
            Place::Seat(seat) => {
                let is_theirs = |key: &PublicKey| key.address() == *address;
                let state = seat.state();
                state.members().keys().any(is_theirs) || state.former().any(is_theirs)
            }
            Place::Joining(joining) => joining.asked().any(|asked| asked == *address),
        })
    }

    /// What we call somebody: the name that we gave them, or what stands for one.
    pub(super) fn name_of(&self, address: &Address) -> String {
        match self.people.number_of(address).and_then(|number| self.people.get(number)) {
            Some(record) if record.is_present() && record.is_named => record.name.clone(),
            _ => digits(*address),
        }
    }
}
