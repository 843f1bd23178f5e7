//! Plain counters of a node, and its bounds; whoever hosts it turns them into metrics.

use crate::message::{ENVELOPES_MAX, Reachability};
use crate::table::Status;
use crate::time::Time;

use super::Node;
use super::deliveries::{LINE_MAX, LINED_UP_MAX, LINES_MAX};
use super::dial_backs::{ASKED_MAX, SOURCES_MAX};
use super::drain::IN_HAND_MAX;
use super::fetching::PLACES_MAX;
use super::records::Role;
use super::room::disk_bytes;
use super::routing::BOOTSTRAP_MAX;

/// What a node holds and has done. All counts; nothing here names anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Envelopes in the store now.
    pub envelopes: u64,
    /// Bytes of their bodies.
    pub envelope_bytes: u64,
    /// Tombstones in the store now.
    pub tombstones: u64,
    /// Acknowledgements in the store now.
    pub acknowledgements: u64,
    /// Their bytes.
    pub acknowledgement_bytes: u64,
    /// Cards in the store now.
    pub cards: u64,
    /// Their bytes.
    pub card_bytes: u64,
    /// Bytes that everything in the store takes, rows and all, by the node's own account: what counts
    /// for its budget (PROTOCOL §6.1).
    pub disk_bytes: u64,
    /// Of these, bytes of others' envelopes, which give way where there is no more room.
    pub others_bytes: u64,
    /// Nodes in the table now.
    pub peers: u64,
    /// The estimate of the network's size, this node included.
    pub network_size: u64,
    /// Client sessions now.
    pub sessions: u64,
    /// Calls under way now.
    pub calls: u64,
    /// Batches that wait for the disk now.
    pub promises: u64,
    /// Entries of everything this node keeps in memory now: nodes, lookups, calls, regions, sources of
    /// calls, what is lined up, subscriptions, sessions. Nothing that lies on the disk counts.
    pub in_memory: u64,
    /// Of the envelopes in the store now, how many are whose.
    pub held: Held,
    /// Envelopes taken in since the start.
    pub accepted: u64,
    /// Of these, how many came for what.
    pub taken: Taken,
    /// Envelopes for which this node has signed a receipt since the start, once for each time.
    pub receipts_given: u64,
    /// Envelopes for which other nodes' receipts have come since the start, once for each of them.
    pub receipts_received: u64,
    /// Envelopes another node took from this one since the start.
    pub relayed: u64,
    /// Envelopes ended by an acknowledgement since the start.
    pub acknowledged: u64,
    /// Of these, others' envelopes: what this node has done for people who are not its own.
    pub acknowledged_for_others: u64,
    /// Envelopes ended by their time since the start.
    pub expired: u64,
    /// Others' envelopes evicted for want of room since the start.
    pub evicted: u64,
    /// Requests and objects refused since the start.
    pub refused: u64,
    /// Calls made since the start.
    pub calls_made: u64,
    /// Calls to which no answer came, each once, since the start.
    pub calls_unanswered: u64,
    /// Answers that came to no call of ours, or too late.
    pub stray_responses: u64,
    /// Nodes in the table have answered at least once since the start.
    pub connected: bool,
}

/// Living envelopes by how the node came to them, which decides what it does with them (PROTOCOL §6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Submitted by its own clients.
    pub own: u64,
    /// Handed over by other nodes: it keeps and repeats them.
    pub relayed: u64,
    /// Fetched for subscribers, its own clients or other nodes.
    pub collected: u64,
}

/// Envelopes taken in by what the node was to them at that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Its own clients have submitted them.
    pub own: u64,
    /// It belongs to the region of their mailbox.
    pub region: u64,
    /// It passes them on to their region, as an entry of their sender does (PROTOCOL §6.8).
    pub entry: u64,
    /// Subscribers read them here.
    pub collected: u64,
}

impl Held {
    pub(super) fn add(&mut self, role: Role) {
        *self.of(role) += 1;
    }

    pub(super) fn remove(&mut self, role: Role) {
        let count = self.of(role);
        *count = count.saturating_sub(1);
    }

    const fn of(&mut self, role: Role) -> &mut u64 {
        match role {
            Role::Own => &mut self.own,
            Role::Relayed => &mut self.relayed,
            Role::Collected => &mut self.collected,
        }
    }
}

/// How a node stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Nodes of the table that have answered lately.
    pub good: u64,
    /// Those that have been silent for a while.
    pub questionable: u64,
    /// Those that do not answer.
    pub bad: u64,
    /// Whether other nodes reach it.
    pub reachability: Reachability,
}

