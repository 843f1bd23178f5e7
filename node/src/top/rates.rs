//! How fast what a node counts grows.
//!
//! Entry type is [`Rates`].

use std::time::{Duration, SystemTime};

use crate::status::Report;

/// A report, and when it came.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: SystemTime,
    pub(super) report: Report,
}

/// What was added in a second, between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Envelopes taken in.
    pub(super) accepted: f64,
    /// Envelopes handed on.
    pub(super) relayed: f64,
    /// Others' envelopes that were read.
    pub(super) read: f64,
    /// Bytes that came over links.
    pub(super) received: f64,
    /// Bytes that went over links.
    pub(super) sent: f64,
}

impl Rates {
    /// None if the node has begun anew in between, or no time has passed.
    pub(super) fn between(before: &Look, now: &Look) -> Option<Self> {
        if before.report.began != now.report.began {
            return None;
        }
        let took = now.at.duration_since(before.at).ok().filter(|took| *took > Duration::ZERO)?;
        let rate = |count: fn(&Report) -> u64| {
            count(&now.report).saturating_sub(count(&before.report)) as f64 / took.as_secs_f64()
        };
        Some(Self {
            accepted: rate(|report| report.envelopes.accepted),
            relayed: rate(|report| report.envelopes.relayed),
            read: rate(|report| report.envelopes.acknowledged_for_others),
            received: rate(|report| report.links.received_bytes),
            sent: rate(|report| report.links.sent_bytes),
        })
    }
}

/// How many a second, as exact as it is read.
pub(super) fn rate(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::status::{Envelopes, Links};

    /// A look at a node that has begun at `began` and has taken in so many envelopes.
    pub(crate) fn look(seconds: u64, began: u64, accepted: u64) -> Look {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let report = Report {
            version: "1.2.3".to_owned(),
            address: "ab".repeat(20),
            began,
            uptime_seconds: seconds,
            connected: true,
            reachability: "reachable",
            endpoints: Vec::new(),
            observed: Vec::new(),
            table: Default::default(),
            network_size: 40,
            envelopes: Envelopes { accepted, ..Default::default() },
            store: Default::default(),
            links: Links { received_bytes: 1_000 * accepted, ..Default::default() },
            syncs: None,
            volume: None,
            sources: Vec::new(),
            port_mapping: None,
            clock_ahead_seconds: 0,
            warnings: Vec::new(),
        };
        Look { at, report }
    }

    #[test]
    fn rates_are_by_the_second_whatever_the_pace_is() {
        let rates = Rates::between(&look(10, 1, 100), &look(15, 1, 150)).unwrap();
        assert_eq!((rates.accepted, rates.received, rates.sent), (10.0, 10_000.0, 0.0));
    }

    #[test]
    fn a_node_that_has_begun_anew_has_no_rates_yet() {
        assert_eq!(Rates::between(&look(10, 1, 100), &look(11, 2, 5)), None);
        assert_eq!(Rates::between(&look(10, 1, 100), &look(10, 1, 100)), None);
        assert_eq!(Rates::between(&look(10, 1, 100), &look(9, 1, 100)), None);
    }

    #[test]
    fn a_rate_is_as_exact_as_it_is_read() {
        let texts = [0.0, 3.12, 99.9, 1_234.4].map(rate);
        assert_eq!(texts, ["0.0/s", "3.1/s", "99.9/s", "1234/s"]);
    }
}
