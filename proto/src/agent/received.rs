//! Which of somebody's messages have come, and where a late one belongs (PROTOCOL §4.7).
//!
//! Entry type is [`Received`]. It knows numbers only; the messages themselves are history's.

use std::collections::BTreeMap;

use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};

use super::entry::{MessageNumber, Place};

/// Gaps remembered of one contact; of more the oldest are forgotten.
pub(super) const GAPS_MAX: usize = 256;

/// Which of their messages have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    highest: u64,
    /// By the first number that is missing. No two touch.
    gaps: BTreeMap<u64, Gap>,
}

/// Numbers in a row that have not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    last: u64,
    /// The message that showed that they are missing; they belong before it.
    before: Option<MessageNumber>,
}

impl Received {
    /// Nothing below number `sequence` is waited for.
    pub(super) fn begun_before(sequence: u64) -> Self {
        Self { highest: sequence.saturating_sub(1), gaps: BTreeMap::new() }
    }

    /// Notes that number `sequence` has come as our message `number`; where it belongs.
    pub(super) fn note(&mut self, sequence: u64, number: MessageNumber) -> Place {
        let Some(next) = self.highest.checked_add(1).filter(|next| *next <= sequence) else {
            return self.fill(sequence);
        };
        if next < sequence {
            self.gaps.insert(next, Gap { last: sequence - 1, before: Some(number) });
            self.forget_oldest();
        }
        self.highest = sequence;
        Place::InTurn
    }

    /// Whether none has ever come.
    pub(super) const fn is_empty(&self) -> bool {
        self.highest == 0
    }

    /// How many are missing in all, as far as they are remembered.
    pub(super) fn missing(&self) -> u64 {
        let lengths = self.gaps.iter().map(|(first, gap)| (gap.last - first).saturating_add(1));
        lengths.fold(0, u64::saturating_add)
    }

    /// How many are missing directly before number `sequence`.
    pub(super) fn missing_before(&self, sequence: u64) -> u64 {
        let below = self.gaps.range(..sequence).next_back();
        below.filter(|(_, gap)| gap.last == sequence - 1).map_or(0, |(first, _)| sequence - first)
    }

    /// How many are missing after number `after` and before number `sequence`.
    pub(super) fn missing_between(&self, after: u64, sequence: u64) -> u64 {
        let gaps = self.gaps.range(..sequence).rev().take_while(|(_, gap)| gap.last > after);
        let lengths = gaps.map(|(first, gap)| {
            let (first, last) = ((*first).max(after.saturating_add(1)), gap.last.min(sequence - 1));
            (last - first).saturating_add(1)
        });
        lengths.fold(0, u64::saturating_add)
    }

    pub(super) fn write(&self, bytes: SignedBytes) -> SignedBytes {
        let start = bytes.u64(self.highest).u32(self.gaps.len() as u32);
        self.gaps.iter().fold(start, |bytes, (first, gap)| {
            let before = gap.before.map_or(0, |number| number.0);
            bytes.u64(*first).u64(gap.last).u64(before)
        })
    }

    pub(super) fn read(fields: &mut FieldReader<'_>) -> Result<Self, FieldError> {
        let (highest, count) = (fields.u64()?, fields.u32()?);
        let mut gaps = BTreeMap::new();
        for _ in 0..count {
            let (first, last, before) = (fields.u64()?, fields.u64()?, fields.u64()?);
            let before = (before > 0).then_some(MessageNumber(before));
            // A gap that ends before it begins would make its length overflow.
            gaps.insert(first, Gap { last: last.max(first), before });
        }
        Ok(Self { highest, gaps })
    }

    /// Reads what the first layout had: each missing number by itself, without its place.
    pub(super) fn read_first_layout(fields: &mut FieldReader<'_>) -> Result<Self, FieldError> {
        let (highest, count) = (fields.u64()?, fields.u32()?);
        let mut gaps: BTreeMap<u64, Gap> = BTreeMap::new();
        for _ in 0..count {
            let number = fields.u64()?;
            match gaps.last_entry() {
                Some(mut last) if last.get().last.checked_add(1) == Some(number) => {
                    last.get_mut().last = number;
                }
                _ => drop(gaps.insert(number, Gap { last: number, before: None })),
            }
        }
        Ok(Self { highest, gaps })
    }

