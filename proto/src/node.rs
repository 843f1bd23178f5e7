//! The relay: a pure state machine for everything between the wire and the disk.
//!
//! Entry type is [`Node`]. It keeps a place in the routing table, takes envelopes into custody,
//! repeats them, collects for its clients and ends what has been acknowledged. It opens no socket,
//! writes no file and reads no clock: that is its host's work ([`Input`], [`Output`]).
//!
//! One file for each task, in the order in which an envelope meets them:
//! `clients` and `peers` take requests, `accept` takes envelopes in, `custody` and
//! `targets` repeat them, `exchange` settles with another node who lacks what, `deliveries` hands it
//! over, `collect`, `fetching` and `subscribers` bring them to their readers, `acknowledge` and
//! `expire` end them; `routing`, `regions`, `entries`, `cards` and `card_searches` find nodes and
//! people. `dial_backs` and `outside_view` deal with callers and with how they see us, `clocks` and
//! `holding` with wrong clocks, `outage` with being cut off, `room` with the budget and `shares` with who gives way where it is used
//! up. `drain` hands everything over before a node leaves. `desk` is the outgoing side:
//! batches, promises and outputs. `recovery` begins from the disk, `upgrade` reads what an older
//! program left there, `verify` looks for damage. `past` is for simulations.

mod accept;
mod acknowledge;
mod book;
mod calls;
mod card_searches;
mod cards;
mod clients;
mod clocks;
mod collect;
mod config;
mod custody;
mod deliveries;
mod desk;
mod dial_backs;
mod drain;
mod entries;
mod exchange;
mod expire;
mod fetching;
mod holding;
mod io;
mod keys;
mod outage;
mod outside_view;
mod own_mailboxes;
mod past;
mod peers;
mod records;
mod recovery;
mod regions;
mod room;
mod rotating;
mod routing;
mod session;
mod shares;
mod stats;
mod subscribers;
mod targets;
mod upgrade;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha12Rng;

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::EnvelopeId;
use crate::key::KeyPair;
use crate::network_size::NetworkSize;
use crate::store::{Store, StoreError};
use crate::table::Table;
use crate::time::Time;

use accept::Arrivals;
use book::Book;
use calls::Call;
use card_searches::{CardSearch, Published};
use clocks::PeerClocks;
use collect::Collection;
use deliveries::Deliveries;
use desk::Desk;
use dial_backs::DialBacks;
use drain::Drain;
use entries::Entries;
use fetching::Fetching;
use holding::HoldingClock;
use outage::Outage;
use outside_view::OutsideView;
use own_mailboxes::OwnMailboxes;
use regions::Regions;
use room::Disk;
use rotating::Rotating;
use routing::{Bootstrap, Search};
use session::Session;
use shares::Shares;
use subscribers::Subscribers;

pub use config::Config;
pub use drain::Handover;
pub use io::{CallId, Command, Event, Family, Input, Output, RequestId, SessionId, Timer};
pub use past::{Past, PastSearch};
pub use stats::{Bound, Held, Standing, Stats, Taken};
pub use upgrade::Upgrade;
pub use verify::{Finding, Verification};

/// A relay. Its methods fall into three classes:
///
/// - *In*: [`Node::new`] once, then [`Node::handle`] for each input.
/// - *Out*: [`Node::poll_output`] until `None` after each of them, before the next.
/// - *When*: [`Node::poll_timeout`] says when to hand in [`Input::Tick`].
#[derive(Debug)]
pub struct Node {
    config: Config,
    key: KeyPair,
    address: Address,
    rng: ChaCha12Rng,
    /// Outputs, batches and the promises that wait for the disk.
    desk: Desk,
    stats: Stats,

    table: Table,
    size: NetworkSize,
    book: Book,
    bootstrap: Bootstrap,
    dial_backs: DialBacks,
    outside_view: OutsideView,
    searches: BTreeMap<u64, Box<Search>>,
    regions: Regions,
    /// Nodes this node's own clients are hidden behind.
    entries: Entries,
    /// A further one, by which it collects only.
    rotating: Rotating,

