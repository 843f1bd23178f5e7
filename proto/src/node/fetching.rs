//! Which envelopes are to be fetched, who has told of each, and whose turn it is (PROTOCOL §6.5).
//!
//! Entry type is [`Fetching`]. Whoever tells of an envelope takes a place; each source has a share of
//! them, so that one that tells of much leaves the others theirs. One source is asked at first; if
//! it does not hand over soon, others are asked beside it, and its word weighs less for a while. It
//! sends nothing: that is `collect`'s business.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_core::RngCore;

use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::message::{ENVELOPES_MAX, IDS_MAX};
use crate::time::{Span, Time};

/// Envelopes one source may have told of that it was not asked for yet.
pub(super) const SHARE: usize = 1_024;
/// The same of all sources together. When they are used up, whoever has most gives way.
pub(super) const PLACES_MAX: usize = 65_536;
/// How long a source that is asked has before others are asked beside it, and how long one that
/// failed waits for others to tell of the same.
pub(super) const PATIENCE: Span = Span::from_secs(1);
/// How soon an envelope that nobody can be asked for is looked at again; whoever can be asked again, or
/// tells of it anew, hastens it.
const IDLE: Span = Span::from_secs(10);
/// How long nothing is fetched once there was no room for what came.
const REST: Span = Span::from_secs(5);
/// How long a failure is held against a source.
const FORGIVEN_AFTER: Span = Span::from_mins(10);
/// Calls under way to one source, and to one that has failed.
const CALLS_MAX: usize = 4;
const CALLS_MAX_FAILED: usize = 1;
/// Sources whose failures are remembered while nothing else is to be known of them.
const REMEMBERED_MAX: usize = 4_096;

/// A page of a source's mailboxes that has not been asked for yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Of these mailboxes.
    pub(super) mailboxes: Vec<Address>,
    /// Its number, from 1.
    pub(super) number: u32,
    /// Where it begins.
    pub(super) after: u64,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// All that was asked for and has not ended.
    All,
    /// As much as fits one message.
    Full,
    /// Less than the source has told of, or nothing at all.
    Less,
}

/// What is to be fetched.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    wanted: BTreeMap<EnvelopeId, Wanted>,
    sources: BTreeMap<Address, Source>,
    /// When the next step is due for each envelope.
    due: BTreeSet<(Time, EnvelopeId)>,
    /// The sum of all queues.
    places: usize,
    turns: u64,
    /// Until then nothing is asked for.
    rests_until: Time,
}

/// One envelope.
#[derive(Debug)]
struct Wanted {
    /// Its place in the order in which envelopes were told of.
    turn: u64,
    /// Who has told of it and was not asked: each of them has it in its queue.
    told: Vec<Address>,
    /// Who is being asked.
    asked: Vec<Address>,
    /// How often it was asked for, and how often it may be by now.
    tries: usize,
    allowed: usize,
    /// From when on sources that have failed are asked too.
    anybody_from: Time,
    due: Time,
}

/// One source.
#[derive(Debug, Default)]
struct Source {
    /// What it has told of and was not asked for, by turn.
    queue: BTreeMap<u64, EnvelopeId>,
    calls: usize,
    failures: u32,
    failed_at: Time,
    /// Whether it lets others wait for an answer right now.
    late: bool,
    /// Whether any mailbox is collected from it.
    needed: bool,
    /// Since when nothing was lost that it has told.
    heard_since: Option<Time>,
    pages: VecDeque<Page>,
}

impl Fetching {
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Places taken, envelopes wanted and sources known.
    pub(super) fn len(&self) -> usize {
        self.places + self.wanted.len() + self.sources.len()
    }

    /// A mailbox is collected from `source`, where reading starts over.
    pub(super) fn begin(&mut self, source: &Address) {
        let source = self.sources.entry(*source).or_default();
        source.needed = true;
        source.pages.clear();
    }

    /// Nothing is collected from `source` any more.
    pub(super) fn end(&mut self, source: &Address) {
        if let Some(known) = self.sources.get_mut(source) {
            known.needed = false;
            known.heard_since = None;
            known.pages.clear();
        }
        self.drop_unneeded(source);
    }

    /// What `source` tells comes from now on.
    pub(super) fn hears(&mut self, source: &Address, now: Time) {
        if let Some(known) = self.sources.get_mut(source).filter(|known| known.needed) {
            known.heard_since = Some(now);
        }
    }

