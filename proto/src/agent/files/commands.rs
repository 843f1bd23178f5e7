//! What a person wants of files.

use crate::address::Address;
use crate::agent::entry::{Author, Entry, MessageNumber};
use crate::agent::io::{CommandError, Outcome, Refusal};
use crate::agent::{Agent, Turn};
use crate::content::{Content, Text};
use crate::file::{Offer, Reason, safe_name};
use crate::payload::ContentType;
use crate::time::Span;

use super::io::{FileCommand, FileEnd, FileError};
use super::records::{FileRecord, FileState};
use super::{Activity, PLACE_MAX, TAKEN_MAX};

impl From<FileError> for Refusal {
    fn from(error: FileError) -> Self {
        Self::Command(CommandError::File(error))
    }
}

impl Agent {
    /// The person wants something of a file.
    pub(in crate::agent) fn obey_about_file(
        &mut self,
        turn: Turn<'_>,
        command: FileCommand,
    ) -> Result<Outcome, Refusal> {
        let number = match command {
            FileCommand::Offer { to, offer, place, ttl } => {
                return self.offer_file(turn, to, (offer, place), ttl).map(Outcome::Queued);
            }
            FileCommand::Take { number, place, name } => {
                self.take_file(turn, number, place, name)?;
                number
            }
            FileCommand::Stop(number) => {
                self.stop_file(turn, number)?;
                number
            }
        };
        let file = self.file(number).ok_or(FileError::NoOffer(number))?;
        Ok(Outcome::File(Box::new(file)))
    }

    fn offer_file(
        &mut self,
        turn: Turn<'_>,
        to: Address,
        (offer, place): (Offer, Vec<u8>),
        ttl: Span,
    ) -> Result<Entry, Refusal> {
        if place.len() > PLACE_MAX {
            return Err(FileError::Place.into());
        }
        let (content_type, body) = (ContentType::FILE, offer.to_bytes());
        self.check_message(body.len(), 0, ttl)?;
        let contact = self.know(turn, to)?;
        if !self.make_room_for_file() {
            return Err(FileError::TooMany.into());
        }
        let content = Content::Other { content_type, body: body.clone() };
        let sent = self.prepare(turn, contact, content, ttl)?;
        let (id, number) = (sent.id, sent.number);
        let text = Text { text: body, ..Text::default() };
        let entry = self.keep_and_launch(turn, sent, content_type, text);
        let state = FileState::Ours { place, is_given: false };
        self.keep_file(number, FileRecord { contact, id, offer, state });
        Ok(entry)
    }

    fn take_file(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        place: Vec<u8>,
        name: Option<String>,
    ) -> Result<(), Refusal> {
        if place.len() > PLACE_MAX {
            return Err(FileError::Place.into());
        }
        self.know_file(turn, number)?;
        let Some(file) = self.files.by_number.get_mut(&number) else {
            return Err(FileError::TooMany.into());
        };
        match &file.record.state {
            FileState::Open => {}
            FileState::Ours { .. } => return Err(FileError::Own(number).into()),
            FileState::Here { .. } => return Err(FileError::Here(number).into()),
            FileState::Ended(_) => return Err(FileError::Ended(number).into()),
            FileState::Taken { .. } => {
                if let Activity::Taking(taking) = &mut file.activity
                    && taking.halted.take().is_some()
                {
                    taking.again_at = turn.now;
                }
                return Ok(self.files_due(turn)?);
            }
        }
        if self.files.taking().count() >= TAKEN_MAX {
            return Err(FileError::TooManyTaken.into());
        }
        let offered = self.files.get(number).map(|file| file.record.offer.name().to_owned());
        let name = safe_name(&name.or(offered).unwrap_or_default());
        self.change_file(number, FileState::Taken { place, name });
        Ok(self.files_due(turn)?)
    }

    fn stop_file(&mut self, turn: Turn<'_>, number: MessageNumber) -> Result<(), Refusal> {
        self.know_file(turn, number)?;
        let file = self.files.get(number).ok_or(FileError::TooMany)?;
        match file.record.state {
            FileState::Ours { .. } => Ok(self.end_own_file(turn, number, Reason::Withdrawn)?),
            FileState::Open | FileState::Taken { .. } => {
                self.end_taking(turn, number, FileEnd::Refused);
                Ok(())
            }
            FileState::Here { .. } => Err(FileError::Here(number).into()),
            FileState::Ended(_) => Err(FileError::Ended(number).into()),
        }
    }

    /// An offer that has given way to others is known again by what was said.
    fn know_file(&mut self, turn: Turn<'_>, number: MessageNumber) -> Result<(), Refusal> {
        if self.files.get(number).is_some() {
            return Ok(());
        }
        let found = self.locate(turn, number);
        let (contact, _, entry) = match found {
            Err(Refusal::Command(_)) => return Err(FileError::NoOffer(number).into()),
            found => found?,
        };
        let is_offer = entry.content_type == ContentType::FILE;
        if !is_offer || Offer::from_bytes(&entry.body).is_err() {
            return Err(FileError::NoOffer(number).into());
        }
        if matches!(entry.author, Author::Us { .. }) {
            return Err(FileError::Ended(number).into());
        }
        self.note_offer(contact, &entry);
        if self.files.get(number).is_none() {
            return Err(FileError::TooMany.into());
        }
        Ok(())
    }
}
