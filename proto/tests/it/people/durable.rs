//! A person's disk that hangs: nothing is shown or acknowledged that a power cut would take back.

use comm_proto::agent::{Agent, Input, MessageState};
use comm_proto::identity::Identity;
use comm_proto::node::Family;
use comm_proto::store::Seq;
use comm_proto::time::Span;

use super::Town;

impl Town {
    /// What a person's program writes is seen by it from now on, and not on the disk.
    pub(super) fn hang_disk(&mut self, name: &'static str) {
        let person = self.people.get_mut(name).unwrap();
        person.hangs_at = Some(person.store.clone());
    }

    /// The disk has everything that was written.
    pub(super) fn sync_disk(&mut self, name: &'static str) {
        self.people.get_mut(name).unwrap().hangs_at = None;
        self.tell(name, Input::Durable(Seq(u64::MAX)));
    }

    /// Power goes while the disk hangs; what it has is what the program begins with again.
    fn lose_power(&mut self, name: &'static str) {
        self.disconnect(name);
        let now = self.now;
        let person = self.people.get_mut(name).unwrap();
        person.store = person.hangs_at.take().expect("the disk hangs");
        let identity = Identity::from_seed(&person.identity);
        person.agent = Agent::new(identity, [7; 32], &person.store, now).unwrap();
    }
}

/// PROTOCOL §1: an agent acknowledges what its own disk has, and shows nothing sooner.
#[test]
fn a_message_is_neither_shown_nor_acknowledged_before_its_readers_disk_has_it() {
    let mut town = Town::with(&["ann", "bob"]);
    town.hang_disk("bob");
    let number = town.send("ann", "bob", "hello");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("bob"), Vec::<String>::new());
    assert!(!town.node_store.is_empty(Family::Envelopes), "its relay still has it");
    assert!(
        !town.states("ann", number).iter().any(|s| matches!(s, MessageState::Delivered { .. }))
    );
    town.sync_disk("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob"), ["hello"]);
    assert!(town.node_store.is_empty(Family::Envelopes));
    assert!(matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
}

/// PROTOCOL §1: what the reader's disk did not have when power went comes again.
#[test]
fn a_message_that_a_power_cut_took_from_its_readers_disk_comes_again() {
    let mut town = Town::with(&["ann", "bob"]);
    town.hang_disk("bob");
    let number = town.send("ann", "bob", "hello");
    town.wait(Span::from_mins(1));
    town.lose_power("bob");
    assert!(town.history("bob", "ann").is_empty());
    town.connect("bob");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("bob"), ["hello"]);
    assert_eq!(town.history("bob", "ann").len(), 1);
    assert!(matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
}
