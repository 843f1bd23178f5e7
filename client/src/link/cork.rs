//! Writes of a connection to a node, which leave together.
//!
//! Entry type is [`Corked`]. HTTP/2 flushes after every frame that is not small, an envelope for one,
//! and its task comes up between two calls that are ready at the same moment: two calls to the system
//! for each submission, each of which wakes the node. What is written and flushed waits here until the
//! task comes up again, behind those that are ready now. It waits for no time to pass.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much may wait; whoever writes more waits for the other end to read.
const WAITING_BYTES_MAX: usize = 64 << 10;

/// A stream whose writes wait for its task's next turn. The task must read in every turn, as that of
/// an HTTP/2 connection does.
#[derive(Debug)]
pub(super) struct Corked<S> {
    stream: S,
    waiting: BytesMut,
    /// What waits has been flushed, and its task woken.
    flushed: bool,
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, waiting: BytesMut::new(), flushed: false }
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.waiting.advance(written),
            }
        }
        self.flushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.len() < WAITING_BYTES_MAX {
            return Poll::Ready(Ok(()));
        }
        self.poll_write_out(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flushed
            && let Poll::Ready(Err(error)) = self.poll_write_out(context)
        {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(context))?;
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Says at once that it is done; the task that is woken here does it.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.flushed && !self.waiting.is_empty() {
            self.flushed = true;
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(context))?;
        slices.iter().for_each(|slice| self.waiting.extend_from_slice(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes `room` bytes; keeps each write by itself.
    #[derive(Default)]
    struct Calls {
        room: usize,
        written: Vec<Vec<u8>>,
    }

    impl AsyncRead for Calls {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Calls {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.written.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn corked(room: usize) -> Corked<Calls> {
        Corked::new(Calls { room, ..Calls::default() })
    }

    fn write(stream: &mut Corked<Calls>, bytes: &[u8], context: &mut Context<'_>) -> bool {
        let written = Pin::new(&mut *stream).poll_write(context, bytes).is_ready();
        written && Pin::new(stream).poll_flush(context).is_ready()
    }

    fn read(stream: &mut Corked<Calls>, context: &mut Context<'_>) {
        let mut buffer = [0; 8];
        let read = Pin::new(stream).poll_read(context, &mut ReadBuf::new(&mut buffer));
        assert!(read.is_pending());
    }

    #[test]
    fn what_is_flushed_in_one_turn_leaves_in_one_call_in_the_next() {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let context = &mut Context::from_waker(&waker);
        let mut stream = corked(100);
        assert!(write(&mut stream, b"one", context) && write(&mut stream, b", two", context));
        assert_eq!((stream.stream.written.len(), woken.0.load(Ordering::Relaxed)), (0, 1));
        read(&mut stream, context);
        assert_eq!(stream.stream.written, [b"one, two"]);
        assert!(write(&mut stream, b"three", context));
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        read(&mut stream, context);
        assert_eq!(stream.stream.written[1..], [b"three"]);
    }

    #[test]
    fn a_reader_who_is_slow_holds_the_writer_up() {
        let context = &mut Context::from_waker(Waker::noop());
        let mut stream = corked(0);
        let mut written = 0;
        while write(&mut stream, &[7; 1_000], context) {
            written += 1_000;
            assert!(written < WAITING_BYTES_MAX + 1_000);
        }
        stream.stream.room = written;
        read(&mut stream, context);
        assert_eq!(stream.stream.written.concat(), vec![7; written]);
        assert!(write(&mut stream, &[8], context));
    }

    #[tokio::test]
    async fn what_waits_leaves_before_the_end() {
        let (near, mut far) = duplex(4);
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            far.read_to_end(&mut bytes).await.map(|_| bytes)
        });
        let mut stream = Corked::new(near);
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"the last words").await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        drop(stream);
        assert_eq!(reader.await.unwrap().unwrap(), b"the last words");
    }
}
