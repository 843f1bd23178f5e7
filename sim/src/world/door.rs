//! What is checked by a node's clock before the node sees a message, as [`comm_proto::wire::decode`] does.
//!
//! Between hosts values travel and no bytes, whose signatures hold; what they say of time holds or does
//! not by the clock of whoever reads it. One bad part makes the whole message bad. In a world whose
//! clocks are right all of it holds.

use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::card::Card;
use comm_proto::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::message::{ClientRequest, Push, Request, Response};
use comm_proto::receipt::Receipt;
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use comm_proto::verified::Verified;

/// Whether a request gets in.
pub(super) fn request(request: &Request, now: Time) -> Result<(), Rejection> {
    match request {
        Request::Acknowledge { acknowledgements } => all_acknowledgements(acknowledgements, now),
        Request::Receipts { receipts } => all_receipts(receipts, now),
        Request::Subscribe { grants, .. } => all_grants(grants, now),
        Request::PutCard { card } | Request::PublishCard { card } => a_card(card, now),
        Request::Ping { .. }
        | Request::FindNode { .. }
        | Request::Offer { .. }
        | Request::Digest { .. }
        | Request::Deliver { .. }
        | Request::GetCard { .. }
        | Request::FindCard { .. }
        | Request::Fetch { .. }
        | Request::DialBack { .. } => Ok(()),
    }
}

/// Whether a client's request gets in.
pub(super) fn client_request(request: &ClientRequest, now: Time) -> Result<(), Rejection> {
    match request {
        ClientRequest::Acknowledge { acknowledgements } => {
            all_acknowledgements(acknowledgements, now)
        }
        ClientRequest::Subscribe { grants, .. } => all_grants(grants, now),
        ClientRequest::PublishCard { card } => a_card(card, now),
        ClientRequest::Submit { .. }
        | ClientRequest::Cancel { .. }
        | ClientRequest::Watch { .. }
        | ClientRequest::Credit { .. }
        | ClientRequest::FindCard { .. }
        | ClientRequest::Peers
        | ClientRequest::Status => Ok(()),
    }
}

/// Whether an answer gets in.
pub(super) fn response(response: &Response, now: Time) -> Result<(), Rejection> {
    match response {
        Response::Offered { receipts, acknowledgements, .. }
        | Response::Delivered { receipts, acknowledgements, .. } => {
            all_receipts(receipts, now)?;
            all_acknowledgements(acknowledgements, now)
        }
        Response::Digested { acknowledgements, .. } => all_acknowledgements(acknowledgements, now),
        Response::Card { card } => card.iter().try_for_each(|card| a_card(card, now)),
        Response::Pong { .. }
        | Response::Nodes { .. }
        | Response::Done
        | Response::Subscribed { .. }
        | Response::Fetched { .. }
        | Response::DialledBack { .. } => Ok(()),
    }
}

/// Whether a push gets in.
pub(super) fn push(push: &Push, now: Time) -> Result<(), Rejection> {
    match push {
        Push::Waiting(_) => Ok(()),
        Push::Acknowledgements(acknowledgements) => all_acknowledgements(acknowledgements, now),
        Push::Receipts(receipts) => all_receipts(receipts, now),
    }
}

fn all_acknowledgements(all: &[Verified<Acknowledgement>], now: Time) -> Result<(), Rejection> {
    let latest = now + TTL_MAX + CLOCK_TOLERANCE.times(2) + KEPT_AFTER_EXPIRY;
    all.iter().try_for_each(|one| within(one.expires_at(), now, latest))
}

fn all_grants(all: &[Verified<Grant>], now: Time) -> Result<(), Rejection> {
    let latest = now + TTL_MAX + CLOCK_TOLERANCE;
    all.iter().try_for_each(|one| within(one.not_after(), now, latest))
}

fn a_card(card: &Verified<Card>, now: Time) -> Result<(), Rejection> {
    if card.issued_at() > now + CLOCK_TOLERANCE {
        Err(Rejection::FromFuture)
    } else if card.expires_at() <= now {
        Err(Rejection::Expired)
    } else {
        Ok(())
    }
}

fn all_receipts(all: &[Verified<Receipt>], now: Time) -> Result<(), Rejection> {
    let future = all.iter().any(|receipt| receipt.at() > now + CLOCK_TOLERANCE);
    if future { Err(Rejection::FromFuture) } else { Ok(()) }
}

fn within(end: Time, now: Time, latest: Time) -> Result<(), Rejection> {
    if end <= now {
        Err(Rejection::Expired)
    } else if end > latest {
        Err(Rejection::TtlTooLong)
    } else {
        Ok(())
    }
}
