//! What a node is put together from: what is read from the disk, what is bound, what its listeners
//! share, and what outlives it when it begins again.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use comm_proto::key::KeyPair;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::api::UnixSocket;
use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::data_dir::{self, DataDir};
use crate::drain::Drains;
use crate::driver::Host;
use crate::driver::inbox::{Inbox, InboxLimits};
use crate::figures::Figures;
use crate::links::Network;
use crate::links::blocks::Blocks;
use crate::links::dial::Peers;
use crate::links::private::{NetworkKey, PrivateNetwork};
use crate::links::tls::Credentials;
use crate::port_mapping::Told;
use crate::service_manager::ServiceManager;
use crate::store::RocksStore;
use crate::traffic::Traffic;
use crate::traffic::keeper::Kept;

use super::RelayError;
use super::limits::dial_limits;

/// What is read from the disk.
pub(super) struct Opened {
    pub(super) data_dir: DataDir,
    pub(super) key: KeyPair,
    pub(super) token: Zeroizing<String>,
    pub(super) network_key: Option<NetworkKey>,
    pub(super) store: Arc<RocksStore>,
}

/// Everything that waits for connections, bound before anything is started.
pub(super) struct Bound {
    pub(super) peers: Vec<TcpListener>,
    pub(super) listening: Vec<SocketAddr>,
    pub(super) socket: UnixSocket,
    pub(super) tcp: Option<TcpListener>,
}

/// What all listeners share.
pub(super) struct Parts {
    pub(super) inbox: Inbox,
    pub(super) clock: Arc<Clock>,
    pub(super) network: Network,
    pub(super) credentials: Arc<Credentials>,
    pub(super) peers: Peers,
    pub(super) traffic: Traffic,
    pub(super) manager: ServiceManager,
}

/// What outlives a node that begins again.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) manager: ServiceManager,
    pub(super) blocks: Blocks,
    pub(super) hosting: Hosting,
}

/// Who decides when a node ends for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hosting {
    /// Its owner, who may have it leave: it is the whole of its process.
    Alone,
    /// The program that it is a part of.
    Inside,
}

impl Around {
    pub(super) fn new(
        config: &NodeConfig,
        manager: ServiceManager,
        hosting: Hosting,
    ) -> Result<Self, RelayError> {
        let blocks = Blocks::default();
        blocks.set(config.block_list()?);
        Ok(Self { manager, blocks, hosting })
    }
}

impl Bound {
    pub(super) async fn new(config: &NodeConfig) -> Result<Self, RelayError> {
        let mut peers = Vec::new();
        for place in &config.listen {
            peers.push(listen(*place).await?);
        }
        let listening = peers.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let path = config.socket_path();
        let socket = UnixSocket::bind(&path).map_err(|source| {
            let place = path.display().to_string();
            RelayError::Listen { place, source }
        })?;
        let tcp = match config.api.tcp {
            Some(place) => Some(listen(place).await?),
            None => None,
        };
        Ok(Self { peers, listening, socket, tcp })
    }
}

impl Parts {
    pub(super) fn new(
        config: &NodeConfig,
        key: &KeyPair,
        network_key: Option<NetworkKey>,
        (clock, around): (Clock, Around),
    ) -> Result<Self, RelayError> {
        let network = Network::new(&config.network).expect("a validated name is visible ASCII");
        let sessions = config.limits.sessions_max;
        let inbox = Inbox::new(InboxLimits { sessions, ..InboxLimits::default() });
        let clock = Arc::new(clock);
        let Around { manager, blocks, hosting: _ } = around;
        let traffic = Traffic::default();
        let mut credentials = Credentials::new(key)?.without(blocks).within(traffic.clone());
        if let Some(network_key) = network_key {
            let private = PrivateNetwork::new(network_key, key.public(), Arc::clone(&clock));
            credentials = credentials.in_private(private);
        }
        let credentials = Arc::new(credentials);
        let peers = Peers::new(
            Arc::clone(&credentials),
            network.clone(),
            Arc::clone(&clock),
            inbox.clone(),
            dial_limits(config),
        );
        Ok(Self { inbox, clock, network, credentials, peers, traffic, manager })
    }

    pub(super) fn kept(&self, figures: Figures) -> Kept {
        Kept { traffic: self.traffic.clone(), clock: Arc::clone(&self.clock), figures }
    }

    pub(super) fn host(
        &self,
        config: comm_proto::node::Config,
        (key, store): (KeyPair, Arc<RocksStore>),
        (figures, drains): (Figures, Drains),
    ) -> Host {
        let (clock, inbox, peers) =
            (Arc::clone(&self.clock), self.inbox.clone(), self.peers.clone());
        let manager = self.manager.clone();
        Host { config, key, store, clock, inbox, peers, manager, figures, drains }
    }
}

/// Reading the store's logs back may take a second; other tasks of the runtime go on meanwhile.
pub(super) async fn open(config: &NodeConfig) -> Result<Opened, RelayError> {
    let (path, network_key) = (config.data_dir.clone(), config.network_key_file.clone());
    let budget = config.store.bytes_max.0;
    spawn_blocking(move || {
        let data_dir = DataDir::open(&path)?;
        let (key, token) = (data_dir.node_key()?, data_dir.api_token()?);
        let network_key = network_key.as_deref().map(data_dir::network_key).transpose()?;
        let store = Arc::new(RocksStore::open_within(&data_dir.store_path(), budget)?);
        Ok(Opened { data_dir, key, token, network_key, store })
    })
    .await?
}

async fn listen(place: SocketAddr) -> Result<TcpListener, RelayError> {
    let failed = |source| RelayError::Listen { place: place.to_string(), source };
    TcpListener::bind(place).await.map_err(failed)
}

/// Where others are told to reach a node that listens on `listening`, with what a router forwards to it.
pub(super) fn told(config: &NodeConfig, listening: &[SocketAddr], figures: &Figures) -> Told {
    let is_final = !config.advertise.is_empty();
    Told::new(config.endpoints(listening), is_final, figures.mapping().clone())
}

/// The port that a router may forward: one at which this machine is called over IPv4.
pub(super) fn forwarded_port(listening: &[SocketAddr]) -> Option<NonZeroU16> {
    let is_for_routers = |place: &&SocketAddr| match place.ip().to_canonical() {
        IpAddr::V4(ip) => !ip.is_loopback(),
        // On Linux it takes IPv4 too.
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    let place = listening.iter().find(is_for_routers)?;
    NonZeroU16::new(place.port())
}

/// Says in the log who and where it is.
pub(super) fn announce(
    config: &NodeConfig,
    key: &KeyPair,
    listening: &[SocketAddr],
    endpoints: &[SocketAddr],
) {
    info!(
        key = %key.public(),
        address = %key.address(),
        network = config.network,
        private = config.network_key_file.is_some(),
        ?listening,
        ?endpoints,
        socket = %config.socket_path().display(),
        "starting"
    );
    if endpoints.is_empty() && !config.leaf && !config.port_mapping {
        warn!(
            "other nodes are not told where to reach this one; set `advertise` to its public \
             address, or `leaf = true` to say that this is meant"
        );
    }
}
