//! What somebody offers: how much, its root, and what they call it.

use thiserror::Error;

use crate::signed_bytes::{FieldError, FieldReader};

use super::tree::FileRoot;
use super::{PIECE_LEN, SIZE_MAX, safe_name};

/// The only version so far.
const VERSION: u8 = 1;
/// The longest name in bytes, as it is sent.
const NAME_MAX: usize = 255;

/// The body of a message of type 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    size: u64,
    root: FileRoot,
    name: String,
}

/// Why there is no such offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OfferError {
    /// Its layout.
    #[error("the offer of a file is not laid out as one")]
    Layout,
    /// A later version.
    #[error("the offer of a file has version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// The size.
    #[error("a file has 1 to {SIZE_MAX} bytes, this has {0}")]
    Size(u64),
    /// The length of pieces.
    #[error("a file goes in pieces of {PIECE_LEN} bytes, not of {0}")]
    PieceLength(u32),
}

impl Offer {
    /// An offer of a file that its owner calls `name`. The name is made safe.
    ///
    /// # Errors
    /// When the size is 0 or above [`SIZE_MAX`].
    pub fn new(size: u64, root: FileRoot, name: &str) -> Result<Self, OfferError> {
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(OfferError::Size(size));
        }
        Ok(Self { size, root, name: safe_name(name) })
    }

    /// Bytes of the file, 1 to [`SIZE_MAX`].
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of its tree.
    pub const fn root(&self) -> &FileRoot {
        &self.root
    }

    /// What it is called: a name that is safe on every system ([`safe_name`]), whatever its author has written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.size.to_be_bytes());
        bytes.extend_from_slice(&PIECE_LEN.to_be_bytes());
        bytes.extend_from_slice(self.root.as_bytes());
        bytes.push(u8::try_from(self.name.len()).expect("a safe name is short"));
        bytes.extend_from_slice(self.name.as_bytes());
        bytes
    }

    /// Reads a body, which anybody may have made up.
    ///
    /// # Errors
    /// Why it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OfferError> {
        let mut fields = FieldReader::new(bytes);
        let version = fields.u8()?;
        if version != VERSION {
            return Err(OfferError::Version(version));
        }
        let (size, piece_len) = (fields.u64()?, fields.u32()?);
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(OfferError::Size(size));
        }
        if piece_len != PIECE_LEN {
            return Err(OfferError::PieceLength(piece_len));
        }
        let root = FileRoot::from_bytes(fields.array()?);
        let length = usize::from(fields.u8()?);
        let name = fields.rest();
        if name.len() != length || !(1..=NAME_MAX).contains(&length) {
            return Err(OfferError::Layout);
        }
        let name = std::str::from_utf8(name).map_err(|_| OfferError::Layout)?;
        Self::new(size, root, name)
    }
}

impl From<FieldError> for OfferError {
    fn from(_: FieldError) -> Self {
        Self::Layout
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOT: FileRoot = FileRoot::from_bytes([7; 32]);

    fn with(size: u64, piece_len: u32, name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&piece_len.to_be_bytes());
        bytes.extend_from_slice(ROOT.as_bytes());
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name);
        bytes
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn the_layout_keeps_its_vector() {
        let offer = Offer::new(1_000_000, ROOT, "cat.jpg").unwrap();
        let digits = format!("0100000000000f42400000f000{}076361742e6a7067", "07".repeat(32));
        assert_eq!(hex::encode(offer.to_bytes()), digits);
        assert_eq!(Offer::from_bytes(&offer.to_bytes()), Ok(offer));
    }

    /// E36.
    #[test]
    fn offers_of_impossible_sizes_or_pieces_are_refused() {
        let read = |size, piece_len| Offer::from_bytes(&with(size, piece_len, b"x"));
        for size in [0, SIZE_MAX + 1, 1 << 63, -1_i64 as u64, i64::MIN as u64] {
            assert_eq!(read(size, PIECE_LEN), Err(OfferError::Size(size)));
            assert_eq!(Offer::new(size, ROOT, "x"), Err(OfferError::Size(size)));
        }
        for piece_len in [0, 1, PIECE_LEN - 1, PIECE_LEN + 1, u32::MAX] {
            assert_eq!(read(1, piece_len), Err(OfferError::PieceLength(piece_len)));
        }
        assert!(read(1, PIECE_LEN).is_ok() && read(SIZE_MAX, PIECE_LEN).is_ok());
    }

    #[test]
    fn offers_that_are_laid_out_differently_are_refused() {
        let good = with(1, PIECE_LEN, b"name");
        for length in 0..good.len() {
            assert_eq!(Offer::from_bytes(&good[..length]), Err(OfferError::Layout), "{length}");
        }
        assert_eq!(Offer::from_bytes(&[&good[..], &[0]].concat()), Err(OfferError::Layout));
        assert_eq!(Offer::from_bytes(&with(1, PIECE_LEN, b"")), Err(OfferError::Layout));
        assert_eq!(Offer::from_bytes(&with(1, PIECE_LEN, b"\xff")), Err(OfferError::Layout));
        let mut later = good;
        later[0] = 2;
        assert_eq!(Offer::from_bytes(&later), Err(OfferError::Version(2)));
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_what_is_read_is_safe(bytes in prop::collection::vec(any::<u8>(), 0..90)) {
            if let Ok(offer) = Offer::from_bytes(&bytes) {
                prop_assert_eq!(Offer::from_bytes(&offer.to_bytes()), Ok(offer));
            }
        }

        #[test]
        fn any_name_is_made_safe(name in ".{1,60}") {
            let offer = Offer::from_bytes(&with(5, PIECE_LEN, &name.as_bytes()[..name.len().min(255)]));
            if let Ok(offer) = offer {
                prop_assert_eq!(offer.name(), safe_name(offer.name()));
            }
        }
    }
}
