//! Who may write to us (PROTOCOL §4.12).
//!
//! [`Agent::door`] is the one place that decides what becomes of a message by who wrote it: it is taken, held
//! until the person has let its author in, or not taken at all. A message that is held is kept as it was
//! opened, and nothing that it says is done before it is taken: then all of it is, as if it had just come.
//! Strangers have bounds of their own, so that a flood of them takes nothing from anybody else.

use crate::address::Address;
use crate::content::Content;
use crate::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use crate::key::PublicKey;
use crate::store::{Store, StoreError};
use crate::time::{Span, Time};

use super::contacts::{removal_at, shown};
use super::entry::MessageNumber;
use super::history::key;
use super::io::{CommandError, Contact, Drawer, Event, Outcome, Refusal, Request};
use super::records::{Admission, ContactRecord, Letter};
use super::{Agent, Turn};

/// The most who wait to be let in. What further strangers write waits in the network.
const ASKING_MAX: usize = 100;
/// Messages of one of them that are held, and the bytes of all of these on disk: four of the longest.
const HELD_MAX: usize = 32;
const HELD_BYTES_MAX: usize = 4 << 16;
/// The most who are refused; of more, those whose time is over first may ask again.
const REFUSED_MAX: usize = 1_000;
/// How long somebody stays refused: as long as what they had written before can wait.
const REFUSED_FOR: Span = Span::from_millis(TTL_MAX.as_millis() + CLOCK_TOLERANCE.as_millis());

/// What becomes of a message by who wrote it.
pub(super) enum Door {
    /// It is taken.
    Open(u32),
    /// It is held, with others of a known number or of somebody new.
    Held(Option<u32>),
    /// It stays where it is, and its author learns nothing.
    Shut,
}

