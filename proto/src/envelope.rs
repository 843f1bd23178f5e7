//! The unit the network stores and relays: a sealed body under a clear header.
//!
//! Entry type is [`Envelope`] (PROTOCOL §3.2). It knows its own id, has one of four sizes, and says
//! nothing of its sender. Sealing and opening are in [`crate::sealing`]; nothing here looks inside.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::address::Address;
use crate::time::{Span, Time};

/// The shortest time to live a sender may ask for.
pub const TTL_MIN: Span = Span::from_mins(10);
/// The time to live of a message whose sender names none.
pub const TTL_DEFAULT: Span = Span::from_days(14);
/// The longest time to live a relay accepts.
pub const TTL_MAX: Span = Span::from_days(30);
/// How far two clocks may disagree before one of them is told so.
pub const CLOCK_TOLERANCE: Span = Span::from_secs(3 * 3_600);

/// The only version of the header so far.
pub const VERSION: u8 = 1;

/// Domain separation of the id.
const CONTEXT: &[u8; 17] = b"comm/envelope/v1\0";
/// Version, suite, mailbox, expiry, stamp nonce.
const HEADER_LEN: usize = 1 + 1 + Address::LEN + 8 + 8;

/// SHA-256 over all of an envelope but its stamp's nonce (PROTOCOL §3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvelopeId([u8; Self::LEN]);

/// How a body is sealed. Relays carry every suite; only recipients must know it (PROTOCOL §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suite(pub u8);

/// The four lengths a sealed body may have; padding hides the length of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SizeClass {
    /// 1 KiB.
    K1,
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB less 256 bytes, so that the envelope with its framing stays within 64 KiB.
    K64,
}

/// A sealed message with its clear header.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    id: EnvelopeId,
    header: Header,
    class: SizeClass,
    body: Bytes,
}

/// What a relay may read of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How the body is sealed.
    pub suite: Suite,
    /// Where it waits: the address of the key that may acknowledge it.
    pub mailbox: Address,
    /// When everything about it goes.
    pub expires_at: Time,
    /// Nonce of the stamp; not part of the id, so that a stamp can be bought for a given id.
    pub stamp_nonce: u64,
}

/// Why bytes are no envelope, or why it cannot be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// The header is of a version this program does not know.
    #[error("the envelope has version {0}, this node knows version {VERSION}")]
    Version(u8),
    /// The body has none of the four lengths.
    #[error("a body has 1024, 4096, 16384 or 65280 bytes, this has {0}")]
    Size(usize),
    /// Stored bytes are shorter than a header.
    #[error("the envelope is cut off after {0} bytes")]
    Truncated(usize),
    /// Its time is over.
    #[error("the envelope has expired")]
    Expired,
    /// It asks to be kept longer than anybody may ask.
    #[error("the envelope expires later than 30 days and 3 hours from now")]
    TtlTooLong,
}

impl EnvelopeId {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// An id from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl Suite {
    /// X25519, XSalsa20 and Poly1305, sealed twice (PROTOCOL §4.3).
    pub const ONE: Self = Self(1);
}

impl SizeClass {
    /// All classes, smallest first.
    pub const ALL: [Self; 4] = [Self::K1, Self::K4, Self::K16, Self::K64];

    /// Length of a sealed body of this class in bytes.
    pub const fn body_len(self) -> usize {
        match self {
            Self::K1 => 1 << 10,
            Self::K4 => 1 << 12,
            Self::K16 => 1 << 14,
            Self::K64 => (1 << 16) - 256,
        }
    }

    /// The class whose bodies have exactly `len` bytes.
    pub fn of_body(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.body_len() == len)
    }
}

impl Envelope {
    /// An envelope around a sealed body.
    ///
    /// # Errors
    /// [`EnvelopeError::Size`] when the body has none of the four lengths.
    pub fn new(header: Header, body: Bytes) -> Result<Self, EnvelopeError> {
        let class = SizeClass::of_body(body.len()).ok_or(EnvelopeError::Size(body.len()))?;
        Ok(Self { id: id_of(&header, &body), header, class, body })
    }

    /// Its content id.
    pub fn id(&self) -> EnvelopeId {
        self.id
    }

    /// What relays read.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where it waits.
    pub fn mailbox(&self) -> Address {
        self.header.mailbox
    }

    /// When it ends.
    pub fn expires_at(&self) -> Time {
        self.header.expires_at
    }

    /// Its size.
    pub fn class(&self) -> SizeClass {
        self.class
    }

    /// The sealed bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Checks what every relay checks of the expiry (PROTOCOL §6.7).
    ///
    /// # Errors
    /// [`EnvelopeError::Expired`] or [`EnvelopeError::TtlTooLong`].
    pub fn check_expiry(&self, now: Time) -> Result<(), EnvelopeError> {
        if self.header.expires_at <= now {
            return Err(EnvelopeError::Expired);
        }
        if self.header.expires_at > now + TTL_MAX + CLOCK_TOLERANCE {
            return Err(EnvelopeError::TtlTooLong);
        }
        Ok(())
    }

