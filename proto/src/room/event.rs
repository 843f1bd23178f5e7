//! One signed step of a room (PROTOCOL §4.14).
//!
//! Entry type is [`Event`]. It names its room, the events its author knew and the author's own one before,
//! so that whoever has one knows what else there is, and two that an author made side by side convict them.

use std::collections::BTreeSet;

use thiserror::Error;

use super::id::{EventId, RoomId};
use super::invitation::Join;
use super::name::{NAME_BYTES_MAX, NameError, RoomName};
use super::state::{Office, Policy};
use crate::key::{KeyPair, PublicKey, Signature};
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};
use crate::time::Time;
use crate::verified::Verified;

/// The most events that one names as known. Of more heads the rest is named by later events.
pub const HEADS_MAX: usize = 16;

const CONTEXT: &[u8] = b"comm/room-event/v1\0";
const FOUNDING: u8 = 0;
const INVITE: u8 = 1;
const REVOKE: u8 = 2;
const ADMIT: u8 = 3;
const LEAVE: u8 = 4;
const REMOVE: u8 = 5;
const APPOINT: u8 = 6;
const RENAME: u8 = 7;
const DECIDE: u8 = 8;

/// A signed step of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    author: PublicKey,
    made_at: Time,
    body: Body,
    signature: Signature,
    id: EventId,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The room begins, and its author owns it.
    Founding {
        /// What it is called.
        name: RoomName,
        /// Drawn anew, so that no two rooms are one.
        nonce: [u8; 32],
    },
    /// Something changes in a room.
    Change {
        /// In which.
        room: RoomId,
        /// The author's event before this one, if there is any.
        previous: Option<EventId>,
        /// What the author knew: these, and all that they lead to.
        parents: Heads,
        /// What changes.
        change: Change,
    },
}

/// What changes in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Whoever has the token's secret may ask to be let in, once.
    Invite {
        /// The token's key.
        token: PublicKey,
        /// Until when, by the clock of whoever lets them in.
        expires_at: Time,
    },
    /// A token lets nobody in any more.
    Revoke(PublicKey),
    /// Somebody who has proved a token's secret and their own key is let in.
    Admit(Box<Join>),
    /// The author is no member any more.
    Leave,
    /// Somebody else is no member any more.
    Remove(PublicKey),
    /// Somebody else has another role.
    Appoint {
        /// Who.
        member: PublicKey,
        /// Which.
        role: Office,
    },
    /// The room is called differently.
    Rename(RoomName),
    /// Who may invite and let in from now on.
    Decide(Policy),
}

