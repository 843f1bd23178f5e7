//! What an agent keeps on disk, and its layout there.
//!
//! One type for each drawer. The values are sealed by the host's store; here they are plain.

use crate::address::Address;
use crate::card::{CARD_LEN_MAX, Card};
use crate::content::Content;
use crate::envelope::{Envelope, EnvelopeId};
use crate::key::PublicKey;
use crate::payload::{self, ContentType, MessageId, Payload};
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};
use crate::store::StoreError;
use crate::time::{Span, Time};
use crate::verified::Verified;

use super::entry::{Author, Edited, Entry, Marks, MessageNumber, MessageState, Place, Steps};
use super::io::ReceiptRule;
use super::received::Received;
use super::ties::Tie;

/// No field on disk is longer.
const FIELD_MAX: usize = 1 << 17;

const CONTACT: &[u8] = b"comm/agent/contact/v4\0";
/// The layout before requests, blocking and comparisons.
const CONTACT_V3: &[u8] = b"comm/agent/contact/v3\0";
/// The layout before timers, receipts and what is unread.
const CONTACT_V2: &[u8] = b"comm/agent/contact/v2\0";
/// The layout before notes and removal.
const CONTACT_V1: &[u8] = b"comm/agent/contact/v1\0";
const OUTGOING: &[u8] = b"comm/agent/outgoing/v1\0";
const ENTRY: &[u8] = b"comm/agent/entry/v2\0";
/// The layout before replies, edits and removals.
const ENTRY_V1: &[u8] = b"comm/agent/entry/v1\0";
const REVISION: &[u8] = b"comm/agent/revision/v1\0";
const HELD: &[u8] = b"comm/agent/held/v1\0";

/// Somebody we know, and where the conversation with them stands.
#[derive(Clone, Debug)]
pub(super) struct ContactRecord {
    pub(super) address: Address,
    pub(super) key: Option<PublicKey>,
    pub(super) name: String,
    pub(super) is_named: bool,
    /// The person removed them and has not turned to them since.
    pub(super) turned_away: bool,
    pub(super) note: String,
    /// When the person removed them; until it is forgotten their mailboxes are listened to.
    pub(super) removed_at: Option<Time>,
    pub(super) card: Option<Verified<Card>>,
    /// They listen to the conversation's mailboxes: they wrote to us, or acknowledged us.
    pub(super) established: bool,
    /// Sequence number and id of the last message we wrote.
    pub(super) sent: u64,
    /// Of these the person wrote none: all went by themselves.
    pub(super) is_only_told: bool,
    pub(super) previous: Option<MessageId>,
    pub(super) received: Received,
    /// After which time what is said from now on disappears.
    pub(super) timer: Timing,
    /// Whether they are told which messages we were shown.
    pub(super) receipts: ReceiptRule,
    /// How many of their messages we were not shown.
    pub(super) unread: u64,
    /// The person wants no notice of what they say.
    pub(super) muted: bool,
    /// Whether what they write is taken.
    pub(super) admission: Admission,
    /// The person let them in when they asked.
    pub(super) accepted: bool,
    /// When the person found that both see the same safety number.
    pub(super) compared_at: Option<Time>,
    /// Their other keys; in a drawer of its own.
    pub(super) tie: Tie,
    /// They are, or were, in a room with us, or are asked to let us into one: they are listened to.
    pub(super) is_fellow: bool,
}

/// Whether what somebody writes is taken (PROTOCOL §4.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is.
    #[default]
    Admitted,
    /// They wait to be let in since then.
    Asking { since: Time },
    /// Not until then.
    Refused { until: Time },
    /// Not before the person says so.
    Blocked,
    /// They are in a room with us, and nothing else is known of them: what they write to us alone has to ask.
    Stranger,
}

/// A message as it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) sender: PublicKey,
    pub(super) payload: Payload,
    /// Its number in this store.
    pub(super) number: MessageNumber,
    pub(super) came_at: Time,
}