    /// A number that is not above all others: it closes a gap or parts it in two.
    fn fill(&mut self, sequence: u64) -> Place {
        let below = self.gaps.range(..=sequence).next_back();
        let gap = below.map(|(first, gap)| (*first, *gap)).filter(|(_, gap)| sequence <= gap.last);
        let Some((first, gap)) = gap else { return Place::Unknown };
        self.gaps.remove(&first);
        if first < sequence {
            self.gaps.insert(first, Gap { last: sequence - 1, ..gap });
        }
        if sequence < gap.last {
            self.gaps.insert(sequence + 1, gap);
        }
        self.forget_oldest();
        gap.before.map_or(Place::Unknown, Place::Before)
    }

    fn forget_oldest(&mut self) {
        while self.gaps.len() > GAPS_MAX {
            self.gaps.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn number(number: u64) -> MessageNumber {
        MessageNumber(number)
    }

    #[test]
    fn gaps_are_counted_and_close_when_the_missing_come() {
        let mut received = Received::default();
        assert_eq!(received.note(1, number(10)), Place::InTurn);
        assert_eq!(received.note(4, number(11)), Place::InTurn);
        assert_eq!((received.missing(), received.missing_before(4)), (2, 2));
        assert_eq!(received.note(3, number(12)), Place::Before(number(11)));
        assert_eq!((received.missing_before(3), received.missing_before(4)), (1, 0));
        assert_eq!(received.note(2, number(13)), Place::Before(number(11)));
        assert_eq!(received.missing(), 0);
        assert_eq!(received.note(5, number(14)), Place::InTurn);
        assert_eq!(received.missing(), 0);
    }

    #[test]
    fn what_is_missing_between_two_is_counted_over_all_gaps() {
        let mut received = Received::default();
        for sequence in [1, 4, 5, 9] {
            received.note(sequence, number(sequence));
        }
        let between = |after, sequence| received.missing_between(after, sequence);
        assert_eq!([between(1, 9), between(4, 9), between(2, 7), between(0, 1)], [5, 3, 2, 0]);
        assert_eq!([between(8, 9), between(4, 5), between(9, u64::MAX)], [0, 0, 0]);
    }

    #[test]
    fn a_gap_that_is_filled_in_its_middle_becomes_two() {
        let mut received = Received::default();
        received.note(5, number(1));
        assert_eq!(received.note(3, number(2)), Place::Before(number(1)));
        assert_eq!((received.missing_before(3), received.missing_before(5)), (2, 1));
        assert_eq!(received.missing(), 3);
    }

    #[test]
    fn a_number_that_has_come_already_has_no_place() {
        let mut received = Received::default();
        received.note(1, number(1));
        received.note(3, number(2));
        for sequence in [0, 1, 3] {
            assert_eq!(received.note(sequence, number(3)), Place::Unknown);
        }
        assert_eq!(received.missing(), 1);
    }

    #[test]
    fn a_leap_in_the_numbers_costs_bounded_memory() {
        let mut received = Received::default();
        assert_eq!(received.note(u64::MAX, number(1)), Place::InTurn);
        assert_eq!((received.missing(), received.gaps.len()), (u64::MAX - 1, 1));
        // Every second number parts a gap.
        for sequence in 1..2_000 {
            received.note(2 * sequence, number(sequence + 1));
            assert!(received.gaps.len() <= GAPS_MAX);
        }
        assert_eq!(received.note(u64::MAX, number(9)), Place::Unknown);
        assert_eq!(received.missing_before(u64::MAX), u64::MAX - 1 - 2 * 1_999);
    }

    #[test]
    fn it_is_read_back_as_it_was_and_from_the_first_layout() {
        let mut received = Received::default();
        received.note(4, number(7));
        received.note(6, number(8));
        let bytes = received.write(SignedBytes::new(b"x\0")).finish();
        let mut fields = FieldReader::new(&bytes[2..]);
        assert_eq!(Received::read(&mut fields), Ok(received.clone()));

        let first = SignedBytes::new(b"x\0").u64(6).u32(4).u64(1).u64(2).u64(3).u64(5).finish();
        let mut read = Received::read_first_layout(&mut FieldReader::new(&first[2..])).unwrap();
        assert_eq!((read.missing(), read.missing_before(4)), (4, 3));
        assert_eq!(read.note(5, number(9)), Place::Unknown);
        assert_eq!(read.missing(), 3);
    }
}
