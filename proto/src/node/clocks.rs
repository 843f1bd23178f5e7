//! What the clocks of other nodes say about ours (PROTOCOL §6.7).
//!
//! Entry type is [`PeerClocks`]. Nodes of the table are heard, each once, and it takes more than half
//! of them to change anything. Their word may only delay what our own clock says is over: nobody can
//! make this node delete, refuse or forget anything by lying about the time.

use std::collections::BTreeMap;

use rand_core::RngCore;

use crate::address::Address;
use crate::envelope::CLOCK_TOLERANCE;
use crate::table::{Status, Table};
use crate::time::{Span, Time};

use super::io::Event;
use super::{Node, Turn};

/// Fewer clocks than these say nothing.
const FEWEST: usize = 3;
/// As long as fewer are known, nodes of the table are asked for theirs.
const WANTED: usize = 8;
/// How often.
const ASK_EVERY: Span = Span::from_mins(5);

/// How far the clocks of nodes of our table are from ours. Nearly all are within the tolerance; by how
/// much these differ tells nothing, and the table marks them.
#[derive(Debug)]
pub(super) struct PeerClocks {
    /// The milliseconds by which each of the others is ahead of ours; negative when it is behind.
    differing: BTreeMap<Address, i64>,
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

/// By how much each clock is ahead of ours, the one farthest behind first.
struct Voices {
    differing: Vec<i64>,
    /// How many agree with ours; they count as 0.
    agreeing: usize,
}

impl PeerClocks {
    pub(super) const fn new() -> Self {
        let (ask_at, verdict) = (Time::ZERO, Verdict::Agreed);
        Self { differing: BTreeMap::new(), departures: 0, ask_at, verdict }
    }

    /// How many differ from ours.
    pub(super) fn differing(&self) -> usize {
        self.differing.len()
    }

    fn known(&self, table: &Table) -> usize {
        table.agreeing_clocks() + self.differing.len()
    }

    fn knows(&self, table: &Table, peer: &Address) -> bool {
        self.differing.contains_key(peer)
            || table.get(peer).is_some_and(|entry| entry.clock_agrees())
    }

    /// An entry of the table has a clock that is ahead of ours by so many milliseconds.
    fn note(&mut self, table: &mut Table, peer: Address, ahead: i64) {
        if ahead.unsigned_abs() > CLOCK_TOLERANCE.as_millis() {
            table.clock_differs(&peer);
            self.differing.insert(peer, ahead);
        } else {
            self.differing.remove(&peer);
            table.clock_agrees(&peer);
        }
    }

    fn voices(&self, table: &Table) -> Voices {
        let mut differing: Vec<_> = self.differing.values().copied().collect();
        differing.sort_unstable();
        Voices { differing, agreeing: table.agreeing_clocks() }
    }
}

impl Voices {
    fn len(&self) -> usize {
        self.agreeing + self.differing.len()
    }

    /// By how much our clock is ahead of more than half of them.
    fn ours_ahead(&self) -> Span {
        self.nth(self.len() / 2).map_or(Span::ZERO, |least| behind(-i128::from(least)))
    }

    /// By how much our clock is behind more than half of them.
    fn ours_behind(&self) -> Span {
        let middle = self.len().saturating_sub(1) / 2;
        self.nth(middle).map_or(Span::ZERO, |least| behind(i128::from(least)))
    }

    fn nth(&self, n: usize) -> Option<i64> {
        if n >= self.len() || self.len() < FEWEST {
            return None;
        }
        let behind = self.differing.partition_point(|ahead| *ahead < 0);
        let ahead = behind + self.agreeing;
        Some(match n {
            n if n < behind => self.differing[n],
            n if n < ahead => 0,
            n => self.differing[n - self.agreeing],
        })
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
            self.clocks.note(&mut self.table, peer, ahead);
        }
        self.judge_clock(turn);
    }

    /// Only those of the table count: a clock that differed goes with its node.
    pub(super) fn forget_clocks_of_the_gone(&mut self) {
        let departures = self.table.departures();
        if std::mem::replace(&mut self.clocks.departures, departures) == departures {
            return;
        }
        let table = &self.table;
        self.clocks.differing.retain(|peer, _| table.get(peer).is_some());
    }

    /// Our own clock has jumped: what was known of others' is worth nothing any more. What followed
    /// from it stands until enough of them are known again, since it can only delay.
    pub(super) fn forget_clocks(&mut self, turn: Turn<'_>) {
        self.table.forget_clocks();
        self.clocks.differing.clear();
        self.clocks.ask_at = turn.now;
    }

