//! What members say to each other about a room, and in it: the bodies of content type 2 (PROTOCOL §4.17).
//!
//! Entry type is [`Note`]. A note is sealed for one person like any other message. What is said in a room, a
//! [`Said`], is the same for all its members, and so is its id.

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::event::{Event, EventError, Heads};
use super::id::{EventId, RoomId};
use super::invitation::Join;
use super::state::Refused;
use crate::envelope::SizeClass;
use crate::key::PublicKey;
use crate::payload::{self, ContentType, MessageId};
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};

/// The most events of one note.
pub const EVENTS_OF_A_NOTE_MAX: usize = 250;
/// The most events that one note asks for by name.
pub const WANTED_MAX: usize = 64;

const ID_CONTEXT: &[u8] = b"comm/room-message/v1\0";
/// Notes are laid out like what is signed, but for the context: the content type stands for it.
const NO_CONTEXT: &[u8] = b"\0";
const SAID: u8 = 1;
const EVENTS: u8 = 2;
const WANT: u8 = 3;
const ASK: u8 = 4;
const REFUSE: u8 = 5;

/// What one member says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Something is said in a room.
    Said {
        /// The author's number of the first thing they said in the room to whom this is for, since that one is a
        /// member: what came before is not missing.
        first: u64,
        /// What.
        said: Said,
    },
    /// Events of a room's log, each behind those of them that it names; 1 to [`EVENTS_OF_A_NOTE_MAX`].
    Events(Vec<Event>),
    /// Events are wanted: those that are named, and all that whoever has `known` lacks.
    Want {
        /// Of which room.
        room: RoomId,
        /// What is there, with all it leads to; the first event if nothing else.
        known: Heads,
        /// What others have named and is not there; at most [`WANTED_MAX`].
        wanted: Vec<EventId>,
    },
    /// Somebody wants to be let in.
    Ask {
        /// Where.
        room: RoomId,
        /// Their proof, not checked yet.
        join: Box<Join>,
    },
    /// They are not.
    Refuse {
        /// Where.
        room: RoomId,
        /// What they drew for the join that is answered.
        fresh: [u8; 32],
        /// Why.
        reason: Refusal,
    },
}

/// Something that is said in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where.
    pub room: RoomId,
    /// Its author's number in the room, from 1.
    pub sequence: u64,
    /// What its author said before it in the room.
    pub previous: Option<MessageId>,
    /// What its author knew of the room's log.
    pub heads: Heads,
    /// What kind of thing (PROTOCOL §4.5).
    pub content_type: ContentType,
    /// What it says.
    pub body: Vec<u8>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The invitation is none of the room's, or its inviter had no right to it.
    #[error("the room knows no such invitation")]
    Unknown,
    /// It has let somebody in.
    #[error("the invitation has been used")]
    Used,
    /// It was revoked, or its inviter is no member any more.
    #[error("the invitation was revoked")]
    Revoked,
    /// By the clock of whoever was asked.
    #[error("the invitation has expired")]
    Expired,
    /// The room, or whoever was asked, lets nobody in.
    #[error("whoever was asked may let nobody in now")]
    Locked,
    /// There are as many as fit.
    #[error("the room is full")]
    Full,
    /// They are in it by another request, whose answer they may have lost.
    #[error(
        "you are a member of the room already, by another request; use the invitation that let you in, or have \
         yourself removed and invited anew"
    )]
    AlreadyMember,
}

