//! Having the router of the local network forward a port to this node, by PCP (RFC 6887) or, where
//! that is not known, NAT-PMP (RFC 6886), or else UPnP.
//!
//! Entry type is [`Forwarder`]. It asks the router that the default route over IPv4 leads to, renews what it was
//! given long before it ends, asks anew while it has nothing, and takes the port back when the node
//! ends. What has come of it is in [`Mapping`]; whether others reach the node by it is only shown by others.

mod lease;
pub mod router;
mod upnp;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use comm_proto::contact::ENDPOINTS_MAX;
use crab_nat::{InternetProtocol, PortMapping, PortMappingOptions, TimeoutConfig, natpmp, pcp};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::links::backoff::Backoff;
use crate::metrics;

use lease::Lease;
use router::{NoRouter, Router};
use upnp::UpnpError;

/// How long a port is asked for, in seconds.
const LEASE_SECS: u32 = 3_600;
/// How often it is asked for again at the least: a router that was restarted has forgotten it.
const RENEW_MAX: Duration = Duration::from_secs(600);
/// The shortest pause between two requests, whatever a router says.
const RENEW_MIN: Duration = Duration::from_secs(10);
/// First and longest wait after a failure.
const WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// How long everything that one attempt takes may take: more than all its parts together on a lame router.
const ATTEMPT_MAX: Duration = Duration::from_secs(45);
/// How long taking the port back may take when the node ends.
const REMOVAL_MAX: Duration = Duration::from_millis(400);

/// Why no router is asked where it could not call this machine.
pub(crate) const NOWHERE: &str =
    "no place of `listen` is one at which a router could call over IPv4";

/// Requests are repeated after 250 ms, each time after twice as long.
const PATIENCE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: None,
};
/// The same at the end of the node.
const HASTE: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(120),
    max_retries: 1,
    max_retry_timeout: None,
};

/// What a router forwards to a node. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Mapping(Arc<Mutex<Option<Mapped>>>);

/// How far a router has been asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// It has not answered yet.
    Asking,
    /// It forwards a port.
    Forwarded {
        /// How it was asked: `PCP`, `NAT-PMP` or `UPnP`.
        protocol: &'static str,
        /// Where the port is, as the router says.
        external: SocketAddr,
    },
    /// It does not, for this reason.
    Refused(String),
}

/// Where a node is told to be, with what a router forwards to it. Cloning shares the latter.
#[derive(Clone, Debug)]
pub struct Told {
    /// What the configuration says, and whether that is for the operator to say alone.
    own: Vec<SocketAddr>,
    is_final: bool,
    mapping: Mapping,
}

/// Asks a router for as long as a node runs.
pub struct Forwarder {
    find: Box<dyn Fn() -> Result<Router, NoRouter> + Send + Sync>,
    port: NonZeroU16,
    mapping: Mapping,
    changed: Box<dyn Fn() + Send + Sync>,
    /// The longest pause between two requests while all is well.
    renew_max: Duration,
}

/// Why no port is forwarded.
#[derive(Debug, Error)]
enum MappingError {
    #[error(transparent)]
    NoRouter(#[from] NoRouter),
    #[error("the router {0} does not answer, neither to PCP nor to NAT-PMP nor to UPnP")]
    Silent(IpAddr),
    #[error("the router {router} refuses: {reason}")]
    Refused { router: IpAddr, reason: String },
}

impl Mapping {
    /// As it is now; nothing if no router is to be asked.
    pub fn now(&self) -> Option<Mapped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether that is another one than before.
    fn set(&self, mapped: Mapped) -> bool {
        metrics::forwarded(matches!(mapped, Mapped::Forwarded { .. }));
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(mapped.clone());
        before.as_ref() != Some(&mapped)
    }

    /// Notes that no port is forwarded, and why; whether that is new.
    pub(crate) fn refuse(&self, reason: &str) -> bool {
        self.set(Mapped::Refused(reason.to_owned()))
    }

