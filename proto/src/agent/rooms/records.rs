//! What an agent keeps of rooms on disk, and its layout there.

use crate::agent::entry::MessageState;
use crate::agent::records::{read_state, state_fields};
use crate::key::PublicKey;
use crate::room::{Event, Invitation, Join, Note, RoomId, Said};
use crate::signed_bytes::{FieldReader, SignedBytes};
use crate::store::StoreError;
use crate::time::Time;
use crate::verified::Verified;

const HEAD: &[u8] = b"comm/agent/room/v1\0";
const HELD: &[u8] = b"comm/agent/room-held/v1\0";
const DELIVERY: &[u8] = b"comm/agent/delivery/v1\0";
/// No field is longer.
const FIELD_MAX: usize = 1 << 17;
/// Stands behind a room's number where its seat is kept.
const SEAT: u8 = 1;

/// What a room is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoomHead {
    pub(super) room: RoomId,
    pub(super) unread: u64,
    /// With what we ask to be let in, if we are not, and with what we asked before.
    pub(super) joining: Option<Asked>,
}

/// An invitation, the join by it, and earlier joins by others.
pub(super) type Asked = (Invitation, Verified<Join>, Vec<Verified<Join>>);

/// Something that waits for events of a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeldRow {
    Event(Box<Verified<Event>>),
    Line { written_at: Time, author: PublicKey, first: u64, said: Box<Said> },
}

impl RoomHead {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let start = SignedBytes::new(HEAD).array(self.room.as_bytes()).u64(self.unread);
        match &self.joining {
            None => start.u8(0),
            Some((invitation, join, earlier)) => {
                let ask = |join: &Verified<Join>| {
                    let join = Box::new(Join::clone(join));
                    Note::Ask { room: self.room, join }.to_bytes()
                };
                let start = start.u8(1).bytes(invitation.text().as_bytes()).bytes(&ask(join));
                earlier.iter().fold(start, |bytes, join| bytes.bytes(&ask(join)))
            }
        }
        .finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).ok_or(StoreError::Damaged("rooms"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        fields.context(HEAD).ok()?;
        let (room, unread) = (RoomId::from_bytes(fields.array().ok()?), fields.u64().ok()?);
        if fields.u8().ok()? == 0 {
            return Some(Self { room, unread, joining: None });
        }
        let text = std::str::from_utf8(fields.bytes(FIELD_MAX).ok()?).ok()?;
        let invitation = Invitation::parse(text).ok()?;
        let join = read_join(&mut fields, room)?;
        let mut earlier = Vec::new();
        while !fields.rest().is_empty() {
            earlier.push(read_join(&mut fields, room)?);
        }
        Some(Self { room, unread, joining: Some((invitation, join, earlier)) })
    }
}

fn read_join(fields: &mut FieldReader<'_>, room: RoomId) -> Option<Verified<Join>> {
    match Note::from_bytes(fields.bytes(FIELD_MAX).ok()?).ok()? {
        Note::Ask { join, .. } => join.verify(room).ok(),
        _ => None,
    }
}

impl HeldRow {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let start = SignedBytes::new(HELD);
        match self {
            Self::Event(event) => start.u8(1).array(&event.to_bytes()),
            Self::Line { written_at, author, first, said } => {
                let note = Note::Said { first: *first, said: Said::clone(said) };
                let start = start.u8(2).u64(written_at.as_millis()).array(author.as_bytes());
                start.array(&note.to_bytes())
            }
        }
        .finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        fields.context(HELD).ok()?;
        if fields.u8().ok()? == 1 {
            return event(fields.rest()).map(|event| Self::Event(Box::new(event)));
        }
        let written_at = Time::from_millis(fields.u64().ok()?);
        let author = PublicKey::from_bytes(fields.array().ok()?);
        let Note::Said { first, said } = Note::from_bytes(fields.rest()).ok()? else { return None };
        Some(Self::Line { written_at, author, first, said: Box::new(said) })
    }
}

