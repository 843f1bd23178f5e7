//! Who may write to a person, and who they are sure of.

use comm_proto::address::Address;
use comm_proto::agent::{Command, Comparison, Contact, Outcome, Request};
use comm_proto::profile::Profile;
use comm_proto::time::Time;

use super::driver::Ask;
use super::{Client, ClientError};

impl Client {
    /// Those who want to write to the person and wait to be let in, the first first (PROTOCOL §4.12).
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn requests(&self) -> Result<Vec<Request>, ClientError> {
        Ok(self.ask(Ask::Requests).await??)
    }

    /// Lets somebody in who asked, under a name if there is one. What they have written comes as events.
    ///
    /// # Errors
    /// When they do not ask or the name is impossible, or the client has ended.
    pub async fn accept(
        &self,
        contact: Address,
        name: Option<String>,
    ) -> Result<Contact, ClientError> {
        match self.command(Command::Accept { contact, name }).await? {
            Outcome::Contact(contact) => Ok(contact),
            _ => Err(ClientError::Closed),
        }
    }

    /// Forgets what a stranger wrote who asked, and takes nothing more of them for 30 days and 3 hours. Returns
    /// how many messages are forgotten, and until when they are refused.
    ///
    /// # Errors
    /// When they do not ask, or the client has ended.
    pub async fn refuse(&self, contact: Address) -> Result<(usize, Time), ClientError> {
        match self.command(Command::Refuse(contact)).await? {
            Outcome::Refused { messages, until, .. } => Ok((messages, until)),
            _ => Err(ClientError::Closed),
        }
    }

    /// Takes nothing of somebody any more, whoever they are. They do not learn it.
    ///
    /// # Errors
    /// When it is the person themselves or no more contacts fit, or the client has ended.
    pub async fn block(&self, contact: Address) -> Result<Contact, ClientError> {
        match self.command(Command::Block(contact)).await? {
            Outcome::Blocked(contact) => Ok(contact),
            _ => Err(ClientError::Closed),
        }
    }

    /// Takes what somebody writes again. Returns whether they are a contact again, rather than a stranger.
    ///
    /// # Errors
    /// When they are not blocked, or the client has ended.
    pub async fn unblock(&self, contact: Address) -> Result<bool, ClientError> {
        match self.command(Command::Unblock(contact)).await? {
            Outcome::Unblocked { is_contact, .. } => Ok(is_contact),
            _ => Err(ClientError::Closed),
        }
    }

    /// Whom the person has blocked, by name.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn blocked(&self) -> Result<Vec<Contact>, ClientError> {
        self.ask(Ask::Blocked).await
    }

    /// Says of ourselves who we are from now on, to contacts to whom we turned (PROTOCOL §4.22). Name and line may be
    /// empty.
    ///
    /// # Errors
    /// When they cannot be shown to others, or the client has ended.
    pub async fn set_profile(&self, name: &str, status: &str) -> Result<Profile, ClientError> {
        let (name, status) = (name.to_owned(), status.to_owned());
        match self.command(Command::SetProfile { name, status }).await? {
            Outcome::Profile(profile) => Ok(profile),
            _ => Err(ClientError::Closed),
        }
    }

    /// What we say of ourselves, if we ever did.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn profile(&self) -> Result<Option<Profile>, ClientError> {
        self.ask(Ask::Profile).await
    }

    /// Goes on with the key that a contact has, which was in doubt (PROTOCOL §4.21).
    ///
    /// # Errors
    /// When nothing is in doubt or nobody with this address is a contact, or the client has ended.
    pub async fn trust(&self, contact: Address) -> Result<Contact, ClientError> {
        match self.command(Command::Trust(contact)).await? {
            Outcome::Contact(contact) => Ok(contact),
            _ => Err(ClientError::Closed),
        }
    }

    /// Notes what came of comparing the safety number with a contact (PROTOCOL §4.1).
    ///
    /// # Errors
    /// When nobody with this address is a contact whose key is known, or the client has ended.
    pub async fn compare(
        &self,
        contact: Address,
        comparison: Comparison,
    ) -> Result<Contact, ClientError> {
        match self.command(Command::Compare { contact, comparison }).await? {
            Outcome::Contact(contact) => Ok(contact),
            _ => Err(ClientError::Closed),
        }
    }
}
