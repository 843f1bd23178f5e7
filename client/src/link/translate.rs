//! Between the values of the protocol and the messages of the client API (PROTOCOL §8).
//!
//! Entry functions are [`open`] and [`acknowledgements`] for what is asked, [`push`], [`states`],
//! [`status`] and [`peers`] for what is told, and [`rejection`] for what is refused. A node is
//! trusted to relay, not to be right: whatever it says is checked like a peer's word.

use bytes::Bytes;
use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::envelope::EnvelopeId;
use comm_proto::grant::Grant;
use comm_proto::message::{ClientPush, EnvelopeState, PeerStatus, Reachability};
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use comm_proto::verified::Verified;
use comm_proto::wire::{client, decode, object};
use tonic::{Code, Status};

use super::{NodeStatus, PeerLine};

/// Rejection codes that were ever given out end before this one.
const CODES_END: u32 = 256;

/// The first or a further message that opens mailboxes. It must give some credit; the agent gives
/// its own beside it.
pub(super) fn open(
    grants: &[Verified<Grant>],
    after: u64,
    credit: u32,
) -> client::receive_request::Request {
    let grants = grants.iter().map(|grant| object::Grant::from(&**grant)).collect();
    client::receive_request::Request::Open(client::Open { grants, after, credit })
}

pub(super) fn acknowledgements(
    acknowledgements: &[Verified<Acknowledgement>],
) -> client::AcknowledgeRequest {
    let each = acknowledgements.iter().map(|one| object::Acknowledgement::from(&**one));
    client::AcknowledgeRequest { acknowledgements: each.collect() }
}

