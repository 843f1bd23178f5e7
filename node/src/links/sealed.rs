//! Bytes that say nothing to whoever lacks the network's key (PROTOCOL §5.2.1): records, each
//! sealed with its own length, over any stream.
//!
//! Entry type is [`Sealed`]. The first record that does not open ends the stream for good, and
//! nothing is written after it. How the two sides come to their keys is [`super::private`]'s;
//! whose links they are, TLS says, which runs inside.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Bytes that a record may hold: one record of TLS, and room.
pub(super) const BODY_MAX: usize = 17 << 10;
/// What sealing adds.
pub(super) const TAG_LEN: usize = 16;
/// A sealed length.
pub(super) const HEAD_LEN: usize = 2 + TAG_LEN;

/// One direction's key, and how often it was used.
pub(super) struct Cipher {
    key: LessSafeKey,
    used: u64,
}

/// A stream of sealed records.
#[derive(Debug)]
pub struct Sealed<S> {
    stream: BufReader<S>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Whether something did not open, or ended before its end.
    is_broken: bool,
}

#[derive(Debug)]
struct Incoming {
    cipher: Cipher,
    part: Part,
    /// What is awaited, or what was opened.
    bytes: Vec<u8>,
    /// How many of them have come, or were taken.
    done: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    Body,
    Opened,
}

/// At most one record.
#[derive(Debug)]
struct Outgoing {
    cipher: Cipher,
    bytes: Vec<u8>,
    sent: usize,
}

impl Cipher {
    /// The key that `secret` and `salt` make for the purpose `label`.
    pub(super) fn new(secret: &[u8], salt: &[u8], label: &'static str) -> Self {
        let secret = Salt::new(HKDF_SHA256, salt).extract(secret);
        let info = [label.as_bytes()];
        let key =
            secret.expand(&info, &CHACHA20_POLY1305).expect("a key is no longer than allowed");
        Self { key: LessSafeKey::new(UnboundKey::from(key)), used: 0 }
    }

    /// Appends the record of `body`, which is no longer than allowed, to `bytes`.
    pub(super) fn seal_record(&mut self, body: &[u8], bytes: &mut Vec<u8>) -> io::Result<()> {
        let length = u16::try_from(body.len()).map_err(io::Error::other)?;
        bytes.reserve(HEAD_LEN + body.len() + TAG_LEN);
        self.seal(&length.to_be_bytes(), bytes)?;
        self.seal(body, bytes)
    }

    /// How long the body is that a record's head announces; 1 to `most` bytes.
    pub(super) fn open_head(&mut self, head: &mut [u8], most: usize) -> io::Result<usize> {
        let length = self.open(head)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length == 0 || length > most { Err(broken()) } else { Ok(length) }
    }

    /// Opens in place.
    pub(super) fn open<'a>(&mut self, sealed: &'a mut [u8]) -> io::Result<&'a mut [u8]> {
        let nonce = self.next_nonce()?;
        self.key.open_in_place(nonce, Aad::empty(), sealed).map_err(|_| broken())
    }

    fn seal(&mut self, plain: &[u8], bytes: &mut Vec<u8>) -> io::Result<()> {
        let nonce = self.next_nonce()?;
        let from = bytes.len();
        bytes.extend_from_slice(plain);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut bytes[from..]);
        bytes.extend_from_slice(tag.map_err(io::Error::other)?.as_ref());
        Ok(())
    }

    /// Counts up; the place of a record in its stream is part of what is authenticated.
    fn next_nonce(&mut self) -> io::Result<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.used.to_be_bytes());
        self.used = self.used.checked_add(1).ok_or_else(broken)?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

/// All that is ever said about a record that is not as it should be.
pub(super) fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came was not sealed with the network's key")
}

impl<S: AsyncRead> Sealed<S> {
    pub(super) fn new(stream: BufReader<S>, sending: Cipher, receiving: Cipher) -> Self {
        let incoming =
            Incoming { cipher: receiving, part: Part::Head, bytes: vec![0; HEAD_LEN], done: 0 };
        let outgoing = Outgoing { cipher: sending, bytes: Vec::new(), sent: 0 };
        Self { stream, incoming, outgoing, is_broken: false }
    }
}

