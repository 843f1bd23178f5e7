//! What writers and readers do: the same as those of the simulator, with the same pauses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use comm::link::{Endpoint, Rpc};
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, Header, SizeClass, Suite, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::time::Time;
use comm_proto::wire::client::{
    AcknowledgeRequest, Credit, GetStatusRequest, Open, ReceiveRequest, SubmitRequest,
    WatchRequest, receive_request, receive_response, state,
};
use comm_proto::wire::object;
use comm_sim::plan::Plan;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::relays::{Town, first_letter, real};

const SUBMIT_AGAIN: Duration = Duration::from_secs(15);
const DIAL_AGAIN: Duration = Duration::from_secs(1);
const LOOK_AFTER_ENTRIES: Duration = Duration::from_secs(30);
const OWN_DISK: Duration = Duration::from_millis(5);
const CREDIT: u32 = 64;

/// What became of one envelope.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    pub accepted: bool,
    pub delivered: bool,
    pub acknowledged: bool,
}

/// An envelope, who carries it, and until when anybody looks.
struct Letter {
    key: KeyPair,
    envelope: Envelope,
    writer: Endpoint,
    reader: Endpoint,
    sent: Instant,
    came: Instant,
    end: Instant,
}

/// Plays the people's part of a plan.
pub async fn play(plan: &Plan, town: &Town) -> Vec<Fate> {
    let mut rng = ChaCha12Rng::seed_from_u64(2);
    let mut people = JoinSet::new();
    let last = plan.traffic.spacing.times(plan.traffic.envelopes as u64 - 1);
    let end = town.at(first_letter(plan) + real(last + plan.traffic.away + plan.run.look));
    for number in 0..plan.traffic.envelopes {
        let writer = draw(&mut rng, plan.network.nodes);
        let reader = (writer + 1 + draw(&mut rng, plan.network.nodes - 1)) % plan.network.nodes;
        let sent = first_letter(plan) + real(plan.traffic.spacing.times(number as u64));
        let key = KeyPair::from_seed(&seed(&mut rng));
        let letter = Letter {
            envelope: seal(&key, number, now() + plan.traffic.ttl),
            key,
            writer: town.endpoint(writer),
            reader: town.endpoint(reader),
            sent: town.at(sent),
            came: town.at(sent + real(plan.traffic.away)),
            end,
        };
        people.spawn(async move {
            let ((accepted, acknowledged), delivered) = tokio::join!(letter.write(), letter.read());
            Fate { accepted, delivered, acknowledged }
        });
    }
    people.join_all().await
}

impl Letter {
    /// Hands it in until it is taken, and watches it; whether it was taken, and then read.
    async fn write(&self) -> (bool, bool) {
        sleep_until(self.sent).await;
        let (mut accepted, mut acknowledged) = (false, false);
        while !acknowledged && Instant::now() < self.end {
            let attempt = self.try_write(&mut accepted, &mut acknowledged);
            let again = match timeout_at(self.end, attempt).await {
                Ok(Err(again)) => again,
                Ok(Ok(())) | Err(_) => DIAL_AGAIN,
            };
            sleep(again).await;
        }
        (accepted, acknowledged)
    }

    /// One connection; ends with how long to wait before the next.
    async fn try_write(&self, accepted: &mut bool, read: &mut bool) -> Result<(), Duration> {
        let mut rpc = self.writer.connect().await.map_err(|_| DIAL_AGAIN)?;
        if !*accepted {
            let request = SubmitRequest { envelope: Some((&self.envelope).into()) };
            rpc.submit(request).await.map_err(|_| SUBMIT_AGAIN)?;
            *accepted = true;
        }
        let ids = vec![Bytes::copy_from_slice(self.envelope.id().as_bytes())];
        let lost = |_: Status| DIAL_AGAIN;
        let mut states = rpc.watch(WatchRequest { ids }).await.map_err(lost)?.into_inner();
        while let Some(told) = states.message().await.map_err(lost)? {
            if let Some(state::State::Delivered(_)) = told.state.and_then(|state| state.state) {
                *read = true;
                return Ok(());
            }
        }
        Err(DIAL_AGAIN)
    }

