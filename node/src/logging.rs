//! Log lines on standard error, as text or as JSON.
//!
//! Entry point is [`start`]. Peers' mistakes are logged at debug, single messages at trace; a
//! secret, a token or the contents of an envelope is never logged. It writes no file: whoever runs
//! the node collects its standard error.

pub(crate) mod warnings;

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogConfig, LogFormat};

/// What is logged, to be changed while the program runs.
pub struct LogLevel(Box<Change>);

type Change = dyn Fn(&str) -> Result<(), ParseError> + Send + Sync;

/// Starts logging for the whole process. `RUST_LOG`, when set and not empty, decides what is
/// logged instead of `config.level`, also later. Does nothing when logging was started before, as by
/// a program that has a node inside.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(config: &LogConfig) -> Result<LogLevel, ParseError> {
    let filter = EnvFilter::try_new(by_environment().as_deref().unwrap_or(&config.level))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let (level, _started_before) = match config.format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            (LogLevel::new(move |filter| handle.reload(filter)), started(lines.finish()))
        }
        LogFormat::Json => {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            (LogLevel::new(move |filter| handle.reload(filter)), started(lines.finish()))
        }
    };
    Ok(level)
}

/// Makes `lines` the log of the process, with a keeper of warnings beside it.
fn started<S>(lines: S) -> Result<(), TryInitError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    lines.with(warnings::Keeper).try_init()
}

fn by_environment() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

impl LogLevel {
    /// An error of `reload` says that logging is not this handle's, which is as if it did nothing.
    fn new<E>(reload: impl Fn(EnvFilter) -> Result<(), E> + Send + Sync + 'static) -> Self {
        Self(Box::new(move |level| {
            let filter = EnvFilter::try_new(level)?;
            let _not_ours = reload(filter);
            Ok(())
        }))
    }

    /// Whether `RUST_LOG` decides what is logged, and [`Self::set`] does nothing.
    pub fn is_by_environment() -> bool {
        by_environment().is_some()
    }

    /// From now on `level` decides what is logged, unless `RUST_LOG` does.
    ///
    /// # Errors
    /// When the filter cannot be read; then nothing changes.
    pub fn set(&self, level: &str) -> Result<(), ParseError> {
        if Self::is_by_environment() { Ok(()) } else { (self.0)(level) }
    }
}

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogLevel").finish_non_exhaustive()
    }
}
