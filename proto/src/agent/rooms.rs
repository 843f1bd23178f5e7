//! The rooms that a person is in (PROTOCOL §4.14 to §4.18).
//!
//! Entry type is [`Rooms`]. What a room is follows from [`Seat`] and [`Joining`], which know no envelopes and no disk;
//! here their notes become messages of conversations, and what they remember rows of the store. A room has a
//! number like a contact, so that what is said in it is kept and found as what is said with somebody.
//!
//! `commands` does what the person wants, `hearing` takes in what others send, `saying` brings lines and notes on
//! their way, `fellows` knows the members as people to write to, `lines` is what was said, `records` what lies on disk.

mod commands;
mod fellows;
mod hearing;
mod io;
mod lines;
mod records;
mod saying;

use std::collections::{BTreeMap, BTreeSet};

use crate::key::{KeyPair, PublicKey};
use crate::room::{EventId, Joining, Log, Role, RoomId, Seat};
use crate::store::StoreError;
use crate::time::Time;

use super::drawer::Drawer;
use super::outbox::OUTBOX_MAX;
use super::{Agent, Turn, read_all};

pub use io::{
    Delivery, Room, RoomChange, RoomCommand, RoomError, RoomEvent, RoomFound, RoomInvitation,
    RoomLine, RoomMember, RoomOutcome, RoomStanding,
};
use records::{HeldRow, RoomHead};

/// The most rooms.
pub(super) const ROOMS_MAX: usize = 100;

/// The most lines and notes of rooms on their way: the other half is for what is said to one person.
const ROOM_NOTES_MAX: usize = OUTBOX_MAX / 2;
/// Of these, the most pages of answers to whoever lacks events: half of what is common.
const ANSWERS_MAX: usize = ROOM_NOTES_MAX / 4;
/// No log has more pages.
const PAGES_MAX: usize = 256;

/// How much of the room of all notes something may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// What is said, asked, answered and passed on.
    Common,
    /// What the person changes in a room, the rest as well: else whoever fills what is common keeps them from putting
    /// somebody out, locking the door and leaving.
    Own,
}

impl Share {
    const fn max(self) -> usize {
        match self {
            Self::Common => ROOM_NOTES_MAX / 2,
            Self::Own => ROOM_NOTES_MAX,
        }
    }
}

/// What has brought steps of a seat about.
#[derive(Clone, Copy, Debug)]
enum Cause<'a> {
    /// The person changes the room.
    Own,
    /// Something that others have said, or time.
    Others,
    /// Somebody wants an answer, which goes whole, however long, since no other is on its way to them.
    Wanted(&'a PublicKey),
}

impl Cause<'_> {
    const fn share(self) -> Share {
        match self {
            Self::Own => Share::Own,
            Self::Others | Self::Wanted(_) => Share::Common,
        }
    }
}

/// All rooms, by the numbers this store gave them.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    by_number: BTreeMap<u32, OwnRoom>,
    by_id: BTreeMap<RoomId, u32>,
    /// In which rooms whom was not told what there was no room for: they are told what it led to when something has come
    /// to them. At most one for each member of each room.
    untold: BTreeSet<(u32, u32)>,
}

/// A room as we are in it, and which of its rows the disk has.
#[derive(Debug)]
struct OwnRoom {
    id: RoomId,
    place: Place,
    unread: u64,
    /// Events that are on disk, and under which number.
    rows: BTreeMap<EventId, u32>,
    next_row: u32,
    /// What waits and is on disk, by its hash.
    held: BTreeSet<[u8; 32]>,
    /// When lines that wait were written.
    written: BTreeMap<[u8; 32], Time>,
    /// What the disk has of the seat.
    kept: Vec<u8>,
}

/// Where we are: in a room, or before its door.
#[derive(Debug)]
enum Place {
    Seat(Box<Seat>),
    Joining(Box<Joining>),
}

impl Rooms {
    pub(super) fn read(turn: Turn<'_>, me: &KeyPair) -> Result<Self, StoreError> {
        let mut rooms = Self::default();
        for (key, value) in read_all(turn, Drawer::Rooms)? {
            // Seats stand behind the rooms that they belong to.
            let Ok(number) = <[u8; 4]>::try_from(&key[..]) else { continue };
            let number = u32::from_be_bytes(number);
            let room = OwnRoom::read(turn, me, number, RoomHead::from_bytes(&value)?)?;
            rooms.insert(number, room);
        }
        Ok(rooms)
    }

