//! Clients and another node that keep the node busy until it is killed.
//!
//! Entry types are [`Load`], whose every request and answer is noted in the [`Expected`], and [`fill`],
//! which only hands envelopes over.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use comm_node::clock::Clock;
use comm_node::driver::inbox::{Inbox, InboxLimits};
use comm_node::links::Network;
use comm_node::links::dial::{DialLimits, Peers};
use comm_node::links::tls::Credentials;
use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::envelope::{Envelope, EnvelopeId, Header, Suite, TTL_DEFAULT};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::message::{Request, Response};
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;
use comm_proto::wire::client::{
    self as wire, GetStatusResponse, receive_request, receive_response, submit_stream_response,
};
use comm_proto::wire::decode;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::Dice;
use super::expected::Expected;
use crate::node_process::{NodeProcess, address, contact, now};

const PATIENCE: Duration = Duration::from_secs(20);
/// Submissions of one stream without an answer.
const UNDER_WAY: usize = 256;
/// Envelopes that one acknowledgement ends.
const READ_AT_ONCE: usize = 8;
/// Envelopes in one delivery of another node.
const DELIVERED_AT_ONCE: usize = 8;
const CREDIT: u32 = 4_096;

/// The mailboxes that everything is sent to.
#[derive(Clone)]
pub(super) struct Mailboxes(Arc<[KeyPair]>);

/// Who uses the node.
pub(super) struct Load {
    users: Users,
    client: ClientClient<Channel>,
    ask: mpsc::Sender<wire::ReceiveRequest>,
    answers: Streaming<wire::ReceiveResponse>,
    peer: Contact,
    waiting: Vec<(usize, EnvelopeId)>,
}

/// What all users of a node share.
#[derive(Clone)]
struct Users {
    node: Arc<NodeProcess>,
    expected: Arc<Mutex<Expected>>,
    mailboxes: Mailboxes,
    /// Answers that may still come before the node is killed.
    left: Arc<AtomicU64>,
    round: u64,
}

impl Mailboxes {
    pub(super) fn new() -> Self {
        Self((1..=4).map(|seed| KeyPair::from_seed(&[seed; 32])).collect())
    }

    fn grants(&self, collector: Address) -> Vec<comm_proto::wire::object::Grant> {
        let until = now() + Span::DAY;
        self.0.iter().map(|key| (&*Grant::sign(key, collector, until)).into()).collect()
    }

    fn of(&self, mailbox: &Address) -> usize {
        self.0.iter().position(|key| key.address() == *mailbox).unwrap()
    }
}

impl Users {
    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap()
    }

    /// Kills the node when this was the answer to do so at.
    fn answered(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.node.kill();
        }
    }

    /// An envelope that nobody has sent before; `sender` tells those of a round apart.
    fn envelope(&self, sender: u8, n: u64, dice: &mut Dice) -> Envelope {
        let mailbox =
            self.mailboxes.0[dice.below(self.mailboxes.0.len() as u64) as usize].address();
        let envelope = envelope(mailbox, [u64::from(sender), self.round, n]);
        self.expected().asks_to_store(envelope.id(), envelope.expires_at());
        envelope
    }

    fn acknowledgement(&self, mailbox: usize, ids: &[EnvelopeId]) -> Verified<Acknowledgement> {
        let until = self.expected().asks_to_end(ids) + KEPT_AFTER_EXPIRY;
        Acknowledgement::sign(&self.mailboxes.0[mailbox], ids.to_vec(), until).unwrap()
    }
}

impl Load {
    /// Opens every mailbox.
    pub(super) async fn open(
        node: &Arc<NodeProcess>,
        expected: &Arc<Mutex<Expected>>,
        mailboxes: &Mailboxes,
        mut client: ClientClient<Channel>,
        status: &GetStatusResponse,
        dir: &Path,
    ) -> Self {
        let (ask, asked) = mpsc::channel(64);
        let grants = mailboxes.grants(address(status));
        let open = wire::Open { grants, after: 0, credit: CREDIT };
        ask.send(message(receive_request::Request::Open(open))).await.unwrap();
        let answers = client.receive(ReceiverStream::new(asked)).await.unwrap().into_inner();
        let users = Users {
            node: Arc::clone(node),
            expected: Arc::clone(expected),
            mailboxes: mailboxes.clone(),
            left: Arc::default(),
            round: 0,
        };
        let peer = contact(status, dir);
        Self { users, client, ask, answers, peer, waiting: Vec::new() }
    }

