//! From what the node has done to what a collector takes: spans, gathered and sent by a thread of their own.
//!
//! Entry points are [`Sending`] and [`note`]. Every trace is one span: what leads from one deed to another is
//! the state machine's, which knows of no traces. Nothing here waits but the thread that sends.

use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider,
};
use tokio::task::spawn_blocking;

use super::connection::channel;
use super::exporter::Watched;
use super::pace::{Kind, Paces};
use super::{Deed, NoTraces};
use crate::config::traces::Collector;

/// Spans that wait for the collector; beyond that new ones are left out. About a mebibyte.
const WAITING_MAX: usize = 2_048;
/// Spans that are sent together.
const TOGETHER_MAX: usize = 512;
/// How often what has gathered is sent.
const SENT_EVERY: Duration = Duration::from_secs(2);
/// How long the last ones may take at the end.
const LAST: Duration = Duration::from_millis(500);

/// Where all of the process tell what they have done.
static OUTLET: RwLock<Option<Outlet>> = RwLock::new(None);

struct Outlet {
    tracer: SdkTracer,
    paces: Paces,
}

/// Sends what [`note`] is told. One for the whole process.
#[derive(Debug)]
pub(super) struct Sending(SdkTracerProvider);

impl Sending {
    /// To be called on a runtime.
    pub(super) fn start(collector: &Collector) -> Result<Self, NoTraces> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(channel(collector)?)
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| NoTraces::Library(error.to_string()))?;
        let provider = provider(Watched::new(exporter, collector.to_string()));
        let tracer = provider.tracer("comm-node");
        let mut outlet = outlet();
        if outlet.is_some() {
            end_within(&provider, Duration::ZERO);
            return Err(NoTraces::Taken);
        }
        *outlet = Some(Outlet { tracer, paces: Paces::default() });
        Ok(Self(provider))
    }

    /// Sends what is left. A collector that does not take it in time is left to the end of the process.
    pub(super) async fn end(self) {
        let provider = self.0.clone();
        // It panics nowhere, and there is nothing left to do.
        let _ended = spawn_blocking(move || end_within(&provider, LAST)).await;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        end_within(&self.0, Duration::ZERO);
        *outlet() = None;
    }
}

/// From now on nothing is taken in; what is left has so long to be sent. Once it has ended, nothing happens.
fn end_within(provider: &SdkTracerProvider, patience: Duration) {
    // What came of the last ones, the exporter has said.
    let _ended = provider.shutdown_with_timeout(patience);
}

/// Never waits.
pub(super) fn note(took: Duration, deed: Deed) {
    let outlet = OUTLET.read().unwrap_or_else(PoisonError::into_inner);
    let Some(Outlet { tracer, paces }) = &*outlet else { return };
    if !paces.takes(kind(&deed), Instant::now()) {
        return;
    }
    tell(tracer, took, &deed);
}

fn tell(tracer: &SdkTracer, took: Duration, deed: &Deed) {
    let ended = SystemTime::now();
    let span = SpanBuilder::from_name(kind(deed).0)
        .with_kind(span_kind(deed))
        .with_start_time(ended.checked_sub(took).unwrap_or(ended))
        .with_attributes(attributes(deed));
    tracer.build_with_context(span, &Context::new()).end_with_timestamp(ended);
}

fn outlet() -> RwLockWriteGuard<'static, Option<Outlet>> {
    OUTLET.write().unwrap_or_else(PoisonError::into_inner)
}

/// Gathers spans and hands them to `exporter`, on a thread of its own.
fn provider(exporter: impl opentelemetry_sdk::trace::SpanExporter + 'static) -> SdkTracerProvider {
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(WAITING_MAX)
        .with_max_export_batch_size(TOGETHER_MAX)
        .with_scheduled_delay(SENT_EVERY)
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(Sampler::AlwaysOn)
        .with_span_processor(processor)
        .build()
}

/// Who tells: the program, and what its operator says in `OTEL_RESOURCE_ATTRIBUTES`. Nothing is looked up of
/// the machine.
fn resource() -> Resource {
    Resource::builder_empty()
        .with_service_name("comm-node")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(Box::new(EnvResourceDetector::new()))
        .build()
}

const fn kind(deed: &Deed) -> Kind {
    match *deed {
        Deed::Served { kind, .. } => ("serve", kind),
        Deed::Called { kind, .. } => ("call", kind),
        Deed::Synced { .. } => ("sync", ""),
        Deed::LookedUp { .. } => ("lookup", ""),
    }
}

const fn span_kind(deed: &Deed) -> SpanKind {
    match deed {
        Deed::Served { .. } => SpanKind::Server,
        Deed::Called { .. } => SpanKind::Client,
        Deed::Synced { .. } | Deed::LookedUp { .. } => SpanKind::Internal,
    }
}

fn attributes(deed: &Deed) -> Vec<KeyValue> {
    let word = KeyValue::new::<&'static str, &'static str>;
    let count = |name: &'static str, count: u64| {
        KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX))
    };
    match *deed {
        Deed::Served { kind, bytes, result } => {
            vec![word("kind", kind), word("result", result), count("bytes", bytes as u64)]
        }
        Deed::Called { kind, result } => vec![word("kind", kind), word("result", result)],
        Deed::Synced { batches, result } => vec![count("batches", batches), word("result", result)],
        Deed::LookedUp { queries, answered } => {
            vec![count("queries", queries.into()), count("answered", answered.into())]
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex};

    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SpanData, SpanExporter};

    use super::*;

    /// A collector that hangs until it is let go, and counts what it then takes.
    #[derive(Clone, Debug, Default)]
    struct Hanging {
        is_let_go: Arc<(Mutex<bool>, Condvar)>,
        taken: Arc<AtomicUsize>,
    }

    impl Hanging {
        fn let_go(&self) {
            *self.is_let_go.0.lock().unwrap() = true;
            self.is_let_go.1.notify_all();
        }
    }

    impl SpanExporter for Hanging {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let held = self.is_let_go.0.lock().unwrap();
            drop(self.is_let_go.1.wait_while(held, |is_let_go| !*is_let_go).unwrap());
            self.taken.fetch_add(batch.len(), Ordering::Relaxed);
            Ok(())
        }
    }

    /// Whoever told would hang here if it waited for the collector.
    #[test]
    fn what_a_hanging_collector_does_not_take_is_left_out_and_nobody_waits_for_it() {
        let hanging = Hanging::default();
        let provider = provider(hanging.clone());
        let tracer = provider.tracer("test");
        let told = 10 * WAITING_MAX;
        for _ in 0..told {
            tell(&tracer, Duration::ZERO, &Deed::LookedUp { queries: 1, answered: 1 });
        }
        hanging.let_go();
        provider.shutdown_with_timeout(Duration::from_secs(60)).unwrap();
        let taken = hanging.taken.load(Ordering::Relaxed);
        // What waited, and what was on its way.
        assert!((WAITING_MAX..=WAITING_MAX + TOGETHER_MAX).contains(&taken), "{taken} of {told}");
    }

    #[test]
    fn a_collector_that_hangs_holds_the_end_up_for_no_longer_than_is_said() {
        let hanging = Hanging::default();
        let provider = provider(hanging.clone());
        tell(
            &provider.tracer("test"),
            Duration::ZERO,
            &Deed::Synced { batches: 1, result: "done" },
        );
        let begun = Instant::now();
        assert!(provider.shutdown_with_timeout(LAST).is_err());
        let took = begun.elapsed();
        assert!(took >= LAST && took < LAST + Duration::from_secs(2), "{took:?}");
        hanging.let_go();
    }
}
