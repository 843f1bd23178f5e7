//! How well a conversation is connected, as far as it can be known here.
//!
//! Entry type is [`Reach`]. What is known is: whether our node answers; which of the relays that it
//! submits to and collects from have answered it lately; how far the newest message to somebody has
//! come; and when they were last heard of. Nothing is sent to find out, and what nobody has told is
//! not guessed: a relay that was lost a moment ago counts until it fails to answer, and somebody at the
//! same node as we is reached without any relay.

use std::fmt;

use comm_proto::agent::{MessageNumber, MessageState, Standing};
use comm_proto::message::PeerStatus;
use comm_proto::time::{Span, Time};

use crate::link::{NodeStatus, PeerLine};

/// Receipts, and relays that answer, from which on nothing is wanting (PROTOCOL §6.1).
const ENOUGH: usize = 3;
/// How long news of somebody counts: as long as a relay that answered counts as good (PROTOCOL §5.3).
const FRESH: Span = Span::from_mins(15);
/// How long a message may take to move on before that means something.
const GRACE: Span = Span::from_secs(5);

/// How well a conversation is connected, and what that is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// How well.
    pub level: Level,
    /// By what.
    pub reason: Reason,
}

/// How well a conversation is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing leaves at present.
    None,
    /// Messages leave, but to fewer relays than they should.
    Partial,
    /// As it should be.
    Full,
}

/// What a [`Level`] is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no connection to our node.
    NoNode,
    /// So many of so many relays that matter have answered our node within 15 minutes.
    Relays {
        /// Those that have.
        answering: usize,
        /// All of them.
        known: usize,
    },
    /// Our newest message is on our own disk only.
    Here(MessageNumber),
    /// Our newest message is on our node's disk only.
    OnNode(MessageNumber),
    /// Our newest message is on the disks of so many relays.
    OnRelays(MessageNumber, u32),
    /// A message of theirs or word of a delivery came within 15 minutes.
    Heard,
}

/// What the node tells of the relays that matter for all conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    answering: usize,
    known: usize,
}

impl Network {
    /// Those are the node's entries; where it has none, in a small network, everybody it knows.
    pub(crate) fn new(status: &NodeStatus, peers: &[PeerLine]) -> Self {
        let entries = &status.entries;
        let matters = |peer: &&PeerLine| entries.is_empty() || entries.contains(&peer.address);
        let matter: Vec<_> = peers.iter().filter(matters).collect();
        let answers = |peer: &&&PeerLine| peer.status == Some(PeerStatus::Good);
        Self {
            answering: matter.iter().filter(answers).count(),
            known: matter.len().max(entries.len()),
        }
    }

    fn reach(self) -> Reach {
        let level = match self.answering {
            0 => Level::None,
            answering if answering < ENOUGH => Level::Partial,
            _ => Level::Full,
        };
        let Self { answering, known } = self;
        Reach { level, reason: Reason::Relays { answering, known } }
    }
}

impl Reach {
    /// What follows from all that is known at `now`. Without a `network` the node does not answer.
    pub(crate) fn of(standing: &Standing, network: Option<Network>, now: Time) -> Self {
        let Some(network) = network else {
            return Self { level: Level::None, reason: Reason::NoNode };
        };
        let newest = standing.newest.filter(|newest| newest.sent_at + GRACE <= now);
        let on_its_way = newest.map(|newest| by_message(newest.number, newest.state));
        if let Some(wanting) = on_its_way.filter(|reach| reach.level < Level::Full) {
            return wanting;
        }
        let is_fresh = standing.heard_at.is_some_and(|at| now.since(at) <= FRESH);
        if is_fresh && on_its_way.is_none() {
            return Self { level: Level::Full, reason: Reason::Heard };
        }
        network.reach()
    }
}

