//! Files that are offered, taken and brought over (PROTOCOL §4.23).
//!
//! Entry type is [`Files`]. An agent holds no file: it has its host read pieces of those that the person offers, and write
//! those that come. Which pieces are here is on its own disk, and nothing is acknowledged that the host's does not have.
//!
//! `commands` does what the person wants, `hearing` takes in what others say about a file, `giving` brings pieces on their
//! way, as many as the window lets, `taking` asks for pieces and has them written, `records` is what lies on disk.

mod commands;
mod giving;
mod hearing;
mod io;
mod pieces;
mod records;
mod taking;

use std::collections::{BTreeMap, BTreeSet};

use crate::content::Content;
use crate::envelope::TTL_DEFAULT;
use crate::file::{FileNote, Offer, Range, pieces_of};
use crate::payload::{ContentType, MessageId};
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::drawer::Drawer;
use super::entry::{Entry, MessageNumber, MessageState};
use super::inbox::Read;
use super::io::Event;
use super::outbox::Outbox;
use super::records::Outgoing;
use super::{Agent, Turn, read_all};

pub use io::{
    File, FileCommand, FileEnd, FileError, FileEvent, FileOrder, FileReport, FileStanding,
    Unwritten,
};
use pieces::Pieces;
use records::{FileRecord, FileState, Wanted, file_key, pages_of};

/// The most files that are known; of more, the oldest gives way to which nothing more happens or that was not answered.
const FILES_MAX: usize = 512;
/// The most that come at a time.
const TAKEN_MAX: usize = 16;
/// The most pieces of one file that are on their way or being read.
const WINDOW: usize = 16;
/// The most of all files, beyond which each may still have one.
const GIVING_MAX: usize = 64;
/// The most of one file that could not be written and are asked for again.
const UNWRITTEN_MAX: usize = TAKEN_MAX * WINDOW;
/// The most answers to what somebody says of files that have no use for it, on their way to them: as many as the files of
/// a program that keeps to the bounds.
const ANSWERS_MAX: usize = TAKEN_MAX;
/// The longest word of a host for where a file is, in bytes.
const PLACE_MAX: usize = 8 << 10;
/// More pages of pieces than the largest file has.
const PAGES_MAX: usize = 1 << 10;
/// How often at most the person is told how far a file has come.
const TOLD_EVERY: Span = Span::from_secs(1);
/// From here on messages are numbered of which the person does not know.
const ASIDE: u64 = 1 << 63;

/// Every file, by the message that offers it.
#[derive(Debug, Default)]
pub(super) struct Files {
    by_number: BTreeMap<MessageNumber, OwnFile>,
    /// By who offered it or was offered it, and what that message is called.
    by_id: BTreeMap<(u32, MessageId), MessageNumber>,
    /// The number of the next message about a file.
    next_aside: u64,
}

/// A file as it is to us.
#[derive(Debug)]
struct OwnFile {
    record: FileRecord,
    activity: Activity,
    /// When the person was last told how far it has come.
    told_at: Time,
}

/// What is being done with a file.
#[derive(Debug)]
enum Activity {
    None,
    Giving(Giving),
    Taking(Taking),
}

/// Pieces of a file of ours that are wanted.
#[derive(Debug, Default)]
struct Giving {
    wanted: Wanted,
    /// The host reads them.
    reading: BTreeSet<u32>,
    /// They are on their way, by their messages.
    under_way: BTreeMap<MessageNumber, u32>,
}

/// Pieces of a file that comes.
#[derive(Debug)]
struct Taking {
    pieces: Pieces,
    /// The host writes them; their envelopes may end then.
    writing: BTreeMap<u32, Vec<Read>>,
    /// They could not be written; their envelopes may end when they are asked for again.
    unwritten: Vec<Read>,
    /// When they are asked for again, and how long after that if nothing comes.
    again_at: Time,
    wait: Span,
    is_finishing: bool,
    /// Why nothing more is taken.
    halted: Option<String>,
}