/// 1 to [`HEADS_MAX`] events that lead to everything else that their author knew, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads(Vec<EventId>);

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// The layout.
    #[error("the event is malformed: {0}")]
    Layout(#[from] FieldError),
    /// A name.
    #[error("the event is malformed: {0}")]
    Name(#[from] NameError),
    /// A value that is none of its kind; it names the field.
    #[error("the event is malformed: {0} has an impossible value")]
    Value(&'static str),
    /// Something that a later version of the protocol may know.
    #[error("the event is of kind {0}, which this program does not know")]
    Kind(u8),
    /// A signature.
    #[error("the event's signature is not its author's")]
    Signature,
    /// A signature of the join that an admission carries.
    #[error("whoever is let in has not asked for it with this token")]
    Join,
}

impl Heads {
    /// Of these, those that an event can name: the lowest, if there are too many; nothing if there is none.
    /// [`Log::heads_for`](super::Log::heads_for) chooses.
    pub fn of(known: &BTreeSet<EventId>) -> Option<Self> {
        let some: Vec<_> = known.iter().copied().take(HEADS_MAX).collect();
        (!some.is_empty()).then_some(Self(some))
    }

    /// The events.
    pub fn as_slice(&self) -> &[EventId] {
        &self.0
    }

    pub(super) fn write(&self, bytes: SignedBytes) -> SignedBytes {
        let start = bytes.u8(self.0.len() as u8);
        self.0.iter().fold(start, |bytes, id| bytes.array(id.as_bytes()))
    }

    pub(super) fn read(fields: &mut FieldReader<'_>) -> Result<Self, EventError> {
        let count = usize::from(fields.u8()?);
        if !(1..=HEADS_MAX).contains(&count) {
            return Err(EventError::Value("the number of heads"));
        }
        let mut heads = Vec::with_capacity(count);
        for _ in 0..count {
            heads.push(EventId::from_bytes(fields.array()?));
        }
        if !heads.is_sorted_by(|one, next| one < next) {
            return Err(EventError::Value("the order of heads"));
        }
        Ok(Self(heads))
    }
}

impl Event {
    /// The longest event in bytes: an admission that names [`HEADS_MAX`] heads.
    pub const LEN_MAX: usize = CONTEXT.len()
        + (1 + PublicKey::LEN + 8)
        + (RoomId::LEN + EventId::LEN + 1 + HEADS_MAX * EventId::LEN)
        + Join::LEN
        + Signature::LEN;

    /// The first event of a new room.
    pub fn found(owner: &KeyPair, name: RoomName, nonce: [u8; 32], now: Time) -> Verified<Self> {
        Self::sign(owner, Body::Founding { name, nonce }, now)
    }

    /// Signs a step.
    pub fn sign(author: &KeyPair, body: Body, now: Time) -> Verified<Self> {
        let signed = signed_bytes(&author.public(), now, &body);
        Verified::new(Self {
            author: author.public(),
            made_at: now,
            signature: author.sign(&signed),
            id: EventId::of(&signed),
            body,
        })
    }

    /// Checks the author's signature, and those of a join.
    ///
    /// # Errors
    /// When one is wrong.
    pub fn verify(self) -> Result<Verified<Self>, EventError> {
        let signed = signed_bytes(&self.author, self.made_at, &self.body);
        if !self.author.verify(&signed, &self.signature) {
            return Err(EventError::Signature);
        }
        if let Body::Change { room, change: Change::Admit(join), .. } = &self.body {
            join.check(*room).map_err(|_| EventError::Join)?;
        }
        Ok(Verified::new(self))
    }

    /// The bytes that were signed, then the signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = signed_bytes(&self.author, self.made_at, &self.body);
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote, signatures unchecked.
    ///
    /// # Errors
    /// When the bytes are no event.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EventError> {
        let mut fields = FieldReader::new(bytes);
        fields.context(CONTEXT)?;
        let kind = fields.u8()?;
        let author = PublicKey::from_bytes(fields.array()?);
        let made_at = Time::from_millis(fields.u64()?);
        let body = if kind == FOUNDING {
            let nonce = fields.array()?;
            Body::Founding { nonce, name: read_name(&mut fields)? }
        } else {
            let room = RoomId::from_bytes(fields.array()?);
            let previous = Some(fields.array()?).filter(|id| *id != [0; EventId::LEN]);
            let previous = previous.map(EventId::from_bytes);
            let parents = Heads::read(&mut fields)?;
            Body::Change { room, previous, parents, change: read_change(kind, &mut fields)? }
        };
        let signature = Signature::from_bytes(fields.array()?);
        fields.finish()?;
        let id = EventId::of(&bytes[..bytes.len() - Signature::LEN]);
        Ok(Self { author, made_at, body, signature, id })
    }

    /// What it is called.
    pub const fn id(&self) -> EventId {
        self.id
    }

    /// Who made it.
    pub const fn author(&self) -> &PublicKey {
        &self.author
    }

    /// When, by the author's clock. Nothing hangs on it but that no join comes after its token's expiry.
    pub const fn made_at(&self) -> Time {
        self.made_at
    }

    /// What it says.
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// The room it belongs to.
    pub const fn room(&self) -> RoomId {
        match &self.body {
            Body::Founding { .. } => RoomId::of(self.id),
            Body::Change { room, .. } => *room,
        }
    }

    /// What changes, unless it is a room's first.
    pub const fn change(&self) -> Option<&Change> {
        match &self.body {
            Body::Founding { .. } => None,
            Body::Change { change, .. } => Some(change),
        }
    }

    /// All events that it names: its author knew them.
    pub(super) fn named(&self) -> impl Iterator<Item = EventId> + '_ {
        let (parents, previous) = match &self.body {
            Body::Founding { .. } => (&[][..], None),
            Body::Change { parents, previous, .. } => (parents.as_slice(), *previous),
        };
        parents.iter().copied().chain(previous)
    }

    pub(super) const fn previous(&self) -> Option<EventId> {
        match &self.body {
            Body::Founding { .. } => None,
            Body::Change { previous, .. } => *previous,
        }
    }
}

