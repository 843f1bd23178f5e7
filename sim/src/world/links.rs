//! What lies between hosts: calls, answers and streams for pushes, each late or lost.
//!
//! Links prove keys, as the real ones do: a call reaches whoever listens at the endpoint and fails if
//! that one has another key.

use std::net::SocketAddr;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::key::PublicKey;
use comm_proto::message::{DialOutcome, Push, Request, Response};
use comm_proto::node::{Input, RequestId};
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use comm_proto::wire::{decode, object, peer};
use rand_core::RngCore;

use super::{Asked, Happening, Reaction, Stage, World, dials, door, frames, stage};
use crate::copies::Caller;
use crate::host::At;
use crate::people::People;
use crate::plan::{Crypto, Off};

/// How a host reads a request that nobody has checked.
pub(crate) type Reading = fn(peer::Request, &People, Time) -> Result<Request, Rejection>;

/// As between real nodes, signatures included.
pub(super) fn read(message: peer::Request, _: &People, now: Time) -> Result<Request, Rejection> {
    decode::request(message, now)
}

impl World {
    /// How long one message takes.
    pub(super) fn latency(&mut self, from: At, to: At) -> Span {
        let regions = self.network.regions.as_ref();
        let range = regions.and_then(|regions| regions.latency(from, to));
        let (least, greatest) = range.unwrap_or(self.network.latency);
        let spread = greatest.as_millis().saturating_sub(least.as_millis()) + 1;
        Span::from_millis(least.as_millis() + self.rng.next_u64() % spread)
    }

    fn is_lost(&mut self, from: At, to: At) -> bool {
        let loss = self.network.loss.get();
        let lost = loss > 0 && self.rng.next_u32() % 1_000_000 < loss;
        let lost = lost || self.is_in_burst(from) || self.is_in_burst(to);
        self.lost += u64::from(lost);
        if lost {
            self.faults.count("message lost");
        }
        lost
    }

    /// A call leaves; what was not delivered is answered by nobody.
    pub(super) fn send_call(&mut self, asked: Asked, to: &Contact, request: Request) {
        if to.is_leaf() {
            let result = Err(Rejection::Unreachable);
            return self.later(Span::ZERO, Happening::Answered { asked, result });
        }
        if let Some(at) = self.by_address.get(&to.address()).copied()
            && !self.faults.is_cut_either_way(asked.from, at, self.now)
            && self.is_refused(asked.from, at)
        {
            let result = Err(Rejection::Unreachable);
            return self.later(Span::ZERO, Happening::Answered { asked, result });
        }
        *self.messages.entry(kind_of_call(&request)).or_default() += 1;
        let caller = Caller { from: asked.from, to: asked.to, is_small: self.is_small() };
        let caller = self.hosts[asked.from].is_honest().then_some(caller);
        let place =
            asked.call.and_then(|call| self.hosts[asked.from].node()?.place_sought_by(call));
        self.people.count_call(self.now, caller, place, &request);
        if let Some(at) = self.way_to(asked.from, to) {
            let request = Box::new(request);
            let dial = self.dial(asked.from, at);
            if self.is_doubled() {
                let late = dial + self.lateness(asked.from, at);
                self.later(late, Happening::Asked { asked, to: at, request: request.clone() });
            }
            let late = dial + self.lateness(asked.from, at);
            self.later(late, Happening::Asked { asked, to: at, request });
        }
    }

    /// So does one that nobody has checked, and is no message about any envelope before it is read.
    pub(super) fn send_forged(&mut self, asked: Asked, to: &Contact, message: Box<peer::Request>) {
        *self.messages.entry("unchecked").or_default() += 1;
        if let Some(at) = self.way_to(asked.from, to) {
            let dial = self.dial(asked.from, at);
            if self.is_doubled() {
                let (late, message) = (dial + self.lateness(asked.from, at), message.clone());
                self.later(late, Happening::AskedForged { asked, to: at, message });
            }
            let late = dial + self.lateness(asked.from, at);
            self.later(late, Happening::AskedForged { asked, to: at, message });
        }
    }

