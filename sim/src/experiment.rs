//! One experiment on one network: it is made, finds itself, carries its envelopes, and is measured.
//!
//! Entry point is [`run`].

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::cast::{Cast, Pair};
use crate::host::At;
use crate::measured::{Measured, Minute, Standing};
use crate::people::Deed;
use crate::placement;
use crate::plan::{Plan, Start};
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
    run_watched(plan, seed, &mut |_, _| {})
}

/// The same, and shows the network to `watch` when it has settled (minute 0) and after every minute from
/// then on.
pub fn run_watched(plan: &Plan, seed: u64, watch: &mut dyn FnMut(u64, &World)) -> Measured {
    run_told(plan, seed, None, watch).0
}

/// The same, and with `about` what became of the envelopes whose ids begin so, in lines for people. Times in them
/// count from the first envelope.
pub fn run_told(
    plan: &Plan,
    seed: u64,
    about: Option<&str>,
    watch: &mut dyn FnMut(u64, &World),
) -> (Measured, Vec<String>) {
    let (mut world, adversaries) = begin(plan, seed);
    let first = START + STARTING + plan.run.settle;
    about.into_iter().for_each(|about| world.tell_about(about, first));
    let standing = settle(&mut world, plan);
    watch(0, &world);
    let end = world.now() + last_letter(plan) + plan.traffic.away + plan.run.look;
    let mut minutes = Vec::new();
    let mut before = world.messages().clone();
    while world.now() < end {
        world.run_until((world.now() + Span::from_mins(1)).min(end));
        minutes.push(minute(&world, &before));
        before.clone_from(world.messages());
        watch(minutes.len() as u64, &world);
    }
    world.tell_ends();
    let measured = Measured { standing, minutes, ..measure(&world, plan, seed, adversaries) };
    (measured, world.take_story())
}

/// A world in which all are on and everything is planned, and how many adversaries it has.
fn begin(plan: &Plan, seed: u64) -> (World, usize) {
    let mut rng = ChaCha12Rng::seed_from_u64(!seed);
    let mut world = World::with_crypto(&plan.network, seed, plan.run.crypto);
    let theirs = placement::draw_relays(plan, &mut rng);
    let cast = Cast::draw(&mut world, plan, &theirs, &mut rng);
    let adversaries = placement::place(&mut world, plan, theirs, &cast);
    placement::brief(&mut world, plan, adversaries, START + STARTING + plan.run.settle);
    if plan.churn.session == Span::ZERO && plan.churn.trace.is_none() {
        world.stay_on();
    }
    start_all(&mut world, plan, &mut rng);
    write_letters(&mut world, plan, &cast, &mut rng);
    placement::aim(&mut world, plan);
    placement::place_entries(&mut world, plan, &mut rng);
    world.begin_churn(&plan.churn);
    (world, adversaries)
}

/// Lets the network find itself, and looks how it stands then.
fn settle(world: &mut World, plan: &Plan) -> Standing {
    let begin = START + STARTING;
    let settle = plan.run.settle.as_millis();
    let idle = settle.saturating_sub(BEFORE.as_millis()).saturating_sub(settle / 2);
    world.run_until(begin + Span::from_millis(settle / 2));
    world.count_from_now();
    world.run_until(begin + Span::from_millis(settle / 2 + idle));
    let kinds = world.messages().iter().map(|(kind, count)| ((*kind).to_owned(), *count));
    let said = kinds.collect();
    // What is sent at that instant counts already, the first envelope among it.
    world.run_until(begin + Span::from_millis(settle.saturating_sub(1)));
    world.count_from_now();
    let idle_millis = idle.saturating_mul(world.count() as u64);
    Standing { idle: said, idle_millis, ..world.standing() }
}

/// The minute that is over; `before` is what was counted until it began.
fn minute(world: &World, before: &BTreeMap<&'static str, u64>) -> Minute {
    let (copies, bytes) = world.people.copies();
    let kinds = world
        .messages()
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), count - before.get(kind).copied().unwrap_or(0)));
    let messages = kinds.filter(|(_, count)| *count > 0).collect();
    Minute { up: world.honest_up(), copies, bytes, messages }
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
    let everybody = (plan.run.start == Start::Settled).then(|| world.everybody());
    for (number, host) in order.iter().enumerate() {
        if let Some(everybody) = &everybody {
            world.start_settled(*host, everybody, rng);
        } else {
            tell_of_some(world, plan, &order[..=number], rng);
        }
        let until = STARTING.as_millis() * (number as u64 + 1) / count as u64;
        world.run_until(START + Span::from_millis(until));
    }
}

