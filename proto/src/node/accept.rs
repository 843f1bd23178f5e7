//! Taking envelopes in (PROTOCOL §6.1): the same envelope twice is one.
//!
//! The only place that writes a new envelope. Whoever hands one over is answered after the disk
//! has it; that is the desk's business.

use crate::address::Address;
use crate::envelope::{Envelope, EnvelopeError, EnvelopeId};
use crate::message::Waiting;
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::time::Time;

use super::custody::COLLECTED_ROUNDS;
use super::desk::Promise;
use super::io::{Event, Family};
use super::keys;
use super::records::{Custody, Role, Tombstone};
use super::room::size_of;
use super::shares::Group;
use super::{Node, Turn};

/// How many arrival numbers are set aside on disk at a time, so that numbers never repeat after
/// a restart and not every arrival writes a counter.
const ARRIVALS_RESERVED: u64 = 4_096;
/// Where the reserved bound is kept.
pub(super) const ARRIVALS_KEY: &[u8] = b"arrivals";

/// The order of arrival at this node; cursors of subscribers point into it.
#[derive(Debug)]
pub(super) struct Arrivals {
    next: u64,
    reserved: u64,
    /// The last one whose envelope the disk has. Nothing later is shown to a subscriber: after a
    /// crash its number would be given again, and the subscriber's cursor would hide what gets it.
    durable: u64,
}

/// What became of an envelope handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is new here.
    New,
    /// It was here already.
    Held,
    /// It was here and has ended.
    Ended(Tombstone),
    /// It is not taken.
    Refused(Rejection),
}

/// How an envelope comes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) role: Role,
    /// The node that hands it over.
    pub(super) source: Option<Address>,
    /// Who is charged for it; nobody for what belongs to our own clients.
    pub(super) group: Option<Group>,
}

impl Arrivals {
    /// Goes on after everything that was ever reserved.
    pub(super) fn after(reserved: u64) -> Self {
        // Zero is the cursor of somebody who has seen nothing.
        let next = reserved.max(1);
        Self { next, reserved: next, durable: next - 1 }
    }

    /// The disk has everything up to `arrival`.
    pub(super) fn on_durable(&mut self, arrival: u64) {
        self.durable = self.durable.max(arrival);
    }

    /// Where what may be shown to subscribers ends.
    pub(super) fn end(&self) -> u64 {
        self.durable.saturating_add(1)
    }
}

impl Node {
    /// Takes `envelope` in, unless it is here, has ended or cannot be kept.
    pub(super) fn take(
        &mut self,
        turn: Turn<'_>,
        envelope: &Envelope,
        origin: Origin,
    ) -> Result<Taken, StoreError> {
        let id = envelope.id();
        if let Some(tombstone) = self.tombstone(turn, &id)? {
            return Ok(Taken::Ended(tombstone));
        }
        if let Some(custody) = self.custody(turn, &id)? {
            return Ok(self.take_again(turn, &id, custody, origin.role));
        }
        if let Err(reason) = self.check_room(turn, envelope, origin)? {
            return Ok(Taken::Refused(reason));
        }
        self.write_envelope(turn, envelope, origin);
        Ok(Taken::New)
    }

    /// The custody record of an envelope that lives here.
    pub(super) fn custody(
        &self,
        turn: Turn<'_>,
        id: &EnvelopeId,
    ) -> Result<Option<Custody>, StoreError> {
        let value = self.desk.get(turn, Family::Custody, id.as_bytes())?;
        value.map(|bytes| Custody::from_bytes(&bytes)).transpose()
    }

    /// The envelope itself, if it is still to be served: never after its expiry.
    pub(super) fn envelope(
        &self,
        turn: Turn<'_>,
        id: &EnvelopeId,
        expires_at: Time,
    ) -> Result<Option<Envelope>, StoreError> {
        Ok(self.envelopes(turn, &[(*id, expires_at)])?.pop().flatten())
    }

    /// The same of many, each at its place.
    pub(super) fn envelopes(
        &self,
        turn: Turn<'_>,
        wanted: &[(EnvelopeId, Time)],
    ) -> Result<Vec<Option<Envelope>>, StoreError> {
        let now = self.clock.agreed();
        let keys: Vec<_> = wanted.iter().map(|(id, end)| keys::envelope(*end, id)).collect();
        let stored = turn.store.get_many(Family::Envelopes, &keys)?;
        let read = |((id, expires_at), bytes): (&(EnvelopeId, Time), Option<Vec<u8>>)| {
            let live = bytes.filter(|_| *expires_at > now);
            live.map(|bytes| parse_envelope(id, bytes)).transpose()
        };
        wanted.iter().zip(stored).map(read).collect()
    }

