//! What a node's links may cost its owner: how fast they go, how much they carry in a day, week or
//! month, and whom the node still serves when that is used up.
//!
//! Entry type is [`Traffic`], which every link has. It counts bytes as they go over TCP between nodes,
//! both directions, and knows of no message. How much is left is [`account`]'s to say; what follows
//! for links that are open or wanted is asked here.

pub mod account;
pub(crate) mod book;
pub(crate) mod keeper;
mod pace;
pub mod schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use account::Service;
use pace::Pace;
pub use pace::Rate;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To this node.
    Received,
    /// From it.
    Sent,
}

/// Who has opened a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// Another node.
    Other,
    /// This one.
    Us,
}

/// The traffic of one node. Cloning shares it. At first nothing is limited.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    received: Pace,
    sent: Pace,
    /// Links that are open, handshakes under way included.
    links: AtomicU64,
    /// Bytes of both directions since the start.
    moved: AtomicU64,
    /// At so many nothing goes on any more.
    moved_max: AtomicU64,
    /// A [`Service`].
    service: AtomicU8,
    /// Links that are not to be any more are ended, and not only asked to ask no more.
    ends_links: AtomicBool,
    /// The node has clients, or mail of theirs.
    has_clients: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            received: Pace::default(),
            sent: Pace::default(),
            links: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            moved_max: AtomicU64::new(u64::MAX),
            service: AtomicU8::new(0),
            ends_links: AtomicBool::new(false),
            has_clients: AtomicBool::new(false),
        }
    }
}

/// A link that is open, as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenLink(Traffic);

impl Traffic {
    /// From now on no direction may carry more than `rate`, if there is one.
    pub fn set_rate(&self, rate: Option<Rate>) {
        let now = Instant::now();
        self.0.received.set(rate, now);
        self.0.sent.set(rate, now);
    }

    /// Whether others are served: their links accepted and their calls answered.
    pub fn serves_others(&self) -> bool {
        self.service() == Service::All
    }

    /// Whether others may be called: also while the node rests, for its own clients.
    pub fn may_call(&self) -> bool {
        match self.service() {
            Service::All => true,
            Service::Own => self.0.has_clients.load(Ordering::Relaxed),
            Service::Nobody => false,
        }
    }

    /// Notes whether the node has clients that are connected, or mail of theirs that is under way.
    pub fn set_has_clients(&self, has_clients: bool) {
        self.0.has_clients.store(has_clients, Ordering::Relaxed);
    }

    /// Bytes moved since the start, both directions.
    pub(crate) fn moved(&self) -> u64 {
        self.0.moved.load(Ordering::Relaxed)
    }

    /// From now on it serves these. Nothing goes beyond `moved_max` bytes in all, whatever was said
    /// before.
    pub(crate) fn serve(&self, service: Service, moved_max: u64) {
        self.0.service.store(service as u8, Ordering::Relaxed);
        self.0.moved_max.store(moved_max, Ordering::Relaxed);
        if service == Service::All {
            self.end_links(false);
        }
    }

    /// Whether links that are not to be any more are ended.
    pub(crate) fn end_links(&self, ends: bool) {
        self.0.ends_links.store(ends, Ordering::Relaxed);
    }

    fn service(&self) -> Service {
        if self.moved() >= self.0.moved_max.load(Ordering::Relaxed) {
            return Service::Nobody;
        }
        [Service::All, Service::Own, Service::Nobody]
            .into_iter()
            .find(|service| *service as u8 == self.0.service.load(Ordering::Relaxed))
            .unwrap_or_default()
    }

    /// A link begins.
    pub(crate) fn open_link(&self) -> OpenLink {
        self.0.links.fetch_add(1, Ordering::Relaxed);
        OpenLink(self.clone())
    }
}

impl OpenLink {
    /// Whether the link is to go on. One of others gets a while for what is under way, unless nothing
    /// is left.
    pub(crate) fn may_go_on(&self, opener: Opener) -> bool {
        let traffic = &self.0;
        match (traffic.service(), opener) {
            (Service::All, _) => true,
            (Service::Nobody, _) => false,
            (Service::Own, Opener::Other) => !traffic.0.ends_links.load(Ordering::Relaxed),
            (Service::Own, Opener::Us) => {
                traffic.may_call() || !traffic.0.ends_links.load(Ordering::Relaxed)
            }
        }
    }

    /// How many bytes may be moved at once.
    pub(crate) fn piece(&self, direction: Direction) -> Option<u64> {
        let links = self.0.0.links.load(Ordering::Relaxed);
        self.0.pace(direction).piece(links)
    }

    /// So many bytes were moved. The link is to pause until the moment that is returned.
    pub(crate) fn moved(&self, direction: Direction, bytes: usize) -> Option<Instant> {
        let bytes = bytes as u64;
        self.0.0.moved.fetch_add(bytes, Ordering::Relaxed);
        self.0.pace(direction).moved(bytes, Instant::now())
    }
}

impl Traffic {
    fn pace(&self, direction: Direction) -> &Pace {
        match direction {
            Direction::Received => &self.0.received,
            Direction::Sent => &self.0.sent,
        }
    }
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        self.0.0.links.fetch_sub(1, Ordering::Relaxed);
    }
}
