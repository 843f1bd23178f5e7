//! How many nodes the network has, and how far the region of an address reaches.
//!
//! Entry type is [`NetworkSize`] (PROTOCOL §5.5). It estimates from how dense the addresses lie
//! around random targets and around ourselves. It must never be given the density beside an
//! address somebody else chose: whoever crowds in there would shrink the region. Integers only, so
//! that every machine computes the same.

use std::collections::VecDeque;

use crate::address::Distance;

/// How many searches for random targets are remembered.
pub const SAMPLES_MAX: usize = 32;

/// An estimate of the number of nodes: the median of many samples, so that those who can falsify
/// fewer than half of them cannot move it far.
#[derive(Clone, Debug, Default)]
pub struct NetworkSize {
    /// Oldest first, at most [`SAMPLES_MAX`].
    random: VecDeque<u64>,
    own: Option<u64>,
}

impl NetworkSize {
    /// An estimate without samples: one node, which is us.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns from a search for a *random* target: the distances from it of the closest nodes
    /// found. They must be all there are up to the farthest of them. None at all tell nothing.
    pub fn sample_from(&mut self, closest: &[Distance]) {
        let Some(sample) = nodes_by_density(closest) else { return };
        if self.random.len() == SAMPLES_MAX {
            self.random.pop_front();
        }
        self.random.push_back(sample);
    }

    /// Learns from the nodes of our table that are closest to ourselves, by their distances from
    /// us. A later call replaces an earlier one, since both look at the same place.
    pub fn own_density(&mut self, closest: &[Distance]) {
        self.own = nodes_by_density(closest).or(self.own);
    }

    /// The number of nodes, at least 1.
    pub fn estimate(&self) -> u64 {
        let mut samples: Vec<_> = self.random.iter().copied().chain(self.own).collect();
        samples.sort_unstable();
        let upper = samples.get(samples.len() / 2).copied().unwrap_or(1);
        let lower = samples.get(samples.len().saturating_sub(1) / 2).copied().unwrap_or(1);
        lower.midpoint(upper).max(1)
    }

    /// The distance, by its top 64 bits, within which `regional_nodes` nodes are to be expected
    /// around any address; [`u64::MAX`], which is everywhere, if there are no more than those.
    pub fn region_radius(&self, regional_nodes: u64) -> u64 {
        let nodes = self.estimate();
        let radius = (u128::from(regional_nodes) << 64) / u128::from(nodes);
        u64::try_from(radius).unwrap_or(u64::MAX)
    }
}

