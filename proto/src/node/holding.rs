//! The time by which a node removes things, and how far it lies behind the clock (PROTOCOL §6.7).
//!
//! Entry type is [`HoldingClock`]. It is the clock less the jumps that have not lasted yet, or less
//! what other nodes say that the clock is ahead, whichever is more. All of it survives a restart.
//! Nothing here removes anything: `expire` does.

use crate::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use crate::store::StoreError;
use crate::time::{Span, Time};

/// A step of the clock longer than this between two inputs is taken for a jump.
const JUMP: Span = Span::from_mins(20);
/// Jumps within one such part of the time that the node has run count as one, made with the last of
/// them: there are never more than 13 that have not lasted yet.
const PART: Span = Span::from_mins(15);
/// How often the clock is looked at, and at the most written down, while anything is kept: an
/// ordinary silence is no jump.
const LOOK_EVERY: Span = Span::from_mins(15);
/// How soon after a start it is written down first; then whenever it has run as long again.
const WRITE_FIRST: Span = Span::from_secs(15);
/// What others said of this clock counts for so long of the time that the node runs: no envelope that
/// was held when they said it can be alive by then.
const WORD_LASTS: Span = Span::from_millis(TTL_MAX.as_millis() + CLOCK_TOLERANCE.as_millis());
const A_MOMENT: Span = Span::from_millis(1);

/// The clock by which things expire: ours, but behind it by every jump that has not lasted yet, and by
/// as much as other nodes say that it is ahead.
#[derive(Debug)]
pub(super) struct HoldingClock {
    last: Time,
    /// For how long the node has run in all, over restarts and pauses.
    ran: Span,
    /// The jumps that have not lasted yet, the oldest first.
    jumps: Vec<Jump>,
    /// By how much ours is ahead of other nodes' clocks, as they said last.
    doubt: Span,
    /// When they did, by the time that the node has run.
    doubted_at: Span,
    /// How long the node had run, and what the others said, when this was last written down.
    written: Option<(Span, Span)>,
    /// Whether it was set back when it was looked at last.
    set_back: bool,
    /// How long the node runs until it is written down again.
    write_every: Span,
}

/// A jump ahead, which lasts once the node has run for as long as clocks may disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Jump {
    by: Span,
    /// When it was made, by the time that the node has run.
    at: Span,
}

impl HoldingClock {
    /// The clock of a node that has kept nothing before.
    pub(super) const fn new(now: Time) -> Self {
        Self {
            last: now,
            ran: Span::ZERO,
            jumps: Vec::new(),
            doubt: Span::ZERO,
            doubted_at: Span::ZERO,
            written: None,
            set_back: false,
            write_every: WRITE_FIRST,
        }
    }

    /// Goes on from what was written down: what has passed since then is a step like any other.
    ///
    /// # Errors
    /// When the bytes are not what [`Self::write_down`] gives.
    pub(super) fn resume(bytes: &[u8], now: Time) -> Result<Self, StoreError> {
        let mut clock = Self::from_bytes(bytes).ok_or(StoreError::Damaged("clock"))?;
        // Others are asked anew, as after a jump.
        clock.jump(Span::ZERO);
        clock.observe(now);
        Ok(clock)
    }

    /// Notes the time of an input; whether the clock has jumped since the one before.
    pub(super) fn observe(&mut self, now: Time) -> bool {
        let (step, back) = (now.since(self.last), self.last.since(now));
        self.last = now;
        self.set_back = back > Span::ZERO;
        if back > JUMP {
            // What was ahead was put right, as far as that goes.
            if self.take_back(back)
                && let Some(left) = self.jumps.last_mut()
            {
                // What is left of a jump has not lasted at all.
                left.at = self.ran;
            }
            self.doubt = self.doubt - back;
        } else if step > JUMP {
            self.jump(step);
            // A restart by the right time must find that this was ahead.
            self.written = None;
        } else {
            self.run(step);
        }
        step > JUMP || back > JUMP
    }

    /// Whether the last input was earlier than the one before; after a start, earlier than what was
    /// written down.
    pub(super) fn was_set_back(&self) -> bool {
        self.set_back
    }

    /// Other nodes say that our clock is ahead by so much; whether it was more before.
    pub(super) fn doubt(&mut self, by: Span) -> bool {
        self.doubted_at = self.ran;
        std::mem::replace(&mut self.doubt, by) > by
    }

    /// The time by which things are over: ours, or other nodes' if ours is ahead of it.
    pub(super) fn agreed(&self) -> Time {
        self.last - self.doubt
    }

    /// What is removed by now.
    pub(super) fn time(&self) -> Time {
        self.last - self.behind().max(self.doubt)
    }

