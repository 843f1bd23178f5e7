//! Links that are open and the bytes that went over them, of the whole process.
//!
//! Entry points are [`received`], [`sent`] and [`Open`]. Bytes are counted at every read and write, so
//! they are added up here and handed over once a second.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{counter, gauge};

use super::{LINK_BYTES, LINKS};

static RECEIVED: AtomicU64 = AtomicU64::new(0);
static SENT: AtomicU64 = AtomicU64::new(0);
static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static DIALLED: AtomicU64 = AtomicU64::new(0);

/// A link that is open, as long as this lives.
#[derive(Debug)]
pub(crate) struct Open(&'static AtomicU64);

impl Open {
    /// One that another node has opened.
    pub(crate) fn accepted() -> Self {
        Self::one_of(&ACCEPTED)
    }

    /// One that this node has opened.
    pub(crate) fn dialled() -> Self {
        Self::one_of(&DIALLED)
    }

    fn one_of(links: &'static AtomicU64) -> Self {
        links.fetch_add(1, Ordering::Relaxed);
        Self(links)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts bytes that came over a link.
pub(crate) fn received(bytes: usize) {
    RECEIVED.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Counts bytes that were written to a link.
pub(crate) fn sent(bytes: usize) {
    SENT.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Bytes that have come and gone over links, and links that are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) accepted_links: u64,
    pub(crate) dialled_links: u64,
}

/// What there is of it until now.
pub(crate) fn until_now() -> Traffic {
    let [received_bytes, sent_bytes, accepted_links, dialled_links] =
        [&RECEIVED, &SENT, &ACCEPTED, &DIALLED].map(|count| count.load(Ordering::Relaxed));
    Traffic { received_bytes, sent_bytes, accepted_links, dialled_links }
}

/// Hands over what has been counted.
pub(super) fn publish() {
    for (direction, bytes) in [("received", &RECEIVED), ("sent", &SENT)] {
        counter!(LINK_BYTES, "direction" => direction).absolute(bytes.load(Ordering::Relaxed));
    }
    for (direction, links) in [("accepted", &ACCEPTED), ("dialled", &DIALLED)] {
        gauge!(LINKS, "direction" => direction).set(links.load(Ordering::Relaxed) as f64);
    }
}
