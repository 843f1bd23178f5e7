//! Links that others open: from the listening socket to an encrypted stream of a known node.
//!
//! Entry type is [`Door`]. Whoever is over its limits is turned away before the handshake, and
//! whoever does not finish the handshake in time is forgotten; neither delays anybody else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::gate::{Gate, SourceLimits};
use super::link::{Link, Place};
use super::standstill::Standstill;
use super::tls::Credentials;
use crate::metrics;

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

/// Lets nodes in.
#[derive(Debug)]
pub struct Door {
    credentials: Arc<Credentials>,
    gate: Gate,
    places: Arc<Semaphore>,
    handshake: Duration,
    standstill: Standstill,
}

impl Door {
    /// A door behind which `credentials` are shown.
    pub fn new(credentials: Arc<Credentials>, limits: AcceptLimits) -> Self {
        Self {
            credentials,
            gate: Gate::new(limits.source),
            places: Arc::new(Semaphore::new(limits.links)),
            handshake: limits.handshake,
            standstill: limits.standstill,
        }
    }

    /// Accepts at every listener until the stream of links is dropped. To be called on a runtime.
    pub fn open(self, listeners: Vec<TcpListener>) -> ReceiverStream<io::Result<Link>> {
        let door = Arc::new(self);
        let (ready, links) = mpsc::channel(READY_MAX);
        for listener in listeners {
            tokio::spawn(Arc::clone(&door).accept(listener, ready.clone()));
        }
        ReceiverStream::new(links)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, ready: mpsc::Sender<io::Result<Link>>) {
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
    fn greet(
        self: &Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        ready: &mpsc::Sender<io::Result<Link>>,
    ) {
        let ip = from.ip();
        let permit = Arc::clone(&self.places).try_acquire_owned().ok();
        let place = permit.and_then(|permit| self.place(ip, permit));
        let Some(place) = place else {
            debug!(%ip, "a connection over the limits is closed");
            metrics::refused("too-many-links");
            return;
        };
        let (door, ready) = (Arc::clone(self), ready.clone());
        tokio::spawn(async move {
            match timeout(door.handshake, door.shake_hands(stream, from, place)).await {
                // Nobody to take it: the node is ending.
                Ok(Ok(link)) => drop(ready.send(Ok(link)).await),
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
        let ticket = self.gate.enter(ip, Instant::now())?;
        Some(Place { ticket, _permit: permit })
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
    ) -> io::Result<Link> {
        stream.set_nodelay(true)?;
        let (stream, key) = self.credentials.accept(stream).await?;
        let source = SocketAddr::new(from.ip().to_canonical(), from.port());
        Ok(Link::new(stream, (key, source), place, self.standstill))
    }
}
