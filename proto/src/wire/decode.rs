//! From messages to values that are valid, or to a typed refusal.
//!
//! Entry functions are [`request`], [`response`] and [`push`] for what nodes say (PROTOCOL §7),
//! those of [`client`] for what clients ask (PROTOCOL §8), and one for each object that both
//! carry. Whatever can be told of a message by itself is checked here: counts first, then lengths,
//! then signatures, so that refusing costs little. Fields this version does not know are skipped.
//! Nothing is looked up, and whether an envelope has expired is left to the node, which answers
//! that for each envelope of a delivery.

pub mod client;
mod list;
mod object;

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::contact::ENDPOINTS_MAX;
use crate::digest::{Digest, DigestError};
use crate::envelope::EnvelopeId;
use crate::message::{
    CONTACTS_MAX, DialOutcome, ENVELOPES_MAX, EnvelopeState, IDS_MAX, Push, Request, Response,
    Waiting,
};
use crate::rejection::Rejection;
use crate::time::Time;
use crate::wire;
use crate::wire::peer;

use list::{at_least_one, at_most};
use object::{address_of, envelopes, ids};

pub use object::{
    acknowledgements, address, card, contact, endpoint, endpoints, envelope, envelope_id, grants,
    receipts,
};

/// Reads what a node asks (PROTOCOL §7).
///
/// # Errors
/// The refusal that the asker gets. A question that only newer nodes know is
/// [`Rejection::Malformed`].
pub fn request(message: peer::Request, now: Time) -> Result<Request, Rejection> {
    use peer::request::Request as Wire;
    match message.request.ok_or(Rejection::Malformed("request"))? {
        Wire::Ping(ping) => Ok(Request::Ping { endpoints: endpoints(&ping.endpoints)? }),
        Wire::FindNode(find) => {
            Ok(Request::FindNode { target: address_of(&find.target, "target")? })
        }
        Wire::Offer(offer) => Ok(Request::Offer { ids: some_ids(&offer.ids, IDS_MAX)? }),
        Wire::Digest(request) => digest_request(&request),
        Wire::Deliver(deliver) => deliver_request(deliver),
        Wire::Acknowledge(acknowledge) => {
            let acknowledgements = acknowledgements(&acknowledge.acknowledgements, now)?;
            Ok(Request::Acknowledge { acknowledgements })
        }
        Wire::Receipts(told) => Ok(Request::Receipts { receipts: receipts(&told.receipts, now)? }),
        Wire::PutCard(put) => {
            Ok(Request::PutCard { card: Box::new(object::some_card(put.card, now)?) })
        }
        Wire::GetCard(get) => Ok(Request::GetCard { owner: address_of(&get.owner, "owner")? }),
        Wire::PublishCard(publish) => {
            Ok(Request::PublishCard { card: Box::new(object::some_card(publish.card, now)?) })
        }
        Wire::FindCard(find) => Ok(Request::FindCard { owner: address_of(&find.owner, "owner")? }),
        Wire::Subscribe(subscribe) => {
            let grants = grants(&subscribe.grants, now)?;
            Ok(Request::Subscribe { grants, after: subscribe.after })
        }
        Wire::Fetch(fetch) => Ok(Request::Fetch { ids: distinct_ids(&fetch.ids, ENVELOPES_MAX)? }),
        Wire::DialBack(back) => {
            let some = at_least_one(&back.endpoints, "endpoints")?;
            Ok(Request::DialBack { endpoints: endpoints(some)? })
        }
    }
}

/// Reads what a node answers (PROTOCOL §7). The inner `Err` is its refusal.
///
/// # Errors
/// When the answer is malformed, be it in one of many parts: nothing in it counts then.
pub fn response(
    message: peer::Response,
    now: Time,
) -> Result<Result<Response, Rejection>, Rejection> {
    use peer::response::Response as Wire;
    let answer = match message.response.ok_or(Rejection::Malformed("response"))? {
        Wire::Rejection(refusal) => return Ok(Err(Rejection::from_code(refusal.code))),
        Wire::Pong(pong) => Response::Pong {
            time: Time::from_millis(pong.time),
            observed: pong.observed.as_ref().map(endpoint).transpose()?,
        },
        Wire::Nodes(nodes) => nodes_response(&nodes)?,
        Wire::Offered(offered) => Response::Offered {
            wanted: ids(&offered.wanted, IDS_MAX)?,
            receipts: receipts(&offered.receipts, now)?,
            acknowledgements: acknowledgements(&offered.acknowledgements, now)?,
        },
        Wire::Digested(digested) => Response::Digested {
            digest: digest(&digested.digest)?,
            acknowledgements: acknowledgements(&digested.acknowledgements, now)?,
        },
        Wire::Delivered(delivered) => delivered_response(&delivered, now)?,
        Wire::Done(peer::Done {}) => Response::Done,
        Wire::Card(found) => {
            let card = found.card.map(|found| card(&found, now).map(Box::new)).transpose()?;
            Response::Card { card }
        }
        Wire::Subscribed(page) => Response::Subscribed {
            waiting: waiting(&page.waiting)?,
            cursor: page.cursor,
            more: page.more,
        },
        Wire::Fetched(fetched) => Response::Fetched { envelopes: envelopes(fetched.envelopes)? },
        Wire::DialledBack(told) => {
            let outcomes = at_most(&told.outcomes, ENDPOINTS_MAX, "outcomes")?;
            Response::DialledBack {
                outcomes: outcomes
                    .iter()
                    .map(|number| dial_outcome(i32::try_from(*number).unwrap_or(0)))
                    .collect(),
            }
        }
    };
    Ok(Ok(answer))
}

