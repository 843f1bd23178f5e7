//! What a member's place in a room looks like on disk.
//!
//! The log is kept event by event, and what waits for events line by line; both are given back one by one. The rest
//! of a [`Seat`] is small and one value: [`Seat::to_bytes`].

use std::collections::BTreeMap;

use super::log::Log;
use super::seat::Seat;
use super::talk::{Numbers, Talk};
use crate::key::{KeyPair, PublicKey};
use crate::payload::MessageId;
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};

const CONTEXT: &[u8] = b"comm/room-seat/v1\0";
/// Of how many authors numbers are kept who are members no more, as if they were to come again.
const FORMER_MAX: usize = 200;

impl Seat {
    /// What has to be remembered of it beside the log and what waits.
    pub fn to_bytes(&self) -> Vec<u8> {
        let start = SignedBytes::new(CONTEXT).u64(self.said).bytes(id(&self.last));
        let start = start.u32(self.audience.len() as u32);
        let bytes = self.audience.iter().fold(start, |bytes, (key, (drawn, first))| {
            bytes.array(key.as_bytes()).array(drawn).u64(*first)
        });
        self.talk.write(bytes, |author| self.state().is_member(author)).finish()
    }

    /// The seat of somebody whose log it is, as [`Self::to_bytes`] described it; nothing if that was no description.
    /// What had waited is to be handed in again ([`Self::hold_again`]).
    pub fn restore(me: KeyPair, log: Log, bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        fields.context(CONTEXT).ok()?;
        let mut seat = Self::take(me, log);
        seat.said = fields.u64().ok()?;
        seat.last = read_id(&mut fields).ok()?;
        for _ in 0..fields.u32().ok()? {
            let key = PublicKey::from_bytes(fields.array().ok()?);
            let (drawn, first) = (fields.array().ok()?, fields.u64().ok()?);
            seat.audience.insert(key, (drawn, first));
        }
        seat.talk = Talk::read(&mut fields).ok()?;
        Some(seat)
    }
}

impl Talk {
    fn write(&self, bytes: SignedBytes, is_member: impl Fn(&PublicKey) -> bool) -> SignedBytes {
        let members = self.authors.iter().filter(|(author, _)| is_member(author));
        let former = self.authors.iter().filter(|(author, _)| !is_member(author));
        let kept: Vec<_> = members.chain(former.take(FORMER_MAX)).collect();
        kept.iter().fold(bytes.u32(kept.len() as u32), |bytes, (author, numbers)| {
            numbers.write(bytes.array(author.as_bytes()))
        })
    }

    fn read(fields: &mut FieldReader<'_>) -> Result<Self, FieldError> {
        let mut talk = Self::default();
        for _ in 0..fields.u32()? {
            let author = PublicKey::from_bytes(fields.array()?);
            talk.authors.insert(author, Numbers::read(fields)?);
        }
        Ok(talk)
    }
}

impl Numbers {
    fn write(&self, bytes: SignedBytes) -> SignedBytes {
        let start = bytes.array(&self.membership).u64(self.highest).bytes(id(&self.last));
        let start = start.u32(self.gaps.len() as u32);
        self.gaps.iter().fold(start, |bytes, (first, last)| bytes.u64(*first).u64(*last))
    }

    fn read(fields: &mut FieldReader<'_>) -> Result<Self, FieldError> {
        let (membership, highest) = (fields.array()?, fields.u64()?);
        let last = read_id(fields)?;
        let mut gaps = BTreeMap::new();
        for _ in 0..fields.u32()? {
            let (first, last) = (fields.u64()?, fields.u64()?);
            gaps.insert(first, last.max(first));
        }
        Ok(Self { membership, highest, last, gaps })
    }
}

fn id(id: &Option<MessageId>) -> &[u8] {
    id.as_ref().map_or(&[], |id| &id.as_bytes()[..])
}

fn read_id(fields: &mut FieldReader<'_>) -> Result<Option<MessageId>, FieldError> {
    Ok(fields.bytes(MessageId::LEN)?.try_into().ok().map(MessageId::from_bytes))
}
