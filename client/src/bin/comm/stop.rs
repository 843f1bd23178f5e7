//! The wish of the system or the operator that the program ends.
//!
//! Entry type is [`Stop`].

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// One wish for all three signals: to terminate, an interrupt, and a terminal that is gone.
pub(crate) struct Stop {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Stop {
    /// From now on no signal ends the program by itself.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for it. Dropping the future loses nothing.
    pub(crate) async fn wanted(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}