    /// It may be lost.
    pub(super) fn hears_no_more(&mut self, source: &Address) {
        if let Some(known) = self.sources.get_mut(source) {
            known.heard_since = None;
        }
    }

    /// Something that `source` has told is forgotten: what waits there is to be told once more.
    pub(super) fn lose(&mut self, source: &Address, now: Time) {
        if let Some(known) = self.sources.get_mut(source) {
            known.heard_since = known.heard_since.map(|_| now);
        }
    }

    /// Whether nothing was lost of what `source` has told since then.
    pub(super) fn has_heard_all_since(&self, source: &Address, then: Time) -> bool {
        let since = self.sources.get(source).and_then(|known| known.heard_since);
        since.is_some_and(|since| since <= then)
    }

    /// `source` says that it has `id`.
    pub(super) fn announce(&mut self, id: &EnvelopeId, source: &Address, now: Time) {
        let known = self.wanted.get(id).is_some_and(|wanted| wanted.knows(source));
        if known {
            return;
        }
        if !self.make_room_for(source, now) {
            self.lose(source, now);
            return;
        }
        if !self.wanted.contains_key(id) {
            self.turns += 1;
            let wanted = Wanted::new(self.turns, now);
            self.due.insert((wanted.due, *id));
            self.wanted.insert(*id, wanted);
        }
        let Some(wanted) = self.wanted.get_mut(id) else { return };
        wanted.told.push(*source);
        self.sources.entry(*source).or_default().queue.insert(wanted.turn, *id);
        self.places += 1;
        if wanted.due > now + PATIENCE {
            self.put_off(id, now + PATIENCE);
        }
    }

    /// There is no room for what is fetched just now: what waits is asked for in a moment, and not carried in vain
    /// until then.
    pub(super) fn rest(&mut self, now: Time) {
        self.rests_until = now + REST;
    }

    /// What `source` may be asked for now, oldest first and as many as one call takes.
    pub(super) fn next_for(&self, source: &Address, now: Time) -> Vec<EnvelopeId> {
        if now < self.rests_until {
            return Vec::new();
        }
        let Some(known) = self.sources.get(source).filter(|known| known.may_be_called(now)) else {
            return Vec::new();
        };
        let waits = known.has_failed(now) && self.has_better(now);
        let may = |id: &&EnvelopeId| {
            self.wanted.get(*id).is_some_and(|wanted| wanted.may_be_asked(waits, now))
        };
        known.queue.values().filter(may).take(ENVELOPES_MAX).copied().collect()
    }

    /// `source` is being asked for these.
    pub(super) fn asking(&mut self, source: &Address, ids: &[EnvelopeId], now: Time) {
        if let Some(known) = self.sources.get_mut(source) {
            known.calls += 1;
        }
        for id in ids {
            let Some(wanted) = self.wanted.get_mut(id) else { continue };
            wanted.told.retain(|told| told != source);
            wanted.asked.push(*source);
            wanted.tries += 1;
            let (turn, more) = (wanted.turn, wanted.tries < wanted.allowed);
            self.leave_queue(source, turn);
            self.put_off(id, if more { now } else { now + PATIENCE });
        }
    }

    /// The call for these has come to its end. Those that did not come may be asked for elsewhere,
    /// and again here if the message was full.
    pub(super) fn call_ended(
        &mut self,
        source: &Address,
        ids: &[EnvelopeId],
        handed: Handed,
        now: Time,
    ) {
        if let Some(known) = self.sources.get_mut(source) {
            known.calls = known.calls.saturating_sub(1);
            known.late = false;
            if handed == Handed::Less {
                known.failures = known.failures.saturating_add(1);
                known.failed_at = now;
            }
        }
        for id in ids {
            let Some(wanted) = self.wanted.get_mut(id) else { continue };
            // It may have been settled, and told of anew, while the call was under way.
            let Some(at) = wanted.asked.iter().position(|asked| asked == source) else { continue };
            wanted.asked.swap_remove(at);
            if handed == Handed::Full {
                wanted.told.push(*source);
                self.sources.entry(*source).or_default().queue.insert(wanted.turn, *id);
                self.places += 1;
            }
            if wanted.asked.is_empty() {
                wanted.allowed = wanted.allowed.max(wanted.tries + 1);
                self.put_off(id, now);
            }
            if handed == Handed::Less {
                self.lose(source, now);
            }
            self.drop_hopeless(id);
        }
        self.drop_unneeded(source);
    }

