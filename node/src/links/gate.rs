//! Who may come in: limits by source, before anything costs more than a socket (PROTOCOL §9.1).
//!
//! Entry type is [`Gate`]. A source is an IPv4 address or an IPv6 /64, as whoever has one address
//! of a /64 has them all. Keys are free to make, so they limit nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use comm_proto::contact::source_of;

/// What one source may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLimits {
    /// Connections at the same time.
    pub connections: u32,
    /// New connections per minute.
    pub new_per_minute: u64,
    /// Calls per second; ten seconds' worth may come at once.
    pub calls_per_second: u64,
    /// Bytes of calls and of their answers per second; ten seconds' worth may come at once.
    pub bytes_per_second: u64,
    /// Sources remembered; while there are so many, no other one comes in.
    pub sources: usize,
}

impl Default for SourceLimits {
    fn default() -> Self {
        Self {
            connections: 32,
            new_per_minute: 128,
            calls_per_second: 1_000,
            bytes_per_second: 16 << 20,
            sources: 16_384,
        }
    }
}

/// Counts what each source does.
#[derive(Debug)]
pub struct Gate(Mutex<Sources>);

#[derive(Debug)]
struct Sources {
    limits: SourceLimits,
    known: BTreeMap<IpAddr, Arc<Source>>,
}

/// One connection's place; it is free again when the ticket is dropped.
#[derive(Debug)]
pub struct Ticket(Arc<Source>);

/// What a connection's calls are counted against; shared by all connections of its source.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<Source>);

#[derive(Debug)]
struct Source(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    open: u32,
    new: Bucket,
    calls: Bucket,
    bytes: Bucket,
}

/// A token bucket. A token is a thousand parts, so that slow rates are exact.
#[derive(Debug)]
struct Bucket {
    /// What is there to take; below zero down to `-parts_max` what is owed.
    parts: i64,
    parts_max: i64,
    parts_per_second: u64,
    at: Instant,
}

impl Gate {
    /// A gate that nobody has come through yet.
    pub fn new(limits: SourceLimits) -> Self {
        Self(Mutex::new(Sources { limits, known: BTreeMap::new() }))
    }

    /// From now on other limits hold, also for sources that are known.
    pub fn set_limits(&self, limits: SourceLimits) {
        let mut sources = self.lock();
        sources.limits = limits;
        for source in sources.known.values() {
            source.lock().set_limits(&limits);
        }
    }

    /// Lets a connection in, or not.
    pub fn enter(&self, ip: IpAddr, now: Instant) -> Option<Ticket> {
        let mut sources = self.lock();
        let source = sources.source(source_of(ip), now)?;
        let most = sources.limits.connections;
        drop(sources);
        let mut counts = source.lock();
        if counts.open >= most || !counts.new.take(1, now) {
            return None;
        }
        counts.open += 1;
        drop(counts);
        Some(Ticket(source))
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    fn source(&mut self, group: IpAddr, now: Instant) -> Option<Arc<Source>> {
        if let Some(source) = self.known.get(&group) {
            return Some(Arc::clone(source));
        }
        if self.known.len() >= self.limits.sources {
            self.known.retain(|_, source| !source.lock().is_idle(now));
        }
        if self.known.len() >= self.limits.sources {
            return None;
        }
        let source = Arc::new(Source(Mutex::new(Counts::new(&self.limits, now))));
        self.known.insert(group, Arc::clone(&source));
        Some(source)
    }
}

impl Ticket {
    /// What the connection's calls are counted against.
    pub fn allowance(&self) -> Allowance {
        Allowance(Arc::clone(&self.0))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
    }
}

impl Allowance {
    /// Counts one call of `bytes` bytes; false when the source has asked too much already.
    #[must_use]
    pub fn spend(&self, bytes: usize, now: Instant) -> bool {
        let mut counts = self.0.lock();
        counts.calls.take(1, now) && counts.bytes.take(bytes as u64, now)
    }

    /// Counts an answer of `bytes` bytes, of which `paid` were counted with the call: the rest comes back, or
    /// is owed, since nobody knows it before, and no call is taken until that is made up for.
    pub fn settle(&self, paid: usize, bytes: usize, now: Instant) {
        let mut counts = self.0.lock();
        counts.bytes.owe(bytes as u64, now);
        counts.bytes.give_back(paid as u64);
    }
}

impl Source {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn new(limits: &SourceLimits, now: Instant) -> Self {
        // Sixty parts of a minute's rate are one second's worth.
        let new = Bucket::new(limits.new_per_minute, limits.new_per_minute * 1_000 / 60, now);
        let per_second = |rate: u64| Bucket::new(rate * 10, rate * 1_000, now);
        let (calls, bytes) =
            (per_second(limits.calls_per_second), per_second(limits.bytes_per_second));
        Self { open: 0, new, calls, bytes }
    }

    /// What has been taken stays taken.
    fn set_limits(&mut self, limits: &SourceLimits) {
        let fresh = Self::new(limits, self.new.at);
        self.new.set_rate(&fresh.new);
        self.calls.set_rate(&fresh.calls);
        self.bytes.set_rate(&fresh.bytes);
    }

