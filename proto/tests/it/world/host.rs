//! One machine: a node, its disk, and what its clients were told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use comm_proto::address::Address;
use comm_proto::envelope::EnvelopeId;
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientPush, ClientResponse, EnvelopeState, Request, Response};
use comm_proto::node::{CallId, Config, Family, Node, Output, RequestId, SessionId, Stats};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, MemoryStore, Seq, Store};
use comm_proto::time::Time;

use super::links::Asked;

/// What a puppet answers to whom; nothing means that it stays silent.
pub(crate) type Puppet = Box<dyn FnMut(&Address, &Request) -> Option<Result<Response, Rejection>>>;

/// A machine, up or down.
pub(crate) struct Host {
    key: KeyPair,
    config: Config,
    node: Option<Node>,
    pub(super) puppet: Option<Puppet>,
    /// What reads see.
    applied: MemoryStore<Family>,
    /// What is left after a crash.
    durable: MemoryStore<Family>,
    unsynced: VecDeque<Batch<Family>>,
    boots: u32,
    /// How far its clock is from the world's, in milliseconds.
    skew: i64,
    pub(super) wake: Option<Time>,
    /// How many boundaries it still passes before its power goes.
    pub(super) plan: Option<u32>,
    /// Calls of this node that have not come to their end.
    pub(super) calls: BTreeSet<CallId>,
    /// Requests of other hosts that have not been answered.
    pub(super) asked: BTreeMap<RequestId, Asked>,
    pub(super) replies: BTreeMap<RequestId, Result<ClientResponse, Rejection>>,
    pub(super) pushes: BTreeMap<SessionId, Vec<(Time, ClientPush)>>,
    /// The last state that a client was told before power went.
    last_words: Option<EnvelopeState>,
}

impl Host {
    pub(super) fn new(key: KeyPair, config: Config) -> Self {
        Self {
            key,
            config,
            node: None,
            puppet: None,
            applied: MemoryStore::new(),
            durable: MemoryStore::new(),
            unsynced: VecDeque::new(),
            boots: 0,
            skew: 0,
            wake: None,
            plan: None,
            calls: BTreeSet::new(),
            asked: BTreeMap::new(),
            replies: BTreeMap::new(),
            pushes: BTreeMap::new(),
            last_words: None,
        }
    }

    pub(super) fn puppet(key: KeyPair, puppet: Puppet) -> Self {
        Self { puppet: Some(puppet), ..Self::new(key, Config::default()) }
    }

    pub(crate) fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Whose region a call of this node searches, if it searches one.
    pub(super) fn place_sought_by(&self, call: CallId) -> Option<Address> {
        self.node.as_ref()?.place_sought_by(call)
    }

    pub(crate) fn store(&self) -> &MemoryStore<Family> {
        &self.applied
    }

    pub(crate) fn holds(&self, id: &EnvelopeId) -> bool {
        self.applied.get(Family::Custody, id.as_bytes()).unwrap().is_some()
    }

    /// Whether the disk remembers the envelope, alive or read.
    pub(super) fn remembers(&self, id: &EnvelopeId) -> bool {
        let name = id.as_bytes();
        [(Family::Custody, &name[..]), (Family::Tombstones, &name[..16])]
            .iter()
            .any(|(table, key)| self.durable.get(*table, key).unwrap().is_some())
    }

    pub(super) fn last_words(&self) -> Option<EnvelopeState> {
        self.last_words
    }

    pub(crate) fn stats(&self) -> Stats {
        self.node.as_ref().map(Node::stats).unwrap_or_default()
    }

    pub(super) fn boots(&self) -> u32 {
        self.boots
    }

    pub(super) fn is_up(&self) -> bool {
        self.node.is_some() || self.puppet.is_some()
    }

    pub(super) fn running(&mut self) -> Option<(&mut Node, &MemoryStore<Family>)> {
        self.node.as_mut().map(|node| (node, &self.applied))
    }

    pub(super) fn next_wake(&self) -> Option<Time> {
        let due = self.node.as_ref().and_then(Node::poll_timeout);
        let due = due.map(|(at, _)| at).filter(|at| *at < Time::MAX)?;
        let millis = due.as_millis().saturating_add_signed(self.skew.saturating_neg());
        Some(Time::from_millis(millis))
    }

    /// What this machine's clock shows.
    pub(super) fn clock(&self, now: Time) -> Time {
        Time::from_millis(now.as_millis().saturating_add_signed(self.skew))
    }

    pub(super) fn set_clock(&mut self, skew: i64) {
        self.skew = skew;
    }

    pub(super) fn start(&mut self, seed: [u8; 32], now: Time) {
        let (config, key) = (self.config.clone(), self.key.clone());
        let node = Node::new(config, key, seed, &self.applied, self.clock(now));
        self.node = Some(node.expect("a store in memory does not fail"));
    }

    pub(super) fn write(&mut self, batch: Batch<Family>) {
        self.applied.apply(&batch);
        self.unsynced.push_back(batch);
    }

    /// The disk has everything up to `seq`; false when it had before.
    pub(super) fn sync(&mut self, seq: Seq) -> bool {
        let before = self.unsynced.len();
        while let Some(batch) = self.unsynced.pop_front_if(|batch| batch.seq <= seq) {
            self.durable.apply(&batch);
        }
        self.unsynced.len() < before
    }

    /// No promise leaves a node before its disk has what it promises.
    pub(super) fn assert_kept(&self, output: &Output) {
        let (receipts, given) = match output {
            Output::Reply { result: Ok(Response::Offered { receipts, .. }), .. }
            | Output::Reply { result: Ok(Response::Delivered { receipts, .. }), .. } => {
                (&receipts[..], None)
            }
            Output::ClientPush { push: ClientPush::Envelope { envelope, .. }, .. } => {
                (&[][..], Some(envelope.id()))
            }
            _ => return,
        };
        for id in receipts.iter().flat_map(|receipt| receipt.ids()).chain(given.as_ref()) {
            assert!(self.remembers(id), "promised before the disk has it: {id:?}");
        }
    }

    pub(super) fn crash(&mut self) {
        self.node = None;
        self.boots += 1;
        self.plan = None;
        self.applied = self.durable.clone();
        self.unsynced.clear();
        self.calls.clear();
        self.asked.clear();
        let told = std::mem::take(&mut self.pushes);
        let states = told.into_values().flatten().filter_map(|(_, push)| match push {
            ClientPush::State { state, .. } => Some(state),
            _ => None,
        });
        self.last_words = states.max();
    }

    pub(super) fn replace_disk(&mut self, disk: MemoryStore<Family>) {
        self.durable = disk.clone();
        self.applied = disk;
    }

    pub(super) fn crashes_here(&mut self) -> bool {
        let Some(left) = &mut self.plan else { return false };
        *left = left.saturating_sub(1);
        *left == 0
    }
}
