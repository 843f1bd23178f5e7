//! One accepted link: an encrypted stream that knows whose it is and gives up on the silent.
//!
//! Entry type is [`Link`]. It proves nobody's key itself; [`super::accept`] has done so before.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use comm_proto::key::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::Connected;

use super::allowed::Allowed;
use super::encrypted::Encrypted;
use super::gate::{Allowance, Ticket};
use super::standstill::{Patient, Standstill};
use super::wire::Wire;

/// An accepted link.
#[derive(Debug)]
pub struct Link {
    stream: Patient<Allowed<Encrypted<Wire<TcpStream>>>>,
    remote: Remote,
    _place: Place,
}

/// Who is at the other end; every request that comes over the link carries it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// The key that the link has proved.
    pub key: PublicKey,
    /// The other end of the link, as this machine sees it.
    pub source: SocketAddr,
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
    pub(super) fn new(
        stream: Allowed<Encrypted<Wire<TcpStream>>>,
        (key, source): (PublicKey, SocketAddr),
        place: Place,
        standstill: Standstill,
    ) -> Self {
        let remote = Remote { key, source, allowance: place.ticket.allowance() };
        Self { stream: Patient::new(stream, standstill), remote, _place: place }
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
