//! The newest lines of the log that warn or tell of an error, for whoever looks at the node and not
//! at its log.
//!
//! Entry points are [`Keeper`], which hears of every line, and [`newest`]. Only what is logged is
//! kept, so it names nobody whom the log does not name.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How many are kept.
const WARNINGS_MAX: usize = 8;
/// The longest that is kept whole, in characters.
const CHARS_MAX: usize = 256;

static NEWEST: Mutex<VecDeque<Warning>> = Mutex::new(VecDeque::new());

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// When it was written.
    pub(crate) time: SystemTime,
    /// What it says, on one line of at most 256 characters.
    pub(crate) text: String,
}

/// Those that are kept, oldest first.
pub(crate) fn newest() -> Vec<Warning> {
    NEWEST.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// Keeps what is logged at the levels `warn` and `error`.
#[derive(Debug)]
pub(super) struct Keeper;

impl<S: Subscriber> Layer<S> for Keeper {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        // Levels that tell of more are greater.
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let warning = Warning { time: SystemTime::now(), text: line.text() };
        let mut newest = NEWEST.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.len() >= WARNINGS_MAX {
            newest.pop_front();
        }
        newest.push_back(warning);
    }
}

/// The message of an event, and its fields as they stand behind it in the log.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn text(self) -> String {
        let whole = self.message + &self.fields;
        let plain = whole.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        plain.take(CHARS_MAX).collect()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A text takes in whatever it is given.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing::{error, info, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_newest_warnings_are_kept_on_one_line_each_and_nothing_else() {
        let subscriber = tracing_subscriber::registry().with(Keeper);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..20 {
                warn!(number, "the disk is slow");
                info!("all is well");
            }
            error!(reason = "a\nb", "{}", "é".repeat(1_000));
        });
        let texts: Vec<String> = newest().into_iter().map(|warning| warning.text).collect();
        assert_eq!(texts.len(), WARNINGS_MAX);
        assert_eq!(texts[0], "the disk is slow number=13");
        assert_eq!(texts[6], "the disk is slow number=19");
        assert_eq!(texts[7].chars().count(), CHARS_MAX);
        assert!(!texts.iter().any(|text| text.contains('\n')));
    }
}
