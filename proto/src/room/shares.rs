//! Queues of what waits, in which nobody takes the places of others.

use std::collections::{BTreeMap, VecDeque};

/// Keeps something in a queue of at most `most`. Of more, whoever has the most places in it gives one up: the one
/// that they took first.
pub(super) fn keep<T, K: Ord>(
    queue: &mut VecDeque<T>,
    kept: T,
    most: usize,
    whose: impl Fn(&T) -> K,
) {
    queue.push_back(kept);
    if queue.len() <= most {
        return;
    }
    let mut places: BTreeMap<K, usize> = BTreeMap::new();
    for one in &*queue {
        *places.entry(whose(one)).or_default() += 1;
    }
    let fullest = places.values().copied().max().unwrap_or(0);
    let gives_way = |one: &T| places.get(&whose(one)) == Some(&fullest);
    if let Some(at) = queue.iter().position(gives_way) {
        queue.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_most_places_gives_up_the_one_that_they_took_first() {
        let mut queue = VecDeque::new();
        for one in ["a1", "b1", "b2", "a2", "b3", "c1", "b4"] {
            keep(&mut queue, one, 4, |one| one.as_bytes()[0]);
        }
        assert_eq!(queue, ["a2", "b3", "c1", "b4"]);
    }
}
