//! What has come of each source of relays to begin with, for whoever runs the node.
//!
//! Entry type is [`Sources`]. It holds as many as the configuration names and learns no more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sources of one node. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Mutex<Vec<Progress>>>);

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key `bootstrap`.
    Configuration,
    /// TXT records in DNS.
    Dns,
    /// A signed list.
    List,
    /// The local network.
    Lan,
}

/// What has come of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is.
    pub kind: Kind,
    /// Which one: a place, a name, a file.
    pub name: String,
    /// Places that it named when it was asked last.
    pub named: u64,
    /// How many of them have answered.
    pub answered: u64,
    /// Why nobody has, if that is known.
    pub trouble: Option<String>,
    /// Of which kind that is: texts name one place of many.
    reason: Option<String>,
}

impl Kind {
    /// Its name for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Dns => "dns",
            Self::List => "list",
            Self::Lan => "lan",
        }
    }
}

impl Progress {
    /// Nothing has come of it yet.
    pub(super) fn begun(kind: Kind, name: String) -> Self {
        Self { kind, name, named: 0, answered: 0, trouble: None, reason: None }
    }
}

impl Sources {
    /// All of them as they are now.
    pub fn all(&self) -> Vec<Progress> {
        self.lock().clone()
    }

    pub(super) fn set(&self, sources: Vec<Progress>) {
        *self.lock() = sources;
    }

    pub(super) fn get(&self, number: usize) -> Option<Progress> {
        self.lock().get(number).cloned()
    }

    /// It was asked again and has named so many places.
    pub(super) fn named(&self, number: usize, places: usize) {
        self.with(number, |one| (one.named, one.answered) = (places as u64, 0));
    }

    /// One of its places has answered.
    pub(super) fn answered(&self, number: usize) {
        self.with(number, |one| {
            one.answered += 1;
            (one.trouble, one.reason) = (None, None);
        });
    }

    /// It is of no use now; whether that was not so, or for another reason, before. `trouble` says it to people.
    pub(super) fn failed(&self, number: usize, reason: &str, trouble: &str) -> bool {
        let mut is_new = false;
        self.with(number, |one| {
            is_new = one.reason.as_deref() != Some(reason);
            (one.trouble, one.reason) = (Some(trouble.to_owned()), Some(reason.to_owned()));
        });
        is_new
    }

    fn with(&self, number: usize, change: impl FnOnce(&mut Progress)) {
        if let Some(one) = self.lock().get_mut(number) {
            change(one);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_as_it_was_last_and_its_trouble_once() {
        let sources = Sources::default();
        sources.set(vec![Progress::begun(Kind::Dns, "relays.example".to_owned())]);
        assert!(sources.failed(0, "silent", "a: no answer"));
        assert!(!sources.failed(0, "silent", "b: no answer"));
        assert_eq!(sources.get(0).unwrap().trouble.as_deref(), Some("b: no answer"));
        assert!(sources.failed(0, "name", "no such name"));
        sources.named(0, 3);
        sources.answered(0);
        let one = sources.get(0).unwrap();
        assert_eq!((one.named, one.answered, one.trouble), (3, 1, None));
        assert!(sources.failed(0, "name", "no such name"), "it had worked meanwhile");
        sources.named(0, 2);
        assert_eq!(sources.get(0).unwrap().answered, 0);
        assert!(!sources.failed(1, "silent", "nobody is there"));
    }
}
