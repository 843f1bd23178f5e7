//! One bucket of the routing table, and the entries in it.
//!
//! Entry types are [`Entry`] and `Bucket`. A bucket knows neither its range nor who may enter:
//! [`crate::table`] decides both. Kept small, because a simulator holds hundreds of them for each
//! of a million nodes: an entry has 24 bytes.

use crate::address::Address;
use crate::contact::Contact;
use crate::table::{Status, TableConfig};
use crate::time::{Span, Time};

/// How often the time between two pings doubles while a node keeps answering, or keeps failing.
const PING_DOUBLINGS_MAX: u8 = 4;

/// After an unanswered ping the next one waits at least this fraction of the silence that makes a
/// node questionable, doubled with every failure.
const RETRY_FRACTION: u64 = 16;

/// How often the time between two refreshes doubles while nothing changes.
const REFRESH_DOUBLINGS_MAX: u8 = 4;

/// A bucket grows by so many entries at a time: doubling would leave a third of it unused.
const GROWTH: usize = 4;

/// A node of the table and what is known of its health (PROTOCOL §5.3).
#[derive(Clone, Debug)]
pub struct Entry {
    contact: Contact,
    last_seen: Time,
    /// Seconds after `last_seen` at which the next ping is due. Not an instant, so that it fits.
    ping_after_secs: u32,
    failures: u8,
    /// How many silences in a row it has ended with an answer, up to [`PING_DOUBLINGS_MAX`].
    proven: u8,
    /// The end of its address, so that most others are told apart without a look at their contacts,
    /// which lie all over the memory.
    tag: u8,
    marks: Marks,
}

/// What is either so or not of an entry; together in the one byte that its 24 have left.
#[derive(Clone, Copy, Debug, Default)]
struct Marks(u8);

/// Up to k entries, and the replacements that wait for one of them to fail.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// The entries, and after them the replacements, oldest first. There are replacements only
    /// while the bucket is full and without bad entries.
    nodes: Vec<Entry>,
    /// How many of them are entries.
    entries: u32,
    /// How many refreshes in a row have changed nothing, up to [`REFRESH_DOUBLINGS_MAX`].
    quiet: u8,
    /// When a target in this bucket's range was last searched for.
    looked_up: Time,
    /// When the first of the entries is to be pinged.
    next_ping: Time,
}

impl Marks {
    /// Somebody was told to ping it since it was last seen.
    const ASKED: u8 = 1;
    /// It has told a time that is within the tolerance of ours.
    const AGREES: u8 = 1 << 1;

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    fn set(&mut self, mark: u8) {
        self.0 |= mark;
    }

    fn clear(&mut self, mark: u8) {
        self.0 &= !mark;
    }
}

impl Entry {
    /// A node that answered us at `now` for the first time.
    pub(super) fn new(contact: Contact, now: Time, config: &TableConfig) -> Self {
        let ping_after_secs = seconds(config.questionable_after);
        let tag = tag_of(&contact.address());
        let marks = Marks::default();
        Self { contact, last_seen: now, ping_after_secs, failures: 0, proven: 0, tag, marks }
    }

    /// How to reach the node, as last confirmed.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// When it last proved to be alive.
    pub fn last_seen(&self) -> Time {
        self.last_seen
    }

    /// How many calls in a row it has left unanswered; stops counting at 255.
    pub fn failures(&self) -> u8 {
        self.failures
    }

    /// Whether its clock was within the tolerance of ours when it last told the time (PROTOCOL §6.7).
    pub fn clock_agrees(&self) -> bool {
        self.marks.has(Marks::AGREES)
    }

    /// Its clock is within the tolerance of ours; whether that was not known.
    pub(super) fn note_agreement(&mut self) -> bool {
        let is_new = !self.clock_agrees();
        self.marks.set(Marks::AGREES);
        is_new
    }

    /// Its clock is unknown now, or differs; whether it was known to agree.
    pub(super) fn forget_agreement(&mut self) -> bool {
        let was_known = self.clock_agrees();
        self.marks.clear(Marks::AGREES);
        was_known
    }

    fn is(&self, address: &Address) -> bool {
        self.tag == tag_of(address) && self.contact.address() == *address
    }

    /// The node answered us at `now` and is reached through `contact`; whether that is new.
    pub(super) fn confirm(&mut self, contact: &Contact, now: Time, config: &TableConfig) -> bool {
        if self.is_silent(now, config) {
            self.proven = PING_DOUBLINGS_MAX.min(self.proven + 1);
        }
        let moved = self.contact != *contact;
        if moved {
            self.contact = contact.clone();
        }
        self.failures = 0;
        self.seen(now, config);
        moved
    }

