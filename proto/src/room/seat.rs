//! One member's place in a room: what they know of it, say in it and pass on (PROTOCOL §4.17, §4.18).
//!
//! Entry type is [`Seat`]. It takes what others say and what its member wants, and says in [`Step`]s what is to be
//! sealed for whom and what is to be shown. It knows no envelopes: whatever brings notes to people may be slow,
//! bring them in any order and more than once, but has to bring them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::event::{Change, Event, Heads};
use super::id::EventId;
use super::invitation::Join;
use super::joining::admit;
use super::log::{Fork, Log, LogError, Taken};
use super::note::{Note, Refusal, Said, WANTED_MAX};
use super::state::{Refused, State};
use super::talk::{Heard, Talk};
use crate::envelope::SizeClass;
use crate::key::{KeyPair, PublicKey};
use crate::payload::{ContentType, MessageId};
use crate::time::{Span, Time};
use crate::verified::Verified;

/// How long one member waits for an answer before asking somebody else, and is answered once.
pub const ASK_AGAIN: Span = Span::from_mins(1);
/// How often that time doubles while nothing new comes.
pub(super) const DOUBLINGS_MAX: u32 = 6;
/// How many members on each side, in the order of keys, are told of a fork.
const TOLD_OF_FORKS: usize = 4;
/// Events travel in envelopes of this size.
const PAGE: SizeClass = SizeClass::K16;

/// One member's place in a room.
#[derive(Clone, Debug)]
pub struct Seat {
    me: KeyPair,
    log: Log,
    pub(super) talk: Talk,
    /// The number of what we said last, and what it is called.
    pub(super) said: u64,
    pub(super) last: Option<MessageId>,
    /// Since which number of ours each member hears us, and what they drew when they joined.
    pub(super) audience: BTreeMap<PublicKey, ([u8; 32], u64)>,
    /// When each member was last told what they lacked, and when each token was last refused.
    answered: BTreeMap<PublicKey, Time>,
    /// Whom we asked last for what we lack, and when we may ask again.
    asked: Option<(PublicKey, Time)>,
    /// How often we have asked since anything new came: somebody may have named what is nowhere.
    tries: u32,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This is to be sealed for somebody.
    Send {
        /// For whom.
        to: PublicKey,
        /// What.
        note: Note,
    },
    /// Something was said: [`Heard::Shown`] or [`Heard::NotAMember`].
    Heard(Heard),
    /// The room has this event.
    Changed(EventId),
    /// Somebody's log has two branches: to be shown.
    Forked(Fork),
}

impl Seat {
    /// The founder's.
    pub fn found(me: KeyPair, first: Verified<Event>) -> Option<Self> {
        Log::new(first).map(|log| Self::take(me, log))
    }

    /// That of somebody whose log it is.
    pub fn take(me: KeyPair, log: Log) -> Self {
        let (talk, audience, answered) = (Talk::default(), BTreeMap::new(), BTreeMap::new());
        Self { me, log, talk, said: 0, last: None, audience, answered, asked: None, tries: 0 }
    }

    /// Counts on from at least here (PROTOCOL §4.18): whoever comes back with nothing may have said all before it, and
    /// others take no number of theirs twice.
    pub fn count_from(&mut self, said: u64) {
        self.said = self.said.max(said);
    }

    /// What they know of the room.
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// What follows from it.
    pub const fn state(&self) -> &State {
        self.log.state()
    }

    /// What has been said.
    pub const fn talk(&self) -> &Talk {
        &self.talk
    }

    /// The number of what we said last; 0 if we have said nothing.
    pub const fn said(&self) -> u64 {
        self.said
    }

    /// Whether we are out by our own word, which nobody overrules.
    pub fn has_left(&self) -> bool {
        let me = self.me.public();
        let is_about_us = |event: &&Verified<Event>| match event.change() {
            Some(Change::Leave) => *event.author() == me,
            Some(Change::Remove(key)) => *key == me,
            Some(Change::Admit(join)) => *join.joiner() == me,
            _ => false,
        };
        let last = self.log.events().filter(is_about_us).last();
        !self.is_member() && last.is_some_and(|event| event.change() == Some(&Change::Leave))
    }