fn by_message(number: MessageNumber, state: MessageState) -> Reach {
    let (level, reason) = match state {
        MessageState::Queued => (Level::None, Reason::Here(number)),
        MessageState::Accepted => (Level::None, Reason::OnNode(number)),
        MessageState::Stored(relays) if (relays as usize) < ENOUGH => {
            (Level::Partial, Reason::OnRelays(number, relays))
        }
        MessageState::Stored(relays) => (Level::Full, Reason::OnRelays(number, relays)),
        MessageState::Delivered { .. } | MessageState::Expired | MessageState::Cancelled => {
            (Level::Full, Reason::Heard)
        }
    };
    Reach { level, reason }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Partial => "partial",
            Self::Full => "full",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNode => f.write_str("your node does not answer"),
            Self::Relays { known: 0, .. } => f.write_str("your node knows no other relay"),
            Self::Relays { answering, known } => {
                write!(f, "{answering} of {known} relays answered your node in the last 15 minutes")
            }
            Self::Here(number) => write!(f, "#{} is on this machine only", number.0),
            Self::OnNode(number) => write!(f, "#{} is on your node only", number.0),
            Self::OnRelays(number, 1) => write!(f, "#{} is on 1 relay", number.0),
            Self::OnRelays(number, relays) => write!(f, "#{} is on {relays} relays", number.0),
            Self::Heard => f.write_str("heard of in the last 15 minutes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::address::Address;
    use comm_proto::agent::{Contact, Newest, ReceiptRule};
    use comm_proto::message::Reachability;

    use super::*;

    const NOW: Time = Time::from_millis(1_760_000_000_000);

    fn standing(state: Option<MessageState>, heard: Option<Span>) -> Standing {
        let contact = Contact {
            name: "bob".to_owned(),
            address: Address::from_bytes([1; 20]),
            key: None,
            is_named: true,
            note: String::new(),
            lifetime: None,
            unread: 0,
            receipts: ReceiptRule::AsForAll,
            muted: false,
            compared_at: None,
            profile: None,
            former: Vec::new(),
            doubt: None,
        };
        let number = MessageNumber(7);
        let newest = state.map(|state| Newest { number, state, sent_at: NOW - GRACE });
        Standing { contact, newest, heard_at: heard.map(|ago| NOW - ago) }
    }

    fn level(standing: &Standing, answering: usize) -> Level {
        Reach::of(standing, Some(Network { answering, known: 5 }), NOW).level
    }

    #[test]
    fn without_a_node_nothing_is_connected_whatever_was_before() {
        let best = standing(Some(MessageState::Stored(9)), Some(Span::from_secs(1)));
        let reach = Reach::of(&best, None, NOW);
        assert_eq!(reach, Reach { level: Level::None, reason: Reason::NoNode });
    }

    #[test]
    fn a_quiet_conversation_is_as_well_connected_as_the_node() {
        let quiet = standing(None, Some(Span::from_mins(16)));
        let levels = [0, 1, 2, 3, 5].map(|answering| level(&quiet, answering));
        let (full, partial) = (Level::Full, Level::Partial);
        assert_eq!(levels, [Level::None, partial, partial, full, full]);
        assert_eq!(level(&standing(None, Some(FRESH)), 1), full);
    }

    #[test]
    fn a_message_that_does_not_get_on_counts_for_more_than_what_the_node_believes() {
        let with = |state| level(&standing(Some(state), Some(Span::from_secs(9))), 5);
        assert_eq!(with(MessageState::Queued), Level::None);
        assert_eq!(with(MessageState::Accepted), Level::None);
        assert_eq!(with(MessageState::Stored(2)), Level::Partial);
        assert_eq!(with(MessageState::Stored(3)), Level::Full);
        // That it is stored says nothing of the relays of today.
        assert_eq!(level(&standing(Some(MessageState::Stored(3)), None), 0), Level::None);
        let mut just_sent = standing(Some(MessageState::Accepted), None);
        just_sent.newest = just_sent.newest.map(|newest| Newest { sent_at: NOW, ..newest });
        assert_eq!(level(&just_sent, 5), Level::Full);
    }

    #[test]
    fn entries_count_alone_where_there_are_some() {
        let address = |n| Address::from_bytes([n; 20]);
        let peer = |n, status| PeerLine {
            address: address(n),
            endpoints: Vec::new(),
            status: Some(status),
            last_seen: NOW,
        };
        let peers = [
            peer(1, PeerStatus::Good),
            peer(2, PeerStatus::Questionable),
            peer(3, PeerStatus::Good),
            peer(4, PeerStatus::Bad),
        ];
        let mut status = NodeStatus {
            node: address(9),
            endpoints: Vec::new(),
            observed: Vec::new(),
            reachability: Reachability::Unknown,
            peers: 4,
            network_size: 5,
            envelopes: 0,
            envelope_bytes: 0,
            tombstones: 0,
            connected: true,
            version: String::new(),
            time: NOW,
            entries: Vec::new(),
            rotating_entry: None,
        };
        assert_eq!(Network::new(&status, &peers), Network { answering: 2, known: 4 });
        status.entries = [1, 2, 8].map(address).to_vec();
        assert_eq!(Network::new(&status, &peers), Network { answering: 1, known: 3 });
    }
}