/// How many nodes there are if n of them lie within the distance d of the farthest given: n / d,
/// less a third of a node. That n nodes lie within d means that one lies exactly at d, which makes
/// n / d too large on average; with the third taken off, half of all samples are above the truth
/// and half below, as a median needs.
fn nodes_by_density(closest: &[Distance]) -> Option<u64> {
    let farthest = closest.iter().max()?.top_bits();
    let thirds = (closest.len() as u128 * 3 - 1) << 64;
    let nodes = thirds / (3 * (u128::from(farthest) + 1));
    Some(u64::try_from(nodes).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::{RngCore, SeedableRng};

    use super::*;
    use crate::address::Address;

    fn address(rng: &mut ChaCha12Rng) -> Address {
        let mut bytes = [0; Address::LEN];
        rng.fill_bytes(&mut bytes);
        Address::from_bytes(bytes)
    }

    fn closest(nodes: &[Address], target: &Address, count: usize) -> Vec<Distance> {
        let mut distances: Vec<_> = nodes.iter().map(|node| target.distance(node)).collect();
        distances.sort_unstable();
        distances.truncate(count);
        distances
    }

    fn network(nodes: usize, rng: &mut ChaCha12Rng) -> Vec<Address> {
        (0..nodes).map(|_| address(rng)).collect()
    }

    fn sampled(nodes: &[Address], rng: &mut ChaCha12Rng) -> NetworkSize {
        let mut size = NetworkSize::new();
        size.own_density(&closest(&nodes[1..], &nodes[0], 20));
        (0..SAMPLES_MAX).for_each(|_| size.sample_from(&closest(nodes, &address(rng), 20)));
        size
    }

    fn assert_near(size: &NetworkSize, nodes: u64) {
        let (low, high) = (nodes * 7 / 10, nodes * 13 / 10);
        let estimate = size.estimate();
        assert!((low..=high).contains(&estimate), "{estimate} for {nodes}");
    }

    #[test]
    fn the_estimate_is_within_thirty_percent_of_the_truth() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        for nodes in [100, 1_000, 10_000] {
            for _ in 0..5 {
                let network = network(nodes, &mut rng);
                assert_near(&sampled(&network, &mut rng), nodes as u64);
            }
        }
    }

    #[test]
    fn a_third_of_false_samples_does_not_move_the_estimate_far() {
        let mut rng = ChaCha12Rng::seed_from_u64(2);
        let network = network(1_000, &mut rng);
        for false_density in [0, u8::MAX] {
            let mut size = sampled(&network, &mut rng);
            let false_distance = Distance::from_bytes([false_density; 20]);
            (0..SAMPLES_MAX / 3).for_each(|_| size.sample_from(&[false_distance; 20]));
            assert_near(&size, 1_000);
        }
    }

    #[test]
    fn our_own_density_counts_once_and_its_latest_value_holds() {
        let mut rng = ChaCha12Rng::seed_from_u64(6);
        let (small, large) = (network(100, &mut rng), network(1_000, &mut rng));
        let mut size = NetworkSize::new();
        size.own_density(&closest(&small, &address(&mut rng), 20));
        assert!((50..200).contains(&size.estimate()), "{}", size.estimate());
        size.own_density(&closest(&large, &address(&mut rng), 20));
        size.own_density(&[]);
        assert!((500..2_000).contains(&size.estimate()), "{}", size.estimate());
        (0..3).for_each(|_| size.sample_from(&closest(&small, &address(&mut rng), 20)));
        assert!((50..200).contains(&size.estimate()), "{}", size.estimate());
    }

    #[test]
    fn the_estimate_follows_a_network_that_grows() {
        let mut rng = ChaCha12Rng::seed_from_u64(3);
        let (small, large) = (network(100, &mut rng), network(5_000, &mut rng));
        let mut size = sampled(&small, &mut rng);
        (0..SAMPLES_MAX).for_each(|_| size.sample_from(&closest(&large, &address(&mut rng), 20)));
        assert_eq!(size.random.len(), SAMPLES_MAX);
        assert_near(&size, 5_000);
    }

    #[test]
    fn a_region_holds_as_many_nodes_as_asked_for() {
        let mut rng = ChaCha12Rng::seed_from_u64(4);
        let network = network(10_000, &mut rng);
        let radius = sampled(&network, &mut rng).region_radius(20);
        let within = |target: &Address| {
            network.iter().filter(|node| target.distance(node).top_bits() <= radius).count()
        };
        let total: usize = (0..100).map(|_| within(&address(&mut rng))).sum();
        assert!((1_400..=2_600).contains(&total), "{total} in 100 regions");
    }

    #[test]
    fn a_small_network_is_one_region() {
        assert_eq!(NetworkSize::new().estimate(), 1);
        assert_eq!(NetworkSize::new().region_radius(20), u64::MAX);
        let mut rng = ChaCha12Rng::seed_from_u64(5);
        let size = sampled(&network(10, &mut rng), &mut rng);
        assert_eq!(size.region_radius(20), u64::MAX);
    }

    proptest! {
        #[test]
        fn no_sample_overflows_and_the_estimate_is_never_zero(
            samples in prop::collection::vec(prop::collection::vec(any::<[u8; 20]>(), 0..30), 0..40),
            regional_nodes: u64,
        ) {
            let mut size = NetworkSize::new();
            for sample in samples {
                let distances: Vec<_> = sample.into_iter().map(Distance::from_bytes).collect();
                size.sample_from(&distances);
                size.own_density(&distances);
            }
            prop_assert!(size.estimate() >= 1);
            prop_assert!(size.random.len() <= SAMPLES_MAX);
            if size.estimate() <= regional_nodes {
                prop_assert_eq!(size.region_radius(regional_nodes), u64::MAX);
            }
        }
    }
}
