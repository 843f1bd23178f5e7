//! Links of their own to single endpoints: who is there, and how a node there sees us (PROTOCOL §5.1).
//!
//! Entry points are [`Peers::dial_back`], for a caller that wants to know whether it is reached, and
//! [`Peers::view_from`], to ask the same. A link that is open already says nothing of that, so none is
//! used, and what comes of it changes nothing at the links that calls go over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use comm_proto::key::PublicKey;
use comm_proto::message::{DialOutcome, Request, Response};
use comm_proto::rejection::Rejection;
use comm_proto::wire::{self, FRAME_BYTES_MAX};
use rustls::CertificateError;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::dial::Peers;
use super::encrypted::Encrypted;
use super::wire::Wire;
use crate::rpc::peer::peer_client::PeerClient;

/// How long an endpoint has to take a connection: the system sends three times meanwhile.
const CONNECT: Duration = Duration::from_secs(5);
/// How long whoever is there has to prove its key.
const HANDSHAKE: Duration = Duration::from_millis(4_500);
/// How long the answer to a ping may take.
const PING: Duration = Duration::from_secs(3);
/// How long a node may take to dial us back: what it gives itself, and the way to it and back.
const DIALLED_BACK: Duration = Duration::from_secs(12);

/// How a node sees us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Our end of the link, as this machine sees it.
    pub local: SocketAddr,
    /// Our end of the link, as the node sees it.
    pub observed: Option<SocketAddr>,
    /// How long a question and its answer take.
    pub round_trip: Duration,
    /// By how many milliseconds its clock is ahead of ours; negative when it is behind.
    pub ahead_millis: i64,
    /// What came of its dialling us back, each endpoint with its outcome; none if it does not know the
    /// question or is too busy.
    pub dialled: Vec<(SocketAddr, DialOutcome)>,
}

/// What a node is asked to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where other nodes are told to reach us; those of other IP families are left out.
    pub told: Vec<SocketAddr>,
    /// The port at which we listen, to be tried at the address that the node sees, if it listens.
    pub port: Option<u16>,
}

/// A local port that is kept for several links, so that it shows whether a NAT gives each another one.
#[derive(Debug)]
pub struct LocalPort {
    port: u16,
    /// Bound and never connected.
    _kept: TcpSocket,
}

/// A link that was opened for one purpose, and our end of it.
type Opened = (Encrypted<Wire<TcpStream>>, SocketAddr);

impl LocalPort {
    /// One for links to endpoints like this one.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn like(endpoint: SocketAddr) -> io::Result<Self> {
        let kept = socket(endpoint, 0)?;
        Ok(Self { port: kept.local_addr()?.port(), _kept: kept })
    }
}

impl Peers {
    /// Dials each of a caller's endpoints, all at the same time, and says what came of them, in order.
    pub async fn dial_back(
        &self,
        key: PublicKey,
        endpoints: Vec<SocketAddr>,
        patience: Duration,
    ) -> Vec<DialOutcome> {
        let mut outcomes = vec![DialOutcome::Failed; endpoints.len()];
        let mut dials = JoinSet::new();
        for (place, endpoint) in endpoints.into_iter().enumerate() {
            let peers = self.clone();
            dials.spawn(async move {
                let opened = timeout(patience, peers.open_own(endpoint, key, None)).await;
                let outcome = match opened {
                    Ok(Ok(_)) => DialOutcome::Reached,
                    Ok(Err(outcome)) => outcome,
                    Err(_) => DialOutcome::Failed,
                };
                (place, outcome)
            });
        }
        while let Some(Ok((place, outcome))) = dials.join_next().await {
            outcomes[place] = outcome;
        }
        outcomes
    }

    /// How the node of this key at `endpoint` sees us, called from `port` if that is free for it.
    ///
    /// # Errors
    /// What came of dialling it.
    pub async fn view_from(
        &self,
        (key, endpoint): (PublicKey, SocketAddr),
        port: Option<&LocalPort>,
        asked: &Asked,
    ) -> Result<View, DialOutcome> {
        let (stream, local) = self.open_own(endpoint, key, port).await?;
        let channel = self.speak(stream, (key.address(), endpoint)).await;
        let channel = channel.map_err(|_| DialOutcome::NoNode)?;
        let (began, since) = (self.0.clock.now(), Instant::now());
        let ping = Request::Ping { endpoints: asked.told.clone() };
        let answer = self.exchange(&channel, ping, PING).await;
        let Ok(Response::Pong { time, observed }) = answer else { return Err(DialOutcome::Failed) };
        let round_trip = since.elapsed();
        let middle = i128::from(began.as_millis()) + (round_trip.as_millis() / 2) as i128;
        let ahead = i128::from(time.as_millis()) - middle;
        let dialled = self.ask_to_dial_back(&channel, asked.endpoints(local, observed)).await;
        Ok(View {
            local,
            observed,
            round_trip,
            ahead_millis: ahead.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
            dialled,
        })
    }

    async fn ask_to_dial_back(
        &self,
        channel: &Channel,
        endpoints: Vec<SocketAddr>,
    ) -> Vec<(SocketAddr, DialOutcome)> {
        if endpoints.is_empty() {
            return Vec::new();
        }
        let request = Request::DialBack { endpoints: endpoints.clone() };
        match self.exchange(channel, request, DIALLED_BACK).await {
            Ok(Response::DialledBack { outcomes }) if outcomes.len() == endpoints.len() => {
                endpoints.into_iter().zip(outcomes).collect()
            }
            _ => Vec::new(),
        }
    }

