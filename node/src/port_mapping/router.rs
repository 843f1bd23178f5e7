//! Which router forwards ports to this machine.
//!
//! Entry type is [`Router`]. It reads the table of routes where Linux shows it; other systems have none there.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use thiserror::Error;

// As this process sees them: also where the rest of /proc is hidden.
const ROUTES: &str = "/proc/self/net/route";
/// The port on which routers are asked.
const PORT: u16 = 5351;
/// A route is in use, and leads over a router.
const UP_AND_GATEWAY: u32 = 3;

/// A router, and this machine as it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Its address in the local network.
    pub address: Ipv4Addr,
    /// This machine's.
    pub client: IpAddr,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRouter {
    /// The system shows no routes.
    #[error("the routes of this machine cannot be read: {0}")]
    Unreadable(String),
    /// No route leads out.
    #[error("this machine has no default route over IPv4")]
    NoRoute,
    /// The route cannot be used.
    #[error("this machine has no way to its router {0}")]
    NoWay(Ipv4Addr),
}

impl Router {
    /// The one that this machine's default route leads to.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_this_machine() -> Result<Self, NoRouter> {
        let routes =
            fs::read_to_string(ROUTES).map_err(|error| NoRouter::Unreadable(error.to_string()))?;
        let address = default_gateway(&routes).ok_or(NoRouter::NoRoute)?;
        // Nothing is sent by this: the system only says from which address it would.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        let own = socket.and_then(|socket| {
            socket.connect((address, PORT))?;
            socket.local_addr()
        });
        let client = own.map_err(|_| NoRouter::NoWay(address))?.ip();
        Ok(Self { address, client })
    }
}

/// The gateway of the best default route.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    let default = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else {
            return None;
        };
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let is_default = hex(destination)? == 0 && hex(mask)? == 0;
        let is_in_use = hex(flags)? & UP_AND_GATEWAY == UP_AND_GATEWAY;
        // As the machine has it in memory.
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        let metric: u32 = metric.parse().ok()?;
        (is_default && is_in_use).then_some((metric, gateway))
    };
    routes.lines().skip(1).filter_map(default).min().map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn hex(ip: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(ip))
    }

    #[test]
    fn the_router_is_where_the_best_default_route_leads() {
        let route = |to: [u8; 4], over: [u8; 4], flags: &str, metric: u32, mask: [u8; 4]| {
            let (to, over, mask) = (hex(to), hex(over), hex(mask));
            format!("eth0\t{to}\t{over}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n")
        };
        let all = [0; 4];
        let worse = route(all, [192, 168, 0, 1], "0003", 600, all);
        let best = route(all, [192, 168, 1, 1], "0003", 100, all);
        let down = route(all, [192, 168, 2, 1], "0002", 1, all);
        let near = route([192, 168, 1, 0], all, "0001", 0, [255, 255, 255, 0]);
        let table = [HEADING, &near, &worse, &best, &down].concat();
        assert_eq!(default_gateway(&table), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(default_gateway(&[HEADING, &near, &down].concat()), None);
        assert_eq!(default_gateway(""), None);
        assert_eq!(default_gateway("a\nb c d\nx\tZZ\t1\t0003\t0\t0\t0\t0\n"), None);
    }
}
