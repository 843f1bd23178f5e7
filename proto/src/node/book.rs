//! Endpoints of nodes that have answered us, beside those in the table.
//!
//! Entry type is [`Book`] (PROTOCOL §5.3). A region lies far from our own place, so its nodes are
//! seldom in our table, yet an acknowledgement must find its way back to them.

use std::collections::VecDeque;

use crate::address::Address;
use crate::contact::Contact;

/// Room for so many more is made at a time.
const GROWTH: usize = 16;

/// A bounded list of contacts; the one noted first goes first.
#[derive(Debug)]
pub(super) struct Book {
    /// In the order of their addresses, whose beginnings stand beside them: compared without a look
    /// at the contacts, which lie all over the memory.
    contacts: Vec<(u64, Contact)>,
    order: VecDeque<Contact>,
    max: usize,
}

impl Book {
    pub(super) fn new(max: usize) -> Self {
        Self { contacts: Vec::new(), order: VecDeque::new(), max }
    }

    /// Notes a contact that has answered, or its newest endpoints.
    pub(super) fn note(&mut self, contact: &Contact) {
        let address = contact.address();
        match self.place_of(&address) {
            Ok(place) => self.contacts[place].1 = contact.clone(),
            Err(place) => {
                self.make_room();
                self.contacts.insert(place, (address.top_bits(), contact.clone()));
                self.order.push_back(contact.clone());
            }
        }
        if self.order.len() > self.max {
            let oldest = self.order.pop_front();
            let place = oldest.and_then(|oldest| self.place_of(&oldest.address()).ok());
            place.map(|place| self.contacts.remove(place));
        }
    }

    fn make_room(&mut self) {
        if self.contacts.len() == self.contacts.capacity() {
            self.contacts.reserve_exact(GROWTH);
        }
        if self.order.len() == self.order.capacity() {
            self.order.reserve_exact(GROWTH);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.contacts.len()
    }

    pub(super) fn get(&self, address: &Address) -> Option<&Contact> {
        let place = self.place_of(address).ok()?;
        Some(&self.contacts[place].1)
    }

    fn place_of(&self, address: &Address) -> Result<usize, usize> {
        let wanted = address.top_bits();
        self.contacts.binary_search_by(|(beginning, contact)| {
            beginning.cmp(&wanted).then_with(|| contact.address().cmp(address))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;

    #[test]
    fn the_book_forgets_its_oldest_contact_first() {
        let contact = |n| Contact::new(KeyPair::from_seed(&[n; 32]).public(), []);
        let mut book = Book::new(2);
        for n in [1, 2, 1, 3] {
            book.note(&contact(n));
        }
        assert!(book.get(&contact(1).address()).is_none());
        assert!(book.get(&contact(2).address()).is_some());
        assert!(book.get(&contact(3).address()).is_some());
    }

    #[test]
    fn the_newest_endpoints_are_remembered() {
        let key = KeyPair::from_seed(&[1; 32]).public();
        let [old, new] = [1, 2].map(|port| Contact::new(key, [([127, 0, 0, 1], port).into()]));
        let mut book = Book::new(2);
        book.note(&old);
        book.note(&new);
        assert_eq!((book.len(), book.get(&key.address())), (1, Some(&new)));
    }
}
