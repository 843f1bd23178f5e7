//! Log lines on standard error, as text or as JSON.
//!
//! Entry point is [`start`]. Peers' mistakes are logged at debug, single messages at trace; a
//! secret, a token or the contents of an envelope is never logged. It writes no file: whoever runs
//! the node collects its standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the whole process. `RUST_LOG`, when set and not empty, decides what is
/// logged instead of `config.level`. Does nothing when logging was started before, as by a
/// program that has a node inside.
///
/// # Errors
/// When the filter cannot be read.
pub fn start(config: &LogConfig) -> Result<(), ParseError> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(filter)?,
        _ => EnvFilter::try_new(&config.level)?,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let _ = match config.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}
