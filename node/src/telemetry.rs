//! Traces: what the node does, told to a collector of its operator's (OpenTelemetry).
//!
//! Entry points are [`start`] and `note`, which is told of each `Deed` once it is done. A trace says what a
//! `Deed` holds: words of this program, counts and times. There is no place in it for an address, an
//! id or a line of the log. Other nodes are neither told of traces nor asked for theirs. Without the
//! feature `opentelemetry` nothing is told to anybody, and a collector that is set is refused.

#[cfg(feature = "opentelemetry")]
mod connection;
#[cfg(feature = "opentelemetry")]
mod exporter;
#[cfg(feature = "opentelemetry")]
mod pace;
#[cfg(feature = "opentelemetry")]
mod sending;

use std::time::Duration;

use comm_proto::rejection::Rejection;
use thiserror::Error;

use crate::config::traces::TracesConfig;

/// Something that the node has done.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "opentelemetry"), expect(dead_code, reason = "nobody is told"))]
pub(crate) enum Deed {
    /// It has answered another node or a program, from when the request was found to be one.
    Served {
        /// What was asked, as among the metrics.
        kind: &'static str,
        /// Bytes of the request.
        bytes: usize,
        /// What came of it, see [`result`].
        result: &'static str,
    },
    /// It has asked another node; making a link is a part of that where there was none.
    Called {
        /// What it asked, as among the metrics.
        kind: &'static str,
        /// What came of it, see [`result`].
        result: &'static str,
    },
    /// The disk has taken what was written since the last time, or has failed.
    Synced {
        /// How many batches the sync was for.
        batches: u64,
        /// `done` or `failed`.
        result: &'static str,
    },
    /// It has looked for the nodes nearest to some place.
    LookedUp {
        /// Nodes that it asked.
        queries: u32,
        /// Those that answered.
        answered: u32,
    },
}

/// Why no traces can be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoTraces {
    /// This program was built without what it takes.
    #[error(
        "traces.collector: this comm-node was built without OpenTelemetry and can send no traces; take \
         the key out, or build comm-node with --features opentelemetry"
    )]
    NotBuilt,
    /// Another node of this process sends some already.
    #[error("this process sends traces already; only one of its nodes can")]
    Taken,
    /// Nobody can vouch for a collector.
    #[error(
        "traces.collector: this machine has no certificates of authorities that could vouch for an https \
         collector ({0}); install ca-certificates, or have the collector on this machine and write http"
    )]
    NoAuthorities(String),
    /// The library refuses, as for a variable of the environment that it cannot use.
    #[error("traces cannot be sent: {0}")]
    Library(String),
}

/// Sends traces until [`Self::end`], or until it is dropped.
#[derive(Debug)]
pub struct Telemetry {
    #[cfg(feature = "opentelemetry")]
    sending: sending::Sending,
}

/// Whether this program can do what `config` says.
///
/// # Errors
/// [`NoTraces::NotBuilt`] when there is a collector and no way to it.
pub fn check(config: &TracesConfig) -> Result<(), NoTraces> {
    match config.collector {
        Some(_) if cfg!(not(feature = "opentelemetry")) => Err(NoTraces::NotBuilt),
        _ => Ok(()),
    }
}

/// Sends traces of all that this process does from now on, if `config` has a collector. Nothing is sent
/// here, so that a collector that is away holds nobody up. To be called on a runtime.
///
/// # Errors
/// When this program cannot send any, or sends some already.
pub fn start(config: &TracesConfig) -> Result<Option<Telemetry>, NoTraces> {
    check(config)?;
    #[cfg(feature = "opentelemetry")]
    if let Some(collector) = &config.collector {
        return Ok(Some(Telemetry { sending: sending::Sending::start(collector)? }));
    }
    Ok(None)
}

impl Telemetry {
    /// Sends what is still to be sent, for half a second at the most.
    pub async fn end(self) {
        #[cfg(feature = "opentelemetry")]
        self.sending.end().await;
    }
}

/// Tells the collector, if there is one, of what has taken so long and is done now. It never waits: what
/// is too much for the collector is left out.
pub(crate) fn note(took: Duration, deed: Deed) {
    #[cfg(feature = "opentelemetry")]
    sending::note(took, deed);
    #[cfg(not(feature = "opentelemetry"))]
    let _nobody_is_told = (took, deed);
}

/// In one word what came of a request: `answered`, or the name of a refusal.
pub(crate) fn result<T>(answer: &Result<T, Rejection>) -> &'static str {
    answer.as_ref().map_or_else(Rejection::name, |_| "answered")
}
