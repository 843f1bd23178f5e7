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
//!
//! Where all nodes of a region are wanted, being near its centre gives no advantage there: each is
//! asked about another point of the region, in the order of hearsay and not of distance.

use std::collections::BTreeMap;

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::address::{Address, Distance};
use crate::contact::Contact;
use crate::time::Span;

/// How many contacts of one answer are looked at.
pub const ANSWER_CONTACTS_MAX: usize = 20;

/// How many nodes one path remembers outside the region it searches; the farthest are forgotten.
pub const CANDIDATES_PER_PATH_MAX: usize = 128;

/// How many it remembers inside; of those that came by most hearsay some are forgotten at random.
pub const RANKED_PER_PATH_MAX: usize = 256;

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

/// A query of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whom to ask.
    pub to: Contact,
    /// For the contacts it knows nearest to this.
    pub about: Address,
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
    rng: ChaCha12Rng,
    paths: Vec<Path>,
    /// Every node asked, nearest first, at most `queries_max` of them.
    asked: Vec<Query>,
    /// The path whose turn it is.
    turn: usize,
    finished: bool,
    stats: LookupStats,
}

/// One of the paths: what it was told, and whom it asked.
#[derive(Clone, Debug, Default)]
struct Path {
    /// Nearest first.
    candidates: Vec<Candidate>,
    /// Those inside the region, by how much hearsay lies between them and the nodes the path began
    /// with, and of these the ones that were chosen at random. Of equals, which comes first is
    /// drawn at random too.
    ranked: BTreeMap<Rank, Distance>,
    /// Whom it has asked, nearest first.
    tried: Vec<Distance>,
    pending: usize,
    /// Nobody was left to ask, and neither has a candidate come since nor has a node been silent,
    /// which alone can change that. Spares going through all candidates after each answer.
    idle: bool,
}

/// How many answers led to a candidate, and a number drawn at random.
type Rank = (u32, u64);

/// A node that a path was told of.
#[derive(Clone, Debug)]
struct Candidate {
    distance: Distance,
    contact: Contact,
    rank: Rank,
}

/// The last query to a node.
#[derive(Clone, Debug)]
struct Query {
    distance: Distance,
    contact: Contact,
    path: usize,
    hearsay: u32,
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
            queries_max: 512,
        }
    }
}

impl Lookup {
    /// A search for `target` by the node `own` that starts from `seeds`, dealt out to the paths by
    /// distance. It wants the `width` nearest nodes and, given a `radius`, all nodes whose distance
    /// has top 64 bits of at most that (PROTOCOL §5.5). `seed` feeds what it draws at random.
    pub fn new(
        target: Address,
        config: LookupConfig,
        seeds: Vec<Contact>,
        radius: Option<u64>,
        own: Address,
        seed: [u8; 32],
    ) -> Self {
        let seeds = by_distance(&target, &own, seeds);
        let count = config.paths.max(1).min(seeds.len()).min(config.queries_max);
        let mut lookup = Self {
            target,
            own,
            config,
            radius,
            rng: ChaCha12Rng::from_seed(seed),
            paths: vec![Path::default(); count],
            asked: Vec::new(),
            turn: 0,
            finished: false,
            stats: LookupStats::default(),
        };
        for (index, (_, seed)) in seeds.into_iter().enumerate().filter(|_| count > 0) {
            lookup.offer(index % count, 0, seed);
        }
        lookup
    }

    /// The same search, in which each path first asks its part of these nodes, wherever they lie:
    /// chosen at random they are not those whom a crowd beside the target has put there.
    #[must_use]
    pub fn by_way_of(mut self, others: Vec<Contact>) -> Self {
        let count = self.paths.len();
        let others = by_distance(&self.target, &self.own, others);
        for (index, (distance, contact)) in others.into_iter().enumerate().filter(|_| count > 0) {
            let rank = (0, self.rng.next_u64());
            self.paths[index % count].offer(Candidate { distance, contact, rank }, true);
        }
        self
    }