    /// Nothing would be forgotten with this source.
    fn is_idle(&mut self, now: Instant) -> bool {
        self.open == 0
            && [&mut self.new, &mut self.calls, &mut self.bytes]
                .into_iter()
                .all(|bucket| bucket.is_full(now))
    }
}

impl Bucket {
    fn new(tokens_max: u64, parts_per_second: u64, now: Instant) -> Self {
        let parts_max = parts_of(tokens_max);
        Self { parts: parts_max, parts_max, parts_per_second, at: now }
    }

    /// Holds and fills as `other` does from now on.
    fn set_rate(&mut self, other: &Self) {
        let taken = self.parts_max - self.parts;
        self.parts_max = other.parts_max;
        self.parts = self.parts_max.saturating_sub(taken).max(-self.parts_max);
        self.parts_per_second = other.parts_per_second;
    }

    fn take(&mut self, tokens: u64, now: Instant) -> bool {
        self.refill(now);
        let parts = parts_of(tokens);
        let enough = self.parts >= parts;
        if enough {
            self.parts -= parts;
        }
        enough
    }

    fn owe(&mut self, tokens: u64, now: Instant) {
        self.refill(now);
        self.parts = self.parts.saturating_sub(parts_of(tokens)).max(-self.parts_max);
    }

    fn give_back(&mut self, tokens: u64) {
        self.parts = self.parts.saturating_add(parts_of(tokens)).min(self.parts_max);
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.parts == self.parts_max
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_micros();
        let parts = elapsed * u128::from(self.parts_per_second) / 1_000_000;
        // A step too short for one part leaves the clock where it is, or it would never fill.
        if parts > 0 {
            let parts = i64::try_from(parts).unwrap_or(i64::MAX);
            self.parts = self.parts.saturating_add(parts).min(self.parts_max);
            self.at = now;
        }
    }
}

fn parts_of(tokens: u64) -> i64 {
    i64::try_from(tokens.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_thirty_third_connection_waits_until_one_has_gone() {
        let (gate, now) = (Gate::new(SourceLimits::default()), Instant::now());
        let mut tickets: Vec<_> = (0..32).map(|_| gate.enter(HERE, now).unwrap()).collect();
        assert!(gate.enter(HERE, now).is_none());
        tickets.pop();
        assert!(gate.enter(HERE, now).is_some());
    }

    #[test]
    fn new_connections_are_limited_by_the_minute() {
        let (gate, now) = (Gate::new(SourceLimits::default()), Instant::now());
        let entered = |now| (0..200).filter(|_| gate.enter(HERE, now).is_some()).count();
        assert_eq!(entered(now), 128);
        assert_eq!(entered(now + Duration::from_secs(30)), 63);
        assert_eq!(entered(now + Duration::from_secs(600)), 128);
    }

    #[test]
    fn limits_that_change_hold_at_once_for_sources_that_are_known() {
        let (gate, now) = (Gate::new(SourceLimits::default()), Instant::now());
        let mut tickets: Vec<_> = (0..4).map(|_| gate.enter(HERE, now).unwrap()).collect();
        gate.set_limits(SourceLimits { connections: 5, ..SourceLimits::default() });
        tickets.push(gate.enter(HERE, now).unwrap());
        assert!(gate.enter(HERE, now).is_none());
        gate.set_limits(SourceLimits { new_per_minute: 7, ..SourceLimits::default() });
        tickets.extend((0..2).map(|_| gate.enter(HERE, now).unwrap()));
        assert!(gate.enter(HERE, now).is_none(), "seven have come within the minute");
        gate.set_limits(SourceLimits::default());
        assert!(gate.enter(HERE, now).is_some());
    }

    #[test]
    fn calls_and_bytes_run_out_and_come_back() {
        let limits = SourceLimits { calls_per_second: 1, bytes_per_second: 100, ..<_>::default() };
        let (gate, now) = (Gate::new(limits), Instant::now());
        let allowance = gate.enter(HERE, now).unwrap().allowance();
        assert_eq!((0..20).filter(|_| allowance.spend(1, now)).count(), 10);
        assert!(!allowance.spend(1_001, now + Duration::from_secs(1)));
        assert!(allowance.spend(900, now + Duration::from_secs(10)));
    }

    #[test]
    fn long_answers_are_owed_until_they_are_made_up_for_and_what_was_paid_in_vain_comes_back() {
        let limits = SourceLimits { bytes_per_second: 100, ..<_>::default() };
        let (gate, now) = (Gate::new(limits), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let allowance = gate.enter(HERE, now).unwrap().allowance();
        assert!(allowance.spend(901, now));
        allowance.settle(900, 0, now);
        allowance.settle(0, 1_499, now);
        assert!(!allowance.spend(1, after(5)), "1,500 of 1,000 were taken at once");
        assert!(allowance.spend(100, after(6)));
        // However much is answered, the longest wait is twenty seconds.
        allowance.settle(0, 1_000_000, after(6));
        assert!(!allowance.spend(1, after(16)));
        assert!(allowance.spend(100, after(17)));
    }

    #[test]
    fn sources_without_a_trace_make_room_and_others_do_not() {
        let limits = SourceLimits { sources: 1, ..SourceLimits::default() };
        let (gate, now) = (Gate::new(limits), Instant::now());
        let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let ticket = gate.enter(HERE, now).unwrap();
        assert!(gate.enter(other, now + Duration::from_secs(60)).is_none());
        drop(ticket);
        assert!(gate.enter(other, now).is_none());
        assert!(gate.enter(other, now + Duration::from_secs(60)).is_some());
    }
}