    calls: BTreeMap<CallId, Call>,
    /// Peers that keep a stream for pushes open here.
    listeners: BTreeSet<Address>,
    arrivals: Arrivals,
    /// What each source group uses of the disk.
    shares: Shares,
    /// What the files of the store take.
    disk: Disk,
    /// The number of the next ending.
    endings: u64,
    clock: HoldingClock,
    clocks: PeerClocks,
    relay_at: Time,
    /// When the clock may have been ahead: from when on nothing can be due.
    strays_from: Option<Time>,
    expiry_at: Time,
    /// The day up to which whole days of envelopes have been dropped.
    dropped_day: u32,
    /// New neighbours with whom everything held in common is still to be settled, and the mailbox
    /// entry from which on.
    unsettled: BTreeMap<Address, Vec<u8>>,
    /// The same for those that are still busy with what was offered before.
    settling: BTreeMap<Address, Vec<u8>>,
    deliveries: Deliveries,
    outage: Outage,
    /// Whether it hands over what it holds, to leave for good.
    drain: Drain,

    subscribers: BTreeMap<Address, Subscribers>,
    collections: BTreeMap<Address, Collection>,
    own_mailboxes: OwnMailboxes,
    /// What is to be fetched, and who is said to have it.
    fetching: Fetching,
    sessions: BTreeMap<SessionId, Session>,
    watchers: BTreeMap<EnvelopeId, BTreeSet<SessionId>>,
    card_searches: BTreeMap<u64, CardSearch>,
    /// The newest cards of our clients, by owner; at most as many as there may be sessions.
    published: Published,
}

/// What one step may look at: the store and the time, both handed in by the host.
#[derive(Clone, Copy)]
struct Turn<'a> {
    store: &'a dyn Store<Family>,
    now: Time,
}

impl Node {
    /// A node that takes up where its store left off. `seed` feeds all its randomness.
    ///
    /// # Errors
    /// When the store cannot be read or holds damaged values.
    pub fn new(
        config: Config,
        key: KeyPair,
        seed: [u8; 32],
        store: &dyn Store<Family>,
        now: Time,
    ) -> Result<Self, StoreError> {
        recovery::recover(config, key, seed, Turn { store, now })
    }

    /// Takes one input. Drain [`Self::poll_output`] before the next.
    ///
    /// # Errors
    /// Only when our own store fails; the host must stop then. What others do wrong is answered and
    /// reported as [`Event::Refused`].
    pub fn handle(
        &mut self,
        input: Input,
        store: &dyn Store<Family>,
        now: Time,
    ) -> Result<(), StoreError> {
        debug_assert!(self.desk.is_drained(), "outputs are drained before the next input");
        let turn = Turn { store, now };
        if self.clock.observe(now) {
            self.forget_clocks(turn);
            self.look_for_strays(turn);
            // When that was to be looked for next was said by the clock as it was.
            self.expiry_at = self.expiry_at.min(now);
        }
        match input {
            Input::Tick => self.on_tick(turn)?,
            Input::Durable(seq) => self.on_durable(turn, seq)?,
            Input::DiskTaken { bytes } => self.disk.is_taken(bytes),
            Input::Request { id, from, source, known, request } => {
                self.on_request(turn, id, (&from, source, known), request)?;
            }
            Input::Response { id, result } => self.on_response(turn, id, result)?,
            Input::DialledBack { id, outcomes } => self.on_dialled_back(id, outcomes),
            Input::ListenerOpened { peer } => self.on_listener_opened(peer),
            Input::ListenerClosed { peer } => self.on_listener_closed(&peer),
            Input::ListenOpened { to } => self.fetching.hears(&to, turn.now),
            Input::ListenClosed { to } => self.fetching.hears_no_more(&to),
            Input::Push { from, push } => self.on_push(turn, &from, push)?,
            Input::ClientRequest { id, session, request } => {
                self.on_client_request(turn, id, session, request)?;
            }
            Input::SessionClosed { session } => self.on_session_closed(session),
            Input::Command(Command::Bootstrap(contacts)) => self.on_bootstrap(turn, contacts)?,
            Input::Command(Command::Endpoints(endpoints)) => self.on_endpoints(turn, endpoints),
            Input::Command(Command::Drain) => self.on_drain(turn),
            Input::Command(Command::Stay) => self.on_stay(turn),
        }
        self.finish_searches(turn)?;
        self.forget_clocks_of_the_gone();
        self.give_room_back();
        self.commit(turn)
    }

