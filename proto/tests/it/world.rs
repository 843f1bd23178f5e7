//! A whole network in one test: nodes, their disks, the links between them and their clients.
//!
//! Entry type is [`World`]. It hosts the production state machine on a clock that only it moves, and
//! draws latency and loss from a seed, so that a test reads as a story and runs the same each time.
//! No bytes on the wire, no sealing, no thread and no sleeping. Links prove keys, as the real ones
//! do: a call reaches whoever listens at the endpoint and fails if that one has another key.

mod host;
mod links;
mod mailbox;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::key::{KeyPair, PublicKey};
use comm_proto::message::{
    ClientPush, ClientRequest, ClientResponse, DialOutcome, EnvelopeState, Push, Request, Response,
};
use comm_proto::node::{
    Command, Config, Event, Family, Input, Output, RequestId, SessionId, Stats,
};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, MemoryStore, Seq, Store};
use comm_proto::time::{Span, Time};
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

pub(crate) use host::{Host, Puppet};
pub(crate) use links::{Links, endpoint};
pub(crate) use mailbox::{Mailbox, card, fill};

/// When every world begins: a quarter past noon, far from the end of a day.
pub(crate) const START: Time = Time::from_millis(1_700_007_300_000);
/// As many steps at one instant mean that a node never goes to sleep.
const STEPS_AT_ONCE_MAX: u32 = 50_000;

/// A host by its number.
pub(crate) type At = usize;

/// A request that one host made of another.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Time,
    pub(crate) from: At,
    pub(crate) to: Address,
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) request: Request,
    /// Whose region it searches.
    pub(crate) place: Option<Address>,
}

/// What is on its way.
#[derive(Debug)]
enum Happening {
    /// A disk has a batch.
    Durable { host: At, boot: u32, seq: Seq },
    /// A request reaches whoever listens at the endpoint.
    Asked { asked: links::Asked, to: At, request: Request },
    /// An answer reaches the caller.
    Answered { asked: links::Asked, result: Result<Response, Rejection> },
    /// A stream for pushes is tried.
    Opening { from: At, to: At },
    /// A push reaches its subscriber.
    Pushed { from: At, to: At, push: Push },
    /// A host has dialled a caller back.
    DialledBack { host: At, boot: u32, id: RequestId, outcomes: Vec<DialOutcome> },
}

/// Nodes, clients and everything between them.
pub(crate) struct World {
    now: Time,
    seed: u64,
    rng: ChaCha12Rng,
    pub(crate) links: Links,
    /// How long a disk takes to make a batch durable.
    pub(crate) disk: Span,
    hosts: Vec<Host>,
    queue: BTreeMap<(Time, u64), Happening>,
    wakes: BTreeSet<(Time, At)>,
    serial: u64,
    steps_now: u32,
    /// Every request of a node to another; tests clear it.
    pub(crate) sent: Vec<Sent>,
    /// Every endpoint that a caller wanted to be dialled back at, and was.
    pub(crate) dialled: Vec<SocketAddr>,
    /// Every push over an open stream; tests clear it.
    pub(crate) pushed: Vec<Push>,
    /// Every event of a node; tests clear it.
    pub(crate) events: Vec<(Time, At, Event)>,
    trace: Option<Sha256>,
    /// Answers to what strangers asked, by their request.
    answers: BTreeMap<RequestId, Result<Response, Rejection>>,
}

