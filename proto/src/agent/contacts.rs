//! The people we know.
//!
//! Entry type is [`People`]. A contact is an address; its key is taken from a card or a link and
//! checked against the address, so it can never be another's.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::conversation::Conversation;
use crate::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use crate::identity::Identity;
use crate::key::PublicKey;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::io::{
    CommandError, Comparison, Contact, Drawer, NOTE_MAX, Outcome, ReceiptRule, Refusal, Standing,
};
use super::outbox::Outbox;
use super::records::{Admission, ContactRecord, Timing};
use super::ties::Tie;
use super::{Agent, Turn, read_all};

/// The most contacts.
const CONTACTS_MAX: usize = 10_000;
/// The longest name in characters.
pub(crate) const NAME_MAX: usize = 64;
/// How long a removed contact is listened to: as long as what they wrote before can wait.
const LISTENED_AFTER: Span = Span::from_millis(TTL_MAX.as_millis() + CLOCK_TOLERANCE.as_millis());

/// Where the next contact's number is kept.
const NEXT_CONTACT: &[u8] = b"next-contact";

/// Everybody we know, by the numbers this store gave them.
#[derive(Debug, Default)]
pub(super) struct People {
    records: BTreeMap<u32, ContactRecord>,
    by_address: BTreeMap<Address, u32>,
    conversations: BTreeMap<u32, Conversation>,
    /// Whose card is being looked up, or was not found: when to look again.
    lookups: BTreeMap<u32, CardLookup>,
    /// Contacts that the person removed, the first removed first.
    removed: BTreeSet<(Time, u32)>,
    /// Those who wait to be let in.
    asking: BTreeSet<u32>,
    /// Those who were refused, the first whose time is over first.
    refused: BTreeSet<(Time, u32)>,
    /// When they were last heard of since the program started.
    heard: BTreeMap<u32, Time>,
    /// No number from here on was ever given to anybody. Whatever is kept under the number of somebody who was
    /// forgotten is thus nobody else's.
    next: u32,
}

/// Where the search for one card stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum CardLookup {
    /// Asked; the answer is to come.
    Asked {
        /// How often it was not found before.
        failures: u32,
    },
    /// Not found.
    Failed {
        /// When to ask again.
        again_at: Time,
        /// How often it was not found.
        failures: u32,
    },
}

impl People {
    /// `outbox` has messages of contacts that an older program, which did not write down the next number, may
    /// have forgotten.
    pub(super) fn read(turn: Turn<'_>, outbox: &Outbox) -> Result<Self, StoreError> {
        let mut people = Self { next: read_next(turn)?, ..Self::default() };
        for (key, value) in read_all(turn, Drawer::Contacts)? {
            let number = key.try_into().map(u32::from_be_bytes);
            let number = number.map_err(|_| StoreError::Damaged("contacts"))?;
            let tie = turn.store.get(Drawer::Ties, &number.to_be_bytes())?;
            let tie = tie.map(|tie| Tie::from_bytes(&tie)).transpose()?.unwrap_or_default();
            people.insert(number, ContactRecord { tie, ..ContactRecord::from_bytes(&value)? });
        }
        let known = people.records.keys().copied().chain(outbox.contacts()).max();
        people.next = people.next.max(known.map_or(1, |number| number.saturating_add(1)));
        Ok(people)
    }

    pub(super) fn get(&self, number: u32) -> Option<&ContactRecord> {
        self.records.get(&number)
    }

    pub(super) fn number_of(&self, address: &Address) -> Option<u32> {
        self.by_address.get(address).copied()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.records.keys().copied()
    }

    /// The conversation with a contact whose key is known.
    pub(super) fn conversation(&mut self, ours: &Identity, number: u32) -> Option<&Conversation> {
        if !self.conversations.contains_key(&number) {
            let key = self.records.get(&number)?.key?;
            self.conversations.insert(number, Conversation::new(ours, &key)?);
        }
        self.conversations.get(&number)
    }

    pub(super) fn lookup(&self, number: u32) -> Option<CardLookup> {
        self.lookups.get(&number).copied()
    }

    pub(super) fn note_asked(&mut self, number: u32) {
        let failures = self.failures(number);
        self.lookups.insert(number, CardLookup::Asked { failures });
    }

    /// The card was not found: ask again after 1 s, 2 s, … at most 10 minutes.
    pub(super) fn note_not_found(&mut self, number: u32, now: Time) {
        let failures = self.failures(number);
        let wait = Span::from_secs(1).times(1 << failures.min(10)).min(Span::from_mins(10));
        let (again_at, failures) = (now + wait, failures.saturating_add(1));
        self.lookups.insert(number, CardLookup::Failed { again_at, failures });
    }

