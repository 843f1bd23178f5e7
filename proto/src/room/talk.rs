//! What is said in a room, in each author's order (PROTOCOL §4.18).
//!
//! Entry type is [`Talk`]. It says of everything that comes whether it may be shown, has been, or waits for events of
//! the room's log that its author knew. It keeps numbers and what waits, not what was said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::id::EventId;
use super::log::Log;
use super::note::Said;
use super::shares;
use crate::key::PublicKey;
use crate::payload::MessageId;

/// The most of members that waits for events; of more, the author with the most gives up what came first of theirs,
/// and it counts as missing.
pub const HELD_MAX: usize = 256;
/// The most that waits of people who are no members: their admission may be on its way.
const STRANGE_MAX: usize = 32;
/// The most that is kept of people who are members no more.
const DOUBTFUL_MAX: usize = 64;
/// Gaps remembered of one author; what fills an older one is not shown.
const GAPS_MAX: usize = 256;

/// What a member has heard in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Talk {
    pub(super) authors: BTreeMap<PublicKey, Numbers>,
    held: VecDeque<Held>,
    /// What waits of people who are no members as far as we know.
    strange: VecDeque<Held>,
    /// What authors said who were members as far as they knew, and are none as far as we know.
    doubtful: VecDeque<Held>,
}

/// Something that waits for events.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    author: PublicKey,
    first: u64,
    said: Said,
}

/// What becomes of something that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is shown.
    Shown {
        /// Who said it.
        author: PublicKey,
        /// What it is called.
        id: MessageId,
        /// What.
        said: Box<Said>,
        /// How many of its author's are missing directly before it.
        missing_before: u64,
        /// Whether its author had said something else before it than what is here under the number before.
        is_forked: bool,
    },
    /// It waits for events, which have to be asked for.
    Held,
    /// It, or another thing of this number, has been shown or is older than what can be told apart.
    Again,
    /// Its author was no member as far as they knew, or is none any more.
    NotAMember,
}

/// Which numbers of an author have come since they joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// What they drew then: whoever comes back counts anew.
    pub(super) membership: [u8; 32],
    pub(super) highest: u64,
    /// The id of the highest.
    pub(super) last: Option<MessageId>,
    /// First and last missing number, by the first.
    pub(super) gaps: BTreeMap<u64, u64>,
}

impl Talk {
    /// Something that `author` said has come. The pairwise conversation has proved who wrote it.
    pub fn hear(&mut self, log: &Log, author: PublicKey, first: u64, said: Said) -> Heard {
        self.judge(log, Held { author, first, said })
    }

    /// What had waited and waits no longer, now that the log has more events.
    pub fn look_again(&mut self, log: &Log) -> Vec<Heard> {
        let (held, strange) = (std::mem::take(&mut self.held), std::mem::take(&mut self.strange));
        let doubtful = std::mem::take(&mut self.doubtful);
        let waited = held.into_iter().chain(strange);
        let mut heard: Vec<_> = waited.map(|held| self.judge(log, held)).collect();
        heard.retain(|heard| *heard != Heard::Held);
        // That their authors are members no more has been said.
        let again = doubtful.into_iter().map(|held| self.judge(log, held));
        heard.extend(again.filter(|heard| matches!(heard, Heard::Shown { .. })));
        heard
    }

    fn judge(&mut self, log: &Log, held: Held) -> Heard {
        let author = held.author;
        let Some(state) = log.state_at(held.said.heads.as_slice()) else {
            let is_member = log.state().is_member(&author);
            let (queue, most) = if is_member {
                (&mut self.held, HELD_MAX)
            } else {
                (&mut self.strange, STRANGE_MAX)
            };
            shares::keep(queue, held, most, |held| held.author);
            return Heard::Held;
        };
        let Some(then) = state.members().get(&author) else { return Heard::NotAMember };
        match log.state().members().get(&author) {
            Some(now) if now.membership == then.membership => self.count(held, now.membership),
            // They have come back since.
            Some(_) => Heard::NotAMember,
            // Whoever is removed could go on naming what they knew before. But what removed them may turn out to
            // be overruled.
            None => {
                shares::keep(&mut self.doubtful, held, DOUBTFUL_MAX, |held| held.author);
                Heard::NotAMember
            }
        }
    }

