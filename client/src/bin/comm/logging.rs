//! Log lines: on standard error, or beside the line that somebody types.
//!
//! Entry function is [`start`]. Secrets, texts and names are never logged.

use std::io::{self, Write};

use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;
use crate::screen::{Print, Screen};

/// Starts logging. `RUST_LOG`, when set and not empty, decides instead of `verbose`.
pub(crate) fn start(verbose: u8, screen: &Screen) -> Result<(), Failure> {
    let level = match verbose {
        0 => "error",
        1 => "info,comm=debug,comm_node=debug,comm_proto=debug",
        _ => "info,comm=trace,comm_node=trace,comm_proto=trace",
    };
    let given = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = EnvFilter::try_new(given.as_deref().unwrap_or(level)).map_err(Failure::misused)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    match screen.is_terminal() {
        true => {
            let prints = screen.prints();
            lines.with_ansi(false).with_writer(move || Beside(prints.clone())).init();
        }
        false => lines.with_writer(io::stderr).init(),
    }
    Ok(())
}

/// Prints each log line as a whole. When too many wait, some are lost.
struct Beside(mpsc::Sender<Print>);

impl Write for Beside {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line).into_owned();
        let _lost = self.0.try_send(Print::Text(text));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
