//! A hash over everything that happens: two runs that differ anywhere have different ones.
//!
//! Entry type is [`Trace`]. It takes the numbers that a node draws for its calls, which depend on all
//! that this node has seen, and not the whole of every message, which would cost more than the run.

use comm_proto::address::Address;
use comm_proto::node::Output;
use comm_proto::time::Time;
use sha2::{Digest, Sha256};

use crate::host::At;

/// What every node has wanted done so far, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Sha256);

impl Trace {
    /// A node wants something done.
    pub(crate) fn note(&mut self, now: Time, host: At, output: &Output) {
        let (kind, number) = match output {
            Output::Write(batch) => (0, batch.seq.0 << 16 | batch.writes.len() as u64),
            Output::Call { id, .. } => (1, id.0),
            Output::Reply { id, result } => (2, id.0 ^ u64::from(result.is_ok())),
            Output::Listen { to, open } => (3, first_bytes(&to.address()) ^ u64::from(*open)),
            Output::Push { to, .. } => (4, first_bytes(to)),
            Output::ClientReply { id, result } => (5, id.0 ^ u64::from(result.is_ok())),
            Output::ClientPush { session, .. } => (6, session.0),
            Output::DialBack { id, .. } => (7, id.0),
            Output::Event(_) => return,
        };
        let mut line = [0; 25];
        line[..8].copy_from_slice(&now.as_millis().to_be_bytes());
        line[8..16].copy_from_slice(&(host as u64).to_be_bytes());
        line[16] = kind;
        line[17..].copy_from_slice(&number.to_be_bytes());
        self.0.update(line);
    }

    /// The hash so far.
    pub(crate) fn to_hex(&self) -> String {
        hex::encode(self.0.clone().finalize())
    }
}

fn first_bytes(address: &Address) -> u64 {
    address.distance(&Address::from_bytes([0; Address::LEN])).top_bits()
}
