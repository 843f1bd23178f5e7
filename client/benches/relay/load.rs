//! What clients do: submit sealed envelopes in three ways, receive and acknowledge them.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use comm::link::Rpc;
use comm_proto::acknowledgement::{Acknowledgement, IDS_MAX, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite};
use comm_proto::grant::Grant;
use comm_proto::identity::Identity;
use comm_proto::key::{KeyPair, PublicKey};
use comm_proto::payload::{self, ContentType, Payload};
use comm_proto::prekey::PrekeyRing;
use comm_proto::sealing::{self, SealTarget};
use comm_proto::time::{Span, Time};
use comm_proto::wire::client::{
    Acknowledge, Credit, Open, ReceiveRequest, SubmitRequest, receive_request, receive_response,
    submit_stream_response,
};
use comm_proto::wire::decode;
use hdrhistogram::Histogram;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::report::Run;

/// Envelopes the relay may send before it is given more credit.
const WINDOW: u32 = 2_048;

/// Sealed envelopes for one reader.
pub struct Load(Vec<Envelope>);

type Stream = tonic::Streaming<comm_proto::wire::client::ReceiveResponse>;

impl Load {
    /// Seals `count` envelopes on all cores; also says what one costs on one core.
    pub fn seal(reader: &KeyPair, count: usize) -> (Self, Duration) {
        let cores = std::thread::available_parallelism().unwrap().get();
        let began = Instant::now();
        let parts: Vec<_> = std::thread::scope(|scope| {
            let seal = |core: usize| move || seal_every(reader, core, cores, count);
            let threads: Vec<_> = (0..cores).map(|core| scope.spawn(seal(core))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let cost = began.elapsed() * cores as u32 / count as u32;
        (Self(parts.into_iter().flatten().collect()), cost)
    }

    pub fn split_at(&self, at: usize) -> (Self, Self) {
        let (first, second) = self.0.split_at(at);
        (Self(first.to_vec()), Self(second.to_vec()))
    }

    /// Unary submissions, `in_flight` at a time.
    pub async fn submit_unary(&self, rpc: &Rpc, in_flight: usize) -> Run {
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for share in self.0.chunks(self.0.len().div_ceil(in_flight)) {
            let (mut rpc, share) = (rpc.clone(), share.to_vec());
            callers.spawn(async move {
                let mut latencies = histogram();
                for envelope in share {
                    let request = SubmitRequest { envelope: Some((&envelope).into()) };
                    let began = Instant::now();
                    rpc.submit(request).await.unwrap();
                    latencies.record(micros(began)).unwrap();
                }
                latencies
            });
        }
        let mut latencies = histogram();
        for some in callers.join_all().await {
            latencies.add(some).unwrap();
        }
        Run { count: self.0.len(), took: began.elapsed(), latencies }
    }

    /// One stream with `outstanding` submissions not answered yet.
    pub async fn submit_stream(&self, rpc: &Rpc, outstanding: usize) -> Run {
        let (sender, receiver) = mpsc::channel(outstanding);
        let room = Arc::new(Semaphore::new(outstanding));
        let envelopes = self.0.clone();
        let free = Arc::clone(&room);
        let began = Instant::now();
        tokio::spawn(async move {
            for envelope in envelopes {
                free.acquire().await.unwrap().forget();
                let request = SubmitRequest { envelope: Some((&envelope).into()) };
                if sender.send(request).await.is_err() {
                    return;
                }
            }
        });
        let mut rpc = rpc.clone();
        let answers = rpc.submit_stream(ReceiverStream::new(receiver)).await.unwrap();
        let mut answers = answers.into_inner();
        let mut count = 0;
        while let Some(answer) = answers.next().await {
            let result = answer.unwrap().result;
            assert!(matches!(result, Some(submit_stream_response::Result::State(_))), "{result:?}");
            room.add_permits(1);
            count += 1;
        }
        assert_eq!(count, self.0.len());
        Run { count, took: began.elapsed(), latencies: histogram() }
    }

    /// The reader returns, receives everything and acknowledges it in batches; ends when the
    /// relay's disk has every acknowledgement.
    pub async fn drain(&self, rpc: &Rpc, node: Address, reader: &KeyPair) -> Run {
        let began = Instant::now();
        let (requests, mut stream) = open(rpc, node, reader).await;
        let (mut unread, mut batches) = (Vec::new(), 0);
        let (mut received, mut acknowledged) = (0, 0);
        while received < self.0.len() || acknowledged < batches {
            match stream.next().await.unwrap().unwrap().response {
                Some(receive_response::Response::Envelope(one)) => {
                    let envelope = decode::envelope(one.envelope.unwrap()).unwrap();
                    unread.push((envelope.id(), envelope.expires_at()));
                    received += 1;
                    if unread.len() == IDS_MAX || received == self.0.len() {
                        acknowledge(&requests, reader, std::mem::take(&mut unread)).await;
                        batches += 1;
                    }
                }
                Some(receive_response::Response::Acknowledged(_)) => acknowledged += 1,
                _ => {}
            }
        }
        Run { count: received, took: began.elapsed(), latencies: histogram() }
    }
}

/// One message at a time from a sender to a reader who is there, each over a connection of their own:
/// from the text that is to be sealed to the text that was opened.
pub async fn talk(
    sender: &Rpc,
    receiver: &Rpc,
    node: Address,
    reader: &Identity,
    count: usize,
) -> Run {
    let mailbox = reader.key();
    let (requests, mut stream) = open(receiver, node, mailbox).await;
    let mut writer = Writer::new(reader.public(), 0);
    let no_prekeys = PrekeyRing::new();
    let (mut latencies, all_began) = (histogram(), Instant::now());
    for n in 0..count {
        let began = Instant::now();
        let envelope = writer.seal(n);
        let request = SubmitRequest { envelope: Some((&envelope).into()) };
        let mut rpc = sender.clone();
        let submitted = tokio::spawn(async move { rpc.submit(request).await.unwrap() });
        let arrived = next_envelope(&mut stream).await;
        let opened = sealing::open(reader, &no_prekeys, Suite::ONE, arrived.body()).unwrap();
        assert_eq!(opened.payload.sequence.get(), n as u64 + 1);
        latencies.record(micros(began)).unwrap();
        submitted.await.unwrap();
        acknowledge(&requests, mailbox, vec![(arrived.id(), arrived.expires_at())]).await;
    }
    Run { count, took: all_began.elapsed(), latencies }
}

/// Every `step`-th envelope from `first` on.
fn seal_every(reader: &KeyPair, first: usize, step: usize, count: usize) -> Vec<Envelope> {
    let owner = reader.public();
    let mut writer = Writer::new(&owner, first as u64);
    (first..count).step_by(step).map(|n| writer.seal(n)).collect()
}

/// Somebody who writes texts of full length to one reader.
struct Writer<'a> {
    rng: ChaCha12Rng,
    sender: Identity,
    owner: &'a PublicKey,
    expires_at: Time,
}

impl<'a> Writer<'a> {
    fn new(owner: &'a PublicKey, seed: u64) -> Self {
        let (rng, sender) = (ChaCha12Rng::seed_from_u64(seed), Identity::from_seed(&[7; 32]));
        Self { rng, sender, owner, expires_at: now() + Span::from_days(14) }
    }

    fn seal(&mut self, n: usize) -> Envelope {
        let (mailbox, expires_at) = (self.owner.address(), self.expires_at);
        let payload = Payload {
            content_type: ContentType::TEXT,
            sequence: NonZeroU64::new(n as u64 + 1).unwrap(),
            previous: None,
            sent_at: now(),
            expires_at,
            recipient: mailbox,
            body: vec![b'x'; payload::capacity(SizeClass::K1)],
        };
        let target = SealTarget::Identity(self.owner);
        let body =
            sealing::seal(&mut self.rng, &self.sender, &target, &payload, SizeClass::K1).unwrap();
        let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
        Envelope::new(header, Bytes::from(body)).unwrap()
    }
}

async fn open(
    rpc: &Rpc,
    node: Address,
    reader: &KeyPair,
) -> (mpsc::Sender<ReceiveRequest>, Stream) {
    let grant = Grant::sign(reader, node, now() + Span::from_days(1));
    let grants = vec![(&*grant).into()];
    let (requests, receiver) = mpsc::channel(64);
    let opening = Open { grants, after: 0, credit: WINDOW };
    requests.send(request(receive_request::Request::Open(opening))).await.unwrap();
    let mut rpc = rpc.clone();
    let stream = rpc.receive(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    (requests, stream)
}

/// Acknowledges some envelopes, and lets the relay send as many more.
async fn acknowledge(
    requests: &mpsc::Sender<ReceiveRequest>,
    reader: &KeyPair,
    read: Vec<(EnvelopeId, Time)>,
) {
    let latest = read.iter().map(|(_, expires_at)| *expires_at).max().unwrap();
    let envelopes = read.len() as u32;
    let ids = read.into_iter().map(|(id, _)| id).collect();
    let signed = Acknowledgement::sign(reader, ids, latest + KEPT_AFTER_EXPIRY).unwrap();
    let acknowledgements = vec![(&*signed).into()];
    let credit = receive_request::Request::Credit(Credit { envelopes });
    let acknowledge = receive_request::Request::Acknowledge(Acknowledge { acknowledgements });
    requests.send(request(credit)).await.unwrap();
    requests.send(request(acknowledge)).await.unwrap();
}

async fn next_envelope(stream: &mut Stream) -> Envelope {
    loop {
        let response = stream.next().await.unwrap().unwrap().response;
        if let Some(receive_response::Response::Envelope(one)) = response {
            return decode::envelope(one.envelope.unwrap()).unwrap();
        }
    }
}

fn request(request: receive_request::Request) -> ReceiveRequest {
    ReceiveRequest { request: Some(request) }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()
}

fn micros(began: Instant) -> u64 {
    began.elapsed().as_micros() as u64
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time::from_millis(since.as_millis() as u64)
}
