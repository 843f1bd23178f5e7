//! A node that says over its link what no node of ours would ever say.
//!
//! Entry type is [`Attacker`]. Its key is real, as anybody can make one; its messages are raw.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use comm_node::links::tls::Credentials;
use comm_node::rpc::peer::peer_client::PeerClient;
use comm_proto::key::KeyPair;
use comm_proto::rejection::Rejection;
use comm_proto::wire::peer;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{Target, key};

const NETWORK: &str = "test";

/// A link of one key.
#[derive(Clone)]
pub(super) struct Attacker {
    channel: Channel,
    network: Option<&'static str>,
}

impl Attacker {
    /// Comes from `127.0.0.source`, as limits are by source, with the key of a seed.
    pub(super) async fn connect(target: &Target, source: u8, seed: u8) -> Self {
        let channel = channel(target, source, &key(seed)).await;
        Self { channel, network: Some(NETWORK) }
    }

    /// The same link, with another network's name or none in its calls.
    pub(super) fn of_network(&self, network: Option<&'static str>) -> Self {
        Self { network, ..self.clone() }
    }

    /// The node's answer, its refusal as the word for it.
    pub(super) async fn ask(
        &self,
        request: peer::request::Request,
    ) -> Result<peer::response::Response, String> {
        let mut client = PeerClient::new(self.channel.clone());
        let answer = client.exchange(self.named(peer::Request { request: Some(request) })).await;
        match answer.map_err(|status| word(&status))?.into_inner().response.unwrap() {
            peer::response::Response::Rejection(refusal) => {
                Err(Rejection::from_code(refusal.code).name().to_owned())
            }
            answer => Ok(answer),
        }
    }

    /// What the node makes of bytes in the place of a request.
    pub(super) async fn ask_nonsense(&self, bytes: Bytes) -> Result<(), String> {
        let nonsense = peer::FindNode { target: bytes };
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/comm.peer.v1.Peer/Exchange");
        let codec = ProstCodec::<peer::FindNode, peer::Response>::default();
        let answer = grpc.unary(self.named(nonsense), path, codec).await;
        answer.map(|_| ()).map_err(|status| word(&status))
    }

    pub(super) async fn listen(&self) -> Result<(), String> {
        let mut client = PeerClient::new(self.channel.clone());
        let answer = client.listen(self.named(peer::ListenRequest {})).await;
        answer.map(|_| ()).map_err(|status| status.message().to_owned())
    }

    fn named<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(network) = self.network {
            request.metadata_mut().insert("comm-network", network.parse().unwrap());
        }
        request
    }
}

/// A TCP connection from `127.0.0.source`.
pub(super) async fn dial(place: SocketAddr, source: u8) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, source), 0).into())?;
    let stream = socket.connect(place).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn channel(target: &Target, source: u8, key: &KeyPair) -> Channel {
    let stream = dial(target.place(), source).await.unwrap();
    let credentials = Credentials::new(key).unwrap();
    let (stream, _) = credentials.connect(stream, Some(*target.contact.key())).await.unwrap();
    let mut stream = Some(stream);
    let connector = service_fn(move |_: Uri| {
        let stream = stream.take().ok_or(io::ErrorKind::NotConnected);
        async move { stream.map(TokioIo::new).map_err(io::Error::from) }
    });
    let endpoint = Endpoint::from_static("http://node.invalid");
    endpoint.connect_with_connector(connector).await.unwrap()
}

/// Between nodes gRPC's own refusals have a code and no words.
fn word(status: &Status) -> String {
    match status.code() {
        tonic::Code::OutOfRange => "too-large".to_owned(),
        tonic::Code::Internal => "malformed".to_owned(),
        tonic::Code::Unimplemented => "unimplemented".to_owned(),
        _ => format!("{status:?}"),
    }
}