    /// Who has told of it.
    pub(super) fn tellers(&self, id: &EnvelopeId) -> Vec<Address> {
        let of = |wanted: &Wanted| wanted.told.iter().chain(&wanted.asked).copied().collect();
        self.wanted.get(id).map(of).unwrap_or_default()
    }

    /// Whether it has not come yet.
    pub(super) fn is_wanted(&self, id: &EnvelopeId) -> bool {
        self.wanted.contains_key(id)
    }

    /// It is here, or has ended: nobody need be asked any more.
    pub(super) fn settled(&mut self, id: &EnvelopeId) {
        let Some(wanted) = self.wanted.remove(id) else { return };
        self.due.remove(&(wanted.due, *id));
        for source in &wanted.told {
            self.leave_queue(source, wanted.turn);
        }
    }

    /// The next to be asked for what is due: of those who have told of it and can take a call, one
    /// with the fewest failures.
    pub(super) fn next_due(&mut self, now: Time, rng: &mut impl RngCore) -> Option<Address> {
        if now < self.rests_until {
            return None;
        }
        let better = self.has_better(now);
        while let Some((due, id)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            let Some(wanted) = self.wanted.get_mut(&id) else {
                self.due.remove(&(due, id));
                continue;
            };
            if !wanted.asked.is_empty() && wanted.tries >= wanted.allowed {
                wanted.allowed = wanted.tries * 2;
                for late in &wanted.asked {
                    self.sources.entry(*late).or_default().late = true;
                }
            }
            let next = self.best_source(&id, better, now, rng);
            self.put_off(&id, now + if next.is_some() { PATIENCE } else { IDLE });
            if next.is_some() {
                return next;
            }
        }
        None
    }

    /// When something is due.
    pub(super) fn due_at(&self) -> Option<Time> {
        self.due.first().map(|(due, _)| (*due).max(self.rests_until))
    }

    /// There is no way to `source` any more: what it has told of is left to others.
    pub(super) fn lost(&mut self, source: &Address) {
        let Some(known) = self.sources.get_mut(source) else { return };
        known.heard_since = None;
        let queue = std::mem::take(&mut known.queue);
        self.places -= queue.len();
        for id in queue.values() {
            if let Some(wanted) = self.wanted.get_mut(id) {
                wanted.told.retain(|told| told != source);
            }
            self.drop_hopeless(id);
        }
    }

    /// A further page of `source` is to be asked for, once there is room for what it tells.
    pub(super) fn page_waits(&mut self, source: &Address, page: Page) {
        if let Some(known) = self.sources.get_mut(source).filter(|known| known.needed) {
            known.pages.push_back(page);
        }
    }

    /// The next page to ask `source` for.
    pub(super) fn next_page(&mut self, source: &Address) -> Option<Page> {
        let source = self.sources.get_mut(source)?;
        if source.queue.len() + IDS_MAX > SHARE { None } else { source.pages.pop_front() }
    }

    /// Forgets sources of which nothing is to be known any more.
    pub(super) fn forget_old(&mut self, now: Time) {
        self.sources.retain(|_, source| source.is_needed() || source.has_failed(now));
    }
}

impl Fetching {
    fn make_room_for(&mut self, source: &Address, now: Time) -> bool {
        let own = self.sources.get(source).map_or(0, |source| source.queue.len());
        if own >= SHARE {
            return false;
        }
        if self.places < PLACES_MAX {
            return true;
        }
        let longest = self.sources.iter().max_by_key(|(_, source)| source.queue.len());
        let Some((longest, last)) = longest
            .filter(|(_, source)| source.queue.len() > own + 1)
            .and_then(|(address, source)| Some((*address, *source.queue.last_key_value()?.1)))
        else {
            return false;
        };
        if let Some(wanted) = self.wanted.get_mut(&last) {
            wanted.told.retain(|told| *told != longest);
            let turn = wanted.turn;
            self.leave_queue(&longest, turn);
            self.lose(&longest, now);
        }
        self.drop_hopeless(&last);
        true
    }

    fn leave_queue(&mut self, source: &Address, turn: u64) {
        let Some(source) = self.sources.get_mut(source) else { return };
        self.places -= usize::from(source.queue.remove(&turn).is_some());
    }

    /// Whether any source has not failed.
    fn has_better(&self, now: Time) -> bool {
        self.sources.values().any(|source| !source.has_failed(now))
    }

