//! What lies between hosts: calls, answers and streams for pushes, each late or lost.
//!
//! Links prove keys, as the real ones do: a call reaches whoever listens at the endpoint and fails if
//! that one has another key.

use std::net::SocketAddr;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::message::{Push, Request, Response};
use comm_proto::node::{Input, RequestId};
use comm_proto::rejection::Rejection;
use comm_proto::time::Span;
use rand_core::RngCore;

use super::{Asked, Happening, Reaction, Stage, World, door, frames};
use crate::host::{At, CALLING_PORT, endpoint, listener};
use crate::plan::Crypto;

impl World {
    /// How long one message takes.
    pub(super) fn latency(&mut self) -> Span {
        let (least, greatest) = self.network.latency;
        let spread = greatest.as_millis().saturating_sub(least.as_millis()) + 1;
        Span::from_millis(least.as_millis() + self.rng.next_u64() % spread)
    }

    fn is_lost(&mut self) -> bool {
        let loss = self.network.loss.get();
        let lost = loss > 0 && self.rng.next_u32() % 1_000_000 < loss;
        if lost {
            self.faults.count("message lost");
        }
        lost
    }

    /// A call leaves; what was not delivered is answered by nobody.
    pub(super) fn send_call(&mut self, asked: Asked, to: &Contact, request: Request) {
        *self.messages.entry(kind_of_call(&request)).or_default() += 1;
        self.people.count_call(&request);
        let Some(at) = to.endpoints().iter().find_map(listener) else { return };
        let proves = self.hosts.get(at).is_some_and(|host| host.key().public() == *to.key());
        if !proves || self.is_lost() || self.faults.is_cut(asked.from, at) {
            return;
        }
        if self.is_doubled() {
            let latency = self.latency() + self.faults.delay(asked.from, at);
            self.later(latency, Happening::Asked { asked, to: at, request: request.clone() });
        }
        let latency = self.latency() + self.faults.delay(asked.from, at);
        self.later(latency, Happening::Asked { asked, to: at, request });
    }

    pub(super) fn deliver_request(&mut self, asked: Asked, to: At, request: Request) {
        if !self.hosts[to].is_up() {
            return;
        }
        let clock = self.clock(to);
        if let Err(refusal) = door::request(&request, clock) {
            self.send_answer(asked, to, Err(refusal));
            return;
        }
        let from = self.hosts[asked.from].contact().clone();
        let request = match self.crypto {
            Crypto::Model => request,
            Crypto::Real => match frames::request(request, self.now) {
                Ok(request) => request,
                Err(refusal) => return self.send_answer(asked, to, Err(refusal)),
            },
        };
        let stage = Stage { now: self.now, colluders: &self.colluders, rng: &mut self.rng };
        match self.hosts[to].react(stage, &from, &request) {
            Reaction::Pass => {
                let id = RequestId(self.rng.next_u64());
                self.hosts[to].asked.insert(id, asked);
                let source = SocketAddr::new(endpoint(asked.from).ip(), CALLING_PORT);
                let (from, known) = (*from.key(), Some(from));
                self.input(to, Input::Request { id, from, source, known, request });
            }
            Reaction::Answer(result) => self.send_answer(asked, to, *result),
            Reaction::Silence => {}
        }
    }

    pub(super) fn send_answer(
        &mut self,
        asked: Asked,
        by: At,
        result: Result<Response, Rejection>,
    ) {
        if self.is_lost() || self.faults.is_cut(by, asked.from) {
            return;
        }
        let result = match self.crypto {
            Crypto::Model => result,
            Crypto::Real => frames::response(result, self.now),
        };
        if self.is_doubled() {
            let latency = self.latency() + self.faults.delay(by, asked.from);
            self.later(latency, Happening::Answered { asked, result: result.clone() });
        }
        let latency = self.latency() + self.faults.delay(by, asked.from);
        self.later(latency, Happening::Answered { asked, result });
    }

    pub(super) fn deliver_answer(&mut self, asked: Asked, result: Result<Response, Rejection>) {
        let (host, Some(id)) = (asked.from, asked.call) else { return };
        if self.hosts[host].boots() != asked.boot {
            return;
        }
        let clock = self.clock(host);
        let result = result.and_then(|answer| door::response(&answer, clock).map(|()| answer));
        let awaited = self.hosts[host].calls.remove(&id);
        // To give up after the answer has come is nothing; an answer after that is handed in.
        if awaited || result.is_ok() {
            self.input(host, Input::Response { id, result });
        }
    }

    /// A host wants a stream to another kept open, or no longer.
    pub(super) fn listen(&mut self, from: At, to: &Contact, open: bool) {
        let Some(to) = self.by_address.get(&to.address()).copied() else { return };
        if !open {
            self.streams.give_up(from, to);
            self.close_stream(from, to);
        } else if self.streams.want(from, to) {
            let latency = self.latency();
            self.later(latency, Happening::Opening { from, to });
        }
    }

    pub(super) fn close_stream(&mut self, from: At, to: At) {
        if self.streams.close(from, to) {
            let peer = self.hosts[from].key().address();
            self.input(to, Input::ListenerClosed { peer });
        }
    }

    pub(super) fn send_push(&mut self, from: At, to: &Address, push: Push) {
        let Some(to) = self.by_address.get(to).copied() else { return };
        if self.streams.is_open(to, from) {
            *self.messages.entry(kind_of_push(&push)).or_default() += 1;
            self.people.count_push(&push);
            let push = match self.crypto {
                Crypto::Model => Ok(push),
                Crypto::Real => frames::push(push, self.now),
            };
            // Nobody is told of a push that cannot be read.
            if let Ok(push) = push {
                let latency = self.latency() + self.faults.delay(from, to);
                self.later(latency, Happening::Pushed { from, to, push });
            }
        }
    }
}

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
    }
}

const fn kind_of_push(push: &Push) -> &'static str {
    match push {
        Push::Waiting(_) => "push waiting",
        Push::Acknowledgements(_) => "push acknowledgements",
        Push::Receipts(_) => "push receipts",
    }
}
