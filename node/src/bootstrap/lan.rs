//! Relays in the local network, found by multicast DNS (RFC 6762, RFC 6763).
//!
//! Entry type is [`Lan`]. A relay that listens announces its IP addresses, its port, the name of its network and a
//! name that it draws at each start; nothing of its key or of people. Whoever is found is called like any
//! place without a key, and proves one then. Names in a minute and places of a search have bounds. What the library
//! remembers of answers that it hears has none of ours: a search's is let go at its end, an announcement's is not
//! (PROTOCOL §10.11).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mdns_sd::{IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use rand_core::{OsRng, RngCore};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::bootstrap::BootstrapPeer;

/// The service that relays announce.
pub const SERVICE: &str = "_comm._tcp.local.";

/// The property that has the name of the network.
const NETWORK: &str = "network";
/// How long a search may take in which nobody is found.
const SEARCH_MAX: Duration = Duration::from_secs(60);
/// How long a search goes on when somebody was found, since there may be others.
const MORE: Duration = Duration::from_secs(2);
/// The most names that are heard in a minute.
const NAMES_MAX: usize = 32;
/// The most addresses of one name.
const ADDRESSES_MAX: usize = 4;

/// What the local network is told of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Where it listens; of a leaf nothing is told.
    pub listening: Vec<SocketAddr>,
    /// The name of its network.
    pub network: String,
}

/// The local network as a source of relays.
#[derive(Debug)]
pub struct Lan {
    announced: Announced,
    /// What this node is called there.
    name: String,
    /// Answers others for as long as it is there.
    announcing: Option<Daemon>,
    /// Before this nobody is listened to, as too many names were heard.
    rests_until: Option<Instant>,
}

/// Why the local network names nobody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LanError {
    /// The system refuses.
    #[error("multicast DNS cannot be used here: {0}")]
    Unusable(String),
    /// Nobody is there.
    #[error("no other relay is announced in this local network")]
    Nobody,
    /// Somebody announces far too many.
    #[error(
        "{NAMES_MAX} names are announced and none is of use; somebody in this network may be lying"
    )]
    Flood,
}

/// A thread of the library, ended when this is dropped; a name that it announces is then taken back.
struct Daemon(ServiceDaemon);

impl Lan {
    /// For a node of which this is to be told. Nothing is sent before it is asked.
    pub fn new(announced: Announced) -> Self {
        let name = format!("comm-{:016x}", OsRng.next_u64());
        Self { announced, name, announcing: None, rests_until: None }
    }

    /// Announces this node, if it listens, and waits up to a minute for others.
    ///
    /// # Errors
    /// When there are none, or the system has no multicast.
    pub async fn look(&mut self) -> Result<Vec<BootstrapPeer>, LanError> {
        self.announce()?;
        if let Some(end) = self.rests_until.take() {
            sleep_until(end).await;
        }
        let end = Instant::now() + SEARCH_MAX;
        let browsing = Daemon::start()?;
        let events = browsing.0.browse(SERVICE).map_err(unusable)?;
        let (names, heard) = self.heard(events, end).await;
        self.rests_until = (names >= NAMES_MAX).then_some(end);
        heard
    }

    fn announce(&mut self) -> Result<(), LanError> {
        if self.announcing.is_some() {
            return Ok(());
        }
        let Some(service) = self.service()? else { return Ok(()) };
        let daemon = Daemon::start()?;
        daemon.0.register(service).map_err(unusable)?;
        self.announcing = Some(daemon);
        Ok(())
    }

    /// None when nobody in the local network could call.
    fn service(&self) -> Result<Option<ServiceInfo>, LanError> {
        let Announced { listening, network } = &self.announced;
        let told: Vec<_> = listening.iter().filter(|at| !at.ip().is_loopback()).collect();
        let Some(port) = told.first().map(|at| at.port()) else { return Ok(None) };
        let told: Vec<_> = told.iter().filter(|at| at.port() == port).map(|at| at.ip()).collect();
        let on_all = told.iter().any(IpAddr::is_unspecified);
        let ips: Vec<IpAddr> = if on_all { Vec::new() } else { told };
        let host = format!("{}.local.", self.name);
        let properties = [(NETWORK, network.as_str())];
        let service = ServiceInfo::new(SERVICE, &self.name, &host, &ips[..], port, &properties[..]);
        let service = service.map_err(unusable)?;
        Ok(Some(if on_all { service.enable_addr_auto() } else { service }))
    }