    fn insert(&mut self, number: u32, room: OwnRoom) {
        self.by_id.insert(room.id, number);
        self.by_number.insert(number, room);
    }

    /// The numbers of all rooms, which are nobody's.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.by_number.keys().copied()
    }

    pub(super) fn number_of(&self, id: &RoomId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    fn get(&self, number: u32) -> Option<&OwnRoom> {
        self.by_number.get(&number)
    }

    fn joining_mut(&mut self, number: u32) -> Option<&mut Joining> {
        match &mut self.by_number.get_mut(&number)?.place {
            Place::Joining(joining) => Some(joining),
            Place::Seat(_) => None,
        }
    }

    /// How many of them a key is the owner of.
    pub(super) fn owned_by(&self, key: &PublicKey) -> usize {
        let rank = |room: &OwnRoom| room.seat().and_then(|seat| seat.state().rank(key));
        self.by_number.values().filter(|room| rank(room) == Some(Role::Owner)).count()
    }

    /// When somebody is to be asked for what is missing, or again to let us in.
    pub(super) fn next(&self) -> Option<Time> {
        let next = |room: &OwnRoom| match &room.place {
            Place::Seat(seat) => seat.next(),
            Place::Joining(joining) => joining.next(),
        };
        self.by_number.values().filter_map(next).min()
    }
}

impl OwnRoom {
    fn new(id: RoomId, place: Place) -> Self {
        Self {
            id,
            place,
            unread: 0,
            rows: BTreeMap::new(),
            next_row: 0,
            held: BTreeSet::new(),
            written: BTreeMap::new(),
            kept: Vec::new(),
        }
    }

    fn read(turn: Turn<'_>, me: &KeyPair, number: u32, head: RoomHead) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged("rooms");
        let (mut rows, mut events) = (BTreeMap::new(), Vec::new());
        for (key, value) in read_of(turn, Drawer::RoomEvents, number)? {
            let row = key.last_chunk().ok_or_else(damaged)?;
            let event = records::event(&value).ok_or_else(damaged)?;
            rows.insert(event.id(), u32::from_be_bytes(*row));
            events.push(event);
        }
        let next_row = rows.values().max().map_or(0, |row| row.saturating_add(1));
        let (id, unread) = (head.room, head.unread);
        if let Some((invitation, join, earlier)) = head.joining {
            let mut joining = Joining::restore(invitation, join).with_earlier(earlier);
            for event in events {
                // It was taken before.
                let _ = joining.take(event);
            }
            let place = Place::Joining(Box::new(joining));
            return Ok(Self { unread, rows, next_row, ..Self::new(id, place) });
        }
        let mut log = Log::restore(events).ok_or_else(damaged)?;
        let (mut held, mut written, mut lines) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        for (key, value) in read_of(turn, Drawer::RoomHeld, number)? {
            let hash = *key.last_chunk().ok_or_else(damaged)?;
            held.insert(hash);
            match HeldRow::from_bytes(&value).ok_or_else(damaged)? {
                HeldRow::Event(event) => drop(log.take(*event)),
                HeldRow::Line { written_at, author, first, said } => {
                    written.insert(hash, written_at);
                    lines.push((author, first, said));
                }
            }
        }
        let kept =
            turn.store.get(Drawer::Rooms, &records::seat_key(number))?.ok_or_else(damaged)?;
        let mut seat = Seat::restore(me.clone(), log, &kept).ok_or_else(damaged)?;
        for (author, first, said) in lines {
            seat.hold_again(author, first, *said);
        }
        let place = Place::Seat(Box::new(seat));
        Ok(Self { unread, rows, next_row, held, written, kept, ..Self::new(id, place) })
    }

    fn seat(&self) -> Option<&Seat> {
        match &self.place {
            Place::Seat(seat) => Some(seat),
            Place::Joining(_) => None,
        }
    }

    fn seat_mut(&mut self) -> Option<&mut Seat> {
        match &mut self.place {
            Place::Seat(seat) => Some(seat),
            Place::Joining(_) => None,
        }
    }
}

