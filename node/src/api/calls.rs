//! One handler for each call of the client API, in the order of its .proto file (PROTOCOL §8).
//!
//! Entry type is [`Calls`]. Messages become values here, in parallel, before the node sees them;
//! nothing is decided here that needs the node's state.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comm_proto::message::{ClientRequest, ClientResponse};
use comm_proto::node::Event;
use comm_proto::rejection::Rejection;
use comm_proto::wire::{client as wire, decode};
use prost::Message;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::receive::Receiving;
use super::status::{refused, status};
use super::submit::Submissions;
use super::watch::Watching;
use crate::clock::Clock;
use crate::driver::inbox::Inbox;
use crate::metrics;
use crate::rpc::client::client_server::Client;
use crate::telemetry::{self, Deed};

/// How long a call may wait for the node.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The client API of one node.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    inbox: Inbox,
    clock: Arc<Clock>,
}

impl Calls {
    pub(super) fn new(inbox: Inbox, clock: Arc<Clock>) -> Self {
        Self { inbox, clock }
    }

    /// Asks the node what this kind of call asks, and waits for its answer.
    async fn ask(
        &self,
        kind: &'static str,
        request: Result<ClientRequest, Rejection>,
        bytes: usize,
    ) -> Result<ClientResponse, Status> {
        metrics::requested(kind);
        let begun = Instant::now();
        let answer = self.answer(request, bytes).await;
        let result = telemetry::result(&answer);
        telemetry::note(begun.elapsed(), Deed::Served { kind, bytes, result });
        answer.map_err(|reason| status(&reason))
    }

    /// The node's answer; what is refused without the node is counted here.
    async fn answer(
        &self,
        request: Result<ClientRequest, Rejection>,
        bytes: usize,
    ) -> Result<ClientResponse, Rejection> {
        let answer = request.and_then(|request| self.inbox.client_request(request, bytes));
        match timeout(CALL_TIMEOUT, answer.map_err(counted)?).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(counted(Rejection::ShuttingDown)),
            Err(_) => Err(counted(Rejection::Busy)),
        }
    }
}

#[tonic::async_trait]
impl Client for Calls {
    type SubmitStreamStream = Submissions;
    type WatchStream = Watching;
    type ReceiveStream = Receiving;

    async fn submit(
        &self,
        request: Request<wire::SubmitRequest>,
    ) -> Result<Response<wire::SubmitResponse>, Status> {
        let message = request.into_inner();
        let bytes = message.encoded_len();
        let request = decode::client::submit(message);
        let id = request.as_ref().map(envelope_id).unwrap_or_default();
        let ClientResponse::Submitted { state } = self.ask("submit", request, bytes).await? else {
            return Err(strange_answer());
        };
        Ok(Response::new(wire::SubmitResponse { id, state: Some(state.into()) }))
    }

    async fn submit_stream(
        &self,
        request: Request<Streaming<wire::SubmitRequest>>,
    ) -> Result<Response<Submissions>, Status> {
        metrics::requested("submit-stream");
        let stream = Submissions::open(&self.inbox, request.into_inner());
        stream.map(Response::new).map_err(|reason| refused(&reason))
    }

    async fn cancel(
        &self,
        request: Request<wire::CancelRequest>,
    ) -> Result<Response<wire::CancelResponse>, Status> {
        let (request, bytes) = read(&request, decode::client::cancel);
        match self.ask("cancel", request, bytes).await? {
            ClientResponse::Cancelled { copies_may_exist } => {
                Ok(Response::new(wire::CancelResponse { copies_may_exist }))
            }
            _ => Err(strange_answer()),
        }
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Watching>, Status> {
        metrics::requested("watch");
        let (request, bytes) = read(&request, decode::client::watch);
        let stream = request.and_then(|request| Watching::open(&self.inbox, request, bytes));
        stream.map(Response::new).map_err(|reason| refused(&reason))
    }

    async fn receive(
        &self,
        request: Request<Streaming<wire::ReceiveRequest>>,
    ) -> Result<Response<Receiving>, Status> {
        metrics::requested("receive");
        let clock = Arc::clone(&self.clock);
        let stream = Receiving::open(&self.inbox, clock, request.into_inner());
        stream.map(Response::new).map_err(|reason| refused(&reason))
    }

    async fn acknowledge(
        &self,
        request: Request<wire::AcknowledgeRequest>,
    ) -> Result<Response<wire::AcknowledgeResponse>, Status> {
        let now = self.clock.now();
        let (request, bytes) = read(&request, |message| decode::client::acknowledge(message, now));
        self.ask("acknowledge", request, bytes).await?;
        Ok(Response::new(wire::AcknowledgeResponse {}))
    }

    async fn publish_card(
        &self,
        request: Request<wire::PublishCardRequest>,
    ) -> Result<Response<wire::PublishCardResponse>, Status> {
        let message = request.into_inner();
        let bytes = message.encoded_len();
        let request = decode::client::publish_card(message, self.clock.now());
        self.ask("publish-card", request, bytes).await?;
        Ok(Response::new(wire::PublishCardResponse {}))
    }

    async fn find_card(
        &self,
        request: Request<wire::FindCardRequest>,
    ) -> Result<Response<wire::FindCardResponse>, Status> {
        let (request, bytes) = read(&request, decode::client::find_card);
        match self.ask("find-card", request, bytes).await? {
            ClientResponse::Card { card } => {
                let card = card.map(|card| (&**card).into());
                Ok(Response::new(wire::FindCardResponse { card }))
            }
            _ => Err(strange_answer()),
        }
    }

    async fn get_status(
        &self,
        _request: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        match self.ask("get-status", Ok(ClientRequest::Status), 0).await? {
            ClientResponse::Status(status) => Ok(Response::new(wire::GetStatusResponse {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                time: self.clock.now().as_millis(),
                ..status.into()
            })),
            _ => Err(strange_answer()),
        }
    }

    async fn list_peers(
        &self,
        _request: Request<wire::ListPeersRequest>,
    ) -> Result<Response<wire::ListPeersResponse>, Status> {
        match self.ask("list-peers", Ok(ClientRequest::Peers), 0).await? {
            ClientResponse::Peers(peers) => {
                let peers = peers.into_iter().map(Into::into).collect();
                Ok(Response::new(wire::ListPeersResponse { peers }))
            }
            _ => Err(strange_answer()),
        }
    }
}

/// What a message asks, and how long it is.
fn read<M: Message>(
    request: &Request<M>,
    decode: impl FnOnce(&M) -> Result<ClientRequest, Rejection>,
) -> (Result<ClientRequest, Rejection>, usize) {
    let message = request.get_ref();
    (decode(message), message.encoded_len())
}

fn counted(reason: Rejection) -> Rejection {
    metrics::record(&Event::Refused { reason: reason.clone() });
    reason
}

fn envelope_id(request: &ClientRequest) -> Bytes {
    match request {
        ClientRequest::Submit { envelope } => Bytes::copy_from_slice(envelope.id().as_bytes()),
        _ => Bytes::new(),
    }
}

/// The node answers each kind of question with its own kind of answer.
fn strange_answer() -> Status {
    Status::internal("the node gave an answer of another kind")
}
