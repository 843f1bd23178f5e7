//! What nodes say to each other and what clients say to their node, as values that are valid.
//!
//! Entry types are [`Request`], [`Response`] and [`Push`] between nodes (PROTOCOL §7), and
//! [`ClientRequest`], [`ClientResponse`] and [`ClientPush`] between a client and its node
//! (PROTOCOL §8). Whatever carries a signature is [`Verified`]; lists are within their bounds,
//! because [`crate::wire`] refuses to make any other. No bytes here.

use std::net::SocketAddr;

use crate::acknowledgement::Acknowledgement;
use crate::address::Address;
use crate::card::Card;
use crate::contact::Contact;
use crate::digest::Digest;
use crate::envelope::{Envelope, EnvelopeId};
use crate::grant::Grant;
use crate::receipt::Receipt;
use crate::rejection::Rejection;
pub use crate::table::Status as PeerStatus;
use crate::time::Time;
use crate::verified::Verified;

/// The most ids one message carries.
pub const IDS_MAX: usize = 256;
/// The most envelopes one message carries.
pub const ENVELOPES_MAX: usize = 64;
/// The most body bytes one message carries, summed over its envelopes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// The most acknowledgements, receipts or grants one message carries.
pub const SIGNED_MAX: usize = 64;
/// The most contacts one answer carries.
pub const CONTACTS_MAX: usize = 20;

/// What a node asks another node (PROTOCOL §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Are you there? Tells where the asker listens, so that it can be dialled back.
    Ping {
        /// The asker's own endpoints; none for a leaf.
        endpoints: Vec<SocketAddr>,
    },
    /// Who is nearest to an address?
    FindNode {
        /// The address looked for.
        target: Address,
    },
    /// These envelopes are to be had: which do you lack?
    Offer {
        /// At most [`IDS_MAX`].
        ids: Vec<EnvelopeId>,
    },
    /// So many envelopes are to be had that only a digest of them is sent.
    Digest {
        /// The asker's envelopes.
        digest: Digest,
        /// The lowest mailbox they are in.
        from: Address,
        /// The highest mailbox they are in.
        to: Address,
    },
    /// Envelopes to take into custody.
    Deliver {
        /// At most [`ENVELOPES_MAX`].
        envelopes: Vec<Envelope>,
    },
    /// Envelopes that have been read and may end.
    Acknowledge {
        /// At most [`SIGNED_MAX`].
        acknowledgements: Vec<Verified<Acknowledgement>>,
    },
    /// Proof that envelopes the answerer handed over are stored elsewhere.
    Receipts {
        /// At most [`SIGNED_MAX`].
        receipts: Vec<Verified<Receipt>>,
    },
    /// A card to keep for whoever looks its owner up.
    PutCard {
        /// The newest one wins.
        card: Box<Verified<Card>>,
    },
    /// The newest card of an owner.
    GetCard {
        /// The owner's address.
        owner: Address,
    },
    /// A card to publish on the asker's behalf: the answerer keeps it and puts it in the owner's
    /// region, so that the asker stays out of that region's sight (PROTOCOL §6.8, §6.9).
    PublishCard {
        /// The newest one wins.
        card: Box<Verified<Card>>,
    },
    /// The newest card of an owner, to be looked up in the owner's region on the asker's behalf.
    FindCard {
        /// The owner's address.
        owner: Address,
    },
    /// Tell me what waits in these mailboxes, and what arrives from now on.
    Subscribe {
        /// At most [`SIGNED_MAX`]. Those for the asker let it collect from the answerer; those for
        /// the answerer ask it to collect on the asker's behalf (PROTOCOL §6.8).
        grants: Vec<Verified<Grant>>,
        /// The answer's cursor of last time; 0 for everything.
        after: u64,
    },
    /// The bodies of envelopes in subscribed mailboxes.
    Fetch {
        /// At most [`ENVELOPES_MAX`].
        ids: Vec<EnvelopeId>,
    },
    /// Dial the asker back at each of these endpoints, and tell what came of it (PROTOCOL §5.1).
    DialBack {
        /// From 1 to [`ENDPOINTS_MAX`](crate::contact::ENDPOINTS_MAX).
        endpoints: Vec<SocketAddr>,
    },
}

