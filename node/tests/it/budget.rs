//! How much disk a relay takes that is sent far more than it may keep, for days.
//!
//! `COMM_TEST_BUDGET_MIB=1024` has the tests here do the same with another budget; that takes minutes.
//!
//! The node and its store are real; its clock is the test's, and a day passes while a budget's worth of
//! mail comes in, from many networks and from its own clients: the largest envelopes, of which most counts that
//! is counted, or all sizes for lifetimes of all lengths. Between two mebibytes of it a relay with a gibibyte has more than a minute, in which its
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
use comm_proto::node::{Config, Event, Input, Node, Output, RequestId, SessionId};
use comm_proto::rejection::Rejection;
use comm_proto::store::Seq;
use comm_proto::time::{Span, Time};

const START: Time = Time::from_millis(1_760_000_000_000);
/// The clock goes no further between two looks at it.
const STEP: Span = Span::from_mins(5);
const MIB: u64 = 1 << 20;
/// Nobody is sent anything that lasts longer: much of it expires while more comes.
const TTL: Span = Span::from_days(2);
/// What the files of a relay may take, logs and all, in hundredths of its budget.
const MOST: u64 = 105;
/// Bytes written to the disk for each byte taken in, at the most.
const WRITTEN_MOST: f64 = 8.0;
/// Within this the space of what has expired is back.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    /// The largest, all for as long.
    Largest,
    /// Of every size, for anything between an hour and what others have at the most.
    Mixed,
}

/// A node on a disk, by a clock of its own.
struct Relay {
    flood: Flood,
    node: Node,
    store: Arc<RocksStore>,
    now: Time,
    written: Seq,
    number: u64,
    turn: u64,
    taken: u64,
    /// Envelopes refused since the disk had no room for them.
    busy: u64,
}

impl Relay {
    fn start(path: &Path, budget: u64, flood: Flood) -> Self {
        let store = Arc::new(RocksStore::open_within(path, budget).unwrap());
        let config = Config { store_bytes_max: budget, ..Config::default() };
        let node = Node::new(config, KeyPair::from_seed(&[1; 32]), [2; 32], &*store, START);
        Self {
            flood,
            node: node.unwrap(),
            store,
            now: START,
            written: Seq(0),
            number: 0,
            turn: 0,
            taken: 0,
            busy: 0,
        }
    }

    fn envelope(&mut self) -> Envelope {
        self.number += 1;
        let mailbox = KeyPair::from_seed(&[(self.number % 64) as u8; 32]).address();
        let (class, lifetime) = match self.flood {
            Flood::Largest => (SizeClass::K64, TTL),
            Flood::Mixed => {
                let classes = [SizeClass::K1, SizeClass::K4, SizeClass::K16, SizeClass::K64];
                let drawn = self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                (classes[drawn as usize % 4], Span::from_mins(60 + drawn / 4 % (47 * 60)))
            }
        };
        let expires_at = self.now + lifetime;
        let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
        let mut body = vec![7; class.body_len()];
        body[..8].copy_from_slice(&self.number.to_be_bytes());
        Envelope::new(header, body.into()).unwrap()
    }

    /// A mebibyte from one of many networks, and every eighth time as much of its own clients.
    fn take_in(&mut self) {
        let (mut envelopes, mut bytes) = (Vec::new(), 0);
        while bytes < MIB {
            let envelope = self.envelope();
            bytes += envelope.body().len() as u64;
            envelopes.push(envelope);
        }
        self.turn += 1;
        let id = RequestId(self.turn);
        if self.turn.is_multiple_of(8) {
            for envelope in envelopes {
                let (session, request) = (SessionId(1), ClientRequest::Submit { envelope });
                self.handle(Input::ClientRequest { id, session, request });
            }
        } else {
            let network = (self.turn % 40) as u8;
            let from = KeyPair::from_seed(&[100 + network; 32]).public();
            let source = ([10, network, 0, 1], 9).into();
            let request = Request::Deliver { envelopes };
            self.handle(Input::Request { id, from, source, known: None, request });
        }
    }

