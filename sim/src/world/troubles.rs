//! What a scenario says is wrong with a network: partitions, lines that lose everything for a while, relays that
//! nobody can dial, and clocks that are wrong.
//!
//! Here it is drawn and planned; [`super::faults`] and [`super::clocks`] do it.

use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore;

use super::{Happening, World};
use crate::experiment::draw_many;
use crate::host::At;
use crate::plan::{Cut, Way};

impl World {
    /// Sets the clocks of relays that are off, each ahead or behind.
    pub(crate) fn skew_clocks(&mut self, rng: &mut ChaCha12Rng) {
        let (count, skew) = (self.network.skewed.of(self.count()), self.network.skew.as_millis());
        let skew = i64::try_from(skew).unwrap_or(i64::MAX);
        for host in self.some(count, rng) {
            let is_ahead = rng.next_u32().is_multiple_of(2);
            self.faults.clocks.set(host, if is_ahead { skew } else { -skew });
        }
    }

    /// Plans the partition, so long after now.
    pub(crate) fn plan_cut(&mut self, begin: Span, rng: &mut ChaCha12Rng) {
        let Cut { share, after, .. } = self.network.cut;
        let hosts = self.some(share.of(self.count()), rng);
        if !hosts.is_empty() {
            self.later(begin + after, Happening::Cut { hosts });
        }
    }

    /// These are cut off from all others.
    pub(super) fn cut_off(&mut self, hosts: &[At]) {
        let others: Vec<_> = (0..self.count()).filter(|host| !hosts.contains(host)).collect();
        let Cut { span, way, .. } = self.network.cut;
        if way != Way::In {
            self.cut(hosts, &others, span);
        }
        if way != Way::Out {
            self.cut(&others, hosts, span);
        }
    }

    /// Whether a host's line loses everything now. Each span of time of each host has a lot of its own, so that nothing
    /// need be remembered.
    pub(super) fn is_in_burst(&self, host: At) -> bool {
        let (bursts, length) = (self.network.bursts.get(), self.network.burst.as_millis());
        if bursts == 0 || length == 0 {
            return false;
        }
        let own = mixed(self.luck ^ mixed(host as u64));
        let number = (self.now.as_millis() + own % length) / length;
        mixed(own ^ number) % 1_000_000 < u64::from(bursts)
    }

    /// Makes honest relays that are off leaves; two stay that can be dialled.
    pub(crate) fn hide_leaves(&mut self, rng: &mut ChaCha12Rng) {
        let honest: Vec<_> = self.honest_hosts().collect();
        let count = self.network.leaves.of(self.count()).min(honest.len().saturating_sub(2));
        self.leaves = count;
        if count > 0 {
            for leaf in draw_many(rng, honest.len(), count) {
                self.hosts[honest[leaf]].become_leaf();
            }
        }
    }

    /// How many hosts can be dialled, and so can be in tables and regions.
    pub(super) fn count_dialled(&self) -> usize {
        self.count() - self.leaves
    }

    /// Whether a host can be.
    pub(crate) fn is_dialled(&self, host: At) -> bool {
        !self.hosts[host].contact().is_leaf()
    }

    /// So many relays, drawn at random; nothing is drawn for none.
    fn some(&self, count: usize, rng: &mut ChaCha12Rng) -> Vec<At> {
        if count == 0 { Vec::new() } else { draw_many(rng, self.count(), count) }
    }
}

/// A number in which every bit depends on every bit of another (the finisher of `SplitMix64`).
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use comm_proto::time::Time;

    use super::*;
    use crate::plan::{Millionths, Network, Plan};

    #[test]
    fn a_line_is_bad_for_its_part_of_the_time_and_for_as_long_as_it_is() {
        let network = Network {
            nodes: 20,
            bursts: Millionths::new(200_000),
            burst: Span::from_secs(10),
            ..Plan::default().network
        };
        let mut world = World::new(&network, 1);
        let (mut bad, mut turns) = (0, 0);
        for host in 0..20 {
            let mut before = None;
            for second in 0..10_000 {
                world.now = Time::ZERO + Span::from_secs(1_000 + second);
                let is_bad = world.is_in_burst(host);
                bad += u64::from(is_bad);
                turns += u64::from(before.is_some_and(|before| before != is_bad));
                before = Some(is_bad);
            }
        }
        // A fifth of 20,000 spans; of two neighbours, one is bad and the other is not in 2 · 0.2 · 0.8 of all cases.
        assert!((36_000..44_000).contains(&bad), "{bad}");
        assert!((5_900..6_900).contains(&turns), "{turns}");
        world.network.bursts = Millionths::default();
        assert!(!world.is_in_burst(1));
    }
}
