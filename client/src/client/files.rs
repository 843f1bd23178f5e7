//! Files that are offered and taken.

use std::future::Future;
use std::path::{Path, PathBuf};

use comm_proto::address::Address;
use comm_proto::agent::{Command, Entry, File, FileCommand, MessageNumber, Outcome};
use comm_proto::time::Span;

use super::driver::Ask;
use super::{Client, ClientError, ask_driver};
use crate::files::{describe, part, place_of};

impl Client {
    /// Offers a file to somebody (PROTOCOL §4.23): nothing of it leaves before they take it, and pieces leave as long as it
    /// lies where it is, unchanged. All of it is read first, which takes a while if it is large; what is returned needs the
    /// client no more.
    ///
    /// # Errors
    /// When the file cannot be read or offered, the message is impossible, or the client has ended.
    pub fn offer_file(
        &self,
        to: Address,
        path: PathBuf,
        ttl: Span,
    ) -> impl Future<Output = Result<Entry, ClientError>> + Send + use<> {
        let asks = self.asks.clone();
        async move {
            let described = tokio::task::spawn_blocking(move || describe(&path)).await;
            let (offer, place) = described.map_err(|_| ClientError::Closed)??;
            let command = Command::File(FileCommand::Offer { to, offer, place, ttl });
            match ask_driver(&asks, |reply| Ask::Command { command, reply }).await?? {
                Outcome::Queued(entry) => Ok(entry),
                _ => Err(ClientError::Closed),
            }
        }
    }

    /// Takes the file that a message offers, or goes on with it. It comes into the directory `into`, which is made if there
    /// is none (`downloads` in the data directory, if nothing is said), under `name` or the name that it was offered under,
    /// which is made safe; if there is such a file, a number stands behind the name. Events tell how it goes on.
    ///
    /// # Errors
    /// When the message offers no file or it has ended, too many are coming, or the client has ended.
    pub async fn take_file(
        &self,
        number: MessageNumber,
        into: Option<&Path>,
        name: Option<String>,
    ) -> Result<File, ClientError> {
        let into = into.unwrap_or(&self.downloads);
        let dir = std::path::absolute(into).unwrap_or_else(|_| into.to_owned());
        let owner = &self.address.to_string()[..8];
        let place = place_of(&part(&dir, owner, number.0));
        self.about_file(FileCommand::Take { number, place, name }).await
    }

    /// Refuses the file that a message offers, gives it up if it comes, or does not give it any more if it is the person's.
    ///
    /// # Errors
    /// When the message offers no file or it has ended, or the client has ended.
    pub async fn stop_file(&self, number: MessageNumber) -> Result<File, ClientError> {
        self.about_file(FileCommand::Stop(number)).await
    }

    /// Every file that was offered, by the person or to them, the newest first.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn files(&self) -> Result<Vec<File>, ClientError> {
        self.ask(Ask::Files).await
    }

    async fn about_file(&self, command: FileCommand) -> Result<File, ClientError> {
        match self.command(Command::File(command)).await? {
            Outcome::File(file) => Ok(*file),
            _ => Err(ClientError::Closed),
        }
    }
}