/// How much of something a node holds now, and may hold at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Of what.
    pub what: &'static str,
    /// Now.
    pub held: u64,
    /// At the most (PROTOCOL §9.1).
    pub most: u64,
}

impl Node {
    /// How it stands among the others at `now`.
    pub fn standing(&self, now: Time) -> Standing {
        let reachability = self.outside_view.reachability(&self.config.endpoints, now);
        let mut standing = Standing { good: 0, questionable: 0, bad: 0, reachability };
        for entry in self.table.entries() {
            match self.table.status(&entry.contact().address(), now) {
                Some(Status::Good) => standing.good += 1,
                Some(Status::Questionable) => standing.questionable += 1,
                Some(Status::Bad) => standing.bad += 1,
                None => {}
            }
        }
        standing
    }

    /// What this node's collections hold and may hold, and its budget: a host or a test that sees `held`
    /// above `most` has found a defect.
    pub fn bounds(&self) -> impl Iterator<Item = Bound> + use<> {
        let config = &self.config;
        let (nodes, longest, lined_up) = self.deliveries.lined_up();
        let bound =
            |what, held: usize, most: usize| Bound { what, held: held as u64, most: most as u64 };
        [
            bound("calls", self.calls.len(), config.calls_max),
            bound("lookups", self.searches.len(), config.lookups_max),
            bound("regions waited for", self.regions.awaited_len(), config.regions_max),
            bound("regions", self.regions.found_len(), config.regions_max),
            bound("nodes remembered", self.book.len(), config.address_book_max),
            bound("nodes to begin with", self.bootstrap.len(), BOOTSTRAP_MAX),
            bound("entries", self.entries.len(), 2 * config.entries),
            bound("clocks that differ", self.clocks.differing(), self.table.len()),
            bound("sources dialled back", self.dial_backs.len(), SOURCES_MAX),
            bound("callers told of it", self.dial_backs.asked_len(), ASKED_MAX),
            bound("listeners", self.listeners.len(), config.listeners_max),
            bound("sessions", self.sessions.len(), config.sessions_max),
            bound("watched envelopes", self.watchers.len(), config.watches_max),
            bound("mailboxes subscribed to", self.subscribers.len(), config.subscriptions_max),
            bound("mailboxes collected", self.collections.len(), config.subscriptions_max),
            bound("mailboxes of clients", self.own_mailboxes.len(), config.subscriptions_max),
            bound("places for fetching", self.fetching.places(), PLACES_MAX),
            bound("nodes of a bucket", self.table.fullest_bucket(), config.table.bucket_size),
            bound("things being handed over", self.drain.len(), IN_HAND_MAX),
            bound("nodes with a line", nodes, LINES_MAX),
            bound("envelopes of a line", longest, LINE_MAX),
            // Beyond its bound each line has room for one message.
            bound("envelopes lined up", lined_up, LINED_UP_MAX + LINES_MAX * ENVELOPES_MAX),
            Bound {
                what: "source groups",
                held: self.shares.len() as u64,
                most: self.stats.envelopes,
            },
            Bound { what: "cards", held: self.stats.cards, most: config.cards_max },
            Bound {
                what: "bytes on disk",
                held: disk_bytes(&self.stats),
                most: config.store_bytes_max,
            },
        ]
        .into_iter()
    }
}

#[cfg(test)]
mod tests {
    use crate::key::KeyPair;
    use crate::node::{Config, Family};
    use crate::store::MemoryStore;
    use crate::time::Time;

    use super::*;

    #[test]
    fn what_is_lined_up_and_the_fullest_bucket_are_among_the_bounds() {
        let mut config = Config::default();
        config.table.bucket_size = 7;
        let (key, store) = (KeyPair::from_seed(&[1; 32]), MemoryStore::<Family>::default());
        let node = Node::new(config, key, [2; 32], &store, Time::ZERO).unwrap();
        let most =
            |what: &str| node.bounds().find(|bound| bound.what == what).map(|bound| bound.most);
        assert_eq!(most("nodes of a bucket"), Some(7));
        assert_eq!(most("nodes with a line"), Some(LINES_MAX as u64));
        assert_eq!(most("envelopes of a line"), Some(LINE_MAX as u64));
        let with_one_message_each = LINED_UP_MAX + LINES_MAX * ENVELOPES_MAX;
        assert_eq!(most("envelopes lined up"), Some(with_one_message_each as u64));
    }
}
