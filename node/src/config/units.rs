//! Sizes and lengths of time as people write them: `1GiB`, `6h`.
//!
//! Entry types are [`ByteSize`] and [`Interval`]. Whole numbers with one unit; no fractions and no
//! sums of several units, so that every value has one shortest spelling.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use comm_proto::time::Span;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A number of bytes, written like `64KiB`, `512MiB`, `1GiB` or `1000` (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

/// A length of time, written like `250ms`, `2s`, `15m`, `6h` or `14d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval(pub Span);

/// Why a text is no size or length of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseUnitError {
    /// It is no size.
    #[error("\"{0}\" is no size; write a whole number with B, KiB, MiB, GiB or TiB")]
    Size(String),
    /// It is no length of time.
    #[error("\"{0}\" is no length of time; write a whole number with ms, s, m, h or d")]
    Time(String),
}

/// Largest first, so that a number is shown in the largest unit that divides it.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Interval {
    /// The same length for the standard library.
    pub fn duration(self) -> Duration {
        self.0.into()
    }
}

impl FromStr for ByteSize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.parse().ok();
        let size = plain.or_else(|| parse(text, &SIZES));
        size.map(Self).ok_or_else(|| ParseUnitError::Size(text.to_owned()))
    }
}

impl FromStr for Interval {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let millis = parse(text, &TIMES).ok_or_else(|| ParseUnitError::Time(text.to_owned()))?;
        Ok(Self(Span::from_millis(millis)))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, &SIZES)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0.as_millis(), &TIMES)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = ParseUnitError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for Interval {
    type Error = ParseUnitError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        interval.to_string()
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, name) = text.split_at(digits);
    let (_, unit) = units.iter().find(|(known, _)| *known == name.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}

fn show(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |unit: u64| value != 0 && value.is_multiple_of(unit);
    let smallest = units.last().copied().unwrap_or(("", 1));
    let (name, unit) = units.iter().copied().find(|(_, unit)| fits(*unit)).unwrap_or(smallest);
    write!(f, "{}{name}", value / unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_shown_reads_back(value: u64) {
            prop_assert_eq!(ByteSize(value).to_string().parse(), Ok(ByteSize(value)));
            let interval = Interval(Span::from_millis(value));
            prop_assert_eq!(interval.to_string().parse(), Ok(interval));
        }
    }

    #[test]
    fn units_have_their_usual_meaning() {
        assert_eq!("1GiB".parse(), Ok(ByteSize(1 << 30)));
        assert_eq!("12 KiB".parse(), Ok(ByteSize(12 << 10)));
        assert_eq!("1000".parse(), Ok(ByteSize(1_000)));
        assert_eq!("6h".parse(), Ok(Interval(Span::HOUR.times(6))));
        assert_eq!("250ms".parse(), Ok(Interval(Span::from_millis(250))));
        assert_eq!(Interval(Span::from_mins(90)).to_string(), "90m");
        assert_eq!(ByteSize(0).to_string(), "0B");
    }

    #[test]
    fn anything_else_is_refused_with_the_units_that_are_known() {
        for text in ["", "GiB", "1GB", "-1GiB", "1.5GiB", "99999999999TiB", "1 h"] {
            let error = text.parse::<ByteSize>().unwrap_err();
            assert!(error.to_string().contains("KiB"), "{error}");
        }
        for text in ["", "2", "2 weeks", "h", "1e3s"] {
            let error = text.parse::<Interval>().unwrap_err();
            assert!(error.to_string().contains("ms"), "{error}");
        }
    }
}