    /// A submission of what another node had brought before: from now on it is our client's own.
    fn take_again(
        &mut self,
        turn: Turn<'_>,
        id: &EnvelopeId,
        mut custody: Custody,
        role: Role,
    ) -> Taken {
        if role == Role::Own && custody.role != Role::Own {
            if self.is_leaving() {
                return Taken::Refused(Rejection::Leaving);
            }
            let is_others = custody.group.is_some();
            if is_others && !self.own_may_have(size_of(custody.bytes), role) {
                return Taken::Refused(Rejection::StoreFull);
            }
            self.discharge(id, &custody);
            if custody.role == Role::Collected {
                if custody.is_scheduled() {
                    self.desk.delete(Family::Schedule, keys::schedule(custody.due, id));
                }
                (custody.rounds, custody.due) = (0, turn.now);
                self.schedule(custody.due, id);
            }
            self.stats.held.remove(custody.role);
            self.stats.held.add(Role::Own);
            (custody.role, custody.group) = (Role::Own, None);
            self.desk.put(Family::Custody, id.as_bytes().to_vec(), custody.to_bytes());
        }
        Taken::Held
    }

    /// The last of the checks makes room: nothing is evicted for what is not taken.
    fn check_room(
        &mut self,
        turn: Turn<'_>,
        envelope: &Envelope,
        origin: Origin,
    ) -> Result<Result<(), Rejection>, StoreError> {
        if self.is_leaving() {
            return Ok(Err(Rejection::Leaving));
        }
        // By our own clock nothing asks to live too long that others would refuse, and by others'
        // nothing is over.
        match envelope.check_expiry(turn.now) {
            Err(EnvelopeError::Expired) if envelope.expires_at() > self.clock.agreed() => {}
            Err(reason) => return Ok(Err(reason.into())),
            Ok(()) => {}
        }
        if self.desk.promises() >= self.config.promises_max {
            return Ok(Err(Rejection::Busy));
        }
        if self.is_disk_short_for(turn, envelope, origin.role)? {
            return Ok(Err(Rejection::Busy));
        }
        let has_room = self.make_room_for(turn, envelope, origin.role, origin.group)?;
        Ok(if has_room { Ok(()) } else { Err(Rejection::StoreFull) })
    }

    fn write_envelope(&mut self, turn: Turn<'_>, envelope: &Envelope, origin: Origin) {
        let Origin { role, source, group } = origin;
        let (id, mailbox, expires_at) = (envelope.id(), envelope.mailbox(), envelope.expires_at());
        let arrival = self.next_arrival();
        let rounds = if role == Role::Collected { COLLECTED_ROUNDS } else { 0 };
        let due = self.first_due(turn, &mailbox, role);
        let custody = Custody {
            mailbox,
            expires_at,
            arrival,
            role,
            source,
            group,
            rounds,
            due,
            heard: false,
            bytes: envelope.body().len() as u32,
            reported: 0,
            given: 0,
            asked: 0,
            holders: source.into_iter().collect(),
        };
        let name = id.as_bytes().to_vec();
        self.desk.put(Family::Envelopes, keys::envelope(expires_at, &id), envelope.to_stored());
        self.desk.put(Family::Custody, name, custody.to_bytes());
        self.charge(&id, &custody);
        let waiting = [&id.as_bytes()[..], &expires_at.as_millis().to_be_bytes()].concat();
        self.desk.put(Family::Mailboxes, keys::mailbox(&mailbox, arrival), waiting);
        if custody.is_scheduled() {
            self.schedule(due, &id);
        }
        self.look_for_expiry(expires_at);
        let bytes = envelope.body().len();
        self.disk.add(size_of(bytes as u32));
        self.stats.envelopes += 1;
        self.stats.envelope_bytes += bytes as u64;
        self.stats.accepted += 1;
        self.count_taken(role, &mailbox);
        self.event(Event::Accepted { id, bytes });
        let waiting = Waiting { mailbox, id };
        self.desk.promise(Promise::Arrived { waiting, arrival, expires_at });
    }

    fn count_taken(&mut self, role: Role, mailbox: &Address) {
        self.stats.held.add(role);
        let is_in_region = self.is_in_region(&self.address, mailbox);
        let taken = &mut self.stats.taken;
        *match role {
            Role::Own => &mut taken.own,
            Role::Relayed if is_in_region => &mut taken.region,
            Role::Relayed => &mut taken.entry,
            Role::Collected => &mut taken.collected,
        } += 1;
    }

    fn next_arrival(&mut self) -> u64 {
        let arrival = self.arrivals.next;
        self.arrivals.next += 1;
        if arrival >= self.arrivals.reserved {
            self.arrivals.reserved = arrival + ARRIVALS_RESERVED;
            let bound = self.arrivals.reserved.to_be_bytes().to_vec();
            self.desk.put(Family::Meta, ARRIVALS_KEY.to_vec(), bound);
        }
        arrival
    }
}

fn parse_envelope(id: &EnvelopeId, bytes: Vec<u8>) -> Result<Envelope, StoreError> {
    Envelope::from_stored(bytes)
        .ok()
        .filter(|envelope| envelope.id() == *id)
        .ok_or(StoreError::Damaged("envelopes"))
}