/// Making it.
impl World {
    /// An empty world.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: START,
            seed,
            rng: ChaCha12Rng::seed_from_u64(seed),
            links: Links::default(),
            disk: Span::from_millis(5),
            hosts: Vec::new(),
            queue: BTreeMap::new(),
            wakes: BTreeSet::new(),
            serial: 0,
            steps_now: 0,
            sent: Vec::new(),
            dialled: Vec::new(),
            pushed: Vec::new(),
            events: Vec::new(),
            trace: None,
            answers: BTreeMap::new(),
        }
    }

    /// `count` nodes that all begin with the first and have found each other.
    pub(crate) fn of(seed: u64, count: usize) -> Self {
        Self::with(seed, count, |_| {})
    }

    /// The same, with settings changed.
    pub(crate) fn with(seed: u64, count: usize, change: impl Fn(&mut Config)) -> Self {
        let mut world = Self::new(seed);
        for _ in 0..count {
            world.add(&change);
        }
        (1..count).for_each(|host| world.bootstrap(host, &[0]));
        world.run_for(Span::from_secs(20));
        world
    }

    /// From now on every output counts for [`Self::trace`].
    pub(crate) fn record(&mut self) {
        self.trace = Some(Sha256::new());
    }

    /// A hash over every output of every node so far: when, whose and what.
    pub(crate) fn trace(&self) -> String {
        self.trace.clone().map(|hash| hex::encode(hash.finalize())).unwrap_or_default()
    }

    /// A further node, up and alone.
    pub(crate) fn add(&mut self, change: impl Fn(&mut Config)) -> At {
        let at = self.hosts.len();
        let mut config = Config { endpoints: vec![links::endpoint(at)], ..Config::default() };
        change(&mut config);
        self.hosts.push(Host::new(node_key(self.seed, at), config));
        self.start(at);
        at
    }

    /// A further host that answers as the test says.
    pub(crate) fn add_puppet(&mut self, key: KeyPair, puppet: Puppet) -> At {
        self.hosts.push(Host::puppet(key, puppet));
        self.hosts.len() - 1
    }

    /// Names nodes to begin with.
    pub(crate) fn bootstrap(&mut self, host: At, known: &[At]) {
        let contacts = known.iter().map(|known| self.contact(*known)).collect();
        self.input(host, Input::Command(Command::Bootstrap(contacts)));
    }
}

/// Looking at it.
impl World {
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn host(&self, at: At) -> &Host {
        &self.hosts[at]
    }

    pub(crate) fn hosts(&self) -> std::ops::Range<At> {
        0..self.hosts.len()
    }

    pub(crate) fn address(&self, at: At) -> Address {
        self.hosts[at].key().address()
    }

    pub(crate) fn contact(&self, at: At) -> Contact {
        Contact::new(self.hosts[at].key().public(), [links::endpoint(at)])
    }

    pub(crate) fn at(&self, address: &Address) -> Option<At> {
        self.hosts().find(|at| self.address(*at) == *address)
    }

    pub(crate) fn stats(&self, at: At) -> Stats {
        self.hosts[at].stats()
    }

    /// How many keys a table of a host's store holds.
    pub(crate) fn kept(&self, at: At, table: Family) -> usize {
        self.hosts[at].store().len(table)
    }

    /// The hosts with the envelope on disk.
    pub(crate) fn holders(&self, id: &comm_proto::envelope::EnvelopeId) -> Vec<At> {
        let holds = |at: &At| self.hosts[*at].holds(id);
        self.hosts().filter(holds).collect()
    }
}

/// Clients.
impl World {
    /// A request of a client over its session; the number under which it is answered.
    pub(crate) fn ask(&mut self, host: At, session: u64, request: ClientRequest) -> RequestId {
        let id = self.request_id();
        self.input(host, Input::ClientRequest { id, session: SessionId(session), request });
        id
    }

    /// The same, and the answer, which comes within a minute.
    pub(crate) fn call(
        &mut self,
        host: At,
        session: u64,
        request: ClientRequest,
    ) -> Result<ClientResponse, Rejection> {
        let id = self.ask(host, session, request);
        assert!(
            self.run_while(Span::from_mins(1), |world| !world.hosts[host]
                .replies
                .contains_key(&id)),
            "no answer to a client"
        );
        self.hosts[host].replies.remove(&id).unwrap()
    }

    /// The answer to a client, if it has come.
    pub(crate) fn reply(
        &self,
        host: At,
        id: RequestId,
    ) -> Option<&Result<ClientResponse, Rejection>> {
        self.hosts[host].replies.get(&id)
    }

    pub(crate) fn close_session(&mut self, host: At, session: u64) {
        self.input(host, Input::SessionClosed { session: SessionId(session) });
    }

    /// What a session was told so far, each with the time.
    pub(crate) fn pushes(&self, host: At, session: u64) -> &[(Time, ClientPush)] {
        self.hosts[host].pushes.get(&SessionId(session)).map_or(&[], |pushes| &pushes[..])
    }
}

/// Strangers: requests whose key is proved but behind which no host of this world stands.
impl World {
    pub(crate) fn ask_as(&mut self, key: PublicKey, host: At, request: Request) -> RequestId {
        let source = ([127, 255, 0, 1], links::CALLING_PORT).into();
        self.ask_from(source, key, host, request)
    }

    pub(crate) fn ask_from(
        &mut self,
        source: SocketAddr,
        key: PublicKey,
        host: At,
        request: Request,
    ) -> RequestId {
        let id = self.request_id();
        self.input(host, Input::Request { id, from: key, source, known: None, request });
        id
    }