/// Switches the last of these on, who is told of some of the others.
fn tell_of_some(world: &mut World, plan: &Plan, up: &[At], rng: &mut ChaCha12Rng) {
    let Some((host, others)) = up.split_last() else { return };
    let told = plan.network.bootstrap.min(others.len());
    let mut known = BTreeSet::new();
    while known.len() < told {
        known.insert(others[draw(rng, others.len())]);
    }
    world.start(*host, &known.into_iter().collect::<Vec<_>>());
}

fn write_letters(world: &mut World, plan: &Plan, cast: &Cast, rng: &mut ChaCha12Rng) {
    let hosts = cast.hosts();
    let mut people = vec![0; hosts.len()];
    for number in 0..plan.traffic.envelopes {
        let pair = cast.pair(number).cloned();
        let pair = pair.unwrap_or_else(|| Pair::draw(hosts, &mut people, rng));
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

fn measure(world: &World, plan: &Plan, seed: u64, adversaries: usize) -> Measured {
    Measured {
        seed,
        envelopes: world.fates(),
        messages: world.messages().clone(),
        lost: world.lost(),
        fullest: (world.fullest(), plan.network.store),
        standing: Standing::default(),
        minutes: Vec::new(),
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
    use comm_proto::acknowledgement::Acknowledgement;
    use comm_proto::envelope::EnvelopeId;
    use comm_proto::message::Request;
    use comm_proto::rejection::Rejection;
    use comm_proto::time::Time;
    use comm_proto::wire::{decode, object, peer};

    use super::*;
    use crate::people::People;
    use crate::plan::{Crypto, Millionths};
    use crate::world::Reading;

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

    /// What a host would read that verified no signature: whoever says to own a mailbox owns it.
    fn credulous(message: peer::Request, people: &People, now: Time) -> Result<Request, Rejection> {
        let Some(peer::request::Request::Acknowledge(told)) = &message.request else {
            return decode::request(message, now);
        };
        let owners = (0..people.count_letters()).filter_map(|letter| people.secrets(letter));
        let owners = owners.map(|(key, _)| key).collect::<Vec<_>>();
        let sign = |one: &object::Acknowledgement| {
            let owner = owners.iter().find(|key| key.public().as_bytes()[..] == one.mailbox_key)?;
            let ids =
                one.ids.iter().map(|id| Some(EnvelopeId::from_bytes(id[..].try_into().ok()?)));
            let until = Time::from_millis(one.expires_at);
            Acknowledgement::sign(owner, ids.collect::<Option<Vec<_>>>()?, until).ok()
        };
        let acknowledgements = told.acknowledgements.iter().filter_map(sign).collect::<Vec<_>>();
        Ok(Request::Acknowledge { acknowledgements })
    }

    /// Ten envelopes that wait for five minutes while four of forty relays forge.
    fn forged(reading: Option<Reading>) -> Measured {
        let mut plan = Plan::default();
        plan.network.nodes = 40;
        plan.traffic.envelopes = 10;
        plan.traffic.away = Span::from_mins(5);
        plan.adversary.share = Millionths::new(100_000);
        plan.adversary.behaviours = vec!["forge".to_owned()];
        plan.adversary.effort = 20;
        plan.run.settle = Span::from_mins(5);
        plan.run.crypto = Crypto::Real;
        let (mut world, adversaries) = begin(&plan, 2);
        world.reading = reading.unwrap_or(world.reading);
        settle(&mut world, &plan);
        world.run_until(world.now() + Span::from_mins(6));
        measure(&world, &plan, 2, adversaries)
    }

    #[test]
    fn forgeries_end_what_waits_where_signatures_are_not_verified_and_nothing_where_they_are() {
        let wronged =
            |measured: &Measured| measured.envelopes.iter().map(|fate| fate.wronged).sum::<u64>();
        let (careful, careless) = (forged(None), forged(Some(credulous)));
        assert_eq!(wronged(&careful), 0);
        assert!(wronged(&careless) > 20, "{}", wronged(&careless));
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
