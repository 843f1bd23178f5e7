//! Against a small router of the tests' own on loopback, which speaks PCP and NAT-PMP.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;

const PORT: NonZeroU16 = NonZeroU16::new(7_667).unwrap();
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const LIMIT: Duration = Duration::from_secs(60);

/// What a router of these tests speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Pcp,
    NatPmp,
    /// The same, and has no address outside.
    NatPmpWithin,
    /// Both, and refuses everything.
    Nothing,
}

/// A router at an address of its own on loopback.
struct Gateway {
    router: Router,
    /// What it forwards: the port outside and for how many seconds.
    forwards: watch::Receiver<Option<(u16, u32)>>,
    requests: Arc<AtomicU32>,
    serving: JoinHandle<()>,
}

/// An address on loopback that no other process at work has: two checkouts may be tested at the same time.
pub(super) fn address(last: u8) -> Ipv4Addr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    Ipv4Addr::new(127, high.max(1), low, last)
}

impl Gateway {
    async fn start(last: u8, speaks: Speaks) -> Self {
        let address = address(last);
        let socket = UdpSocket::bind((address, 5351)).await.unwrap();
        let (told, forwards) = watch::channel(None);
        let requests = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 128];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = answer(speaks, &buffer[..length], &told);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        let router = Router { address, client: Ipv4Addr::LOCALHOST.into() };
        Self { router, forwards, requests, serving }
    }

    async fn forwards(
        &mut self,
        wanted: impl FnMut(&Option<(u16, u32)>) -> bool,
    ) -> Option<(u16, u32)> {
        *timeout(LIMIT, self.forwards.wait_for(wanted)).await.unwrap().unwrap()
    }
}

fn answer(speaks: Speaks, request: &[u8], told: &watch::Sender<Option<(u16, u32)>>) -> Vec<u8> {
    let number = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
    let lifetime = |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().unwrap());
    // A wish for another port is not always granted.
    let forward = |port: u16, seconds: u32| {
        told.send_replace((seconds > 0).then_some((port + 1_000, seconds)));
    };
    match (request[0], request[1]) {
        (2, 1) if matches!(speaks, Speaks::Pcp | Speaks::Nothing) => {
            assert_eq!(request.len(), 60);
            let refuses = speaks == Speaks::Nothing;
            let (port, seconds) = (number(40), lifetime(4));
            if !refuses {
                forward(port, seconds);
            }
            let head =
                [&[2, 0x81, 0, 2 * u8::from(refuses)][..], &request[4..8], &[0, 0, 0, 9], &[0; 12]];
            let outside = OUTSIDE.to_ipv6_mapped().octets();
            let body = [&request[24..42], &(port + 1_000).to_be_bytes(), &outside];
            [head.concat(), body.concat()].concat()
        }
        (2, _) => vec![0, 128 | request[1], 0, 1, 0, 0, 0, 9],
        (0, 0) if speaks == Speaks::NatPmpWithin => {
            [&[0, 128, 0, 3, 0, 0, 0, 9][..], &[0; 4]].concat()
        }
        (0, 0) => [&[0, 128, 0, 0, 0, 0, 0, 9][..], &OUTSIDE.octets()].concat(),
        (0, 2) if speaks == Speaks::Nothing => {
            [&[0, 130, 0, 2, 0, 0, 0, 9][..], &request[4..12]].concat()
        }
        (0, 2) => {
            let (port, seconds) = (number(4), lifetime(8));
            forward(port, seconds);
            let outside = if seconds > 0 { port + 1_000 } else { 0 };
            [
                &[0, 130, 0, 0, 0, 0, 0, 9][..],
                &request[4..6],
                &outside.to_be_bytes(),
                &request[8..12],
            ]
            .concat()
        }
        other => panic!("{other:?}"),
    }
}

