//! Links that we open: dialled when needed, kept while used, left alone while they fail.
//!
//! Entry type is [`Peers`]. Every call comes to an end at its deadline, and whatever goes wrong on
//! the way is [`Rejection::Unreachable`] to the caller. Links that others open are never used for
//! calls of ours: who dialled us may not be who listens at that place.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::key::PublicKey;
use comm_proto::message::{Request, Response};
use comm_proto::rejection::Rejection;
use comm_proto::wire::{self, FRAME_BYTES_MAX};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tower::service_fn;
use tracing::debug;

use super::allowed::Allowed;
use super::backoff::Backoff;
use super::encrypted::Encrypted;
use super::listen::Listens;
use super::slots::{OpenLink, Slots, State};
use super::standstill::{Patient, Standstill};
use super::tls::Credentials;
use super::wire::Wire;
use super::{CALL_WINDOW, HEADERS_MAX, KeepAlive, LINK_WINDOW, Network};
use crate::clock::Clock;
use crate::driver::inbox::Inbox;
use crate::metrics;
use crate::metrics::traffic::Open;
use crate::rpc::peer::peer_client::PeerClient;
use crate::telemetry::{self, Deed};

/// How often idle links are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// Bounds on links that we open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialLimits {
    /// How long one endpoint has to take a connection.
    pub connect: Duration,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a link may stand still.
    pub standstill: Standstill,
    /// How links are kept open.
    pub keep_alive: KeepAlive,
    /// First wait after a failure; doubles each time.
    pub backoff_first: Duration,
    /// Longest wait after failures.
    pub backoff_max: Duration,
    /// Disuse after which a link is closed.
    pub idle: Duration,
    /// Links open at the same time; beyond it, the least used are closed at the next sweep.
    pub links: usize,
    /// Nodes remembered, reachable or not.
    pub nodes: usize,
    /// Endpoints dialled at the same time.
    pub dials: usize,
    /// Calls under way at the same time.
    pub calls: usize,
    /// Streams for pushes kept open.
    pub listens: usize,
}

impl Default for DialLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            standstill: Standstill::default(),
            keep_alive: KeepAlive::default(),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            idle: Duration::from_secs(120),
            links: 512,
            nodes: 8_192,
            dials: 256,
            calls: 2_048,
            listens: 2_048,
        }
    }
}

/// The other nodes as callers see them. Cloning shares the links.
#[derive(Clone, Debug)]
pub struct Peers(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) credentials: Arc<Credentials>,
    pub(super) network: Network,
    pub(super) clock: Arc<Clock>,
    pub(super) inbox: Inbox,
    /// The driver, which is on no runtime, asks too.
    pub(super) runtime: Handle,
    limits: RwLock<DialLimits>,
    slots: Slots,
    pub(super) dials: Semaphore,
    calls: Arc<Semaphore>,
    pub(super) listens: Mutex<Listens>,
}

/// Why a call failed.
enum CallError {
    /// The other node refused.
    Refused(Rejection),
    /// The link of this number broke: a new one may do better.
    Broken(u64),
    /// Anything else.
    Failed,
}

