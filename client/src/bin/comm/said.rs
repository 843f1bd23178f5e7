//! What a command that is no chat says on standard output. The chat has a screen of its own.

use std::io::{self, ErrorKind, Write};

use crate::failure::Failure;

/// Says a text. Whoever closed the pipe has read enough; nothing else may keep what is said from being written.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
