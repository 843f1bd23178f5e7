//! What goes wrong in a world beside loss: crashes, failing and stalling disks, pauses, partitions,
//! doubled messages, slow hosts and wrong clocks.
//!
//! Entry type is [`Faults`], which an ordinary world has none of. What is drawn here is drawn from the
//! world's own generator. When what goes wrong is the business of [`crate::swarm`].

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use comm_proto::key::KeyPair;
use comm_proto::node::{Config, Family, Input, RequestId};
use comm_proto::store::{Entry, MemoryStore, Seq, Store, StoreError};
use comm_proto::time::{Span, Time};
use comm_proto::wire::{decode, peer};
use rand_core::RngCore;

use super::clocks::Clocks;
use super::{Happening, World};
use crate::copies::Change;
use crate::host::At;
use crate::ip_plan::CALLING_PORT;
use crate::people::Letter;
use crate::plan::Millionths;
use crate::swarm::oracle::{Oracle, Seen};

/// What a node takes for a jump of its clock (PROTOCOL §6.7).
const JUMP: Span = Span::from_mins(20);
/// How soon after the trouble hosts are there.
const SOON: Span = Span::from_mins(1);

/// What goes wrong, and what hosts are told that ordinary ones are not.
#[derive(Default)]
pub(crate) struct Faults {
    /// Whom a host that is switched on again asks for the network.
    pub(crate) known: Vec<At>,
    /// Bounds of hosts that have others than the usual.
    pub(crate) configs: BTreeMap<At, Config>,
    /// The chance of every call and of every answer to come twice.
    pub(crate) doubled: Millionths,
    /// How much later what these hosts send and get comes.
    pub(crate) slow: BTreeMap<At, Span>,
    /// The least and the greatest time that one sync takes, where several batches may share one;
    /// else each batch has its own.
    pub(crate) syncs: Option<(Span, Span)>,
    pub(crate) clocks: Clocks,
    syncing: BTreeMap<At, Syncing>,
    cuts: Vec<Cut>,
    paused: BTreeMap<At, Time>,
    stalled: BTreeMap<At, Time>,
    /// Reads that succeed before a disk fails, and how long its host is off then.
    unreadable: BTreeMap<At, (u32, Span)>,
    /// Hosts whose power goes as soon as they have written so many batches more: what is left of what was
    /// not synced, and how long they are off.
    doomed: BTreeMap<At, (u32, Millionths, Span)>,
    /// How long a host is off after its next write has failed.
    unwritable: BTreeMap<At, Span>,
    happened: BTreeMap<&'static str, u64>,
}

/// What some hosts send to some others does not arrive.
struct Cut {
    from: BTreeSet<At>,
    to: BTreeSet<At>,
    until: Time,
}

/// One sync of a disk, and what waits for the next.
#[derive(Default)]
struct Syncing {
    under_way: bool,
    written: Option<Seq>,
    copies: Vec<(Letter, Change)>,
}

/// A store whose reads fail sooner or later.
struct Unreadable<'a> {
    store: &'a MemoryStore<Family>,
    left: Cell<u32>,
}

impl Faults {
    /// Notes that something went wrong.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// How often what went wrong.
    pub(crate) fn happened(&self) -> &BTreeMap<&'static str, u64> {
        &self.happened
    }

    pub(super) fn config(&self, host: At) -> Option<Config> {
        self.configs.get(&host).cloned()
    }

    /// How much later a message between these comes.
    pub(super) fn delay(&self, from: At, to: At) -> Span {
        let of = |host| self.slow.get(&host).copied().unwrap_or(Span::ZERO);
        of(from) + of(to)
    }

    /// Whether what `from` sends does not arrive at `to`.
    pub(super) fn is_cut(&self, from: At, to: At, now: Time) -> bool {
        let mut cuts = self.cuts.iter().filter(|cut| cut.until > now);
        cuts.any(|cut| cut.from.contains(&from) && cut.to.contains(&to))
    }

    pub(super) fn is_cut_either_way(&self, one: At, other: At, now: Time) -> bool {
        self.is_cut(one, other, now) || self.is_cut(other, one, now)
    }

    /// Until when a host handles nothing.
    fn paused(&self, host: At, now: Time) -> Option<Time> {
        self.paused.get(&host).copied().filter(|until| *until > now)
    }

    /// What a host had under way is over.
    fn forget(&mut self, host: At) {
        self.syncing.remove(&host);
        self.paused.remove(&host);
        self.stalled.remove(&host);
        self.unreadable.remove(&host);
        self.unwritable.remove(&host);
        self.doomed.remove(&host);
    }
}

