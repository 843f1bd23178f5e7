//! What is known of somebody, as it is shown.
//!
//! Entry type is [`Contact`].

use crate::address::Address;
use crate::key::PublicKey;
use crate::profile::Profile;
use crate::time::{Span, Time};

use super::entry::{MessageNumber, MessageState};
use super::io::ReceiptRule;
use super::ties::Doubt;

/// Somebody we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// What we call them; the first digits of the address for strangers.
    pub name: String,
    /// Their address.
    pub address: Address,
    /// Their key, once it is known.
    pub key: Option<PublicKey>,
    /// Whether we gave the name ourselves.
    pub is_named: bool,
    /// What we want to remember of them.
    pub note: String,
    /// After which time what is said with them disappears; none, that it stays.
    pub lifetime: Option<Span>,
    /// How many of their messages the person was not shown.
    pub unread: u64,
    /// Whether they are told which they were shown.
    pub receipts: ReceiptRule,
    /// Whether the person wants no sound and no notice of what they say.
    pub muted: bool,
    /// When the person has found that both see the same safety number, if they have.
    pub compared_at: Option<Time>,
    /// What they say of themselves, if they do.
    pub profile: Option<Profile>,
    /// The addresses that they had before, the oldest first.
    pub former: Vec<Address>,
    /// Why nothing is said to them until the person has decided, if so.
    pub doubt: Option<Doubt>,
}

/// Where a conversation stands, as far as this store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// With whom.
    pub contact: Contact,
    /// The newest of our messages to them that are on their way, and how far it has come.
    pub newest: Option<Newest>,
    /// When they were last heard of since the program started: a message of theirs came, or one of
    /// ours was delivered.
    pub heard_at: Option<Time>,
}

/// One of our messages that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its number in this store.
    pub number: MessageNumber,
    /// How far it has come.
    pub state: MessageState,
    /// When it was written.
    pub sent_at: Time,
}
