//! A whole network: hosts, what lies between them, and a clock that only this moves.
//!
//! Entry type is [`World`]. Everything that is drawn is drawn from one seed, so that a world does the
//! same each time. It decides nothing that the protocol decides: nodes say what they want done, and
//! it is done, late or not at all.

mod absences;
mod adversaries;
mod beginnings;
mod churn;
mod clocks;
mod dials;
mod door;
mod established;
mod faults;
mod frames;
mod links;
mod open_links;
mod rehearsal;
mod story;
mod troubles;
mod view;

use std::collections::BTreeMap;

use comm_proto::address::Address;
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientRequest, DialOutcome, Push, Request, Response};
use comm_proto::node::{CallId, Event, Input, Output, RequestId};
use comm_proto::rejection::Rejection;
use comm_proto::store::Seq;
use comm_proto::time::{Span, Time};
use comm_proto::wire::peer;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::behaviour::{Colluders, Plot, Reaction};
use crate::copies::Change;
use crate::disk::Disk;
use crate::host::{At, Host, Stage};
use crate::ip_plan::IpPlan;
use crate::people::{self, Deed, Later, Letter, People};
use crate::plan::{Churn, Crypto, Network, Protocol};
use crate::queue::{Next, Queue};
use crate::streams::Streams;
use crate::swarm::oracle::{Oracle, Seen};
use crate::trace::Trace;

use faults::Faults;
use frames::Frames;

pub(crate) use absences::Absence;
pub use links::KINDS;
pub(crate) use links::Reading;
pub use view::EVERY_NODE;

/// When every world begins: a quarter past noon, far from the end of a day.
pub const START: Time = Time::from_millis(1_700_007_300_000);

/// What the behaviours before a node see, while its host is borrowed too.
macro_rules! stage {
    ($world:ident) => {
        Stage {
            now: $world.now,
            colluders: &$world.colluders,
            plot: &$world.plot,
            rng: &mut $world.rng,
        }
    };
}
use stage;

/// As many happenings at one instant for each host mean that somebody never goes to sleep.
const AT_ONCE_MAX: usize = 1_000;

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) from: At,
    /// After a restart nobody waits for it any more.
    pub(crate) boot: u32,
    /// None when a behaviour has asked.
    pub(crate) call: Option<CallId>,
    /// Who was asked.
    pub(crate) to: Address,
}

/// What is on its way. Kept small: most of it is that callers give up, which waits for as long as they
/// have patience.
#[derive(Debug)]
enum Happening {
    /// A behaviour may want something.
    Act { host: At },
    /// A disk has a batch, and with it copies of these envelopes.
    Durable { host: At, boot: u32, seq: Seq, copies: Vec<(Letter, Change)> },
    /// A request reaches whoever listens there.
    Asked { asked: Asked, to: At, request: Box<Request> },
    /// So does one that nobody has checked.
    AskedForged { asked: Asked, to: At, message: Box<peer::Request> },
    /// An answer reaches the caller, or the caller gives up.
    Answered { asked: Asked, result: Result<Box<Response>, Rejection> },
    /// A stream for pushes is dialled, so long after it failed last.
    Opening { from: At, to: At, waited: Span },
    /// A stream for pushes breaks.
    Broken { from: At, to: At, serial: u64 },
    /// A push reaches its subscriber, if its stream is still the same.
    Pushed { from: At, to: At, serial: u64, push: Push },
    /// A host has dialled a relay that it was told of to begin with, so long after it failed last.
    Met { host: At, boot: u32, met: At, waited: Span },
    /// A host has dialled a caller back.
    DialledBack { host: At, boot: u32, id: RequestId, outcomes: Vec<DialOutcome> },
    /// A client asks its node.
    Client { asked: Box<people::Asked> },
    /// Somebody does something.
    Deed { letter: Letter, deed: Deed },
    /// A host is switched on or off.
    Switch { host: At, on: bool },
    /// The same of a host that people use, with them.
    Turn { host: At, on: bool },
    /// These are cut off from all others.
    Cut { hosts: Vec<At> },
    /// A sender looks whether their node may go.
    Leave { host: At, leave: Span },
    /// A host that something has stopped is switched on again.
    Restart { host: At },
}