/// What goes wrong from now on.
impl World {
    /// Power goes; of the batches that were not synced this share is left. The host is switched on
    /// again after `off`.
    pub(crate) fn crash(&mut self, host: At, kept: Millionths, off: Span) {
        if !self.hosts[host].is_up() {
            return;
        }
        let unsynced = self.hosts[host].disk().unsynced();
        let kept = kept.of(unsynced);
        self.faults.count(match (unsynced, kept) {
            (0, _) => "crash, all synced",
            (_, 0) => "crash, all unsynced lost",
            (unsynced, kept) if kept < unsynced => "crash, torn",
            _ => "crash, all unsynced left",
        });
        self.go_down(host, kept);
        self.later(off, Happening::Restart { host });
    }

    /// Power goes when so many batches more are written, before the disk has the last.
    pub(crate) fn doom(&mut self, host: At, writes: u32, kept: Millionths, off: Span) {
        self.faults.doomed.insert(host, (writes, kept, off));
    }

    /// A host is off from now on: nobody switches it on again.
    pub(crate) fn end(&mut self, host: At) {
        self.faults.forget(host);
        self.go_down(host, 0);
    }

    pub(super) fn go_down(&mut self, host: At, kept: usize) {
        self.hosts[host].stop(kept);
        self.faults.forget(host);
        self.dials.forget(host);
        for (from, to) in self.streams.unplug(host) {
            if from == host {
                self.close_stream(from, to);
            } else {
                self.tear_stream(from, to);
            }
        }
        self.watch(host, |oracle, seen| oracle.crashed(seen));
    }

    /// A host is switched on again, and its clients come back.
    pub(crate) fn restart(&mut self, host: At) {
        if self.hosts[host].is_up() {
            return;
        }
        let known = self.faults.known.iter().copied().filter(|known| *known != host);
        let known: Vec<_> = known.collect();
        self.start(host, &known);
        for (letter, deed) in self.people.reconnecting(self.now, host) {
            self.deed(letter, deed);
        }
    }

    /// A host that is off is switched on within a minute.
    pub(crate) fn restart_soon(&mut self, host: At) {
        let span = Span::from_millis(self.rng.next_u64() % SOON.as_millis());
        self.later(span, Happening::Restart { host });
    }

    /// An honest host has been there all the time: what is to be said of it?
    pub(crate) fn judge(&mut self, host: At, judge: impl FnOnce(&mut Oracle, &Seen<'_>)) {
        self.watch(host, judge);
    }

    /// The disk cannot be read any more after so many reads: the node stops, and its host is off.
    pub(crate) fn fail_reads(&mut self, host: At, after: u32, off: Span) {
        self.faults.unreadable.insert(host, (after, off));
    }

    /// The next write fails: the node stops, and its host is off.
    pub(crate) fn fail_writes(&mut self, host: At, off: Span) {
        self.faults.unwritable.insert(host, off);
    }

    /// A sync that begins meanwhile ends only then.
    pub(crate) fn stall(&mut self, host: At, span: Span) {
        self.faults.count("disk stalled");
        self.faults.stalled.insert(host, self.now + span);
    }

    /// A host handles nothing for a while, and then all that has come at once.
    pub(crate) fn pause(&mut self, host: At, span: Span) {
        self.faults.count("pause");
        self.faults.paused.insert(host, self.now + span);
    }

    /// What `from` send does not arrive at `to` for a while; streams between them end.
    pub(crate) fn cut(&mut self, from: &[At], to: &[At], span: Span) {
        self.faults.count("partition");
        let now = self.now;
        self.faults.cuts.retain(|cut| cut.until > now);
        let (from, to): (BTreeSet<_>, BTreeSet<_>) =
            (from.iter().copied().collect(), to.iter().copied().collect());
        for one in &from {
            for other in &to {
                self.break_stream(*one, *other);
                self.break_stream(*other, *one);
            }
        }
        self.faults.cuts.push(Cut { from, to, until: now + span });
    }

    /// The clock of a host's machine is set: so much ahead of the true time, or behind. As in
    /// `comm-node`, a node whose clock is set back by much begins again from its store.
    pub(crate) fn set_clock(&mut self, host: At, ahead: i64) {
        self.faults.count("clock set");
        let before = self.faults.clocks.read(host, self.now);
        self.faults.clocks.set(host, ahead);
        // A clock that goes on slowly after it was set back may not jump when it is set ahead again.
        let ahead = self.faults.clocks.read(host, self.now).since(before);
        let back = self.faults.clocks.is_ahead_of_machine_by(host, self.now);
        if let Some(oracle) = self.oracle.as_mut().filter(|_| ahead > JUMP) {
            oracle.clock_set_ahead(host, self.now, ahead);
        }
        if back > JUMP {
            self.faults.clocks.reboot(host);
            if let Some(oracle) = &mut self.oracle {
                oracle.clock_set_back(host, back);
            }
            self.crash(host, Millionths::ALL, Span::from_secs(1));
        } else {
            self.wake(host);
        }
    }

    /// All that goes wrong ends, but for clocks and hosts that are off.
    pub(crate) fn heal(&mut self) {
        self.network.loss = Millionths::default();
        self.faults.doubled = Millionths::default();
        self.faults.slow.clear();
        self.faults.configs.values_mut().for_each(|config| {
            config.store_bytes_max = Config::default().store_bytes_max;
        });
        self.faults.cuts.clear();
        self.faults.paused.clear();
        self.faults.stalled.clear();
        self.faults.unreadable.clear();
        self.faults.unwritable.clear();
        self.faults.doomed.clear();
    }

    /// A stranger sends something, which is read as bytes from a link are.
    pub(crate) fn forged(
        &mut self,
        to: At,
        stranger: &KeyPair,
        what: &'static str,
        message: peer::Request,
    ) {
        let clock = self.faults.clocks.read(to, self.now);
        let Ok(request) = decode::request(message, clock) else {
            self.faults.count("forgery refused at the door");
            return;
        };
        self.faults.count(what);
        let id = RequestId(self.rng.next_u64());
        let source = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), CALLING_PORT);
        self.input(
            to,
            Input::Request { id, from: stranger.public(), source, known: None, request },
        );
    }

    fn break_stream(&mut self, from: At, to: At) {
        if self.streams.serial(from, to).is_some() {
            self.faults.count("stream broken");
            self.tear_stream(from, to);
        }
    }
}

