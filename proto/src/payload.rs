//! What a sealed body holds: one message with its place in the conversation.
//!
//! Entry type is [`Payload`] (PROTOCOL §4.4, §4.5, §4.7). Its layout is explicit, padded to the
//! size of a class, and has one reading only. Sealing is [`crate::sealing`]'s; who wrote it is
//! known only after opening, and what a body means is up to its [`ContentType`] and the client.

use std::fmt;
use std::num::NonZeroU64;

use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::envelope::{CLOCK_TOLERANCE, SizeClass};
use crate::key::PublicKey;
use crate::sealing;
use crate::signed_bytes::{FieldError, FieldReader};
use crate::time::Time;

/// The only version of the payload so far.
pub const VERSION: u8 = 1;

/// Domain separation of message ids.
const CONTEXT: &[u8] = b"comm/message/v1\0";
/// Version, content type, sequence, previous, sent, expires, recipient, length of the body.
const HEADER_LEN: usize = 1 + 2 + 8 + MessageId::LEN + 8 + 8 + Address::LEN + 4;

/// One message, as only its sender and its recipient see it (PROTOCOL §4.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// What the body is.
    pub content_type: ContentType,
    /// Its number in its conversation and direction, counted from 1.
    pub sequence: NonZeroU64,
    /// The message before it; none for the first.
    pub previous: Option<MessageId>,
    /// When it was written, by the sender's clock.
    pub sent_at: Time,
    /// When its envelope expires. A relay can change the envelope's header, but not this.
    pub expires_at: Time,
    /// For whom it is. A recipient can seal what they got again, but not for somebody else.
    pub recipient: Address,
    /// What is said.
    pub body: Vec<u8>,
}

/// What a body is. Types that this program does not know are kept as they are and shown as
/// unsupported (PROTOCOL §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentType(pub u16);

/// SHA-256 over the sender's key and the unpadded payload: the same however often, and to
/// whichever key, the message is sealed (PROTOCOL §4.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId([u8; Self::LEN]);

/// A body that does not fit into the class it was to be sealed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message of {length} bytes does not fit, the limit is {capacity}")]
pub struct TooLongError {
    /// Length of the body in bytes.
    pub length: usize,
    /// The longest body that fits, in bytes.
    pub capacity: usize,
}

/// Why bytes are no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// It is of a version this program does not know.
    #[error("the payload has version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// It is shorter than its header or than its body says.
    #[error("the payload is cut off")]
    Truncated,
    /// It has the sequence number 0.
    #[error("sequence numbers start at 1")]
    Sequence,
    /// Something other than zeros follows the body.
    #[error("the padding is not all zeros")]
    Padding,
}

/// Why a payload that opened is not to be believed in the envelope it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExpiryError {
    /// The envelope names another expiry: somebody has put the body into another envelope.
    #[error("the envelope's expiry is not the one that was sealed")]
    Differs,
    /// Its time is over, even by a clock that is off by the tolerance.
    #[error("the message has expired")]
    Expired,
}

impl ContentType {
    /// UTF-8 text.
    pub const TEXT: Self = Self(1);
    /// What members of a room say to each other about it, and in it (PROTOCOL §4.17).
    pub const ROOM: Self = Self(2);
    /// The offer of a file (PROTOCOL §4.23).
    pub const FILE: Self = Self(3);
    /// Which messages their reader was shown.
    pub const RECEIPT: Self = Self(4);
    /// What its author says of themselves.
    pub const PROFILE: Self = Self(5);
    /// Text that answers another message or disappears.
    pub const MARKED_TEXT: Self = Self(6);
    /// Another text for an earlier message.
    pub const EDIT: Self = Self(7);
    /// The removal of an earlier message.
    pub const DELETE: Self = Self(8);
    /// After which time what is said disappears.
    pub const TIMER: Self = Self(9);
    /// How the author's key came about.
    pub const SUCCESSION: Self = Self(10);
    /// What two programs say to each other about a file that was offered; neither counted nor shown.
    pub const TRANSFER: Self = Self(11);
    /// A message to oneself that tests the way; never shown.
    pub const CANARY: Self = Self(0x7000);

