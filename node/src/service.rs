//! What other nodes may ask of this one (PROTOCOL §7): the peer side of gRPC.
//!
//! Entry type is [`PeerService`]. It checks what can be checked without the node's state, in
//! parallel, and hands the rest to the driver. Refusals are answers, never gRPC errors; whoever
//! does not keep to gRPC itself gets what tonic says.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use comm_proto::envelope::SizeClass;
use comm_proto::key::PublicKey;
use comm_proto::message::{BODY_BYTES_MAX, Response};
use comm_proto::node::Event;
use comm_proto::rejection::Rejection;
use comm_proto::wire::{self, FRAME_BYTES_MAX};
use prost::Message;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::transport::Server;
use tonic::{Request, Status};
use tower::util::MapResponseLayer;

use crate::clock::Clock;
use crate::driver::inbox::Inbox;
use crate::driver::streams::Listener;
use crate::links::link::{Link, Remote};
use crate::links::{CALL_WINDOW, HEADERS_MAX, KeepAlive, LINK_WINDOW, Network};
use crate::rpc::peer::peer_server::{Peer, PeerServer};
use crate::telemetry::{self, Deed};
use crate::traffic::Traffic;
use crate::{metrics, refusal};

/// How long a call may take, reading and answering included.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Calls under way over one link.
const CALLS_PER_LINK: u32 = 128;
/// Pushes that wait for one slow listener.
const PUSHES_MAX: usize = 256;
/// Calls that a peer may open and break off before its link is closed.
const RESETS_MAX: usize = 64;

/// Answers other nodes.
#[derive(Clone, Debug)]
pub struct PeerService {
    inbox: Inbox,
    network: Network,
    clock: Arc<Clock>,
    keep_alive: KeepAlive,
    traffic: Traffic,
}

/// What a listener is told.
#[derive(Debug)]
pub struct Pushes(Listener);

impl PeerService {
    /// Answers for the driver behind `inbox`, to nodes of `network` alone.
    pub fn new(inbox: Inbox, network: Network, clock: Arc<Clock>) -> Self {
        let (keep_alive, traffic) = (KeepAlive::default(), Traffic::default());
        Self { inbox, network, clock, keep_alive, traffic }
    }

    /// The same, with links that are kept open otherwise.
    #[must_use]
    pub const fn with_keep_alive(mut self, keep_alive: KeepAlive) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// The same, for others only while `traffic` says that they are served.
    #[must_use]
    pub fn within(mut self, traffic: Traffic) -> Self {
        self.traffic = traffic;
        self
    }

    /// Serves every link until `shutdown`, then until the calls under way have ended.
    ///
    /// # Errors
    /// When the stream of links fails.
    pub async fn serve(
        self,
        links: impl Stream<Item = io::Result<Link>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let KeepAlive { every, patience } = self.keep_alive;
        let service = PeerServer::new(self).max_decoding_message_size(FRAME_BYTES_MAX);
        Server::builder()
            .timeout(CALL_TIMEOUT)
            .max_concurrent_streams(CALLS_PER_LINK)
            .initial_stream_window_size(CALL_WINDOW)
            .initial_connection_window_size(LINK_WINDOW)
            .http2_keepalive_interval(Some(every))
            .http2_keepalive_timeout(Some(patience))
            .http2_max_header_list_size(HEADERS_MAX)
            .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
            .layer(MapResponseLayer::new(counting))
            .add_service(service)
            .serve_with_incoming_shutdown(links, shutdown)
            .await
    }

    async fn answer(
        &self,
        (key, source): (PublicKey, SocketAddr),
        request: wire::peer::Request,
        bytes: usize,
    ) -> Result<Response, Rejection> {
        let request = wire::decode::request(request, self.clock.now()).map_err(counted)?;
        let (kind, begun) = (metrics::kind_of(&request), Instant::now());
        metrics::requested(kind);
        let answer = self.ask((key, source), request, bytes).await;
        let result = telemetry::result(&answer);
        telemetry::note(begun.elapsed(), Deed::Served { kind, bytes, result });
        answer
    }

    /// Asks the node and waits for its answer.
    async fn ask(
        &self,
        (key, source): (PublicKey, SocketAddr),
        request: comm_proto::message::Request,
        bytes: usize,
    ) -> Result<Response, Rejection> {
        let answer = self.inbox.request(key, source, request, bytes).map_err(counted)?;
        match timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(counted(Rejection::ShuttingDown)),
            Err(_) => Err(counted(Rejection::Busy)),
        }
    }

    /// Who asks, if it may.
    fn admit<T>(&self, request: &Request<T>, bytes: usize) -> Result<Remote, Rejection> {
        if !self.network.is_named_in(request) {
            return Err(counted(Rejection::OtherNetwork));
        }
        // To others it is as one that ends, and comes back.
        if !self.traffic.serves_others() {
            return Err(counted(Rejection::ShuttingDown));
        }
        let remote = request.extensions().get::<Remote>();
        let remote = remote.expect("every link says whose it is");
        if !remote.allowance.spend(bytes, Instant::now()) {
            return Err(counted(Rejection::Busy));
        }
        Ok(remote.clone())
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type ListenStream = Pushes;

    async fn exchange(
        &self,
        request: Request<wire::peer::Request>,
    ) -> Result<tonic::Response<wire::peer::Response>, Status> {
        let bytes = request.get_ref().encoded_len();
        let bodies = bodies_at_most(request.get_ref());
        let refused = |reason| tonic::Response::new(Err(reason).into());
        let Remote { key, source, allowance } = match self.admit(&request, bytes + bodies) {
            Ok(remote) => remote,
            Err(reason) => return Ok(refused(reason)),
        };
        let answer = self.answer((key, source), request.into_inner(), bytes).await;
        let answer = wire::peer::Response::from(answer);
        allowance.settle(bodies, answer.encoded_len(), Instant::now());
        Ok(tonic::Response::new(answer))
    }

    async fn listen(
        &self,
        request: Request<wire::peer::ListenRequest>,
    ) -> Result<tonic::Response<Pushes>, Status> {
        // A stream has no place for a refusal before its first push.
        let refused = |reason: Rejection| Status::failed_precondition(reason.to_string());
        let Remote { key, .. } = self.admit(&request, 0).map_err(refused)?;
        let listener = self.inbox.open_listener(key.address(), PUSHES_MAX);
        let listener = listener.map_err(|reason| refused(counted(reason)))?;
        Ok(tonic::Response::new(Pushes(listener)))
    }
}

impl Stream for Pushes {
    type Item = Result<wire::peer::Push, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(context).map(|push| push.map(|push| Ok(push.into())))
    }
}

/// Bytes of bodies that the answer may have: paid for before there is an answer, since many questions at a
/// time are short and their answers are not.
fn bodies_at_most(request: &wire::peer::Request) -> usize {
    match &request.request {
        Some(wire::peer::request::Request::Fetch(fetch)) => {
            fetch.ids.len().saturating_mul(SizeClass::K64.body_len()).min(BODY_BYTES_MAX)
        }
        _ => 0,
    }
}

/// Counts what gRPC itself has found wrong with a call.
fn counting(response: http::Response<Body>) -> http::Response<Body> {
    refusal::count_in(response.headers());
    response
}

fn counted(reason: Rejection) -> Rejection {
    metrics::record(&Event::Refused { reason: reason.clone() });
    reason
}
