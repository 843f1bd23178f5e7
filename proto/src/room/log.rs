//! What one member knows of a room's events, and what follows from all of them (PROTOCOL §4.15).
//!
//! Entry type is [`Log`]. An event is taken if it was its author's to make where they stood, which is the same
//! for everybody and for ever. What counts of those taken is a function of their set: it does not hang on the
//! order in which they came.

mod forks;
mod overruling;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use thiserror::Error;

use forks::{Chain, Place};
use overruling::restricts;

use super::event::{Body, Change, Event, HEADS_MAX, Heads};
use super::id::{EventId, RoomId};
use super::past::Past;
use super::shares;
use super::state::{Refused, Role, State};
use crate::key::{KeyPair, PublicKey};
use crate::time::Time;
use crate::verified::Verified;

/// The most events of a room that stand.
pub const EVENTS_MAX: usize = 4_096;
/// The most of one author in a row, so that nobody fills a room alone.
pub const AUTHOR_EVENTS_MAX: usize = 1_024;
/// Events that are remembered as none that will ever be taken, so that they are not judged again.
const REFUSED_MAX: usize = 1_024;
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
    /// Those that stand: all, as long as nobody has made two side by side.
    live: Past,
    /// What each author has made directly behind each of their events.
    by_place: BTreeMap<Place, Vec<usize>>,
    /// Whoever has made two side by side.
    forkers: BTreeSet<Chain>,
    waiting: VecDeque<Verified<Event>>,
    refused: VecDeque<(EventId, LogError)>,
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
    /// What its author drew when they joined: whoever comes back begins another chain.
    membership: [u8; 32],
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
    /// Its author has made another beside it, and nobody has built on this one.
    Beside,
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
    /// Its author makes events side by side.
    #[error("its author has made others beside it, and nobody has built on it")]
    Beside,
    /// Its author builds on what somebody else has made side by side.
    #[error("it builds on two events that one member has made side by side")]
    BothSides,
}

impl Log {
    /// The log of a room of which nothing but the first event is known; none if it is no first event.
    pub fn new(first: Verified<Event>) -> Option<Self> {
        let state = State::founded(&first)?;
        let (id, room) = (first.id(), first.room());
        let rank = state.rank(first.author())?;
        let membership = state.members().get(first.author()).map_or([0; 32], |m| m.membership);
        let entry = Entry { event: first, past: Past::default(), depth: 0, rank, membership };
        Some(Self {
            room,
            entries: vec![entry],
            by_id: BTreeMap::from([(id, 0)]),
            order: vec![0],
            heads: BTreeSet::from([id]),
            live: first_alone(),
            by_place: BTreeMap::new(),
            forkers: BTreeSet::new(),
            waiting: VecDeque::new(),
            refused: VecDeque::new(),
            forks: Vec::new(),
            known: Known { state, idle: BTreeMap::new() },
        })
    }

