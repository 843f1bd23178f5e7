//! A network whose relays have been there for a day: each is switched on with the table that it would have by then,
//! drawn from all relays, and nothing is played for that.
//!
//! Entry point is [`World::start_established`]. What is drawn is what the upkeep of PROTOCOL §5.3 leaves where everybody
//! stays: each node of the table has answered so often that it is pinged every four hours, and answered last at some
//! time in the last half hour, its neighbours when the node last searched for itself; each bucket was searched so
//! often without finding anybody new that it is every four hours. No two do their upkeep at the same time.
//!
//! Half an hour and not four, because whoever answers and finds a bucket full has the one pinged that was silent longest
//! there. Nodes that do not know the one that pings them ping it back, and may so have another one pinged: drawn from four
//! hours, large networks said several times as much in their first minutes. That half an hour is right was not measured.

use comm_proto::address::{Address, Distance};
use comm_proto::network_size::SAMPLES_MAX;
use comm_proto::node::{Input, Output, Past, PastSearch};
use comm_proto::time::{Span, Time};
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore;

use super::World;
use super::rehearsal::{Everybody, Known, distance_of_bit};
use crate::experiment::draw;
use crate::host::At;

/// A node searches for itself once in so long, and in half as long again at most.
const LOOKED: Span = Span::from_mins(15);
/// A silence that an answer ends is twice as long the next time, and so are the pauses between searches of a bucket.
const FIRST: Span = Span::from_mins(15);
/// So often is it doubled.
const DOUBLED: u32 = 4;
/// The longest between two searches of a bucket.
const LONGEST: Span = FIRST.times(1 << DOUBLED);
/// When those answered last whom a node knows, beside its neighbours.
const SILENT: Span = Span::from_mins(30);

impl World {
    /// Switches a host on that has been in the network for a day, as if all of `everybody` had been.
    pub(crate) fn start_established(
        &mut self,
        host: At,
        everybody: &Everybody,
        rng: &mut ChaCha12Rng,
    ) {
        self.switch_on(host);
        let clock = self.clock(host);
        let past = self.past_of(host, everybody, clock, rng);
        if let Some((node, store)) = self.hosts[host].running() {
            node.remember(past, store, clock).expect("a store in memory does not fail");
        }
        let next = |world: &mut Self| world.hosts[host].running()?.0.poll_output();
        while let Some(output) = next(self) {
            self.trace.note(self.now, host, &output);
            // Nobody is told anything: the one thing that it wants is that its disk has what it knows.
            if let Output::Write(batch) = output {
                let seq = batch.seq;
                self.hosts[host].write(batch);
                self.hosts[host].sync(seq);
                self.input(host, Input::Durable(seq));
            }
        }
        self.wake(host);
    }

    fn past_of(&self, host: At, everybody: &Everybody, clock: Time, rng: &mut ChaCha12Rng) -> Past {
        let own = self.address(host);
        let looks_every = LOOKED + part_of(Span::from_millis(LOOKED.as_millis() / 2), rng);
        let looked_at = ago(clock, looks_every, rng);
        let Known { depth, far, near } = everybody.known_to(&own, rng);
        let mut answers = Vec::with_capacity((far.len() + near.len()) * (DOUBLED as usize + 1));
        let mut answered = |at: At, last: Time| {
            let contact = self.hosts[at].contact();
            answers.extend(times(last).map(|time| (contact.clone(), time)));
        };
        near.into_iter().for_each(|at| answered(at, looked_at));
        far.into_iter().for_each(|at| answered(at, ago(clock, SILENT, rng)));
        let searches = self.searches_of(host, everybody, (depth, clock), rng);
        Past { answers, searches, looked_at, looks_at: looked_at + looks_every }
    }

    /// The searches of its buckets, of which the latest tell how large the network is.
    fn searches_of(
        &self,
        host: At,
        everybody: &Everybody,
        (depth, clock): (usize, Time),
        rng: &mut ChaCha12Rng,
    ) -> Vec<PastSearch> {
        let own = self.address(host);
        let buckets = depth + 1;
        let last: Vec<_> = (0..buckets).map(|_| ago(clock, LONGEST, rng)).collect();
        let mut searches = Vec::with_capacity(buckets * (DOUBLED as usize + 1));
        for round in (0..=DOUBLED as usize).rev() {
            for (bits, last) in last.iter().enumerate() {
                let target =
                    if bits < depth { beside(&own, bits, rng) } else { within(&own, bits, rng) };
                let counts = round * buckets < SAMPLES_MAX;
                let nearest = if counts { everybody.distances(&target, host) } else { Vec::new() };
                let began = *last - LONGEST.times(round as u64);
                searches.push(PastSearch { target, began, nearest });
            }
        }
        searches
    }
}

