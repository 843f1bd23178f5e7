//! The bounds and intervals of a node that its host may set; the others are constants beside the
//! code that keeps them.
//!
//! Entry type is [`Config`]; its defaults are the numbers of PROTOCOL §9.1. The host may change
//! them before it makes a node, never while it runs, but for its endpoints
//! ([`Command::Endpoints`](super::Command::Endpoints)).

use std::net::SocketAddr;

use crate::lookup::LookupConfig;
use crate::table::TableConfig;
use crate::time::Span;

/// Bounds and intervals of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where this node says it can be reached; none for a leaf (PROTOCOL §5.1).
    pub endpoints: Vec<SocketAddr>,
    /// The routing table's (PROTOCOL §5.3).
    pub table: TableConfig,
    /// Each lookup's (PROTOCOL §5.4).
    pub lookup: LookupConfig,
    /// How many nodes a region should hold (PROTOCOL §5.5).
    pub region_nodes: u64,
    /// How many other nodes a person's node submits through and collects by (PROTOCOL §6.8).
    pub entries: usize,
    /// Receipts of one envelope that an entry reports (PROTOCOL §6.8); also the fewest nodes of a
    /// region.
    pub stored_receipts: usize,
    /// Wait before the first repetition of a relay round; doubles each time (PROTOCOL §6.3).
    pub backoff_first: Span,
    /// Longest wait between two relay rounds.
    pub backoff_max: Span,
    /// How long a region that a lookup found is used without looking again; for twice as long each time
    /// that it looks the same, up to sixteen times.
    pub region_kept: Span,
    /// How often a collecting node renews its subscriptions (PROTOCOL §6.5).
    pub subscription_renewal: Span,
    /// How long a subscription is left as it is while its stream brings pushes (PROTOCOL §6.5).
    pub subscription_rest: Span,
    /// Silence after which a subscription of a peer is forgotten; one of a peer that need not renew it for
    /// a while, after that longer time.
    pub subscription_kept: Span,
    /// How long the answer to a call may take.
    pub call_timeout: Span,
    /// How long the host may keep a client's card lookup waiting.
    pub card_lookup_timeout: Span,
    /// Bytes on disk, by the node's own account, of envelopes, what remains of them, and cards; beyond
    /// it others' mail gives way, or new envelopes are refused (PROTOCOL §6.1).
    pub store_bytes_max: u64,
    /// Batches that may wait for the disk; while there are more, nothing new is accepted.
    pub promises_max: usize,
    /// Nodes whose endpoints are remembered beside the table.
    pub address_book_max: usize,
    /// Calls under way to other nodes.
    pub calls_max: usize,
    /// Lookups under way; further ones wait their turn.
    pub lookups_max: usize,
    /// Regions remembered.
    pub regions_max: usize,
    /// Mailboxes that peers and clients together may subscribe to.
    pub subscriptions_max: usize,
    /// Client sessions.
    pub sessions_max: usize,
    /// Nodes that may keep a stream for pushes open here.
    pub listeners_max: usize,
    /// Envelopes one client session may watch.
    pub watches_max: usize,
    /// Cards kept for their owners.
    pub cards_max: u64,
    /// Due envelopes taken up in one step; more go on in the next.
    pub due_per_step: usize,
    /// Expired envelopes removed in one step; more go on in the next.
    pub expired_per_step: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            table: TableConfig::default(),
            lookup: LookupConfig::default(),
            region_nodes: 20,
            entries: 4,
            stored_receipts: 3,
            backoff_first: Span::from_secs(2),
            backoff_max: Span::from_mins(24 * 60),
            region_kept: Span::from_mins(10),
            subscription_renewal: Span::from_mins(10),
            subscription_rest: Span::HOUR,
            subscription_kept: Span::from_mins(30),
            call_timeout: Span::from_secs(5),
            card_lookup_timeout: Span::from_secs(10),
            store_bytes_max: 1 << 30,
            promises_max: 16_384,
            address_book_max: 8_192,
            calls_max: 1_024,
            lookups_max: 64,
            regions_max: 4_096,
            subscriptions_max: 65_536,
            sessions_max: 1_024,
            listeners_max: 4_096,
            watches_max: 65_536,
            cards_max: 100_000,
            due_per_step: 1_024,
            expired_per_step: 256,
        }
    }
}
