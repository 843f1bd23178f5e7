//! When the periods begin for which a volume of traffic is granted, as people write it: `month 15 06:00`.
//!
//! Entry types are [`Schedule`] and [`Period`]. All times are UTC: a machine whose zone changes, or has
//! summer time, must not get a period twice or none. Whoever is billed by another zone says the time of
//! day at which its midnight is in UTC. Nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use comm_proto::time::{Span, Time};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The last day of the month on which a period can begin: every month has it.
const LAST_DAY: i8 = 28;
/// Times after this count as this one: the year 9000.
const LATEST: u64 = 221_845_392_000_000;

/// When periods begin: every day, week or month, at a time of the day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    every: Every,
    hour: i8,
    minute: i8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Every {
    Day,
    /// From this day on; Monday is 1.
    Week(i8),
    /// From this day on; the first is 1.
    Month(i8),
}

/// One of them: from its beginning up to the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// When it begins.
    pub from: Time,
    /// When the next one begins.
    pub to: Time,
}

/// A text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is no period; write `day`, `week` or `month`, after the latter two a day on which it begins \
     (1 to 7 from Monday, 1 to 28), and a time in UTC if not midnight, as in \"month 15 06:00\""
)]
pub struct ParseScheduleError(String);

impl Schedule {
    /// Every month from its first day on.
    pub const MONTHLY: Self = Self { every: Every::Month(1), hour: 0, minute: 0 };

    /// The period that `now` lies in.
    pub fn period_at(self, now: Time) -> Period {
        let now = civil(now);
        let this = self.beginning_about(now.date());
        let (from, to) =
            if this <= now { (this, self.step(this, 1)) } else { (self.step(this, -1), this) };
        Period { from: time(from), to: time(to) }
    }

    /// The period after `period`.
    pub fn after(self, period: Period) -> Period {
        self.period_at(period.to)
    }

    /// The beginning in the day, week or month that `date` lies in; before or after it.
    fn beginning_about(self, date: Date) -> DateTime {
        let day = match self.every {
            Every::Day => date,
            Every::Week(first) => {
                let passed = i64::from(date.weekday().to_monday_one_offset() - first);
                date.saturating_sub(passed.days())
            }
            Every::Month(first) => {
                date.first_of_month().saturating_add(i64::from(first - 1).days())
            }
        };
        day.at(self.hour, self.minute, 0, 0)
    }

    fn step(self, from: DateTime, steps: i64) -> DateTime {
        from.saturating_add(match self.every {
            Every::Day => steps.days(),
            Every::Week(_) => steps.weeks(),
            Every::Month(_) => steps.months(),
        })
    }
}

impl Period {
    /// How long it is.
    pub const fn length(self) -> Span {
        self.to.since(self.from)
    }
}

/// `2026-12-01 00:00 UTC`.
pub fn shown(at: Time) -> String {
    civil(at).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn civil(at: Time) -> DateTime {
    let millis = i64::try_from(at.as_millis().min(LATEST)).unwrap_or(0);
    // Every time between 1970 and 9000 is one.
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::UTC).datetime()
}

/// What lies before 1970 is 1970.
fn time(at: DateTime) -> Time {
    let since = at.to_zoned(TimeZone::UTC).map_or(0, |at| at.timestamp().as_millisecond());
    Time::from_millis(u64::try_from(since).unwrap_or(0))
}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<_> = text.split_whitespace().collect();
        parse(&words).ok_or_else(|| ParseScheduleError(text.to_owned()))
    }
}

fn parse(words: &[&str]) -> Option<Schedule> {
    let (kind, rest) = words.split_first()?;
    let (every, rest) = match (*kind, rest) {
        ("day", rest) => (Every::Day, rest),
        ("week", rest) => {
            let (day, rest) = first_day(rest, 7)?;
            (Every::Week(day), rest)
        }
        ("month", rest) => {
            let (day, rest) = first_day(rest, LAST_DAY)?;
            (Every::Month(day), rest)
        }
        _ => return None,
    };
    let (hour, minute) = match rest {
        [] => (0, 0),
        [time] => time_of_day(time)?,
        _ => return None,
    };
    Some(Schedule { every, hour, minute })
}

