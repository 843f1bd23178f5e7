//! How long a page of history takes when a million messages are stored, and a search through a hundred thousand.
//!
//! A whole client on a real disk, with every record sealed. Its node is nowhere, so that nothing but
//! the store is measured. Run it with `make bench`, or alone, which needs no RocksDB:
//!
//! ```text
//! cargo bench -p comm --no-default-features --bench history
//! ```
//!
//! With `--check` it ends with 1 where a target was missed.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops at what it does not expect"
)]

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use comm::store::SealedStore;
use comm::{Client, Config, Endpoint, Node};
use comm_proto::address::Address;
use comm_proto::agent::{Agent, Command, CommandId, Drawer, Input, MessageNumber, Output, Words};
use comm_proto::envelope::TTL_DEFAULT;
use comm_proto::identity::Identity;
use comm_proto::payload::ContentType;
use comm_proto::store::{Batch, MemoryStore, Seq, Write};
use comm_proto::time::Time;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use tempfile::TempDir;

const STORED: u64 = 1_000_000;
const PAGE: usize = 20;
const PAGES: usize = 2_000;
const TARGET: Duration = Duration::from_millis(50);
/// Messages with another friend that are searched for a word that none of them has: all are opened.
const SEARCHED: u64 = 100_000;
const SEARCHES: usize = 5;
const SEARCH_TARGET: Duration = Duration::from_secs(1);
/// Records of a batch, and batches that wait for the disk together.
const BATCH: u64 = 1_000;
const GROUP: u64 = 50;
const NOW: Time = Time::from_millis(1_760_000_000_000);

#[tokio::main]
async fn main() -> ExitCode {
    let is_asked = |word: &str| std::env::args().any(|argument| argument == word);
    // `cargo test` runs benchmarks too, to see whether they start; this one has nothing to test.
    if !is_asked("--bench") {
        return ExitCode::SUCCESS;
    }
    // The directory of the build, since /tmp may be no disk.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = dir.path().join("data");
    let (identity, friend) = (|| Identity::from_seed(&[1; 32]), Address::from_bytes([2; 20]));
    let began = Instant::now();
    fill(&data, &identity(), friend, STORED).await;
    let bytes = std::fs::metadata(data.join("person.redb")).unwrap().len();
    let filled = began.elapsed().as_secs_f64();
    eprintln!("{STORED} sealed records, {} MiB, in {filled:.1} s", bytes >> 20);

    let node = Node::Remote(Endpoint::Socket(dir.path().join("nobody.sock")));
    let client = Client::start(identity(), Config { data_dir: data, node }).await.unwrap();
    let first = page(&client, friend, None).await;
    let mut rng = ChaCha12Rng::seed_from_u64(7);
    let mut times = Vec::new();
    for _ in 0..PAGES {
        let before = PAGE as u64 + 1 + rng.next_u64() % (STORED - PAGE as u64);
        times.push(page(&client, friend, Some(MessageNumber(before))).await);
    }
    client.close().await.unwrap();
    let search = search(dir.path(), &identity(), friend).await;
    times.sort_unstable();
    let (p50, p99, worst) = (times[PAGES / 2], times[PAGES * 99 / 100], times[PAGES - 1]);
    println!("\n| a page of {PAGE} out of {STORED} messages, and a search | measured | target | |");
    println!("|---|---|---|---|");
    let mut missed = 0;
    for (what, time, target) in [
        ("the last one, just after the start", first, TARGET),
        ("anywhere, p50", p50, TARGET),
        ("anywhere, p99", p99, TARGET),
        ("anywhere, the slowest of 2,000", worst, TARGET),
        ("a search through 100,000, the slowest of 5", search, SEARCH_TARGET),
    ] {
        let mark = if time <= target { "reached" } else { "MISSED" };
        println!("| {what} | {:.2} ms | ≤ {} ms | {mark} |", millis(time), target.as_millis());
        missed += usize::from(time > target);
    }
    if missed > 0 {
        println!("\nMISSED: {missed} of 5 targets.");
    }
    if missed > 0 && is_asked("--check") { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn page(client: &Client, friend: Address, before: Option<MessageNumber>) -> Duration {
    let began = Instant::now();
    let page = client.history(friend, before, PAGE).await.unwrap();
    let took = began.elapsed();
    assert_eq!(page.len(), PAGE);
    took
}

/// The slowest of some searches for a word that nothing has, in a store of its own.
async fn search(dir: &Path, identity: &Identity, friend: Address) -> Duration {
    let data = dir.join("searched");
    fill(&data, identity, friend, SEARCHED).await;
    let node = Node::Remote(Endpoint::Socket(dir.join("nobody.sock")));
    let own = Identity::from_seed(&[1; 32]);
    let client = Client::start(own, Config { data_dir: data, node }).await.unwrap();
    let words = Words::new("nowhere to be found").unwrap();
    let mut slowest = Duration::ZERO;
    for _ in 0..SEARCHES {
        let began = Instant::now();
        assert!(client.search(friend, &words, 50).await.unwrap().is_empty());
        slowest = slowest.max(began.elapsed());
    }
    client.close().await.unwrap();
    slowest
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// One message as the agent stores it, under so many numbers.
async fn fill(dir: &Path, identity: &Identity, friend: Address, stored: u64) {
    let mut writes = one_message(identity, friend);
    let is_entry =
        |write: &Write<Drawer>| matches!(write, Write::Put { table: Drawer::History, .. });
    let at = writes.iter().position(is_entry).unwrap();
    let Write::Put { key, value, .. } = writes.remove(at) else { panic!("it is one") };
    let contact = &key[..4];
    let mut store = SealedStore::open(dir, &identity.storage_key()).unwrap();
    let mut seq = 1;
    store.apply(Batch { seq: Seq(seq), writes }).await.unwrap();
    for first in (0..stored).step_by(BATCH as usize) {
        let entry = |number: u64| Write::Put {
            table: Drawer::History,
            key: [contact, &number.to_be_bytes()].concat(),
            value: value.clone(),
        };
        let writes = (first + 1..=first + BATCH).map(entry).collect();
        seq += 1;
        store.apply(Batch { seq: Seq(seq), writes }).await.unwrap();
        if seq % GROUP == 0 {
            settle(&mut store, Seq(seq)).await;
        }
    }
    store.close().await.unwrap();
}

/// Waits until the disk has everything up to `wanted`.
async fn settle(store: &mut SealedStore, wanted: Seq) {
    let mut durability = store.durability();
    loop {
        let durable = durability.next().await.unwrap();
        store.settle(durable);
        if durable >= wanted {
            return;
        }
    }
}

/// What an agent writes when it says something that is not on its way any more.
fn one_message(identity: &Identity, friend: Address) -> Vec<Write<Drawer>> {
    let store = MemoryStore::new();
    let own = Identity::from_seed(&[1; 32]);
    assert_eq!(own.address(), identity.address());
    let mut agent = Agent::new(own, [3; 32], &store, NOW).unwrap();
    let body = "a message of usual length ".repeat(8).into_bytes();
    let (content_type, ttl) = (ContentType::TEXT, TTL_DEFAULT);
    let command = Command::Send { to: friend, content_type, body, ttl };
    agent.handle(Input::Command { id: CommandId(1), command }, &store, NOW).unwrap();
    let mut writes = Vec::new();
    while let Some(output) = agent.poll_output() {
        if let Output::Write(batch) = output {
            writes.extend(batch.writes);
        }
    }
    let stays = |write: &Write<Drawer>| {
        matches!(write, Write::Put { table: Drawer::Contacts | Drawer::History, .. })
    };
    writes.retain(stays);
    writes
}
