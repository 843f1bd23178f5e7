//! The node killed in the midst of its work, again and again: what it has answered for holds.
//!
//! [`Expected`] keeps what clients and other nodes were told; after each start everything that waits
//! is received and compared with it. Moments of death are counted in answers, not in time.

mod expected;
mod load;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::envelope::EnvelopeId;
use tonic::transport::Channel;

use crate::node_process::{NodeProcess, data_dir, said, status};
use expected::Expected;
use load::{Load, Mailboxes, fill};

const KILLS: u64 = 100;
/// The moments of death and the choices of the load; printed when the test fails.
const SEED: u64 = 0x5eed_0001;
const ENVELOPES: u32 = 100_000;

/// Numbers that look random and are the same each time (splitmix64).
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_a_hundred_times_keeps_what_it_answered_for() {
    let dir = data_dir();
    let expected = Arc::new(Mutex::new(Expected::default()));
    let (mut dice, mailboxes) = (Dice(SEED), Mailboxes::new());
    let (mut starts, begun) = (Vec::new(), Instant::now());
    for round in 0..KILLS {
        if dice.below(4) == 0 {
            kill_at_start(dir.path(), dice.below(2) == 0).await;
        }
        let started = Instant::now();
        let node = Arc::new(NodeProcess::spawn(dir.path(), &[]));
        let mut client = node.client().await;
        let now = status(&mut client).await;
        starts.push(started.elapsed());
        let mut load = Load::open(&node, &expected, &mailboxes, client, &now, dir.path()).await;
        let received = load.everything_that_waits().await;
        let verdict = expected.lock().unwrap().compare(&received);
        assert_eq!(verdict, Ok(()), "in round {round} of seed {SEED:#x}");
        load.run_until_killed(round, dice.below(600), &mut dice).await;
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
    let totals = expected.lock().unwrap().totals();
    println!("{KILLS} kills in {:?}; {totals:?}; starts: {}", begun.elapsed(), told(&mut starts));
    // A test that did little would prove little.
    assert!(totals.stored > 5_000 && totals.delivered > 200 && totals.ended > 500, "{totals:?}");
    assert!(totals.stored_unanswered + totals.lost_unanswered > 0, "no kill came in between");
}

/// Dead before it serves, or as soon as it does.
async fn kill_at_start(dir: &Path, serving: bool) {
    let node = NodeProcess::spawn(dir, &[]);
    if serving {
        node.connect().await;
    }
    node.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_with_a_hundred_thousand_envelopes_serves_within_a_second() {
    let dir = data_dir();
    let node = NodeProcess::spawn(dir.path(), &[]);
    let (begun, mailboxes) = (Instant::now(), Mailboxes::new());
    fill(&node.client().await, &mailboxes, 0..ENVELOPES).await;
    println!("{ENVELOPES} envelopes were accepted in {:?}", begun.elapsed());
    node.kill();
    let mut starts = Vec::new();
    for restart in 1..=5 {
        let (node, mut client, took) = start(dir.path()).await;
        starts.push(took);
        let now = status(&mut client).await;
        let expected = u64::from(ENVELOPES) + 1_000 * (restart - 1);
        assert_eq!(now.envelopes, expected);
        // The log of the store is never empty when it dies.
        let more = expected as u32..expected as u32 + 1_000;
        fill(&client, &mailboxes, more).await;
        node.kill();
    }
    println!("starts: {}", told(&mut starts));
    // The median, as other work of the machine is not the node's.
    assert!(starts[starts.len() / 2] <= Duration::from_secs(1), "{starts:?}");
}

/// What a node on this data is used for until it has answered so often, and is killed.
async fn use_until_killed(dir: &Path, expected: &Arc<Mutex<Expected>>, answers: u64) {
    let node = Arc::new(NodeProcess::spawn(dir, &[]));
    let (mut client, mut dice) = (node.client().await, Dice(SEED));
    let now = status(&mut client).await;
    let mut load = Load::open(&node, expected, &Mailboxes::new(), client, &now, dir).await;
    load.everything_that_waits().await;
    load.run_until_killed(0, answers, &mut dice).await;
}

/// Leaves the data of a node in `dir` that clients and another node have used until it was killed.
pub(crate) async fn leave_data(dir: &Path) {
    use_until_killed(dir, &Arc::default(), 3_000).await;
}

/// What a reader finds at a node that begins on this data.
async fn served_from(dir: &Path) -> BTreeSet<EnvelopeId> {
    let node = Arc::new(NodeProcess::spawn(dir, &[]));
    let mut client = node.client().await;
    let now = status(&mut client).await;
    let expected = Arc::default();
    let mut load = Load::open(&node, &expected, &Mailboxes::new(), client, &now, dir).await;
    load.everything_that_waits().await
}

/// What clients were answered and another node has receipts for, from before the copy was begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_under_load_is_restored_to_a_node_that_serves_all_that_was_promised_before() {
    let (dir, copies) = (data_dir(), data_dir());
    let (copy, restored) = (copies.path().join("copy"), copies.path().join("restored"));
    let expected = Arc::<Mutex<Expected>>::default();
    let (data, shared) = (dir.path().to_owned(), Arc::clone(&expected));
    let used = tokio::spawn(async move { use_until_killed(&data, &shared, 20_000).await });
    loop {
        let totals = expected.lock().unwrap().totals();
        if totals.delivered > 100 && totals.stored > 1_000 && totals.ended > 50 {
            break;
        }
        assert!(!used.is_finished(), "{totals:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (promised, ended) = {
        let expected = expected.lock().unwrap();
        (expected.promised(), expected.ended())
    };
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (data, to) = (path(dir.path()), path(&copy));
    let backup = move || said(&["backup", "--data-dir", &data, &to]);
    let (code, _, complaint) = tokio::task::spawn_blocking(backup).await.unwrap();
    assert_eq!(code, Some(0), "{complaint}");
    let busy = !used.is_finished();
    used.await.unwrap();
    assert!(busy, "there was no load any more");
    let (code, text, complaint) = said(&["verify", &path(&copy)]);
    assert_eq!(code, Some(0), "{text}{complaint}");
    let (code, text, complaint) = said(&["restore", &path(&copy), &path(&restored)]);
    assert_eq!(code, Some(0), "{text}{complaint}");
    // What was acknowledged after that moment, as far as is known, may have been before the copy.
    let still = expected.lock().unwrap().promised();
    let promised: BTreeSet<_> = promised.intersection(&still).copied().collect();
    let served = served_from(&restored).await;
    assert!(promised.len() > 300, "only {}", promised.len());
    let lost = promised.difference(&served).count();
    assert_eq!(lost, 0, "of {}", promised.len());
    assert_eq!(ended.intersection(&served).count(), 0, "what was ended is back");
}

/// Starts it and takes the time until its first answer.
async fn start(dir: &Path) -> (NodeProcess, ClientClient<Channel>, Duration) {
    let begun = Instant::now();
    let node = NodeProcess::spawn(dir, &[]);
    let mut client = node.client().await;
    status(&mut client).await;
    (node, client, begun.elapsed())
}

fn told(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let (least, most) = (times[0], times[times.len() - 1]);
    format!("least {least:?}, median {:?}, most {most:?}", times[times.len() / 2])
}