impl Files {
    pub(super) fn read(turn: Turn<'_>, outbox: &Outbox) -> Result<Self, StoreError> {
        let mut files = Self { next_aside: ASIDE, ..Self::default() };
        for (key, value) in read_all(turn, Drawer::Files)? {
            let number = key.try_into().map(u64::from_be_bytes);
            let number = MessageNumber(number.map_err(|_| StoreError::Damaged("files"))?);
            let record = FileRecord::from_bytes(&value)?;
            let activity = read_activity(turn, number, &record)?;
            files.insert(number, OwnFile { record, activity, told_at: Time::ZERO });
        }
        for (number, message) in outbox.asides() {
            files.next_aside = files.next_aside.max(number.0.saturating_add(1));
            files.note_under_way(number, message);
        }
        Ok(files)
    }

    fn note_under_way(&mut self, number: MessageNumber, message: &Outgoing) {
        let Some((file, index)) = FileNote::piece_in(&message.body) else { return };
        let known = self.by_id.get(&(message.contact, file)).copied();
        if let Some(giving) = known.and_then(|known| self.giving_mut(known)) {
            giving.under_way.insert(number, index);
        }
    }

    fn insert(&mut self, number: MessageNumber, file: OwnFile) {
        self.by_id.insert((file.record.contact, file.record.id), number);
        self.by_number.insert(number, file);
    }

    fn get(&self, number: MessageNumber) -> Option<&OwnFile> {
        self.by_number.get(&number)
    }

    fn number_of(&self, contact: u32, id: MessageId) -> Option<MessageNumber> {
        self.by_id.get(&(contact, id)).copied()
    }

    fn giving_mut(&mut self, number: MessageNumber) -> Option<&mut Giving> {
        match &mut self.by_number.get_mut(&number)?.activity {
            Activity::Giving(giving) => Some(giving),
            _ => None,
        }
    }

    fn taking_mut(&mut self, number: MessageNumber) -> Option<&mut Taking> {
        match &mut self.by_number.get_mut(&number)?.activity {
            Activity::Taking(taking) => Some(taking),
            _ => None,
        }
    }

    fn taking(&self) -> impl Iterator<Item = (MessageNumber, &Taking)> {
        self.by_number.iter().filter_map(|(number, file)| match &file.activity {
            Activity::Taking(taking) => Some((*number, taking)),
            _ => None,
        })
    }

    fn giving(&self) -> impl Iterator<Item = (MessageNumber, &Giving)> {
        self.by_number.iter().filter_map(|(number, file)| match &file.activity {
            Activity::Giving(giving) => Some((*number, giving)),
            _ => None,
        })
    }

    /// When pieces are to be asked for again.
    pub(super) fn next(&self) -> Option<Time> {
        let comes = self.taking().filter(|(_, taking)| taking.is_asking());
        comes.map(|(_, taking)| taking.again_at).min()
    }

    /// The oldest to which nothing more happens, or that was offered and not answered.
    fn oldest_idle(&self) -> Option<MessageNumber> {
        let is_idle = |file: &OwnFile| match &file.record.state {
            FileState::Open | FileState::Here { .. } | FileState::Ended(_) => true,
            FileState::Ours { is_given, .. } => *is_given,
            FileState::Taken { .. } => false,
        };
        let mut idle = self.by_number.iter().filter(|(_, file)| is_idle(file));
        idle.next().map(|(number, _)| *number)
    }
}

fn read_activity(
    turn: Turn<'_>,
    number: MessageNumber,
    record: &FileRecord,
) -> Result<Activity, StoreError> {
    match &record.state {
        FileState::Ours { .. } => {
            let wanted = turn.store.get(Drawer::FileWants, &file_key(number))?;
            let wanted = wanted.map(|wanted| Wanted::from_bytes(&wanted)).transpose()?;
            let wanted = wanted.unwrap_or_default();
            Ok(Activity::Giving(Giving { wanted, ..Giving::default() }))
        }
        FileState::Taken { .. } => {
            let mut pieces = Pieces::none(pieces_of(record.offer.size()));
            let (from, to) = pages_of(number);
            for (key, bytes) in turn.store.scan(Drawer::FilePieces, &from, &to, PAGES_MAX)? {
                let page = key.last_chunk().map(|page| u32::from_be_bytes(*page));
                if !page.is_some_and(|page| pieces.restore(page, &bytes)) {
                    return Err(StoreError::Damaged("file-pieces"));
                }
            }
            Ok(Activity::Taking(Taking::new(pieces)))
        }
        _ => Ok(Activity::None),
    }
}

