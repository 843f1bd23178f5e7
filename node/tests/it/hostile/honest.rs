//! What honest people have given the node, and what they find afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comm_proto::envelope::{Envelope, EnvelopeId, TTL_DEFAULT};
use comm_proto::key::KeyPair;
use comm_proto::time::{Span, Time};
use comm_proto::wire::client::{self as wire, receive_request, receive_response};
use comm_proto::wire::{decode, object, peer};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::link::Attacker;
use super::{Target, forge, key};
use crate::node_process::{now, status};

const PATIENCE: Duration = Duration::from_secs(10);
const SUBMITTED: u64 = 128;
const DELIVERED: u64 = 64;

/// One person's mailbox, envelopes and card.
#[derive(Clone)]
pub(super) struct Honest {
    pub(super) mailbox: Arc<KeyPair>,
    /// Of the submitted ones, then of those that another node has delivered.
    pub(super) ids: Vec<EnvelopeId>,
    pub(super) expires_at: Time,
    pub(super) card: object::Card,
    pub(super) issued_at: Time,
    bodies: BTreeMap<EnvelopeId, Bytes>,
}

impl Honest {
    pub(super) async fn settle(target: &Target) -> Self {
        let (mailbox, issued_at) = (key(1), forge::ago(Span::HOUR));
        let expires_at = now() + TTL_DEFAULT;
        let all: Vec<_> = (0..SUBMITTED + DELIVERED)
            .map(|n| forge::envelope(mailbox.address(), n, expires_at, 1 << 10))
            .collect();
        let read = |message: &object::Envelope| decode::envelope(message.clone()).unwrap();
        let envelopes: Vec<Envelope> = all.iter().map(read).collect();
        let mut client = target.node.client().await;
        let (submitted, delivered) = all.split_at(SUBMITTED as usize);
        for envelope in submitted {
            let envelope = Some(envelope.clone());
            client.submit(wire::SubmitRequest { envelope }).await.unwrap();
        }
        let neighbour = Attacker::connect(target, 20, 2).await;
        let deliver = peer::Deliver { envelopes: delivered.to_vec() };
        let answer = neighbour.ask(peer::request::Request::Deliver(deliver)).await.unwrap();
        assert!(matches!(answer, peer::response::Response::Delivered(_)), "{answer:?}");
        let card = forge::card(&key(2), issued_at);
        client.publish_card(wire::PublishCardRequest { card: Some(card.clone()) }).await.unwrap();
        Self {
            mailbox: Arc::new(mailbox),
            ids: envelopes.iter().map(Envelope::id).collect(),
            expires_at,
            card,
            issued_at,
            bodies: envelopes.iter().map(|one| (one.id(), one.body().clone())).collect(),
        }
    }

    /// Every envelope is there and readable, and no other; so is the card.
    pub(super) async fn is_as_it_was(&self, target: &Target) {
        let mut client = target.node.client().await;
        let status = status(&mut client).await;
        assert_eq!((status.envelopes, status.tombstones), (self.bodies.len() as u64, 0));
        let owner = Bytes::copy_from_slice(key(2).address().as_bytes());
        let found = client.find_card(wire::FindCardRequest { owner }).await.unwrap().into_inner();
        assert_eq!(found.card.as_ref(), Some(&self.card));

        let (ask, asked) = mpsc::channel(1);
        let grants = vec![forge::grant(&self.mailbox, target.address, forge::in_days(1))];
        let open = wire::Open { grants, after: 0, credit: 4_096 };
        let open = receive_request::Request::Open(open);
        ask.send(wire::ReceiveRequest { request: Some(open) }).await.unwrap();
        let answers = client.receive(ReceiverStream::new(asked)).await.unwrap();
        let (mut answers, mut received) = (answers.into_inner(), BTreeMap::new());
        loop {
            let answer = timeout(PATIENCE, answers.message()).await.expect("nothing comes");
            match answer.unwrap().unwrap().response.unwrap() {
                receive_response::Response::Envelope(one) => {
                    let envelope = decode::envelope(one.envelope.unwrap()).unwrap();
                    received.insert(envelope.id(), envelope.body().clone());
                }
                receive_response::Response::CaughtUp(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(received == self.bodies, "{} of {} are there", received.len(), self.bodies.len());
    }
}
