//! Links over somebody who forgets connections that are silent, as translators of addresses do
//! (C25). It counts by ticks of its own, so that a machine that stands still forgets nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use comm_node::links::KeepAlive;
use comm_node::links::dial::DialLimits;
use comm_proto::contact::Contact;
use comm_proto::message::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

use super::{Options, PONG, Stub, eventually};

const TICK: Duration = Duration::from_millis(20);
/// Ticks without a byte after which a connection is forgotten: three times the pace of pings.
const LIFE: u32 = 60;
const EVERY: Duration = Duration::from_millis(400);
const NEVER: Duration = Duration::from_secs(3_600);

#[derive(Default)]
struct Counts {
    ticks: AtomicU32,
    opened: AtomicU32,
    forgotten: AtomicU32,
    /// Times that bytes came by.
    passed: AtomicU32,
    /// Whether the present connection loses all it is given.
    is_deaf: AtomicBool,
}

impl Counts {
    fn of(counter: &AtomicU32) -> u32 {
        counter.load(Ordering::Relaxed)
    }
}

/// Stands before a node; where to dial, and what it counts.
async fn nat_before(to: SocketAddr) -> (SocketAddr, Arc<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let counts = Arc::<Counts>::default();
    let here = Arc::clone(&counts);
    tokio::spawn(async move {
        loop {
            let (inside, _) = listener.accept().await.unwrap();
            here.opened.fetch_add(1, Ordering::Relaxed);
            here.is_deaf.store(false, Ordering::Relaxed);
            let outside = TcpStream::connect(to).await.unwrap();
            tokio::spawn(carry(inside, outside, Arc::clone(&here)));
        }
    });
    (place, counts)
}

/// Carries bytes both ways until one side ends or nothing has come by for long.
async fn carry(mut inside: TcpStream, mut outside: TcpStream, counts: Arc<Counts>) {
    let (mut out, mut back) = (vec![0; 1 << 14], vec![0; 1 << 14]);
    let (mut ticks, mut idle) = (interval(TICK), 0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while idle <= LIFE {
        let (to, bytes) = tokio::select! {
            _ = ticks.tick() => {
                counts.ticks.fetch_add(1, Ordering::Relaxed);
                // Who is deaf forgets nothing: only pings find it out.
                idle += u32::from(!counts.is_deaf.load(Ordering::Relaxed));
                continue;
            }
            Ok(count @ 1..) = inside.read(&mut out) => (&mut outside, &out[..count]),
            Ok(count @ 1..) = outside.read(&mut back) => (&mut inside, &back[..count]),
            else => return,
        };
        if counts.is_deaf.load(Ordering::Relaxed) {
            continue;
        }
        idle = 0;
        counts.passed.fetch_add(1, Ordering::Relaxed);
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    counts.forgotten.fetch_add(1, Ordering::Relaxed);
}

async fn pair(keep_alive: KeepAlive) -> (Stub, Stub) {
    let dial = DialLimits { keep_alive, ..Options::default().dial };
    let options = Options { dial, keep_alive, ..Options::default() };
    (Stub::start_with(1, options.clone()).await, Stub::start_with(2, options).await)
}

#[tokio::test]
async fn pings_keep_an_idle_link_in_the_memory_of_a_nat() {
    let (alice, bob) = pair(KeepAlive { every: EVERY, patience: NEVER }).await;
    let (place, nat) = nat_before(bob.endpoints[0]).await;
    let contact = Contact::new(bob.key.public(), [place]);
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
    // Three lives of a silent connection.
    eventually(async || (Counts::of(&nat.ticks) > 3 * LIFE).then_some(())).await;
    assert_eq!(Counts::of(&nat.forgotten), 0);
    assert!(Counts::of(&nat.passed) > 6, "nothing but pings passes meanwhile");
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
    assert_eq!(Counts::of(&nat.opened), 1);
}

#[tokio::test]
async fn a_link_without_pings_is_forgotten_by_a_nat_and_dialled_again() {
    let (alice, bob) = pair(KeepAlive { every: NEVER, patience: NEVER }).await;
    let (place, nat) = nat_before(bob.endpoints[0]).await;
    let contact = Contact::new(bob.key.public(), [place]);
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
    eventually(async || (Counts::of(&nat.forgotten) == 1).then_some(())).await;
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
    assert_eq!(Counts::of(&nat.opened), 2);
}

#[tokio::test]
async fn a_link_whose_pings_are_not_answered_is_dialled_again() {
    let (alice, bob) = pair(KeepAlive { every: EVERY, patience: EVERY }).await;
    let (place, nat) = nat_before(bob.endpoints[0]).await;
    let contact = Contact::new(bob.key.public(), [place]);
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
    nat.is_deaf.store(true, Ordering::Relaxed);
    let patience = Duration::from_millis(200);
    eventually(async || {
        let ping = Request::Ping { endpoints: Vec::new() };
        alice.peers.call(&contact, ping, patience).await.ok()
    })
    .await;
    assert!(Counts::of(&nat.opened) > 1);
}