/// Reads what a node tells its listener (PROTOCOL §7).
///
/// # Errors
/// When it is malformed, be it in one of many parts: nothing in it counts then.
pub fn push(message: peer::Push, now: Time) -> Result<Push, Rejection> {
    use peer::push::Push as Wire;
    Ok(match message.push.ok_or(Rejection::Malformed("push"))? {
        Wire::Waiting(told) => Push::Waiting(waiting(&told.waiting)?),
        Wire::Acknowledgements(told) => {
            Push::Acknowledgements(acknowledgements(&told.acknowledgements, now)?)
        }
        Wire::Receipts(told) => Push::Receipts(receipts(&told.receipts, now)?),
    })
}

/// Reads how far an envelope has come (PROTOCOL §8).
///
/// # Errors
/// [`Rejection::Malformed`] without a state, or with one that only newer nodes know.
pub fn state(message: wire::client::State) -> Result<EnvelopeState, Rejection> {
    use wire::client::state::State as Wire;
    Ok(match message.state.ok_or(Rejection::Malformed("state"))? {
        Wire::Accepted(wire::client::Accepted {}) => EnvelopeState::Accepted,
        Wire::Stored(stored) => EnvelopeState::Stored(stored.relays),
        Wire::Delivered(delivered) => {
            EnvelopeState::Delivered { at: Time::from_millis(delivered.at) }
        }
        Wire::Expired(wire::client::Expired {}) => EnvelopeState::Expired,
        Wire::Cancelled(wire::client::Cancelled {}) => EnvelopeState::Cancelled,
    })
}

/// Reads what came of dialling back (PROTOCOL §5.1): what only newer nodes know is a failure all the same.
pub fn dial_outcome(number: i32) -> DialOutcome {
    use wire::object::DialOutcome as Wire;
    match Wire::try_from(number).unwrap_or(Wire::Unspecified) {
        Wire::Unspecified => DialOutcome::Failed,
        Wire::Reached => DialOutcome::Reached,
        Wire::Refused => DialOutcome::Refused,
        Wire::TimedOut => DialOutcome::TimedOut,
        Wire::OtherKey => DialOutcome::OtherKey,
        Wire::NoNode => DialOutcome::NoNode,
        Wire::NoRoute => DialOutcome::NoRoute,
        Wire::NotTried => DialOutcome::NotTried,
    }
}

fn digest_request(message: &peer::DigestRequest) -> Result<Request, Rejection> {
    let (from, to) = (address_of(&message.from, "from")?, address_of(&message.to, "to")?);
    // Whoever scans the mailboxes from the one to the other may rely on their order.
    if from > to {
        return Err(Rejection::Malformed("from lies behind to"));
    }
    Ok(Request::Digest { digest: digest(&message.digest)?, from, to })
}

fn deliver_request(message: peer::Deliver) -> Result<Request, Rejection> {
    at_least_one(&message.envelopes, "envelopes")?;
    Ok(Request::Deliver { envelopes: envelopes(message.envelopes)? })
}

fn nodes_response(message: &peer::Nodes) -> Result<Response, Rejection> {
    let contacts = at_most(&message.contacts, CONTACTS_MAX, "contacts")?;
    Ok(Response::Nodes { contacts: contacts.iter().map(contact).collect::<Result<_, _>>()? })
}

fn delivered_response(message: &peer::Delivered, now: Time) -> Result<Response, Rejection> {
    let refusals = at_most(&message.refused, ENVELOPES_MAX, "refusals")?;
    Ok(Response::Delivered {
        refused: refusals.iter().map(refused).collect::<Result<_, _>>()?,
        receipts: receipts(&message.receipts, now)?,
        acknowledgements: acknowledgements(&message.acknowledgements, now)?,
    })
}

fn refused(message: &peer::Refused) -> Result<(EnvelopeId, Rejection), Rejection> {
    let why = message.rejection.as_ref().ok_or(Rejection::Malformed("rejection"))?;
    Ok((envelope_id(&message.id)?, Rejection::from_code(why.code)))
}

fn waiting(messages: &[peer::Waiting]) -> Result<Vec<Waiting>, Rejection> {
    let waiting = |message: &peer::Waiting| {
        let mailbox = address_of(&message.mailbox, "mailbox")?;
        Ok(Waiting { mailbox, id: envelope_id(&message.id)? })
    };
    at_most(messages, IDS_MAX, "waiting envelopes")?.iter().map(waiting).collect()
}

fn some_ids(messages: &[Bytes], max: usize) -> Result<Vec<EnvelopeId>, Rejection> {
    ids(at_least_one(messages, "ids")?, max)
}

/// Ids of which none comes twice: each has a body in the answer.
fn distinct_ids(messages: &[Bytes], max: usize) -> Result<Vec<EnvelopeId>, Rejection> {
    let ids = some_ids(messages, max)?;
    let distinct: BTreeSet<_> = ids.iter().collect();
    if distinct.len() < ids.len() {
        return Err(Rejection::Malformed("ids"));
    }
    Ok(ids)
}

fn digest(bytes: &[u8]) -> Result<Digest, Rejection> {
    Digest::from_bytes(bytes).map_err(|error| match error {
        DigestError::TooLarge(_) => Rejection::TooLarge("digest"),
        DigestError::Malformed => Rejection::Malformed("digest"),
    })
}