fn signed_bytes(author: &PublicKey, made_at: Time, body: &Body) -> Vec<u8> {
    let head =
        |kind| SignedBytes::new(CONTEXT).u8(kind).array(author.as_bytes()).u64(made_at.as_millis());
    match body {
        Body::Founding { name, nonce } => {
            head(FOUNDING).array(nonce).bytes(name.as_str().as_bytes()).finish()
        }
        Body::Change { room, previous, parents, change } => {
            let previous = previous.map_or([0; EventId::LEN], |id| *id.as_bytes());
            let start = head(kind(change)).array(room.as_bytes()).array(&previous);
            write_change(parents.write(start), change).finish()
        }
    }
}

const fn kind(change: &Change) -> u8 {
    match change {
        Change::Invite { .. } => INVITE,
        Change::Revoke(_) => REVOKE,
        Change::Admit(_) => ADMIT,
        Change::Leave => LEAVE,
        Change::Remove(_) => REMOVE,
        Change::Appoint { .. } => APPOINT,
        Change::Rename(_) => RENAME,
        Change::Decide(_) => DECIDE,
    }
}

fn write_change(bytes: SignedBytes, change: &Change) -> SignedBytes {
    match change {
        Change::Invite { token, expires_at } => {
            bytes.array(token.as_bytes()).u64(expires_at.as_millis())
        }
        Change::Revoke(key) | Change::Remove(key) => bytes.array(key.as_bytes()),
        Change::Admit(join) => join.write(bytes),
        Change::Leave => bytes,
        Change::Appoint { member, role } => bytes.array(member.as_bytes()).u8(role.code()),
        Change::Rename(name) => bytes.bytes(name.as_str().as_bytes()),
        Change::Decide(policy) => bytes.u8(policy.code()),
    }
}

fn read_change(kind: u8, fields: &mut FieldReader<'_>) -> Result<Change, EventError> {
    let change = match kind {
        INVITE => Change::Invite {
            token: PublicKey::from_bytes(fields.array()?),
            expires_at: Time::from_millis(fields.u64()?),
        },
        REVOKE => Change::Revoke(PublicKey::from_bytes(fields.array()?)),
        ADMIT => Change::Admit(Box::new(Join::read(fields)?)),
        LEAVE => Change::Leave,
        REMOVE => Change::Remove(PublicKey::from_bytes(fields.array()?)),
        APPOINT => Change::Appoint {
            member: PublicKey::from_bytes(fields.array()?),
            role: Office::from_code(fields.u8()?).ok_or(EventError::Value("the role"))?,
        },
        RENAME => Change::Rename(read_name(fields)?),
        DECIDE => {
            Change::Decide(Policy::from_code(fields.u8()?).ok_or(EventError::Value("the policy"))?)
        }
        other => return Err(EventError::Kind(other)),
    };
    Ok(change)
}