    /// When the card may be asked for again; `otherwise` where nothing stands against it.
    pub(super) fn seek_again_at(&self, number: u32, otherwise: Time) -> Time {
        match self.lookups.get(&number) {
            Some(CardLookup::Failed { again_at, .. }) => (*again_at).min(otherwise),
            _ => otherwise,
        }
    }

    pub(super) fn note_found(&mut self, number: u32) {
        self.lookups.remove(&number);
    }

    /// The link is gone: everything is to be asked again.
    pub(super) fn interrupt(&mut self) {
        self.lookups.clear();
    }

    fn failures(&self, number: u32) -> u32 {
        match self.lookups.get(&number) {
            Some(CardLookup::Asked { failures } | CardLookup::Failed { failures, .. }) => *failures,
            None => 0,
        }
    }

    pub(super) fn note_heard(&mut self, number: u32, now: Time) {
        self.heard.insert(number, now);
    }

    fn insert(&mut self, number: u32, record: ContactRecord) {
        self.unmark(number);
        self.removed.extend(record.removed_at.map(|at| (at, number)));
        match record.admission {
            Admission::Asking { .. } => drop(self.asking.insert(number)),
            Admission::Refused { until } => drop(self.refused.insert((until, number))),
            Admission::Admitted | Admission::Blocked | Admission::Stranger => {}
        }
        self.by_address.insert(record.address, number);
        self.records.insert(number, record);
    }

    fn unmark(&mut self, number: u32) {
        let Some(record) = self.records.get(&number) else { return };
        if let Some(at) = record.removed_at {
            self.removed.remove(&(at, number));
        }
        match record.admission {
            Admission::Asking { .. } => drop(self.asking.remove(&number)),
            Admission::Refused { until } => drop(self.refused.remove(&(until, number))),
            Admission::Admitted | Admission::Blocked | Admission::Stranger => {}
        }
    }

    fn forget(&mut self, number: u32) {
        self.unmark(number);
        if let Some(record) = self.records.remove(&number) {
            self.by_address.remove(&record.address);
        }
        self.conversations.remove(&number);
        self.lookups.remove(&number);
        self.heard.remove(&number);
    }

    /// A contact has another address from now on, which is still to be written down.
    pub(super) fn rename(&mut self, number: u32) {
        if let Some(record) = self.records.get(&number) {
            self.by_address.remove(&record.address);
        }
        self.conversations.remove(&number);
        self.lookups.remove(&number);
    }

    /// The contact who had such a key.
    pub(super) fn who_had(&self, is: impl Fn(&PublicKey) -> bool) -> Option<(u32, &ContactRecord)> {
        let had =
            |record: &ContactRecord| record.is_present() && record.tie.former().iter().any(&is);
        self.records
            .iter()
            .find(|(_, record)| had(record))
            .map(|(number, record)| (*number, record))
    }

    /// Contacts who are to be told that we have another key.
    pub(super) fn owed(&self) -> impl Iterator<Item = u32> {
        let is_owed = |record: &ContactRecord| record.is_chosen() && record.tie.is_owed;
        self.records.iter().filter(move |(_, record)| is_owed(record)).map(|(number, _)| *number)
    }

    /// Contacts to whom the person wrote or gave a name, and who have written. Who only acknowledges may not have let
    /// us in; whom we have only let in is told nothing by that.
    pub(super) fn acquainted(&self) -> impl Iterator<Item = (u32, &ContactRecord)> {
        let all = self.records.iter().map(|(number, record)| (*number, record));
        all.filter(|(_, record)| record.is_sought() && !record.received.is_empty())
    }

    fn find_name(&self, name: &str) -> Option<u32> {
        // Who was blocked keeps the name; strangers have none that could be taken from anybody.
        let has_name =
            |record: &ContactRecord| record.is_present() || record.admission == Admission::Blocked;
        let named = |record: &ContactRecord| has_name(record) && record.name == name;
        self.records.iter().find(|(_, record)| named(record)).map(|(number, _)| *number)
    }

    /// A contact that was not removed.
    fn present(&self, address: &Address) -> Option<(u32, &ContactRecord)> {
        let number = self.number_of(address)?;
        let record = self.records.get(&number).filter(|record| record.is_present())?;
        Some((number, record))
    }

    /// Those who wait to be let in.
    pub(super) fn asking(&self) -> &BTreeSet<u32> {
        &self.asking
    }