    pub(crate) fn answer(&self, id: RequestId) -> Option<&Result<Response, Rejection>> {
        self.answers.get(&id)
    }
}

/// Trouble.
impl World {
    /// Power goes: what the disk does not have is lost, and so are all links.
    pub(crate) fn crash(&mut self, host: At) {
        self.hosts[host].crash();
        self.unplug(host);
    }

    /// Starts a host whose power went, from what its disk has.
    pub(crate) fn start(&mut self, host: At) {
        let seed = node_seed(self.seed, host, self.hosts[host].boots());
        self.hosts[host].start(seed, self.now);
        self.wake(host);
        self.reopen();
    }

    /// Power goes, and the host comes up again with another disk.
    pub(crate) fn replace_disk(&mut self, host: At, disk: MemoryStore<Family>) {
        self.crash(host);
        self.hosts[host].replace_disk(disk);
        self.start(host);
    }

    /// A host goes over to the other side: from now on it answers as the test says.
    pub(crate) fn turn(&mut self, host: At, puppet: Puppet) {
        self.crash(host);
        self.hosts[host].puppet = Some(puppet);
    }

    /// A host's clock is so many milliseconds ahead of the world's; behind, if it is negative.
    pub(crate) fn set_clock(&mut self, host: At, skew: i64) {
        self.hosts[host].set_clock(skew);
        self.wake(host);
    }

    /// Another program has written to the disk of a host that is off.
    pub(crate) fn write_to_disk(&mut self, host: At, batch: Batch<Family>) {
        self.hosts[host].write(batch);
        self.hosts[host].sync(Seq(u64::MAX));
    }

    /// Crash a host at its `countdown`th write or completed write from now on.
    pub(crate) fn plan_crash(&mut self, host: At, countdown: u32) {
        self.hosts[host].plan = Some(countdown);
    }

    /// No crash is planned any more.
    pub(crate) fn spare(&mut self, host: At) {
        self.hosts[host].plan = None;
    }

    /// The last state of an envelope that a host told before its power went.
    pub(crate) fn last_words(&self, host: At) -> Option<EnvelopeState> {
        self.hosts[host].last_words()
    }

    /// Whether the host is up.
    pub(crate) fn is_up(&self, host: At) -> bool {
        self.hosts[host].is_up()
    }

    /// Parts the hosts into groups that do not reach each other; hosts in none reach nobody.
    pub(crate) fn part(&mut self, groups: &[&[At]]) {
        self.links.part(groups);
        for (from, to) in self.links.torn(self.hosts.len()) {
            self.tear_stream(from, to);
        }
    }

    /// Joins all groups again.
    pub(crate) fn heal(&mut self) {
        self.links.heal();
        self.reopen();
    }
}

/// Moving it.
impl World {
    pub(crate) fn run_for(&mut self, span: Span) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs while `going` says so, for `limit` at most; whether it stopped saying so.
    pub(crate) fn run_while(&mut self, limit: Span, going: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while going(self) {
            if !self.step(end) {
                self.now = end;
                return !going(self);
            }
        }
        true
    }

    /// Hands a host one input and does what it wants done.
    pub(crate) fn input(&mut self, host: At, input: Input) {
        let now = self.hosts[host].clock(self.now);
        let Some((node, store)) = self.hosts[host].running() else { return };
        node.handle(input, store, now).expect("a store in memory does not fail");
        while let Some(output) = self.hosts[host].running().and_then(|(n, _)| n.poll_output()) {
            if let Some(hash) = &mut self.trace {
                hash.update(format!("{} {host} {output:?}\n", now.as_millis()));
            }
            self.perform(host, output);
        }
        self.wake(host);
    }

