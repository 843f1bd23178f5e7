//! One experiment on one network: it is made, finds itself, carries its envelopes, and is measured.
//!
//! Entry point is [`run`].

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::time::{Span, Time};
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::cast::{Cast, Pair};
use crate::host::At;
use crate::measured::{Measured, Minute, Standing};
use crate::people::Deed;
use crate::placement;
use crate::plan::{Plan, Start};
use crate::world::{Absence, START, World};

/// Hosts are switched on over this time, as long as one begins where another is already.
const STARTING: Span = Span::from_mins(2);
/// Readers who are not away come so long before the first envelope.
const BEFORE: Span = Span::from_mins(1);
/// How often, in a network's own time, whoever looks on may end it.
const STEP: Span = Span::from_secs(1);

/// Who looks on while a network is played. What they do changes nothing in it.
pub trait Onlooker {
    /// It has settled (minute 0), or a further minute is over.
    fn minute(&mut self, _minute: u64, _world: &World) {}

    /// Whether to go on: so much of its time is over, and so many inputs were handled. Once refused, the network is
    /// measured as it stands.
    fn goes_on(&mut self, _played: Span, _inputs: u64) -> bool {
        true
    }
}

/// Somebody who looks at every minute.
struct Watcher<'a>(&'a mut dyn FnMut(u64, &World));

impl Onlooker for Watcher<'_> {
    fn minute(&mut self, minute: u64, world: &World) {
        (self.0)(minute, world);
    }
}

/// Who does not care.
struct Nobody;

impl Onlooker for Nobody {}

/// A network's time, which goes on as long as the onlooker wants.
struct Course<'a> {
    onlooker: &'a mut dyn Onlooker,
    is_cut: bool,
}

impl Course<'_> {
    fn advance(&mut self, world: &mut World, until: Time) {
        while world.now() < until {
            let played = world.now().since(START);
            self.is_cut = self.is_cut || !self.onlooker.goes_on(played, world.inputs());
            if self.is_cut {
                return;
            }
            world.run_until((world.now() + STEP).min(until));
        }
    }
}

/// Runs `plan` on the network of `seed`. A behaviour that does not exist does nothing; whoever made
/// the plan has checked the names.
///
/// Does not return before all is done; a plan of a thousand nodes takes seconds.
pub fn run(plan: &Plan, seed: u64) -> Measured {
    run_told(plan, seed, None, &mut Nobody).0
}

/// The same, and shows the network to `watch` when it has settled (minute 0) and after every minute from
/// then on.
pub fn run_watched(plan: &Plan, seed: u64, watch: &mut dyn FnMut(u64, &World)) -> Measured {
    run_told(plan, seed, None, &mut Watcher(watch)).0
}

/// The same before an onlooker, who may end it early, and with `about` what became of the envelopes whose ids begin so,
/// in lines for people. Times in them count from the first envelope.
pub fn run_told(
    plan: &Plan,
    seed: u64,
    about: Option<&str>,
    onlooker: &mut dyn Onlooker,
) -> (Measured, Vec<String>) {
    let mut course = Course { onlooker, is_cut: false };
    let (mut world, adversaries) = begin(plan, seed, &mut course);
    let first = START + STARTING + plan.run.settle;
    about.into_iter().for_each(|about| world.tell_about(about, first));
    let standing = settle(&mut world, plan, &mut course);
    let minutes = watch(&mut world, plan, &mut course);
    world.tell_ends();
    let mut measured = Measured { standing, minutes, ..measure(&world, plan, seed, adversaries) };
    measured.is_cut = course.is_cut;
    if course.is_cut {
        measured.envelopes.truncate(sent(plan, world.now()));
    }
    (measured, world.take_story())
}

/// For how long a network of this plan is played, in its own time.
pub fn length(plan: &Plan) -> Span {
    STARTING + plan.run.settle + last_letter(plan) + plan.traffic.away + plan.run.look
}

/// How many envelopes have been sent by now.
fn sent(plan: &Plan, now: Time) -> usize {
    let first = START + STARTING + plan.run.settle;
    let is_sent = |number: &usize| first + plan.traffic.spacing.times(*number as u64) <= now;
    (0..plan.traffic.envelopes).take_while(is_sent).count()
}

