//! What a node has moved in the present period, and what follows: whom it serves, and when it wakes.
//!
//! Entry types are [`Account`] and [`Plan`]. It is arithmetic alone; the time and a random number are
//! handed in, and the keeper writes it down.
//!
//! A node that has used its volume rests. Most of a network must not rest in the same last days of
//! each month and wake in the same first hour, so a node that was spent early begins the next period at
//! a random moment, early enough to be spent once more at the same pace before that period's end.

use comm_proto::time::{Span, Time};

use super::schedule::{Period, Schedule};

/// One part in so many of the volume is for the node's own clients alone.
const RESERVE: u64 = 16;

/// What may be moved, and for how long that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of a period, both directions together.
    pub volume_max: u64,
    /// When periods begin.
    pub schedule: Schedule,
}

/// For whom a node works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Everybody.
    #[default]
    All,
    /// Its own clients, as long as there are any: it rests, and their mail goes on from the reserve.
    Own,
    /// Nobody beyond this machine: the volume is used to its end.
    Nobody,
}

/// What was moved in the present period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub(super) period: Period,
    /// Bytes.
    pub(super) used: u64,
    /// The beginning of the period before, and what was used in it: a clock that was ahead and is put
    /// right finds it again.
    pub(super) before: Option<(Time, u64)>,
    /// Since when the node has been awake in this period.
    pub(super) awake_since: Time,
    /// Until when it rests, if it does.
    pub(super) rests_until: Option<Time>,
}

impl Plan {
    /// Bytes that are moved for everybody, of those of a period.
    pub const fn for_all(self) -> u64 {
        self.volume_max - self.volume_max / RESERVE
    }
}

impl Account {
    /// Nothing was moved yet: awake in the period that `now` lies in.
    pub fn new(plan: &Plan, now: Time) -> Self {
        let period = plan.schedule.period_at(now);
        Self { period, used: 0, before: None, awake_since: period.from, rests_until: None }
    }

    /// Bytes moved in the present period.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// The present period.
    pub const fn period(&self) -> Period {
        self.period
    }

    /// Bytes were moved.
    pub fn spend(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
    }

    /// It is `now`, and `random` is any number: the period may be another one, the node may have to
    /// rest, or may be awake again.
    pub fn look(&mut self, plan: &Plan, now: Time, random: u64) {
        self.turn_to(plan.schedule.period_at(now));
        let is_spent = self.used >= plan.for_all();
        match self.rests_until {
            // Also one that has used it for its own clients before it woke in this period.
            until if is_spent && until.is_none_or(|until| until < self.period.to) => {
                self.rest(plan, now, random);
            }
            // There is more to move than when it began to rest, or its time has come.
            Some(until) if !is_spent && (until >= self.period.to || until <= now) => {
                self.awake_since = now.max(self.period.from);
                self.rests_until = None;
            }
            _ => {}
        }
    }

    /// Whom the node serves, as of the last look.
    pub fn service(&self, plan: &Plan) -> Service {
        match self.rests_until {
            None => Service::All,
            Some(_) if self.used < plan.volume_max => Service::Own,
            Some(_) => Service::Nobody,
        }
    }

    /// Until when the node rests, if it does.
    pub const fn rests_until(&self) -> Option<Time> {
        self.rests_until
    }

    fn turn_to(&mut self, period: Period) {
        if period == self.period {
            return;
        }
        if period.from > self.period.from {
            let spent = (self.period.from, self.used);
            *self =
                Self { period, used: 0, before: Some(spent), awake_since: period.from, ..*self };
            return;
        }
        // The clock was set back, or the schedule is another one. What was moved does not come back;
        // what counts for an earlier period than this one does not count here.
        let before = self.before.take().filter(|(from, _)| *from >= period.from);
        let used = self.used.saturating_add(before.map_or(0, |(_, used)| used));
        *self = Self { period, used, before: None, awake_since: period.from, rests_until: None };
    }

