//! All that was said with somebody, in a file of its own.
//!
//! Entry function is [`export`]. The file is new, for nobody but its owner, and whole or not there. It is
//! written page by page. What is to disappear is left out: a copy would outlive it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use comm::Pages;
use comm_proto::address::Address;
use comm_proto::agent::Entry;

use crate::moment::Moments;
use crate::shown::{Said, Shown, Talk};
use crate::{json, plain};

/// How a conversation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// The lines of a history.
    Text,
    /// One object; README.md describes it.
    Json,
}

/// Whose conversation is written, and where to.
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) contact: Address,
    pub(crate) file: PathBuf,
}

/// A file that goes again unless it is finished.
struct Unfinished {
    path: PathBuf,
    file: Option<File>,
}

/// Writes all pages to a new file.
pub(crate) async fn export(order: Order, mut pages: Pages) -> Result<Shown, String> {
    let is_json = order.file.extension().is_some_and(|extension| extension == "json");
    let format = if is_json { Format::Json } else { Format::Text };
    let mut file = Unfinished::make(&order.file)?;
    let (mut messages, mut left_out) = (0, 0);
    let head = match format {
        Format::Json => json::export_head(&order.name, order.contact),
        Format::Text => format!("with {} ({})\n", plain::safe(&order.name), order.contact),
    };
    file = file.write(head).await?;
    loop {
        let page = pages.next().await.map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        let mut text = String::new();
        for entry in page {
            if entry.marks.disappears_at.is_some() {
                left_out += 1;
                continue;
            }
            text += &line(&order.name, entry, format, messages == 0);
            messages += 1;
        }
        file = file.write(text).await?;
    }
    if format == Format::Json {
        file = file.write(json::EXPORT_END.to_owned()).await?;
    }
    file.finish().await?;
    let Order { name, contact, file } = order;
    Ok(Talk::Exported { name, contact, file, messages, left_out }.into())
}

/// One message as it stands in the file.
fn line(name: &str, entry: Entry, format: Format, is_first: bool) -> String {
    let said = Said { name: name.to_owned(), entry, answered: None };
    match format {
        Format::Text => plain::history_line(&said, &Moments::dated()) + "\n",
        Format::Json => format!("{}{}", if is_first { "" } else { ",\n" }, json::exported(&said)),
    }
}

impl Unfinished {
    fn make(path: &Path) -> Result<Self, String> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Ok(file) => Ok(Self { path: path.to_owned(), file: Some(file) }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(format!("{} is there already, and is left as it is", path.display()))
            }
            Err(error) => Err(format!("cannot make {}: {error}", path.display())),
        }
    }

    async fn write(self, text: String) -> Result<Self, String> {
        self.change(move |file| file.write_all(text.as_bytes())).await
    }

    async fn finish(self) -> Result<(), String> {
        let mut whole = self.change(|file| file.sync_all()).await?;
        whole.file = None;
        Ok(())
    }

    /// The disk may be slow: nothing else waits for it.
    async fn change(
        mut self,
        change: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, String> {
        let changed = tokio::task::spawn_blocking(move || {
            let result = self.file.as_mut().map_or(Ok(()), change);
            result.map(|()| self)
        });
        let result = changed.await.map_err(|error| error.to_string())?;
        result.map_err(|error| format!("the conversation cannot be written: {error}"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _gone = fs::remove_file(&self.path);
        }
    }
}
