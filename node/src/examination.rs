//! How a running node is seen from outside and what it uses of its machine, found out when its owner
//! asks (PROTOCOL §8.5).
//!
//! Entry type is [`Examiner`]. It asks a few nodes of the table over links of their own, which is all that
//! others notice of it; what follows from what they say is [`crate::doctor`]'s business.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::key::PublicKey;
use comm_proto::message::{ClientRequest, ClientResponse, DialOutcome, Peer, PeerStatus};
use comm_proto::rejection::Rejection;
use comm_proto::wire::client::{DialledEndpoint, ExamineResponse, OutsideView};
use comm_proto::wire::object;
use rand_core::OsRng;
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::chance::shuffle;
use crate::config::NodeConfig;
use crate::driver::inbox::Inbox;
use crate::links::dial::Peers;
use crate::links::probe::{Asked, LocalPort, View};
use crate::open_files;
use crate::port_mapping::Told;

/// Nodes that are asked over each IP family.
const ASKED_MAX: usize = 4;
/// How long one of them may take for everything.
const PATIENCE: Duration = Duration::from_secs(25);

/// Finds out how a node is. Cloning shares it: one examination is made at a time.
#[derive(Clone, Debug)]
pub struct Examiner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    peers: Peers,
    inbox: Inbox,
    listening: Vec<SocketAddr>,
    told: Told,
    files_needed: u64,
    one: Semaphore,
}

/// Whom to ask, and where.
type Question = (PublicKey, SocketAddr);

impl Examiner {
    /// For a node of `config` that listens on `listening`, tells others `told`, dials through `peers` and
    /// reads `inbox`.
    pub(crate) fn new(
        config: &NodeConfig,
        listening: &[SocketAddr],
        told: Told,
        (peers, inbox): (&Peers, &Inbox),
    ) -> Self {
        Self(Arc::new(Shared {
            peers: peers.clone(),
            inbox: inbox.clone(),
            listening: listening.to_vec(),
            told,
            files_needed: open_files::needed(config),
            one: Semaphore::new(1),
        }))
    }

    /// Asks, and looks at this process.
    ///
    /// # Errors
    /// [`Rejection::Busy`] while that is done already, [`Rejection::ShuttingDown`] when the node ends.
    pub async fn examine(&self) -> Result<ExamineResponse, Rejection> {
        let _one = self.0.one.try_acquire().map_err(|_| Rejection::Busy)?;
        let known = self.known().await?;
        let views = self.views(known).await;
        Ok(ExamineResponse {
            listening: self.0.listening.iter().map(Into::into).collect(),
            views,
            open_files: open_files_now(),
            open_files_max: getrlimit(Resource::Nofile).current,
            open_files_needed: self.0.files_needed,
            memory_bytes: memory_now(),
        })
    }

    async fn known(&self) -> Result<Vec<Peer>, Rejection> {
        let answer = self.0.inbox.client_request(ClientRequest::Peers, 0)?;
        match answer.await {
            Ok(Ok(ClientResponse::Peers(peers))) => Ok(peers),
            Ok(Err(reason)) => Err(reason),
            Ok(Ok(_)) => Err(Rejection::Unknown),
            Err(_) => Err(Rejection::ShuttingDown),
        }
    }

    async fn views(&self, mut known: Vec<Peer>) -> Vec<OutsideView> {
        // Those that speak up most often are perhaps all one's who would like to be asked.
        shuffle(&mut known, &mut OsRng);
        let port = self.0.listening.first().map(SocketAddr::port);
        let asked = Arc::new(Asked { told: self.0.told.endpoints(), port });
        let mut asking = JoinSet::new();
        for is_v4 in [true, false] {
            let questions = questions(&known, is_v4);
            let shared = questions.first().and_then(|(_, at)| LocalPort::like(*at).ok());
            let shared = shared.map(Arc::new);
            for (key, endpoint) in questions {
                let (peers, asked, port) =
                    (self.0.peers.clone(), Arc::clone(&asked), shared.clone());
                asking.spawn(async move {
                    let view = peers.view_from((key, endpoint), port.as_deref(), &asked);
                    let view = timeout(PATIENCE, view).await;
                    told(&key.address(), endpoint, view.unwrap_or(Err(DialOutcome::TimedOut)))
                });
            }
        }
        asking.join_all().await
    }
}