/// What that does to what happens.
impl World {
    /// Until when a host handles nothing, if it is paused.
    pub(super) fn paused_until(&self, host: At) -> Option<Time> {
        self.faults.paused(host, self.now)
    }

    /// What happens to a host that is paused happens when it is not any more.
    pub(super) fn put_off(&mut self, happening: Happening) -> Option<Happening> {
        if self.faults.paused.is_empty() {
            return Some(happening);
        }
        let host = match &happening {
            Happening::Durable { host, .. }
            | Happening::DialledBack { host, .. }
            | Happening::Met { host, .. } => *host,
            Happening::Asked { to, .. }
            | Happening::AskedForged { to, .. }
            | Happening::Pushed { to, .. } => *to,
            Happening::Answered { asked, .. } => asked.from,
            Happening::Opening { to, .. } | Happening::Broken { to, .. } => *to,
            Happening::Client { asked } => asked.host,
            Happening::Deed { letter, deed } => self.people.host_of(*letter, *deed),
            Happening::Act { .. }
            | Happening::Switch { .. }
            | Happening::Turn { .. }
            | Happening::Cut { .. }
            | Happening::Leave { .. }
            | Happening::Restart { .. } => return Some(happening),
        };
        let Some(until) = self.faults.paused(host, self.now) else { return Some(happening) };
        self.queue.push(until, happening);
        None
    }

    /// Hands a node its input; false when its disk failed and it stopped.
    pub(super) fn handle(&mut self, host: At, input: Input, clock: Time) -> bool {
        let unreadable = self.faults.unreadable.get_mut(&host);
        let Some((node, store)) = self.hosts[host].running() else { return false };
        let Some((left, off)) = unreadable else {
            node.handle(input, store, clock).expect("a store in memory does not fail");
            return true;
        };
        let failing = Unreadable { store, left: Cell::new(*left) };
        let handled = node.handle(input, &failing, clock);
        *left = failing.left.get();
        let off = *off;
        match handled {
            Ok(()) => true,
            Err(StoreError::Damaged(what)) => {
                panic!("host {host} wrote what it cannot read: {what}")
            }
            Err(StoreError::Disk(_)) => {
                self.faults.count("disk unreadable");
                self.break_down(host, off);
                false
            }
        }
    }

    /// Whether a write of this host fails now, and its node stops.
    pub(super) fn is_unwritable(&mut self, host: At) -> bool {
        let Some(off) = self.faults.unwritable.remove(&host) else { return false };
        self.faults.count("disk unwritable");
        self.break_down(host, off);
        true
    }

    fn break_down(&mut self, host: At, off: Span) {
        let kept = Millionths::new(self.rng.next_u32() % 1_000_001);
        self.crash(host, kept, off);
    }

