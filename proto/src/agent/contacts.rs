//! The people we know.
//!
//! Entry type is [`People`]. A contact is an address; its key is taken from a card or a link and
//! checked against the address, so it can never be another's.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::conversation::Conversation;
use crate::identity::Identity;
use crate::key::PublicKey;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::io::{Command, CommandError, CommandId, Contact, Drawer, Outcome, Output};
use super::records::ContactRecord;
use super::{Agent, Promise, Turn, read_all};

/// The most contacts.
const CONTACTS_MAX: usize = 10_000;
/// The longest name in characters.
const NAME_MAX: usize = 64;

/// Everybody we know, by the numbers this store gave them.
#[derive(Debug, Default)]
pub(super) struct People {
    records: BTreeMap<u32, ContactRecord>,
    by_address: BTreeMap<Address, u32>,
    conversations: BTreeMap<u32, Conversation>,
    /// Whose card is being looked up, or was not found: when to look again.
    lookups: BTreeMap<u32, CardLookup>,
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
    pub(super) fn read(turn: Turn<'_>) -> Result<Self, StoreError> {
        let mut people = Self::default();
        for (key, value) in read_all(turn, Drawer::Contacts)? {
            let number = key.try_into().map(u32::from_be_bytes);
            let number = number.map_err(|_| StoreError::Damaged("contacts"))?;
            people.insert(number, ContactRecord::from_bytes(&value)?);
        }
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

    fn insert(&mut self, number: u32, record: ContactRecord) {
        self.by_address.insert(record.address, number);
        self.records.insert(number, record);
    }

    fn next_number(&self) -> u32 {
        self.records.last_key_value().map_or(1, |(number, _)| number + 1)
    }

    fn find_name(&self, name: &str) -> Option<u32> {
        self.records.iter().find(|(_, record)| record.name == name).map(|(number, _)| *number)
    }
}

impl Agent {
    /// Everybody we know, by name.
    pub fn contacts(&self) -> Vec<Contact> {
        let mut contacts: Vec<_> = self.people.records.values().map(shown).collect();
        contacts.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        contacts
    }

    /// The person wants something.
    pub(super) fn on_command(
        &mut self,
        turn: Turn<'_>,
        id: CommandId,
        command: Command,
    ) -> Result<(), StoreError> {
        let result = match command {
            Command::AddContact { name, address, key } => {
                self.add_contact(turn, name, address, key).map(Outcome::Contact)
            }
            Command::Send { to, content_type, body, ttl } => {
                self.send(turn, to, content_type, body, ttl).map(Outcome::Queued)
            }
            Command::Cancel(number) => return self.on_cancel(turn, id, number),
        };
        self.journal.promise(Promise::Output(Output::Done { id, result }));
        Ok(())
    }

    /// The number of whoever has this address; they become a contact if they were none.
    pub(super) fn know(&mut self, address: Address) -> Result<u32, CommandError> {
        if address == self.address() {
            return Err(CommandError::Own);
        }
        if let Some(number) = self.people.number_of(&address) {
            return Ok(number);
        }
        if self.people.records.len() >= CONTACTS_MAX {
            return Err(CommandError::TooManyContacts(CONTACTS_MAX));
        }
        let number = self.people.next_number();
        // Strangers go by the first digits of their address until they are given a name.
        let name = address.to_string()[..8].to_owned();
        self.write_contact(number, ContactRecord::new(address, name));
        Ok(number)
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
            self.refresh_mailboxes(turn);
        }
    }

    fn add_contact(
        &mut self,
        turn: Turn<'_>,
        name: String,
        address: Address,
        key: Option<PublicKey>,
    ) -> Result<Contact, CommandError> {
        check_name(&name)?;
        if key.is_some_and(|key| key.address() != address) {
            return Err(CommandError::WrongKey);
        }
        if let Some(other) = self.people.find_name(&name)
            && self.people.number_of(&address) != Some(other)
        {
            return Err(CommandError::NameTaken(name));
        }
        let number = self.know(address)?;
        self.change_contact(number, |record| {
            record.name = name;
            record.is_named = true;
        });
        if let Some(key) = key {
            self.learn_key(turn, number, key);
        }
        self.people.get(number).map(shown).ok_or(CommandError::Own)
    }

    fn write_contact(&mut self, number: u32, record: ContactRecord) {
        let key = number.to_be_bytes().to_vec();
        self.journal.put(Drawer::Contacts, key, record.to_bytes());
        self.people.insert(number, record);
    }
}

fn shown(record: &ContactRecord) -> Contact {
    Contact {
        name: record.name.clone(),
        address: record.address,
        key: record.key,
        is_named: record.is_named,
    }
}

/// A name must be typeable as `NAME: text` and must not look like an address.
fn check_name(name: &str) -> Result<(), CommandError> {
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