    /// The next node to ask, and what about. Call until it is `None`, and again after each answer or
    /// failure.
    #[expect(clippy::should_implement_trait, reason = "a later call can return a node again")]
    pub fn next(&mut self) -> Option<Question> {
        if self.finished {
            return None;
        }
        for _ in 0..self.paths.len() {
            let path = self.turn;
            self.turn = (self.turn + 1) % self.paths.len();
            let is_busy = self.paths[path].pending >= self.config.parallelism.max(1);
            if is_busy || self.paths[path].idle {
                continue;
            }
            if let Some(wanted) = self.wanted(path).cloned() {
                let about = self.draw_subject();
                let to = wanted.contact.clone();
                self.ask(path, wanted);
                return Some(Question { to, about });
            }
            self.paths[path].idle = true;
        }
        None
    }

    /// The node `from` has answered under its own key and named `contacts`. An answer that nobody
    /// waits for is ignored, and so are leaves, ourselves, and whatever exceeds
    /// [`ANSWER_CONTACTS_MAX`].
    pub fn answered(&mut self, from: &Address, contacts: Vec<Contact>) {
        let Some((path, hearsay)) = self.settle(from, Outcome::Answered) else { return };
        self.stats.answered += 1;
        for contact in contacts.into_iter().take(ANSWER_CONTACTS_MAX) {
            if !contact.is_leaf() && contact.address() != self.own {
                self.offer(path, hearsay + 1, contact);
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
        let has_nobody = |path: usize| self.paths[path].idle || self.wanted(path).is_none();
        let is_over = |path: usize| self.paths[path].pending == 0 && has_nobody(path);
        self.finished || (0..self.paths.len()).all(is_over)
    }

    /// The nodes that have answered, nearest first: the `width` nearest and all others within the
    /// radius. Can be asked for at any time.
    pub fn result(&self) -> Vec<Contact> {
        let answered = self.asked.iter().filter(|query| query.outcome == Outcome::Answered);
        answered
            .enumerate()
            .take_while(|(index, query)| self.is_of_interest(*index, &query.distance))
            .map(|(_, query)| query.contact.clone())
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
    /// The node that a path has to ask next, within its part of the queries: by rank, else the
    /// nearest.
    fn wanted(&self, path: usize) -> Option<&Candidate> {
        let path = &self.paths[path];
        if path.tried.len() >= self.config.queries_max / self.paths.len() {
            return None;
        }
        let ranked = path.ranked.values().filter_map(|distance| path.candidate(distance));
        let mut ranked = ranked.filter(|one| path.may_ask(one, self.query(&one.distance)));
        if let Some(candidate) = ranked.next() {
            return Some(candidate);
        }
        let mut alive = 0;
        for candidate in &path.candidates {
            if alive >= self.config.width {
                return None;
            }
            let query = self.query(&candidate.distance);
            if path.may_ask(candidate, query) {
                return Some(candidate);
            }
            alive += usize::from(query.is_none_or(|query| query.outcome != Outcome::Failed));
        }
        None
    }

    /// The last query to a node.
    fn query(&self, distance: &Distance) -> Option<&Query> {
        let place = self.place_of_query(distance).ok()?;
        self.asked.get(place)
    }

    fn place_of_query(&self, distance: &Distance) -> Result<usize, usize> {
        self.asked.binary_search_by(|query| query.distance.cmp(distance))
    }

    /// Whether a node is wanted at all if `nearer` others are nearer.
    fn is_of_interest(&self, nearer: usize, distance: &Distance) -> bool {
        nearer < self.config.width || self.is_inside(distance)
    }

    fn is_inside(&self, distance: &Distance) -> bool {
        self.radius.is_some_and(|radius| distance.top_bits() <= radius)
    }

    /// A path is told of a node, and remembers it under the endpoints it was first named with.
    fn offer(&mut self, path: usize, hearsay: u32, contact: Contact) {
        let distance = self.target.distance(&contact.address());
        let is_inside = self.is_inside(&distance);
        let rank = (hearsay, self.rng.next_u64());
        self.paths[path].offer(Candidate { distance, contact, rank }, is_inside);
    }

    /// What to ask about: the target, or where a region is searched any point of it, so that those
    /// who crowd in beside the target are not the nearest to what is asked.
    fn draw_subject(&mut self) -> Address {
        let Some(radius) = self.radius else { return self.target };
        let mut bytes = [0; Address::LEN];
        self.rng.fill_bytes(&mut bytes);
        let far = u64::from_be_bytes(std::array::from_fn(|i| bytes[i]));
        let near = radius.checked_add(1).map_or(far, |bound| far % bound);
        bytes[..8].copy_from_slice(&near.to_be_bytes());
        let target = self.target.as_bytes();
        Address::from_bytes(std::array::from_fn(|i| bytes[i] ^ target[i]))
    }

    fn ask(&mut self, path: usize, wanted: Candidate) {
        let Candidate { distance, contact, rank: (hearsay, _) } = wanted;
        self.stats.sent += 1;
        let asking = &mut self.paths[path];
        asking.pending += 1;
        if let Err(place) = asking.tried.binary_search(&distance) {
            asking.tried.insert(place, distance);
        }
        let query = Query { distance, contact, path, hearsay, outcome: Outcome::Pending };
        match self.place_of_query(&distance) {
            Ok(place) => self.asked[place] = query,
            Err(place) => self.asked.insert(place, query),
        }
    }

    /// Notes the outcome of a pending query; the path it belongs to, and how it came to it.
    fn settle(&mut self, from: &Address, outcome: Outcome) -> Option<(usize, u32)> {
        let place = self.place_of_query(&self.target.distance(from)).ok()?;
        let query = &mut self.asked[place];
        if query.outcome != Outcome::Pending {
            return None;
        }
        query.outcome = outcome;
        let settled = (query.path, query.hearsay);
        self.paths[settled.0].pending -= 1;
        if outcome == Outcome::Failed {
            self.paths.iter_mut().for_each(|path| path.idle = false);
        }
        Some(settled)
    }
}

impl Path {
    fn place_of(&self, distance: &Distance) -> Result<usize, usize> {
        self.candidates.binary_search_by(|candidate| candidate.distance.cmp(distance))
    }

    fn candidate(&self, distance: &Distance) -> Option<&Candidate> {
        let place = self.place_of(distance).ok()?;
        self.candidates.get(place)
    }

    /// Whether this path may ask a candidate, given the last query to it.
    fn may_ask(&self, candidate: &Candidate, last: Option<&Query>) -> bool {
        last.is_none_or(|query| {
            query.outcome == Outcome::Failed
                && query.contact != candidate.contact
                && self.tried.binary_search(&candidate.distance).is_err()
        })
    }

    fn offer(&mut self, candidate: Candidate, is_ranked: bool) {
        let Err(place) = self.place_of(&candidate.distance) else { return };
        if is_ranked {
            self.ranked.insert(candidate.rank, candidate.distance);
        }
        self.candidates.insert(place, candidate);
        self.idle = false;
        if self.ranked.len() > RANKED_PER_PATH_MAX {
            let last = self.ranked.pop_last();
            let place = last.and_then(|(_, distance)| self.place_of(&distance).ok());
            place.map(|place| self.candidates.remove(place));
        }
        if self.candidates.len().saturating_sub(self.ranked.len()) > CANDIDATES_PER_PATH_MAX {
            let farthest = self.candidates.pop();
            farthest.and_then(|candidate| self.ranked.remove(&candidate.rank));
        }
    }
}

/// Those of `nodes` that can be asked, nearest first.
fn by_distance(
    target: &Address,
    own: &Address,
    nodes: Vec<Contact>,
) -> BTreeMap<Distance, Contact> {
    let askable = nodes.into_iter().filter(|node| !node.is_leaf() && node.address() != *own);
    askable.map(|node| (target.distance(&node.address()), node)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
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
            Lookup::new(target, config, seeds, None, own, [1; 32])
        }

        /// Runs a search to its end; in how many rounds.
        fn run(&self, lookup: &mut Lookup) -> u32 {
            let (mut round, mut pending) = (0, BTreeMap::new());
            while !lookup.is_finished() {
                while let Some(Question { to, about }) = lookup.next() {
                    let address = to.address();
                    let silent = self.silent.contains(&address);
                    let wait = if silent { ROUNDS_PER_TIMEOUT } else { 1 };
                    assert!(pending.insert((round + wait, address), about).is_none());
                }
                round += 1;
                while let Some(entry) = pending.first_entry().filter(|e| e.key().0 <= round) {
                    let ((_, address), about) = entry.remove_entry();
                    self.settle(lookup, &address, &about);
                }
                assert!(round < 10_000, "the search never ends");
            }
            round
        }

        fn settle(&self, lookup: &mut Lookup, from: &Address, about: &Address) {
            let colludes = self.colluders.iter().any(|colluder| colluder.address() == *from);
            match self.tables.get(from).filter(|_| !self.silent.contains(from)) {
                _ if colludes => {
                    lookup.answered(from, nearest_first(self.colluders.clone(), about));
                }
                Some(table) => lookup.answered(from, table.closest(about, 20)),
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

    /// A thousand honest nodes, and ids made to lie beside the target or anywhere in its region. They
    /// are in all tables like anybody, or only where honest nodes had left room before.
    fn crowded(count: usize, spread: bool, known_before: bool) -> (Network, Address, u64) {
        let (target, radius) = (target(0), u64::MAX / 50);
        let honest: Vec<_> = (0..1_000).map(contact).collect();
        let mut ground = nearest_first((1_000_000..1_200_000).map(contact).collect(), &target);
        ground.retain(|node| target.distance(&node.address()).top_bits() <= radius);
        let step = if spread { ground.len() / count } else { 1 };
        let ground: Vec<_> = ground.into_iter().step_by(step).take(count).collect();
        let mut network = Network::of([&honest[..], &ground].concat());
        if known_before {
            network.tables.extend(Network::of(honest.clone()).tables);
            let mut rng = ChaCha12Rng::seed_from_u64(2);
            for node in &honest {
                let table = network.tables.get_mut(&node.address()).unwrap();
                let mut late = ground.clone();
                while !late.is_empty() {
                    let one = late.swap_remove(rng.next_u32() as usize % late.len());
                    table.confirm(one, Time::ZERO);
                }
            }
        }
        network.colluders = ground;
        (network, target, radius)
    }

    /// Of a hundred honest nodes of a region, how many are found by searchers anywhere and beside the
    /// target, on average and at least; and by how many queries.
    fn found_in_crowd(network: &Network, target: Address, radius: u64) -> (usize, usize, u32) {
        let is_inside = |node: &&Contact| target.distance(&node.address()).top_bits() <= radius;
        let honest = |node: &&Contact| is_inside(node) && !network.colluders.contains(node);
        let (mut all, mut found, mut least, mut sent) = (0, 0, 100, 0);
        let mut searchers: Vec<_> = (0..10).map(contact).collect();
        let near = nearest_first((10..1_000).map(contact).collect(), &target);
        searchers.extend(near.into_iter().step_by(2).take(10));
        for (number, from) in searchers.into_iter().enumerate() {
            let mut seed = [0; 32];
            seed[0] = number as u8;
            let own = from.address();
            let mut seeds = network.tables[&own].closest(&target, 1_000);
            let mut others = seeds.split_off(12);
            let mut rng = ChaCha12Rng::from_seed(seed);
            while others.len() > 8 {
                others.swap_remove(rng.next_u32() as usize % others.len());
            }
            let config = LookupConfig::default();
            let region = Lookup::new(target, config, seeds, Some(radius), own, seed);
            let mut region = region.by_way_of(others);
            network.run(&mut region);
            let there =
                network.contacts.iter().filter(honest).filter(|node| **node != from).count();
            let here = region.result().iter().filter(honest).count();
            (all, found, sent) = (all + there, found + here, sent + region.stats().sent);
            least = least.min(here * 100 / there);
        }
        (found * 100 / all, least, sent / 20)
    }

    #[test]
    fn a_crowd_beside_the_target_or_all_over_its_region_hides_few_of_the_nodes_there() {
        for (count, spread, known_before, enough) in [
            (80, false, true, 98),
            (250, false, true, 98),
            (250, true, true, 98),
            (80, false, false, 94),
            (80, true, false, 85),
        ] {
            let (network, target, radius) = crowded(count, spread, known_before);
            let (found, least, sent) = found_in_crowd(&network, target, radius);
            let result = format!("{count} ids: {found} %, at least {least} %, by {sent} queries");
            assert!(found >= enough && least >= 60 && sent <= 300, "{result}");
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
            let mut lookup = Lookup::new(target, config, seeds, Some(radius), own, [1; 32]);
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
        let mut alone =
            Lookup::new(target(0), LookupConfig::default(), Vec::new(), None, own, [1; 32]);
        assert!(alone.is_finished() && alone.next().is_none());
    }

    fn next(lookup: &mut Lookup) -> Option<Contact> {
        lookup.next().map(|question| question.to)
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
        let mut lookup = Lookup::new(target, LookupConfig::default(), seeds, None, own(), [1; 32]);
        for hop in 0..4 {
            assert_eq!(next(&mut lookup), Some(hops[hop].clone()));
            assert_eq!(next(&mut lookup), None);
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
        let mut lookup = Lookup::new(target, config, seeds, None, own(), [1; 32]);
        assert_eq!(next(&mut lookup), Some(nodes[48].clone()));
        assert_eq!(next(&mut lookup), Some(nodes[49].clone()));
        lookup.answered(&nodes[48].address(), nodes[..10].to_vec());
        lookup.answered(&nodes[49].address(), nodes[20..30].to_vec());
        let asked: BTreeSet<_> =
            std::iter::from_fn(|| next(&mut lookup)).map(|c| c.address()).collect();
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
        let mut lookup = Lookup::new(target, config, seeds.clone(), None, own(), [1; 32]);
        while lookup.next().is_some() {}
        lookup.answered(&seeds[0].address(), vec![contact_at(number, 9)]);
        assert_eq!(next(&mut lookup), Some(contact_at(number, 9)));
        lookup.answered(&seeds[1].address(), vec![honest.clone()]);
        assert_eq!(next(&mut lookup), None);
        lookup.failed(&honest.address());
        assert!(!lookup.is_finished());
        assert_eq!(next(&mut lookup), Some(honest.clone()));
        lookup.failed(&honest.address());
        assert!(lookup.next().is_none() && lookup.is_finished());
    }

    #[test]
    fn an_answer_nobody_waits_for_and_all_beyond_twenty_contacts_are_ignored() {
        let nodes = nearest_first((0..100).map(contact).collect(), &target(0));
        let (seed, stranger) = (nodes[99].clone(), nodes[98].clone());
        let config = LookupConfig { width: 100, parallelism: 100, ..LookupConfig::default() };
        let mut lookup = Lookup::new(target(0), config, vec![seed.clone()], None, own(), [1; 32]);
        lookup.answered(&seed.address(), nodes[..5].to_vec());
        assert_eq!(next(&mut lookup), Some(seed.clone()));
        assert_eq!(next(&mut lookup), None);
        lookup.answered(&stranger.address(), nodes[..5].to_vec());
        assert_eq!(next(&mut lookup), None);
        lookup.answered(&seed.address(), nodes[..50].to_vec());
        assert_eq!(std::iter::from_fn(|| lookup.next()).count(), ANSWER_CONTACTS_MAX);
        lookup.answered(&seed.address(), nodes[50..].to_vec());
        assert_eq!(next(&mut lookup), None);
        assert_eq!(lookup.stats(), LookupStats { sent: 21, answered: 1, failed: 0 });
    }

    #[test]
    fn a_search_that_was_finished_asks_nobody_and_keeps_its_result() {
        let nodes = nearest_first((0..2).map(contact).collect(), &target(0));
        let config = LookupConfig { parallelism: 1, paths: 1, ..LookupConfig::default() };
        let mut lookup = Lookup::new(target(0), config, nodes.clone(), None, own(), [1; 32]);
        assert_eq!(next(&mut lookup), Some(nodes[0].clone()));
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
            let mut lookup = Lookup::new(target(1), config, seeds, radius, own, [1; 32]);
            let (mut asked, mut pending) = (Vec::new(), Vec::new());
            for turn in 0.. {
                while let Some(Question { to: contact, .. }) = lookup.next() {
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
            let bound = CANDIDATES_PER_PATH_MAX + RANKED_PER_PATH_MAX;
            let known = |path: &Path| path.candidates.len() <= bound;
            prop_assert!(lookup.paths.iter().all(known));
        }
    }
}
