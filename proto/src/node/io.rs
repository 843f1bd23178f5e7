//! What goes into a node and what comes out: the whole of its contact with the world.
//!
//! Entry types are [`Input`] and [`Output`]. Plain data, compared by value, so that a test can state
//! what it expects. How a host moves them is in the crate documentation.

use std::net::SocketAddr;

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::EnvelopeId;
use crate::key::PublicKey;
use crate::message::{
    ClientPush, ClientRequest, ClientResponse, DialOutcome, EnvelopeState, Push, Request, Response,
};
use crate::rejection::Rejection;
use crate::store::{Batch, Seq};
use crate::time::Time;

use super::drain::Handover;

/// The tables of a node's store (PROTOCOL has no say in them; ARCHITECTURE.md explains the keys).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Time of expiry ‖ envelope id → the envelope as stored. In the order of expiry, so that what is
    /// over stands at the head, and a day that is over is one range.
    Envelopes,
    /// Envelope id → the custody record.
    Custody,
    /// Mailbox ‖ arrival number → envelope id.
    Mailboxes,
    /// Time due ‖ envelope id → nothing.
    Schedule,
    /// Source group ‖ lot → envelope id and the length of its body. Others' mail alone, in the order in
    /// which each group loses what it has brought.
    Shares,
    /// Time of expiry ‖ kind ‖ name → nothing. Envelopes are not in it.
    Expiry,
    /// First half of an envelope id → the number of its ending.
    Tombstones,
    /// Number of an ending → the acknowledgement, and which of its envelopes it ended here, or the
    /// cancellation.
    Acknowledgements,
    /// Owner's address → the card.
    Cards,
    /// Node's address → the contact.
    Contacts,
    /// Name → the node's own few values: schema version, arrival numbers.
    Meta,
}

impl Family {
    /// All tables.
    pub const ALL: [Self; 11] = [
        Self::Envelopes,
        Self::Custody,
        Self::Mailboxes,
        Self::Schedule,
        Self::Shares,
        Self::Expiry,
        Self::Tombstones,
        Self::Acknowledgements,
        Self::Cards,
        Self::Contacts,
        Self::Meta,
    ];

    /// A stable name, for stores that name their tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Envelopes => "envelopes",
            Self::Custody => "custody",
            Self::Mailboxes => "mailboxes",
            Self::Schedule => "schedule",
            Self::Shares => "shares",
            Self::Expiry => "expiry",
            Self::Tombstones => "tombstones",
            Self::Acknowledgements => "acknowledgements",
            Self::Cards => "cards",
            Self::Contacts => "contacts",
            Self::Meta => "meta",
        }
    }
}

/// Pairs a request from outside with its reply. The host draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Pairs a call of ours with its answer. The node draws it at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// One connection of a client. The host draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What the host tells a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The time that `poll_timeout` named has come, or simply: look at the clock.
    Tick,
    /// The disk has this batch and all before it.
    Durable(Seq),
    /// The files of this node's store take so many bytes of the disk now, with all that has been deleted
    /// and not given back yet (PROTOCOL §6.1). A host whose store takes more than what lives in it says so
    /// every few seconds; one that never does has a store that gives everything back at once.
    DiskTaken {
        /// Bytes.
        bytes: u64,
    },
    /// Another node, proved by its link, asks.
    Request {
        /// To be named in the reply.
        id: RequestId,
        /// Who asks: the key that the link has proved.
        from: PublicKey,
        /// The other end of that link, as this machine sees it.
        source: SocketAddr,
        /// The caller, if the host has its contact at hand. Nothing depends on it: where it is what the
        /// caller says of itself it is kept in place of a copy, so that the many nodes of a
        /// simulation have one contact of each and not one each.
        known: Option<Contact>,
        /// What.
        request: Request,
    },
    /// A call of ours came to its end. `Err` when nobody answered or the answer was a refusal.
    Response {
        /// As named in the call.
        id: CallId,
        /// The answer.
        result: Result<Response, Rejection>,
    },
    /// A caller was dialled back at what [`Output::DialBack`] named.
    DialledBack {
        /// As named there.
        id: RequestId,
        /// What came of each endpoint, in the order named.
        outcomes: Vec<DialOutcome>,
    },
    /// Another node opened its stream for pushes.
    ListenerOpened {
        /// Who.
        peer: Address,
    },
    /// That stream ended.
    ListenerClosed {
        /// Whose.
        peer: Address,
    },
    /// A stream that we opened, as [`Output::Listen`] wanted, brings all pushes from now on; those before may be
    /// lost. A host that never says so has every subscription renewed often (PROTOCOL §6.5).
    ListenOpened {
        /// To whom.
        to: Address,
    },
    /// That stream ended though it is wanted, and is opened again.
    ListenClosed {
        /// To whom.
        to: Address,
    },
    /// A push came over a stream that we opened.
    Push {
        /// From whom.
        from: Address,
        /// What.
        push: Push,
    },
    /// A client of this node asks.
    ClientRequest {
        /// To be named in the reply.
        id: RequestId,
        /// Over which connection.
        session: SessionId,
        /// What.
        request: ClientRequest,
    },
    /// A client's connection ended; its subscriptions and watches go.
    SessionClosed {
        /// Which.
        session: SessionId,
    },
    /// What the operator or the embedding program wants.
    Command(Command),
}

