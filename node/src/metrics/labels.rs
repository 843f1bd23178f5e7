//! Every value that a label can have, so that each is there from the start.
//!
//! What was never counted must be 0 and not absent: else a query for what is new in the last hour
//! misses the first time. A test fails that counts under a value that is not listed.

use comm_proto::message::Request;

/// Why something was refused: the names of [`comm_proto::rejection::Rejection`], and what is turned
/// away before there is a request.
pub(super) const REASONS: [&str; 24] = [
    "malformed",
    "too-large",
    "version",
    "size",
    "expired",
    "ttl-too-long",
    "signature",
    "not-the-mailbox",
    "not-granted",
    "stale-card",
    "unknown",
    "store-full",
    "busy",
    "shutting-down",
    "unreachable",
    "other-network",
    "from-future",
    "leaving",
    "unimplemented",
    "too-many-links",
    "handshake",
    "hibernating",
    "unauthenticated",
    "foreign-origin",
];

/// What nodes ask each other.
pub(super) const PEER_REQUESTS: [&str; 14] = [
    "ping",
    "find-node",
    "offer",
    "digest",
    "deliver",
    "peer-acknowledge",
    "receipts",
    "put-card",
    "get-card",
    "peer-publish-card",
    "peer-find-card",
    "dial-back",
    "subscribe",
    "fetch",
];

/// What clients ask.
pub(super) const CLIENT_REQUESTS: [&str; 10] = [
    "submit",
    "submit-stream",
    "cancel",
    "watch",
    "receive",
    "acknowledge",
    "publish-card",
    "find-card",
    "get-status",
    "list-peers",
];

pub(super) fn requests() -> impl Iterator<Item = &'static str> {
    PEER_REQUESTS.into_iter().chain(CLIENT_REQUESTS)
}

/// The name of a request of another node among the metrics.
pub const fn kind_of(request: &Request) -> &'static str {
    match request {
        Request::Ping { .. } => "ping",
        Request::FindNode { .. } => "find-node",
        Request::Offer { .. } => "offer",
        Request::Digest { .. } => "digest",
        Request::Deliver { .. } => "deliver",
        Request::Acknowledge { .. } => "peer-acknowledge",
        Request::Receipts { .. } => "receipts",
        Request::PutCard { .. } => "put-card",
        Request::GetCard { .. } => "get-card",
        Request::PublishCard { .. } => "peer-publish-card",
        Request::FindCard { .. } => "peer-find-card",
        Request::Subscribe { .. } => "subscribe",
        Request::Fetch { .. } => "fetch",
        Request::DialBack { .. } => "dial-back",
    }
}

/// What is told over open streams.
pub(super) const PUSHES: [&str; 3] = ["waiting", "acknowledgements", "receipts"];

/// What a link was blocked by.
pub(super) const BLOCKED: [&str; 2] = ["network", "node"];

/// How nodes of the table have answered lately.
pub(super) const NODE_STATES: [&str; 3] = ["good", "questionable", "bad"];

/// What is known of whether others reach this node.
pub(super) const REACHABILITIES: [&str; 3] = ["reachable", "unreachable", "unknown"];

/// What dialling another node has come to: first what is hoped for.
pub(super) const DIALS: [&str; 2] = ["linked", "failed"];