    /// Those who were refused, the first whose time is over first.
    pub(super) fn refused(&self) -> &BTreeSet<(Time, u32)> {
        &self.refused
    }

    /// Those who are known from rooms, whatever else they are.
    pub(super) fn fellows(&self) -> impl Iterator<Item = u32> {
        self.records.iter().filter(|(_, record)| record.is_fellow).map(|(number, _)| *number)
    }

    /// Those who were blocked.
    pub(super) fn blocked(&self) -> impl Iterator<Item = &ContactRecord> {
        self.records.values().filter(|record| record.admission == Admission::Blocked)
    }

    /// Everybody but strangers, who are counted by themselves so that they take nobody's place.
    pub(super) fn acquaintances(&self) -> usize {
        self.records.len() - self.asking.len() - self.refused.len()
    }

    /// What somebody goes by who has been given no name: the first digits of the address, unless somebody
    /// else is called so.
    pub(super) fn digits(&self, address: Address) -> String {
        let digits = digits(address);
        match self.find_name(&digits) {
            Some(other) if self.number_of(&address) != Some(other) => address.to_string(),
            _ => digits,
        }
    }
}

impl Agent {
    /// Everybody we know, by name.
    pub fn contacts(&self) -> Vec<Contact> {
        let present = self.people.records.values().filter(|record| record.is_present());
        let mut contacts: Vec<_> = present.map(shown).collect();
        contacts.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        contacts
    }

    /// Whoever has this address, if they are a contact.
    pub fn contact(&self, address: &Address) -> Option<Contact> {
        self.people.present(address).map(|(_, record)| shown(record))
    }

    /// Where each conversation stands, by name.
    pub fn standings(&self) -> Vec<Standing> {
        let newest = self.newest_by_contact();
        let standing = |contact: Contact| {
            let number = self.people.number_of(&contact.address).unwrap_or_default();
            let heard_at = self.people.heard.get(&number).copied();
            Standing { contact, newest: newest.get(&number).copied(), heard_at }
        };
        self.contacts().into_iter().map(standing).collect()
    }

    /// The number of whoever has this address and whom the person turns to; they become a contact if they
    /// were none. A key that a contact has left is nobody's, unless the person has let it in.
    pub(super) fn know(&mut self, turn: Turn<'_>, address: Address) -> Result<u32, Refusal> {
        self.check_not_left(address)?;
        self.know_anyway(turn, address)
    }

    /// As [`Self::know`], also for a key that a contact has left.
    pub(super) fn know_anyway(&mut self, turn: Turn<'_>, address: Address) -> Result<u32, Refusal> {
        if address == self.address() {
            return Err(CommandError::Own.into());
        }
        if let Some(number) = self.people.number_of(&address) {
            self.admit(turn, number)?;
            return Ok(number);
        }
        self.make_room_for_contact()?;
        Ok(self.new_contact(ContactRecord::new(address, self.people.digits(address))))
    }

    /// Makes sure that one more contact fits.
    pub(super) fn make_room_for_contact(&mut self) -> Result<(), CommandError> {
        if self.people.acquaintances() >= CONTACTS_MAX && !self.forget_first_removed() {
            return Err(CommandError::TooManyContacts(CONTACTS_MAX));
        }
        Ok(())
    }

    /// Writes down somebody who was not known. The caller has made room.
    pub(super) fn new_contact(&mut self, record: ContactRecord) -> u32 {
        let number = self.take_contact_number();
        self.write_contact(number, record);
        number
    }

    /// A number that nobody has had, and no room.
    pub(super) fn take_contact_number(&mut self) -> u32 {
        let number = self.people.next;
        // There are more than a person could accept or refuse in a century, one each second.
        self.people.next = number.saturating_add(1);
        let next = self.people.next.to_be_bytes().to_vec();
        self.journal.put(Drawer::Meta, NEXT_CONTACT.to_vec(), next);
        number
    }

    /// Forgets removed contacts whose last letters cannot wait anywhere any more.
    pub(super) fn forget_removed(&mut self, now: Time) {
        while let Some((removed_at, number)) = self.people.removed.first().copied()
            && removed_at + LISTENED_AFTER <= now
        {
            if self.people.asking.contains(&number) {
                // Nobody has seen yet what they wrote: only their old mailboxes end.
                self.change_contact(number, |record| record.removed_at = None);
                self.close_conversation(number);
            } else {
                self.forget_contact(number);
            }
        }
    }

