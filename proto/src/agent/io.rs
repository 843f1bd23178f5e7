//! What goes into an agent and what comes out: commands of the person, talk with the node, events.
//!
//! Entry types are [`Input`] and [`Output`], the same shape as a node's ([`crate::node`]).

use thiserror::Error;

use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::key::PublicKey;
use crate::message::{ClientPush, ClientRequest, ClientResponse};
use crate::payload::ContentType;
use crate::profile::{Profile, ProfileError};
use crate::rejection::Rejection;
use crate::store::{Batch, Seq, StoreError};
use crate::time::{Span, Time};

pub use super::drawer::Drawer;
use super::entry::{Entry, MessageNumber, MessageState};
use super::files::{File, FileCommand, FileError, FileEvent, FileOrder, FileReport};
use super::rooms::{RoomCommand, RoomError, RoomEvent, RoomOutcome};
use super::ties::Doubt;

pub use super::known::{Contact, Newest, Standing};

/// The longest note in characters.
pub(super) const NOTE_MAX: usize = 1_000;

/// Pairs a command with its outcome. The host draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// Pairs a request to the node with its answer. The agent draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

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
    /// What came of a [`FileOrder`].
    File(FileReport),
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
    /// Says something that answers a message, to whom that was from or to.
    Reply {
        /// The message that is answered.
        to: MessageNumber,
        /// The text.
        text: String,
        /// How long it may wait for them.
        ttl: Span,
    },
    /// Gives one of our messages another text (PROTOCOL §4.9).
    Edit {
        /// Which.
        number: MessageNumber,
        /// The new text.
        text: String,
        /// How long the edit may wait for them.
        ttl: Span,
    },
    /// Removes one of our messages, here and there (PROTOCOL §4.9). One that is on its way is taken back.
    Delete {
        /// Which.
        number: MessageNumber,
        /// How long the removal may wait for them.
        ttl: Span,
    },
    /// Has what is said in a conversation from now on disappear after a time, on both sides (PROTOCOL §4.10).
    SetTimer {
        /// With whom; becomes a contact if it is none.
        contact: Address,
        /// After which time; none, that it stays.
        lifetime: Option<Span>,
        /// How long the word of it may wait for them.
        ttl: Span,
    },
    /// The person was shown messages of somebody. If they are to be told so, they will be (PROTOCOL §4.11).
    MarkRead {
        /// Whose.
        contact: Address,
        /// Which, at most 1,000.
        numbers: Vec<MessageNumber>,
    },
    /// Says who is told which messages the person was shown.
    SetReceipts {
        /// Whom it is about; everybody who has no rule of their own, if nobody.
        of: Option<Address>,
        /// What is done. For everybody, [`ReceiptRule::AsForAll`] is to withhold.
        rule: ReceiptRule,
    },
    /// Lets somebody in who wants to write to us: what they wrote is shown (PROTOCOL §4.12).
    Accept {
        /// Who.
        contact: Address,
        /// What we call them; the first digits of their address, if nothing.
        name: Option<String>,
    },
    /// Forgets what a stranger wrote, and takes nothing more of them for a while (PROTOCOL §4.12).
    Refuse(Address),
    /// Takes nothing of somebody any more, whoever they are (PROTOCOL §4.12).
    Block(Address),
    /// Takes what somebody writes again, who was blocked.
    Unblock(Address),
    /// Notes what came of comparing the safety number with somebody (PROTOCOL §4.1).
    Compare {
        /// With whom.
        contact: Address,
        /// What came of it.
        comparison: Comparison,
    },
    /// Says of ourselves who we are, to contacts (PROTOCOL §4.22).
    SetProfile {
        /// What we call ourselves; may be empty.
        name: String,
        /// A line about ourselves; may be empty.
        status: String,
    },
    /// Goes on with the key that a contact has, which was in doubt (PROTOCOL §4.21).
    Trust(Address),
    /// Says whether the person wants no sound and no notice of what somebody says.
    Mute {
        /// Who.
        contact: Address,
        /// Whether they are to be silent.
        muted: bool,
    },
    /// Takes back what has not been delivered.
    Cancel(MessageNumber),
    /// Something about a room (PROTOCOL §4.14).
    Room(RoomCommand),
    /// Something about a file (PROTOCOL §4.23).
    File(FileCommand),
}

/// What is known of the safety number that we and somebody else see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Both see the same.
    Same,
    /// That is not known, or not any more.
    Open,
}

