//! A connection whose bytes are counted, and which goes no faster and no longer than the node may.
//!
//! Entry type is [`Metered`], around the connection itself, so that all that a link says counts: its
//! handshake, its encryption, and what hides it. What TCP and IP add does not. Reading pauses as writing
//! does; the other side then finds that its writes take longer.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::time::{Sleep, sleep_until};

use crate::metrics::traffic as metrics;
use crate::traffic::{Direction, OpenLink, Opener, Traffic};

/// A connection at either end.
#[derive(Debug)]
pub struct Metered<S> {
    /// Never at its end: each read sets how much it may take.
    stream: Take<S>,
    opener: Opener,
    open: OpenLink,
    reading: Pause,
    writing: Pause,
}

/// Until when a direction waits.
#[derive(Debug, Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn begin(&mut self, until: Option<Instant>) {
        if let Some(until) = until {
            self.0 = Some(Box::pin(sleep_until(until.into())));
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(context));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead> Metered<S> {
    pub(super) fn new(stream: S, traffic: &Traffic, opener: Opener) -> Self {
        Self {
            stream: stream.take(u64::MAX),
            opener,
            open: traffic.open_link(),
            reading: Pause::default(),
            writing: Pause::default(),
        }
    }
}

impl<S> Metered<S> {
    fn look(&self) -> io::Result<()> {
        let may_go_on = self.open.may_go_on(self.opener);
        if may_go_on { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }

    /// How many bytes of `wanted` may be written at once.
    fn piece(&self, wanted: usize) -> usize {
        let most = self.open.piece(Direction::Sent).unwrap_or(u64::MAX);
        usize::try_from(most).map_or(wanted, |most| wanted.min(most))
    }

    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            metrics::sent(bytes);
            let until = self.open.moved(Direction::Sent, bytes);
            self.writing.begin(until);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.look()?;
        ready!(self.reading.poll_end(context));
        let piece = self.open.piece(Direction::Received);
        self.stream.set_limit(piece.unwrap_or(u64::MAX));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let bytes = buffer.filled().len() - before;
        metrics::received(bytes);
        let until = self.open.moved(Direction::Received, bytes);
        self.reading.begin(until);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.look()?;
        ready!(self.writing.poll_end(context));
        let piece = &bytes[..self.piece(bytes.len())];
        let written = Pin::new(self.stream.get_mut()).poll_write(context, piece);
        self.written(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = slices.iter().map(|slice| slice.len()).sum();
        if self.piece(all) < all {
            // One piece of the first that has any: the rest comes with the next write.
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| &**slice));
        }
        self.look()?;
        ready!(self.writing.poll_end(context));
        let written = Pin::new(self.stream.get_mut()).poll_write_vectored(context, slices);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::traffic::Rate;
    use crate::traffic::account::Service;

    const RATE: Rate = Rate { per_second: 1 << 20, burst: 256 << 10 };

    /// A link of this traffic, and its other end, which is not limited.
    fn link(traffic: &Traffic, opener: Opener) -> (Metered<DuplexStream>, DuplexStream) {
        let (one, other) = duplex(8 << 20);
        (Metered::new(one, traffic, opener), other)
    }

    fn limited() -> Traffic {
        let traffic = Traffic::default();
        traffic.set_rate(Some(RATE));
        traffic
    }

    #[tokio::test]
    async fn what_is_written_goes_at_the_rate_and_a_silent_link_says_something_at_once() {
        let traffic = limited();
        let (mut busy, mut taken) = link(&traffic, Opener::Us);
        let (mut silent, mut heard) = link(&traffic, Opener::Other);
        let started = Instant::now();
        let writing = tokio::spawn(async move {
            busy.write_all(&vec![7; 1 << 20]).await.unwrap();
            busy.flush().await.unwrap();
            busy
        });
        // The burst is gone, and much is to be paid.
        taken.read_exact(&mut vec![0; 512 << 10]).await.unwrap();
        let mut ping = [0; 17];
        let said = async {
            silent.write_all(&[1; 17]).await.unwrap();
            heard.read_exact(&mut ping).await.unwrap();
        };
        timeout(Duration::from_millis(200), said).await.expect("a ping waits for nobody");
        taken.read_exact(&mut vec![0; 512 << 10]).await.unwrap();
        drop(writing.await.unwrap());
        let took = started.elapsed();
        // Three quarters of a mebibyte are beyond the burst; the last piece is paid for afterwards.
        assert!(took >= Duration::from_millis(720), "{took:?}");
    }

    #[tokio::test]
    async fn what_is_read_comes_at_the_rate_in_whatever_order_it_is_written() {
        let traffic = limited();
        let (mut reader, mut writer) = link(&traffic, Opener::Other);
        let sent: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
        writer.write_all(&sent).await.unwrap();
        let (started, mut came) = (Instant::now(), vec![0; sent.len()]);
        reader.read_exact(&mut came).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(720), "{:?}", started.elapsed());
        assert!(came == sent);
        drop(writer);
        assert_eq!(reader.read(&mut came).await.unwrap(), 0, "the end is the end");
        assert_eq!(traffic.moved(), 1 << 20);
    }

    #[tokio::test]
    async fn slices_that_are_longer_than_a_piece_come_whole_and_in_order() {
        let traffic = limited();
        let (mut writer, mut reader) = link(&traffic, Opener::Us);
        let parts = [vec![], vec![1; 20_000], vec![2; 3], vec![3; 40_000]];
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let written = writer.write_vectored(left).await.unwrap();
            IoSlice::advance_slices(&mut left, written);
        }
        let mut came = vec![0; 60_003];
        reader.read_exact(&mut came).await.unwrap();
        assert!(came == parts.concat());
    }

    #[tokio::test]
    async fn links_end_when_the_node_rests_and_its_own_last_for_its_clients() {
        let traffic = Traffic::default();
        let [theirs, ours] = [Opener::Other, Opener::Us].map(|opener| link(&traffic, opener));
        let says = async |link: &mut Metered<DuplexStream>| link.write_all(&[1]).await.is_ok();
        let ((mut theirs, _one), (mut ours, _other)) = (theirs, ours);
        traffic.serve(Service::Own, u64::MAX);
        assert!(!traffic.serves_others() && !traffic.may_call());
        assert!(says(&mut theirs).await && says(&mut ours).await, "calls under way go on");
        traffic.set_has_clients(true);
        traffic.end_links(true);
        assert!(!says(&mut theirs).await && says(&mut ours).await);
        // Whatever was said before: what is used up is used up.
        traffic.serve(Service::Own, traffic.moved() + 1);
        assert!(says(&mut ours).await && !says(&mut ours).await);
        assert!(!traffic.may_call());
    }
}
