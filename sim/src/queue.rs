//! What is to happen, in the order of time; at one instant, in the order in which it was decided.
//!
//! Entry type is [`Queue`]. It knows nothing of what it holds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use comm_proto::time::{Span, Time};

/// What happens within so many milliseconds stands in lines, one for each: nearly everything, and a line
/// is near at hand where a heap of millions is not. What happens later waits in a heap.
const LINES: u64 = 4_096;
const STEP: Span = Span::from_millis(1);

/// Things and the times at which they happen. Only small keys move when one is added or taken.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// The instant of the first line; all before it is over.
    at: Time,
    /// The line of each instant from then on, at the remainder of its number.
    lines: Vec<VecDeque<Place>>,
    in_line: usize,
    /// What happens when no line is for it yet, and what happens in the past.
    others: BinaryHeap<Reverse<(Time, u64, Place)>>,
    serial: u64,
    things: Vec<Option<T>>,
    free: Vec<u32>,
}

/// Where a thing lies, or all that there is of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Thing(u32),
    Mark(u32),
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// A number that was put there, which takes no room but its place in the order.
    Mark(u32),
    /// A thing.
    Thing(T),
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            at: Time::ZERO,
            lines: (0..LINES).map(|_| VecDeque::new()).collect(),
            in_line: 0,
            others: BinaryHeap::new(),
            serial: 0,
            things: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Queue<T> {
    /// Adds what happens at `at`.
    pub(crate) fn push(&mut self, at: Time, thing: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            (self.things.len() - 1) as u32
        });
        self.things[place as usize] = Some(thing);
        self.put(at, Place::Thing(place));
    }

    /// Adds a number that comes up at `at`.
    pub(crate) fn mark(&mut self, at: Time, number: u32) {
        self.put(at, Place::Mark(number));
    }

    /// Takes what happens next, if it happens until `end`.
    pub(crate) fn pop_until(&mut self, end: Time) -> Option<(Time, Next<T>)> {
        let (at, place) = self.pop_late(end).or_else(|| self.pop_line(end))?;
        let next = match place {
            Place::Mark(number) => Next::Mark(number),
            Place::Thing(place) => {
                self.free.push(place);
                Next::Thing(self.things[place as usize].take()?)
            }
        };
        Some((at, next))
    }

    /// What was to happen before the first line.
    fn pop_late(&mut self, end: Time) -> Option<(Time, Place)> {
        let Reverse((at, _, place)) = *self.others.peek()?;
        if at >= self.at || at > end {
            return None;
        }
        self.others.pop();
        Some((at, place))
    }

    fn pop_line(&mut self, end: Time) -> Option<(Time, Place)> {
        while self.at <= end {
            let line = &mut self.lines[line_of(self.at)];
            if let Some(place) = line.pop_front() {
                if line.is_empty() {
                    *line = VecDeque::new();
                }
                self.in_line -= 1;
                return Some((self.at, place));
            }
            let next = if self.in_line > 0 { self.at + STEP } else { self.first_of_others()? };
            if next > end {
                return None;
            }
            self.go_on_to(next);
        }
        None
    }

    fn first_of_others(&self) -> Option<Time> {
        self.others.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The first line is that of `at` now. Lines that begin with this are filled before anything else is put
    /// there, so that what was decided first stands first.
    fn go_on_to(&mut self, at: Time) {
        self.at = at;
        while let Some(Reverse((at, _, place))) = self.others.peek().copied()
            && self.has_line(at)
        {
            self.others.pop();
            self.line_up(at, place);
        }
    }

    fn has_line(&self, at: Time) -> bool {
        at >= self.at && at.since(self.at).as_millis() < LINES
    }

    fn line_up(&mut self, at: Time, place: Place) {
        self.lines[line_of(at)].push_back(place);
        self.in_line += 1;
    }

    fn put(&mut self, at: Time, place: Place) {
        if self.has_line(at) {
            self.line_up(at, place);
        } else {
            self.serial += 1;
            self.others.push(Reverse((at, self.serial, place)));
        }
    }
}

const fn line_of(at: Time) -> usize {
    (at.as_millis() % LINES) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_at_one_instant_happens_in_the_order_in_which_it_was_added() {
        let mut queue = Queue::default();
        for (at, thing) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            queue.push(Time::from_millis(at), thing);
        }
        let end = Time::from_millis(5);
        queue.mark(end, 7);
        queue.push(end, 'e');
        let next = || queue.pop_until(end).map(|(_, next)| next);
        let all: Vec<_> = std::iter::from_fn(next).collect();
        let things = ['a', 'b', 'c', 'd'].map(Next::Thing);
        assert_eq!(all[..4], things);
        assert_eq!(all[4..], [Next::Mark(7), Next::Thing('e')]);
    }

    #[test]
    fn far_and_near_happen_in_one_order() {
        // Whatever comes up adds something else, near and far, for a few rounds.
        let mut queue = Queue::default();
        let mut simple: Vec<(u64, u32)> = Vec::new();
        let mut number = 0;
        let mut add = |queue: &mut Queue<u32>, simple: &mut Vec<(u64, u32)>, at: u64| {
            number += 1;
            queue.push(Time::from_millis(at), number);
            simple.push((at, number));
        };
        for at in [0, 4_095, 4_096, 4_097, 9_000, 100_000] {
            add(&mut queue, &mut simple, at);
        }
        let mut taken = 0;
        while let Some((at, next)) = queue.pop_until(Time::from_millis(10_000_000)) {
            // The first of those with the least time: it was added first.
            let least = simple.iter().map(|(at, _)| *at).min().unwrap();
            let place = simple.iter().position(|(at, _)| *at == least).unwrap();
            let (expected, thing) = simple.remove(place);
            assert_eq!((at.as_millis(), next), (expected, Next::Thing(thing)));
            taken += 1;
            if taken < 500 {
                let pause = [0, 1, 4_095, 4_096, 5_000, 20_000][taken % 6];
                add(&mut queue, &mut simple, at.as_millis() + pause);
            }
        }
        assert_eq!((taken, simple.len()), (505, 0));
    }

    #[test]
    fn nothing_after_the_end_is_taken_and_places_are_used_again() {
        let mut queue = Queue::default();
        for round in 0..3 {
            queue.push(Time::from_millis(round), round);
            queue.push(Time::from_millis(100 + round), round);
            let next = queue.pop_until(Time::from_millis(50)).map(|(_, next)| next);
            assert_eq!(next, Some(Next::Thing(round)));
            assert_eq!(queue.pop_until(Time::from_millis(50)), None);
        }
        assert_eq!(queue.things.len(), 4);
    }
}