    /// Until a random moment of the next period that leaves as much time to its end as this node was
    /// awake in this one, and lies in its first quarter: whoever spends the volume of another's node
    /// on purpose does not gain most of the next period too.
    fn rest(&mut self, plan: &Plan, now: Time, random: u64) {
        let awake = now.since(self.awake_since);
        let slack = plan.schedule.after(self.period).length() - awake;
        let quarter = plan.schedule.after(self.period).length().as_millis() / 4;
        let pause = Span::from_millis(random % slack.as_millis().min(quarter).max(1));
        self.rests_until = Some(self.period.to + pause);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::traffic::schedule::tests::{at, schedules};

    const MONTHLY: Plan = Plan { volume_max: 1_600, schedule: Schedule::MONTHLY };

    fn looked(account: &mut Account, now: &str) -> Service {
        account.look(&MONTHLY, at(now), 7 << 40);
        account.service(&MONTHLY)
    }

    #[test]
    fn what_is_used_up_is_reserved_first_and_ended_then_and_comes_back_with_the_next_period() {
        let mut account = Account::new(&MONTHLY, at("2026-11-10T00:00"));
        account.spend(1_499);
        assert_eq!(looked(&mut account, "2026-11-20T00:00"), Service::All);
        account.spend(1);
        assert_eq!(looked(&mut account, "2026-11-21T00:00"), Service::Own);
        account.spend(100);
        assert_eq!(looked(&mut account, "2026-11-22T00:00"), Service::Nobody);
        let until = account.rests_until().unwrap();
        // It was awake for 20 of 30 days: within the first 11 of the next 31 it wakes.
        assert!(at("2026-12-01T00:00") <= until && until < at("2026-12-12T00:00"));
        assert_eq!(looked(&mut account, "2026-11-30T23:59:59"), Service::Nobody);
        assert_eq!(looked(&mut account, "2026-12-12T00:00"), Service::All);
        assert_eq!((account.used(), account.rests_until()), (0, None));
    }

    #[test]
    fn before_it_wakes_in_a_new_period_its_own_clients_have_all_of_the_volume() {
        let mut account = Account::new(&MONTHLY, at("2026-11-01T00:00"));
        account.spend(1_600);
        account.look(&MONTHLY, at("2026-11-02T00:00"), Span::from_days(5).as_millis());
        assert_eq!(account.service(&MONTHLY), Service::Nobody);
        assert_eq!(account.rests_until(), Some(at("2026-12-06T00:00")));
        assert_eq!(looked(&mut account, "2026-12-05T00:00"), Service::Own);
        assert_eq!(looked(&mut account, "2026-12-05T23:59"), Service::Own);
        assert_eq!(looked(&mut account, "2026-12-06T00:00"), Service::All);
        // The next pause is reckoned from when it woke: six days were left.
        account.spend(1_500);
        account.look(&MONTHLY, at("2026-12-31T00:00"), u64::MAX);
        let until = account.rests_until().unwrap();
        assert!(until < at("2027-01-07T00:00"), "{until:?}");
    }

    #[test]
    fn a_volume_that_is_raised_wakes_it_at_once_and_one_that_is_lowered_sends_it_to_rest() {
        let mut account = Account::new(&MONTHLY, at("2026-11-01T00:00"));
        account.spend(1_500);
        assert_eq!(looked(&mut account, "2026-11-15T00:00"), Service::Own);
        let more = Plan { volume_max: 3_200, ..MONTHLY };
        account.look(&more, at("2026-11-15T00:01"), 0);
        assert_eq!(account.service(&more), Service::All);
        assert_eq!(looked(&mut account, "2026-11-15T00:02"), Service::Own);
    }

    #[test]
    fn a_clock_that_was_ahead_and_is_put_right_gives_nothing_back() {
        let mut account = Account::new(&MONTHLY, at("2026-11-01T00:00"));
        account.spend(1_000);
        assert_eq!(looked(&mut account, "2027-03-05T00:00"), Service::All);
        account.spend(200);
        assert_eq!(looked(&mut account, "2026-11-05T00:00"), Service::All);
        assert_eq!(account.used(), 1_200);
        // Set back behind the beginning of all, it counts on.
        assert_eq!(looked(&mut account, "2026-07-05T00:00"), Service::All);
        assert_eq!(account.used(), 1_200);
        // A clock that was behind begins a period when it is put right, as any period begins.
        assert_eq!(looked(&mut account, "2026-11-05T00:00"), Service::All);
        assert_eq!(account.used(), 0);
    }

    proptest! {
        /// By whatever steps the time goes on, nobody is served beyond the volume, and whoever rests
        /// knows until when.
        #[test]
        fn no_period_serves_more_than_its_volume(
            schedule in schedules(),
            volume_max in 16..1_000_000_u64,
            start in 5_000_000_000..4_000_000_000_000_u64,
            steps in prop::collection::vec((0..700_000_000_u64, 0..200_000_u64, any::<u64>()), 1..200),
        ) {
            let plan = Plan { volume_max, schedule };
            let mut now = Time::from_millis(start);
            let mut account = Account::new(&plan, now);
            let mut served = std::collections::BTreeMap::<u64, u64>::new();
            for (millis, bytes, random) in steps {
                now = now + Span::from_millis(millis);
                account.look(&plan, now, random);
                let period = schedule.period_at(now);
                prop_assert_eq!(account.period(), period);
                let all = served.entry(period.from.as_millis()).or_default();
                prop_assert_eq!(account.used(), *all);
                match account.service(&plan) {
                    Service::All => {
                        prop_assert!(*all < plan.for_all());
                        prop_assert_eq!(account.rests_until(), None);
                        // As the links see to it, nothing goes beyond the volume.
                        let bytes = bytes.min(volume_max - *all);
                        account.spend(bytes);
                        *all += bytes;
                    }
                    Service::Own => {
                        prop_assert!(*all < volume_max);
                        prop_assert!(account.rests_until().unwrap() > now);
                        let bytes = (bytes / 8).min(volume_max - *all);
                        account.spend(bytes);
                        *all += bytes;
                    }
                    Service::Nobody => {
                        let until = account.rests_until().unwrap();
                        prop_assert!(*all >= volume_max && until >= period.to);
                        prop_assert!(until < schedule.after(period).to);
                    }
                }
            }
        }

        /// Whatever a clock shows, what was used since it last showed this period is not forgotten.
        #[test]
        fn setting_a_clock_back_never_makes_less_of_what_was_used(
            schedule in schedules(),
            used in 0..1_000_u64,
            start in 400_000_000_000..4_000_000_000_000_u64,
            back in 0..300_000_000_000_u64,
        ) {
            let plan = Plan { volume_max: 1 << 40, schedule };
            let now = Time::from_millis(start);
            let mut account = Account::new(&plan, now);
            account.spend(used);
            account.look(&plan, Time::from_millis(start - back), 0);
            prop_assert_eq!(account.used(), used);
        }
    }
}
