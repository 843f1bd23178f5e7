//! Who comes and goes: sessions that are drawn, or that a file tells; streams that break.

use comm_proto::time::Span;

use super::{Happening, World};
use crate::host::At;
use crate::plan::{Churn, Who};
use crate::weibull;

/// Pauses and lives of streams are exponential.
const EXPONENTIAL: u64 = 1_000;

impl World {
    /// Honest hosts come and go from now on.
    pub(crate) fn begin_churn(&mut self, churn: &Churn) {
        let honest = self.honest_hosts().collect::<Vec<_>>();
        // Where people's nodes go, that is for a reason of their own.
        let all = churn.who == Who::All && !self.nodes_go;
        let comes_and_goes = |host: &At| all || !self.people.use_host(*host);
        let hosts = honest.into_iter().filter(comes_and_goes).collect::<Vec<_>>();
        if churn.trace.is_some() || churn.session > Span::ZERO {
            self.come_and_go = Some(hosts.len() as u64);
        }
        if let Some(sessions) = &churn.trace {
            for (number, host) in hosts.into_iter().enumerate() {
                self.follow(host, sessions.of(number));
            }
        } else if churn.session > Span::ZERO {
            self.churn = Some(churn.clone());
            for host in hosts {
                let span = weibull::draw(&mut self.rng, churn.session, churn.shape);
                self.later(span, Happening::Switch { host, on: false });
            }
        }
    }

    /// Plans all that a file tells of a host.
    fn follow(&mut self, host: At, sessions: &[(Span, Span)]) {
        if sessions.first().is_none_or(|(up, _)| *up > Span::ZERO) {
            self.later(Span::ZERO, Happening::Switch { host, on: false });
        }
        for (up, down) in sessions {
            self.later(*up, Happening::Switch { host, on: true });
            self.later(*down, Happening::Switch { host, on: false });
        }
    }

    pub(super) fn switch(&mut self, host: At, on: bool) {
        if on == self.hosts[host].is_up() {
            return;
        }
        self.turn(host, on);
        if let Some(churn) = &self.churn {
            let (length, shape) =
                if on { (churn.session, churn.shape) } else { (churn.pause, EXPONENTIAL) };
            let span = weibull::draw(&mut self.rng, length, shape);
            self.later(span, Happening::Switch { host, on: !on });
        }
    }

    /// A stream was opened, and may break.
    pub(super) fn expect_break(&mut self, from: At, to: At) {
        if self.network.stream > Span::ZERO
            && let Some(serial) = self.streams.serial(from, to)
        {
            let span = weibull::draw(&mut self.rng, self.network.stream, EXPONENTIAL);
            self.later(span, Happening::Broken { from, to, serial });
        }
    }

    /// A stream breaks, if it is still the same: what is on its way is lost, its source notices, and its
    /// subscriber dials again.
    pub(super) fn lose_stream(&mut self, from: At, to: At, serial: u64) {
        if self.streams.serial(from, to) == Some(serial) {
            if self.network.dial > 0 {
                self.open_links.forget(from, to);
            }
            self.tear_stream(from, to);
        }
    }
}
