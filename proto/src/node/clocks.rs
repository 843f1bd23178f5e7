//! What the clocks of other nodes say about ours (PROTOCOL §6.7).
//!
//! Entry type is [`PeerClocks`]. Nodes of the table are heard, each once, and it takes more than half
//! of them to change anything. Their word may only delay what our own clock says is over: nobody can
//! make this node delete, refuse or forget anything by lying about the time.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::RngCore;

use crate::address::Address;
use crate::envelope::CLOCK_TOLERANCE;
use crate::table::Status;
use crate::time::{Span, Time};

use super::io::Event;
use super::{Node, Turn};

/// Fewer clocks than these say nothing.
const FEWEST: usize = 3;
/// As long as fewer are known, nodes of the table are asked for theirs.
const WANTED: usize = 8;
/// Room for so many more is made at a time.
const GROWTH: usize = 8;
/// How often.
const ASK_EVERY: Span = Span::from_mins(5);

/// How far the clocks of nodes of our table are from ours. The beginnings of addresses stand for nodes:
/// two that have the same have one voice.
#[derive(Debug)]
pub(super) struct PeerClocks {
    /// Those whose clock is within the tolerance of ours: nearly all, and by how much it differs tells
    /// nothing. In order.
    agreeing: Vec<u64>,
    /// The others, and the milliseconds by which each is ahead of ours; negative when it is behind.
    differing: BTreeMap<u64, i64>,
    /// How many nodes had left the table when those among them were last forgotten.
    departures: u64,
    ask_at: Time,
    verdict: Verdict,
}

/// What most of them say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Ours is within the tolerance of theirs, or they were never known.
    Agreed,
    /// Ours is ahead by more than that.
    Ahead,
    /// Ours is behind by more than that.
    Behind,
}

impl PeerClocks {
    pub(super) const fn new() -> Self {
        let (ask_at, verdict) = (Time::ZERO, Verdict::Agreed);
        Self { agreeing: Vec::new(), differing: BTreeMap::new(), departures: 0, ask_at, verdict }
    }

    pub(super) fn len(&self) -> usize {
        self.agreeing.len() + self.differing.len()
    }

    /// By how much our clock is ahead of more than half of theirs.
    fn ours_ahead(&self) -> Span {
        self.nth(self.len() / 2).map_or(Span::ZERO, |least| behind(-i128::from(least)))
    }

    /// By how much our clock is behind more than half of theirs.
    fn ours_behind(&self) -> Span {
        let middle = self.len().saturating_sub(1) / 2;
        self.nth(middle).map_or(Span::ZERO, |least| behind(i128::from(least)))
    }

    /// By how much the `n`th is ahead, the one farthest behind first; 0 for all that agree with ours.
    fn nth(&self, n: usize) -> Option<i64> {
        if n >= self.len() || self.len() < FEWEST {
            return None;
        }
        let mut differing: Vec<_> = self.differing.values().copied().collect();
        differing.sort_unstable();
        let behind = differing.partition_point(|ahead| *ahead < 0);
        let ahead = behind + self.agreeing.len();
        Some(match n {
            n if n < behind => differing[n],
            n if n < ahead => 0,
            n => differing[n - self.agreeing.len()],
        })
    }

    fn knows(&self, peer: &Address) -> bool {
        let peer = peer.top_bits();
        self.agreeing.binary_search(&peer).is_ok() || self.differing.contains_key(&peer)
    }

    fn insert(&mut self, peer: Address, ahead: i64) {
        let peer = peer.top_bits();
        let place = self.agreeing.binary_search(&peer);
        if ahead.unsigned_abs() > CLOCK_TOLERANCE.as_millis() {
            self.differing.insert(peer, ahead);
            place.ok().map(|place| self.agreeing.remove(place));
            return;
        }
        self.differing.remove(&peer);
        if let Err(place) = place {
            if self.agreeing.len() == self.agreeing.capacity() {
                self.agreeing.reserve_exact(GROWTH);
            }
            self.agreeing.insert(place, peer);
        }
    }

    fn retain(&mut self, mut is_there: impl FnMut(&u64) -> bool) {
        self.agreeing.retain(&mut is_there);
        self.differing.retain(|peer, _| is_there(peer));
    }

    fn clear(&mut self) {
        self.agreeing.clear();
        self.differing.clear();
    }
}

fn behind(millis: i128) -> Span {
    Span::from_millis(u64::try_from(millis.max(0)).unwrap_or(u64::MAX))
}

impl Node {
    /// A node of the table has told its time.
    pub(super) fn note_clock(&mut self, turn: Turn<'_>, peer: Address, time: Time) {
        let ahead = i128::from(time.as_millis()) - i128::from(turn.now.as_millis());
        let ahead = ahead.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        if self.table.get(&peer).is_some() {
            self.clocks.insert(peer, ahead);
        }
        self.judge_clock(turn);
    }

    /// Only those of the table count.
    pub(super) fn forget_clocks_of_the_gone(&mut self) {
        let departures = self.table.departures();
        if std::mem::replace(&mut self.clocks.departures, departures) == departures {
            return;
        }
        let there = self.table.entries().map(|entry| entry.contact().address().top_bits());
        let there: BTreeSet<_> = there.collect();
        self.clocks.retain(|peer| there.contains(peer));
    }

