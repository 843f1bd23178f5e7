//! A whole node: everything opened, bound and started in order, and stopped in reverse.
//!
//! Entry types are [`Relay`], for programs that have a node inside, and [`run`], for one that is
//! nothing else. It only connects the parts; what each of them does is in its own module.

mod budget;
mod limits;
mod parts;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comm_proto::key::PublicKey;
use comm_proto::node::Command;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use crate::api::{Api, ApiError, Embedded, Owned};
use crate::backup;
use crate::blocking::{OwnBlocks, OwnBlocksError};
use crate::bootstrap::{Seeker, Source};
use crate::clock::Clock;
use crate::config::{ApiConfig, InvalidValue, NodeConfig};
use crate::data_dir::{DataDir, DataDirError};
use crate::drain::Drains;
use crate::driver::inbox::Inbox;
use crate::driver::{Driver, DriverError, Running};
use crate::examination::Examiner;
use crate::figures::Figures;
use crate::links::accept::Door;
use crate::links::blocks::BlockFileError;
use crate::links::dial::Peers;
use crate::links::tls::CredentialsError;
use crate::metrics::{self, ExportError, Exporter};
use crate::open_files;
use crate::port_mapping::{Forwarder, NOWHERE, Told};
use crate::reload::Reloads;
use crate::service::PeerService;
use crate::service_manager::ServiceManager;
use crate::store::OpenError;
use crate::store::upkeep::Upkeep;
use crate::telemetry::{self, NoTraces, Telemetry};
use crate::traffic::keeper::KeeperError;

use budget::TrafficBudget;
use limits::{accept_limits, dial_limits, keep_alive};
use parts::{Around, Bound, Hosting, Opened, Parts, announce, forwarded_port, open, told};

/// How long connections may linger once the node itself has ended.
const LINGER: Duration = Duration::from_millis(500);
/// The first pause before a node that could not begin again, or did so lately, begins again; each is
/// twice as long as the one before it, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A node that has run for so long begins again without a pause.
const SETTLED: Duration = Duration::from_secs(10 * 60);

/// A running node. Dropping it ends the node at once, whatever it has begun, and waits for its
/// threads to end: none of them may touch the store when the directory is free again, or when the
/// process ends. What it has promised is on the disk.
#[derive(Debug)]
pub struct Relay {
    key: PublicKey,
    listening: Vec<SocketAddr>,
    socket: PathBuf,
    api_tcp: Option<SocketAddr>,
    api: Api,
    inbox: Inbox,
    /// True once connections are to be taken no more.
    closing: watch::Sender<bool>,
    /// Listeners and the search for the network.
    tasks: JoinSet<Result<(), RelayError>>,
    driver: Option<Running>,
    upkeep: Option<Upkeep>,
    copies: backup::Source,
    /// What can be told other limits while it runs.
    door: Option<Door>,
    peers: Peers,
    exporter: Option<Exporter>,
    telemetry: Option<Telemetry>,
    figures: Figures,
    drains: Drains,
    hosting: Hosting,
    budget: TrafficBudget,
    /// Last, as nobody else may use the directory before all the rest is gone.
    _data_dir: DataDir,
}

