//! What a node has been asked and what it has answered for.
//!
//! Entry type is [`Expected`]. What was answered must hold after any crash; what was asked and not
//! answered may have happened or not, and is settled by the first look after the crash.

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::envelope::EnvelopeId;
use comm_proto::time::Time;

/// How sure something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Asked,
    Answered,
}

#[derive(Clone, Copy, Debug)]
struct Letter {
    stored: Word,
    ended: Option<Word>,
    expires_at: Time,
}

/// What is known of a node's envelopes.
#[derive(Debug, Default)]
pub(super) struct Expected {
    letters: BTreeMap<EnvelopeId, Letter>,
    totals: Totals,
}

/// What the crashes had to do with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Envelopes answered for.
    pub(super) stored: u64,
    /// Envelopes for which another node has a receipt.
    pub(super) delivered: u64,
    /// Acknowledged envelopes answered for.
    pub(super) ended: u64,
    /// Envelopes that are there though no answer came before the crash.
    pub(super) stored_unanswered: u64,
    /// Envelopes that are not there, as no answer came before the crash.
    pub(super) lost_unanswered: u64,
    /// Acknowledgements that count though no answer came before the crash.
    pub(super) ended_unanswered: u64,
}

impl Expected {
    /// An envelope is handed over.
    pub(super) fn asks_to_store(&mut self, id: EnvelopeId, expires_at: Time) {
        let letter = Letter { stored: Word::Asked, ended: None, expires_at };
        self.letters.insert(id, letter);
    }

    /// The node has said that it keeps it, or handed it out.
    pub(super) fn is_stored(&mut self, id: &EnvelopeId) {
        let letter = self.letters.get_mut(id).expect("only what was asked is answered");
        if letter.stored == Word::Asked {
            letter.stored = Word::Answered;
            self.totals.stored += 1;
        }
    }

    /// The node has signed that it has these on disk.
    pub(super) fn is_delivered(&mut self, ids: &[EnvelopeId]) {
        ids.iter().for_each(|id| self.is_stored(id));
        self.totals.delivered += ids.len() as u64;
    }

    /// An acknowledgement is handed over. Returns the latest expiry among its envelopes.
    pub(super) fn asks_to_end(&mut self, ids: &[EnvelopeId]) -> Time {
        let letters = ids.iter().map(|id| {
            let letter = self.letters.get_mut(id).expect("only what is known is read");
            letter.ended = Some(Word::Asked);
            letter.expires_at
        });
        letters.max().unwrap()
    }

    /// The node has said that it is ended.
    pub(super) fn is_ended(&mut self, ids: &[EnvelopeId]) {
        for id in ids {
            let letter = self.letters.get_mut(id).expect("only what was asked is answered");
            letter.ended = Some(Word::Answered);
            self.totals.ended += 1;
        }
    }

    /// Whether it is there for sure and nobody has acknowledged it yet.
    pub(super) fn may_be_read(&self, id: &EnvelopeId) -> bool {
        self.letters
            .get(id)
            .is_some_and(|letter| letter.stored == Word::Answered && letter.ended.is_none())
    }

    /// What it has answered for and nobody has begun to acknowledge.
    pub(super) fn promised(&self) -> BTreeSet<EnvelopeId> {
        let letters = self.letters.iter();
        let promised = letters.filter(|(_, it)| it.stored == Word::Answered && it.ended.is_none());
        promised.map(|(id, _)| *id).collect()
    }

    /// What it has said is ended.
    pub(super) fn ended(&self) -> BTreeSet<EnvelopeId> {
        let letters = self.letters.iter();
        letters.filter(|(_, it)| it.ended == Some(Word::Answered)).map(|(id, _)| *id).collect()
    }

    /// Compares with everything that waits after a crash, and goes on from there.
    pub(super) fn compare(&mut self, received: &BTreeSet<EnvelopeId>) -> Result<(), String> {
        if let Some(id) = received.iter().find(|id| !self.letters.contains_key(id)) {
            return Err(format!("{id} waits, though it is ended, lost or was never sent"));
        }
        let (mut kept, mut totals) = (BTreeMap::new(), self.totals);
        for (id, letter) in &self.letters {
            match (letter.stored, letter.ended, received.contains(id)) {
                (Word::Answered, None, false) => {
                    return Err(format!("{id} was stored and is lost"));
                }
                (_, Some(Word::Answered), true) => {
                    return Err(format!("{id} was ended and is back"));
                }
                (Word::Asked, _, true) => totals.stored_unanswered += 1,
                (Word::Asked, None, false) => totals.lost_unanswered += 1,
                (_, Some(Word::Asked), false) => totals.ended_unanswered += 1,
                _ => {}
            }
            if received.contains(id) {
                kept.insert(*id, Letter { stored: Word::Answered, ended: None, ..*letter });
            }
        }
        (self.letters, self.totals) = (kept, totals);
        Ok(())
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }
}

mod tests {
    use super::*;

    const ID: EnvelopeId = EnvelopeId::from_bytes([1; 32]);

    /// Whether it is borne that the envelope is there, and that it is not there.
    fn bears(stored: bool, ended: Option<bool>) -> (bool, bool) {
        let compared = |received: &[EnvelopeId]| {
            let mut expected = Expected::default();
            expected.asks_to_store(ID, Time::MAX);
            if stored {
                expected.is_stored(&ID);
            }
            if let Some(answered) = ended {
                expected.asks_to_end(&[ID]);
                if answered {
                    expected.is_ended(&[ID]);
                }
            }
            expected.compare(&received.iter().copied().collect()).is_ok()
        };
        (compared(&[ID]), compared(&[]))
    }

    #[test]
    fn what_was_answered_is_certain_and_the_rest_may_be_either() {
        assert_eq!(bears(false, None), (true, true));
        assert_eq!(bears(true, None), (true, false));
        assert_eq!(bears(true, Some(false)), (true, true));
        assert_eq!(bears(true, Some(true)), (false, true));
    }

    #[test]
    fn what_was_gone_once_never_comes_back() {
        let mut expected = Expected::default();
        expected.asks_to_store(ID, Time::MAX);
        assert!(expected.compare(&BTreeSet::new()).is_ok());
        assert!(expected.compare(&BTreeSet::from([ID])).is_err());
    }
}
