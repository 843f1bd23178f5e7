//! The first contacts of a node: sources name places, and whoever answers there by the key that was
//! named, or by whichever key it has where none was (PROTOCOL §5.3), is told to the driver.
//!
//! Entry type is [`Seeker`]. Each [`Source`] is asked by a task of its own, so that one that hangs or
//! lies delays no other, and asked again after ever longer waits until one of its places has answered;
//! from then on only when the node has lost everybody. What each source has come to is noted in
//! [`Sources`]. Saved contacts are the core's business and need none of this.

pub mod dns;
pub mod lan;
pub mod list;
mod progress;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use comm_proto::contact::{Contact, ENDPOINTS_MAX};
use comm_proto::key::PublicKey;
use comm_proto::node::Command;
use comm_proto::time::Time;
use rand_core::OsRng;
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::chance::shuffle;
use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::config::bootstrap::BootstrapPeer;
use crate::driver::inbox::Inbox;
use crate::figures::Figures;
use crate::links::backoff::Backoff;
use crate::links::dial::Peers;

use dns::{Dns, DnsError};
use lan::{Announced, Lan, LanError};
use list::{List, ListError};

pub use progress::{Kind, Progress, Sources};

/// First and longest wait before a source is asked again of which nobody has answered.
const WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// The longest while the node reaches nobody.
const WAIT_ALONE: Duration = Duration::from_secs(60);
/// How often a node whose source has worked looks whether it has lost everybody.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The most places of a source that are called each time it is asked; of more, some at random.
const PLACES_MAX: usize = 32;
/// Places of a source that are called at the same time.
const CALLED_MAX: usize = 8;
/// How long a host name may take to be looked up.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// Where places to begin with come from.
#[derive(Debug)]
pub enum Source {
    /// A place that the configuration names.
    Configured(BootstrapPeer),
    /// TXT records in DNS.
    Dns(Dns),
    /// A file with a signed list.
    List(List),
    /// Relays in the local network.
    Lan(Lan),
}

/// Why a source names nobody.
#[derive(Debug, Error)]
pub enum SourceError {
    /// It is DNS.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// It is a list.
    #[error(transparent)]
    List(#[from] ListError),
    /// It is the local network.
    #[error(transparent)]
    Lan(#[from] LanError),
}

/// Why a place is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum PlaceError {
    #[error("the name cannot be looked up: {0}")]
    Name(String),
    #[error("no answer: {0}")]
    Silent(String),
    #[error("whoever is to answer by that key does not")]
    Key,
    #[error("this node itself answers there")]
    Itself,
}

impl PlaceError {
    /// What kind it is. The later ones say more to whoever is to mend a source of which no place is of use.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Itself => "0 itself",
            Self::Name(_) => "1 name",
            Self::Silent(_) => "2 silent",
            Self::Key => "3 key",
        }
    }
}

/// Looks for the network until the node ends.
#[derive(Clone, Debug)]
pub struct Seeker {
    peers: Peers,
    inbox: Inbox,
    figures: Figures,
    clock: Arc<Clock>,
    own: PublicKey,
}

impl Source {
    /// The sources of a configuration, in the order in which they are shown, for a node that listens on
    /// `listening`.
    pub fn of(config: &NodeConfig, listening: &[SocketAddr]) -> Vec<Self> {
        let discovery = &config.discovery;
        let configured = config.bootstrap.iter().cloned().map(Self::Configured);
        let dns = discovery.dns.iter();
        let dns = dns.map(|name| Self::Dns(Dns::new(name.clone(), discovery.dns_server)));
        let list = |file: &std::path::PathBuf| {
            let believed = discovery.signers.iter().map(|signer| signer.0).collect();
            Self::List(List::new(file.clone(), believed, config.network.clone()))
        };
        let (listening, network) = (listening.to_vec(), config.network.clone());
        let announced = Announced { listening, network };
        let lan = discovery.lan.then(|| Self::Lan(Lan::new(announced)));
        configured.chain(dns).chain(discovery.lists.iter().map(list)).chain(lan).collect()
    }

