//! Ranges of envelopes that were deleted as a whole and are to be compacted.
//!
//! Entry type is [`EndedRanges`]. Whatever is written into such a range again is newer than the deletion and
//! stays. Files are not dropped whole: what they say of bodies that lie in other files would go with them, and
//! nobody would know any more that those bodies are dead.

use std::sync::Mutex;

use comm_proto::node::Family;
use comm_proto::store::Write;

/// The most ranges remembered; there is about one for a day. Further ones are left to RocksDB.
const RANGES_MAX: usize = 64;

/// A range of keys without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first key in it.
    pub(super) from: Vec<u8>,
    /// The first key after it.
    pub(super) to: Vec<u8>,
}

/// The ranges of [`Family::Envelopes`] that were deleted.
#[derive(Debug, Default)]
pub(super) struct EndedRanges(Mutex<Vec<Range>>);

impl EndedRanges {
    /// To be called after the batch of `writes` was applied.
    pub(super) fn note(&self, writes: &[Write<Family>]) {
        let mut ranges = self.lock();
        for write in writes {
            let Write::DeleteRange { table: Family::Envelopes, from, to } = write else { continue };
            if from < to && ranges.len() < RANGES_MAX {
                ranges.push(Range { from: from.clone(), to: to.clone() });
            }
        }
    }

    /// Takes all of them out.
    pub(super) fn take(&self) -> Vec<Range> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Range>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_taken_out_once() {
        let delete =
            |table, from: u8, to: u8| Write::DeleteRange { table, from: vec![from], to: vec![to] };
        let ended = EndedRanges::default();
        ended.note(&[
            delete(Family::Envelopes, 1, 5),
            delete(Family::Envelopes, 5, 5),
            delete(Family::Meta, 1, 5),
        ]);
        assert_eq!(ended.take(), [Range { from: vec![1], to: vec![5] }]);
        assert_eq!(ended.take(), []);
    }
}
