//! How long a link may stand still, whoever opened it (PROTOCOL §5.2).
//!
//! Entry type is `Patient`, a stream that gives up on the other side. Living nodes send something
//! every now and then, if only the answer to a keep-alive ping, and take what they are sent; one
//! that does neither for long is broken or held for show. It sends no pings itself.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a link may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// Without anything coming in. More than a keep-alive ping and its answer may take.
    pub read: Duration,
    /// With something to send that the other side does not take.
    pub write: Duration,
}

impl Default for Standstill {
    fn default() -> Self {
        Self { read: Duration::from_secs(120), write: Duration::from_secs(30) }
    }
}

/// A stream that ends with an error once the other side has stood still for too long.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    reading: Patience,
    writing: Patience,
    /// Whether the last write found no room.
    is_stuck: bool,
}

/// Runs out when it is not renewed. Renewing is cheap: the timer is moved only when it fires.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    /// Patience with `stream` begins now. To be called on a runtime.
    pub(super) fn new(stream: S, standstill: Standstill) -> Self {
        Self {
            stream,
            reading: Patience::new(standstill.read),
            writing: Patience::new(standstill.write),
            is_stuck: false,
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

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
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