    /// The node called us at `now`. That we can reach it is not shown by this, so failures stay.
    pub(super) fn seen(&mut self, now: Time, config: &TableConfig) {
        self.last_seen = now;
        self.marks.clear(Marks::ASKED);
        self.ping_after_secs = seconds(config.questionable_after.times(1 << self.proven));
    }

    /// The node left a call unanswered.
    pub(super) fn fail(&mut self, now: Time, config: &TableConfig) {
        self.failures = self.failures.saturating_add(1);
        self.proven = 0;
        self.postpone(now, config);
    }

    /// Somebody pings the node now: nobody else needs to for a while.
    pub(super) fn ask(&mut self, now: Time, config: &TableConfig) -> Contact {
        self.marks.set(Marks::ASKED);
        self.postpone(now, config);
        self.contact.clone()
    }

    pub(super) fn status(&self, now: Time, config: &TableConfig) -> Status {
        if self.is_bad(config) {
            Status::Bad
        } else if self.is_silent(now, config) {
            Status::Questionable
        } else {
            Status::Good
        }
    }

    pub(super) fn is_bad(&self, config: &TableConfig) -> bool {
        let limit = config.bad_after_failures.clamp(1, u32::from(u8::MAX));
        u32::from(self.failures) >= limit
    }

    /// When it is to be pinged next.
    pub(super) fn next_ping(&self) -> Time {
        self.last_seen + Span::from_secs(u64::from(self.ping_after_secs))
    }

    fn is_silent(&self, now: Time, config: &TableConfig) -> bool {
        now.since(self.last_seen) >= config.questionable_after
    }

    /// Whether a ping would tell something that an earlier one, still under way, will not.
    fn is_worth_probing(&self, now: Time, config: &TableConfig) -> bool {
        self.is_silent(now, config) && (!self.marks.has(Marks::ASKED) || now >= self.next_ping())
    }

    fn postpone(&mut self, now: Time, config: &TableConfig) {
        let longest = config.questionable_after.times(1 << PING_DOUBLINGS_MAX);
        let first = Span::from_millis(config.questionable_after.as_millis() / RETRY_FRACTION);
        let pause = first.times(1 << self.failures.min(16)).min(longest);
        let resume = seconds(now.since(self.last_seen) + pause);
        self.ping_after_secs = self.ping_after_secs.max(resume);
    }
}

impl Bucket {
    pub(super) fn new(looked_up: Time) -> Self {
        Self { nodes: Vec::new(), entries: 0, quiet: 0, looked_up, next_ping: Time::MAX }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.nodes[..self.entries as usize]
    }

    fn replacements(&self) -> &[Entry] {
        &self.nodes[self.entries as usize..]
    }

    /// When the first of the entries is to be pinged; never in an empty bucket.
    pub(super) fn next_ping(&self) -> Time {
        self.next_ping
    }

    pub(super) fn find(&self, address: &Address) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.is(address))
    }

    /// Changes what is known of the node, if it is an entry; what `change` says of it.
    pub(super) fn change<T>(
        &mut self,
        address: &Address,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let entries = &mut self.nodes[..self.entries as usize];
        let said = change(entries.iter_mut().find(|entry| entry.is(address))?);
        self.plan_ping();
        Some(said)
    }

    /// Forgets what the clocks of the entries have said.
    pub(super) fn forget_clocks(&mut self) {
        self.nodes.iter_mut().for_each(|entry| entry.marks.clear(Marks::AGREES));
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.make_room();
        self.next_ping = self.next_ping.min(entry.next_ping());
        self.nodes.insert(self.entries as usize, entry);
        self.entries += 1;
    }

    /// Takes the node out, if it is an entry.
    pub(super) fn remove(&mut self, address: &Address) -> Option<Entry> {
        let place = self.entries().iter().position(|entry| entry.is(address))?;
        let entry = self.nodes.remove(place);
        self.entries -= 1;
        self.plan_ping();
        Some(entry)
    }

    /// The bad entry with most failures; of equals the one that was silent longest.
    pub(super) fn worst(&self, config: &TableConfig) -> Option<Address> {
        let bad = self.entries().iter().filter(|entry| entry.is_bad(config));
        let worst = bad.max_by_key(|entry| (entry.failures, std::cmp::Reverse(entry.last_seen)));
        worst.map(|entry| entry.contact.address())
    }

    /// The entry to ping because a newcomer would like its place: the questionable one that was
    /// silent longest and was not pinged just now.
    pub(super) fn probe(&mut self, now: Time, config: &TableConfig) -> Option<Contact> {
        let candidates = self.entries().iter();
        let oldest = candidates
            .filter(|entry| entry.is_worth_probing(now, config))
            .min_by_key(|entry| entry.last_seen)?
            .contact
            .address();
        self.change(&oldest, |entry| entry.ask(now, config))
    }

    /// Keeps `entry` as the newest replacement; the oldest one goes when there are too many.
    pub(super) fn cache(&mut self, entry: Entry, replacements_max: usize) {
        self.forget_replacement(&entry.contact.address());
        if replacements_max == 0 {
            return;
        }
        while self.replacements().len() >= replacements_max {
            self.nodes.remove(self.entries as usize);
        }
        self.make_room();
        self.nodes.push(entry);
    }

    pub(super) fn take_replacement(&mut self) -> Option<Entry> {
        if self.has_replacement() { self.nodes.pop() } else { None }
    }

    pub(super) fn has_replacement(&self) -> bool {
        !self.replacements().is_empty()
    }

    pub(super) fn forget_replacement(&mut self, address: &Address) {
        let place = self.replacements().iter().position(|entry| entry.is(address));
        if let Some(place) = place {
            self.nodes.remove(self.entries as usize + place);
        }
    }

    /// Moves the entries that share more than `bits` leading bits with `own` to a new bucket. No
    /// replacements wait in a bucket that may split.
    pub(super) fn split(&mut self, own: &Address, bits: usize) -> Self {
        let is_near = |entry: &Entry| own.distance(&entry.contact.address()).common_bits() > bits;
        let nodes = std::mem::take(&mut self.nodes);
        let (near, far) = nodes.into_iter().partition::<Vec<_>, _>(is_near);
        self.entries = far.len() as u32;
        self.nodes = far;
        self.changed();
        self.plan_ping();
        let mut near = Self { entries: near.len() as u32, nodes: near, ..*self };
        near.plan_ping();
        near
    }

    fn plan_ping(&mut self) {
        self.next_ping = self.entries().iter().map(Entry::next_ping).min().unwrap_or(Time::MAX);
    }

    fn make_room(&mut self) {
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(GROWTH);
        }
    }
}

