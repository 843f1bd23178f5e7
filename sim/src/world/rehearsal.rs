//! A network that has found itself before: whom a node asks on its way in is not asked, and the answer comes at
//! once from somebody who knows them all.
//!
//! Entry type is [`Everybody`]. A node fills its table as it always does, by calls that are answered: it is named
//! as many nodes of every distance as a table holds, finds its neighbours and looks in every bucket, and goes
//! on with its upkeep for half an hour by its own clock, which then shows the time of the world. Nothing is
//! sent, and a node that stands before another has no say. What is saved is nearly all that a large
//! network does before its first envelope.

use std::collections::{BTreeSet, VecDeque};

use comm_proto::address::{Address, Distance};
use comm_proto::contact::Contact;
use comm_proto::message::{CONTACTS_MAX, Request, Response};
use comm_proto::node::{CallId, Command, Input, Node, Output};
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use rand_chacha::ChaCha12Rng;

use super::World;
use crate::experiment::draw;
use crate::host::At;

/// Nodes that are named to a node at a time: it pings as many at once.
const NAMED: usize = 8;
/// A node that has not come to rest after so many inputs never will.
const INPUTS_MAX: usize = 100_000;
/// How long nodes have been up when the world meets them. A node that has just begun searches for itself
/// again and again for 10 minutes, and has searched every bucket anew after 15.
const UP_AT_LEAST: Span = Span::from_mins(25);
/// Some have been up for longer by up to this much: the upkeep of all does not come at once.
const UP_LONGER_MAX: Span = Span::from_mins(15);

/// All hosts in the order of their addresses.
pub(crate) struct Everybody {
    all: Vec<(Address, At)>,
    /// Entries of a full bucket.
    bucket: usize,
}

/// Whom a node knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// How many full buckets there are, which is how many leading bits it has in common with the nearest.
    pub(super) depth: usize,
    /// Those of full buckets.
    pub(super) far: Vec<At>,
    /// Those of its last bucket: all that are so near.
    pub(super) near: Vec<At>,
}

/// One node on its way in.
struct Rehearsal<'a> {
    everybody: &'a Everybody,
    /// Inputs that come next.
    inputs: VecDeque<Input>,
    /// Queries of its searches that have not been answered.
    queries: VecDeque<(CallId, Address)>,
    /// What was asked about last, and the nodes nearest to that.
    nearest: Option<(Address, Vec<Contact>)>,
    /// What its clock shows.
    clock: Time,
    handled: usize,
}

impl Everybody {
    /// Hosts that have at least the first `bits` bits of their addresses in common with this one.
    pub(super) fn within(&self, of: &Address, bits: usize) -> &[(Address, At)] {
        let (mut least, mut most) = (*of.as_bytes(), *of.as_bytes());
        for (index, (least, most)) in least.iter_mut().zip(&mut most).enumerate() {
            let free = 0xff_u8.checked_shr(bits.saturating_sub(8 * index) as u32).unwrap_or(0);
            *least &= !free;
            *most |= free;
        }
        let [least, most] = [least, most].map(Address::from_bytes);
        let begin = self.all.partition_point(|(address, _)| *address < least);
        let end = self.all.partition_point(|(address, _)| *address <= most);
        &self.all[begin..end]
    }

    /// As many hosts as a full table holds, drawn at random from those of each distance, and all of the nearest.
    pub(super) fn known_to(&self, own: &Address, rng: &mut ChaCha12Rng) -> Known {
        let most = self.bucket;
        let depth = self.depth(own);
        let mut known = Known { depth, ..Known::default() };
        for bits in 0..depth {
            let far = self.within(&own.at(&distance_of_bit(bits)), bits + 1);
            let mut drawn = BTreeSet::new();
            while drawn.len() < most.min(far.len()) {
                drawn.insert(draw(rng, far.len()));
            }
            known.far.extend(drawn.into_iter().map(|place| far[place].1));
        }
        let near = self.within(own, depth).iter().filter(|(address, _)| address != own);
        known.near.extend(near.map(|(_, at)| *at));
        known
    }

    /// How many leading bits those have in common with a host that are no more than a bucket holds, itself among
    /// them: its table splits so often, or once less.
    pub(super) fn depth(&self, own: &Address) -> usize {
        let fits = |bits: &usize| self.within(own, *bits).len() <= self.bucket;
        (0..Address::BITS).find(fits).unwrap_or(Address::BITS)
    }

