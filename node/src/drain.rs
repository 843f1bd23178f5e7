//! Handing over what a node holds before it leaves for good, as its owner has it done (PROTOCOL §6.10, §8.5).
//!
//! Entry types are [`Drains`], by which the owner's API begins and ends it and sees how far the driver has
//! come, and [`ask`], which is what `comm-node drain` does. Nothing of it is written down: a node that begins
//! again is an ordinary one.

mod request;
mod shown;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comm_proto::node::{Command, Handover};
use comm_proto::wire::client::{DrainResponse, DrainState};
use tokio::sync::watch;

use crate::driver::inbox::Inbox;

pub use request::{DrainError, ask, cancel, look};
pub use shown::Report;

/// Whether a node hands over what it holds, and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    /// It does not.
    #[default]
    Not,
    /// It does.
    UnderWay(Handover),
    /// Everything is handed over, and the node ends.
    Complete(Handover),
    /// Something has stayed behind, and the node goes on as before.
    Incomplete(Handover),
    /// Its owner has ended it, and the node goes on as before.
    Cancelled(Handover),
}

/// The state of one node's handing over. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Drains {
    inbox: Inbox,
    state: Arc<watch::Sender<Drain>>,
    /// Held while the state changes by an order and until the node has that order: else one that ends it could
    /// reach the node before the one that begins it.
    order: Arc<Mutex<()>>,
}

impl Drains {
    /// Of the node behind `inbox`.
    pub fn new(inbox: Inbox) -> Self {
        Self { inbox, state: Arc::new(watch::Sender::new(Drain::Not)), order: Arc::default() }
    }

    /// Begins, or goes on if it is under way. The receiver sees how far it is, about once a second, and its end.
    pub fn begin(&self) -> watch::Receiver<Drain> {
        let _order = self.order();
        let is_new = self.state.send_if_modified(|state| {
            let is_on = matches!(state, Drain::UnderWay(_) | Drain::Complete(_));
            if !is_on {
                *state = Drain::UnderWay(Handover::default());
            }
            !is_on
        });
        if is_new {
            self.inbox.command(Command::Drain);
        }
        self.state.subscribe()
    }

    /// Ends it before its time, and waits for that; whether there was anything to end.
    pub async fn cancel(&self) -> bool {
        let mut state = self.state.subscribe();
        {
            let _order = self.order();
            if !matches!(*state.borrow(), Drain::UnderWay(_)) {
                return false;
            }
            self.inbox.command(Command::Stay);
        }
        // An error means that the node is gone.
        let left = state.wait_for(|state| !matches!(state, Drain::UnderWay(_))).await;
        left.is_ok_and(|state| matches!(*state, Drain::Cancelled(_)))
    }

    /// How far it is, or what has become of it last.
    pub fn now(&self) -> Drain {
        *self.state.borrow()
    }

    fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything is handed over.
    pub(crate) fn completed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.state.subscribe();
        async move {
            // The sender is in this process as long as anybody waits.
            let _ = state.wait_for(|state| matches!(state, Drain::Complete(_))).await;
        }
    }

    /// The driver says how far it is.
    pub(crate) fn goes_on(&self, handover: Handover) {
        self.state.send_replace(Drain::UnderWay(handover));
    }

    /// The driver says that it has come to its end.
    pub(crate) fn has_ended(&self, handover: Handover) {
        self.state.send_replace(if handover.is_complete() {
            Drain::Complete(handover)
        } else {
            Drain::Incomplete(handover)
        });
    }

    /// The driver says that the node stays.
    pub(crate) fn was_cancelled(&self) {
        self.state.send_if_modified(|state| {
            let Drain::UnderWay(handover) = *state else { return false };
            *state = Drain::Cancelled(handover);
            true
        });
    }
}

impl Drain {
    /// Whether nothing more is to be said about it.
    pub(crate) const fn is_over(&self) -> bool {
        !matches!(self, Self::UnderWay(_))
    }
}

impl From<Drain> for DrainResponse {
    fn from(drain: Drain) -> Self {
        let (state, handover) = match drain {
            Drain::Not => (DrainState::Unspecified, Handover::default()),
            Drain::UnderWay(handover) => (DrainState::UnderWay, handover),
            Drain::Complete(handover) => (DrainState::Complete, handover),
            Drain::Incomplete(handover) => (DrainState::Incomplete, handover),
            Drain::Cancelled(handover) => (DrainState::Cancelled, handover),
        };
        Self {
            state: state.into(),
            envelopes: handover.envelopes,
            handed_over: handover.handed_over,
            few: handover.few,
            receipts: handover.receipts,
            ended: handover.ended,
            no_room: handover.no_room,
            refused: handover.refused,
            unanswered: handover.unanswered,
            endings: handover.endings,
            endings_told: handover.endings_told,
            endings_untold: handover.endings_untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::thread;

    use super::*;
    use crate::driver::inbox::{Budget, InboxLimits, Turn};
    use crate::driver::work::Own;

    /// Else the node would begin what both were told is over.
    #[test]
    fn an_order_to_stay_never_reaches_the_node_before_the_order_to_leave() {
        for _ in 0..2_000 {
            let inbox = Inbox::new(InboxLimits::default());
            let drains = Drains::new(inbox.clone());
            let begins = {
                let drains = drains.clone();
                thread::spawn(move || drop(drains.begin()))
            };
            let mut cancelled = pin!(drains.cancel());
            let _pending = cancelled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            begins.join().unwrap();
            let mut turn = Turn::default();
            inbox.take(&mut turn, Budget { clients: 1, peers: 1 }, None);
            let first = turn.own.pop_front();
            assert!(matches!(first, Some(Own::Command(Command::Drain))), "{first:?}");
        }
    }
}
