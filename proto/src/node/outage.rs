//! Whether anybody can be reached at all, and going on when somebody can again (PROTOCOL §6.3).
//!
//! Entry type is [`Outage`]. While nobody answers no rounds are made: they would reach nobody and yet
//! count, so that after a long outage the next would be hours away. Nodes that come back together must
//! not all begin at the same moment, and what has piled up goes out a step at a time.

use rand_core::RngCore;

use crate::time::{Span, Time};

use super::{Node, Turn};

/// So many calls in a row without an answer, and nobody has answered for so long: we are cut off.
const SILENT_CALLS: u32 = 16;
const SILENT_FOR: Span = Span::from_mins(1);
/// After an outage rounds begin at a random time within this span; that others were noticed at
/// different times spreads nodes more.
const RESUME_WITHIN: Span = Span::from_secs(1);
/// The mean pause between two steps of what has piled up.
const PAUSE: Span = Span::from_millis(500);

/// What calls of late tell of our own connection.
#[derive(Debug)]
pub(super) struct Outage {
    answered_at: Time,
    silent_calls: u32,
    cut_off: bool,
    /// No rounds before this.
    resume_at: Time,
    /// Whether rounds that came due during an outage, or by a jump of the clock, are still to be made.
    catching_up: bool,
}

impl Outage {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            answered_at: now,
            silent_calls: 0,
            cut_off: false,
            resume_at: Time::ZERO,
            catching_up: false,
        }
    }

    pub(super) const fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// More rounds may be due at once than come due while a node runs by a clock that is right.
    pub(super) const fn expect_much(&mut self) {
        self.catching_up = true;
    }

    /// Until when rounds must wait, cut off or not.
    pub(super) const fn resume_at(&self) -> Time {
        self.resume_at
    }
}

impl Node {
    /// Somebody has answered a call of ours.
    pub(super) fn note_reached(&mut self, turn: Turn<'_>) {
        let silence = turn.now.since(self.outage.answered_at);
        self.outage.answered_at = turn.now;
        self.outage.silent_calls = 0;
        if !std::mem::take(&mut self.outage.cut_off) {
            return;
        }
        self.outage.catching_up = true;
        self.outage.resume_at = turn.now + self.draw_span(RESUME_WITHIN);
        self.regions.forget();
        if silence >= self.config.table.refresh_after {
            self.table.doubt();
        }
        self.collect_again_by(self.outage.resume_at);
        // Those who failed meanwhile are looked for one after the other.
        self.look_for_network_again(turn.now);
    }

    /// A call of ours got no answer.
    pub(super) fn note_silence(&mut self, turn: Turn<'_>) {
        self.outage.silent_calls = self.outage.silent_calls.saturating_add(1);
        let long = turn.now.since(self.outage.answered_at) >= SILENT_FOR;
        let silent = self.outage.silent_calls >= SILENT_CALLS && long;
        if !self.outage.cut_off && !self.table.is_empty() && (silent || self.is_alone(turn.now)) {
            self.outage.cut_off = true;
            self.look_for_network_again(turn.now);
        }
    }

    /// A step of rounds was made; `more` are due.
    pub(super) fn pause_rounds(&mut self, turn: Turn<'_>, more: bool) {
        self.outage.catching_up &= more;
        if self.outage.catching_up {
            let half = Span::from_millis(PAUSE.as_millis() / 2);
            self.outage.resume_at = turn.now + half + self.draw_span(PAUSE);
        }
    }

    /// A random length below `span`.
    pub(super) fn draw_span(&mut self, span: Span) -> Span {
        Span::from_millis(self.rng.next_u64() % span.as_millis().max(1))
    }
}
