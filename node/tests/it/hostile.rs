//! A running node among enemies: clients, nodes and strangers that do everything they may not.
//!
//! Each kind of attack is a [`Case`] with the reason it must be refused for. At the end the node's
//! own count of refusals is compared with what was done to it, and what honest people gave it must
//! still be there.

mod client_cases;
mod forge;
mod honest;
mod ledger;
mod link;
mod outsiders;
mod peer_cases;
mod strangers;
mod token;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::key::KeyPair;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::node_process::{NodeProcess, address, contact, data_dir, status};
use honest::Honest;
use ledger::Ledger;

/// Hostile calls at least.
const CALLS_MIN: u64 = 10_000;
/// Forged acknowledgements among them at least.
const FORGED_MIN: u64 = 10_000;
/// What the node's memory may grow by.
const GROWTH_MAX: u64 = 64 << 20;
/// Calls under way of one kind of attack.
const AT_ONCE: usize = 16;

/// One kind of attack.
struct Case<M> {
    /// What it does, for whoever reads that it failed.
    what: &'static str,
    /// The word under which it is to be refused and counted.
    reason: &'static str,
    /// How often each call is to be counted.
    counted: u64,
    calls: u64,
    /// The call of a number.
    make: Box<dyn Fn(u64) -> M + Send + Sync>,
}

/// The node under attack.
struct Target {
    node: NodeProcess,
    contact: Contact,
    address: Address,
    api: SocketAddr,
    metrics: SocketAddr,
    ledger: Ledger,
}

impl<M> Case<M> {
    fn new(
        what: &'static str,
        reason: &'static str,
        calls: u64,
        make: impl Fn(u64) -> M + Send + Sync + 'static,
    ) -> Self {
        Self { what, reason, counted: 1, calls, make: Box::new(make) }
    }

    fn counted(self, counted: u64) -> Self {
        Self { counted, ..self }
    }
}

impl Target {
    async fn start(dir: &Path) -> Self {
        let (api, metrics) = (free_place(), free_place());
        let node = NodeProcess::spawn(
            dir,
            &[
                format!("--api-tcp={api}"),
                format!("--metrics-listen={metrics}"),
                "--limits-sessions-max=64".to_owned(),
                "--limits-connect-timeout=2s".to_owned(),
                "-vv".to_owned(),
            ],
        );
        let status = status(&mut node.client().await).await;
        let (contact, address) = (contact(&status, dir), address(&status));
        Self { node, contact, address, api, metrics, ledger: Ledger::default() }
    }

    fn place(&self) -> SocketAddr {
        self.contact.endpoints()[0]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_hostile_calls_are_refused_counted_and_change_nothing() {
    let (dir, begun) = (data_dir(), Instant::now());
    let target = Arc::new(Target::start(dir.path()).await);
    let honest = Honest::settle(&target).await;
    let before = target.node.memory().0;

    client_cases::attack(&target, &honest).await;
    client_cases::flood_sessions(&target).await;
    token::attack(&target, dir.path()).await;
    peer_cases::attack(&target, &honest).await;
    peer_cases::flood(&target, &honest).await;
    strangers::attack(&target).await;

    assert!(target.node.is_alive(), "{}", target.node.log());
    target.ledger.compare(target.metrics).await;
    honest.is_as_it_was(&target).await;
    let (after, most) = target.node.memory();
    println!("{} in {:?}", target.ledger, begun.elapsed());
    println!("memory: {} KiB before, {} after, {} most", before >> 10, after >> 10, most >> 10);
    assert!(after.saturating_sub(before) < GROWTH_MAX, "{before} bytes became {after}");
    assert!(target.ledger.calls() >= CALLS_MIN && target.ledger.forged() >= FORGED_MIN);
    says_nothing_it_should_not(&target.node.log(), dir.path());
}

/// Neither that something panicked, nor what nobody but its user may know.
fn says_nothing_it_should_not(log: &str, dir: &Path) {
    assert!(log.contains("a handshake failed"), "it is not verbose: {log}");
    assert!(!log.contains("panicked"), "{log}");
    let secret = |name| std::fs::read_to_string(dir.join(name)).unwrap().trim().to_owned();
    let mark = String::from_utf8(forge::MARK.to_vec()).unwrap();
    for secret in [secret("node.key"), secret("api.token"), hex::encode(forge::MARK), mark] {
        assert!(!log.to_lowercase().contains(&secret.to_lowercase()), "{secret} was logged");
    }
}

/// Makes every call of every case, [`AT_ONCE`] of them at the same time.
async fn make_all<M, C, F>(
    cases: Vec<Case<M>>,
    target: &Arc<Target>,
    users: &[C],
    call: fn(C, M, &'static str) -> F,
) where
    M: Send + 'static,
    C: Clone + Send + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    for case in cases {
        let mut calls = JoinSet::new();
        for (n, user) in (0..case.calls).zip(users.iter().cycle()) {
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            let made = call(user.clone(), (case.make)(n), case.reason);
            calls.spawn(async move {
                let result = made.await;
                drop(place);
                result
            });
        }
        while let Some(result) = calls.join_next().await {
            if let Err(what) = result.unwrap() {
                panic!("{} ({}): {what}", case.what, case.reason);
            }
        }
        target.ledger.note(case.reason, case.calls, case.calls * case.counted);
    }
}

/// A port of this machine that nobody uses yet.
fn free_place() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}