    /// When, by the host's clock, to see whether what expires at `at` does so here.
    pub(super) fn due(&self, at: Time) -> Time {
        let lasts = |jump: &Jump| self.in_running_time(jump.at + CLOCK_TOLERANCE + A_MOMENT);
        let next = self.jumps.first().map_or(Time::MAX, lasts);
        let after_jumps = (at + self.behind()).min(next).max(at);
        let forgotten = self.in_running_time(self.doubted_at + WORD_LASTS + A_MOMENT);
        after_jumps.max((at + self.doubt).min(forgotten))
    }

    /// When to look at the clock though nothing happens.
    pub(super) fn look_at(&self) -> Time {
        let written = self.written.map_or(self.ran, |(ran, _)| ran);
        self.in_running_time(written + self.write_every)
    }

    /// What to write down, if that was not done for long.
    pub(super) fn write_down(&mut self) -> Option<Vec<u8>> {
        let due = self.written.is_none_or(|(ran, doubt)| {
            self.ran - ran >= self.write_every || self.doubt > doubt + JUMP
        });
        due.then(|| {
            if self.written.is_some_and(|(ran, _)| ran < self.ran) {
                self.write_every = self.write_every.times(2).min(LOOK_EVERY);
            }
            self.written = Some((self.ran, self.doubt));
            self.to_bytes()
        })
    }

    fn behind(&self) -> Span {
        self.jumps.iter().fold(Span::ZERO, |sum, jump| sum + jump.by)
    }

    /// What the clock shows when the node has run for so long.
    fn in_running_time(&self, ran: Span) -> Time {
        self.last + (ran - self.ran)
    }

    fn run(&mut self, step: Span) {
        self.ran = self.ran + step;
        let ran = self.ran;
        self.jumps.retain(|jump| ran - jump.at <= CLOCK_TOLERANCE);
        if ran - self.doubted_at > WORD_LASTS {
            self.doubt = Span::ZERO;
        }
    }

    /// The clock jumps ahead, or may have. Others are asked anew: until the jump has lasted, what they
    /// said before counts as part of it.
    fn jump(&mut self, by: Span) {
        self.take_back(self.doubt);
        let mut jump = Jump { by: by + self.doubt, at: self.ran };
        if jump.by > Span::ZERO {
            let earlier = self.jumps.pop_if(|earlier| part(earlier.at) == part(jump.at));
            jump.by = earlier.map_or(jump.by, |earlier| earlier.by + jump.by);
            self.jumps.push(jump);
        }
    }

    /// Makes up for jumps, the latest first; whether that has left a part of one.
    fn take_back(&mut self, mut back: Span) -> bool {
        while let Some(jump) = self.jumps.pop_if(|_| back > Span::ZERO) {
            if jump.by > back {
                self.jumps.push(Jump { by: jump.by - back, ..jump });
                return true;
            }
            back = back - jump.by;
        }
        false
    }

    fn to_bytes(&self) -> Vec<u8> {
        let head = [self.last.as_millis(), self.ran.as_millis()];
        let doubt = [self.doubt.as_millis(), self.doubted_at.as_millis()];
        let jumps = self.jumps.iter().flat_map(|jump| [jump.by.as_millis(), jump.at.as_millis()]);
        head.into_iter().chain(doubt).chain(jumps).flat_map(u64::to_be_bytes).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Ok(time) = bytes.try_into() {
            // Older programs wrote down this time alone, jumps already taken off.
            return Some(Self::new(Time::from_millis(u64::from_be_bytes(time))));
        }
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let numbers: Vec<_> = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        let (&[last, ran, doubt, doubted_at], rest) = numbers.split_first_chunk::<4>()?;
        let (jumps, []) = rest.as_chunks::<2>() else { return None };
        let span = Span::from_millis;
        let (ran, doubt, doubted_at) = (span(ran), span(doubt), span(doubted_at));
        let jumps: Vec<_> =
            jumps.iter().map(|&[by, at]| Jump { by: span(by), at: span(at) }).collect();
        let parts_differ = jumps.is_sorted_by(|a, b| part(a.at) < part(b.at));
        let lasting = |jump: &Jump| jump.at > ran || ran - jump.at > CLOCK_TOLERANCE;
        if doubted_at > ran || !parts_differ || jumps.iter().any(lasting) {
            return None;
        }
        let written = Some((ran, doubt));
        let last = Time::from_millis(last);
        Some(Self { last, ran, jumps, doubt, doubted_at, written, ..Self::new(last) })
    }
}

