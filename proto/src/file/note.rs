//! What two programs say to each other about a file: messages of type 11.

use thiserror::Error;

use crate::payload::MessageId;
use crate::signed_bytes::{FieldError, FieldReader};

use super::PIECE_LEN;
use super::tree::{PROOF_HASHES_MAX, Piece};

/// The most ranges of pieces that one note asks for.
pub const RANGES_MAX: usize = 64;

const WANT: u8 = 1;
const PIECE: u8 = 2;
const REFUSE: u8 = 3;
const GONE: u8 = 4;
const WHOLE: u8 = 5;

/// Bytes that tell which piece of which file a note brings.
const PIECE_HEAD_LEN: usize = 1 + MessageId::LEN + 4;

/// A note about the file that a message has offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileNote {
    /// Its author lacks these pieces and asks for them; what they asked for before is replaced.
    Want {
        /// The message that offered the file.
        file: MessageId,
        /// 1 to [`RANGES_MAX`], rising, of which no two touch.
        ranges: Vec<Range>,
    },
    /// A piece.
    Piece {
        /// The message that offered the file.
        file: MessageId,
        /// Which, from 0.
        index: u32,
        /// What it is, with its proof.
        piece: Piece,
    },
    /// Its author does not want the file, or wants it no more.
    Refuse(MessageId),
    /// Its author does not give the file any more.
    Gone {
        /// The message that offered the file.
        file: MessageId,
        /// Why.
        reason: Reason,
    },
    /// Its author has the whole file.
    Whole(MessageId),
}

/// Pieces in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first.
    pub first: u32,
    /// How many, at least 1.
    pub count: u32,
}

/// Why a file is not given any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Whoever offered it does not any more.
    Withdrawn,
    /// It cannot be read, or is another one by now.
    Unreadable,
}

/// Why bytes are no note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this is no note about a file")]
pub struct NoteError;

impl Range {
    /// The first piece behind these.
    pub const fn end(self) -> u32 {
        self.first.saturating_add(self.count)
    }
}

impl FileNote {
    /// The message that offered the file.
    pub const fn file(&self) -> MessageId {
        match self {
            Self::Want { file, .. } | Self::Piece { file, .. } | Self::Gone { file, .. } => *file,
            Self::Refuse(file) | Self::Whole(file) => *file,
        }
    }

    /// The body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let begin = |kind: u8, file: &MessageId| [&[kind], &file.as_bytes()[..]].concat();
        match self {
            Self::Want { file, ranges } => {
                let mut bytes = begin(WANT, file);
                bytes.push(u8::try_from(ranges.len()).expect("a note has a few ranges"));
                for range in ranges {
                    bytes.extend_from_slice(&range.first.to_be_bytes());
                    bytes.extend_from_slice(&range.count.to_be_bytes());
                }
                bytes
            }
            Self::Piece { file, index, piece } => {
                let mut bytes = begin(PIECE, file);
                bytes.extend_from_slice(&index.to_be_bytes());
                bytes.push(u8::try_from(piece.proof.len()).expect("a proof is short"));
                piece.proof.iter().for_each(|hash| bytes.extend_from_slice(hash));
                bytes.extend_from_slice(&piece.data);
                bytes
            }
            Self::Refuse(file) => begin(REFUSE, file),
            Self::Gone { file, reason } => {
                let mut bytes = begin(GONE, file);
                bytes.push(match reason {
                    Reason::Withdrawn => 1,
                    Reason::Unreadable => 2,
                });
                bytes
            }
            Self::Whole(file) => begin(WHOLE, file),
        }
    }

    /// Reads a body, which anybody may have made up.
    ///
    /// # Errors
    /// When it is no note.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoteError> {
        let mut fields = FieldReader::new(bytes);
        let kind = fields.u8()?;
        let file = MessageId::from_bytes(fields.array()?);
        let note = match kind {
            WANT => Self::Want { file, ranges: read_ranges(&mut fields)? },
            PIECE => {
                let index = fields.u32()?;
                return read_piece(fields).map(|piece| Self::Piece { file, index, piece });
            }
            REFUSE => Self::Refuse(file),
            GONE => {
                let reason = match fields.u8()? {
                    1 => Reason::Withdrawn,
                    2 => Reason::Unreadable,
                    _ => return Err(NoteError),
                };
                Self::Gone { file, reason }
            }
            WHOLE => Self::Whole(file),
            _ => return Err(NoteError),
        };
        if fields.rest().is_empty() { Ok(note) } else { Err(NoteError) }
    }

    /// What is enough of a body to tell which piece it brought: as much of it as is kept once it is sealed.
    pub(crate) fn head(body: &[u8]) -> &[u8] {
        &body[..body.len().min(PIECE_HEAD_LEN)]
    }

    /// Which piece of which file a body brings, of which only the head need be left.
    pub(crate) fn piece_in(body: &[u8]) -> Option<(MessageId, u32)> {
        let mut fields = FieldReader::new(body);
        (fields.u8().ok()? == PIECE).then_some(())?;
        Some((MessageId::from_bytes(fields.array().ok()?), fields.u32().ok()?))
    }
}

