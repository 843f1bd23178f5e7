//! Calls of ours that are under way, and what each was for.
//!
//! The number of calls is bounded; ids are drawn at random, so that nobody can answer what was
//! never asked (PROTOCOL §7). Every authenticated answer confirms its node in the table.

use std::collections::BTreeSet;

use rand_core::RngCore;

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::EnvelopeId;
use crate::message::{Request, Response};
use crate::rejection::Rejection;
use crate::store::StoreError;

use super::drain::Item;
use super::exchange::Settled;
use super::fetching::Handed;
use super::io::{CallId, Output};
use super::{Node, Turn};

/// A call under way.
#[derive(Debug)]
pub(super) struct Call {
    to: Contact,
    purpose: Purpose,
}

/// What an answer will be used for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To learn whether the node is alive.
    Ping,
    /// To learn whether a caller, which says this of itself, listens where it called from.
    DialBack(Contact),
    /// A query of a lookup.
    Search(u64),
    /// An offer of these.
    Offer { ids: Vec<EnvelopeId> },
    /// A digest of these.
    Digest { ids: Vec<EnvelopeId> },
    /// A delivery of these.
    Deliver { ids: Vec<EnvelopeId> },
    /// Nothing hangs on the answer.
    Tell,
    /// To hand on how envelopes ended, by the numbers of the endings, before this node leaves.
    HandOn { endings: Vec<u64> },
    /// What waits in mailboxes we collect.
    Subscribe { mailboxes: Vec<Address>, pages: u32 },
    /// Bodies of what waits.
    Fetch { ids: Vec<EnvelopeId> },
    /// A card somebody looks for, by the number of the search.
    FindCard(u64),
    /// To have an entry publish the card of this owner.
    PublishCard(Address),
}

impl Node {
    /// Begins a call; false when too many are under way or the node cannot be dialled.
    pub(super) fn call(
        &mut self,
        turn: Turn<'_>,
        to: Contact,
        request: Request,
        purpose: Purpose,
    ) -> bool {
        if self.calls.len() >= self.config.calls_max || to.is_leaf() {
            return false;
        }
        let id = CallId(self.draw_number());
        let timeout = match purpose {
            Purpose::Search(_) | Purpose::Ping | Purpose::DialBack(_) => {
                self.config.lookup.query_timeout
            }
            _ => self.config.call_timeout,
        };
        self.stats.calls_made += 1;
        self.calls.insert(id, Call { to: to.clone(), purpose });
        self.desk.push(Output::Call { id, to, request, deadline: turn.now + timeout });
        true
    }

    /// The place whose region a call under way asks about (PROTOCOL §5.5), for simulations: what it names is
    /// a random point of that region.
    pub fn place_sought_by(&self, id: CallId) -> Option<Address> {
        let Purpose::Search(search) = self.calls.get(&id)?.purpose else { return None };
        self.place_searched(search)
    }

    /// Whom pings of ours are under way to.
    pub(super) fn being_pinged(&self) -> BTreeSet<Address> {
        let pings = self.calls.values().filter(|call| matches!(call.purpose, Purpose::Ping));
        pings.map(|call| call.to.address()).collect()
    }

