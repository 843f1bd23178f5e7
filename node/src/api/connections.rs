//! Connections of clients: taken one by one, so many and no more.
//!
//! Entry function is [`take`]. While all places are taken, further clients wait in the system's
//! queue; when the system has no more sockets to give, the listener rests and goes on.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::warn;

/// Clients connected to one listener at the same time.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// How long the listener rests when the system has no more sockets to give.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A listener of either kind.
pub(super) trait Listener: Send + Sync + 'static {
    /// What it accepts.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection.
    fn accept_one(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// A client's connection and its place.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    _place: OwnedSemaphorePermit,
}

/// Takes connections until the stream of them is dropped. To be called on a runtime.
pub(super) fn take<L: Listener>(listener: L) -> ReceiverStream<io::Result<Connection<L::Stream>>> {
    let (ready, connections) = mpsc::channel(1);
    tokio::spawn(accept(listener, ready));
    ReceiverStream::new(connections)
}

async fn accept<L: Listener>(listener: L, ready: mpsc::Sender<io::Result<Connection<L::Stream>>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = ready.closed() => return,
            accepted = accept_next(&listener, &places) => accepted,
        };
        match accepted {
            // Nobody to take it: the node is ending.
            Ok(connection) => drop(ready.send(Ok(connection)).await),
            Err(error) => {
                warn!(%error, "no client can be let in");
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn accept_next<L: Listener>(
    listener: &L,
    places: &Arc<Semaphore>,
) -> io::Result<Connection<L::Stream>> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    Ok(Connection { stream: listener.accept_one().await?, _place: place })
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept_one(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept_one(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_client_beyond_the_bound_waits_until_another_has_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let mut connections = take(UnixListener::bind(&path).unwrap());
        let (mut clients, mut served) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS_MAX {
            clients.push(UnixStream::connect(&path).await.unwrap());
            served.push(connections.next().await.unwrap().unwrap());
        }
        clients.push(UnixStream::connect(&path).await.unwrap());
        let waits = tokio::time::timeout(Duration::from_millis(100), connections.next()).await;
        assert!(waits.is_err());
        served.pop();
        assert!(connections.next().await.unwrap().is_ok());
    }
}