    /// What it is, for people and programs.
    pub fn progress(&self) -> Progress {
        let (kind, name) = match self {
            Self::Configured(place) => (Kind::Configuration, place.to_string()),
            Self::Dns(dns) => (Kind::Dns, dns.name().to_string()),
            Self::List(list) => (Kind::List, list.path().display().to_string()),
            Self::Lan(_) => (Kind::Lan, lan::SERVICE.trim_end_matches('.').to_owned()),
        };
        Progress::begun(kind, name)
    }

    /// Asks it. Each kind bounds what comes of it and how long that takes, but the local network, which is
    /// waited for.
    async fn look(&mut self, now: Time) -> Result<Vec<BootstrapPeer>, SourceError> {
        match self {
            Self::Configured(place) => Ok(vec![place.clone()]),
            Self::Dns(dns) => Ok(dns.look().await?),
            Self::List(list) => Ok(list.look(now).await?),
            Self::Lan(lan) => Ok(lan.look().await?),
        }
    }
}

impl Seeker {
    /// For the node of key `own`, which calls others through `peers`, is driven by `inbox`, counted in
    /// `figures` and goes by `clock`.
    pub fn new(
        own: PublicKey,
        (peers, inbox): (Peers, Inbox),
        (figures, clock): (Figures, Arc<Clock>),
    ) -> Self {
        Self { peers, inbox, figures, clock, own }
    }

    /// Asks all sources; ends only if there are none. To be spawned.
    pub async fn seek(self, sources: Vec<Source>) {
        self.figures.sources().set(sources.iter().map(Source::progress).collect());
        let mut seeking = JoinSet::new();
        for (number, source) in sources.into_iter().enumerate() {
            seeking.spawn(self.clone().seek_by(source, number));
        }
        while seeking.join_next().await.is_some() {}
    }

    async fn seek_by(self, mut source: Source, number: usize) {
        let mut backoff = Backoff::new(WAIT.0, WAIT.1);
        loop {
            self.until_it_may_call().await;
            let answered = match source.look(self.clock.now()).await {
                Ok(places) => self.meet(number, places).await,
                Err(error) => {
                    let trouble = error.to_string();
                    self.tell(number, &trouble, &trouble);
                    false
                }
            };
            if answered {
                backoff.reset();
                self.until_alone().await;
            }
            sleep(self.wait(&mut backoff)).await;
        }
    }

    fn wait(&self, backoff: &mut Backoff) -> Duration {
        let wait = backoff.next_wait();
        if self.figures.is_alone() { wait.min(WAIT_ALONE) } else { wait }
    }

    /// A node that hibernates and calls nobody asks nobody for whom to call either.
    async fn until_it_may_call(&self) {
        while !self.peers.may_call() {
            sleep(LOOK_EVERY).await;
        }
    }

