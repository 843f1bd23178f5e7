//! Whom a node has called: those whom a behaviour can call of its own accord.

use std::collections::BTreeMap;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::node::Output;
use rand_core::RngCore;

use super::Scene;

/// Most that are remembered; those met first stay.
const MET_MAX: usize = 256;

/// Nodes that are no colluders.
#[derive(Debug, Default)]
pub(super) struct Met(BTreeMap<Address, Contact>);

impl Met {
    /// Whomever the node calls is met.
    pub(super) fn note(&mut self, scene: &Scene<'_>, output: &Output) {
        if let Output::Call { to, .. } = output {
            self.meet(scene, to);
        }
    }

    /// So is whom the behaviour hears of, if it says so.
    pub(super) fn meet(&mut self, scene: &Scene<'_>, contact: &Contact) {
        let address = contact.address();
        if self.0.len() < MET_MAX && !scene.colluders.contains(&address) {
            self.0.entry(address).or_insert_with(|| contact.clone());
        }
    }

    /// One of them, each as likely as the others.
    pub(super) fn draw(&self, scene: &mut Scene<'_>) -> Option<Contact> {
        let count = self.0.len() as u64;
        let number = scene.rng.next_u64().checked_rem(count)?;
        self.0.values().nth(number as usize).cloned()
    }
}
