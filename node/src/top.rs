//! A node as it goes on: what `comm-node top` shows, live on a terminal and line by line in a pipe.
//!
//! Entry function is [`watch`]. It asks what `comm-node status` asks, again and again, and shows what
//! has become of it in between. A node that ends meanwhile is waited for.

mod lines;
mod rates;
mod screen;
mod terminal;

use std::env;
use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::NodeConfig;
use crate::config::units::Interval;
use crate::status::{Report, StatusError};

use screen::View;
use terminal::Terminal;

/// How often a node may be asked: a look costs it a walk through its table.
const EVERY_MIN: Duration = Duration::from_millis(100);
const EVERY_MAX: Duration = Duration::from_secs(3_600);

/// How often to look, and how many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one look to the next, 100 ms to an hour.
    pub every: Duration,
    /// Looks until the end; without an end if not set.
    pub count: Option<NonZeroU64>,
}

/// Why there is nothing more to see.
#[derive(Debug, Error)]
pub enum TopError {
    /// At the last look there was no answer.
    #[error(transparent)]
    Unseen(#[from] StatusError),
    /// The terminal or the pipe does not work.
    #[error("what is seen cannot be shown: {0}")]
    Unshown(#[from] io::Error),
}

/// Reads the time from one look to the next.
///
/// # Errors
/// When it is none, or out of bounds.
pub fn every(text: &str) -> Result<Duration, String> {
    let every = text.parse::<Interval>().map_err(|error| error.to_string())?.duration();
    if (EVERY_MIN..=EVERY_MAX).contains(&every) {
        return Ok(every);
    }
    Err(format!("{text} is not from 100ms to 1h"))
}

/// Shows the node that is configured so, until somebody ends it, nobody reads on, or all looks were
/// taken. To be called on a runtime.
///
/// # Errors
/// When there was no answer at the last of the looks, or nothing can be shown.
pub async fn watch(config: &NodeConfig, pace: Pace) -> Result<(), TopError> {
    let looks = looks(config.clone(), pace);
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb {
        live(looks).await
    } else {
        lines::print(looks).await
    }
}

/// What was seen at each look. None is taken before the one before it was shown.
type Looks = mpsc::Receiver<Result<Report, StatusError>>;

fn looks(config: NodeConfig, pace: Pace) -> Looks {
    let (send, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = interval(pace.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = 0;
        while pace.count.is_none_or(|count| taken < count.get()) {
            ticks.tick().await;
            if send.send(Report::ask(&config).await).await.is_err() {
                return;
            }
            taken += 1;
        }
    });
    looks
}

async fn live(mut looks: Looks) -> Result<(), TopError> {
    let mut resized = signal(SignalKind::window_change())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut terminal = Terminal::open()?;
    let mut keys = terminal::keys()?;
    let mut view = View::default();
    loop {
        tokio::select! {
            key = keys.recv() => {
                if key.is_none_or(ends) {
                    return Ok(());
                }
            }
            _ = terminated.recv() => return Ok(()),
            _ = interrupted.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
            _ = resized.recv() => terminal.show(&view)?,
            look = looks.recv() => {
                let Some(look) = look else {
                    return view.into_trouble().map_or(Ok(()), |error| Err(error.into()));
                };
                view.take(look, SystemTime::now());
                terminal.show(&view)?;
            }
        }
    }
}

/// Whether a key ends the program: q, Ctrl-C or Ctrl-D, which are mere bytes on a raw terminal.
const fn ends(key: u8) -> bool {
    matches!(key, b'q' | b'Q' | 3 | 4)
}

/// The time of a day, in UTC.
fn clock(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_has_bounds() {
        assert_eq!(every("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(every("1h"), Ok(EVERY_MAX));
        for wrong in ["99ms", "61m", "1", "", "-1s"] {
            assert!(every(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_time_of_day_is_that_of_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(clock(time), "08:49:37");
    }
}
