//! What lines want of files, and what becomes of these.

use std::path::PathBuf;
use std::time::Instant;

use comm_proto::agent::{File, FileEvent};

use super::{Chat, text};
use crate::file_line::FileLine;
use crate::filing::{Filing, NamedFile};
use crate::line::Who;
use crate::shown::{Said, Shown, Talk};

impl Chat {
    /// Says where files are put that are taken.
    pub(crate) fn download_into(&mut self, dir: Option<PathBuf>) {
        self.downloads = dir;
    }

    /// What a line about files comes to; nothing, if that is told later.
    pub(super) async fn obey_about_files(
        &mut self,
        line: FileLine,
    ) -> Result<Option<Shown>, String> {
        let filing = match line {
            FileLine::Send { to, path } => return self.send_file(&to, path).await.map(|()| None),
            FileLine::List => {
                let mut files = Vec::new();
                for file in self.client.files().await.map_err(text)? {
                    files.push(self.named_file(file).await);
                }
                Filing::Files(files)
            }
            FileLine::Take { number, name } => {
                let into = self.downloads.clone();
                let taken = self.client.take_file(number, into.as_deref(), name).await;
                Filing::File(self.named_file(taken.map_err(text)?).await)
            }
            FileLine::Stop(number) => {
                let stopped = self.client.stop_file(number).await.map_err(text)?;
                Filing::File(self.named_file(stopped).await)
            }
        };
        Ok(Some(filing.into()))
    }

    /// Begins to read a file that is to be offered; the chat goes on meanwhile.
    async fn send_file(&mut self, to: &Who, path: PathBuf) -> Result<(), String> {
        let address = self.find(to).await?;
        let name = self.name(address).await;
        let offering = self.client.offer_file(address, path, self.ttl);
        self.copies.spawn(async move {
            match offering.await {
                Ok(entry) => Talk::Queued(Said { name, entry, answered: None }).into(),
                Err(error) => Shown::Error(error.to_string()),
            }
        });
        Ok(())
    }

    /// What happened to a file; nothing, if it is not worth a line.
    pub(super) async fn file_news(&mut self, event: &FileEvent) -> Option<Shown> {
        let (FileEvent::Progress(file) | FileEvent::Done(file) | FileEvent::Ended(file)) = event;
        let named = self.named_file(file.clone()).await;
        let filing = match event {
            FileEvent::Progress(file) => {
                let (done, size) = (named.done(), file.offer.size());
                let pace = self.paces.entry(file.number).or_default();
                let rate = pace.note(Instant::now(), done);
                // A bar that moves is worth a look each second, lines that stay are not.
                let stays = !self.screen.is_terminal() && !self.screen.is_for_programs();
                if stays && !pace.is_next_tenth(done, size) {
                    return None;
                }
                Filing::Progress { file: named, rate }
            }
            FileEvent::Done(file) => {
                self.paces.remove(&file.number);
                Filing::Done(named)
            }
            FileEvent::Ended(file) => {
                self.paces.remove(&file.number);
                Filing::Ended(named)
            }
        };
        Some(filing.into())
    }

    async fn named_file(&mut self, file: File) -> NamedFile {
        NamedFile { name: self.name(file.contact).await, file }
    }
}
