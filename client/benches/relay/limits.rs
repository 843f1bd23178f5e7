//! What the machine can do at best, measured in the same run.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use comm_proto::key::KeyPair;

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

fn per_second(mut once: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < SPAN {
        once();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}
