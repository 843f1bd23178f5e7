//! The client API without a socket, for a program with a node inside.
//!
//! Entry type is [`Embedded`]. What is served is what the sockets serve; only the way is shorter.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Bytes that each direction of a connection holds.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that wait to be served.
const WAITING_MAX: usize = 16;

/// Connects to a node in the same process. Cloning it costs nothing.
#[derive(Clone, Debug)]
pub struct Embedded(mpsc::Sender<io::Result<DuplexStream>>);

/// The node's end.
pub(super) type Connections = ReceiverStream<io::Result<DuplexStream>>;

impl Embedded {
    pub(super) fn new() -> (Self, Connections) {
        let (connect, connections) = mpsc::channel(WAITING_MAX);
        (Self(connect), ReceiverStream::new(connections))
    }

    /// A channel to the node's client API. It connects at the first call, and again if need be. To
    /// be called on a runtime.
    pub fn channel(&self) -> Channel {
        let connect = self.0.clone();
        let connector = service_fn(move |_: Uri| {
            let connect = connect.clone();
            async move {
                let (ours, theirs) = duplex(PIPE_BYTES);
                let ended = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
                connect.send(Ok(theirs)).await.map_err(ended)?;
                Ok::<_, io::Error>(TokioIo::new(ours))
            }
        });
        Endpoint::from_static("http://node.invalid").connect_with_connector_lazy(connector)
    }
}
