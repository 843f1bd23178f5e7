//! What the program tells: events and answers, before they become text.
//!
//! Entry type is [`Shown`]. [`crate::plain`] makes lines for people of it, [`crate::json`] lines for
//! programs; both say the same.

use std::path::PathBuf;

use comm::{NodeStatus, PeerLine, Reach};
use comm_proto::address::Address;
use comm_proto::agent::{Contact, Entry, MessageNumber, MessageState, ReceiptRule};
use comm_proto::content::Content;
use comm_proto::envelope::EnvelopeId;
use comm_proto::payload::ContentType;
use comm_proto::succession::Lineage;
use comm_proto::time::{Span, Time};

use crate::acquaintance::Acquaintance;
use crate::filing::Filing;
use crate::rooming::Rooming;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Of a conversation.
    Talk(Talk),
    /// The program is ready.
    Started {
        address: Address,
        /// Or why nothing is known of it.
        node: Result<NodeStatus, String>,
    },
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
    /// A contact is no more.
    Removed { contact: Contact, on_their_way: usize },
    /// Everybody we know.
    Contacts(Vec<(Contact, Reach)>),
    /// How long what is said from now on waits.
    Lifetime(Span),
    /// Whether the bell rings.
    Bell(Bell),
    /// Everything has been copied.
    Backup { file: PathBuf, bytes: u64 },
    /// What to compare by voice, and when it was found to be the same.
    Verify { name: String, contact: Address, digits: String, compared_at: Option<Time> },
    /// Of who may write to us.
    Acquaintance(Acquaintance),
    /// Of rooms.
    Rooming(Box<Rooming>),
    /// Of files.
    Filing(Box<Filing>),
    /// The program ends and these have not left the machine.
    Left { waiting: usize },
    /// A line could not be obeyed.
    Error(String),
}

/// What is told of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Somebody said something.
    Received {
        said: Said,
        is_stranger: bool,
        /// Whether we want no sound and no notice of it.
        is_muted: bool,
        /// When the message was written that it belongs before, if it came late.
        belongs_before: Option<Time>,
    },
    /// Somebody has given a message of theirs another text, or removed it.
    Revised(Said),
    /// We have given one of ours another text.
    Edited {
        said: Said,
        /// What the edit goes by on its way.
        notice: MessageNumber,
    },
    /// We have removed one of ours.
    Deleted {
        said: Said,
        /// What the removal goes by on its way, if the message can be elsewhere.
        notice: Option<MessageNumber>,
    },
    /// After which time what is said with somebody disappears.
    Timer { name: String, contact: Address, lifetime: Option<Span> },
    /// Somebody was shown one of our messages.
    Read { number: MessageNumber, name: String, contact: Address, at: Time },
    /// What has the words that were searched for.
    Found(Vec<Said>),
    /// Every conversation, the newest first.
    Conversations(Vec<(Contact, Option<Said>)>),
    /// All that was said with somebody is in a file.
    Exported {
        name: String,
        contact: Address,
        file: PathBuf,
        messages: u64,
        /// Messages that were left out since they are to disappear.
        left_out: u64,
    },
    /// Whether somebody is told what we were shown, or everybody.
    Receipts { of: Option<(String, Address)>, rule: ReceiptRule },
    /// A message of somebody came after its time.
    Overdue { name: String, contact: Address },
    /// A message is gone, as it was to be.
    Disappeared { number: MessageNumber, name: String, contact: Address },
    /// How many messages of somebody are missing has changed.
    Missing { name: String, contact: Address, messages: u64 },
    /// What we said is on disk.
    Queued(Said),
    /// One of our messages moved on.
    State { number: MessageNumber, name: String, contact: Address, state: MessageState },
    /// Something came that cannot be read.
    Unreadable { envelope: EnvelopeId, reason: String },
    /// What was said.
    History(Vec<Said>),
    /// One of our messages, or of somebody else's, with all that is known of it.
    Message {
        said: Said,
        /// Until when it waits to be delivered, if it does.
        waits_until: Option<Time>,
    },
    /// A message was taken back.
    Cancelled { number: MessageNumber, copies_may_exist: bool },
}

/// Whether a message that comes rings the bell of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bell {
    On,
    Off,
}

/// An entry with the name of whoever it is with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) name: String,
    pub(crate) entry: Entry,
    /// The message that it answers, if it answers one and that is here.
    pub(crate) answered: Option<Box<Entry>>,
}

impl From<Acquaintance> for Shown {
    fn from(acquaintance: Acquaintance) -> Self {
        Self::Acquaintance(acquaintance)
    }
}

impl From<Rooming> for Shown {
    fn from(rooming: Rooming) -> Self {
        Self::Rooming(Box::new(rooming))
    }
}

impl From<Filing> for Shown {
    fn from(filing: Filing) -> Self {
        Self::Filing(Box::new(filing))
    }
}

impl From<Talk> for Shown {
    fn from(talk: Talk) -> Self {
        Self::Talk(talk)
    }
}

/// Which address its author has from this entry on, if it says that they have another.
pub(crate) fn new_key(entry: &Entry) -> Option<Address> {
    let is_one = entry.content_type == ContentType::SUCCESSION;
    let lineage = is_one.then(|| Lineage::from_bytes(&entry.body)).flatten()?;
    Some(lineage.newest().address())
}

/// To which time an entry sets the timer of its conversation, if it does; none, that what is said stays.
pub(crate) fn timer(entry: &Entry) -> Option<Option<Span>> {
    match Content::read(entry.content_type, entry.body.clone()) {
        Content::Timer(lifetime) => Some(lifetime),
        _ => None,
    }
}
