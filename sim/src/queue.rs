//! What is to happen, in the order of time; at one instant, in the order in which it was decided.
//!
//! Entry type is [`Queue`]. It knows nothing of what it holds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use comm_proto::time::Time;

/// Things and the times at which they happen. Only small keys move when one is added or taken.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Time, u64, Place)>>,
    things: Vec<Option<T>>,
    free: Vec<u32>,
    serial: u64,
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
        Self { heap: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), serial: 0 }
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
        let Reverse((at, _, place)) = *self.heap.peek().filter(|next| next.0.0 <= end)?;
        self.heap.pop();
        let next = match place {
            Place::Mark(number) => Next::Mark(number),
            Place::Thing(place) => {
                self.free.push(place);
                Next::Thing(self.things[place as usize].take()?)
            }
        };
        Some((at, next))
    }

    fn put(&mut self, at: Time, place: Place) {
        self.serial += 1;
        self.heap.push(Reverse((at, self.serial, place)));
    }
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
