//! Why a node refuses what it was asked.
//!
//! Entry type is [`Rejection`] (PROTOCOL §9.2). A peer's mistake is an answer, never an error of
//! ours: each has a code for programs, a sentence for people and a word on trying again.

use thiserror::Error;

use crate::acknowledgement::AcknowledgementError;
use crate::card::CardError;
use crate::envelope::EnvelopeError;
use crate::grant::GrantError;
use crate::receipt::ReceiptError;

/// A typed refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Rejection {
    /// A field is missing or has an impossible value; it names the field.
    #[error("the message is malformed: {0}")]
    Malformed(&'static str),
    /// More items or bytes than one message may carry; it names what.
    #[error("the message carries too much: {0}")]
    TooLarge(&'static str),
    /// The envelope's header has an unknown version.
    #[error("the envelope has a version this node does not know")]
    Version,
    /// The body has none of the four lengths.
    #[error("the body has a length that is not carried")]
    Size,
    /// The object's time is over.
    #[error("it has expired")]
    Expired,
    /// The object asks to live longer than allowed.
    #[error("it asks to be kept for longer than is allowed")]
    TtlTooLong,
    /// A signature is not its key's.
    #[error("a signature does not belong to its key")]
    Signature,
    /// The acknowledgement's key is not the envelope's mailbox.
    #[error("the key that acknowledged is not the envelope's mailbox")]
    NotTheMailbox,
    /// The asker has no valid grant for the mailbox.
    #[error("no valid grant for this mailbox")]
    NotGranted,
    /// A newer card is already known.
    #[error("a newer card is already known")]
    StaleCard,
    /// Nothing is known under this id or address.
    #[error("nothing is known under this name")]
    Unknown,
    /// The store has no room left.
    #[error("the store is full")]
    StoreFull,
    /// Too much is under way; nothing is wrong with the request itself.
    #[error("the node is busy")]
    Busy,
    /// The node is ending.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// The other side did not answer in time or could not be reached.
    #[error("no answer in time")]
    Unreachable,
    /// The other side speaks for another network.
    #[error("the node belongs to another network")]
    OtherNetwork,
    /// The object is dated further in the future than clocks may disagree.
    #[error("it is dated in the future")]
    FromFuture,
    /// The node hands over what it holds, to leave for good: it takes nothing in any more.
    #[error("the node hands over what it holds and will not come back; use another")]
    Leaving,
}

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request will always be refused.
    Never,
    /// The same request may be accepted later.
    Later,
}

impl Rejection {
    /// A stable number for the wire (PROTOCOL §9.2).
    pub const fn code(&self) -> u32 {
        match self {
            Self::Malformed(_) => 1,
            Self::TooLarge(_) => 2,
            Self::Version => 3,
            Self::Size => 4,
            Self::Expired => 5,
            Self::TtlTooLong => 6,
            Self::Signature => 7,
            Self::NotTheMailbox => 8,
            Self::NotGranted => 9,
            Self::StaleCard => 10,
            Self::Unknown => 11,
            Self::StoreFull => 12,
            Self::Busy => 13,
            Self::ShuttingDown => 14,
            Self::Unreachable => 15,
            Self::OtherNetwork => 16,
            Self::FromFuture => 17,
            Self::Leaving => 18,
        }
    }

    /// The rejection of a wire code; unknown codes of newer nodes count as malformed requests of
    /// ours, which are never repeated.
    pub const fn from_code(code: u32) -> Self {
        match code {
            2 => Self::TooLarge("the peer did not say what"),
            3 => Self::Version,
            4 => Self::Size,
            5 => Self::Expired,
            6 => Self::TtlTooLong,
            7 => Self::Signature,
            8 => Self::NotTheMailbox,
            9 => Self::NotGranted,
            10 => Self::StaleCard,
            11 => Self::Unknown,
            12 => Self::StoreFull,
            13 => Self::Busy,
            14 => Self::ShuttingDown,
            15 => Self::Unreachable,
            16 => Self::OtherNetwork,
            17 => Self::FromFuture,
            18 => Self::Leaving,
            _ => Self::Malformed("the peer did not say what"),
        }
    }

    /// A stable short name for metrics, scripts and error trailers.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge(_) => "too-large",
            Self::Version => "version",
            Self::Size => "size",
            Self::Expired => "expired",
            Self::TtlTooLong => "ttl-too-long",
            Self::Signature => "signature",
            Self::NotTheMailbox => "not-the-mailbox",
            Self::NotGranted => "not-granted",
            Self::StaleCard => "stale-card",
            Self::Unknown => "unknown",
            Self::StoreFull => "store-full",
            Self::Busy => "busy",
            Self::ShuttingDown => "shutting-down",
            Self::Unreachable => "unreachable",
            Self::OtherNetwork => "other-network",
            Self::FromFuture => "from-future",
            Self::Leaving => "leaving",
        }
    }

    /// Whether asking again can help.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::StoreFull
            | Self::Busy
            | Self::ShuttingDown
            | Self::Unreachable
            // Not here, but whoever was refused has it still, and may find another node.
            | Self::Leaving => Retry::Later,
            _ => Retry::Never,
        }
    }
}

impl From<EnvelopeError> for Rejection {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::Version(_) => Self::Version,
            EnvelopeError::Size(_) => Self::Size,
            EnvelopeError::Truncated(_) => Self::Malformed("envelope"),
            EnvelopeError::Expired => Self::Expired,
            EnvelopeError::TtlTooLong => Self::TtlTooLong,
        }
    }
}

impl From<AcknowledgementError> for Rejection {
    fn from(error: AcknowledgementError) -> Self {
        match error {
            AcknowledgementError::Count(0) => Self::Malformed("acknowledgement without ids"),
            AcknowledgementError::Count(_) => Self::TooLarge("ids of an acknowledgement"),
            AcknowledgementError::Signature => Self::Signature,
            AcknowledgementError::Expired => Self::Expired,
            AcknowledgementError::TooLong => Self::TtlTooLong,
        }
    }
}

impl From<ReceiptError> for Rejection {
    fn from(error: ReceiptError) -> Self {
        match error {
            ReceiptError::Count(0) => Self::Malformed("receipt without ids"),
            ReceiptError::Count(_) => Self::TooLarge("ids of a receipt"),
            ReceiptError::Signature => Self::Signature,
            ReceiptError::Future => Self::FromFuture,
        }
    }
}

impl From<GrantError> for Rejection {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Signature => Self::Signature,
            GrantError::Expired => Self::Expired,
            GrantError::TooLong => Self::TtlTooLong,
        }
    }
}

impl From<CardError> for Rejection {
    fn from(error: CardError) -> Self {
        match error {
            CardError::Signature => Self::Signature,
            CardError::IssuedInFuture => Self::FromFuture,
            CardError::Expired => Self::Expired,
            CardError::Lifetime => Self::Malformed("lifetime of a card"),
            CardError::PrekeyCount(0) => Self::Malformed("card without prekeys"),
            CardError::PrekeyCount(_) => Self::TooLarge("prekeys of a card"),
            CardError::Policy => Self::Malformed("inbox policy of a card"),
            CardError::Prekey(_) => Self::Malformed("prekey of a card"),
            CardError::Layout(_) => Self::Malformed("card"),
        }
    }
}
