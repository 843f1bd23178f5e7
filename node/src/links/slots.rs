//! Outgoing links by node: which are open, which are in use, which failed lately.
//!
//! Entry type is [`Slots`]. One slot for each node, and in it at most one link; whoever wants the
//! link of a slot waits for its lock, so that a node is dialled once, however many calls wait. It
//! dials nobody itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use comm_proto::address::Address;
use tokio::sync::Mutex as AsyncMutex;
use tonic::transport::Channel;

use super::backoff::Backoff;

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Mutex<BTreeMap<Address, Arc<Slot>>>,
    since: Instant,
    slots_max: usize,
    links_max: usize,
}

/// One node's.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: Arc<AsyncMutex<State>>,
    /// Milliseconds from the start to the last use.
    used: AtomicU64,
    /// Streams for pushes that run over the link; they keep it from being closed as idle.
    pins: AtomicU32,
}

/// What is known of the way to one node.
#[derive(Debug)]
pub(super) struct State {
    /// The open link.
    pub(super) link: Option<OpenLink>,
    backoff: Backoff,
    /// Which endpoints failed, and until when they are left alone.
    failed: Option<(Vec<SocketAddr>, Instant)>,
    /// The endpoint that the next dial begins with, if it is still one of the node's.
    begin_with: Option<SocketAddr>,
    opened: u64,
}

/// An open link and which one it is of its slot.
#[derive(Clone, Debug)]
pub(super) struct OpenLink {
    pub(super) channel: Channel,
    pub(super) number: u64,
}

/// Keeps a link open while it lives.
#[derive(Debug)]
pub(super) struct Pin(Arc<Slot>);

impl Slots {
    pub(super) fn new(slots_max: usize, links_max: usize) -> Self {
        Self { slots: Mutex::default(), since: Instant::now(), slots_max, links_max }
    }

    /// The slot of a node, marked as used now.
    pub(super) fn slot(&self, node: Address, backoff: &Backoff) -> Arc<Slot> {
        let mut slots = self.lock();
        if !slots.contains_key(&node) && slots.len() >= self.slots_max {
            forget_oldest(&mut slots);
        }
        let slot = slots.entry(node).or_insert_with(|| Arc::new(Slot::new(backoff.clone())));
        slot.used.store(self.millis(), Ordering::Relaxed);
        Arc::clone(slot)
    }

