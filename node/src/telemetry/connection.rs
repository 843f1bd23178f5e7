//! The connection to the collector, made when there is something to send and kept while it lives.
//!
//! Entry function is [`channel`]. It has nothing to do with links between nodes: the collector is no node, has
//! no key, and is proved by the authorities that this machine believes, if by anybody.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::CertificateResult;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::NoTraces;
use super::exporter::PATIENCE;
use crate::config::traces::Collector;

/// How often a collector is asked whether it lives, and how long the answer may take. What one that hangs has
/// not taken is let go with its connection.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Batches that wait for the connection; only one is sent at a time, and given up when it takes too long.
const WAITING_MAX: usize = 4;
/// What both sides must speak.
const ALPN: &[u8] = b"h2";

/// A stream to the collector, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How to reach a collector.
#[derive(Clone)]
struct Way {
    collector: Collector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// A way to the collector; nobody is called yet. To be called on a runtime.
pub(super) fn channel(collector: &Collector) -> Result<Channel, NoTraces> {
    let tls = collector.is_proved().then(|| tls(collector)).transpose()?;
    let way = Way { collector: collector.clone(), tls };
    let connect = service_fn(move |_: Uri| {
        let way = way.clone();
        async move { way.open().await.map(TokioIo::new) }
    });
    // What the connection is made of is this file's business: to tonic every one is plain.
    let endpoint = Endpoint::from_static("http://collector.invalid")
        .origin(collector.uri().clone())
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .keep_alive_while_idle(true)
        .buffer_size(WAITING_MAX);
    Ok(endpoint.connect_with_connector_lazy(connect))
}

impl Way {
    async fn open(self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.collector.host(), self.collector.port())).await?;
        stream.set_nodelay(true)?;
        Ok(match self.tls {
            Some((tls, name)) => Box::new(tls.connect(name, stream).await?),
            None => Box::new(stream),
        })
    }
}

fn tls(collector: &Collector) -> Result<(TlsConnector, ServerName<'static>), NoTraces> {
    let library = |error: &dyn std::error::Error| NoTraces::Library(error.to_string());
    let name =
        ServerName::try_from(collector.host().to_owned()).map_err(|error| library(&error))?;
    let CertificateResult { certs, errors, .. } = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certs);
    if roots.is_empty() {
        let reason = errors.first().map_or("none was found".to_owned(), ToString::to_string);
        return Err(NoTraces::NoAuthorities(reason));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| library(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok((TlsConnector::from(Arc::new(config)), name))
}