/// Why a node cannot start or go on.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The configuration has an impossible value.
    #[error(transparent)]
    Config(#[from] InvalidValue),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The list of the blocked cannot be read.
    #[error(transparent)]
    Blocks(#[from] BlockFileError),
    /// What commands have blocked cannot be read.
    #[error(transparent)]
    OwnBlocks(#[from] OwnBlocksError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The node's key cannot be used for links.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// An address or a socket is taken, or not this machine's.
    #[error("cannot listen on {place}: {source}")]
    Listen {
        /// Which.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// Metrics cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] NoTraces),
    /// The client API failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The listener for other nodes failed.
    #[error("the listener for other nodes ended: {0}")]
    Service(#[from] tonic::transport::Error),
    /// The node itself failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The account of this period's traffic cannot be kept.
    #[error(transparent)]
    Traffic(#[from] KeeperError),
    /// The system gives no thread.
    #[error("the system gives no thread: {0}")]
    Thread(io::Error),
    /// A part of the node panicked, which its own message has told.
    #[error("a part of the node ended unexpectedly: {0}")]
    Panicked(#[from] JoinError),
}

/// Runs a node until `shutdown` comes true or the node fails, and tells `manager` how it is. When the
/// machine's clock is set back, the node begins again from its store; when `reloads` wants it, the
/// configuration is read again.
///
/// # Errors
/// When the node cannot start, or its disk or a listener fails.
pub async fn run(
    config: NodeConfig,
    reloads: Reloads,
    manager: ServiceManager,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RelayError> {
    let telemetry = telemetry::start(&config.traces)?;
    let ended = run_by(Clock::new(), config, (reloads, manager), shutdown).await;
    end(telemetry).await;
    ended
}

/// Last of all, so that what the node does at its end is told too.
async fn end(telemetry: Option<Telemetry>) {
    if let Some(telemetry) = telemetry {
        telemetry.end().await;
    }
}

/// The same by a clock that may have told a time before.
async fn run_by(
    clock: Clock,
    config: NodeConfig,
    (mut reloads, manager): (Reloads, ServiceManager),
    shutdown: impl Future<Output = ()>,
) -> Result<(), RelayError> {
    let mut config = config.validated()?;
    let around = Around::new(&config, manager.clone(), Hosting::Alone)?;
    open_files::raise(&config);
    // One for the whole process, whichever node it counts for.
    let exporter = exporter(&config)?;
    let say_serving = |relay: &Relay| exporter.iter().for_each(|it| it.say_serving(&relay.figures));
    let say_ended = || exporter.iter().for_each(Exporter::say_ended);
    let mut shutdown = pin!(shutdown);
    metrics::configured(true);
    let beginning = Relay::begin(&config, clock, around.clone());
    let mut relay = manager.while_working(beginning).await?;
    // Whoever waits for the service manager's word finds the page and the health as they are then.
    say_serving(&relay);
    manager.ready();
    // Others look for it where it listens now, even if the system has chosen the ports.
    let places = (relay.listening.clone(), relay.api_tcp);
    let mut beginning = Beginning::new();
    loop {
        say_serving(&relay);
        let ended = tokio::select! {
            () = &mut shutdown => {
                info!("stopping");
                manager.stopping();
                say_ended();
                return relay.stop().await;
            }
            () = reloads.requested() => {
                manager.reloading();
                if let Some(change) = reloads.read(&config).await {
                    config = change.config;
                    around.blocks.set(change.blocks);
                    relay.set_limits(&config);
                }
                manager.ready();
                continue;
            }
            ended = relay.ended() => ended,
        };
        say_ended();
        match ended {
            Err(RelayError::Driver(DriverError::ClockSetBack)) => {}
            Ok(()) => {
                info!("stopping: others have what this relay held");
                manager.stopping();
                return relay.stop().await;
            }
            failed => return failed,
        }
        warn!("this machine's clock was set back: the node begins again by the time it shows now");
        manager.while_working(relay.stop()).await?;
        let (listen, tcp) = places.clone();
        let config =
            NodeConfig { listen, api: ApiConfig { tcp, ..config.api.clone() }, ..config.clone() };
        relay = tokio::select! {
            () = &mut shutdown => {
                manager.stopping();
                return Ok(());
            }
            relay = beginning.again(&config, &around) => relay,
        };
    }
}

/// Beginning again: not at once if that was done lately, since two time sources may fight over the
/// clock, and once more when something is in the way, such as a port that is not free yet.
struct Beginning {
    pause: Duration,
    begun: Instant,
}

impl Beginning {
    /// A node has begun for the first time.
    fn new() -> Self {
        Self { pause: Duration::ZERO, begun: Instant::now() }
    }

    /// A node by the time that the machine shows now, as soon as one can begin.
    async fn again(&mut self, config: &NodeConfig, around: &Around) -> Relay {
        self.forget_when_settled();
        loop {
            around.manager.while_working(sleep(self.take_pause())).await;
            let relay = Relay::begin(config, Clock::new(), around.clone());
            match around.manager.while_working(relay).await {
                Ok(relay) => {
                    self.begun = Instant::now();
                    return relay;
                }
                Err(error) => error!(
                    %error,
                    seconds = self.pause.as_secs(),
                    "the node cannot begin again; that is tried again after a pause"
                ),
            }
        }
    }

    fn forget_when_settled(&mut self) {
        if self.begun.elapsed() >= SETTLED {
            self.pause = Duration::ZERO;
        }
    }

    /// The next pause; the one after it is longer.
    fn take_pause(&mut self) -> Duration {
        let next = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        std::mem::replace(&mut self.pause, next)
    }
}

fn exporter(config: &NodeConfig) -> Result<Option<Exporter>, ExportError> {
    let export = |place| metrics::export(place, config.operator.clone());
    config.metrics.listen.map(export).transpose()
}

impl Relay {
    /// Starts a node; when this returns it can be reached. To be called on a runtime.
    ///
    /// # Errors
    /// When the configuration, the data directory, the store or an address cannot be used.
    pub async fn start(config: NodeConfig) -> Result<Self, RelayError> {
        let config = config.validated()?;
        let exporter = exporter(&config)?;
        let telemetry = telemetry::start(&config.traces)?;
        let around = Around::new(&config, ServiceManager::none(), Hosting::Inside)?;
        let mut relay = Self::begin(&config, Clock::new(), around).await?;
        exporter.iter().for_each(|exporter| exporter.say_serving(&relay.figures));
        relay.exporter = exporter;
        relay.telemetry = telemetry;
        Ok(relay)
    }

    async fn begin(config: &NodeConfig, clock: Clock, around: Around) -> Result<Self, RelayError> {
        let Opened { data_dir, key, token, network_key, store } = open(config).await?;
        let (blocks, hosting) =
            (OwnBlocks::open(data_dir.path(), around.blocks.clone())?, around.hosting);
        let bound = Bound::new(config).await?;
        let parts = Parts::new(config, &key, network_key, (clock, around))?;
        let endpoints = config.endpoints(&bound.listening);
        announce(config, &key, &bound.listening, &endpoints);
        let public = key.public();
        let reports = parts.inbox.clone();
        let upkeep = Upkeep::start(Arc::clone(&store), move |taken| reports.disk_taken(taken))
            .map_err(RelayError::Thread)?;
        let copies = backup::Source::new(data_dir.path(), Arc::clone(&store));
        metrics::budget(config.store.bytes_max.0);
        let figures = Figures::new(data_dir.store_path(), config.store.bytes_max.0);
        let drains = Drains::new(parts.inbox.clone());
        let kept = parts.kept(figures.clone());
        let budget = TrafficBudget::begin(data_dir.path(), &config.traffic, kept)?;
        let told = (figures.clone(), drains.clone());
        let host = parts.host(config.node(endpoints), (key, store), told);
        let mut relay = Self {
            key: public,
            listening: bound.listening.clone(),
            socket: config.socket_path(),
            api_tcp: bound.tcp.as_ref().and_then(|listener| listener.local_addr().ok()),
            api: Api::new(parts.inbox.clone(), Arc::clone(&parts.clock)).await?,
            inbox: parts.inbox.clone(),
            closing: watch::Sender::new(false),
            tasks: JoinSet::new(),
            driver: Some(Driver::start(host).await?),
            upkeep: Some(upkeep),
            copies,
            door: None,
            peers: parts.peers.clone(),
            exporter: None,
            telemetry: None,
            figures,
            drains,
            hosting,
            budget,
            _data_dir: data_dir,
        };
        relay.serve(config, (parts, blocks), bound, token);
        Ok(relay)
    }

    /// The node's public key; its hash is the node's address.
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// Where it listens for other nodes; with the ports that the system has chosen.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The unix socket of its client API.
    pub const fn api_socket(&self) -> &PathBuf {
        &self.socket
    }

    /// Where its client API is served over TCP, if it is.
    pub const fn api_tcp(&self) -> Option<SocketAddr> {
        self.api_tcp
    }

    /// A way to its client API within this process, for as long as the node runs.
    pub fn embedded(&self) -> Embedded {
        self.api.embed(self.closed())
    }

    /// From now on the limits of `config` hold, as far as they can change while it runs.
    fn set_limits(&mut self, config: &NodeConfig) {
        self.door.iter().for_each(|door| door.set_limits(accept_limits(config)));
        self.peers.set_limits(dial_limits(config));
        if let Err(error) = self.budget.set(&config.traffic) {
            error!(%error, "the volume of traffic was not changed");
        }
    }

    /// Waits until the node ends by itself: when something fails, or when the machine's clock was set
    /// back, after which a new one has to be started. `Ok` when it has handed over everything, as its owner
    /// wanted, and is to be stopped.
    ///
    /// # Errors
    /// The reason.
    pub async fn ended(&mut self) -> Result<(), RelayError> {
        loop {
            let Some(driver) = &mut self.driver else { return Ok(()) };
            tokio::select! {
                result = driver.ended() => {
                    self.driver = None;
                    return Ok(result?);
                }
                Some(task) = self.tasks.join_next() => task??,
                () = self.drains.completed() => return Ok(()),
            }
        }
    }

    /// Stops the node: nothing new is taken in, what was begun is ended or given up after three
    /// seconds, and the disk has everything when this returns.
    ///
    /// # Errors
    /// When the disk fails meanwhile.
    pub async fn stop(mut self) -> Result<(), RelayError> {
        self.api.say_ending().await;
        self.exporter.iter().for_each(Exporter::say_ended);
        self.inbox.stop();
        self.closing.send_replace(true);
        let result = match &mut self.driver {
            Some(driver) => driver.ended().await,
            None => Ok(()),
        };
        self.driver = None;
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(LINGER, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
        let (upkeep, copies) = (self.upkeep.take(), self.copies.clone());
        let keeper = self.budget.end();
        let let_go = move || {
            copies.close();
            drop((upkeep, keeper));
        };
        spawn_blocking(let_go).await?;
        end(self.telemetry.take()).await;
        Ok(result?)
    }

    fn serve(
        &mut self,
        config: &NodeConfig,
        (parts, blocks): (Parts, OwnBlocks),
        bound: Bound,
        token: Zeroizing<String>,
    ) {
        let told = told(config, &self.listening, &self.figures);
        let called = (parts.peers.clone(), parts.inbox.clone());
        let seen = (self.figures.clone(), Arc::clone(&parts.clock));
        self.look_outside(config, Seeker::new(self.key, called, seen), &told);
        let owned = Owned {
            copies: self.copies.clone(),
            figures: self.figures.clone(),
            examiner: Examiner::new(config, &self.listening, told, (&parts.peers, &parts.inbox)),
            drains: (self.hosting == Hosting::Alone).then(|| self.drains.clone()),
            blocks,
        };
        let (api, closed) = (self.api.clone(), self.closed());
        self.tasks.spawn(async move { Ok(api.serve_unix(bound.socket, owned, closed).await?) });
        if let Some(listener) = bound.tcp {
            let (api, closed) = (self.api.clone(), self.closed());
            self.tasks.spawn(async move { Ok(api.serve_tcp(listener, &token, closed).await?) });
        }
        let Parts { inbox, clock, network, credentials, traffic, .. } = parts;
        if !bound.peers.is_empty() {
            let door = Door::new(credentials, accept_limits(config));
            self.door = Some(door.clone());
            let links = door.open(bound.peers);
            let service = PeerService::new(inbox, network, clock);
            let service = service.with_keep_alive(keep_alive(config)).within(traffic);
            let closed = self.closed();
            self.tasks.spawn(async move { Ok(service.serve(links, closed).await?) });
        }
    }

    /// Looks for the network, and has a port forwarded if that is wanted, until the node ends.
    fn look_outside(&mut self, config: &NodeConfig, seeker: Seeker, told: &Told) {
        let sources = Source::of(config, &self.listening);
        let closed = self.closed();
        self.tasks.spawn(async move {
            tokio::select! { () = seeker.seek(sources) => {}, () = closed => {} }
            Ok(())
        });
        if config.port_mapping {
            self.have_forwarded(told);
        }
    }

    fn have_forwarded(&mut self, told: &Told) {
        let Some(port) = forwarded_port(&self.listening) else {
            self.figures.mapping().refuse(NOWHERE);
            warn!(reason = NOWHERE, "the router forwards no port to this node");
            return;
        };
        let (inbox, told) = (self.inbox.clone(), told.clone());
        let changed = move || inbox.command(Command::Endpoints(told.endpoints()));
        let forwarder = Forwarder::new(port, self.figures.mapping().clone(), changed);
        let closed = self.closed();
        self.tasks.spawn(async move {
            forwarder.run(closed).await;
            Ok(())
        });
    }

    fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.closing.subscribe();
        async move {
            // An error means that the node is gone, which is reason enough.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.inbox.close();
        self.copies.close();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::SystemTime;

    use comm_proto::time::{Span, Time};
    use comm_proto::wire::client::GetStatusRequest;
    use tokio::sync::oneshot;
    use tonic::transport::Endpoint;

    use super::*;
    use crate::rpc::client::client_client::ClientClient;

    /// A clock that has told a time of tomorrow: since then the machine was set back.
    fn clock_of_tomorrow() -> Clock {
        let clock = Clock::new();
        clock.at(SystemTime::now() + Duration::from_secs(86_400), Instant::now());
        clock
    }

    fn around(config: &NodeConfig) -> Around {
        Around::new(config, ServiceManager::none(), Hosting::Alone).unwrap()
    }

    async fn begun(config: &NodeConfig, clock: Clock) -> Relay {
        Relay::begin(config, clock, around(config)).await.unwrap()
    }

    /// The time by which a node's API goes, if there is a node.
    async fn time_at(socket: &Path) -> Option<Time> {
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).ok()?;
        let mut client = ClientClient::new(endpoint.connect().await.ok()?);
        let status = client.get_status(GetStatusRequest {}).await.ok()?;
        Some(Time::from_millis(status.into_inner().time))
    }

    /// Else it would take a wrong time for the right one, at half pace, until somebody restarts it.
    #[tokio::test]
    async fn a_node_whose_machine_is_set_back_by_a_day_begins_again_by_the_time_it_shows() {
        let mut dir = tempfile::Builder::new();
        let dir = dir.permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let mut config = NodeConfig { data_dir: dir.path().to_owned(), ..NodeConfig::default() };
        config.listen = vec![free_place()];
        config.api.tcp = Some(free_place());
        let places = [config.listen[0], config.api.tcp.unwrap()];
        let mut relay = begun(&config, clock_of_tomorrow()).await;
        let ended = timeout(Duration::from_secs(20), relay.ended()).await.unwrap();
        assert!(matches!(ended, Err(RelayError::Driver(DriverError::ClockSetBack))), "{ended:?}");
        relay.stop().await.unwrap();
        // The program goes on with another node, for as long as it is wanted.
        let (stop, stopped) = oneshot::channel::<()>();
        let socket = config.socket_path();
        let shutdown = async {
            let _told = stopped.await;
        };
        let nobody = (Reloads::never(), ServiceManager::none());
        let running = tokio::spawn(run_by(clock_of_tomorrow(), config, nobody, shutdown));
        let by_the_machine = async {
            let soon = Clock::new().now() + Span::HOUR;
            while time_at(&socket).await.is_none_or(|time| time > soon) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), by_the_machine).await.unwrap();
        for place in places {
            tokio::net::TcpStream::connect(place).await.unwrap();
        }
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }

    /// Where nobody listens just now.
    fn free_place() -> SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Nothing starts a relay again that has given up: whatever is in the way may be gone in a moment.
    #[tokio::test]
    async fn a_node_that_cannot_begin_again_tries_until_it_can() {
        let mut dir = tempfile::Builder::new();
        let dir = dir.permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let mut config = NodeConfig { data_dir: dir.path().to_owned(), ..NodeConfig::default() };
        let in_the_way = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        config.listen = vec![in_the_way.local_addr().unwrap()];
        let mut beginning = Beginning::new();
        let around = around(&config);
        let mut again = pin!(beginning.again(&config, &around));
        let early = timeout(Duration::from_secs(2), &mut again).await;
        assert!(early.is_err(), "it began where another listens");
        drop(in_the_way);
        let relay = timeout(Duration::from_secs(60), again).await.unwrap();
        assert_eq!(relay.listening(), config.listen);
        relay.stop().await.unwrap();
    }

    #[test]
    fn a_node_that_begins_again_and_again_pauses_ever_longer() {
        let mut beginning = Beginning::new();
        let pauses: Vec<_> = (0..9).map(|_| beginning.take_pause().as_secs()).collect();
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        beginning.begun = Instant::now().checked_sub(SETTLED).unwrap();
        assert_eq!(beginning.take_pause(), Duration::from_secs(60));
        beginning.forget_when_settled();
        assert_eq!(beginning.take_pause(), Duration::ZERO);
    }
}
