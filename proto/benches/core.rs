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
use std::time::Duration;

use bytes::Bytes;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::card::{Card, InboxPolicy};
use comm_proto::contact::Contact;
use comm_proto::digest::Digest;
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_DEFAULT, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::identity::Identity;
use comm_proto::key::{KeyPair, PublicKey};
use comm_proto::message::{ClientRequest, Push, Request, Response, Waiting};
use comm_proto::node::{
    CallId, Command, Config, Family, Input, Node, Output, RequestId, SessionId,
};
use comm_proto::payload::{ContentType, Payload};
use comm_proto::prekey::{Prekey, PrekeyRing};
use comm_proto::receipt::Receipt;
use comm_proto::sealing::{self, SealTarget};
use comm_proto::store::MemoryStore;
use comm_proto::table::{Table, TableConfig};
use comm_proto::time::{Span, Time};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

const NOW: Time = Time::from_millis(1_760_000_000_000);

/// A node with its store, driven without a host.
struct Bench {
    node: Node,
    store: MemoryStore<Family>,
    next: u64,
    now: Time,
    /// Calls to other nodes that nobody has answered yet.
    calls: Vec<(CallId, Request)>,
}

impl Bench {
    fn new() -> Self {
        let store = MemoryStore::new();
        let key = KeyPair::from_seed(&[1; 32]);
        let node = Node::new(Config::default(), key, [2; 32], &store, NOW).unwrap();
        Self { node, store, next: 0, now: NOW, calls: Vec::new() }
    }

    /// In the table of a network of two.
    fn with_neighbour() -> Self {
        let mut bench = Self::new();
        let contact = Contact::new(neighbour().public(), [([192, 0, 2, 1], 1).into()]);
        bench.handle(Input::Command(Command::Bootstrap(vec![contact])));
        bench.answer_all();
        assert_eq!(bench.node.stats().peers, 1);
        bench
    }

    /// The neighbour answers whatever it was asked, until it is asked nothing more.
    fn answer_all(&mut self) {
        while let Some((id, request)) = self.calls.pop() {
            let response = match request {
                Request::Ping { .. } => Response::Pong { time: self.now, observed: None },
                Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
                Request::Subscribe { .. } => {
                    Response::Subscribed { waiting: Vec::new(), cursor: 0, more: false }
                }
                Request::Offer { .. } => {
                    let (wanted, receipts, acknowledgements) = (Vec::new(), Vec::new(), Vec::new());
                    Response::Offered { wanted, receipts, acknowledgements }
                }
                Request::Deliver { .. } => {
                    let (refused, receipts, acknowledgements) =
                        (Vec::new(), Vec::new(), Vec::new());
                    Response::Delivered { receipts, refused, acknowledgements }
                }
                _ => Response::Done,
            };
            self.handle(Input::Response { id, result: Ok(response) });
        }
    }

    /// The ids of the last offer that was made, and its call; if there is none yet, of the next round.
    fn take_offer(&mut self) -> (CallId, Vec<EnvelopeId>) {
        let is_offer = |call: &(CallId, Request)| matches!(call.1, Request::Offer { .. });
        if !self.calls.iter().any(is_offer) {
            self.now = self.now + Span::from_secs(10);
            self.handle(Input::Tick);
        }
        let at = self.calls.iter().rposition(is_offer).unwrap();
        match self.calls.remove(at) {
            (id, Request::Offer { ids }) => (id, ids),
            other => panic!("{other:?}"),
        }
    }

    /// One input, all its outputs, and the disk's word for them.
    fn handle(&mut self, input: Input) -> usize {
        self.node.handle(input, &self.store, self.now).unwrap();
        let mut outputs = 0;
        while let Some(output) = self.node.poll_output() {
            outputs += 1;
            match output {
                Output::Write(batch) => {
                    self.store.apply(&batch);
                    outputs += self.durable(Input::Durable(batch.seq));
                }
                Output::Call { id, request, .. } => self.calls.push((id, request)),
                _ => {}
            }
        }
        outputs
    }

