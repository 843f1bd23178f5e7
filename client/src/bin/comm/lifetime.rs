//! How long a message waits for its reader, as people write it: `90m`, `12h`, `14d`.
//!
//! Entry functions are [`parse`] and [`show`]. Minutes, hours or days, within what the protocol allows
//! (PROTOCOL §9.1).

use comm_proto::envelope::{TTL_MAX, TTL_MIN};
use comm_proto::time::Span;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads a time to live.
///
/// # Errors
/// When it is none, or out of bounds.
pub(crate) fn parse(text: &str) -> Result<Span, String> {
    let units = [('m', MINUTE), ('h', HOUR), ('d', DAY)];
    let parsed = units.into_iter().find_map(|(unit, millis)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Span::from_millis(number.saturating_mul(millis)))
    });
    let span = parsed.ok_or("write a time such as 90m, 12h or 14d (minutes, hours, days)")?;
    if (TTL_MIN..=TTL_MAX).contains(&span) {
        return Ok(span);
    }
    Err(format!("a message waits for 10m to 30d, which {text} is not"))
}

/// Writes it as [`parse`] reads it, in the largest unit that fits.
pub(crate) fn show(span: Span) -> String {
    match span.as_millis() {
        millis if millis % DAY == 0 => format!("{}d", millis / DAY),
        millis if millis % HOUR == 0 => format!("{}h", millis / HOUR),
        millis => format!("{}m", millis / MINUTE),
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
    fn the_bounds_and_what_is_no_time_are_told() {
        for out in ["9m", "0d", "31d", "721h", "18446744073709551615d"] {
            assert!(parse(out).unwrap_err().contains("10m to 30d"), "{out}");
        }
        for wrong in ["", "d", "14", "14 d", "-1d", "1.5d", "1w", "ü"] {
            assert!(parse(wrong).unwrap_err().contains("90m, 12h or 14d"), "{wrong}");
        }
    }
}
