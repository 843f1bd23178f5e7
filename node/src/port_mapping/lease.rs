//! A port that a router forwards, whichever way it was asked.
//!
//! Entry type is [`Lease`].

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use crab_nat::{PortMapping, PortMappingType, natpmp};

use super::router::Router;
use super::{HASTE, LEASE_SECS, MappingError, PATIENCE, RENEW_MAX, RENEW_MIN, refused, upnp};

/// What a router has given.
#[derive(Debug)]
pub(super) enum Lease {
    /// By PCP or NAT-PMP.
    Asked(PortMapping),
    /// By UPnP.
    Upnp(upnp::Lease),
}

impl Lease {
    /// Whether it is of this router, and leads to where that reaches this machine now.
    pub(super) fn is_of(&self, router: &Router) -> bool {
        match self {
            Self::Asked(mapping) => IpAddr::from(mapping.gateway()) == IpAddr::V4(router.address),
            Self::Upnp(lease) => lease.is_of(router),
        }
    }

    /// Who has given it.
    pub(super) fn router(&self) -> IpAddr {
        match self {
            Self::Asked(mapping) => mapping.gateway().into(),
            Self::Upnp(lease) => lease.router(),
        }
    }

    /// How it was asked for.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::Asked(mapping) => match mapping.mapping_type() {
                PortMappingType::NatPmp => "NAT-PMP",
                PortMappingType::Pcp { .. } => "PCP",
            },
            Self::Upnp(_) => "UPnP",
        }
    }

    /// The port of the router.
    pub(super) fn external_port(&self) -> NonZeroU16 {
        match self {
            Self::Asked(mapping) => mapping.external_port(),
            Self::Upnp(lease) => lease.external_port(),
        }
    }

    /// Whether it ends though nobody takes it back.
    pub(super) fn ends_by_itself(&self) -> bool {
        match self {
            Self::Asked(_) => true,
            Self::Upnp(lease) => lease.ends_by_itself(),
        }
    }

    /// Whether its time is over.
    pub(super) fn has_ended(&self) -> bool {
        let expiration = match self {
            Self::Asked(mapping) => mapping.expiration(),
            Self::Upnp(lease) => lease.expiration(),
        };
        expiration <= Instant::now()
    }

    /// Until it is to be renewed: half of its time at the most.
    pub(super) fn pause(&self) -> Duration {
        let seconds = match self {
            Self::Asked(mapping) => mapping.lifetime(),
            Self::Upnp(_) => LEASE_SECS,
        };
        (Duration::from_secs(seconds.into()) / 2).clamp(RENEW_MIN, RENEW_MAX)
    }

    /// Asks for the same once more; on failure it is as it was.
    pub(super) async fn renew(&mut self) -> Result<(), MappingError> {
        let router = self.router();
        match self {
            Self::Asked(mapping) => {
                let mut again = mapping.clone();
                again.renew().await.map_err(|error| refused(router, &error))?;
                *mapping = again;
                Ok(())
            }
            Self::Upnp(lease) => lease.renew().await.map_err(|error| refused(router, &error)),
        }
    }

    /// The router's address outside, as it says.
    pub(super) async fn outside(&self) -> Result<IpAddr, MappingError> {
        let router = self.router();
        match self {
            Self::Asked(mapping) => match mapping.mapping_type() {
                PortMappingType::Pcp { external_ip, .. } => Ok(external_ip.to_canonical()),
                PortMappingType::NatPmp => {
                    let outside = natpmp::external_address(mapping.gateway(), Some(PATIENCE)).await;
                    outside.map(IpAddr::V4).map_err(|error| refused(router, &error))
                }
            },
            Self::Upnp(lease) => lease.outside().await.map_err(|error| refused(router, &error)),
        }
    }

    /// Takes the port back; whether the router has said so.
    pub(super) async fn remove(self) -> bool {
        match self {
            Self::Asked(mut mapping) => {
                mapping.timeout_config = HASTE;
                mapping.try_drop().await.is_ok()
            }
            Self::Upnp(lease) => lease.remove().await.is_ok(),
        }
    }
}
