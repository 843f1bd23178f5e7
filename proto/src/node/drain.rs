//! Handing over what a node holds before it leaves for good (PROTOCOL §6.10).
//!
//! Entry type is [`Drain`]; what it has come to is a [`Handover`]. While it lasts the node takes in nothing
//! and gives no receipts, so that two nodes that leave at the same time cannot count on each other. What it
//! holds is taken up a bounded number at a time, in the order of mailboxes, and offered to the nodes that
//! it belongs to until these have given their receipts *since*. Nothing is removed and nothing written down: a
//! node that begins again from the same disk has everything and is an ordinary one.

use std::collections::{BTreeMap, BTreeSet};

use crate::acknowledgement::Acknowledgement;
use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::EnvelopeId;
use crate::message::{IDS_MAX, Request, SIGNED_MAX};
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::table::Status;
use crate::time::{Span, Time};
use crate::verified::Verified;

use super::acknowledge::to_be_told;
use super::calls::Purpose;
use super::exchange::parse_waiting_id;
use super::io::{Event, Family};
use super::keys;
use super::records::{Custody, Ending, Role};
use super::regions::{Aim, Found};
use super::{Node, Turn};

/// Things that are being handed over at the same time.
pub(super) const IN_HAND_MAX: usize = 256;
/// Pages of the store read in one step.
const PAGES_MAX: usize = 16;
/// How often a thing is offered, and how long the first offer has; each further one has twice as long.
const ATTEMPTS: u32 = 3;
const FIRST_WAIT: Span = Span::from_secs(8);
/// How soon a thing is looked at again whose region is being searched, or whose bodies are on the way.
const LOOK_AGAIN: Span = Span::from_secs(1);
/// How long bodies may be on the way before that is no excuse any more.
const ON_THE_WAY_MAX: Span = Span::from_mins(10);
/// After so long without anything taken over, the rest is given up.
const STALLED: Span = Span::from_mins(2);
/// The same while nobody is known or answers at all.
const ALONE: Span = Span::from_secs(20);
/// Endings that are handed on: the last ones, and none that ended longer ago. Others have made a round since,
/// and whoever could be told was told.
const ENDINGS_MAX: u64 = 65_536;
const ENDINGS_AGE: Span = Span::from_days(2);

/// How far a node that leaves has come with handing over what it holds (PROTOCOL §6.10). All counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handover {
    /// Envelopes it held when it began.
    pub envelopes: u64,
    /// Of these, envelopes that others have given their receipts for since.
    pub handed_over: u64,
    /// Of those, envelopes with fewer receipts than are wanted.
    pub few: u64,
    /// Receipts: each of one node for one envelope.
    pub receipts: u64,
    /// Envelopes that ended or expired meanwhile.
    pub ended: u64,
    /// Envelopes that no node had room for.
    pub no_room: u64,
    /// Envelopes that were refused for another reason, such as that the others leave as well.
    pub refused: u64,
    /// Envelopes of which no node that they belong to has answered.
    pub unanswered: u64,
    /// Acknowledgements that were taken up to be handed on.
    pub endings: u64,
    /// Of these, those that others were told.
    pub endings_told: u64,
    /// Of these, those that nobody could be told.
    pub endings_untold: u64,
}

impl Handover {
    /// Envelopes that this node alone is known to have, and why is known.
    pub const fn kept(&self) -> u64 {
        self.no_room + self.refused + self.unanswered
    }

    /// Envelopes whose turn is now or later.
    pub const fn left(&self) -> u64 {
        self.envelopes.saturating_sub(self.handed_over + self.ended + self.kept())
    }

    /// Whether nothing has stayed behind.
    pub const fn is_complete(&self) -> bool {
        self.kept() == 0 && self.left() == 0 && self.endings_untold == 0
    }
}

/// Whether a node is leaving.
#[derive(Debug, Default)]
pub(super) enum Drain {
    /// It is not.
    #[default]
    Not,
    /// It hands over what it holds.
    UnderWay(Box<Work>),
    /// Everything is handed over: its host may end it.
    Over,
}

/// What is being handed over and what is left to do.
#[derive(Debug)]
pub(super) struct Work {
    rest: Rest,
    in_hand: BTreeMap<Item, Handing>,
    handover: Handover,
    /// When something was taken over last.
    progress_at: Time,
}