/// What a node answers another node (PROTOCOL §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::Ping`].
    Pong {
        /// The answerer's clock.
        time: Time,
        /// From where the answerer has seen the call come; older nodes do not say.
        observed: Option<SocketAddr>,
    },
    /// To [`Request::FindNode`]: the nearest nodes the answerer has talked to itself.
    Nodes {
        /// At most [`CONTACTS_MAX`], nearest first.
        contacts: Vec<Contact>,
    },
    /// To [`Request::Offer`].
    Offered {
        /// Those to deliver.
        wanted: Vec<EnvelopeId>,
        /// For those already on the answerer's disk.
        receipts: Vec<Verified<Receipt>>,
        /// For those that have been read.
        acknowledgements: Vec<Verified<Acknowledgement>>,
    },
    /// To [`Request::Digest`].
    Digested {
        /// What the answerer holds of the mailboxes asked about.
        digest: Digest,
        /// For those of the asker's that have been read.
        acknowledgements: Vec<Verified<Acknowledgement>>,
    },
    /// To [`Request::Deliver`].
    Delivered {
        /// For those now on the answerer's disk.
        receipts: Vec<Verified<Receipt>>,
        /// Those refused, each with its reason.
        refused: Vec<(EnvelopeId, Rejection)>,
        /// For those that have been read.
        acknowledgements: Vec<Verified<Acknowledgement>>,
    },
    /// To requests that only tell.
    Done,
    /// To [`Request::GetCard`] and [`Request::FindCard`].
    Card {
        /// The newest card, if any.
        card: Option<Box<Verified<Card>>>,
    },
    /// To [`Request::Subscribe`].
    Subscribed {
        /// One page of what waits, oldest first; at most [`IDS_MAX`].
        waiting: Vec<Waiting>,
        /// To be given as `after` for the next page.
        cursor: u64,
        /// Whether there is a next page.
        more: bool,
    },
    /// To [`Request::Fetch`]; what has gone meanwhile is left out.
    Fetched {
        /// In the order asked, as many as fit.
        envelopes: Vec<Envelope>,
    },
    /// To [`Request::DialBack`].
    DialledBack {
        /// One for each endpoint, in the order asked.
        outcomes: Vec<DialOutcome>,
    },
}

/// What came of dialling a caller back at one endpoint (PROTOCOL §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DialOutcome {
    /// It was not reached, for a reason that is none of these, or that only newer nodes know.
    Failed,
    /// It answered there and proved its key.
    Reached,
    /// The connection was refused: nothing listens there.
    Refused,
    /// Nothing came back: a firewall or NAT throws away what is sent there.
    TimedOut,
    /// Another node answered.
    OtherKey,
    /// Somebody took the connection who is no node of this network.
    NoNode,
    /// There is no way from the node that dialled to there.
    NoRoute,
    /// Not dialled: the call did not come from there, or there have been too many.
    NotTried,
}

/// An envelope that waits in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The mailbox.
    pub mailbox: Address,
    /// The envelope.
    pub id: EnvelopeId,
}

/// What a node tells a subscriber without being asked, over the stream that the subscriber
/// opened (PROTOCOL §7.2). Loss is made good by the next subscription or offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// Something arrived in a subscribed mailbox.
    Waiting(Vec<Waiting>),
    /// Envelopes the subscriber holds have been read.
    Acknowledgements(Vec<Verified<Acknowledgement>>),
    /// Envelopes the subscriber handed over are stored elsewhere.
    Receipts(Vec<Verified<Receipt>>),
}

/// How far a submitted envelope has come; it only ever moves down this list (PROTOCOL §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EnvelopeState {
    /// On this node's disk.
    Accepted,
    /// On the disks of this many other nodes, each with a receipt that this node has checked.
    Stored(u32),
    /// The recipient's acknowledgement has come back.
    Delivered {
        /// When this node learnt of it.
        at: Time,
    },
    /// Its time ended before any acknowledgement came.
    Expired,
    /// The sender took it back; copies that had left may still arrive.
    Cancelled,
}