    fn step(&mut self, end: Time) -> bool {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let wake = self.wakes.first().copied();
        let ticks = wake.is_some_and(|(at, _)| queued.is_none_or(|queued| at < queued));
        let next = if ticks { wake.map(|(at, _)| at) } else { queued };
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.steps_now = if next > self.now { 0 } else { self.steps_now + 1 };
        assert!(self.steps_now < STEPS_AT_ONCE_MAX, "a node never goes to sleep: {wake:?}");
        self.now = self.now.max(next);
        if let (true, Some((at, host))) = (ticks, wake) {
            self.wakes.remove(&(at, host));
            self.hosts[host].wake = None;
            self.input(host, Input::Tick);
        } else if let Some((_, happening)) = self.queue.pop_first() {
            self.happen(happening);
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Durable { host, boot, seq } => {
                if self.hosts[host].boots() == boot && self.hosts[host].sync(seq) {
                    self.boundary(host);
                    self.input(host, Input::Durable(seq));
                }
            }
            Happening::Asked { asked, to, request } => self.deliver_request(asked, to, request),
            Happening::Answered { asked, result } => {
                let id = asked.call;
                let current = self.hosts[asked.from].boots() == asked.boot;
                let awaited = self.hosts[asked.from].calls.remove(&id);
                // A time-out that comes after the answer is none; a late answer is handed in.
                if current && (awaited || result.is_ok()) {
                    self.input(asked.from, Input::Response { id, result });
                }
            }
            Happening::DialledBack { host, boot, id, outcomes } => {
                if self.hosts[host].boots() == boot {
                    self.input(host, Input::DialledBack { id, outcomes });
                }
            }
            Happening::Opening { from, to } => self.open_stream(from, to),
            Happening::Pushed { from, to, push } => {
                if self.links.reach(from, to) {
                    let from = self.address(from);
                    self.input(to, Input::Push { from, push });
                }
            }
        }
    }

    fn perform(&mut self, host: At, output: Output) {
        self.hosts[host].assert_kept(&output);
        match output {
            Output::Write(batch) => {
                let (boot, seq) = (self.hosts[host].boots(), batch.seq);
                self.hosts[host].write(batch);
                self.later(self.disk, Happening::Durable { host, boot, seq });
                self.boundary(host);
            }
            Output::Call { id, to, request, deadline } => {
                let boot = self.hosts[host].boots();
                self.hosts[host].calls.insert(id);
                let at = self.now;
                let endpoints = to.endpoints().to_vec();
                let place = self.hosts[host].place_sought_by(id);
                let (to_address, named) = (to.address(), request.clone());
                let sent =
                    Sent { at, from: host, to: to_address, endpoints, request: named, place };
                self.sent.push(sent);
                let asked = links::Asked { from: host, boot, call: id };
                let patience = deadline.since(self.hosts[host].clock(self.now));
                self.send_call(asked, &to, request, patience);
            }
            Output::DialBack { id, key, endpoints, deadline } => {
                let boot = self.hosts[host].boots();
                let patience = deadline.since(self.hosts[host].clock(self.now));
                let outcomes = self.dial_back(host, &key, &endpoints);
                let happening = Happening::DialledBack { host, boot, id, outcomes };
                self.later(patience.min(Span::from_secs(1)), happening);
                self.dialled.extend(endpoints);
            }
            Output::Reply { id, result } => match self.hosts[host].asked.remove(&id) {
                Some(asked) => self.send_answer(host, asked, result),
                None => drop(self.answers.insert(id, result)),
            },
            Output::Listen { to, open } => self.listen(host, &to, open),
            Output::Push { to, push } => self.send_push(host, &to, push),
            Output::ClientReply { id, result } => {
                self.hosts[host].replies.insert(id, result);
            }
            Output::ClientPush { session, push } => {
                let now = self.now;
                self.hosts[host].pushes.entry(session).or_default().push((now, push));
            }
            Output::Event(event) => self.events.push((self.now, host, event)),
        }
    }

    /// A place at which a host's power may go.
    fn boundary(&mut self, host: At) {
        if self.hosts[host].crashes_here() {
            self.crash(host);
        }
    }

    fn wake(&mut self, host: At) {
        if let Some(old) = self.hosts[host].wake.take() {
            self.wakes.remove(&(old, host));
        }
        let Some(at) = self.hosts[host].next_wake() else { return };
        let at = at.max(self.now);
        self.hosts[host].wake = Some(at);
        self.wakes.insert((at, host));
    }

    fn later(&mut self, span: Span, happening: Happening) {
        self.serial += 1;
        self.queue.insert((self.now + span, self.serial), happening);
    }

    fn request_id(&mut self) -> RequestId {
        RequestId(self.rng.next_u64())
    }
}

/// Which nodes a world has depends on its seed.
fn node_key(seed: u64, host: At) -> KeyPair {
    KeyPair::from_seed(&node_seed(seed, host, u32::MAX))
}

fn node_seed(seed: u64, host: At, boot: u32) -> [u8; 32] {
    Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(host.to_be_bytes())
        .chain_update(boot.to_be_bytes())
        .finalize()
        .into()
}

/// Everything a table holds.
pub(crate) fn entries(host: &Host, table: Family) -> Vec<(Vec<u8>, Vec<u8>)> {
    host.store().scan(table, &[], &[0xff; 64], usize::MAX).unwrap()
}
