//! Opening a mailbox: at the reader's node, and at those by which that node collects.

use comm_proto::envelope::TTL_MAX;
use comm_proto::grant::Grant;
use comm_proto::message::{ClientRequest, Status};
use comm_proto::time::Time;

use super::{Asked, CREDIT, Deed, GRANT_AGAIN, Letter, Sent, session};

impl Sent {
    /// Opens the mailbox at the reader's node and at that node's entries, unless it is open there; with `rotates`, at
    /// the one that changes too.
    pub(super) fn open(
        &mut self,
        letter: Letter,
        status: &Status,
        rotates: bool,
        now: Time,
    ) -> Vec<Asked> {
        let entries = status.entries.iter().chain(status.rotating_entry.iter().filter(|_| rotates));
        let collectors: Vec<_> = entries.chain([&status.node]).copied().collect();
        let lately = |at: &Time| now.since(*at) < GRANT_AGAIN;
        if self.granted.as_ref().is_some_and(|(at, to)| lately(at) && *to == collectors) {
            return Vec::new();
        }
        let grants = collectors
            .iter()
            .map(|collector| Grant::sign(&self.mailbox, *collector, now + TTL_MAX))
            .collect();
        self.granted = Some((now, collectors));
        let requests = [
            ClientRequest::Subscribe { grants, after: 0 },
            ClientRequest::Credit { envelopes: CREDIT },
        ];
        let session = session(letter, Deed::Open);
        requests.map(|request| Asked { host: self.reader, session, request }).into()
    }
}