    /// Changes a contact and writes it down.
    pub(super) fn change_contact(&mut self, number: u32, change: impl FnOnce(&mut ContactRecord)) {
        if let Some(mut record) = self.people.get(number).cloned() {
            change(&mut record);
            self.write_contact(number, record);
        }
    }

    /// Learns the key of a contact; a key that is not theirs is ignored.
    pub(super) fn learn_key(&mut self, turn: Turn<'_>, number: u32, key: PublicKey) {
        let Some(record) = self.people.get(number) else { return };
        if record.key.is_none() && record.address == key.address() {
            self.change_contact(number, |record| record.key = Some(key));
            self.open_conversation(turn, number);
        }
    }

    pub(super) fn add_contact(
        &mut self,
        turn: Turn<'_>,
        name: String,
        address: Address,
        key: Option<PublicKey>,
    ) -> Result<Contact, Refusal> {
        self.check_free_name(&name, &address)?;
        if key.is_some_and(|key| key.address() != address) {
            return Err(CommandError::WrongKey.into());
        }
        let known = self.people.number_of(&address).and_then(|number| self.people.get(number)?.key);
        if known.zip(key).is_some_and(|(known, key)| known != key) {
            return Err(CommandError::WrongKey.into());
        }
        let number = self.know(turn, address)?;
        let was_sought = self.people.get(number).is_some_and(ContactRecord::is_sought);
        self.change_contact(number, |record| {
            record.name = name;
            (record.is_named, record.turned_away) = (true, false);
        });
        if !was_sought {
            self.widen_collection(turn, number);
        }
        if let Some(key) = key {
            self.learn_key(turn, number, key);
        }
        Ok(self.people.get(number).map(shown).ok_or(CommandError::Own)?)
    }

