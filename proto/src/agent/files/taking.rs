//! Pieces of files that come: asked for, proved, written by the host, and only then acknowledged.

use std::collections::BTreeMap;

use crate::agent::drawer::Drawer;
use crate::agent::entry::MessageNumber;
use crate::agent::inbox::Read;
use crate::agent::{Agent, Output, Promise, Turn};
use crate::file::{FileNote, Piece, pieces_of, place_of};
use crate::payload::MessageId;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::io::{FileEnd, FileEvent, FileOrder, Unwritten};
use super::pieces::Pieces;
use super::records::{FileState, page_key, pages_of};
use super::{Taking, UNWRITTEN_MAX, WINDOW};

/// How long nothing may come before pieces are asked for again: the first time, and at most.
const SILENCE_MIN: Span = Span::from_secs(20);
const SILENCE_MAX: Span = Span::from_mins(64);
/// Envelopes of one piece that may wait for its being written: it is sent again only when one has expired.
const COPIES_MAX: usize = 8;

impl Taking {
    pub(super) fn new(pieces: Pieces) -> Self {
        Self {
            pieces,
            writing: BTreeMap::new(),
            unwritten: Vec::new(),
            again_at: Time::ZERO,
            wait: SILENCE_MIN,
            is_finishing: false,
            halted: None,
        }
    }

    /// Pieces that came are not here. Of more than come from whoever keeps to their window the rest stays where it is.
    fn note_unwritten(&mut self, copies: impl IntoIterator<Item = Read>) {
        let room = UNWRITTEN_MAX.saturating_sub(self.unwritten.len());
        self.unwritten.extend(copies.into_iter().take(room));
    }

    /// Whether pieces are to be asked for.
    pub(super) fn is_asking(&self) -> bool {
        self.halted.is_none() && !self.pieces.is_whole()
    }
}

impl Agent {
    /// Asks for what is not here of every file that comes, if nothing has come for a while.
    pub(super) fn ask_for_pieces(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        // A clock that was set back makes nobody wait for what it said before.
        let is_time = |at: Time| at <= turn.now || at > turn.now + SILENCE_MAX;
        let is_due = |taking: &Taking| taking.is_asking() && is_time(taking.again_at);
        let due = self.files.taking().filter(|(_, taking)| is_due(taking));
        for number in due.map(|(number, _)| number).collect::<Vec<_>>() {
            self.ask_for_file(turn, number)?;
        }
        Ok(())
    }

    /// What was asked before is replaced; but whoever has not heard that either is not there.
    fn ask_for_file(&mut self, turn: Turn<'_>, number: MessageNumber) -> Result<(), StoreError> {
        let Some(file) = self.files.get(number) else { return Ok(()) };
        let (contact, id) = (file.record.contact, file.record.id);
        let Some(taking) = self.files.taking_mut(number) else { return Ok(()) };
        taking.again_at = turn.now + taking.wait;
        taking.wait = taking.wait.times(2).min(SILENCE_MAX);
        for read in std::mem::take(&mut taking.unwritten) {
            self.journal.promise(Promise::Acknowledge(read));
        }
        let note = FileNote::Want { file: id, ranges: taking.pieces.lacking() };
        if !self.is_note_on_its_way(contact, &note) {
            self.take_back_wants(turn, contact, id)?;
            self.send_file_note(turn, contact, &note);
        }
        Ok(())
    }

    fn take_back_wants(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        id: MessageId,
    ) -> Result<(), StoreError> {
        let is_want = |body: &[u8]| match FileNote::from_bytes(body) {
            Ok(FileNote::Want { file, .. }) => file == id,
            _ => false,
        };
        let asides = self.outbox.asides();
        let wants = asides.filter(|(_, one)| one.contact == contact && is_want(&one.body));
        for number in wants.map(|(number, _)| number).collect::<Vec<_>>() {
            self.withdraw(turn, number)?;
        }
        Ok(())
    }

    /// A piece has come. Its envelope may end once the host has it on its disk, or if it is of no use.
    pub(super) fn on_piece(
        &mut self,
        number: MessageNumber,
        (index, piece): (u32, Piece),
        turn: Turn<'_>,
        read: Read,
    ) -> Result<(), StoreError> {
        let Some(file) = self.files.by_number.get_mut(&number) else { return Ok(()) };
        let (contact, id) = (file.record.contact, file.record.id);
        let (offer, state) = (&file.record.offer, &file.record.state);
        let (super::Activity::Taking(taking), FileState::Taken { place, .. }) =
            (&mut file.activity, state)
        else {
            // Whoever sends what is here has not heard that it is.
            let is_here = matches!(state, FileState::Here { .. });
            let note = if is_here { FileNote::Whole(id) } else { FileNote::Refuse(id) };
            self.answer(turn, contact, &note);
            self.journal.promise(Promise::Acknowledge(read));
            return Ok(());
        };
        if taking.pieces.has(index) {
            self.journal.promise(Promise::Acknowledge(read));
            return Ok(());
        }
        if let Some(copies) = taking.writing.get_mut(&index) {
            copies.extend((copies.len() < COPIES_MAX).then_some(read));
            return Ok(());
        }
        // Of more than come from whoever keeps to their window, too, the rest is asked for again.
        if taking.halted.is_some() || taking.writing.len() >= WINDOW {
            taking.note_unwritten([read]);
            return Ok(());
        }
        if !piece.is_of(offer.root(), offer.size(), index) {
            self.journal.promise(Promise::Acknowledge(read));
            self.end_taking(turn, number, FileEnd::Forged);
            return Ok(());
        }
        let Some((offset, _)) = place_of(offer.size(), index) else { return Ok(()) };
        (taking.again_at, taking.wait) = (turn.now + SILENCE_MIN, SILENCE_MIN);
        taking.writing.insert(index, vec![read]);
        let (is_begun, place) = (taking.pieces.here() > 0, place.clone());
        let data = piece.data;
        self.order(FileOrder::Write { number, index, place, offset, data, is_begun });
        Ok(())
    }

