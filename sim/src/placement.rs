//! Where an adversary sits and what it is told.

use std::collections::BTreeSet;

use comm_proto::address::Address;
use comm_proto::key::KeyPair;
use comm_proto::time::{Span, Time};
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore;

use crate::behaviour::{AsEntry, Behaviour, Kind};
use crate::cast::{Cast, nearest};
use crate::experiment::draw_many;
use crate::host::At;
use crate::plan::{Aim, Place, Plan};
use crate::world::World;

/// Made-up identities for each relay, where a behaviour names some.
const IDENTITIES: usize = 4;

/// The relays that are an adversary's by the plan's share.
pub(crate) fn draw_relays(plan: &Plan, rng: &mut ChaCha12Rng) -> BTreeSet<At> {
    if kinds(&plan.adversary.behaviours).is_empty() || plan.adversary.place != Place::Random {
        return BTreeSet::new();
    }
    let nodes = plan.network.nodes;
    // Somebody must be left to begin with, to write and to read.
    let count = plan.adversary.share.of(nodes).min(nodes.saturating_sub(2));
    draw_many(rng, nodes, count).into_iter().collect()
}

/// Hands an adversary its relays and makes its ids; how many that are. Everybody's rule is put before
/// all of them.
pub(crate) fn place(
    world: &mut World,
    plan: &Plan,
    mut theirs: BTreeSet<At>,
    cast: &Cast,
) -> usize {
    let honest: Vec<_> = world.honest_hosts().filter(|at| !theirs.contains(at)).collect();
    for key in ground(world, &honest, &cast.addresses(plan), plan.adversary.ids) {
        theirs.insert(world.add(key));
    }
    let aimed = if plan.adversary.ids > 0 { cast.addresses(plan) } else { Vec::new() };
    world.plot.aimed = (aimed, near(plan));
    let hosts: Vec<_> = theirs.into_iter().collect();
    if plan.adversary.groups > 0 {
        world.move_together(&hosts, plan.adversary.groups);
    }
    let behaviours = kinds(&plan.adversary.behaviours);
    world.corrupt(&hosts, || make(&behaviours));
    if behaviours.iter().any(|kind| kind.invents_identities()) {
        world.make_identities(&hosts, IDENTITIES * plan.network.nodes);
    }
    let rule = kinds(&plan.network.behaviours);
    if !rule.is_empty() {
        (0..world.count()).for_each(|host| world.behave(host, make(&rule)));
    }
    hosts.len()
}

/// Twice as far as a region of that many relays reaches, in top bits.
fn near(plan: &Plan) -> u64 {
    let twice = u128::from(plan.protocol.region) << 65;
    u64::try_from(twice / plan.network.nodes.max(1) as u128).unwrap_or(u64::MAX)
}

/// Keys that lie nearer to each of these addresses than any honest host, `count` for each.
fn ground(world: &mut World, honest: &[At], addresses: &[Address], count: usize) -> Vec<KeyPair> {
    let bounds: Vec<_> = addresses.iter().map(|one| (one, nearest(world, honest, one))).collect();
    let mut missing = vec![count; addresses.len()];
    let mut keys = Vec::new();
    while missing.iter().any(|count| *count > 0) {
        let key = world.draw_key();
        let address = key.address();
        let fits = |((of, bound), missing): &((&&Address, &u64), &mut usize)| {
            **missing > 0 && of.distance(&address).top_bits() < **bound
        };
        let beside = bounds.iter().map(|(of, bound)| (of, bound)).zip(&mut missing).find(fits);
        if let Some((_, missing)) = beside {
            *missing -= 1;
            keys.push(key);
        }
    }
    keys
}

/// Tells all who behave otherwise what they need to know, before the first of them starts.
pub(crate) fn brief(world: &mut World, plan: &Plan, adversaries: usize, begin: Time) {
    let plot = &mut world.plot;
    plot.begin = begin;
    plot.end = begin + plan.traffic.spacing.times(plan.traffic.envelopes as u64);
    plot.ttl = plan.traffic.ttl;
    plot.every = pace(plan, adversaries);
}

/// Tells them whom to flood, once it is known who writes to whom.
pub(crate) fn aim(world: &mut World, plan: &Plan) {
    let first = world.people.first_mailbox();
    world.plot.victim = first.filter(|_| plan.adversary.aim == Aim::Victim);
}

/// The time between two calls of one of so many relays that make `effort` together for each envelope.
fn pace(plan: &Plan, adversaries: usize) -> Span {
    let all = plan.traffic.spacing.times(adversaries as u64);
    match plan.adversary.effort as u64 {
        0 => Span::ZERO,
        effort => Span::from_millis((all.as_millis() / effort).max(1)),
    }
}