/// An event that was verified before it was written down.
pub(super) fn event(bytes: &[u8]) -> Option<Verified<Event>> {
    Event::from_bytes(bytes).ok().map(Verified::new)
}

/// How far a line has come to a member.
pub(super) fn delivery_to_bytes(state: MessageState) -> Vec<u8> {
    let (code, value) = state_fields(state);
    SignedBytes::new(DELIVERY).u8(code).u64(value).finish()
}

/// Reads [`delivery_to_bytes`] back.
pub(super) fn delivery(bytes: &[u8]) -> Result<MessageState, StoreError> {
    let mut fields = FieldReader::new(bytes);
    let read = fields.context(DELIVERY).and_then(|()| read_state(&mut fields));
    read.map_err(|_| StoreError::Damaged("deliveries"))
}

pub(super) fn seat_key(room: u32) -> Vec<u8> {
    [&room.to_be_bytes()[..], &[SEAT]].concat()
}

pub(super) fn row_key(room: u32, row: u32) -> Vec<u8> {
    [room.to_be_bytes(), row.to_be_bytes()].concat()
}

pub(super) fn held_key(room: u32, hash: &[u8; 32]) -> Vec<u8> {
    [&room.to_be_bytes()[..], hash].concat()
}

/// Of an author's line, by its number among theirs.
pub(super) fn order_key(room: u32, author: u32, sequence: u64) -> Vec<u8> {
    [&row_key(room, author)[..], &sequence.to_be_bytes()].concat()
}

/// Of one of our lines and one member; of all members, from number 0 on.
pub(super) fn delivery_key(room: u32, line: u64, member: u32) -> Vec<u8> {
    [&room.to_be_bytes()[..], &line.to_be_bytes(), &member.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;
    use crate::room::{Change, Log, RoomName};
    use crate::time::Span;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    fn first(pair: &KeyPair) -> Verified<Event> {
        Event::found(pair, RoomName::new("club".to_owned()).unwrap(), [3; 32], NOW)
    }

    #[test]
    fn a_room_is_read_back_also_while_its_door_is_shut() {
        let pair = KeyPair::from_seed(&[1; 32]);
        let room = first(&pair).room();
        let invitation = Invitation::new(room, pair.public(), Vec::new(), [4; 32], NOW);
        let join = Join::sign(&invitation, &KeyPair::from_seed(&[2; 32]), [5; 32]);
        let earlier = vec![Join::sign(&invitation, &KeyPair::from_seed(&[2; 32]), [6; 32])];
        let asked = |earlier| Some((invitation.clone(), join.clone(), earlier));
        for joining in [None, asked(Vec::new()), asked(earlier)] {
            let head = RoomHead { room, unread: 7, joining };
            assert_eq!(RoomHead::from_bytes(&head.to_bytes()), Ok(head));
        }
        assert_eq!(RoomHead::from_bytes(b"x"), Err(StoreError::Damaged("rooms")));
    }

    #[test]
    fn what_waits_and_how_far_a_line_has_come_are_read_back() {
        let pair = KeyPair::from_seed(&[1; 32]);
        let mut log = Log::new(first(&pair)).unwrap();
        let change = Change::Invite { token: pair.public(), expires_at: NOW + Span::DAY };
        let event = Box::new(log.write(&pair, change, NOW).unwrap());
        let said = Box::new(Said {
            room: log.room(),
            sequence: 2,
            previous: None,
            heads: log.heads_for(&pair.public()),
            content_type: crate::payload::ContentType::TEXT,
            body: b"hello".to_vec(),
        });
        let (written_at, author) = (NOW, pair.public());
        let line = HeldRow::Line { written_at, author, first: 1, said };
        for row in [HeldRow::Event(event), line] {
            assert_eq!(HeldRow::from_bytes(&row.to_bytes()), Some(row));
        }
        for state in [MessageState::Queued, MessageState::Delivered { at: NOW }] {
            assert_eq!(delivery(&delivery_to_bytes(state)), Ok(state));
        }
        assert_eq!(delivery(b"x"), Err(StoreError::Damaged("deliveries")));
    }
}
