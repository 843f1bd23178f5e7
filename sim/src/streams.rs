//! Streams for pushes: which hosts want them kept open, and which are.
//!
//! Entry type is [`Streams`]. A stream leads from a subscriber to its source.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::At;

/// Streams of all hosts, each from its subscriber to its source.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    wanted: BTreeSet<(At, At)>,
    /// With a number that no other has.
    open: BTreeMap<(At, At), u64>,
    /// The same, from source to subscriber.
    sources: BTreeSet<(At, At)>,
    opened: u64,
}

impl Streams {
    /// A subscriber wants one; whether that is new.
    pub(crate) fn want(&mut self, from: At, to: At) -> bool {
        self.wanted.insert((from, to))
    }

    /// It does so no longer.
    pub(crate) fn give_up(&mut self, from: At, to: At) {
        self.wanted.remove(&(from, to));
    }

    pub(crate) fn is_wanted(&self, from: At, to: At) -> bool {
        self.wanted.contains(&(from, to))
    }

    /// The number of an open one; one that is opened again has another.
    pub(crate) fn serial(&self, from: At, to: At) -> Option<u64> {
        self.open.get(&(from, to)).copied()
    }

    /// Whether it was not open before.
    pub(crate) fn open(&mut self, from: At, to: At) -> bool {
        if self.open.contains_key(&(from, to)) {
            return false;
        }
        self.opened += 1;
        self.sources.insert((to, from));
        self.open.insert((from, to), self.opened);
        true
    }

    /// Whether it was open before.
    pub(crate) fn close(&mut self, from: At, to: At) -> bool {
        self.sources.remove(&(to, from));
        self.open.remove(&(from, to)).is_some()
    }

    /// All that end when this host goes; it wants none any more.
    pub(crate) fn unplug(&mut self, host: At) -> Vec<(At, At)> {
        let own: Vec<_> = self.wanted.range((host, 0)..=(host, At::MAX)).copied().collect();
        for stream in own {
            self.wanted.remove(&stream);
        }
        let to_others = self.open.range((host, 0)..=(host, At::MAX)).map(|(stream, _)| *stream);
        let to_it = self.sources.range((host, 0)..=(host, At::MAX)).map(|(to, from)| (*from, *to));
        to_others.chain(to_it).collect()
    }
}
