//! What a person may want, and who sees to it.

use super::io::{Command, CommandError, CommandId, Outcome, Output, Refusal};
use super::{Agent, Promise, Turn};
use crate::store::StoreError;

impl Agent {
    /// The person wants something.
    pub(super) fn on_command(
        &mut self,
        turn: Turn<'_>,
        id: CommandId,
        command: Command,
    ) -> Result<(), StoreError> {
        let result: Result<Outcome, CommandError> = match self.obey(turn, id, command) {
            Ok(Some(outcome)) => Ok(outcome),
            // The node is asked first.
            Ok(None) => return Ok(()),
            Err(Refusal::Command(error)) => Err(error),
            Err(Refusal::Store(error)) => return Err(error),
        };
        self.journal.promise(Promise::Output(Box::new(Output::Done { id, result })));
        Ok(())
    }

    /// What a command comes to; nothing, if that is told later.
    fn obey(
        &mut self,
        turn: Turn<'_>,
        id: CommandId,
        command: Command,
    ) -> Result<Option<Outcome>, Refusal> {
        let outcome = match command {
            Command::AddContact { name, address, key } => {
                Outcome::Contact(self.add_contact(turn, name, address, key)?)
            }
            Command::NoteContact { address, note } => {
                Outcome::Contact(self.note_contact(&address, note)?)
            }
            Command::RemoveContact(address) => self.remove_contact(turn, &address)?,
            Command::Send { to, content_type, body, ttl } => {
                Outcome::Queued(self.send(turn, to, content_type, body, ttl)?)
            }
            Command::Reply { to, text, ttl } => Outcome::Queued(self.reply(turn, to, text, ttl)?),
            Command::Edit { number, text, ttl } => self.edit(turn, number, text, ttl)?,
            Command::Delete { number, ttl } => self.delete(turn, number, ttl)?,
            Command::SetTimer { contact, lifetime, ttl } => {
                Outcome::Queued(self.set_timer(turn, contact, lifetime, ttl)?)
            }
            Command::MarkRead { contact, numbers } => self.mark_read(turn, &contact, &numbers)?,
            Command::SetReceipts { of, rule } => self.set_receipts(of, rule)?,
            Command::Accept { contact, name } => {
                Outcome::Contact(self.accept(turn, &contact, name)?)
            }
            Command::Refuse(contact) => self.refuse(turn, &contact)?,
            Command::Block(contact) => Outcome::Blocked(self.block(turn, contact)?),
            Command::Unblock(contact) => self.unblock(turn, &contact)?,
            Command::Compare { contact, comparison } => {
                Outcome::Contact(self.compare(turn, &contact, comparison)?)
            }
            Command::SetProfile { name, status } => {
                Outcome::Profile(self.set_profile(turn, &name, &status)?)
            }
            Command::Trust(contact) => Outcome::Contact(self.trust(turn, &contact)?),
            Command::Mute { contact, muted } => Outcome::Contact(self.mute(&contact, muted)?),
            Command::Room(command) => Outcome::Room(self.obey_about_room(turn, command)?),
            Command::File(command) => self.obey_about_file(turn, command)?,
            Command::Cancel(number) => {
                self.on_cancel(turn, id, number)?;
                return Ok(None);
            }
        };
        Ok(Some(outcome))
    }
}