/// What a client asks its node (PROTOCOL §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRequest {
    /// Takes an envelope into custody as the sender's own; the same envelope twice is one.
    Submit {
        /// The sealed envelope.
        envelope: Envelope,
    },
    /// Stops relaying a submitted envelope.
    Cancel {
        /// Which.
        id: EnvelopeId,
    },
    /// The state of envelopes now, and a push at each change while the session lasts.
    Watch {
        /// At most [`IDS_MAX`].
        ids: Vec<EnvelopeId>,
    },
    /// Opens mailboxes for this session: first what waits, then what arrives.
    Subscribe {
        /// At most [`SIGNED_MAX`]; those that name another collector are passed on to it.
        grants: Vec<Verified<Grant>>,
        /// The cursor of the last envelope this client has kept; 0 for everything.
        after: u64,
    },
    /// Lets the node push this many more envelopes.
    Credit {
        /// Added to what is left.
        envelopes: u32,
    },
    /// Envelopes that have been read and may end.
    Acknowledge {
        /// At most [`SIGNED_MAX`].
        acknowledgements: Vec<Verified<Acknowledgement>>,
    },
    /// Publishes a card in its owner's region.
    PublishCard {
        /// The card.
        card: Box<Verified<Card>>,
    },
    /// Looks up the newest card of an owner.
    FindCard {
        /// The owner's address.
        owner: Address,
    },
    /// The nodes in the table.
    Peers,
    /// What this node is and does.
    Status,
}

/// What a node answers its client (PROTOCOL §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientResponse {
    /// To [`ClientRequest::Submit`].
    Submitted {
        /// At least accepted.
        state: EnvelopeState,
    },
    /// To [`ClientRequest::Cancel`].
    Cancelled {
        /// Whether a copy may be elsewhere: other nodes were offered it, or a reader may have been handed it.
        copies_may_exist: bool,
    },
    /// To [`ClientRequest::Watch`]; unknown envelopes are left out.
    States(Vec<(EnvelopeId, EnvelopeState)>),
    /// To requests that only tell.
    Done,
    /// To [`ClientRequest::FindCard`].
    Card {
        /// The newest card found, if any.
        card: Option<Box<Verified<Card>>>,
    },
    /// To [`ClientRequest::Peers`].
    Peers(Vec<Peer>),
    /// To [`ClientRequest::Status`].
    Status(Status),
}

/// What a node tells its client without being asked (PROTOCOL §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientPush {
    /// An envelope in a subscribed mailbox, within the session's credit.
    Envelope {
        /// Given back as `after` by a client that returns.
        cursor: u64,
        /// The envelope.
        envelope: Envelope,
    },
    /// Everything that waited at the time of the subscription has been pushed.
    CaughtUp,
    /// A watched envelope moved on.
    State {
        /// Which.
        id: EnvelopeId,
        /// Where to.
        state: EnvelopeState,
    },
}

/// One entry of the routing table, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Key and endpoints.
    pub contact: Contact,
    /// Its standing.
    pub status: PeerStatus,
    /// When it last answered or called.
    pub last_seen: Time,
}

/// Whether other nodes reach a node where it says it listens (PROTOCOL §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reachability {
    /// Nothing has shown it yet, or not lately.
    #[default]
    Unknown,
    /// One has called lately.
    Reachable,
    /// None has called, although one should have; or the node listens nowhere.
    Unreachable,
}

/// What a node is and does, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node's address.
    pub node: Address,
    /// Where it says it can be reached.
    pub endpoints: Vec<SocketAddr>,
    /// From where other nodes see its calls come; at most one of each family (PROTOCOL §5.1).
    pub observed: Vec<SocketAddr>,
    /// Whether other nodes reach it.
    pub reachability: Reachability,
    /// Nodes in the table.
    pub peers: u64,
    /// Its estimate of the network's size, itself included.
    pub network_size: u64,
    /// Envelopes on disk.
    pub envelopes: u64,
    /// Their bytes.
    pub envelope_bytes: u64,
    /// Tombstones on disk.
    pub tombstones: u64,
    /// Whether at least one other node has answered.
    pub connected: bool,
    /// The nodes it submits through and collects by; grants for them let them collect
    /// (PROTOCOL §6.8). None while the network is too small to need any.
    pub entries: Vec<Address>,
    /// A further node it collects by, which changes; a grant for it lets it collect. What is
    /// granted to it, sooner or later many nodes have seen (PROTOCOL §6.8).
    pub rotating_entry: Option<Address>,
}