/// Hosts and everything between them.
pub struct World {
    now: Time,
    rng: ChaCha12Rng,
    network: Network,
    crypto: Crypto,
    frames: Frames,
    hosts: Vec<Host>,
    ip_plan: IpPlan,
    by_address: BTreeMap<Address, At>,
    /// Addresses beside its own for which a host answers.
    identities: BTreeMap<Address, At>,
    colluders: Colluders,
    pub(crate) plot: Plot,
    queue: Queue<Happening>,
    /// How hosts read what nobody has checked.
    pub(crate) reading: Reading,
    streams: Streams,
    pub(crate) people: People,
    /// Calls and pushes between nodes, by kind.
    messages: BTreeMap<&'static str, u64>,
    inputs: u64,
    trace: Trace,
    /// Calls, answers and pushes that were lost on their way.
    lost: u64,
    /// How hosts come and go whose sessions are drawn.
    churn: Option<Churn>,
    dials: dials::Dials,
    open_links: open_links::OpenLinks,
    /// The most bytes that an honest host's disk has held.
    fullest: u64,
    /// What ordinary nodes have of the protocol's defences.
    pub(crate) protocol: Protocol,
    /// How many hosts cannot be dialled.
    leaves: usize,
    /// What lots about lines depend on beside time and host.
    luck: u64,
    /// Whether the nodes of people go off, senders' for good.
    pub(crate) nodes_go: bool,
    /// How many honest hosts come and go, if any are to.
    come_and_go: Option<u64>,
    pub(crate) faults: Faults,
    /// Who looks on and says what must not be.
    pub(crate) oracle: Option<Box<Oracle>>,
    /// Who writes down what becomes of an envelope.
    story: Option<Box<story::Story>>,
}

/// Making it.
impl World {
    /// `network.nodes` hosts, all off, whose cryptography is modelled.
    pub fn new(network: &Network, seed: u64) -> Self {
        Self::with_crypto(network, seed, Crypto::Model)
    }

    /// `network.nodes` hosts, all off.
    pub fn with_crypto(network: &Network, seed: u64, crypto: Crypto) -> Self {
        let mut world = Self {
            now: START,
            rng: ChaCha12Rng::seed_from_u64(seed),
            network: network.clone(),
            crypto,
            frames: Frames::default(),
            hosts: Vec::with_capacity(network.nodes),
            ip_plan: IpPlan::new(network.group),
            by_address: BTreeMap::new(),
            identities: BTreeMap::new(),
            colluders: Colluders::default(),
            plot: Plot::default(),
            queue: Queue::default(),
            reading: links::read,
            streams: Streams::default(),
            people: People::default(),
            messages: BTreeMap::new(),
            inputs: 0,
            lost: 0,
            trace: Trace::default(),
            churn: None,
            dials: dials::Dials::default(),
            open_links: open_links::OpenLinks::default(),
            fullest: 0,
            protocol: Protocol::default(),
            leaves: 0,
            luck: seed,
            nodes_go: false,
            come_and_go: None,
            faults: Faults::default(),
            oracle: None,
            story: None,
        };
        for _ in 0..network.nodes {
            let key = world.draw_key();
            world.add(key);
        }
        world
    }

    /// A further host, off.
    pub(crate) fn add(&mut self, key: KeyPair) -> At {
        let at = self.hosts.len();
        self.by_address.insert(key.address(), at);
        self.hosts.push(Host::new(at, key, self.ip_plan.endpoint(at), Disk::default()));
        at
    }

    /// A key that no other world draws.
    pub(crate) fn draw_key(&mut self) -> KeyPair {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        match self.crypto {
            Crypto::Real => KeyPair::from_seed(&seed),
            Crypto::Model => KeyPair::modelled(&seed),
        }
    }