    /// How many names were heard until `end`, or until there are enough, and what came of them.
    async fn heard(
        &self,
        events: Receiver<ServiceEvent>,
        end: Instant,
    ) -> (usize, Result<Vec<BootstrapPeer>, LanError>) {
        let (mut names, mut places) = (0, Vec::new());
        while names < NAMES_MAX {
            let patience = if places.is_empty() { SEARCH_MAX } else { MORE };
            let until = end.min(Instant::now() + patience);
            match timeout_at(until, events.recv_async()).await {
                // Each name that is found is asked about, whether it is resolved or not.
                Ok(Ok(ServiceEvent::ServiceFound(..))) => names += 1,
                Ok(Ok(ServiceEvent::ServiceResolved(found))) => {
                    places.extend(self.places(&found));
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) if !places.is_empty() => return (names, Ok(places)),
                Ok(Err(error)) => return (names, Err(LanError::Unusable(error.to_string()))),
                Err(_) => return (names, Err(LanError::Nobody)),
            }
        }
        (names, if places.is_empty() { Err(LanError::Flood) } else { Ok(places) })
    }

    /// Where somebody of the same network listens, unless it is this node.
    fn places(&self, found: &ResolvedService) -> Vec<BootstrapPeer> {
        let is_self = found.fullname.starts_with(&self.name);
        let is_network =
            found.get_property_val_str(NETWORK) == Some(self.announced.network.as_str());
        if is_self || !is_network || found.port == 0 {
            return Vec::new();
        }
        let ips = found.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
        let place =
            |ip: IpAddr| BootstrapPeer { key: None, host: ip.to_string(), port: found.port };
        ips.filter(is_callable).take(ADDRESSES_MAX).map(place).collect()
    }
}

/// Whether a stranger of the local network may have this node call there: not this machine, and an address
/// that means the same on every interface.
fn is_callable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local())
                && ip.to_ipv4_mapped().is_none()
        }
    }
}

impl Daemon {
    fn start() -> Result<Self, LanError> {
        let daemon = ServiceDaemon::new().map_err(unusable)?;
        daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6]).map_err(unusable)?;
        Ok(Self(daemon))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends when it has said so to others; nobody waits for that.
        let _ = self.0.shutdown();
    }
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Daemon")
    }
}

fn unusable(error: mdns_sd::Error) -> LanError {
    LanError::Unusable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan(listening: &[&str]) -> Lan {
        let listening = listening.iter().map(|text| text.parse().unwrap()).collect();
        Lan::new(Announced { listening, network: "comm".to_owned() })
    }

    fn announced(listening: &[&str]) -> Option<(u16, usize, bool)> {
        let service = lan(listening).service().unwrap()?;
        Some((service.get_port(), service.get_addresses().len(), service.is_addr_auto()))
    }

    #[test]
    fn the_local_network_is_told_where_this_node_listens_and_nothing_where_it_could_not_call() {
        assert_eq!(announced(&["0.0.0.0:7667"]), Some((7_667, 0, true)));
        assert_eq!(announced(&["192.0.2.1:7667", "[2001:db8::1]:7667"]), Some((7_667, 2, false)));
        assert_eq!(announced(&["127.0.0.1:7000", "192.0.2.1:7667"]), Some((7_667, 1, false)));
        assert_eq!(announced(&["127.0.0.1:7667"]), None);
        assert_eq!(announced(&[]), None, "of a leaf");
        let lan = lan(&["0.0.0.0:7667"]);
        let service = lan.service().unwrap().unwrap();
        let told: Vec<_> = service.get_properties().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["network=comm"]);
        assert_eq!(service.get_fullname(), format!("{}.{SERVICE}", lan.name));
        assert_ne!(lan.name, Lan::new(Announced::default()).name, "it is drawn at each start");
    }

    #[test]
    fn whoever_is_found_in_the_local_network_is_called_if_it_is_another_node_of_the_same_network() {
        let own = lan(&["0.0.0.0:7667"]);
        let found = |lan: &Lan, ips: &str, network: &str| {
            let host = format!("{}.local.", lan.name);
            let properties = [(NETWORK, network)];
            let service = ServiceInfo::new(SERVICE, &lan.name, &host, ips, 7_668, &properties[..]);
            let places = own.places(&service.unwrap().as_resolved_service());
            places.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let other = lan(&["0.0.0.0:7668"]);
        assert_eq!(found(&other, "192.0.2.1", "comm"), ["192.0.2.1:7668"]);
        assert_eq!(found(&other, "2001:db8::1", "comm"), ["[2001:db8::1]:7668"]);
        assert!(found(&other, "192.0.2.1", "test").is_empty());
        assert!(found(&own, "192.0.2.1", "comm").is_empty());
        for nowhere in ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "fe80::1", "::ffff:127.0.0.1"] {
            assert!(found(&other, nowhere, "comm").is_empty(), "{nowhere}");
        }
        let many = (1..=20).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(found(&other, &many, "comm").len(), ADDRESSES_MAX);
    }
}
