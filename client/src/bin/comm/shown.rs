//! What the program tells: events and answers, before they become text.
//!
//! Entry type is [`Shown`]. [`crate::plain`] makes lines for people of it, [`crate::json`] lines for
//! programs; both say the same.

use comm::{NodeStatus, PeerLine};
use comm_proto::address::Address;
use comm_proto::agent::{Contact, Entry, MessageNumber, MessageState};
use comm_proto::envelope::EnvelopeId;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The program is ready.
    Started {
        address: Address,
        /// Or why nothing is known of it.
        node: Result<NodeStatus, String>,
    },
    /// Somebody said something.
    Received { said: Said, is_stranger: bool },
    /// What we said is on disk.
    Queued { name: String, entry: Entry },
    /// One of our messages moved on.
    State { number: MessageNumber, name: String, contact: Address, state: MessageState },
    /// Something came that cannot be read.
    Unreadable { envelope: EnvelopeId, reason: String },
    /// There is a connection to the node.
    Online { node: Address },
    /// There is none.
    Offline { reason: String },
    /// The program was too slow to show everything.
    Lagged { missed: u64 },
    /// What can be typed.
    Help,
    /// Who and where we are.
    WhoAmI { address: Address, node: Result<NodeStatus, String>, pending: usize },
    /// The node's table.
    Peers(Vec<PeerLine>),
    /// A contact as it is now.
    Contact(Contact),
    /// Everybody we know.
    Contacts(Vec<Contact>),
    /// What was said.
    History(Vec<Said>),
    /// One of our messages, or of somebody else's.
    Message(Said),
    /// A message was taken back.
    Cancelled { number: MessageNumber, copies_may_exist: bool },
    /// What to compare by voice.
    Verify { name: String, contact: Address, digits: String },
    /// The program ends and these have not left the machine.
    Left { waiting: usize },
    /// A line could not be obeyed.
    Error(String),
}

/// An entry with the name of whoever it is with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) name: String,
    pub(crate) entry: Entry,
}