/// What has not been taken up yet.
#[derive(Debug)]
enum Rest {
    /// Envelopes, by the key of the first in the table of mailboxes; after these all endings.
    Envelopes(Vec<u8>),
    /// Endings by number, from the first on and before the second.
    Endings(u64, u64),
    Nothing,
}

/// One thing that is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// An envelope: by the receipts of others.
    Envelope(EnvelopeId),
    /// How envelopes ended, by its number: by the answers of all that may hold them.
    Ending(u64),
}

#[derive(Debug)]
struct Handing {
    place: Address,
    since: Time,
    /// Who has taken it over.
    by: BTreeSet<Address>,
    /// How many may.
    targets: usize,
    attempts: u32,
    due: Time,
    why_not: WhyNot,
}

/// Why nobody has taken it over, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhyNot {
    Unanswered,
    Refused,
    NoRoom,
}

/// What became of one thing when its turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Waits,
    /// It ended meanwhile.
    Gone,
    /// As many have it as are wanted, or all that there are.
    TakenOver,
    /// It was offered as often as it may be.
    GivenUp,
}

/// What is said to one node in one step.
#[derive(Debug, Default)]
struct Word {
    ids: Vec<EnvelopeId>,
    endings: Vec<(u64, Verified<Acknowledgement>)>,
}

type Words = BTreeMap<Address, (Contact, Word)>;

impl Drain {
    /// Things in hand.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::UnderWay(work) => work.in_hand.len(),
            Self::Not | Self::Over => 0,
        }
    }

    fn handing(&mut self, item: &Item) -> Option<&mut Handing> {
        match self {
            Self::UnderWay(work) => work.in_hand.get_mut(item),
            Self::Not | Self::Over => None,
        }
    }
}

impl Work {
    fn take_up(&mut self, item: Item, place: Address, now: Time) {
        self.handover.endings += u64::from(matches!(item, Item::Ending(_)));
        self.in_hand.entry(item).or_insert_with(|| Handing {
            place,
            since: now,
            by: BTreeSet::new(),
            targets: usize::MAX,
            attempts: 0,
            due: now,
            why_not: WhyNot::Unanswered,
        });
    }

    /// Puts one thing down and counts what became of it.
    fn put_down(&mut self, item: Item, wanted: usize) {
        let Some(handing) = self.in_hand.remove(&item) else { return };
        let (by, counts) = (handing.by.len(), &mut self.handover);
        match (item, handing.why_not) {
            (Item::Envelope(_), _) if by > 0 => {
                counts.handed_over += 1;
                counts.few += u64::from(by < wanted);
                counts.receipts += by as u64;
            }
            (Item::Envelope(_), WhyNot::Unanswered) => counts.unanswered += 1,
            (Item::Envelope(_), WhyNot::Refused) => counts.refused += 1,
            (Item::Envelope(_), WhyNot::NoRoom) => counts.no_room += 1,
            (Item::Ending(_), _) if by > 0 => counts.endings_told += 1,
            (Item::Ending(_), _) => counts.endings_untold += 1,
        }
    }

    fn forget(&mut self, item: &Item) {
        if self.in_hand.remove(item).is_some() {
            match item {
                Item::Envelope(_) => self.handover.ended += 1,
                Item::Ending(_) => self.handover.endings -= 1,
            }
        }
    }

    /// When something is to be done about it, if anything changes by then or not.
    fn next(&self, alone: bool) -> Time {
        let patience = if alone { ALONE } else { STALLED };
        let given_up = self.progress_at + patience;
        let wants_more =
            !matches!(self.rest, Rest::Nothing) && self.in_hand.len() <= IN_HAND_MAX / 2;
        if alone {
            return given_up;
        }
        if wants_more || self.in_hand.is_empty() {
            return Time::ZERO;
        }
        self.in_hand.values().map(|handing| handing.due).fold(given_up, Time::min)
    }
}

impl Handing {
    fn is_taken_over(&self, item: &Item, wanted: usize) -> bool {
        let enough = match item {
            Item::Envelope(_) => wanted.min(self.targets),
            Item::Ending(_) => self.targets,
        };
        self.by.len() >= enough.max(1)
    }
}

impl Node {
    /// Whether this node is about to leave for good.
    pub(super) fn is_leaving(&self) -> bool {
        !matches!(self.drain, Drain::Not)
    }

