//! What goes into an agent and what comes out: commands of the person, talk with the node, events.
//!
//! Entry types are [`Input`] and [`Output`], the same shape as a node's ([`crate::node`]).

use thiserror::Error;

use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::key::PublicKey;
use crate::message::{ClientPush, ClientRequest, ClientResponse};
use crate::payload::ContentType;
use crate::rejection::Rejection;
use crate::store::{Batch, Seq};
use crate::time::{Span, Time};

/// The longest note in characters.
pub(super) const NOTE_MAX: usize = 1_000;

/// The tables of a person's store. Keys are numbers that this store gives, never addresses, so that
/// sealing the values leaves nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drawer {
    /// Contact number → the contact.
    Contacts,
    /// Contact number ‖ place in the conversation → what was said (`agent/history.rs`).
    History,
    /// Message number → what is still on its way.
    Outbox,
    /// Hash of a message id → when it may be forgotten.
    Seen,
    /// Name → prekeys and counters.
    Meta,
}

impl Drawer {
    /// All tables.
    pub const ALL: [Self; 5] =
        [Self::Contacts, Self::History, Self::Outbox, Self::Seen, Self::Meta];

    /// A stable name, for stores that name their tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::History => "history",
            Self::Outbox => "outbox",
            Self::Seen => "seen",
            Self::Meta => "meta",
        }
    }
}

/// Pairs a command with its outcome. The host draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// Pairs a request to the node with its answer. The agent draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A message's number in this store, from 1; what people call it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageNumber(pub u64);

/// What the host tells an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The time that `poll_timeout` named has come.
    Tick,
    /// The disk has this batch and all before it.
    Durable(Seq),
    /// The person wants something.
    Command {
        /// To be named in the outcome.
        id: CommandId,
        /// What.
        command: Command,
    },
    /// The link to the node stands.
    Connected {
        /// The node's address, which grants name.
        node: Address,
        /// The nodes it collects by, which grants name too.
        entries: Vec<Address>,
        /// A further one, which changes.
        rotating_entry: Option<Address>,
    },
    /// The node collects by others than it told before; the link stands as it did.
    Entries {
        /// The nodes it collects by, which grants name too.
        entries: Vec<Address>,
        /// A further one, which changes.
        rotating_entry: Option<Address>,
    },
    /// The link to the node is gone; calls under way will not be answered.
    Disconnected,
    /// The node answered.
    Response {
        /// As named in the call.
        id: CallId,
        /// The answer.
        result: Result<ClientResponse, Rejection>,
    },
    /// The node tells something.
    Push(ClientPush),
}

/// What a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives an address a name, or another name.
    AddContact {
        /// 1 to 64 characters, without spaces or colons at either end.
        name: String,
        /// Whose.
        address: Address,
        /// Their key, when a link carried it; else the network is asked.
        key: Option<PublicKey>,
    },
    /// Writes down what the person wants to remember of a contact; nothing, to remove it.
    NoteContact {
        /// Of whom.
        address: Address,
        /// At most 1,000 characters on one line.
        note: String,
    },
    /// Removes a contact with its name, its note and what was said (PROTOCOL §4.8). What is on its way
    /// to them goes on, and can be cancelled.
    RemoveContact(Address),
    /// Says something to somebody.
    Send {
        /// To whom; becomes a contact if it is none.
        to: Address,
        /// What kind of thing.
        content_type: ContentType,
        /// At most [`crate::payload::capacity`] of the largest size.
        body: Vec<u8>,
        /// How long it may wait for them; 10 minutes to 30 days.
        ttl: Span,
    },
    /// Takes back what has not been delivered.
    Cancel(MessageNumber),
}