/// A random address that has just so many leading bits in common with this one.
fn beside(own: &Address, bits: usize, rng: &mut ChaCha12Rng) -> Address {
    within(&own.at(&distance_of_bit(bits)), bits + 1, rng)
}

/// A random address that has at least so many leading bits in common with this one.
fn within(own: &Address, bits: usize, rng: &mut ChaCha12Rng) -> Address {
    let mut distance = [0; Address::LEN];
    rng.fill_bytes(&mut distance[bits / 8..]);
    distance[bits / 8] &= 0xff >> (bits % 8);
    own.at(&Distance::from_bytes(distance))
}

/// When a node answered whose last answer was then, and who is asked as seldom as anybody is.
fn times(last: Time) -> impl Iterator<Item = Time> {
    (0..=u64::from(DOUBLED)).rev().map(move |before| last - FIRST.times(before))
}

/// Some time in the last `span`.
fn ago(now: Time, span: Span, rng: &mut ChaCha12Rng) -> Time {
    now - part_of(span, rng)
}

fn part_of(span: Span, rng: &mut ChaCha12Rng) -> Span {
    Span::from_millis(draw(rng, span.as_millis() as usize) as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use comm_proto::contact::Contact;
    use comm_proto::node::Node;
    use rand_core::SeedableRng;

    use super::*;
    use crate::plan::{Plan, Start};
    use crate::world::START;

    const COUNT: usize = 300;

    /// A network that has begun so, and nobody is there who has not.
    fn begun(start: Start) -> (World, Everybody) {
        let mut network = Plan::default().network;
        network.nodes = COUNT;
        let mut world = World::new(&network, 1);
        let everybody = world.everybody();
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        for host in 0..COUNT {
            match start {
                Start::Established => world.start_established(host, &everybody, &mut rng),
                _ => world.start_settled(host, &everybody, &mut rng),
            }
        }
        (world, everybody)
    }

    fn calls(world: &World) -> u64 {
        world.messages().values().sum()
    }

    /// What is sent in each five minutes of an hour.
    fn sent(world: &mut World) -> Vec<u64> {
        let mut said = Vec::new();
        for minutes in (5..=60).step_by(5) {
            let before = calls(world);
            world.run_until(START + Span::from_mins(minutes));
            said.push(calls(world) - before);
        }
        said
    }

    #[test]
    fn a_relay_of_yesterday_knows_as_many_as_one_that_has_found_its_place_and_all_its_neighbours() {
        let ((world, everybody), (settled, _)) = (begun(Start::Established), begun(Start::Settled));
        assert_eq!(calls(&world), 0);
        for host in 0..COUNT {
            let node = world.host(host).node().unwrap();
            let known: BTreeSet<_> = node.table_nodes().map(Contact::address).collect();
            let own = world.address(host);
            let near = everybody.within(&own, everybody.depth(&own));
            assert!(near.iter().all(|(address, _)| *address == own || known.contains(address)));
        }
        assert!((world.mean_peers() - settled.mean_peers()).abs() < 2.0);
        let (size, true_size) = (world.mean_size() as i64, COUNT as i64);
        assert!((size - true_size).abs() < true_size / 10, "{size}");
        assert!((size - settled.mean_size() as i64).abs() < true_size / 10, "{size}");
    }

    #[test]
    fn relays_of_yesterday_do_their_upkeep_at_all_times() {
        let said = sent(&mut begun(Start::Established).0);
        let (least, most) = (said.iter().min().unwrap(), said.iter().max().unwrap());
        assert!(*least > 0 && most < &(2 * least), "{said:?}");
    }

    #[test]
    fn nobody_of_yesterday_loses_anybody_or_finds_its_table_wanting() {
        let (mut world, _) = begun(Start::Established);
        let before = world.mean_peers();
        world.run_until(START + Span::HOUR);
        assert!((world.mean_peers() - before).abs() < 1.0, "{before} {}", world.mean_peers());
        let failed = |node: &Node| node.stats().calls_unanswered;
        assert_eq!(world.hosts.iter().filter_map(|host| host.node()).map(failed).sum::<u64>(), 0);
    }
}