    /// What a reader finds who opens the mailboxes now.
    pub(super) async fn everything_that_waits(&mut self) -> BTreeSet<EnvelopeId> {
        let mut found = BTreeSet::new();
        loop {
            let answer = timeout(PATIENCE, self.answers.message()).await.expect("nothing comes");
            match answer.unwrap().unwrap().response.unwrap() {
                receive_response::Response::Envelope(received) => {
                    let envelope = decode::envelope(received.envelope.unwrap()).unwrap();
                    assert!(found.insert(envelope.id()), "{} comes twice", envelope.id());
                    let mailbox = self.users.mailboxes.of(&envelope.mailbox());
                    self.waiting.push((mailbox, envelope.id()));
                    let credit = wire::Credit { envelopes: 1 };
                    self.ask.send(message(receive_request::Request::Credit(credit))).await.unwrap();
                }
                receive_response::Response::CaughtUp(_) => return found,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everybody does what they can until the node has answered `answers` times and is killed.
    pub(super) async fn run_until_killed(mut self, round: u64, answers: u64, dice: &mut Dice) {
        self.users.round = round;
        self.users.left.store(answers, Ordering::SeqCst);
        if answers == 0 {
            return self.users.node.kill();
        }
        // The others are so fast that the node would be dead before the link is open.
        let peers = link(&KeyPair::from_seed(&[9; 32]));
        let hello = Request::Ping { endpoints: Vec::new() };
        peers.call(&self.peer, hello, PATIENCE).await.unwrap();
        let mut dices = || Dice(dice.below(u64::MAX));
        let mut tasks = JoinSet::new();
        tasks.spawn(submit(self.users.clone(), self.client.clone(), dices()));
        tasks.spawn(deliver(self.users.clone(), peers, self.peer.clone(), dices()));
        tasks.spawn(acknowledge(
            self.users.clone(),
            self.client.clone(),
            self.waiting.split_off(self.waiting.len() / 2),
        ));
        let reader = Reader {
            users: self.users.clone(),
            ask: self.ask,
            answers: self.answers,
            read: vec![Vec::new(); self.users.mailboxes.0.len()],
            asked: VecDeque::new(),
        };
        tasks.spawn(reader.run(dices()));
        let ended = async {
            while let Some(task) = tasks.join_next().await {
                task.unwrap()
            }
        };
        timeout(PATIENCE, ended).await.expect("the node lives on");
    }
}

/// A client that submits as fast as it is let.
async fn submit(users: Users, mut client: ClientClient<Channel>, mut dice: Dice) {
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    let (send, submissions) = mpsc::channel(UNDER_WAY);
    let (sender, sender_room) = (users.clone(), Arc::clone(&room));
    let sending = tokio::spawn(async move {
        for n in 0.. {
            sender_room.acquire().await.unwrap().forget();
            let envelope = Some((&sender.envelope(0, n, &mut dice)).into());
            if send.send(wire::SubmitRequest { envelope }).await.is_err() {
                return;
            }
        }
    });
    if let Ok(answers) = client.submit_stream(ReceiverStream::new(submissions)).await {
        let mut answers = answers.into_inner();
        while let Ok(Some(answer)) = answers.message().await {
            let submit_stream_response::Result::State(_) = answer.result.unwrap() else {
                panic!("an envelope is refused");
            };
            users.expected().is_stored(&decode::envelope_id(&answer.id).unwrap());
            users.answered();
            room.add_permits(1);
        }
    }
    sending.abort();
}

/// A client that has read before, and acknowledges one call at a time.
async fn acknowledge(
    users: Users,
    mut client: ClientClient<Channel>,
    waiting: Vec<(usize, EnvelopeId)>,
) {
    for mailbox in 0..users.mailboxes.0.len() {
        let here = waiting.iter().filter(|(of, _)| *of == mailbox).map(|(_, id)| *id);
        for ids in here.collect::<Vec<_>>().chunks(READ_AT_ONCE) {
            let read = users.acknowledgement(mailbox, ids);
            let request = wire::AcknowledgeRequest { acknowledgements: vec![(&*read).into()] };
            if client.acknowledge(request).await.is_err() {
                return;
            }
            users.expected().is_ended(ids);
            users.answered();
        }
    }
}

/// A client that receives what arrives and acknowledges about half of it.
struct Reader {
    users: Users,
    ask: mpsc::Sender<wire::ReceiveRequest>,
    answers: Streaming<wire::ReceiveResponse>,
    /// What is to be acknowledged next, by mailbox.
    read: Vec<Vec<EnvelopeId>>,
    /// What acknowledgements without an answer have ended.
    asked: VecDeque<Vec<EnvelopeId>>,
}

impl Reader {
    async fn run(mut self, mut dice: Dice) {
        while let Ok(Some(answer)) = self.answers.message().await {
            match answer.response.unwrap() {
                receive_response::Response::Envelope(received) => {
                    let envelope = decode::envelope(received.envelope.unwrap()).unwrap();
                    let asked = self.take(&envelope, &mut dice);
                    // The node may be gone already; its answers are read to the end all the same.
                    for request in asked {
                        let _ = self.ask.send(message(request)).await;
                    }
                }
                receive_response::Response::Acknowledged(_) => {
                    let ids = self.asked.pop_front().expect("one answer for each");
                    self.users.expected().is_ended(&ids);
                }
                receive_response::Response::CaughtUp(_) => {}
            }
            self.users.answered();
        }
    }

    fn take(&mut self, envelope: &Envelope, dice: &mut Dice) -> Vec<receive_request::Request> {
        let id = envelope.id();
        self.users.expected().is_stored(&id);
        let mut asked = vec![receive_request::Request::Credit(wire::Credit { envelopes: 1 })];
        // Its deliverer may have acknowledged it meanwhile.
        if dice.below(2) == 0 && self.users.expected().may_be_read(&id) {
            let mailbox = self.users.mailboxes.of(&envelope.mailbox());
            self.read[mailbox].push(id);
            if self.read[mailbox].len() == READ_AT_ONCE {
                let mut ids = std::mem::take(&mut self.read[mailbox]);
                ids.retain(|id| self.users.expected().may_be_read(id));
                if !ids.is_empty() {
                    asked.push(self.acknowledge(mailbox, ids));
                }
            }
        }
        asked
    }

    fn acknowledge(&mut self, mailbox: usize, ids: Vec<EnvelopeId>) -> receive_request::Request {
        let read = self.users.acknowledgement(mailbox, &ids);
        self.asked.push_back(ids);
        let acknowledgements = vec![(&*read).into()];
        receive_request::Request::Acknowledge(wire::Acknowledge { acknowledgements })
    }
}

/// Another node that delivers over a link, and tells that some of it has been read.
async fn deliver(users: Users, peers: Peers, to: Contact, mut dice: Dice) {
    for n in 0.. {
        let n = n * DELIVERED_AT_ONCE as u64;
        let envelopes: Vec<_> =
            (n..n + DELIVERED_AT_ONCE as u64).map(|n| users.envelope(1, n, &mut dice)).collect();
        let request = Request::Deliver { envelopes: envelopes.clone() };
        let Ok(answer) = peers.call(&to, request, PATIENCE).await else { return };
        let Response::Delivered { receipts, refused, .. } = answer else { panic!("{answer:?}") };
        assert!(refused.is_empty(), "{refused:?}");
        let held: Vec<_> = receipts.iter().flat_map(|receipt| receipt.ids()).copied().collect();
        assert!(receipts.iter().all(|receipt| receipt.holder() == to.address()));
        assert_eq!(held.len(), envelopes.len());
        users.expected().is_delivered(&held);
        users.answered();
        let read = envelopes[0].id();
        if dice.below(2) == 0 && users.expected().may_be_read(&read) {
            let mailbox = users.mailboxes.of(&envelopes[0].mailbox());
            let acknowledgements = vec![users.acknowledgement(mailbox, &[read])];
            let request = Request::Acknowledge { acknowledgements };
            let Ok(answer) = peers.call(&to, request, PATIENCE).await else { return };
            assert_eq!(answer, Response::Done);
            users.expected().is_ended(&[read]);
            users.answered();
        }
    }
}

/// Submits the envelopes of these numbers over one stream and waits for every answer.
pub(super) async fn fill(client: &ClientClient<Channel>, mailboxes: &Mailboxes, ns: Range<u32>) {
    let (mut client, mailboxes, expected) = (client.clone(), mailboxes.clone(), ns.len());
    let (send, submissions) = mpsc::channel(UNDER_WAY);
    tokio::spawn(async move {
        for n in ns {
            let mailbox = mailboxes.0[n as usize % mailboxes.0.len()].address();
            let envelope = Some((&envelope(mailbox, [2, 0, u64::from(n)])).into());
            send.send(wire::SubmitRequest { envelope }).await.unwrap();
        }
    });
    let answers = client.submit_stream(ReceiverStream::new(submissions)).await.unwrap();
    let (mut answers, mut count) = (answers.into_inner(), 0);
    while let Some(answer) = answers.message().await.unwrap() {
        let result = answer.result.unwrap();
        assert!(matches!(result, submit_stream_response::Result::State(_)), "{result:?}");
        count += 1;
    }
    assert_eq!(count, expected);
}

fn envelope(mailbox: Address, name: [u64; 3]) -> Envelope {
    let expires_at: Time = now() + TTL_DEFAULT;
    let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
    let mut body = vec![0; 1 << 10];
    let name: Vec<u8> = name.iter().flat_map(|part| part.to_be_bytes()).collect();
    body[..name.len()].copy_from_slice(&name);
    Envelope::new(header, body.into()).unwrap()
}

fn link(key: &KeyPair) -> Peers {
    let credentials = Arc::new(Credentials::new(key).unwrap());
    let (clock, inbox) = (Arc::new(Clock::new()), Inbox::new(InboxLimits::default()));
    Peers::new(credentials, Network::new("test").unwrap(), clock, inbox, DialLimits::default())
}

fn message(request: receive_request::Request) -> wire::ReceiveRequest {
    wire::ReceiveRequest { request: Some(request) }
}