    /// Who proves to be this contact; none if a call to them is lost.
    fn way_to(&mut self, from: At, to: &Contact) -> Option<At> {
        let at = to.endpoints().iter().find_map(|endpoint| self.ip_plan.listener(endpoint))?;
        let is_own = self.hosts.get(at).is_some_and(|host| host.contact().key() == to.key());
        let proves = is_own || self.identities.get(&to.address()) == Some(&at);
        (proves && !self.is_lost(from, at) && !self.faults.is_cut(from, at, self.now)).then_some(at)
    }

    /// Who is at these endpoints, for a host that dials a caller back. Here nothing refuses: whoever is
    /// not there is silent.
    pub(super) fn dial_back(
        &mut self,
        from: At,
        key: &PublicKey,
        endpoints: &[SocketAddr],
    ) -> Vec<DialOutcome> {
        let mut outcome = |endpoint: &SocketAddr| {
            let there = self.way_to(from, &Contact::new(*key, [*endpoint]));
            let is_up = there.is_some_and(|at| self.hosts[at].is_up());
            if is_up { DialOutcome::Reached } else { DialOutcome::TimedOut }
        };
        endpoints.iter().map(&mut outcome).collect()
    }

    /// Whether a dial fails at once, or one has failed and it is too early for the next.
    fn is_refused(&mut self, from: At, to: At) -> bool {
        if self.network.off == Off::Silent {
            return false;
        }
        if self.dials.wait(from, to, self.now) {
            return true;
        }
        if self.hosts[to].is_up() {
            self.dials.succeed(from, to);
            return false;
        }
        let draw = self.rng.next_u64();
        self.dials.fail(from, to, self.now, draw);
        true
    }

    /// After which time a message reaches whom it is for.
    fn lateness(&mut self, from: At, to: At) -> Span {
        self.latency(from, to) + self.faults.delay(from, to)
    }

    pub(super) fn deliver_request(&mut self, asked: Asked, to: At, request: Request) {
        if !self.hosts[to].is_up() {
            // Its link ended with it.
            if self.network.off == Off::Refuses {
                self.send_answer(asked, to, Err(Rejection::Unreachable));
            }
            return;
        }
        let clock = self.clock(to);
        if let Err(refusal) = door::request(&request, clock) {
            return self.send_answer(asked, to, Err(refusal));
        }
        self.people.handed(self.now, asked.from, to, &request);
        let request = match self.crypto {
            Crypto::Model => request,
            Crypto::Real => match self.frames.request(request, self.now) {
                Ok(request) => request,
                Err(refusal) => return self.send_answer(asked, to, Err(refusal)),
            },
        };
        self.hand_over(asked, to, request);
    }

    /// Reads what comes as the host of a node does before the node sees it.
    pub(super) fn deliver_forged(&mut self, asked: Asked, to: At, message: peer::Request) {
        if !self.hosts[to].is_up() {
            return;
        }
        if let Some(peer::request::Request::Acknowledge(told)) = &message.request {
            self.note_forgeries(to, &told.acknowledgements);
        }
        let clock = self.clock(to);
        match (self.reading)(message, &self.people, clock) {
            Ok(request) => {
                self.people.count_call(self.now, None, None, &request);
                self.hand_over(asked, to, request);
            }
            Err(rejection) => {
                *self.messages.entry("unchecked, refused unread").or_default() += 1;
                self.send_answer(asked, to, Err(rejection));
            }
        }
    }

    /// Counts acknowledgements that nothing but their signatures keeps from ending what an honest host has.
    fn note_forgeries(&mut self, to: At, told: &[object::Acknowledgement]) {
        if !self.hosts[to].is_honest() {
            return;
        }
        for (letter, id) in told.iter().flat_map(|one| self.people.unread(one)).collect::<Vec<_>>()
        {
            if self.hosts[to].holds(&id) {
                self.people.forged(letter);
            }
        }
    }

