//! Letting somebody in, and being let in (PROTOCOL §4.16).
//!
//! Entry types are [`admit`], which a member does, and [`Joining`], which the invited keeps until they are in.
//! Neither needs the other to be there: what they say to each other waits in mailboxes.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::event::{Change, Event};
use super::id::EventId;
use super::invitation::{INVITATION_LIFETIME_MAX, Invitation, InvitationError, Join};
use super::log::{EVENTS_MAX, Log, LogError};
use super::note::Note;
use super::seat::{ASK_AGAIN, DOUBLINGS_MAX};
use super::state::Refused;
use crate::address::Address;
use crate::envelope::CLOCK_TOLERANCE;
use crate::key::KeyPair;
use crate::time::Time;
use crate::verified::Verified;

/// Earlier joins that are remembered.
const EARLIER_MAX: usize = 4;

/// Somebody who has asked to be let in, and what they have got of the room's log.
#[derive(Clone, Debug)]
pub struct Joining {
    invitation: Invitation,
    join: Verified<Join>,
    /// What they asked with before, the last first: whichever is answered first brings them in. At most
    /// [`EARLIER_MAX`].
    earlier: Vec<Verified<Join>>,
    log: Option<Log>,
    /// Events that came before others which they name, by the one of these that they wait for.
    early: BTreeMap<EventId, Vec<Verified<Event>>>,
    /// What they are called; at most [`EVENTS_MAX`].
    early_ids: BTreeSet<EventId>,
    /// When the same is asked again, and how often it was.
    again: Time,
    tries: u32,
    /// Who has said that we are not let in: they are not asked again.
    refused: BTreeSet<Address>,
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
    /// Asks with an invitation. `fresh` is that of [`Join::draw`].
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
        Ok(Self::restore(invitation, join))
    }

    /// That of somebody who asked before. The events that had come are to be handed in again.
    /// It is time to ask again.
    pub fn restore(invitation: Invitation, join: Verified<Join>) -> Self {
        let (early, early_ids, refused) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let (earlier, log, again, tries) = (Vec::new(), None, Time::ZERO, 0);
        Self { invitation, join, earlier, log, early, early_ids, again, tries, refused }
    }

    /// The same, of somebody who has asked for the same room with these joins before.
    #[must_use]
    pub fn with_earlier(self, earlier: impl IntoIterator<Item = Verified<Join>>) -> Self {
        let others = earlier.into_iter().filter(|join| *join != self.join);
        Self { earlier: others.take(EARLIER_MAX).collect(), ..self }
    }

    /// Goes on from another request for the same room: what has come of the log, and that this may be answered yet.
    #[must_use]
    pub fn after(self, before: Self) -> Self {
        let Self { join, earlier, log, early, early_ids, .. } = before;
        let asked = [join].into_iter().chain(earlier);
        Self { log, early, early_ids, ..self.with_earlier(asked) }
    }

    /// What they asked with before.
    pub fn earlier(&self) -> &[Verified<Join>] {
        &self.earlier
    }

    /// When to call [`Self::is_due`]; never again once the invitation is over or all who were asked have refused.
    pub fn next(&self) -> Option<Time> {
        let has_anybody_left = self.asked().any(|asked| !self.refused.contains(&asked));
        (has_anybody_left && self.again < self.asks_until()).then_some(self.again)
    }

    /// Whether it is time to say [`Self::ask`] again, to those who have not refused: an answer may have been lost, or
    /// part of it. Each time is twice as long as the one before.
    pub fn is_due(&mut self, now: Time) -> bool {
        if self.next().is_none_or(|at| at > now) {
            return false;
        }
        self.again = now + ASK_AGAIN.times(1 << self.tries.min(DOUBLINGS_MAX));
        self.tries = self.tries.saturating_add(1);
        now < self.asks_until()
    }

    /// By the clock of whoever is asked the invitation may still be good.
    fn asks_until(&self) -> Time {
        self.until() + CLOCK_TOLERANCE
    }

    /// The person wants to be let in again by what they asked with before: everybody is asked at once.
    pub fn begin_anew(&mut self) {
        (self.again, self.tries) = (Time::ZERO, 0);
        self.refused.clear();
    }

    /// Who was asked and has not refused.
    pub fn not_refused(&self) -> impl Iterator<Item = Address> + '_ {
        self.asked().filter(|asked| !self.refused.contains(asked))
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
        log.flat_map(|log| log.events().chain(log.waiting())).chain(self.early.values().flatten())
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
        let mut taken = Vec::new();
        taken.extend(self.place(event)?);
        while let Some(id) = taken.pop() {
            for event in self.early.remove(&id).unwrap_or_default() {
                self.early_ids.remove(&event.id());
                // What is none of the room's is as if it had not come.
                taken.extend(self.place(event).ok().flatten());
            }
        }
        Ok(())
    }

    /// Takes an event if all that it names is here, and says so; else it waits for one of them.
    fn place(&mut self, event: Verified<Event>) -> Result<Option<EventId>, LogError> {
        let id = event.id();
        let missing = match &mut self.log {
            None if event.change().is_none() => {
                self.log = Log::new(event);
                return Ok(Some(id));
            }
            None => self.invitation.room().first(),
            Some(log) => {
                let missing = event.named().find(|id| !log.contains(id));
                match missing {
                    Some(missing) => missing,
                    None => return log.take(event).map(|_| Some(id)),
                }
            }
        };
        if self.early_ids.contains(&id) {
            return Ok(None);
        }
        if self.early_ids.len() >= EVENTS_MAX {
            // No room has more: somebody has made them up. What is good comes again with the next answer.
            self.early.clear();
            self.early_ids.clear();
        }
        self.early_ids.insert(id);
        self.early.entry(missing).or_default().push(event);
        Ok(None)
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

    /// Whoever says so, and is to be believed, is not asked again.
    pub fn note_refusal(&mut self, from: Address) {
        self.refused.insert(from);
    }

    /// What has come of the log, to say what is missing.
    pub const fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// The log, once it says that **this** join, or one of those before it, has made us a member.
    pub fn into_log(self) -> Result<Log, Box<Self>> {
        let is_in = self.log.as_ref().is_some_and(|log| {
            let mut joins = [&self.join].into_iter().chain(&self.earlier);
            joins.any(|join| admission(log, join).is_some())
        });
        match self.log {
            Some(mut log) if is_in => {
                for event in self.early.into_values().flatten() {
                    // It waits there as well, and is asked for.
                    let _ = log.take(event);
                }
                Ok(log)
            }
            _ => Err(Box::new(self)),
        }
    }
}
