//! Adversaries in the places of entries and nowhere else.

use std::collections::BTreeSet;

use comm_proto::address::Address;
use comm_proto::envelope::Envelope;
use comm_proto::message::Request;

use super::{Behaviour, Reaction, Scene};

/// Lets a behaviour decide about what some nodes ask of it as of one of their entries: to take their own
/// clients' envelopes, and to collect for these. For everybody else, and in everything else, the node
/// behind it is honest.
pub(crate) struct AsEntry {
    /// Of whom it is a bad entry.
    of: BTreeSet<Address>,
    /// Whether it is one for readers too.
    collects: bool,
    behaviour: Box<dyn Behaviour>,
}

impl AsEntry {
    pub(crate) fn new(
        of: BTreeSet<Address>,
        collects: bool,
        behaviour: Box<dyn Behaviour>,
    ) -> Self {
        Self { of, collects, behaviour }
    }

    fn is_asked_as_entry(&self, scene: &Scene<'_>, from: &Address, request: &Request) -> bool {
        let is_own = |id| scene.plot.writers.get(&id) == Some(from);
        match request {
            Request::Offer { ids } => ids.iter().copied().all(is_own),
            Request::Deliver { envelopes } => envelopes.iter().map(Envelope::id).all(is_own),
            Request::Subscribe { grants, .. } => {
                let own = scene.key.address();
                self.collects && grants.iter().any(|grant| grant.collector() == own)
            }
            _ => false,
        }
    }
}

impl Behaviour for AsEntry {
    fn on_request(&mut self, scene: &mut Scene<'_>, from: &Address, request: &Request) -> Reaction {
        if self.of.contains(from) && self.is_asked_as_entry(scene, from, request) {
            self.behaviour.on_request(scene, from, request)
        } else {
            Reaction::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::grant::Grant;
    use comm_proto::key::KeyPair;
    use comm_proto::time::{Span, Time};

    use super::*;
    use crate::behaviour::drop::Drop;
    use crate::behaviour::stage::{Props, contact};
    use crate::people::tests::envelope;

    #[test]
    fn only_what_its_nodes_ask_of_it_as_of_an_entry_is_its_business() {
        let mut props = Props::default();
        let (one, other) = (contact(2).address(), contact(3).address());
        let (own, relayed) = (envelope(contact(4).address(), 1), envelope(contact(4).address(), 2));
        props.plot.writers = [(own.id(), one), (relayed.id(), other)].into();
        let mut entry = AsEntry::new([one].into(), true, Box::new(Drop));
        let grant_for = |collector| {
            let grants = vec![Grant::sign(&KeyPair::from_seed(&[8; 32]), collector, Time::MAX)];
            Request::Subscribe { grants, after: 0 }
        };
        let scene = &mut props.scene(Time::ZERO + Span::DAY);
        let itself = scene.key.address();
        for (from, request, is_bad) in [
            (one, Request::Offer { ids: vec![own.id()] }, true),
            (one, Request::Deliver { envelopes: vec![own.clone()] }, true),
            (one, Request::Deliver { envelopes: vec![relayed] }, false),
            (other, Request::Deliver { envelopes: vec![own] }, false),
            (one, grant_for(itself), true),
            (one, grant_for(one), false),
            (other, grant_for(itself), false),
            (one, Request::FindNode { target: one }, false),
        ] {
            let reaction = entry.on_request(scene, &from, &request);
            assert_eq!(reaction != Reaction::Pass, is_bad, "{request:?}");
        }
        entry.collects = false;
        assert_eq!(entry.on_request(scene, &one, &grant_for(itself)), Reaction::Pass);
    }
}
