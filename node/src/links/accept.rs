//! Links that others open: from the listening socket to an encrypted stream of a known node.
//!
//! Entry type is [`Door`]. Whoever is over its limits is turned away before the handshake, and
//! whoever does not finish the handshake in time is forgotten; neither delays anybody else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::allowed::Allowed;
use super::gate::{Gate, SourceLimits};
use super::link::{Link, Place};
use super::standstill::Standstill;
use super::tls::Credentials;
use crate::metrics;
use crate::metrics::traffic::Open;

/// How long the listening socket rests when the system has no more sockets to give.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Links that have finished their handshake and wait to be served.
const READY_MAX: usize = 16;

/// Bounds on accepted links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Links at the same time, handshakes under way included.
    pub links: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a link may stand still.
    pub standstill: Standstill,
    /// What one source may do.
    pub source: SourceLimits,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            links: 1_024,
            handshake: Duration::from_secs(10),
            standstill: Standstill::default(),
            source: SourceLimits::default(),
        }
    }
}

/// Lets nodes in. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Door(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    credentials: Arc<Credentials>,
    gate: Gate,
    places: Arc<Semaphore>,
    limits: RwLock<AcceptLimits>,
}

impl Door {
    /// A door behind which `credentials` are shown.
    pub fn new(credentials: Arc<Credentials>, limits: AcceptLimits) -> Self {
        Self(Arc::new(Shared {
            credentials,
            gate: Gate::new(limits.source),
            places: Arc::new(Semaphore::new(limits.links)),
            limits: RwLock::new(limits),
        }))
    }

    /// From now on other limits hold: for all sources at once, for handshakes and links that begin
    /// after this. The number of links stays as it was.
    pub fn set_limits(&self, limits: AcceptLimits) {
        *self.0.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        self.0.gate.set_limits(limits.source);
    }

    fn limits(&self) -> AcceptLimits {
        *self.0.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts at every listener until the stream of links is dropped. To be called on a runtime.
    pub fn open(self, listeners: Vec<TcpListener>) -> ReceiverStream<io::Result<Link>> {
        let (ready, links) = mpsc::channel(READY_MAX);
        for listener in listeners {
            tokio::spawn(self.clone().accept(listener, ready.clone()));
        }
        ReceiverStream::new(links)
    }

    async fn accept(self, listener: TcpListener, ready: mpsc::Sender<io::Result<Link>>) {
        loop {
            let accepted = tokio::select! {
                () = ready.closed() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => self.greet(stream, from, &ready),
                Err(error) => {
                    warn!(%error, "no connection can be accepted");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    /// Gives a connection a place and a task of its own, or closes it at once.
    fn greet(&self, stream: TcpStream, from: SocketAddr, ready: &mpsc::Sender<io::Result<Link>>) {
        let ip = from.ip();
        if self.0.credentials.blocks().block_ip(ip) {
            debug!(%ip, "a connection from a blocked network is closed");
            return;
        }
        if !self.0.credentials.traffic().serves_others() {
            debug!(%ip, "a connection is closed: the node hibernates");
            metrics::refused("hibernating");
            return;
        }
        let permit = Arc::clone(&self.0.places).try_acquire_owned().ok();
        let place = permit.and_then(|permit| self.place(ip, permit));
        let Some(place) = place else {
            debug!(%ip, "a connection over the limits is closed");
            metrics::refused("too-many-links");
            return;
        };
        let (door, ready) = (self.clone(), ready.clone());
        tokio::spawn(async move {
            match timeout(door.limits().handshake, door.shake_hands(stream, from, place)).await {
                // Nobody to take it: the node is ending.
                Ok(Ok(link)) => drop(ready.send(Ok(link)).await),
                Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                    debug!(%ip, "a blocked node is turned away");
                }
                Ok(Err(error)) => {
                    debug!(%ip, %error, "a handshake failed");
                    metrics::refused("handshake");
                }
                Err(_) => {
                    debug!(%ip, "a handshake took too long");
                    metrics::refused("handshake");
                }
            }
        });
    }

    fn place(&self, ip: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
        let ticket = self.0.gate.enter(ip, Instant::now())?;
        Some(Place { ticket, _permit: permit })
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
    ) -> io::Result<Link> {
        stream.set_nodelay(true)?;
        let (stream, key) = self.0.credentials.accept(stream).await?;
        let source = SocketAddr::new(from.ip().to_canonical(), from.port());
        let blocks = self.0.credentials.blocks().clone();
        let stream = Allowed::new(stream, blocks, (key.address(), source.ip()), Open::accepted());
        Ok(Link::new(stream, (key, source), place, self.limits().standstill))
    }
}
