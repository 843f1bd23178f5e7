//! Calls with one answer.
//!
//! Entry functions are [`call`] for the agent, [`status`] and [`peers`] for people. No answer within
//! [`PATIENCE`] is the answer that there is none.

use std::time::Duration;

use bytes::Bytes;
use comm_proto::message::{ClientRequest, ClientResponse};
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use comm_proto::wire::{client, decode, object};
use tonic::{Response, Status};

use super::endpoint::Rpc;
use super::{NodeStatus, PeerLine, translate};

/// How long an answer may take; longer than the node's own search for a card.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks what the agent wants to know or done. `now` checks the life of cards.
pub(super) async fn call(
    mut rpc: Rpc,
    request: ClientRequest,
    now: Time,
) -> Result<ClientResponse, Rejection> {
    match request {
        ClientRequest::Submit { envelope } => {
            let message = client::SubmitRequest { envelope: Some((&envelope).into()) };
            let answer = within(rpc.submit(message)).await?;
            Ok(ClientResponse::Submitted { state: translate::some_state(answer.state)? })
        }
        ClientRequest::Cancel { id } => {
            let message = client::CancelRequest { id: translate::id_bytes(&id) };
            let copies_may_exist = within(rpc.cancel(message)).await?.copies_may_exist;
            Ok(ClientResponse::Cancelled { copies_may_exist })
        }
        ClientRequest::Acknowledge { acknowledgements } => {
            let message = translate::acknowledgements(&acknowledgements);
            within(rpc.acknowledge(message)).await.map(|_| ClientResponse::Done)
        }
        ClientRequest::PublishCard { card } => {
            let message = client::PublishCardRequest { card: Some(object::Card::from(&**card)) };
            within(rpc.publish_card(message)).await.map(|_| ClientResponse::Done)
        }
        ClientRequest::FindCard { owner } => {
            let owner = Bytes::copy_from_slice(owner.as_bytes());
            let found = within(rpc.find_card(client::FindCardRequest { owner })).await?.card;
            let card = found.map(|card| decode::card(&card, now).map(Box::new)).transpose()?;
            Ok(ClientResponse::Card { card })
        }
        // These have streams of their own or are not the agent's.
        ClientRequest::Watch { .. }
        | ClientRequest::Subscribe { .. }
        | ClientRequest::Credit { .. }
        | ClientRequest::Peers
        | ClientRequest::Status => Err(Rejection::Malformed("not a call with one answer")),
    }
}

/// What the node is and does.
pub(super) async fn status(mut rpc: Rpc) -> Result<NodeStatus, Rejection> {
    translate::status(within(rpc.get_status(client::GetStatusRequest {})).await?)
}

/// What the node is and does, or why a new connection is of no use, for people.
pub(super) async fn first_status(mut rpc: Rpc) -> Result<NodeStatus, String> {
    let answer = tokio::time::timeout(PATIENCE, rpc.get_status(client::GetStatusRequest {})).await;
    let answer = answer.map_err(|_| "the node does not answer".to_owned())?;
    let message = answer.map_err(|status| translate::reason(&status))?.into_inner();
    translate::status(message).map_err(|error| format!("the node's answer is no answer: {error}"))
}

/// The node's table.
pub(super) async fn peers(mut rpc: Rpc) -> Result<Vec<PeerLine>, Rejection> {
    translate::peers(within(rpc.list_peers(client::ListPeersRequest {})).await?)
}

async fn within<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Rejection> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(translate::rejection(&status)),
        Err(_) => Err(Rejection::Unreachable),
    }
}
