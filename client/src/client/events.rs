//! What a person wants to know, to as many listeners as there are.
//!
//! Entry type is [`Events`]. A listener that does not keep up delays nobody; it loses the oldest
//! events, is told how many, and finds what they said in the history.

use std::sync::Arc;

use comm_proto::address::Address;
use comm_proto::agent;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// All listeners are given the same event.
pub(super) type Shared = Arc<Event>;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To a message; in a box, since it is much larger than what else happens.
    Agent(Box<agent::Event>),
    /// There is a connection to the node.
    Online {
        /// The node's address.
        node: Address,
    },
    /// The connection to the node is gone; it is tried again unless the person went offline.
    Offline {
        /// Why, for people.
        reason: String,
    },
    /// This listener was too slow.
    Lagged {
        /// How many events it has lost.
        missed: u64,
    },
}

/// One listener.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Shared>);

impl Events {
    /// A listener from now on. Whoever makes listeners holds the source weakly: it is gone when the
    /// driver is, and then all of them learn it.
    pub(super) fn listen(source: &broadcast::WeakSender<Shared>) -> Self {
        match source.upgrade() {
            Some(source) => Self(source.subscribe()),
            None => Self(broadcast::channel(1).1),
        }
    }

    /// The next event; `None` when the client has ended. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Arc::new(Event::Lagged { missed })),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_lost_and_goes_on() {
        let sender = broadcast::Sender::new(2);
        let mut events = Events::listen(&sender.downgrade());
        let offline = |n: u32| Arc::new(Event::Offline { reason: n.to_string() });
        for n in 0..5 {
            sender.send(offline(n)).unwrap();
        }
        assert_eq!(*events.next().await.unwrap(), Event::Lagged { missed: 3 });
        assert_eq!(events.next().await, Some(offline(3)));
        assert_eq!(events.next().await, Some(offline(4)));
        drop(sender);
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn listeners_learn_that_the_driver_has_ended() {
        let driver = broadcast::Sender::new(2);
        let client = driver.downgrade();
        let mut early = Events::listen(&client);
        drop(driver);
        assert_eq!(early.next().await, None);
        assert_eq!(Events::listen(&client).next().await, None);
    }
}
