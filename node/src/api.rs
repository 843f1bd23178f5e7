//! The client API of a node (PROTOCOL §8): where programs hand envelopes over and take them in.
//!
//! Entry type is [`Api`]. It is served on a unix socket, on loopback TCP with a token, and inside
//! the process, everywhere with health and reflection. It holds no keys and opens no envelope.

mod calls;
mod connections;
mod embedded;
mod guard;
mod owner;
mod receive;
mod status;
mod submit;
mod unix;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use comm_proto::wire::{FILE_DESCRIPTOR_SET, FRAME_BYTES_MAX};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::server::HealthReporter;

use crate::clock::Clock;
use crate::driver::inbox::Inbox;
use crate::rpc::client::client_server::ClientServer;
use crate::rpc::client::owner_server::OwnerServer;

use calls::Calls;
use guard::Guard;
use owner::OwnerCalls;

pub(crate) use connections::CONNECTIONS_MAX;
pub use embedded::Embedded;
pub use owner::Owned;
pub use unix::UnixSocket;
pub(crate) use unix::connect;

/// Bytes that one call may have on the way before the reader has taken any.
const CALL_WINDOW: u32 = 2 << 20;
/// Bytes that all calls of one connection may have on the way.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Calls under way over one connection.
const CALLS_PER_CONNECTION: u32 = 1_024;
/// How often a silent client is asked whether it lives, and how long the answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// The client API of one node. Cloning shares it.
#[derive(Clone)]
pub struct Api {
    routes: Routes,
    health: HealthReporter,
}

/// Why the API is not served any more.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The .proto files that reflection hands out cannot be read.
    #[error("reflection cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A listener failed.
    #[error("the client API ended: {0}")]
    Transport(#[from] tonic::transport::Error),
}

impl Api {
    /// The API of the node behind `inbox`.
    ///
    /// # Errors
    /// When the .proto files that reflection hands out cannot be read.
    pub async fn new(inbox: Inbox, clock: Arc<Clock>) -> Result<Self, ApiError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<ClientServer<Calls>>().await;
        // Many programs still ask for the older version only.
        let (reflection, older) = (reflected().build_v1()?, reflected().build_v1alpha()?);
        let client =
            ClientServer::new(Calls::new(inbox, clock)).max_decoding_message_size(FRAME_BYTES_MAX);
        let routes = Routes::new(client)
            .add_service(health_service)
            .add_service(reflection)
            .add_service(older);
        Ok(Self { routes: routes.prepare(), health })
    }

    /// Serves a unix socket until `shutdown`, then until the calls under way have ended; what only
    /// the owner may ask too, about what is `owned`.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve_unix(
        &self,
        socket: UnixSocket,
        owned: Owned,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ApiError> {
        let (listener, _file) = socket.into_parts();
        let owner = OwnerServer::new(OwnerCalls::new(owned));
        let routes = self.routes.clone().add_service(owner);
        let api = Self { routes, health: self.health.clone() };
        api.serve(Guard::without_token(), connections::take(listener), shutdown).await
    }

    /// Serves a TCP listener, which should be on a loopback address, to whoever has the token; until
    /// `shutdown`, then until the calls under way have ended.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve_tcp(
        &self,
        listener: TcpListener,
        token: &str,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ApiError> {
        self.serve(Guard::with_token(token), connections::take(listener), shutdown).await
    }

    /// A way to the API within this process, served until `shutdown`. To be called on a runtime.
    pub fn embed(&self, shutdown: impl Future<Output = ()> + Send + 'static) -> Embedded {
        let (embedded, connections) = Embedded::new();
        let api = self.clone();
        tokio::spawn(async move {
            if let Err(error) = api.serve(Guard::without_token(), connections, shutdown).await {
                tracing::error!(%error, "the API inside this process ended");
            }
        });
        embedded
    }

    /// Says through the health service that the node is ending.
    pub async fn say_ending(&self) {
        self.health.set_not_serving::<ClientServer<Calls>>().await;
    }

    async fn serve<C, E>(
        &self,
        guard: Guard,
        connections: impl Stream<Item = Result<C, E>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ApiError>
    where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION)
            .initial_stream_window_size(CALL_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(PING.0))
            .http2_keepalive_timeout(Some(PING.1))
            .layer(guard)
            .add_routes(self.routes.clone())
            .serve_with_incoming_shutdown(connections, shutdown)
            .await?;
        Ok(())
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// What reflection shows: the services that are served here, and nothing of the peers'.
fn reflected() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("comm.client.v1.Client")
        .with_service_name("grpc.health.v1.Health")
}