/// A conversation's timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Timing {
    /// None, that what is said stays.
    pub(super) lifetime: Option<Span>,
    /// When it was set, by the clock of whoever did.
    pub(super) set_at: Time,
    /// By whom: of two who set it at once the one with the higher address counts.
    pub(super) set_by: Option<Address>,
}

/// One of our messages that is still on its way.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) contact: u32,
    pub(super) content_type: ContentType,
    pub(super) body: Vec<u8>,
    pub(super) sequence: u64,
    pub(super) previous: Option<MessageId>,
    pub(super) sent_at: Time,
    pub(super) expires_at: Time,
    pub(super) state: MessageState,
    /// Once sealed: the same envelope is submitted however often it takes.
    pub(super) envelope: Option<Envelope>,
}

/// A change of a message of somebody else that came before the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// Its place in its author's order.
    pub(super) sequence: u64,
    /// When it came.
    pub(super) at: Time,
    pub(super) change: Change,
    /// Its message disappears, so that it waits for none. Not kept.
    pub(super) is_short_lived: bool,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has this text.
    Text(Vec<u8>),
    /// It is removed.
    Removed,
}

impl ContactRecord {
    /// Whether the person turned to them: wrote to them, named them or let them in. What older programs kept
    /// has contacts who only wrote to the person, and may be adversaries.
    pub(super) fn is_chosen(&self) -> bool {
        self.is_present() && !self.turned_away && self.was_turned_to()
    }

    /// Whether the person wrote to them or named them: more than to let in who asked, which is what an adversary
    /// can bring about who only writes.
    pub(super) fn is_sought(&self) -> bool {
        self.is_present() && !self.turned_away && (self.was_written_to() || self.is_named)
    }

    /// Whether the person ever turned to them of their own accord.
    pub(super) const fn was_turned_to(&self) -> bool {
        self.was_written_to() || self.is_named || self.accepted
    }

    /// Whether the person wrote to them: what goes by itself is nobody's word.
    const fn was_written_to(&self) -> bool {
        self.sent > 0 && !self.is_only_told
    }

    /// Whether they are a contact: let in, and not removed.
    pub(super) fn is_present(&self) -> bool {
        self.removed_at.is_none() && self.admission == Admission::Admitted
    }

    /// Whether the mailboxes of the conversation with them are collected. What somebody wrote before they were
    /// removed is (PROTOCOL §4.8).
    pub(super) fn is_listened_to(&self) -> bool {
        self.removed_at.is_some()
            || self.admission == Admission::Admitted
            || self.is_fellow && self.admission != Admission::Blocked
    }

    pub(super) fn new(address: Address, name: String) -> Self {
        Self {
            address,
            key: None,
            name,
            is_named: false,
            turned_away: false,
            note: String::new(),
            removed_at: None,
            card: None,
            established: false,
            sent: 0,
            is_only_told: false,
            previous: None,
            received: Received::default(),
            timer: Timing::default(),
            receipts: ReceiptRule::default(),
            unread: 0,
            muted: false,
            admission: Admission::Admitted,
            accepted: false,
            compared_at: None,
            tie: Tie::default(),
            is_fellow: false,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let card = self.card.as_ref().map(|card| card.to_bytes()).unwrap_or_default();
        let start = SignedBytes::new(CONTACT)
            .array(self.address.as_bytes())
            .bytes(self.key.as_ref().map_or(&[], |key| &key.as_bytes()[..]))
            .bytes(self.name.as_bytes())
            .u8(u8::from(self.is_named)
                | u8::from(self.turned_away) << 1
                | u8::from(self.accepted) << 2
                | u8::from(self.is_fellow) << 3
                | u8::from(self.is_only_told) << 4)
            .bytes(&card)
            .u8(u8::from(self.established))
            .u64(self.sent)
            .bytes(message_id(&self.previous))
            .bytes(self.note.as_bytes())
            .u64(millis(self.removed_at));
        let set_by = self.timer.set_by.map(|address| *address.as_bytes());
        let (admission, admission_at) = match self.admission {
            Admission::Admitted => (0, Time::ZERO),
            Admission::Asking { since } => (1, since),
            Admission::Refused { until } => (2, until),
            Admission::Blocked => (3, Time::ZERO),
            Admission::Stranger => (4, Time::ZERO),
        };
        self.received
            .write(start)
            .u64(self.timer.lifetime.map_or(0, Span::as_millis))
            .u64(self.timer.set_at.as_millis())
            .bytes(set_by.as_ref().map_or(&[], |address| &address[..]))
            .u8(match self.receipts {
                ReceiptRule::AsForAll => 0,
                ReceiptRule::Send => 1,
                ReceiptRule::Withhold => 2,
            })
            .u64(self.unread)
            .u8(u8::from(self.muted))
            .u8(admission)
            .u64(admission_at.as_millis())
            .u64(millis(self.compared_at))
            .finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).map_err(|_| StoreError::Damaged("contacts"))
    }