impl Agent {
    /// Those who wait to be let in, the first first, with how much of theirs is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn requests(&self, store: &dyn Store<Drawer>) -> Result<Vec<Request>, StoreError> {
        let mut requests = Vec::new();
        for number in self.people.asking() {
            let Some(record) = self.people.get(*number) else { continue };
            let Admission::Asking { since } = record.admission else { continue };
            let messages = held_rows(store, *number)?.len();
            requests.push(Request { address: record.address, since, messages });
        }
        requests.sort_by_key(|request| (request.since, request.address));
        Ok(requests)
    }

    /// Whom the person has blocked, by name.
    pub fn blocked(&self) -> Vec<Contact> {
        let mut blocked: Vec<_> = self.people.blocked().map(shown).collect();
        blocked.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        blocked
    }

    /// What becomes of what `sender` writes. Whatever has a right of its own to come, whoever its author is, is to
    /// be told apart here.
    pub(super) fn door(&self, sender: &Address, now: Time) -> Door {
        let Some(number) = self.people.number_of(sender) else {
            return if self.has_room_for_request() { Door::Held(None) } else { Door::Shut };
        };
        let admission = self.people.get(number).map(|record| record.admission);
        let is_present = self.people.get(number).is_some_and(ContactRecord::is_present);
        match admission {
            Some(Admission::Admitted) if is_present => Door::Open(number),
            Some(Admission::Asking { .. }) => Door::Held(Some(number)),
            Some(Admission::Refused { until }) if now < until => Door::Shut,
            Some(Admission::Blocked) => Door::Shut,
            // Who was removed, or whose refusal is over, is a stranger.
            _ if self.has_room_for_request() => Door::Held(Some(number)),
            _ => Door::Shut,
        }
    }

    fn has_room_for_request(&self) -> bool {
        self.people.asking().len() < ASKING_MAX
    }

    /// Whether what `sender` writes goes unheard: nothing of it may be acknowledged.
    pub(super) fn is_shut_out(&self, sender: &Address, now: Time) -> bool {
        matches!(self.door(sender, now), Door::Shut)
    }

    /// Holds what a stranger wrote; whether it fits. What does not stays in the network, and its author is not
    /// told that it was delivered.
    pub(super) fn hold(
        &mut self,
        turn: Turn<'_>,
        known: Option<u32>,
        letter: &Letter,
    ) -> Result<bool, StoreError> {
        let held = match known {
            Some(number) => held_rows(turn.store, number)?,
            None => Vec::new(),
        };
        let length: usize = held.iter().map(|(_, value)| value.len()).sum();
        let value = letter.to_bytes().filter(|value| length + value.len() <= HELD_BYTES_MAX);
        let Some(value) = value.filter(|_| held.len() < HELD_MAX) else { return Ok(false) };
        let end = end_of(letter);
        // Its time is over already: it counts as come, and nothing of it is kept.
        if end.is_some_and(|end| end <= turn.now) {
            return Ok(true);
        }
        let contact = self.note_asking(turn, known, letter.sender);
        self.journal.put_readable(Drawer::Requests, key(contact, letter.number.0), value);
        if let Some(end) = end {
            self.note_end(turn, contact, letter.number, end);
        }
        Ok(true)
    }

    /// Whoever wrote is somebody who asks; the person is told so once.
    fn note_asking(&mut self, turn: Turn<'_>, known: Option<u32>, sender: PublicKey) -> u32 {
        let address = sender.address();
        let number = known.unwrap_or_else(|| {
            self.new_contact(ContactRecord {
                key: Some(sender),
                admission: Admission::Asking { since: turn.now },
                ..ContactRecord::new(address, self.people.digits(address))
            })
        });
        let is_told = known.is_some()
            && self
                .people
                .get(number)
                .is_some_and(|record| matches!(record.admission, Admission::Asking { .. }));
        if !is_told {
            self.change_contact(number, |record| {
                record.key = Some(sender);
                record.admission = Admission::Asking { since: turn.now };
            });
            self.promise_event(Event::Requested { contact: address });
        }
        number
    }

    /// Lets somebody in who asked, under a name if the person gives them one.
    pub(super) fn accept(
        &mut self,
        turn: Turn<'_>,
        address: &Address,
        name: Option<String>,
    ) -> Result<Contact, Refusal> {
        let number = self.number_of_asking(address)?;
        if let Some(name) = &name {
            self.check_free_name(name, address)?;
        }
        self.make_room_for_contact()?;
        self.change_contact(number, |record| {
            (record.accepted, record.turned_away) = (true, false);
            if let Some(name) = name {
                (record.name, record.is_named) = (name, true);
            }
        });
        self.admit(turn, number)?;
        Ok(self.contact(address).ok_or(CommandError::NoContact(*address))?)
    }

    /// Forgets what a stranger wrote; what they write next is not taken for a while.
    pub(super) fn refuse(&mut self, turn: Turn<'_>, address: &Address) -> Result<Outcome, Refusal> {
        let number = self.number_of_asking(address)?;
        let messages = held_rows(turn.store, number)?.len();
        let until = turn.now + REFUSED_FOR;
        self.shut_out(number, Admission::Refused { until });
        // To whom something is on its way is not forgotten before it ends; the outbox has a bound.
        let mut silent = self.people.refused().iter().map(|(_, refused)| *refused);
        if self.people.refused().len() > REFUSED_MAX
            && let Some(first) = silent.find(|refused| self.on_their_way(*refused) == 0)
        {
            self.forget_contact(first);
        }
        Ok(Outcome::Refused { contact: *address, messages, until })
    }

    /// Takes nothing of somebody any more. What was said with them stays.
    pub(super) fn block(&mut self, turn: Turn<'_>, address: Address) -> Result<Contact, Refusal> {
        if address == self.address() {
            return Err(CommandError::Own.into());
        }
        let number = match self.people.number_of(&address) {
            Some(number) => number,
            None => self.know_anyway(turn, address)?,
        };
        self.shut_out(number, Admission::Blocked);
        Ok(self.people.get(number).map(shown).ok_or(CommandError::NoContact(address))?)
    }

    /// Takes what somebody writes again: a contact's as before, a stranger's as a stranger's. What was handed over
    /// meanwhile comes again with the next connection.
    pub(super) fn unblock(
        &mut self,
        turn: Turn<'_>,
        address: &Address,
    ) -> Result<Outcome, Refusal> {
        let blocked = self.people.number_of(address).and_then(|number| {
            let record = self.people.get(number)?;
            (record.admission == Admission::Blocked).then(|| (number, record.clone()))
        });
        let (number, record) = blocked.ok_or(CommandError::NotBlocked(*address))?;
        let is_contact = record.was_turned_to() && !record.turned_away;
        if is_contact {
            self.change_contact(number, |record| record.admission = Admission::Admitted);
            self.open_conversation(turn, number);
        } else if self.on_their_way(number) > 0 {
            // As after their removal: what was written to them goes on, and is theirs.
            self.change_contact(number, |record| {
                (record.admission, record.turned_away) = (Admission::Admitted, true);
                record.removed_at = Some(removal_at(turn));
            });
            self.open_conversation(turn, number);
        } else {
            self.forget_contact(number);
            self.open_conversation(turn, number);
        }
        Ok(Outcome::Unblocked { contact: *address, is_contact })
    }

    /// The person turns to somebody we know: a contact from now on, and what was held of theirs is taken.
    pub(super) fn admit(&mut self, turn: Turn<'_>, number: u32) -> Result<(), Refusal> {
        let Some(record) = self.people.get(number) else { return Ok(()) };
        match record.admission {
            _ if record.is_present() => return Ok(()),
            Admission::Blocked => return Err(CommandError::Blocked(record.address).into()),
            Admission::Admitted => {
                self.change_contact(number, |record| record.removed_at = None);
                return Ok(());
            }
            Admission::Asking { .. } | Admission::Refused { .. } | Admission::Stranger => {}
        }
        let (address, is_named) = (record.address, record.is_named);
        self.make_room_for_contact()?;
        let name = self.people.digits(address);
        self.change_contact(number, |record| {
            (record.admission, record.removed_at) = (Admission::Admitted, None);
            if !is_named {
                record.name = name;
            }
        });
        self.open_conversation(turn, number);
        // With mailboxes that it did not have the node hands over anew what did not fit.
        self.take_held(turn, number)?;
        Ok(())
    }

    /// All that was held of somebody happens now, in the order in which it came.
    fn take_held(&mut self, turn: Turn<'_>, contact: u32) -> Result<(), StoreError> {
        for letter in self.held_letters(turn, contact)? {
            self.on_message(turn, contact, letter)?;
        }
        Ok(())
    }

    /// All that was held of somebody, in the order in which it came; it is held no more.
    pub(super) fn held_letters(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
    ) -> Result<Vec<Letter>, StoreError> {
        let mut letters = Vec::new();
        for (row, value) in held_rows(turn.store, contact)? {
            let number = row.last_chunk().ok_or(StoreError::Damaged("requests"))?;
            let number = MessageNumber(u64::from_be_bytes(*number));
            let letter = Letter::from_bytes(number, &value)?;
            // By a clock that was set back it came in the future.
            letters.push(Letter { came_at: letter.came_at.min(turn.now), ..letter });
            self.journal.delete(Drawer::Requests, row);
        }
        Ok(letters)
    }

    /// A message that is held is to disappear.
    pub(super) fn forget_held(&mut self, contact: u32, number: MessageNumber) {
        self.journal.delete(Drawer::Requests, key(contact, number.0));
    }

    pub(super) fn is_held(
        &self,
        turn: Turn<'_>,
        contact: u32,
        number: MessageNumber,
    ) -> Result<bool, StoreError> {
        let row = key(contact, number.0);
        Ok(self.journal.get(turn.store, Drawer::Requests, &row)?.is_some())
    }

    /// Nothing of somebody is collected or held any more.
    fn shut_out(&mut self, number: u32, admission: Admission) {
        let next = number.saturating_add(1);
        self.journal.delete_range(Drawer::Requests, key(number, 0), key(next, 0));
        self.change_contact(number, |record| {
            (record.admission, record.removed_at) = (admission, None);
        });
        // What they say in a room with us comes all the same, unless they are blocked.
        if !self.people.get(number).is_some_and(ContactRecord::is_listened_to) {
            self.close_conversation(number);
        }
    }

    /// Whether nothing can be said to somebody.
    pub(super) fn is_blocked(&self, contact: u32) -> bool {
        self.people.get(contact).is_some_and(|record| record.admission == Admission::Blocked)
    }

    fn number_of_asking(&self, address: &Address) -> Result<u32, CommandError> {
        let number = self.people.number_of(address);
        let asks = number.filter(|number| self.people.asking().contains(number));
        asks.ok_or(CommandError::NoRequest(*address))
    }

    /// Those whose refusal is over are forgotten: they are strangers like all others.
    pub(super) fn forget_refused(&mut self, now: Time) {
        while let Some((until, number)) = self.people.refused().first().copied()
            && until <= now
        {
            self.forget_contact(number);
        }
    }
}

/// All that is held of somebody, in the order in which it came.
fn held_rows(
    store: &dyn Store<Drawer>,
    contact: u32,
) -> Result<Vec<crate::store::Entry>, StoreError> {
    let next = contact.saturating_add(1);
    store.scan(Drawer::Requests, &key(contact, 0), &key(next, 0), HELD_MAX)
}

/// When a message is to disappear that is held, if it is: at the time at which it would if it were not.
fn end_of(letter: &Letter) -> Option<Time> {
    let payload = &letter.payload;
    let lifetime = match Content::read(payload.content_type, payload.body.clone()) {
        Content::Text(text) => text.lifetime,
        Content::Edit { lifetime, .. } => lifetime,
        _ => None,
    };
    lifetime.map(|lifetime| payload.sent_at.min(letter.came_at) + lifetime)
}
