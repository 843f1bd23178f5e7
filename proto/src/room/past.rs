//! Sets of a log's events, by their places in it.
//!
//! Entry type is [`Past`]: which events somebody knew when they made one. A bit for each, so that asking
//! whether one knew of another costs nothing.

/// A set of places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Past(Vec<u64>);

impl Past {
    pub(super) fn insert(&mut self, place: usize) {
        let word = place / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place % 64);
    }

    pub(super) fn contains(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// Whether all of another set are in this one.
    pub(super) fn has_all(&self, other: &Self) -> bool {
        let mine = self.0.iter().copied().chain(std::iter::repeat(0));
        other.0.iter().zip(mine).all(|(theirs, mine)| theirs & !mine == 0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it_or_into_what_was_added() {
        let (mut one, mut other) = (Past::default(), Past::default());
        one.insert(3);
        other.insert(64);
        other.insert(1_000);
        one.add(&other);
        let has: Vec<_> = (0..1_100).filter(|place| one.contains(*place)).collect();
        assert_eq!((has, one.len()), (vec![3, 64, 1_000], 3));
        assert!(one.has_all(&other) && !other.has_all(&one) && one.has_all(&Past::default()));
    }
}