/// What a command came to, once the disk has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The contact as it is now.
    Contact(Contact),
    /// The contact is no more.
    Removed {
        /// As it was.
        contact: Contact,
        /// Messages to them that go on.
        on_their_way: usize,
    },
    /// The message as it is now.
    Queued(Entry),
    /// The message will not be relayed by our node any more.
    Cancelled {
        /// Whether copies had left.
        copies_may_exist: bool,
    },
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// A name that cannot be typed or told apart.
    #[error("a contact's name has 1 to 64 characters, no spaces, no colon, and is no address")]
    Name,
    /// The name belongs to somebody else.
    #[error("the name {0} belongs to another contact")]
    NameTaken(String),
    /// The note is too long, or would not stay on its line.
    #[error("a note has at most {NOTE_MAX} characters, all on one line")]
    Note,
    /// Nobody with this address is a contact.
    #[error("{0} is no contact of yours")]
    NoContact(Address),
    /// The key does not hash to the address.
    #[error("the key does not belong to the address")]
    WrongKey,
    /// Oneself.
    #[error("this is your own address")]
    Own,
    /// The text is too long.
    #[error("a message has at most {max} bytes, this has {length}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most.
        max: usize,
    },
    /// There is nothing to send.
    #[error("there is nothing to send")]
    Empty,
    /// The time to live is out of bounds.
    #[error("a message waits for 10 minutes to 30 days")]
    Ttl,
    /// Too much is waiting to be sent.
    #[error("{0} messages are waiting to be sent; wait until some have left")]
    OutboxFull(usize),
    /// No more contacts fit.
    #[error("there are {0} contacts, which is as many as fit")]
    TooManyContacts(usize),
    /// The node did not take it back; nothing has changed.
    #[error("the node did not answer; try again when it does")]
    NoAnswer,
    /// There is no such message on its way.
    #[error("no message #{} is on its way", .0.0)]
    NoSuchMessage(MessageNumber),
}

/// What an agent tells its host. Drain with `poll_output` until `None` after each input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Apply this before the next input; say [`Input::Durable`] once the disk has it.
    Write(Batch<Drawer>),
    /// Ask the node; say [`Input::Response`] with its answer. Only while connected.
    Call {
        /// To be named in the response.
        id: CallId,
        /// What.
        request: ClientRequest,
    },
    /// What a command came to.
    Done {
        /// As named in the command.
        id: CommandId,
        /// The outcome.
        result: Result<Outcome, CommandError>,
    },
    /// Something the person wants to know.
    Event(Event),
}

/// What a person wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody said something; it is on disk.
    Received(Entry),
    /// How many of their messages are missing has changed: one that came showed that others before it
    /// have not, or came late itself.
    Missing {
        /// Whose.
        contact: Address,
        /// How many, as far as they are remembered (PROTOCOL §4.7).
        messages: u64,
    },
    /// One of our messages moved on.
    State {
        /// Which.
        number: MessageNumber,
        /// To whom.
        contact: Address,
        /// Where to.
        state: MessageState,
    },
    /// An envelope in one of our mailboxes cannot be read.
    Unreadable {
        /// Which.
        envelope: EnvelopeId,
        /// Why.
        reason: String,
    },
}

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

/// Somebody we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// What we call them; the first digits of the address for strangers.
    pub name: String,
    /// Their address.
    pub address: Address,
    /// Their key, once it is known.
    pub key: Option<PublicKey>,
    /// Whether we gave the name ourselves.
    pub is_named: bool,
    /// What we want to remember of them.
    pub note: String,
}

/// Where a conversation stands, as far as this store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// With whom.
    pub contact: Contact,
    /// The newest of our messages to them that are on their way, and how far it has come.
    pub newest: Option<Newest>,
    /// When they were last heard of since the program started: a message of theirs came, or one of
    /// ours was delivered.
    pub heard_at: Option<Time>,
}

/// One of our messages that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its number in this store.
    pub number: MessageNumber,
    /// How far it has come.
    pub state: MessageState,
    /// When it was written.
    pub sent_at: Time,
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

/// Why `poll_timeout` names the time it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Something in the outbox wants another try or has expired.
    Outbox,
    /// Mailboxes turn or grants run out.
    Mailboxes,
    /// The card wants publishing again.
    Card,
    /// The time of a prekey's secret ends.
    Prekeys,
}