    fn durable(&mut self, input: Input) -> usize {
        let mut rest = Vec::new();
        while let Some(output) = self.node.poll_output() {
            rest.push(output);
        }
        self.node.handle(input, &self.store, self.now).unwrap();
        while let Some(output) = self.node.poll_output() {
            rest.push(output);
        }
        let count = rest.len();
        self.calls.extend(rest.into_iter().filter_map(|output| match output {
            Output::Call { id, request, .. } => Some((id, request)),
            _ => None,
        }));
        count
    }

    fn client(&mut self, request: ClientRequest) -> usize {
        self.next += 1;
        let id = RequestId(self.next);
        self.handle(Input::ClientRequest { id, session: SessionId(1), request })
    }

    fn peer(&mut self, request: Request) -> usize {
        self.ask(neighbour().public(), [192, 0, 2, 1], request)
    }

    /// Asked by somebody who is in no table, so that the neighbour lacks what they bring.
    fn passer_by(&mut self, request: Request) -> usize {
        self.ask(KeyPair::from_seed(&[4; 32]).public(), [198, 51, 100, 1], request)
    }

    fn ask(&mut self, from: PublicKey, ip: [u8; 4], request: Request) -> usize {
        self.next += 1;
        let source = (ip, 1).into();
        self.handle(Input::Request { id: RequestId(self.next), from, source, known: None, request })
    }
}

