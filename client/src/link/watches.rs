//! Following the states of our envelopes.
//!
//! Entry type is [`Watches`]. The agent asks for each envelope by itself, as it submits them; a
//! stream for each would be too many. So those that come close together share one, and small streams
//! are replaced by larger ones: there are never many more than the envelopes fill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use comm_proto::envelope::EnvelopeId;
use comm_proto::message::{EnvelopeState, IDS_MAX};
use comm_proto::rejection::Retry;
use comm_proto::wire::client::WatchRequest;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tonic::Status;

use super::endpoint::Rpc;
use super::translate;

/// How long the first of some envelopes waits for others to share its stream.
const GATHER: Duration = Duration::from_millis(10);
/// How long to wait when the node has no room for a stream.
const AGAIN: Duration = Duration::from_secs(5);
/// Streams that need not be full.
const STREAMS: usize = 8;
/// Changes that wait to be told.
const CHANGES_MAX: usize = 256;

/// All streams of states of one connection.
pub(super) struct Watches {
    rpc: Rpc,
    fresh: BTreeSet<EnvelopeId>,
    open_at: Instant,
    streams: BTreeMap<u64, Watched>,
    drawn: u64,
    tasks: JoinSet<(u64, Option<Status>)>,
    tell: mpsc::Sender<Change>,
    changes: mpsc::Receiver<Change>,
}

/// One stream.
struct Watched {
    ids: BTreeSet<EnvelopeId>,
    task: AbortHandle,
}

/// What one stream told.
struct Change {
    stream: u64,
    id: EnvelopeId,
    state: EnvelopeState,
}

impl Watches {
    pub(super) fn new(rpc: Rpc) -> Self {
        let (tell, changes) = mpsc::channel(CHANGES_MAX);
        Self {
            rpc,
            fresh: BTreeSet::new(),
            open_at: Instant::now(),
            streams: BTreeMap::new(),
            drawn: 0,
            tasks: JoinSet::new(),
            tell,
            changes,
        }
    }

    /// Follows these envelopes too.
    pub(super) fn add(&mut self, ids: impl IntoIterator<Item = EnvelopeId>) {
        self.add_after(ids, GATHER);
    }

    /// The next change. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection is gone, and why, for people.
    pub(super) async fn next(&mut self) -> Result<(EnvelopeId, EnvelopeState), String> {
        loop {
            tokio::select! {
                Some(change) = self.changes.recv() => {
                    self.note(&change);
                    return Ok((change.id, change.state));
                }
                Some(ended) = self.tasks.join_next() => {
                    // One that we ended ourselves has no result.
                    if let Ok((stream, status)) = ended {
                        self.on_end(stream, status)?;
                    }
                }
                () = tokio::time::sleep_until(self.open_at), if !self.fresh.is_empty() => self.open(),
                // There is something to wait for only when something is watched.
                else => std::future::pending().await,
            }
        }
    }

    /// Ends all streams and forgets what they were for.
    pub(super) async fn clear(&mut self) {
        self.shutdown().await;
        *self = Self::new(self.rpc.clone());
    }

    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }

    fn add_after(&mut self, ids: impl IntoIterator<Item = EnvelopeId>, wait: Duration) {
        let open_at = Instant::now() + wait;
        self.open_at = if self.fresh.is_empty() { open_at } else { self.open_at.min(open_at) };
        self.fresh.extend(ids);
    }

    fn note(&mut self, change: &Change) {
        let is_final = matches!(
            change.state,
            EnvelopeState::Delivered { .. } | EnvelopeState::Expired | EnvelopeState::Cancelled
        );
        if !is_final {
            return;
        }
        let Some(watched) = self.streams.get_mut(&change.stream) else { return };
        watched.ids.remove(&change.id);
        if watched.ids.is_empty() {
            watched.task.abort();
            self.streams.remove(&change.stream);
        }
    }

    fn on_end(&mut self, stream: u64, status: Option<Status>) -> Result<(), String> {
        let Some(watched) = self.streams.remove(&stream) else { return Ok(()) };
        let has_words = |status: &Status| status.metadata().contains_key("comm-code");
        match status {
            Some(status) if !has_words(&status) => Err(translate::reason(&status)),
            Some(status) if translate::rejection(&status).retry() == Retry::Never => {
                tracing::debug!(reason = status.message(), "the node does not tell states");
                Ok(())
            }
            _ => {
                self.add_after(watched.ids, AGAIN);
                Ok(())
            }
        }
    }

    fn open(&mut self) {
        let mut ids = std::mem::take(&mut self.fresh);
        while self.streams.len() >= STREAMS
            && let Some(small) = self.smallest_that_fits(ids.len() % IDS_MAX)
            && let Some(watched) = self.streams.remove(&small)
        {
            watched.task.abort();
            ids.extend(watched.ids);
        }
        let ids: Vec<_> = ids.into_iter().collect();
        ids.chunks(IDS_MAX).for_each(|ids| self.watch(ids));
    }

    /// The smallest stream, if it has room for `more`.
    fn smallest_that_fits(&self, more: usize) -> Option<u64> {
        let smallest = self.streams.iter().min_by_key(|(_, watched)| watched.ids.len());
        let fits = smallest.filter(|(_, watched)| watched.ids.len() + more <= IDS_MAX);
        fits.map(|(stream, _)| *stream)
    }

    fn watch(&mut self, ids: &[EnvelopeId]) {
        self.drawn += 1;
        let stream = self.drawn;
        let message = WatchRequest { ids: ids.iter().map(translate::id_bytes).collect() };
        let (rpc, tell) = (self.rpc.clone(), self.tell.clone());
        let task =
            self.tasks.spawn(async move { (stream, read(rpc, message, stream, tell).await) });
        self.streams.insert(stream, Watched { ids: ids.iter().copied().collect(), task });
    }
}

/// Reads one stream to its end; why it ended.
async fn read(
    mut rpc: Rpc,
    message: WatchRequest,
    stream: u64,
    tell: mpsc::Sender<Change>,
) -> Option<Status> {
    let mut states = match rpc.watch(message).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Some(status),
    };
    loop {
        let message = match states.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return None,
            Err(status) => return Some(status),
        };
        match translate::state(message) {
            Ok((id, state)) => tell.send(Change { stream, id, state }).await.ok()?,
            Err(error) => tracing::debug!(%error, "the node told a state that cannot be read"),
        }
    }
}
