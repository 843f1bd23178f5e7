//! Letting somebody in, and being let in (PROTOCOL §4.16).
//!
//! Entry types are [`admit`], which a member does, and [`Joining`], which the invited keeps until they are in.
//! Neither needs the other to be there: what they say to each other waits in mailboxes.

use std::collections::VecDeque;

use thiserror::Error;

use super::event::{Change, Event};
use super::id::EventId;
use super::invitation::{INVITATION_LIFETIME_MAX, Invitation, InvitationError, Join};
use super::log::{Log, LogError, WAITING_MAX};
use super::note::Note;
use super::state::Refused;
use crate::address::Address;
use crate::envelope::CLOCK_TOLERANCE;
use crate::key::KeyPair;
use crate::time::Time;
use crate::verified::Verified;

/// Somebody who has asked to be let in, and what they have got of the room's log.
#[derive(Clone, Debug)]
pub struct Joining {
    invitation: Invitation,
    join: Verified<Join>,
    log: Option<Log>,
    /// Events that came before the first.
    early: VecDeque<Verified<Event>>,
}

/// Why what came brings nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JoiningError {
    /// The room.
    #[error("the answer is about another room than the invitation")]
    OtherRoom,
    /// The join that is answered.
    #[error("the answer is to another request")]
    OtherRequest,
    /// Who answers.
    #[error("whoever answers was not asked")]
    NotAsked,
    /// The event.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Lets somebody in who has proved the token's secret and their own key: makes the event that says so. Whether the
/// invitation has expired is judged by `now`. The same join is never taken twice: the one that was is named again.
///
/// # Errors
/// When the invitation is none of this room's, used, revoked or over, or the admitter may let nobody in.
pub fn admit(
    log: &mut Log,
    admitter: &KeyPair,
    join: &Verified<Join>,
    now: Time,
) -> Result<EventId, LogError> {
    if let Some(known) = admission(log, join) {
        return Ok(known);
    }
    // Signed for another room, it would make an event that nobody takes.
    join.check(log.room()).map_err(|_| LogError::OtherRoom)?;
    // When it was made is what its author says.
    let is_too_long = |until: Time| until > now + INVITATION_LIFETIME_MAX + CLOCK_TOLERANCE;
    if log.state().tokens().get(join.token()).is_some_and(|token| is_too_long(token.expires_at)) {
        return Err(Refused::Lifetime.into());
    }
    let change = Change::Admit(Box::new(Join::clone(join)));
    log.write(admitter, change, now).map(|event| event.id())
}

/// The event by which a join has made its author a member who still is one.
fn admission(log: &Log, join: &Join) -> Option<EventId> {
    let since = log.state().members().get(join.joiner())?.since;
    match log.get(&since)?.change() {
        Some(Change::Admit(admitted)) if **admitted == *join => Some(since),
        _ => None,
    }
}

impl Joining {
    /// Asks with an invitation. `fresh` must be drawn for this alone.
    ///
    /// # Errors
    /// When the invitation is over by more than clocks may differ.
    pub fn new(
        invitation: Invitation,
        joiner: &KeyPair,
        fresh: [u8; 32],
        now: Time,
    ) -> Result<Self, InvitationError> {
        if invitation.expires_at() + CLOCK_TOLERANCE <= now {
            return Err(InvitationError::Expired);
        }
        let join = Join::sign(&invitation, joiner, fresh);
        Ok(Self { invitation, join, log: None, early: VecDeque::new() })
    }

    /// That of somebody who asked before. The events that had come are to be handed in again.
    pub const fn restore(invitation: Invitation, join: Verified<Join>) -> Self {
        Self { invitation, join, log: None, early: VecDeque::new() }
    }

    /// With what they ask.
    pub const fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// What they have signed.
    pub const fn join(&self) -> &Verified<Join> {
        &self.join
    }

    /// Until when the invitation is good.
    pub const fn until(&self) -> Time {
        self.invitation.expires_at()
    }

    /// All events that have come and may be of use.
    pub fn events(&self) -> impl Iterator<Item = &Verified<Event>> {
        let log = self.log.iter();
        log.flat_map(|log| log.events().chain(log.waiting())).chain(&self.early)
    }

    /// What is said to each of [`Self::asked`].
    pub fn ask(&self) -> Note {
        Note::Ask { room: self.invitation.room(), join: Box::new(Join::clone(&self.join)) }
    }

    /// Who is asked.
    pub fn asked(&self) -> impl Iterator<Item = Address> + '_ {
        self.invitation.admitters()
    }

    /// Takes an event of the room's log, from whomever: it proves itself.
    ///
    /// # Errors
    /// When it belongs to another room, or was not its author's to make.
    pub fn take(&mut self, event: Verified<Event>) -> Result<(), JoiningError> {
        if event.room() != self.invitation.room() {
            return Err(JoiningError::OtherRoom);
        }
        if let Some(log) = &mut self.log {
            log.take(event)?;
            return Ok(());
        }
        if event.change().is_some() {
            if self.early.len() >= WAITING_MAX {
                self.early.pop_front();
            }
            self.early.push_back(event);
            return Ok(());
        }
        self.log = Log::new(event);
        for event in std::mem::take(&mut self.early) {
            // What is none of the room's is as if it had not come.
            let _ = self.take(event);
        }
        Ok(())
    }

    /// Whether somebody who says that we are not let in is to be believed.
    ///
    /// # Errors
    /// When they were not asked, or answer another request.
    pub fn check_refusal(&self, from: &Address, fresh: &[u8; 32]) -> Result<(), JoiningError> {
        if !self.asked().any(|asked| asked == *from) {
            return Err(JoiningError::NotAsked);
        }
        if fresh != self.join.fresh() { Err(JoiningError::OtherRequest) } else { Ok(()) }
    }

    /// What has come of the log, to say what is missing.
    pub const fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// The log, once it says that **this** join has made us a member.
    pub fn into_log(self) -> Result<Log, Box<Self>> {
        match self.log {
            Some(log) if admission(&log, &self.join).is_some() => Ok(log),
            _ => Err(Box::new(self)),
        }
    }
}
