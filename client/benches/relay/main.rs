//! What a real relay process does in a second, beside what its machine could do at best.
//!
//! One `comm-node` with fsync on, on a unix socket; this program is its clients. Run it with
//! `make bench`, which builds both for release. Each figure stands beside a limit that was
//! measured in the same run, so that runs on different machines can be compared. With `--check` it ends
//! with 1 where a target was missed.
//!
//! W1 to W3 hand over envelopes that were sealed before, and open none: what they measure is the relay. In
//! W5 each message is sealed and opened on its way, and sender and reader have a connection each.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a benchmark stops at what it does not expect"
)]

mod bare;
mod limits;
mod load;
mod relay;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use comm_proto::identity::Identity;
use comm_proto::key::KeyPair;
use tokio::runtime;

use bare::Bare;
use load::Load;
use relay::Relay;
use report::{Report, Row};

const ONE_AT_A_TIME: usize = 4_000;
const UNARY: usize = 60_000;
const STORED: usize = 100_000;
const ONLINE: usize = 5_000;
const IN_FLIGHT: usize = 64;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if let [flag, socket] = &words[..]
        && flag == bare::FLAG
    {
        let threads = runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        threads.block_on(bare::serve(Path::new(socket)));
        return ExitCode::SUCCESS;
    }
    let is_asked = |word: &str| words.iter().any(|asked| asked == word);
    // `cargo test` runs benchmarks too, to see whether they start; this one has nothing to test.
    if !is_asked("--bench") {
        return ExitCode::SUCCESS;
    }
    // One thread: as the clients of one person are, and beside a relay that needs the other cores.
    let thread = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let missed = thread.block_on(measure()).print();
    if missed > 0 && is_asked("--check") { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure() -> Report {
    let mut report = Report::default();
    let mut relay = Relay::start();
    let rpc = relay.connect().await;
    machine(&mut report, &relay).await;

    let reader = KeyPair::from_seed(&[1; 32]);
    let (sealed, cost) = Load::seal(&reader, ONE_AT_A_TIME + UNARY);
    report.limit("seal 1 KiB (client's cost, one core)", 1.0 / cost.as_secs_f64(), "/s");
    let (first, second) = sealed.split_at(ONE_AT_A_TIME);
    let run = first.submit_unary(&rpc, 1).await;
    report.add(Row::rate("W1 submit, one at a time", &run, 2_000.0));
    let run = second.submit_unary(&rpc, IN_FLIGHT).await;
    report.add(Row::rate("W1 submit, 64 unary calls in flight", &run, 25_000.0).p99_ms(&run, 6.0));
    sealed.drain(&rpc, relay.address(), &reader).await;

    let reader = KeyPair::from_seed(&[2; 32]);
    let (sealed, _) = Load::seal(&reader, STORED);
    let run = sealed.submit_stream(&rpc, IN_FLIGHT).await;
    report.add(Row::rate("W1 submit, one stream, 64 outstanding", &run, 40_000.0));
    relay.settle(Duration::from_secs(10));
    let (disk, memory) = (relay.disk_bytes(), relay.memory_bytes());
    let each = disk as f64 / STORED as f64 / 1024.0;
    report.add(Row::at_most("W3 disk per stored 1 KiB envelope", each, "KiB", 1.5));
    let memory = memory as f64 / f64::from(1 << 20);
    report.add(Row::at_most("W3 memory (RSS) with 100,000 stored", memory, "MiB", 256.0));
    let run = sealed.drain(&rpc, relay.address(), &reader).await;
    report.add(Row::rate("W2 receive and acknowledge", &run, 40_000.0));
    let left = relay.disk_after(Duration::from_secs(60), disk / 10) as f64 / disk as f64 * 100.0;
    report.add(Row::at_most("W3 disk left a minute after all are read", left, "%", 10.0));

    let (reader, readers) = (Identity::from_seed(&[3; 32]), relay.connect().await);
    let run = load::talk(&rpc, &readers, relay.address(), &reader, ONLINE).await;
    report.add(Row::latency("W5 sealed, through one relay, opened", &run, 1.0, 4.0));
    relay.stop();
    report
}

/// The machine's own limits, in the same run and over the same socket.
async fn machine(report: &mut Report, relay: &Relay) {
    report.limit("fdatasync of 1 KiB appended", limits::fdatasync(relay.directory()), "/s");
    let bare = Bare::start(relay.directory());
    report.limit("bare tonic unary calls, one at a time", bare.calls(1).await, "/s");
    report.limit("bare tonic unary calls, 64 in flight", bare.calls(IN_FLIGHT).await, "/s");
    drop(bare);
    report.limit("Ed25519 verifications, one core", limits::verifications(), "/s");
}