/// What the operator or the embedding program wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Find the network through these nodes. Kept until one has answered.
    Bootstrap(Vec<Contact>),
    /// From now on others reach it at these endpoints, which it tells them; a leaf stays one (PROTOCOL §5.1).
    Endpoints(Vec<SocketAddr>),
    /// Take nothing in any more and hand over what is here, to leave for good (PROTOCOL §6.10). Its end is
    /// told by [`Event::Drained`].
    Drain,
    /// Be an ordinary node again: the end of [`Command::Drain`] before or after its own.
    Stay,
}

/// What a node tells its host. Drain with `poll_output` until `None` after each input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Apply this before the next input; say [`Input::Durable`] once the disk has it.
    Write(Batch<Family>),
    /// Ask another node; say [`Input::Response`] with its answer, at the deadline at the latest.
    Call {
        /// To be named in the response.
        id: CallId,
        /// Whom.
        to: Contact,
        /// What.
        request: Request,
        /// When to give up.
        deadline: Time,
    },
    /// Dial whoever asks at each of these endpoints over a new link, in any order, and see who is there;
    /// say [`Input::DialledBack`] with what came of it, at the deadline at the latest.
    DialBack {
        /// To be named in the input.
        id: RequestId,
        /// Who should be there.
        key: PublicKey,
        /// Where; at least one, all at the IP address from where the caller called.
        endpoints: Vec<SocketAddr>,
        /// When to give up.
        deadline: Time,
    },
    /// Answer another node.
    Reply {
        /// As named in the request.
        id: RequestId,
        /// The answer.
        result: Result<Response, Rejection>,
    },
    /// Keep a stream for pushes open to this node, or no longer.
    Listen {
        /// To whom.
        to: Contact,
        /// Whether to keep it open.
        open: bool,
    },
    /// Tell a node that opened its stream for pushes. A host that cannot keep up closes the stream.
    Push {
        /// Whom.
        to: Address,
        /// What.
        push: Push,
    },
    /// Answer a client.
    ClientReply {
        /// As named in the request.
        id: RequestId,
        /// The answer.
        result: Result<ClientResponse, Rejection>,
    },
    /// Tell a client.
    ClientPush {
        /// Over which connection.
        session: SessionId,
        /// What.
        push: ClientPush,
    },
    /// Something happened that an operator, a metric or a test may want to know.
    Event(Event),
}

/// What happened, for metrics, logs and tests. Nothing depends on anybody listening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An envelope was taken into the store.
    Accepted {
        /// Which.
        id: EnvelopeId,
        /// Bytes of its body.
        bytes: usize,
    },
    /// A submitted envelope moved on.
    State {
        /// Which.
        id: EnvelopeId,
        /// Where to.
        state: EnvelopeState,
    },
    /// Another node took an envelope from us.
    Relayed {
        /// Which.
        id: EnvelopeId,
        /// Who.
        to: Address,
    },
    /// An envelope ended by its recipient's acknowledgement.
    Acknowledged {
        /// Which.
        id: EnvelopeId,
    },
    /// An envelope ended by its time.
    Expired {
        /// Which.
        id: EnvelopeId,
    },
    /// An envelope of others gave way to another, since the disk is full (PROTOCOL §6.1).
    Evicted {
        /// Which.
        id: EnvelopeId,
    },
    /// Somebody was refused.
    Refused {
        /// Why.
        reason: Rejection,
    },
    /// A node entered the table.
    PeerAdded {
        /// Which.
        peer: Address,
    },
    /// A first answer came: the node is part of the network.
    Connected,
    /// This node's clock is ahead of most others' by more than clocks may disagree: it deletes and
    /// refuses by theirs (PROTOCOL §6.7).
    ClockAhead {
        /// How far.
        by: crate::time::Span,
    },
    /// This node's clock is behind most others' by more than clocks may disagree: it keeps everything
    /// for as much longer, and takes nothing that lives as long as may be.
    ClockBehind {
        /// How far.
        by: crate::time::Span,
    },
    /// This node's clock is again within the tolerance of most others'.
    ClockAgreed,
    /// Handing over has come to its end. If it is complete the node waits to be ended; if not, it goes on as
    /// before and has everything (PROTOCOL §6.10).
    Drained {
        /// What became of what it held.
        handover: Handover,
    },
    /// A lookup came to its end.
    LookedUp {
        /// Queries it took.
        queries: u32,
        /// Nodes that answered.
        answered: u32,
        /// How long it took.
        took: crate::time::Span,
    },
}

/// Why `poll_timeout` names the time it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Envelopes are due for a relay round.
    Relay,
    /// Something expires.
    Expiry,
    /// The table wants looking after.
    Table,
    /// Subscriptions want renewing.
    Collect,
    /// A card lookup of a client ends.
    CardLookup,
    /// The network has not been found yet.
    Bootstrap,
    /// What is here is being handed over.
    Drain,
}
