//! Where the client API of a node is.
//!
//! Entry type is [`Endpoint`] (PROTOCOL §8): a unix socket, or a TCP port on loopback with a token.
//! Nothing is encrypted on the way, so other hosts are refused.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use comm_proto::wire::FRAME_BYTES_MAX;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Uri};
use tonic::{Request, Status};
use tower::service_fn;
use zeroize::Zeroizing;

use super::cork::Corked;
use crate::rpc::client_client::ClientClient;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle connection is tried.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The stub of the client API over whatever carries it, for programs that bring no agent.
pub type Rpc = ClientClient<InterceptedService<Channel, Bearer>>;

/// Where the client API of a node is, and what opens it.
#[derive(Clone)]
pub enum Endpoint {
    /// A unix socket; its permissions decide who may ask.
    Socket(PathBuf),
    /// A TCP port of this machine.
    Tcp {
        /// Host and port.
        authority: String,
        /// What the node's file `api.token` says.
        token: Option<Zeroizing<String>>,
    },
}

/// Why a text names no client API.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseEndpointError {
    /// It is empty.
    #[error("the node is given by its socket's path or as http://HOST:PORT")]
    Empty,
    /// Behind `http://` is no host with a port.
    #[error("\"{0}\" is not of the form http://HOST:PORT")]
    Place(String),
    /// The host is another machine.
    #[error("{0} is another machine, to which the token would travel in clear; use a tunnel")]
    NotLoopback(String),
    /// The scheme is not known.
    #[error("\"{0}\": a node's client API is reached by a socket's path or http://HOST:PORT")]
    Scheme(String),
}

/// Adds the token to every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Endpoint {
    /// This endpoint with the token that opens it; a socket needs none.
    #[must_use]
    pub fn with_token(self, token: Zeroizing<String>) -> Self {
        match self {
            Self::Tcp { authority, .. } => Self::Tcp { authority, token: Some(token) },
            socket @ Self::Socket(_) => socket,
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or not within five seconds. A wrong token shows at the first call.
    pub async fn connect(&self) -> io::Result<Rpc> {
        let connected = match self {
            Self::Socket(path) => {
                let path = path.clone();
                over(move || tokio::net::UnixStream::connect(path.clone()), None).await
            }
            Self::Tcp { authority, token } => {
                let authority = authority.clone();
                let token = token.as_deref().map(String::as_str);
                over(move || tcp(authority.clone()), token).await
            }
        };
        let named = |error: io::Error| format!("no node at {self}: {error}");
        connected.map_err(|error| io::Error::new(error.kind(), named(error)))
    }
}

async fn tcp(authority: String) -> io::Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The stub over streams that `open` makes.
async fn over<S, F>(
    open: impl Fn() -> F + Clone + Send + 'static,
    token: Option<&str>,
) -> io::Result<Rpc>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let bearer = token.map(|token| format!("Bearer {}", token.trim()).parse()).transpose();
    let mut bearer: Option<MetadataValue<Ascii>> =
        bearer.map_err(|_| io::Error::other("the token has characters that no token has"))?;
    bearer.iter_mut().for_each(|bearer| bearer.set_sensitive(true));
    // The name is not looked up: `open` knows where to go.
    let endpoint = tonic::transport::Endpoint::from_static("http://comm.invalid")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let connector = service_fn(move |_: Uri| {
        let stream = open();
        async move { stream.await.map(Corked::new).map(TokioIo::new) }
    });
    let channel = endpoint.connect_with_connector(connector).await.map_err(innermost)?;
    Ok(stub(channel, bearer))
}

/// The stub over a channel that there is.
pub(super) fn stub(channel: Channel, bearer: Option<MetadataValue<Ascii>>) -> Rpc {
    ClientClient::with_interceptor(channel, Bearer(bearer))
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX)
}

/// The reason below "transport error", which tells a person nothing.
fn innermost(error: tonic::transport::Error) -> io::Error {
    let mut reason: &dyn std::error::Error = &error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    io::Error::other(reason.to_string())
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseEndpointError::Empty);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Socket(Path::new(path.strip_prefix("//").unwrap_or(path)).into()));
        }
        match text.split_once("://") {
            None => Ok(Self::Socket(text.into())),
            Some(("http", place)) => parse_place(text, place),
            Some(_) => Err(ParseEndpointError::Scheme(text.to_owned())),
        }
    }
}

fn parse_place(text: &str, place: &str) -> Result<Endpoint, ParseEndpointError> {
    let place = place.strip_suffix('/').unwrap_or(place);
    let wrong = || ParseEndpointError::Place(text.to_owned());
    let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match ip.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_loopback() => {}
        Ok(_) => return Err(ParseEndpointError::NotLoopback(host.to_owned())),
        Err(_) if host == "localhost" => {}
        Err(_) if host.is_empty() || host.contains(['/', ':', '@', ' ']) => return Err(wrong()),
        Err(_) => return Err(ParseEndpointError::NotLoopback(host.to_owned())),
    }
    Ok(Endpoint::Tcp { authority: place.to_owned(), token: None })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tcp { authority, .. } => write!(f, "http://{authority}"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_given_by_its_path_and_a_port_by_its_address() {
        for (text, shown) in [
            ("/run/comm/api.sock", "/run/comm/api.sock"),
            ("unix:///run/comm/api.sock", "/run/comm/api.sock"),
            ("unix:api.sock", "api.sock"),
            ("http://127.0.0.1:7668", "http://127.0.0.1:7668"),
            ("http://[::1]:7668/", "http://[::1]:7668"),
            ("http://localhost:1", "http://localhost:1"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_machines_and_other_schemes_are_refused() {
        type E = ParseEndpointError;
        let refused = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert_eq!(refused(""), E::Empty);
        assert_eq!(refused("http://192.0.2.1:1"), E::NotLoopback("192.0.2.1".into()));
        assert_eq!(refused("http://node.example:1"), E::NotLoopback("node.example".into()));
        for text in ["http://127.0.0.1", "http://127.0.0.1:0", "http://:1", "http://u@h:1"] {
            assert_eq!(refused(text), E::Place(text.into()));
        }
        assert_eq!(refused("https://127.0.0.1:1"), E::Scheme("https://127.0.0.1:1".into()));
    }

    #[test]
    fn a_token_is_never_shown() {
        let endpoint: Endpoint = "http://127.0.0.1:7668".parse().unwrap();
        let endpoint = endpoint.with_token("hush".to_owned().into());
        assert!(!format!("{endpoint:?} {endpoint}").contains("hush"));
    }
}