    /// Closes links that nobody has used for `idle`, and the least used beyond the bound. A link is
    /// closed once the last call over it has ended.
    pub(super) fn close_idle(&self, idle: Duration) {
        let now = self.millis();
        let mut open: Vec<_> = self.lock().values().filter_map(unpinned_link).collect();
        open.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
        for (place, (used, slot)) in open.into_iter().enumerate() {
            let is_idle = u128::from(now.saturating_sub(used)) >= idle.as_millis();
            // Whoever holds the lock is using it.
            if (is_idle || place >= self.links_max)
                && let Ok(mut state) = slot.state.try_lock()
            {
                state.link = None;
            }
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for an eighth, so that this is seldom done. Slots with a link stay.
fn forget_oldest(slots: &mut BTreeMap<Address, Arc<Slot>>) {
    let mut closed: Vec<_> = slots
        .iter()
        .filter(|(_, slot)| slot.state.try_lock().is_ok_and(|state| state.link.is_none()))
        .map(|(node, slot)| (slot.used.load(Ordering::Relaxed), *node))
        .collect();
    closed.sort_unstable();
    for (_, node) in closed.into_iter().take(slots.len().div_ceil(8)) {
        slots.remove(&node);
    }
}

fn unpinned_link(slot: &Arc<Slot>) -> Option<(u64, Arc<Slot>)> {
    let pinned = slot.pins.load(Ordering::Relaxed) > 0;
    let open = slot.state.try_lock().is_ok_and(|state| state.link.is_some());
    (open && !pinned).then(|| (slot.used.load(Ordering::Relaxed), Arc::clone(slot)))
}

impl Slot {
    fn new(backoff: Backoff) -> Self {
        let state = State { link: None, backoff, failed: None, begin_with: None, opened: 0 };
        Self {
            state: Arc::new(AsyncMutex::new(state)),
            used: AtomicU64::new(0),
            pins: AtomicU32::new(0),
        }
    }

    pub(super) fn pin(self: &Arc<Self>) -> Pin {
        self.pins.fetch_add(1, Ordering::Relaxed);
        Pin(Arc::clone(self))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    /// Whether these endpoints have failed and are to be left alone still.
    pub(super) fn is_backing_off(&self, endpoints: &[SocketAddr]) -> bool {
        self.failed
            .as_ref()
            .is_some_and(|(failed, until)| failed == endpoints && Instant::now() < *until)
    }

    /// These endpoints in the order in which they are to be dialled: best first, but after a dial that
    /// failed from the next one on, since it may have had no time for all of them.
    pub(super) fn in_turn(&self, endpoints: &[SocketAddr]) -> Vec<SocketAddr> {
        let first = endpoints.iter().position(|endpoint| Some(*endpoint) == self.begin_with);
        let mut in_turn = endpoints.to_vec();
        in_turn.rotate_left(first.unwrap_or(0));
        in_turn
    }

    /// A link was opened.
    pub(super) fn succeed(&mut self, channel: Channel) -> OpenLink {
        self.backoff.reset();
        self.failed = None;
        self.opened += 1;
        let link = OpenLink { channel, number: self.opened };
        self.link = Some(link.clone());
        link
    }

    /// None could be opened.
    pub(super) fn fail(&mut self, endpoints: &[SocketAddr]) {
        let until = Instant::now() + self.backoff.next_wait();
        self.failed = Some((endpoints.to_vec(), until));
        self.begin_with = self.in_turn(endpoints).get(1).copied();
    }

    /// The link of this number is broken; a newer one may be whole.
    pub(super) fn forget(&mut self, number: u64) {
        self.link.take_if(|link| link.number == number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_secs(60), Duration::from_secs(300))
    }

    fn node(n: u8) -> Address {
        Address::from_bytes([n; 20])
    }

    fn channel() -> Channel {
        tonic::transport::Endpoint::from_static("http://node.invalid").connect_lazy()
    }

    #[test]
    fn failed_endpoints_rest_and_new_ones_do_not() {
        let slots = Slots::new(8, 8);
        let slot = slots.slot(node(1), &backoff());
        let mut state = slot.state.try_lock().unwrap();
        let (old, new) = (["127.0.0.1:1".parse().unwrap()], ["127.0.0.1:2".parse().unwrap()]);
        state.fail(&old);
        assert!(state.is_backing_off(&old));
        assert!(!state.is_backing_off(&new));
    }

    #[test]
    fn each_dial_that_failed_lets_the_next_begin_one_endpoint_later() {
        let slots = Slots::new(8, 8);
        let slot = slots.slot(node(1), &backoff());
        let mut state = slot.state.try_lock().unwrap();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let all = [at(1), at(2), at(3)];
        for first in [0, 1, 2, 0] {
            let mut expected = all;
            expected.rotate_left(first);
            assert_eq!(state.in_turn(&all), expected);
            state.fail(&all);
        }
        assert_eq!(state.in_turn(&[at(7), at(8)]), [at(7), at(8)], "others have failed");
        assert_eq!(state.in_turn(&[]), []);
        state.fail(&[at(7)]);
        assert_eq!(state.in_turn(&[at(7)]), [at(7)]);
    }

    #[tokio::test]
    async fn idle_links_close_and_pinned_ones_stay() {
        let slots = Slots::new(8, 8);
        let (idle, pinned) = (slots.slot(node(1), &backoff()), slots.slot(node(2), &backoff()));
        idle.state.lock().await.succeed(channel());
        pinned.state.lock().await.succeed(channel());
        let pin = pinned.pin();
        slots.close_idle(Duration::ZERO);
        assert!(idle.state.lock().await.link.is_none());
        assert!(pinned.state.lock().await.link.is_some());
        drop(pin);
        slots.close_idle(Duration::ZERO);
        assert!(pinned.state.lock().await.link.is_none());
    }

    #[tokio::test]
    async fn beyond_the_bound_only_one_link_stays() {
        let slots = Slots::new(8, 1);
        let all: Vec<_> = (1..=3).map(|n| slots.slot(node(n), &backoff())).collect();
        for slot in &all {
            slot.state.lock().await.succeed(channel());
        }
        slots.close_idle(Duration::from_secs(60));
        let is_open = |slot: &Arc<Slot>| slot.state.try_lock().unwrap().link.is_some();
        assert_eq!(all.iter().filter(|slot| is_open(slot)).count(), 1);
    }

    #[tokio::test]
    async fn slots_without_a_link_make_room() {
        let slots = Slots::new(8, 8);
        slots.slot(node(0), &backoff()).state.lock().await.succeed(channel());
        for n in 1..100 {
            slots.slot(node(n), &backoff());
            assert!(slots.lock().len() <= 8);
        }
        assert!(slots.lock().contains_key(&node(0)));
    }

    #[tokio::test]
    async fn a_broken_link_does_not_take_a_newer_one_along() {
        let slots = Slots::new(8, 8);
        let slot = slots.slot(node(1), &backoff());
        let mut state = slot.state.lock().await;
        let old = state.succeed(channel());
        let new = state.succeed(channel());
        state.forget(old.number);
        assert!(state.link.is_some());
        state.forget(new.number);
        assert!(state.link.is_none());
    }
}