    fn count(&mut self, held: Held, membership: [u8; 32]) -> Heard {
        let Held { author, first, said } = held;
        let (id, sequence) = (said.id(&author), said.sequence);
        let numbers =
            self.authors.entry(author).or_insert_with(|| Numbers::before(first, membership));
        if numbers.membership != membership {
            *numbers = Numbers::before(first, membership);
        }
        let is_forked = numbers.is_forked(&said);
        if !numbers.take(first, sequence, id) {
            return Heard::Again;
        }
        let missing_before = numbers.missing_before(sequence);
        Heard::Shown { author, id, said: Box::new(said), missing_before, is_forked }
    }

    /// Whether nothing waits of members. What waits of others is nothing to be asked for.
    pub fn is_complete(&self) -> bool {
        self.held.is_empty()
    }

    /// Events that are not here and that what waits names, with whoever named them.
    pub fn missing(&self, log: &Log) -> BTreeSet<(EventId, PublicKey)> {
        let named = self
            .held
            .iter()
            .chain(&self.strange)
            .flat_map(|held| held.said.heads.as_slice().iter().map(|id| (*id, held.author)));
        named.filter(|(id, _)| !log.contains(id)).collect()
    }

    /// All that waits, with what it is called, who said it and the number of the first thing of theirs that was for us.
    pub fn held(&self) -> impl Iterator<Item = (MessageId, &PublicKey, u64, &Said)> {
        let all = self.held.iter().chain(&self.strange).chain(&self.doubtful);
        all.map(|held| (held.said.id(&held.author), &held.author, held.first, &held.said))
    }

    /// How many of an author are missing directly before a number of theirs.
    pub fn missing_before(&self, author: &PublicKey, sequence: u64) -> u64 {
        self.authors.get(author).map_or(0, |numbers| numbers.missing_before(sequence))
    }

    /// How much of an author is missing in all, as far as it is remembered.
    pub fn missing_of(&self, author: &PublicKey) -> u64 {
        let gaps = self.authors.get(author).map(|numbers| &numbers.gaps);
        let lengths =
            gaps.into_iter().flatten().map(|(first, last)| (last - first).saturating_add(1));
        lengths.fold(0, u64::saturating_add)
    }
}

impl Numbers {
    fn before(first: u64, membership: [u8; 32]) -> Self {
        Self { membership, highest: first - 1, last: None, gaps: BTreeMap::new() }
    }

    /// Whether something else than what it names stands directly before it.
    fn is_forked(&self, said: &Said) -> bool {
        self.highest.checked_add(1) == Some(said.sequence)
            && self.last.is_some()
            && self.last != said.previous
    }

    /// Notes a number; whether it is new.
    fn take(&mut self, first: u64, sequence: u64, id: MessageId) -> bool {
        if sequence <= self.highest {
            return self.fill(sequence);
        }
        // What was said before we belonged to the room is not missing.
        let from = first.max(self.highest.saturating_add(1));
        if from < sequence {
            self.gaps.insert(from, sequence - 1);
            if self.gaps.len() > GAPS_MAX {
                self.gaps.pop_first();
            }
        }
        (self.highest, self.last) = (sequence, Some(id));
        true
    }

    fn fill(&mut self, sequence: u64) -> bool {
        let Some((first, last)) = self.gaps.range(..=sequence).next_back().map(|(f, l)| (*f, *l))
        else {
            return false;
        };
        if sequence > last {
            return false;
        }
        self.gaps.remove(&first);
        if first < sequence {
            self.gaps.insert(first, sequence - 1);
        }
        if sequence < last {
            self.gaps.insert(sequence + 1, last);
        }
        if self.gaps.len() > GAPS_MAX {
            self.gaps.pop_first();
        }
        true
    }

    fn missing_before(&self, sequence: u64) -> u64 {
        let below = self.gaps.range(..sequence).next_back();
        below.filter(|(_, last)| **last == sequence - 1).map_or(0, |(first, _)| sequence - first)
    }
}