    fn switch_on(&mut self, host: At) {
        self.faults.clocks.reboot(host);
        let clock = self.clock(host);
        self.switch_on_at(host, clock);
    }

    /// Switches a host on by another clock than its own.
    fn switch_on_at(&mut self, host: At, clock: Time) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let ordinary = || self.protocol.config(self.network.store);
        let config = self.faults.config(host).unwrap_or_else(ordinary);
        self.hosts[host].start(config, seed, clock);
        if self.network.dial > 0 {
            self.open_links.begin(host, self.now);
        }
    }

    /// Nobody is ever switched off in this world.
    pub(crate) fn stay_on(&mut self) {
        self.hosts.iter_mut().for_each(Host::stay_on);
    }

    /// Somebody does something in a while.
    pub(crate) fn plan_deed(&mut self, after: Span, letter: Letter, deed: Deed) {
        self.later(after, Happening::Deed { letter, deed });
    }

    /// From now on messages are counted.
    pub(crate) fn count_from_now(&mut self) {
        self.messages.clear();
        self.lost = 0;
    }
}

/// Looking at it.
impl World {
    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Hosts that are nobody's adversary.
    pub(crate) fn honest_hosts(&self) -> impl Iterator<Item = At> + '_ {
        (0..self.hosts.len()).filter(|at| self.hosts[*at].is_honest())
    }

    /// How many hosts there are.
    pub(crate) fn count(&self) -> usize {
        self.hosts.len()
    }

    /// A host's key.
    pub(crate) fn key(&self, host: At) -> &KeyPair {
        self.hosts[host].key()
    }

    /// A host's address.
    pub(crate) fn address(&self, host: At) -> Address {
        self.hosts[host].contact().address()
    }

    /// A host by its number.
    pub(crate) fn host(&self, at: At) -> &Host {
        &self.hosts[at]
    }

    /// The time by a host's clock.
    fn clock(&mut self, host: At) -> Time {
        self.faults.clocks.read(host, self.now)
    }

    /// Shows an honest host to whoever looks on.
    fn watch(&mut self, host: At, look: impl FnOnce(&mut Oracle, &Seen<'_>)) {
        let Some(oracle) = self.oracle.as_mut().filter(|_| self.hosts[host].is_honest()) else {
            return;
        };
        let (now, clock) = (self.now, self.faults.clocks.read(host, self.now));
        look(oracle, &Seen { now, clock, at: host, host: &self.hosts[host] });
    }

    /// How many honest hosts have the envelope in custody.
    pub(crate) fn holders(&self, id: &comm_proto::envelope::EnvelopeId) -> u64 {
        self.honest_hosts().filter(|at| self.hosts[*at].holds(id)).count() as u64
    }

    /// Inputs handled by all nodes so far.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Calls and pushes by kind since they are counted.
    pub fn messages(&self) -> &BTreeMap<&'static str, u64> {
        &self.messages
    }

    /// Calls, answers and pushes lost on their way since they are counted.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// A hash over everything that every node has wanted done so far.
    pub(crate) fn trace(&self) -> String {
        self.trace.to_hex()
    }

    /// How large honest nodes that are up take the network for, in the mean.
    pub fn mean_size(&self) -> u64 {
        let honest = self.hosts.iter().filter(|host| host.is_honest());
        let sizes: Vec<_> =
            honest.filter_map(Host::node).map(|node| node.stats().network_size).collect();
        sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1)
    }

    /// How many others the nodes have in their tables, in the mean over all that are up.
    pub fn mean_peers(&self) -> f64 {
        let nodes = self.hosts.iter().filter_map(Host::node);
        let (count, peers) =
            nodes.fold((0, 0), |(count, peers), node| (count + 1, peers + node.stats().peers));
        peers as f64 / f64::from(count.max(1))
    }
}

