//! One accepted link: an encrypted stream that knows whose it is and gives up on the silent.
//!
//! Entry type is [`Link`]. Living peers send something every now and then, if only the answer to a
//! keep-alive ping; a link on which nothing comes for [`IDLE_MAX`] is broken or held for show.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use comm_proto::key::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::gate::{Allowance, Ticket};

/// Silence after which an accepted link is closed; two keep-alive pings and a half.
pub const IDLE_MAX: Duration = Duration::from_secs(50);

/// An accepted link.
#[derive(Debug)]
pub struct Link {
    stream: TlsStream<TcpStream>,
    remote: Remote,
    heard: Instant,
    silence: Pin<Box<Sleep>>,
    _place: Place,
}

/// Who is at the other end; every request that comes over the link carries it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The key that the link has proved.
    pub key: PublicKey,
    /// What its calls are counted against.
    pub allowance: Allowance,
}

/// The place a link takes up among all links and among those of its source.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) ticket: Ticket,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Link {
    pub(super) fn new(stream: TlsStream<TcpStream>, key: PublicKey, place: Place) -> Self {
        let heard = Instant::now();
        let remote = Remote { key, allowance: place.ticket.allowance() };
        let silence = Box::pin(sleep_until(heard + IDLE_MAX));
        Self { stream, remote, heard, silence, _place: place }
    }

    /// Ready with an error once nothing has come for too long.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.silence.as_mut().poll(context).is_ready() {
            let end = self.heard + IDLE_MAX;
            if end <= Instant::now() {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.silence.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl Connected for Link {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.remote.clone()
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.heard = Instant::now();
            return read;
        }
        self.poll_silence(context).map(Err)
    }
}

impl AsyncWrite for Link {
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