    /// A number that nobody can guess.
    pub(super) fn draw_number(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// The way to a node that has answered before.
    pub(super) fn contact(&self, address: &Address) -> Option<Contact> {
        let entry = self.table.get(address).map(|entry| entry.contact());
        entry.or_else(|| self.book.get(address)).cloned()
    }

    /// A call of ours came to its end.
    pub(super) fn on_response(
        &mut self,
        turn: Turn<'_>,
        id: CallId,
        result: Result<Response, Rejection>,
    ) -> Result<(), StoreError> {
        let Some(Call { to, purpose }) = self.calls.remove(&id) else {
            self.stats.stray_responses += 1;
            return Ok(());
        };
        let settles = matches!(
            purpose,
            Purpose::Offer { .. } | Purpose::Digest { .. } | Purpose::Deliver { .. }
        );
        let to = match &purpose {
            Purpose::DialBack(caller) => {
                self.dial_backs.end();
                dialled_first(&to, caller)
            }
            _ => to,
        };
        let peer = to.address();
        self.on_result(turn, to, purpose, result)?;
        if settles {
            self.go_on_settling(&peer);
        }
        Ok(())
    }

    fn on_result(
        &mut self,
        turn: Turn<'_>,
        to: Contact,
        purpose: Purpose,
        result: Result<Response, Rejection>,
    ) -> Result<(), StoreError> {
        match result {
            Ok(response) => {
                self.note_reached(turn);
                // Whoever was pinged knows by that where we listen.
                let introduced = matches!(purpose, Purpose::Ping | Purpose::DialBack(_));
                self.entries.answered(&to);
                self.rotating.answered(&to);
                self.confirm(turn, &to, introduced);
                if self.is_worth_noting(&purpose) && self.table.get(&to.address()).is_none() {
                    self.book.note(&to);
                }
                self.on_answer(turn, to, purpose, response)
            }
            Err(reason) => {
                // A refusal that names a reason is an answer: the node lives.
                if matches!(reason, Rejection::Unreachable | Rejection::OtherNetwork) {
                    self.stats.calls_unanswered += 1;
                    // A caller may name endpoints where nobody answers, and only some were tried.
                    if !matches!(purpose, Purpose::DialBack(_)) {
                        self.note_failure(turn, &to);
                        self.entries.failed(&to.address(), turn.now);
                        self.rotating.failed(&to.address(), turn.now);
                        self.note_silence(turn);
                    }
                } else {
                    self.note_reached(turn);
                }
                if let Purpose::Offer { ids } | Purpose::Deliver { ids } = &purpose {
                    self.note_not_taken(ids, &reason);
                }
                self.on_failure(turn, &to, purpose)
            }
        }
    }

    /// Whether more may be wanted of a node than this: most of those that are merely asked for others,
    /// or whether they live, are never needed again.
    fn is_worth_noting(&self, purpose: &Purpose) -> bool {
        match purpose {
            Purpose::Ping => false,
            Purpose::Search(search) => self.place_searched(*search).is_some(),
            _ => true,
        }
    }

    /// A node did not answer. If that costs it its place in the table, the way to it is kept.
    fn note_failure(&mut self, turn: Turn<'_>, to: &Contact) {
        let peer = to.address();
        let was_there = self.table.get(&peer).is_some();
        self.table.failed(&peer, turn.now);
        if was_there && self.table.get(&peer).is_none() {
            self.book.note(to);
        }
    }

    fn on_answer(
        &mut self,
        turn: Turn<'_>,
        from: Contact,
        purpose: Purpose,
        response: Response,
    ) -> Result<(), StoreError> {
        match (purpose, response) {
            (Purpose::Search(search), Response::Nodes { contacts }) => {
                self.on_nodes(turn, search, &from, contacts);
                Ok(())
            }
            (Purpose::Offer { ids }, Response::Offered { wanted, receipts, acknowledgements }) => {
                let settled = Settled { receipts, acknowledgements };
                self.on_offered(turn, &from, &ids, &wanted, settled)
            }
            (Purpose::Digest { ids }, Response::Digested { digest, acknowledgements }) => {
                self.on_digested(turn, &from, &ids, &digest, acknowledgements)
            }
            (
                Purpose::Deliver { ids },
                Response::Delivered { receipts, refused, acknowledgements },
            ) => {
                let settled = Settled { receipts, acknowledgements };
                self.on_delivered(turn, &from, &ids, &refused, settled)
            }
            (
                Purpose::Subscribe { mailboxes, pages },
                Response::Subscribed { waiting, cursor, more },
            ) => {
                let next = more.then_some(cursor);
                self.on_subscribed(turn, &from, (mailboxes, pages), &waiting, next)
            }
            (Purpose::Fetch { ids }, Response::Fetched { envelopes }) => {
                self.on_fetched(turn, &from, &ids, &envelopes)
            }
            (Purpose::FindCard(search), Response::Card { card }) => {
                self.on_card_answer(turn, search, &from, card);
                Ok(())
            }
            (Purpose::PublishCard(owner), Response::Done) => {
                self.published.note_entrusted(&owner);
                Ok(())
            }
            (Purpose::Ping | Purpose::DialBack(_), Response::Pong { time, observed }) => {
                self.note_clock(turn, from.address(), time);
                self.outside_view.note_answer(from.address(), observed, turn.now);
                Ok(())
            }
            (Purpose::Tell, Response::Done) => Ok(()),
            (Purpose::HandOn { endings }, Response::Done) => {
                for ending in endings {
                    self.note_taken_over(turn, Item::Ending(ending), &from.address());
                }
                Ok(())
            }
            (purpose, _) => {
                self.note_refusal(Rejection::Malformed("an answer to another question"));
                self.on_failure(turn, &from, purpose)
            }
        }
    }

    fn on_failure(
        &mut self,
        turn: Turn<'_>,
        to: &Contact,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        match purpose {
            Purpose::Search(search) => {
                self.on_query_failed(turn, search, to);
                Ok(())
            }
            Purpose::Fetch { ids } => self.fetch_ended(turn, &to.address(), &ids, Handed::Less),
            Purpose::FindCard(search) => {
                self.on_card_answer(turn, search, to, None);
                Ok(())
            }
            Purpose::Deliver { ids } => self.on_delivery_ended(turn, &to.address(), &ids, false),
            // Envelopes come round again by their schedule, subscriptions by theirs.
            Purpose::Offer { .. }
            | Purpose::Digest { .. }
            | Purpose::Subscribe { .. }
            | Purpose::PublishCard(_)
            | Purpose::Ping
            | Purpose::DialBack(_)
            | Purpose::HandOn { .. }
            | Purpose::Tell => Ok(()),
        }
    }
}

/// A caller as it describes itself, the endpoints that were dialled before those that are hearsay.
fn dialled_first(dialled: &Contact, caller: &Contact) -> Contact {
    if dialled == caller {
        return caller.clone();
    }
    let mut endpoints = dialled.endpoints().to_vec();
    let hearsay = caller.endpoints().iter().filter(|endpoint| !endpoints.contains(endpoint));
    let hearsay: Vec<_> = hearsay.copied().collect();
    endpoints.extend(hearsay);
    Contact::new(*caller.key(), endpoints)
}
