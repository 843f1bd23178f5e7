//! The default adversary: many nodes in one hand that name only each other, and take everything to
//! throw it away.

use std::collections::BTreeMap;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::message::{CONTACTS_MAX, Request, Response};

use super::drop::thrown_away;
use super::{Behaviour, Reaction, Scene};

/// Who works together, in the order of their addresses.
#[derive(Debug, Default)]
pub struct Colluders(BTreeMap<Address, Contact>);

/// Answers every lookup with the colluders nearest to the target, gives receipts for whatever it is
/// handed, and keeps nothing.
pub(super) struct Collude;

impl Colluders {
    /// These work together.
    pub fn new(contacts: impl IntoIterator<Item = Contact>) -> Self {
        Self(contacts.into_iter().map(|contact| (contact.address(), contact)).collect())
    }

    /// Whether this is one of them.
    pub fn contains(&self, address: &Address) -> bool {
        self.0.contains_key(address)
    }

    /// The `count` nearest to `target`, nearest first.
    pub fn nearest(&self, target: &Address, count: usize) -> Vec<Contact> {
        let mut nearest: Vec<_> = self.sharing_a_prefix(target, count).collect();
        nearest.sort_by_key(|contact| contact.address().distance(target));
        nearest.truncate(count);
        nearest
    }

    /// Those that share with `target` as long a prefix as at least `count` of them do: all others
    /// are farther away.
    fn sharing_a_prefix(&self, target: &Address, count: usize) -> impl Iterator<Item = Contact> {
        let all = (0..=Address::BITS).rev().map(|bits| self.0.range(prefix(target, bits)));
        let enough = all.filter(move |range| range.clone().nth(count.saturating_sub(1)).is_some());
        let range = enough.into_iter().next().unwrap_or_else(|| self.0.range(prefix(target, 0)));
        range.map(|(_, contact)| contact.clone())
    }
}

/// The addresses that share the first `bits` with `target`.
fn prefix(target: &Address, bits: usize) -> std::ops::RangeInclusive<Address> {
    let (mut low, mut high) = (*target.as_bytes(), *target.as_bytes());
    for (i, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
        let free = 0xff_u32 >> bits.saturating_sub(i * 8).min(8);
        *low &= !(free as u8);
        *high |= free as u8;
    }
    Address::from_bytes(low)..=Address::from_bytes(high)
}

impl Behaviour for Collude {
    fn on_request(&mut self, scene: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        let answer = match request {
            Request::FindNode { target } => {
                Response::Nodes { contacts: scene.colluders.nearest(target, CONTACTS_MAX) }
            }
            Request::GetCard { .. } | Request::FindCard { .. } => Response::Card { card: None },
            Request::PutCard { .. } | Request::PublishCard { .. } => Response::Done,
            _ => return thrown_away(scene, request),
        };
        Reaction::Answer(Box::new(Ok(answer)))
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::key::KeyPair;

    use super::*;

    #[test]
    fn the_nearest_are_those_that_a_full_sort_finds() {
        let contact = |n: u8| Contact::new(KeyPair::from_seed(&[n; 32]).public(), []);
        let all: Vec<_> = (0..100).map(contact).collect();
        let colluders = Colluders::new(all.clone());
        for n in 100..120 {
            let target = contact(n).address();
            let mut sorted = all.clone();
            sorted.sort_by_key(|contact| contact.address().distance(&target));
            for count in [0, 1, 7, 20, 100, 200] {
                assert_eq!(colluders.nearest(&target, count), sorted[..count.min(100)]);
            }
        }
    }
}