/// Moving it.
impl World {
    /// Runs until `end`.
    ///
    /// # Panics
    /// When time stands still, because a node or a behaviour wants to be woken at once, always.
    pub fn run_until(&mut self, end: Time) {
        let mut at_once = 0;
        while let Some((at, next)) = self.queue.pop_until(end) {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            assert!(at_once <= AT_ONCE_MAX * self.hosts.len(), "time stands still at {next:?}");
            self.now = at;
            match next {
                Next::Mark(host) => self.tick(host as At),
                Next::Thing(happening) => self.happen(happening),
            }
        }
        self.now = end;
    }

    /// A node wants something, unless it has thought better of it.
    fn tick(&mut self, host: At) {
        if self.hosts[host].wake.take_if(|at| *at == self.now).is_none() {
            return;
        }
        if let Some(until) = self.paused_until(host) {
            self.hosts[host].wake = Some(until);
            self.queue.mark(until, host as u32);
        } else {
            self.input(host, Input::Tick);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let Some(happening) = self.put_off(happening) else { return };
        match happening {
            Happening::Act { host } => self.act(host),
            Happening::Durable { host, boot, seq, copies } => {
                if self.hosts[host].boots() == boot {
                    self.hosts[host].sync(seq);
                    self.tell_copies(host, &copies);
                    self.note_in_region(host, &copies);
                    self.people.copied(self.now, host, self.network.disk, copies);
                    self.input(host, Input::Durable(seq));
                    self.fullest = self.fullest.max(self.held(host));
                    self.synced(host);
                }
            }
            Happening::Asked { asked, to, request } => self.deliver_request(asked, to, *request),
            Happening::AskedForged { asked, to, message } => {
                self.deliver_forged(asked, to, *message);
            }
            Happening::Answered { asked, result } => {
                self.deliver_answer(asked, result.map(|answer| *answer));
            }
            Happening::Opening { from, to, waited } => self.open_stream(from, to, waited),
            Happening::Broken { from, to, serial } => self.lose_stream(from, to, serial),
            Happening::Pushed { from, to, serial, push } => {
                self.deliver_push(from, to, serial, push);
            }
            Happening::Met { host, boot, met, waited } => self.meet((host, boot), met, waited),
            Happening::DialledBack { host, boot, id, outcomes } => {
                if self.hosts[host].boots() == boot {
                    self.input(host, Input::DialledBack { id, outcomes });
                }
            }
            Happening::Client { asked } => {
                let id = RequestId(self.rng.next_u64());
                self.ask(id, *asked);
            }
            Happening::Deed { letter, deed } => {
                let again = self.deed(letter, deed);
                self.plan(again);
            }
            Happening::Switch { host, on } => self.switch(host, on),
            Happening::Turn { host, on } => self.turn(host, on),
            Happening::Cut { hosts } => self.cut_off(&hosts),
            Happening::Leave { host, leave } => self.leave(host, leave),
            Happening::Restart { host } => self.restart(host),
        }
    }

    /// Hands a node one input and does what it wants done.
    fn input(&mut self, host: At, input: Input) {
        if !self.hosts[host].is_up() {
            return;
        }
        let now = self.now;
        let clock = self.clock(host);
        self.watch(host, |oracle, seen| oracle.before(seen, &input));
        self.tell_input(host, &input);
        if !self.handle(host, input, clock) {
            return;
        }
        self.inputs += 1;
        while let Some(output) = self.hosts[host].running().and_then(|(node, _)| node.poll_output())
        {
            self.trace.note(now, host, &output);
            self.watch(host, |oracle, seen| oracle.output(seen, &output));
            self.tell_output(host, &output);
            if self.hosts[host].is_changed() {
                self.perform_changed(host, output);
            } else {
                self.perform(host, output);
            }
        }
        self.watch(host, Oracle::after);
        self.wake(host);
    }

    fn perform(&mut self, host: At, output: Output) {
        match output {
            Output::Write(batch) => {
                if self.is_unwritable(host) {
                    return;
                }
                let seq = batch.seq;
                let is_honest = self.hosts[host].is_honest();
                let copies = if is_honest { self.people.copies_in(&batch) } else { Vec::new() };
                self.hosts[host].write(batch);
                self.sync_later(host, seq, copies);
            }
            Output::Call { id, to, request, deadline } => {
                let (boot, call) = (self.hosts[host].boots(), Some(id));
                let asked = Asked { from: host, boot, call, to: to.address() };
                self.hosts[host].called(id);
                let late = Happening::Answered { asked, result: Err(Rejection::Unreachable) };
                let patience = deadline.since(self.clock(host));
                self.later(patience, late);
                self.send_call(asked, &to, request);
            }
            Output::DialBack { id, key, endpoints, deadline } => {
                let boot = self.hosts[host].boots();
                let patience = deadline.since(self.clock(host));
                let outcomes = self.dial_back(host, &key, &endpoints);
                self.later(patience, Happening::DialledBack { host, boot, id, outcomes });
            }
            Output::Reply { id, result } => {
                if let Some(asked) = self.hosts[host].answered(&id) {
                    self.send_answer(asked, host, result);
                }
            }
            Output::Listen { to, open } => self.listen(host, &to, open),
            Output::Push { to, push } => self.send_push(host, &to, push),
            Output::ClientReply { id, result } => {
                let (asked, later) = self.people.answered(self.now, id, result);
                for asked in asked {
                    // Not at once: this node's outputs are still being done.
                    self.queue.push(self.now, Happening::Client { asked: Box::new(asked) });
                }
                self.plan(later);
            }
            Output::ClientPush { session, push } => {
                for later in self.people.told(self.now, session, &push) {
                    self.plan(Some(later));
                }
            }
            Output::Event(Event::Acknowledged { id }) if self.hosts[host].is_honest() => {
                self.people.ended(&id);
            }
            Output::Event(Event::Evicted { id }) if self.hosts[host].is_honest() => {
                self.people.evicted(&id);
            }
            Output::Event(_) => {}
        }
    }

    fn plan(&mut self, later: Option<Later>) {
        if let Some((span, letter, deed)) = later {
            self.plan_deed(span, letter, deed);
        }
    }
}

/// What hosts do that their nodes know nothing of.
impl World {
    fn ask(&mut self, id: RequestId, asked: people::Asked) {
        let people::Asked { host, session, request } = asked;
        let clock = self.clock(host);
        if door::client_request(&request, clock).is_ok() {
            self.input(host, Input::ClientRequest { id, session, request });
        }
    }

