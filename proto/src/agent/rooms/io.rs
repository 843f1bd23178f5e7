//! What goes into an agent about rooms, and what comes out.

use thiserror::Error;

use crate::address::Address;
use crate::key::PublicKey;
use crate::room::{
    Change, Invitation, InvitationError, LogError, MEMBERS_MAX, NameError, Office, Policy, Refusal,
    Refused, Role, RoomId, RoomName,
};
use crate::time::{Span, Time};

use super::ROOMS_MAX;
use crate::agent::entry::{Entry, MessageNumber, MessageState};

/// What a person wants of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomCommand {
    /// Founds a room, which the person owns.
    Create(RoomName),
    /// Makes an invitation for one person.
    Invite {
        /// Into which room.
        room: RoomId,
        /// How long it is good; at most 30 days.
        lifetime: Span,
    },
    /// Asks to be let into a room.
    Join(Box<Invitation>),
    /// Makes a change that the person's role allows: of the name, of members and roles, of who may invite; takes an
    /// invitation back; leaves.
    Change {
        /// In which room.
        room: RoomId,
        /// What.
        change: RoomChange,
    },
    /// Says something to all members.
    Say {
        /// In which room.
        room: RoomId,
        /// What.
        text: String,
        /// The line of this room that it answers, if it answers one.
        answers: Option<MessageNumber>,
        /// How long it may wait for each of them; 10 minutes to 30 days.
        ttl: Span,
    },
    /// The person was shown all that was said in a room.
    MarkRead(RoomId),
    /// Removes a room with all that was said in it. The person is no member of it any more, or never became one.
    Forget(RoomId),
}

/// What a person changes in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomChange {
    /// It is called differently.
    Rename(RoomName),
    /// Somebody is no member any more.
    Remove(Address),
    /// Somebody has another role.
    Appoint {
        /// Who.
        member: Address,
        /// Which.
        role: Office,
    },
    /// Who may invite and let in.
    Decide(Policy),
    /// An invitation lets nobody in any more.
    Revoke(PublicKey),
    /// The person is no member any more.
    Leave,
}

/// What a command came to, once the disk has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomOutcome {
    /// The room as it is now.
    Room(Room),
    /// What to hand to one person, and nobody else.
    Invited(Box<Invitation>),
    /// What was said.
    Said(Box<RoomLine>),
    /// The room is not here any more.
    Forgotten(RoomId),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoomError {
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The invitation.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// The room.
    #[error("you are in no such room")]
    NoRoom,
    /// Membership, before.
    #[error("you are not in this room yet; whoever was asked has not let you in")]
    NotYet,
    /// Membership, after.
    #[error("you are no member of this room any more")]
    NoMember,
    /// Membership, still.
    #[error("you are a member of this room; leave it first")]
    StillMember,
    /// Whom it is about.
    #[error("{0} is no member of this room")]
    NotThere(Address),
    /// The person's right to it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The log.
    #[error(transparent)]
    Log(LogError),
    /// The length of a text.
    #[error("a message in this room has at most {max} bytes, this has {length}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most.
        max: usize,
    },
    /// The line that was to be answered.
    #[error("there is no message #{} in this room", .0.0)]
    NoLine(MessageNumber),
    /// The bound of what is on its way.
    #[error(
        "as many lines and notes of rooms wait for their members as fit; say it when some have come or expired"
    )]
    OutboxFull,
    /// The bound.
    #[error("you are in {ROOMS_MAX} rooms, which is as many as fit; leave and forget one")]
    TooMany,
}

/// What a person wants to know of their rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// Somebody said something; it is on disk.
    Said(Box<RoomLine>),
    /// A line of ours has come further, to one member.
    Delivery {
        /// Where.
        room: RoomId,
        /// Which.
        line: MessageNumber,
        /// To whom.
        member: Address,
        /// Where to.
        state: MessageState,
    },
    /// We asked to be let in, and are.
    Joined(Room),
    /// We asked to be let in, and somebody who was asked says why not. Others may still let us in.
    NotLetIn {
        /// Where.
        room: RoomId,
        /// Who says so.
        by: Address,
        /// Why.
        reason: Refusal,
    },
    /// The room has changed, as somebody wanted who was entitled to it.
    Changed {
        /// The room as it is now.
        room: Room,
        /// Who.
        by: Address,
        /// What.
        change: Box<Change>,
    },
    /// Somebody has made two changes side by side, which an honest program never does but when an old backup
    /// was restored. Both are kept, and prove it; at most one of them counts unless others have built on both.
    Forked {
        /// Where.
        room: RoomId,
        /// Who.
        by: Address,
    },
}

/// A room as it is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Which.
    pub id: RoomId,
    /// What it is called; nothing, if we have asked to be let in and know nothing of it yet.
    pub name: Option<RoomName>,
    /// What we are there.
    pub standing: RoomStanding,
    /// How many belong to it.
    pub members: usize,
    /// Who may invite and let in.
    pub policy: Policy,
    /// Lines that the person was not shown.
    pub unread: u64,
    /// Whether we know of something that has not come.
    pub is_lacking: bool,
}

/// What we are in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomStanding {
    /// A member who may do so much.
    Member(Role),
    /// We have left, or were removed.
    Former,
    /// We have asked to be let in; whoever may do so has not answered yet, or has refused.
    Asking {
        /// Until when the invitation is good.
        until: Time,
    },
}

/// Somebody in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomMember {
    /// Who.
    pub address: Address,
    /// Their key.
    pub key: PublicKey,
    /// What they may do.
    pub role: Role,
    /// What we call them: a contact's name, else the first digits of the address.
    pub name: String,
    /// Whether it is us.
    pub is_us: bool,
    /// How many of their lines are missing here, as far as that is remembered.
    pub missing: u64,
    /// Whether they have made two changes side by side.
    pub has_forked: bool,
}

/// An invitation that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomInvitation {
    /// The key by which the room knows it.
    pub token: PublicKey,
    /// Who made it.
    pub by: Address,
    /// Until when it is good.
    pub expires_at: Time,
}

/// One line of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomLine {
    /// Where.
    pub room: RoomId,
    /// What was said; its contact is its author, and we are that of our own lines.
    pub entry: Entry,
    /// How far a line of ours has come, to each member that it was for.
    pub deliveries: Vec<Delivery>,
    /// Whether its author has told others that something else came before it.
    pub is_forked: bool,
}

/// How far a line has come to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// To whom.
    pub member: Address,
    /// How far.
    pub state: MessageState,
}

/// What one step of a search in a room has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomFound {
    /// Lines that have all words, the newest first.
    pub lines: Vec<RoomLine>,
    /// Where the search goes on; none if it is at its end.
    pub next: Option<crate::agent::SearchPlace>,
}

const _: () = assert!(MEMBERS_MAX < 1_000, "a line for all members fits into an outbox");
