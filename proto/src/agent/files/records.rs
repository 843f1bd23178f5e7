//! What an agent keeps of files on disk, and its layout there.

use crate::agent::entry::MessageNumber;
use crate::file::{Offer, RANGES_MAX, Range};
use crate::payload::MessageId;
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};
use crate::store::StoreError;
use crate::time::Time;

use super::io::FileEnd;
use super::{GIVING_MAX, PLACE_MAX};

const FILE: &[u8] = b"comm/agent/file/v1\0";
const READER: &[u8] = b"comm/agent/file-reader/v1\0";
/// No offer is longer.
const OFFER_MAX: usize = 1 << 10;

/// A file that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRecord {
    /// Whose it is, or to whom it was offered.
    pub(super) contact: u32,
    /// The message that offers it.
    pub(super) id: MessageId,
    pub(super) offer: Offer,
    pub(super) state: FileState,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    /// We have offered it.
    Ours {
        place: Vec<u8>,
        is_given: bool,
    },
    /// It was offered to us.
    Open,
    /// We have taken it.
    Taken {
        place: Vec<u8>,
        name: String,
    },
    /// It is here.
    Here {
        place: Vec<u8>,
    },
    Ended(FileEnd),
}

/// What is wanted of a file of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// When whoever wants it said so, by their clock: of two such notes the later counts.
    pub(super) asked_at: Time,
    /// What has not left.
    pub(super) ranges: Vec<Range>,
}

impl FileRecord {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let start = SignedBytes::new(FILE).u32(self.contact).array(self.id.as_bytes());
        let start = start.bytes(&self.offer.to_bytes());
        match &self.state {
            FileState::Ours { place, is_given } => start.u8(1).bytes(place).u8(u8::from(*is_given)),
            FileState::Open => start.u8(2),
            FileState::Taken { place, name } => start.u8(3).bytes(place).bytes(name.as_bytes()),
            FileState::Here { place } => start.u8(4).bytes(place),
            FileState::Ended(end) => start.u8(5).u8(match end {
                FileEnd::Refused => 1,
                FileEnd::Withdrawn => 2,
                FileEnd::Unreadable => 3,
                FileEnd::Forged => 4,
            }),
        }
        .finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).ok_or(StoreError::Damaged("files"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        fields.context(FILE).ok()?;
        let (contact, id) = (fields.u32().ok()?, MessageId::from_bytes(fields.array().ok()?));
        let offer = Offer::from_bytes(fields.bytes(OFFER_MAX).ok()?).ok()?;
        let place = |fields: &mut FieldReader<'_>| fields.bytes(PLACE_MAX).ok().map(<[u8]>::to_vec);
        let state = match fields.u8().ok()? {
            1 => FileState::Ours { place: place(&mut fields)?, is_given: fields.u8().ok()? == 1 },
            2 => FileState::Open,
            3 => {
                let place = place(&mut fields)?;
                let name = fields.bytes(OFFER_MAX).ok()?.to_vec();
                FileState::Taken { place, name: String::from_utf8(name).ok()? }
            }
            4 => FileState::Here { place: place(&mut fields)? },
            5 => FileState::Ended(match fields.u8().ok()? {
                1 => FileEnd::Refused,
                2 => FileEnd::Withdrawn,
                3 => FileEnd::Unreadable,
                4 => FileEnd::Forged,
                _ => return None,
            }),
            _ => return None,
        };
        Some(Self { contact, id, offer, state })
    }
}

impl Wanted {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let start = SignedBytes::new(READER).u64(self.asked_at.as_millis());
        let start = start.u32(self.ranges.len() as u32);
        let all = self.ranges.iter();
        all.fold(start, |bytes, range| bytes.u32(range.first).u32(range.count)).finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).map_err(|_| StoreError::Damaged("file-readers"))
    }

    fn read(bytes: &[u8]) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(bytes);
        fields.context(READER)?;
        let (asked_at, count) = (Time::from_millis(fields.u64()?), fields.u32()?);
        if count as usize > RANGES_MAX + GIVING_MAX {
            return Err(FieldError::TooLong);
        }
        let range = |fields: &mut FieldReader<'_>| {
            Ok::<_, FieldError>(Range { first: fields.u32()?, count: fields.u32()? })
        };
        let ranges = (0..count).map(|_| range(&mut fields)).collect::<Result<_, _>>()?;
        Ok(Self { asked_at, ranges })
    }
}

pub(super) fn file_key(number: MessageNumber) -> Vec<u8> {
    number.0.to_be_bytes().to_vec()
}

/// Of a page of pieces.
pub(super) fn page_key(number: MessageNumber, page: u32) -> Vec<u8> {
    [&number.0.to_be_bytes()[..], &page.to_be_bytes()].concat()
}

/// All pages of a file are from here to the same of the next number.
pub(super) fn pages_of(number: MessageNumber) -> (Vec<u8>, Vec<u8>) {
    (file_key(number), file_key(MessageNumber(number.0.saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::FileRoot;

    #[test]
    fn files_and_what_is_wanted_of_them_are_read_back_and_damage_is_told() {
        let offer = Offer::new(9, FileRoot::from_bytes([1; 32]), "cat.jpg").unwrap();
        let place = b"/tmp/x".to_vec();
        let name = "dog.jpg".to_owned();
        for state in [
            FileState::Ours { place: place.clone(), is_given: true },
            FileState::Open,
            FileState::Taken { place: place.clone(), name },
            FileState::Here { place },
            FileState::Ended(FileEnd::Refused),
            FileState::Ended(FileEnd::Withdrawn),
            FileState::Ended(FileEnd::Unreadable),
            FileState::Ended(FileEnd::Forged),
        ] {
            let (id, offer) = (MessageId::from_bytes([2; 32]), offer.clone());
            let record = FileRecord { contact: 3, id, offer, state };
            assert_eq!(FileRecord::from_bytes(&record.to_bytes()), Ok(record));
        }
        assert_eq!(FileRecord::from_bytes(b"x"), Err(StoreError::Damaged("files")));
        let ranges = vec![Range { first: 1, count: 2 }];
        let wanted = Wanted { asked_at: Time::from_millis(4), ranges };
        assert_eq!(Wanted::from_bytes(&wanted.to_bytes()), Ok(wanted));
        assert_eq!(Wanted::from_bytes(b"x"), Err(StoreError::Damaged("file-readers")));
    }
}
