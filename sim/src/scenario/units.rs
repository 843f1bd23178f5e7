//! Values with their units, exactly: `50ms`, `1.5s`, `14d`, `0.5%`, `50ms..150ms`.
//!
//! No number goes through floating point, and none is rounded: what cannot be kept exactly is refused.
//! An error is the part of a sentence that says what to write instead.

use comm_proto::time::Span;

use crate::plan::Millionths;

/// Units of time and how many milliseconds they have, the longest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of sizes and how many bytes they have, the largest first.
const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A length of time.
pub fn span(text: &str) -> Result<Span, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim());
    if !number.is_empty() && unit.is_empty() {
        return Err(format!(
            "a time needs its unit; write \"{number}ms\", \"{number}s\", \"{number}m\", \"{number}h\" or \"{number}d\""
        ));
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let millis = known.and_then(|(_, millis)| scaled(number, *millis));
    millis.map(Span::from_millis).ok_or_else(|| {
        "write a time in whole milliseconds with its unit, such as \"50ms\", \"1.5s\", \"20m\", \"2h\" or \"14d\""
            .to_owned()
    })
}

/// A size.
pub fn bytes(text: &str) -> Result<u64, String> {
    let known = SIZES.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
    let bytes = known.and_then(|(number, bytes)| scaled(number.trim(), bytes));
    bytes.ok_or_else(|| {
        "write a size with its unit, such as \"64KiB\", \"1.5MiB\" or \"1GiB\"".into()
    })
}

/// A part of a whole, from 0 % to 100 %.
pub fn share(text: &str) -> Result<Millionths, String> {
    let Some(number) = text.strip_suffix('%') else {
        let wrong = "a share needs its unit; write it in percent, such as \"30%\" or \"0.5%\"";
        return Err(wrong.to_owned());
    };
    let parts = scaled(number.trim(), 10_000).filter(|parts| *parts <= 1_000_000);
    let parts = parts.and_then(|parts| u32::try_from(parts).ok());
    parts.map(Millionths::new).ok_or_else(|| {
        "write a share from \"0%\" to \"100%\" with at most four decimals".to_owned()
    })
}

/// The least and the greatest of a range of times.
pub fn range(text: &str) -> Result<(Span, Span), String> {
    let Some((least, greatest)) = text.split_once("..") else {
        return Err("write the least and the greatest, such as \"50ms..150ms\"".to_owned());
    };
    let (least, greatest) = (span(least.trim())?, span(greatest.trim())?);
    if least > greatest {
        return Err("write the least first, such as \"50ms..150ms\"".to_owned());
    }
    Ok((least, greatest))
}

/// A count that may have decimals, as how many thousandths it has.
pub fn thousandths(text: &str) -> Result<u64, String> {
    scaled(text, 1_000)
        .ok_or_else(|| "write a number with at most three decimals, such as 100 or 0.5".to_owned())
}

/// A count in thousandths, with no more decimals than it has.
pub fn show_thousandths(count: u64) -> String {
    let text = format!("{}.{:03}", count / 1_000, count % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time in the longest unit in which it is a whole number.
pub fn show_span(span: Span) -> String {
    let millis = span.as_millis();
    let fits = UNITS.iter().find(|(_, unit)| millis != 0 && millis.is_multiple_of(*unit));
    fits.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", millis / unit))
}

/// A size in the largest unit in which it is a whole number; always whole KiB.
pub fn show_bytes(bytes: u64) -> String {
    let fits = SIZES.iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    let (name, unit) = fits.unwrap_or(&SIZES[2]);
    format!("{}{name}", bytes / unit)
}

/// A share in percent, with no more decimals than it has.
pub fn show_share(share: Millionths) -> String {
    let (whole, rest) = (share.get() / 10_000, share.get() % 10_000);
    let text = format!("{whole}.{rest:04}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A range of times.
pub fn show_range((least, greatest): (Span, Span)) -> String {
    format!("{}..{}", show_span(least), show_span(greatest))
}

/// A decimal number times a factor, if that is a whole number that fits.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > 9 {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(decimals.len()).ok()?);
    let part = decimals.parse::<u64>().ok()?.checked_mul(factor)?;
    let part = part.is_multiple_of(scale).then_some(part / scale)?;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_with_their_unit_alone() {
        assert_eq!(span("50ms"), Ok(Span::from_millis(50)));
        assert_eq!(span("1.5s"), Ok(Span::from_millis(1_500)));
        assert_eq!(span("20 m"), Ok(Span::from_mins(20)));
        assert_eq!(span("14d"), Ok(Span::from_days(14)));
        assert!(span("50").unwrap_err().contains("write \"50ms\", \"50s\""));
        for wrong in ["", "s", "1.5ms", "-1s", "1e3s", "5 weeks", "99999999999999999999s", "1.s"] {
            assert!(span(wrong).unwrap_err().contains("\"1.5s\""), "{wrong}");
        }
    }

    #[test]
    fn shares_are_read_exactly_or_not_at_all() {
        assert_eq!(share("1%"), Ok(Millionths::new(10_000)));
        assert_eq!(share("99.9999%"), Ok(Millionths::new(999_999)));
        assert_eq!(share("100%"), Ok(Millionths::ALL));
        assert!(share("0.3").unwrap_err().contains("needs its unit"));
        for wrong in ["101%", "0.00001%", "%", "-1%"] {
            assert!(share(wrong).unwrap_err().contains("from \"0%\" to \"100%\""), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit_and_shown_alike() {
        for (text, size) in [("64KiB", 65_536), ("1.5MiB", 3 << 19), ("1GiB", 1 << 30), ("0KiB", 0)]
        {
            assert_eq!(bytes(text), Ok(size));
            assert_eq!(bytes(&show_bytes(size)), Ok(size));
        }
        for wrong in ["64", "64KB", "KiB", "1.0001KiB", "-1KiB", "99999999999999GiB"] {
            assert!(bytes(wrong).unwrap_err().contains("\"64KiB\""), "{wrong}");
        }
    }

    #[test]
    fn a_range_goes_up() {
        let range_of = |a, b| (Span::from_millis(a), Span::from_millis(b));
        assert_eq!(range("50ms..1s"), Ok(range_of(50, 1_000)));
        assert!(range("50ms").unwrap_err().contains("the least and the greatest"));
        assert!(range("2s..1s").unwrap_err().contains("the least first"));
        assert!(range("50..150ms").unwrap_err().contains("needs its unit"));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0..u64::MAX, parts in 0..=1_000_000_u32) {
            let time = Span::from_millis(millis);
            prop_assert_eq!(span(&show_span(time)), Ok(time));
            let count = millis / 1_000;
            prop_assert_eq!(thousandths(&show_thousandths(count)), Ok(count));
            let part = Millionths::new(parts);
            prop_assert_eq!(share(&show_share(part)), Ok(part));
        }

        #[test]
        fn no_text_makes_a_unit_panic(text in ".*") {
            let _ = (span(&text), share(&text), range(&text), thousandths(&text));
        }
    }
}
