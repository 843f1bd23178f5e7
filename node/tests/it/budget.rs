//! How much disk a relay takes that is sent far more than it may keep, for days.
//!
//! The node and its store are real; its clock is the test's, and a day passes while a budget's worth of
//! mail comes in: the largest envelopes, of which most counts that is counted, from many networks and from
//! its own clients. Between two mebibytes of it a relay with a gibibyte has more than a minute, in which its
//! upkeep looks dozens of times and ends whatever it has begun; here it looks once, to the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use comm_node::store::RocksStore;
use comm_node::store::upkeep::{DiskUse, Upkeep};
use comm_proto::envelope::{Envelope, Header, SizeClass, Suite};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientRequest, Request};
use comm_proto::node::{Config, Input, Node, Output, RequestId, SessionId};
use comm_proto::store::Seq;
use comm_proto::time::{Span, Time};

const START: Time = Time::from_millis(1_760_000_000_000);
const DAYS: u64 = 3;
const MIB: u64 = 1 << 20;
/// Nobody is sent anything that lasts longer: much of it expires while more comes.
const TTL: Span = Span::from_days(2);
/// Logs are beside the budget.
const LOGS: u64 = 32 * MIB;
/// Within this the space of what has expired is back.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// A node on a disk, by a clock of its own.
struct Relay {
    node: Node,
    store: Arc<RocksStore>,
    now: Time,
    written: Seq,
    number: u64,
}

impl Relay {
    fn start(path: &Path, budget: u64) -> Self {
        let store = Arc::new(RocksStore::open(path).unwrap());
        let config = Config { store_bytes_max: budget, ..Config::default() };
        let node = Node::new(config, KeyPair::from_seed(&[1; 32]), [2; 32], &*store, START);
        Self { node: node.unwrap(), store, now: START, written: Seq(0), number: 0 }
    }

    fn envelope(&mut self) -> Envelope {
        self.number += 1;
        let mailbox = KeyPair::from_seed(&[(self.number % 64) as u8; 32]).address();
        let expires_at = self.now + TTL;
        let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
        let mut body = vec![7; SizeClass::K64.body_len()];
        body[..8].copy_from_slice(&self.number.to_be_bytes());
        Envelope::new(header, body.into()).unwrap()
    }

    /// A mebibyte from one of many networks, and every eighth time as much of its own clients.
    fn take_in(&mut self) {
        let envelopes: Vec<_> = (0..16).map(|_| self.envelope()).collect();
        let id = RequestId(self.number);
        if self.number.is_multiple_of(128) {
            for envelope in envelopes {
                let (session, request) = (SessionId(1), ClientRequest::Submit { envelope });
                self.handle(Input::ClientRequest { id, session, request });
            }
        } else {
            let network = (self.number / 16 % 40) as u8;
            let from = KeyPair::from_seed(&[100 + network; 32]).public();
            let source = ([10, network, 0, 1], 9).into();
            let request = Request::Deliver { envelopes };
            self.handle(Input::Request { id, from, source, known: None, request });
        }
    }

    fn go_on(&mut self, span: Span) {
        self.now = self.now + span;
        self.handle(Input::Tick);
        self.store.sync().unwrap();
        self.handle(Input::Durable(self.written));
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(input, &*self.store, self.now).unwrap();
        while let Some(output) = self.node.poll_output() {
            if let Output::Write(batch) = output {
                self.written = batch.seq;
                self.store.apply(batch).unwrap();
            }
        }
    }
}

/// Looks at the disk all the time, as `du` does.
struct Watch {
    most: Arc<Most>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Most {
    all: AtomicU64,
    tables: AtomicU64,
    ended: AtomicBool,
}

impl Watch {
    fn start(path: &Path) -> Self {
        let (most, path) = (Arc::<Most>::default(), path.to_owned());
        let shared = Arc::clone(&most);
        let thread = thread::spawn(move || {
            while !shared.ended.load(Ordering::Relaxed) {
                let now = DiskUse::of(&path);
                shared.all.fetch_max(now.total(), Ordering::Relaxed);
                shared.tables.fetch_max(now.tables, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { most, thread }
    }

    /// The most that all files took at any moment, and the most without logs.
    fn end(self) -> (u64, u64) {
        self.most.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        (self.most.all.load(Ordering::Relaxed), self.most.tables.load(Ordering::Relaxed))
    }
}

/// Three times the budget in as many days, and then the end of all that came.
fn fill_for_days(budget: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), budget);
    let watch = Watch::start(dir.path());
    let steps_a_day = budget / MIB;
    let (each, mut before) = (Span::from_millis(86_400_000 / steps_a_day), DiskUse::default());
    for _ in 0..DAYS * steps_a_day {
        relay.take_in();
        relay.go_on(each);
        before = relay.store.look_after(before).unwrap();
    }
    let stats = relay.node.stats();
    assert!(stats.evicted > 0 && stats.expired > 0 && stats.held.own > 0, "{stats:?}");
    assert!(stats.disk_bytes <= budget && stats.disk_bytes > budget / 5 * 4, "{stats:?}");
    let (most, tables) = watch.end();
    let percent = |bytes: u64| bytes * 100 / budget;
    println!(
        "of {} MiB: {} % at the most, {} % without logs",
        budget / MIB,
        percent(most),
        percent(tables)
    );
    // What is compacted is there twice until that has ended, and it may be all.
    assert!(tables <= 2 * budget, "{tables} of {budget}");
    assert!(most <= 2 * budget + LOGS, "{most} of {budget}");
    space_comes_back(&mut relay);
}

/// All of it expires; from then on the thread looks that a relay has for that.
fn space_comes_back(relay: &mut Relay) {
    let full = relay.store.disk_use().total();
    while relay.node.stats().envelopes > 0 {
        relay.go_on(Span::from_mins(10));
    }
    let (expired, upkeep) = (Instant::now(), Upkeep::start(Arc::clone(&relay.store)).unwrap());
    while relay.store.disk_use().total() * 10 > full {
        let usage = relay.store.disk_use();
        assert!(expired.elapsed() < BACK_WITHIN, "{usage:?} of {full} are still taken");
        thread::sleep(Duration::from_millis(100));
    }
    println!("nine tenths are back after {:?}", expired.elapsed());
    drop(upkeep);
}

#[test]
fn three_days_of_three_times_the_budget_take_no_more_than_twice_the_budget_and_the_logs() {
    fill_for_days(128 * MIB);
}
