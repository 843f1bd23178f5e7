//! The rule of the project's ancestor, for comparison: every relay floods.
//!
//! Who has an envelope hands it to the 8 nodes of its table that are nearest to the recipient, at once and
//! again after 1, 3, 7, … seconds, until it hears the acknowledgement, which is flooded towards the
//! sender in the same way, once by each. Nothing is looked up, no region is known, nothing lies on a
//! disk. The production node behind it keeps finding and pinging nodes; everything that it wants to say
//! about envelopes stays unsaid. An address is its node's: scenarios need `traffic.mailboxes = "node"`.

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::envelope::{Envelope, EnvelopeId};
use comm_proto::message::{Request, Response, SIGNED_MAX};
use comm_proto::node::{CallId, Event, Family, Output};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, Write};
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;

use super::{Behaviour, Call, Reaction, Scene};

/// To how many a node hands things on, and nodes in a bucket of its table.
const NEAREST: usize = 8;
/// Unanswered calls after which a node gets nothing any more.
const FAILURES_MAX: u32 = 5;
/// From this attempt on, the wait no longer grows.
const ATTEMPTS_MAX: u32 = 40;

/// A node that floods.
#[derive(Default)]
pub(super) struct Ancestor {
    table: Table,
    /// Calls of the node that were let pass, and to whom.
    calls: BTreeMap<CallId, Contact>,
    /// Calls of the node that were not.
    unsaid: BTreeSet<CallId>,
    held: BTreeMap<EnvelopeId, Held>,
    ended: BTreeMap<EnvelopeId, Verified<Acknowledgement>>,
    /// Envelopes to this node's own address, and when they expire.
    received: BTreeMap<EnvelopeId, Time>,
    outbox: Vec<Call>,
}

struct Held {
    envelope: Envelope,
    attempts: u32,
    due: Time,
}

/// Nodes by how many leading bits they share with this one; who came first stays.
#[derive(Default)]
struct Table(BTreeMap<usize, Vec<(Contact, u32)>>);

impl Table {
    fn answered(&mut self, own: &Address, contact: Contact) {
        let bits = own.distance(&contact.address()).common_bits();
        let bucket = self.0.entry(bits).or_default();
        if let Some(known) = bucket.iter_mut().find(|known| known.0.key() == contact.key()) {
            known.1 = 0;
        } else if bucket.len() < NEAREST {
            bucket.push((contact, 0));
        } else if let Some(bad) = bucket.iter_mut().find(|known| known.1 >= FAILURES_MAX) {
            *bad = (contact, 0);
        }
    }

    fn was_silent(&mut self, own: &Address, contact: &Contact) {
        let bits = own.distance(&contact.address()).common_bits();
        let bucket = self.0.entry(bits).or_default();
        if let Some(known) = bucket.iter_mut().find(|known| known.0.key() == contact.key()) {
            known.1 += 1;
        }
    }

    fn nearest(&self, target: &Address) -> Vec<Contact> {
        let good = self.0.values().flatten().filter(|known| known.1 < FAILURES_MAX);
        let mut nearest: Vec<_> = good.map(|known| known.0.clone()).collect();
        nearest.sort_by_cached_key(|contact| contact.address().distance(target));
        nearest.truncate(NEAREST);
        nearest
    }
}

impl Behaviour for Ancestor {
    fn on_request(&mut self, scene: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        match request {
            Request::Deliver { envelopes } => self.take(scene, envelopes),
            Request::Acknowledge { acknowledgements } => {
                self.spread(scene, acknowledgements);
                let own = scene.key.address();
                let is_own = |id| scene.plot.writers.get(id) == Some(&own);
                if acknowledgements.iter().flat_map(|one| one.ids()).any(is_own) {
                    return Reaction::Pass;
                }
                Reaction::Answer(Box::new(Ok(Response::Done)))
            }
            _ => Reaction::Pass,
        }
    }

    fn on_response(
        &mut self,
        scene: &mut Scene<'_>,
        call: Option<CallId>,
        _: &Address,
        result: Result<Response, Rejection>,
    ) -> Result<Response, Rejection> {
        if let Ok(Response::Delivered { acknowledgements, .. }) = &result {
            self.spread(scene, acknowledgements);
        }
        let Some(call) = call else { return result };
        if self.unsaid.remove(&call) {
            // Says nothing about the node that was not asked.
            return Err(Rejection::Busy);
        }
        if let Some(contact) = self.calls.remove(&call) {
            let own = scene.key.address();
            match result {
                Err(Rejection::Unreachable) => self.table.was_silent(&own, &contact),
                _ => self.table.answered(&own, contact),
            }
        }
        result
    }

