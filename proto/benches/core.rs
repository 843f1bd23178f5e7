//! What one step of the core costs: an input with all its outputs, a look into the table, a seal.
//!
//! Everything runs in memory; what the disk and the network add is measured by `deploy/bench`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark"
)]

use std::hint::black_box;
use std::num::NonZeroU64;

use bytes::Bytes;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::envelope::{Envelope, Header, SizeClass, Suite, TTL_DEFAULT};
use comm_proto::identity::Identity;
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientRequest, Request};
use comm_proto::node::{Config, Family, Input, Node, Output, RequestId, SessionId};
use comm_proto::payload::{ContentType, Payload};
use comm_proto::prekey::PrekeyRing;
use comm_proto::sealing::{self, SealTarget};
use comm_proto::store::MemoryStore;
use comm_proto::table::{Table, TableConfig};
use comm_proto::time::Time;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

const NOW: Time = Time::from_millis(1_760_000_000_000);

/// A node with its store, driven without a host.
struct Bench {
    node: Node,
    store: MemoryStore<Family>,
    next: u64,
}

impl Bench {
    fn new() -> Self {
        let store = MemoryStore::new();
        let key = KeyPair::from_seed(&[1; 32]);
        let node = Node::new(Config::default(), key, [2; 32], &store, NOW).unwrap();
        Self { node, store, next: 0 }
    }

    /// One input, all its outputs, and the disk's word for them.
    fn handle(&mut self, input: Input) -> usize {
        self.node.handle(input, &self.store, NOW).unwrap();
        let mut outputs = 0;
        while let Some(output) = self.node.poll_output() {
            outputs += 1;
            if let Output::Write(batch) = output {
                self.store.apply(&batch);
                outputs += self.durable(Input::Durable(batch.seq));
            }
        }
        outputs
    }

    fn durable(&mut self, input: Input) -> usize {
        let mut rest = Vec::new();
        while let Some(output) = self.node.poll_output() {
            rest.push(output);
        }
        self.node.handle(input, &self.store, NOW).unwrap();
        while let Some(output) = self.node.poll_output() {
            rest.push(output);
        }
        rest.len()
    }

    fn client(&mut self, request: ClientRequest) -> usize {
        self.next += 1;
        let id = RequestId(self.next);
        self.handle(Input::ClientRequest { id, session: SessionId(1), request })
    }

    fn peer(&mut self, request: Request) -> usize {
        self.next += 1;
        let from = KeyPair::from_seed(&[3; 32]).public();
        let source = ([192, 0, 2, 1], 1).into();
        self.handle(Input::Request { id: RequestId(self.next), from, source, known: None, request })
    }
}

fn envelope(mailbox: Address, n: u64) -> Envelope {
    let mut body = vec![0; SizeClass::K1.body_len()];
    body[..8].copy_from_slice(&n.to_be_bytes());
    let expires_at = NOW + TTL_DEFAULT;
    let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
    Envelope::new(header, Bytes::from(body)).unwrap()
}

fn inputs(c: &mut Criterion) {
    let mailbox = KeyPair::from_seed(&[9; 32]);
    let place = mailbox.address();
    let mut group = c.benchmark_group("handle and drain");
    let mut n = 0;
    let mut next = || {
        n += 1;
        envelope(place, n)
    };
    let mut bench = Bench::new();
    group.bench_function("submit of a client", |b| {
        b.iter_batched(
            &mut next,
            |envelope| bench.client(ClientRequest::Submit { envelope }),
            BatchSize::SmallInput,
        );
    });
    let mut bench = Bench::new();
    group.bench_function("delivery of 64 from a node", |b| {
        b.iter_batched(
            || (0..64).map(|_| next()).collect(),
            |envelopes| bench.peer(Request::Deliver { envelopes }),
            BatchSize::SmallInput,
        );
    });
    let mut bench = Bench::new();
    group.bench_function("acknowledgement of 64", |b| {
        b.iter_custom(|rounds| {
            let mut spent = std::time::Duration::ZERO;
            for _ in 0..rounds {
                let envelopes: Vec<_> = (0..64).map(|_| next()).collect();
                let ids = envelopes.iter().map(Envelope::id).collect();
                bench.peer(Request::Deliver { envelopes });
                let until = NOW + TTL_DEFAULT + KEPT_AFTER_EXPIRY;
                let acknowledgements = vec![Acknowledgement::sign(&mailbox, ids, until).unwrap()];
                let began = std::time::Instant::now();
                black_box(bench.client(ClientRequest::Acknowledge { acknowledgements }));
                spent += began.elapsed();
            }
            spent
        });
    });
    group.bench_function("offer of 64 that are lacking", |b| {
        let ids: Vec<_> = (0..64).map(|_| next().id()).collect();
        b.iter(|| bench.peer(Request::Offer { ids: ids.clone() }));
    });
    group.bench_function("query for the nearest nodes", |b| {
        b.iter(|| bench.peer(Request::FindNode { target: black_box(place) }));
    });
    group.bench_function("tick with nothing due", |b| b.iter(|| bench.handle(Input::Tick)));
    group.finish();
}

fn table(c: &mut Criterion) {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let mut random = || {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        KeyPair::from_seed(&seed)
    };
    let mut table = Table::new(random().address(), TableConfig::default());
    for port in 1..10_000 {
        let endpoint = ([127, 0, 0, 1], port).into();
        table.confirm(Contact::new(random().public(), [endpoint]), NOW);
    }
    let target = random().address();
    c.bench_function("the 20 nearest of a table of 10 000 nodes met", |b| {
        b.iter(|| table.closest(black_box(&target), 20));
    });
}

fn sealing(c: &mut Criterion) {
    let mut rng = ChaCha12Rng::seed_from_u64(2);
    let (ann, bob) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let mut ring = PrekeyRing::new();
    ring.rotate(&mut rng, NOW);
    let prekey = ring.current(NOW).unwrap();
    let target = SealTarget::Prekey { owner: bob.public(), prekey: &prekey };
    let payload = Payload {
        content_type: ContentType::TEXT,
        sequence: NonZeroU64::MIN,
        previous: None,
        sent_at: NOW,
        expires_at: NOW + TTL_DEFAULT,
        recipient: bob.address(),
        body: vec![b'x'; 500],
    };
    let mut seal = || sealing::seal(&mut rng, &ann, &target, &payload, SizeClass::K1).unwrap();
    let body = seal();
    c.bench_function("seal 1 KiB", |b| b.iter(&mut seal));
    c.bench_function("open 1 KiB", |b| {
        b.iter(|| sealing::open(&bob, &ring, Suite::ONE, black_box(&body)).unwrap());
    });
    let mailbox = KeyPair::from_seed(&[9; 32]);
    let ids: Vec<_> = (0..64).map(|n| envelope(mailbox.address(), n).id()).collect();
    let until = NOW + TTL_DEFAULT;
    let signed = Acknowledgement::sign(&mailbox, ids, until).unwrap().into_inner();
    c.bench_function("verify an acknowledgement of 64", |b| {
        b.iter(|| black_box(signed.clone()).verify(NOW).unwrap());
    });
}

criterion_group!(benches, inputs, table, sealing);
criterion_main!(benches);
