//! What lies behind a node that its host meets in the middle of its life, for simulations.
//!
//! Entry type is [`Past`]. To play how each of a million nodes found its place takes hours, and whoever simulates all of
//! them knows what each would have met. That goes through the table's own rules; only that these nodes have answered
//! is the host's word. A node that speaks with others has no past: to it all of this would be hearsay
//! (PROTOCOL §5.3), whatever its disk remembers.

use crate::address::{Address, Distance};
use crate::contact::Contact;
use crate::store::{Store, StoreError};
use crate::time::Time;

use super::io::Family;
use super::{Node, Turn};

/// Answers and searches that are over.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Nodes that have answered a call, and when; those of one node in the order in which they came. All told a time
    /// that agreed with ours.
    pub answers: Vec<(Contact, Time)>,
    /// Searches for random addresses, in the order in which they began, each after all nodes of the table had
    /// answered once.
    pub searches: Vec<PastSearch>,
    /// When the node last searched for itself, and found nobody new.
    pub looked_at: Time,
    /// When it does so again.
    pub looks_at: Time,
}

/// A search for a random address that is over.
#[derive(Clone, Debug)]
pub struct PastSearch {
    /// For which.
    pub target: Address,
    /// When.
    pub began: Time,
    /// The distances from there of the nodes nearest to it, as many as a bucket holds; none for a search so long ago
    /// that it says nothing about the size of the network any more (PROTOCOL §5.5).
    pub nearest: Vec<Distance>,
}

impl Node {
    /// Takes up a past, before the first input, for simulations. Drain [`Self::poll_output`] then: what the node has
    /// of it on its disk is written, as after [`Self::handle`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn remember(
        &mut self,
        past: Past,
        store: &dyn Store<Family>,
        now: Time,
    ) -> Result<(), StoreError> {
        let turn = Turn { store, now };
        for (contact, at) in past.answers {
            let address = contact.address();
            self.table.confirm(contact, at);
            self.table.clock_agrees(&address);
        }
        for search in past.searches {
            self.table.looked_up(&search.target, search.began);
            self.size.sample_from(&search.nearest);
        }
        self.measure_own_density();
        self.stats.connected = !self.table.is_empty();
        self.take_place(turn, past.looked_at, past.looks_at);
        self.commit(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;
    use crate::message::Request;
    use crate::node::{Config, Input, Output};
    use crate::store::MemoryStore;
    use crate::time::Span;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    fn contact(number: u8) -> Contact {
        let key = KeyPair::from_seed(&[number; 32]).public();
        Contact::new(key, [([192, 0, 2, number], 4_000).into()])
    }

    fn ago(minutes: u64) -> Time {
        NOW - Span::from_mins(minutes)
    }

    /// A node that met thirty others a day ago, and the last of them once more two minutes ago.
    fn with_a_past() -> Node {
        let store = MemoryStore::new();
        let key = KeyPair::from_seed(&[99; 32]);
        let mut node = Node::new(Config::default(), key, [1; 32], &store, NOW).unwrap();
        let mut answers: Vec<_> = (0..30).map(|n| (contact(n), ago(24 * 60))).collect();
        answers.push((contact(29), ago(2)));
        let own = node.address();
        let nearest: Vec<_> = (0..20).map(|n| own.distance(&contact(n).address())).collect();
        let searches = vec![PastSearch { target: own, began: ago(10), nearest }];
        let (looked_at, looks_at) = (ago(5), NOW + Span::from_mins(11));
        let past = Past { answers, searches, looked_at, looks_at };
        node.remember(past, &store, NOW).unwrap();
        node
    }

    #[test]
    fn a_past_fills_the_table_and_the_disk_and_nobody_is_called_for_it() {
        let mut node = with_a_past();
        assert!(node.table.len() >= 20 && node.network_size() > 20);
        assert_eq!(node.table.agreeing_clocks(), node.table.len());
        let mut written = 0;
        while let Some(output) = node.poll_output() {
            match output {
                Output::Write(batch) => written += batch.writes.len(),
                other => panic!("{other:?}"),
            }
        }
        assert!(written > node.table.len(), "{written}");
        assert_eq!(node.stats().calls_made, 0);
    }

    #[test]
    fn a_node_with_a_past_goes_on_where_it_would_have_stopped() {
        let mut node = with_a_past();
        while node.poll_output().is_some() {}
        assert!(!node.is_small_network() && node.stats().connected);
        // Whoever answered a day ago is to be pinged at once, and it searches for itself when it would have.
        assert_eq!(node.bootstrap.next_attempt(), Some(NOW + Span::from_mins(11)));
        let store = MemoryStore::new();
        node.handle(Input::Tick, &store, NOW).unwrap();
        let mut pinged = Vec::new();
        while let Some(output) = node.poll_output() {
            if let Output::Call { to, request: Request::Ping { .. }, .. } = output {
                pinged.push(to);
            }
        }
        assert!(!pinged.is_empty() && !pinged.contains(&contact(29)));
    }
}