    /// Whether bodies of this kind mean something to a conversation (PROTOCOL §4.9), so that programs
    /// leave it to the agent to write them.
    pub const fn is_of_conversations(self) -> bool {
        matches!(
            self,
            Self::ROOM
                | Self::FILE
                | Self::TRANSFER
                | Self::RECEIPT
                | Self::MARKED_TEXT
                | Self::EDIT
                | Self::DELETE
                | Self::TIMER
                | Self::SUCCESSION
                | Self::PROFILE
        )
    }
}

impl MessageId {
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

/// The longest body that fits into a class, in bytes.
pub const fn capacity(class: SizeClass) -> usize {
    padded_len(class) - HEADER_LEN
}

/// The smallest class that a body of `length` bytes fits into.
pub fn class_for(length: usize) -> Option<SizeClass> {
    SizeClass::ALL.into_iter().find(|class| length <= capacity(*class))
}

/// Length of a payload that fills a class, in bytes.
pub(crate) const fn padded_len(class: SizeClass) -> usize {
    class.body_len() - sealing::OVERHEAD
}

impl Payload {
    /// The payload in its layout, padded so that its sealed body has the length of `class`.
    ///
    /// # Errors
    /// [`TooLongError`] when the body is longer than [`capacity`].
    pub fn encode(&self, class: SizeClass) -> Result<Zeroizing<Vec<u8>>, TooLongError> {
        let (length, capacity) = (self.body.len(), capacity(class));
        if length > capacity {
            return Err(TooLongError { length, capacity });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(padded_len(class)));
        self.write_to(&mut bytes);
        bytes.resize(padded_len(class), 0);
        Ok(bytes)
    }

    /// Reads a padded payload, which anybody may have made up.
    ///
    /// # Errors
    /// When it has another version or layout; each payload has exactly one.
    pub fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        let mut fields = FieldReader::new(bytes);
        let version = fields.u8()?;
        if version != VERSION {
            return Err(PayloadError::Version(version));
        }
        let payload = Self {
            content_type: ContentType(fields.u16()?),
            sequence: NonZeroU64::new(fields.u64()?).ok_or(PayloadError::Sequence)?,
            previous: Some(MessageId(fields.array()?)).filter(|id| id.0 != [0; MessageId::LEN]),
            sent_at: Time::from_millis(fields.u64()?),
            expires_at: Time::from_millis(fields.u64()?),
            recipient: Address::from_bytes(fields.array()?),
            body: fields.bytes(capacity(SizeClass::K64))?.to_vec(),
        };
        let padded_well = fields.rest().iter().all(|byte| *byte == 0);
        if padded_well { Ok(payload) } else { Err(PayloadError::Padding) }
    }

    /// The id of this message if `sender` wrote it.
    pub fn id(&self, sender: &PublicKey) -> MessageId {
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEADER_LEN + self.body.len()));
        self.write_to(&mut bytes);
        let hash = Sha256::new()
            .chain_update(CONTEXT)
            .chain_update(sender.as_bytes())
            .chain_update(&bytes[..]);
        MessageId(hash.finalize().into())
    }

    /// Checks the expiry of the envelope that it came in, which relays could have changed.
    ///
    /// # Errors
    /// [`ExpiryError::Differs`] when they have, [`ExpiryError::Expired`] when it is over by more
    /// than the clock tolerance.
    pub fn check_expiry(&self, envelope: Time, now: Time) -> Result<(), ExpiryError> {
        if envelope != self.expires_at {
            return Err(ExpiryError::Differs);
        }
        if now >= self.expires_at + CLOCK_TOLERANCE {
            return Err(ExpiryError::Expired);
        }
        Ok(())
    }

    /// Appends the unpadded layout.
    fn write_to(&self, bytes: &mut Vec<u8>) {
        let length = u32::try_from(self.body.len()).expect("a body is within 64 KiB");
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.content_type.0.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.get().to_be_bytes());
        bytes.extend_from_slice(&self.previous.map_or([0; MessageId::LEN], |id| id.0));
        bytes.extend_from_slice(&self.sent_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(&self.expires_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(self.recipient.as_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.body);
    }
}

