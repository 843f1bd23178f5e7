//! What was seen in one network: every envelope's fate, what it cost, and what the run itself took.
//!
//! Entry type is [`Measured`]. Plain figures; what they mean over many networks is the business of
//! [`crate::report`].

use std::collections::BTreeMap;

use comm_proto::time::Span;
use serde::{Deserialize, Serialize};

/// One network, looked at from its first envelope to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// From which it was drawn.
    pub seed: u64,
    /// Every envelope, in the order in which they were sent.
    pub envelopes: Vec<Fate>,
    /// Messages between nodes by kind, from the first envelope on. A call counts once, its answer is
    /// part of it.
    pub messages: BTreeMap<&'static str, u64>,
    /// Calls, answers and pushes that were lost on their way, from the first envelope on.
    pub lost: u64,
    /// How the network stood before the first envelope.
    pub standing: Standing,
    /// Minute after minute from the first envelope on.
    pub minutes: Vec<Minute>,
    /// The most that an honest relay's disk held at any time, by that relay's account, and what it may hold; in
    /// bytes.
    pub fullest: (u64, u64),
    /// How many relays took part, and how many of them were the adversary's.
    pub nodes: usize,
    /// Of those, the adversary's.
    pub adversaries: usize,
    /// Inputs handled by all nodes, from the very beginning.
    pub events: u64,
    /// Simulated time from the very beginning.
    pub simulated: Span,
    /// A hash over every output of every node, when and whose; the same seed gives the same.
    pub trace: String,
}

/// What became of one envelope. Times count from when its sender handed it to their node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The first digits of its id, as a story is asked for; empty until it is known.
    pub id: String,
    /// Until the sender's node had it on its disk.
    pub accepted: Option<Span>,
    /// Until an honest relay other than the sender's had it on its disk.
    pub copied: Option<Span>,
    /// Until an honest relay inside its mailbox's region, other than the sender's, had it on its disk, or its
    /// recipient had read it.
    pub region_copied: Option<Span>,
    /// Until the sender was told of the first other relay that has it on its disk. Adversaries may say
    /// so of what they have thrown away.
    pub stored: Option<Span>,
    /// Until the recipient had it; with an absent recipient from their return.
    pub delivered: Option<Span>,
    /// Until the sender knew that it was delivered.
    pub acknowledged: Option<Span>,
    /// Messages that name it or look for its mailbox. A call counts once.
    pub messages: u64,
    /// Of those, subscriptions to its mailbox, also such as were made before it was sent or after it was read.
    pub subscriptions: u64,
    /// Of those, messages with its body.
    pub bodies: u64,
    /// Honest relays that still have it at the end.
    pub left: u64,
    /// The time for which it lay on the disks of honest relays, one after another.
    pub storage: Span,
    /// What that would have been, had all of them dropped it when its recipient acknowledged it.
    pub ideal_storage: Span,
    /// For how long relays that have it at the end would keep it until it expires, added up.
    pub to_come: Span,
    /// Whether the first cast brought it to an honest relay inside its mailbox's region, or it was read before that was over.
    pub first_attempt: bool,
    /// Whether that first cast was made by the relay that the sender's node turned to first: an adversary that
    /// casts nothing is no excuse.
    pub first_submission: bool,
    /// Acknowledgements that were forged with its mailbox's key and came to honest relays that had it, before
    /// its recipient had acknowledged it.
    pub forged: u64,
    /// Honest relays that ended it by an acknowledgement before its recipient had acknowledged it.
    pub wronged: u64,
    /// Of the 20 relays nearest to its mailbox, the adversary's.
    pub theirs: u64,
    /// How often an honest relay evicted it for want of room.
    pub evicted: u64,
}

/// How a network stood when it had settled: what honest relays that were up had of the adversary's, and
/// what all relays said while nobody used them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Places in honest relays' tables: the adversary's, and all.
    pub table: (u64, u64),
    /// Places among honest relays' entries (PROTOCOL §6.8): the adversary's, and all.
    pub entries: (u64, u64),
    /// Honest relays: those that come and go, and all; nothing where all stay.
    pub churn: (u64, u64),
    /// Messages in the second half of settling but its last minute, by kind.
    pub idle: BTreeMap<String, u64>,
    /// Relays, times the milliseconds for which those were counted.
    pub idle_millis: u64,
}

/// A minute of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// Honest relays that are up at its end.
    pub up: u64,
    /// Envelopes on honest disks at its end; one that lies on three counts three times.
    pub copies: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Messages in it, by kind.
    pub messages: BTreeMap<String, u64>,
}

impl Fate {
    /// Accepted, copied, stored, delivered, acknowledged, copied in the region.
    pub fn times(&self) -> [Option<Span>; 6] {
        let Self { accepted, copied, stored, delivered, acknowledged, region_copied, .. } = self;
        [*accepted, *copied, *stored, *delivered, *acknowledged, *region_copied]
    }
}