impl Agent {
    /// Every room, by its name.
    pub fn rooms(&self) -> Vec<Room> {
        let mut rooms: Vec<_> =
            self.rooms.by_number.values().map(|room| self.shown(room)).collect();
        rooms.sort_by(|a, b| {
            let name = |room: &Room| room.name.as_ref().map(|name| name.as_str().to_owned());
            (name(a), a.id).cmp(&(name(b), b.id))
        });
        rooms
    }

    /// One of them.
    pub fn room(&self, id: &RoomId) -> Option<Room> {
        let room = self.rooms.get(self.rooms.number_of(id)?)?;
        Some(self.shown(room))
    }

    /// Who belongs to a room as far as we know: the owner first, then admins, then members, by name.
    pub fn room_members(&self, id: &RoomId) -> Vec<RoomMember> {
        let room = self.rooms.number_of(id).and_then(|number| self.rooms.get(number));
        let Some(seat) = room.and_then(OwnRoom::seat) else { return Vec::new() };
        let forkers: BTreeSet<_> = seat.log().forks().iter().map(|fork| fork.author).collect();
        let member = |(key, member): (&PublicKey, &crate::room::Member)| RoomMember {
            address: key.address(),
            key: *key,
            role: member.role,
            name: self.name_of(&key.address()),
            is_us: key == self.identity.public(),
            missing: seat.talk().missing_of(key),
            has_forked: forkers.contains(key),
        };
        let mut members: Vec<_> = seat.state().members().iter().map(member).collect();
        members.sort_by(|a, b| (b.role, &a.name, a.address).cmp(&(a.role, &b.name, b.address)));
        members
    }

    /// The invitations into a room that can be used now, those that end first first.
    pub fn room_invitations(&self, id: &RoomId, now: Time) -> Vec<RoomInvitation> {
        let room = self.rooms.number_of(id).and_then(|number| self.rooms.get(number));
        let Some(seat) = room.and_then(OwnRoom::seat) else { return Vec::new() };
        let open = seat.state().tokens().iter();
        let open = open.filter(|(_, token)| token.is_open() && token.expires_at > now);
        let mut open: Vec<_> = open
            .map(|(key, token)| RoomInvitation {
                token: *key,
                by: token.by.address(),
                expires_at: token.expires_at,
            })
            .collect();
        open.sort_by_key(|invitation| (invitation.expires_at, invitation.token));
        open
    }

    fn shown(&self, room: &OwnRoom) -> Room {
        let me = self.identity.public();
        match &room.place {
            Place::Joining(joining) => Room {
                id: room.id,
                name: joining.log().map(|log| log.state().name().clone()),
                standing: RoomStanding::Asking { until: joining.until() },
                members: joining.log().map_or(0, |log| log.state().members().len()),
                policy: joining.log().map_or_else(Default::default, |log| log.state().policy()),
                unread: room.unread,
                is_lacking: false,
            },
            Place::Seat(seat) => Room {
                id: room.id,
                name: Some(seat.state().name().clone()),
                standing: match seat.state().rank(me) {
                    Some(role) => RoomStanding::Member(role),
                    None => RoomStanding::Former,
                },
                members: seat.state().members().len(),
                policy: seat.state().policy(),
                unread: room.unread,
                is_lacking: seat.next().is_some(),
            },
        }
    }