    /// When to ask for further clocks.
    pub(super) fn next_clock_question(&self) -> Time {
        let enough = self.clocks.known(&self.table) >= WANTED.min(self.table.len());
        if enough { Time::MAX } else { self.clocks.ask_at }
    }

    /// Asks nodes whose clock is not known yet.
    pub(super) fn clocks_due(&mut self, turn: Turn<'_>) {
        if self.next_clock_question() > turn.now {
            return;
        }
        self.clocks.ask_at = turn.now + ASK_EVERY;
        let unknown = |address: &Address| {
            !self.clocks.knows(&self.table, address)
                && self.table.status(address, turn.now) != Some(Status::Bad)
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
        let voices = self.clocks.voices(&self.table);
        if voices.len() < FEWEST {
            return;
        }
        let (ahead, behind) = (voices.ours_ahead(), voices.ours_behind());
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
    use crate::contact::Contact;
    use crate::key::PublicKey;
    use crate::table::TableConfig;

    const HOUR: i64 = 3_600_000;

    fn peer(n: u8) -> Contact {
        let endpoint = ([127, 0, 0, 1], 4_000).into();
        Contact::new(PublicKey::from_bytes([n; PublicKey::LEN]), [endpoint])
    }

    /// A table of nodes that have told times so many hours ahead of ours.
    fn told(hours: &[i64]) -> (PeerClocks, Table) {
        let own = Address::from_bytes([0; Address::LEN]);
        let (mut clocks, mut table) = (PeerClocks::new(), Table::new(own, TableConfig::default()));
        for (n, hours) in (0_u8..).zip(hours) {
            table.confirm(peer(n), Time::ZERO);
            clocks.note(&mut table, peer(n).address(), hours * HOUR);
        }
        (clocks, table)
    }

    fn ours((clocks, table): &(PeerClocks, Table)) -> (Span, Span) {
        let voices = clocks.voices(table);
        (voices.ours_ahead(), voices.ours_behind())
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
            assert_eq!(ours(&told(hours)), (ahead, behind), "{hours:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_right_or_wrong_has_one_voice_all_the_same() {
        let mut told = told(&[0, 0, 0]);
        let day = Span::DAY.as_millis() as i64;
        for (n, ahead, expected) in [
            (0, -day, (Span::ZERO, Span::ZERO)),
            (1, -day, (Span::DAY, Span::ZERO)),
            (0, CLOCK_TOLERANCE.as_millis() as i64, (Span::ZERO, Span::ZERO)),
            (1, day, (Span::ZERO, Span::ZERO)),
            (2, day, (Span::ZERO, Span::DAY)),
            (2, -(CLOCK_TOLERANCE.as_millis() as i64), (Span::ZERO, Span::ZERO)),
        ] {
            let (clocks, table) = &mut told;
            clocks.note(table, peer(n).address(), ahead);
            assert_eq!(clocks.known(table), 3);
            assert!((0..3).all(|n| clocks.knows(table, &peer(n).address())));
            assert_eq!(ours(&told), expected, "{n} is ahead by {ahead} ms");
        }
    }

    #[test]
    fn a_node_that_has_left_the_table_takes_its_voice_along() {
        let (clocks, mut table) = told(&[0, 0, 0]);
        let gone = Contact::new(*peer(1).key(), []);
        table.confirm(gone.clone(), Time::ZERO);
        assert!(clocks.known(&table) == 2 && !clocks.knows(&table, &gone.address()));
        table.confirm(peer(1), Time::ZERO);
        assert!(clocks.known(&table) == 2 && !clocks.knows(&table, &gone.address()));
        table.forget_clocks();
        assert_eq!(clocks.known(&table), 0);
    }

    #[test]
    fn the_farthest_clocks_there_can_be_do_not_overflow() {
        let mut told = told(&[0, 0, 0]);
        for (ahead, expected) in [
            (i64::MIN, (Span::from_millis(1 << 63), Span::ZERO)),
            (i64::MAX, (Span::ZERO, Span::from_millis((1 << 63) - 1))),
        ] {
            let (clocks, table) = &mut told;
            (0..3).for_each(|n| clocks.note(table, peer(n).address(), ahead));
            assert_eq!(ours(&told), expected);
        }
    }
}