    fn on_output(&mut self, scene: &mut Scene<'_>, output: Output) -> Option<Output> {
        match &output {
            Output::Call {
                id,
                to,
                request: Request::Ping { .. } | Request::FindNode { .. },
                ..
            } => {
                self.calls.insert(*id, to.clone());
            }
            Output::Call { id, .. } => {
                self.unsaid.insert(*id);
                return None;
            }
            Output::Push { .. } => return None,
            Output::Write(batch) => self.note_own(scene, batch),
            Output::Event(Event::Acknowledged { id }) => self.acknowledge(scene, *id),
            _ => {}
        }
        Some(output)
    }

    fn next_act(&self) -> Option<Time> {
        let now = (!self.outbox.is_empty()).then_some(Time::ZERO);
        now.or_else(|| self.held.values().map(|held| held.due).min())
    }

    fn act(&mut self, scene: &mut Scene<'_>) -> Vec<Call> {
        let now = scene.now;
        let mut calls = std::mem::take(&mut self.outbox);
        self.held.retain(|_, held| held.envelope.expires_at() > now);
        for held in self.held.values_mut().filter(|held| held.due <= now) {
            held.attempts = ATTEMPTS_MAX.min(held.attempts + 1);
            held.due = now + Span::from_secs((1 << held.attempts) - 1);
            let nearest = self.table.nearest(&held.envelope.mailbox());
            let deliver = || Request::Deliver { envelopes: vec![held.envelope.clone()] };
            calls.extend(nearest.into_iter().map(|to| Call::new(to, deliver())));
        }
        calls
    }
}

impl Ancestor {
    /// Envelopes come: those to this node's address are its business, others are handed on, and of those
    /// that have ended the acknowledgement goes back.
    fn take(&mut self, scene: &Scene<'_>, envelopes: &[Envelope]) -> Reaction {
        let (mut own, mut acknowledgements) = (Vec::new(), Vec::new());
        for envelope in envelopes {
            if let Some(ended) = self.ended.get(&envelope.id()) {
                acknowledgements.push(ended.clone());
            } else if envelope.mailbox() == scene.key.address() {
                self.received.insert(envelope.id(), envelope.expires_at());
                own.push(envelope.clone());
            } else {
                self.hold(scene, envelope.clone());
            }
        }
        if own.is_empty() {
            acknowledgements.truncate(SIGNED_MAX);
            let (receipts, refused) = (Vec::new(), Vec::new());
            let answer = Response::Delivered { receipts, refused, acknowledgements };
            Reaction::Answer(Box::new(Ok(answer)))
        } else {
            Reaction::Instead(Box::new(Request::Deliver { envelopes: own }))
        }
    }

    fn hold(&mut self, scene: &Scene<'_>, envelope: Envelope) {
        let new = Held { envelope, attempts: 0, due: scene.now };
        self.held.entry(new.envelope.id()).or_insert(new);
    }

    /// What a client of this node has submitted is handed on from when it is written down.
    fn note_own(&mut self, scene: &Scene<'_>, batch: &Batch<Family>) {
        for write in &batch.writes {
            if let Write::Put { table: Family::Envelopes, value, .. } = write
                && let Ok(envelope) = Envelope::from_stored(value.clone())
                && envelope.mailbox() != scene.key.address()
            {
                self.hold(scene, envelope);
            }
        }
    }

    /// The client of this node has read an envelope. In such a network a mailbox has its node's key.
    fn acknowledge(&mut self, scene: &Scene<'_>, id: EnvelopeId) {
        if let Some(expires_at) = self.received.get(&id)
            && let Ok(signed) =
                Acknowledgement::sign(scene.key, vec![id], *expires_at + KEPT_AFTER_EXPIRY)
        {
            self.spread(scene, &[signed]);
        }
    }

