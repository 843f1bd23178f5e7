//! What was seen in one network: every envelope's fate, what it cost, and what the run itself took.
//!
//! Entry type is [`Measured`]. Plain figures; what they mean over many networks is the business of
//! [`crate::report`].

use std::collections::BTreeMap;

use comm_proto::time::Span;

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
    /// Until the sender's node had it on its disk.
    pub accepted: Option<Span>,
    /// Until an honest relay other than the sender's had it on its disk.
    pub copied: Option<Span>,
    /// Until the sender was told of the first other relay that has it on its disk. Adversaries may say
    /// so of what they have thrown away.
    pub stored: Option<Span>,
    /// Until the recipient had it; with an absent recipient from their return.
    pub delivered: Option<Span>,
    /// Until the sender knew that it was delivered.
    pub acknowledged: Option<Span>,
    /// Messages that name it or look for its mailbox. A call counts once.
    pub messages: u64,
    /// Of those, messages with its body.
    pub bodies: u64,
    /// Honest relays that still have it at the end.
    pub left: u64,
    /// Honest relays that ended it by an acknowledgement before its recipient had acknowledged it.
    pub wronged: u64,
    /// Of the 20 relays nearest to its mailbox, the adversary's.
    pub theirs: u64,
}

impl Fate {
    /// Accepted, copied, stored, delivered, acknowledged.
    pub fn times(&self) -> [Option<Span>; 5] {
        [self.accepted, self.copied, self.stored, self.delivered, self.acknowledged]
    }
}
