//! One experiment on one network: it is made, finds itself, carries its envelopes, and is measured.
//!
//! Entry point is [`run`].

use std::collections::BTreeSet;

use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::cast::{Cast, Pair};
use crate::host::At;
use crate::measured::Measured;
use crate::people::Deed;
use crate::placement;
use crate::plan::Plan;
use crate::world::{START, World};

/// Hosts are switched on over this time, as long as one begins where another is already.
const STARTING: Span = Span::from_mins(2);
/// Readers who are not away come so long before the first envelope.
const BEFORE: Span = Span::from_mins(1);

/// Runs `plan` on the network of `seed`. A behaviour that does not exist does nothing; whoever made
/// the plan has checked the names.
///
/// Does not return before all is done; a plan of a thousand nodes takes seconds.
pub fn run(plan: &Plan, seed: u64) -> Measured {
    let (mut world, adversaries) = begin(plan, seed);
    world.count_from_now();
    world.run_until(world.now() + last_letter(plan) + plan.traffic.away + plan.run.look);
    measure(&world, seed, adversaries)
}

/// A world that has settled, up to its first envelope, and how many adversaries it has.
fn begin(plan: &Plan, seed: u64) -> (World, usize) {
    let mut rng = ChaCha12Rng::seed_from_u64(!seed);
    let mut world = World::with_crypto(&plan.network, seed, plan.run.crypto);
    let theirs = placement::draw_relays(plan, &mut rng);
    let cast = Cast::draw(&mut world, plan, &theirs, &mut rng);
    let adversaries = placement::place(&mut world, plan, theirs, &cast);
    let begin = START + STARTING + plan.run.settle;
    placement::brief(&mut world, plan, adversaries, begin);
    if plan.churn.session == Span::from_millis(0) {
        world.stay_on();
    }
    start_all(&mut world, plan, &mut rng);
    write_letters(&mut world, plan, &cast, &mut rng);
    placement::aim(&mut world, plan);
    placement::place_entries(&mut world, plan, &mut rng);
    if plan.churn.session > Span::from_millis(0) {
        world.begin_churn(plan.churn.session, plan.churn.pause);
    }
    world.run_until(begin);
    (world, adversaries)
}

/// A network in which nobody writes or comes and goes, when all its nodes have been there for
/// `plan.run.settle`.
pub fn idle(plan: &Plan, seed: u64) -> World {
    let mut rng = ChaCha12Rng::seed_from_u64(!seed);
    let mut world = World::with_crypto(&plan.network, seed, plan.run.crypto);
    world.stay_on();
    start_all(&mut world, plan, &mut rng);
    world.run_until(START + STARTING + plan.run.settle);
    world.count_from_now();
    world
}

fn start_all(world: &mut World, plan: &Plan, rng: &mut ChaCha12Rng) {
    let count = world.count();
    // Ids that an adversary has made are as old as everybody else.
    let order = if count > plan.network.nodes {
        draw_many(rng, count, count)
    } else {
        (0..count).collect()
    };
    for (number, host) in order.iter().enumerate() {
        let told = plan.network.bootstrap.min(number);
        let mut known = BTreeSet::new();
        while known.len() < told {
            known.insert(order[draw(rng, number)]);
        }
        world.start(*host, &known.into_iter().collect::<Vec<_>>());
        let until = STARTING.as_millis() * (number as u64 + 1) / count as u64;
        world.run_until(START + Span::from_millis(until));
    }
}

fn write_letters(world: &mut World, plan: &Plan, cast: &Cast, rng: &mut ChaCha12Rng) {
    let honest: Vec<_> = world.honest_hosts().collect();
    for number in 0..plan.traffic.envelopes {
        let pair = cast.pair(number).cloned();
        let pair = pair.unwrap_or_else(|| Pair::draw(&honest, rng));
        let mailbox = pair.mailbox(world, plan);
        let letter = world.people.write(pair.writer, pair.reader, mailbox, plan.traffic.ttl);
        let sent = plan.run.settle + plan.traffic.spacing.times(number as u64);
        world.plan_deed(sent, letter, Deed::Submit);
        let away = plan.traffic.away;
        let came = if away == Span::from_millis(0) {
            Span::from_millis(plan.run.settle.as_millis().saturating_sub(BEFORE.as_millis()))
        } else {
            Span::from_millis(sent.as_millis() + away.as_millis())
        };
        if world.people.opens(letter) {
            world.plan_deed(came, letter, Deed::Open);
        }
    }
}

/// When the last envelope is sent, after the first.
fn last_letter(plan: &Plan) -> Span {
    plan.traffic.spacing.times(plan.traffic.envelopes.saturating_sub(1) as u64)
}

fn measure(world: &World, seed: u64, adversaries: usize) -> Measured {
    let envelopes = world.people.fates().map(|(id, mailbox, fate)| {
        let left = id.map_or(0, |id| world.holders(&id));
        let theirs = world.theirs_near(&mailbox);
        crate::measured::Fate { left, theirs, ..fate.clone() }
    });
    Measured {
        seed,
        envelopes: envelopes.collect(),
        messages: world.messages().clone(),
        nodes: world.count(),
        adversaries,
        events: world.inputs(),
        simulated: world.now().since(START),
        trace: world.trace(),
    }
}

/// One of `count`, each as likely as the others. `count` is at least 1.
pub(crate) fn draw(rng: &mut ChaCha12Rng, count: usize) -> usize {
    (rng.next_u64() % count as u64) as usize
}

/// `count` different ones of `all`.
pub(crate) fn draw_many(rng: &mut ChaCha12Rng, all: usize, count: usize) -> Vec<At> {
    let mut hosts: Vec<_> = (0..all).collect();
    for i in 0..count {
        let other = i + draw(rng, all - i);
        hosts.swap(i, other);
    }
    hosts.truncate(count);
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Crypto, Millionths};

    fn played(crypto: Crypto) -> Measured {
        let mut plan = Plan::default();
        plan.network.nodes = 200;
        plan.network.loss = Millionths::new(5_000);
        plan.traffic.envelopes = 10;
        plan.run.settle = Span::from_secs(20);
        plan.run.look = Span::from_secs(30);
        plan.run.crypto = crypto;
        run(&plan, 11)
    }

    #[test]
    fn real_and_modelled_cryptography_tell_the_same_story() {
        let (real, model) = (played(Crypto::Real), played(Crypto::Model));
        assert!(real.envelopes.iter().all(|fate| fate.delivered.is_some()));
        assert_eq!(real, model);
    }

    #[test]
    fn made_up_identities_make_a_network_look_larger() {
        let mut plan = Plan::default();
        plan.network.nodes = 60;
        plan.traffic.envelopes = 1;
        plan.adversary.share = Millionths::new(300_000);
        let mut size = |behaviour: &str| {
            plan.adversary.behaviours = vec![behaviour.to_owned()];
            begin(&plan, 1).0.mean_size()
        };
        let (plain, large) = (size("drop"), size("size-up"));
        assert!((40..80).contains(&plain) && large > 2 * plain, "{plain} {large}");
    }
}
