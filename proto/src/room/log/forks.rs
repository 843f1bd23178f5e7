//! What an author makes side by side, and which of it stands (PROTOCOL §4.15, *Forks*).
//!
//! The events of one author are a chain, from each of their joins on. Whoever makes two behind the same one has forked, and is known by the two
//! for good. What others have built on stands whatever becomes of its author; of the rest one chain stands,
//! the same for all, so that nobody fills a room side by side or has two parts of it keep different events.

use std::collections::BTreeMap;

use super::{Entry, Log};
use crate::key::PublicKey;
use crate::room::event::Event;
use crate::room::id::EventId;
use crate::room::past::Past;

/// How much that does not stand is kept beside one event of each author who has forked: it is needed to show
/// that they have, and may yet be built on.
const ASIDE_MAX: usize = 256;

/// The events of one author as the member that one join has made of them.
pub(super) type Chain = (PublicKey, [u8; 32]);
/// Where an event stands in a chain: directly behind this one, or at its beginning.
pub(super) type Place = (Chain, Option<EventId>);

impl Entry {
    fn chain(&self) -> Chain {
        (*self.event.author(), self.membership)
    }
}

impl Log {
    /// Where an event stands in its chain. The founder's begins with the first event.
    pub(super) fn place_of(&self, entry: &Entry) -> Place {
        let chain = entry.chain();
        let is_of_chain =
            |id: &EventId| self.by_id.get(id).is_some_and(|at| self.entries[*at].chain() == chain);
        let previous = entry.event.previous().filter(is_of_chain);
        let is_founders = self.entries[0].chain() == chain;
        (chain, previous.or(is_founders.then(|| self.room.first())))
    }

    /// Whether an event is taken that nobody waits for: it does not stand beside another, or convicts its author,
    /// or its author's chain goes on by it from now on.
    pub(super) fn may_stand(&self, entry: &Entry) -> bool {
        let place = self.place_of(entry);
        let beside = self.by_place.get(&place).map_or(&[][..], Vec::as_slice);
        if !self.forkers.contains(&place.0) {
            return beside.len() < 2;
        }
        let (before, id) = (place.1.and_then(|id| self.by_id.get(&id).copied()), entry.event.id());
        self.is_in_chain(&place.0, before)
            && beside.iter().all(|at| id < self.entries[*at].event.id())
    }

    /// Whether an event of somebody who has forked, or their beginning, is the last that others have built on, or
    /// behind it in the chain that stands.
    fn is_in_chain(&self, chain: &Chain, place: Option<usize>) -> bool {
        match (self.base_of(chain, &self.built_on()), place) {
            (None, None) => true,
            (Some(_), None) => false,
            (base, Some(place)) => {
                let is_behind = |base| place == base || self.entries[place].past.contains(base);
                self.live.contains(place) && base.is_none_or(is_behind)
            }
        }
    }

    /// Whether somebody else's event waits for this one, or for one that waits for it.
    pub(super) fn is_awaited(&self, event: &Event) -> bool {
        let (mut wanted, mut looked_at) = (vec![event.id()], 0);
        while let Some(id) = wanted.get(looked_at).copied() {
            looked_at += 1;
            for waits in self.waiting.iter().filter(|waits| waits.named().any(|named| named == id))
            {
                if waits.author() != event.author() {
                    return true;
                }
                if !wanted.contains(&waits.id()) {
                    wanted.push(waits.id());
                }
            }
        }
        false
    }

    /// Whether an event would have two stand that somebody else has made side by side, where nothing in its past was
    /// built on one of them by anybody but their author: so each who builds on a fork builds on one side.
    pub(super) fn builds_on_two(&self, event: &Event, past: &Past) -> bool {
        let sides = self.by_place.iter().filter(|(((author, _), _), sides)| {
            author != event.author() && sides.iter().filter(|at| past.contains(**at)).count() > 1
        });
        sides.into_iter().any(|(((author, _), _), sides)| {
            let is_bare = |side: usize| {
                !self.entries.iter().enumerate().any(|(at, entry)| {
                    past.contains(at) && entry.event.author() != author && entry.past.contains(side)
                })
            };
            sides.iter().any(|at| past.contains(*at) && is_bare(*at))
        })
    }

