//! How an envelope ended, for whoever judges. It judges nothing itself but whether it should have come.

use std::fmt;

use comm_proto::envelope::EnvelopeId;
use comm_proto::time::Time;

use super::Letter;
use crate::host::At;
use crate::measured::Fate;

/// How an envelope ended, and what was to be expected of it.
pub(crate) struct Outcome {
    pub(crate) letter: Letter,
    pub(crate) writer: At,
    pub(crate) reader: At,
    pub(crate) id: Option<EnvelopeId>,
    pub(crate) expires_at: Option<Time>,
    pub(crate) cancelled: bool,
    pub(crate) told_expired: bool,
    pub(crate) fate: Fate,
}

impl Outcome {
    /// Whether its reader should have it by now and has not. That the writer's own node takes it for over, by
    /// whatever clock it has, excuses nothing once another honest one had it.
    pub(crate) fn must_have_come(&self, now: Time) -> bool {
        let lives = self.expires_at.is_some_and(|at| at > now);
        let given_up = self.cancelled || (self.told_expired && self.fate.copied.is_none());
        self.fate.accepted.is_some() && lives && !given_up && self.fate.delivered.is_none()
    }

    /// Whether its writer's node should have taken it by now, which was asked again and again, and has not.
    pub(crate) fn must_have_been_accepted(&self, now: Time) -> bool {
        let lives = self.expires_at.is_some_and(|at| at > now);
        self.fate.accepted.is_none() && lives && !self.cancelled && !self.told_expired
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.map(|id| hex::encode(&id.as_bytes()[..4])).unwrap_or_default();
        let Self { letter, writer, reader, .. } = self;
        write!(f, "envelope {letter} ({id}) of host {writer} has not reached host {reader}")
    }
}
