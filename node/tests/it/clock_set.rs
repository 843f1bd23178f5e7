//! The clock of a relay's machine is set a day ahead and a day back while it runs: each leaves a clear line, and
//! no envelope ends by it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, Header, SizeClass, Suite};
use comm_proto::time::Span;
use comm_proto::wire::client::SubmitRequest;
use tempfile::TempDir;
use tokio::time::sleep;
use tonic::transport::Channel;

use crate::draining::lacking;
use crate::node_process::{NodeProcess, data_dir, now, status};

const DAY: i64 = 86_400;
/// Until a line is in the log; a relay looks at its clock every few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine with a clock of its own.
struct Machine {
    around: TempDir,
    clock: PathBuf,
    ahead: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let around = data_dir();
        let [clock, ahead] = ["clock.so", "ahead"].map(|name| around.path().join(name));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clock_set.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&clock).arg(source);
        assert!(compiler.status().unwrap().success());
        fs::write(&ahead, [0; 8]).unwrap();
        Self { around, clock, ahead }
    }

    /// In place, since the relay has it mapped.
    fn set(&self, seconds_ahead: i64) {
        let mut file = OpenOptions::new().write(true).open(&self.ahead).unwrap();
        file.write_all(&seconds_ahead.to_ne_bytes()).unwrap();
    }

    fn relay(&self) -> NodeProcess {
        let dir = self.around.path();
        let data_dir = format!("--data-dir={}", dir.display());
        let environment = [("LD_PRELOAD", &*self.clock), ("CLOCK_AHEAD", &*self.ahead)];
        NodeProcess::spawn_with(dir, &["--listen=127.0.0.1:0".to_owned(), data_dir], &environment)
    }
}

async fn until_said(relay: &NodeProcess, line: &str, times: usize) {
    let since = Instant::now();
    while relay.log().matches(line).count() < times {
        assert!(since.elapsed() < PATIENCE, "in vain for \"{line}\": {}", relay.log());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Ten that live for half a day, and ten for ten days.
async fn submit(client: &mut ClientClient<Channel>) -> BTreeSet<Bytes> {
    let mut promised = BTreeSet::new();
    for n in 0..20_u8 {
        let hours = if n < 10 { 12 } else { 240 };
        let expires_at = now() + Span::from_secs(3_600 * hours);
        let mailbox = Address::from_bytes([7; 20]);
        let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
        let envelope = Envelope::new(header, vec![n; SizeClass::K1.body_len()].into()).unwrap();
        let request = SubmitRequest { envelope: Some((&envelope).into()) };
        promised.insert(client.submit(request).await.unwrap().into_inner().id);
    }
    promised
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_a_day_ahead_and_back_leaves_a_line_each_and_ends_no_envelope() {
    let machine = Machine::new();
    let relay = machine.relay();
    let promised = submit(&mut relay.client().await).await;
    machine.set(DAY);
    until_said(&relay, "this machine's clock was set ahead", 1).await;
    assert!(relay.log().contains("minutes=1440") || relay.log().contains("minutes=1439"));
    let back = "this machine's clock was set back: the node begins again";
    for (ahead, times) in [(0, 1), (-DAY, 2)] {
        machine.set(ahead);
        until_said(&relay, back, times).await;
        until_said(&relay, "starting", times + 1).await;
        // Once it answers, it has looked at its clock.
        status(&mut relay.client().await).await;
    }
    // What lives for ten days would live for more than the protocol allows by a clock that is behind.
    machine.set(0);
    until_said(&relay, "this machine's clock was set ahead", 2).await;
    assert_eq!(lacking(&mut [relay.client().await], &promised).await, BTreeSet::new());
    relay.signal("-TERM");
    assert_eq!(relay.ended().0, Some(0), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_restarted_while_its_clock_is_a_day_ahead_or_behind_keeps_what_it_promised()
{
    let machine = Machine::new();
    let relay = machine.relay();
    let promised = submit(&mut relay.client().await).await;
    let mut running = relay;
    for ahead in [DAY, 0, -DAY, 0] {
        running.signal("-TERM");
        assert_eq!(running.ended().0, Some(0), "{}", running.log());
        machine.set(ahead);
        running = machine.relay();
        let client = running.client().await;
        // By a clock that is behind, they live for longer than the protocol allows.
        if ahead >= 0 {
            let lost = lacking(&mut [client], &promised).await;
            assert!(lost.is_empty(), "{} of 20 with a clock {ahead} s ahead", lost.len());
        }
    }
}
