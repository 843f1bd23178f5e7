//! Networks with a key, in which outsiders learn nothing by listening, dialling, answering or
//! standing in between (PROTOCOL §5.2.1).
//!
//! Entry types are [`NetworkKey`] and [`PrivateNetwork`]. Before TLS says its first byte, each side
//! has shown that it knows the key; the answerer is silent until the caller has, and stays so to
//! whoever has not. It proves nobody's own key: everybody with the network's key is equal here.

mod heard;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use comm_proto::envelope::CLOCK_TOLERANCE;
use comm_proto::key::PublicKey;
use comm_proto::time::Time;
use rand_core::{OsRng, RngCore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use zeroize::Zeroizing;

use super::sealed::{Cipher, HEAD_LEN, Sealed, TAG_LEN, broken};
use crate::clock::Clock;
use heard::Heard;

/// Random bytes with which either side begins.
const NONCE_LEN: usize = 32;
/// When it was made, and the key of the node that is called.
const OPENING_LEN: usize = 8 + PublicKey::LEN;
/// Bytes that say nothing, so that the first records have no length of their own.
const PADDING_MAX: u8 = 255;
/// Openings remembered, so that none is answered twice.
const HEARD_MAX: usize = 65_536;
/// Bytes read ahead.
const READ_AHEAD: usize = 32 << 10;

const OPENING: &str = "comm/network-key/v1 opening";
const CALLER: &str = "comm/network-key/v1 caller";
const ANSWERER: &str = "comm/network-key/v1 answerer";

type Nonce = [u8; NONCE_LEN];

/// What all nodes of a private network know, and nobody else.
#[derive(Clone)]
pub struct NetworkKey(Zeroizing<[u8; Self::LEN]>);

/// One node's part in a private network.
#[derive(Debug)]
pub struct PrivateNetwork {
    key: NetworkKey,
    node: PublicKey,
    clock: Arc<Clock>,
    heard: Mutex<Heard>,
}

impl NetworkKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;

    /// The key of these bytes, which should be random.
    pub const fn new(bytes: Zeroizing<[u8; Self::LEN]>) -> Self {
        Self(bytes)
    }

    fn cipher(&self, salt: &[u8], label: &'static str) -> Cipher {
        Cipher::new(&*self.0, salt, label)
    }

    /// What the caller and what the answerer seals with.
    fn session(&self, caller: &Nonce, answerer: &Nonce) -> (Cipher, Cipher) {
        let salt = [&caller[..], answerer].concat();
        (self.cipher(&salt, CALLER), self.cipher(&salt, ANSWERER))
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkKey")
    }
}

impl PrivateNetwork {
    /// The part of the node with the key `node`, which tells the time by `clock`.
    pub fn new(key: NetworkKey, node: PublicKey, clock: Arc<Clock>) -> Self {
        Self { key, node, clock, heard: Mutex::new(Heard::new(CLOCK_TOLERANCE, HEARD_MAX)) }
    }

    /// Calls whoever is at the other end; with `expected`, the node of that key and no other.
    ///
    /// # Errors
    /// When the other side does not know the network's key, or is silent.
    pub(super) async fn call<S>(
        &self,
        stream: S,
        expected: Option<PublicKey>,
    ) -> io::Result<Sealed<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = BufReader::with_capacity(READ_AHEAD, stream);
        let ours = nonce();
        let opening = self.opening(&ours, expected, self.clock.machine(), &padding())?;
        stream.write_all(&opening).await?;
        stream.flush().await?;
        let (sending, receiving) = self.read_answer(&mut stream, &ours).await?;
        Ok(Sealed::new(stream, sending, receiving))
    }

    /// What to seal and to open with, once the answerer has shown that it knows the key.
    async fn read_answer<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        ours: &Nonce,
    ) -> io::Result<(Cipher, Cipher)> {
        let mut theirs = [0; NONCE_LEN];
        stream.read_exact(&mut theirs).await?;
        let (sending, mut receiving) = self.key.session(ours, &theirs);
        read_record(stream, &mut receiving, usize::from(PADDING_MAX) + 1).await?;
        Ok((sending, receiving))
    }

    /// Answers a caller that knows the network's key. With another one it does not come back: it
    /// reads on without a word until that one goes, or the caller of this function has waited long
    /// enough, so that all that is not understood is treated alike.
    ///
    /// # Errors
    /// When the other side does not know the network's key, calls another node, repeats what was
    /// said before, or has a clock that is too wrong to tell.
    pub(super) async fn answer<S>(&self, stream: S) -> io::Result<Sealed<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = BufReader::with_capacity(READ_AHEAD, stream);
        let theirs = match self.hear(&mut stream).await {
            Ok(theirs) => theirs,
            Err(reason) => {
                discard(&mut stream).await;
                return Err(reason);
            }
        };
        let ours = nonce();
        let (receiving, mut sending) = self.key.session(&theirs, &ours);
        let mut answer = ours.to_vec();
        let padding = padding();
        sending.seal_record(&[&[0], &padding[..]].concat(), &mut answer)?;
        stream.write_all(&answer).await?;
        stream.flush().await?;
        Ok(Sealed::new(stream, sending, receiving))
    }

    /// What a caller says first.
    fn opening(
        &self,
        nonce: &Nonce,
        expected: Option<PublicKey>,
        now: Time,
        padding: &[u8],
    ) -> io::Result<Vec<u8>> {
        let node = expected.map_or([0; PublicKey::LEN], |key| *key.as_bytes());
        let body = [&now.as_millis().to_be_bytes()[..], &node, padding].concat();
        let mut opening = nonce.to_vec();
        self.key.cipher(nonce, OPENING).seal_record(&body, &mut opening)?;
        Ok(opening)
    }

    /// The nonce of a caller that knows the key and calls this node now.
    async fn hear<S: AsyncRead + Unpin>(&self, stream: &mut S) -> io::Result<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        stream.read_exact(&mut nonce).await?;
        let mut cipher = self.key.cipher(&nonce, OPENING);
        let most = OPENING_LEN + usize::from(PADDING_MAX);
        let body = read_record(stream, &mut cipher, most).await?;
        let (at, rest) = body.split_first_chunk().ok_or_else(broken)?;
        let called = rest.first_chunk::<{ PublicKey::LEN }>().ok_or_else(broken)?;
        let is_for_us = called == self.node.as_bytes() || called == &[0; PublicKey::LEN];
        let at = Time::from_millis(u64::from_be_bytes(*at));
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if is_for_us && heard.is_new(nonce, at, self.clock.machine()) {
            Ok(nonce)
        } else {
            Err(broken())
        }
    }
}

async fn read_record<S: AsyncRead + Unpin>(
    stream: &mut S,
    cipher: &mut Cipher,
    most: usize,
) -> io::Result<Vec<u8>> {
    let mut head = [0; HEAD_LEN];
    stream.read_exact(&mut head).await?;
    let mut body = vec![0; cipher.open_head(&mut head, most)? + TAG_LEN];
    stream.read_exact(&mut body).await?;
    let length = cipher.open(&mut body)?.len();
    body.truncate(length);
    Ok(body)
}

/// Reads until there is nothing more.
async fn discard<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut nobody = [0; 4_096];
    while let Ok(1..) = stream.read(&mut nobody).await {}
}

fn nonce() -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    OsRng.fill_bytes(&mut nonce);
    nonce
}

fn padding() -> Vec<u8> {
    let length = OsRng.next_u32() % (u32::from(PADDING_MAX) + 1);
    vec![0; length as usize]
}

#[cfg(test)]
mod tests;