pub(super) fn id_bytes(id: &EnvelopeId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

/// What the node tells on the stream of mailboxes; nothing for what answers to nobody.
pub(super) fn push(message: client::ReceiveResponse) -> Result<Option<ClientPush>, Rejection> {
    use client::receive_response::Response as Wire;
    match message.response.ok_or(Rejection::Malformed("response"))? {
        Wire::Envelope(received) => {
            let carried = received.envelope.ok_or(Rejection::Malformed("envelope"))?;
            let envelope = decode::envelope(carried)?;
            Ok(Some(ClientPush::Envelope { cursor: received.cursor, envelope }))
        }
        Wire::CaughtUp(client::CaughtUp {}) => Ok(Some(ClientPush::CaughtUp)),
        Wire::Acknowledged(client::AcknowledgeResponse {}) => Ok(None),
    }
}

/// One change on a stream of states.
pub(super) fn state(
    message: client::WatchResponse,
) -> Result<(EnvelopeId, EnvelopeState), Rejection> {
    let id = decode::envelope_id(&message.id)?;
    Ok((id, some_state(message.state)?))
}

pub(super) fn some_state(state: Option<client::State>) -> Result<EnvelopeState, Rejection> {
    decode::state(state.ok_or(Rejection::Malformed("state"))?)
}

pub(super) fn status(message: client::GetStatusResponse) -> Result<NodeStatus, Rejection> {
    let reachability = match message.reachability() {
        client::Reachability::Reachable => Reachability::Reachable,
        client::Reachability::Unreachable => Reachability::Unreachable,
        client::Reachability::Unknown | client::Reachability::Unspecified => Reachability::Unknown,
    };
    let entries = message.entries.iter().map(|entry| decode::address(entry));
    let rotating = message.rotating_entry.as_deref().map(decode::address);
    Ok(NodeStatus {
        node: decode::address(&message.node)?,
        endpoints: decode::endpoints(&message.endpoints)?,
        observed: decode::endpoints(&message.observed)?,
        reachability,
        peers: message.peers,
        network_size: message.network_size,
        envelopes: message.envelopes,
        envelope_bytes: message.envelope_bytes,
        tombstones: message.tombstones,
        connected: message.connected,
        version: message.version,
        time: Time::from_millis(message.time),
        entries: entries.collect::<Result<Vec<Address>, _>>()?,
        rotating_entry: rotating.transpose()?,
    })
}

pub(super) fn peers(message: client::ListPeersResponse) -> Result<Vec<PeerLine>, Rejection> {
    message.peers.into_iter().map(peer).collect()
}

fn peer(message: client::PeerInfo) -> Result<PeerLine, Rejection> {
    let status = match message.status() {
        client::PeerStatus::Good => Some(PeerStatus::Good),
        client::PeerStatus::Questionable => Some(PeerStatus::Questionable),
        client::PeerStatus::Bad => Some(PeerStatus::Bad),
        client::PeerStatus::Unspecified => None,
    };
    Ok(PeerLine {
        address: decode::address(&message.address)?,
        endpoints: decode::endpoints(&message.endpoints)?,
        status,
        last_seen: Time::from_millis(message.last_seen),
    })
}

/// What a refused call means: the trailers of the node if it gave any, else what gRPC says.
pub(super) fn rejection(status: &Status) -> Rejection {
    let word = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    let known = word("comm-code").and_then(named);
    known.unwrap_or_else(|| match (word("comm-retry"), status.code()) {
        (Some("later"), _) | (None, Code::ResourceExhausted) => Rejection::Busy,
        (Some(_), _) => Rejection::Malformed("the node's reason is not known here"),
        (None, Code::Unauthenticated | Code::PermissionDenied) => Rejection::NotGranted,
        (None, Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented) => {
            Rejection::Malformed("the node did not say what")
        }
        (None, _) => Rejection::Unreachable,
    })
}

/// Why a stream or a connection is over, for people.
pub(super) fn reason(status: &Status) -> String {
    match (status.code(), status.message()) {
        (Code::Unauthenticated, _) => "the node does not accept the token".to_owned(),
        (_, "") => "the node has gone".to_owned(),
        (_, text) => text.to_owned(),
    }
}

fn named(name: &str) -> Option<Rejection> {
    (1..CODES_END).map(Rejection::from_code).find(|rejection| rejection.name() == name)
}

#[cfg(test)]
mod tests {
    use comm_proto::contact::Contact;
    use comm_proto::envelope::{Envelope, Header, SizeClass, Suite};
    use comm_proto::key::KeyPair;
    use comm_proto::message::{Peer, Status as NodeSays};
    use comm_proto::rejection::Retry;
    use prost::Message;
    use rand_chacha::ChaCha12Rng;
    use rand_core::{RngCore, SeedableRng};
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::*;

    /// How many answers each reader gets.
    const ANSWERS: u32 = 1_000_000;
    /// Each outcome is that of one in so many at least.
    const RAREST: u32 = 1_000;

    fn refused(code: Code, trailers: &[(&'static str, &str)]) -> Rejection {
        let mut metadata = MetadataMap::new();
        for (name, value) in trailers {
            metadata.insert(*name, value.parse().unwrap());
        }
        rejection(&Status::with_metadata(code, "text", metadata))
    }

    #[test]
    fn every_rejection_comes_back_by_its_word() {
        for code in 1..=16 {
            let sent = Rejection::from_code(code);
            let got = refused(Code::Unknown, &[("comm-code", sent.name())]);
            assert_eq!(got.name(), sent.name());
        }
    }

    #[test]
    fn a_word_of_a_newer_node_still_says_whether_to_try_again() {
        let retry =
            |word| refused(Code::Unknown, &[("comm-code", "new"), ("comm-retry", word)]).retry();
        assert_eq!(retry("later"), Retry::Later);
        assert_eq!(retry("never"), Retry::Never);
    }

    #[test]
    fn a_lost_connection_is_tried_again_and_a_wrong_token_is_not() {
        assert_eq!(refused(Code::Unavailable, &[]), Rejection::Unreachable);
        assert_eq!(refused(Code::ResourceExhausted, &[]), Rejection::Busy);
        assert_eq!(refused(Code::Unauthenticated, &[]).retry(), Retry::Never);
    }

    #[test]
    fn a_node_that_talks_nonsense_is_not_believed() {
        assert!(push(client::ReceiveResponse { response: None }).is_err());
        assert!(state(client::WatchResponse::default()).is_err());
        assert!(status(client::GetStatusResponse::default()).is_err());
    }

    fn below(rng: &mut ChaCha12Rng, end: usize) -> usize {
        ((u64::from(rng.next_u32()) * end as u64) >> 32) as usize
    }

    /// An eighth is noise; the others are good answers after one to three changes of their bytes.
    fn drawn(rng: &mut ChaCha12Rng, good: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = good[below(rng, good.len())].clone();
        if below(rng, 8) == 0 {
            bytes.resize(below(rng, 200), 0);
            rng.fill_bytes(&mut bytes);
            return bytes;
        }
        for _ in 0..=below(rng, 3) {
            // Half of them in the first bytes, where lengths and kinds stand.
            let end = if below(rng, 2) == 0 { bytes.len().min(32) } else { bytes.len() };
            let at = below(rng, end + 1);
            match below(rng, 5) {
                0..2 if at < bytes.len() => bytes[at] ^= 1 << below(rng, 8),
                2 => bytes.truncate(at),
                3 => {
                    let to = at + below(rng, bytes.len() - at + 1);
                    bytes.extend_from_within(at..to);
                }
                _ => {
                    let other = &good[below(rng, good.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[below(rng, other.len() + 1)..]);
                }
            }
        }
        bytes
    }

    /// Gives `read` a million answers.
    fn storm<W: Message + Default, T>(good: &[W], read: impl Fn(W) -> Result<T, Rejection>) {
        let good: Vec<_> = good.iter().map(Message::encode_to_vec).collect();
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let [mut unreadable, mut refused, mut accepted] = [0_u32; 3];
        for _ in 0..ANSWERS {
            match W::decode(&drawn(&mut rng, &good)[..]).map(&read) {
                Err(_) => unreadable += 1,
                Ok(Err(_)) => refused += 1,
                Ok(Ok(_)) => accepted += 1,
            }
        }
        let rarest = unreadable.min(refused).min(accepted);
        assert!(rarest > ANSWERS / RAREST, "{unreadable}, {refused}, {accepted}");
    }

    fn address(digit: u8) -> Address {
        Address::from_bytes([digit; 20])
    }

    /// H14, as are the next four: a node may say whatever it likes.
    #[test]
    fn a_million_pushes_of_a_node_are_read() {
        let header = Header {
            suite: Suite::ONE,
            mailbox: address(1),
            expires_at: Time::from_millis(1_700_000_000_000),
            stamp_nonce: 7,
        };
        let body = Bytes::from(vec![5; SizeClass::K1.body_len()]);
        let envelope = object::Envelope::from(&Envelope::new(header, body).unwrap());
        use client::receive_response::Response as Wire;
        let says = |response| client::ReceiveResponse { response: Some(response) };
        let envelope = client::Received { cursor: 9, envelope: Some(envelope) };
        storm(
            &[
                says(Wire::Envelope(envelope)),
                says(Wire::CaughtUp(client::CaughtUp {})),
                says(Wire::Acknowledged(client::AcknowledgeResponse {})),
            ],
            push,
        );
    }

    #[test]
    fn a_million_states_of_a_node_are_read() {
        let says = |state| client::WatchResponse {
            id: Bytes::from_static(&[7; 32]),
            state: Some(client::State::from(state)),
        };
        let at = Time::from_millis(5);
        storm(
            &[
                says(EnvelopeState::Accepted),
                says(EnvelopeState::Stored(3)),
                says(EnvelopeState::Delivered { at }),
            ],
            state,
        );
    }

    #[test]
    fn a_million_statuses_of_a_node_are_read() {
        let places = vec!["192.0.2.1:7001".parse().unwrap(), "[2001:db8::1]:7001".parse().unwrap()];
        let says = NodeSays {
            node: address(1),
            endpoints: places.clone(),
            observed: places,
            reachability: Reachability::Reachable,
            peers: 2,
            network_size: 3,
            envelopes: 4,
            envelope_bytes: 5,
            tombstones: 6,
            connected: true,
            entries: vec![address(2), address(3)],
            rotating_entry: Some(address(4)),
        };
        storm(&[client::GetStatusResponse::from(says)], status);
    }

    #[test]
    fn a_million_tables_of_a_node_are_read() {
        let peer = |digit, place: &str| Peer {
            contact: Contact::new(
                KeyPair::from_seed(&[digit; 32]).public(),
                [place.parse().unwrap()],
            ),
            status: PeerStatus::Good,
            last_seen: Time::from_millis(5),
        };
        let peers = [peer(1, "192.0.2.1:7001"), peer(2, "[2001:db8::1]:7001")];
        let peers = peers.map(client::PeerInfo::from).to_vec();
        storm(&[client::ListPeersResponse { peers }], super::peers);
    }

    #[test]
    fn a_million_refusals_of_a_node_are_read() {
        let words: Vec<_> = (1..=16)
            .map(|code| Rejection::from_code(code).name().as_bytes().to_vec())
            .chain([b"later".to_vec(), b"never".to_vec()])
            .collect();
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let [mut known, mut unknown] = [0_u32; 2];
        for _ in 0..ANSWERS {
            let mut metadata = MetadataMap::new();
            for key in ["comm-code", "comm-retry"] {
                // What is no text is not let through by gRPC.
                if let Ok(value) = MetadataValue::try_from(&drawn(&mut rng, &words)[..]) {
                    metadata.insert(key, value);
                }
            }
            let code = Code::from(below(&mut rng, 20) as i32);
            let status = Status::with_metadata(code, "text", metadata);
            match rejection(&status) {
                Rejection::Malformed(_) => unknown += 1,
                _ => known += 1,
            }
            assert!(!reason(&status).is_empty());
        }
        assert!(known.min(unknown) > ANSWERS / RAREST, "{known}, {unknown}");
    }
}
