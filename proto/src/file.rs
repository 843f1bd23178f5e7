//! Files between people, as bytes (PROTOCOL §4.23).
//!
//! Entry types are [`Offer`], by which somebody says what they have to give, [`FileNote`], which two programs say to
//! each other about it, and [`Tree`], by which a piece of a file proves itself. What an agent does with them is
//! [`crate::agent`]'s; no file is opened here.

mod name;
mod note;
mod offer;
mod tree;

pub use name::{NAME_BYTES_MAX, safe_name};
pub use note::{FileNote, NoteError, RANGES_MAX, Range, Reason};
pub use offer::{Offer, OfferError};
pub use tree::{FileRoot, PROOF_HASHES_MAX, Piece, Tree, TreeBuilder};

/// Bytes of a piece; the last one of a file may have fewer. With its proof it fits into the largest envelope.
pub const PIECE_LEN: u32 = 60 << 10;
/// The largest file, in bytes: 64 GiB.
pub const SIZE_MAX: u64 = 1 << 36;

/// How many pieces a file of `size` bytes has.
pub const fn pieces_of(size: u64) -> u32 {
    let pieces = size.div_ceil(PIECE_LEN as u64);
    // A file has at most 2^36 bytes.
    if pieces > u32::MAX as u64 { u32::MAX } else { pieces as u32 }
}

/// Where a piece begins and how long it is; nothing if the file has no such piece, or there is no such file.
pub const fn place_of(size: u64, index: u32) -> Option<(u64, usize)> {
    let start = index as u64 * PIECE_LEN as u64;
    if start >= size || size > SIZE_MAX {
        return None;
    }
    let left = size - start;
    let length = if left < PIECE_LEN as u64 { left } else { PIECE_LEN as u64 };
    Some((start, length as usize))
}
