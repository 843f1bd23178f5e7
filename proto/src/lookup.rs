//! One iterative search for the nodes nearest to a target.
//!
//! Entry type is [`Lookup`] (PROTOCOL §5.4). It says whom to ask next and is told what they said;
//! it sends nothing, keeps no time, and knows nothing of values: whoever wants a card asks the
//! nodes found, and may [`finish`](Lookup::finish) early.
//!
//! The search runs along several paths that share no node: what a node answers is heard by the one
//! path that asked it, so a liar leads only that path astray. A node belongs to the path that asks
//! it first; the others count it as known and pass on. Only if it was *silent* may another path
//! ask it once more, and only at other endpoints than those that failed last: else a liar could
//! hide an honest node by telling wrong endpoints for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{Address, Distance};
use crate::contact::Contact;
use crate::time::Span;

/// How many contacts of one answer are looked at.
pub const ANSWER_CONTACTS_MAX: usize = 20;

/// How many nodes one path remembers; the farthest are forgotten.
pub const CANDIDATES_PER_PATH_MAX: usize = 128;

/// How a search is run (PROTOCOL §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupConfig {
    /// How many unanswered queries each path may have, α. Each, because a path that asks one node
    /// at a time is lost if the first one lies. With four paths in a network of 10,000 nodes, three
    /// queries for each cost 35 queries and 3.4 round trips on average. One for each, and three
    /// only where no answer brings it nearer, cost 25 and 4.4, but with half of 2,000 nodes lying
    /// missed the nearest nodes in 6 % of the searches rather than in 0.6 %.
    pub parallelism: usize,
    /// How many paths there are, d; fewer if there are fewer nodes to start from.
    pub paths: usize,
    /// How many of the nearest nodes each path wants answers from, k.
    pub width: usize,
    /// How long the host waits for one answer before it reports a failure.
    pub query_timeout: Span,
    /// The most queries of one search. Each path has an equal part, so that a path that a liar
    /// leads on and on takes nothing from the others.
    pub queries_max: usize,
}

/// What a search has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupStats {
    /// Queries handed out.
    pub sent: u32,
    /// Of those, answered.
    pub answered: u32,
    /// Of those, failed.
    pub failed: u32,
}

/// A search under way, or its result.
#[derive(Clone, Debug)]
pub struct Lookup {
    target: Address,
    own: Address,
    config: LookupConfig,
    radius: Option<u64>,
    paths: Vec<Path>,
    /// Every node asked, at most `queries_max` of them.
    asked: BTreeMap<Distance, Query>,
    /// The path whose turn it is.
    turn: usize,
    finished: bool,
    stats: LookupStats,
}

/// One of the paths: what it was told, and whom it asked.
#[derive(Clone, Debug, Default)]
struct Path {
    candidates: BTreeMap<Distance, Contact>,
    tried: BTreeSet<Distance>,
    pending: usize,
}

/// The last query to a node.
#[derive(Clone, Debug)]
struct Query {
    contact: Contact,
    path: usize,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Pending,
    Answered,
    Failed,
}

impl Default for LookupConfig {
    fn default() -> Self {
        Self {
            parallelism: 3,
            paths: 4,
            width: 20,
            query_timeout: Span::from_secs(2),
            queries_max: 256,
        }
    }
}

impl Lookup {
    /// A search for `target` by the node `own` that starts from `seeds`, dealt out to the paths by
    /// distance. It wants the `width` nearest nodes and, given a `radius`, all nodes whose distance
    /// has top 64 bits of at most that (PROTOCOL §5.5).
    pub fn new(
        target: Address,
        config: LookupConfig,
        seeds: Vec<Contact>,
        radius: Option<u64>,
        own: Address,
    ) -> Self {
        let seeds: BTreeMap<_, _> = seeds
            .into_iter()
            .filter(|seed| !seed.is_leaf() && seed.address() != own)
            .map(|seed| (target.distance(&seed.address()), seed))
            .collect();
        let count = config.paths.max(1).min(seeds.len()).min(config.queries_max);
        let mut paths = vec![Path::default(); count];
        for (index, (distance, seed)) in seeds.into_iter().enumerate() {
            if let Some(path) = paths.get_mut(index % count.max(1)) {
                path.offer(distance, seed);
            }
        }
        let (asked, stats) = (BTreeMap::new(), LookupStats::default());
        Self { target, own, config, radius, paths, asked, turn: 0, finished: false, stats }
    }

