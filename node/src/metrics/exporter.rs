//! Serves figures and health over HTTP: `/metrics` for Prometheus, `/health` for whoever starts
//! relays and looks after them.
//!
//! Entry type is [`Exporter`]. It serves from before the store is opened, so that a long start can be
//! watched, and says that the relay is well only while it serves. It knows neither names nor figures.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{interval, sleep, timeout};
use tracing::{debug, warn};

use super::process;

/// Connections at the same time; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be without a question, and how long it may last.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const LIFE_MAX: Duration = Duration::from_secs(3_600);
/// How long the listener rests when the system has no more sockets to give.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How often what histograms have gathered is added up, so that it takes no more memory if nobody
/// asks.
const ADD_UP_EVERY: Duration = Duration::from_secs(5);

/// The form of the text that Prometheus reads.
const FIGURES: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// An exporter that runs until it is dropped.
#[derive(Debug)]
pub struct Exporter {
    _tasks: JoinSet<()>,
    serving: Arc<AtomicBool>,
}

/// What answers.
#[derive(Clone)]
struct Pages {
    figures: PrometheusHandle,
    serving: Arc<AtomicBool>,
}

impl Exporter {
    /// Serves on `place`. To be called on a runtime.
    pub(super) fn start(place: SocketAddr, figures: PrometheusHandle) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(place)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let serving = Arc::<AtomicBool>::default();
        let pages = Pages { figures: figures.clone(), serving: Arc::clone(&serving) };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, pages));
        tasks.spawn(add_up(figures));
        Ok(Self { _tasks: tasks, serving })
    }

    /// Says whether the relay serves; before it is asked for the first time, it does not.
    pub fn say_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }
}

async fn add_up(figures: PrometheusHandle) {
    let mut ticks = interval(ADD_UP_EVERY);
    loop {
        ticks.tick().await;
        figures.run_upkeep();
    }
}

async fn accept(listener: TcpListener, pages: Pages) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.clone();
                connections.spawn(async move {
                    pages.serve(stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "no connection to the exporter of metrics can be accepted");
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

impl Pages {
    async fn serve(self, stream: TcpStream) {
        let answer = service_fn(move |request| self.clone().answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SILENCE_MAX)
            .serve_connection(TokioIo::new(stream), answer);
        if let Ok(Err(error)) = timeout(LIFE_MAX, connection).await {
            debug!(%error, "a connection to the exporter of metrics failed");
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(match request.uri().path() {
            "/metrics" => self.figures().await,
            "/health" if self.serving.load(Ordering::Relaxed) => page(StatusCode::OK, TEXT, "OK\n"),
            "/health" => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the relay does not serve\n"),
            _ => page(StatusCode::NOT_FOUND, TEXT, "there are /metrics and /health\n"),
        })
    }

    /// Thousands of lines are put together where nobody has to wait for it.
    async fn figures(self) -> Response<Full<Bytes>> {
        let text = spawn_blocking(move || self.figures.render() + &process::figures()).await;
        match text {
            Ok(text) => page(StatusCode::OK, FIGURES, text),
            Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the figures are lost\n"),
        }
    }
}

fn page(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
