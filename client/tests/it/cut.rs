//! How well a conversation is connected, as relays are cut off and come back.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use comm::reach::{Level, Reach, Reason};
use comm::{Client, Config, Endpoint, Message, Node};
use comm_proto::address::Address;
use comm_proto::agent::MessageNumber;

use crate::person::{Home, PATIENCE};
use crate::running_node::program;

/// A relay that finds out within seconds who has gone.
struct Relay {
    home: PathBuf,
    listen: SocketAddr,
    bootstrap: Option<SocketAddr>,
    child: Option<Child>,
}

impl Relay {
    fn start(&mut self) {
        let mut command = Command::new(program());
        command.arg("--data-dir").arg(&self.home).arg("--listen").arg(self.listen.to_string());
        command.args(["--protocol-questionable-after", "4s"]);
        command.args(["--protocol-subscription-renewal", "1s"]);
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
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A relay at which people are, and three others.
fn relays(dir: &tempfile::TempDir) -> Vec<Relay> {
    let held: Vec<_> =
        (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let places: Vec<_> = held.iter().map(|held| held.local_addr().unwrap()).collect();
    drop(held);
    let relay = |number: usize| Relay {
        home: dir.path().join(number.to_string()),
        listen: places[number],
        bootstrap: (number > 0).then_some(places[0]),
        child: None,
    };
    let mut relays: Vec<_> = (0..4).map(relay).collect();
    relays.iter_mut().for_each(Relay::start);
    relays
}

async fn arrive(home: &Home, relay: &Relay) -> Client {
    let node = Node::Remote(Endpoint::Socket(relay.home.join("api.sock")));
    let config = Config { data_dir: home.data(), node };
    Client::start(home.identity(), config).await.unwrap()
}

async fn reach(client: &Client, friend: Address) -> Reach {
    let conversations = client.conversations().await.unwrap();
    conversations.into_iter().find(|(contact, _)| contact.address == friend).unwrap().1
}

async fn wait_for(what: &str, client: &Client, friend: Address, wanted: impl Fn(Reach) -> bool) {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let found = reach(client, friend).await;
        if wanted(found) {
            return;
        }
        assert!(Instant::now() < deadline, "in vain: {what}; it is {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn say(client: &Client, friend: Address) -> MessageNumber {
    client.send(Message::text(friend, "hello")).await.unwrap().number
}

fn answering(level: Level, wanted: usize) -> impl Fn(Reach) -> bool {
    move |reach| {
        let Reason::Relays { answering, .. } = reach.reason else { return false };
        reach.level == level && answering == wanted
    }
}

/// F23: three relays that answer are full, fewer are partial, none is none; so is how far the newest
/// message has come.
#[tokio::test(flavor = "multi_thread")]
async fn full_partial_and_none_are_told_as_relays_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut relays = relays(&dir);
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (ann, bob) = (arrive(&ann_home, &relays[0]).await, arrive(&bob_home, &relays[0]).await);
    let friend = bob.address();
    say(&ann, friend).await;
    wait_for("bob has answered by reading", &ann, friend, |reach| {
        (reach.level, reach.reason) == (Level::Full, Reason::Heard)
    })
    .await;
    bob.close().await.unwrap();

    say(&ann, friend).await;
    wait_for("all is well", &ann, friend, answering(Level::Full, 3)).await;
    relays[3].kill();
    wait_for("one is gone", &ann, friend, answering(Level::Partial, 2)).await;
    relays[2].kill();
    wait_for("two are gone", &ann, friend, answering(Level::Partial, 1)).await;
    let number = say(&ann, friend).await;
    wait_for("a message on one relay", &ann, friend, |reach| {
        (reach.level, reach.reason) == (Level::Partial, Reason::OnRelays(number, 1))
    })
    .await;
    relays[1].kill();
    let number = say(&ann, friend).await;
    wait_for("a message that does not leave", &ann, friend, |reach| {
        (reach.level, reach.reason) == (Level::None, Reason::OnNode(number))
    })
    .await;
    relays[0].kill();
    wait_for("no node", &ann, friend, |reach| {
        (reach.level, reach.reason) == (Level::None, Reason::NoNode)
    })
    .await;
    relays.iter_mut().for_each(Relay::start);
    wait_for("all is well again", &ann, friend, answering(Level::Full, 3)).await;
    ann.close().await.unwrap();
}
