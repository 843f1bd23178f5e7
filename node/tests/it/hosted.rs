//! A node on a store on disk, without threads: this process is its host and its client.
//!
//! Entry type is [`Hosted`]. It syncs when the test says so, and its clock stands still.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use comm_node::store::RocksStore;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_DEFAULT};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientRequest, ClientResponse, EnvelopeState};
use comm_proto::node::{Config, Input, Node, Output, RequestId, SessionId, Stats};
use comm_proto::store::Seq;
use comm_proto::time::Time;

const NOW: Time = Time::from_millis(1_700_007_300_000);

/// What it has answered for, and what it is still to answer.
pub(crate) struct Hosted {
    node: Node,
    pub(crate) store: Arc<RocksStore>,
    written: Seq,
    /// Writes applied so far.
    pub(crate) writes: usize,
    asked: BTreeMap<RequestId, Vec<EnvelopeId>>,
    /// Envelopes whose submission was answered.
    pub(crate) accepted: BTreeSet<EnvelopeId>,
    /// Envelopes whose acknowledgement was answered.
    pub(crate) ended: BTreeSet<EnvelopeId>,
}

impl Hosted {
    pub(crate) fn start(path: &Path) -> Self {
        let store = Arc::new(RocksStore::open(path).unwrap());
        let key = KeyPair::from_seed(&[1; 32]);
        let node = Node::new(Config::default(), key, [2; 32], &*store, NOW).unwrap();
        Self {
            node,
            store,
            written: Seq(0),
            writes: 0,
            asked: BTreeMap::new(),
            accepted: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Under a number that is used once.
    pub(crate) fn submit(&mut self, number: u64, key: &KeyPair, size: SizeClass) -> EnvelopeId {
        let (mailbox, expires_at) = (key.address(), NOW + TTL_DEFAULT);
        let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
        let mut body = vec![0; size.body_len()];
        body[..8].copy_from_slice(&number.to_be_bytes());
        let envelope = Envelope::new(header, body.into()).unwrap();
        let id = envelope.id();
        self.asked.insert(RequestId(number), vec![id]);
        self.ask(number, ClientRequest::Submit { envelope });
        id
    }

    pub(crate) fn acknowledge(&mut self, number: u64, key: &KeyPair, ids: &[EnvelopeId]) {
        let until = NOW + TTL_DEFAULT + KEPT_AFTER_EXPIRY;
        let acknowledgements = vec![Acknowledgement::sign(key, ids.to_vec(), until).unwrap()];
        self.asked.insert(RequestId(number), ids.to_vec());
        self.ask(number, ClientRequest::Acknowledge { acknowledgements });
    }

    pub(crate) fn sync(&mut self) -> Vec<ClientResponse> {
        self.store.sync().unwrap();
        self.handle(Input::Durable(self.written))
    }

    pub(crate) fn state(&mut self, id: &EnvelopeId) -> Option<EnvelopeState> {
        let mut answers = self.ask(u64::MAX, ClientRequest::Watch { ids: vec![*id] });
        // The first step after a start writes the totals, which the answer waits for.
        answers.extend(self.sync());
        match &answers[..] {
            [ClientResponse::States(states)] => states.first().map(|(_, state)| *state),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.node.stats()
    }

    /// Requests without an answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.asked.len()
    }

    fn ask(&mut self, number: u64, request: ClientRequest) -> Vec<ClientResponse> {
        let (id, session) = (RequestId(number), SessionId(1));
        self.handle(Input::ClientRequest { id, session, request })
    }

    fn handle(&mut self, input: Input) -> Vec<ClientResponse> {
        self.node.handle(input, &*self.store, NOW).unwrap();
        let mut answers = Vec::new();
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Write(batch) => {
                    self.store.apply(batch.clone()).unwrap();
                    self.written = batch.seq;
                    self.writes += batch.writes.len();
                }
                Output::ClientReply { id, result } => {
                    let (answer, ids) =
                        (result.unwrap(), self.asked.remove(&id).unwrap_or_default());
                    match answer {
                        ClientResponse::Submitted { .. } => self.accepted.extend(ids),
                        _ => self.ended.extend(ids),
                    }
                    answers.push(answer);
                }
                _ => {}
            }
        }
        answers
    }
}
