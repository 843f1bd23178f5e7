//! From valid values to messages, which never fails.
//!
//! All of it is `From`: between nodes [`Request`], [`Response`] and [`Push`], towards clients
//! [`EnvelopeState`], [`Peer`] and [`Status`], and every object that both carry. Bodies are shared,
//! not copied. A value within its bounds makes a message that [`super::decode`] reads back.

use std::net::SocketAddr;
use std::ops::Deref;

use bytes::Bytes;

use super::{client, object, peer};
use crate::acknowledgement::Acknowledgement;
use crate::address::Address;
use crate::card::Card;
use crate::contact::Contact;
use crate::envelope::{Envelope, EnvelopeId, VERSION};
use crate::grant::Grant;
use crate::message::{
    DialOutcome, EnvelopeState, Peer, PeerStatus, Push, Reachability, Request, Response, Status,
    Waiting,
};
use crate::receipt::Receipt;
use crate::rejection::{Rejection, Retry};
use crate::verified::Verified;

impl From<Request> for peer::Request {
    fn from(request: Request) -> Self {
        use peer::request::Request as Wire;
        let request = match request {
            Request::Ping { endpoints } => Wire::Ping(peer::Ping { endpoints: all(&endpoints) }),
            Request::FindNode { target } => {
                Wire::FindNode(peer::FindNode { target: address(&target) })
            }
            Request::Offer { ids } => Wire::Offer(peer::Offer { ids: id_list(&ids) }),
            Request::Digest { digest, from, to } => Wire::Digest(peer::DigestRequest {
                digest: digest.to_bytes().into(),
                from: address(&from),
                to: address(&to),
            }),
            Request::Deliver { envelopes } => {
                Wire::Deliver(peer::Deliver { envelopes: all(&envelopes) })
            }
            Request::Acknowledge { acknowledgements } => {
                Wire::Acknowledge(acknowledge(&acknowledgements))
            }
            Request::Receipts { receipts: told } => Wire::Receipts(receipts(&told)),
            Request::PutCard { card } => {
                Wire::PutCard(peer::PutCard { card: Some((&**card).into()) })
            }
            Request::GetCard { owner } => Wire::GetCard(peer::GetCard { owner: address(&owner) }),
            Request::PublishCard { card } => {
                Wire::PublishCard(peer::PublishCard { card: Some((&**card).into()) })
            }
            Request::FindCard { owner } => {
                Wire::FindCard(peer::FindCard { owner: address(&owner) })
            }
            Request::Subscribe { grants, after } => {
                Wire::Subscribe(peer::Subscribe { grants: all_signed(&grants), after })
            }
            Request::Fetch { ids } => Wire::Fetch(peer::Fetch { ids: id_list(&ids) }),
            Request::DialBack { endpoints } => {
                Wire::DialBack(peer::DialBack { endpoints: all(&endpoints) })
            }
        };
        Self { request: Some(request) }
    }
}

impl From<Response> for peer::Response {
    fn from(response: Response) -> Self {
        use peer::response::Response as Wire;
        let response = match response {
            Response::Pong { time, observed } => Wire::Pong(peer::Pong {
                time: time.as_millis(),
                observed: observed.as_ref().map(Into::into),
            }),
            Response::Nodes { contacts } => Wire::Nodes(peer::Nodes { contacts: all(&contacts) }),
            Response::Offered { wanted, receipts, acknowledgements } => {
                Wire::Offered(peer::Offered {
                    wanted: id_list(&wanted),
                    receipts: all_signed(&receipts),
                    acknowledgements: all_signed(&acknowledgements),
                })
            }
            Response::Digested { digest, acknowledgements } => Wire::Digested(peer::Digested {
                digest: digest.to_bytes().into(),
                acknowledgements: all_signed(&acknowledgements),
            }),
            Response::Delivered { receipts, refused, acknowledgements } => {
                Wire::Delivered(peer::Delivered {
                    receipts: all_signed(&receipts),
                    refused: all(&refused),
                    acknowledgements: all_signed(&acknowledgements),
                })
            }
            Response::Done => Wire::Done(peer::Done {}),
            Response::Card { card } => {
                Wire::Card(peer::CardFound { card: card.map(|card| (&**card).into()) })
            }
            Response::Subscribed { waiting, cursor, more } => {
                Wire::Subscribed(peer::Subscribed { waiting: all(&waiting), cursor, more })
            }
            Response::Fetched { envelopes } => {
                Wire::Fetched(peer::Fetched { envelopes: all(&envelopes) })
            }
            Response::DialledBack { outcomes } => Wire::DialledBack(peer::DialledBack {
                outcomes: outcomes.into_iter().map(dial_outcome).collect(),
            }),
        };
        Self { response: Some(response) }
    }
}

