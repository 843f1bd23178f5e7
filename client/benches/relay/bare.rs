//! A unary call of gRPC and nothing else: what HTTP/2 and tonic cost at the least.
//!
//! The service is a process of its own, this very program called with [`FLAG`], as the relay is one. It
//! takes what a submission takes and answers as much, without a look at either: no guard, no
//! count, no disk.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use comm_proto::wire::client::{SubmitRequest, SubmitResponse};
use comm_proto::wire::object;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// The first word of a call that is to serve; the second is the socket.
pub const FLAG: &str = "--bare";

const SPAN: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);
const PATH: &str = "/bench.Bare/Call";

/// The other process.
pub struct Bare {
    child: Child,
    socket: PathBuf,
}

impl Bare {
    pub fn start(directory: &Path) -> Self {
        let socket = directory.join("bare.sock");
        let mut command = Command::new(std::env::current_exe().unwrap());
        let child = command.arg(FLAG).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        Self { child, socket }
    }

    /// Calls in a second, of which `in_flight` are under way.
    pub async fn calls(&self, in_flight: usize) -> f64 {
        let channel = self.connect().await;
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..in_flight {
            callers.spawn(call(channel.clone(), began));
        }
        let calls: usize = callers.join_all().await.into_iter().sum();
        calls as f64 / began.elapsed().as_secs_f64()
    }

    async fn connect(&self) -> Channel {
        let began = Instant::now();
        loop {
            let socket = self.socket.clone();
            let connector = service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://bare.invalid");
            match endpoint.connect_with_connector(connector).await {
                Ok(channel) => return channel,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn call(channel: Channel, began: Instant) -> usize {
    let envelope =
        object::Envelope { body: Bytes::from_static(&[7; 1_024]), ..object::Envelope::default() };
    let mut grpc = tonic::client::Grpc::new(channel);
    let mut calls = 0;
    while began.elapsed() < SPAN {
        grpc.ready().await.unwrap();
        let request = SubmitRequest { envelope: Some(envelope.clone()) };
        let codec = ProstCodec::<SubmitRequest, SubmitResponse>::default();
        let path = PathAndQuery::from_static(PATH);
        grpc.unary(Request::new(request), path, codec).await.unwrap();
        calls += 1;
    }
    calls
}

/// Serves until it is killed.
pub async fn serve(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let links = UnixListenerStream::new(listener);
    Server::builder().add_service(Answering).serve_with_incoming(links).await.unwrap();
}

#[derive(Clone)]
struct Answering;

struct Answer;

impl NamedService for Answering {
    const NAME: &'static str = "bench.Bare";
}

impl Service<http::Request<Body>> for Answering {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<SubmitResponse, SubmitRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(Answer, request).await)
        })
    }
}

impl UnaryService<SubmitRequest> for Answer {
    type Response = SubmitResponse;
    type Future = Ready<Result<Response<SubmitResponse>, Status>>;

    fn call(&mut self, _request: Request<SubmitRequest>) -> Self::Future {
        let id = Bytes::from_static(&[9; 32]);
        ready(Ok(Response::new(SubmitResponse { id, ..SubmitResponse::default() })))
    }
}