/// The day at the head of the words, or the first if there is none.
fn first_day<'a, 'b>(words: &'a [&'b str], most: i8) -> Option<(i8, &'a [&'b str])> {
    match words.split_first() {
        Some((day, rest)) if !day.contains(':') => {
            number(day, 2).filter(|day| (1..=most).contains(day)).map(|day| (day, rest))
        }
        _ => Some((1, words)),
    }
}

fn time_of_day(text: &str) -> Option<(i8, i8)> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (number(hour, 2)?, number(minute, 2)?);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// A number of so many digits at the most, and of nothing else.
fn number(text: &str, digits: usize) -> Option<i8> {
    let plain =
        (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.every {
            Every::Day => f.write_str("day")?,
            Every::Week(1) => f.write_str("week")?,
            Every::Week(day) => write!(f, "week {day}")?,
            Every::Month(1) => f.write_str("month")?,
            Every::Month(day) => write!(f, "month {day}")?,
        }
        if (self.hour, self.minute) == (0, 0) {
            return Ok(());
        }
        write!(f, " {:02}:{:02}", self.hour, self.minute)
    }
}

impl TryFrom<String> for Schedule {
    type Error = ParseScheduleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any schedule.
    pub(in crate::traffic) fn schedules() -> impl Strategy<Value = Schedule> {
        let every = prop_oneof![
            Just(Every::Day),
            (1..=7_i8).prop_map(Every::Week),
            (1..=LAST_DAY).prop_map(Every::Month),
        ];
        (every, 0..24_i8, 0..60_i8).prop_map(|(every, hour, minute)| Schedule {
            every,
            hour,
            minute,
        })
    }

    pub(in crate::traffic) fn at(text: &str) -> Time {
        time(text.parse().unwrap())
    }

    fn days(schedule: &str, now: &str) -> (String, String) {
        let period = schedule.parse::<Schedule>().unwrap().period_at(at(now));
        (shown(period.from), shown(period.to))
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(schedule in schedules()) {
            prop_assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }

        #[test]
        fn every_moment_lies_in_its_period_and_periods_leave_no_gap(
            schedule in schedules(),
            now in 5_000_000_000..LATEST,
        ) {
            let period = schedule.period_at(Time::from_millis(now));
            prop_assert!(period.from.as_millis() <= now && now < period.to.as_millis());
            prop_assert_eq!(schedule.period_at(period.from), period);
            let last = Time::from_millis(period.to.as_millis() - 1);
            prop_assert_eq!(schedule.period_at(last), period);
            prop_assert_eq!(schedule.after(period).from, period.to);
            let length = period.length().as_millis() / 86_400_000;
            let lengths = match schedule.every {
                Every::Day => 1..=1,
                Every::Week(_) => 7..=7,
                Every::Month(_) => 28..=31,
            };
            prop_assert!(lengths.contains(&length), "{} days", length);
        }
    }

    #[test]
    fn periods_begin_on_the_day_and_at_the_time_that_was_said() {
        let span = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(
            days("month", "2026-02-17T03:04"),
            span("2026-02-01 00:00 UTC", "2026-03-01 00:00 UTC")
        );
        assert_eq!(
            days("month 15 06:00", "2027-01-15T05:59:59"),
            span("2026-12-15 06:00 UTC", "2027-01-15 06:00 UTC")
        );
        assert_eq!(
            days("month 28", "2028-02-29T12:00"),
            span("2028-02-28 00:00 UTC", "2028-03-28 00:00 UTC")
        );
        // A Friday.
        assert_eq!(
            days("week", "2026-11-27T00:00"),
            span("2026-11-23 00:00 UTC", "2026-11-30 00:00 UTC")
        );
        assert_eq!(
            days("week 6 12:30", "2026-11-27T00:00"),
            span("2026-11-21 12:30 UTC", "2026-11-28 12:30 UTC")
        );
        assert_eq!(
            days("day 18:00", "2026-11-27T00:00"),
            span("2026-11-26 18:00 UTC", "2026-11-27 18:00 UTC")
        );
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "",
            "year",
            "day 1",
            "week 0",
            "week 8",
            "month 29",
            "month 0",
            "month 1 24:00",
            "month 1 00:60",
            "month 1 0",
            "month 1 00:00 UTC",
            "month 001",
            "month +1",
            "day 1:2:3",
        ] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert!(error.to_string().contains("month 15 06:00"), "{error}");
        }
    }
}
