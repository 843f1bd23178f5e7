//! What a scenario says goes wrong with all of a network: partitions, and clocks that are wrong.
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

    /// So many relays, drawn at random; nothing is drawn for none.
    fn some(&self, count: usize, rng: &mut ChaCha12Rng) -> Vec<At> {
        if count == 0 { Vec::new() } else { draw_many(rng, self.count(), count) }
    }
}
