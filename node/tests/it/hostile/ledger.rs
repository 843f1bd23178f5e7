//! What was done to the node, to be compared with what the node has counted.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// How long the last refusals may take to be counted: handshakes that never end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Counts by reason.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: u64,
    refused: BTreeMap<String, u64>,
}

impl Ledger {
    /// So many calls were made, to be refused so often.
    pub(super) fn note(&self, reason: &str, calls: u64, refused: u64) {
        let mut counts = self.0.lock().unwrap();
        counts.calls += calls;
        *counts.refused.entry(reason.to_owned()).or_default() += refused;
    }

    pub(super) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// Acknowledgements of other people's envelopes, and those that nobody signed.
    pub(super) fn forged(&self) -> u64 {
        let counts = self.0.lock().unwrap();
        ["not-the-mailbox", "signature"]
            .iter()
            .filter_map(|reason| counts.refused.get(*reason))
            .sum()
    }

    /// The node has counted everything, each under its reason, and nothing else.
    pub(super) async fn compare(&self, metrics: SocketAddr) {
        let expected = self.0.lock().unwrap().refused.clone();
        let since = Instant::now();
        loop {
            let counted = tokio::task::block_in_place(|| counted(metrics));
            if counted == expected {
                return;
            }
            if since.elapsed() > PATIENCE {
                assert_eq!(counted, expected, "counted by the node, done to it");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What the node says of itself: reasons for which it has refused something. The others are at 0.
pub(super) fn counted(metrics: SocketAddr) -> BTreeMap<String, u64> {
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let lines = page.lines().filter_map(|line| {
        let rest = line.strip_prefix("comm_refused_total{reason=\"")?;
        let (reason, count) = rest.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().ok()?))
    });
    lines.filter(|(_, count)| *count > 0).collect()
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().unwrap();
        write!(f, "{} hostile calls, refused {:?}", counts.calls, counts.refused)
    }
}
