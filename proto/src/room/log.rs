//! What one member knows of a room's events, and what follows from all of them (PROTOCOL §4.15).
//!
//! Entry type is [`Log`]. An event is taken if it was its author's to make where they stood, which is the same
//! for everybody and for ever. What counts of those taken is a function of their set: it does not hang on the
//! order in which they came.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use thiserror::Error;

use super::event::{Body, Change, Event, HEADS_MAX, Heads};
use super::id::{EventId, RoomId};
use super::past::Past;
use super::shares;
use super::state::{Office, Refused, Role, State};
use crate::key::{KeyPair, PublicKey};
use crate::time::Time;
use crate::verified::Verified;

/// The most events of a room.
pub const EVENTS_MAX: usize = 4_096;
/// The most of one author, so that nobody fills a room alone.
pub const AUTHOR_EVENTS_MAX: usize = 1_024;
/// The most events that wait for others which they name. Of more, the author with the most of them gives up one;
/// all who are no members count as one author, since anybody can invent them.
pub const WAITING_MAX: usize = 256;
/// How many events are tried to find one that shows somebody that they are a member no more.
const FAREWELL_TRIES: usize = 32;
/// The most forks that are remembered; more prove nothing more.
const FORKS_MAX: usize = 64;

/// The events of one room that somebody has.
#[derive(Clone, Debug)]
pub struct Log {
    room: RoomId,
    /// In the order in which they came; each stands behind all that it names.
    entries: Vec<Entry>,
    by_id: BTreeMap<EventId, usize>,
    /// Places in the order in which events count: the same for everybody.
    order: Vec<usize>,
    heads: BTreeSet<EventId>,
    waiting: VecDeque<Verified<Event>>,
    forks: Vec<Fork>,
    known: Known,
}

/// What follows from all events that are there.
#[derive(Clone, Debug)]
struct Known {
    state: State,
    /// Those that do not count.
    idle: BTreeMap<EventId, Verdict>,
}

#[derive(Clone, Debug)]
struct Entry {
    event: Verified<Event>,
    /// All that its author knew.
    past: Past,
    /// The length of the longest way from the first event.
    depth: u32,
    /// How high its author stood.
    rank: Role,
}

/// Two events that an author made side by side: told to all, since an honest program makes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Who.
    pub author: PublicKey,
    /// The two, which both name the same event as the author's one before.
    pub events: [EventId; 2],
}

/// What became of an event that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new, and so are those that had waited for it: all in the order in which they stand now.
    New(Vec<EventId>),
    /// It was there.
    Known,
    /// It waits for others.
    Waits,
}

/// What became of an event once all is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Counts,
    /// Somebody above its author took away the right to it, and its author did not know.
    Overruled,
    /// What others did comes first and leaves nothing for it.
    Superseded,
}

/// Why an event is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The room.
    #[error("the event belongs to another room")]
    OtherRoom,
    /// The event before.
    #[error("the event names somebody else's as its author's one before")]
    ForeignPrevious,
    /// Its author's right.
    #[error("the event was not its author's to make: {0}")]
    NotEntitled(#[from] Refused),
    /// The bound.
    #[error("the room's log is full: it has {EVENTS_MAX} events")]
    Full,
    /// The bound of one author.
    #[error("one member has at most {AUTHOR_EVENTS_MAX} events in a room's log")]
    AuthorFull,
}

impl Log {
    /// The log of a room of which nothing but the first event is known; none if it is no first event.
    pub fn new(first: Verified<Event>) -> Option<Self> {
        let state = State::founded(&first)?;
        let (id, room) = (first.id(), first.room());
        let rank = state.rank(first.author())?;
        let entry = Entry { event: first, past: Past::default(), depth: 0, rank };
        Some(Self {
            room,
            entries: vec![entry],
            by_id: BTreeMap::from([(id, 0)]),
            order: vec![0],
            heads: BTreeSet::from([id]),
            waiting: VecDeque::new(),
            forks: Vec::new(),
            known: Known { state, idle: BTreeMap::new() },
        })
    }

    /// Which room.
    pub const fn room(&self) -> RoomId {
        self.room
    }

