//! Who writes to whom, and where that waits.
//!
//! Entry types are [`Cast`], the pairs that a plan asks for, and [`Pair`].

use std::collections::BTreeSet;

use comm_proto::address::Address;
use comm_proto::key::KeyPair;
use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore;

use crate::experiment::{draw, draw_many};
use crate::host::At;
use crate::plan::{Aim, Mailboxes, Plan, Who};
use crate::world::World;

/// For how long a conversation's mailbox is used (PROTOCOL §4.6).
const EPOCH: Span = Span::from_days(7);

/// How often a pair is drawn anew, at most, whose addresses would cost an adversary too much.
const DRAWS_MAX: usize = 1_000;

/// People who use one host, each with a connection of their own; a node has room for 1,024.
const PEOPLE_MAX: usize = 1_000;

/// Where relays come and go, or the nodes of people do, people use one of so many honest ones, and at least so
/// many: the others are left to go, or to stay, however many people there are.
const USED: usize = 10;
const USED_LEAST: usize = 4;

/// Who may write and read: the pairs of a plan that has some, and the hosts that people use.
#[derive(Default)]
pub(crate) struct Cast {
    pairs: Vec<Pair>,
    hosts: Vec<At>,
}

/// The hosts that people use.
#[derive(Clone, Copy)]
pub(crate) struct Homes<'a> {
    hosts: &'a [At],
    /// Whether those of senders, the first half, are nobody else's: they go, and others come back.
    apart: bool,
}

/// A sender and a recipient.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) writer: At,
    pub(crate) reader: At,
    /// The keys behind their public addresses, the recipient's first, if they are known to anybody.
    public: Option<(KeyPair, KeyPair)>,
    /// The mailboxes that only these two know, if that is where envelopes wait.
    conversation: Option<Conversation>,
}

/// The mailboxes from one to the other, a further one in each epoch (PROTOCOL §4.6).
#[derive(Clone)]
struct Conversation {
    keys: Vec<KeyPair>,
    /// When the second epoch begins, from when all hosts are on; each pair has a phase of its own.
    turns: Span,
}

impl Cast {
    /// Draws the pairs among all who are not `theirs`.
    pub(crate) fn draw(
        world: &mut World,
        plan: &Plan,
        theirs: &BTreeSet<At>,
        rng: &mut ChaCha12Rng,
    ) -> Self {
        world.people.mailboxes = plan.traffic.mailboxes;
        let honest: Vec<_> = world.honest_hosts().filter(|at| !theirs.contains(at)).collect();
        let used = used_hosts(plan, honest.len());
        let hosts = if used < honest.len() {
            draw_many(rng, honest.len(), used).into_iter().map(|one| honest[one]).collect()
        } else {
            honest.clone()
        };
        let homes = Homes::new(&hosts, plan);
        let one = |_| Pair::draw_public(world, plan, (&honest, homes), rng);
        Self { pairs: (0..plan.traffic.pairs).map(one).collect(), hosts }
    }

    /// Hosts that people may use.
    pub(crate) fn homes(&self, plan: &Plan) -> Homes<'_> {
        Homes::new(&self.hosts, plan)
    }

    /// Whose turn it is with this envelope.
    pub(crate) fn pair(&mut self, envelope: usize) -> Option<&mut Pair> {
        let turn = envelope.checked_rem(self.pairs.len())?;
        self.pairs.get_mut(turn)
    }

    /// The addresses that an adversary knows and that matter: those of recipients, and those of senders
    /// too where mailboxes are nobody's address; or the mailboxes themselves, if they were seen.
    pub(crate) fn addresses(&self, plan: &Plan) -> Vec<Address> {
        let is_secret = plan.traffic.mailboxes == Mailboxes::Conversation;
        if is_secret && plan.adversary.aim == Aim::Seen {
            let of = |pair: &Pair| Some(pair.conversation.as_ref()?.keys.first()?.address());
            return self.pairs.iter().filter_map(of).collect();
        }
        let both = is_secret;
        let keys = self.pairs.iter().filter_map(|pair| pair.public.as_ref());
        let of = |(reader, writer): &(KeyPair, KeyPair)| {
            [Some(reader.address()), both.then(|| writer.address())]
        };
        keys.flat_map(of).flatten().collect()
    }
}

impl<'a> Homes<'a> {
    fn new(hosts: &'a [At], plan: &Plan) -> Self {
        Self { hosts, apart: plan.traffic.nodes_go() }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.hosts.len()
    }
}

