//! Having a port forwarded by UPnP (Internet Gateway Device), which most routers of homes know and others not.
//!
//! Entry type is [`Lease`]. Only the router of the default route is asked: whoever else answers in its place is
//! refused, as is a router whose description leads elsewhere. An answer has at most 1 MiB, and each request its time.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use igd_next::aio::Gateway;
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};
use thiserror::Error;
use tokio::time::timeout;

use super::LEASE_SECS;
use super::router::Router;

/// Where all devices of a local network listen.
const EVERYBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250));
const PORT: u16 = 1900;
/// How long the router may take to describe itself when it is asked alone, and when the whole local network is, as
/// older ones need it; by then they may rest for 3 s before they answer.
const ALONE_MAX: Duration = Duration::from_secs(2);
const TOGETHER_MAX: Duration = Duration::from_secs(5);
/// How long it may take for anything else.
const REQUEST_MAX: Duration = Duration::from_secs(4);
/// How many ports are asked for where others have the first ones.
const PORTS_MAX: u16 = 4;
/// What the router shows of it to its owner.
const DESCRIPTION: &str = "comm-node";
/// The most characters of what a router says that are told.
const REASON_MAX: usize = 120;

/// A port that a router forwards.
#[derive(Debug)]
pub(super) struct Lease {
    device: Gateway<Tokio>,
    router: Router,
    port: NonZeroU16,
    external: NonZeroU16,
    time: Time,
    since: Instant,
}

/// For how long a port is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// What was asked for.
    Lease,
    /// Until it is taken back: some routers know nothing else.
    UntilRemoved,
}

/// Why a router forwards nothing by UPnP.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum UpnpError {
    #[error("it does not answer by UPnP")]
    Silent,
    #[error("by UPnP {0} answers in its place")]
    Stranger(IpAddr),
    #[error("{0}")]
    Refused(String),
}

impl Lease {
    /// Has `router` forward a port to TCP port `port` of this machine: the same if it is free.
    pub(super) async fn first(router: Router, port: NonZeroU16) -> Result<Self, UpnpError> {
        let device = find(router).await?;
        let (time, since) = (Time::Lease, Instant::now());
        let mut lease = Self { device, router, port, external: port, time, since };
        for _ in 1..PORTS_MAX {
            match lease.ask().await {
                Err(Asked::PortInUse) => {
                    let next = lease.external.checked_add(1);
                    lease.external = next.ok_or(Asked::PortInUse).map_err(UpnpError::from)?;
                }
                asked => return asked.map(|()| lease).map_err(UpnpError::from),
            }
        }
        lease.ask().await?;
        Ok(lease)
    }

    /// Asks for the same once more.
    pub(super) async fn renew(&mut self) -> Result<(), UpnpError> {
        self.ask().await.map_err(UpnpError::from)
    }

    async fn ask(&mut self) -> Result<(), Asked> {
        let seconds = match self.time {
            Time::Lease => LEASE_SECS,
            Time::UntilRemoved => 0,
        };
        match self.add(seconds).await {
            Err(Asked::UntilRemovedAlone) if self.time == Time::Lease => {
                self.time = Time::UntilRemoved;
                self.add(0).await?;
            }
            asked => asked?,
        }
        self.since = Instant::now();
        Ok(())
    }

    async fn add(&self, seconds: u32) -> Result<(), Asked> {
        let here = SocketAddr::new(self.router.client, self.port.get());
        let (tcp, external) = (PortMappingProtocol::TCP, self.external.get());
        let adding = self.device.add_port(tcp, external, here, seconds, DESCRIPTION);
        match timeout(REQUEST_MAX, adding).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(AddPortError::PortInUse)) => Err(Asked::PortInUse),
            Ok(Err(AddPortError::OnlyPermanentLeasesSupported)) => Err(Asked::UntilRemovedAlone),
            Ok(Err(error)) => Err(Asked::Refused(plain(&error.to_string()))),
            Err(_) => Err(Asked::Refused("it takes too long".to_owned())),
        }
    }

    /// The router's address outside, as it says.
    pub(super) async fn outside(&self) -> Result<IpAddr, UpnpError> {
        answer(self.device.get_external_ip()).await
    }

    /// Takes the port back.
    pub(super) async fn remove(self) -> Result<(), UpnpError> {
        let removing = self.device.remove_port(PortMappingProtocol::TCP, self.external.get());
        answer(removing).await
    }

    /// Whether it is of this router, and leads to where that reaches this machine now.
    pub(super) fn is_of(&self, router: &Router) -> bool {
        (self.router.address, self.router.client) == (router.address, router.client)
    }

    pub(super) fn router(&self) -> IpAddr {
        self.router.address.into()
    }

    pub(super) fn external_port(&self) -> NonZeroU16 {
        self.external
    }

    /// Whether it ends though nobody takes it back.
    pub(super) fn ends_by_itself(&self) -> bool {
        self.time == Time::Lease
    }

    /// When it ends unless it is renewed. Of one without an end nobody knows longer than that whether the router
    /// still has it.
    pub(super) fn expiration(&self) -> Instant {
        self.since + Duration::from_secs(LEASE_SECS.into())
    }
}

/// What a router has said to one request for a port.
enum Asked {
    PortInUse,
    UntilRemovedAlone,
    Refused(String),
}

impl From<Asked> for UpnpError {
    fn from(asked: Asked) -> Self {
        Self::Refused(match asked {
            Asked::PortInUse => "it forwards these ports to another machine by UPnP".to_owned(),
            Asked::UntilRemovedAlone => "it contradicts itself about how long".to_owned(),
            Asked::Refused(reason) => format!("by UPnP: {reason}"),
        })
    }
}

async fn answer<T, E: std::fmt::Display>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, UpnpError> {
    let refused = |reason: &str| UpnpError::Refused(format!("by UPnP: {reason}"));
    let answered = timeout(REQUEST_MAX, asked).await.map_err(|_| refused("it takes too long"))?;
    answered.map_err(|error| refused(&plain(&error.to_string())))
}

/// The router alone is asked first, so that nobody else can be the first to answer.
async fn find(router: Router) -> Result<Gateway<Tokio>, UpnpError> {
    match search(router, router.address.into(), ALONE_MAX).await {
        Err(UpnpError::Silent) => search(router, EVERYBODY, TOGETHER_MAX).await,
        found => found,
    }
}

async fn search(
    router: Router,
    whom: IpAddr,
    patience: Duration,
) -> Result<Gateway<Tokio>, UpnpError> {
    let mut options = SearchOptions::default();
    // From the interface that leads to the router.
    options.bind_addr = SocketAddr::new(router.client, 0);
    options.broadcast_address = SocketAddr::new(whom, PORT);
    (options.timeout, options.single_search_timeout) = (Some(patience), Some(patience));
    options.allowed_gateway_ips = vec![router.address.into()];
    let found = search_gateway(options).await.map_err(|_| UpnpError::Silent)?;
    // The library lets nobody's description lead to others than itself and the router.
    match found.addr.ip() == IpAddr::V4(router.address) {
        true => Ok(found),
        false => Err(UpnpError::Stranger(found.addr.ip())),
    }
}

/// What a router says, for a terminal and a log.
fn plain(text: &str) -> String {
    let is_shown = |letter: char| letter.is_ascii_graphic() || letter == ' ';
    text.chars()
        .take(REASON_MAX)
        .map(|letter| if is_shown(letter) { letter } else { '?' })
        .collect()
}

#[cfg(test)]
mod tests;