/// Whether somebody is told which of their messages the person was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiptRule {
    /// As everybody who has no rule of their own.
    #[default]
    AsForAll,
    /// They are.
    Send,
    /// They are not.
    Withhold,
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
    /// Our message has another text here, and the edit is on its way.
    Edited {
        /// As it is now.
        entry: Entry,
        /// The number that the edit goes by on its way.
        notice: MessageNumber,
    },
    /// Our message is removed here.
    Deleted {
        /// What is left of it.
        entry: Entry,
        /// The number that the removal goes by on its way; none if the message had never left this
        /// machine. Whoever has read it may have kept it all the same.
        notice: Option<MessageNumber>,
    },
    /// Messages were shown.
    Read {
        /// How many of this contact's were not.
        unread: u64,
    },
    /// What we say of ourselves from now on.
    Profile(Profile),
    /// What is done from now on about receipts.
    Receipts(ReceiptRule),
    /// Somebody is refused.
    Refused {
        /// Who.
        contact: Address,
        /// How many messages of theirs are forgotten.
        messages: usize,
        /// Until when nothing of them is taken.
        until: Time,
    },
    /// Nothing of this contact is taken any more.
    Blocked(Contact),
    /// What somebody writes is taken again.
    Unblocked {
        /// Whose.
        contact: Address,
        /// Whether they are a contact again, rather than a stranger.
        is_contact: bool,
    },
    /// The message will not be relayed by our node any more.
    Cancelled {
        /// Whether copies had left.
        copies_may_exist: bool,
    },
    /// Of a command about a room.
    Room(RoomOutcome),
    /// A file as it is now.
    File(Box<File>),
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
    /// Nobody with this address waits to be let in.
    #[error("{0} does not ask to write to you")]
    NoRequest(Address),
    /// The person has blocked them.
    #[error("{0} is blocked; unblock them first")]
    Blocked(Address),
    /// They are not blocked.
    #[error("{0} is not blocked")]
    NotBlocked(Address),
    /// There is no key yet that a number could be made of.
    #[error("the key of {0} is not known before the first message from or to them")]
    NoKey(Address),
    /// There is no such profile.
    #[error(transparent)]
    Profile(ProfileError),
    /// Their key is in doubt, and the person has not decided.
    #[error("the key of {0} is in doubt; see /contacts, compare by /verify, then /trust them")]
    Doubted(Address),
    /// Nothing is in doubt.
    #[error("the key of {0} is not in doubt")]
    NoDoubt(Address),
    /// A contact left the key that has this address.
    #[error("{former} is an old key of a contact, who is {now} now; write to that")]
    Moved {
        /// The address of the key that was left.
        former: Address,
        /// The contact's address.
        now: Address,
    },
    /// Our own key is not to be used any more.
    #[error(
        "this identity was replaced by {0}; write as that; if that was broken off, replace it by the same once more"
    )]
    Replaced(Address),
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
    /// Kinds of content that mean something to the conversation have commands of their own.
    #[error("content of type {} is not sent by itself", .0.0)]
    Kind(ContentType),
    /// The time after which messages are to disappear is out of bounds.
    #[error("messages disappear after 5 seconds to 366 days")]
    Lifetime,
    /// Too many messages at once.
    #[error("at most {0} messages are marked as read at once")]
    TooManyMessages(usize),
    /// There is no such message.
    #[error("there is no message #{}", .0.0)]
    NoMessage(MessageNumber),
    /// Only its author may change a message.
    #[error("#{} is not yours; only its author can change it", .0.0)]
    NotOurs(MessageNumber),
    /// It was removed.
    #[error("#{} was removed", .0.0)]
    Removed(MessageNumber),
    /// It is no text.
    #[error("#{} is no text", .0.0)]
    NoText(MessageNumber),
    /// What it is called by its author was not kept.
    #[error("#{} was stored by an older version of comm, which kept no id of it", .0.0)]
    Nameless(MessageNumber),
    /// There is no such message on its way.
    #[error("no message #{} is on its way", .0.0)]
    NoSuchMessage(MessageNumber),
    /// Of a command about a room.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// Of a command about a file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a step was not taken: the person asked for what cannot be, or the disk failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// Read or write a file; nothing else waits for that.
    File(FileOrder),
}

/// What a person wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody said something; it is on disk.
    Received {
        /// What.
        entry: Entry,
        /// Whether the person wants no sound and no notice of it.
        is_muted: bool,
    },
    /// Somebody who was not let in before wants to write to us. Told once, with their first message.
    Requested {
        /// Who.
        contact: Address,
    },
    /// Somebody has another key, which the one they had has signed. It is to be compared again.
    Moved {
        /// Who, by the new address.
        contact: Address,
        /// Their address until now.
        former: Address,
        /// Since when, by their clock.
        made_at: Time,
    },
    /// Somebody says of themselves who they are.
    Profiled {
        /// Who.
        contact: Address,
        /// What they say.
        profile: Profile,
    },
    /// Somebody's key is in doubt: nothing is said to them until the person has decided.
    Doubted {
        /// Whose.
        contact: Address,
        /// Why.
        doubt: Doubt,
    },
    /// The author of a message has given it another text or removed it; it is on disk as it is here.
    Revised(Entry),
    /// Somebody was shown one of our messages, and tells us so.
    Read {
        /// Which.
        number: MessageNumber,
        /// By whom.
        contact: Address,
        /// When we learnt of it.
        at: Time,
    },
    /// A message of somebody came after the time when it was to be gone: it is not shown and not kept.
    Overdue {
        /// Whose.
        contact: Address,
    },
    /// A message has disappeared from this disk, as it was to.
    Disappeared {
        /// Which.
        number: MessageNumber,
        /// With whom.
        contact: Address,
    },
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
    /// Something happened in a room, or to one.
    Room(RoomEvent),
    /// A file comes, or has come to somebody.
    File(FileEvent),
}

/// Somebody who wants to write to us and waits to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who.
    pub address: Address,
    /// Since when, by our clock.
    pub since: Time,
    /// How many messages of theirs are held here.
    pub messages: usize,
}

/// A conversation as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// With whom; it says how much is unread.
    pub contact: Contact,
    /// What was said last, if anything was.
    pub last: Option<Entry>,
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
    /// A message is to disappear.
    Fading,
    /// Somebody is to be told what was read.
    Receipts,
    /// Members of a room are to be asked for what is missing.
    Rooms,
    /// Pieces of a file are to be asked for again.
    Files,
}