impl Pair {
    /// Any two whose hosts have room; `people` is how many use each of these homes.
    pub(crate) fn draw(homes: Homes<'_>, people: &mut [usize], rng: &mut ChaCha12Rng) -> Self {
        let honest = homes.hosts;
        if homes.apart {
            let (writers, readers) = people.split_at_mut(honest.len() / 2);
            let writer = with_room(writers, draw(rng, writers.len()));
            let reader = with_room(readers, draw(rng, readers.len()));
            writers[writer] += 1;
            readers[reader] += 1;
            let reader = honest[writers.len() + reader];
            return Self { writer: honest[writer], reader, public: None, conversation: None };
        }
        let writer = with_room(people, draw(rng, honest.len()));
        people[writer] += 1;
        // Anybody else.
        let reader = (writer + 1 + draw(rng, honest.len() - 1)) % honest.len();
        let mut reader = with_room(people, reader);
        if reader == writer {
            reader = with_room(people, (writer + 1) % honest.len());
        }
        people[reader] += 1;
        Self { writer: honest[writer], reader: honest[reader], public: None, conversation: None }
    }

    /// Any two with their addresses, beside which no honest node lies nearer than a quarter of what is
    /// usual. Else an id that is nearer still could cost any number of attempts.
    fn draw_public(
        world: &mut World,
        plan: &Plan,
        (honest, homes): (&[At], Homes<'_>),
        rng: &mut ChaCha12Rng,
    ) -> Self {
        let mut people = vec![0; homes.count()];
        let mut pair = Self::draw(homes, &mut people, rng);
        for _ in 0..DRAWS_MAX {
            let reader = match plan.traffic.mailboxes {
                Mailboxes::Node => world.key(pair.reader).clone(),
                _ => world.draw_key(),
            };
            let writer = world.draw_key();
            let is_secret = plan.traffic.mailboxes == Mailboxes::Conversation;
            pair.conversation = is_secret.then(|| Conversation::draw(world, rng));
            let secret = pair.conversation.iter().flat_map(|one| &one.keys);
            let far = [&reader, &writer].into_iter().chain(secret).all(|key| {
                nearest(world, honest, &key.address()) > u64::MAX / (4 * honest.len() as u64)
            });
            pair.public = Some((reader, writer));
            if far {
                break;
            }
            let Self { public, conversation, .. } = pair;
            pair = Self { public, conversation, ..Self::draw(homes, &mut people, rng) };
        }
        pair
    }

    /// The mailbox of an envelope that is sent then, from when all hosts are on.
    pub(crate) fn mailbox(&mut self, world: &mut World, plan: &Plan, sent: Span) -> KeyPair {
        match (plan.traffic.mailboxes, &self.public, &mut self.conversation) {
            (Mailboxes::Node, ..) => world.key(self.reader).clone(),
            (Mailboxes::Public, Some((reader, _)), _) => reader.clone(),
            (Mailboxes::Conversation, _, Some(conversation)) => conversation.mailbox(world, sent),
            _ => world.draw_key(),
        }
    }
}

impl Conversation {
    fn draw(world: &mut World, rng: &mut ChaCha12Rng) -> Self {
        let turns = Span::from_millis(rng.next_u64() % EPOCH.as_millis());
        Self { keys: vec![world.draw_key()], turns }
    }

    fn mailbox(&mut self, world: &mut World, sent: Span) -> KeyPair {
        let since_turn = sent.as_millis().checked_sub(self.turns.as_millis());
        let epoch = since_turn.map_or(0, |since| 1 + since / EPOCH.as_millis()) as usize;
        while self.keys.len() <= epoch {
            let key = world.draw_key();
            self.keys.push(key);
        }
        self.keys[epoch].clone()
    }
}

/// How many of so many honest relays people use.
pub(crate) fn used_hosts(plan: &Plan, honest: usize) -> usize {
    let some_go = plan.churn.session > Span::ZERO || plan.churn.trace.is_some();
    if (some_go && plan.churn.who == Who::Relays) || plan.traffic.nodes_go() {
        (honest / USED).max(USED_LEAST).min(honest)
    } else {
        honest
    }
}

/// The first host from this one on that has room for another person; a scenario has no more people than
/// all have room for, twice over.
fn with_room(people: &[usize], first: usize) -> usize {
    let all = people.len();
    let mut hosts = (0..all).map(|step| (first + step) % all);
    hosts.find(|host| people[*host] < PEOPLE_MAX).unwrap_or(first)
}

/// How near the nearest of these hosts is to an address that is not its own, in top bits.
pub(crate) fn nearest(world: &World, hosts: &[At], address: &Address) -> u64 {
    let addresses = hosts.iter().map(|at| world.address(*at)).filter(|of| of != address);
    addresses.map(|of| of.distance(address).top_bits()).min().unwrap_or(u64::MAX)
}
