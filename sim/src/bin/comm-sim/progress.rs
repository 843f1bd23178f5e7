//! How far a long piece of work is, for whoever sits at the terminal. Where there is none nothing is shown.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world looks at the clock of whoever waits for it"
)]

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Work of which less than one part in so many is done says nothing about the rest.
const TELLING: u64 = 100;

/// A bar with what is left.
pub(crate) struct Progress {
    bar: ProgressBar,
    all: u64,
    began: Instant,
}

impl Progress {
    /// Of so much work; `done` is how its template says how far it is.
    pub(crate) fn new(all: u64, done: &str) -> Self {
        let form = format!("{{bar:32}} {done}, {{elapsed}} so far, {{msg}}");
        let style =
            ProgressStyle::with_template(&form).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(all).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(500));
        Self { bar, all, began: Instant::now() }
    }

    /// So much is done, with so many inputs of nodes handled.
    pub(crate) fn show(&self, done: u64, inputs: u64, more: &str) {
        let elapsed = self.began.elapsed();
        let rest = left(elapsed, done, self.all).map_or_else(
            || "too early to say how long it takes".to_owned(),
            |left| format!("about {} left", HumanDuration(left)),
        );
        let rate = inputs as f64 / elapsed.as_secs_f64().max(0.001);
        self.bar.set_position(done);
        self.bar.set_message(format!("{rest}, {rate:.0} events/s, {more}"));
    }

    /// Lets somebody write to the terminal meanwhile.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// What the rest will take at the pace so far, once enough is done to have one.
fn left(elapsed: Duration, done: u64, all: u64) -> Option<Duration> {
    let is_telling = done > 0 && u128::from(done) * u128::from(TELLING) >= u128::from(all);
    is_telling.then(|| elapsed.mul_f64(all.saturating_sub(done) as f64 / done as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_the_rest_before_there_is_a_pace() {
        let minute = Duration::from_secs(60);
        assert_eq!(left(minute, 0, 0), None);
        assert_eq!(left(minute, 0, 1_000), None);
        assert_eq!(left(minute, 9, 1_000), None);
        assert_eq!(left(minute, 10, 1_000), Some(minute * 99));
        assert_eq!(left(minute, 500, 1_000), Some(minute));
        assert_eq!(left(minute, 1_000, 1_000), Some(Duration::ZERO));
    }
}
