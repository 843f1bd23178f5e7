//! Pieces of our files on their way: as many as the window lets, the next when one has come.

use std::collections::BTreeSet;

use crate::agent::drawer::Drawer;
use crate::agent::entry::{MessageNumber, MessageState};
use crate::agent::{Agent, Turn};
use crate::envelope::CLOCK_TOLERANCE;
use crate::file::{FileNote, Piece, Range, Reason, pieces_of};
use crate::payload::MessageId;
use crate::store::StoreError;
use crate::time::Time;

use super::io::{FileEnd, FileEvent, FileOrder};
use super::records::{FileState, Wanted, file_key};
use super::{GIVING_MAX, Giving, WINDOW, take_first};

impl Giving {
    /// Pieces that are on their way or about to be.
    fn busy(&self) -> usize {
        self.under_way.len() + self.reading.len()
    }

    /// Pieces that have not come to them, as far as we know.
    pub(super) fn left(&self) -> u32 {
        let waiting = self.wanted.ranges.iter().map(|range| range.count);
        let waiting = waiting.fold(0, u32::saturating_add);
        waiting.saturating_add(u32::try_from(self.busy()).unwrap_or(u32::MAX))
    }

    /// The next piece that is wanted and not on its way.
    fn take_next(&mut self) -> Option<u32> {
        let busy: BTreeSet<u32> = self.under_way.values().chain(&self.reading).copied().collect();
        loop {
            let index = take_first(&mut self.wanted.ranges)?;
            if !busy.contains(&index) {
                self.reading.insert(index);
                return Some(index);
            }
        }
    }

    /// What has not left, for the disk: what is being read has not either.
    fn waiting(&self) -> Wanted {
        let reading = self.reading.iter().map(|index| Range { first: *index, count: 1 });
        let ranges = reading.chain(self.wanted.ranges.iter().copied()).collect();
        Wanted { asked_at: self.wanted.asked_at, ranges }
    }
}

impl Agent {
    /// Has the host read pieces that are wanted, as far as the windows have room. Of several files the one with least on
    /// its way goes first.
    pub(in crate::agent) fn serve_files(&mut self) {
        if self.node.is_none() {
            return;
        }
        loop {
            let busy: usize = self.files.giving().map(|(_, giving)| giving.busy()).sum();
            let wants =
                |giving: &Giving| giving.busy() < WINDOW && !giving.wanted.ranges.is_empty();
            let waiting = self.files.giving().filter(|(_, giving)| wants(giving));
            let next = waiting.min_by_key(|(number, giving)| (giving.busy(), *number));
            // Whoever takes files and stays away must not keep everybody else from theirs.
            let has_room = |giving: &Giving| busy < GIVING_MAX || giving.busy() == 0;
            let Some((number, _)) = next.filter(|(_, giving)| has_room(giving)) else { return };
            self.read_next(number);
        }
    }

    fn read_next(&mut self, number: MessageNumber) {
        let Some(file) = self.files.get(number) else { return };
        let FileState::Ours { place, .. } = &file.record.state else { return };
        let (place, offer) = (place.clone(), file.record.offer.clone());
        let giving = self.files.giving_mut(number);
        let Some(index) = giving.and_then(Giving::take_next) else { return };
        let (size, root) = (offer.size(), *offer.root());
        self.order(FileOrder::Read { number, index, place, size, root });
    }

    /// The host has read a piece: it leaves if it is what was offered.
    pub(super) fn on_piece_read(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        index: u32,
        result: Result<Piece, String>,
    ) -> Result<(), StoreError> {
        let giving = self.files.giving_mut(number);
        if !giving.is_some_and(|giving| giving.reading.remove(&index)) {
            return Ok(());
        }
        let Some(file) = self.files.get(number) else { return Ok(()) };
        let (contact, id, offer) = (file.record.contact, file.record.id, &file.record.offer);
        let piece = result.ok().filter(|piece| piece.is_of(offer.root(), offer.size(), index));
        let Some(piece) = piece else {
            return self.end_own_file(turn, number, Reason::Unreadable);
        };
        let note = FileNote::Piece { file: id, index, piece };
        let sent = self.send_file_note(turn, contact, &note);
        if let Some(giving) = self.files.giving_mut(number) {
            match sent {
                Some(message) => drop(giving.under_way.insert(message, index)),
                // Nothing can be said to them now: they ask again.
                None => giving.wanted.ranges.clear(),
            }
        }
        self.write_wanted(number);
        self.serve_files();
        Ok(())
    }

