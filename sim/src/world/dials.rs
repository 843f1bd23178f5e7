//! Which hosts could not be reached, and until when they are not dialled again.
//!
//! Entry type is [`Dials`]. A real node's host does the same (PROTOCOL §5.2). It is kept where dials fail at once
//! (`network.off = "refuses"`); a call to a host that is silent takes as long as it has patience.

use std::collections::BTreeMap;

use comm_proto::time::{Span, Time};

use crate::host::At;

/// The first wait and the longest.
const FIRST: Span = Span::from_secs(1);
const LONGEST: Span = Span::from_secs(300);

/// Dials that failed, by who dialled whom; a host that is off has none.
#[derive(Debug, Default)]
pub(super) struct Dials(BTreeMap<(At, At), Failed>);

#[derive(Debug)]
struct Failed {
    waits: Span,
    until: Time,
}

impl Dials {
    /// Whether nobody dials yet.
    pub(super) fn wait(&self, from: At, to: At, now: Time) -> bool {
        self.0.get(&(from, to)).is_some_and(|failed| now < failed.until)
    }

    /// One failed. `draw` is any number.
    pub(super) fn fail(&mut self, from: At, to: At, now: Time, draw: u64) {
        let waited = self.0.get(&(from, to)).map_or(Span::ZERO, |failed| failed.waits);
        let waits = longer(waited);
        self.0.insert((from, to), Failed { waits, until: now + jittered(waits, draw) });
    }

    /// One succeeded.
    pub(super) fn succeed(&mut self, from: At, to: At) {
        self.0.remove(&(from, to));
    }

    /// A host has ended, and nobody switches it on again.
    pub(super) fn forget(&mut self, host: At) {
        let own: Vec<_> =
            self.0.range((host, 0)..=(host, At::MAX)).map(|(dial, _)| *dial).collect();
        for dial in own {
            self.0.remove(&dial);
        }
    }
}

/// How long to wait after having waited for so long.
pub(super) fn longer(waited: Span) -> Span {
    waited.times(2).clamp(FIRST, LONGEST)
}

/// Four fifths to six fifths of it, as `draw` says, which is any number, and no more than the longest.
pub(super) fn jittered(wait: Span, draw: u64) -> Span {
    Span::from_millis(wait.as_millis() / 100 * (80 + draw % 41)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_be_reached_is_dialled_after_longer_and_longer() {
        let (mut dials, mut now) = (Dials::default(), Time::from_millis(0));
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            dials.fail(1, 2, now, 20);
            now = now + Span::from_secs(seconds);
            assert!(dials.wait(1, 2, now - Span::from_millis(1)), "{seconds} s");
            assert!(!dials.wait(1, 2, now), "{seconds} s");
        }
        assert!(!dials.wait(2, 1, now));
        dials.succeed(1, 2);
        dials.fail(1, 2, now, 0);
        assert!(!dials.wait(1, 2, now + Span::from_millis(800)));
        assert_eq!(jittered(LONGEST, 40), LONGEST);
        assert_eq!(jittered(FIRST, 40), Span::from_millis(1_200));
    }

    #[test]
    fn a_host_that_has_ended_remembers_no_dials() {
        let (mut dials, now) = (Dials::default(), Time::from_millis(0));
        dials.fail(1, 2, now, 0);
        dials.fail(2, 1, now, 0);
        dials.forget(1);
        assert!(!dials.wait(1, 2, now) && dials.wait(2, 1, now));
    }
}
