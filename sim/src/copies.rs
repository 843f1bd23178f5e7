//! Where the copies of an envelope are, since when, and whom its first cast reached.
//!
//! Entry types are [`Copies`] and [`FirstCast`]. Both are what an outsider sees who looks at all honest disks
//! and links; nodes know nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::address::Address;
use comm_proto::time::{Span, Time};

use crate::host::At;

/// After its first call for an envelope a relay that casts has a round of questions for a second, then
/// casts; its next round begins two seconds later (PROTOCOL §6.2, §6.3).
const FIRST_CAST: Span = Span::from_secs(3);

/// What a batch changes about a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It lies there, perhaps still.
    Laid,
    /// It lies there no longer.
    Dropped,
}

/// Copies of one envelope on honest disks.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    since: BTreeMap<At, Time>,
    /// The time for which copies lay that are gone, and the part of it before the reader's
    /// acknowledgement.
    past: (Span, Span),
    acknowledged: Option<Time>,
}

impl Copies {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.since.len()
    }

    pub(crate) fn change(&mut self, host: At, change: Change, now: Time) {
        match change {
            Change::Laid => {
                self.since.entry(host).or_insert(now);
            }
            Change::Dropped => {
                if let Some(since) = self.since.remove(&host) {
                    let (all, ideal) = self.span(since, now);
                    self.past = (self.past.0 + all, self.past.1 + ideal);
                }
            }
        }
    }

    /// The reader acknowledges it; only the first time counts.
    pub(crate) fn acknowledge(&mut self, now: Time) {
        self.acknowledged.get_or_insert(now);
    }

    /// When the reader acknowledged it, if they have.
    pub(crate) fn acknowledged(&self) -> Option<Time> {
        self.acknowledged
    }

    /// The time for which copies lay until now, and what it would be if all had gone with the reader's
    /// acknowledgement.
    pub(crate) fn storage(&self, now: Time) -> (Span, Span) {
        let lying = self.since.values().map(|since| self.span(*since, now));
        lying.fold(self.past, |sum, (all, ideal)| (sum.0 + all, sum.1 + ideal))
    }

    fn span(&self, since: Time, until: Time) -> (Span, Span) {
        let ideal = self.acknowledged.map_or(until, |at| until.min(at));
        (until.since(since), ideal.since(since))
    }
}

/// An honest host that calls another, and whether the network is small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) from: At,
    pub(crate) to: Address,
    pub(crate) is_small: bool,
}

/// The first cast of one envelope.
#[derive(Debug, Default)]
pub(crate) struct FirstCast {
    /// Whom the writer's node called first with it.
    turned_to: Option<Address>,
    /// The first honest relay that called others with it, and when.
    caster: Option<(At, Time)>,
    /// Honest relays to which that cast brought the body.
    handed: BTreeSet<At>,
    /// Those of them on whose disk it came, and the caster itself.
    reached: BTreeSet<At>,
}

impl FirstCast {
    /// An honest relay calls another with it. Where that is the writer's own, it reaches nobody by having it.
    pub(crate) fn called(&mut self, from: At, writer: At, now: Time) {
        if self.caster.is_none() {
            self.caster = Some((from, now));
            if from != writer {
                self.reached.insert(from);
            }
        }
    }

    /// A body arrives.
    pub(crate) fn handed(&mut self, from: At, to: At, now: Time) {
        let is_first = |(caster, at): (At, Time)| caster == from && now.since(at) <= FIRST_CAST;
        if self.caster.is_some_and(is_first) {
            self.handed.insert(to);
        }
    }

    /// The writer's node calls somebody with it.
    pub(crate) fn turn_to(&mut self, whom: Address) {
        self.turned_to.get_or_insert(whom);
    }

    /// Whom it called first, if anybody.
    pub(crate) fn turned_to(&self) -> Option<Address> {
        self.turned_to
    }

    /// Who made the first cast, if anybody did.
    pub(crate) fn caster(&self) -> Option<At> {
        self.caster.map(|(at, _)| at)
    }

    /// A copy is on an honest disk, which takes as long as told. What it has later is not of this cast.
    pub(crate) fn laid(&mut self, host: At, now: Time, disk: Span) {
        let in_time = self.end().is_some_and(|end| now <= end + disk);
        if in_time && self.handed.contains(&host) {
            self.reached.insert(host);
        }
    }

    /// When it is over, if it has begun.
    pub(crate) fn end(&self) -> Option<Time> {
        self.caster.map(|(_, at)| at + FIRST_CAST)
    }

    /// Honest relays that the first cast brought it to.
    pub(crate) fn reached(&self) -> impl Iterator<Item = At> {
        self.reached.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Span::from_secs(secs)
    }

    fn secs(secs: u64) -> Span {
        Span::from_secs(secs)
    }

    #[test]
    fn storage_is_the_sum_over_copies_and_ideal_up_to_the_acknowledgement() {
        let mut copies = Copies::default();
        copies.change(1, Change::Laid, at(10));
        copies.change(2, Change::Laid, at(20));
        copies.change(2, Change::Laid, at(25));
        copies.change(3, Change::Laid, at(20));
        copies.change(3, Change::Dropped, at(30));
        assert_eq!(copies.storage(at(40)), (secs(30 + 20 + 10), secs(60)), "nobody has read it");
        copies.acknowledge(at(50));
        copies.acknowledge(at(55));
        copies.change(1, Change::Dropped, at(60));
        copies.change(4, Change::Laid, at(60));
        let all = 50 + 10 + (70 - 20) + 10;
        assert_eq!(copies.storage(at(70)), (secs(all), secs(40 + 10 + 30)));
        assert_eq!(copies.len(), 2);
    }

    #[test]
    fn the_first_cast_is_what_its_first_caller_brings_to_disks_before_its_next_round() {
        let mut cast = FirstCast::default();
        cast.handed(1, 2, at(0));
        cast.called(1, 9, at(0));
        cast.called(5, 9, at(0));
        for (from, to, when) in [(1, 10, 1), (1, 11, 2), (5, 12, 2), (1, 13, 4)] {
            cast.handed(from, to, at(when));
        }
        [10, 12, 13].into_iter().for_each(|host| cast.laid(host, at(4), secs(1)));
        cast.laid(11, at(5), secs(1));
        assert_eq!(cast.reached().collect::<Vec<_>>(), [1, 10]);
        let mut own = FirstCast::default();
        own.called(9, 9, at(0));
        assert_eq!(own.reached().count(), 0);
    }
}