/// Everything from the first envelope on, minute after minute.
fn watch(world: &mut World, plan: &Plan, course: &mut Course<'_>) -> Vec<Minute> {
    let mut minutes = Vec::new();
    if course.is_cut {
        return minutes;
    }
    course.onlooker.minute(0, world);
    let end = world.now() + last_letter(plan) + plan.traffic.away + plan.run.look;
    let mut before = world.messages().clone();
    while world.now() < end {
        course.advance(world, (world.now() + Span::from_mins(1)).min(end));
        if course.is_cut {
            break;
        }
        minutes.push(minute(world, &before));
        before.clone_from(world.messages());
        course.onlooker.minute(minutes.len() as u64, world);
    }
    minutes
}

/// A world in which all are on and everything is planned, and how many adversaries it has.
fn begin(plan: &Plan, seed: u64, course: &mut Course<'_>) -> (World, usize) {
    let mut rng = ChaCha12Rng::seed_from_u64(!seed);
    let mut world = World::with_crypto(&plan.network, seed, plan.run.crypto);
    world.protocol = plan.protocol;
    world.people.lasting_only = plan.protocol.rotating == 0;
    let theirs = placement::draw_relays(plan, &mut rng);
    let mut cast = Cast::draw(&mut world, plan, &theirs, &mut rng);
    let adversaries = placement::place(&mut world, plan, theirs, &cast);
    placement::brief(&mut world, plan, adversaries, START + STARTING + plan.run.settle);
    let none_come_and_go = plan.churn.session == Span::ZERO && plan.churn.trace.is_none();
    if none_come_and_go && !plan.traffic.nodes_go() {
        world.stay_on();
    }
    world.hide_leaves(&mut rng);
    world.skew_clocks(&mut rng);
    start_all(&mut world, plan, &mut rng, course);
    world.plan_cut(plan.run.settle, &mut rng);
    write_letters(&mut world, plan, &mut cast, &mut rng);
    placement::aim(&mut world, plan);
    placement::place_entries(&mut world, plan, &mut rng);
    world.begin_churn(&plan.churn);
    (world, adversaries)
}

/// Lets the network find itself, and looks how it stands then; nothing is known of one that was not let.
fn settle(world: &mut World, plan: &Plan, course: &mut Course<'_>) -> Standing {
    let begin = START + STARTING;
    let settle = plan.run.settle.as_millis();
    let idle = settle.saturating_sub(BEFORE.as_millis()).saturating_sub(settle / 2);
    course.advance(world, begin + Span::from_millis(settle / 2));
    world.count_from_now();
    course.advance(world, begin + Span::from_millis(settle / 2 + idle));
    let kinds = world.messages().iter().map(|(kind, count)| ((*kind).to_owned(), *count));
    let said = kinds.collect();
    // What is sent at that instant counts already, the first envelope among it.
    course.advance(world, begin + Span::from_millis(settle.saturating_sub(1)));
    if course.is_cut {
        return Standing::default();
    }
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
    world.protocol = plan.protocol;
    world.stay_on();
    let mut course = Course { onlooker: &mut Nobody, is_cut: false };
    start_all(&mut world, plan, &mut rng, &mut course);
    world.run_until(START + STARTING + plan.run.settle);
    world.count_from_now();
    world
}

fn start_all(world: &mut World, plan: &Plan, rng: &mut ChaCha12Rng, course: &mut Course<'_>) {
    let count = world.count();
    // Ids that an adversary has made are as old as everybody else.
    let mut order: Vec<_> = if count > plan.network.nodes {
        draw_many(rng, count, count)
    } else {
        (0..count).collect()
    };
    // Somebody must be there who can be told of.
    if let Some(first) = order.iter().position(|host| world.is_dialled(*host)) {
        order.swap(0, first);
    }
    if plan.run.start == Start::Established {
        // They were all there yesterday: none waits for the next.
        let everybody = world.everybody();
        order.iter().for_each(|host| world.start_established(*host, &everybody, rng));
        return course.advance(world, START + STARTING);
    }
    let everybody = (plan.run.start == Start::Settled).then(|| world.everybody());
    let mut up = Vec::new();
    for (number, host) in order.iter().enumerate() {
        if let Some(everybody) = &everybody {
            world.start_settled(*host, everybody, rng);
        } else {
            tell_of_some(world, plan, *host, &up, rng);
        }
        up.extend(world.is_dialled(*host).then_some(*host));
        let until = STARTING.as_millis() * (number as u64 + 1) / count as u64;
        course.advance(world, START + Span::from_millis(until));
        if course.is_cut {
            return;
        }
    }
}