    async fn exchange(
        &self,
        channel: &Channel,
        request: Request,
        patience: Duration,
    ) -> Result<Response, Rejection> {
        let mut request = tonic::Request::new(wire::peer::Request::from(request));
        self.0.network.name_in(&mut request);
        let mut client =
            PeerClient::new(channel.clone()).max_decoding_message_size(FRAME_BYTES_MAX);
        match timeout(patience, client.exchange(request)).await {
            Ok(Ok(answer)) => wire::decode::response(answer.into_inner(), self.0.clock.now())?,
            Ok(Err(_)) | Err(_) => Err(Rejection::Unreachable),
        }
    }

    /// Opens a link to the node of this key, which nobody else uses.
    async fn open_own(
        &self,
        endpoint: SocketAddr,
        key: PublicKey,
        port: Option<&LocalPort>,
    ) -> Result<Opened, DialOutcome> {
        let blocks = self.0.credentials.blocks();
        if blocks.block_ip(endpoint.ip()) || blocks.block_node(&key.address()) {
            return Err(DialOutcome::Failed);
        }
        let _place = self.0.dials.acquire().await.map_err(|_| DialOutcome::Failed)?;
        let connected = timeout(CONNECT, connect(endpoint, port)).await;
        let stream = connected
            .map_err(|_| DialOutcome::TimedOut)?
            .map_err(|error| not_connected(error.kind()))?;
        let local = stream.local_addr().map_err(|_| DialOutcome::Failed)?;
        let greeting = self.0.credentials.connect(stream, Some(key));
        let greeted = timeout(HANDSHAKE, greeting).await.map_err(|_| DialOutcome::NoNode)?;
        let (stream, _) = greeted.map_err(|error| not_greeted(&error))?;
        Ok((stream, SocketAddr::new(local.ip().to_canonical(), local.port())))
    }
}

impl Asked {
    /// What a node may dial that sees us at `observed`: those of the family of our end of the link.
    fn endpoints(&self, local: SocketAddr, observed: Option<SocketAddr>) -> Vec<SocketAddr> {
        let seen = observed.zip(self.port).map(|(seen, port)| SocketAddr::new(seen.ip(), port));
        // That it is not where others are told to look is worth the most.
        let mut endpoints: Vec<_> = seen.into_iter().collect();
        let told = self.told.iter().filter(|told| told.is_ipv4() == local.is_ipv4());
        endpoints.extend(told.filter(|told| Some(**told) != seen));
        endpoints.truncate(comm_proto::contact::ENDPOINTS_MAX);
        endpoints
    }
}

/// A socket for links to endpoints like this one, bound to a port that other links may have too.
fn socket(endpoint: SocketAddr, port: u16) -> io::Result<TcpSocket> {
    let (socket, any): (_, IpAddr) = match endpoint {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
    };
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(any, port))?;
    Ok(socket)
}

async fn connect(endpoint: SocketAddr, port: Option<&LocalPort>) -> io::Result<TcpStream> {
    let shared = port.and_then(|port| socket(endpoint, port.port).ok());
    let stream = match shared {
        Some(socket) => socket.connect(endpoint).await?,
        None => TcpStream::connect(endpoint).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn not_connected(kind: io::ErrorKind) -> DialOutcome {
    match kind {
        io::ErrorKind::ConnectionRefused => DialOutcome::Refused,
        io::ErrorKind::TimedOut => DialOutcome::TimedOut,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => DialOutcome::NoRoute,
        _ => DialOutcome::Failed,
    }
}

/// The check of the other side's certificate fails in this one way when it is a node, and another one.
fn not_greeted(error: &io::Error) -> DialOutcome {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let other = CertificateError::ApplicationVerificationFailure;
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) if *reason == other => {
            DialOutcome::OtherKey
        }
        _ => DialOutcome::NoNode,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_node_is_asked_to_dial_what_it_sees_before_what_it_is_told_and_of_one_family() {
        let told = ["192.0.2.1:7667", "[2001:db8::1]:7667", "198.51.100.1:1"].map(place).to_vec();
        let asked = Asked { told: told.clone(), port: Some(7_667) };
        let v4 = |observed: &str| asked.endpoints(place("10.0.0.2:5"), Some(place(observed)));
        assert_eq!(v4("192.0.2.1:99"), [told[0], told[2]], "no endpoint twice");
        assert_eq!(v4("203.0.113.9:99"), [place("203.0.113.9:7667"), told[0], told[2]]);
        let v6 = asked.endpoints(place("[2001:db8::1]:5"), Some(place("[2001:db8::1]:5")));
        assert_eq!(v6, [told[1]]);
        let listens_nowhere = Asked { told: Vec::new(), port: None };
        assert_eq!(listens_nowhere.endpoints(place("10.0.0.2:5"), Some(told[0])), []);
    }

    #[tokio::test]
    async fn links_to_different_nodes_may_come_from_one_port() {
        let places = ["127.0.0.1:0", "127.0.0.2:0"];
        let listeners = places.map(|place| std::net::TcpListener::bind(place).unwrap());
        let ends = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let port = LocalPort::like(ends[0]).unwrap();
        let first = connect(ends[0], Some(&port)).await.unwrap();
        let second = connect(ends[1], Some(&port)).await.unwrap();
        assert_eq!(first.local_addr().unwrap().port(), port.port);
        assert_eq!(second.local_addr().unwrap().port(), port.port);
    }
}