    /// The hosts nearest to an address, nearest first, that one aside which asks.
    fn nearest(&self, target: &Address, asker: At) -> Vec<At> {
        let near = self.by_distance(target, asker, CONTACTS_MAX);
        near.into_iter().take(CONTACTS_MAX).map(|(_, at)| at).collect()
    }

    /// How far those are from an address who are nearest to it, as many as a bucket holds and that one aside which asks.
    pub(super) fn distances(&self, target: &Address, asker: At) -> Vec<Distance> {
        let near = self.by_distance(target, asker, self.bucket);
        near.into_iter().take(self.bucket).map(|(distance, _)| distance).collect()
    }

    /// At least `count` hosts nearest to an address, as far as there are so many, nearest first, and how far they are.
    fn by_distance(&self, target: &Address, asker: At, count: usize) -> Vec<(Distance, At)> {
        // There hardly ever are so many with more bits in common; the asker may be one of them.
        let mut bits = (self.all.len() / (count + 1)).max(1).ilog2() as usize;
        while bits > 0 && self.within(target, bits).len() <= count {
            bits -= 1;
        }
        let near = self.within(target, bits).iter().filter(|(_, at)| *at != asker);
        let mut near: Vec<_> = near.map(|(address, at)| (address.distance(target), *at)).collect();
        near.sort_unstable_by_key(|(distance, _)| *distance);
        near
    }
}

/// The distance of two addresses that differ in this bit alone.
pub(super) fn distance_of_bit(bit: usize) -> Distance {
    let mut bytes = [0; Address::LEN];
    bytes[bit / 8] = 0x80 >> (bit % 8);
    Distance::from_bytes(bytes)
}

impl World {
    /// All hosts that can be dialled.
    pub(crate) fn everybody(&self) -> Everybody {
        let all = self.by_address.iter().map(|(address, at)| (*address, *at));
        let all = all.filter(|(_, at)| self.is_dialled(*at)).collect();
        Everybody { all, bucket: self.protocol.bucket }
    }

    /// Switches a host on that has found its place in the network before, as if all of `everybody` were up.
    ///
    /// # Panics
    /// When its node never comes to rest.
    pub(crate) fn start_settled(&mut self, host: At, everybody: &Everybody, rng: &mut ChaCha12Rng) {
        let longer = draw(rng, UP_LONGER_MAX.as_millis() as usize) as u64;
        let age = UP_AT_LEAST + Span::from_millis(longer);
        let mut rehearsal = Rehearsal {
            everybody,
            inputs: VecDeque::new(),
            queries: VecDeque::new(),
            nearest: None,
            clock: self.clock(host) - age,
            handled: 0,
        };
        self.switch_on_at(host, rehearsal.clock);
        let Known { mut far, near, .. } = everybody.known_to(&self.address(host), rng);
        far.extend(near);
        for known in far.chunks(NAMED) {
            let named = known.iter().map(|at| self.hosts[*at].contact().clone()).collect();
            rehearsal.inputs.push_back(Input::Command(Command::Bootstrap(named)));
            self.rehearse(host, &mut rehearsal);
        }
        while let Some(next) = self.next_of(host, &mut rehearsal) {
            rehearsal.inputs.push_back(next);
            self.rehearse(host, &mut rehearsal);
        }
        self.wake(host);
    }

    /// What its node waits for: the answer to a query, or to be woken before the world meets it.
    fn next_of(&mut self, host: At, rehearsal: &mut Rehearsal<'_>) -> Option<Input> {
        if let Some((id, about)) = rehearsal.queries.pop_front() {
            let contacts = self.told_of(host, about, rehearsal);
            return Some(Input::Response { id, result: Ok(Response::Nodes { contacts }) });
        }
        let now = self.clock(host);
        let next = self.hosts[host].node().and_then(Node::poll_timeout);
        let (at, _) = next.filter(|(at, _)| *at <= now)?;
        rehearsal.clock = rehearsal.clock.max(at);
        Some(Input::Tick)
    }

    fn told_of(&self, host: At, about: Address, rehearsal: &mut Rehearsal<'_>) -> Vec<Contact> {
        match &rehearsal.nearest {
            Some((before, nearest)) if *before == about => nearest.clone(),
            _ => {
                let nearest = rehearsal.everybody.nearest(&about, host);
                let nearest: Vec<_> =
                    nearest.into_iter().map(|at| self.hosts[at].contact().clone()).collect();
                rehearsal.nearest = Some((about, nearest.clone()));
                nearest
            }
        }
    }