    /// The next node to ask for the contacts it knows nearest to [`target`](Self::target). Call
    /// until it is `None`, and again after each answer or failure.
    #[expect(clippy::should_implement_trait, reason = "a later call can return a node again")]
    pub fn next(&mut self) -> Option<Contact> {
        if self.finished {
            return None;
        }
        for _ in 0..self.paths.len() {
            let path = self.turn;
            self.turn = (self.turn + 1) % self.paths.len();
            if self.paths[path].pending < self.config.parallelism.max(1)
                && let Some(contact) = self.wanted(path).cloned()
            {
                self.ask(path, contact.clone());
                return Some(contact);
            }
        }
        None
    }

    /// The node `from` has answered under its own key and named `contacts`. An answer that nobody
    /// waits for is ignored, and so are leaves, ourselves, and whatever exceeds
    /// [`ANSWER_CONTACTS_MAX`].
    pub fn answered(&mut self, from: &Address, contacts: Vec<Contact>) {
        let Some(path) = self.settle(from, Outcome::Answered) else { return };
        self.stats.answered += 1;
        let path = &mut self.paths[path];
        for contact in contacts.into_iter().take(ANSWER_CONTACTS_MAX) {
            if !contact.is_leaf() && contact.address() != self.own {
                path.offer(self.target.distance(&contact.address()), contact);
            }
        }
    }

    /// The node `from` could not be asked, did not answer in time, or not under its own key.
    pub fn failed(&mut self, from: &Address) {
        if self.settle(from, Outcome::Failed).is_some() {
            self.stats.failed += 1;
        }
    }

    /// Ends the search: nobody else will be asked.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether nobody is left to ask and no answer is awaited.
    pub fn is_finished(&self) -> bool {
        let is_over = |path: usize| self.paths[path].pending == 0 && self.wanted(path).is_none();
        self.finished || (0..self.paths.len()).all(is_over)
    }

    /// The nodes that have answered, nearest first: the `width` nearest and all others within the
    /// radius. Can be asked for at any time.
    pub fn result(&self) -> Vec<Contact> {
        let answered = self.asked.iter().filter(|(_, query)| query.outcome == Outcome::Answered);
        answered
            .enumerate()
            .take_while(|(index, (distance, _))| self.is_of_interest(*index, distance))
            .map(|(_, (_, query))| query.contact.clone())
            .collect()
    }

    /// What is searched for.
    pub fn target(&self) -> &Address {
        &self.target
    }

    /// How long the host waits for one answer before it calls [`failed`](Self::failed).
    pub fn query_timeout(&self) -> Span {
        self.config.query_timeout
    }

    /// What the search has cost so far.
    pub fn stats(&self) -> LookupStats {
        self.stats
    }
}

