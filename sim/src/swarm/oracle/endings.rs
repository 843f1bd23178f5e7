//! Endings: who may remove an envelope, and that an acknowledgement is obeyed by whoever meets it.

use std::collections::BTreeSet;

use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::envelope::{CLOCK_TOLERANCE, Envelope, EnvelopeId};
use comm_proto::message::{ClientRequest, Push, Request, Response};
use comm_proto::node::{CallId, Family, Input};
use comm_proto::store::Write;
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;

use super::{Oracle, Rule, Seen, body_key, short, tombstone};

/// A call whose answer may carry acknowledgements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// About these.
    Offer(Vec<EnvelopeId>),
    Digest,
    Deliver,
}

impl Oracle {
    /// What a batch removes: only what has ended.
    pub(super) fn removals(&mut self, seen: &Seen<'_>, writes: &[Write<Family>]) {
        for write in writes {
            match write {
                Write::Delete { table: Family::Custody, key } => {
                    if let Ok(id) = <[u8; 32]>::try_from(key.as_slice()) {
                        self.removed(seen, EnvelopeId::from_bytes(id), writes);
                    }
                }
                Write::DeleteRange { table: Family::Envelopes, from, to } => {
                    self.range_removed(seen, (from, to), writes);
                }
                _ => {}
            }
        }
    }

    /// The node gets acknowledgements: what they end it must not have afterwards.
    pub(super) fn meet(&mut self, seen: &Seen<'_>, input: &Input) {
        match input {
            Input::Request { request: Request::Acknowledge { acknowledgements }, .. }
            | Input::Push { push: Push::Acknowledgements(acknowledgements), .. }
            | Input::ClientRequest {
                request: ClientRequest::Acknowledge { acknowledgements },
                ..
            } => self.must_end(seen, acknowledgements),
            Input::Response { id, result } => {
                let asked = self.calls.remove(&(seen.at, *id));
                match (asked, result) {
                    (Some(Asked::Offer(ids)), Ok(Response::Offered { acknowledgements, .. })) => {
                        self.met = ids;
                        self.must_end(seen, acknowledgements);
                    }
                    (Some(Asked::Digest), Ok(Response::Digested { acknowledgements, .. }))
                    | (Some(Asked::Deliver), Ok(Response::Delivered { acknowledgements, .. })) => {
                        self.must_end(seen, acknowledgements);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// It has had its input.
    pub(super) fn has_met(&mut self, seen: &Seen<'_>) {
        for id in std::mem::take(&mut self.to_end) {
            self.check("acknowledgement met");
            if seen.has(&id) {
                let text = format!("{} was acknowledged and is still here", short(&id));
                self.violated(seen, Rule::AcknowledgementIgnored, text);
            }
        }
        for id in std::mem::take(&mut self.met) {
            self.has_asked(seen, id);
        }
    }

    pub(super) fn note_call(&mut self, seen: &Seen<'_>, id: CallId, request: &Request) {
        let asked = match request {
            Request::Offer { ids } => Asked::Offer(ids.clone()),
            Request::Digest { .. } => Asked::Digest,
            Request::Deliver { .. } => Asked::Deliver,
            _ => return,
        };
        self.calls.insert((seen.at, id), asked);
    }

    fn must_end(&mut self, seen: &Seen<'_>, acknowledgements: &[Verified<Acknowledgement>]) {
        let mut ended = BTreeSet::new();
        for acknowledgement in acknowledgements {
            for id in acknowledgement.ids().iter().filter(|id| seen.has(id)) {
                if self.known(id).is_some_and(|envelope| ends(acknowledgement, envelope)) {
                    ended.insert(*id);
                }
            }
        }
        self.to_end.extend(ended);
    }

    fn removed(&mut self, seen: &Seen<'_>, id: EnvelopeId, writes: &[Write<Family>]) {
        self.check("removal");
        let Some(envelope) = self.known(&id).cloned() else { return };
        self.promised.remove(&(seen.at, id));
        self.in_vain.remove(&(seen.at, id));
        let buried = writes.iter().any(|write| {
            matches!(write, Write::Put { table: Family::Tombstones, key, .. } if key == tombstone(&id))
        });
        if buried {
            let allowed = self.is_acknowledged(&id) || self.cancelled.contains(&(seen.at, id));
            if !allowed {
                let text = format!("{} ended, and nobody has read it", short(&id));
                self.violated(seen, Rule::WronglyRemoved, text);
            }
            return;
        }
        let expires_at = envelope.expires_at();
        if seen.clock < expires_at {
            self.removed_before_its_time(seen, id);
        } else if seen.now + CLOCK_TOLERANCE < expires_at {
            // Unless the node says that it evicts it: what a clock that is ahead calls over may be kept yet.
            self.removed_early.insert(id, expires_at);
        } else {
            self.removed_in_time.insert(id);
        }
    }

    /// By a clock that is ahead: not before that has lasted (PROTOCOL §6.7).
    pub(super) fn has_removed_early(&mut self, seen: &Seen<'_>, id: &EnvelopeId, expires_at: Time) {
        self.check("removal by a wrong clock");
        let jumps = self.set_ahead.get(&seen.at).into_iter().flatten();
        let lately = jumps.filter(|(at, _)| seen.now.since(*at) < CLOCK_TOLERANCE);
        let ahead = lately.fold(Span::ZERO, |sum, (_, by)| sum + *by);
        if seen.clock - ahead < expires_at {
            let text = format!("{} was removed though the clock has jumped lately", short(id));
            self.violated(seen, Rule::WronglyRemoved, text);
        }
    }

    /// Bodies go by whole days only when nothing is left of these days.
    fn range_removed(
        &mut self,
        seen: &Seen<'_>,
        (from, to): (&[u8], &[u8]),
        writes: &[Write<Family>],
    ) {
        self.check("range removed");
        let all = self.sent.values().map(|sent| &sent.envelope);
        let lost: Vec<_> = all
            .filter(|envelope| (from..to).contains(&body_key(envelope).as_slice()))
            .map(|envelope| envelope.id())
            .filter(|id| seen.has(id) && !is_removed(id, writes))
            .collect();
        for id in lost {
            let text = format!("the body of {} went with its day", short(&id));
            self.violated(seen, Rule::WronglyRemoved, text);
        }
    }
}

/// Whether a node that has the envelope must obey.
pub(super) fn ends(acknowledgement: &Acknowledgement, envelope: &Envelope) -> bool {
    acknowledgement.ends(&envelope.id(), &envelope.mailbox())
        && acknowledgement.expires_at() >= envelope.expires_at()
}

fn is_removed(id: &EnvelopeId, writes: &[Write<Family>]) -> bool {
    writes.iter().any(|write| {
        matches!(write, Write::Delete { table: Family::Custody, key } if key == id.as_bytes())
    })
}
