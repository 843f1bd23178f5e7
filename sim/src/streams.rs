//! Streams for pushes: which hosts want them kept open, and which are.
//!
//! Entry type is [`Streams`]. A stream leads from a subscriber to its source.

use std::collections::BTreeSet;

use crate::host::At;

/// Streams of all hosts, each from its subscriber to its source.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    wanted: BTreeSet<(At, At)>,
    open: BTreeSet<(At, At)>,
    /// The same, from source to subscriber.
    sources: BTreeSet<(At, At)>,
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

    pub(crate) fn is_open(&self, from: At, to: At) -> bool {
        self.open.contains(&(from, to))
    }

    /// Whether it was not open before.
    pub(crate) fn open(&mut self, from: At, to: At) -> bool {
        self.sources.insert((to, from));
        self.open.insert((from, to))
    }

    /// Whether it was open before.
    pub(crate) fn close(&mut self, from: At, to: At) -> bool {
        self.sources.remove(&(to, from));
        self.open.remove(&(from, to))
    }

    /// All that end when this host goes; it wants none any more.
    pub(crate) fn unplug(&mut self, host: At) -> Vec<(At, At)> {
        let own: Vec<_> = self.wanted.range((host, 0)..=(host, At::MAX)).copied().collect();
        for stream in own {
            self.wanted.remove(&stream);
        }
        let to_others = self.open.range((host, 0)..=(host, At::MAX)).copied();
        let to_it = self.sources.range((host, 0)..=(host, At::MAX)).map(|(to, from)| (*from, *to));
        to_others.chain(to_it).collect()
    }

    /// All that others want to this host.
    pub(crate) fn wanted_to(&self, host: At) -> Vec<At> {
        self.wanted.iter().filter(|(_, to)| *to == host).map(|(from, _)| *from).collect()
    }
}