    fn best_source(
        &self,
        id: &EnvelopeId,
        better: bool,
        now: Time,
        rng: &mut impl RngCore,
    ) -> Option<Address> {
        let wanted = self.wanted.get(id)?;
        let able = wanted.told.iter().filter_map(|address| {
            let source = self.sources.get(address).filter(|source| source.may_be_called(now))?;
            let failed = source.has_failed(now);
            wanted.may_be_asked(failed && better, now).then_some(())?;
            Some((if failed { source.failures } else { 0 }, rng.next_u64(), *address))
        });
        able.min().map(|(_, _, address)| address)
    }

    fn put_off(&mut self, id: &EnvelopeId, due: Time) {
        let Some(wanted) = self.wanted.get_mut(id) else { return };
        self.due.remove(&(wanted.due, *id));
        wanted.due = due;
        self.due.insert((due, *id));
    }

    /// Nobody who tells of it is left.
    fn drop_hopeless(&mut self, id: &EnvelopeId) {
        if self.wanted.get(id).is_some_and(|w| w.told.is_empty() && w.asked.is_empty()) {
            self.settled(id);
        }
    }

    /// Keeps what is known of a source that has failed, until [`Self::forget_old`].
    fn drop_unneeded(&mut self, source: &Address) {
        let many = self.sources.len() > REMEMBERED_MAX;
        let is_over = |known: &Source| !known.is_needed() && (many || known.failures == 0);
        if self.sources.get(source).is_some_and(is_over) {
            self.sources.remove(source);
        }
    }
}

impl Wanted {
    fn new(turn: u64, now: Time) -> Self {
        let due = now + PATIENCE;
        let (told, asked) = (Vec::new(), Vec::new());
        Self { turn, told, asked, tries: 0, allowed: 1, anybody_from: due, due }
    }

    fn knows(&self, source: &Address) -> bool {
        self.told.contains(source) || self.asked.contains(source)
    }

    /// Whether one more may be asked for it; one that `waits` leaves others the first turn.
    fn may_be_asked(&self, waits: bool, now: Time) -> bool {
        self.tries < self.allowed && (!waits || now >= self.anybody_from)
    }
}

impl Source {
    fn has_failed(&self, now: Time) -> bool {
        self.late || self.failures > 0 && now.since(self.failed_at) < FORGIVEN_AFTER
    }

    fn may_be_called(&self, now: Time) -> bool {
        self.calls < if self.has_failed(now) { CALLS_MAX_FAILED } else { CALLS_MAX }
    }

    fn is_needed(&self) -> bool {
        self.needed || self.calls > 0 || !self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn id(number: u32) -> EnvelopeId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        EnvelopeId::from_bytes(bytes)
    }

    fn source(number: u8) -> Address {
        Address::from_bytes([number; 20])
    }

    fn assert_consistent(fetching: &Fetching) {
        let queues = fetching.sources.values().map(|source| source.queue.len());
        assert_eq!(queues.clone().sum::<usize>(), fetching.places);
        assert!(fetching.places <= PLACES_MAX && queues.max().unwrap_or(0) <= SHARE);
        assert_eq!(fetching.due.len(), fetching.wanted.len());
        for (id, wanted) in &fetching.wanted {
            assert!(fetching.due.contains(&(wanted.due, *id)));
            assert!(!(wanted.told.is_empty() && wanted.asked.is_empty()), "nobody has it");
            for told in &wanted.told {
                assert_eq!(fetching.sources[told].queue.get(&wanted.turn), Some(id));
            }
        }
    }

    #[test]
    fn whoever_tells_of_much_leaves_all_others_as_many_places() {
        let (mut fetching, now) = (Fetching::default(), Time::from_millis(1));
        for liar in 0..100 {
            for number in 0..2_000 {
                fetching.announce(&id(u32::from(liar) * 2_000 + number), &source(liar), now);
            }
        }
        assert_eq!(fetching.places, PLACES_MAX);
        for number in 0..2_000 {
            fetching.announce(&id(1_000_000 + number), &source(200), now);
        }
        let share = fetching.sources[&source(200)].queue.len();
        let most = fetching.sources.values().map(|source| source.queue.len()).max();
        assert!(share + 1 >= most.unwrap(), "{share} of {most:?}");
        assert!(fetching.is_wanted(&id(1_000_000)));
        assert_consistent(&fetching);
    }

