//! What no honest node would send: forged, mutated and stale acknowledgements, altered envelopes,
//! false receipts, and messages that are too large.
//!
//! Entry type is [`Forger`]. What it makes goes through [`comm_proto::wire::decode`], as bytes from a
//! stranger do, and to the node only if that lets it pass.

use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::envelope::{Envelope, EnvelopeId};
use comm_proto::key::KeyPair;
use comm_proto::message::{IDS_MAX, Request};
use comm_proto::receipt::Receipt;
use comm_proto::time::Span;
use comm_proto::wire::peer;

use super::options::Draw;
use crate::host::At;
use crate::world::World;

/// Somebody who knows every envelope and wants them gone.
pub(super) struct Forger {
    draw: Draw,
    key: KeyPair,
}

impl Forger {
    pub(super) fn new(seed: u64) -> Self {
        Self { draw: Draw::new(seed ^ 0xf0f0), key: KeyPair::from_seed(&[0xf0; 32]) }
    }

    /// Sends one forgery to a host.
    pub(super) fn forge(&mut self, world: &mut World, to: At) {
        let letters = world.people.count_letters() as u64;
        let letter = self.draw.below(letters.max(1)) as usize;
        let Some((mailbox, envelope)) = world.people.secrets(letter) else { return };
        let (mailbox, envelope) = (mailbox.clone(), envelope.clone());
        let (what, message) = match self.draw.below(9) {
            0 => ("acknowledgement with a wrong signature", self.unsigned(&mailbox, &envelope)),
            1 => ("acknowledgement of another mailbox", self.of_another(&envelope)),
            2 => ("acknowledgement that ends too early", stale(&mailbox, &envelope)),
            3 => ("acknowledgement of others' envelopes", self.of_others(world, &mailbox)),
            4 => ("altered envelope", made_up(world, self.altered(&envelope))),
            5 => ("envelope of a wrong length", misshapen(&envelope)),
            6 => ("receipt in another's name", self.false_receipt(world, to, &envelope)),
            7 => ("more ids than a message takes", too_many(&envelope)),
            // Its sender's node may not have it yet.
            _ => ("envelope again", made_up(world, envelope)),
        };
        world.forged(to, &self.key, what, message);
    }

    /// By the right key, but for another envelope: the id was changed afterwards.
    fn unsigned(&mut self, mailbox: &KeyPair, envelope: &Envelope) -> peer::Request {
        let other = EnvelopeId::from_bytes([self.draw.below(256) as u8; 32]);
        let mut message = acknowledge(mailbox, vec![other], envelope);
        if let Some(peer::request::Request::Acknowledge(told)) = &mut message.request {
            for one in &mut told.acknowledgements {
                one.ids = vec![envelope.id().as_bytes().to_vec().into()];
            }
        }
        message
    }

    /// Properly signed by somebody else.
    fn of_another(&self, envelope: &Envelope) -> peer::Request {
        acknowledge(&self.key, vec![envelope.id()], envelope)
    }

    /// A mailbox's own key, for envelopes of other mailboxes.
    fn of_others(&mut self, world: &World, mailbox: &KeyPair) -> peer::Request {
        let other = self.draw.below(world.people.count_letters() as u64) as usize;
        let others =
            world.people.secrets(other).filter(|(key, _)| key.address() != mailbox.address());
        let Some((_, envelope)) = others else { return peer::Request { request: None } };
        acknowledge(mailbox, vec![envelope.id()], envelope)
    }

    fn altered(&mut self, envelope: &Envelope) -> Envelope {
        let mut body = envelope.body().to_vec();
        let at = self.draw.below(body.len() as u64) as usize;
        body[at] ^= 1 << self.draw.below(8);
        let header = *envelope.header();
        Envelope::new(header, body.into()).expect("the length has not changed")
    }

    fn false_receipt(&mut self, world: &World, to: At, envelope: &Envelope) -> peer::Request {
        let receipt = Receipt::sign(&self.key, vec![envelope.id()], world.now());
        let mut message: peer::Request =
            Request::Receipts { receipts: receipt.into_iter().collect() }.into();
        if let Some(peer::request::Request::Receipts(told)) = &mut message.request {
            for one in &mut told.receipts {
                one.holder_key = world.host(to).key().public().as_bytes().to_vec().into();
            }
        }
        message
    }
}

fn acknowledge(key: &KeyPair, ids: Vec<EnvelopeId>, envelope: &Envelope) -> peer::Request {
    let expires_at = envelope.expires_at() + KEPT_AFTER_EXPIRY;
    let signed = Acknowledgement::sign(key, ids, expires_at);
    Request::Acknowledge { acknowledgements: signed.into_iter().collect() }.into()
}

/// By the right key, but over before the envelope is.
fn stale(mailbox: &KeyPair, envelope: &Envelope) -> peer::Request {
    let early = envelope.expires_at() - Span::from_millis(1);
    let signed = Acknowledgement::sign(mailbox, vec![envelope.id()], early);
    Request::Acknowledge { acknowledgements: signed.into_iter().collect() }.into()
}

fn made_up(world: &mut World, envelope: Envelope) -> peer::Request {
    if let Some(oracle) = &mut world.oracle {
        oracle.made_up(envelope.clone());
    }
    deliver(envelope)
}

fn deliver(envelope: Envelope) -> peer::Request {
    Request::Deliver { envelopes: vec![envelope] }.into()
}

fn misshapen(envelope: &Envelope) -> peer::Request {
    let mut message = deliver(envelope.clone());
    if let Some(peer::request::Request::Deliver(told)) = &mut message.request {
        for one in &mut told.envelopes {
            one.body = one.body.slice(1..);
        }
    }
    message
}

fn too_many(envelope: &Envelope) -> peer::Request {
    let ids = vec![envelope.id(); IDS_MAX + 1];
    Request::Offer { ids }.into()
}
