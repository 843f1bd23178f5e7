//! Endpoints of nodes that have answered us, beside those in the table.
//!
//! Entry type is [`Book`]. A region lies far from our own place, so its nodes are seldom in our
//! table, yet an acknowledgement must find its way back to them.

use std::collections::{BTreeMap, VecDeque};

use crate::address::Address;
use crate::contact::Contact;

/// A bounded list of contacts; the one noted first goes first.
#[derive(Debug)]
pub(super) struct Book {
    contacts: BTreeMap<Address, Contact>,
    order: VecDeque<Address>,
    max: usize,
}

impl Book {
    pub(super) fn new(max: usize) -> Self {
        Self { contacts: BTreeMap::new(), order: VecDeque::new(), max }
    }

    /// Notes a contact that has answered, or its newest endpoints.
    pub(super) fn note(&mut self, contact: &Contact) {
        if self.contacts.insert(contact.address(), contact.clone()).is_none() {
            self.order.push_back(contact.address());
        }
        if self.order.len() > self.max {
            let oldest = self.order.pop_front();
            oldest.and_then(|address| self.contacts.remove(&address));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.contacts.len()
    }

    pub(super) fn get(&self, address: &Address) -> Option<&Contact> {
        self.contacts.get(address)
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
}