    /// A batch was written: the disk will have it, alone or with others.
    pub(super) fn sync_later(&mut self, host: At, seq: Seq, copies: Vec<(Letter, Change)>) {
        if self.faults.syncs.is_none() {
            let boot = self.hosts[host].boots();
            self.later(self.network.disk, Happening::Durable { host, boot, seq, copies });
            return;
        }
        let syncing = self.faults.syncing.entry(host).or_default();
        syncing.written = Some(seq);
        syncing.copies.extend(copies);
        self.begin_sync(host);
        if let Some((left, kept, off)) = self.faults.doomed.get_mut(&host) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let (kept, off) = (*kept, *off);
                self.crash(host, kept, off);
            }
        }
    }

    /// A sync has ended; whatever was written meanwhile shares the next.
    pub(super) fn synced(&mut self, host: At) {
        if let Some(syncing) = self.faults.syncing.get_mut(&host) {
            syncing.under_way = false;
            self.begin_sync(host);
        }
    }

    fn begin_sync(&mut self, host: At) {
        let Some((least, greatest)) = self.faults.syncs else { return };
        let Some(syncing) = self.faults.syncing.get_mut(&host) else { return };
        if syncing.under_way {
            return;
        }
        let Some(seq) = syncing.written.take() else { return };
        syncing.under_way = true;
        let copies = std::mem::take(&mut syncing.copies);
        let spread = greatest.as_millis().saturating_sub(least.as_millis()) + 1;
        let span = Span::from_millis(least.as_millis() + self.rng.next_u64() % spread);
        let stalled = self.faults.stalled.get(&host).map_or(self.now, |until| *until);
        let (boot, at) = (self.hosts[host].boots(), stalled.max(self.now) + span);
        self.queue.push(at, Happening::Durable { host, boot, seq, copies });
    }

    /// Whether a message comes twice.
    pub(super) fn is_doubled(&mut self) -> bool {
        let doubled = self.faults.doubled.get();
        let twice = doubled > 0 && self.rng.next_u32() % 1_000_000 < doubled;
        if twice {
            self.faults.count("message doubled");
        }
        twice
    }
}

impl Unreadable<'_> {
    fn read(&self) -> Result<(), StoreError> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        if left == 0 { Err(StoreError::Disk("it cannot be read".to_owned())) } else { Ok(()) }
    }
}

impl Store<Family> for Unreadable<'_> {
    fn get(&self, table: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read()?;
        self.store.get(table, key)
    }

    fn scan(
        &self,
        table: Family,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.read()?;
        self.store.scan(table, from, to, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    /// Hosts that know the first, after a minute.
    fn world(nodes: usize) -> World {
        let network = crate::plan::Network { nodes, ..Plan::default().network };
        let mut world = World::new(&network, 1);
        world.faults.known = vec![0];
        (0..nodes).for_each(|host| world.restart(host));
        run(&mut world, 1);
        world
    }

    fn run(world: &mut World, minutes: u64) {
        world.run_until(world.now() + Span::from_mins(minutes));
    }

    #[test]
    fn whoever_is_paused_handles_nothing_and_then_all_at_once() {
        let mut world = world(2);
        (0..2).for_each(|host| world.pause(host, Span::from_mins(40)));
        let before = world.inputs();
        run(&mut world, 39);
        assert_eq!(world.inputs(), before);
        run(&mut world, 2);
        assert!(world.inputs() > before);
    }

    #[test]
    fn what_is_cut_off_is_not_found_from_either_side_until_it_is_not() {
        for (from, to) in [([0], [1, 2]), ([1], [0, 2])] {
            let mut world = world(3);
            world.cut(&from, &to, Span::from_mins(120));
            // Whoever remembers nobody has to ask.
            world.end(1);
            world.restart(1);
            run(&mut world, 30);
            let answered = |world: &World| world.host(1).node().unwrap().stats().connected;
            assert_eq!(answered(&world), from == [0], "{from:?}");
            run(&mut world, 120);
            assert!(answered(&world), "{from:?}");
        }
    }

    #[test]
    fn a_disk_that_fails_stops_its_node_for_a_while() {
        let off = Span::from_mins(5);
        let fails: [fn(&mut World, Span); 2] =
            [|world, off| world.fail_reads(1, 0, off), |world, off| world.fail_writes(1, off)];
        for fail in fails {
            let mut world = world(3);
            fail(&mut world, off);
            // Whoever takes an envelope in reads and writes.
            let mailbox = world.draw_key();
            let letter = world.people.write(1, 2, mailbox, Span::DAY);
            world.plan_deed(Span::ZERO, letter, crate::people::Deed::Submit);
            run(&mut world, 1);
            assert!(!world.host(1).is_up());
            run(&mut world, 5);
            assert!(world.host(1).is_up());
        }
    }

    #[test]
    fn doubled_and_lost_messages_are_counted() {
        let mut world = world(3);
        world.faults.doubled = Millionths::ALL;
        run(&mut world, 60);
        assert!(world.faults.happened()["message doubled"] > 10);
        world.heal();
        let before = world.faults.happened().clone();
        run(&mut world, 60);
        assert_eq!(*world.faults.happened(), before);
    }
}
