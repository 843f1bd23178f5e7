//! Measures what a node takes of memory while millions of envelopes come and end.
//!
//! `cargo run --release -p comm-node --example memory -- 10000000 [DIRECTORY]` hands a node with a real
//! store so many envelopes of 1 KiB, each acknowledged soon after, and prints, a hundred times, how
//! many there were, what the node counts in memory and on its disk, what the disk holds, and what the
//! process takes. No link and no client: only the state machine and its store.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement, run by hand"
)]

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use comm_node::store::RocksStore;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_DEFAULT};
use comm_proto::key::KeyPair;
use comm_proto::message::Request;
use comm_proto::node::{Config, Input, Node, Output, RequestId};
use comm_proto::time::{Span, Time};

const START: Time = Time::from_millis(1_760_000_000_000);
/// Envelopes of one message, and of one acknowledgement.
const AT_ONCE: u64 = 64;
/// Messages between two looks.
const LOOKS: u64 = 100;

struct Measured {
    node: Node,
    store: RocksStore,
    now: Time,
    number: u64,
    mailbox: KeyPair,
    stranger: KeyPair,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(1_000_000, |count| count.parse().unwrap());
    let given = arguments.next();
    let kept = tempfile::tempdir().unwrap();
    let directory = given.as_deref().map_or(kept.path(), Path::new);
    let mut measured = Measured::new(&directory.join("store"));
    let messages = u64::div_ceil(count, AT_ONCE);
    let began = Instant::now();
    println!("  envelopes  tombstones  in memory  counted MiB  on disk MiB  process MiB  seconds");
    for message in 1..=messages {
        measured.come_and_end();
        if message.is_multiple_of((messages / LOOKS).max(1)) {
            measured.look(began);
        }
    }
}

impl Measured {
    fn new(path: &Path) -> Self {
        let store = RocksStore::open(path).unwrap();
        // Room for all that remains: the question is what it takes of memory.
        let config = Config { store_bytes_max: 1 << 40, ..Config::default() };
        let node = Node::new(config, KeyPair::from_seed(&[1; 32]), [2; 32], &store, START);
        let [mailbox, stranger] = [3, 4].map(|n| KeyPair::from_seed(&[n; 32]));
        Self { node: node.unwrap(), store, now: START, number: 0, mailbox, stranger }
    }

    /// Hands over as many envelopes as a message takes, and then the word that they were read.
    fn come_and_end(&mut self) {
        let envelopes: Vec<_> = (0..AT_ONCE).map(|_| self.envelope()).collect();
        let ids: Vec<EnvelopeId> = envelopes.iter().map(Envelope::id).collect();
        let until = envelopes.iter().map(Envelope::expires_at).max().unwrap() + KEPT_AFTER_EXPIRY;
        let read = Acknowledgement::sign(&self.mailbox, ids, until).unwrap();
        self.ask(Request::Deliver { envelopes });
        self.ask(Request::Acknowledge { acknowledgements: vec![read] });
        self.now = self.now + Span::from_millis(AT_ONCE);
        self.input(Input::Tick);
        if self.number.is_multiple_of(AT_ONCE * 128) {
            self.store.sync().unwrap();
        }
    }

    fn envelope(&mut self) -> Envelope {
        self.number += 1;
        let (suite, mailbox) = (Suite::ONE, self.mailbox.address());
        let header = Header { suite, mailbox, expires_at: self.now + TTL_DEFAULT, stamp_nonce: 0 };
        let body = self.number.to_be_bytes().repeat(SizeClass::K1.body_len() / 8);
        Envelope::new(header, Bytes::from(body)).unwrap()
    }

    fn ask(&mut self, request: Request) {
        let id = RequestId(self.number);
        let source = ([127, 0, 0, 1], 9).into();
        self.input(Input::Request {
            id,
            from: self.stranger.public(),
            source,
            known: None,
            request,
        });
    }

    fn input(&mut self, input: Input) {
        self.node.handle(input, &self.store, self.now).unwrap();
        let mut written = None;
        while let Some(output) = self.node.poll_output() {
            if let Output::Write(batch) = output {
                written = Some(batch.seq);
                self.store.apply(batch).unwrap();
            }
        }
        if let Some(seq) = written {
            self.input(Input::Durable(seq));
        }
    }

    fn look(&self, began: Instant) {
        const MIB: u64 = 1 << 20;
        let stats = self.node.stats();
        println!(
            "{:>11} {:>11} {:>10} {:>12} {:>12} {:>12} {:>8}",
            stats.accepted,
            stats.tombstones,
            stats.in_memory,
            stats.disk_bytes / MIB,
            disk_bytes(self.store.path()) / MIB,
            resident_bytes() / MIB,
            began.elapsed().as_secs(),
        );
    }
}

fn disk_bytes(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap();
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

/// What the kernel says this process has in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