/// A forwarder at work, told to end by the sender.
pub(super) struct Work {
    pub(super) mapping: Mapping,
    changes: watch::Receiver<u32>,
    close: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Work {
    pub(super) fn begin(router: Router) -> Self {
        Self::with(|forwarder| forwarder.of(router))
    }

    fn with(change: impl FnOnce(Forwarder) -> Forwarder) -> Self {
        let (mapping, (told, changes)) = (Mapping::default(), watch::channel(0));
        let changed = move || told.send_modify(|count| *count += 1);
        let forwarder = change(Forwarder::new(PORT, mapping.clone(), changed));
        assert_eq!(mapping.now(), Some(Mapped::Asking));
        let (close, mut closing) = watch::channel(false);
        let closed = async move {
            closing.wait_for(|closing| *closing).await.unwrap();
        };
        let running = tokio::spawn(forwarder.run(closed));
        Self { mapping, changes, close, running }
    }

    pub(super) async fn changed(&mut self, times: u32) -> Mapped {
        timeout(LIMIT, self.changes.wait_for(|count| *count == times)).await.unwrap().unwrap();
        self.mapping.now().unwrap()
    }

    pub(super) async fn end(self) {
        self.close.send_replace(true);
        timeout(Duration::from_secs(5), self.running).await.unwrap().unwrap();
    }
}

async fn is_forwarded_and_taken_back(last: u8, speaks: Speaks, protocol: &'static str) {
    let mut gateway = Gateway::start(last, speaks).await;
    let mut work = Work::begin(gateway.router);
    let external = SocketAddr::new(OUTSIDE.into(), 8_667);
    assert_eq!(work.changed(1).await, Mapped::Forwarded { protocol, external });
    assert_eq!(gateway.forwards(Option::is_some).await, Some((8_667, LEASE_SECS)));
    let told = |is_final| {
        let own = vec!["192.0.2.1:7667".parse().unwrap()];
        Told::new(own, is_final, work.mapping.clone()).endpoints()
    };
    assert_eq!(told(false), [external, "192.0.2.1:7667".parse().unwrap()]);
    assert_eq!(told(true), ["192.0.2.1:7667".parse().unwrap()], "as the operator says it");
    work.end().await;
    assert_eq!(gateway.forwards(Option::is_none).await, None);
}

#[tokio::test]
async fn a_port_is_forwarded_by_pcp_while_the_node_runs_and_no_longer() {
    is_forwarded_and_taken_back(1, Speaks::Pcp, "PCP").await;
}

#[tokio::test]
async fn a_router_that_knows_only_nat_pmp_is_asked_by_that() {
    is_forwarded_and_taken_back(2, Speaks::NatPmp, "NAT-PMP").await;
}

#[tokio::test]
async fn a_router_that_refuses_or_does_not_answer_is_named_with_its_reason() {
    let gateway = Gateway::start(3, Speaks::Nothing).await;
    let mut work = Work::begin(gateway.router);
    let Mapped::Refused(reason) = work.changed(1).await else { panic!("it forwards nothing") };
    let refuses = format!("the router {} refuses: ", address(3));
    assert!(reason.starts_with(&refuses) && reason.contains("Not authorized"), "{reason}");
    assert!(Told::new(Vec::new(), false, work.mapping.clone()).endpoints().is_empty());
    work.end().await;
    let nobody = Router { address: address(4), ..gateway.router };
    let mut work = Work::begin(nobody);
    let silent = "does not answer, neither to PCP nor to NAT-PMP nor to UPnP";
    let silent = format!("the router {} {silent}", nobody.address);
    assert_eq!(work.changed(1).await, Mapped::Refused(silent));
    work.end().await;
}

#[tokio::test]
async fn a_router_that_has_no_address_outside_is_named_with_its_reason() {
    let gateway = Gateway::start(8, Speaks::NatPmpWithin).await;
    let mut work = Work::begin(gateway.router);
    let Mapped::Refused(reason) = work.changed(1).await else { panic!("nobody reaches it") };
    let refuses = format!("the router {} refuses: ", address(8));
    assert!(reason.starts_with(&refuses), "{reason}");
    work.end().await;
}

#[tokio::test]
async fn a_port_is_asked_for_again_long_before_its_time_is_over() {
    let gateway = Gateway::start(5, Speaks::Pcp).await;
    let lease = |seconds| {
        let options = PortMappingOptions { lifetime_seconds: Some(seconds), ..<_>::default() };
        let request = (gateway.router.address.into(), gateway.router.client);
        PortMapping::new(request.0, request.1, InternetProtocol::Tcp, PORT, options)
    };
    for (seconds, wait) in [(3_600, 600), (7, 10), (600, 300), (u32::MAX, 600)] {
        let lease = Lease::Asked(lease(seconds).await.unwrap());
        assert_eq!(lease.pause(), Duration::from_secs(wait), "{seconds}");
    }
    let soon = Duration::from_millis(5);
    let mut work = Work::with(|forwarder| forwarder.of(gateway.router).renewed_every(soon));
    work.changed(1).await;
    let asked = gateway.requests.load(Ordering::SeqCst);
    let again = async {
        while gateway.requests.load(Ordering::SeqCst) < asked + 3 {
            sleep(soon).await;
        }
    };
    timeout(LIMIT, again).await.unwrap();
    assert_eq!(*work.changes.borrow(), 1, "what stays the same is not told again");
    work.end().await;
}

/// A router that is away for a while has not forgotten: others are told of the port until its time is over.
#[tokio::test]
async fn a_lease_outlasts_a_router_that_is_silent_for_a_while() {
    let gateway = Gateway::start(6, Speaks::Pcp).await;
    let forwarder = Forwarder::new(PORT, Mapping::default(), || {}).of(gateway.router);
    let mut lease = None;
    let external = forwarder.ask(&mut lease).await.unwrap();
    forwarder.forwarded(&lease, external);
    gateway.serving.abort();
    let mut backoff = Backoff::new(WAIT.0, WAIT.1);
    forwarder.failed(&mut lease, "silent", &mut backoff);
    assert!(lease.is_some() && forwarder.mapping.public().is_some());
    // One that was given for no time at all is over at once.
    let short = Gateway::start(7, Speaks::Pcp).await;
    let options = PortMappingOptions { lifetime_seconds: Some(1), ..<_>::default() };
    let address = short.router.address.into();
    let tcp = InternetProtocol::Tcp;
    let given = PortMapping::new(address, short.router.client, tcp, PORT, options).await.unwrap();
    let over = given.expiration();
    lease = Some(Lease::Asked(given));
    tokio::time::sleep_until(over.into()).await;
    forwarder.failed(&mut lease, "silent", &mut backoff);
    assert!(lease.is_none());
    assert_eq!(forwarder.mapping.now(), Some(Mapped::Refused("silent".to_owned())));
}

#[test]
fn a_router_that_is_behind_another_has_no_port_for_others() {
    let mapping = Mapping::default();
    let within = [
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.0.1",
        "192.0.0.2",
        "198.19.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::ffff:10.0.0.1",
        "fe80::1",
        "fd00::1",
        "ff0e::1",
    ];
    let within = within.into_iter().map(|ip| (ip, false));
    let outside = ["198.51.100.1", "100.128.0.1", "192.0.1.1", "2001:db8::1"];
    for (ip, is_told) in within.chain(outside.into_iter().map(|ip| (ip, true))) {
        let external = SocketAddr::new(ip.parse().unwrap(), 7_667);
        mapping.set(Mapped::Forwarded { protocol: "PCP", external });
        let told = Told::new(Vec::new(), false, mapping.clone()).endpoints();
        assert_eq!(told, if is_told { vec![external] } else { Vec::new() }, "{ip}");
    }
}
