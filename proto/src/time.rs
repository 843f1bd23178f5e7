//! Time as the protocol sees it: milliseconds since the Unix epoch, handed in by the host.
//!
//! Entry types are [`Time`] (an instant) and [`Span`] (a length). Not `std::time::Instant`: expiries
//! are stored on disk and compared between machines, so they must survive restarts and be
//! absolute. Nothing here reads a clock; arithmetic saturates instead of wrapping or panicking.

use std::fmt;
use std::ops::{Add, Sub};

/// An instant, in milliseconds since 1970-01-01T00:00:00Z (PROTOCOL §2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Time {
    /// The epoch itself; earlier than every instant a host hands in.
    pub const ZERO: Self = Self(0);
    /// Later than every instant a host hands in.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// The number of the UTC day this instant lies in; envelopes are laid out on disk by it.
    pub const fn day(self) -> u32 {
        let day = self.0 / Span::DAY.0;
        if day > u32::MAX as u64 { u32::MAX } else { day as u32 }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// 60 minutes.
    pub const HOUR: Self = Self::from_secs(3_600);
    /// 24 hours.
    pub const DAY: Self = Self::from_secs(86_400);

    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// `minutes` minutes.
    pub const fn from_mins(minutes: u64) -> Self {
        Self::from_secs(minutes.saturating_mul(60))
    }

    /// `days` days of 24 hours.
    pub const fn from_days(days: u64) -> Self {
        Self::from_secs(days.saturating_mul(86_400))
    }

    /// The length in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This length `factor` times.
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

impl From<Span> for std::time::Duration {
    fn from(span: Span) -> Self {
        Self::from_millis(span.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Time::MAX + Span::DAY, Time::MAX);
        assert_eq!(Time::ZERO - Span::DAY, Time::ZERO);
        assert_eq!(Time::ZERO.since(Time::MAX), Span::ZERO);
        assert_eq!(Span::ZERO - Span::DAY, Span::ZERO);
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        assert_eq!((Time::ZERO + Span::DAY).day(), 1);
        assert_eq!((Time::ZERO + Span::DAY - Span::from_millis(1)).day(), 0);
    }
}