    /// Asks members for what is missing, if it is time.
    pub(super) fn rooms_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        if self.node.is_none() {
            return Ok(());
        }
        self.tell_idle_untold(turn);
        for number in self.rooms.numbers().collect::<Vec<_>>() {
            let Some(seat) = self.rooms.by_number.get_mut(&number).and_then(OwnRoom::seat_mut)
            else {
                self.ask_again(turn, number);
                continue;
            };
            let steps = seat.ask(turn.now);
            if !steps.is_empty() {
                self.carry(turn, number, steps, Cause::Others)?;
            }
        }
        Ok(())
    }

    /// Whoever has another key is told nothing of a room that they do not ask for under that.
    pub(super) fn forget_untold(&mut self, contact: u32) {
        self.rooms.untold.retain(|(_, member)| *member != contact);
    }

    /// Writes down what the disk lacks of a room, and what it has too much.
    fn write_room(&mut self, number: u32) {
        let Some(room) = self.rooms.by_number.get_mut(&number) else { return };
        let here: BTreeMap<EventId, Vec<u8>> = match &room.place {
            Place::Seat(seat) => fresh(seat.log().events(), &room.rows),
            Place::Joining(joining) => fresh(joining.events(), &room.rows),
        };
        let order: Vec<EventId> = match &room.place {
            Place::Seat(seat) => seat.log().events().map(|event| event.id()).collect(),
            Place::Joining(joining) => joining.events().map(|event| event.id()).collect(),
        };
        let ids: BTreeSet<_> = order.iter().copied().collect();
        for gone in room.rows.keys().copied().filter(|id| !ids.contains(id)).collect::<Vec<_>>() {
            if let Some(row) = room.rows.remove(&gone) {
                self.journal.delete(Drawer::RoomEvents, records::row_key(number, row));
            }
        }
        for id in order.iter().filter(|id| here.contains_key(id)) {
            let (row, bytes) = (room.next_row, here[id].clone());
            room.next_row += 1;
            room.rows.insert(*id, row);
            self.journal.put(Drawer::RoomEvents, records::row_key(number, row), bytes);
        }
        if let Place::Seat(seat) = &room.place {
            let bytes = seat.to_bytes();
            if bytes != room.kept {
                self.journal.put(Drawer::Rooms, records::seat_key(number), bytes.clone());
                room.kept = bytes;
            }
        }
        self.write_held(number);
    }

    fn write_held(&mut self, number: u32) {
        let Some(room) = self.rooms.by_number.get_mut(&number) else { return };
        let Place::Seat(seat) = &room.place else { return };
        let mut here = BTreeMap::new();
        for event in seat.log().waiting() {
            here.insert(*event.id().as_bytes(), HeldRow::Event(Box::new(event.clone())));
        }
        for (id, author, first, said) in seat.talk().held() {
            let hash = *id.as_bytes();
            let written_at = room.written.get(&hash).copied().unwrap_or_default();
            let (author, said) = (*author, Box::new(said.clone()));
            here.insert(hash, HeldRow::Line { written_at, author, first, said });
        }
        room.written.retain(|hash, _| here.contains_key(hash));
        let gone = room.held.iter().filter(|hash| !here.contains_key(*hash));
        for hash in gone.copied().collect::<Vec<_>>() {
            room.held.remove(&hash);
            self.journal.delete(Drawer::RoomHeld, records::held_key(number, &hash));
        }
        for (hash, row) in here {
            if room.held.insert(hash) {
                self.journal.put(
                    Drawer::RoomHeld,
                    records::held_key(number, &hash),
                    row.to_bytes(),
                );
            }
        }
    }

    /// Writes down what a room is to us.
    fn write_head(&mut self, number: u32) {
        let Some(room) = self.rooms.get(number) else { return };
        let joining = match &room.place {
            Place::Seat(_) => None,
            Place::Joining(joining) => {
                let (invitation, join) = (joining.invitation().clone(), joining.join().clone());
                Some((invitation, join, joining.earlier().to_vec()))
            }
        };
        let head = RoomHead { room: room.id, unread: room.unread, joining };
        self.journal.put(Drawer::Rooms, number.to_be_bytes().to_vec(), head.to_bytes());
    }
}

/// Those events that the disk lacks.
fn fresh<'a>(
    events: impl Iterator<Item = &'a crate::verified::Verified<crate::room::Event>>,
    rows: &BTreeMap<EventId, u32>,
) -> BTreeMap<EventId, Vec<u8>> {
    let fresh = events.filter(|event| !rows.contains_key(&event.id()));
    fresh.map(|event| (event.id(), event.to_bytes())).collect()
}

/// All rows of one room.
fn read_of(
    turn: Turn<'_>,
    drawer: Drawer,
    number: u32,
) -> Result<Vec<crate::store::Entry>, StoreError> {
    const PAGE: usize = 1_024;
    let (mut all, mut from) = (Vec::new(), number.to_be_bytes().to_vec());
    let to = number.saturating_add(1).to_be_bytes();
    loop {
        let page = turn.store.scan(drawer, &from, &to, PAGE)?;
        let is_last = page.len() < PAGE;
        if let Some((last, _)) = page.last() {
            from = [&last[..], &[0]].concat();
        }
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
