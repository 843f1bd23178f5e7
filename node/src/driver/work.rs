//! What can wait for the driver, and where answers go.
//!
//! Entry types are [`Own`], [`PeerWork`] and [`ClientWork`], one for each lane of the
//! [`super::inbox::Inbox`]. Plain data; whoever makes it has checked everything that can be checked
//! without the node's state.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use comm_proto::address::Address;
use comm_proto::envelope::EnvelopeId;
use comm_proto::key::PublicKey;
use comm_proto::message::{
    ClientPush, ClientRequest, ClientResponse, DialOutcome, Push, Request, Response,
};
use comm_proto::node::{CallId, Command, RequestId, SessionId};
use comm_proto::rejection::Rejection;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// The session of calls that open no stream: nothing is ever pushed to it.
pub const NO_SESSION: SessionId = SessionId(0);

/// What the node itself has begun or what must not be lost. Each item is admitted by a permit or
/// by the node's own bound on what it begins, so this lane needs no bound of its own.
#[derive(Debug)]
pub enum Own {
    /// A call came to its end.
    Response {
        /// As named in the call.
        id: CallId,
        /// Its answer.
        result: Result<Response, Rejection>,
    },
    /// A caller was dialled back.
    DialledBack {
        /// As named in the output.
        id: RequestId,
        /// What came of each endpoint.
        outcomes: Vec<DialOutcome>,
    },
    /// Another node opened its stream for pushes.
    ListenerOpened {
        /// Who.
        peer: Address,
        /// Which of its streams.
        stream: u64,
        /// Where pushes go.
        pushes: mpsc::Sender<Push>,
    },
    /// That stream ended.
    ListenerClosed {
        /// Whose.
        peer: Address,
        /// Which of its streams.
        stream: u64,
        /// The stream's place among all.
        permit: OwnedSemaphorePermit,
    },
    /// A stream of ours for pushes brings all of them from now on.
    ListenOpened {
        /// To whom.
        to: Address,
    },
    /// It ended though it is wanted.
    ListenClosed {
        /// To whom.
        to: Address,
    },
    /// A client opened a stream.
    SessionOpened {
        /// Which.
        session: SessionId,
        /// Where everything for it goes.
        outlet: SessionOutlet,
    },
    /// It ended.
    SessionClosed {
        /// Which.
        session: SessionId,
        /// The stream's place among all.
        permit: OwnedSemaphorePermit,
    },
    /// A client's stream has room again. A session has at most one of these under way.
    Credit {
        /// Which.
        session: SessionId,
        /// How many more envelopes may be pushed.
        envelopes: u32,
    },
    /// The operator wants something.
    Command(Command),
}

/// What other nodes want.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are the large one")]
pub enum PeerWork {
    /// A question.
    Request {
        /// The key that the link has proved.
        from: PublicKey,
        /// The other end of the link.
        source: SocketAddr,
        /// What.
        request: Request,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Response, Rejection>>,
    },
    /// A push over a stream that we opened.
    Push {
        /// From whom.
        from: Address,
        /// What.
        push: Push,
    },
}

/// What a client wants.
#[derive(Debug)]
pub struct ClientWork {
    /// Over which stream, or [`NO_SESSION`].
    pub session: SessionId,
    /// What.
    pub request: ClientRequest,
    /// Where the answer goes.
    pub reply: ClientReplyTo,
}

/// Where the answer to a client goes.
#[derive(Debug)]
pub enum ClientReplyTo {
    /// To a call that waits for it.
    Call(oneshot::Sender<Result<ClientResponse, Rejection>>),
    /// Into the session's own stream, in order with its pushes.
    Session(Tag),
}

/// What an answer in a session's stream answers: the envelope of a submission, if any.
pub type Tag = Option<EnvelopeId>;

/// What comes to a client's stream.
#[derive(Debug)]
pub enum SessionEvent {
    /// The node tells without being asked.
    Push(ClientPush),
    /// The node answers.
    Reply(Tag, Result<ClientResponse, Rejection>),
}

/// The driver's end of a client's stream.
#[derive(Debug)]
pub struct SessionOutlet {
    /// Where everything for the client goes; full when the client reads too slowly.
    pub events: mpsc::Sender<SessionEvent>,
    /// To be set before `events` is dropped: why the stream ends.
    pub end: Arc<OnceLock<Rejection>>,
}