    /// Comes, collects and acknowledges; whether anything came.
    async fn read(&self) -> bool {
        sleep_until(self.came).await;
        let mut delivered = false;
        while Instant::now() < self.end {
            let _lost = timeout_at(self.end, self.try_read(&mut delivered)).await;
            sleep(DIAL_AGAIN).await;
        }
        delivered
    }

    async fn try_read(&self, delivered: &mut bool) -> Result<(), Status> {
        let unavailable = |_| Status::unavailable("no relay");
        let mut rpc = self.reader.connect().await.map_err(unavailable)?;
        let (requests, receiver) = mpsc::channel(8);
        let mut granted = self.collectors(&mut rpc).await?;
        let _full = requests.try_send(self.open(&granted));
        let mut mailbox = rpc.receive(ReceiverStream::new(receiver)).await?.into_inner();
        loop {
            let message = tokio::select! {
                message = mailbox.next() => message,
                () = sleep(LOOK_AFTER_ENTRIES) => {
                    let collectors = self.collectors(&mut rpc).await?;
                    if collectors != granted {
                        let _full = requests.try_send(self.open(&collectors));
                        granted = collectors;
                    }
                    continue;
                }
            };
            let response = message.ok_or_else(|| Status::unavailable("ended"))??.response;
            if let Some(receive_response::Response::Envelope(_)) = response {
                *delivered = true;
                sleep(OWN_DISK).await;
                rpc.acknowledge(self.acknowledgement()).await?;
                let credit = Credit { envelopes: 1 };
                let _full = requests.try_send(request(receive_request::Request::Credit(credit)));
            }
        }
    }

    /// By which nodes the reader's node collects, itself among them.
    async fn collectors(&self, rpc: &mut Rpc) -> Result<Vec<Address>, Status> {
        let status = rpc.get_status(GetStatusRequest {}).await?.into_inner();
        let all = status.entries.iter().chain(&status.rotating_entry).chain([&status.node]);
        Ok(all.map(|bytes| Address::from_bytes(bytes[..].try_into().unwrap())).collect())
    }

    fn open(&self, collectors: &[Address]) -> ReceiveRequest {
        let not_after = now() + TTL_MAX;
        let grant = |collector: &Address| {
            object::Grant::from(&*Grant::sign(&self.key, *collector, not_after))
        };
        let grants = collectors.iter().map(grant).collect();
        request(receive_request::Request::Open(Open { grants, after: 0, credit: CREDIT }))
    }

    fn acknowledgement(&self) -> AcknowledgeRequest {
        let read = vec![self.envelope.id()];
        let expires_at = self.envelope.expires_at() + KEPT_AFTER_EXPIRY;
        let signed = Acknowledgement::sign(&self.key, read, expires_at).unwrap();
        AcknowledgeRequest { acknowledgements: vec![(&*signed).into()] }
    }
}

fn request(request: receive_request::Request) -> ReceiveRequest {
    ReceiveRequest { request: Some(request) }
}

/// An envelope of the smallest size that no other equals; nodes cannot tell that nothing is sealed in it.
fn seal(key: &KeyPair, number: usize, expires_at: Time) -> Envelope {
    let mut body = vec![0; SizeClass::K1.body_len()];
    body[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let header = Header { suite: Suite::ONE, mailbox: key.address(), expires_at, stamp_nonce: 0 };
    Envelope::new(header, Bytes::from(body)).unwrap()
}

fn draw(rng: &mut ChaCha12Rng, below: usize) -> usize {
    (rng.next_u64() % below as u64) as usize
}

fn seed(rng: &mut ChaCha12Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time::from_millis(since.as_millis() as u64)
}
