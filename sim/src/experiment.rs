//! One experiment on one network: it is made, finds itself, carries its envelopes, and is measured.
//!
//! Entry point is [`run`].

use std::collections::BTreeSet;

use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::behaviour::{Behaviour, Kind};
use crate::host::At;
use crate::measured::Measured;
use crate::people::Deed;
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
    let mut rng = ChaCha12Rng::seed_from_u64(!seed);
    let mut world = World::with_crypto(&plan.network, seed, plan.run.crypto);
    if plan.churn.session == Span::from_millis(0) {
        world.stay_on();
    }
    let adversaries = corrupt(&mut world, plan, &mut rng);
    start_all(&mut world, plan, &mut rng);
    write_letters(&mut world, plan, &mut rng);
    if plan.churn.session > Span::from_millis(0) {
        world.begin_churn(plan.churn.session, plan.churn.pause);
    }
    world.run_until(START + STARTING + plan.run.settle);
    world.count_from_now();
    world.run_until(world.now() + last_letter(plan) + plan.traffic.away + plan.run.look);
    measure(&world, plan, seed, adversaries)
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

fn corrupt(world: &mut World, plan: &Plan, rng: &mut ChaCha12Rng) -> usize {
    let kinds: Vec<_> =
        plan.adversary.behaviours.iter().filter_map(|name| Kind::find(name)).collect();
    let nodes = plan.network.nodes;
    // Somebody must be left to begin with, to write and to read.
    let count = plan.adversary.share.of(nodes).min(nodes.saturating_sub(2));
    if kinds.is_empty() {
        return 0;
    }
    let theirs = draw_many(rng, nodes, count);
    let behave = || kinds.iter().map(|kind| kind.make()).collect::<Vec<Box<dyn Behaviour>>>();
    world.corrupt(&theirs, behave);
    count
}

fn start_all(world: &mut World, plan: &Plan, rng: &mut ChaCha12Rng) {
    let nodes = plan.network.nodes;
    for host in 0..nodes {
        let told = plan.network.bootstrap.min(host);
        let mut known = BTreeSet::new();
        while known.len() < told {
            known.insert(draw(rng, host));
        }
        world.start(host, &known.into_iter().collect::<Vec<_>>());
        let until = STARTING.as_millis() * (host as u64 + 1) / nodes as u64;
        world.run_until(START + Span::from_millis(until));
    }
}

fn write_letters(world: &mut World, plan: &Plan, rng: &mut ChaCha12Rng) {
    let honest: Vec<_> = world.honest_hosts().collect();
    for number in 0..plan.traffic.envelopes {
        let writer = draw(rng, honest.len());
        // Anybody else.
        let reader = (writer + 1 + draw(rng, honest.len() - 1)) % honest.len();
        let mailbox = world.draw_key();
        let (writer, reader) = (honest[writer], honest[reader]);
        let letter = world.people.write(writer, reader, mailbox, plan.traffic.ttl);
        let sent = plan.run.settle + plan.traffic.spacing.times(number as u64);
        world.plan_deed(sent, letter, Deed::Submit);
        let away = plan.traffic.away;
        let came = if away == Span::from_millis(0) {
            Span::from_millis(plan.run.settle.as_millis().saturating_sub(BEFORE.as_millis()))
        } else {
            Span::from_millis(sent.as_millis() + away.as_millis())
        };
        world.plan_deed(came, letter, Deed::Open);
    }
}

/// When the last envelope is sent, after the first.
fn last_letter(plan: &Plan) -> Span {
    plan.traffic.spacing.times(plan.traffic.envelopes.saturating_sub(1) as u64)
}

fn measure(world: &World, plan: &Plan, seed: u64, adversaries: usize) -> Measured {
    let envelopes = world.people.fates().map(|(id, fate)| {
        let left = id.map_or(0, |id| world.holders(&id));
        crate::measured::Fate { left, ..fate.clone() }
    });
    Measured {
        seed,
        envelopes: envelopes.collect(),
        messages: world.messages().clone(),
        nodes: plan.network.nodes,
        adversaries,
        events: world.inputs(),
        simulated: world.now().since(START),
        trace: world.trace(),
    }
}

/// One of `count`, each as likely as the others. `count` is at least 1.
fn draw(rng: &mut ChaCha12Rng, count: usize) -> usize {
    (rng.next_u64() % count as u64) as usize
}

/// `count` different ones of `all`.
fn draw_many(rng: &mut ChaCha12Rng, all: usize, count: usize) -> Vec<At> {
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
}