    /// Hands a node what comes next, until nothing does.
    fn rehearse(&mut self, host: At, rehearsal: &mut Rehearsal<'_>) {
        while let Some(input) = rehearsal.inputs.pop_front() {
            rehearsal.handled += 1;
            assert!(rehearsal.handled <= INPUTS_MAX, "host {host} never comes to rest");
            if !self.handle(host, input, rehearsal.clock) {
                return;
            }
            self.inputs += 1;
            while let Some(output) =
                self.hosts[host].running().and_then(|(node, _)| node.poll_output())
            {
                self.trace.note(self.now, host, &output);
                self.rehearse_output(host, output, rehearsal);
            }
        }
    }

    fn rehearse_output(&mut self, host: At, output: Output, rehearsal: &mut Rehearsal<'_>) {
        match output {
            Output::Write(batch) => {
                let seq = batch.seq;
                self.hosts[host].write(batch);
                self.hosts[host].sync(seq);
                rehearsal.inputs.push_back(Input::Durable(seq));
            }
            Output::Call { id, request: Request::Ping { .. }, .. } => {
                let (time, observed) = (rehearsal.clock, Some(self.hosts[host].source()));
                let result = Ok(Response::Pong { time, observed });
                rehearsal.inputs.push_back(Input::Response { id, result });
            }
            Output::Call { id, request: Request::FindNode { target }, .. } => {
                rehearsal.queries.push_back((id, target));
            }
            // Whatever else it asks, nobody answers; nobody has a client or an envelope yet.
            Output::Call { id, .. } => {
                rehearsal
                    .inputs
                    .push_back(Input::Response { id, result: Err(Rejection::Unreachable) });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::world::START;
    use comm_proto::time::Span;
    use rand_core::SeedableRng;

    fn everybody(count: usize) -> (World, Everybody) {
        let mut network = Plan::default().network;
        network.nodes = count;
        let world = World::new(&network, 1);
        let everybody = world.everybody();
        (world, everybody)
    }

    #[test]
    fn those_within_some_bits_and_the_nearest_are_those_that_a_look_at_all_finds() {
        let (world, everybody) = everybody(300);
        for host in [0, 7, 299] {
            let own = world.address(host);
            let all: Vec<_> = (0..300).map(|at| (own.distance(&world.address(at)), at)).collect();
            for bits in 0..24 {
                let mut found: Vec<_> =
                    everybody.within(&own, bits).iter().map(|(_, at)| *at).collect();
                found.sort_unstable();
                let near = all.iter().filter(|(distance, _)| distance.common_bits() >= bits);
                assert_eq!(found, near.map(|(_, at)| *at).collect::<Vec<_>>(), "{bits}");
            }
            let mut others: Vec<_> = all.into_iter().filter(|(_, at)| *at != host).collect();
            others.sort_unstable();
            let nearest: Vec<_> = others.iter().take(CONTACTS_MAX).map(|(_, at)| *at).collect();
            assert_eq!(everybody.nearest(&own, host), nearest);
        }
    }

    #[test]
    fn a_settled_node_has_a_full_table_and_its_neighbours_and_goes_on_with_its_upkeep() {
        let (mut world, everybody) = everybody(300);
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        for host in 0..300 {
            world.start_settled(host, &everybody, &mut rng);
            let known: BTreeSet<_> =
                world.host(host).node().unwrap().table_nodes().map(Contact::address).collect();
            // Beyond those with whom it shares its last bucket, buckets are full of others.
            let own = world.address(host);
            let is_whole = |near: &&[_]| near.len() <= everybody.bucket;
            let near = (0..Address::BITS).map(|bits| everybody.within(&own, bits)).find(is_whole);
            let near = near.unwrap();
            assert!(near.iter().all(|(address, _)| *address == own || known.contains(address)));
        }
        let size = world.mean_size();
        assert!((240..=375).contains(&size), "{size}");
        // Four halvings leave 18 or 19 nodes: four buckets of twenty, and those.
        assert!((85.0..=110.0).contains(&world.mean_peers()), "{}", world.mean_peers());
        // One that joins pings all that it comes to know, and searches for itself again and again.
        assert_eq!(calls(&world), 0);
        let calls_in = |world: &mut World, from: u64, to: u64| {
            world.run_until(START + Span::from_mins(from));
            let before = calls(world);
            world.run_until(START + Span::from_mins(to));
            calls(world) - before
        };
        let quarters = [0, 15, 30, 45].map(|from| calls_in(&mut world, from, from + 15));
        assert!(quarters.iter().all(|calls| *calls > 300 * 15), "{quarters:?}");
        assert!(quarters[0] < 300 * 100, "{quarters:?}");
    }

    fn calls(world: &World) -> u64 {
        world.messages().values().sum()
    }
}
