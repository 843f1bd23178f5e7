//! One accepted link: an encrypted stream that knows whose it is and gives up on the silent.
//!
//! Entry type is [`Link`]. Living peers send something every now and then, if only the answer to a
//! keep-alive ping, and take what they are sent; a link that does neither for long is broken or
//! held for show, and ends with an error.

use std::future::Future;
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

/// How long a link may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// Without anything coming in. More than the time between two keep-alive pings, 20 seconds.
    pub read: Duration,
    /// With something to send that the other side does not take.
    pub write: Duration,
}

impl Default for Standstill {
    fn default() -> Self {
        Self { read: Duration::from_secs(50), write: Duration::from_secs(30) }
    }
}

/// An accepted link.
#[derive(Debug)]
pub struct Link {
    stream: TlsStream<TcpStream>,
    remote: Remote,
    reading: Patience,
    writing: Patience,
    /// Whether the last write found no room.
    is_stuck: bool,
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

/// Runs out when it is not renewed. Renewing is cheap: the timer is moved only when it fires.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Link {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        key: PublicKey,
        place: Place,
        standstill: Standstill,
    ) -> Self {
        let remote = Remote { key, allowance: place.ticket.allowance() };
        Self {
            stream,
            remote,
            reading: Patience::new(standstill.read),
            writing: Patience::new(standstill.write),
            is_stuck: false,
            _place: place,
        }
    }

    /// Passes on what a write came to, or ends it when the other side takes nothing.
    fn watch_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_stuck = false;
            return written;
        }
        if !self.is_stuck {
            self.is_stuck = true;
            self.writing.renew();
        }
        self.writing.poll_end(context).map(Err)
    }
}

impl Patience {
    fn new(limit: Duration) -> Self {
        let since = Instant::now();
        Self { limit, since, timer: Box::pin(sleep_until(since + limit)) }
    }

    fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// Ready with an error at the end.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.timer.as_mut().poll(context).is_ready() {
            let end = self.since + self.limit;
            if end <= Instant::now() {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.timer.as_mut().reset(end);
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
            self.reading.renew();
            return read;
        }
        self.reading.poll_end(context).map(Err)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch_write(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch_write(shut, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