    /// In small steps: longer ones would be jumps of the clock, by which nothing expires.
    fn go_on(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.now = (self.now + STEP).min(end);
            self.handle(Input::Tick);
        }
        self.store.sync().unwrap();
        self.handle(Input::Durable(self.written));
    }

    /// What the thread does that a relay has for it.
    fn look_after(&mut self, before: DiskUse) -> DiskUse {
        self.handle(Input::DiskTaken { bytes: self.store.disk_use().total() });
        self.store.look_after(before).unwrap()
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(input, &*self.store, self.now).unwrap();
        while let Some(output) = self.node.poll_output() {
            if let Output::Event(Event::Accepted { bytes, .. }) = &output {
                self.taken += *bytes as u64;
            }
            let busy = Event::Refused { reason: Rejection::Busy };
            self.busy += u64::from(output == Output::Event(busy));
            if let Output::Write(batch) = output {
                self.written = batch.seq;
                self.store.apply(batch).unwrap();
            }
        }
    }
}

/// Looks at the disk all the time, as `du` does.
struct Watch {
    most: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(path: &Path) -> Self {
        let (most, ended) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (path, told, end) = (path.to_owned(), Arc::clone(&most), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                told.fetch_max(DiskUse::of(&path).total(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { most, ended, thread }
    }

    /// The most that all files took at any moment.
    fn end(self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.most.load(Ordering::Relaxed)
    }
}

/// Bytes that this process has written since it began; every test has a process of its own.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
    line.parse().unwrap()
}

/// The budget that the environment asks for, or else the small one of the suite.
fn budget() -> u64 {
    std::env::var("COMM_TEST_BUDGET_MIB").map_or(128, |mib| mib.parse().unwrap()) * MIB
}

/// As many times the budget in as many days, and then the end of all that came.
fn fill_for_days(days: u64, budget: u64, flood: Flood) {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path(), budget, flood);
    let (watch, written_before) = (Watch::start(dir.path()), written());
    let steps_a_day = budget / MIB;
    let (each, mut before) = (Span::from_millis(86_400_000 / steps_a_day), DiskUse::default());
    for _ in 0..days * steps_a_day {
        relay.take_in();
        relay.go_on(each);
        before = relay.look_after(before);
    }
    let (most, stats) = (watch.end(), relay.node.stats());
    let each_byte = (written() - written_before) as f64 / relay.taken as f64;
    let told = format!(
        "{flood:?} of {} MiB: {:.1} % at the most; {each_byte:.1} bytes written for each of {} MiB taken in; \
         {} of {} envelopes were refused as busy",
        budget / MIB,
        most as f64 * 100.0 / budget as f64,
        relay.taken / MIB,
        relay.busy,
        relay.number,
    );
    println!("{told}");
    assert!(stats.evicted > 0 && stats.expired > 0 && stats.held.own > 0, "{stats:?}");
    assert!(stats.disk_bytes <= budget && stats.disk_bytes > budget / 5 * 4, "{stats:?}");
    assert!(most <= budget / 100 * MOST, "{told}");
    assert!(each_byte <= WRITTEN_MOST, "{told}");
    // Room is made by what gives way, and not by refusing what comes.
    assert!(relay.busy * 10 <= relay.number, "{told}");
    space_comes_back(&mut relay);
}

/// All of it expires; from then on the thread looks that a relay has for that.
fn space_comes_back(relay: &mut Relay) {
    let full = relay.store.disk_use().total();
    while relay.node.stats().envelopes > 0 {
        relay.go_on(Span::from_mins(10));
    }
    let (expired, upkeep) =
        (Instant::now(), Upkeep::start(Arc::clone(&relay.store), |_| {}).unwrap());
    while relay.store.disk_use().total() * 10 > full {
        let usage = relay.store.disk_use();
        assert!(expired.elapsed() < BACK_WITHIN, "{usage:?} of {full} are still taken");
        thread::sleep(Duration::from_millis(100));
    }
    println!("nine tenths are back after {:?}", expired.elapsed());
    drop(upkeep);
}

#[test]
fn three_days_of_three_times_the_budget_take_no_more_than_the_budget_and_a_twentieth() {
    fill_for_days(3, budget(), Flood::Largest);
}

#[test]
fn two_days_of_mail_of_every_size_for_any_time_take_no_more_than_the_budget_and_a_twentieth() {
    fill_for_days(2, budget(), Flood::Mixed);
}
