//! One connection to a node, from its first answer to its end.
//!
//! Entry type is [`Session`]. It ends when the stream of mailboxes does, when the node stops
//! answering, or when the person switches. Nothing here waits for the node without looking at the
//! other things too; only the agent can hold it up.

use std::time::Duration;

use comm_proto::agent::CallId;
use comm_proto::message::{ClientRequest, ClientResponse};
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use comm_proto::wire::client::{Credit, ReceiveRequest, receive_request};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::endpoint::Rpc;
use super::watches::Watches;
use super::{Ask, NodeStatus, Told, translate, unary};
use crate::clock::Clock;

/// Calls with one answer that may be under way.
const CALLS_MAX: usize = 128;
/// Messages on the stream of mailboxes that the node has not taken yet.
const MAILBOX_REQUESTS_MAX: usize = 1_024;
/// How often the node is asked what it is and does, at first and later. A node that has just
/// started soon finds entries, for which the agent must make grants.
const STATUS_FIRST: Duration = Duration::from_secs(1);
const STATUS_LAST: Duration = Duration::from_secs(30);

/// One connection.
pub(super) struct Session {
    rpc: Rpc,
    tell: mpsc::Sender<Told>,
    connection: u64,
    clock: Clock,
    calls: JoinSet<()>,
    mailboxes: Option<mpsc::Sender<ReceiveRequest>>,
    /// Credit that the messages which opened mailboxes gave before the agent did.
    ahead: u32,
    reader: JoinSet<String>,
    watches: Watches,
    status: Option<NodeStatus>,
    status_wait: Duration,
    status_due: Instant,
    polls: JoinSet<Result<NodeStatus, Rejection>>,
}

impl Session {
    pub(super) fn new(rpc: Rpc, tell: mpsc::Sender<Told>, connection: u64) -> Self {
        Self {
            watches: Watches::new(rpc.clone()),
            rpc,
            tell,
            connection,
            clock: Clock::default(),
            calls: JoinSet::new(),
            mailboxes: None,
            ahead: 0,
            reader: JoinSet::new(),
            status: None,
            status_wait: STATUS_FIRST,
            status_due: Instant::now() + STATUS_FIRST,
            polls: JoinSet::new(),
        }
    }

    /// Serves the agent until the connection is of no more use. Returns why, and the number of the
    /// last connection that the agent was told of.
    pub(super) async fn run(
        mut self,
        asked: &mut mpsc::Receiver<Ask>,
        switch: &mut watch::Receiver<bool>,
    ) -> (String, u64) {
        let ended = tokio::select! {
            begun = unary::first_status(self.rpc.clone()) => match begun {
                Ok(status) => self.serve(status, asked, switch).await,
                Err(reason) => reason,
            },
            _ = super::wait(asked, switch) => "switched".to_owned(),
        };
        // Nothing of this connection is told after its end.
        self.calls.shutdown().await;
        self.reader.shutdown().await;
        self.watches.shutdown().await;
        (ended, self.connection)
    }

    async fn serve(
        &mut self,
        status: NodeStatus,
        asked: &mut mpsc::Receiver<Ask>,
        switch: &mut watch::Receiver<bool>,
    ) -> String {
        self.up(status).await;
        loop {
            tokio::select! {
                ask = asked.recv(), if self.calls.len() < CALLS_MAX => match ask {
                    Some(ask) => self.on_ask(ask).await,
                    None => return "closed".to_owned(),
                },
                Some(_) = self.calls.join_next() => {}
                Some(ended) = self.reader.join_next() => {
                    return ended.unwrap_or_else(|error| error.to_string());
                }
                changed = self.watches.next() => match changed {
                    Ok((id, state)) => {
                        let push = comm_proto::message::ClientPush::State { id, state };
                        self.told(Told::Push(push)).await;
                    }
                    Err(reason) => return reason,
                },
                () = tokio::time::sleep_until(self.status_due) => self.poll_status(),
                Some(polled) = self.polls.join_next() => match polled {
                    Ok(Ok(status)) => self.on_status(status).await,
                    Ok(Err(reason)) => return reason.to_string(),
                    Err(error) => return error.to_string(),
                },
                changed = switch.changed() => {
                    if changed.is_ok() {
                        switch.mark_changed();
                    }
                    return "switched".to_owned();
                }
            }
        }
    }

    async fn on_ask(&mut self, ask: Ask) {
        let rpc = self.rpc.clone();
        match ask {
            // Asked over an earlier connection, whose end the agent has been told of.
            Ask::Agent { connection, .. } if connection != self.connection => {}
            Ask::Agent { id, request, .. } => self.on_agent(id, request).await,
            Ask::Status(reply) => {
                self.calls.spawn(async move { drop(reply.send(unary::status(rpc).await)) });
            }
            Ask::Peers(reply) => {
                self.calls.spawn(async move { drop(reply.send(unary::peers(rpc).await)) });
            }
        }
    }