impl Agent {
    /// Every file that was offered, by us or to us, the newest first.
    pub fn files(&self) -> Vec<File> {
        let newest_first = self.files.by_number.iter().rev();
        newest_first.filter_map(|(number, file)| self.shown_file(*number, file)).collect()
    }

    /// The file that a message offers.
    pub fn file(&self, number: MessageNumber) -> Option<File> {
        self.files.get(number).and_then(|file| self.shown_file(number, file))
    }

    fn shown_file(&self, number: MessageNumber, file: &OwnFile) -> Option<File> {
        let contact = self.people.get(file.record.contact)?.address;
        let standing = match (&file.record.state, &file.activity) {
            (FileState::Ours { is_given: true, .. }, _) => FileStanding::Given,
            (FileState::Ours { .. }, Activity::Giving(giving)) => match giving.left() {
                0 => FileStanding::Offered,
                left => FileStanding::Giving { left },
            },
            (FileState::Ours { .. }, _) => FileStanding::Offered,
            (FileState::Open, _) => FileStanding::Open,
            (FileState::Taken { .. }, Activity::Taking(taking)) => {
                let done = taking.pieces.bytes_here(file.record.offer.size());
                FileStanding::Taking { done, halted: taking.halted.clone() }
            }
            (FileState::Taken { .. }, _) => FileStanding::Taking { done: 0, halted: None },
            (FileState::Here { place }, _) => FileStanding::Here { place: place.clone() },
            (FileState::Ended(end), _) => FileStanding::Ended(*end),
        };
        Some(File { number, contact, offer: file.record.offer.clone(), standing })
    }