/// The nodes to ask over one IP family: the first of those that are good, and of others if there are
/// too few, each at another address.
fn questions(known: &[Peer], is_v4: bool) -> Vec<Question> {
    let place = |contact: &Contact| {
        let here = contact.endpoints().iter().find(|place| place.is_ipv4() == is_v4);
        here.map(|place| (*contact.key(), *place))
    };
    let mut peers: Vec<_> = known.iter().filter(|peer| peer.status != PeerStatus::Bad).collect();
    peers.sort_by_key(|peer| peer.status != PeerStatus::Good);
    let mut questions: Vec<Question> = Vec::new();
    let mut more: Vec<Question> = Vec::new();
    for question in peers.into_iter().filter_map(|peer| place(&peer.contact)) {
        let has = |ip: IpAddr| questions.iter().any(|(_, place)| place.ip() == ip);
        if has(question.1.ip()) { more.push(question) } else { questions.push(question) }
    }
    questions.extend(more);
    questions.truncate(ASKED_MAX);
    questions
}

fn told(peer: &Address, endpoint: SocketAddr, view: Result<View, DialOutcome>) -> OutsideView {
    let outcome = view.as_ref().err().copied().unwrap_or(DialOutcome::Reached);
    let called = OutsideView {
        peer: peer.as_bytes().to_vec().into(),
        asked: Some((&endpoint).into()),
        outcome: object::DialOutcome::from(outcome).into(),
        ..OutsideView::default()
    };
    let Ok(view) = view else { return called };
    let dialled = |(endpoint, outcome): &(SocketAddr, DialOutcome)| DialledEndpoint {
        endpoint: Some(endpoint.into()),
        outcome: object::DialOutcome::from(*outcome).into(),
    };
    OutsideView {
        local: Some((&view.local).into()),
        observed: view.observed.as_ref().map(Into::into),
        round_trip: u64::try_from(view.round_trip.as_micros()).unwrap_or(u64::MAX),
        ahead: view.ahead_millis,
        dialled: view.dialled.iter().map(dialled).collect(),
        ..called
    }
}

/// 0 where the system does not say.
fn open_files_now() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64)
}

/// 0 where the system does not say.
fn memory_now() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(page_size() as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use comm_proto::time::Time;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn peer(n: u8, status: PeerStatus, endpoints: &[&str]) -> Peer {
        let endpoints: Vec<SocketAddr> =
            endpoints.iter().map(|text| text.parse().unwrap()).collect();
        let contact = Contact::new(PublicKey::from_bytes([n; PublicKey::LEN]), endpoints);
        Peer { contact, status, last_seen: Time::from_millis(n.into()) }
    }

    #[test]
    fn a_few_nodes_that_answer_are_asked_each_at_another_address_if_there_are_such() {
        use PeerStatus::{Bad, Good, Questionable};
        let known = [
            peer(1, Questionable, &["192.0.2.1:1", "[2001:db8::1]:1"]),
            peer(2, Good, &["192.0.2.2:1"]),
            peer(3, Good, &["192.0.2.2:2"]),
            peer(4, Bad, &["192.0.2.4:1"]),
            peer(5, Good, &["[2001:db8::5]:1"]),
        ];
        let asked = |is_v4| -> Vec<u8> {
            questions(&known, is_v4).iter().map(|(key, _)| key.as_bytes()[0]).collect()
        };
        assert_eq!(asked(true), [2, 1, 3]);
        assert_eq!(asked(false), [5, 1]);
        let many: Vec<_> = (1..=200).map(|n| peer(n, Good, &[&format!("192.0.2.{n}:1")])).collect();
        assert_eq!(questions(&many, true).len(), ASKED_MAX);
    }

    #[test]
    fn who_is_asked_is_drawn_and_not_who_has_called_last() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut known: Vec<_> =
            (1..=40).map(|n| peer(n, PeerStatus::Good, &[&format!("192.0.2.{n}:1")])).collect();
        let mut asked = BTreeSet::new();
        for _ in 0..100 {
            shuffle(&mut known, &mut rng);
            asked.extend(questions(&known, true).into_iter().map(|(_, place)| place));
        }
        assert_eq!(asked.len(), 40);
    }

    #[test]
    fn this_process_has_files_and_memory() {
        assert!(open_files_now() > 2);
        assert!(memory_now() > 1 << 20);
    }
}
