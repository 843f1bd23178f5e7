//! What rooms and their events are called: hashes of what they are (PROTOCOL §4.14).

use std::fmt;

use sha2::{Digest, Sha256};

/// What an event is called: SHA-256 of the bytes that its author signed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; Self::LEN]);

/// What a room is called: the id of its first event, so that nobody can give a room another beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(EventId);

impl EventId {
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

    /// The id of the event whose signed bytes these are. They begin with their own context.
    pub(super) fn of(signed_bytes: &[u8]) -> Self {
        Self(Sha256::digest(signed_bytes).into())
    }
}

impl RoomId {
    /// Length in bytes.
    pub const LEN: usize = EventId::LEN;

    /// An id from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(EventId::from_bytes(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        self.0.as_bytes()
    }

    /// The room that begins with this event.
    pub const fn of(first: EventId) -> Self {
        Self(first)
    }

    /// The event that the room begins with.
    pub const fn first(self) -> EventId {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({})", hex::encode(&self.0[..6]))
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomId({})", hex::encode(&self.as_bytes()[..6]))
    }
}