impl Incoming {
    /// Goes on to the next part once this one is whole.
    fn turn(&mut self) -> io::Result<()> {
        self.done = 0;
        match self.part {
            Part::Head => {
                let length = self.cipher.open_head(&mut self.bytes, BODY_MAX)?;
                self.bytes.resize(length + TAG_LEN, 0);
                self.part = Part::Body;
            }
            Part::Body => {
                let length = self.cipher.open(&mut self.bytes)?.len();
                self.bytes.truncate(length);
                self.part = Part::Opened;
            }
            Part::Opened => {
                self.bytes.resize(HEAD_LEN, 0);
                self.part = Part::Head;
            }
        }
        Ok(())
    }

    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = &self.bytes[self.done..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.done += count;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sealed<S> {
    /// Reads until something was opened; false at the end of the stream.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let Incoming { part, bytes, done, .. } = &mut self.incoming;
            if *done == bytes.len() {
                self.incoming.turn()?;
                continue;
            }
            if *part == Part::Opened {
                return Poll::Ready(Ok(true));
            }
            let mut rest = ReadBuf::new(&mut bytes[*done..]);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut rest))?;
            match rest.filled().len() {
                0 if *part == Part::Head && *done == 0 => return Poll::Ready(Ok(false)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                count => *done += count,
            }
        }
    }

    /// Hands on what was sealed.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Outgoing { bytes, sent, .. } = &mut self.outgoing;
        while *sent < bytes.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[*sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *sent += count,
            }
        }
        bytes.clear();
        *sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Sealed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_broken {
            return Poll::Ready(Err(broken()));
        }
        let opened = ready!(self.poll_open(context));
        self.is_broken = opened.is_err();
        if opened? {
            self.incoming.give(buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sealed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_broken {
            return Poll::Ready(Err(broken()));
        }
        ready!(self.poll_send(context))?;
        let body = &bytes[..bytes.len().min(BODY_MAX)];
        if body.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Outgoing { cipher, bytes, .. } = &mut self.outgoing;
        cipher.seal_record(body, bytes)?;
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What finds no room now goes with the next write or flush.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(body.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_broken {
            return Poll::Ready(Err(broken()));
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_broken {
            ready!(self.poll_send(context))?;
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, join, sink};

    use super::super::storm::{INPUTS, RAREST, Storm};
    use super::*;

    fn cipher() -> Cipher {
        Cipher::new(&[1; 32], &[2; 64], "test")
    }

    /// One end of a stream whose records all have the same key, and the bytes of the other end.
    fn end(room: usize) -> (Sealed<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(room);
        (Sealed::new(BufReader::new(near), cipher(), cipher()), far)
    }

    fn record(number: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Cipher { used: number * 2, ..cipher() }.seal_record(body, &mut bytes).unwrap();
        bytes
    }

    /// What is read of `bytes`, up to their end or the first error.
    async fn read(bytes: &[u8]) -> (Vec<u8>, Option<io::ErrorKind>) {
        let (mut near, mut far) = end(1 << 20);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let mut read = Vec::new();
        let error = near.read_to_end(&mut read).await.err().map(|error| error.kind());
        // After an error nothing is said any more.
        assert_eq!(near.write_all(b"x").await.is_err(), error.is_some());
        let _closed = near.shutdown().await;
        let mut said = Vec::new();
        far.read_to_end(&mut said).await.unwrap();
        assert_eq!(said.is_empty(), error.is_some());
        (read, error)
    }

    #[tokio::test]
    async fn bytes_arrive_through_any_fragments() {
        let text: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
        for room in [1, 7, 19, 1 << 10, 1 << 16] {
            let ((mut near, far), text) =
                (end(room), &text[..room.saturating_mul(2_000).min(400_000)]);
            let mut far = Sealed::new(BufReader::new(far), cipher(), cipher());
            let write = async {
                near.write_all(text).await.unwrap();
                near.shutdown().await.unwrap();
            };
            let mut read = Vec::new();
            let (_, all) = tokio::join!(write, far.read_to_end(&mut read));
            all.unwrap();
            assert!(read == text, "room for {room}");
        }
    }

    #[tokio::test]
    async fn what_was_changed_anywhere_does_not_open() {
        let records = [record(0, b"one"), record(1, b"two")].concat();
        for at in 0..records.len() {
            let mut changed = records.clone();
            changed[at] ^= 1;
            let (read, error) = read(&changed).await;
            assert!(error.is_some() && b"one".starts_with(&read), "byte {at}: {read:?}");
        }
    }

    #[tokio::test]
    async fn what_was_cut_off_is_noticed_except_between_records() {
        let records = [record(0, b"one"), record(1, b"two")].concat();
        let first = record(0, b"one").len();
        for length in 1..records.len() {
            let (read, error) = read(&records[..length]).await;
            let expected = (length != first).then_some(io::ErrorKind::UnexpectedEof);
            assert_eq!(error, expected, "{length} bytes");
            assert!(b"one".starts_with(&read));
        }
    }

    #[tokio::test]
    async fn records_count_once_and_in_their_order() {
        let [one, two, three] = [b"one", b"two", b"tri"].map(|body| body.to_vec());
        let (one, two, three) = (record(0, &one), record(1, &two), record(2, &three));
        let whole = read(&[&one[..], &two, &three].concat()).await;
        assert_eq!(whole, (b"onetwotri".to_vec(), None));
        let broken = Some(io::ErrorKind::InvalidData);
        for (order, before) in [
            ([&one[..], &one, &two].concat(), &b"one"[..]),
            ([&two[..], &one, &three].concat(), b""),
            ([&one[..], &three].concat(), b"one"),
        ] {
            assert_eq!(read(&order).await, (before.to_vec(), broken));
        }
    }

    #[tokio::test]
    async fn lengths_out_of_bounds_are_refused_before_room_is_made() {
        for length in [0, BODY_MAX + 1, usize::from(u16::MAX)] {
            let mut bytes = Vec::new();
            cipher().seal(&u16::try_from(length).unwrap().to_be_bytes(), &mut bytes).unwrap();
            assert_eq!(read(&bytes).await, (Vec::new(), Some(io::ErrorKind::InvalidData)));
        }
    }

    /// Records that only somebody with the key can make: with bodies of other lengths than their heads
    /// announce, and of lengths that none may have.
    fn nonsense(storm: &mut Storm) -> Vec<u8> {
        let (mut cipher, mut bytes) = (cipher(), Vec::new());
        for _ in 0..=storm.below(3) {
            let body = storm.noise(300);
            let length = match storm.below(4) {
                0 => storm.below(1 << 16) as u16,
                _ => body.len() as u16,
            };
            cipher.seal(&length.to_be_bytes(), &mut bytes).unwrap();
            cipher.seal(&body, &mut bytes).unwrap();
        }
        bytes
    }

    /// H14: a stream of anything ends, gives no more than it was given and nothing that was changed, and
    /// makes no more room than one record takes.
    #[tokio::test]
    async fn a_million_streams_of_anybody_are_read_as_far_as_they_are_whole() {
        let bodies: [&[u8]; 3] = [b"one", &[7; 100], &[8; 300]];
        let mut maker = cipher();
        let mut good = Vec::new();
        bodies.iter().for_each(|body| maker.seal_record(body, &mut good).unwrap());
        let (said, mut storm) = (bodies.concat(), Storm::new(3));
        let [mut whole, mut broken] = [0_u32; 2];
        for _ in 0..INPUTS {
            let (bytes, is_changed) = match storm.below(8) {
                0 => (storm.noise(600), false),
                1..6 => (storm.changed(&good), true),
                _ => (nonsense(&mut storm), false),
            };
            let stream = BufReader::with_capacity(256, join(&bytes[..], sink()));
            let mut stream = Sealed::new(stream, cipher(), cipher());
            let (mut read, mut buffer, mut most) = (Vec::new(), [0; 512], 0);
            let ended = loop {
                let count = stream.read(&mut buffer).await;
                most = most.max(stream.incoming.bytes.len());
                match count {
                    Ok(0) => break Ok(()),
                    Ok(count) => read.extend_from_slice(&buffer[..count]),
                    Err(error) => break Err(error),
                }
            };
            assert!(read.len() <= bytes.len() && most <= BODY_MAX + TAG_LEN);
            assert!(!is_changed || said.starts_with(&read), "what was changed is read");
            match ended {
                Ok(()) => whole += 1,
                Err(_) => broken += 1,
            }
        }
        assert!(whole.min(broken) > INPUTS / RAREST, "{whole}, {broken}");
    }

    #[tokio::test]
    async fn neither_what_is_said_nor_its_length_shows() {
        let (mut near, mut far) = end(1 << 20);
        near.write_all(&[7; 40_000]).await.unwrap();
        near.shutdown().await.unwrap();
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen.len(), 40_000 + 3 * (HEAD_LEN + TAG_LEN));
        assert!(!seen.windows(8).any(|bytes| bytes == [7; 8]));
        let length = u16::try_from(BODY_MAX).unwrap().to_be_bytes();
        assert_ne!(&seen[..2], &length);
    }

    #[test]
    fn a_count_that_has_run_out_ends_it() {
        let mut cipher = Cipher { used: u64::MAX, ..cipher() };
        assert!(cipher.seal_record(b"x", &mut Vec::new()).is_err());
    }
}
