//! The library as another program uses it.

use std::sync::Arc;
use std::time::Duration;

use comm::{Client, ClientError, Config, Event, Events, Message, Node};
use comm_node::config::NodeConfig;
use comm_proto::address::Address;
use comm_proto::agent::{self, Entry, MessageState};
use comm_proto::payload::ContentType;
use comm_proto::time::Span;

use crate::person::{Home, PATIENCE};

async fn start(home: &Home, bootstrap: Option<&str>) -> Client {
    let config = NodeConfig {
        data_dir: home.data().join("node"),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        bootstrap: bootstrap.map(|place| place.parse().unwrap()).into_iter().collect(),
        ..NodeConfig::default()
    };
    let config = Config { data_dir: home.data(), node: Node::Embedded(Box::new(config)) };
    Client::start(home.identity(), config).await.unwrap()
}

async fn place(client: &Client) -> String {
    loop {
        match client.status().await {
            Ok(status) => return status.endpoints[0].to_string(),
            Err(ClientError::Node(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn next(events: &mut Events) -> Arc<Event> {
    tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap()
}

/// What somebody says, who is let in if they ask.
async fn received(client: &Client, events: &mut Events) -> Entry {
    loop {
        let Event::Agent(event) = &*next(events).await else { continue };
        match &**event {
            agent::Event::Requested { contact } => {
                client.accept(*contact, None).await.unwrap();
            }
            agent::Event::Received { entry, .. } => return entry.clone(),
            _ => {}
        }
    }
}

async fn delivered(events: &mut Events) {
    loop {
        if let Event::Agent(event) = &*next(events).await
            && let agent::Event::State { state: MessageState::Delivered { .. }, .. } = **event
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_with_empty_lines_and_unknown_content_arrive_as_they_are() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let ann = start(&ann_home, None).await;
    let bob = start(&bob_home, Some(&place(&ann).await)).await;
    let (mut ann_hears, mut bob_hears) = (ann.events(), bob.events());
    let text = "first\n\n\nlast\n";
    ann.send(Message::text(bob.address(), text)).await.unwrap();
    assert_eq!(received(&bob, &mut bob_hears).await.body, text.as_bytes());
    delivered(&mut ann_hears).await;
    let unknown = Message {
        content_type: ContentType(0x4242),
        body: vec![0, 255, 27],
        ..Message::text(bob.address(), "")
    };
    ann.send(unknown).await.unwrap();
    let entry = received(&bob, &mut bob_hears).await;
    assert_eq!((entry.content_type, &entry.body[..]), (ContentType(0x4242), &[0, 255, 27][..]));
    // It is acknowledged like any other.
    delivered(&mut ann_hears).await;
    let kept = bob.history(ann.address(), None, 10).await.unwrap();
    assert_eq!(kept.len(), 2);
    ann.close().await.unwrap();
    bob.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_arrive_once_each_and_in_order() {
    const MANY: usize = 300;
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let ann = start(&ann_home, None).await;
    let bob = start(&bob_home, Some(&place(&ann).await)).await;
    let mut bob_hears = bob.events();
    for n in 0..MANY {
        ann.send(Message::text(bob.address(), n.to_string())).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < MANY {
        let entry = received(&bob, &mut bob_hears).await;
        heard.push(String::from_utf8(entry.body).unwrap().parse::<usize>().unwrap());
    }
    heard.sort_unstable();
    assert!(heard.into_iter().eq(0..MANY));
    ann.close().await.unwrap();
    bob.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_messages_are_refused_with_their_reason() {
    let home = Home::new(1);
    let client = start(&home, None).await;
    let to = Address::from_bytes([9; 20]);
    let refused = |message: Message| async { client.send(message).await.unwrap_err().to_string() };
    assert!(refused(Message::text(to, "")).await.contains("nothing to send"));
    assert!(refused(Message::text(to, "x".repeat(1 << 16))).await.contains("at most"));
    let short = Message { ttl: Span::from_secs(1), ..Message::text(to, "x") };
    assert!(refused(short).await.contains("10 minutes"));
    assert!(refused(Message::text(client.address(), "x")).await.contains("own address"));
    assert_eq!(client.pending().await, Ok(0));
    client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_is_waited_for() {
    let home = Home::new(1);
    let socket = home.path().join("nobody.sock");
    let node = Node::Remote(socket.to_str().unwrap().parse().unwrap());
    let config = Config { data_dir: home.data(), node };
    let client = Client::start(home.identity(), config).await.unwrap();
    let mut events = client.events();
    let entry = client.send(Message::text(Address::from_bytes([9; 20]), "hi")).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(&*next(&mut events).await, Event::Offline { .. }));
    }
    assert!(matches!(client.status().await, Err(ClientError::Node(_))));
    assert_eq!(client.message(entry.number).await, Ok(Some(entry)));
    assert_eq!(client.pending().await, Ok(1));
    client.close().await.unwrap();
}
