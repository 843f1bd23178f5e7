//! Ranges of envelopes that were deleted as a whole and whose files may be dropped.
//!
//! Entry type is [`EndedRanges`]. Dropping a file is durable at once, unlike the deletion in the
//! log, and takes everything in it; so [`super::upkeep`] drops only after a sync, and a range into
//! which something has been written again is forgotten here and left to compaction.

use std::sync::Mutex;

use comm_proto::node::Family;
use comm_proto::store::Write;

/// The most ranges remembered; there is about one for a day. Further ones are left to compaction.
const RANGES_MAX: usize = 64;

/// A range of keys without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first key in it.
    pub(super) from: Vec<u8>,
    /// The first key after it.
    pub(super) to: Vec<u8>,
}

/// The ranges of [`Family::Envelopes`] in which nothing lives.
#[derive(Debug, Default)]
pub(super) struct EndedRanges(Mutex<Vec<Range>>);

impl Range {
    fn contains(&self, key: &[u8]) -> bool {
        self.from.as_slice() <= key && key < self.to.as_slice()
    }
}

impl EndedRanges {
    /// To be called before the batch of `writes` is applied.
    pub(super) fn forget_rewritten(&self, writes: &[Write<Family>]) {
        let mut ranges = self.lock();
        if ranges.is_empty() {
            return;
        }
        for key in writes.iter().filter_map(written_envelope) {
            ranges.retain(|range| !range.contains(key));
        }
    }

    /// To be called after the batch of `writes` was applied.
    pub(super) fn note(&self, writes: &[Write<Family>]) {
        for (i, write) in writes.iter().enumerate() {
            let Write::DeleteRange { table: Family::Envelopes, from, to } = write else { continue };
            let range = Range { from: from.clone(), to: to.clone() };
            let rewritten = writes[i..].iter().filter_map(written_envelope);
            let empty = from >= to || rewritten.into_iter().any(|key| range.contains(key));
            let mut ranges = self.lock();
            if !empty && ranges.len() < RANGES_MAX {
                ranges.push(range);
            }
        }
    }

    /// All ranges at this moment.
    pub(super) fn all(&self) -> Vec<Range> {
        self.lock().clone()
    }

    /// Takes `range` out and calls `drop_files`, if nothing was written into the range since.
    /// Writers of envelopes wait for it.
    pub(super) fn end<E>(
        &self,
        range: &Range,
        drop_files: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut ranges = self.lock();
        let Some(place) = ranges.iter().position(|known| known == range) else { return Ok(()) };
        ranges.swap_remove(place);
        drop_files()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Range>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

fn written_envelope(write: &Write<Family>) -> Option<&[u8]> {
    match write {
        Write::Put { table: Family::Envelopes, key, .. } => Some(key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: u8) -> Write<Family> {
        Write::Put { table: Family::Envelopes, key: vec![key], value: vec![] }
    }

    fn delete(from: u8, to: u8) -> Write<Family> {
        Write::DeleteRange { table: Family::Envelopes, from: vec![from], to: vec![to] }
    }

    #[test]
    fn a_range_that_is_written_into_again_is_not_dropped() {
        let ended = EndedRanges::default();
        ended.note(&[put(2), delete(1, 5)]);
        ended.note(&[delete(6, 9), put(7)]);
        assert_eq!(ended.all(), [Range { from: vec![1], to: vec![5] }]);
        ended.forget_rewritten(&[put(5)]);
        assert_eq!(ended.all().len(), 1);
        ended.forget_rewritten(&[put(4)]);
        assert_eq!(ended.all(), []);
    }

    #[test]
    fn a_range_ends_once() {
        let ended = EndedRanges::default();
        ended.note(&[delete(1, 5), delete(5, 5)]);
        let mut dropped = 0;
        for range in ended.all().iter().cycle().take(2) {
            let result: Result<(), ()> = ended.end(range, || {
                dropped += 1;
                Ok(())
            });
            assert_eq!(result, Ok(()));
        }
        assert_eq!(dropped, 1);
    }
}