/// Why a body is no note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// The layout.
    #[error("the note is malformed: {0}")]
    Layout(#[from] FieldError),
    /// One of its events.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A value that is none of its kind; it names the field.
    #[error("the note is malformed: {0} has an impossible value")]
    Value(&'static str),
    /// Something that a later version of the protocol may know.
    #[error("the note is of kind {0}, which this program does not know")]
    Kind(u8),
}

impl Said {
    /// Bytes that a body can have at most, with `heads` heads.
    pub const fn body_max(heads: usize) -> usize {
        payload::capacity(SizeClass::K64) - (1 + 8 + 32 + 8 + 32 + 1 + heads * EventId::LEN + 2)
    }

    /// What it is called in the room: the same for every member, whatever envelope brings it.
    pub fn id(&self, author: &PublicKey) -> MessageId {
        let hash = Sha256::new().chain_update(ID_CONTEXT).chain_update(author.as_bytes());
        let bytes = self.write(SignedBytes::new(NO_CONTEXT)).finish();
        MessageId::from_bytes(hash.chain_update(&bytes[NO_CONTEXT.len()..]).finalize().into())
    }

    fn write(&self, bytes: SignedBytes) -> SignedBytes {
        let none = [0; MessageId::LEN];
        let previous = self.previous.as_ref().map_or(&none, MessageId::as_bytes);
        let start = bytes.array(self.room.as_bytes()).u64(self.sequence).array(previous);
        self.heads.write(start).u16(self.content_type.0).array(&self.body)
    }

    fn read(fields: &mut FieldReader<'_>) -> Result<Self, NoteError> {
        let room = RoomId::from_bytes(fields.array()?);
        let sequence = fields.u64()?;
        let previous = Some(fields.array()?).filter(|id| *id != [0; MessageId::LEN]);
        let (heads, content_type) = (Heads::read(fields)?, ContentType(fields.u16()?));
        if sequence == 0 {
            return Err(NoteError::Value("the number"));
        }
        let previous = previous.map(MessageId::from_bytes);
        let body = fields.rest().to_vec();
        Ok(Self { room, sequence, previous, heads, content_type, body })
    }
}

impl Note {
    /// The body that says it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind = |kind| SignedBytes::new(NO_CONTEXT).u8(kind);
        let bytes = match self {
            Self::Said { first, said } => said.write(kind(SAID).u64(*first)),
            Self::Events(events) => events
                .iter()
                .fold(kind(EVENTS).u8(events.len() as u8), |b, event| b.bytes(&event.to_bytes())),
            Self::Want { room, known, wanted } => {
                let start = known.write(kind(WANT).array(room.as_bytes())).u8(wanted.len() as u8);
                wanted.iter().fold(start, |bytes, id| bytes.array(id.as_bytes()))
            }
            Self::Ask { room, join } => join.write(kind(ASK).array(room.as_bytes())),
            Self::Refuse { room, fresh, reason } => {
                kind(REFUSE).array(room.as_bytes()).array(fresh).u8(reason.code())
            }
        };
        bytes.finish().split_off(NO_CONTEXT.len())
    }

    /// Reads a body, which anybody may have made up. No signature is checked.
    ///
    /// # Errors
    /// When it is no note.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoteError> {
        let mut fields = FieldReader::new(bytes);
        let note = match fields.u8()? {
            // What is said is the rest.
            SAID => {
                let (first, said) = (fields.u64()?, Said::read(&mut fields)?);
                let is_possible = (1..=said.sequence).contains(&first);
                return if is_possible {
                    Ok(Self::Said { first, said })
                } else {
                    Err(NoteError::Value("the first number"))
                };
            }
            EVENTS => Self::Events(read_events(&mut fields)?),
            WANT => {
                let room = RoomId::from_bytes(fields.array()?);
                let known = Heads::read(&mut fields)?;
                let count = usize::from(fields.u8()?);
                if count > WANTED_MAX {
                    return Err(NoteError::Value("the number of events"));
                }
                let mut wanted = Vec::with_capacity(count);
                for _ in 0..count {
                    wanted.push(EventId::from_bytes(fields.array()?));
                }
                Self::Want { room, known, wanted }
            }
            ASK => {
                let room = RoomId::from_bytes(fields.array()?);
                Self::Ask { room, join: Box::new(Join::read(&mut fields)?) }
            }
            REFUSE => {
                let (room, fresh) = (RoomId::from_bytes(fields.array()?), fields.array()?);
                let reason =
                    Refusal::from_code(fields.u8()?).ok_or(NoteError::Value("the reason"))?;
                Self::Refuse { room, fresh, reason }
            }
            other => return Err(NoteError::Kind(other)),
        };
        fields.finish()?;
        Ok(note)
    }

    /// Whether a body says something in a room, rather than about one.
    pub fn is_said(body: &[u8]) -> bool {
        body.first() == Some(&SAID)
    }

    /// Whether a body has several events, as answers have and what an author tells of one change has not.
    pub fn is_page(body: &[u8]) -> bool {
        matches!(body, [EVENTS, count, ..] if *count > 1)
    }

    /// Whether a body says that somebody is not let in.
    pub fn is_refusal(body: &[u8]) -> bool {
        body.first() == Some(&REFUSE)
    }

    /// Events as notes, each as full as an envelope of `class` allows, or one event long.
    pub fn pages<'a>(events: impl IntoIterator<Item = &'a Event>, class: SizeClass) -> Vec<Self> {
        let (mut pages, mut page, mut length) = (Vec::new(), Vec::new(), 2);
        for event in events {
            let added = 4 + event.to_bytes().len();
            let is_full = length + added > payload::capacity(class);
            if !page.is_empty() && (is_full || page.len() >= EVENTS_OF_A_NOTE_MAX) {
                pages.push(Self::Events(std::mem::take(&mut page)));
                length = 2;
            }
            page.push(event.clone());
            length += added;
        }
        if !page.is_empty() {
            pages.push(Self::Events(page));
        }
        pages
    }
}

impl Refusal {
    /// What somebody is told who asks to be let in, and is not.
    pub const fn of(refused: Refused) -> Self {
        match refused {
            Refused::UsedInvitation => Self::Used,
            Refused::RevokedInvitation => Self::Revoked,
            Refused::ExpiredInvitation | Refused::Lifetime => Self::Expired,
            Refused::Full => Self::Full,
            Refused::AlreadyMember => Self::AlreadyMember,
            Refused::Locked | Refused::NotAMember | Refused::NotEntitled => Self::Locked,
            Refused::UnknownInvitation
            | Refused::OwnerStays
            | Refused::NoSuchMember
            | Refused::NoChange
            | Refused::TooManyInvitations => Self::Unknown,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Unknown => 1,
            Self::Used => 2,
            Self::Revoked => 3,
            Self::Expired => 4,
            Self::Locked => 5,
            Self::Full => 6,
            Self::AlreadyMember => 7,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        let all = [
            Self::Unknown,
            Self::Used,
            Self::Revoked,
            Self::Expired,
            Self::Locked,
            Self::Full,
            Self::AlreadyMember,
        ];
        all.into_iter().find(|reason| reason.code() == code)
    }
}

fn read_events(fields: &mut FieldReader<'_>) -> Result<Vec<Event>, NoteError> {
    let count = usize::from(fields.u8()?);
    if !(1..=EVENTS_OF_A_NOTE_MAX).contains(&count) {
        return Err(NoteError::Value("the number of events"));
    }
    let mut events = Vec::with_capacity(count);
    for _ in 0..count {
        events.push(Event::from_bytes(fields.bytes(Event::LEN_MAX)?)?);
    }
    Ok(events)
}