fn read_name(fields: &mut FieldReader<'_>) -> Result<RoomName, EventError> {
    let bytes = fields.bytes(NAME_BYTES_MAX)?;
    let text = str::from_utf8(bytes).map_err(|_| EventError::Value("the name"))?;
    Ok(RoomName::new(text.to_owned())?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::room::invitation::Invitation;

    fn pair(seed: u8) -> KeyPair {
        KeyPair::from_seed(&[seed; 32])
    }

    fn name(text: &str) -> RoomName {
        RoomName::new(text.to_owned()).unwrap()
    }

    fn first() -> Verified<Event> {
        Event::found(&pair(1), name("book club"), [7; 32], Time::from_millis(1_700_000_000_000))
    }

    fn changes() -> Vec<Change> {
        let room = first().room();
        let invitation =
            Invitation::new(room, pair(1).public(), Vec::new(), [5; 32], Time::from_millis(9));
        let join = Join::sign(&invitation, &pair(3), [8; 32]).into_inner();
        let key = pair(2).public();
        vec![
            Change::Invite { token: key, expires_at: Time::from_millis(77) },
            Change::Revoke(key),
            Change::Admit(Box::new(join)),
            Change::Leave,
            Change::Remove(key),
            Change::Appoint { member: key, role: Office::Admin },
            Change::Rename(name("ä club")),
            Change::Decide(Policy::Nobody),
        ]
    }

    fn later(change: Change, parents: &[EventId]) -> Verified<Event> {
        let first = first();
        let parents = Heads::of(&parents.iter().copied().chain([first.id()]).collect()).unwrap();
        let (room, previous) = (first.room(), Some(first.id()));
        Event::sign(&pair(1), Body::Change { room, previous, parents, change }, Time::ZERO)
    }

    fn every_event() -> Vec<Verified<Event>> {
        let changes = changes().into_iter().map(|change| later(change, &[]));
        changes.chain([first()]).collect()
    }

    #[test]
    fn every_event_is_read_back_and_its_signature_holds() {
        for event in every_event() {
            let read = Event::from_bytes(&event.to_bytes()).unwrap();
            assert_eq!(read.verify(), Ok(event));
        }
    }

    #[test]
    fn no_byte_of_an_event_can_be_another() {
        for event in every_event() {
            let bytes = event.to_bytes();
            for at in 0..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                let read = Event::from_bytes(&bytes).and_then(Event::verify);
                assert!(read.is_err(), "byte {at} of {event:?}");
            }
        }
    }

    #[test]
    fn an_event_has_no_other_length_than_its_own() {
        for event in every_event() {
            let bytes = event.to_bytes();
            for cut in 0..bytes.len() {
                assert!(Event::from_bytes(&bytes[..cut]).is_err());
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(Event::from_bytes(&longer).is_err());
        }
    }

    #[test]
    fn the_longest_event_is_an_admission_with_all_its_heads() {
        let heads: Vec<_> = (0..40).map(|n| EventId::from_bytes([n; 32])).collect();
        let longest = changes().into_iter().map(|change| later(change, &heads).to_bytes().len());
        assert_eq!(longest.max(), Some(Event::LEN_MAX));
    }

    #[test]
    fn heads_have_one_order_and_stand_once() {
        let ids = |bytes: &[u8]| -> Vec<u8> {
            let count = [bytes.len() as u8];
            count.into_iter().chain(bytes.iter().flat_map(|byte| [*byte; 32])).collect()
        };
        let read = |bytes: Vec<u8>| Heads::read(&mut FieldReader::new(&bytes)).is_ok();
        assert!(read(ids(&[1, 2, 9])));
        assert!(!read(ids(&[2, 1])) && !read(ids(&[1, 1])) && !read(ids(&[])));
        assert!(!read(ids(&(0..17).collect::<Vec<_>>())));
    }

    #[test]
    fn a_kind_of_a_later_version_is_named() {
        let mut bytes = first().to_bytes();
        bytes[CONTEXT.len()] = 9;
        bytes.resize(400, 0);
        // Behind the author and the time: room, the event before, one head.
        let at = CONTEXT.len() + 1 + 32 + 8 + 64;
        bytes[at] = 1;
        assert_eq!(Event::from_bytes(&bytes), Err(EventError::Kind(9)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(
            which in 0_usize..9,
            at in 0_usize..800,
            with: [u8; 4],
        ) {
            let mut bytes = every_event()[which].to_bytes();
            let at = at % (bytes.len() - 4);
            bytes[at..at + 4].copy_from_slice(&with);
            if let Ok(event) = Event::from_bytes(&bytes) {
                prop_assert_eq!(event.to_bytes(), bytes);
            }
        }
    }
}
