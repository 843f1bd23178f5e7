//! Twenty relays as real processes, people who come and go, relays that are killed.
//!
//! Played in rounds. In each, three people leave, and are written to until something waits for each of
//! them; a relay that has it is killed, one that was not killed before, with more messages on their way;
//! the three return and read what waited while that relay is dead. Then it comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use comm::{Client, Config, Endpoint, Message, Node};
use comm_proto::agent::{Author, MessageNumber, MessageState};
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::person::{Home, PATIENCE};
use crate::running_node::program;

const RELAYS: usize = 20;
const PEOPLE: usize = 8;
/// In each a relay is killed, and so many messages are written: to each who is away one that is
/// waited for, to these further ones, to anybody while the relay is about to be killed, and to
/// anybody while it is dead.
const ROUNDS: usize = 5;
const AWAY: usize = 3;
const TO_AWAY: usize = 12;
const UNDER_WAY: usize = 10;
const WHILE_DEAD: usize = 15;
const MESSAGES: usize = 200;
/// Relays that have a message before its way is broken.
const COPIES: u32 = 3;
/// Where a region is to be a part of the town: five nodes. There a relay that has missed an end hears of it
/// in a round that is due or when subscriptions are renewed, which usually takes minutes and more.
const PARTS: &[&str] = &[
    "--protocol-region-nodes=5",
    "--protocol-backoff-max=4s",
    "--protocol-subscription-renewal=2s",
];

/// One relay, on the same ports and the same disk each time it is started.
struct Relay {
    home: PathBuf,
    listen: SocketAddr,
    metrics: SocketAddr,
    bootstrap: Option<SocketAddr>,
    /// Settings that are not the usual ones.
    flags: &'static [&'static str],
    child: Option<Child>,
}

/// One person, who may be away.
struct Resident {
    home: Home,
    /// The number of the relay that they use.
    relay: usize,
    socket: PathBuf,
    client: Option<Client>,
    /// What was written to them.
    expected: BTreeSet<String>,
}

