//! Serving: what is offered, handed over and announced is what its sender made, and neither over nor
//! ended; a reader gets it once.

use std::collections::BTreeMap;

use comm_proto::envelope::{CLOCK_TOLERANCE, Envelope, EnvelopeId};
use comm_proto::message::{ClientPush, Push, Request, Response};
use comm_proto::node::SessionId;
use comm_proto::time::Span;

use super::{Oracle, Rule, Seen, short};
use crate::host::At;

/// How wrong clocks are told to others at the most, by answers that take their time.
const ANSWER_LATE: Span = Span::from_mins(60);

/// How wrong clocks ever are in a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skews {
    /// Milliseconds by which the clock farthest behind is; negative, or zero.
    pub(crate) least: i64,
    /// By how much each host's own is ahead at the most; those that are not named are right.
    pub(crate) ahead: BTreeMap<At, i64>,
}

impl Skews {
    /// By how much others may say that this host's clock is ahead; nothing as long as that is within
    /// what clocks may disagree.
    fn doubt(&self, host: At) -> Span {
        let ahead = self.ahead.get(&host).copied().unwrap_or(0).max(0);
        let apart = ahead.saturating_sub(self.least).unsigned_abs() + ANSWER_LATE.as_millis();
        if apart <= CLOCK_TOLERANCE.as_millis() { Span::ZERO } else { Span::from_millis(apart) }
    }
}

impl Oracle {
    /// A call of this node.
    pub(super) fn asked(&mut self, seen: &Seen<'_>, request: &Request) {
        match request {
            Request::Offer { ids } => self.names(seen, ids, "offered"),
            Request::Fetch { ids } => self.names(seen, ids, "fetched"),
            Request::Deliver { envelopes } => self.hands_over(seen, envelopes, "delivered"),
            _ => {}
        }
    }

    /// An answer of this node.
    pub(super) fn answered(&mut self, seen: &Seen<'_>, answer: &Response) {
        match answer {
            Response::Fetched { envelopes } => {
                self.hands_over(seen, envelopes, "handed to a collector")
            }
            Response::Subscribed { waiting, .. } => {
                let ids: Vec<_> = waiting.iter().map(|one| one.id).collect();
                self.names(seen, &ids, "listed");
                self.on_disk(seen, &ids, "listed");
            }
            _ => {}
        }
    }

    /// A push of this node.
    pub(super) fn pushed(&mut self, seen: &Seen<'_>, push: &Push) {
        match push {
            Push::Waiting(waiting) => {
                let ids: Vec<_> = waiting.iter().map(|one| one.id).collect();
                self.names(seen, &ids, "announced");
                self.on_disk(seen, &ids, "announced");
            }
            Push::Acknowledgements(_) | Push::Receipts(_) => {}
        }
    }

    /// A client of this node is told something.
    pub(super) fn client_told(&mut self, seen: &Seen<'_>, session: SessionId, push: &ClientPush) {
        match push {
            ClientPush::Envelope { cursor, envelope } => {
                self.hands_over(seen, std::slice::from_ref(envelope), "handed to a reader");
                self.on_disk(seen, &[envelope.id()], "handed to a reader");
                // Cursors only grow as long as nothing is opened; what comes twice has the same.
                let last = self.cursors.insert((seen.at, session), *cursor);
                if last.is_some_and(|last| *cursor <= last) {
                    let text = format!("{} came again", short(&envelope.id()));
                    self.violated(seen, Rule::HandedTwice, text);
                }
            }
            ClientPush::State { id, state } => self.state_told(seen, *id, *state),
            ClientPush::CaughtUp => {}
        }
    }

    fn hands_over(&mut self, seen: &Seen<'_>, envelopes: &[Envelope], how: &'static str) {
        for envelope in envelopes {
            let id = envelope.id();
            if self.known(&id) != Some(envelope) {
                self.violated(seen, Rule::Altered, format!("nobody has made {}", short(&id)));
            }
            if seen.clock - self.skews.doubt(seen.at) >= envelope.expires_at() {
                self.violated(seen, Rule::ExpiredServed, format!("{} is over", short(&id)));
            }
        }
        let ids: Vec<_> = envelopes.iter().map(Envelope::id).collect();
        self.names(seen, &ids, how);
    }

    fn names(&mut self, seen: &Seen<'_>, ids: &[EnvelopeId], how: &'static str) {
        for id in ids {
            self.check(how);
            if seen.has_ended(id) {
                self.violated(
                    seen,
                    Rule::EndedServed,
                    format!("{} has ended here and is {how}", short(id)),
                );
            }
        }
    }
}