impl Peers {
    /// No links yet. Answers and pushes are told the time by `clock`; pushes go to `inbox`. To be
    /// called on a runtime.
    pub fn new(
        credentials: Arc<Credentials>,
        network: Network,
        clock: Arc<Clock>,
        inbox: Inbox,
        limits: DialLimits,
    ) -> Self {
        let shared = Arc::new(Shared {
            credentials,
            network,
            clock,
            inbox,
            runtime: Handle::current(),
            limits: RwLock::new(limits),
            slots: Slots::new(limits.nodes, limits.links),
            dials: Semaphore::new(limits.dials),
            calls: Arc::new(Semaphore::new(limits.calls)),
            listens: Mutex::default(),
        });
        tokio::spawn(sweep(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// From now on other limits hold, for dials and links that begin after this. How many of each
    /// there may be stays as it was.
    pub fn set_limits(&self, limits: DialLimits) {
        *self.0.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Notes whether the node has clients, for which it calls others also while it hibernates.
    pub fn set_has_clients(&self, has_clients: bool) {
        self.0.credentials.traffic().set_has_clients(has_clients);
    }

    /// Whether this node calls anybody now: not while it hibernates and has no clients.
    pub fn may_call(&self) -> bool {
        self.0.credentials.traffic().may_call()
    }

    /// A place for one more call, to be kept until it ends; none while too many are under way.
    pub fn place_for_call(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.calls).try_acquire_owned().ok()
    }

    /// Asks another node.
    ///
    /// # Errors
    /// What it answers, if that is a refusal. [`Rejection::Unreachable`] when there is no answer
    /// after `patience`, none that can be read, or no way to the node.
    pub async fn call(
        &self,
        to: &Contact,
        request: Request,
        patience: Duration,
    ) -> Result<Response, Rejection> {
        let (kind, begun) = (metrics::kind_of(&request), Instant::now());
        let message = wire::peer::Request::from(request);
        let answer = timeout(patience, self.call_again_if_stale(to, kind, message)).await;
        let answer = answer.unwrap_or(Err(Rejection::Unreachable));
        let result = telemetry::result(&answer);
        telemetry::note(begun.elapsed(), Deed::Called { kind, result });
        answer
    }

    /// Finds out who listens at an endpoint, for bootstrapping from a place whose key is not known.
    ///
    /// # Errors
    /// When nobody listens there, or no node.
    pub async fn identify(&self, endpoint: SocketAddr) -> io::Result<Contact> {
        let (stream, key) = self.connect(endpoint, None).await?;
        let contact = Contact::new(key, [endpoint]);
        let slot = self.0.slots.slot(contact.address(), &self.backoff());
        let channel = self.speak(stream, (contact.address(), endpoint)).await?;
        slot.state.lock().await.succeed(channel);
        Ok(contact)
    }

    /// Whether a node answers by its key at one of its endpoints, over a link that stays for calls.
    pub async fn reach(&self, to: &Contact) -> bool {
        self.link(to).await.is_ok()
    }

    /// Keeps the stream for pushes of `to` open, or no longer.
    pub fn listen(&self, to: &Contact, open: bool) {
        super::listen::keep(self, to, open);
    }

    /// Ends every stream for pushes. Links close once the last call over them has ended.
    pub fn close(&self) {
        super::listen::end_all(self);
    }

    /// The link to a node, opened if need be, and a pin that keeps it open.
    pub(super) async fn pinned_link(
        &self,
        to: &Contact,
    ) -> Result<(OpenLink, super::slots::Pin), Rejection> {
        let pin = self.0.slots.slot(to.address(), &self.backoff()).pin();
        Ok((self.link(to).await?, pin))
    }

    /// Forgets a link that turned out to be broken.
    pub(super) async fn forget(&self, to: &Contact, number: u64) {
        let slot = self.0.slots.slot(to.address(), &self.backoff());
        slot.state.lock().await.forget(number);
    }

    pub(super) fn backoff(&self) -> Backoff {
        let limits = self.0.limits();
        Backoff::new(limits.backoff_first, limits.backoff_max)
    }

    /// A peer that restarted leaves us with a link that looks whole. Asking twice is harmless:
    /// every request means the same the second time.
    async fn call_again_if_stale(
        &self,
        to: &Contact,
        kind: &'static str,
        message: wire::peer::Request,
    ) -> Result<Response, Rejection> {
        match self.call_once(to, kind, message.clone()).await {
            Err(CallError::Broken(number)) => {
                self.forget(to, number).await;
                self.call_once(to, kind, message).await
            }
            answer => answer,
        }
        .map_err(Rejection::from)
    }

    async fn call_once(
        &self,
        to: &Contact,
        kind: &'static str,
        message: wire::peer::Request,
    ) -> Result<Response, CallError> {
        let link = self.link(to).await.map_err(CallError::Refused)?;
        let mut request = tonic::Request::new(message);
        self.0.network.name_in(&mut request);
        let sent = Instant::now();
        let answer = client(&link).exchange(request).await;
        if answer.is_ok() {
            metrics::answered(kind, sent.elapsed());
        }
        match answer {
            Ok(answer) => wire::decode::response(answer.into_inner(), self.0.clock.now())
                .map_err(|reason| failed(to, &reason))?
                .map_err(CallError::Refused),
            Err(status) if is_broken(&status) => Err(CallError::Broken(link.number)),
            Err(status) => Err(failed(to, &status)),
        }
    }

    /// The link to a node, opened if need be.
    async fn link(&self, to: &Contact) -> Result<OpenLink, Rejection> {
        // Nobody is held to have failed whom this node does not call.
        if !self.may_call() {
            return Err(Rejection::Unreachable);
        }
        let slot = self.0.slots.slot(to.address(), &self.backoff());
        let state = Arc::clone(&slot.state).lock_owned().await;
        if let Some(link) = &state.link {
            return Ok(link.clone());
        }
        if to.is_leaf() || state.is_backing_off(to.endpoints()) {
            return Err(Rejection::Unreachable);
        }
        // On its own: a caller with little patience must not keep the outcome from being noted.
        let dialling = self.0.runtime.spawn(self.clone().dial(to.clone(), state));
        dialling.await.ok().flatten().ok_or(Rejection::Unreachable)
    }

    /// Tries the node's endpoints in turn, all of them together for no longer than a single one may
    /// take: a node that names many where nobody answers must not keep places from others. Those for
    /// which there was no time come first in a later dial.
    async fn dial(self, to: Contact, mut state: OwnedMutexGuard<State>) -> Option<OpenLink> {
        let limits = self.0.limits();
        let patience = limits.connect + limits.handshake;
        match timeout(patience, self.open_any(&to, &state.in_turn(to.endpoints()))).await {
            Ok(Some(channel)) => Some(state.succeed(channel)),
            Ok(None) | Err(_) => {
                state.fail(to.endpoints());
                None
            }
        }
    }

    async fn open_any(&self, to: &Contact, endpoints: &[SocketAddr]) -> Option<Channel> {
        for endpoint in endpoints {
            match self.open(*endpoint, *to.key()).await {
                Ok(channel) => return Some(channel),
                Err(error) => debug!(peer = %to.address(), %endpoint, %error, "a dial failed"),
            }
        }
        None
    }

    async fn open(&self, endpoint: SocketAddr, key: PublicKey) -> io::Result<Channel> {
        let (stream, _) = self.connect(endpoint, Some(key)).await?;
        self.speak(stream, (key.address(), endpoint)).await
    }

    async fn connect(
        &self,
        endpoint: SocketAddr,
        expected: Option<PublicKey>,
    ) -> io::Result<(Encrypted<Wire<TcpStream>>, PublicKey)> {
        let blocks = self.0.credentials.blocks();
        let is_blocked = |key: PublicKey| blocks.block_node(&key.address());
        // Before anything is sent: the node that is called learns who calls.
        if blocks.block_ip(endpoint.ip()) || expected.is_some_and(is_blocked) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !self.may_call() {
            return Err(io::Error::other("this node hibernates"));
        }
        let _place = self.0.dials.acquire().await.map_err(io::Error::other)?;
        let linked = self.connect_now(endpoint, expected).await;
        metrics::dialled(linked.is_ok());
        linked
    }

    async fn connect_now(
        &self,
        endpoint: SocketAddr,
        expected: Option<PublicKey>,
    ) -> io::Result<(Encrypted<Wire<TcpStream>>, PublicKey)> {
        let limits = self.0.limits();
        let stream = timeout(limits.connect, TcpStream::connect(endpoint)).await??;
        stream.set_nodelay(true)?;
        timeout(limits.handshake, self.0.credentials.connect(stream, expected)).await?
    }

    /// HTTP/2 over an encrypted stream. The channel can use it only once: when it breaks, the
    /// channel is of no more use, since dialling again is for [`Peers`] to decide.
    pub(super) async fn speak(
        &self,
        stream: Encrypted<Wire<TcpStream>>,
        (node, endpoint): (Address, SocketAddr),
    ) -> io::Result<Channel> {
        let DialLimits { standstill, keep_alive, .. } = self.0.limits();
        let blocks = self.0.credentials.blocks().clone();
        let stream = Allowed::new(stream, blocks, (node, endpoint.ip()), Open::dialled());
        let mut stream = Some(Patient::new(stream, standstill));
        let connector = service_fn(move |_: Uri| {
            let stream = stream.take().ok_or(io::ErrorKind::NotConnected);
            async move { stream.map(TokioIo::new).map_err(io::Error::from) }
        });
        Endpoint::from_static("http://node.invalid")
            .http2_keep_alive_interval(keep_alive.every)
            .keep_alive_timeout(keep_alive.patience)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(CALL_WINDOW)
            .initial_connection_window_size(LINK_WINDOW)
            .http2_max_header_list_size(HEADERS_MAX)
            .connect_with_connector(connector)
            .await
            .map_err(io::Error::other)
    }
}

impl Shared {
    pub(super) fn limits(&self) -> DialLimits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<CallError> for Rejection {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(reason) => reason,
            CallError::Broken(_) | CallError::Failed => Self::Unreachable,
        }
    }
}

/// Asks over a link.
pub(super) fn client(link: &OpenLink) -> PeerClient<Channel> {
    PeerClient::new(link.channel.clone()).max_decoding_message_size(FRAME_BYTES_MAX)
}

/// Whether the link itself failed, rather than the other side refused.
pub(super) fn is_broken(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

fn failed(to: &Contact, reason: &dyn std::fmt::Display) -> CallError {
    debug!(peer = %to.address(), %reason, "a call failed");
    CallError::Failed
}

/// Ends with the last clone of the peers.
async fn sweep(shared: Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        shared.slots.close_idle(shared.limits().idle);
        drop(shared);
        sleep(SWEEP_EVERY).await;
    }
}
