//! `Receive`: what waits in mailboxes, then what arrives, for as long as the client listens
//! (PROTOCOL §8).
//!
//! Entry type is [`Receiving`], the stream of envelopes. The node is given credit in small parts, and
//! no more before the client has taken what came: a client that stops reading costs a bounded
//! number of envelopes in memory and delays nobody, and reads on when it likes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use comm_proto::message::{ClientPush, ClientRequest, ClientResponse};
use comm_proto::rejection::Rejection;
use comm_proto::wire::decode::client::CREDIT_MAX;
use comm_proto::wire::{client as wire, decode};
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::status::{refused, status, worded};
use crate::clock::Clock;
use crate::driver::inbox::Inbox;
use crate::driver::streams::{Asker, Session};
use crate::driver::work::SessionEvent;

/// Envelopes that the node may push ahead of the client: 16 MiB of the largest.
const WINDOW: u32 = 256;
/// Batches of acknowledgements under way.
const ACKNOWLEDGEMENTS_MAX: usize = 64;
/// Events that can wait: envelopes, answers, and the word that the client has caught up, which is
/// said once for each message that opens mailboxes.
const EVENTS_MAX: usize = WINDOW as usize + ACKNOWLEDGEMENTS_MAX + 64;

/// The envelopes of opened mailboxes.
#[derive(Debug)]
pub(super) struct Receiving {
    session: Session,
    credit: Arc<Credit>,
    /// One permit for each batch of acknowledgements that may be begun.
    room: Arc<Semaphore>,
    /// What was wrong with a message of the client, which ends the stream.
    failures: mpsc::Receiver<Status>,
    reader: AbortHandle,
    ended: bool,
}

/// How many envelopes may come, and how many of these the node has been told of.
#[derive(Debug)]
struct Credit {
    asker: Asker,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Given by the client, not yet to the node.
    left: u32,
    /// Given to the node, not yet used.
    given: u32,
}

/// Takes the client's messages in.
struct Reader {
    asker: Asker,
    clock: Arc<Clock>,
    credit: Arc<Credit>,
    room: Arc<Semaphore>,
    has_opened: bool,
}

impl Receiving {
    /// Begins to read what the client wants.
    pub(super) fn open(
        inbox: &Inbox,
        clock: Arc<Clock>,
        requests: Streaming<wire::ReceiveRequest>,
    ) -> Result<Self, Rejection> {
        let session = inbox.open_session(EVENTS_MAX)?;
        let asker = session.asker();
        let credit = Arc::new(Credit { asker: asker.clone(), counts: Mutex::default() });
        let room = Arc::new(Semaphore::new(ACKNOWLEDGEMENTS_MAX));
        let (fail, failures) = mpsc::channel(1);
        let (for_reader, reader_room) = (Arc::clone(&credit), Arc::clone(&room));
        let reader =
            Reader { asker, clock, credit: for_reader, room: reader_room, has_opened: false };
        let reader = tokio::spawn(async move {
            if let Err(status) = reader.read(requests).await {
                // The only thing ever sent; whoever does not listen any more need not know.
                let _sent = fail.try_send(status);
            }
        });
        let reader = reader.abort_handle();
        Ok(Self { session, credit, room, failures, reader, ended: false })
    }