    fn read(bytes: &[u8]) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(bytes);
        let layouts = [CONTACT_V1, CONTACT_V2, CONTACT_V3, CONTACT];
        let known = layouts.into_iter().position(|context| fields.context(context).is_ok());
        let layout = known.ok_or(FieldError::Context)? + 1;
        let mut record = Self::new(Address::from_bytes(fields.array()?), String::new());
        record.key = fields.bytes(PublicKey::LEN)?.try_into().ok().map(PublicKey::from_bytes);
        record.name = text(&mut fields)?;
        let standing = fields.u8()?;
        (record.is_named, record.turned_away) = (standing & 1 != 0, standing & 2 != 0);
        (record.accepted, record.is_fellow) = (standing & 4 != 0, standing & 8 != 0);
        record.is_only_told = standing & 16 != 0;
        record.card = Card::from_stored(fields.bytes(CARD_LEN_MAX)?);
        record.established = fields.u8()? == 1;
        record.sent = fields.u64()?;
        record.previous = read_message_id(&mut fields)?;
        if layout == 1 {
            record.received = Received::read_first_layout(&mut fields)?;
            return Ok(record);
        }
        record.note = text(&mut fields)?;
        record.removed_at = read_time(&mut fields)?;
        record.received = Received::read(&mut fields)?;
        if layout >= 3 {
            record.timer = read_timing(&mut fields)?;
            record.receipts = match fields.u8()? {
                1 => ReceiptRule::Send,
                2 => ReceiptRule::Withhold,
                _ => ReceiptRule::AsForAll,
            };
            record.unread = fields.u64()?;
            record.muted = fields.u8()? == 1;
        }
        if layout >= 4 {
            record.admission = read_admission(&mut fields)?;
            record.compared_at = read_time(&mut fields)?;
        }
        Ok(record)
    }
}

impl Outgoing {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let envelope = self.envelope.as_ref().map(Envelope::to_stored).unwrap_or_default();
        let (state, value) = state_fields(self.state);
        SignedBytes::new(OUTGOING)
            .u32(self.contact)
            .u16(self.content_type.0)
            .bytes(&self.body)
            .u64(self.sequence)
            .bytes(message_id(&self.previous))
            .u64(self.sent_at.as_millis())
            .u64(self.expires_at.as_millis())
            .u8(state)
            .u64(value)
            .bytes(&envelope)
            .finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).map_err(|_| StoreError::Damaged("outbox"))
    }

    fn read(bytes: &[u8]) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(bytes);
        fields.context(OUTGOING)?;
        Ok(Self {
            contact: fields.u32()?,
            content_type: ContentType(fields.u16()?),
            body: fields.bytes(FIELD_MAX)?.to_vec(),
            sequence: fields.u64()?,
            previous: read_message_id(&mut fields)?,
            sent_at: Time::from_millis(fields.u64()?),
            expires_at: Time::from_millis(fields.u64()?),
            state: read_state(&mut fields)?,
            envelope: Envelope::from_stored(fields.bytes(FIELD_MAX)?.to_vec()).ok(),
        })
    }
}