    /// A request that was read comes to whatever stands before a node, and to the node.
    fn hand_over(&mut self, asked: Asked, to: At, request: Request) {
        let from = self.hosts[asked.from].contact().clone();
        let (reaction, request) = if self.hosts[to].is_changed() {
            self.hosts[to].react(stage!(self), &from.address(), request)
        } else {
            (Reaction::Pass, request)
        };
        if !matches!(reaction, Reaction::Pass | Reaction::Instead(_)) {
            self.tell_kept(to, "keeps this request from its node", &request);
        }
        match reaction {
            Reaction::Answer(result) => self.send_answer(asked, to, *result),
            Reaction::Forged(message) => {
                if let Some(peer::response::Response::Offered(lie)) = &message.response {
                    self.note_forgeries(asked.from, &lie.acknowledgements);
                }
                let read = decode::response(*message, self.clock(asked.from));
                self.send_answer(asked, to, read.unwrap_or_else(Err));
            }
            Reaction::Silence => {}
            Reaction::Pass | Reaction::Instead(_) => {
                let id = RequestId(self.rng.next_u64());
                self.hosts[to].asked(id, asked);
                let source = self.hosts[asked.from].source();
                let (from, known) = (*from.key(), Some(from));
                self.input(to, Input::Request { id, from, source, known, request });
            }
        }
        if self.hosts[to].is_changed() {
            self.wake(to);
        }
    }

    pub(super) fn send_answer(
        &mut self,
        asked: Asked,
        by: At,
        result: Result<Response, Rejection>,
    ) {
        if self.is_lost(by, asked.from) || self.faults.is_cut(by, asked.from, self.now) {
            return;
        }
        let result = match self.crypto {
            Crypto::Model => result,
            Crypto::Real => frames::response(result, self.now),
        };
        let result = result.map(Box::new);
        if self.is_doubled() {
            let latency = self.lateness(by, asked.from);
            self.later(latency, Happening::Answered { asked, result: result.clone() });
        }
        let latency = self.lateness(by, asked.from);
        self.later(latency, Happening::Answered { asked, result });
    }

    pub(super) fn deliver_answer(&mut self, asked: Asked, result: Result<Response, Rejection>) {
        let host = asked.from;
        if self.hosts[host].boots() != asked.boot {
            return;
        }
        let clock = self.clock(host);
        let result = result.and_then(|answer| door::response(&answer, clock).map(|()| answer));
        // To give up after the answer has come is nothing; an answer after that is handed in.
        let awaited = asked.call.is_none_or(|id| self.hosts[host].ended(&id));
        if !awaited && result.is_err() {
            return;
        }
        let result = if self.hosts[host].is_changed() {
            self.hosts[host].learn(stage!(self), asked, result)
        } else {
            result
        };
        match asked.call {
            Some(id) => self.input(host, Input::Response { id, result }),
            None => self.wake(host),
        }
    }

    /// A push arrives, unless its stream has broken.
    pub(super) fn deliver_push(&mut self, from: At, to: At, serial: u64, push: Push) {
        let clock = self.clock(to);
        if self.streams.serial(to, from) != Some(serial) {
            self.lost += 1;
            return;
        }
        let from = self.address(from);
        if door::push(&push, clock).is_err() {
            return self.input(to, Input::ListenOpened { to: from });
        }
        let push = if self.hosts[to].is_changed() {
            self.hosts[to].hear(stage!(self), &from, push)
        } else {
            Some(push)
        };
        match push {
            Some(push) => self.input(to, Input::Push { from, push }),
            None => self.wake(to),
        }
    }

    /// A host wants a stream to another kept open, or no longer.
    pub(super) fn listen(&mut self, from: At, to: &Contact, open: bool) {
        let dialled = self.by_address.get(&to.address()).copied();
        let Some(to) = dialled.filter(|_| !(open && to.is_leaf())) else { return };
        if !open {
            self.streams.give_up(from, to);
            self.close_stream(from, to);
        } else if self.streams.want(from, to) {
            let latency = self.dial(from, to) + self.latency(from, to);
            self.later(latency, Happening::Opening { from, to, waited: Span::ZERO });
        }
    }