    /// Does what is due: asks for pieces, finishes what is whole, brings on its way what has room.
    pub(super) fn files_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        self.finish_files();
        if self.node.is_some() {
            self.ask_for_pieces(turn)?;
            self.serve_files();
        }
        Ok(())
    }

    /// The host has read or written something, or has not.
    pub(super) fn on_file(&mut self, turn: Turn<'_>, report: FileReport) -> Result<(), StoreError> {
        match report {
            FileReport::Read { number, index, result } => {
                self.on_piece_read(turn, number, index, result)
            }
            FileReport::Written { number, index, result } => {
                self.on_piece_written(turn, number, index, result)
            }
            FileReport::Finished { number, result } => self.on_finished(turn, number, result),
        }
    }

    /// A message that offers a file has come.
    pub(super) fn note_offer(&mut self, contact: u32, entry: &Entry) {
        let offer = Offer::from_bytes(&entry.body).ok();
        let Some((id, offer)) = entry.id.zip(offer) else { return };
        if self.make_room_for_file() {
            let state = FileState::Open;
            self.keep_file(entry.number, FileRecord { contact, id, offer, state });
        }
    }

    /// Makes sure that one more file fits; whether it does.
    fn make_room_for_file(&mut self) -> bool {
        if self.files.by_number.len() < FILES_MAX {
            return true;
        }
        let idle = self.files.oldest_idle();
        idle.map(|number| self.forget_file(number)).is_some()
    }

    /// Writes a file down as it is from now on, and begins with what is to be done with it.
    fn keep_file(&mut self, number: MessageNumber, record: FileRecord) {
        let pieces = pieces_of(record.offer.size());
        let activity = match &record.state {
            FileState::Ours { .. } => Activity::Giving(Giving::default()),
            FileState::Taken { .. } => Activity::Taking(Taking::new(Pieces::none(pieces))),
            _ => Activity::None,
        };
        self.journal.put(Drawer::Files, file_key(number), record.to_bytes());
        self.files.insert(number, OwnFile { record, activity, told_at: Time::ZERO });
    }

    /// Changes what a file is, and with that what is done with it.
    fn change_file(&mut self, number: MessageNumber, state: FileState) {
        let Some(file) = self.files.get(number) else { return };
        let record = FileRecord { state, ..file.record.clone() };
        self.clear_file_rows(number);
        self.keep_file(number, record);
    }

    fn clear_file_rows(&mut self, number: MessageNumber) {
        let (from, to) = pages_of(number);
        self.journal.delete_range(Drawer::FilePieces, from, to);
        self.journal.delete(Drawer::FileWants, file_key(number));
    }

    fn forget_file(&mut self, number: MessageNumber) {
        let Some(file) = self.files.by_number.remove(&number) else { return };
        self.files.by_id.remove(&(file.record.contact, file.record.id));
        self.discard(number, &file.record);
        self.clear_file_rows(number);
        self.journal.delete(Drawer::Files, file_key(number));
    }

    /// All that was said with somebody is forgotten, and with it their files and ours for them.
    pub(super) fn forget_files_of(&mut self, contact: u32) {
        let theirs = self.files.by_number.iter().filter(|(_, file)| file.record.contact == contact);
        for number in theirs.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.forget_file(number);
        }
    }

    /// What was written of a file that will not be whole goes.
    fn discard(&mut self, number: MessageNumber, record: &FileRecord) {
        if let FileState::Taken { place, .. } = &record.state {
            self.order(FileOrder::Discard { number, place: place.clone() });
        }
    }

    fn order(&mut self, order: FileOrder) {
        self.outputs.push_back(super::Output::File(order));
    }

    fn file_event(&mut self, number: MessageNumber, event: impl FnOnce(File) -> FileEvent) {
        if let Some(file) = self.file(number) {
            self.promise_event(Event::File(event(file)));
        }
    }

    /// Tells how far a file has come, unless that was told a moment ago.
    fn tell_progress(&mut self, turn: Turn<'_>, number: MessageNumber) {
        let Some(file) = self.files.by_number.get_mut(&number) else { return };
        // A clock that was set back must not keep it silent.
        if file.told_at <= turn.now && turn.now < file.told_at + TOLD_EVERY {
            return;
        }
        file.told_at = turn.now;
        self.file_event(number, FileEvent::Progress);
    }

    /// Brings a note on its way that is neither counted nor shown; its number, if there was room for it and something may
    /// be said to them.
    fn send_file_note(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        note: &FileNote,
    ) -> Option<MessageNumber> {
        let record = self.people.get(contact).filter(|record| record.is_present())?;
        self.check_keys(record).ok()?;
        self.check_outbox(TTL_DEFAULT).ok()?;
        let number = MessageNumber(self.files.next_aside);
        self.files.next_aside += 1;
        let (content_type, body) = (ContentType::TRANSFER, note.to_bytes());
        let (content_type, body) = Content::Other { content_type, body }.write();
        let message = Outgoing {
            contact,
            content_type,
            body,
            sequence: 1,
            previous: None,
            sent_at: turn.now,
            expires_at: turn.now + TTL_DEFAULT,
            state: MessageState::Queued,
            envelope: None,
        };
        self.bring(turn, number, message);
        Some(number)
    }
}

impl Outgoing {
    /// What is kept of it once it is sealed: pieces are long, and their envelope has them.
    pub(super) fn sealed(mut self) -> Self {
        if self.content_type == ContentType::TRANSFER && FileNote::piece_in(&self.body).is_some() {
            self.body = FileNote::head(&self.body).to_vec();
        }
        self
    }
}

impl Pieces {
    /// Bytes of the pieces that are here. The last of a file may be shorter than others.
    fn bytes_here(&self, size: u64) -> u64 {
        let full = u64::from(self.here()) * u64::from(crate::file::PIECE_LEN);
        let last = pieces_of(size).saturating_sub(1);
        match crate::file::place_of(size, last) {
            Some((_, length)) if self.has(last) => {
                full - (u64::from(crate::file::PIECE_LEN) - length as u64)
            }
            _ => full,
        }
    }
}

/// Takes the first piece from the front.
fn take_first(ranges: &mut Vec<Range>) -> Option<u32> {
    let range = ranges.first_mut()?;
    let index = range.first;
    range.first = range.first.saturating_add(1);
    range.count = range.count.saturating_sub(1);
    if range.count == 0 {
        ranges.remove(0);
    }
    Some(index)
}