    /// Where others reach the port, if the router has a public address.
    fn public(&self) -> Option<SocketAddr> {
        match self.now()? {
            Mapped::Forwarded { external, .. } => Some(external).filter(|at| is_public(&at.ip())),
            Mapped::Asking | Mapped::Refused(_) => None,
        }
    }
}

impl Told {
    /// `own` are the endpoints by the configuration; what is forwarded comes before them unless the operator
    /// has said where the node is reached.
    pub fn new(own: Vec<SocketAddr>, is_final: bool, mapping: Mapping) -> Self {
        Self { own, is_final, mapping }
    }

    /// What others are told now.
    pub fn endpoints(&self) -> Vec<SocketAddr> {
        let mapped = self.mapping.public().filter(|_| !self.is_final);
        let own = self.own.iter().copied().filter(|at| Some(*at) != mapped);
        mapped.into_iter().chain(own).take(ENDPOINTS_MAX).collect()
    }
}

impl Forwarder {
    /// Has TCP port `port` of this machine forwarded, notes in `mapping` what has come of it, and calls
    /// `changed` each time that this is something else.
    pub fn new(
        port: NonZeroU16,
        mapping: Mapping,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        mapping.set(Mapped::Asking);
        let (find, changed) = (Box::new(Router::of_this_machine), Box::new(changed));
        Self { find, port, mapping, changed, renew_max: RENEW_MAX }
    }

    #[cfg(test)]
    fn of(mut self, router: Router) -> Self {
        self.find = Box::new(move || Ok(router));
        self
    }

    #[cfg(test)]
    fn renewed_every(mut self, pause: Duration) -> Self {
        self.renew_max = pause;
        self
    }

    /// Asks until `closed`, then takes the port back. To be spawned.
    pub async fn run(self, closed: impl Future<Output = ()>) {
        let mut lease = None;
        tokio::select! {
            () = closed => {}
            () = self.hold(&mut lease) => {}
        }
        if let Some(lease) = lease {
            remove(lease).await;
        }
    }

    /// Never ends; `lease` is what was given last and has not ended.
    async fn hold(&self, lease: &mut Option<Lease>) {
        let mut backoff = Backoff::new(WAIT.0, WAIT.1);
        loop {
            let wait = match timeout(ATTEMPT_MAX, self.ask(lease)).await {
                Ok(Ok(external)) => {
                    backoff.reset();
                    self.forwarded(lease, external);
                    lease.as_ref().map_or(RENEW_MIN, Lease::pause).min(self.renew_max)
                }
                Ok(Err(error)) => self.failed(lease, &error.to_string(), &mut backoff),
                Err(_) => self.failed(lease, "the router takes too long", &mut backoff),
            };
            sleep(wait).await;
        }
    }

    /// Asks for the port again or for the first time, and for the router's address outside.
    async fn ask(&self, lease: &mut Option<Lease>) -> Result<IpAddr, MappingError> {
        let router = (self.find)()?;
        let address = IpAddr::V4(router.address);
        // By another address of this machine or another router nobody comes any more, or somebody else does.
        if let Some(left) = lease.take_if(|lease| !lease.is_of(&router)) {
            remove(left).await;
        }
        let is_renewed = match lease.as_mut() {
            // A router that was restarted may speak otherwise now.
            Some(before) => before.renew().await.is_ok(),
            None => false,
        };
        if !is_renewed {
            // Noted before the next request: what was given is to be taken back.
            *lease = Some(self.first(router).await?);
        }
        match lease {
            Some(lease) => lease.outside().await,
            None => Err(MappingError::Silent(address)),
        }
    }

    /// Whatever the router knows: the newer protocols, which have no text to be misunderstood, come first.
    async fn first(&self, router: Router) -> Result<Lease, MappingError> {
        let by_asking = match self.by_pcp_or_nat_pmp(router).await {
            Ok(mapping) => return Ok(Lease::Asked(mapping)),
            Err(error) => error,
        };
        let by_upnp = upnp::Lease::first(router, self.port).await;
        by_upnp.map(Lease::Upnp).map_err(|error| match (by_asking, error) {
            (by_asking, UpnpError::Silent) => by_asking,
            (by_asking @ MappingError::Refused { .. }, UpnpError::Stranger(_)) => by_asking,
            (_, error) => refused(router.address.into(), &error),
        })
    }