    /// What follows from all events.
    pub const fn state(&self) -> &State {
        &self.known.state
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never: a room has its first event.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The events that no other names.
    pub const fn heads(&self) -> &BTreeSet<EventId> {
        &self.heads
    }

    /// The events that somebody names who knows all that is here: if there are too many heads, first those that show
    /// what they themselves are in the room, then the deepest. Heads of others that come first in any other order
    /// could be made at will, to hide who came later.
    pub fn heads_for(&self, author: &PublicKey) -> Heads {
        let ids = |places: &[usize]| places.iter().map(|at| self.entries[*at].event.id()).collect();
        let mut heads: Vec<usize> = self.heads.iter().map(|id| self.by_id[id]).collect();
        if heads.len() > HEADS_MAX {
            heads
                .sort_by_key(|at| Reverse((self.entries[*at].depth, self.entries[*at].event.id())));
            let standing = self.standing_of(author);
            for shows in &standing {
                let leads = |at: &usize| at == shows || self.entries[*at].past.contains(*shows);
                if let Some(at) = heads.iter().position(leads) {
                    heads[..=at].rotate_right(1);
                }
            }
            heads.truncate(HEADS_MAX);
            // What else they lead to may hide it all the same.
            if !self.shows(&heads, author) && !standing.is_empty() {
                heads = standing;
            }
        }
        Heads::of(&ids(&heads)).unwrap_or_else(|| self.first_alone())
    }

    /// All forks that are known. Both sides of a fork are among the events.
    pub fn forks(&self) -> &[Fork] {
        &self.forks
    }

    /// Whether an event is here.
    pub fn contains(&self, id: &EventId) -> bool {
        self.by_id.contains_key(id)
    }

    /// Whether all that an event names is here.
    pub fn is_ready(&self, event: &Event) -> bool {
        event.named().all(|id| self.contains(&id))
    }

    /// An event.
    pub fn get(&self, id: &EventId) -> Option<&Verified<Event>> {
        self.by_id.get(id).map(|place| &self.entries[*place].event)
    }

    /// All events, each behind those that it names.
    pub fn events(&self) -> impl Iterator<Item = &Verified<Event>> {
        self.entries.iter().map(|entry| &entry.event)
    }

    /// What became of an event that is here.
    pub fn verdict(&self, id: &EventId) -> Option<Verdict> {
        self.contains(id).then(|| self.known.idle.get(id).copied().unwrap_or(Verdict::Counts))
    }

    /// Takes an event.
    ///
    /// # Errors
    /// Why it is not taken: it never will be, but for the bounds.
    pub fn take(&mut self, event: Verified<Event>) -> Result<Taken, LogError> {
        if event.room() != self.room {
            return Err(LogError::OtherRoom);
        }
        // By its id alone: its author can sign it as often as they like.
        let id = event.id();
        if self.contains(&id) || self.waiting.iter().any(|waits| waits.id() == id) {
            return Ok(Taken::Known);
        }
        if !self.is_ready(&event) {
            let state = &self.known.state;
            let whose = |waits: &Verified<Event>| {
                Some(*waits.author()).filter(|author| state.is_member(author))
            };
            shares::keep(&mut self.waiting, event, WAITING_MAX, whose);
            return Ok(Taken::Waits);
        }
        let mut new = vec![self.insert(event)?];
        self.take_waiting(&mut new);
        Ok(Taken::New(new))
    }

    /// Makes an event of one's own and takes it.
    ///
    /// # Errors
    /// When the author is not entitled to it, or the log is full.
    pub fn write(
        &mut self,
        author: &KeyPair,
        change: Change,
        now: Time,
    ) -> Result<Verified<Event>, LogError> {
        let parents = self.heads_for(&author.public());
        let previous = self.last_of(&author.public());
        let body = Body::Change { room: self.room, previous, parents, change };
        let event = Event::sign(author, body, now);
        self.insert(event.clone())?;
        Ok(event)
    }

    /// What was known to whoever knew these; nothing if one of them is not here.
    pub fn state_at(&self, heads: &[EventId]) -> Option<State> {
        let past = self.past_of(heads.iter().copied())?;
        if past.len() == self.entries.len() {
            return Some(self.known.state.clone());
        }
        Some(self.evaluate(&past).state)
    }

    /// What is not here and has to be, for events that wait to be taken.
    pub fn missing(&self) -> BTreeSet<EventId> {
        let waiting: BTreeSet<_> = self.waiting.iter().map(|event| event.id()).collect();
        let named = self.waiting.iter().flat_map(|event| event.named());
        named.filter(|id| !self.contains(id) && !waiting.contains(id)).collect()
    }

    /// All events that somebody lacks who has these and what they lead to, each behind those it names.
    /// What is not known here is passed over.
    pub fn beyond(&self, known: &[EventId]) -> impl Iterator<Item = &Verified<Event>> {
        let here = known.iter().copied().filter(|id| self.contains(id));
        let past = self.past_of(here).unwrap_or_default();
        let entries = self.entries.iter().enumerate();
        entries.filter(move |(place, _)| !past.contains(*place)).map(|(_, entry)| &entry.event)
    }

    /// What shows somebody who has these heads that they are no member any more, and nothing that came after; nothing if
    /// they are one, or have it already.
    pub fn farewell(&self, heads: &[EventId], member: &PublicKey) -> Vec<&Verified<Event>> {
        let here = || heads.iter().copied().filter(|id| self.contains(id));
        let Some(known) = self.past_of(here()) else { return Vec::new() };
        if self.state().is_member(member) || !self.evaluate(&known).state.is_member(member) {
            return Vec::new();
        }
        let change = |place: usize| self.entries[place].event.change();
        let is_new =
            |place: &usize| !known.contains(*place) && change(*place).is_some_and(restricts);
        let mut new: Vec<usize> = self.order.iter().copied().filter(is_new).collect();
        // What names them is the likeliest.
        new.sort_by_key(
            |place| !matches!(change(*place), Some(Change::Remove(key)) if key == member),
        );
        let takes_away = |place: &usize| {
            let then = self.past_of(here().chain([self.entries[*place].event.id()]));
            then.is_some_and(|then| !self.evaluate(&then).state.is_member(member))
        };
        let Some(place) = new.into_iter().take(FAREWELL_TRIES).find(takes_away) else {
            return Vec::new();
        };
        let mut shown = self.entries[place].past.clone();
        shown.insert(place);
        let lacking = (0..self.entries.len()).filter(|p| shown.contains(*p) && !known.contains(*p));
        lacking.map(|place| &self.entries[place].event).collect()
    }

    fn first_alone(&self) -> Heads {
        Heads::of(&BTreeSet::from([self.room.first()])).expect("there is one")
    }

    /// The events that made a member what they are: the last that gave them their role, and the one that let them in.
    fn standing_of(&self, member: &PublicKey) -> Vec<usize> {
        let Some(known) = self.state().members().get(member) else { return Vec::new() };
        let appoints = |place: &&usize| {
            let event = &self.entries[**place].event;
            let is_about_them = matches!(event.change(), Some(Change::Appoint { member: who, .. }) if who == member);
            is_about_them && !self.known.idle.contains_key(&event.id())
        };
        let role = self.order.iter().rev().find(appoints).copied();
        role.into_iter().chain(self.by_id.get(&known.since).copied()).collect()
    }

    /// Whether somebody is by some heads alone what they are by everything.
    fn shows(&self, heads: &[usize], member: &PublicKey) -> bool {
        let past = self.past_of(heads.iter().map(|at| self.entries[*at].event.id()));
        let there = past.map(|past| self.evaluate(&past).state);
        let there = there.as_ref().and_then(|state| state.members().get(member));
        let here = self.state().members().get(member);
        there.map(|there| (there.role, there.membership))
            == here.map(|here| (here.role, here.membership))
    }

    /// The last of somebody's events, on the longest way if they have forked.
    fn last_of(&self, author: &PublicKey) -> Option<EventId> {
        let theirs = self.entries.iter().filter(|entry| entry.event.author() == author);
        theirs.max_by_key(|entry| (entry.depth, entry.event.id())).map(|entry| entry.event.id())
    }

    fn take_waiting(&mut self, new: &mut Vec<EventId>) {
        loop {
            let ready = self.waiting.iter().position(|event| self.is_ready(event));
            let Some(at) = ready else { return };
            let Some(event) = self.waiting.remove(at) else { return };
            // One that is not taken is as if it had never come.
            if !self.contains(&event.id())
                && let Ok(id) = self.insert(event)
            {
                new.push(id);
            }
        }
    }

    /// Takes an event all whose named ones are here; does nothing if it is here itself.
    fn insert(&mut self, event: Verified<Event>) -> Result<EventId, LogError> {
        let id = event.id();
        if self.contains(&id) {
            return Ok(id);
        }
        self.check_bounds(&event)?;
        let past = self.past_of(event.named()).unwrap_or_default();
        if let Some(previous) = event.previous().and_then(|id| self.get(&id))
            && previous.author() != event.author()
        {
            return Err(LogError::ForeignPrevious);
        }
        let is_last = past.len() == self.entries.len();
        let there = if is_last { None } else { Some(self.evaluate(&past).state) };
        let rank = there.as_ref().unwrap_or(&self.known.state).check(&event)?;
        let depths = event.named().filter_map(|id| self.by_id.get(&id));
        let depth = 1 + depths.map(|place| self.entries[*place].depth).max().unwrap_or(0);
        self.note_fork(&event);
        for named in event.named() {
            self.heads.remove(&named);
        }
        self.heads.insert(id);
        let place = self.entries.len();
        self.entries.push(Entry { event, past, depth, rank });
        self.by_id.insert(id, place);
        let at = self.order.partition_point(|other| self.key(*other) < self.key(place));
        self.order.insert(at, place);
        if is_last {
            // It comes behind everything, and makes nothing void.
            self.known.state.apply(&self.entries[place].event);
        } else {
            self.known = self.evaluate(&self.everything());
        }
        Ok(id)
    }

    fn check_bounds(&self, event: &Event) -> Result<(), LogError> {
        if self.entries.len() >= EVENTS_MAX {
            return Err(LogError::Full);
        }
        let theirs = self.entries.iter().filter(|entry| entry.event.author() == event.author());
        if theirs.count() >= AUTHOR_EVENTS_MAX { Err(LogError::AuthorFull) } else { Ok(()) }
    }

    fn note_fork(&mut self, event: &Event) {
        let is_beside = |entry: &&Entry| {
            let other = &entry.event;
            other.author() == event.author()
                && other.change().is_some()
                && other.previous() == event.previous()
        };
        let other = self.entries.iter().find(is_beside).map(|entry| entry.event.id());
        if let Some(other) = other.filter(|_| self.forks.len() < FORKS_MAX) {
            self.forks.push(Fork { author: *event.author(), events: [other, event.id()] });
        }
    }

    /// These and all that they lead to; nothing if one is not here.
    fn past_of(&self, ids: impl Iterator<Item = EventId>) -> Option<Past> {
        let mut past = Past::default();
        for id in ids {
            let place = *self.by_id.get(&id)?;
            past.add(&self.entries[place].past);
            past.insert(place);
        }
        Some(past)
    }

    fn everything(&self) -> Past {
        let mut all = Past::default();
        (0..self.entries.len()).for_each(|place| all.insert(place));
        all
    }

    /// Where an event stands in the order in which they count: behind all that it names; of others, those
    /// that take a right away come first, then those of higher authors.
    fn key(&self, place: usize) -> impl Ord {
        let entry = &self.entries[place];
        let restricts = entry.event.change().is_some_and(restricts);
        (entry.depth, Reverse(restricts), Reverse(entry.rank), entry.event.id())
    }

    /// What follows from a set of events that has all that its members name.
    fn evaluate(&self, set: &Past) -> Known {
        let void = self.overruled(set);
        let mut idle = BTreeMap::new();
        let mut state = State::founded(&self.entries[0].event).expect("the first event founds");
        for place in self.order.iter().copied().filter(|place| *place > 0 && set.contains(*place)) {
            let event = &self.entries[place].event;
            if void.contains(place) {
                idle.insert(event.id(), Verdict::Overruled);
            } else if state.standing(event).is_err() {
                idle.insert(event.id(), Verdict::Superseded);
            } else {
                state.apply(event);
            }
        }
        Known { state, idle }
    }

    /// The events of a set that others of it make void. Whoever makes one void stands higher than its author, or is
    /// its author and leaves, which only somebody higher makes void: so going from the highest down, and at
    /// each height from those who leave, needs no second look.
    fn overruled(&self, set: &Past) -> Past {
        let in_set = || self.order.iter().copied().filter(|place| set.contains(*place));
        let is_restricting = |place: &usize| {
            let entry = &self.entries[*place];
            let (change, is_above) = (entry.event.change(), entry.rank > Role::Member);
            change.is_some_and(|change| restricts(change) && (is_above || *change == Change::Leave))
        };
        let mut highest_first: Vec<usize> = in_set().filter(is_restricting).collect();
        highest_first.sort_by_key(|place| {
            let entry = &self.entries[*place];
            (Reverse(entry.rank), entry.event.change() != Some(&Change::Leave))
        });
        let mut void = Past::default();
        for over in highest_first {
            if void.contains(over) {
                continue;
            }
            for place in in_set() {
                if self.forbids(over, place) {
                    void.insert(place);
                }
            }
        }
        void
    }

    /// Whether `over` takes away the right to `place`, and neither author knew of the other.
    fn forbids(&self, over: usize, place: usize) -> bool {
        let (taker, other) = (&self.entries[over], &self.entries[place]);
        let is_concurrent =
            over != place && !taker.past.contains(place) && !other.past.contains(over);
        if !is_concurrent {
            return false;
        }
        let (Some(taken), Some(change)) = (taker.event.change(), other.event.change()) else {
            return false;
        };
        let by = other.event.author();
        match taken {
            Change::Leave => {
                by == taker.event.author() && other.rank <= taker.rank && *change != Change::Leave
            }
            _ if other.rank >= taker.rank => false,
            Change::Remove(member) => by == member,
            Change::Appoint { member, role: Office::Member } => {
                by == member && other.rank > Role::Member
            }
            Change::Revoke(token) => matches!(change, Change::Admit(join) if join.token() == token),
            Change::Decide(policy) => {
                matches!(change, Change::Invite { .. } | Change::Admit(_))
                    && !policy.allows(other.rank)
            }
            _ => false,
        }
    }
}

/// Whether an event takes a right away.
fn restricts(change: &Change) -> bool {
    match change {
        Change::Leave | Change::Remove(_) | Change::Revoke(_) => true,
        Change::Appoint { role, .. } => *role == Office::Member,
        Change::Decide(policy) => !policy.allows(Role::Member),
        Change::Invite { .. } | Change::Admit(_) | Change::Rename(_) => false,
    }
}