impl From<FieldError> for PayloadError {
    fn from(_: FieldError) -> Self {
        Self::Truncated
    }
}

impl fmt::Debug for Payload {
    /// Everything but what is said: that belongs into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("content_type", &self.content_type)
            .field("sequence", &self.sequence)
            .field("previous", &self.previous)
            .field("sent_at", &self.sent_at)
            .field("expires_at", &self.expires_at)
            .field("recipient", &self.recipient)
            .field("body_len", &self.body.len())
            .finish()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({})", hex::encode(&self.0[..6]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Span;

    fn payload(body: &[u8]) -> Payload {
        Payload {
            content_type: ContentType::TEXT,
            sequence: NonZeroU64::MIN,
            previous: None,
            sent_at: Time::from_millis(1_700_000_000_000),
            expires_at: Time::from_millis(1_700_000_000_000) + Span::from_days(14),
            recipient: Address::from_bytes([7; 20]),
            body: body.to_vec(),
        }
    }

    fn any_payload() -> impl Strategy<Value = Payload> {
        let numbers = any::<(u16, NonZeroU64, u64, u64)>();
        let names = any::<([u8; 20], Option<[u8; 32]>)>();
        let body = prop::collection::vec(any::<u8>(), 0..=capacity(SizeClass::K4));
        (numbers, names, body).prop_map(|((kind, sequence, sent, expires), names, body)| Payload {
            content_type: ContentType(kind),
            sequence,
            previous: names.1.map(MessageId),
            sent_at: Time::from_millis(sent),
            expires_at: Time::from_millis(expires),
            recipient: Address::from_bytes(names.0),
            body,
        })
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn the_layout_and_the_id_keep_their_vectors() {
        let mut payload = payload(b"hello");
        payload.previous = Some(MessageId([9; 32]));
        let bytes = payload.encode(SizeClass::K1).unwrap();
        assert_eq!(
            hex::encode(&bytes[..HEADER_LEN + 5]),
            "01000100000000000000010909090909090909090909090909090909090909090909090909090909\
             0909090000018bcfe568000000018c17fe7000070707070707070707070707070707070707070700\
             00000568656c6c6f"
        );
        assert_eq!(
            payload.id(&PublicKey::from_bytes([3; 32])).to_string(),
            "ee92bd1961a214a1d7fa5f646e9497520eb8bc5fd19513ff395c571e4a7cf6e8"
        );
    }

    #[test]
    fn every_class_takes_its_capacity_and_not_one_byte_more() {
        let capacities = SizeClass::ALL.map(capacity);
        assert_eq!(capacities, [821, 3_893, 16_181, 65_077]);
        for (class, capacity) in SizeClass::ALL.into_iter().zip(capacities) {
            let full = payload(&vec![1; capacity]);
            let bytes = full.encode(class).unwrap();
            assert_eq!(bytes.len() + sealing::OVERHEAD, class.body_len());
            assert_eq!(Payload::decode(&bytes), Ok(full));
            let length = capacity + 1;
            let refused = payload(&vec![1; length]).encode(class).map(|_| ());
            assert_eq!(refused, Err(TooLongError { length, capacity }));
        }
    }

    #[test]
    fn the_smallest_class_that_fits_is_chosen() {
        assert_eq!(class_for(0), Some(SizeClass::K1));
        assert_eq!(class_for(821), Some(SizeClass::K1));
        assert_eq!(class_for(822), Some(SizeClass::K4));
        assert_eq!(class_for(65_077), Some(SizeClass::K64));
        assert_eq!(class_for(65_078), None);
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut bytes = payload(b"x").encode(SizeClass::K1).unwrap();
        bytes[0] = 2;
        assert_eq!(Payload::decode(&bytes), Err(PayloadError::Version(2)));
    }

    #[test]
    fn a_body_that_says_it_is_longer_than_it_is_is_refused() {
        let mut bytes = payload(b"x").encode(SizeClass::K1).unwrap();
        for length in [capacity(SizeClass::K1) as u32 + 1, 65_077, u32::MAX] {
            bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&length.to_be_bytes());
            assert_eq!(Payload::decode(&bytes), Err(PayloadError::Truncated));
        }
    }

