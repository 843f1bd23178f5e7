//! Lines between relays that take their time: what is sent to a relay comes to it, and what it answers
//! comes back, after a way that is drawn for each piece and much longer than anything this machine does.
//!
//! On loopback alone the ways would be the time that twenty processes wait for two cores, which is longest
//! where most of them write at once, and no simulator has that.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

/// The largest piece that travels together.
const PIECE: usize = 64 * 1024;
/// Pieces of one direction on their way: beyond these the sender waits.
const PIECES: usize = 256;

/// The line of one relay: connections to `outside` go on to `inside`, and are refused while nobody is there.
pub async fn lay(outside: TcpListener, inside: SocketAddr, way: Range<Duration>) {
    let mut rng = ChaCha12Rng::seed_from_u64(u64::from(inside.port()));
    while let Ok((caller, _)) = outside.accept().await {
        let ways = Ways { range: way.clone(), rng: ChaCha12Rng::seed_from_u64(rng.next_u64()) };
        tokio::spawn(async move {
            let _lost = carry(caller, inside, ways).await;
        });
    }
}

async fn carry(mut caller: TcpStream, inside: SocketAddr, mut ways: Ways) -> io::Result<()> {
    let mut relay = TcpStream::connect(inside).await?;
    caller.set_nodelay(true)?;
    relay.set_nodelay(true)?;
    // The greeting of TCP, which the caller has had from here at once.
    sleep(ways.next() + ways.next()).await;
    let back = ways.split();
    let (from_caller, to_caller) = caller.split();
    let (from_relay, to_relay) = relay.split();
    // Either end ends both, as when a process is killed.
    tokio::select! {
        there = pass(from_caller, to_relay, ways) => there,
        back = pass(from_relay, to_caller, back) => back,
    }
}

/// One direction, in order: a piece is no sooner there than the one before it.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut ways: Ways,
) -> io::Result<()> {
    let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut last = Instant::now();
    let mut piece = vec![0; PIECE];
    loop {
        let next = under_way.front().map(|(due, _)| *due);
        tokio::select! {
            read = from.read(&mut piece), if under_way.len() < PIECES => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                last = last.max(Instant::now() + ways.next());
                under_way.push_back((last, piece[..length].to_vec()));
            }
            () = sleep_until(next.unwrap_or(last)), if next.is_some() => {
                if let Some((_, piece)) = under_way.pop_front() {
                    to.write_all(&piece).await?;
                }
            }
        }
    }
}

/// How long each piece takes.
struct Ways {
    range: Range<Duration>,
    rng: ChaCha12Rng,
}

impl Ways {
    fn next(&mut self) -> Duration {
        let spread = (self.range.end - self.range.start).as_micros() as u64 + 1;
        self.range.start + Duration::from_micros(self.rng.next_u64() % spread)
    }

    fn split(&mut self) -> Self {
        Self { range: self.range.clone(), rng: ChaCha12Rng::seed_from_u64(self.rng.next_u64()) }
    }
}
