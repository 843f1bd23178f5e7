//! Streams for pushes that we keep open at other nodes (PROTOCOL §7.2).
//!
//! Entry function is [`keep`]. A stream that ends is opened again after a while, until nobody wants
//! it any more. What comes is decoded here and goes to the inbox; what cannot be read or finds no
//! room is lost, and the node is told, so that it subscribes anew.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::rejection::Rejection;
use comm_proto::wire;
use prost::Message;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, Streaming};
use tracing::debug;

use super::backoff::Backoff;
use super::dial::{Peers, client, is_broken};

/// How often the node is told that pushes of one stream were lost.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The streams that are wanted, by node.
#[derive(Debug, Default)]
pub(super) struct Listens(BTreeMap<Address, Listen>);

#[derive(Debug)]
struct Listen {
    to: Contact,
    task: AbortHandle,
}

impl Drop for Listen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps the stream of `to` open, or no longer.
pub(super) fn keep(peers: &Peers, to: &Contact, open: bool) {
    let mut listens = lock(peers);
    let Listens(streams) = &mut *listens;
    if !open {
        streams.remove(&to.address());
        return;
    }
    let known = streams.get(&to.address());
    if known.is_some_and(|listen| listen.to == *to) {
        return;
    }
    if known.is_none() && streams.len() >= peers.0.limits().listens {
        debug!(peer = %to.address(), "too many streams for pushes are open");
        return;
    }
    if known.is_some() {
        peers.0.inbox.listen_closed(to.address());
    }
    let task = spawn(peers.clone(), to.clone()).abort_handle();
    streams.insert(to.address(), Listen { to: to.clone(), task });
}

/// Keeps none open any more.
pub(super) fn end_all(peers: &Peers) {
    lock(peers).0.clear();
}

fn lock(peers: &Peers) -> MutexGuard<'_, Listens> {
    peers.0.listens.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(peers: Peers, to: Contact) -> JoinHandle<()> {
    let runtime = peers.0.runtime.clone();
    runtime.spawn(async move {
        let mut backoff = peers.backoff();
        loop {
            if let Err(reason) = listen_once(&peers, &to, &mut backoff).await {
                debug!(peer = %to.address(), %reason, "a stream for pushes ended");
            }
            sleep(backoff.next_wait()).await;
        }
    })
}

/// Returns when the stream has ended.
async fn listen_once(peers: &Peers, to: &Contact, backoff: &mut Backoff) -> Result<(), Status> {
    let unreachable = |reason: Rejection| Status::unavailable(reason.to_string());
    let (link, _pin) = peers.pinned_link(to).await.map_err(unreachable)?;
    let mut request = tonic::Request::new(wire::peer::ListenRequest {});
    peers.0.network.name_in(&mut request);
    let opened = client(&link).listen(request).await;
    let result = match opened {
        Ok(pushes) => {
            let result = hear(peers, to.address(), pushes.into_inner(), backoff).await;
            peers.0.inbox.listen_closed(to.address());
            result
        }
        Err(reason) => Err(reason),
    };
    if result.as_ref().is_err_and(is_broken) {
        peers.forget(to, link.number).await;
    }
    result
}

/// Takes what comes until the stream ends.
async fn hear(
    peers: &Peers,
    from: Address,
    mut pushes: Streaming<wire::peer::Push>,
    backoff: &mut Backoff,
) -> Result<(), Status> {
    peers.0.inbox.listen_opened(from);
    let (mut told, mut is_one_lost) = (Instant::now(), false);
    loop {
        // Whoever sends what cannot be read sends as much of it as they like.
        if is_one_lost && told.elapsed() >= TOLD_EVERY {
            peers.0.inbox.listen_opened(from);
            (told, is_one_lost) = (Instant::now(), false);
        }
        let coming = pushes.message();
        let came = match is_one_lost {
            true => timeout(TOLD_EVERY, coming).await.ok().transpose()?,
            false => Some(coming.await?),
        };
        match came {
            Some(Some(push)) => {
                backoff.reset();
                is_one_lost |= !take(peers, from, push);
            }
            Some(None) => return Ok(()),
            None => {}
        }
    }
}

/// Whether the push has reached the inbox.
fn take(peers: &Peers, from: Address, message: wire::peer::Push) -> bool {
    let bytes = message.encoded_len();
    let taken = wire::decode::push(message, peers.0.clock.now())
        .and_then(|push| peers.0.inbox.push(from, push, bytes));
    if let Err(reason) = &taken {
        debug!(peer = %from, %reason, "a push is lost");
    }
    taken.is_ok()
}
