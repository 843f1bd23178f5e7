//! `Watch`: the states of envelopes, and each change of them (PROTOCOL §8).
//!
//! Entry type is [`Watching`], the stream of states. A client that reads too slowly is told so and
//! asks again; states are never dropped in silence.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use comm_proto::envelope::EnvelopeId;
use comm_proto::message::{ClientPush, ClientRequest, ClientResponse, EnvelopeState};
use comm_proto::rejection::Rejection;
use comm_proto::wire::client as wire;
use tokio_stream::Stream;
use tonic::Status;

use super::status::{refused, status};
use crate::driver::inbox::Inbox;
use crate::driver::streams::Session;
use crate::driver::work::SessionEvent;

/// Changes that wait for one slow client.
const CHANGES_MAX: usize = 1_024;

/// The states of watched envelopes.
#[derive(Debug)]
pub(super) struct Watching {
    session: Session,
    /// The states of the moment, still to be told.
    first: VecDeque<(EnvelopeId, EnvelopeState)>,
    ended: bool,
}

impl Watching {
    /// Begins to watch.
    pub(super) fn open(
        inbox: &Inbox,
        request: ClientRequest,
        bytes: usize,
    ) -> Result<Self, Rejection> {
        let session = inbox.open_session(CHANGES_MAX)?;
        session.asker().ask(request, bytes, None)?;
        Ok(Self { session, first: VecDeque::new(), ended: false })
    }

    fn end(&mut self, why: Status) -> Poll<Option<Result<wire::WatchResponse, Status>>> {
        self.ended = true;
        Poll::Ready(Some(Err(why)))
    }
}

impl Stream for Watching {
    type Item = Result<wire::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some((id, state)) = self.first.pop_front() {
                return Poll::Ready(Some(Ok(response(&id, state))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match std::task::ready!(self.session.poll_next(context)) {
                Some(SessionEvent::Push(ClientPush::State { id, state })) => {
                    return Poll::Ready(Some(Ok(response(&id, state))));
                }
                Some(SessionEvent::Reply(_, Ok(ClientResponse::States(states)))) => {
                    self.first = states.into();
                }
                Some(SessionEvent::Reply(_, Err(reason))) => return self.end(status(&reason)),
                Some(SessionEvent::Push(_) | SessionEvent::Reply(..)) => {}
                None => {
                    let why = refused(&self.session.end());
                    return self.end(why);
                }
            }
        }
    }
}

fn response(id: &EnvelopeId, state: EnvelopeState) -> wire::WatchResponse {
    let id = Bytes::copy_from_slice(id.as_bytes());
    wire::WatchResponse { id, state: Some(state.into()) }
}