    /// Whether this address can have this name.
    pub(super) fn check_free_name(
        &self,
        name: &str,
        address: &Address,
    ) -> Result<(), CommandError> {
        check_name(name)?;
        match self.people.find_name(name) {
            Some(other) if self.people.number_of(address) != Some(other) => {
                Err(CommandError::NameTaken(name.to_owned()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn note_contact(
        &mut self,
        address: &Address,
        note: String,
    ) -> Result<Contact, CommandError> {
        if note.chars().count() > NOTE_MAX || note.chars().any(char::is_control) {
            return Err(CommandError::Note);
        }
        let Some((number, _)) = self.people.present(address) else {
            return Err(CommandError::NoContact(*address));
        };
        self.change_contact(number, |record| record.note = note);
        self.contact(address).ok_or(CommandError::NoContact(*address))
    }

    /// Wants no notice of what somebody says any more, or wants it again.
    pub(super) fn mute(&mut self, address: &Address, muted: bool) -> Result<Contact, CommandError> {
        let contact = self.number_of_present(address)?;
        self.change_contact(contact, |record| record.muted = muted);
        self.contact(address).ok_or(CommandError::NoContact(*address))
    }

    /// Notes what came of comparing the safety number with somebody.
    pub(super) fn compare(
        &mut self,
        turn: Turn<'_>,
        address: &Address,
        comparison: Comparison,
    ) -> Result<Contact, CommandError> {
        let number = self.number_of_present(address)?;
        if self.people.get(number).is_none_or(|record| record.key.is_none()) {
            return Err(CommandError::NoKey(*address));
        }
        let compared_at = (comparison == Comparison::Same).then_some(turn.now);
        self.change_contact(number, |record| record.compared_at = compared_at);
        self.contact(address).ok_or(CommandError::NoContact(*address))
    }

    /// Name, note, card and history go at once. The key and the counts stay for as long as something
    /// they wrote can wait, so that it is read and acknowledged like a stranger's (PROTOCOL §4.8).
    pub(super) fn remove_contact(
        &mut self,
        turn: Turn<'_>,
        address: &Address,
    ) -> Result<Outcome, CommandError> {
        let Some((number, record)) = self.people.present(address) else {
            return Err(CommandError::NoContact(*address));
        };
        let contact = shown(record);
        let changed = ContactRecord {
            name: digits(*address),
            is_named: false,
            accepted: false,
            turned_away: true,
            note: String::new(),
            removed_at: Some(removal_at(turn)),
            card: None,
            timer: Timing::default(),
            receipts: ReceiptRule::default(),
            unread: 0,
            muted: false,
            compared_at: None,
            tie: Tie::default(),
            ..record.clone()
        };
        self.write_contact(number, changed);
        self.forget_history(number);
        Ok(Outcome::Removed { contact, on_their_way: self.on_their_way(number) })
    }

    /// The number of a contact that was not removed.
    pub(super) fn number_of_present(&self, address: &Address) -> Result<u32, CommandError> {
        let present = self.people.present(address).map(|(number, _)| number);
        present.ok_or(CommandError::NoContact(*address))
    }

    /// Makes room for a new contact by the one that was removed first and is written nothing. Who asks takes no
    /// contact's place, so that forgetting them would make none.
    fn forget_first_removed(&mut self) -> bool {
        let removed = self.people.removed.iter().map(|(_, number)| *number);
        let mut silent = removed.filter(|number| !self.people.asking.contains(number));
        let Some(number) = silent.find(|number| self.on_their_way(*number) == 0) else {
            return false;
        };
        self.forget_contact(number);
        true
    }

    /// Whoever is in a room with us is known from there and from nowhere else any more.
    pub(super) fn forget_contact(&mut self, number: u32) {
        let fellow = self.people.get(number).filter(|record| record.is_fellow);
        if let Some(record) = fellow.cloned() {
            let (key, established) = (record.key, record.established);
            let (sent, previous, received) = (record.sent, record.previous, record.received);
            let (is_fellow, admission) = (true, Admission::Stranger);
            // What was written to them before makes them no contact any more.
            let (is_only_told, turned_away) = (record.is_only_told, true);
            let blank = ContactRecord::new(record.address, digits(record.address));
            self.write_contact(
                number,
                ContactRecord {
                    key,
                    card: record.card,
                    established,
                    sent,
                    is_only_told,
                    turned_away,
                    previous,
                    received,
                    is_fellow,
                    admission,
                    ..blank
                },
            );
            return self.forget_history(number);
        }
        self.people.forget(number);
        self.close_conversation(number);
        self.journal.delete(Drawer::Contacts, number.to_be_bytes().to_vec());
        self.journal.delete(Drawer::Ties, number.to_be_bytes().to_vec());
        self.forget_history(number);
    }

    fn write_contact(&mut self, number: u32, record: ContactRecord) {
        let key = number.to_be_bytes().to_vec();
        let known = self.people.get(number).map(|known| &known.tie);
        if known.map_or(record.tie != Tie::default(), |known| *known != record.tie) {
            self.journal.put(Drawer::Ties, key.clone(), record.tie.to_bytes());
        }
        self.journal.put(Drawer::Contacts, key, record.to_bytes());
        self.people.insert(number, record);
    }
}

pub(super) fn shown(record: &ContactRecord) -> Contact {
    Contact {
        name: record.name.clone(),
        address: record.address,
        key: record.key,
        is_named: record.is_named,
        note: record.note.clone(),
        lifetime: record.timer.lifetime,
        unread: record.unread,
        receipts: record.receipts,
        muted: record.muted,
        compared_at: record.compared_at,
        profile: record.tie.profile.clone(),
        former: record.tie.former().iter().map(PublicKey::address).collect(),
        doubt: record.tie.doubt,
    }
}

/// When somebody counts as removed who is removed now: 0 says on disk that nobody was.
pub(super) fn removal_at(turn: Turn<'_>) -> Time {
    turn.now.max(Time::from_millis(1))
}

fn read_next(turn: Turn<'_>) -> Result<u32, StoreError> {
    let Some(value) = turn.store.get(Drawer::Meta, NEXT_CONTACT)? else { return Ok(1) };
    let bytes = value.try_into().map_err(|_| StoreError::Damaged("meta"))?;
    Ok(u32::from_be_bytes(bytes))
}

/// What strangers go by until they are given a name: the first digits of their address.
pub(super) fn digits(address: Address) -> String {
    address.to_string()[..8].to_owned()
}

/// A name must be typeable as `NAME: text` and must not look like an address.
pub(crate) fn check_name(name: &str) -> Result<(), CommandError> {
    let length = name.chars().count();
    let typeable = name.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != ':');
    let ambiguous = name.starts_with('/') || name.parse::<Address>().is_ok();
    if (1..=NAME_MAX).contains(&length) && typeable && !ambiguous {
        Ok(())
    } else {
        Err(CommandError::Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_typed_or_told_apart_are_refused() {
        for good in ["ann", "Jörg", "a.b-c_d", "日本"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let address = "a".repeat(40);
        let long = "x".repeat(65);
        for bad in ["", "a b", "a:b", "/help", "a\u{1b}b", &address, &long] {
            assert_eq!(check_name(bad), Err(CommandError::Name), "{bad}");
        }
    }
}
