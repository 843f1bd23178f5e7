//! Whose nodes are to go, and when they may.

use comm_proto::time::Time;

use super::{Letter, People};
use crate::host::At;

impl People {
    /// Whether no letter before this one goes to somebody who uses this host.
    pub(crate) fn is_first_to(&self, host: At, letter: Letter) -> bool {
        self.letters.iter().position(|one| one.reader == host) == Some(letter)
    }

    /// Since when all that was written at this host is known there to be elsewhere; none before that.
    pub(crate) fn safe_since(&self, host: At) -> Option<Time> {
        let own = self.letters.iter().filter(|one| one.writer == host);
        let since =
            own.map(|one| one.fate.stored.or(one.fate.acknowledged).map(|after| one.at + after));
        since.collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}
