//! The first contacts of a node: from host names to keys and endpoints.
//!
//! Entry function is [`find`]. Names are looked up and unknown keys are learnt from whoever answers
//! there (PROTOCOL §5.3); what is found goes to the driver, which does the rest. Places that cannot
//! be found are tried again for as long as the node runs.

use std::net::SocketAddr;
use std::time::Duration;

use comm_proto::contact::Contact;
use comm_proto::node::Command;
use tokio::time::sleep;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::dial::Peers;
use crate::config::bootstrap::BootstrapPeer;

/// First and longest wait before what was not found is tried again.
const WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// Finds every one of `places` and tells the driver of all found so far, each time there are more.
/// Ends when all are found; to be spawned.
pub async fn find(peers: Peers, places: Vec<BootstrapPeer>) {
    let mut backoff = Backoff::new(WAIT.0, WAIT.1);
    let (mut missing, mut found) = (places, Vec::new());
    while !missing.is_empty() {
        let before = found.len();
        let mut still_missing = Vec::new();
        for place in missing {
            match find_one(&peers, &place).await {
                Some(contact) => found.push(contact),
                None => still_missing.push(place),
            }
        }
        if found.len() > before {
            peers.0.inbox.command(Command::Bootstrap(found.clone()));
        }
        missing = still_missing;
        if !missing.is_empty() {
            sleep(backoff.next_wait()).await;
        }
    }
}

async fn find_one(peers: &Peers, place: &BootstrapPeer) -> Option<Contact> {
    let endpoints: Vec<SocketAddr> =
        match tokio::net::lookup_host((place.host.as_str(), place.port)).await {
            Ok(endpoints) => endpoints.collect(),
            Err(error) => {
                warn!(%place, %error, "a bootstrap node's name cannot be looked up");
                return None;
            }
        };
    if let Some(key) = place.key {
        return Some(Contact::new(key, endpoints));
    }
    for endpoint in endpoints {
        match peers.identify(endpoint).await {
            Ok(contact) => {
                info!(%place, key = %contact.key(), "learnt the key of a bootstrap node");
                return Some(contact);
            }
            Err(error) => warn!(%place, %endpoint, %error, "no bootstrap node answers"),
        }
    }
    None
}
