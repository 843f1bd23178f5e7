//! Times as people read them.
//!
//! Entry type is [`Moments`]. Local time; the date is shown only when it is not today's.

use comm_proto::agent::{Author, Entry};
use comm_proto::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use comm_proto::time::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Shows times in one time zone, as seen from one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    zone: TimeZone,
    now: Time,
}

impl Moments {
    /// As seen now, in the zone of this machine.
    pub(crate) fn now() -> Self {
        let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        Self { zone: TimeZone::system(), now: Time::from_millis(millis) }
    }

    /// Each with its date, in the zone of this machine.
    pub(crate) fn dated() -> Self {
        Self { zone: TimeZone::system(), now: Time::ZERO }
    }

    /// As seen from `now`, in UTC.
    #[cfg(test)]
    pub(crate) fn utc(now: Time) -> Self {
        Self { zone: TimeZone::UTC, now }
    }

    /// `12:34:56`, with the date before it if that is not today's.
    pub(crate) fn show(&self, at: Time) -> String {
        let (Some(at), Some(now)) = (self.local(at), self.local(self.now)) else {
            return "an impossible time".to_owned();
        };
        let form = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        at.strftime(form).to_string()
    }

    fn local(&self, at: Time) -> Option<Zoned> {
        let millis = i64::try_from(at.as_millis()).ok()?;
        Some(Timestamp::from_millisecond(millis).ok()?.to_zoned(self.zone.clone()))
    }
}

/// When an entry was written: by its author's clock, unless that is off by more than a message can
/// be under way; then when it came.
pub(crate) fn written_at(entry: &Entry) -> Time {
    let earliest = entry.stored_at - TTL_MAX - CLOCK_TOLERANCE;
    let latest = entry.stored_at + CLOCK_TOLERANCE;
    let is_sane = (earliest..=latest).contains(&entry.sent_at);
    match entry.author {
        Author::Them { .. } if !is_sane => entry.stored_at,
        _ => entry.sent_at,
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::address::Address;
    use comm_proto::agent::{Marks, MessageNumber, Place, Steps};
    use comm_proto::payload::ContentType;
    use comm_proto::time::Span;

    use super::*;

    fn entry(sent_at: Time, stored_at: Time) -> Entry {
        Entry {
            number: MessageNumber(1),
            contact: Address::from_bytes([1; 20]),
            author: Author::Them { missing_before: 0, place: Place::InTurn },
            content_type: ContentType::TEXT,
            body: Vec::new(),
            sequence: 1,
            sent_at,
            stored_at,
            id: None,
            answers: None,
            marks: Marks::default(),
            steps: Steps::default(),
        }
    }

    #[test]
    fn the_date_is_shown_when_it_is_not_todays() {
        let noon = Time::from_millis(1_700_049_600_000);
        let moments = Moments::utc(noon);
        assert_eq!(moments.show(noon + Span::from_secs(1)), "12:00:01");
        assert_eq!(moments.show(noon - Span::DAY), "2023-11-14 12:00:00");
        assert_eq!(moments.show(Time::MAX), "an impossible time");
    }

    #[test]
    fn a_message_dated_1970_or_2100_has_the_time_when_it_came() {
        let came = Time::from_millis(1_700_049_600_000);
        let in_2100 = Time::from_millis(4_102_444_800_000);
        for wrong in [Time::ZERO, in_2100, Time::MAX, came - Span::from_days(40)] {
            assert_eq!(written_at(&entry(wrong, came)), came);
        }
        for sane in [came, came - Span::from_days(29), came + Span::HOUR] {
            assert_eq!(written_at(&entry(sane, came)), sane);
        }
    }
}