    /// Somebody does something now; what they do later.
    fn deed(&mut self, letter: Letter, deed: Deed) -> Option<Later> {
        let (asked, again) = self.people.act(self.now, letter, deed);
        let id = RequestId(self.rng.next_u64());
        self.people.asked(id, letter, deed);
        if let ClientRequest::Submit { envelope } = &asked.request {
            let writer = self.address(asked.host);
            self.plot.writers.insert(envelope.id(), writer);
            if let Some(before) = self.people.acknowledged_before(letter) {
                self.plot.acknowledged.insert(envelope.id(), before);
            }
        }
        self.ask(id, asked);
        again
    }

    /// Looks when a host wants to do something next.
    fn wake(&mut self, host: At) {
        let clock = self.clock(host);
        let one = &mut self.hosts[host];
        let tick = one.node().and_then(comm_proto::node::Node::poll_timeout).map(|(at, _)| at);
        let tick = tick.filter(|at| *at < Time::MAX).map(|at| self.now + at.since(clock));
        if tick != one.wake {
            one.wake = tick;
            if let Some(at) = tick {
                self.queue.mark(at, host as u32);
            }
        }
        let act = if one.is_up() { one.next_act().map(|at| at.max(self.now)) } else { None };
        if act != one.act {
            one.act = act;
            if let Some(at) = act {
                self.queue.push(at, Happening::Act { host });
            }
        }
    }

    fn later(&mut self, span: Span, happening: Happening) {
        self.queue.push(self.now + span, happening);
    }
}

#[cfg(test)]
mod tests;