/// Everything that runs.
struct Town {
    relays: Vec<Relay>,
    people: Vec<Resident>,
    rng: ChaCha12Rng,
    written: usize,
    killed: BTreeSet<usize>,
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
        command.args(self.flags);
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
            node: Node::Remote(Endpoint::Socket(self.socket.clone())),
        };
        self.client = Some(Client::start(self.home.identity(), config).await.unwrap());
    }

    async fn leave(&mut self) {
        if let Some(client) = self.client.take() {
            client.close().await.unwrap();
        }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("who is away does nothing")
    }

    async fn has_read(&self, text: &str) -> bool {
        self.read().await.contains_key(text)
    }

    /// On how many relays a message of theirs is.
    async fn copies(&self, number: MessageNumber) -> u32 {
        let entry = self.client().message(number).await.unwrap().unwrap();
        match entry.author {
            Author::Us { state: MessageState::Stored(relays), .. } => relays,
            _ => 0,
        }
    }

    /// What they have read, and how often.
    async fn read(&self) -> BTreeMap<String, usize> {
        let mut read = BTreeMap::new();
        let client = self.client();
        for request in client.requests().await.unwrap() {
            client.accept(request.address, None).await.unwrap();
        }
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
    async fn build(flags: &'static [&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * RELAYS);
        let relay = |number: usize| Relay {
            home: dir.path().join(number.to_string()),
            listen: ports[2 * number],
            metrics: ports[2 * number + 1],
            // A chain of acquaintances rather than one centre that everybody knows.
            bootstrap: (number > 0).then(|| ports[2 * (number / 2)]),
            flags,
            child: None,
        };
        let mut relays: Vec<Relay> = (0..RELAYS).map(relay).collect();
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
            let relay = number * 2;
            let socket = relays[relay].home.join("api.sock");
            let home = Home::new(number as u8 + 1);
            let expected = BTreeSet::new();
            let mut person = Resident { home, relay, socket, client: None, expected };
            person.arrive().await;
            people.push(person);
        }
        let rng = ChaCha12Rng::seed_from_u64(1);
        let killed = BTreeSet::new();
        let town = Self { relays, people, rng, written: 0, killed, _dir: dir };
        let copies = u64::from(COPIES) * PEOPLE as u64;
        wait("everybody's card is in the network", || town.sum("comm_cards") >= copies).await;
        town
    }

    /// A counter of all relays together; those that do not answer add nothing.
    fn sum(&self, name: &str) -> u64 {
        self.relays.iter().filter_map(|relay| relay.count(name)).sum()
    }

    fn draw(&mut self, below: usize) -> usize {
        (self.rng.next_u64() % below as u64) as usize
    }

    fn draw_from(&mut self, some: &[usize]) -> usize {
        some[self.draw(some.len())]
    }

    fn present(&self) -> Vec<usize> {
        (0..PEOPLE).filter(|person| self.people[*person].client.is_some()).collect()
    }

    /// Somebody who is there writes to `to`; who, the message's number and its text.
    async fn write(&mut self, to: usize) -> (usize, MessageNumber, String) {
        let present: Vec<_> = self.present().into_iter().filter(|from| *from != to).collect();
        let from = self.draw_from(&present);
        let text = format!("{} from {from} to {to}", self.written);
        let message = Message::text(self.people[to].home.address(), text.clone());
        let number = self.people[from].client().send(message).await.unwrap().number;
        self.people[to].expected.insert(text.clone());
        self.written += 1;
        (from, number, text)
    }

    async fn write_to_anybody(&mut self, count: usize) {
        for _ in 0..count {
            let to = self.draw(PEOPLE);
            self.write(to).await;
        }
    }

    /// Writes to each of `away` until so many relays have it; to whom, and what.
    async fn let_wait(&mut self, away: [usize; AWAY]) -> Vec<(usize, String)> {
        let mut waiting = Vec::new();
        for to in away {
            let (from, number, text) = self.write(to).await;
            waiting.push((from, number, to, text));
        }
        for _ in 0..TO_AWAY {
            let to = self.draw_from(&away);
            self.write(to).await;
        }
        for (from, number, ..) in &waiting {
            let from = &self.people[*from];
            let stored = async || from.copies(*number).await >= COPIES;
            wait_for("something waits for who is away", stored).await;
        }
        waiting.into_iter().map(|(_, _, to, text)| (to, text)).collect()
    }

    /// A relay that has something, was not killed before and serves none of `spared`.
    async fn victim(&mut self, spared: [usize; AWAY]) -> usize {
        let spared = spared.map(|person| self.people[person].relay);
        let may = |number: &usize| !self.killed.contains(number) && !spared.contains(number);
        let holds = |number: &usize| self.relays[*number].count("comm_envelopes") >= Some(1);
        let holders = || (0..RELAYS).filter(may).filter(holds).collect::<Vec<_>>();
        wait("a relay that may be killed has something", || !holders().is_empty()).await;
        let holders = holders();
        self.draw_from(&holders)
    }

    async fn play_round(&mut self, round: usize) {
        let away = [round, round + 3, round + 6].map(|person| person % PEOPLE);
        for person in away {
            self.people[person].leave().await;
        }
        let waiting = self.let_wait(away).await;
        let victim = self.victim(away).await;
        self.write_to_anybody(UNDER_WAY).await;
        // Nothing else was on any relay, and who can end it is away.
        assert!(self.relays[victim].count("comm_envelopes") >= Some(1));
        self.relays[victim].kill();
        assert!(self.killed.insert(victim));

        self.write_to_anybody(WHILE_DEAD).await;
        for person in away {
            self.people[person].arrive().await;
        }
        for (to, text) in waiting {
            let reader = &self.people[to];
            wait_for("what waited is read", async || reader.has_read(&text).await).await;
        }
        assert!(self.relays[victim].count("comm_envelopes").is_none(), "it is dead all the while");
        self.relays[victim].start();
        self.comes_to_rest().await;
    }

    /// Everything is read once, its author knows, and no relay has anything of it.
    async fn comes_to_rest(&self) {
        for person in &self.people {
            let all = person.expected.len();
            wait_for("everything has been read", async || person.read().await.len() == all).await;
            let known = async || person.client().pending().await.unwrap() == 0;
            wait_for("the senders know", known).await;
        }
        let left = || {
            let held = self.relays.iter().map(|relay| relay.count("comm_envelopes"));
            let held = held.enumerate().filter(|(_, count)| *count != Some(0));
            held.collect::<Vec<_>>()
        };
        let begun = Instant::now();
        while !left().is_empty() {
            let why = format!("{:?} have something left; killed were {:?}", left(), self.killed);
            assert!(begun.elapsed() < 2 * PATIENCE, "{why}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for person in &self.people {
            let read = person.read().await;
            assert_eq!(read.keys().cloned().collect::<BTreeSet<_>>(), person.expected);
            assert!(read.values().all(|times| *times == 1), "{read:?}");
        }
    }

    async fn play(mut self) {
        for round in 0..ROUNDS {
            self.play_round(round).await;
        }
        assert_eq!((self.written, self.killed.len()), (MESSAGES, ROUNDS));
        assert!(self.sum("comm_envelopes_relayed_total") >= u64::from(COPIES));
        for person in &mut self.people {
            person.leave().await;
        }
    }
}

/// Rows D6, D12, D18, E2: all delivered once, nothing left after acknowledgement.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_messages_arrive_once_while_relays_die_and_people_come_and_go() {
    Town::build(&[]).await.play().await;
}

/// The same where everything goes through entries to a region that is a part of the town: B25, D4.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_messages_arrive_once_where_a_region_is_a_part_of_the_town() {
    let mut town = Town::build(PARTS).await;
    for person in &town.people {
        let has_entries = async || {
            let status = person.client().status().await;
            status.is_ok_and(|status| !status.entries.is_empty())
        };
        wait_for("everybody's node has entries", has_entries).await;
    }
    town.people[0].leave().await;
    // Its text is no other's.
    town.written = MESSAGES;
    let (from, number, text) = town.write(0).await;
    let copies = async || town.people[from].copies(number).await >= COPIES;
    wait_for("it is in its region", copies).await;
    let holders = town.sum("comm_envelopes");
    assert!(holders < RELAYS as u64 * 3 / 4, "{holders} of {RELAYS} relays have it");
    town.people[0].arrive().await;
    wait_for("it is read", async || town.people[0].has_read(&text).await).await;
    town.comes_to_rest().await;
    town.written = 0;
    town.play().await;
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
