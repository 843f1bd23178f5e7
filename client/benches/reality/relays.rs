//! Twenty relay processes, started one after another, some killed and started again, and what they
//! have counted.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{self, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use comm::link::Endpoint;
use comm_proto::time::Span;
use comm_sim::plan::Plan;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::lines;

/// The simulator switches all relays on over this time.
pub const STARTING: Duration = Duration::from_secs(120);

/// Requests and pushes by kind.
pub type Requests = BTreeMap<String, i64>;

/// What relays have counted, all together.
#[derive(Debug, Default)]
pub struct Tally {
    pub requests: Requests,
    /// Offers, from when they were sent until they were answered: calls that wait for nobody's disk, and nearly all
    /// of which go over links that are there.
    pub calls: Times,
    /// Syncs of the disk.
    pub syncs: Times,
}

/// How long something takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    count: f64,
    seconds: f64,
}

impl Times {
    pub fn mean_millis(&self) -> f64 {
        1_000.0 * self.seconds / self.count.max(1.0)
    }

    fn add(&mut self, other: Self, sign: f64) {
        self.count += sign * other.count;
        self.seconds += sign * other.seconds;
    }
}

impl Tally {
    fn add(&mut self, other: &Self, sign: i64) {
        for (kind, count) in &other.requests {
            *self.requests.entry(kind.clone()).or_default() += sign * count;
        }
        self.calls.add(other.calls, sign as f64);
        self.syncs.add(other.syncs, sign as f64);
    }
}

/// Relays that are not running yet.
pub struct Town {
    began: Instant,
    relays: Vec<Relay>,
    _directory: TempDir,
}

struct Relay {
    home: PathBuf,
    /// Where it listens, behind its line.
    listen: SocketAddr,
    /// Where others reach it: the beginning of its line.
    outside: SocketAddr,
    metrics: SocketAddr,
    bootstrap: Vec<SocketAddr>,
}

/// What is to be done when.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Start(usize),
    /// Counting begins.
    Count,
    Kill(usize),
    End,
}

impl Town {
    pub fn new(count: usize) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let ports = free_ports(3 * count);
        let relay = |number: usize| Relay {
            home: directory.path().join(number.to_string()),
            listen: ports[3 * number],
            outside: ports[3 * number + 1],
            metrics: ports[3 * number + 2],
            bootstrap: some(&mut rng, number, 3)
                .into_iter()
                .map(|known| ports[3 * known + 1])
                .collect(),
        };
        let relays = (0..count).map(relay).collect();
        Self { began: Instant::now(), relays, _directory: directory }
    }

    /// Where the client API of a relay is.
    pub fn endpoint(&self, relay: usize) -> Endpoint {
        Endpoint::Socket(self.relays[relay].home.join("api.sock"))
    }

    /// When so much time has passed since the first relay was started.
    pub fn at(&self, passed: Duration) -> Instant {
        self.began + passed
    }

    /// Lays the lines, which end with what is returned.
    pub async fn lay_lines(&self, plan: &Plan) -> JoinSet<()> {
        let (least, greatest) = plan.network.latency;
        let mut lines = JoinSet::new();
        for relay in &self.relays {
            let outside = TcpListener::bind(relay.outside).await.unwrap();
            lines.spawn(lines::lay(outside, relay.listen, real(least)..real(greatest)));
        }
        lines
    }

    /// Plays the relays' part of a plan to its end; what they have counted since the first envelope.
    pub async fn play(&self, plan: &Plan) -> Tally {
        let mut running: Vec<Option<Running>> = self.relays.iter().map(|_| None).collect();
        let mut tally = Tally::default();
        let mut counts = false;
        for (when, step) in self.steps(plan) {
            sleep_until(self.at(when)).await;
            match step {
                Step::Start(relay) => running[relay] = Some(self.relays[relay].start()),
                Step::Count => {
                    counts = true;
                    for (relay, _) in
                        self.relays.iter().zip(&running).filter(|(_, on)| on.is_some())
                    {
                        tally.add(&relay.counted(), -1);
                    }
                }
                Step::Kill(relay) => {
                    if counts {
                        tally.add(&self.relays[relay].counted(), 1);
                    }
                    running[relay] = None;
                }
                Step::End => {
                    self.relays.iter().for_each(|relay| tally.add(&relay.counted(), 1));
                }
            }
        }
        tally
    }

    fn steps(&self, plan: &Plan) -> Vec<(Duration, Step)> {
        let count = self.relays.len();
        let mut steps: Vec<_> = (0..count)
            .map(|relay| (STARTING * relay as u32 / count as u32, Step::Start(relay)))
            .collect();
        let sessions = plan.churn.trace.as_ref().expect("town.toml names town.csv");
        for relay in 0..count {
            let sessions = sessions.of(relay);
            for pair in sessions.windows(2) {
                steps.push((STARTING + real(pair[0].1), Step::Kill(relay)));
                steps.push((STARTING + real(pair[1].0), Step::Start(relay)));
            }
        }
        steps.push((first_letter(plan), Step::Count));
        let last = plan.traffic.spacing.times(plan.traffic.envelopes as u64 - 1);
        let end = first_letter(plan) + real(last + plan.traffic.away + plan.run.look);
        steps.push((end, Step::End));
        steps.sort();
        steps
    }
}

