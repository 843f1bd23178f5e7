//! The last step on the way to the collector: bounded in time, and told of in the log when it fails.
//!
//! Entry type is [`Watched`], around the exporter that speaks the protocol. A batch that cannot be handed over
//! is lost: the next one comes soon, and what waits must not grow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long a collector may take for one batch, connecting to it included.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A collector that comes and goes is told of once in so long.
const TOLD_EVERY: Duration = Duration::from_secs(10 * 60);
/// What the library puts before every reason.
const LIBRARY_SAYS: &str = "TonicTracesClient export failed with gRPC code: ";

/// Hands batches over, each within [`PATIENCE`].
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: Arc<E>,
    /// The thread that sends is on no runtime, without which there are neither connections nor timers.
    runtime: Handle,
    /// As it is named in the log.
    collector: String,
    told: Mutex<Told>,
}

/// What the log knows of the collector.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// When it was last said to be away.
    away_at: Option<Instant>,
    /// That it is back was not said yet.
    is_away: bool,
}

impl<E> Watched<E> {
    /// To be called on a runtime.
    pub(super) fn new(exporter: E, collector: String) -> Self {
        let (exporter, runtime) = (Arc::new(exporter), Handle::current());
        Self { exporter, runtime, collector, told: Mutex::default() }
    }

    fn tell(&self, result: &OTelSdkResult) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let collector = &self.collector;
        match result {
            Ok(()) if told.is_back() => info!(%collector, "the collector takes traces again"),
            Err(error) if told.is_news(Instant::now()) => warn!(
                %collector,
                reason = reason(error),
                "traces do not reach the collector and are lost until they do; all else goes on"
            ),
            _ => {}
        }
    }
}

impl<E: SpanExporter + 'static> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = Arc::clone(&self.exporter);
        let sending = async move { timeout(PATIENCE, exporter.export(batch)).await };
        let result = match self.runtime.spawn(sending).await {
            Ok(sent) => sent.unwrap_or(Err(OTelSdkError::Timeout(PATIENCE))),
            // The program has ended meanwhile.
            Err(_) => return Err(OTelSdkError::AlreadyShutdown),
        };
        self.tell(&result);
        result
    }

    fn shutdown_with_timeout(&self, patience: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(patience)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // It is set before anything is sent, when nobody else has the exporter.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

impl Told {
    /// Whether that the collector is away is to be said, which then is said.
    fn is_news(&mut self, now: Instant) -> bool {
        let lately = |at: Instant| now.saturating_duration_since(at) < TOLD_EVERY;
        if self.is_away || self.away_at.is_some_and(lately) {
            return false;
        }
        *self = Self { away_at: Some(now), is_away: true };
        true
    }

    /// Whether that it is back is to be said, which then is said.
    fn is_back(&mut self) -> bool {
        std::mem::take(&mut self.is_away)
    }
}

/// For people.
fn reason(error: &OTelSdkError) -> String {
    match error {
        OTelSdkError::Timeout(patience) => {
            format!("it did not take a batch within {} seconds", patience.as_secs())
        }
        OTelSdkError::InternalFailure(reason) => {
            reason.strip_prefix(LIBRARY_SAYS).unwrap_or(reason).to_owned()
        }
        OTelSdkError::AlreadyShutdown => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_is_away_is_told_of_once_and_once_when_it_is_back() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!(!told.is_back(), "nothing to say of one that was never away");
        assert!(told.is_news(now));
        assert!((1..100_000).all(|second| !told.is_news(now + Duration::from_secs(second))));
        assert!(told.is_back() && !told.is_back());
    }

    #[test]
    fn a_collector_that_comes_and_goes_does_not_fill_the_log() {
        let (mut told, begun) = (Told::default(), Instant::now());
        let mut lines = 0;
        for second in 0..3_600 {
            let now = begun + Duration::from_secs(second);
            lines += usize::from(told.is_news(now)) + usize::from(told.is_back());
        }
        assert_eq!(lines, 12);
    }
}