const fn part(ran: Span) -> u64 {
    ran.as_millis() / PART.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(1_000_000_000_000);

    /// The same after a restart.
    fn restarted(clock: &HoldingClock, now: Time) -> HoldingClock {
        HoldingClock::resume(&clock.to_bytes(), now).unwrap()
    }

    /// Lets it run for so many minutes.
    fn run(clock: &mut HoldingClock, minutes: u64) {
        for _ in 0..minutes {
            clock.observe(clock.last + Span::from_mins(1));
        }
    }

    #[test]
    fn a_jump_expires_nothing_until_the_new_time_has_lasted() {
        let mut clock = HoldingClock::new(START);
        assert!(clock.observe(START + Span::from_days(2)));
        assert_eq!(clock.time(), START);
        let mut now = START + Span::from_days(2);
        while now.since(START + Span::from_days(2)) <= CLOCK_TOLERANCE {
            now = now + Span::from_mins(10);
            clock.observe(now);
        }
        assert_eq!(clock.time(), now);
    }

    #[test]
    fn a_jump_that_is_put_right_expires_nothing() {
        let mut clock = HoldingClock::new(START);
        assert!(clock.observe(START + Span::from_days(2)));
        assert!(clock.observe(START + Span::from_mins(1)));
        // How much of the jump was true cannot be told.
        assert_eq!(clock.time(), START);
        assert!(!clock.observe(START + Span::from_mins(2)));
        assert_eq!(clock.time(), START + Span::from_mins(1));
    }

    #[test]
    fn what_passed_while_the_node_was_off_is_a_jump_too() {
        let mut clock = restarted(&HoldingClock::new(START), START + Span::from_days(2));
        assert_eq!(clock.time(), START);
        assert!(!clock.observe(START + Span::from_days(2) + Span::from_mins(1)));
        assert_eq!(clock.time(), START + Span::from_mins(1));
        // A clock that lies before what was written down is taken as it is.
        assert_eq!(restarted(&HoldingClock::new(START + Span::DAY), START).time(), START);
    }

    #[test]
    fn a_doubt_delays_what_expires_and_moves_nothing_forward() {
        let mut clock = HoldingClock::new(START);
        assert!(!clock.doubt(Span::DAY));
        assert_eq!((clock.time(), clock.agreed()), (START - Span::DAY, START - Span::DAY));
        assert_eq!(clock.due(START), START + Span::DAY);
        assert!(clock.doubt(Span::ZERO));
        assert_eq!((clock.time(), clock.due(START)), (START, START));
    }

    #[test]
    fn ordinary_steps_leave_no_trace() {
        let mut clock = HoldingClock::new(START);
        run(&mut clock, 599);
        assert_eq!(clock.time(), START + Span::from_mins(599));
        assert_eq!(clock.due(START), START);
    }

    /// Others' clocks are asked for anew after a jump; until they are known, what they said counts.
    #[test]
    fn a_clock_that_others_call_wrong_and_that_jumps_stays_behind_both() {
        let mut clock = HoldingClock::new(START);
        clock.doubt(Span::from_days(3));
        let before = clock.time();
        clock.observe(START + Span::from_days(7));
        clock.doubt(Span::ZERO);
        assert_eq!(clock.time(), before);
    }

    /// Else the first few that answer after a restart could make it remove what the others protect.
    #[test]
    fn what_others_said_before_a_restart_lasts_as_long_as_a_jump_whatever_is_said_after_it() {
        let mut clock = HoldingClock::new(START);
        clock.doubt(Span::from_days(3));
        for _ in 0..3 {
            run(&mut clock, 150);
            let before = clock.time();
            clock = restarted(&clock, clock.last + Span::from_mins(1));
            assert_eq!(clock.agreed(), clock.last - Span::from_days(3));
            clock.doubt(Span::ZERO);
            run(&mut clock, 179);
            assert_eq!(clock.time(), before + Span::from_mins(180));
            clock.doubt(Span::from_days(3));
        }
        clock.doubt(Span::ZERO);
        run(&mut clock, 2);
        assert_eq!(clock.time(), clock.last);
    }

    /// Others never say quite the same.
    #[test]
    fn a_jump_lasts_though_others_call_the_clock_wrong_and_the_node_is_restarted_every_hour() {
        let mut clock = HoldingClock::new(START);
        let word = |hour: u64| Span::from_days(7) + Span::from_secs(hour);
        clock.doubt(word(0));
        clock.observe(START + Span::HOUR.times(22));
        for hour in 1..5 {
            run(&mut clock, 60);
            clock = restarted(&clock, clock.last + Span::from_mins(1));
            clock.doubt(word(hour));
        }
        let behind = clock.last.since(clock.time());
        assert!(behind >= word(3) && behind <= word(4), "{behind:?}");
    }

    #[test]
    fn what_others_said_counts_without_them_until_nothing_that_was_held_can_be_alive() {
        let mut clock = HoldingClock::new(START);
        clock.doubt(Span::from_days(7));
        run(&mut clock, 30 * 24 * 60);
        assert_eq!(clock.time(), START + Span::from_days(30 - 7));
        run(&mut clock, 3 * 60);
        let due = clock.due(clock.last);
        assert_eq!(due, clock.last + A_MOMENT);
        clock.observe(due);
        assert_eq!(clock.time(), clock.last);
    }

    #[test]
    fn each_jump_lasts_by_itself_when_the_node_has_run_for_three_hours_over_pauses() {
        let mut clock = HoldingClock::new(START);
        for day in 1..60 {
            run(&mut clock, 120);
            clock = restarted(&clock, START + Span::DAY.times(day));
            // The pauses of the last two nights.
            assert!(clock.last.since(clock.time()) <= Span::from_mins(2 * 22 * 60), "{day}");
        }
        run(&mut clock, 181);
        // A nap of an hour after each ten minutes: those of the last three hours, 18 to 20.
        for nap in 0..200 {
            run(&mut clock, 10);
            clock.observe(clock.last + Span::HOUR);
            assert!(clock.last.since(clock.time()) <= Span::HOUR.times(20), "{nap}");
            assert!(clock.jumps.len() <= 13);
        }
        assert!(clock.last.since(clock.time()) >= Span::HOUR.times(18));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_up_for_the_latest_jumps_and_for_what_others_said() {
        let mut clock = HoldingClock::new(START);
        for hours in [5, 7] {
            clock.observe(clock.last + Span::HOUR.times(hours));
            run(&mut clock, 60);
        }
        clock.doubt(Span::from_days(3));
        clock.observe(clock.last - Span::HOUR.times(9));
        assert_eq!(clock.agreed(), clock.last - Span::HOUR.times(63));
        clock.doubt(Span::ZERO);
        let left = [Jump { by: Span::HOUR.times(3), at: Span::HOUR.times(2) }];
        assert_eq!(clock.jumps, left);
    }

    /// Wherever it says that something is over, it is: else the node would look for it on and on.
    #[test]
    fn nothing_is_due_now_that_is_not_over() {
        let mut clock = HoldingClock::new(START);
        for (n, step) in (0..2_000).zip([1, 7, 19, 21, 60, 300, 3].into_iter().cycle()) {
            clock.observe(clock.last + Span::from_mins(step));
            if n % 5 == 0 {
                clock.doubt(Span::from_mins(step * 11));
            }
            for at in (0..600).map(|minutes| clock.last - Span::from_mins(minutes)) {
                let due = clock.due(at);
                assert_eq!(due <= clock.last, at <= clock.time(), "{n} {at} {due}");
            }
        }
    }

    /// A node that runs for a short time only grows older too.
    #[test]
    fn it_is_written_down_soon_after_a_start_and_then_more_and_more_rarely() {
        let mut clock = HoldingClock::new(START);
        assert!(clock.write_down().is_some() && clock.write_down().is_none());
        let mut written = Vec::new();
        for seconds in 1..=7_200 {
            clock.observe(START + Span::from_secs(seconds));
            written.extend(clock.write_down().map(|_| seconds));
        }
        assert_eq!(written, [15, 45, 105, 225, 465, 945, 1_845, 2_745, 3_645, 4_545, 5_445, 6_345]);
        // What others say is written down with what is kept because of it.
        clock.doubt(Span::DAY);
        assert!(clock.write_down().is_some() && clock.write_down().is_none());
    }

    /// A relay that is given a newer program must start, and take its pause for a jump like any other.
    #[test]
    fn a_clock_that_an_older_program_wrote_down_goes_on() {
        let written = (START.as_millis()).to_be_bytes();
        let mut clock = HoldingClock::resume(&written, START + Span::DAY).unwrap();
        assert_eq!(clock.time(), START);
        run(&mut clock, 181);
        assert_eq!(clock.time(), clock.last);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut clock = HoldingClock::new(START);
        for _ in 0..2 {
            run(&mut clock, 20);
            clock.observe(clock.last + Span::DAY);
        }
        clock.doubt(Span::HOUR);
        let bytes = clock.to_bytes();
        assert_eq!(bytes.len(), 32 + 2 * 16);
        assert_eq!(HoldingClock::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        for len in (0..bytes.len()).filter(|len| ![8, 32, 48].contains(len)) {
            let read = HoldingClock::resume(&bytes[..len], START);
            assert_eq!(read.err(), Some(StoreError::Damaged("clock")), "{len}");
        }
        // Each number after the first, as large as can be: in time to come, or a length that is none.
        for number in [1, 3, 5, 7] {
            let mut wrong = bytes.clone();
            wrong[8 * number..][..8].fill(0xff);
            assert!(HoldingClock::resume(&wrong, START).is_err(), "{number}");
        }
        for number in [0, 2, 4, 6] {
            let mut extreme = bytes.clone();
            extreme[8 * number..][..8].fill(0xff);
            let clock = HoldingClock::resume(&extreme, START).unwrap();
            assert!(clock.time() <= START && clock.due(START) >= START, "{number}");
        }
    }
}