    /// Acknowledgements come: whoever hears of one for the first time hands it on towards the sender.
    fn spread(&mut self, scene: &Scene<'_>, acknowledgements: &[Verified<Acknowledgement>]) {
        for one in acknowledgements {
            for id in one.ids() {
                if self.ended.insert(*id, one.clone()).is_some() {
                    continue;
                }
                self.held.remove(id);
                let writer = scene.plot.writers.get(id).filter(|to| **to != scene.key.address());
                let nearest = writer.map(|to| self.table.nearest(to)).unwrap_or_default();
                let say = || Request::Acknowledge { acknowledgements: vec![one.clone()] };
                self.outbox.extend(nearest.into_iter().map(|to| Call::new(to, say())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::key::KeyPair;

    use super::*;
    use crate::behaviour::Says;
    use crate::behaviour::stage::{Props, contact};
    use crate::people::tests::envelope;

    const NOW: Time = Time::from_millis(60_000);

    /// Knows everybody from 10 to 59.
    fn ancestor(props: &mut Props) -> Ancestor {
        let mut ancestor = Ancestor::default();
        for n in 10..60 {
            let (id, to) = (CallId(n.into()), contact(n));
            let request = Request::Ping { endpoints: Vec::new() };
            let call = Output::Call { id, to: to.clone(), request, deadline: NOW };
            assert!(ancestor.on_output(&mut props.scene(NOW), call).is_some());
            let pong = Ok(Response::Pong { time: NOW, observed: None });
            let from = to.address();
            let passed = ancestor.on_response(&mut props.scene(NOW), Some(id), &from, pong.clone());
            assert_eq!(passed, pong);
        }
        ancestor
    }

    fn says(calls: &[Call]) -> Vec<(Address, Request)> {
        let say = |call: &Call| match &call.says {
            Says::Request(request) => (call.to.address(), (**request).clone()),
            Says::Forged(message) => panic!("{message:?}"),
        };
        calls.iter().map(say).collect()
    }

    #[test]
    fn an_envelope_goes_to_the_eight_nearest_again_and_again_until_it_ends() {
        let mut props = Props::default();
        let mut ancestor = ancestor(&mut props);
        let mailbox = KeyPair::from_seed(&[99; 32]);
        let (one, from) = (envelope(mailbox.address(), 1), contact(70).address());
        let deliver = Request::Deliver { envelopes: vec![one.clone()] };
        let reaction = ancestor.on_request(&mut props.scene(NOW), &from, &deliver);
        assert!(matches!(reaction, Reaction::Answer(_)));
        let nearest: Vec<_> =
            ancestor.table.nearest(&mailbox.address()).iter().map(Contact::address).collect();
        assert_eq!(nearest.len(), 8);
        let mut at = NOW;
        for wait in [1, 3, 7] {
            assert_eq!(ancestor.next_act(), Some(at));
            let said = says(&ancestor.act(&mut props.scene(at)));
            assert!(said.iter().map(|(to, _)| *to).eq(nearest.iter().copied()));
            assert!(said.iter().all(|(_, request)| *request == deliver));
            at = at + Span::from_secs(wait);
        }
        props.plot.writers = [(one.id(), contact(71).address())].into();
        let acknowledgement = Acknowledgement::sign(&mailbox, vec![one.id()], NOW).unwrap();
        let told = Request::Acknowledge { acknowledgements: vec![acknowledgement.clone()] };
        ancestor.on_request(&mut props.scene(at), &from, &told);
        assert_eq!(says(&ancestor.act(&mut props.scene(at))), {
            let nearest = ancestor.table.nearest(&contact(71).address());
            nearest.iter().map(|to| (to.address(), told.clone())).collect::<Vec<_>>()
        });
        // Told once more, it says nothing more, and who brings the envelope again is told.
        ancestor.on_request(&mut props.scene(at), &from, &told);
        assert_eq!(ancestor.next_act(), None);
        let answer = Response::Delivered {
            receipts: Vec::new(),
            refused: Vec::new(),
            acknowledgements: vec![acknowledgement],
        };
        let reaction = ancestor.on_request(&mut props.scene(at), &from, &deliver);
        assert_eq!(reaction, Reaction::Answer(Box::new(Ok(answer))));
    }

    #[test]
    fn the_node_gets_what_is_its_own_and_says_nothing_about_envelopes() {
        let mut props = Props::default();
        let mut ancestor = ancestor(&mut props);
        let (own, from) = (envelope(props.key.address(), 1), contact(70).address());
        let deliver = Request::Deliver { envelopes: vec![own.clone()] };
        let reaction = ancestor.on_request(&mut props.scene(NOW), &from, &deliver);
        assert_eq!(reaction, Reaction::Instead(Box::new(deliver)));
        assert_eq!(ancestor.next_act(), None);
        let (id, request) = (CallId(1), Request::Offer { ids: vec![own.id()] });
        let call = Output::Call { id, to: contact(10), request, deadline: NOW };
        assert_eq!(ancestor.on_output(&mut props.scene(NOW), call), None);
        let end = ancestor.on_response(
            &mut props.scene(NOW),
            Some(id),
            &from,
            Err(Rejection::Unreachable),
        );
        assert_eq!(end, Err(Rejection::Busy));
        props.plot.writers = [(own.id(), contact(71).address())].into();
        let read = Output::Event(Event::Acknowledged { id: own.id() });
        assert!(ancestor.on_output(&mut props.scene(NOW), read).is_some());
        let said = says(&ancestor.act(&mut props.scene(NOW)));
        assert_eq!(said.len(), 8);
        let Request::Acknowledge { acknowledgements } = &said[0].1 else { panic!() };
        assert!(acknowledgements[0].ends(&own.id(), &own.mailbox()));
    }

    #[test]
    fn whoever_is_silent_five_times_gets_nothing() {
        let mut props = Props::default();
        let mut ancestor = ancestor(&mut props);
        let target = contact(99).address();
        let first = ancestor.table.nearest(&target)[0].clone();
        for _ in 0..FAILURES_MAX {
            ancestor.table.was_silent(&props.key.address(), &first);
        }
        assert!(!ancestor.table.nearest(&target).contains(&first));
    }
}
