//! TLS that changes its keys in time (PROTOCOL §5.2).
//!
//! Entry type is [`Encrypted`]. Whoever writes much, or for long, goes on with new keys and asks the
//! other side to do the same; whoever learns the keys of a moment then reads what was said since the
//! last change and before the next, not all of a link that lives for weeks. It waits for no answer,
//! and proves nobody's key: that is [`super::tls`]'s.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

/// For how long keys are written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLife {
    /// Bytes written with them.
    pub bytes: u64,
    /// Time since they were made.
    pub time: Duration,
}

impl Default for KeyLife {
    fn default() -> Self {
        Self { bytes: 100 << 20, time: Duration::from_secs(3_600) }
    }
}

/// An encrypted stream, at either end.
#[derive(Debug)]
pub struct Encrypted<S> {
    stream: TlsStream<S>,
    life: KeyLife,
    /// Bytes written with the present keys.
    written: u64,
    since: Instant,
}

impl<S> Encrypted<S> {
    /// Begins with the keys of the handshake.
    pub(super) fn new(stream: impl Into<TlsStream<S>>, life: KeyLife) -> Self {
        Self { stream: stream.into(), life, written: 0, since: Instant::now() }
    }

    /// To be called before each write. What was accepted and is not sent yet keeps its keys; the
    /// other side learns of the change between the two.
    fn change_old_keys(&mut self) -> io::Result<()> {
        let is_old = self.written >= self.life.bytes || self.since.elapsed() >= self.life.time;
        // A write that is tried again must not ask again.
        if !is_old || self.written == 0 {
            return Ok(());
        }
        (self.written, self.since) = (0, Instant::now());
        match &mut self.stream {
            TlsStream::Client(stream) => stream.get_mut().1.refresh_traffic_keys(),
            TlsStream::Server(stream) => stream.get_mut().1.refresh_traffic_keys(),
        }
        .map_err(io::Error::other)
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.written += bytes as u64;
        }
        written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.change_old_keys()?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written)
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
        self.change_old_keys()?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
