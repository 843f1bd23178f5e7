//! How many independent trials the envelopes of some networks are. What follows from that is for
//! [`crate::statistics`].

use super::network::Network;
use crate::cast::used_hosts;
use crate::plan::Plan;

/// The independent trials in these networks of one plan together.
///
/// What becomes of an envelope is decided less by itself than by what it shares with others. With `traffic.pairs` all
/// envelopes of a pair have one sender's node and its entries, one recipient's node and its entries, and, in a public
/// mailbox, one region: they come and are lost together, so that a pair is one trial however much it writes. Without
/// pairs each envelope has a sender, a recipient and a mailbox of its own, but people who use the same relay share its
/// entries: there are no more trials than relays that people use, half as many where senders and recipients have relays
/// apart (`traffic.leave`). Networks are independent of each other.
pub(super) fn independent(plan: &Plan, networks: &[&Network]) -> u64 {
    let of = |network: &&Network| {
        let honest = network.nodes.saturating_sub(network.adversaries);
        let pairs = if plan.traffic.pairs > 0 { plan.traffic.pairs } else { usize::MAX };
        let kinds = if plan.traffic.nodes_go() { 2 } else { 1 };
        network.sent().min(pairs).min((used_hosts(plan, honest) / kinds).max(1)) as u64
    };
    networks.iter().map(of).sum()
}
