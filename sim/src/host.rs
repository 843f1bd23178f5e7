//! One machine: a node, its disk, and whatever stands before the node.
//!
//! Entry type is `Host`. It moves nothing by itself; [`crate::world`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::envelope::EnvelopeId;
use comm_proto::key::KeyPair;
use comm_proto::message::{Push, Request, Response};
use comm_proto::node::{CallId, Config, Family, Node, Output, RequestId};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, MemoryStore, Seq, Store};
use comm_proto::time::Time;

use crate::behaviour::{Behaviour, Call, Reaction, Scene};
use crate::disk::Disk;
use crate::ip_plan::CALLING_PORT;
use crate::world::Asked;

/// A host by its number in the world.
pub type At = usize;

/// A machine, up or down.
pub(crate) struct Host {
    at: At,
    key: KeyPair,
    contact: Contact,
    source: SocketAddr,
    node: Option<Node>,
    disk: Disk,
    behaviours: Vec<Box<dyn Behaviour>>,
    is_honest: bool,
    /// How often it has been switched off.
    boots: u32,
    /// When the node is woken next.
    pub(crate) wake: Option<Time>,
    /// When one of its behaviours acts next.
    pub(crate) act: Option<Time>,
    /// Calls of this node that have not come to their end.
    calls: BTreeSet<CallId>,
    /// Requests of other hosts that have not been answered.
    asked: BTreeMap<RequestId, Asked>,
}

impl Host {
    pub(crate) fn new(at: At, key: KeyPair, endpoint: SocketAddr, disk: Disk) -> Self {
        Self {
            at,
            contact: Contact::new(key.public(), [endpoint]),
            source: SocketAddr::new(endpoint.ip(), CALLING_PORT),
            key,
            node: None,
            disk,
            behaviours: Vec::new(),
            is_honest: true,
            boots: 0,
            wake: None,
            act: None,
            calls: BTreeSet::new(),
            asked: BTreeMap::new(),
        }
    }

    /// It stays on as long as the world lasts.
    pub(crate) fn stay_on(&mut self) {
        self.disk.read_once();
    }

    /// Puts these before its node, behind what stands there already.
    pub(crate) fn behave(&mut self, behaviours: Vec<Box<dyn Behaviour>>) {
        self.behaviours.extend(behaviours);
    }

    /// It listens there from its next start on.
    pub(crate) fn move_to(&mut self, endpoint: SocketAddr) {
        self.contact = Contact::new(self.key.public(), [endpoint]);
        self.source = SocketAddr::new(endpoint.ip(), CALLING_PORT);
    }

    /// From where its calls come.
    pub(crate) const fn source(&self) -> SocketAddr {
        self.source
    }

    /// Nobody can dial it from its next start on, and it tells nobody to.
    pub(crate) fn become_leaf(&mut self) {
        self.contact = Contact::new(self.key.public(), []);
    }

    /// It is an adversary's from now on.
    pub(crate) fn corrupt(&mut self) {
        self.is_honest = false;
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.is_honest
    }

    /// Whether anything stands before its node.
    pub(crate) fn is_changed(&self) -> bool {
        !self.behaviours.is_empty()
    }

    pub(crate) fn key(&self) -> &KeyPair {
        &self.key
    }

    pub(crate) fn contact(&self) -> &Contact {
        &self.contact
    }

