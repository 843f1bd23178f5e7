//! What the machine can do at best, measured in the same run.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use comm::link::{Endpoint, Rpc};
use comm_proto::key::KeyPair;
use comm_proto::wire::client::WatchRequest;
use tokio::task::JoinSet;

use crate::relay::Relay;

const SPAN: Duration = Duration::from_secs(2);

/// Appends of 1 KiB, each on disk before the next, per second.
pub fn fdatasync(directory: &Path) -> f64 {
    let mut file = File::create(directory.join("limit")).unwrap();
    per_second(|| {
        file.write_all(&[7; 1_024]).unwrap();
        file.sync_data().unwrap();
    })
}

/// Signatures of 32 bytes checked on one core, per second.
pub fn verifications() -> f64 {
    let pair = KeyPair::from_seed(&[5; 32]);
    let signature = pair.sign(&[7; 32]);
    let key = pair.public();
    per_second(|| assert!(key.verify(&[7; 32], &signature)))
}

/// Unary calls that the service refuses before they reach its node: what HTTP/2 and tonic cost.
pub async fn unary(relay: &Relay, in_flight: usize) -> f64 {
    let rpc = Endpoint::Socket(relay.socket()).connect().await.unwrap();
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        callers.spawn(call(rpc.clone(), began));
    }
    let calls: usize = callers.join_all().await.into_iter().sum();
    calls as f64 / began.elapsed().as_secs_f64()
}

async fn call(mut rpc: Rpc, began: Instant) -> usize {
    let mut calls = 0;
    while began.elapsed() < SPAN {
        // An id of one byte is malformed, and the body is as large as an envelope's.
        let ids = vec![vec![7; 1_024].into()];
        rpc.watch(WatchRequest { ids }).await.unwrap_err();
        calls += 1;
    }
    calls
}

fn per_second(mut once: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < SPAN {
        once();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}
