//! How long a message waits for its reader, or stays, as people write it: `30s`, `90m`, `12h`, `14d`.
//!
//! Entry functions are [`parse`], [`parse_stay`] and [`show`]. Within what the protocol allows
//! (PROTOCOL §4.10, §9.1).

use comm_proto::content::{LIFETIME_MAX, LIFETIME_MIN};
use comm_proto::envelope::{TTL_MAX, TTL_MIN};
use comm_proto::time::Span;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads a time to live.
///
/// # Errors
/// When it is none, or out of bounds.
pub(crate) fn parse(text: &str) -> Result<Span, String> {
    let parsed = span(text, &[('m', MINUTE), ('h', HOUR), ('d', DAY)]);
    let span = parsed.ok_or("write a time such as 90m, 12h or 14d (minutes, hours, days)")?;
    if (TTL_MIN..=TTL_MAX).contains(&span) {
        return Ok(span);
    }
    Err(format!("a message waits for 10m to 30d, which {text} is not"))
}

/// Reads after which time messages disappear; none for `off`.
///
/// # Errors
/// When it is no time, or out of bounds.
pub(crate) fn parse_stay(text: &str) -> Result<Option<Span>, String> {
    if text == "off" {
        return Ok(None);
    }
    let parsed = span(text, &[('s', SECOND), ('m', MINUTE), ('h', HOUR), ('d', DAY)]);
    let span = parsed.ok_or("write a time such as 30s, 90m, 12h or 14d, or off")?;
    if (LIFETIME_MIN..=LIFETIME_MAX).contains(&span) {
        return Ok(Some(span));
    }
    Err(format!("messages disappear after 5s to 366d, which {text} is not"))
}

fn span(text: &str, units: &[(char, u64)]) -> Option<Span> {
    units.iter().find_map(|(unit, millis)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        Some(Span::from_millis(number.saturating_mul(*millis)))
    })
}

/// Writes it as [`parse`] reads it, in the largest unit that fits.
pub(crate) fn show(span: Span) -> String {
    match span.as_millis() {
        millis if millis % DAY == 0 => format!("{}d", millis / DAY),
        millis if millis % HOUR == 0 => format!("{}h", millis / HOUR),
        millis if millis % MINUTE == 0 => format!("{}m", millis / MINUTE),
        // What another program has chosen may be no whole number of seconds.
        millis => format!("{}s", millis.div_ceil(SECOND)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["10m", "90m", "1h", "13h", "1d", "14d", "30d"] {
            assert_eq!(parse(text).map(show).as_deref(), Ok(text));
        }
        assert_eq!(parse("720h"), Ok(TTL_MAX));
    }

    #[test]
    fn messages_may_disappear_after_seconds_or_stay() {
        for text in ["5s", "90s", "10m", "366d"] {
            assert_eq!(parse_stay(text).unwrap().map(show).as_deref(), Some(text));
        }
        assert_eq!(parse_stay("off"), Ok(None));
        for out in ["4s", "0s", "367d", "18446744073709551615d"] {
            assert!(parse_stay(out).unwrap_err().contains("5s to 366d"), "{out}");
        }
        for wrong in ["", "5", "on", "5 s"] {
            assert!(parse_stay(wrong).unwrap_err().contains("or off"), "{wrong}");
        }
        assert_eq!(show(Span::from_millis(5_500)), "6s");
    }

    #[test]
    fn the_bounds_and_what_is_no_time_are_told() {
        for out in ["9m", "0d", "31d", "721h", "18446744073709551615d"] {
            assert!(parse(out).unwrap_err().contains("10m to 30d"), "{out}");
        }
        for wrong in ["", "d", "14", "14 d", "-1d", "1.5d", "1w", "ü"] {
            assert!(parse(wrong).unwrap_err().contains("90m, 12h or 14d"), "{wrong}");
        }
    }
}