    /// All events that stand.
    pub(super) fn standing_places(&self) -> Past {
        let mut live = self.built_on();
        let ends = self.forkers.iter().map(|chain| (*chain, self.base_of(chain, &live)));
        let mut ends: BTreeMap<Chain, Option<usize>> = ends.collect();
        // What one of them built on may be another's: they go on in turns until none does.
        loop {
            let before = live.len();
            for (chain, end) in &mut ends {
                while let Some(next) = self.lowest_behind(chain, *end)
                    && live.has_all(&self.entries[next].past)
                {
                    live.insert(next);
                    *end = Some(next);
                }
            }
            if live.len() == before {
                return live;
            }
        }
    }

    /// The first event, what those have made who never forked, and all that these have built on.
    fn built_on(&self) -> Past {
        let mut built_on = Past::default();
        built_on.insert(0);
        for (place, entry) in self.entries.iter().enumerate() {
            if !self.forkers.contains(&entry.chain()) {
                built_on.add(&entry.past);
                built_on.insert(place);
            }
        }
        built_on
    }

    /// The deepest of a chain's events among these.
    fn base_of(&self, chain: &Chain, among: &Past) -> Option<usize> {
        let theirs = self.entries.iter().enumerate();
        let theirs = theirs.filter(|(at, entry)| entry.chain() == *chain && among.contains(*at));
        theirs.max_by_key(|(_, entry)| (entry.depth, entry.event.id())).map(|(at, _)| at)
    }

    /// Of those that somebody has made directly behind one, or as their first, the one with the lowest id.
    fn lowest_behind(&self, chain: &Chain, before: Option<usize>) -> Option<usize> {
        let before = before.map(|before| self.entries[before].event.id());
        let sides = self.by_place.get(&(*chain, before))?;
        sides.iter().copied().min_by_key(|at| self.entries[*at].event.id())
    }

    /// Drops what does not stand once there is too much of it, but for what shows that its author has forked, and for what
    /// their chain waits to go on by.
    pub(super) fn clear_aside(&mut self) {
        let aside = self.entries.len() - self.live.len();
        if aside <= ASIDE_MAX + self.forkers.len() {
            return;
        }
        let mut kept = self.live.clone();
        let shown = self.forks.iter().flat_map(|fork| fork.events);
        let shown = shown.filter_map(|id| self.by_id.get(&id).copied());
        let is_behind = |(_, before): &&Place| {
            before.is_none_or(|id| self.by_id.get(&id).is_some_and(|at| self.live.contains(*at)))
        };
        let next = self.by_place.keys().filter(is_behind).filter_map(|(chain, before)| {
            let before = before.and_then(|id| self.by_id.get(&id).copied());
            self.lowest_behind(chain, before)
        });
        for place in shown.chain(next).collect::<Vec<_>>() {
            if self.live.has_all(&self.entries[place].past) {
                kept.insert(place);
            }
        }
        self.keep_only(&kept);
    }

    /// Drops all but these, which have all that they name. What stands is among them, so that nothing else changes.
    fn keep_only(&mut self, kept: &Past) {
        let all = 0..self.entries.len();
        let places: BTreeMap<usize, usize> =
            all.filter(|place| kept.contains(*place)).zip(0..).collect();
        let moved = |past: &Past| {
            let mut moved = Past::default();
            let theirs = places.iter().filter(|(old, _)| past.contains(**old));
            theirs.for_each(|(_, new)| moved.insert(*new));
            moved
        };
        let live = moved(&self.live);
        let entries = std::mem::take(&mut self.entries).into_iter().enumerate();
        let entries = entries.filter(|(place, _)| kept.contains(*place));
        self.entries =
            entries.map(|(_, entry)| Entry { past: moved(&entry.past), ..entry }).collect();
        let new = |old: &usize| places.get(old).copied();
        self.order = self.order.iter().filter_map(new).collect();
        self.by_id = self.by_id.iter().filter_map(|(id, old)| Some((*id, new(old)?))).collect();
        for sides in self.by_place.values_mut() {
            *sides = sides.iter().filter_map(new).collect();
        }
        self.by_place.retain(|_, sides| !sides.is_empty());
        self.live = live;
    }
}