    /// Our own clock has jumped: what was known of others' is worth nothing any more. What followed
    /// from it stands until enough of them are known again, since it can only delay.
    pub(super) fn forget_clocks(&mut self, turn: Turn<'_>) {
        self.clocks.clear();
        self.clocks.ask_at = turn.now;
    }

    /// When to ask for further clocks.
    pub(super) fn next_clock_question(&self) -> Time {
        let enough = self.clocks.len() >= WANTED.min(self.table.len());
        if enough { Time::MAX } else { self.clocks.ask_at }
    }

    /// Asks nodes whose clock is not known yet.
    pub(super) fn clocks_due(&mut self, turn: Turn<'_>) {
        if self.next_clock_question() > turn.now {
            return;
        }
        self.clocks.ask_at = turn.now + ASK_EVERY;
        let unknown = |address: &Address| {
            !self.clocks.knows(address) && self.table.status(address, turn.now) != Some(Status::Bad)
        };
        let contacts = self.table.entries().map(|entry| entry.contact());
        let mut contacts: Vec<_> =
            contacts.filter(|contact| unknown(&contact.address())).cloned().collect();
        for _ in 0..WANTED.min(contacts.len()) {
            let at = (self.rng.next_u64() % contacts.len() as u64) as usize;
            let contact = contacts.swap_remove(at);
            self.ping(turn, contact);
        }
    }

    fn judge_clock(&mut self, turn: Turn<'_>) {
        if self.clocks.len() < FEWEST {
            return;
        }
        let (ahead, behind) = (self.clocks.ours_ahead(), self.clocks.ours_behind());
        let verdict = if ahead > CLOCK_TOLERANCE {
            Verdict::Ahead
        } else if behind > CLOCK_TOLERANCE {
            Verdict::Behind
        } else {
            Verdict::Agreed
        };
        let doubt = if verdict == Verdict::Ahead { ahead } else { Span::ZERO };
        if self.clock.doubt(doubt) {
            // What is kept may be over earlier than was thought.
            self.expiry_at = self.expiry_at.min(turn.now);
        }
        if std::mem::replace(&mut self.clocks.verdict, verdict) == verdict {
            return;
        }
        match verdict {
            Verdict::Agreed => self.event(Event::ClockAgreed),
            Verdict::Ahead => self.event(Event::ClockAhead { by: ahead }),
            Verdict::Behind => self.event(Event::ClockBehind { by: behind }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hours: &[i64]) -> PeerClocks {
        let mut clocks = PeerClocks::new();
        for (n, hours) in (0_u8..).zip(hours) {
            clocks.insert(Address::from_bytes([n; 20]), hours * 3_600_000);
        }
        clocks
    }

    #[test]
    fn more_than_half_of_three_or_more_clocks_count_and_fewer_say_nothing() {
        let day = Span::DAY;
        for (hours, ahead, behind) in [
            (&[][..], Span::ZERO, Span::ZERO),
            (&[-24, -24], Span::ZERO, Span::ZERO),
            (&[-24, -24, 0], day, Span::ZERO),
            (&[-24, 0, 0], Span::ZERO, Span::ZERO),
            (&[-24, -24, 0, 0], Span::ZERO, Span::ZERO),
            (&[24, 24, 0, 0], Span::ZERO, Span::ZERO),
            (&[24, 24, 24, -1_000_000], Span::ZERO, day),
        ] {
            let clocks = told(hours);
            assert_eq!((clocks.ours_ahead(), clocks.ours_behind()), (ahead, behind), "{hours:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_right_or_wrong_has_one_voice_all_the_same() {
        let mut clocks = told(&[0, 0, 0]);
        let peer = |n| Address::from_bytes([n; 20]);
        let day = Span::DAY.as_millis() as i64;
        for (n, ahead, ours_ahead, ours_behind) in [
            (0, -day, Span::ZERO, Span::ZERO),
            (1, -day, Span::DAY, Span::ZERO),
            (0, CLOCK_TOLERANCE.as_millis() as i64, Span::ZERO, Span::ZERO),
            (1, day, Span::ZERO, Span::ZERO),
            (2, day, Span::ZERO, Span::DAY),
            (2, -(CLOCK_TOLERANCE.as_millis() as i64), Span::ZERO, Span::ZERO),
        ] {
            clocks.insert(peer(n), ahead);
            assert_eq!((clocks.ours_ahead(), clocks.ours_behind()), (ours_ahead, ours_behind));
            assert_eq!(clocks.len(), 3);
        }
        clocks.retain(|peer| *peer != Address::from_bytes([1; 20]).top_bits());
        assert!(clocks.len() == 2 && !clocks.knows(&peer(1)) && clocks.knows(&peer(2)));
    }

    #[test]
    fn the_farthest_clocks_there_can_be_do_not_overflow() {
        let mut clocks = told(&[0, 0, 0]);
        let all = |clocks: &mut PeerClocks, ahead| {
            (0..3).for_each(|n| clocks.insert(Address::from_bytes([n; 20]), ahead));
        };
        all(&mut clocks, i64::MIN);
        assert_eq!(clocks.ours_ahead().as_millis(), 1 << 63);
        all(&mut clocks, i64::MAX);
        assert_eq!(clocks.ours_behind().as_millis(), (1 << 63) - 1);
    }
}
