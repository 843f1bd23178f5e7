//! Twenty relays as real processes, people who come and go, relays that are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use comm::{Client, Config, Endpoint, Message, Node};
use comm_proto::agent::Author;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::person::{Home, PATIENCE};
use crate::running_node::program;

const RELAYS: usize = 20;
const PEOPLE: usize = 8;
const MESSAGES: usize = 200;
const KILLS: usize = 5;

/// One relay, on the same ports and the same disk each time it is started.
struct Relay {
    home: PathBuf,
    listen: SocketAddr,
    metrics: SocketAddr,
    bootstrap: Option<SocketAddr>,
    child: Option<Child>,
}

/// One person, who may be away.
struct Resident {
    home: Home,
    relay: PathBuf,
    client: Option<Client>,
    /// What was written to them.
    expected: BTreeSet<String>,
}

/// Everything that runs.
struct Town {
    relays: Vec<Relay>,
    people: Vec<Resident>,
    rng: ChaCha12Rng,
    _dir: tempfile::TempDir,
}

impl Relay {
    fn start(&mut self) {
        let mut command = Command::new(program());
        command.arg("--data-dir").arg(&self.home);
        command.arg("--listen").arg(self.listen.to_string());
        command.arg("--metrics-listen").arg(self.metrics.to_string());
        if let Some(bootstrap) = self.bootstrap {
            command.arg("--bootstrap").arg(bootstrap.to_string());
        }
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(quiet.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// One of its counters; none while it does not answer.
    fn count(&self, name: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(self.metrics).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(is_value))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

fn is_value(rest: &str) -> bool {
    rest.starts_with(' ')
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Resident {
    async fn arrive(&mut self) {
        let config = Config {
            data_dir: self.home.data(),
            node: Node::Remote(Endpoint::Socket(self.relay.clone())),
        };
        self.client = Some(Client::start(self.home.identity(), config).await.unwrap());
    }

    async fn leave(&mut self) {
        if let Some(client) = self.client.take() {
            client.close().await.unwrap();
        }
    }

    /// What they have read, and how often.
    async fn read(&self) -> BTreeMap<String, usize> {
        let mut read = BTreeMap::new();
        let client = self.client.as_ref().unwrap();
        for contact in client.contacts().await.unwrap() {
            for entry in client.history(contact.address, None, 1_000).await.unwrap() {
                if let Author::Them { .. } = entry.author {
                    *read.entry(String::from_utf8(entry.body).unwrap()).or_default() += 1;
                }
            }
        }
        read
    }
}

impl Town {
    async fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * RELAYS);
        let mut relays: Vec<Relay> = (0..RELAYS)
            .map(|number| Relay {
                home: dir.path().join(number.to_string()),
                listen: ports[2 * number],
                metrics: ports[2 * number + 1],
                // A chain of acquaintances rather than one centre that everybody knows.
                bootstrap: (number > 0).then(|| ports[2 * (number / 2)]),
                child: None,
            })
            .collect();
        for relay in &mut relays {
            relay.start();
            wait("a relay answers", || relay.count("comm_peers").is_some()).await;
        }
        wait("every relay knows nearly every other", || {
            relays.iter().all(|relay| relay.count("comm_peers") >= Some(RELAYS as u64 - 2))
        })
        .await;
        let mut people = Vec::new();
        for number in 0..PEOPLE {
            let relay = relays[number * 2].home.join("api.sock");
            let home = Home::new(number as u8 + 1);
            let mut person = Resident { home, relay, client: None, expected: BTreeSet::new() };
            person.arrive().await;
            people.push(person);
        }
        let rng = ChaCha12Rng::seed_from_u64(1);
        Self { relays, people, rng, _dir: dir }
    }

    fn draw(&mut self, below: usize) -> usize {
        (self.rng.next_u64() % below as u64) as usize
    }

    /// Somebody who is there writes to somebody else, who may be away.
    async fn write(&mut self, number: usize) {
        let present: Vec<usize> =
            (0..PEOPLE).filter(|person| self.people[*person].client.is_some()).collect();
        let from = present[self.draw(present.len())];
        let to = (from + 1 + self.draw(PEOPLE - 1)) % PEOPLE;
        let text = format!("{number} from {from} to {to}");
        let message = Message::text(self.people[to].home.address(), text.clone());
        self.people[from].client.as_ref().unwrap().send(message).await.unwrap();
        self.people[to].expected.insert(text);
    }
}

/// Rows D6, D12, D18, E2: all delivered once, nothing left after acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_messages_arrive_once_while_relays_die_and_people_come_and_go() {
    let mut town = Town::build().await;
    let mut dead = None;
    for number in 0..MESSAGES {
        town.write(number).await;
        if number % (MESSAGES / KILLS) == 10 {
            let victim = town.draw(RELAYS);
            town.relays[victim].kill();
            dead = Some(victim);
        }
        if number % (MESSAGES / KILLS) == 30
            && let Some(victim) = dead.take()
        {
            town.relays[victim].start();
        }
        if number % 10 == 5 {
            let person = (number / 10) % PEOPLE;
            town.people[person].leave().await;
        }
        if number % 10 == 9 {
            let person = (number / 10) % PEOPLE;
            town.people[person].arrive().await;
        }
    }
    for person in &town.people {
        let all = person.expected.len();
        wait_for("everything has been read", async || person.read().await.len() == all).await;
    }
    for person in &town.people {
        let read = person.read().await;
        assert_eq!(read.keys().cloned().collect::<BTreeSet<_>>(), person.expected);
        assert!(read.values().all(|times| *times == 1), "{read:?}");
        let client = person.client.as_ref().unwrap();
        wait_for("the senders know", async || client.pending().await.unwrap() == 0).await;
    }
    wait("nothing is left on any relay", || {
        town.relays.iter().all(|relay| relay.count("comm_envelopes") == Some(0))
    })
    .await;
    for person in &mut town.people {
        person.leave().await;
    }
}

/// Ports that nobody uses now, all different.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let held: Vec<_> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

async fn wait(what: &str, holds: impl Fn() -> bool) {
    wait_for(what, async || holds()).await;
}

async fn wait_for(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE * 2;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
