//! Who is waiting for what the node says: questions not yet answered, and open streams.
//!
//! Entry type is [`Recipients`]. Sending never waits: a stream that cannot take one more thing is
//! ended, so that a slow reader delays nobody else. What that means to the node is returned as an
//! input.

use std::collections::BTreeMap;

use comm_proto::address::Address;
use comm_proto::message::{ClientPush, ClientResponse, Push, Response};
use comm_proto::node::{Input, RequestId, SessionId};
use comm_proto::rejection::Rejection;
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use crate::metrics;

use super::work::{SessionEvent, SessionOutlet, Tag};

/// Everybody who waits. Bounded by the inbox, which admits questions and streams, and by the node,
/// which answers every question.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    drawn: u64,
    waiters: BTreeMap<RequestId, Waiter>,
    sessions: BTreeMap<SessionId, SessionOutlet>,
    listeners: BTreeMap<Address, Listening>,
    answers: Answers,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Waiter {
    /// Another node.
    Peer(oneshot::Sender<Result<Response, Rejection>>),
    /// A client's call.
    Client(oneshot::Sender<ClientResult>),
    /// A client's stream.
    Session(SessionId, Tag),
}

/// What clients' calls are answered, on its way to them.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<(oneshot::Sender<ClientResult>, ClientResult)>);

type ClientResult = Result<ClientResponse, Rejection>;

#[derive(Debug)]
struct Listening {
    stream: u64,
    pushes: mpsc::Sender<Push>,
}

impl Recipients {
    /// A fresh name for a question.
    pub(super) fn draw(&mut self) -> RequestId {
        self.drawn += 1;
        RequestId(self.drawn)
    }

    /// A name for a question whose answer goes to `waiter`.
    pub(super) fn expect(&mut self, waiter: Waiter) -> RequestId {
        let id = self.draw();
        self.waiters.insert(id, waiter);
        id
    }

    /// Whether any question is still to be answered.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Answers another node; whoever has gone away meanwhile needs no answer.
    pub(super) fn reply(&mut self, id: RequestId, result: Result<Response, Rejection>) {
        if let Some(Waiter::Peer(reply)) = self.waiters.remove(&id) {
            let _gone = reply.send(result);
        }
    }

    /// Answers a client; a call is answered by [`Self::take_answers`].
    pub(super) fn client_reply(&mut self, id: RequestId, result: ClientResult) -> Option<Input> {
        match self.waiters.remove(&id)? {
            Waiter::Client(reply) => {
                self.answers.0.push((reply, result));
                None
            }
            Waiter::Session(session, tag) => self.send(session, SessionEvent::Reply(tag, result)),
            Waiter::Peer(_) => None,
        }
    }

    /// The answers to calls since the last time, if there are any.
    pub(super) fn take_answers(&mut self) -> Option<Answers> {
        (!self.answers.0.is_empty()).then(|| std::mem::take(&mut self.answers))
    }

    /// Tells a client.
    pub(super) fn client_push(&mut self, session: SessionId, push: ClientPush) -> Option<Input> {
        self.send(session, SessionEvent::Push(push))
    }

    /// Tells another node over its stream.
    pub(super) fn push(&mut self, to: &Address, push: Push) -> Option<Input> {
        let listening = self.listeners.get(to)?;
        let kind = kind(&push);
        if listening.pushes.try_send(push).is_ok() {
            metrics::pushed(kind);
            return None;
        }
        debug!(peer = %to, "a stream for pushes is read too slowly and ends");
        self.listeners.remove(to);
        Some(Input::ListenerClosed { peer: *to })
    }

    /// A newer stream replaces an older one of the same node, which ends.
    pub(super) fn open_listener(&mut self, peer: Address, stream: u64, pushes: mpsc::Sender<Push>) {
        self.listeners.insert(peer, Listening { stream, pushes });
    }

    /// Whether this was the node's current stream.
    pub(super) fn close_listener(&mut self, peer: &Address, stream: u64) -> bool {
        let current = self.listeners.get(peer).is_some_and(|open| open.stream == stream);
        current && self.listeners.remove(peer).is_some()
    }