    async fn until_alone(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            if self.figures.is_alone() {
                return;
            }
        }
    }

    /// Calls the places that a source has named, and tells the driver of each that answers as soon as it
    /// does; whether any has.
    async fn meet(&self, number: usize, places: Vec<BootstrapPeer>) -> bool {
        let places = some_of(places);
        self.figures.sources().named(number, places.len());
        let room = Arc::new(Semaphore::new(CALLED_MAX));
        let mut calls = JoinSet::new();
        for place in places {
            let (seeker, room) = (self.clone(), Arc::clone(&room));
            calls.spawn(async move {
                let _room = room.acquire().await;
                let met = seeker.call(&place).await;
                (place, met)
            });
        }
        let (mut answered, mut troubles) = (false, Vec::new());
        while let Some(called) = calls.join_next().await {
            let Ok((place, met)) = called else { continue };
            match met {
                Ok(contact) => {
                    answered = true;
                    self.figures.sources().answered(number);
                    self.inbox.command(Command::Bootstrap(vec![contact]));
                }
                Err(error) => troubles.push((error, place.to_string())),
            }
        }
        if !answered && let Some((error, place)) = worst(troubles) {
            let trouble = format!("{place}: {error}");
            match error {
                // Relays of one operator may all have the same list, in which each finds itself.
                PlaceError::Itself => {
                    self.figures.sources().failed(number, error.kind(), &trouble);
                }
                _ => self.tell(number, error.kind(), &trouble),
            }
        }
        answered
    }

    /// Notes why a source is of no use now, and logs it once as long as it has the same `reason`.
    fn tell(&self, number: usize, reason: &str, trouble: &str) {
        let Some(Progress { kind, name, .. }) = self.figures.sources().get(number) else { return };
        let is_new = self.figures.sources().failed(number, reason, trouble);
        // That nobody else is in the local network is how it mostly is.
        let (is_told, kind) = (is_new && kind != Kind::Lan, kind.word());
        if is_told {
            warn!(kind, source = name, trouble, "no bootstrap node answers");
        } else {
            debug!(kind, source = name, trouble, "no bootstrap node answers yet");
        }
    }

    async fn call(&self, place: &BootstrapPeer) -> Result<Contact, PlaceError> {
        if place.key == Some(self.own) {
            return Err(PlaceError::Itself);
        }
        let failed = |error: std::io::Error| PlaceError::Name(error.to_string());
        let endpoints = timeout(LOOKUP_MAX, lookup_host((place.host.as_str(), place.port))).await;
        let endpoints = endpoints.map_err(|late| failed(late.into()))?.map_err(failed)?;
        let endpoints: Vec<SocketAddr> = endpoints.take(ENDPOINTS_MAX).collect();
        match place.key {
            Some(key) => {
                let contact = Contact::new(key, endpoints);
                let is_linked = self.peers.reach(&contact).await;
                is_linked.then_some(contact).ok_or(PlaceError::Key)
            }
            None => self.call_whoever(place, &endpoints).await,
        }
    }

    async fn call_whoever(
        &self,
        place: &BootstrapPeer,
        endpoints: &[SocketAddr],
    ) -> Result<Contact, PlaceError> {
        let mut trouble = PlaceError::Name("it has no addresses".to_owned());
        for endpoint in endpoints {
            match self.peers.identify(*endpoint).await {
                Ok(contact) if *contact.key() == self.own => trouble = PlaceError::Itself,
                Ok(contact) => {
                    info!(%place, key = %contact.key(), "learnt the key of a bootstrap node");
                    return Ok(contact);
                }
                Err(error) => trouble = PlaceError::Silent(error.to_string()),
            }
        }
        Err(trouble)
    }
}

/// The trouble of a source that is told of: which, does not depend on the order in which its places fail.
fn worst(mut troubles: Vec<(PlaceError, String)>) -> Option<(PlaceError, String)> {
    troubles.sort_by(|(one, place), (other, its_place)| {
        other.kind().cmp(one.kind()).then_with(|| place.cmp(its_place))
    });
    troubles.into_iter().next()
}

/// At most [`PLACES_MAX`] of them, which ones by chance.
fn some_of(mut places: Vec<BootstrapPeer>) -> Vec<BootstrapPeer> {
    shuffle(&mut places, &mut OsRng);
    places.truncate(PLACES_MAX);
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn of_many_silent_places_the_same_is_told_whichever_fails_last() {
        let trouble = |error, place: &str| (error, place.to_owned());
        let all = [
            trouble(PlaceError::Itself, "a:1"),
            trouble(PlaceError::Silent("refused".to_owned()), "c:1"),
            trouble(PlaceError::Silent("late".to_owned()), "b:1"),
            trouble(PlaceError::Name("none".to_owned()), "a:2"),
        ];
        let expected = Some(all[2].clone());
        for turn in 0..all.len() {
            let mut other = all.to_vec();
            other.rotate_left(turn);
            assert_eq!(worst(other), expected);
        }
        assert_eq!(worst(Vec::new()), None);
    }

    #[test]
    fn of_many_places_some_are_called_and_in_time_all() {
        let place = |port| BootstrapPeer { key: None, host: "192.0.2.1".to_owned(), port };
        let all: Vec<_> = (1..=100).map(place).collect();
        let mut called = BTreeSet::new();
        for _ in 0..100 {
            let some = some_of(all.clone());
            let ports: BTreeSet<u16> = some.iter().map(|place| place.port).collect();
            assert_eq!((some.len(), ports.len()), (PLACES_MAX, PLACES_MAX), "none is there twice");
            called.extend(ports);
        }
        assert_eq!(called.len(), all.len());
        assert_eq!(some_of(all[..3].to_vec()).len(), 3);
        assert!(some_of(Vec::new()).is_empty());
    }
}
