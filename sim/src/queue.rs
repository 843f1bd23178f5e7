//! What is to happen, in the order of time; at one instant, in the order in which it was decided.
//!
//! Entry type is [`Queue`]. It knows nothing of what it holds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use comm_proto::time::Time;

/// Things and the times at which they happen. Only small keys move when one is added or taken.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Time, u64, usize)>>,
    things: Vec<Option<T>>,
    free: Vec<usize>,
    serial: u64,
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
            self.things.len() - 1
        });
        self.things[place] = Some(thing);
        self.serial += 1;
        self.heap.push(Reverse((at, self.serial, place)));
    }

    /// Takes what happens next, if it happens until `end`.
    pub(crate) fn pop_until(&mut self, end: Time) -> Option<(Time, T)> {
        let Reverse((at, _, place)) = *self.heap.peek().filter(|next| next.0.0 <= end)?;
        self.heap.pop();
        self.free.push(place);
        self.things[place].take().map(|thing| (at, thing))
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
        let all: String = std::iter::from_fn(|| queue.pop_until(end).map(|(_, c)| c)).collect();
        assert_eq!(all, "abcd");
    }

    #[test]
    fn nothing_after_the_end_is_taken_and_places_are_used_again() {
        let mut queue = Queue::default();
        for round in 0..3 {
            queue.push(Time::from_millis(round), round);
            queue.push(Time::from_millis(100 + round), round);
            assert_eq!(queue.pop_until(Time::from_millis(50)).map(|(_, thing)| thing), Some(round));
            assert_eq!(queue.pop_until(Time::from_millis(50)), None);
        }
        assert_eq!(queue.things.len(), 4);
    }
}