    /// The layout in which relays store it: header fields in order, then the body.
    pub fn to_stored(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.body.len());
        bytes.extend([VERSION, self.header.suite.0]);
        bytes.extend(self.header.mailbox.as_bytes());
        bytes.extend(self.header.expires_at.as_millis().to_be_bytes());
        bytes.extend(self.header.stamp_nonce.to_be_bytes());
        bytes.extend(&self.body);
        bytes
    }

    /// Reads [`Self::to_stored`] back; hashes again, so damage shows as another id.
    ///
    /// # Errors
    /// When the bytes are cut off, of an unknown version or of a wrong size.
    pub fn from_stored(bytes: Vec<u8>) -> Result<Self, EnvelopeError> {
        let truncated = EnvelopeError::Truncated(bytes.len());
        let header = bytes.get(..HEADER_LEN).ok_or(truncated)?;
        if header[0] != VERSION {
            return Err(EnvelopeError::Version(header[0]));
        }
        let field = |from: usize| -> [u8; 8] { std::array::from_fn(|i| header[from + i]) };
        let header = Header {
            suite: Suite(header[1]),
            mailbox: Address::from_bytes(std::array::from_fn(|i| header[2 + i])),
            expires_at: Time::from_millis(u64::from_be_bytes(field(22))),
            stamp_nonce: u64::from_be_bytes(field(30)),
        };
        Self::new(header, Bytes::from(bytes).slice(HEADER_LEN..))
    }
}

/// The id of a header and a body (PROTOCOL §3.2). Streams the body instead of copying it.
fn id_of(header: &Header, body: &[u8]) -> EnvelopeId {
    let hash = Sha256::new()
        .chain_update(CONTEXT)
        .chain_update([VERSION, header.suite.0])
        .chain_update(header.mailbox.as_bytes())
        .chain_update(header.expires_at.as_millis().to_be_bytes())
        .chain_update((body.len() as u32).to_be_bytes())
        .chain_update(body);
    EnvelopeId(hash.finalize().into())
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvelopeId({})", hex::encode(&self.0[..6]))
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an envelope id has 64 hexadecimal digits")]
pub struct ParseEnvelopeIdError;

impl FromStr for EnvelopeId {
    type Err = ParseEnvelopeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; Self::LEN];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseEnvelopeIdError)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id)
            .field("header", &self.header)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(fill: u8) -> Envelope {
        let header = Header {
            suite: Suite::ONE,
            mailbox: Address::from_bytes([9; 20]),
            expires_at: Time::from_millis(1_000_000),
            stamp_nonce: 5,
        };
        Envelope::new(header, Bytes::from(vec![fill; 1024])).unwrap()
    }

    #[test]
    fn changing_any_stored_byte_but_the_stamp_changes_the_id() {
        let (original, stored) = (envelope(1), envelope(1).to_stored());
        for at in (1..stored.len()).filter(|at| !(30..38).contains(at)) {
            let mut bytes = stored.clone();
            bytes[at] ^= 1;
            assert_ne!(Envelope::from_stored(bytes).unwrap().id(), original.id(), "byte {at}");
        }
        let mut restamped = stored;
        restamped[37] ^= 1;
        assert_eq!(Envelope::from_stored(restamped).unwrap().id(), original.id());
    }

    #[test]
    fn the_stored_layout_reads_back() {
        let original = envelope(3);
        assert_eq!(Envelope::from_stored(original.to_stored()), Ok(original));
    }

    #[test]
    fn only_the_four_sizes_are_carried() {
        let header = *envelope(0).header();
        for len in [0, 1023, 1025, 65_281, 1 << 20] {
            let body = Bytes::from(vec![0; len]);
            assert_eq!(Envelope::new(header, body), Err(EnvelopeError::Size(len)));
        }
        for class in SizeClass::ALL {
            let body = Bytes::from(vec![0; class.body_len()]);
            assert_eq!(Envelope::new(header, body).map(|e| e.class()), Ok(class));
        }
    }

    #[test]
    fn expiry_is_accepted_from_the_next_millisecond_to_the_tolerated_end() {
        let sealed = envelope(1);
        let at = sealed.expires_at();
        assert_eq!(sealed.check_expiry(at), Err(EnvelopeError::Expired));
        assert_eq!(sealed.check_expiry(at - Span::from_millis(1)), Ok(()));
        let mut header = *sealed.header();
        header.expires_at = Time::ZERO + TTL_MAX + CLOCK_TOLERANCE;
        let longest = Envelope::new(header, sealed.body().clone()).unwrap();
        assert_eq!(longest.check_expiry(Time::ZERO), Ok(()));
        header.expires_at = header.expires_at + Span::from_millis(1);
        let too_long = Envelope::new(header, sealed.body().clone()).unwrap();
        assert_eq!(too_long.check_expiry(Time::ZERO), Err(EnvelopeError::TtlTooLong));
    }

    #[test]
    fn cut_off_bytes_are_named_not_read() {
        for len in 0..HEADER_LEN {
            let bytes = vec![1; len];
            assert_eq!(Envelope::from_stored(bytes), Err(EnvelopeError::Truncated(len)));
        }
        let mut unknown = envelope(1).to_stored();
        unknown[0] = 2;
        assert_eq!(Envelope::from_stored(unknown), Err(EnvelopeError::Version(2)));
    }
}