    /// The log of which these events were kept, in the order in which it gave them; nothing if they are none.
    pub fn restore(events: impl IntoIterator<Item = Verified<Event>>) -> Option<Self> {
        let mut events = events.into_iter();
        let mut log = Self::new(events.next()?)?;
        for event in events {
            // Each was taken before.
            log.stand(event).ok()?;
        }
        Some(log)
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

    /// The events that stand and that no other of these names.
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

    /// Events that wait for others which they name.
    pub fn waiting(&self) -> impl Iterator<Item = &Verified<Event>> {
        self.waiting.iter()
    }

    /// What became of an event that is here.
    pub fn verdict(&self, id: &EventId) -> Option<Verdict> {
        let place = self.by_id.get(id)?;
        if !self.live.contains(*place) {
            return Some(Verdict::Beside);
        }
        Some(self.known.idle.get(id).copied().unwrap_or(Verdict::Counts))
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
        if let Some((_, why)) = self.refused.iter().find(|(refused, _)| *refused == id) {
            return Err(*why);
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
        self.clear_aside();
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
        self.clear_aside();
        Ok(event)
    }

    /// What was known to whoever knew these; nothing if one of them is not here.
    pub fn state_at(&self, heads: &[EventId]) -> Option<State> {
        let past = self.past_of(heads.iter().copied())?;
        if past == self.live {
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

    /// The last of somebody's events that stand, on the longest way if they have forked.
    fn last_of(&self, author: &PublicKey) -> Option<EventId> {
        let live = self.entries.iter().enumerate().filter(|(place, _)| self.live.contains(*place));
        let theirs = live.map(|(_, entry)| entry).filter(|entry| entry.event.author() == author);
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

    /// Takes an event all whose named ones are here, if it may stand where it does; does nothing if it is here itself.
    fn insert(&mut self, event: Verified<Event>) -> Result<EventId, LogError> {
        let id = event.id();
        if self.contains(&id) {
            return Ok(id);
        }
        let entry = match self.judge(event) {
            Ok(entry) => entry,
            Err(why) => {
                self.remember_refusal(id, why);
                return Err(why);
            }
        };
        if !self.may_stand(&entry) && !self.is_awaited(&entry.event) {
            return Err(LogError::Beside);
        }
        self.push(entry);
        Ok(id)
    }

    /// Takes an event wherever it stands.
    fn stand(&mut self, event: Verified<Event>) -> Result<(), LogError> {
        if !self.contains(&event.id()) {
            let entry = self.judge(event)?;
            self.push(entry);
        }
        Ok(())
    }

    /// Whether an event was its author's to make: by what they knew alone, but for the room's bound.
    fn judge(&self, event: Verified<Event>) -> Result<Entry, LogError> {
        let past = self.past_of(event.named()).unwrap_or_default();
        self.check_bounds(&event, &past)?;
        if let Some(previous) = event.previous().and_then(|id| self.get(&id))
            && previous.author() != event.author()
        {
            return Err(LogError::ForeignPrevious);
        }
        if !self.forkers.is_empty() && self.builds_on_two(&event, &past) {
            return Err(LogError::BothSides);
        }
        let there = if past == self.live { None } else { Some(self.evaluate(&past).state) };
        let there = there.as_ref().unwrap_or(&self.known.state);
        let rank = there.check(&event)?;
        let membership = there.members().get(event.author()).map_or([0; 32], |m| m.membership);
        let depths = event.named().filter_map(|id| self.by_id.get(&id));
        let depth = 1 + depths.map(|place| self.entries[*place].depth).max().unwrap_or(0);
        Ok(Entry { event, past, depth, rank, membership })
    }

    fn remember_refusal(&mut self, id: EventId, why: LogError) {
        if why != LogError::Full {
            self.refused.push_back((id, why));
            if self.refused.len() > REFUSED_MAX {
                self.refused.pop_front();
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        let (id, place, is_last) = (entry.event.id(), self.entries.len(), entry.past == self.live);
        let (chain, before) = self.place_of(&entry);
        let named: Vec<_> = entry.event.named().collect();
        self.entries.push(entry);
        self.by_id.insert(id, place);
        let at = self.order.partition_point(|other| self.key(*other) < self.key(place));
        self.order.insert(at, place);
        let sides = self.by_place.entry((chain, before)).or_default();
        sides.push(place);
        if let [other, _, ..] = sides[..] {
            let events = [self.entries[other].event.id(), id];
            self.note_fork(chain, events);
        }
        if self.forkers.is_empty() {
            for named in &named {
                self.heads.remove(named);
            }
            self.heads.insert(id);
            self.live.insert(place);
            if is_last {
                // It comes behind everything, and makes nothing void.
                return self.known.state.apply(&self.entries[place].event);
            }
        } else {
            let live = self.standing_places();
            self.heads = self.heads_of(&live);
            self.live = live;
        }
        self.known = self.evaluate(&self.live);
    }

    /// Those among events of which no other of them knew.
    fn heads_of(&self, set: &Past) -> BTreeSet<EventId> {
        let (mut led_to, in_set) = (Past::default(), || {
            self.entries.iter().enumerate().filter(|(place, _)| set.contains(*place))
        });
        in_set().for_each(|(_, entry)| led_to.add(&entry.past));
        let heads = in_set().filter(|(place, _)| !led_to.contains(*place));
        heads.map(|(_, entry)| entry.event.id()).collect()
    }

    /// By what its author knew alone, so that all refuse the same.
    fn check_bounds(&self, event: &Event, past: &Past) -> Result<(), LogError> {
        if self.live.len() >= EVENTS_MAX {
            return Err(LogError::Full);
        }
        let is_theirs = |(place, entry): &(usize, &Entry)| {
            entry.event.author() == event.author() && past.contains(*place)
        };
        let before = self.entries.iter().enumerate().filter(is_theirs).count();
        if before >= AUTHOR_EVENTS_MAX { Err(LogError::AuthorFull) } else { Ok(()) }
    }

    fn note_fork(&mut self, chain: Chain, events: [EventId; 2]) {
        let author = chain.0;
        if self.forkers.insert(chain) && self.forks.len() < FORKS_MAX {
            self.forks.push(Fork { author, events });
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
}

fn first_alone() -> Past {
    let mut first = Past::default();
    first.insert(0);
    first
}