    /// Takes back what waited for events before the seat was restored.
    pub fn hold_again(&mut self, author: PublicKey, first: u64, said: Said) {
        // It waits now as it did.
        let _ = self.talk.hear(&self.log, author, first, said);
    }

    /// Whether somebody is a fellow member: notes of theirs pass where strangers wait.
    pub fn is_fellow(&self, key: &PublicKey) -> bool {
        self.is_member() && self.state().is_member(key)
    }

    /// Whether they themselves still belong to the room.
    pub fn is_member(&self) -> bool {
        self.state().is_member(&self.me.public())
    }

    /// When to call [`Self::ask`], if anything is missing.
    pub fn next(&self) -> Option<Time> {
        self.lacks().then(|| self.asked.map_or(Time::ZERO, |(_, again)| again))
    }

    /// Changes the room.
    ///
    /// # Errors
    /// When the member is not entitled to it, or the log is full.
    pub fn change(&mut self, change: Change, now: Time) -> Result<Vec<Step>, LogError> {
        let event = self.log.write(&self.me, change, now)?;
        let mut steps = vec![Step::Changed(event.id())];
        self.spread(&event, &mut steps);
        Ok(steps)
    }

    /// Says something to all members.
    ///
    /// # Errors
    /// When we are none.
    pub fn say(
        &mut self,
        content_type: ContentType,
        body: Vec<u8>,
    ) -> Result<(MessageId, Vec<Step>), Refused> {
        if !self.is_member() {
            return Err(Refused::NotAMember);
        }
        let heads = self.log.heads_for(&self.me.public());
        let (room, sequence, previous) = (self.log.room(), self.said + 1, self.last);
        let said = Said { room, sequence, previous, heads, content_type, body };
        let id = said.id(&self.me.public());
        (self.said, self.last) = (sequence, Some(id));
        let members = self.log.state().members();
        let is_same = |key: &PublicKey, drawn: &[u8; 32]| {
            members.get(key).is_some_and(|member| member.membership == *drawn)
        };
        self.audience.retain(|key, (drawn, _)| is_same(key, drawn));
        let mut steps = Vec::new();
        for (key, member) in members.iter().filter(|(key, _)| **key != self.me.public()) {
            let (_, first) = *self.audience.entry(*key).or_insert((member.membership, sequence));
            steps.push(Step::Send { to: *key, note: Note::Said { first, said: said.clone() } });
        }
        Ok((id, steps))
    }

    /// Takes what somebody has said, whose conversation has proved that it was them.
    pub fn hear(&mut self, from: PublicKey, note: Note, now: Time) -> Vec<Step> {
        let mut steps = Vec::new();
        match note {
            Note::Said { first, said } if said.room == self.log.room() => {
                let heads = said.heads.clone();
                let heard = self.talk.hear(&self.log, from, first, said);
                if heard == Heard::NotAMember {
                    self.bid_farewell(&from, &heads, now, &mut steps);
                }
                steps.extend(shown(heard));
            }
            Note::Events(events) => self.take_events(&from, events, &mut steps),
            Note::Want { room, known, wanted } if room == self.log.room() => {
                self.answer(&from, &known, &wanted, now, &mut steps);
            }
            Note::Ask { room, join } if room == self.log.room() => {
                self.let_in(&from, *join, now, &mut steps);
            }
            Note::Said { .. } | Note::Want { .. } | Note::Ask { .. } | Note::Refuse { .. } => {}
        }
        // Nobody else is asked: the question says that we are here, and delays the next one.
        let is_time = self.asked.is_none_or(|(_, again)| again <= now);
        if is_time && self.lacks() && self.is_fellow(&from) {
            self.want(from, now, &mut steps);
        }
        steps
    }