    /// A stream is dialled, and dialled again as long as somebody wants it.
    pub(super) fn open_stream(&mut self, from: At, to: At, waited: Span) {
        if !self.hosts[from].is_up() || !self.streams.is_wanted(from, to) {
            return;
        }
        let cut = self.faults.is_cut_either_way(from, to, self.now);
        if cut || self.is_refused(from, to) || !self.hosts[to].is_up() {
            self.open_again(from, to, waited);
        } else if self.streams.open(from, to) {
            let (peer, source) = (self.address(from), self.address(to));
            self.expect_break(from, to);
            self.input(to, Input::ListenerOpened { peer });
            self.input(from, Input::ListenOpened { to: source });
        }
    }

    /// Whoever lost a stream dials again as a real node does (PROTOCOL §5.2), `waited` after it did so last.
    pub(super) fn open_again(&mut self, from: At, to: At, waited: Span) {
        let waited = dials::longer(waited);
        let wait = dials::jittered(waited, self.rng.next_u64()) + self.dialling(from, to);
        self.later(wait, Happening::Opening { from, to, waited });
    }

    /// A stream ends that is wanted: its subscriber dials again.
    pub(super) fn tear_stream(&mut self, from: At, to: At) {
        self.close_stream(from, to);
        let source = self.address(to);
        self.input(from, Input::ListenClosed { to: source });
        self.open_again(from, to, Span::ZERO);
    }

    pub(super) fn close_stream(&mut self, from: At, to: At) {
        if self.streams.close(from, to) {
            let peer = self.address(from);
            self.input(to, Input::ListenerClosed { peer });
        }
    }

    pub(super) fn send_push(&mut self, from: At, to: &Address, push: Push) {
        let Some(to) = self.by_address.get(to).copied() else { return };
        if let Some(serial) = self.streams.serial(to, from) {
            *self.messages.entry(kind_of_push(&push)).or_default() += 1;
            self.people.count_push(&push);
            let push = match self.crypto {
                Crypto::Model => Ok(push),
                Crypto::Real => frames::push(push, self.now),
            };
            // Nobody is told of a push that cannot be read.
            if let Ok(push) = push {
                let late = self.lateness(from, to);
                self.later(late, Happening::Pushed { from, to, serial, push });
            }
        }
    }
}

/// All kinds of messages between nodes.
pub const KINDS: [&str; 17] = [
    "ping",
    "find node",
    "offer",
    "digest",
    "deliver",
    "acknowledge",
    "receipts",
    "put card",
    "get card",
    "publish card",
    "find card",
    "subscribe",
    "fetch",
    "dial back",
    "push waiting",
    "push acknowledgements",
    "push receipts",
];

const fn kind_of_call(request: &Request) -> &'static str {
    match request {
        Request::Ping { .. } => "ping",
        Request::FindNode { .. } => "find node",
        Request::Offer { .. } => "offer",
        Request::Digest { .. } => "digest",
        Request::Deliver { .. } => "deliver",
        Request::Acknowledge { .. } => "acknowledge",
        Request::Receipts { .. } => "receipts",
        Request::PutCard { .. } => "put card",
        Request::GetCard { .. } => "get card",
        Request::PublishCard { .. } => "publish card",
        Request::FindCard { .. } => "find card",
        Request::Subscribe { .. } => "subscribe",
        Request::Fetch { .. } => "fetch",
        Request::DialBack { .. } => "dial back",
    }
}

const fn kind_of_push(push: &Push) -> &'static str {
    match push {
        Push::Waiting(_) => "push waiting",
        Push::Acknowledgements(_) => "push acknowledgements",
        Push::Receipts(_) => "push receipts",
    }
}
