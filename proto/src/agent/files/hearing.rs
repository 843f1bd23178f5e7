//! What others say about files.
//!
//! Such notes are taken from contacts alone. They are neither counted nor remembered: each is worth the same however often
//! it comes.

use crate::agent::entry::MessageNumber;
use crate::agent::inbox::Read;
use crate::agent::records::Letter;
use crate::agent::requests::Door;
use crate::agent::{Agent, Promise, Turn};
use crate::file::{FileNote, Reason};
use crate::payload::MessageId;
use crate::store::StoreError;

use super::io::FileEnd;
use super::records::FileState;
use super::{ANSWERS_MAX, Activity};

impl Agent {
    /// A note about a file has come. What is not taken stays where it is, and its author learns nothing.
    pub(in crate::agent) fn hear_about_file(
        &mut self,
        turn: Turn<'_>,
        letter: Letter,
        read: Read,
    ) -> Result<(), StoreError> {
        let sender = letter.sender.address();
        let Door::Open(contact) = self.door(&sender, turn.now) else { return Ok(()) };
        if self.is_another_key(contact, &letter.sender) {
            return Ok(());
        }
        self.learn_key(turn, contact, letter.sender);
        if self.people.get(contact).is_some_and(|record| !record.established) {
            self.change_contact(contact, |record| record.established = true);
        }
        self.people.note_heard(contact, turn.now);
        let note = FileNote::from_bytes(&letter.payload.body).ok();
        let known = note.as_ref().and_then(|note| self.files.number_of(contact, note.file()));
        if let (Some(FileNote::Piece { index, piece, .. }), Some(number)) = (&note, known) {
            return self.on_piece(number, (*index, piece.clone()), turn, read);
        }
        self.journal.promise(Promise::Acknowledge(read));
        match (note, known) {
            // A later program's, or what means nothing any more.
            (None, _) => {}
            (Some(note), None) => self.answer_unknown(turn, contact, &note),
            (Some(FileNote::Want { ranges, .. }), Some(number)) => {
                self.on_want(turn, number, ranges, letter.payload.sent_at);
            }
            (Some(FileNote::Refuse(_)), Some(number)) => self.on_refused(turn, number)?,
            (Some(FileNote::Whole(_)), Some(number)) => self.on_whole(turn, number)?,
            (Some(FileNote::Gone { reason, .. }), Some(number)) => {
                self.on_gone(turn, number, reason);
            }
            (Some(FileNote::Piece { .. }), Some(_)) => {}
        }
        Ok(())
    }

    /// Of a file that is not known here: whoever waits for it, or goes on sending it, is told so.
    fn answer_unknown(&mut self, turn: Turn<'_>, contact: u32, note: &FileNote) {
        let file: MessageId = note.file();
        match note {
            FileNote::Want { .. } => {
                self.answer(turn, contact, &FileNote::Gone { file, reason: Reason::Withdrawn });
            }
            FileNote::Piece { .. } => self.answer(turn, contact, &FileNote::Refuse(file)),
            FileNote::Refuse(_) | FileNote::Gone { .. } | FileNote::Whole(_) => {}
        }
    }

    /// Answers what somebody says of a file that has no use for it. Whoever asks for more answers than may wait for them
    /// gets none, and asks again: else they could fill what is on its way from us to everybody.
    pub(super) fn answer(&mut self, turn: Turn<'_>, contact: u32, note: &FileNote) {
        let is_answer = |body: &[u8]| {
            use FileNote::{Gone, Refuse, Whole};
            matches!(FileNote::from_bytes(body), Ok(Refuse(_) | Gone { .. } | Whole(_)))
        };
        let asides = self.outbox.asides();
        let answers = asides.filter(|(_, one)| one.contact == contact && is_answer(&one.body));
        if answers.count() < ANSWERS_MAX && !self.is_note_on_its_way(contact, note) {
            self.send_file_note(turn, contact, note);
        }
    }

    /// Whoever offered a file does not give it any more.
    fn on_gone(&mut self, turn: Turn<'_>, number: MessageNumber, reason: Reason) {
        let waits =
            self.files.get(number).is_some_and(|file| match (&file.record.state, &file.activity) {
                (FileState::Open, _) => true,
                // All of it is here: nobody's word takes it away.
                (FileState::Taken { .. }, Activity::Taking(taking)) => !taking.pieces.is_whole(),
                _ => false,
            });
        if waits {
            self.end_taking(turn, number, FileEnd::from(reason));
        }
    }
}
