//! What clients ask, from the messages of the client API (PROTOCOL §8).
//!
//! There is one function for each call that carries something; [`receive`] reads one message of the
//! stream. Who the client is, and whether the node can serve it, is not asked here.

use super::object::{acknowledgements, address_of, envelope, envelope_id, grants, ids, some_card};
use crate::message::{ClientRequest, IDS_MAX};
use crate::rejection::Rejection;
use crate::time::Time;
use crate::wire::client;

/// The most envelopes that one message lets the node push.
pub const CREDIT_MAX: u32 = 4_096;

/// Reads what `Submit` and `SubmitStream` hand over.
///
/// # Errors
/// [`Rejection::Malformed`] without an envelope, else as for [`super::envelope`].
pub fn submit(message: client::SubmitRequest) -> Result<ClientRequest, Rejection> {
    let carried = message.envelope.ok_or(Rejection::Malformed("envelope"))?;
    Ok(ClientRequest::Submit { envelope: envelope(carried)? })
}

/// Reads what `Cancel` takes back.
///
/// # Errors
/// As for [`super::envelope_id`].
pub fn cancel(message: &client::CancelRequest) -> Result<ClientRequest, Rejection> {
    Ok(ClientRequest::Cancel { id: envelope_id(&message.id)? })
}

/// Reads what `Watch` wants to know about.
///
/// # Errors
/// [`Rejection::TooLarge`] beyond [`IDS_MAX`], else as for [`super::envelope_id`].
pub fn watch(message: &client::WatchRequest) -> Result<ClientRequest, Rejection> {
    Ok(ClientRequest::Watch { ids: ids(&message.ids, IDS_MAX)? })
}

/// Reads one message of `Receive`: one question to the node, or two that belong together, since
/// whoever opens mailboxes also gives the first credit.
///
/// # Errors
/// [`Rejection::Malformed`] for none that is known, and what is wrong with its parts.
pub fn receive(
    message: client::ReceiveRequest,
    now: Time,
) -> Result<Vec<ClientRequest>, Rejection> {
    use client::receive_request::Request as Wire;
    match message.request.ok_or(Rejection::Malformed("request"))? {
        Wire::Open(open) => {
            let envelopes = credit(open.credit)?;
            let grants = grants(&open.grants, now)?;
            let subscribe = ClientRequest::Subscribe { grants, after: open.after };
            Ok(vec![subscribe, ClientRequest::Credit { envelopes }])
        }
        Wire::Credit(more) => {
            Ok(vec![ClientRequest::Credit { envelopes: credit(more.envelopes)? }])
        }
        Wire::Acknowledge(read) => {
            let acknowledgements = acknowledgements(&read.acknowledgements, now)?;
            Ok(vec![ClientRequest::Acknowledge { acknowledgements }])
        }
    }
}

/// Reads what `Acknowledge` ends.
///
/// # Errors
/// As for [`super::acknowledgements`].
pub fn acknowledge(
    message: &client::AcknowledgeRequest,
    now: Time,
) -> Result<ClientRequest, Rejection> {
    let acknowledgements = acknowledgements(&message.acknowledgements, now)?;
    Ok(ClientRequest::Acknowledge { acknowledgements })
}

/// Reads what `PublishCard` publishes.
///
/// # Errors
/// [`Rejection::Malformed`] without a card, else as for [`super::card`].
pub fn publish_card(
    message: client::PublishCardRequest,
    now: Time,
) -> Result<ClientRequest, Rejection> {
    Ok(ClientRequest::PublishCard { card: Box::new(some_card(message.card, now)?) })
}

/// Reads whose card `FindCard` looks for.
///
/// # Errors
/// [`Rejection::Malformed`] for an address of another length.
pub fn find_card(message: &client::FindCardRequest) -> Result<ClientRequest, Rejection> {
    Ok(ClientRequest::FindCard { owner: address_of(&message.owner, "owner")? })
}

fn credit(envelopes: u32) -> Result<u32, Rejection> {
    match envelopes {
        0 => Err(Rejection::Malformed("credit")),
        1..=CREDIT_MAX => Ok(envelopes),
        _ => Err(Rejection::TooLarge("credit")),
    }
}