/// Who asks, and who is asked.
fn neighbour() -> KeyPair {
    KeyPair::from_seed(&[3; 32])
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
            let mut spent = Duration::ZERO;
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

/// 64 envelopes that no others equal, from a count that goes on.
fn some(place: Address, count: &mut u64) -> Vec<Envelope> {
    *count += 64;
    (*count - 64..*count).map(|n| envelope(place, n)).collect()
}

fn ids(envelopes: &[Envelope]) -> Vec<EnvelopeId> {
    envelopes.iter().map(Envelope::id).collect()
}

/// What a node is asked that holds 64 envelopes for a mailbox.
fn reading(c: &mut Criterion) {
    let mailbox = KeyPair::from_seed(&[9; 32]);
    let mut bench = Bench::new();
    let held = some(mailbox.address(), &mut 0);
    let ids = ids(&held);
    bench.peer(Request::Deliver { envelopes: held });
    let grant = |collector: &KeyPair| {
        vec![Grant::sign(&mailbox, collector.address(), NOW + Span::from_days(1))]
    };
    let (for_neighbour, for_node) = (grant(&neighbour()), grant(&KeyPair::from_seed(&[1; 32])));
    let mut group = c.benchmark_group("handle and drain");
    group.bench_function("offer of 64 that are held", |b| {
        b.iter(|| bench.peer(Request::Offer { ids: ids.clone() }));
    });
    group.bench_function("digest of 64", |b| {
        let digest = Digest::new(&ids, &mut ChaCha12Rng::seed_from_u64(4));
        let (from, to) = (mailbox.address(), mailbox.address());
        b.iter(|| bench.peer(Request::Digest { digest: digest.clone(), from, to }));
    });
    group.bench_function("subscription of a node to a mailbox of 64", |b| {
        let grants = || for_neighbour.clone();
        b.iter(|| bench.peer(Request::Subscribe { grants: grants(), after: 0 }));
    });
    group.bench_function("fetch of 64 by a subscribed node", |b| {
        b.iter(|| bench.peer(Request::Fetch { ids: ids.clone() }));
    });
    group.bench_function("subscription of a client to a mailbox of 64, and credit", |b| {
        b.iter(|| {
            let grants = for_node.clone();
            bench.client(ClientRequest::Subscribe { grants, after: 0 });
            bench.client(ClientRequest::Credit { envelopes: 64 })
        });
    });
    group.bench_function("watch of 64", |b| {
        b.iter(|| bench.client(ClientRequest::Watch { ids: ids.clone() }));
    });
    group.bench_function("status for a client", |b| {
        b.iter(|| bench.client(ClientRequest::Status));
    });
    group.finish();
}

/// What follows when a node repeats, and hears of others.
fn relaying(c: &mut Criterion) {
    let mailbox = KeyPair::from_seed(&[9; 32]);
    let place = mailbox.address();
    let mut group = c.benchmark_group("handle and drain");
    // Each round is of other envelopes, which end before the next; the clock goes on.
    let rounds = |bench: &mut Bench, count: u64, timed: fn(&mut Bench) -> Duration| {
        let (mut n, mut spent) = (bench.next << 32, Duration::ZERO);
        for _ in 0..count {
            let envelopes = some(place, &mut n);
            let ids = ids(&envelopes);
            bench.passer_by(Request::Deliver { envelopes });
            spent += timed(bench);
            bench.answer_all();
            let until = NOW + TTL_DEFAULT + KEPT_AFTER_EXPIRY;
            let acknowledgements = vec![Acknowledgement::sign(&mailbox, ids, until).unwrap()];
            bench.client(ClientRequest::Acknowledge { acknowledgements });
            bench.answer_all();
        }
        spent
    };
    let mut bench = Bench::with_neighbour();
    group.bench_function("tick with 64 due", |b| {
        b.iter_custom(|count| {
            rounds(&mut bench, count, |bench| {
                bench.answer_all();
                bench.now = bench.now + Span::from_secs(10);
                time(bench, Input::Tick)
            })
        });
    });
    let mut bench = Bench::with_neighbour();
    group.bench_function("answer to an offer: all wanted", |b| {
        b.iter_custom(|count| {
            rounds(&mut bench, count, |bench| {
                let (id, wanted) = bench.take_offer();
                let (receipts, acknowledgements) = (Vec::new(), Vec::new());
                let offered = Response::Offered { wanted, receipts, acknowledgements };
                time(bench, Input::Response { id, result: Ok(offered) })
            })
        });
    });
    let mut bench = Bench::with_neighbour();
    let held = some(place, &mut 0);
    let receipt = Receipt::sign(&neighbour(), ids(&held), NOW).unwrap();
    bench.peer(Request::Deliver { envelopes: held });
    group.bench_function("receipt for 64", |b| {
        b.iter(|| bench.peer(Request::Receipts { receipts: vec![receipt.clone()] }));
    });
    let mut n = 1 << 40;
    group.bench_function("push of 64 that wait elsewhere", |b| {
        let waiting = |envelope: &Envelope| Waiting { mailbox: place, id: envelope.id() };
        b.iter_batched(
            || some(place, &mut n).iter().map(waiting).collect(),
            |waiting| {
                let (from, push) = (neighbour().address(), Push::Waiting(waiting));
                bench.handle(Input::Push { from, push })
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn time(bench: &mut Bench, input: Input) -> Duration {
    let began = std::time::Instant::now();
    black_box(bench.handle(input));
    began.elapsed()
}

/// Cards, each newer than the one before.
fn cards(c: &mut Criterion) {
    let owner = KeyPair::from_seed(&[8; 32]);
    let policy = InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K64, stamp_min: 0 };
    let mut issued_at = NOW - Span::from_days(1);
    let mut newer = || {
        issued_at = issued_at + Span::from_millis(1);
        let prekey = Prekey::new(Suite::ONE, &[1; 32], issued_at + Span::from_days(14)).unwrap();
        let until = issued_at + Span::from_days(14);
        Box::new(Card::sign(&owner, vec![prekey], policy, issued_at, until).unwrap())
    };
    let mut bench = Bench::new();
    let mut group = c.benchmark_group("handle and drain");
    group.bench_function("card of a node's region", |b| {
        b.iter_batched(
            &mut newer,
            |card| bench.peer(Request::PutCard { card }),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("card of a client", |b| {
        b.iter_batched(
            &mut newer,
            |card| bench.client(ClientRequest::PublishCard { card }),
            BatchSize::SmallInput,
        );
    });
    let owner = owner.address();
    group.bench_function("query for a card that is here", |b| {
        b.iter(|| bench.peer(Request::GetCard { owner: black_box(owner) }));
    });
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

criterion_group!(benches, inputs, reading, relaying, cards, table, sealing);
criterion_main!(benches);
