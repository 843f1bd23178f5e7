//! `SubmitStream`: many submissions under way at once, answered in any order (PROTOCOL §8).
//!
//! Entry type is [`Submissions`], the stream of answers. A client that sends faster than it reads is
//! read no further, so what is under way stays bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use comm_proto::envelope::EnvelopeId;
use comm_proto::message::{ClientRequest, ClientResponse};
use comm_proto::node::Event;
use comm_proto::rejection::Rejection;
use comm_proto::wire::{client as wire, decode};
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::status::{refused, worded};
use crate::driver::inbox::Inbox;
use crate::driver::streams::{Asker, Session};
use crate::driver::work::{SessionEvent, Tag};
use crate::metrics;

/// Submissions of one stream under way at once.
const UNDER_WAY_MAX: usize = 1_024;

type Answer = Result<wire::SubmitStreamResponse, Status>;

/// The answers to a stream of submissions.
#[derive(Debug)]
pub(super) struct Submissions {
    session: Session,
    /// Answers that need no node; closed once the client has sent its last submission.
    refusals: mpsc::Receiver<Answer>,
    /// One permit for each submission that may be begun.
    room: Arc<Semaphore>,
    reader: AbortHandle,
}

impl Submissions {
    /// Begins to read submissions.
    pub(super) fn open(
        inbox: &Inbox,
        submissions: Streaming<wire::SubmitRequest>,
    ) -> Result<Self, Rejection> {
        let session = inbox.open_session(UNDER_WAY_MAX)?;
        let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        // One more for the error that ends the stream.
        let (refuse, refusals) = mpsc::channel(UNDER_WAY_MAX + 1);
        let reader = Reader { asker: session.asker(), room: Arc::clone(&room), refuse };
        let reader = tokio::spawn(reader.read(submissions)).abort_handle();
        Ok(Self { session, refusals, room, reader })
    }

    fn is_all_answered(&self) -> bool {
        self.room.available_permits() == UNDER_WAY_MAX
    }
}

impl Drop for Submissions {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Stream for Submissions {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        match self.session.poll_next(context) {
            Poll::Ready(Some(event)) => {
                self.room.add_permits(1);
                return Poll::Ready(Some(Ok(answer(event))));
            }
            Poll::Ready(None) => return Poll::Ready(Some(Err(refused(&self.session.end())))),
            Poll::Pending => {}
        }
        match self.refusals.poll_recv(context) {
            Poll::Ready(Some(refusal)) => {
                self.room.add_permits(1);
                Poll::Ready(Some(refusal))
            }
            Poll::Ready(None) if self.is_all_answered() => Poll::Ready(None),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Takes submissions in, as far as there is room for answers.
struct Reader {
    asker: Asker,
    room: Arc<Semaphore>,
    refuse: mpsc::Sender<Answer>,
}

impl Reader {
    async fn read(self, mut submissions: Streaming<wire::SubmitRequest>) {
        loop {
            let Ok(permit) = self.room.acquire().await else { return };
            match submissions.message().await {
                Ok(Some(submission)) => {
                    permit.forget();
                    self.submit(submission);
                }
                Ok(None) => return,
                Err(error) => {
                    permit.forget();
                    // There is room for as many as there are permits.
                    let _sent = self.refuse.try_send(Err(worded(error)));
                    return;
                }
            }
        }
    }

    fn submit(&self, submission: wire::SubmitRequest) {
        let bytes = submission.encoded_len();
        let (tag, asked) = match decode::client::submit(submission) {
            Ok(request) => {
                let tag = envelope_id(&request);
                (tag, self.asker.ask(request, bytes, tag))
            }
            Err(reason) => (None, Err(reason)),
        };
        if let Err(reason) = asked {
            metrics::record(&Event::Refused { reason: reason.clone() });
            let answer = Ok(response(tag, Err(reason)));
            // There is room for as many as there are permits.
            let _sent = self.refuse.try_send(answer);
        }
    }
}

fn envelope_id(request: &ClientRequest) -> Option<EnvelopeId> {
    match request {
        ClientRequest::Submit { envelope } => Some(envelope.id()),
        _ => None,
    }
}

fn answer(event: SessionEvent) -> wire::SubmitStreamResponse {
    match event {
        SessionEvent::Reply(tag, result) => response(tag, result),
        // Nothing is pushed to a session that has only submitted.
        SessionEvent::Push(_) => wire::SubmitStreamResponse::default(),
    }
}

fn response(tag: Tag, result: Result<ClientResponse, Rejection>) -> wire::SubmitStreamResponse {
    use wire::submit_stream_response::Result as Wire;
    let id = tag.map(|id| Bytes::copy_from_slice(id.as_bytes())).unwrap_or_default();
    let result = match result {
        Ok(ClientResponse::Submitted { state }) => Some(Wire::State(state.into())),
        Ok(_) => None,
        Err(reason) => Some(Wire::Error((&reason).into())),
    };
    wire::SubmitStreamResponse { id, result }
}