impl Lookup {
    /// The nearest node that a path has still to ask, within its part of the queries.
    fn wanted(&self, path: usize) -> Option<&Contact> {
        let path = &self.paths[path];
        if path.tried.len() >= self.config.queries_max / self.paths.len() {
            return None;
        }
        let mut alive = 0;
        for (distance, contact) in &path.candidates {
            if !self.is_of_interest(alive, distance) {
                return None;
            }
            match self.asked.get(distance) {
                None => return Some(contact),
                Some(query) if query.outcome != Outcome::Failed => alive += 1,
                Some(query) if !path.tried.contains(distance) && query.contact != *contact => {
                    return Some(contact);
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Whether a node is wanted at all if `nearer` others are nearer.
    fn is_of_interest(&self, nearer: usize, distance: &Distance) -> bool {
        nearer < self.config.width || self.radius.is_some_and(|r| distance.top_bits() <= r)
    }

    fn ask(&mut self, path: usize, contact: Contact) {
        let distance = self.target.distance(&contact.address());
        self.stats.sent += 1;
        self.paths[path].pending += 1;
        self.paths[path].tried.insert(distance);
        self.asked.insert(distance, Query { contact, path, outcome: Outcome::Pending });
    }

    /// Notes the outcome of a pending query; the path it belongs to.
    fn settle(&mut self, from: &Address, outcome: Outcome) -> Option<usize> {
        let query = self.asked.get_mut(&self.target.distance(from))?;
        if query.outcome != Outcome::Pending {
            return None;
        }
        query.outcome = outcome;
        self.paths[query.path].pending -= 1;
        Some(query.path)
    }
}

impl Path {
    /// Remembers a node, under the endpoints it was first named with on this path.
    fn offer(&mut self, distance: Distance, contact: Contact) {
        self.candidates.entry(distance).or_insert(contact);
        if self.candidates.len() > CANDIDATES_PER_PATH_MAX {
            self.candidates.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::{RngCore, SeedableRng};

    use super::*;
    use crate::key::PublicKey;
    use crate::table::{Table, TableConfig};
    use crate::time::Time;

    fn contact(number: u64) -> Contact {
        contact_at(number, 4_000)
    }

    fn contact_at(number: u64, port: u16) -> Contact {
        let mut key = [0; PublicKey::LEN];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Contact::new(PublicKey::from_bytes(key), [([127, 0, 0, 1], port).into()])
    }

    fn target(number: u64) -> Address {
        contact(u64::MAX - number).address()
    }

    fn nearest_first(mut contacts: Vec<Contact>, target: &Address) -> Vec<Contact> {
        contacts.sort_by_cached_key(|contact| target.distance(&contact.address()));
        contacts
    }

    /// How long a query waits that nobody answers; an answer takes one.
    const ROUNDS_PER_TIMEOUT: u32 = 10;

    /// A network that does not change. Every node knows 20 others, or all there are, at each
    /// distance; some are silent, and some name only each other.
    #[derive(Clone)]
    struct Network {
        tables: BTreeMap<Address, Table>,
        contacts: Vec<Contact>,
        silent: BTreeSet<Address>,
        colluders: Vec<Contact>,
    }

    impl Network {
        fn new(count: u64) -> Self {
            Self::of((0..count).map(contact).collect())
        }

        fn of(mut contacts: Vec<Contact>) -> Self {
            contacts.sort_by_key(Contact::address);
            let mut rng = ChaCha12Rng::seed_from_u64(1);
            let tables = contacts.iter().map(|node| {
                let own = node.address();
                (own, table_of(own, &contacts, &mut rng))
            });
            let tables = tables.collect();
            Self { tables, contacts, silent: BTreeSet::new(), colluders: Vec::new() }
        }

        fn of_two_thousand() -> Self {
            static NETWORK: OnceLock<Network> = OnceLock::new();
            NETWORK.get_or_init(|| Self::new(2_000)).clone()
        }

        fn closest(&self, target: &Address, count: usize) -> Vec<Contact> {
            let mut all = nearest_first(self.contacts.clone(), target);
            all.truncate(count);
            all
        }

        fn lookup(&self, from: &Contact, target: Address, config: LookupConfig) -> Lookup {
            let own = from.address();
            let seeds = self.tables[&own].closest(&target, 20);
            Lookup::new(target, config, seeds, None, own)
        }

        /// Runs a search to its end; in how many rounds.
        fn run(&self, lookup: &mut Lookup) -> u32 {
            let (mut round, mut pending) = (0, BTreeMap::new());
            while !lookup.is_finished() {
                while let Some(contact) = lookup.next() {
                    let address = contact.address();
                    let silent = self.silent.contains(&address);
                    let wait = if silent { ROUNDS_PER_TIMEOUT } else { 1 };
                    assert!(pending.insert((round + wait, address), silent).is_none());
                }
                round += 1;
                while let Some(entry) = pending.first_entry().filter(|e| e.key().0 <= round) {
                    let ((_, address), silent) = entry.remove_entry();
                    self.settle(lookup, &address, silent);
                }
                assert!(round < 10_000, "the search never ends");
            }
            round
        }

        fn settle(&self, lookup: &mut Lookup, from: &Address, silent: bool) {
            let colludes = self.colluders.iter().any(|colluder| colluder.address() == *from);
            match self.tables.get(from).filter(|_| !silent) {
                _ if colludes => {
                    let named = nearest_first(self.colluders.clone(), lookup.target());
                    lookup.answered(from, named);
                }
                Some(table) => lookup.answered(from, table.closest(lookup.target(), 20)),
                None => lookup.failed(from),
            }
        }
    }

    fn table_of(own: Address, sorted: &[Contact], rng: &mut ChaCha12Rng) -> Table {
        let mut table = Table::new(own, TableConfig::default());
        let (mut low, mut high) = (0, sorted.len());
        // Narrow the sorted nodes down to those that share one more bit with us at each turn.
        for bit in 0..Address::BITS {
            let is_set = |address: &Address| address.as_bytes()[bit / 8] << (bit % 8) & 0x80 != 0;
            let is_low = |contact: &Contact| !is_set(&contact.address());
            let middle = low + sorted[low..high].partition_point(is_low);
            let other = if is_set(&own) { low..middle } else { middle..high };
            (low, high) = if is_set(&own) { (middle, high) } else { (low, middle) };
            let mut others = sorted[other].to_vec();
            for _ in 0..others.len().min(20) {
                let chosen = others.swap_remove(rng.next_u32() as usize % others.len());
                table.confirm(chosen, Time::ZERO);
            }
        }
        table
    }

    #[test]
    fn every_search_finds_the_true_nearest_nodes() {
        let network = Network::of_two_thousand();
        for number in 0..100 {
            let (from, target) = (contact(number), target(number));
            let mut lookup = network.lookup(&from, target, LookupConfig::default());
            network.run(&mut lookup);
            let mut expected = network.closest(&target, 21);
            expected.retain(|node| *node != from);
            assert_eq!(lookup.result(), expected[..20]);
        }
    }

    #[test]
    fn a_search_among_ten_thousand_is_short_and_cheap() {
        let network = Network::new(10_000);
        let (mut sent, mut rounds) = (0, 0);
        for number in 0..100 {
            let from = contact(number);
            let mut lookup = network.lookup(&from, target(number), LookupConfig::default());
            rounds += network.run(&mut lookup);
            sent += lookup.stats().sent;
            assert!(lookup.stats().sent <= 50, "{:?}", lookup.stats());
        }
        assert!(sent <= 40 * 100 && rounds <= 4 * 100, "{sent} queries, {rounds} rounds");
    }

    /// How many of 500 searches by honest nodes find every honest one of the 20 nearest.
    fn successes(network: &Network, paths: usize) -> u32 {
        let config = LookupConfig { paths, ..LookupConfig::default() };
        let succeeds = |number: u64| {
            let (from, target) = (contact(1_999 - number), target(number));
            let mut lookup = network.lookup(&from, target, config.clone());
            network.run(&mut lookup);
            let result = lookup.result();
            let is_missed = |node: &Contact| !result.contains(node) && *node != from;
            let mut nearest = network.closest(&target, 20).into_iter();
            !nearest.any(|node| is_missed(&node) && !network.colluders.contains(&node))
        };
        (0..500).map(|number| u32::from(succeeds(number))).sum()
    }

    #[test]
    fn disjoint_paths_get_past_liars_who_name_only_each_other() {
        let mut network = Network::of_two_thousand();
        for (liars, enough) in [(400, 500), (1_000, 490)] {
            network.colluders = (0..liars).map(contact).collect();
            let (one, four) = (successes(&network, 1), successes(&network, 4));
            assert!(four > one && four >= enough, "{liars} liars: 1 path {one}, 4 paths {four}");
        }
    }

    #[test]
    fn a_crowd_beside_the_target_cannot_hide_a_region_as_it_hides_the_nearest_nodes() {
        let (target, honest) = (target(0), Network::of_two_thousand());
        let ground = nearest_first((1_000_000..1_200_000).map(contact).collect(), &target);
        let mut network = Network::of([honest.contacts, ground[..45].to_vec()].concat());
        network.colluders = ground[..45].to_vec();
        let is_honest = |node: &&Contact| !network.colluders.contains(node);
        let radius = u64::MAX / 100;
        for from in (0..20).map(contact) {
            let (own, config) = (from.address(), LookupConfig::default());
            let seeds = network.tables[&own].closest(&target, 20);
            let mut region = Lookup::new(target, config.clone(), seeds, Some(radius), own);
            network.run(&mut region);
            let inside = |node: &&Contact| target.distance(&node.address()).top_bits() <= radius;
            let there = network.contacts.iter().filter(inside).filter(is_honest).count();
            let found = region.result().iter().filter(inside).filter(is_honest).count();
            assert!(there >= 10 && found > there / 2, "{found} of {there}");
            let mut nearest = network.lookup(&from, target, config);
            network.run(&mut nearest);
            assert_eq!(nearest.result().iter().find(is_honest), None);
        }
    }

    #[test]
    fn a_radius_brings_in_all_nodes_within_and_never_fewer_than_the_nearest() {
        let network = Network::of_two_thousand();
        let (from, target) = (contact(0), target(1));
        for (radius, least) in [(0, 20), (u64::MAX / 80, 21)] {
            let own = from.address();
            let seeds = network.tables[&own].closest(&target, 20);
            let config = LookupConfig::default();
            let mut lookup = Lookup::new(target, config, seeds, Some(radius), own);
            network.run(&mut lookup);
            let is_inside = |node: &Contact| target.distance(&node.address()).top_bits() <= radius;
            let inside = network.contacts.iter().filter(|node| is_inside(node)).count();
            let expected = network.closest(&target, inside.max(20));
            assert!(expected.len() >= least && !expected.contains(&from), "{inside} inside");
            assert_eq!(lookup.result(), expected);
        }
    }

    #[test]
    fn silent_nodes_delay_a_search_but_do_not_stop_it() {
        let mut network = Network::of_two_thousand();
        network.silent = (0..600).map(|number| contact(number).address()).collect();
        for number in 0..50 {
            let (from, target) = (contact(1_000 + number), target(number));
            let mut lookup = network.lookup(&from, target, LookupConfig::default());
            let rounds = network.run(&mut lookup);
            assert!(rounds <= 6 * ROUNDS_PER_TIMEOUT, "{rounds}");
            let is_alive = |node: &Contact| !network.silent.contains(&node.address());
            let mut alive = network.closest(&target, 40);
            alive.retain(|node| is_alive(node) && *node != from);
            assert_eq!(lookup.result()[..12], alive[..12]);
        }
    }

    #[test]
    fn a_search_that_nobody_answers_ends_with_nothing() {
        let mut network = Network::new(100);
        network.silent = network.tables.keys().copied().collect();
        let mut lookup = network.lookup(&contact(0), target(0), LookupConfig::default());
        network.run(&mut lookup);
        assert_eq!(lookup.result(), []);
        assert_eq!(lookup.stats(), LookupStats { sent: 20, answered: 0, failed: 20 });
        let own = contact(0).address();
        let mut alone = Lookup::new(target(0), LookupConfig::default(), Vec::new(), None, own);
        assert!(alone.is_finished() && alone.next().is_none());
    }

    fn own() -> Address {
        contact(u64::MAX / 2).address()
    }

    #[test]
    fn a_node_three_hops_away_is_found() {
        let target = target(0);
        let mut hops = nearest_first((0..4).map(contact).collect(), &target);
        hops.reverse();
        let seeds = vec![hops[0].clone()];
        let mut lookup = Lookup::new(target, LookupConfig::default(), seeds, None, own());
        for hop in 0..4 {
            assert_eq!(lookup.next(), Some(hops[hop].clone()));
            assert_eq!(lookup.next(), None);
            assert!(!lookup.is_finished());
            lookup.answered(&hops[hop].address(), hops.get(hop + 1).cloned().into_iter().collect());
        }
        assert!(lookup.is_finished());
        hops.reverse();
        assert_eq!(lookup.result(), hops);
    }

    #[test]
    fn what_one_path_is_told_leads_no_other_path() {
        let target = target(0);
        let nodes = nearest_first((0..50).map(contact).collect(), &target);
        let config = LookupConfig { paths: 2, width: 2, ..LookupConfig::default() };
        let seeds = nodes[48..].to_vec();
        let mut lookup = Lookup::new(target, config, seeds, None, own());
        assert_eq!(lookup.next(), Some(nodes[48].clone()));
        assert_eq!(lookup.next(), Some(nodes[49].clone()));
        lookup.answered(&nodes[48].address(), nodes[..10].to_vec());
        lookup.answered(&nodes[49].address(), nodes[20..30].to_vec());
        let asked: BTreeSet<_> =
            std::iter::from_fn(|| lookup.next()).map(|c| c.address()).collect();
        let expected = [0, 1, 20, 21].map(|index: usize| nodes[index].address());
        assert_eq!(asked, BTreeSet::from(expected));
    }

    #[test]
    fn wrong_endpoints_told_on_one_path_do_not_hide_a_node_from_another() {
        let target = target(0);
        let nodes = nearest_first((0..3).map(contact).collect(), &target);
        let (honest, seeds) = (nodes[0].clone(), nodes[1..].to_vec());
        let number = (0..3).find(|number| contact(*number) == honest).unwrap();
        let config = LookupConfig { paths: 2, ..LookupConfig::default() };
        let mut lookup = Lookup::new(target, config, seeds.clone(), None, own());
        while lookup.next().is_some() {}
        lookup.answered(&seeds[0].address(), vec![contact_at(number, 9)]);
        assert_eq!(lookup.next(), Some(contact_at(number, 9)));
        lookup.answered(&seeds[1].address(), vec![honest.clone()]);
        assert_eq!(lookup.next(), None);
        lookup.failed(&honest.address());
        assert!(!lookup.is_finished());
        assert_eq!(lookup.next(), Some(honest.clone()));
        lookup.failed(&honest.address());
        assert!(lookup.next().is_none() && lookup.is_finished());
    }

    #[test]
    fn an_answer_nobody_waits_for_and_all_beyond_twenty_contacts_are_ignored() {
        let nodes = nearest_first((0..100).map(contact).collect(), &target(0));
        let (seed, stranger) = (nodes[99].clone(), nodes[98].clone());
        let config = LookupConfig { width: 100, parallelism: 100, ..LookupConfig::default() };
        let mut lookup = Lookup::new(target(0), config, vec![seed.clone()], None, own());
        lookup.answered(&seed.address(), nodes[..5].to_vec());
        assert_eq!(lookup.next(), Some(seed.clone()));
        assert_eq!(lookup.next(), None);
        lookup.answered(&stranger.address(), nodes[..5].to_vec());
        assert_eq!(lookup.next(), None);
        lookup.answered(&seed.address(), nodes[..50].to_vec());
        assert_eq!(std::iter::from_fn(|| lookup.next()).count(), ANSWER_CONTACTS_MAX);
        lookup.answered(&seed.address(), nodes[50..].to_vec());
        assert_eq!(lookup.next(), None);
        assert_eq!(lookup.stats(), LookupStats { sent: 21, answered: 1, failed: 0 });
    }

    #[test]
    fn a_search_that_was_finished_asks_nobody_and_keeps_its_result() {
        let nodes = nearest_first((0..2).map(contact).collect(), &target(0));
        let config = LookupConfig { parallelism: 1, paths: 1, ..LookupConfig::default() };
        let mut lookup = Lookup::new(target(0), config, nodes.clone(), None, own());
        assert_eq!(lookup.next(), Some(nodes[0].clone()));
        lookup.answered(&nodes[0].address(), Vec::new());
        lookup.finish();
        assert!(lookup.is_finished() && lookup.next().is_none());
        assert_eq!(lookup.result(), nodes[..1]);
    }

    /// A node as a peer may name it: at one of two endpoints, or at none.
    fn named() -> impl Strategy<Value = Contact> {
        (0..200_u64, 0..10_u16).prop_map(|(number, port)| match port {
            0 => Contact::new(*contact(number).key(), []),
            1 => contact_at(number, 9),
            _ => contact(number),
        })
    }

    proptest! {
        /// Whatever peers answer, a search ends within its bounds.
        #[test]
        fn no_answers_break_the_bounds(
            sizes in (0..5_usize, 0..6_usize, 0..25_usize, 0..60_usize),
            radius in prop::option::of(any::<u64>()),
            seeds in prop::collection::vec(named(), 0..25),
            answers in prop::collection::vec(prop::collection::vec(named(), 0..30), 1..80),
        ) {
            let (parallelism, paths, width, queries_max) = sizes;
            let query_timeout = Span::from_secs(2);
            let config = LookupConfig { parallelism, paths, width, query_timeout, queries_max };
            let own = contact(0).address();
            let mut lookup = Lookup::new(target(1), config, seeds, radius, own);
            let (mut asked, mut pending) = (Vec::new(), Vec::new());
            for turn in 0.. {
                while let Some(contact) = lookup.next() {
                    prop_assert!(!contact.is_leaf() && contact.address() != own);
                    asked.push(contact.address());
                    let times = asked.iter().filter(|other| **other == contact.address()).count();
                    prop_assert!(times <= paths.max(1));
                    pending.push(contact.address());
                }
                prop_assert!(asked.len() <= queries_max);
                prop_assert!(pending.len() <= parallelism.max(1) * paths.max(1));
                if pending.is_empty() {
                    break;
                }
                let from = pending.swap_remove(turn * 7 % pending.len());
                let answer = &answers[turn % answers.len()];
                if answer.len() < 5 { lookup.failed(&from) } else { lookup.answered(&from, answer.clone()) }
            }
            prop_assert!(lookup.is_finished());
            let (result, stats) = (lookup.result(), lookup.stats());
            prop_assert_eq!(stats.sent as usize, asked.len());
            prop_assert_eq!(stats.sent, stats.answered + stats.failed);
            prop_assert_eq!(nearest_first(result.clone(), &target(1)), result.clone());
            prop_assert!(result.len() <= stats.answered as usize);
            let known = |path: &Path| path.candidates.len() <= CANDIDATES_PER_PATH_MAX;
            prop_assert!(lookup.paths.iter().all(known));
        }
    }
}