    async fn on_agent(&mut self, id: CallId, request: ClientRequest) {
        let result = match request {
            ClientRequest::Subscribe { grants, after } => {
                self.ahead += 1;
                self.send(translate::open(&grants, after, 1))
            }
            ClientRequest::Credit { envelopes } => {
                let early = self.ahead.min(envelopes);
                self.ahead -= early;
                match envelopes - early {
                    0 => Ok(ClientResponse::Done),
                    envelopes => self.send(receive_request::Request::Credit(Credit { envelopes })),
                }
            }
            ClientRequest::Watch { ids } => {
                self.watches.add(ids);
                // The states of the moment follow like those of later.
                Ok(ClientResponse::States(Vec::new()))
            }
            request => return self.call(id, request),
        };
        self.told(Told::Response { id, result }).await;
    }

    fn call(&mut self, id: CallId, request: ClientRequest) {
        let (rpc, tell, now) = (self.rpc.clone(), self.tell.clone(), self.now());
        self.calls.spawn(async move {
            let result = unary::call(rpc, request, now).await;
            // Nobody listens when the program is ending.
            let _ended = tell.send(Told::Response { id, result }).await;
        });
    }

    /// Sends on the stream of mailboxes, which the first message opens.
    fn send(&mut self, request: receive_request::Request) -> Result<ClientResponse, Rejection> {
        let requests = self.mailboxes.get_or_insert_with(|| {
            let (requests, outgoing) = mpsc::channel(MAILBOX_REQUESTS_MAX);
            let (rpc, tell) = (self.rpc.clone(), self.tell.clone());
            let more = requests.clone();
            self.reader.spawn(read(rpc, ReceiverStream::new(outgoing), more, tell));
            requests
        });
        let message = ReceiveRequest { request: Some(request) };
        requests.try_send(message).map_err(|_| Rejection::Busy)?;
        Ok(ClientResponse::Done)
    }

    fn poll_status(&mut self) {
        self.status_wait = (self.status_wait * 2).min(STATUS_LAST);
        self.status_due = Instant::now() + self.status_wait;
        if self.polls.is_empty() {
            self.polls.spawn(unary::status(self.rpc.clone()));
        }
    }

    /// Another node is a new connection to the agent; other entries of the same want grants alone.
    async fn on_status(&mut self, status: NodeStatus) {
        let Some(known) = &mut self.status else { return };
        if known.node == status.node {
            let collectors = |status: &NodeStatus| (status.entries.clone(), status.rotating_entry);
            let (before, now) = (collectors(known), collectors(&status));
            *known = status;
            if before != now {
                let (entries, rotating_entry) = now;
                self.told(Told::Entries { entries, rotating_entry }).await;
            }
            return;
        }
        self.connection += 1;
        self.calls.shutdown().await;
        self.reader.shutdown().await;
        self.watches.clear().await;
        (self.mailboxes, self.ahead) = (None, 0);
        self.up(status).await;
    }

    async fn up(&mut self, status: NodeStatus) {
        let (connection, node) = (self.connection, status.node);
        let (entries, rotating_entry) = (status.entries.clone(), status.rotating_entry);
        self.status = Some(status);
        self.told(Told::Up { connection, node, entries, rotating_entry }).await;
    }

    async fn told(&self, told: Told) {
        // Nobody listens when the program is ending; the next question will say so.
        let _ended = self.tell.send(told).await;
    }

    fn now(&mut self) -> Time {
        self.clock.now()
    }
}

/// Reads the stream of mailboxes to its end; why it ended.
async fn read(
    mut rpc: Rpc,
    requests: ReceiverStream<ReceiveRequest>,
    more: mpsc::Sender<ReceiveRequest>,
    tell: mpsc::Sender<Told>,
) -> String {
    let mut stream = match rpc.receive(requests).await {
        Ok(response) => response.into_inner(),
        Err(status) => return translate::reason(&status),
    };
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return "the node ended the connection".to_owned(),
            Err(status) => return translate::reason(&status),
        };
        match translate::push(message) {
            Ok(Some(push)) => {
                if tell.send(Told::Push(push)).await.is_err() {
                    return "closed".to_owned();
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "the node told something that cannot be read");
                // It used credit that the agent believes to be there still.
                let credit = receive_request::Request::Credit(Credit { envelopes: 1 });
                let _full = more.try_send(ReceiveRequest { request: Some(credit) });
            }
        }
    }
}