impl Revision {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (kind, text) = match &self.change {
            Change::Text(text) => (1, &text[..]),
            Change::Removed => (2, &[][..]),
        };
        let start = SignedBytes::new(REVISION).u64(self.sequence).u64(self.at.as_millis());
        start.u8(kind).bytes(text).finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).map_err(|_| StoreError::Damaged("waiting"))
    }

    fn read(bytes: &[u8]) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(bytes);
        fields.context(REVISION)?;
        let (sequence, at) = (fields.u64()?, Time::from_millis(fields.u64()?));
        let (kind, text) = (fields.u8()?, fields.bytes(FIELD_MAX)?);
        let change = if kind == 1 { Change::Text(text.to_vec()) } else { Change::Removed };
        Ok(Self::new(sequence, at, change))
    }
}

/// A line of history as it is kept; the contact stands in its key.
pub(super) fn entry_to_bytes(entry: &Entry) -> Vec<u8> {
    let Marks { edited, deleted_at, disappears_at } = entry.marks;
    let start = SignedBytes::new(ENTRY)
        .array(entry.contact.as_bytes())
        .u16(entry.content_type.0)
        .bytes(&entry.body)
        .u64(entry.sequence)
        .u64(entry.sent_at.as_millis())
        .u64(entry.stored_at.as_millis())
        .bytes(message_id(&entry.id))
        .bytes(message_id(&entry.answers))
        .u64(edited.map_or(0, |edited| edited.sequence))
        .u64(millis(edited.map(|edited| edited.at)))
        .u64(millis(deleted_at))
        .u64(millis(disappears_at));
    match entry.author {
        Author::Us { state, envelope } => {
            let (code, value) = state_fields(state);
            let envelope = envelope.map(|id| *id.as_bytes());
            start
                .u8(1)
                .u8(code)
                .u64(value)
                .bytes(envelope.as_ref().map_or(&[], |id| &id[..]))
                .u64(millis(entry.steps.accepted_at))
                .u64(millis(entry.steps.stored_at))
                .u32(entry.steps.copies)
                .u64(millis(entry.steps.ended_at))
                .u64(millis(entry.steps.read_at))
        }
        // Before which it belongs is told by its key.
        Author::Them { missing_before, place } => {
            start.u8(2).u64(missing_before).u8(u8::from(place.is_late()))
        }
    }
    .finish()
}

/// Reads [`entry_to_bytes`] back.
pub(super) fn entry_from_bytes(number: MessageNumber, bytes: &[u8]) -> Result<Entry, StoreError> {
    let mut fields = FieldReader::new(bytes);
    let read = match fields.context(ENTRY_V1) {
        Ok(()) => read_first_entry(number, &mut fields),
        Err(_) => fields.context(ENTRY).and_then(|()| read_entry(number, &mut fields)),
    };
    read.map_err(|_| StoreError::Damaged("history"))
}

fn read_entry(number: MessageNumber, fields: &mut FieldReader<'_>) -> Result<Entry, FieldError> {
    let mut entry = read_entry_head(number, fields)?;
    (entry.id, entry.answers) = (read_message_id(fields)?, read_message_id(fields)?);
    let (sequence, at) = (fields.u64()?, fields.u64()?);
    let edited = Edited { sequence, at: Time::from_millis(at) };
    entry.marks.edited = Some(edited).filter(|edited| edited.sequence > 0);
    entry.marks.deleted_at = read_time(fields)?;
    entry.marks.disappears_at = read_time(fields)?;
    entry.author = read_author(fields)?;
    if let Author::Us { .. } = entry.author {
        let (accepted_at, stored_at) = (read_time(fields)?, read_time(fields)?);
        let (copies, ended_at) = (fields.u32()?, read_time(fields)?);
        let read_at = read_time(fields)?;
        entry.steps = Steps { accepted_at, stored_at, copies, ended_at, read_at };
    }
    Ok(entry)
}