/// When the first envelope is sent.
pub fn first_letter(plan: &Plan) -> Duration {
    STARTING + real(plan.run.settle)
}

/// A span of the plan in real time.
pub fn real(span: Span) -> Duration {
    Duration::from_millis(span.as_millis())
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Relay {
    fn start(&self) -> Running {
        let mut command = Command::new(program());
        command.arg("--data-dir").arg(&self.home);
        command.arg("--listen").arg(self.listen.to_string());
        command.arg("--advertise").arg(self.outside.to_string());
        command.arg("--metrics-listen").arg(self.metrics.to_string());
        for known in &self.bootstrap {
            command.arg("--bootstrap").arg(known.to_string());
        }
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(quiet.spawn().expect("comm-node is built for release: see make reality"))
    }

    /// What this relay has counted since it was started.
    fn counted(&self) -> Tally {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut tally = Tally::default();
        for line in text.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let (name, kind) = name.split_once("{kind=\"").unwrap_or((name, ""));
            tally.count(name, kind.trim_end_matches("\"}"), value);
        }
        tally
    }
}

impl Tally {
    /// Takes a line of what a relay exports.
    fn count(&mut self, name: &str, kind: &str, value: &str) {
        let number = || value.parse::<f64>().unwrap();
        match name {
            "comm_requests_total" => {
                if let Some(kind) = simulated_name(kind) {
                    self.requests.insert(kind.to_owned(), value.parse().unwrap());
                }
            }
            "comm_pushes_total" => {
                self.requests.insert(format!("push {kind}"), value.parse().unwrap());
            }
            "comm_call_seconds_sum" if kind == "offer" => self.calls.seconds += number(),
            "comm_call_seconds_count" if kind == "offer" => self.calls.count += number(),
            "comm_fsync_seconds_sum" => self.syncs.seconds += number(),
            "comm_fsync_seconds_count" => self.syncs.count += number(),
            _ => {}
        }
    }
}

/// What the simulator calls this kind of request; none for those of clients.
fn simulated_name(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ping" => "ping",
        "find-node" => "find node",
        "offer" => "offer",
        "digest" => "digest",
        "deliver" => "deliver",
        "peer-acknowledge" => "acknowledge",
        "receipts" => "receipts",
        "subscribe" => "subscribe",
        "fetch" => "fetch",
        _ => return None,
    })
}

/// At most `count` different ones of the first `below`.
fn some(rng: &mut ChaCha12Rng, below: usize, count: usize) -> Vec<usize> {
    let mut left: Vec<_> = (0..below).collect();
    let take = |left: &mut Vec<usize>, rng: &mut ChaCha12Rng| {
        let at = (rng.next_u64() % left.len() as u64) as usize;
        left.swap_remove(at)
    };
    (0..count.min(below)).map(|_| take(&mut left, rng)).collect()
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("release/comm-node")
}

/// Ports that nobody uses now, all different.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let held: Vec<_> =
        (0..count).map(|_| net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}
