//! Which pieces of a file are here.
//!
//! Entry type is [`Pieces`]. On disk it is pages of 512 bytes, one bit for each piece, so that one more piece writes one page
//! however long the file is.

use crate::file::{RANGES_MAX, Range};

/// Bytes of a page.
const PAGE_LEN: usize = 512;
const BITS: u32 = PAGE_LEN as u32 * 8;

/// Which pieces of a file are here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pieces {
    bits: Vec<u8>,
    count: u32,
    here: u32,
}

impl Pieces {
    /// None of `count`.
    pub(super) fn none(count: u32) -> Self {
        Self { bits: vec![0; count.div_ceil(8) as usize], count, here: 0 }
    }

    pub(super) fn has(&self, index: u32) -> bool {
        let byte = self.bits.get((index / 8) as usize).copied().unwrap_or_default();
        index < self.count && byte & bit(index) != 0
    }

    /// Notes that a piece is here; whether it was not.
    pub(super) fn insert(&mut self, index: u32) -> bool {
        if index >= self.count || self.has(index) {
            return false;
        }
        self.bits[(index / 8) as usize] |= bit(index);
        self.here += 1;
        true
    }

    /// How many are here.
    pub(super) const fn here(&self) -> u32 {
        self.here
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.here == self.count
    }

    /// The rows of pieces that are not here. Of more than [`RANGES_MAX`] the last has all that follow, here or not.
    pub(super) fn lacking(&self) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        let mut index = 0;
        while index < self.count {
            if index.is_multiple_of(8) && self.bits[(index / 8) as usize] == 0xff {
                index += 8;
                continue;
            }
            if !self.has(index) {
                let is_full = ranges.len() == RANGES_MAX;
                match ranges.last_mut() {
                    Some(last) if last.end() == index => last.count += 1,
                    Some(last) if is_full => {
                        last.count = self.count - last.first;
                        return ranges;
                    }
                    _ => ranges.push(Range { first: index, count: 1 }),
                }
            }
            index += 1;
        }
        ranges
    }

    /// The page on which a piece is: its number and what stands there.
    pub(super) fn page_of(&self, index: u32) -> (u32, Vec<u8>) {
        let page = index / BITS;
        let from = page as usize * PAGE_LEN;
        let to = self.bits.len().min(from + PAGE_LEN);
        (page, self.bits.get(from..to).unwrap_or_default().to_vec())
    }

    /// Takes in a page that was written before; whether it is one of this file.
    pub(super) fn restore(&mut self, page: u32, bytes: &[u8]) -> bool {
        let from = page as usize * PAGE_LEN;
        if bytes.len() > PAGE_LEN || from + bytes.len() > self.bits.len() {
            return false;
        }
        for (at, byte) in bytes.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                self.insert(((from + at) * 8 + bit) as u32);
            }
        }
        true
    }
}

const fn bit(index: u32) -> u8 {
    1 << (index % 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_here_is_told_in_rows_and_not_too_many() {
        let mut pieces = Pieces::none(20);
        let range = |first, count| Range { first, count };
        assert_eq!(pieces.lacking(), [range(0, 20)]);
        for index in (0..16).chain([18]) {
            assert!(pieces.insert(index) && !pieces.insert(index));
        }
        assert_eq!((pieces.lacking(), pieces.here()), (vec![range(16, 2), range(19, 1)], 17));
        assert!(!pieces.insert(20) && !pieces.has(20));
        for index in [16, 17, 19] {
            pieces.insert(index);
        }
        assert!(pieces.is_whole() && pieces.lacking().is_empty());
        let mut pieces = Pieces::none(1_000);
        (0..500).for_each(|index| assert!(pieces.insert(2 * index)));
        let lacking = pieces.lacking();
        assert_eq!((lacking.len(), lacking[0]), (RANGES_MAX, range(1, 1)));
        assert_eq!(lacking[RANGES_MAX - 1], range(127, 1_000 - 127));
    }

    proptest! {
        #[test]
        fn pages_bring_back_what_was_here(
            count in 1_u32..20_000,
            some in prop::collection::vec(any::<u32>(), 0..50),
        ) {
            let (mut pieces, mut read) = (Pieces::none(count), Pieces::none(count));
            for index in some {
                pieces.insert(index % count);
                let (page, bytes) = pieces.page_of(index % count);
                prop_assert!(read.restore(page, &bytes));
            }
            prop_assert_eq!(&read, &pieces);
            prop_assert!(!read.restore(count, &[0]));
        }
    }
}
