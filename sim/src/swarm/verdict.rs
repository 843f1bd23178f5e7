//! What became of one world: which rules were broken, what went wrong, and how far envelopes came.
//!
//! Entry type is [`Verdict`]; [`Totals`] adds up many. The rules for the end of a world stand here.

use std::collections::BTreeMap;
use std::fmt;

use comm_proto::node::Family;
use comm_proto::time::Time;

use super::options::Options;
use super::oracle::{Rule, Violation};
use crate::measured::Fate;
use crate::people::Outcome;
use crate::world::World;

/// One world.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// From which it was drawn.
    pub seed: u64,
    /// What was drawn.
    pub options: Options,
    /// Rules that were broken, the first ones.
    pub violations: Vec<Violation>,
    /// What happened, and how often.
    pub counts: Totals,
    /// What became of each envelope.
    pub fates: Vec<Fate>,
    /// A hash over everything that every node has wanted done.
    pub trace: String,
}

/// What happened in worlds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Inputs of all nodes.
    pub events: u64,
    /// Envelopes by how far they came.
    pub envelopes: BTreeMap<&'static str, u64>,
    /// What went wrong.
    pub faults: BTreeMap<&'static str, u64>,
    /// What was looked at.
    pub checks: BTreeMap<&'static str, u64>,
}

impl Verdict {
    /// Looks at a world that has come to its end.
    pub(super) fn of(world: &mut World, seed: u64, options: Options) -> Self {
        let mut counts = Totals { events: world.inputs(), ..Totals::default() };
        let outcomes: Vec<_> = world.people.outcomes().collect();
        for outcome in &outcomes {
            count_letter(&mut counts, outcome, world.now());
            let lost = outcome.must_have_come(world.now());
            if lost {
                let what = format!("{outcome}");
                world.judge(outcome.reader, |oracle, seen| {
                    oracle.violated(seen, Rule::NotDelivered, what);
                });
            }
        }
        let now = world.now();
        for outcome in outcomes.iter().filter(|one| one.must_have_been_accepted(now)) {
            let what = format!("envelope {} was not accepted", outcome.letter);
            world.judge(outcome.writer, |oracle, seen| {
                oracle.violated(seen, Rule::NotAccepted, what);
            });
        }
        for host in world.honest_hosts().collect::<Vec<_>>() {
            world.judge(host, |oracle, seen| {
                oracle.image(seen);
                options.time_for_ends().into_iter().for_each(|time| oracle.copies_left(seen, time));
            });
            let left = world.host(host).disk().applied().len(Family::Custody) as u64;
            *counts.envelopes.entry("copies left").or_default() += left;
        }
        counts.faults = world.faults.happened().clone();
        let (mut violations, mut checks) = (Vec::new(), BTreeMap::new());
        if let Some(oracle) = &world.oracle {
            violations.extend(oracle.violations().iter().cloned());
            checks.clone_from(oracle.checks());
        }
        counts.checks = checks;
        let fates = outcomes.into_iter().map(|outcome| outcome.fate).collect();
        Self { seed, options, violations, counts, fates, trace: world.trace() }
    }
}

fn count_letter(counts: &mut Totals, outcome: &Outcome, now: Time) {
    let mut count = |what| *counts.envelopes.entry(what).or_default() += 1;
    count("sent");
    let fate = &outcome.fate;
    let states = [
        ("accepted", fate.accepted.is_some()),
        ("copied", fate.copied.is_some()),
        ("stored", fate.stored.is_some()),
        ("delivered", fate.delivered.is_some()),
        ("acknowledged", fate.acknowledged.is_some()),
        ("over before the end", outcome.expires_at.is_some_and(|at| at <= now)),
        ("taken back", outcome.cancelled),
    ];
    states.into_iter().filter(|(_, is)| *is).for_each(|(what, _)| count(what));
}

impl Totals {
    /// Adds those of another world.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        let mine = [&mut self.envelopes, &mut self.faults, &mut self.checks];
        for (mine, theirs) in mine.into_iter().zip([&other.envelopes, &other.faults, &other.checks])
        {
            for (what, count) in theirs {
                *mine.entry(what).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "events: {}", self.events)?;
        let parts =
            [("envelopes", &self.envelopes), ("faults", &self.faults), ("looked at", &self.checks)];
        for (title, counts) in parts {
            let line: Vec<_> =
                counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
            writeln!(f, "{title}: {}", line.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::time::Span;

    use super::*;

    /// One that lives until a millisecond after `now`.
    fn outcome(now: Time, fate: Fate) -> Outcome {
        Outcome {
            letter: 0,
            writer: 0,
            reader: 1,
            id: None,
            expires_at: Some(now + Span::from_millis(1)),
            cancelled: false,
            told_expired: false,
            fate,
        }
    }

    #[test]
    fn what_its_writer_has_tried_to_send_and_is_not_over_must_have_been_accepted() {
        let now = Time::from_millis(5_000);
        let refused = || outcome(now, Fate::default());
        assert!(refused().must_have_been_accepted(now));
        let accepted = Fate { accepted: Some(Span::ZERO), ..Fate::default() };
        for fine in [
            Outcome { fate: accepted, ..refused() },
            Outcome { expires_at: Some(now), ..refused() },
            Outcome { expires_at: None, ..refused() },
            Outcome { cancelled: true, ..refused() },
            Outcome { told_expired: true, ..refused() },
        ] {
            assert!(!fine.must_have_been_accepted(now), "{fine}");
        }
    }

    #[test]
    fn what_was_accepted_and_is_not_over_must_have_come() {
        let now = Time::from_millis(5_000);
        let accepted = Fate { accepted: Some(Span::ZERO), ..Fate::default() };
        let lost = || outcome(now, accepted.clone());
        assert!(lost().must_have_come(now));
        let come = Fate { delivered: Some(Span::ZERO), ..accepted.clone() };
        for fine in [
            Outcome { fate: come, ..lost() },
            Outcome { fate: Fate::default(), ..lost() },
            Outcome { expires_at: Some(now), ..lost() },
            Outcome { cancelled: true, ..lost() },
            Outcome { told_expired: true, ..lost() },
        ] {
            assert!(!fine.must_have_come(now), "{fine}");
        }
    }
}