impl From<DialOutcome> for object::DialOutcome {
    fn from(outcome: DialOutcome) -> Self {
        match outcome {
            DialOutcome::Failed => Self::Unspecified,
            DialOutcome::Reached => Self::Reached,
            DialOutcome::Refused => Self::Refused,
            DialOutcome::TimedOut => Self::TimedOut,
            DialOutcome::OtherKey => Self::OtherKey,
            DialOutcome::NoNode => Self::NoNode,
            DialOutcome::NoRoute => Self::NoRoute,
            DialOutcome::NotTried => Self::NotTried,
        }
    }
}

impl From<Result<Response, Rejection>> for peer::Response {
    fn from(answer: Result<Response, Rejection>) -> Self {
        match answer {
            Ok(response) => response.into(),
            Err(refusal) => {
                Self { response: Some(peer::response::Response::Rejection((&refusal).into())) }
            }
        }
    }
}

impl From<Push> for peer::Push {
    fn from(push: Push) -> Self {
        use peer::push::Push as Wire;
        let push = match push {
            Push::Waiting(waiting) => Wire::Waiting(peer::WaitingPush { waiting: all(&waiting) }),
            Push::Acknowledgements(told) => Wire::Acknowledgements(acknowledge(&told)),
            Push::Receipts(told) => Wire::Receipts(receipts(&told)),
        };
        Self { push: Some(push) }
    }
}

impl From<&Rejection> for peer::Rejection {
    fn from(rejection: &Rejection) -> Self {
        Self { code: rejection.code(), text: rejection.to_string() }
    }
}

impl From<&(EnvelopeId, Rejection)> for peer::Refused {
    fn from((id, rejection): &(EnvelopeId, Rejection)) -> Self {
        Self { id: envelope_id(id), rejection: Some(rejection.into()) }
    }
}

impl From<&Waiting> for peer::Waiting {
    fn from(waiting: &Waiting) -> Self {
        Self { mailbox: address(&waiting.mailbox), id: envelope_id(&waiting.id) }
    }
}

impl From<&Envelope> for object::Envelope {
    fn from(envelope: &Envelope) -> Self {
        let header = envelope.header();
        Self {
            version: VERSION.into(),
            suite: header.suite.0.into(),
            mailbox: address(&header.mailbox),
            expires_at: header.expires_at.as_millis(),
            stamp_nonce: header.stamp_nonce,
            body: envelope.body().clone(),
        }
    }
}

impl From<&Acknowledgement> for object::Acknowledgement {
    fn from(acknowledgement: &Acknowledgement) -> Self {
        Self {
            ids: id_list(acknowledgement.ids()),
            mailbox_key: copy(acknowledgement.mailbox_key().as_bytes()),
            expires_at: acknowledgement.expires_at().as_millis(),
            signature: copy(acknowledgement.signature().as_bytes()),
        }
    }
}

impl From<&Receipt> for object::Receipt {
    fn from(receipt: &Receipt) -> Self {
        Self {
            ids: id_list(receipt.ids()),
            holder_key: copy(receipt.holder_key().as_bytes()),
            at: receipt.at().as_millis(),
            signature: copy(receipt.signature().as_bytes()),
        }
    }
}

impl From<&Grant> for object::Grant {
    fn from(grant: &Grant) -> Self {
        Self {
            mailbox_key: copy(grant.mailbox_key().as_bytes()),
            collector: address(&grant.collector()),
            not_after: grant.not_after().as_millis(),
            signature: copy(grant.signature().as_bytes()),
        }
    }
}

impl From<&Card> for object::Card {
    fn from(card: &Card) -> Self {
        Self { card: card.to_bytes().into() }
    }
}