    pub(crate) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    pub(crate) fn running(&mut self) -> Option<(&mut Node, &MemoryStore<Family>)> {
        self.node.as_mut().map(|node| (node, self.disk.applied()))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    pub(crate) fn boots(&self) -> u32 {
        self.boots
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Whether it has the envelope in custody.
    pub(crate) fn holds(&self, id: &EnvelopeId) -> bool {
        self.disk.applied().get(Family::Custody, id.as_bytes()).is_ok_and(|row| row.is_some())
    }

    /// Starts the node from what the disk has.
    pub(crate) fn start(&mut self, config: Config, seed: [u8; 32], now: Time) {
        let config = Config { endpoints: self.contact.endpoints().to_vec(), ..config };
        let node = Node::new(config, self.key.clone(), seed, self.disk.applied(), now);
        self.node = Some(node.expect("a store in memory does not fail"));
    }

    /// Power goes; `kept` of the batches that were not synced are left.
    pub(crate) fn stop(&mut self, kept: usize) {
        self.node = None;
        self.boots += 1;
        self.wake = None;
        self.calls.clear();
        self.asked.clear();
        self.disk.crash(kept);
    }

    /// Its node has begun a call.
    pub(crate) fn called(&mut self, call: CallId) {
        self.calls.insert(call);
    }

    /// A call of its node comes to its end; false when it had come to it before.
    pub(crate) fn ended(&mut self, call: &CallId) -> bool {
        let was_awaited = self.calls.remove(call);
        // An empty set keeps room, which a million hosts have not got.
        if self.calls.is_empty() {
            self.calls = BTreeSet::new();
        }
        was_awaited
    }

    /// Another host asks its node.
    pub(crate) fn asked(&mut self, id: RequestId, asked: Asked) {
        self.asked.insert(id, asked);
    }

    /// Its node answers, or never will.
    pub(crate) fn answered(&mut self, id: &RequestId) -> Option<Asked> {
        let asked = self.asked.remove(id);
        if self.asked.is_empty() {
            self.asked = BTreeMap::new();
        }
        asked
    }

    pub(crate) fn write(&mut self, batch: Batch<Family>) {
        self.disk.write(batch).expect("a store in memory does not fail");
    }

    pub(crate) fn sync(&mut self, seq: Seq) {
        self.disk.sync(seq);
    }

    /// What its behaviours make of a request: a reaction, and if it passes, the request that does.
    pub(crate) fn react(
        &mut self,
        scene: Stage<'_>,
        from: &Address,
        mut request: Request,
    ) -> (Reaction, Request) {
        let mut scene = scene.before(&self.key);
        for behaviour in &mut self.behaviours {
            match behaviour.on_request(&mut scene, from, &request) {
                Reaction::Pass => {}
                Reaction::Instead(other) => request = *other,
                reaction => return (reaction, request),
            }
        }
        (Reaction::Pass, request)
    }

    /// What its behaviours leave of a push to it.
    pub(crate) fn hear(&mut self, scene: Stage<'_>, from: &Address, push: Push) -> Option<Push> {
        let mut scene = scene.before(&self.key);
        let mut behaviours = self.behaviours.iter_mut();
        behaviours.try_fold(push, |push, behaviour| behaviour.on_push(&mut scene, from, push))
    }

    /// What its behaviours make of the end of a call.
    pub(crate) fn learn(
        &mut self,
        scene: Stage<'_>,
        asked: Asked,
        result: Result<Response, Rejection>,
    ) -> Result<Response, Rejection> {
        let mut scene = scene.before(&self.key);
        self.behaviours.iter_mut().fold(result, |result, behaviour| {
            behaviour.on_response(&mut scene, asked.call, &asked.to, result)
        })
    }

    /// The host of a node drops one of its outputs, and does all the same what the node counts on: a call
    /// comes to its end, and nothing is kept for an answer that will not come.
    pub(crate) fn swallowed(&mut self, output: &Output) -> Option<(Asked, Time)> {
        match output {
            Output::Call { id, to, deadline, .. } => {
                self.called(*id);
                let (from, boot, call) = (self.at, self.boots, Some(*id));
                let asked = Asked { from, boot, call, to: to.address() };
                Some((asked, *deadline))
            }
            Output::Reply { id, .. } => {
                self.answered(id);
                None
            }
            _ => None,
        }
    }

    /// What its behaviours leave of an output.
    pub(crate) fn pass(&mut self, scene: Stage<'_>, output: Output) -> Option<Output> {
        let mut scene = scene.before(&self.key);
        self.behaviours
            .iter_mut()
            .try_fold(output, |output, behaviour| behaviour.on_output(&mut scene, output))
    }

    /// What its behaviours do of their own accord, now that it is time.
    pub(crate) fn perform(&mut self, scene: Stage<'_>) -> Vec<Call> {
        let mut scene = scene.before(&self.key);
        let now = scene.now;
        let due =
            self.behaviours.iter_mut().filter(|one| one.next_act().is_some_and(|at| at <= now));
        due.flat_map(|behaviour| behaviour.act(&mut scene)).collect()
    }

    /// When one of its behaviours wants to act.
    pub(crate) fn next_act(&self) -> Option<Time> {
        self.behaviours.iter().filter_map(|behaviour| behaviour.next_act()).min()
    }
}

/// A scene without the node before which it is played.
pub(crate) struct Stage<'a> {
    pub(crate) now: Time,
    pub(crate) colluders: &'a crate::behaviour::Colluders,
    pub(crate) plot: &'a crate::behaviour::Plot,
    pub(crate) rng: &'a mut rand_chacha::ChaCha12Rng,
}

impl<'a> Stage<'a> {
    fn before(self, key: &'a KeyPair) -> Scene<'a> {
        let Self { now, colluders, plot, rng } = self;
        Scene { now, key, colluders, plot, rng }
    }
}