    pub(super) fn open_session(&mut self, session: SessionId, outlet: SessionOutlet) {
        self.sessions.insert(session, outlet);
    }

    pub(super) fn has_session(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Whether the session was open.
    pub(super) fn close_session(&mut self, session: SessionId) -> bool {
        self.sessions.remove(&session).is_some()
    }

    fn send(&mut self, session: SessionId, event: SessionEvent) -> Option<Input> {
        let outlet = self.sessions.get(&session)?;
        outlet.events.try_send(event).err()?;
        debug!(session = session.0, "a client's stream is read too slowly and ends");
        let outlet = self.sessions.remove(&session)?;
        // Set once, and before the stream can see its end.
        let _set = outlet.end.set(Rejection::Busy);
        Some(Input::SessionClosed { session })
    }
}

impl Answers {
    /// Hands them over; whoever has gone away meanwhile needs none.
    pub(super) fn send(self) {
        for (reply, result) in self.0 {
            let _gone = reply.send(result);
        }
    }
}

const fn kind(push: &Push) -> &'static str {
    match push {
        Push::Waiting(_) => "waiting",
        Push::Acknowledgements(_) => "acknowledgements",
        Push::Receipts(_) => "receipts",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use super::*;

    const PEER: Address = Address::from_bytes([1; 20]);
    const SESSION: SessionId = SessionId(1);

    fn push() -> Push {
        Push::Waiting(Vec::new())
    }

    #[test]
    fn a_slow_listener_ends_and_the_node_is_told_once() {
        let (pushes, mut stream) = mpsc::channel(1);
        let mut recipients = Recipients::default();
        recipients.open_listener(PEER, 7, pushes);
        assert_eq!(recipients.push(&PEER, push()), None);
        let closed = Some(Input::ListenerClosed { peer: PEER });
        assert_eq!(recipients.push(&PEER, push()), closed);
        assert_eq!(recipients.push(&PEER, push()), None);
        assert!(!recipients.close_listener(&PEER, 7));
        assert_eq!(stream.try_recv(), Ok(push()));
        assert_eq!(stream.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    }

    #[test]
    fn the_end_of_a_replaced_stream_leaves_the_newer_one_open() {
        let ((old, _old_stream), (new, _new_stream)) = (mpsc::channel(1), mpsc::channel(1));
        let mut recipients = Recipients::default();
        recipients.open_listener(PEER, 7, old);
        recipients.open_listener(PEER, 8, new);
        assert!(!recipients.close_listener(&PEER, 7));
        assert!(recipients.close_listener(&PEER, 8));
    }

    #[test]
    fn calls_are_answered_together() {
        let mut recipients = Recipients::default();
        let (replies, mut calls): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel()).unzip();
        for reply in replies {
            let id = recipients.expect(Waiter::Client(reply));
            assert_eq!(recipients.client_reply(id, Ok(ClientResponse::Done)), None);
        }
        assert!(!recipients.is_waited_for());
        assert!(calls.iter_mut().all(|call| call.try_recv().is_err()));
        recipients.take_answers().unwrap().send();
        assert!(calls.iter_mut().all(|call| call.try_recv() == Ok(Ok(ClientResponse::Done))));
        assert!(recipients.take_answers().is_none());
    }

    #[test]
    fn a_slow_client_learns_why_its_stream_ends() {
        let (events, mut stream) = mpsc::channel(1);
        let end = Arc::<OnceLock<Rejection>>::default();
        let mut recipients = Recipients::default();
        recipients.open_session(SESSION, SessionOutlet { events, end: Arc::clone(&end) });
        assert_eq!(recipients.client_push(SESSION, ClientPush::CaughtUp), None);
        let closed = Some(Input::SessionClosed { session: SESSION });
        assert_eq!(recipients.client_push(SESSION, ClientPush::CaughtUp), closed);
        assert_eq!(end.get(), Some(&Rejection::Busy));
        assert!(stream.try_recv().is_ok());
        assert!(!recipients.has_session(SESSION));
    }
}