    /// What the client is told of an event, if anything.
    fn tell(&self, event: SessionEvent) -> Option<Result<wire::ReceiveResponse, Status>> {
        use wire::receive_response::Response as Wire;
        let response = match event {
            SessionEvent::Push(ClientPush::Envelope { cursor, envelope }) => {
                self.credit.use_one();
                let envelope = Some((&envelope).into());
                Wire::Envelope(wire::Received { cursor, envelope })
            }
            SessionEvent::Push(ClientPush::CaughtUp) => Wire::CaughtUp(wire::CaughtUp {}),
            SessionEvent::Reply(_, Ok(ClientResponse::Done)) => {
                self.room.add_permits(1);
                Wire::Acknowledged(wire::AcknowledgeResponse {})
            }
            SessionEvent::Reply(_, Err(reason)) => return Some(Err(status(&reason))),
            SessionEvent::Push(ClientPush::State { .. }) | SessionEvent::Reply(..) => return None,
        };
        Some(Ok(wire::ReceiveResponse { response: Some(response) }))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Stream for Receiving {
    type Item = Result<wire::ReceiveResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let item = match self.session.poll_next(context) {
                Poll::Ready(Some(event)) => self.tell(event),
                Poll::Ready(None) => Some(Err(refused(&self.session.end()))),
                // A client that only listens from now on has closed its side without a failure.
                Poll::Pending => match self.failures.poll_recv(context) {
                    Poll::Ready(Some(failure)) => Some(Err(failure)),
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                },
            };
            if let Some(item) = item {
                self.ended = item.is_err();
                return Poll::Ready(Some(item));
            }
        }
        Poll::Ready(None)
    }
}

impl Reader {
    async fn read(mut self, mut requests: Streaming<wire::ReceiveRequest>) -> Result<(), Status> {
        while let Some(message) = requests.message().await.map_err(worded)? {
            let bytes = message.encoded_len();
            let asked = decode::client::receive(message, self.clock.now());
            for request in asked.map_err(|reason| refused(&reason))? {
                self.take(request, bytes).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, request: ClientRequest, bytes: usize) -> Result<(), Status> {
        match request {
            ClientRequest::Subscribe { .. } => self.subscribe(request, bytes).await,
            _ if !self.has_opened => {
                Err(refused(&Rejection::Malformed("the first message opens mailboxes")))
            }
            ClientRequest::Credit { envelopes } => {
                self.credit.add(envelopes);
                Ok(())
            }
            other => self.acknowledge(other, bytes).await,
        }
    }

    /// Waits for the answer, as the node takes credit only for mailboxes that are open.
    async fn subscribe(&mut self, request: ClientRequest, bytes: usize) -> Result<(), Status> {
        let answer = self.asker.call(request, bytes).map_err(|reason| refused(&reason))?;
        let answer = answer.await.unwrap_or(Err(Rejection::ShuttingDown));
        answer.map_err(|reason| status(&reason))?;
        self.has_opened = true;
        Ok(())
    }

    async fn acknowledge(&self, request: ClientRequest, bytes: usize) -> Result<(), Status> {
        if let Ok(permit) = self.room.acquire().await {
            permit.forget();
        }
        self.asker.ask(request, bytes, None).map_err(|reason| refused(&reason))
    }
}

impl Credit {
    /// The client gives more.
    fn add(&self, envelopes: u32) {
        self.change(|counts| {
            counts.left = counts.left.saturating_add(envelopes).min(CREDIT_MAX);
        });
    }

    /// The client has taken one.
    fn use_one(&self) {
        self.change(|counts| counts.given = counts.given.saturating_sub(1));
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counts);
        let more = counts.pass_on();
        drop(counts);
        if more > 0 {
            self.asker.credit(more);
        }
    }
}

impl Counts {
    /// How much more the node is to be given now; nothing while it has half a window left, so that
    /// it is not asked for each envelope.
    fn pass_on(&mut self) -> u32 {
        if self.given > WINDOW / 2 {
            return 0;
        }
        let more = self.left.min(WINDOW - self.given);
        self.left -= more;
        self.given += more;
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_never_has_more_than_a_window_and_gets_all_in_the_end() {
        let mut counts = Counts { left: 1_000, given: 0 };
        let mut total = counts.pass_on();
        assert_eq!(total, WINDOW);
        while counts.given > 0 {
            counts.given -= 1;
            total += counts.pass_on();
            assert!(counts.given <= WINDOW);
        }
        assert_eq!((total, counts.left), (1_000, 0));
    }
}