    #[test]
    fn one_is_asked_then_twice_as_many_each_second_and_those_who_failed_last() {
        let (mut fetching, mut rng) = (Fetching::default(), ChaCha12Rng::seed_from_u64(1));
        let at = |seconds: u64| Time::from_millis(1) + Span::from_secs(seconds);
        (0..20).for_each(|n| fetching.announce(&id(1), &source(n), at(0)));
        let mut asked = 0;
        let mut ask = |fetching: &mut Fetching, who: Address, now| {
            assert_eq!(fetching.next_for(&who, now), [id(1)]);
            fetching.asking(&who, &[id(1)], now);
            asked += 1;
            asked
        };
        ask(&mut fetching, source(0), at(0));
        for (second, expected) in [(1, 2), (2, 4), (3, 8), (4, 16), (5, 20)] {
            let mut count = 0;
            while let Some(who) = fetching.next_due(at(second), &mut rng) {
                count = ask(&mut fetching, who, at(second));
            }
            assert_eq!(count, expected, "after {second} s");
        }
        (0..19).for_each(|n| fetching.call_ended(&source(n), &[id(1)], Handed::Less, at(6)));
        fetching.settled(&id(1));
        fetching.call_ended(&source(19), &[id(1)], Handed::All, at(6));
        (0..20).for_each(|n| fetching.begin(&source(n)));
        // Those who failed tell first, and wait for whoever did not.
        (0..20).for_each(|n| fetching.announce(&id(2), &source(n), at(7)));
        assert!((0..19).all(|n| fetching.next_for(&source(n), at(7)).is_empty()));
        assert_eq!(fetching.next_for(&source(19), at(7)), [id(2)]);
        // For a second, or until they are forgiven.
        assert_eq!(fetching.next_for(&source(0), at(8)), [id(2)]);
        fetching.announce(&id(3), &source(0), at(700));
        assert_eq!(fetching.next_for(&source(0), at(700)), [id(2), id(3)]);
    }

    #[test]
    fn a_page_of_a_source_that_is_not_collected_from_any_more_leaves_nothing() {
        let (mut fetching, who) = (Fetching::default(), source(1));
        let page = Page { mailboxes: vec![source(9)], number: 2, after: 1 };
        fetching.begin(&who);
        fetching.page_waits(&who, page.clone());
        assert_eq!(fetching.next_page(&who), Some(page.clone()));
        fetching.end(&who);
        fetching.page_waits(&who, page.clone());
        assert_eq!((fetching.len(), fetching.next_page(&who)), (0, None));
        // While one that is known is still being asked for something.
        fetching.begin(&who);
        fetching.announce(&id(1), &who, Time::ZERO);
        fetching.end(&who);
        fetching.page_waits(&who, page);
        assert_eq!(fetching.next_page(&who), None);
    }

    proptest! {
        #[test]
        fn no_order_of_events_breaks_the_bounds(
            events in prop::collection::vec((0..8_u8, 0..6_u8, 0..40_u32, 0..3_000_u64), 1..400),
        ) {
            let (mut fetching, mut rng) = (Fetching::default(), ChaCha12Rng::seed_from_u64(1));
            let (mut now, mut calls) = (Time::from_millis(1), Vec::new());
            for (event, who, what, wait) in events {
                match event {
                    0..3 => fetching.announce(&id(what), &source(who), now),
                    3 => {
                        let ids = fetching.next_for(&source(who), now);
                        if !ids.is_empty() {
                            fetching.asking(&source(who), &ids, now);
                            calls.push((source(who), ids));
                        }
                    }
                    4 if !calls.is_empty() => {
                        let (who, ids) = calls.swap_remove(what as usize % calls.len());
                        let handed = [Handed::All, Handed::Full, Handed::Less][what as usize % 3];
                        if handed == Handed::All {
                            ids.iter().for_each(|id| fetching.settled(id));
                        }
                        fetching.call_ended(&who, &ids, handed, now);
                    }
                    5 => fetching.settled(&id(what)),
                    6 => {
                        while let Some(who) = fetching.next_due(now, &mut rng) {
                            let ids = fetching.next_for(&who, now);
                            prop_assert!(!ids.is_empty());
                            fetching.asking(&who, &ids, now);
                            calls.push((who, ids));
                        }
                    }
                    _ => now = now + Span::from_millis(wait),
                }
                assert_consistent(&fetching);
            }
            (0..6).for_each(|who| fetching.lost(&source(who)));
            assert_consistent(&fetching);
            prop_assert_eq!(fetching.places, 0);
        }
    }
}