    /// Whoever was offered a file asks for pieces of it.
    pub(super) fn on_want(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        ranges: Vec<Range>,
        asked_at: Time,
    ) {
        let Some(file) = self.files.get(number) else { return };
        let (contact, file_id) = (file.record.contact, file.record.id);
        let pieces = pieces_of(file.record.offer.size());
        let is_given = match file.record.state {
            FileState::Ours { is_given, .. } => is_given,
            _ => {
                let gone = FileNote::Gone { file: file_id, reason: Reason::Withdrawn };
                return self.answer(turn, contact, &gone);
            }
        };
        if ranges.iter().any(|range| range.end() > pieces) {
            return;
        }
        let Some(giving) = self.files.giving_mut(number) else { return };
        // One that comes again is not later; but a clock that was far ahead must not have the last word.
        let last = giving.wanted.asked_at;
        if asked_at <= last && last <= turn.now + CLOCK_TOLERANCE {
            return;
        }
        giving.wanted = Wanted { asked_at, ranges };
        if is_given {
            // They have lost it: it is given again.
            self.set_given(number, false);
        }
        self.write_wanted(number);
        self.serve_files();
    }

    /// They have it whole.
    pub(super) fn on_whole(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
    ) -> Result<(), StoreError> {
        if self.is_ours_to_give(number) {
            self.take_back_pieces(turn, number)?;
            self.set_given(number, true);
            self.file_event(number, FileEvent::Done);
        }
        Ok(())
    }

    /// They do not want it. Whoever has it whole has nothing to refuse.
    pub(super) fn on_refused(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
    ) -> Result<(), StoreError> {
        if self.is_ours_to_give(number) {
            self.take_back_pieces(turn, number)?;
            self.change_file(number, FileState::Ended(FileEnd::Refused));
            self.file_event(number, FileEvent::Ended);
        }
        Ok(())
    }

    fn is_ours_to_give(&self, number: MessageNumber) -> bool {
        let state = self.files.get(number).map(|file| &file.record.state);
        matches!(state, Some(FileState::Ours { is_given: false, .. }))
    }

    /// A file of ours is not given any more, and whoever was offered it is told so.
    pub(in crate::agent) fn end_own_file(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        reason: Reason,
    ) -> Result<(), StoreError> {
        let Some(file) = self.files.get(number) else { return Ok(()) };
        let FileState::Ours { is_given, .. } = file.record.state else { return Ok(()) };
        let (contact, id) = (file.record.contact, file.record.id);
        self.take_back_pieces(turn, number)?;
        self.change_file(number, FileState::Ended(reason.into()));
        if !is_given {
            self.say_gone(turn, contact, id, reason);
        }
        if reason == Reason::Unreadable {
            self.file_event(number, FileEvent::Ended);
        }
        Ok(())
    }

    pub(super) fn say_gone(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        file: MessageId,
        reason: Reason,
    ) {
        let note = FileNote::Gone { file, reason };
        if !self.is_note_on_its_way(contact, &note) {
            self.send_file_note(turn, contact, &note);
        }
    }

    /// Whether this very note is on its way to somebody.
    pub(super) fn is_note_on_its_way(&self, contact: u32, note: &FileNote) -> bool {
        let body = note.to_bytes();
        let mut asides = self.outbox.asides();
        asides.any(|(_, message)| message.contact == contact && message.body == body)
    }

    /// A piece of ours has come further: when it has come to its end the next one leaves.
    pub(in crate::agent) fn on_file_note_state(
        &mut self,
        turn: Turn<'_>,
        message: MessageNumber,
        (contact, body): (u32, &[u8]),
        state: MessageState,
    ) -> Result<(), StoreError> {
        let Some((id, _)) = FileNote::piece_in(body) else { return Ok(()) };
        let number = self.files.number_of(contact, id).filter(|_| state.is_final());
        let Some(number) = number else { return Ok(()) };
        let Some(giving) = self.files.giving_mut(number) else { return Ok(()) };
        if giving.under_way.remove(&message).is_none() {
            return Ok(());
        }
        if state == MessageState::Expired {
            // Nobody has read it for as long as it could wait: they ask again when they are there.
            giving.wanted.ranges.clear();
            self.write_wanted(number);
        }
        if matches!(state, MessageState::Delivered { .. }) {
            self.tell_progress(turn, number);
        }
        self.serve_files();
        Ok(())
    }

    /// Takes what is on its way of a file back, and forgets what is wanted of it.
    fn take_back_pieces(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
    ) -> Result<(), StoreError> {
        let Some(giving) = self.files.giving_mut(number) else { return Ok(()) };
        let asked_at = giving.wanted.asked_at;
        let giving = std::mem::take(giving);
        if let Some(left) = self.files.giving_mut(number) {
            left.wanted.asked_at = asked_at;
        }
        for message in giving.under_way.into_keys() {
            self.withdraw(turn, message)?;
        }
        self.write_wanted(number);
        Ok(())
    }

    fn set_given(&mut self, number: MessageNumber, is_given: bool) {
        let Some(file) = self.files.by_number.get_mut(&number) else { return };
        if let FileState::Ours { is_given: known, .. } = &mut file.record.state {
            *known = is_given;
            self.journal.put(Drawer::Files, file_key(number), file.record.to_bytes());
        }
    }

    fn write_wanted(&mut self, number: MessageNumber) {
        let Some(wanted) = self.files.giving_mut(number).map(|giving| giving.waiting()) else {
            return;
        };
        self.journal.put(Drawer::FileWants, file_key(number), wanted.to_bytes());
    }
}