    /// The next thing for the host to do, in order; `None` when it may hand in the next input.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.desk.poll_output()
    }

    /// When to hand in [`Input::Tick`] at the latest, and why. May lie in the past: then at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, Timer)> {
        [
            self.next_relay().map(|at| (at, Timer::Relay)),
            self.next_expiry().map(|at| (at, Timer::Expiry)),
            Some((self.next_table_work(), Timer::Table)),
            self.next_collection().map(|at| (at, Timer::Collect)),
            self.next_card_timeout().map(|at| (at, Timer::CardLookup)),
            self.bootstrap.next_attempt().map(|at| (at, Timer::Bootstrap)),
            self.next_drain().map(|at| (at, Timer::Drain)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// This node's address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Everybody in the table, bad entries included, for tests and simulations.
    pub fn table_nodes(&self) -> impl Iterator<Item = &Contact> {
        self.table.entries().map(crate::table::Entry::contact)
    }

    /// The nodes that this node's clients are hidden behind (PROTOCOL §6.8), for tests and simulations.
    pub fn entry_nodes(&self) -> Vec<Contact> {
        self.entries.contacts(self.config.entries)
    }

    /// Plain counters, for metrics and tests.
    pub fn stats(&self) -> Stats {
        Stats {
            peers: self.table.len() as u64,
            network_size: self.network_size(),
            sessions: self.sessions.len() as u64,
            calls: self.calls.len() as u64,
            promises: self.desk.promises() as u64,
            disk_bytes: room::disk_bytes(&self.stats),
            others_bytes: self.shares.total(),
            in_memory: self.in_memory() as u64,
            ..self.stats
        }
    }

    /// Entries of everything that is kept in memory; all of it is bounded. Every field is named, so that
    /// the compiler asks whether a new one counts.
    fn in_memory(&self) -> usize {
        let Self {
            table,
            book,
            bootstrap,
            entries,
            rotating,
            clocks,
            outside_view,
            dial_backs,
            searches,
            calls,
            regions,
            listeners,
            unsettled,
            settling,
            subscribers,
            collections,
            own_mailboxes,
            fetching,
            sessions,
            watchers,
            card_searches,
            published,
            deliveries,
            drain,
            desk,
            shares,
            // A few numbers each, however much comes and goes.
            config: _,
            key: _,
            address: _,
            rng: _,
            stats: _,
            size: _,
            arrivals: _,
            disk: _,
            endings: _,
            clock: _,
            relay_at: _,
            strays_from: _,
            expiry_at: _,
            dropped_day: _,
            outage: _,
        } = self;
        let nodes = table.len() + book.len() + bootstrap.len() + entries.len() + rotating.len();
        let dialled_back = dial_backs.len() + dial_backs.asked_len();
        let seen = clocks.differing() + outside_view.len() + dialled_back + listeners.len();
        let asked = searches.len() + calls.len() + regions.len() + card_searches.len();
        let read = subscribers.values().map(Subscribers::len).sum::<usize>() + collections.len();
        let read = read + own_mailboxes.len() + fetching.len();
        let clients = sessions.values().map(Session::len).sum::<usize>() + published.len();
        let clients = clients + watchers.values().map(BTreeSet::len).sum::<usize>();
        let leaving = unsettled.len() + settling.len() + deliveries.len() + desk.promises();
        let leaving = leaving + drain.len();
        nodes + seen + asked + read + clients + leaving + shares.len()
    }

    /// A node that is quiet keeps no room for what it does when it is not: a map that has become empty
    /// would.
    fn give_room_back(&mut self) {
        give_back(&mut self.calls);
        give_back(&mut self.searches);
        give_back(&mut self.unsettled);
        give_back(&mut self.settling);
    }

    /// Does whatever is due.
    fn on_tick(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        self.expire_due(turn)?;
        self.bootstrap_due(turn)?;
        self.table_due(turn)?;
        self.clocks_due(turn);
        self.collect_due(turn)?;
        self.cards_due(turn);
        self.drain_due(turn)?;
        self.relay_due(turn)
    }
}

fn give_back<K, V>(map: &mut BTreeMap<K, V>) {
    if map.is_empty() {
        *map = BTreeMap::new();
    }
}
