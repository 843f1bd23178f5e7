//! What a conversation is made of: messages as they are kept and shown.
//!
//! Entry type is [`Entry`].

use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::payload::{ContentType, MessageId};
use crate::time::Time;

/// A message's number in this store, from 1; what people call it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageNumber(pub u64);

/// How far one of our messages has come; it only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageState {
    /// On our own disk only.
    Queued,
    /// On our node's disk.
    Accepted,
    /// On the disks of so many other relays.
    Stored(u32),
    /// Read by the recipient's program.
    Delivered {
        /// When we learnt of it.
        at: Time,
    },
    /// Its time ended before it was read.
    Expired,
    /// Taken back.
    Cancelled,
}

impl MessageState {
    /// Whether nothing more will happen.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Expired | Self::Cancelled)
    }
}

/// One line of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in this store.
    pub number: MessageNumber,
    /// With whom.
    pub contact: Address,
    /// Who wrote it.
    pub author: Author,
    /// What kind of thing.
    pub content_type: ContentType,
    /// What was said.
    pub body: Vec<u8>,
    /// Its place in its author's order, from 1.
    pub sequence: u64,
    /// When it was written, by its author's clock.
    pub sent_at: Time,
    /// When it was stored here.
    pub stored_at: Time,
    /// What its author and its reader call it by; none if an older program stored it.
    pub id: Option<MessageId>,
    /// The message that it answers, which need not be here.
    pub answers: Option<MessageId>,
    /// What became of it since it was written.
    pub marks: Marks,
    /// When one of ours came how far.
    pub steps: Steps,
}

/// What became of a message since it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its author has given it another text.
    pub edited: Option<Edited>,
    /// When its author has removed it, by our clock. Its body is empty then.
    pub deleted_at: Option<Time>,
    /// When it is to be gone, whatever became of it before.
    pub disappears_at: Option<Time>,
}

/// The edit whose text a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edited {
    /// Its place in its author's order: of several the last counts.
    pub sequence: u64,
    /// When it was made by us, or came.
    pub at: Time,
}

/// When one of our messages came how far, as far as we were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// When our node had it.
    pub accepted_at: Option<Time>,
    /// When the first other relay had it.
    pub stored_at: Option<Time>,
    /// The most relays that have said that they have it.
    pub copies: u32,
    /// When it came to its end: delivered, expired or taken back.
    pub ended_at: Option<Time>,
    /// When we learnt that its reader was shown it; none if they do not tell.
    pub read_at: Option<Time>,
}

impl Steps {
    /// Notes that the message has come to `state`.
    pub(super) fn note(&mut self, state: MessageState, now: Time) {
        match state {
            MessageState::Queued => {}
            MessageState::Accepted => drop(self.accepted_at.get_or_insert(now)),
            MessageState::Stored(relays) => {
                self.stored_at.get_or_insert(now);
                self.copies = self.copies.max(relays);
            }
            MessageState::Delivered { at } => drop(self.ended_at.get_or_insert(at)),
            MessageState::Expired | MessageState::Cancelled => {
                self.ended_at.get_or_insert(now);
            }
        }
    }
}

/// Who wrote an [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// We did.
    Us {
        /// How far it has come.
        state: MessageState,
        /// Its envelope, once sealed.
        envelope: Option<EnvelopeId>,
    },
    /// They did.
    Them {
        /// How many of theirs are missing directly before it: when it came, in an event; when it was
        /// read, in a history.
        missing_before: u64,
        /// Where it belongs.
        place: Place,
    },
}

/// Where a message of somebody else belongs among those of theirs that had come before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// After all of them.
    InTurn,
    /// It came late and belongs before this one.
    Before(MessageNumber),
    /// It came late, and before which it belongs is not known any more.
    Unknown,
}

impl Place {
    /// Whether later ones had come before it.
    pub const fn is_late(self) -> bool {
        !matches!(self, Self::InTurn)
    }
}
