//! What a node keeps in memory while millions of things come and go: nothing of what has ended.

use std::collections::VecDeque;

use comm_proto::contact::Contact;
use comm_proto::envelope::{Envelope, EnvelopeId};
use comm_proto::key::{KeyPair, PublicKey};
use comm_proto::message::{IDS_MAX, Request, Response};
use comm_proto::node::{CallId, Command, Config, Family, Input, Node, Output, RequestId};
use comm_proto::rejection::Rejection;
use comm_proto::store::{MemoryStore, Seq};
use comm_proto::time::{Span, Time};

use crate::world::{Mailbox, START, endpoint, fill};

/// One node without a network: whatever it asks is lost.
struct Alone {
    node: Node,
    store: MemoryStore<Family>,
    now: Time,
    stranger: PublicKey,
    /// Calls that have not come to their end, in the order of their ends.
    lost: VecDeque<(Time, CallId)>,
    replies: u64,
}

impl Alone {
    fn new() -> Self {
        let (store, config) = (MemoryStore::new(), Config::default());
        let config = Config { endpoints: vec![endpoint(1)], ..config };
        let key = KeyPair::from_seed(&fill(1));
        let node = Node::new(config, key, [7; 32], &store, START).unwrap();
        let stranger = KeyPair::from_seed(&fill(2)).public();
        Self { node, store, now: START, stranger, lost: VecDeque::new(), replies: 0 }
    }

    fn input(&mut self, input: Input) {
        self.node.handle(input, &self.store, self.now).unwrap();
        let mut written = Seq(0);
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Write(batch) => {
                    self.store.apply(&batch);
                    written = batch.seq;
                }
                Output::Call { id, deadline, .. } => self.lost.push_back((deadline, id)),
                Output::Reply { result, .. } => {
                    assert!(result.is_ok(), "{result:?}");
                    self.replies += 1;
                }
                _ => {}
            }
        }
        if written > Seq(0) {
            self.input(Input::Durable(written));
        }
    }

    /// A stranger asks.
    fn ask(&mut self, request: Request) {
        let (id, from) = (RequestId(self.replies), self.stranger);
        let source = ([127, 0, 0, 1], 9).into();
        self.input(Input::Request { id, from, source, known: None, request });
    }

    /// Lets `span` pass, in which no call is answered.
    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let lost = self.lost.front().map(|(at, _)| *at);
            let due = self.node.poll_timeout().map(|(at, _)| at.max(self.now));
            let next = lost.into_iter().chain(due).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = next;
            match self.lost.pop_front_if(|(at, _)| *at <= next) {
                Some((_, id)) => {
                    let result = Err(Rejection::Unreachable);
                    self.input(Input::Response { id, result });
                }
                None => self.input(Input::Tick),
            }
        }
        self.now = end;
    }
}

/// Contacts that nobody answers at.
fn nobody(number: u64) -> Contact {
    Contact::new(PublicKey::from_bytes(fill(number)), [endpoint(4_000)])
}

/// B6: a million queries are lost; each is counted once, and nothing is left of any.
#[test]
fn a_million_lost_queries_are_counted_once_each_and_leave_nothing() {
    let mut alone = Alone::new();
    let (mut number, mut most) = (0, 0);
    while alone.node.stats().calls_unanswered < 1_000_000 {
        let contacts = (0..64).map(|n| nobody(number + n)).collect();
        number += 64;
        alone.input(Input::Command(Command::Bootstrap(contacts)));
        let stats = alone.node.stats();
        assert!(stats.calls as usize == alone.lost.len() && stats.calls <= 1_024);
        most = most.max(stats.in_memory);
        let last = alone.lost.back().map(|(_, id)| *id);
        alone.pass(Span::from_secs(20));
        // An answer that comes too late is none, and no second failure either.
        let before = alone.node.stats();
        if let Some(id) = last {
            let result = Ok(Response::Pong { time: alone.now, observed: None });
            alone.input(Input::Response { id, result });
            alone.input(Input::Response { id, result: Err(Rejection::Unreachable) });
            let after = alone.node.stats();
            assert_eq!(after.stray_responses, before.stray_responses + 2);
            assert_eq!(after.calls_unanswered, before.calls_unanswered);
        }
        assert!(most < 300, "{most} entries in memory");
    }
    alone.pass(Span::from_secs(10));
    let stats = alone.node.stats();
    assert_eq!(stats.calls_unanswered + alone.lost.len() as u64, stats.calls_made);
    assert_eq!((stats.calls, stats.peers), (alone.lost.len() as u64, 0));
}

/// D19: ten million ids are offered, of which a thousand had ended before; whatever a node remembers of
/// an id lies on its disk.
#[test]
fn ten_million_ids_that_are_offered_take_no_memory() {
    const OFFERS: u64 = 10_000_000_u64.div_ceil(IDS_MAX as u64);
    const ENDED: usize = 1_000;
    let mut alone = Alone::new();
    let mailbox = Mailbox::new(1);
    let expires_at = START + Span::DAY;
    let ended: Vec<_> = (0..ENDED as u64).map(|n| mailbox.envelope(n, expires_at)).collect();
    for some in ended.chunks(50) {
        let read = mailbox.acknowledge(&some.iter().collect::<Vec<&Envelope>>());
        alone.ask(Request::Deliver { envelopes: some.to_vec() });
        alone.ask(Request::Acknowledge { acknowledgements: vec![read] });
    }
    let (before, mut most) = (alone.node.stats(), 0);
    for offer in 0..OFFERS {
        let known = ended[offer as usize % ENDED].id();
        let new = (1..IDS_MAX as u64).map(|n| EnvelopeId::from_bytes(fill(offer << 8 | n)));
        alone.ask(Request::Offer { ids: new.chain([known]).collect() });
        most = most.max(alone.node.stats().in_memory);
    }
    let after = alone.node.stats();
    assert_eq!(alone.replies, OFFERS + 2 * ENDED as u64 / 50);
    assert_eq!((after.tombstones, after.accepted), (before.tombstones, before.accepted));
    assert!(most <= before.in_memory + 2, "{most} entries in memory");
}

/// D19: a hundred thousand envelopes are taken in and acknowledged; all that is left is on the disk.
#[test]
fn a_hundred_thousand_envelopes_that_have_ended_take_no_memory() {
    const ROUNDS: u64 = 1_600;
    let mut alone = Alone::new();
    let mailbox = Mailbox::new(1);
    let expires_at = START + Span::DAY;
    let mut most = 0;
    for round in 0..ROUNDS {
        let envelopes: Vec<_> =
            (0..64).map(|n| mailbox.envelope(round << 8 | n, expires_at)).collect();
        let read = mailbox.acknowledge(&envelopes.iter().collect::<Vec<&Envelope>>());
        for request in
            [Request::Deliver { envelopes }, Request::Acknowledge { acknowledgements: vec![read] }]
        {
            alone.ask(request);
            most = most.max(alone.node.stats().in_memory);
        }
    }
    let stats = alone.node.stats();
    assert_eq!((stats.acknowledged, alone.replies), (64 * ROUNDS, 2 * ROUNDS));
    assert_eq!((stats.envelopes, stats.tombstones), (0, 64 * ROUNDS));
    assert_eq!(alone.store.len(Family::Tombstones) as u64, 64 * ROUNDS);
    assert!(most <= 2, "{most} entries in memory");
}