impl From<&Contact> for object::Contact {
    fn from(contact: &Contact) -> Self {
        Self { key: copy(contact.key().as_bytes()), endpoints: all(contact.endpoints()) }
    }
}

impl From<&SocketAddr> for object::Endpoint {
    fn from(endpoint: &SocketAddr) -> Self {
        let ip = match endpoint.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => copy(&ip.octets()),
            std::net::IpAddr::V6(ip) => copy(&ip.octets()),
        };
        Self { ip, port: endpoint.port().into() }
    }
}

impl From<EnvelopeState> for client::State {
    fn from(state: EnvelopeState) -> Self {
        use client::state::State as Wire;
        let state = match state {
            EnvelopeState::Accepted => Wire::Accepted(client::Accepted {}),
            EnvelopeState::Stored(relays) => Wire::Stored(client::Stored { relays }),
            EnvelopeState::Delivered { at } => {
                Wire::Delivered(client::Delivered { at: at.as_millis() })
            }
            EnvelopeState::Expired => Wire::Expired(client::Expired {}),
            EnvelopeState::Cancelled => Wire::Cancelled(client::Cancelled {}),
        };
        Self { state: Some(state) }
    }
}

impl From<&Rejection> for client::Error {
    fn from(rejection: &Rejection) -> Self {
        Self {
            code: rejection.name().to_owned(),
            text: rejection.to_string(),
            retry_later: rejection.retry() == Retry::Later,
        }
    }
}

impl From<Peer> for client::PeerInfo {
    fn from(peer: Peer) -> Self {
        Self {
            address: address(&peer.contact.address()),
            endpoints: all(peer.contact.endpoints()),
            status: client::PeerStatus::from(peer.status).into(),
            last_seen: peer.last_seen.as_millis(),
        }
    }
}

impl From<PeerStatus> for client::PeerStatus {
    fn from(status: PeerStatus) -> Self {
        match status {
            PeerStatus::Good => Self::Good,
            PeerStatus::Questionable => Self::Questionable,
            PeerStatus::Bad => Self::Bad,
        }
    }
}

impl From<Reachability> for client::Reachability {
    fn from(reachability: Reachability) -> Self {
        match reachability {
            Reachability::Unknown => Self::Unknown,
            Reachability::Reachable => Self::Reachable,
            Reachability::Unreachable => Self::Unreachable,
        }
    }
}

/// What the node knows; the host fills in `version` and `time`.
impl From<Status> for client::GetStatusResponse {
    fn from(status: Status) -> Self {
        Self {
            node: address(&status.node),
            endpoints: all(&status.endpoints),
            peers: status.peers,
            network_size: status.network_size,
            envelopes: status.envelopes,
            envelope_bytes: status.envelope_bytes,
            tombstones: status.tombstones,
            connected: status.connected,
            entries: status.entries.iter().map(address).collect(),
            rotating_entry: status.rotating_entry.as_ref().map(address),
            observed: all(&status.observed),
            reachability: client::Reachability::from(status.reachability).into(),
            ..Self::default()
        }
    }
}

fn acknowledge(told: &[Verified<Acknowledgement>]) -> peer::Acknowledge {
    peer::Acknowledge { acknowledgements: all_signed(told) }
}

fn receipts(told: &[Verified<Receipt>]) -> peer::Receipts {
    peer::Receipts { receipts: all_signed(told) }
}

fn all<'a, T, W: From<&'a T>>(items: &'a [T]) -> Vec<W> {
    items.iter().map(W::from).collect()
}

fn all_signed<'a, T, W: From<&'a T>>(items: &'a [Verified<T>]) -> Vec<W> {
    items.iter().map(|item| W::from(item.deref())).collect()
}

fn id_list(ids: &[EnvelopeId]) -> Vec<Bytes> {
    ids.iter().map(envelope_id).collect()
}

fn envelope_id(id: &EnvelopeId) -> Bytes {
    copy(id.as_bytes())
}

fn address(address: &Address) -> Bytes {
    copy(address.as_bytes())
}

fn dial_outcome(outcome: DialOutcome) -> u32 {
    object::DialOutcome::from(outcome) as u32
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
