//! Where lines come from and go to: a terminal, or pipes.
//!
//! Entry type is [`Screen`]. On a terminal a line that somebody is typing stays whole when another
//! appears; a pipe gets and gives plain lines. Threads of their own wait for both, so that nobody
//! who does not read holds the program up, but for what it wants to print.

use std::io::{self, IsTerminal, Write};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::history::MemHistory;
use rustyline::{Editor, ExternalPrinter};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::input::{self, Typed};
use crate::json;
use crate::moment::Moments;
use crate::plain;
use crate::shown::Shown;

/// Texts that wait to be printed.
const TEXTS_MAX: usize = 256;
/// How long the last texts may take to be printed.
const PATIENCE: Duration = Duration::from_secs(2);

/// An editor that keeps what was typed in memory only.
pub(crate) type LineEditor = Editor<(), MemHistory>;

/// Prints.
#[derive(Debug)]
pub(crate) struct Screen {
    texts: mpsc::Sender<String>,
    printer: JoinHandle<()>,
    json: bool,
    /// How the terminal was before lines were edited on it.
    terminal: Option<Termios>,
}

impl Screen {
    /// Begins to read lines. With `json` it prints objects, and never edits lines.
    pub(crate) fn open(json: bool) -> Result<(Self, mpsc::Receiver<Typed>), Failure> {
        let (texts, waiting) = mpsc::channel(TEXTS_MAX);
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if let Some((editor, printer)) = (is_terminal && !json).then(edit).flatten() {
            let terminal = tcgetattr(io::stdin()).ok();
            let printer = thread::spawn(move || print_beside(waiting, printer));
            let lines = input::from_editor(editor);
            return Ok((Self { texts, printer, json, terminal }, lines));
        }
        let printer = thread::spawn(move || print_plainly(waiting));
        Ok((Self { texts, printer, json, terminal: None }, input::from_pipe()))
    }

    /// Prints one thing. Waits while too much is waiting; what nobody reads any more is lost.
    pub(crate) async fn show(&self, shown: &Shown) {
        let text = match self.json {
            true => json::render(shown),
            false => plain::render(shown, &Moments::now()),
        };
        let _unread = self.texts.send(text + "\n").await;
    }

    /// Whether a person edits lines here.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// A way to print lines that need no rendering.
    pub(crate) fn texts(&self) -> mpsc::Sender<String> {
        self.texts.clone()
    }

    /// Prints what is left and gives the terminal back as it was.
    pub(crate) async fn close(self) {
        let Self { texts, printer, terminal, .. } = self;
        if let Some(terminal) = terminal {
            // Somebody may be typing: without this their shell would not show what they type.
            let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &terminal);
        }
        // Log lines hold senders too: what counts is that everything sent so far is printed.
        let capacity = texts.max_capacity();
        let printed = async {
            let _all = texts.reserve_many(capacity).await;
        };
        let _late = tokio::time::timeout(PATIENCE, printed).await;
        drop(texts);
        drop(printer);
    }
}

/// An editor for this terminal, if it can have one.
fn edit() -> Option<(LineEditor, impl ExternalPrinter + Send + 'static)> {
    let mut editor = LineEditor::with_history(rustyline::Config::default(), MemHistory::new());
    let editor_ = editor.as_mut().ok()?;
    let printer = editor_.create_external_printer().ok()?;
    Some((editor.ok()?, printer))
}

fn print_beside(mut texts: mpsc::Receiver<String>, mut printer: impl ExternalPrinter) {
    while let Some(text) = texts.blocking_recv() {
        if printer.print(text).is_err() {
            return;
        }
    }
}

fn print_plainly(mut texts: mpsc::Receiver<String>) {
    let mut out = io::stdout().lock();
    while let Some(text) = texts.blocking_recv() {
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