    async fn by_pcp_or_nat_pmp(&self, router: Router) -> Result<PortMapping, MappingError> {
        let options = PortMappingOptions {
            external_port: Some(self.port),
            lifetime_seconds: Some(LEASE_SECS),
            timeout_config: Some(PATIENCE),
        };
        let (address, tcp) = (router.address, InternetProtocol::Tcp);
        let request = pcp::BaseMapRequest::new(address.into(), router.client, tcp, self.port);
        let by_pcp = match pcp::port_mapping(request, None, None, options).await {
            Ok(mapping) => return Ok(mapping),
            Err(error) => error,
        };
        let by_nat_pmp = natpmp::port_mapping(address.into(), tcp, self.port, options).await;
        by_nat_pmp.map_err(|error| match (by_pcp, error) {
            (
                pcp::Failure::Timeout | pcp::Failure::Socket(_),
                natpmp::Failure::Timeout | natpmp::Failure::Socket(_),
            ) => MappingError::Silent(address.into()),
            (by_pcp, natpmp::Failure::Timeout) => refused(address.into(), &by_pcp),
            (_, error) => refused(address.into(), &error),
        })
    }

    fn forwarded(&self, lease: &Option<Lease>, ip: IpAddr) {
        let Some(lease) = lease else { return };
        let protocol = lease.protocol();
        let external = SocketAddr::new(ip, lease.external_port().get());
        if self.mapping.set(Mapped::Forwarded { protocol, external }) {
            info!(protocol, %external, port = self.port, "the router forwards a port to this node");
            (self.changed)();
        }
    }

    /// A lease outlasts a router that does not answer for a while; one whose address outside the router does not
    /// know is of no use. How long to wait.
    fn failed(&self, lease: &mut Option<Lease>, reason: &str, backoff: &mut Backoff) -> Duration {
        lease.take_if(|lease| lease.has_ended());
        let is_forwarded = matches!(self.mapping.now(), Some(Mapped::Forwarded { .. }));
        let is_lost = lease.is_none() || !is_forwarded;
        if is_lost && self.mapping.refuse(reason) {
            warn!(reason, port = self.port, "the router forwards no port to this node");
            (self.changed)();
        }
        backoff.next_wait()
    }
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder").field("port", &self.port).finish_non_exhaustive()
    }
}

async fn remove(lease: Lease) {
    let ends_by_itself = lease.ends_by_itself();
    match (timeout(REMOVAL_MAX, lease.remove()).await, ends_by_itself) {
        (Ok(true), _) => info!("the router forwards the port no more"),
        (_, true) => warn!(
            "the router was not told to forward the port no more; it will when the lease ends"
        ),
        (_, false) => warn!(
            "the router was not told to forward the port no more, and knows no end of it: remove it by hand"
        ),
    }
}

fn refused(router: IpAddr, reason: &dyn std::fmt::Display) -> MappingError {
    MappingError::Refused { router, reason: reason.to_string() }
}

/// Whether an address is one that the whole internet may call. Those for documentation count as such: nobody has them.
pub(crate) fn is_public(ip: &IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, third, _] = ip.octets();
            let is_of_carrier = first == 100 && second & 0xc0 == 64;
            // This network; multicast and what is reserved, broadcast among it; NAT before IPv6; tests of devices.
            let is_special = first == 0 || first >= 224;
            let is_of_machines = [first, second, third] == [192, 0, 0];
            let is_for_tests = first == 198 && second & 0xfe == 18;
            let is_for_few = ip.is_private() || ip.is_loopback() || ip.is_link_local();
            !(is_for_few || is_of_carrier || is_special || is_of_machines || is_for_tests)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests;
