//! Which host has which IP address: how many share the first 16 bits of theirs.
//!
//! Entry type is [`IpPlan`]. As long as groups are small, every host has a /24 of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::host::At;

/// The port on which every host listens, and the one from which it calls.
const LISTENING_PORT: u16 = 4_000;
pub(crate) const CALLING_PORT: u16 = 50_000;
/// The first 16 bits of the first host's address, those behind the last's, and of the first that has
/// moved. From 11.0.0.0 to 99.255.255.255 nothing is private or reserved, nor from 208.0.0.0 to
/// 211.255.255.255.
const FIRST_GROUP: u32 = 11 << 8;
const NO_GROUP: u32 = 100 << 8;
const FIRST_MOVED: u32 = 208 << 8;
/// Hosts of one group, at most, and groups, those of the moved ones aside.
pub(crate) const GROUP_MAX: usize = 60_000;
pub(crate) const GROUPS_MAX: usize = (NO_GROUP - FIRST_GROUP) as usize;
/// Groups of the moved ones.
pub(crate) const MOVED_MAX: usize = 1_000;
/// Hosts of a world; with groups of 256 there is room for more.
pub(crate) const HOSTS_MAX: usize = 1 << 20;

/// Addresses of all hosts.
#[derive(Debug)]
pub(crate) struct IpPlan {
    group: u32,
    moved: BTreeMap<Ipv4Addr, At>,
}

impl IpPlan {
    /// So many hosts in each group, one after the other.
    pub(crate) fn new(group: usize) -> Self {
        Self { group: group.clamp(1, GROUP_MAX) as u32, moved: BTreeMap::new() }
    }

    /// Where a host listens that has not moved.
    pub(crate) fn endpoint(&self, at: At) -> SocketAddr {
        let at = at as u32;
        endpoint(FIRST_GROUP + at / self.group, at % self.group)
    }

    /// These hosts move to as many groups as told, dealt out in turn; where they listen then.
    pub(crate) fn move_together(&mut self, hosts: &[At], groups: usize) -> Vec<SocketAddr> {
        let groups = groups.max(1) as u32;
        let places = (0_u32..).map(|number| (FIRST_MOVED + number % groups, number / groups));
        let moves = hosts.iter().zip(places).map(|(at, (group, place))| {
            self.moved.insert(ip(group, place), *at);
            endpoint(group, place)
        });
        moves.collect()
    }

    /// Who listens there, if anybody may.
    pub(crate) fn listener(&self, endpoint: &SocketAddr) -> Option<At> {
        let SocketAddr::V4(endpoint) = endpoint else { return None };
        if endpoint.port() != LISTENING_PORT {
            return None;
        }
        if let Some(at) = self.moved.get(endpoint.ip()) {
            return Some(*at);
        }
        let bits = endpoint.ip().to_bits();
        let group = (bits >> 16).checked_sub(FIRST_GROUP)?;
        let place = ((bits >> 8) & 0xff) + 256 * (bits & 0xff).checked_sub(1)?;
        let at = group as At * self.group as At + place as At;
        let is_one = place < self.group && group < NO_GROUP - FIRST_GROUP && at < HOSTS_MAX;
        is_one.then_some(at)
    }
}

fn endpoint(group: u32, place: u32) -> SocketAddr {
    SocketAddr::new(ip(group, place).into(), LISTENING_PORT)
}

fn ip(group: u32, place: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(group << 16 | (place % 256) << 8 | (1 + place / 256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_is_found_where_it_listens() {
        for group in [1, 7, 256, 1_000] {
            let plan = IpPlan::new(group);
            let last = (group * GROUPS_MAX).min(HOSTS_MAX) - 1;
            for at in [0, 1, 255, 256, 999, 20_000, last] {
                assert_eq!(plan.listener(&plan.endpoint(at)), Some(at), "{group}");
            }
        }
        let plan = IpPlan::new(256);
        assert_eq!(plan.listener(&plan.endpoint(589_824)), Some(589_824));
        assert_eq!(plan.listener(&([11, 0, 0, 1], 80).into()), None);
        assert_eq!(plan.listener(&([10, 255, 255, 1], 4_000).into()), None);
        assert_eq!(plan.listener(&([27, 0, 0, 1], 4_000).into()), None);
        assert_eq!(plan.listener(&([11, 0, 0, 0], 4_000).into()), None);
        assert_eq!(IpPlan::new(1).listener(&([100, 0, 0, 1], 4_000).into()), None);
    }

    #[test]
    fn no_host_has_an_address_that_is_private_or_reserved() {
        let first = |endpoint: SocketAddr| match endpoint.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[0],
            std::net::IpAddr::V6(_) => 0,
        };
        let mut plan = IpPlan::new(256);
        assert_eq!(first(plan.endpoint(0)), 11);
        assert_eq!(first(plan.endpoint(HOSTS_MAX - 1)), 26);
        assert_eq!(first(IpPlan::new(1).endpoint(GROUPS_MAX - 1)), 99);
        let hosts: Vec<_> = (0..MOVED_MAX).collect();
        let moved = plan.move_together(&hosts, MOVED_MAX);
        assert!(moved.into_iter().all(|endpoint| (208..212).contains(&first(endpoint))));
    }

    #[test]
    fn hosts_of_one_group_share_sixteen_bits_and_no_address() {
        let plan = IpPlan::new(300);
        let ips: Vec<_> = (0..600).map(|at| plan.endpoint(at).ip()).collect();
        let group = |at: usize| ips[at].to_string().rsplitn(3, '.').last().map(str::to_owned);
        assert!((0..300).all(|at| group(at) == group(0)));
        assert!((300..600).all(|at| group(at) == group(300) && group(at) != group(0)));
        assert_eq!(ips.iter().collect::<std::collections::BTreeSet<_>>().len(), 600);
    }

    #[test]
    fn whoever_moves_is_found_there_and_shares_a_group_with_its_like() {
        let mut plan = IpPlan::new(256);
        let hosts = [5, 900, 17, 3];
        let endpoints = plan.move_together(&hosts, 2);
        for (at, endpoint) in hosts.iter().zip(&endpoints) {
            assert_eq!(plan.listener(endpoint), Some(*at));
        }
        let group = |at: usize| endpoints[at].to_string()[..6].to_owned();
        assert!(group(0) == group(2) && group(1) == group(3) && group(0) != group(1));
    }
}
