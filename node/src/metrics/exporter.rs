//! Serves figures and health over HTTP: `/metrics` for Prometheus, `/health` for whoever starts
//! relays and looks after them, and at `/` a page for people.
//!
//! Entry type is [`Exporter`]. It serves from before the store is opened, so that a long start can be
//! watched, and says that the relay is well only while it serves. It only ever shows, to whoever asks:
//! nothing can be changed through it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{interval, sleep, timeout};
use tracing::{debug, warn};

use crate::config::OperatorConfig;
use crate::figures::Figures;

use super::{page, process};

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
const HTML: &str = "text/html; charset=utf-8";
/// What the page is sent with, beside its kind.
const FENCES: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, page::POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// An exporter that runs until it is dropped.
#[derive(Debug)]
pub struct Exporter {
    _tasks: JoinSet<()>,
    serving: Serving,
}

/// The figures of the node that serves, as long as one does.
#[derive(Clone, Debug, Default)]
struct Serving(Arc<Mutex<Option<Figures>>>);

/// What answers.
#[derive(Clone)]
struct Pages {
    figures: PrometheusHandle,
    operator: Arc<OperatorConfig>,
    serving: Serving,
}

impl Exporter {
    /// Serves on `listener`, for a relay that `operator` runs. To be called on a runtime.
    pub(super) fn start(
        listener: TcpListener,
        operator: OperatorConfig,
        figures: PrometheusHandle,
    ) -> Self {
        let serving = Serving::default();
        let operator = Arc::new(operator);
        let pages = Pages { figures: figures.clone(), operator, serving: serving.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, pages));
        tasks.spawn(add_up(figures));
        Self { _tasks: tasks, serving }
    }

    /// Says that a node serves, which has these figures. Before that, none does.
    pub fn say_serving(&self, figures: &Figures) {
        *self.serving.lock() = Some(figures.clone());
    }

    /// Says that it serves no more.
    pub fn say_ended(&self) {
        *self.serving.lock() = None;
    }
}

impl Serving {
    fn lock(&self) -> MutexGuard<'_, Option<Figures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes `place`; nobody is answered there yet. To be called on a runtime.
pub(super) fn bind(place: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(place)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
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
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Ok(only_shown());
        }
        Ok(match request.uri().path() {
            "/" => self.status(),
            "/metrics" => self.figures().await,
            "/health" => self.health(),
            _ => answer(StatusCode::NOT_FOUND, TEXT, "there are /, /metrics and /health\n"),
        })
    }

    fn status(&self) -> Response<Full<Bytes>> {
        let work = self.serving.lock().as_ref().map(Figures::work);
        let text = page::html(&self.operator, work.as_ref());
        let mut response = answer(StatusCode::OK, HTML, text);
        for (name, value) in FENCES {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    fn health(&self) -> Response<Full<Bytes>> {
        match *self.serving.lock() {
            Some(_) => answer(StatusCode::OK, TEXT, "OK\n"),
            None => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the relay does not serve\n"),
        }
    }

    /// Thousands of lines are put together where nobody has to wait for it.
    async fn figures(self) -> Response<Full<Bytes>> {
        let text = spawn_blocking(move || self.figures.render() + &process::figures()).await;
        match text {
            Ok(text) => answer(StatusCode::OK, FIGURES, text),
            Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the figures are lost\n"),
        }
    }
}

/// To whoever wants something else than to look.
fn only_shown() -> Response<Full<Bytes>> {
    let mut response =
        answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are answered\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn answer(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