/// What the older program kept as unsupported is read as this one reads it.
fn read_first_entry(
    number: MessageNumber,
    fields: &mut FieldReader<'_>,
) -> Result<Entry, FieldError> {
    let mut entry = read_entry_head(number, fields)?;
    entry.author = read_author(fields)?;
    let body = std::mem::take(&mut entry.body);
    match Content::read(entry.content_type, body) {
        Content::Text(text) => {
            entry.content_type = ContentType::TEXT;
            (entry.body, entry.answers) = (text.text, text.answers);
        }
        other => (entry.content_type, entry.body) = other.write(),
    }
    Ok(entry)
}

/// What both layouts begin with.
fn read_entry_head(
    number: MessageNumber,
    fields: &mut FieldReader<'_>,
) -> Result<Entry, FieldError> {
    Ok(Entry {
        number,
        contact: Address::from_bytes(fields.array()?),
        author: Author::Them { missing_before: 0, place: Place::InTurn },
        content_type: ContentType(fields.u16()?),
        body: fields.bytes(FIELD_MAX)?.to_vec(),
        sequence: fields.u64()?,
        sent_at: Time::from_millis(fields.u64()?),
        stored_at: Time::from_millis(fields.u64()?),
        id: None,
        answers: None,
        marks: Marks::default(),
        steps: Steps::default(),
    })
}

fn read_author(fields: &mut FieldReader<'_>) -> Result<Author, FieldError> {
    if fields.u8()? == 1 {
        let state = read_state(fields)?;
        let envelope = fields.bytes(EnvelopeId::LEN)?.try_into().ok();
        return Ok(Author::Us { state, envelope: envelope.map(EnvelopeId::from_bytes) });
    }
    let missing_before = fields.u64()?;
    let place = if fields.u8()? == 1 { Place::Unknown } else { Place::InTurn };
    Ok(Author::Them { missing_before, place })
}

pub(super) const fn state_fields(state: MessageState) -> (u8, u64) {
    match state {
        MessageState::Queued => (1, 0),
        MessageState::Accepted => (2, 0),
        MessageState::Stored(relays) => (3, relays as u64),
        MessageState::Delivered { at } => (4, at.as_millis()),
        MessageState::Expired => (5, 0),
        MessageState::Cancelled => (6, 0),
    }
}

pub(super) fn read_state(fields: &mut FieldReader<'_>) -> Result<MessageState, FieldError> {
    let (code, value) = (fields.u8()?, fields.u64()?);
    Ok(match code {
        2 => MessageState::Accepted,
        3 => MessageState::Stored(u32::try_from(value).unwrap_or(u32::MAX)),
        4 => MessageState::Delivered { at: Time::from_millis(value) },
        5 => MessageState::Expired,
        6 => MessageState::Cancelled,
        _ => MessageState::Queued,
    })
}

impl Letter {
    /// What others refer to it by.
    pub(super) fn id(&self) -> MessageId {
        self.payload.id(&self.sender)
    }

    /// How it is held until its author is let in; none if it is longer than any that could have come.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let class = payload::class_for(self.payload.body.len())?;
        let payload = self.payload.encode(class).ok()?;
        let start = SignedBytes::new(HELD).u64(self.came_at.as_millis());
        Some(start.array(self.sender.as_bytes()).bytes(&payload).finish())
    }

    pub(super) fn from_bytes(number: MessageNumber, bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(number, bytes).ok_or(StoreError::Damaged("requests"))
    }

    fn read(number: MessageNumber, bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        fields.context(HELD).ok()?;
        let came_at = Time::from_millis(fields.u64().ok()?);
        let sender = PublicKey::from_bytes(fields.array().ok()?);
        let payload = Payload::decode(fields.bytes(FIELD_MAX).ok()?).ok()?;
        Some(Self { sender, payload, number, came_at })
    }
}