    /// Whoever goes on sending what we know nothing of is told to stop.
    pub(super) fn refuse_piece(&mut self, turn: Turn<'_>, contact: u32, id: MessageId) {
        let note = FileNote::Refuse(id);
        if !self.is_note_on_its_way(contact, &note) {
            self.send_file_note(turn, contact, &note);
        }
    }

    /// The host has a piece on its disk, or has not.
    pub(super) fn on_piece_written(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        index: u32,
        result: Result<(), Unwritten>,
    ) -> Result<(), StoreError> {
        let Some(taking) = self.files.taking_mut(number) else { return Ok(()) };
        // What was written before all was lost is not there either.
        let Some(copies) = taking.writing.remove(&index) else { return Ok(()) };
        if let Err(why) = result {
            taking.note_unwritten(copies);
            return self.on_unwritten(turn, number, why);
        }
        taking.pieces.insert(index);
        let (page, bytes) = taking.pieces.page_of(index);
        self.journal.put(Drawer::FilePieces, page_key(number, page), bytes);
        for read in copies {
            self.journal.promise(Promise::Acknowledge(read));
        }
        self.tell_progress(turn, number);
        self.finish_files();
        Ok(())
    }

    /// The host could not write.
    fn on_unwritten(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        why: Unwritten,
    ) -> Result<(), StoreError> {
        let Some(file) = self.files.by_number.get_mut(&number) else { return Ok(()) };
        let pieces = pieces_of(file.record.offer.size());
        let super::Activity::Taking(taking) = &mut file.activity else { return Ok(()) };
        taking.is_finishing = false;
        match why {
            Unwritten::Lost => {
                let lost = std::mem::replace(taking, Taking::new(Pieces::none(pieces)));
                taking.note_unwritten(lost.unwritten);
                taking.note_unwritten(lost.writing.into_values().flatten());
                let (from, to) = pages_of(number);
                self.journal.delete_range(Drawer::FilePieces, from, to);
                if self.node.is_some() {
                    self.ask_for_pieces(turn)?;
                }
            }
            Unwritten::Disk(reason) => {
                let is_news = taking.halted.replace(reason).is_none();
                if is_news {
                    self.file_event(number, FileEvent::Ended);
                }
            }
        }
        Ok(())
    }

    /// Has the host finish what is whole.
    pub(super) fn finish_files(&mut self) {
        let is_whole = |taking: &Taking| {
            taking.pieces.is_whole() && !taking.is_finishing && taking.halted.is_none()
        };
        let whole = self.files.taking().filter(|(_, taking)| is_whole(taking));
        for number in whole.map(|(number, _)| number).collect::<Vec<_>>() {
            let Some(file) = self.files.by_number.get_mut(&number) else { continue };
            if let super::Activity::Taking(taking) = &mut file.activity {
                taking.is_finishing = true;
            }
            let (size, root) = (file.record.offer.size(), *file.record.offer.root());
            let FileState::Taken { place, name } = file.record.state.clone() else { continue };
            // That all is here must be on our disk first: else it would all be fetched again after a crash.
            let order = FileOrder::Finish { number, place, name, size, root };
            self.journal.promise(Promise::Output(Box::new(Output::File(order))));
        }
    }

    /// The host has given a file its name, or has not.
    pub(super) fn on_finished(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        result: Result<Vec<u8>, Unwritten>,
    ) -> Result<(), StoreError> {
        if !self.files.taking_mut(number).is_some_and(|taking| taking.is_finishing) {
            return Ok(());
        }
        let place = match result {
            Ok(place) => place,
            Err(why) => return self.on_unwritten(turn, number, why),
        };
        let Some(file) = self.files.get(number) else { return Ok(()) };
        let (contact, id) = (file.record.contact, file.record.id);
        self.change_file(number, FileState::Here { place });
        self.take_back_wants(turn, contact, id)?;
        self.send_file_note(turn, contact, &FileNote::Whole(id));
        self.file_event(number, FileEvent::Done);
        Ok(())
    }

    /// A file that was offered to us or comes will not, whatever was written of it goes.
    pub(super) fn end_taking(&mut self, turn: Turn<'_>, number: MessageNumber, end: FileEnd) {
        let Some(file) = self.files.get(number) else { return };
        let record = file.record.clone();
        self.discard(number, &record);
        self.change_file(number, FileState::Ended(end));
        if matches!(end, FileEnd::Refused | FileEnd::Forged) {
            self.refuse_piece(turn, record.contact, record.id);
        }
        if end != FileEnd::Refused {
            self.file_event(number, FileEvent::Ended);
        }
    }
}
