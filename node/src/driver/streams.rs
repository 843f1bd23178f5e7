//! Streams as services hold them: what the driver sends comes out, and dropping one ends it.
//!
//! Entry types are [`Session`] for clients and [`Listener`] for other nodes. Neither encodes
//! anything; that is the services' work.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use comm_proto::address::Address;
use comm_proto::message::{ClientRequest, ClientResponse, Push};
use comm_proto::node::SessionId;
use comm_proto::rejection::Rejection;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::inbox::Inbox;
use super::work::{ClientReplyTo, ClientWork, Own, SessionEvent, Tag};

/// A client's stream; the node forgets it when this is dropped.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    inbox: Inbox,
    events: mpsc::Receiver<SessionEvent>,
    end: Arc<OnceLock<Rejection>>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Another node's stream for pushes; the node forgets it when this is dropped.
#[derive(Debug)]
pub struct Listener {
    peer: Address,
    stream: u64,
    inbox: Inbox,
    pushes: mpsc::Receiver<Push>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        inbox: Inbox,
        (events, end): (mpsc::Receiver<SessionEvent>, Arc<OnceLock<Rejection>>),
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { id, inbox, events, end, permit: Some(permit) }
    }

    /// Its name to the node.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// A way to ask over this stream that does not keep it open.
    pub fn asker(&self) -> Asker {
        Asker { session: self.id, inbox: self.inbox.clone() }
    }

    /// The next event; `None` at the end of the stream, for the reason [`Self::end`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<SessionEvent>> {
        self.events.poll_recv(context)
    }

    /// Why the node ended the stream.
    pub fn end(&self) -> Rejection {
        self.end.get().cloned().unwrap_or(Rejection::ShuttingDown)
    }
}

/// Asks on behalf of a session.
#[derive(Clone, Debug)]
pub struct Asker {
    session: SessionId,
    inbox: Inbox,
}

impl Asker {
    /// Asks, in a frame of `bytes` bytes; the answer comes into the session's stream under `tag`.
    ///
    /// # Errors
    /// As for [`Inbox::request`].
    pub fn ask(&self, request: ClientRequest, bytes: usize, tag: Tag) -> Result<(), Rejection> {
        let (session, reply) = (self.session, ClientReplyTo::Session(tag));
        self.inbox.client_work(ClientWork { session, request, reply }, bytes)
    }

    /// Asks, in a frame of `bytes` bytes; the answer comes through the receiver.
    ///
    /// # Errors
    /// As for [`Inbox::request`].
    pub fn call(
        &self,
        request: ClientRequest,
        bytes: usize,
    ) -> Result<oneshot::Receiver<Result<ClientResponse, Rejection>>, Rejection> {
        let (reply, answer) = oneshot::channel();
        let (session, reply) = (self.session, ClientReplyTo::Call(reply));
        self.inbox.client_work(ClientWork { session, request, reply }, bytes)?;
        Ok(answer)
    }

    /// Lets the node push more. The caller waits until at least half of what it gave has been used
    /// before it gives more. Lost when the node has ended.
    pub fn credit(&self, envelopes: u32) {
        let _ended = self.inbox.own(Own::Credit { session: self.session, envelopes });
    }
}

impl Listener {
    pub(super) fn new(
        (peer, stream): (Address, u64),
        inbox: Inbox,
        pushes: mpsc::Receiver<Push>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { peer, stream, inbox, pushes, permit: Some(permit) }
    }

    /// The next push; `None` when a newer stream has taken over, or this one reads too slowly.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Push>> {
        self.pushes.poll_recv(context)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let _ended = self.inbox.own(Own::SessionClosed { session: self.id, permit });
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let (peer, stream) = (self.peer, self.stream);
            let _ended = self.inbox.own(Own::ListenerClosed { peer, stream, permit });
        }
    }
}
