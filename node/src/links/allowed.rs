//! A link that ends once its other side is blocked.
//!
//! Entry type is [`Allowed`], around a link at either end. Who may open a link was looked at before;
//! this looks again when the list of the blocked has changed, with the next thing that is read or
//! written: a living link has something every few seconds.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use comm_proto::address::Address;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::blocks::Blocks;
use crate::metrics::traffic::Open;

/// A stream to somebody who is not blocked.
#[derive(Debug)]
pub(super) struct Allowed<S> {
    stream: S,
    blocks: Blocks,
    node: Address,
    ip: IpAddr,
    /// The edition of the list that was last looked at.
    edition: u64,
    _open: Open,
}

impl<S> Allowed<S> {
    /// A stream to this node, at this IP address; `open` counts it.
    pub(super) fn new(
        stream: S,
        blocks: Blocks,
        (node, ip): (Address, IpAddr),
        open: Open,
    ) -> Self {
        // None that was ever in force, so that nothing is missed that came during the handshake.
        Self { stream, blocks, node, ip, edition: u64::MAX, _open: open }
    }

    fn look(&mut self) -> io::Result<()> {
        let edition = self.blocks.edition();
        if edition == self.edition {
            return Ok(());
        }
        if self.blocks.block_ip(self.ip) || self.blocks.block_node(&self.node) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.edition = edition;
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Allowed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.look()?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Allowed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.look()?;
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
        self.look()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
