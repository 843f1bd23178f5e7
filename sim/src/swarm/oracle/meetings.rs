//! Meetings: a node that knows of an end tells it to every other that asks about the envelope, so that nobody who still
//! has it asks in vain for ever.
//!
//! That a node obeys what it is told is the business of `endings`.

use comm_proto::envelope::{CLOCK_TOLERANCE, Envelope, EnvelopeId};
use comm_proto::message::{Request, Response, SIGNED_MAX};
use comm_proto::node::RequestId;
use comm_proto::time::{Span, Time};

use super::{Oracle, Rule, Seen, Sent, short};
use crate::host::At;

/// How many answers to offers may leave an envelope where it is though it was acknowledged long ago.
pub(crate) const IN_VAIN_MAX: u32 = 8;
/// Within this time, and without trouble, whoever collects a mailbox has asked its region for it once more.
pub(crate) const LONG_AGO: Span = Span::from_mins(15);

/// What another node offers or delivers to an honest one.
pub(super) struct Question {
    /// Who is asked.
    pub(super) at: At,
    /// When, by its clock.
    clock: Time,
    /// What of it the node has or knows the end of.
    ids: Vec<EnvelopeId>,
}

impl Oracle {
    /// Another node offers or delivers.
    pub(super) fn asked_by_another(&mut self, seen: &Seen<'_>, id: RequestId, request: &Request) {
        let mut ids: Vec<_> = match request {
            Request::Offer { ids } => ids.clone(),
            Request::Deliver { envelopes } => envelopes.iter().map(Envelope::id).collect(),
            _ => return,
        };
        ids.retain(|id| seen.has(id) || seen.has_ended(id));
        if !ids.is_empty() {
            self.questions.insert(id, Question { at: seen.at, clock: seen.clock, ids });
        }
    }

    /// It is answered (PROTOCOL §6.6): with the acknowledgements of all that have ended here by now, as many as fit, but
    /// those that may be over by the other's clock.
    pub(super) fn ends_told(&mut self, seen: &Seen<'_>, id: RequestId, answer: &Response) {
        let Some(question) = self.questions.remove(&id) else { return };
        let (Response::Offered { acknowledgements, .. }
        | Response::Delivered { acknowledgements, .. }) = answer
        else {
            return;
        };
        let clock = question.clock.max(seen.clock);
        for id in question.ids.iter().filter(|id| seen.has_ended(id)) {
            let until = self.sent.get(id).and_then(|sent| sent.told_until);
            let lasts = until.is_some_and(|until| until > clock + CLOCK_TOLERANCE);
            let is_told = acknowledgements.iter().any(|one| one.ids().contains(id));
            let is_full = acknowledgements.len() >= SIGNED_MAX;
            // What a sender took back here has no acknowledgement.
            if lasts && !self.cancelled.contains(&(seen.at, *id)) {
                self.check("end told");
                if !is_told && !is_full {
                    let text = format!("{} has ended here, and who asks is not told", short(id));
                    self.violated(seen, Rule::EndNotTold, text);
                }
            }
        }
    }

    /// The end of the world: what was acknowledged so long ago, without trouble since, is not repeated here any more.
    pub(crate) fn copies_left(&mut self, seen: &Seen<'_>, ago: Span) {
        let Some(healed) = self.healed else { return };
        let is_long_ago = |sent: &Sent| {
            sent.confirmed.is_some_and(|confirmed| confirmed.max(healed) + ago <= seen.now)
        };
        let ended = self.sent.iter().filter(|(_, sent)| is_long_ago(sent)).map(|(id, _)| *id);
        for id in ended.collect::<Vec<_>>() {
            self.check("copies after the end");
            if seen.repeats(&id) {
                let text =
                    format!("{} was acknowledged long ago and is still repeated", short(&id));
                self.violated(seen, Rule::CopyLeft, text);
            }
        }
    }

    /// The node has offered an envelope, and this is what it does after the answer.
    pub(super) fn has_asked(&mut self, seen: &Seen<'_>, id: EnvelopeId) {
        let confirmed = self.sent.get(&id).and_then(|sent| sent.confirmed);
        let (Some(confirmed), Some(healed)) = (confirmed, self.healed) else { return };
        if seen.now < confirmed.max(healed) + LONG_AGO || !seen.has(&id) {
            return;
        }
        self.check("asked in vain");
        let count = self.in_vain.entry((seen.at, id)).or_default();
        *count += 1;
        if *count == IN_VAIN_MAX + 1 {
            let text = format!("{} is asked about time and again, and nobody knows", short(&id));
            self.violated(seen, Rule::StillSpokenOf, text);
        }
    }
}