/// When it is to be searched.
impl Bucket {
    /// When a search in its range is due.
    pub(super) fn refresh_at(&self, config: &TableConfig) -> Time {
        self.looked_up + config.refresh_after.times(1 << self.quiet)
    }

    /// A search in its range begins now. Unless something changes, the next one has more time.
    pub(super) fn looked_up(&mut self, now: Time) {
        self.looked_up = now;
        self.quiet = REFRESH_DOUBLINGS_MAX.min(self.quiet + 1);
    }

    /// Somebody has entered, or left a place that nobody took: others may have as well.
    pub(super) fn changed(&mut self) {
        self.quiet = 0;
    }

    /// Nobody knows what has changed: the next search is due.
    pub(super) fn doubt(&mut self) {
        self.changed();
        self.looked_up = Time::ZERO;
    }
}

fn tag_of(address: &Address) -> u8 {
    address.as_bytes()[Address::LEN - 1]
}

/// Whole seconds, rounded up so that a ping is never due before its node is questionable.
fn seconds(span: Span) -> u32 {
    u32::try_from(span.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PublicKey;

    fn entry(number: u8, now: Time, config: &TableConfig) -> Entry {
        let endpoint = ([127, 0, 0, 1], 4_000).into();
        Entry::new(Contact::new(PublicKey::from_bytes([number; 32]), [endpoint]), now, config)
    }

    #[test]
    fn a_million_tables_fit_into_memory() {
        assert_eq!(size_of::<Entry>(), 24);
        assert!(size_of::<Bucket>() <= 48);
    }

    #[test]
    fn a_full_bucket_of_twenty_wastes_no_memory() {
        let config = TableConfig::default();
        let mut bucket = Bucket::new(Time::ZERO);
        (0..20).for_each(|number| bucket.push(entry(number, Time::ZERO, &config)));
        assert_eq!(bucket.nodes.capacity(), 20);
    }

    #[test]
    fn the_newest_replacement_is_taken_and_the_oldest_forgotten() {
        let config = TableConfig::default();
        let mut bucket = Bucket::new(Time::ZERO);
        let key = |entry: Option<Entry>| entry.map(|entry| entry.contact.key().as_bytes()[0]);
        for number in [1, 2, 3, 1] {
            bucket.cache(entry(number, Time::ZERO, &config), 2);
        }
        assert_eq!(key(bucket.take_replacement()), Some(1));
        assert_eq!(key(bucket.take_replacement()), Some(3));
        assert_eq!(key(bucket.take_replacement()), None);
    }

    #[test]
    fn the_pause_after_a_failure_doubles_up_to_four_hours() {
        let config = TableConfig::default();
        let mut entry = entry(1, Time::ZERO, &config);
        let mut now = entry.next_ping();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            entry.ask(now, &config);
            entry.fail(now, &config);
            pauses.push(entry.next_ping().since(now).as_millis() / 60_000);
            now = entry.next_ping();
        }
        assert_eq!(pauses, [1, 3, 7, 15, 30, 60, 120, 240, 240, 240, 240, 240]);
    }
}