fn read_admission(fields: &mut FieldReader<'_>) -> Result<Admission, FieldError> {
    let (code, at) = (fields.u8()?, Time::from_millis(fields.u64()?));
    Ok(match code {
        1 => Admission::Asking { since: at },
        2 => Admission::Refused { until: at },
        3 => Admission::Blocked,
        4 => Admission::Stranger,
        _ => Admission::Admitted,
    })
}

fn read_timing(fields: &mut FieldReader<'_>) -> Result<Timing, FieldError> {
    let lifetime = Some(fields.u64()?).filter(|millis| *millis > 0).map(Span::from_millis);
    let set_at = Time::from_millis(fields.u64()?);
    let set_by = fields.bytes(Address::LEN)?.try_into().ok().map(Address::from_bytes);
    Ok(Timing { lifetime, set_at, set_by })
}

fn text(fields: &mut FieldReader<'_>) -> Result<String, FieldError> {
    Ok(String::from_utf8_lossy(fields.bytes(FIELD_MAX)?).into_owned())
}

/// 0 for none.
fn millis(at: Option<Time>) -> u64 {
    at.map_or(0, Time::as_millis)
}

fn read_time(fields: &mut FieldReader<'_>) -> Result<Option<Time>, FieldError> {
    Ok(Some(fields.u64()?).filter(|at| *at > 0).map(Time::from_millis))
}

fn message_id(id: &Option<MessageId>) -> &[u8] {
    id.as_ref().map_or(&[], |id| &id.as_bytes()[..])
}