/// Makes a share of all places in the lists of entries an adversary's, whoever comes to have them: every
/// host is a bad entry of each node that people use with that chance, a lasting one or the one that
/// changes.
pub(crate) fn place_entries(world: &mut World, plan: &Plan, rng: &mut ChaCha12Rng) {
    let collects = match plan.adversary.place {
        Place::Random => return,
        Place::Entries => true,
        Place::SendersEntries => false,
    };
    let behaviours = kinds(&plan.adversary.behaviours);
    let (writers, readers) = world.people.hosts();
    let readers = readers.into_iter().filter(|_| collects);
    let users: BTreeSet<_> = writers.into_iter().chain(readers).collect();
    for host in 0..world.count() {
        let is_bad = |_: &&At| rng.next_u32() % 1_000_000 < plan.adversary.share.get();
        let of: Vec<_> = users.iter().filter(is_bad).collect();
        let of: BTreeSet<_> = of.into_iter().map(|user| world.address(*user)).collect();
        if of.is_empty() {
            continue;
        }
        let as_entry = |behaviour| -> Box<dyn Behaviour> {
            Box::new(AsEntry::new(of.clone(), collects, behaviour))
        };
        world.behave(host, make(&behaviours).into_iter().map(as_entry).collect());
    }
}

fn kinds(names: &[String]) -> Vec<&'static Kind> {
    names.iter().filter_map(|name| Kind::find(name)).collect()
}

fn make(kinds: &[&'static Kind]) -> Vec<Box<dyn Behaviour>> {
    kinds.iter().map(|kind| kind.make()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Mailboxes;
    use rand_core::SeedableRng;

    fn plan(pairs: usize, ids: usize, mailboxes: Mailboxes) -> Plan {
        let mut plan = Plan::default();
        plan.network.nodes = 50;
        plan.traffic.pairs = pairs;
        plan.traffic.mailboxes = mailboxes;
        plan.adversary.ids = ids;
        plan.adversary.behaviours = vec!["collude".to_owned()];
        plan
    }

    #[test]
    fn ids_lie_nearer_to_each_address_than_any_honest_node() {
        for (mailboxes, groups) in
            [(Mailboxes::Public, 2), (Mailboxes::Conversation, 4), (Mailboxes::Node, 2)]
        {
            let (plan, mut rng) = (plan(2, 3, mailboxes), ChaCha12Rng::seed_from_u64(1));
            let mut world = World::new(&plan.network, 1);
            let honest: Vec<_> = world.honest_hosts().collect();
            let mut cast = Cast::draw(&mut world, &plan, &BTreeSet::new(), &mut rng);
            assert_eq!(place(&mut world, &plan, BTreeSet::new(), &cast), groups * 3);
            assert_eq!(cast.addresses(&plan).len(), groups);
            let theirs: Vec<_> = (50..world.count()).collect();
            for address in cast.addresses(&plan) {
                let bound = nearest(&world, &honest, &address);
                let distance = |at: &At| world.address(*at).distance(&address).top_bits();
                assert!(theirs.iter().filter(|at| distance(at) < bound).count() >= 3);
            }
            let public = cast.addresses(&plan)[0];
            let mailbox = cast.pair(0).unwrap().mailbox(&mut world, &plan, Span::ZERO);
            assert_eq!(mailbox.address() == public, mailboxes != Mailboxes::Conversation);
        }
    }

    #[test]
    fn ids_lie_beside_the_mailbox_of_a_conversation_that_was_seen_for_as_long_as_it_is_used() {
        let (mut plan, mut rng) =
            (plan(2, 3, Mailboxes::Conversation), ChaCha12Rng::seed_from_u64(1));
        plan.adversary.aim = Aim::Seen;
        let mut world = World::new(&plan.network, 1);
        let honest: Vec<_> = world.honest_hosts().collect();
        let mut cast = Cast::draw(&mut world, &plan, &BTreeSet::new(), &mut rng);
        assert_eq!(place(&mut world, &plan, BTreeSet::new(), &cast), 2 * 3);
        let addresses = cast.addresses(&plan);
        for (pair, address) in addresses.iter().enumerate() {
            let bound = nearest(&world, &honest, address);
            let distance = |at: &At| world.address(*at).distance(address).top_bits();
            assert!((50..56).filter(|at| distance(at) < bound).count() >= 3);
            let mut at = |day| {
                let pair = cast.pair(pair).unwrap();
                pair.mailbox(&mut world, &plan, Span::from_days(day)).address()
            };
            let days: Vec<_> = (0..22).map(&mut at).collect();
            let turns: Vec<_> = (1..22).filter(|day| days[*day] != days[*day - 1]).collect();
            assert_eq!((days[0], turns.len()), (*address, 3), "{turns:?}");
            assert!(turns.windows(2).all(|turns| turns[1] - turns[0] == 7), "{turns:?}");
        }
        assert_ne!(addresses[0], addresses[1]);
    }

    #[test]
    fn the_effort_is_shared_by_all() {
        let mut plan = plan(0, 0, Mailboxes::Public);
        plan.adversary.effort = 4;
        // One envelope a second, four calls a second, of which each of ten makes one in 2.5 seconds.
        assert_eq!(pace(&plan, 10), Span::from_millis(2_500));
        plan.adversary.effort = 0;
        assert_eq!(pace(&plan, 10), Span::ZERO);
    }
}