fn read_ranges(fields: &mut FieldReader<'_>) -> Result<Vec<Range>, NoteError> {
    let count = usize::from(fields.u8()?);
    if !(1..=RANGES_MAX).contains(&count) {
        return Err(NoteError);
    }
    let (mut ranges, mut next) = (Vec::with_capacity(count), Some(0));
    for _ in 0..count {
        let range = Range { first: fields.u32()?, count: fields.u32()? };
        let end = range.first.checked_add(range.count).ok_or(NoteError)?;
        if range.count == 0 || next.is_none_or(|next| range.first < next) {
            return Err(NoteError);
        }
        // Two that touch would be one.
        next = end.checked_add(1);
        ranges.push(range);
    }
    Ok(ranges)
}

fn read_piece(mut fields: FieldReader<'_>) -> Result<Piece, NoteError> {
    let hashes = usize::from(fields.u8()?);
    if hashes > PROOF_HASHES_MAX {
        return Err(NoteError);
    }
    let proof = (0..hashes).map(|_| fields.array()).collect::<Result<_, FieldError>>()?;
    let data = fields.rest();
    if !(1..=PIECE_LEN as usize).contains(&data.len()) {
        return Err(NoteError);
    }
    Ok(Piece { data: data.to_vec(), proof })
}

impl From<FieldError> for NoteError {
    fn from(_: FieldError) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::SizeClass;
    use crate::payload;

    const FILE: MessageId = MessageId::from_bytes([7; 32]);

    fn samples() -> Vec<FileNote> {
        let ranges = vec![Range { first: 0, count: 2 }, Range { first: 9, count: 1 }];
        let piece = Piece { data: b"data".to_vec(), proof: vec![[8; 32]] };
        vec![
            FileNote::Want { file: FILE, ranges },
            FileNote::Piece { file: FILE, index: 3, piece },
            FileNote::Refuse(FILE),
            FileNote::Gone { file: FILE, reason: Reason::Withdrawn },
            FileNote::Gone { file: FILE, reason: Reason::Unreadable },
            FileNote::Whole(FILE),
        ]
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn every_note_keeps_its_layout() {
        let id = "07".repeat(32);
        let hash = "08".repeat(32);
        let layouts = [
            format!("01{id}0200000000000000020000000900000001"),
            format!("02{id}0000000301{hash}64617461"),
            format!("03{id}"),
            format!("04{id}01"),
            format!("04{id}02"),
            format!("05{id}"),
        ];
        for (note, layout) in samples().into_iter().zip(layouts) {
            assert_eq!(hex::encode(note.to_bytes()), layout);
            assert_eq!(FileNote::from_bytes(&note.to_bytes()), Ok(note));
        }
    }

    #[test]
    fn the_longest_note_fits_into_the_largest_envelope() {
        let proof = vec![[0; 32]; PROOF_HASHES_MAX];
        let piece = Piece { data: vec![0; PIECE_LEN as usize], proof };
        let longest = FileNote::Piece { file: FILE, index: 0, piece }.to_bytes();
        assert!(longest.len() <= payload::capacity(SizeClass::K64));
        assert_eq!(FileNote::piece_in(FileNote::head(&longest)), Some((FILE, 0)));
        let ranges = (0..RANGES_MAX as u32).map(|n| Range { first: 2 * n, count: 1 }).collect();
        let want = FileNote::Want { file: FILE, ranges };
        assert_eq!(payload::class_for(want.to_bytes().len()), Some(SizeClass::K1));
    }

    #[test]
    fn notes_that_are_laid_out_differently_are_refused() {
        for note in samples() {
            let good = note.to_bytes();
            let is_piece = matches!(note, FileNote::Piece { .. });
            for length in (0..good.len()).filter(|length| !is_piece || *length < 71) {
                assert_eq!(FileNote::from_bytes(&good[..length]), Err(NoteError), "{length}");
            }
            let longer = FileNote::from_bytes(&[&good[..], &[0]].concat());
            assert_eq!(longer.is_ok(), is_piece);
        }
        let id = "07".repeat(32);
        for digits in [
            format!("00{id}"),
            format!("06{id}"),
            format!("04{id}00"),
            // No ranges, an empty one, two that touch, that do not rise, one beyond all numbers.
            format!("01{id}00"),
            format!("01{id}010000000000000000"),
            format!("01{id}0200000000000000020000000200000001"),
            format!("01{id}0200000009000000010000000000000001"),
            format!("01{id}01ffffffff00000001"),
            // No data, and too long a proof.
            format!("02{id}0000000000"),
            format!("02{id}0000000035{}00", "08".repeat(32 * 53)),
        ] {
            let bytes = hex::decode(&digits).unwrap();
            assert_eq!(FileNote::from_bytes(&bytes), Err(NoteError), "{digits}");
        }
        let mut long = hex::decode(format!("02{id}0000000000")).unwrap();
        long.extend(vec![1; PIECE_LEN as usize + 1]);
        assert_eq!(FileNote::from_bytes(&long), Err(NoteError));
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_each_note_has_one_layout(
            kind in 0_u8..7,
            mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(note) = FileNote::from_bytes(&bytes) {
                prop_assert_eq!(note.to_bytes(), bytes);
            }
        }
    }
}