/// Switches a host on that is told of some of those who are up and can be dialled.
fn tell_of_some(world: &mut World, plan: &Plan, host: At, up: &[At], rng: &mut ChaCha12Rng) {
    let told = plan.network.bootstrap.min(up.len());
    let mut known = BTreeSet::new();
    while known.len() < told {
        known.insert(up[draw(rng, up.len())]);
    }
    world.start(host, &known.into_iter().collect::<Vec<_>>());
}

fn write_letters(world: &mut World, plan: &Plan, cast: &mut Cast, rng: &mut ChaCha12Rng) {
    let mut people = vec![0; cast.homes(plan).count()];
    for number in 0..plan.traffic.envelopes {
        let sent = plan.run.settle + plan.traffic.spacing.times(number as u64);
        let (writer, reader, mailbox) = if let Some(pair) = cast.pair(number) {
            (pair.writer, pair.reader, pair.mailbox(world, plan, sent))
        } else {
            let mut pair = Pair::draw(cast.homes(plan), &mut people, rng);
            (pair.writer, pair.reader, pair.mailbox(world, plan, sent))
        };
        let letter = world.people.write(writer, reader, mailbox, plan.traffic.ttl);
        world.plan_deed(sent, letter, Deed::Submit);
        let away = plan.traffic.away;
        let before = plan.run.settle.as_millis().saturating_sub(BEFORE.as_millis());
        let before = Span::from_millis(before);
        let came = if away == Span::ZERO {
            before
        } else {
            Span::from_millis(sent.as_millis() + away.as_millis())
        };
        if plan.traffic.nodes_go() {
            let absence = Absence { opens: before, goes: plan.run.settle, comes: came };
            world.plan_absence(letter, &absence);
        }
        if world.people.opens(letter) {
            world.plan_deed(came, letter, Deed::Open);
        }
    }
    if plan.traffic.nodes_go() {
        world.nodes_go = true;
        world.plan_departures(plan.traffic.leave);
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
        is_cut: false,
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
    use crate::measured::Fate;
    use crate::people::People;
    use crate::plan::{Crypto, Millionths};
    use crate::statistics::{difference, difference_of_shares, mean};
    use crate::world::Reading;

    fn played(nodes: usize, start: Start, crypto: Crypto) -> Measured {
        let mut plan = Plan::default();
        plan.network.nodes = nodes;
        plan.run.start = start;
        plan.network.loss = Millionths::new(5_000);
        plan.traffic.envelopes = 10;
        plan.run.settle = Span::from_secs(20);
        plan.run.look = Span::from_secs(30);
        plan.run.crypto = crypto;
        run(&plan, 11)
    }

    #[test]
    fn real_and_modelled_cryptography_tell_the_same_story() {
        let of = |crypto| played(200, Start::Joining, crypto);
        let (real, model) = (of(Crypto::Real), of(Crypto::Model));
        assert!(real.envelopes.iter().all(|fate| fate.delivered.is_some()));
        assert_eq!(real, model);
    }

    /// A thousand that have found each other before: to find each other takes most of the time, and is in the test above.
    #[test]
    fn so_they_do_among_a_thousand() {
        let of = |crypto| played(1_000, Start::Settled, crypto);
        let (real, model) = (of(Crypto::Real), of(Crypto::Model));
        assert_eq!((real.nodes, real.envelopes.len()), (1_000, 10));
        assert!(real.envelopes.iter().all(|fate| fate.delivered.is_some()));
        assert_eq!(real, model);
    }

    /// What became of sixty envelopes among a thousand relays that began so.
    fn among_a_thousand(start: Start) -> Measured {
        let mut plan = Plan::default();
        plan.network.nodes = 1_000;
        plan.network.loss = Millionths::new(5_000);
        plan.traffic.envelopes = 60;
        plan.run.settle = Span::from_mins(2);
        plan.run.look = Span::from_mins(2);
        plan.run.start = start;
        run(&plan, 3)
    }

    #[test]
    fn networks_that_were_there_a_day_and_such_as_have_found_themselves_agree_in_all_that_becomes_of_envelopes()
     {
        let both = [Start::Settled, Start::Established].map(among_a_thousand);
        for one in &both {
            assert!(one.envelopes.iter().all(|fate| fate.acknowledged.is_some()));
        }
        let [settled, established] = &both;
        let share = |of: &Measured, is: fn(&Fate) -> bool| {
            of.envelopes.iter().filter(|fate| is(fate)).count() as f64 / of.envelopes.len() as f64
        };
        // Copies that are left are too rare for an interval of their mean.
        let shares: [fn(&Fate) -> bool; 3] =
            [|fate| fate.first_attempt, |fate| fate.first_submission, |fate| fate.left == 0];
        for is in shares {
            let [a, b] = [share(settled, is), share(established, is)];
            let (low, high) = difference_of_shares((&[a], 60), (&[b], 60)).unwrap();
            assert!(low <= 0.0 && high >= 0.0, "{a} {b}");
        }
        let figures: [fn(&Fate) -> f64; 5] = [
            |fate| fate.messages as f64,
            |fate| fate.bodies as f64,
            |fate| fate.subscriptions as f64,
            |fate| fate.delivered.unwrap_or(Span::DAY).as_millis() as f64,
            |fate| fate.region_copied.unwrap_or(Span::DAY).as_millis() as f64,
        ];
        for (number, figure) in figures.iter().enumerate() {
            let of = |one: &Measured| one.envelopes.iter().map(figure).collect::<Vec<_>>();
            let (a, b) = (of(settled), of(established));
            let (low, high) = difference(&a, &b).unwrap();
            let means = (mean(&a), mean(&b));
            assert!(low <= 0.0 && high >= 0.0, "figure {number}: {means:?}, {low} to {high}");
        }
        let places = |of: &Measured| of.standing.table.1 as f64 / of.nodes as f64;
        let [a, b] = [places(settled), places(established)];
        assert!((a - b).abs() < 2.0, "{a} {b}");
    }

    /// Ends a network when so much of its time is over.
    struct Impatient(Span);

    impl Onlooker for Impatient {
        fn goes_on(&mut self, played: Span, _: u64) -> bool {
            played < self.0
        }
    }

    #[test]
    fn a_network_that_is_cut_short_tells_of_what_was_sent_and_is_marked() {
        let mut plan = Plan::default();
        plan.network.nodes = 40;
        plan.traffic.envelopes = 10;
        plan.traffic.spacing = Span::from_mins(1);
        plan.run.settle = Span::from_mins(2);
        let cut = |after: Span| run_told(&plan, 1, None, &mut Impatient(after)).0;
        let whole = run(&plan, 1);
        assert!(!whole.is_cut && cut(Span::HOUR) == whole, "who waits long enough changes nothing");
        assert_eq!(length(&plan).as_millis(), whole.simulated.as_millis() + 1);
        // Started and settled after four minutes; the third envelope is sent two minutes later.
        let part = cut(Span::from_mins(6) + Span::from_secs(30));
        assert!(part.is_cut && part.envelopes.len() == 3, "{part:?}");
        assert!(part.envelopes[0].delivered.is_some() && part.standing == whole.standing);
        assert_eq!(part.minutes, whole.minutes[..2]);
        for early in [Span::from_secs(30), Span::from_mins(3)] {
            let part = cut(early);
            assert!(part.is_cut && part.envelopes.is_empty() && part.minutes.is_empty());
            assert_eq!(part.simulated, early, "no longer than it was let");
        }
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
        let mut course = Course { onlooker: &mut Nobody, is_cut: false };
        let (mut world, adversaries) = begin(&plan, 2, &mut course);
        world.reading = reading.unwrap_or(world.reading);
        settle(&mut world, &plan, &mut course);
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
            let mut course = Course { onlooker: &mut Nobody, is_cut: false };
            begin(&plan, 1, &mut course).0.mean_size()
        };
        let (plain, large) = (size("drop"), size("size-up"));
        assert!((40..80).contains(&plain) && large > 2 * plain, "{plain} {large}");
    }
}
