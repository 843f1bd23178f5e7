//! Finding what was said.
//!
//! Entry types are [`Words`] and [`Found`]. There is no index: what is on disk is sealed, and an index would be a
//! second copy of all that was said, which had to be kept true when messages are edited, removed and
//! disappear. What is stored is opened and looked at page by page from the newest, so that memory holds one
//! page.

use crate::address::Address;
use crate::payload::ContentType;
use crate::store::{ScanBack, StoreError};

use super::Agent;
use super::entry::Entry;
use super::history::{PLACES, key};
use super::io::Drawer;

/// The longest text that is searched for in bytes, and the most words of it.
const TEXT_MAX: usize = 256;
const WORDS_MAX: usize = 16;
/// Messages that are looked at in one step.
pub(super) const PAGE: usize = 128;

/// What is searched for: words that must all stand in a message, in any order and in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words(Vec<String>);

/// What one step of a search has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Messages that have all words, the newest first.
    pub entries: Vec<Entry>,
    /// Where the search goes on; none if it is at its end.
    pub next: Option<Place>,
}

/// How far a search has come in one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(Vec<u8>);

impl Place {
    pub(super) const fn at(key: Vec<u8>) -> Self {
        Self(key)
    }

    pub(super) fn into_key(self) -> Vec<u8> {
        self.0
    }
}

impl Words {
    /// Words of a text; none if there is no word in it, more than 16, or more than 256 bytes.
    pub fn new(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        let fits = text.len() <= TEXT_MAX && (1..=WORDS_MAX).contains(&words.len());
        fits.then_some(Self(words))
    }

    /// Whether all of them stand in a text.
    pub fn are_in(&self, text: &[u8]) -> bool {
        let lower = match std::str::from_utf8(text) {
            Ok(text) if text.is_ascii() => text.to_ascii_lowercase(),
            Ok(text) => text.to_lowercase(),
            Err(_) => String::from_utf8_lossy(text).to_lowercase(),
        };
        self.0.iter().all(|word| lower.contains(word))
    }
}

impl Agent {
    /// Looks at the next 128 messages with `contact`, from the newest on or from where a step before has
    /// ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn search(
        &self,
        store: &dyn ScanBack<Drawer>,
        contact: &Address,
        words: &Words,
        from: Option<Place>,
    ) -> Result<Found, StoreError> {
        let Some(number) = self.people.number_of(contact) else {
            return Ok(Found { entries: Vec::new(), next: None });
        };
        let end = from.map_or_else(|| key(number, PLACES), |place| place.0);
        let rows = store.scan_back(Drawer::History, &key(number, 0), &end, PAGE)?;
        let next = rows.last().filter(|_| rows.len() == PAGE).map(|(key, _)| Place(key.clone()));
        let mut entries = Vec::new();
        for (key, value) in rows {
            let entry = self.entry(number, &key, &value)?;
            if entry.content_type == ContentType::TEXT && words.are_in(&entry.body) {
                entries.push(entry);
            }
        }
        Ok(Found { entries, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_must_stand_there_in_any_order_and_case() {
        let found = |words: &str, text: &str| Words::new(words).unwrap().are_in(text.as_bytes());
        assert!(found("mill old", "Meet me at the OLD Mill."));
        assert!(found("ÜBER", "darüber") && found("größe", "GRÖSSE größe"));
        assert!(!found("mill new", "the old mill"));
        assert!(Words::new("x").unwrap().are_in(b"\xff x"));
        for wrong in ["", "  ", &"x ".repeat(17), &"x".repeat(257)] {
            assert_eq!(Words::new(wrong), None, "{wrong}");
        }
    }
}