    /// Asks the next member for what is missing, if it is time.
    pub fn ask(&mut self, now: Time) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.next().is_some_and(|at| at <= now) {
            let me = self.me.public();
            let members = self.state().members();
            let after = self.asked.map_or(Bound::Unbounded, |(last, _)| Bound::Excluded(last));
            let others = members.range((after, Bound::Unbounded)).chain(members.iter());
            let next = others.map(|(key, _)| *key).find(|key| *key != me);
            if let Some(next) = next {
                self.want(next, now, &mut steps);
            }
        }
        steps
    }

    fn lacks(&self) -> bool {
        let has_fellows = self.is_member() && self.state().members().len() > 1;
        has_fellows && !(self.log.missing().is_empty() && self.talk.is_complete())
    }

    fn want(&mut self, from: PublicKey, now: Time, steps: &mut Vec<Step>) {
        let known = self.log.heads_for(&self.me.public());
        let named = self.talk.missing(&self.log).into_iter();
        let named = named.filter(|(_, by)| self.is_fellow(by)).map(|(id, _)| id);
        let wanted: BTreeSet<_> = self.log.missing().into_iter().chain(named).collect();
        let wanted = wanted.into_iter().take(WANTED_MAX).collect();
        self.asked = Some((from, now + ASK_AGAIN.times(1 << self.tries.min(DOUBLINGS_MAX))));
        self.tries += 1;
        let note = Note::Want { room: self.log.room(), known, wanted };
        steps.push(Step::Send { to: from, note });
    }

    /// Members alone are answered, and not often: nobody makes us send the log again and again.
    fn answer(
        &mut self,
        to: &PublicKey,
        known: &Heads,
        wanted: &[EventId],
        now: Time,
        steps: &mut Vec<Step>,
    ) {
        if !self.state().is_member(to) {
            return self.bid_farewell(to, known, now, steps);
        }
        if !self.may_answer(to, now) {
            return;
        }
        let wanted: BTreeSet<_> = wanted.iter().copied().collect();
        let lacking: BTreeSet<_> =
            self.log.beyond(known.as_slice()).map(|event| event.id()).chain(wanted).collect();
        let events = self.log.events().filter(|event| lacking.contains(&event.id()));
        send_events(to, events, steps);
    }

    /// Whoever speaks as a member and is none any more may not have heard: what says so, and nothing of later, is
    /// told to them. People whom the room never had are told nothing.
    fn bid_farewell(&mut self, to: &PublicKey, heads: &Heads, now: Time, steps: &mut Vec<Step>) {
        let was_let_in = |event: &Verified<Event>| match event.change() {
            None => event.author() == to,
            Some(Change::Admit(join)) => join.joiner() == to,
            Some(_) => false,
        };
        if self.is_member() && self.log.events().any(was_let_in) && self.may_answer(to, now) {
            send_events(to, self.log.farewell(heads.as_slice(), to), steps);
        }
    }

    /// Whether it is long enough ago that they, or this token, were answered; notes that they are now.
    fn may_answer(&mut self, to: &PublicKey, now: Time) -> bool {
        self.answered.retain(|_, last| *last + ASK_AGAIN > now);
        if self.answered.contains_key(to) {
            return false;
        }
        self.answered.insert(*to, now);
        true
    }

    fn let_in(&mut self, from: &PublicKey, join: Join, now: Time, steps: &mut Vec<Step>) {
        let Ok(join) = join.verify(self.log.room()) else { return };
        // Whoever has no token of ours is told nothing, not even that the room is here.
        let is_known = self.state().tokens().contains_key(join.token());
        if !is_known || join.joiner() != from || !self.is_member() {
            return;
        }
        let length = self.log.len();
        match admit(&mut self.log, &self.me, &join, now) {
            Ok(id) if self.log.len() > length => {
                steps.push(Step::Changed(id));
                if let Some(event) = self.log.get(&id).cloned() {
                    self.spread(&event, steps);
                }
                self.answered.insert(*from, now);
                send_events(from, self.log.events(), steps);
            }
            // They are in, and perhaps have not got the log.
            Ok(_) if self.may_answer(from, now) => send_events(from, self.log.events(), steps),
            // Keys are free: one token is refused once in a while, whoever shows it.
            Err(LogError::NotEntitled(refused)) if self.may_answer(join.token(), now) => {
                let (room, fresh) = (self.log.room(), *join.fresh());
                let note = Note::Refuse { room, fresh, reason: Refusal::of(refused) };
                steps.push(Step::Send { to: *from, note });
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn take_events(&mut self, from: &PublicKey, events: Vec<Event>, steps: &mut Vec<Step>) {
        let (is_fellow, room) = (self.is_fellow(from), self.log.room());
        let forks = self.log.forks().len();
        let mut new = Vec::new();
        for event in events.into_iter().filter(|event| event.room() == room) {
            // What others have to wait for is nothing that a stranger may fill.
            if self.log.contains(&event.id()) || !(is_fellow || self.log.is_ready(&event)) {
                continue;
            }
            let Ok(event) = event.verify() else { continue };
            if let Ok(Taken::New(ids)) = self.log.take(event) {
                new.extend(ids);
            }
        }
        for fork in self.log.forks()[forks..].iter().copied() {
            self.pass_on(&fork, from, steps);
            steps.push(Step::Forked(fork));
        }
        for id in &new {
            steps.push(Step::Changed(*id));
            self.greet(id, steps);
            self.disown(id, steps);
        }
        if !new.is_empty() {
            self.tries = 0;
            steps.extend(self.talk.look_again(&self.log).into_iter().filter_map(shown));
        }
    }

    /// What proves that somebody has forked goes to the next members on both sides in the order of keys, each of whom
    /// does the same: so all learn of it, whoever of them was told first.
    fn pass_on(&self, fork: &Fork, from: &PublicKey, steps: &mut Vec<Step>) {
        let events: Vec<_> = fork.events.iter().filter_map(|id| self.log.get(id)).collect();
        let (me, members) = (self.me.public(), self.state().members());
        let after = (Bound::Excluded(me), Bound::Unbounded);
        let above = members.range(after).chain(members.iter()).map(|(key, _)| *key);
        let below = members.range(..me).rev().chain(members.iter().rev()).map(|(key, _)| *key);
        let neighbours = above.take(TOLD_OF_FORKS).chain(below.take(TOLD_OF_FORKS));
        let told: BTreeSet<_> =
            neighbours.filter(|key| *key != me && key != from && *key != fork.author).collect();
        for to in told {
            send_events(&to, events.iter().copied(), steps);
        }
    }

    /// A new member is told what we did and whoever let them in did not know.
    fn greet(&self, id: &EventId, steps: &mut Vec<Step>) {
        let Some(Change::Admit(join)) = self.log.get(id).and_then(|event| event.change()) else {
            return;
        };
        if *join.joiner() != self.me.public() && self.is_fellow(join.joiner()) {
            let (me, known) = (self.me.public(), [*id]);
            let ours = self.log.beyond(&known).filter(|event| *event.author() == me);
            send_events(join.joiner(), ours, steps);
        }
    }

    /// Whoever was let in by somebody from whom we had taken the right to it is told by us: nobody else knows them, and what
    /// they say comes to nobody.
    fn disown(&self, id: &EventId, steps: &mut Vec<Step>) {
        let Some(Change::Admit(join)) = self.log.get(id).and_then(|event| event.change()) else {
            return;
        };
        let (joiner, me) = (join.joiner(), self.me.public());
        let is_somebody = self.state().is_member(joiner) || self.state().was_member(joiner);
        if is_somebody || !self.is_member() {
            return;
        }
        let farewell = self.log.farewell(&[*id], joiner);
        if farewell.iter().any(|event| *event.author() == me) {
            send_events(joiner, farewell, steps);
        }
    }

    /// An event of ours goes to all who belong to the room now, and to whom it removes.
    fn spread(&self, event: &Verified<Event>, steps: &mut Vec<Step>) {
        let removed = match event.change() {
            Some(Change::Remove(member)) => Some(*member),
            _ => None,
        };
        let members = self.state().members().keys().copied().chain(removed);
        for to in members.filter(|to| *to != self.me.public()) {
            send_events(&to, [event], steps);
        }
    }
}

fn send_events<'a>(
    to: &PublicKey,
    events: impl IntoIterator<Item = &'a Verified<Event>>,
    steps: &mut Vec<Step>,
) {
    let pages = Note::pages(events.into_iter().map(|event| &**event), PAGE);
    steps.extend(pages.into_iter().map(|note| Step::Send { to: *to, note }));
}

/// What a member is to see of something that came.
fn shown(heard: Heard) -> Option<Step> {
    match heard {
        Heard::Held | Heard::Again => None,
        Heard::Shown { .. } | Heard::NotAMember => Some(Step::Heard(heard)),
    }
}
