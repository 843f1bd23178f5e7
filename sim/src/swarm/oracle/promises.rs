//! Promises: a receipt, *accepted*, *stored*, what readers are shown and the answer to their acknowledgements are true
//! when they are said, and stay true.

use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::envelope::EnvelopeId;
use comm_proto::message::{EnvelopeState, Response};
use comm_proto::node::{Family, RequestId};
use comm_proto::verified::Verified;

use super::endings::ends;
use super::{Oracle, Rule, Seen, short, tombstone};

impl Oracle {
    /// Receipts in an answer: the answerer has all of it on disk at this moment (PROTOCOL §3.4).
    pub(super) fn receipts_given(&mut self, seen: &Seen<'_>, answer: &Response) {
        let (Response::Offered { receipts, .. } | Response::Delivered { receipts, .. }) = answer
        else {
            return;
        };
        if let Response::Delivered { refused, .. } = answer {
            refused.iter().for_each(|(_, refusal)| self.check(refusal.name()));
        }
        let own = receipts.iter().filter(|receipt| receipt.holder() == seen.host.key().address());
        for id in own.flat_map(|receipt| receipt.ids()) {
            self.promise(seen, *id, "receipt");
            self.receipts.entry(*id).or_default().insert(seen.at);
        }
    }

    /// A client is told that its envelope is accepted, or more.
    pub(super) fn accepted(&mut self, seen: &Seen<'_>, id: EnvelopeId, state: EnvelopeState) {
        // It may have ended before the disk had both: then that is what the disk has.
        let over = self.known(&id).is_some_and(|envelope| envelope.expires_at() <= seen.clock);
        let tombstone = seen.host.disk().durable(Family::Tombstones, tombstone(&id));
        let ended = over || tombstone.is_some();
        if matches!(state, EnvelopeState::Accepted | EnvelopeState::Stored(_)) && !ended {
            self.promise(seen, id, "accepted");
        }
        self.state_told(seen, id, state);
    }

    /// Readers and collectors are shown an envelope: it is on disk (PROTOCOL §6.5), unless it is over.
    pub(super) fn on_disk(&mut self, seen: &Seen<'_>, ids: &[EnvelopeId], how: &'static str) {
        for id in ids.iter().filter(|id| !seen.has_ended(id)) {
            let Some(envelope) = self.known(id) else { continue };
            if envelope.expires_at() > seen.clock && !seen.has_durably(envelope) {
                let text = format!("{} is {how} and not on disk", short(id));
                self.violated(seen, Rule::PromiseBeforeDisk, text);
            }
        }
    }

    /// A reader has read: what of it is here, or has ended here, must be ended on disk when that is confirmed.
    pub(super) fn client_acknowledges(
        &mut self,
        seen: &Seen<'_>,
        request: RequestId,
        acknowledgements: &[Verified<Acknowledgement>],
    ) {
        let mut here = Vec::new();
        for (id, sent) in &mut self.sent {
            let by = acknowledgements.iter().filter(|one| ends(one, &sent.envelope));
            let Some(until) = by.map(|one| one.expires_at()).min() else { continue };
            sent.acknowledged.get_or_insert(seen.now);
            sent.told_until = Some(sent.told_until.map_or(until, |told| told.min(until)));
            if seen.has(id) || seen.has_ended(id) {
                here.push(*id);
            }
        }
        self.acknowledging.insert(request, here);
    }

    /// The reader is told that it is done. What has expired meanwhile needs no tombstone.
    pub(super) fn confirmed(&mut self, seen: &Seen<'_>, request: RequestId) {
        for id in self.acknowledging.remove(&request).unwrap_or_default() {
            self.check("acknowledgement confirmed");
            let on_disk = seen.host.disk().durable(Family::Tombstones, tombstone(&id)).is_some();
            let Some(sent) = self.sent.get_mut(&id) else { continue };
            if on_disk {
                sent.confirmed.get_or_insert(seen.now);
            } else if sent.envelope.expires_at() > seen.clock {
                let text = format!("{} is confirmed as read and its end not on disk", short(&id));
                self.violated(seen, Rule::PromiseBeforeDisk, text);
            }
        }
    }

    /// A client is told how far an envelope has come: a promise for own ones alone (PROTOCOL §6.1).
    pub(super) fn state_told(&mut self, seen: &Seen<'_>, id: EnvelopeId, state: EnvelopeState) {
        if seen.has_for_others(&id) {
            return self.check("state told of others' envelopes");
        }
        self.check("state told");
        let before = self.told.insert((seen.at, id), state);
        if before.is_some_and(|before| rank(state) < rank(before)) {
            let text = format!("{} was {before:?} and is {state:?}", short(&id));
            self.violated(seen, Rule::StateUntrue, text);
        }
        let truth = match state {
            EnvelopeState::Accepted | EnvelopeState::Cancelled => true,
            EnvelopeState::Stored(count) => {
                let given = self.receipts.get(&id).map_or(0, |holders| holders.len());
                count as usize <= given + self.adversaries
            }
            EnvelopeState::Delivered { .. } => self.is_acknowledged(&id),
            EnvelopeState::Expired => {
                self.known(&id).is_none_or(|envelope| envelope.expires_at() <= seen.clock)
            }
        };
        if !truth {
            self.violated(seen, Rule::StateUntrue, format!("{} is not {state:?}", short(&id)));
        }
    }

    /// After a crash everything promised is there.
    pub(super) fn promises_kept(&mut self, seen: &Seen<'_>) {
        let all = (seen.at, EnvelopeId::from_bytes([0; 32]))
            ..=(seen.at, EnvelopeId::from_bytes([0xff; 32]));
        let promised: Vec<_> = self.promised.range(all).map(|((_, id), how)| (*id, *how)).collect();
        for (id, how) in promised {
            self.check("promise after a crash");
            let kept = self.known(&id).is_none_or(|envelope| seen.has_durably(envelope));
            // What ended meanwhile was looked at when it did.
            if !kept && !seen.has_ended(&id) {
                self.violated(seen, Rule::PromiseBroken, format!("{} ({how}) is gone", short(&id)));
            }
        }
    }

    fn promise(&mut self, seen: &Seen<'_>, id: EnvelopeId, how: &'static str) {
        self.check(how);
        let Some(envelope) = self.known(&id) else {
            let text = format!("{how} for {}, which nobody has made", short(&id));
            return self.violated(seen, Rule::PromiseBeforeDisk, text);
        };
        if seen.has_durably(envelope) {
            // It may have ended meanwhile, and only the disk does not have that yet.
            if seen.has(&id) {
                self.promised.insert((seen.at, id), how);
            }
        } else {
            let text = format!("{how} for {}, which is not on disk", short(&id));
            self.violated(seen, Rule::PromiseBeforeDisk, text);
        }
    }
}

/// The order in which states follow each other.
fn rank(state: EnvelopeState) -> (u8, u32) {
    match state {
        EnvelopeState::Accepted => (0, 0),
        EnvelopeState::Stored(count) => (1, count),
        EnvelopeState::Delivered { .. } | EnvelopeState::Expired | EnvelopeState::Cancelled => {
            (2, 0)
        }
    }
}
