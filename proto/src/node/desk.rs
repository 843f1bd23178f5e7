//! The outgoing side: outputs, the batch being composed, and promises that wait for the disk.
//!
//! Entry type is [`Desk`]. That a promise leaves only after the disk has what it promises is the
//! [`Journal`]'s rule; what a node promises, and what it does when the disk has it, stands here.

use std::collections::{BTreeSet, VecDeque};

use crate::acknowledgement::Acknowledgement;
use crate::envelope::EnvelopeId;
use crate::message::{Response, SIGNED_MAX, Waiting};
use crate::receipt::{self, Receipt};
use crate::rejection::Rejection;
use crate::store::{Journal, Seq, StoreError};
use crate::time::Time;
use crate::verified::Verified;

use super::io::{Event, Family, Output, RequestId};
use super::recovery::Totals;
use super::{Node, Turn};

/// Outputs and what becomes one.
#[derive(Debug)]
pub(super) struct Desk {
    outputs: VecDeque<Output>,
    journal: Journal<Family, Promise>,
    /// The totals as they were last written.
    pub(super) totals: Totals,
}

/// What may leave only once the disk has the batch of its step and all before it.
#[derive(Debug)]
pub(super) enum Promise {
    /// This output.
    Output(Output),
    /// The answer to a delivery, whose receipt is signed at the moment it becomes true.
    Delivered {
        request: RequestId,
        held: Vec<EnvelopeId>,
        refused: Vec<(EnvelopeId, Rejection)>,
        acknowledgements: Vec<Verified<Acknowledgement>>,
    },
    /// The answer to an offer, likewise.
    Offered {
        request: RequestId,
        wanted: Vec<EnvelopeId>,
        held: Vec<EnvelopeId>,
        acknowledgements: Vec<Verified<Acknowledgement>>,
    },
    /// News for the subscribers of a mailbox.
    Arrived { waiting: Waiting, arrival: u64, expires_at: Time },
}

impl Desk {
    pub(super) fn is_drained(&self) -> bool {
        self.outputs.is_empty()
    }

    /// A node that is quiet keeps no room for what it says when it is not.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() {
            self.outputs = VecDeque::new();
        }
        next
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn promise(&mut self, promise: Promise) {
        self.journal.promise(promise);
    }

    /// Batches that wait for the disk.
    pub(super) fn promises(&self) -> usize {
        self.journal.waiting()
    }

    pub(super) fn put(&mut self, table: Family, key: Vec<u8>, value: Vec<u8>) {
        if is_read_back(table) {
            self.journal.put_readable(table, key, value);
        } else {
            self.journal.put(table, key, value);
        }
    }

    pub(super) fn delete(&mut self, table: Family, key: Vec<u8>) {
        if is_read_back(table) {
            self.journal.delete_readable(table, key);
        } else {
            self.journal.delete(table, key);
        }
    }

    pub(super) fn delete_range(&mut self, table: Family, from: Vec<u8>, to: Vec<u8>) {
        self.journal.delete_range(table, from, to);
    }

    /// The value under `key`, this step's own writes included.
    pub(super) fn get(
        &self,
        turn: Turn<'_>,
        table: Family,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.journal.get(turn.store, table, key)
    }

    /// Closes the step: its batch goes out before its outputs, its promises wait for the batch.
    fn close(&mut self) -> Vec<Promise> {
        let (batch, kept) = self.journal.close();
        if let Some(batch) = batch {
            self.outputs.push_front(Output::Write(batch));
        }
        kept
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self { outputs: VecDeque::new(), journal: Journal::new(), totals: Totals::default() }
    }
}

/// Tables that one step may read after it has written them.
const fn is_read_back(table: Family) -> bool {
    matches!(table, Family::Custody | Family::Tombstones | Family::Acknowledgements | Family::Cards)
}

impl Node {
    /// Ends a step.
    pub(super) fn commit(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        self.write_totals();
        self.shares.end_step();
        let kept = self.desk.close();
        for promise in kept {
            self.keep(turn, promise)?;
        }
        Ok(())
    }

    /// The disk has everything up to `seq`.
    pub(super) fn on_durable(&mut self, turn: Turn<'_>, seq: Seq) -> Result<(), StoreError> {
        for promise in self.desk.journal.take_durable(seq) {
            self.keep(turn, promise)?;
        }
        Ok(())
    }

    pub(super) fn reply(&mut self, id: RequestId, result: Result<Response, Rejection>) {
        if let Err(reason) = &result {
            self.note_refusal(reason.clone());
        }
        self.desk.push(Output::Reply { id, result });
    }

    pub(super) fn event(&mut self, event: Event) {
        self.desk.push(Output::Event(event));
    }

    pub(super) fn note_refusal(&mut self, reason: Rejection) {
        self.stats.refused += 1;
        self.event(Event::Refused { reason });
    }

    fn keep(&mut self, turn: Turn<'_>, promise: Promise) -> Result<(), StoreError> {
        match promise {
            Promise::Output(output) => self.desk.push(output),
            Promise::Delivered { request, held, refused, acknowledgements } => {
                let (held, acknowledgements) = self.still_held(turn, held, acknowledgements)?;
                let receipts = self.sign_receipts(&held);
                let answer = Response::Delivered { receipts, refused, acknowledgements };
                self.reply(request, Ok(answer));
            }
            Promise::Offered { request, wanted, held, acknowledgements } => {
                let (held, acknowledgements) = self.still_held(turn, held, acknowledgements)?;
                let receipts = self.sign_receipts(&held);
                self.reply(request, Ok(Response::Offered { wanted, receipts, acknowledgements }));
            }
            Promise::Arrived { waiting, arrival, expires_at } => {
                self.arrivals.on_durable(arrival);
                self.announce(turn, waiting, arrival, expires_at)?;
            }
        }
        Ok(())
    }

    /// What is here yet of what was when the answer was made up; of what has been read while the disk
    /// was busy, the acknowledgements are told instead.
    fn still_held(
        &self,
        turn: Turn<'_>,
        held: Vec<EnvelopeId>,
        mut acknowledgements: Vec<Verified<Acknowledgement>>,
    ) -> Result<(Vec<EnvelopeId>, Vec<Verified<Acknowledgement>>), StoreError> {
        let (mut still, mut ended) = (Vec::new(), BTreeSet::new());
        for id in held {
            if self.custody(turn, &id)?.is_some() {
                still.push(id);
            } else {
                ended.extend(self.tombstone(turn, &id)?);
            }
        }
        for told in self.acknowledgements_of(turn, &ended)? {
            if !acknowledgements.contains(&told) {
                acknowledgements.push(told);
            }
        }
        acknowledgements.truncate(SIGNED_MAX);
        Ok((still, acknowledgements))
    }

    fn sign_receipts(&self, held: &[EnvelopeId]) -> Vec<Verified<Receipt>> {
        held.chunks(receipt::IDS_MAX)
            .filter_map(|ids| Receipt::sign(&self.key, ids.to_vec(), self.clock.agreed()).ok())
            .collect()
    }
}