    #[test]
    fn nothing_can_be_hidden_in_the_padding() {
        let good = payload(b"hello").encode(SizeClass::K1).unwrap();
        for at in HEADER_LEN + 5..good.len() {
            let mut bytes = good.clone();
            bytes[at] = 0x80;
            assert_eq!(Payload::decode(&bytes), Err(PayloadError::Padding));
        }
    }

    #[test]
    fn counting_starts_at_one() {
        let mut bytes = payload(b"x").encode(SizeClass::K1).unwrap();
        bytes[3..11].fill(0);
        assert_eq!(Payload::decode(&bytes), Err(PayloadError::Sequence));
    }

    #[test]
    fn the_id_depends_on_the_sender_and_every_field_but_not_on_the_class() {
        let (key, other) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
        let original = payload(b"hello");
        assert_ne!(original.id(&key), original.id(&other));
        let bytes = original.encode(SizeClass::K1).unwrap();
        let wide = Payload::decode(&original.encode(SizeClass::K4).unwrap()).unwrap();
        assert_eq!(wide.id(&key), original.id(&key));
        for at in (1..HEADER_LEN + 5).filter(|at| !(HEADER_LEN - 4..HEADER_LEN).contains(at)) {
            let mut changed = bytes.clone();
            changed[at] ^= 2;
            assert_ne!(Payload::decode(&changed).unwrap().id(&key), original.id(&key), "{at}");
        }
    }

    #[test]
    fn a_relay_cannot_prolong_a_message() {
        let payload = payload(b"x");
        let sealed = payload.expires_at;
        let later = sealed + Span::DAY;
        assert_eq!(payload.check_expiry(sealed, sealed), Ok(()));
        assert_eq!(payload.check_expiry(later, sealed), Err(ExpiryError::Differs));
        let last = sealed + CLOCK_TOLERANCE;
        assert_eq!(payload.check_expiry(sealed, last - Span::from_millis(1)), Ok(()));
        assert_eq!(payload.check_expiry(sealed, last), Err(ExpiryError::Expired));
    }

    #[test]
    fn a_payload_prints_no_text() {
        let shown = format!("{:?}", payload(b"attack at dawn"));
        assert!(shown.contains("body_len: 14"));
        assert!(!shown.contains("dawn") && !shown.contains("97, 116, 116"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(payload in any_payload()) {
            let class = class_for(payload.body.len()).unwrap();
            prop_assert_eq!(Payload::decode(&payload.encode(class).unwrap()), Ok(payload));
        }

        #[test]
        fn decoding_never_panics(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            plausible: bool,
        ) {
            if plausible && bytes.len() > HEADER_LEN {
                bytes[0] = VERSION;
                bytes[HEADER_LEN - 4..HEADER_LEN - 1].fill(0);
            }
            if let Ok(payload) = Payload::decode(&bytes) {
                let again = payload.encode(SizeClass::K1).unwrap();
                let shared = bytes.len().min(again.len());
                prop_assert_eq!(&bytes[..shared], &again[..shared]);
            }
        }
    }
}