fn read_message_id(fields: &mut FieldReader<'_>) -> Result<Option<MessageId>, FieldError> {
    Ok(fields.bytes(MessageId::LEN)?.try_into().ok().map(MessageId::from_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_read_back_with_its_timer() {
        let mut record = ContactRecord::new(Address::from_bytes([1; 20]), "ann".to_owned());
        for set_by in [None, Some(Address::from_bytes([2; 20]))] {
            let lifetime = set_by.map(|_| Span::HOUR);
            record.timer = Timing { lifetime, set_at: Time::from_millis(3), set_by };
            assert_eq!(ContactRecord::from_bytes(&record.to_bytes()).unwrap().timer, record.timer);
        }
    }

    /// What older programs kept was let in: it had been shown.
    #[test]
    fn a_contact_of_the_third_layout_is_let_in_and_one_of_today_is_read_back() {
        let mut record = ContactRecord::new(Address::from_bytes([1; 20]), "ann".to_owned());
        let at = Time::from_millis(7);
        (record.muted, record.compared_at) = (true, Some(at));
        for admission in [
            Admission::Admitted,
            Admission::Asking { since: at },
            Admission::Refused { until: at },
            Admission::Blocked,
        ] {
            (record.admission, record.accepted) = (admission, admission == Admission::Blocked);
            let bytes = record.to_bytes();
            let read = ContactRecord::from_bytes(&bytes).unwrap();
            assert_eq!((read.admission, read.accepted), (admission, record.accepted));
            assert_eq!((read.compared_at, read.muted), (Some(at), true));
            let tail = bytes.len() - 1 - 8 - 8;
            let third = [CONTACT_V3, &bytes[CONTACT.len()..tail]].concat();
            let read = ContactRecord::from_bytes(&third).unwrap();
            assert_eq!(
                (read.admission, read.compared_at, read.muted),
                (Admission::Admitted, None, true)
            );
        }
    }

    #[test]
    fn what_is_held_is_read_back_and_damage_is_told() {
        let payload = Payload {
            content_type: ContentType::TEXT,
            sequence: std::num::NonZeroU64::MIN,
            previous: None,
            sent_at: Time::from_millis(2),
            expires_at: Time::from_millis(3),
            recipient: Address::from_bytes([4; 20]),
            body: b"hello".to_vec(),
        };
        let (number, came_at) = (MessageNumber(5), Time::from_millis(6));
        let letter = Letter { sender: PublicKey::from_bytes([7; 32]), payload, number, came_at };
        let bytes = letter.to_bytes().unwrap();
        assert_eq!(Letter::from_bytes(number, &bytes), Ok(letter));
        let damaged = StoreError::Damaged("requests");
        assert_eq!(Letter::from_bytes(number, &bytes[..40]), Err(damaged));
    }

    #[test]
    fn a_contact_of_the_first_layout_is_read_and_written_in_the_latest() {
        let (address, key) = (Address::from_bytes([1; 20]), [3; 32]);
        let first = SignedBytes::new(CONTACT_V1)
            .array(address.as_bytes())
            .bytes(&key)
            .bytes("ann".as_bytes())
            .u8(1)
            .bytes(&[])
            .u8(1)
            .u64(7)
            .bytes(&[5; 32])
            .u64(4)
            .u32(1)
            .u64(2)
            .finish();
        for bytes in [first.clone(), ContactRecord::from_bytes(&first).unwrap().to_bytes()] {
            let record = ContactRecord::from_bytes(&bytes).unwrap();
            assert_eq!((record.address, record.name.as_str()), (address, "ann"));
            assert_eq!(record.key, Some(PublicKey::from_bytes(key)));
            assert!(record.is_named && record.established && record.removed_at.is_none());
            assert_eq!((record.sent, record.previous.is_some()), (7, true));
            assert_eq!((record.received.missing(), record.note.as_str()), (1, ""));
        }
    }

    #[test]
    fn entries_read_back_in_both_directions() {
        let ours = Author::Us {
            state: MessageState::Delivered { at: Time::from_millis(9) },
            envelope: Some(EnvelopeId::from_bytes([3; 32])),
        };
        let steps = Steps {
            accepted_at: Some(Time::from_millis(13)),
            stored_at: Some(Time::from_millis(14)),
            copies: 15,
            ended_at: Some(Time::from_millis(16)),
            read_at: Some(Time::from_millis(18)),
        };
        for author in [ours, Author::Them { missing_before: 2, place: Place::Unknown }] {
            let entry = Entry {
                number: MessageNumber(4),
                contact: Address::from_bytes([1; 20]),
                author,
                content_type: ContentType::TEXT,
                body: b"text".to_vec(),
                sequence: 5,
                sent_at: Time::from_millis(6),
                stored_at: Time::from_millis(7),
                id: Some(MessageId::from_bytes([8; 32])),
                answers: Some(MessageId::from_bytes([9; 32])),
                marks: Marks {
                    edited: Some(Edited { sequence: 10, at: Time::from_millis(11) }),
                    deleted_at: Some(Time::from_millis(12)),
                    disappears_at: Some(Time::from_millis(17)),
                },
                steps: match author {
                    Author::Us { .. } => steps,
                    Author::Them { .. } => Steps::default(),
                },
            };
            assert_eq!(entry_from_bytes(MessageNumber(4), &entry_to_bytes(&entry)), Ok(entry));
        }
        assert_eq!(entry_from_bytes(MessageNumber(4), b"x"), Err(StoreError::Damaged("history")));
    }

    #[test]
    fn revisions_read_back() {
        for change in [Change::Text(b"text".to_vec()), Change::Removed] {
            let revision = Revision::new(3, Time::from_millis(4), change);
            assert_eq!(Revision::from_bytes(&revision.to_bytes()), Ok(revision));
        }
        assert_eq!(Revision::from_bytes(b"x"), Err(StoreError::Damaged("waiting")));
    }
}
