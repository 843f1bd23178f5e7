//! One machine: a node, its disk, and whatever stands before the node.
//!
//! Entry type is `Host`. It moves nothing by itself; [`crate::world`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use comm_proto::contact::Contact;
use comm_proto::envelope::EnvelopeId;
use comm_proto::key::KeyPair;
use comm_proto::message::Request;
use comm_proto::node::{CallId, Config, Family, Node, Output, RequestId};
use comm_proto::store::{Batch, MemoryStore, Seq, Store};
use comm_proto::time::Time;

use crate::behaviour::{Behaviour, Call, Reaction, Scene};
use crate::disk::Disk;
use crate::world::Asked;

/// A host by its number in the world.
pub type At = usize;

/// The port on which every host listens, and the one from which it calls.
const LISTENING_PORT: u16 = 4_000;
pub(crate) const CALLING_PORT: u16 = 50_000;
/// The group of 256 IPv4 addresses that the first host has; every other has the next.
const FIRST_GROUP: u32 = 1 << 16;

/// A machine, up or down.
pub(crate) struct Host {
    at: At,
    key: KeyPair,
    contact: Contact,
    node: Option<Node>,
    disk: Disk,
    behaviours: Vec<Box<dyn Behaviour>>,
    /// How often it has been switched off.
    boots: u32,
    /// When the node is woken next.
    pub(crate) wake: Option<Time>,
    /// When one of its behaviours acts next.
    pub(crate) act: Option<Time>,
    /// Calls of this node that have not come to their end.
    pub(crate) calls: BTreeSet<CallId>,
    /// Requests of other hosts that have not been answered.
    pub(crate) asked: BTreeMap<RequestId, Asked>,
}

/// Where a host listens. Every host has a /24 of its own.
pub fn endpoint(at: At) -> SocketAddr {
    let ip = (FIRST_GROUP + at as u32) << 8 | 1;
    SocketAddr::new(Ipv4Addr::from_bits(ip).into(), LISTENING_PORT)
}

/// Who listens there.
pub fn listener(endpoint: &SocketAddr) -> Option<At> {
    let SocketAddr::V4(endpoint) = endpoint else { return None };
    let group = (endpoint.ip().to_bits() >> 8).checked_sub(FIRST_GROUP)?;
    (endpoint.port() == LISTENING_PORT).then_some(group as At)
}

impl Host {
    pub(crate) fn new(at: At, key: KeyPair, disk: Disk) -> Self {
        Self {
            at,
            contact: Contact::new(key.public(), [endpoint(at)]),
            key,
            node: None,
            disk,
            behaviours: Vec::new(),
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

    /// Puts these before its node.
    pub(crate) fn behave(&mut self, behaviours: Vec<Box<dyn Behaviour>>) {
        self.behaviours = behaviours;
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.behaviours.is_empty()
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

    pub(crate) fn write(&mut self, batch: Batch<Family>) {
        self.disk.write(batch).expect("a store in memory does not fail");
    }

    pub(crate) fn sync(&mut self, seq: Seq) {
        self.disk.sync(seq);
    }

    /// What its behaviours make of a request.
    pub(crate) fn react(
        &mut self,
        scene: Stage<'_>,
        from: &Contact,
        request: &Request,
    ) -> Reaction {
        let mut scene = scene.before(&self.key);
        let reactions = self.behaviours.iter_mut();
        reactions
            .map(|behaviour| behaviour.on_request(&mut scene, &from.address(), request))
            .find(|reaction| *reaction != Reaction::Pass)
            .unwrap_or(Reaction::Pass)
    }

    /// The host of a node drops one of its outputs, and does all the same what the node counts on: a call
    /// comes to its end, and nothing is kept for an answer that will not come.
    pub(crate) fn swallowed(&mut self, output: &Output) -> Option<(Asked, Time)> {
        match output {
            Output::Call { id, deadline, .. } => {
                self.calls.insert(*id);
                let asked = Asked { from: self.at, boot: self.boots, call: Some(*id) };
                Some((asked, *deadline))
            }
            Output::Reply { id, .. } => {
                self.asked.remove(id);
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
    pub(crate) rng: &'a mut rand_chacha::ChaCha12Rng,
}

impl<'a> Stage<'a> {
    fn before(self, key: &'a KeyPair) -> Scene<'a> {
        Scene { now: self.now, key, colluders: self.colluders, rng: self.rng }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_is_found_where_it_listens() {
        for at in [0, 1, 255, 256, 999_999] {
            assert_eq!(listener(&endpoint(at)), Some(at));
        }
        assert_eq!(listener(&([1, 0, 0, 1], 80).into()), None);
        assert_eq!(listener(&([0, 0, 0, 1], 4_000).into()), None);
    }
}
