//! How far an envelope has come from its writer's node: whom that turned to, who cast it, and when a copy of it was
//! in its mailbox's region.

use comm_proto::time::{Span, Time};

use super::{Letter, People};
use crate::copies::FirstCast;
use crate::host::At;

impl People {
    /// Whether it was read before its first cast was over, which then had nothing left to do.
    pub(crate) fn is_read_first(&self, letter: Letter) -> bool {
        let one = &self.letters[letter];
        let read = one.copies.acknowledged();
        read.is_some_and(|read| one.first_cast.end().is_none_or(|end| read <= end))
    }

    pub(crate) fn first_cast(&self, letter: Letter) -> &FirstCast {
        &self.letters[letter].first_cast
    }

    /// Whether a copy on this host would be the first one in the region, if it lies there; that of the writer's
    /// own node does not count.
    pub(crate) fn may_be_first_in_region(&self, letter: Letter, host: At) -> bool {
        let one = &self.letters[letter];
        one.fate.region_copied.is_none() && host != one.writer
    }

    /// When the first copy had come to the region, or its reader had read it: then none need come any more.
    pub(crate) fn region_copied(&self, letter: Letter) -> Option<Span> {
        let one = &self.letters[letter];
        let read = one.copies.acknowledged().map(|read| read.since(one.at));
        [one.fate.region_copied, read].into_iter().flatten().min()
    }

    /// A copy has come to the region.
    pub(crate) fn came_to_region(&mut self, now: Time, letter: Letter) {
        let one = &mut self.letters[letter];
        one.fate.region_copied.get_or_insert(now.since(one.at));
    }
}