    /// How far handing over has come, while it is under way.
    pub fn handover(&self) -> Option<Handover> {
        match &self.drain {
            Drain::UnderWay(work) => Some(work.handover),
            Drain::Not | Drain::Over => None,
        }
    }

    /// Begins to hand over; goes on if that was begun before.
    pub(super) fn on_drain(&mut self, turn: Turn<'_>) {
        if self.is_leaving() {
            return;
        }
        let handover = Handover { envelopes: self.stats.envelopes, ..Handover::default() };
        self.drain = Drain::UnderWay(Box::new(Work {
            rest: Rest::Envelopes(keys::LOWEST.to_vec()),
            in_hand: BTreeMap::new(),
            handover,
            progress_at: turn.now,
        }));
    }

    /// From now on the node is an ordinary one again.
    pub(super) fn on_stay(&mut self, turn: Turn<'_>) {
        self.drain = Drain::Not;
        // What it was told of meanwhile it did not listen to.
        self.collect_again_by(turn.now);
    }

    /// When handing over goes on.
    pub(super) fn next_drain(&self) -> Option<Time> {
        match &self.drain {
            Drain::UnderWay(work) => Some(work.next(self.knows_nobody())),
            Drain::Not | Drain::Over => None,
        }
    }

    /// Takes up what is next, offers what is due, and ends when nothing is left or nothing is taken over any
    /// more.
    pub(super) fn drain_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        let alone = self.knows_nobody();
        let Drain::UnderWay(work) = &mut self.drain else { return Ok(()) };
        let patience = if alone { ALONE } else { STALLED };
        if turn.now.since(work.progress_at) >= patience {
            self.give_up();
            return Ok(());
        }
        if alone {
            return Ok(());
        }
        self.take_up_more(turn)?;
        self.hand_over_due(turn)?;
        if let Drain::UnderWay(work) = &self.drain
            && work.in_hand.is_empty()
            && matches!(work.rest, Rest::Nothing)
        {
            let mut handover = work.handover;
            // What ended before its turn came is not met.
            handover.ended += handover.left();
            self.end_drain(handover);
        }
        Ok(())
    }

    /// Another node has taken this over.
    pub(super) fn note_taken_over(&mut self, turn: Turn<'_>, item: Item, by: &Address) {
        let wanted = self.receipts_wanted();
        let Drain::UnderWay(work) = &mut self.drain else { return };
        let Some(handing) = work.in_hand.get_mut(&item) else { return };
        if handing.by.insert(*by) {
            work.progress_at = turn.now;
        }
        if handing.is_taken_over(&item, wanted) {
            work.put_down(item, wanted);
        }
    }

    /// Another node has refused these.
    pub(super) fn note_not_taken(&mut self, ids: &[EnvelopeId], reason: &Rejection) {
        let why_not = match reason {
            Rejection::Unreachable | Rejection::OtherNetwork => return,
            Rejection::StoreFull => WhyNot::NoRoom,
            _ => WhyNot::Refused,
        };
        for id in ids {
            if let Some(handing) = self.drain.handing(&Item::Envelope(*id)) {
                handing.why_not = why_not;
            }
        }
    }

    fn knows_nobody(&self) -> bool {
        self.table.is_empty() || self.outage.is_cut_off()
    }

    /// Receipts of others that are wanted of each envelope.
    fn receipts_wanted(&self) -> usize {
        self.config.stored_receipts
    }

    fn end_drain(&mut self, handover: Handover) {
        self.drain = if handover.is_complete() { Drain::Over } else { Drain::Not };
        self.event(Event::Drained { handover });
    }

    /// Nothing has been taken over for long: whatever is left stays here.
    fn give_up(&mut self) {
        let wanted = self.receipts_wanted();
        let Drain::UnderWay(work) = &mut self.drain else { return };
        for item in work.in_hand.keys().copied().collect::<Vec<_>>() {
            work.put_down(item, wanted);
        }
        let mut handover = work.handover;
        handover.unanswered += handover.left();
        // Of those that were not taken up it is not known who was told: nobody.
        let untold = match work.rest {
            Rest::Envelopes(_) => self.stats.acknowledgements.min(ENDINGS_MAX),
            Rest::Endings(from, end) => end - from,
            Rest::Nothing => 0,
        };
        handover.endings += untold;
        handover.endings_untold += untold;
        self.end_drain(handover);
    }

    /// A bounded number of pages in one step; more go on in the next.
    fn take_up_more(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        for _ in 0..PAGES_MAX {
            let Drain::UnderWay(work) = &mut self.drain else { break };
            let room = IN_HAND_MAX - work.in_hand.len();
            match work.rest {
                _ if room < IN_HAND_MAX / 2 => break,
                Rest::Envelopes(_) => self.take_up_envelopes(turn, room)?,
                Rest::Endings(from, end) => self.take_up_endings(turn, from, end, room)?,
                Rest::Nothing => break,
            }
        }
        Ok(())
    }

    fn take_up_envelopes(&mut self, turn: Turn<'_>, room: usize) -> Result<(), StoreError> {
        let end = self.endings;
        let Drain::UnderWay(work) = &mut self.drain else { return Ok(()) };
        let Rest::Envelopes(from) = &work.rest else { return Ok(()) };
        let page = turn.store.scan(Family::Mailboxes, from, keys::HIGHEST, room)?;
        work.rest = match page.last() {
            Some((last, _)) if page.len() == room => Rest::Envelopes(keys::above(last)),
            _ => Rest::Endings(end.saturating_sub(ENDINGS_MAX), end),
        };
        for (key, value) in page {
            let damaged = StoreError::Damaged("mailboxes");
            let (mailbox, _) = keys::parse_mailbox(&key).ok_or(damaged)?;
            let id = parse_waiting_id(&value)?;
            work.take_up(Item::Envelope(id), mailbox, turn.now);
        }
        Ok(())
    }

    fn take_up_endings(
        &mut self,
        turn: Turn<'_>,
        from: u64,
        end: u64,
        room: usize,
    ) -> Result<(), StoreError> {
        let Drain::UnderWay(work) = &mut self.drain else { return Ok(()) };
        let upto = end.min(from + room as u64);
        let (low, high) = (keys::ending(from), keys::ending(upto));
        let page = turn.store.scan(Family::Acknowledgements, &low, &high, room)?;
        work.rest = if upto < end { Rest::Endings(upto, end) } else { Rest::Nothing };
        for (key, value) in page {
            let ending = Ending::from_bytes(&value)?;
            let is_late = turn.now.since(ending.at) <= ENDINGS_AGE;
            let told = to_be_told(ending, self.clock.agreed()).filter(|_| is_late);
            if let (Some(told), Some(number)) = (told, key.first_chunk::<8>()) {
                let number = u64::from_be_bytes(*number);
                work.take_up(Item::Ending(number), told.mailbox(), turn.now);
            }
        }
        Ok(())
    }

    fn hand_over_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        let wanted = self.receipts_wanted();
        // It is put back before anything else may look at it.
        let mut work = match std::mem::take(&mut self.drain) {
            Drain::UnderWay(work) => work,
            other => {
                self.drain = other;
                return Ok(());
            }
        };
        let due = work.in_hand.iter().filter(|(_, handing)| handing.due <= turn.now);
        let due: Vec<_> = due.map(|(item, _)| *item).collect();
        let mut words = Words::new();
        let mut result = Ok(());
        for item in due {
            let Some(handing) = work.in_hand.get_mut(&item) else { continue };
            match self.offer_one(turn, item, handing, &mut words) {
                Ok(Step::Waits) => {}
                Ok(Step::Gone) => work.forget(&item),
                Ok(Step::TakenOver | Step::GivenUp) => work.put_down(item, wanted),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.drain = Drain::UnderWay(work);
        self.say_all(turn, words);
        result
    }

    /// Offers one thing to those that it belongs to and that have not taken it over yet.
    fn offer_one(
        &mut self,
        turn: Turn<'_>,
        item: Item,
        handing: &mut Handing,
        words: &mut Words,
    ) -> Result<Step, StoreError> {
        let (aim, ending) = match item {
            Item::Envelope(id) => match self.custody(turn, &id)? {
                Some(custody) if custody.expires_at > self.clock.agreed() => {
                    (self.aim_of(&custody), None)
                }
                _ => return Ok(Step::Gone),
            },
            Item::Ending(number) => match self.ending_to_tell(turn, number)? {
                Some(told) => (self.aim_of_mailbox(&handing.place), Some((number, told))),
                None => return Ok(Step::Gone),
            },
        };
        let Found::Nodes(nodes) = self.whom_it_belongs_to(turn, &handing.place, aim) else {
            handing.due = turn.now + LOOK_AGAIN;
            return Ok(Step::Waits);
        };
        handing.targets = nodes.len();
        if handing.is_taken_over(&item, self.receipts_wanted()) {
            return Ok(Step::TakenOver);
        }
        let mut missing = nodes;
        missing.retain(|node| !handing.by.contains(&node.address()));
        let all = missing.len();
        if handing.attempts > 0 && turn.now.since(handing.since) < ON_THE_WAY_MAX {
            // Who is slow holds up nobody but itself: the others are asked meanwhile.
            missing.retain(|node| !self.deliveries.is_busy_with(&node.address()));
        }
        let is_last = handing.attempts == ATTEMPTS && handing.by.is_empty();
        if missing.len() < all && (missing.is_empty() || is_last) {
            handing.due = turn.now + LOOK_AGAIN;
            return Ok(Step::Waits);
        }
        if handing.attempts == ATTEMPTS {
            return Ok(Step::GivenUp);
        }
        if handing.attempts == 0 && ending.is_none() {
            // Most of the region has it already: the ids go to few, and bodies to hardly anybody.
            missing = self.draw(&mut missing, self.receipts_wanted());
        }
        handing.due = turn.now + FIRST_WAIT.times(1 << handing.attempts);
        handing.attempts += 1;
        for node in missing {
            let (_, word) = words.entry(node.address()).or_insert((node, Word::default()));
            match (&ending, item) {
                (Some(ending), _) => word.endings.push(ending.clone()),
                (None, Item::Envelope(id)) => word.ids.push(id),
                (None, Item::Ending(_)) => {}
            }
        }
        Ok(Step::Waits)
    }

    fn say_all(&mut self, turn: Turn<'_>, words: Words) {
        for (to, word) in words.into_values() {
            for ids in word.ids.chunks(IDS_MAX) {
                let (ids, request) = (ids.to_vec(), Request::Offer { ids: ids.to_vec() });
                self.call(turn, to.clone(), request, Purpose::Offer { ids });
            }
            for some in word.endings.chunks(SIGNED_MAX) {
                let (endings, acknowledgements) = some.iter().cloned().unzip();
                let request = Request::Acknowledge { acknowledgements };
                self.call(turn, to.clone(), request, Purpose::HandOn { endings });
            }
        }
    }

    /// What belongs to this node's own clients goes by its entries, as ever (PROTOCOL §6.8).
    fn aim_of(&self, custody: &Custody) -> Aim {
        match (custody.role, custody.group) {
            (Role::Own, _) | (Role::Collected, None) => Aim::Own,
            (Role::Collected, Some(_)) => self.aim_of_mailbox(&custody.mailbox),
            (Role::Relayed, _) => Aim::Relayed,
        }
    }

    fn aim_of_mailbox(&self, mailbox: &Address) -> Aim {
        if self.own_mailboxes.contains(mailbox) { Aim::Own } else { Aim::Relayed }
    }

    /// The acknowledgement behind an ending, while it is known here and lasts.
    fn ending_to_tell(
        &self,
        turn: Turn<'_>,
        number: u64,
    ) -> Result<Option<Verified<Acknowledgement>>, StoreError> {
        let value = self.desk.get(turn, Family::Acknowledgements, &keys::ending(number))?;
        let ending = value.map(|bytes| Ending::from_bytes(&bytes)).transpose()?;
        Ok(ending.and_then(|ending| to_be_told(ending, self.clock.agreed())))
    }

    /// Everybody who should have what waits at `place`, as far as they are not known to be away.
    fn whom_it_belongs_to(&mut self, turn: Turn<'_>, place: &Address, aim: Aim) -> Found {
        let known = if aim == Aim::Relayed { self.neighbours_at(place) } else { None };
        let found = match known {
            Some(nodes) => Found::Nodes(nodes),
            None => self.find_region(turn, place, aim),
        };
        let Found::Nodes(mut nodes) = found else { return found };
        let is_there = |node: &Contact| {
            let address = node.address();
            let status = self.table.status(&address, turn.now);
            address != self.address && !node.is_leaf() && status != Some(Status::Bad)
        };
        nodes.retain(is_there);
        Found::Nodes(nodes)
    }
}
