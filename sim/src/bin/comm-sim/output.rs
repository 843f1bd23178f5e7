//! Standard output, the one place that writes to it. Whoever reads it may stop reading at any time: the rest is then
//! written for nobody, and files and exit code are the same as if it had been read.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world talks to whoever started it"
)]

use std::io::{self, ErrorKind, Write};

use crate::Failure;

/// Writes all of a text. That nobody reads on is no failure; a full disk is.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output cannot be written: {error}"))
        }
        _ => Ok(()),
    }
}
