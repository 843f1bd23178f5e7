//! Where lines come from and go to: a terminal, or pipes.
//!
//! Entry type is [`Screen`]. On a terminal a line that somebody is typing stays whole when another
//! appears; a pipe gets and gives plain lines. Threads of their own wait for both, so that nobody
//! who does not read holds the program up, but for what it wants to print.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::ExternalPrinter;
use rustyline::history::MemHistory;
use tokio::sync::{mpsc, oneshot};

use crate::input::{Input, LineEditor};
use crate::json;
use crate::moment::Moments;
use crate::plain;
use crate::shown::{Bell, Shown};

/// Texts that wait to be printed.
const PRINTS_MAX: usize = 256;
/// Has what follows take the place of the line above.
const LINE_ABOVE: &str = "\x1b[1A\x1b[2K";
/// How long the last texts may take to be printed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Prints.
#[derive(Debug)]
pub(crate) struct Screen {
    prints: mpsc::Sender<Print>,
    json: bool,
    bell: Bell,
    /// How the terminal was before lines were edited on it.
    terminal: Option<Termios>,
}

/// What the printing thread is told.
#[derive(Debug)]
pub(crate) enum Print {
    /// To print this.
    Text(String),
    /// To print this in place of the one before it, if nothing else was printed since.
    Bar(String),
    /// To leave the last such line as it is.
    LeaveBar,
    /// To answer once everything before this is printed.
    Flush(oneshot::Sender<()>),
}

impl Screen {
    /// Begins to print; what it returns beside itself is where lines come from. With `json` it prints
    /// objects, and no lines are edited.
    pub(crate) fn open(json: bool) -> (Self, Input) {
        let (prints, waiting) = mpsc::channel(PRINTS_MAX);
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if let Some((editor, printer)) = (is_terminal && !json).then(edit).flatten() {
            let terminal = tcgetattr(io::stdin()).ok();
            let _printer = thread::spawn(move || print_beside(waiting, printer));
            return (
                Self { prints, json, bell: Bell::On, terminal },
                Input::Editor(Box::new(editor)),
            );
        }
        let _printer = thread::spawn(move || print_plainly(waiting));
        (Self { prints, json, bell: Bell::On, terminal: None }, Input::Pipe)
    }

    /// Prints one thing. Waits while too much is waiting; what nobody reads any more is lost.
    pub(crate) async fn show(&self, shown: &Shown) {
        let text = self.render(shown);
        let _unread = self.prints.send(Print::Text(text + "\n")).await;
    }

    /// The same, and rings the bell of the terminal if there is one and it is on.
    pub(crate) async fn show_aloud(&self, shown: &Shown) {
        let bell = if self.is_terminal() && self.bell == Bell::On { "\x07" } else { "" };
        let text = format!("{bell}{}\n", self.render(shown));
        let _unread = self.prints.send(Print::Text(text)).await;
    }

    /// Prints a line that takes the place of the one before it that was printed so, as long as nothing else comes in
    /// between. Where lines stay it is one more.
    pub(crate) async fn show_bar(&self, shown: &Shown) {
        let text = self.render(shown) + "\n";
        let print = if self.is_terminal() { Print::Bar(text) } else { Print::Text(text) };
        let _unread = self.prints.send(print).await;
    }

    /// Something was typed: what is printed from now on takes no place of what was there.
    pub(crate) async fn leave_bar(&self) {
        let _unread = self.prints.send(Print::LeaveBar).await;
    }

    /// Whether the bell rings.
    pub(crate) fn bell(&self) -> Bell {
        self.bell
    }

    /// Turns the bell on or off.
    pub(crate) fn set_bell(&mut self, bell: Bell) {
        self.bell = bell;
    }

    fn render(&self, shown: &Shown) -> String {
        match self.json {
            true => json::render(shown),
            false => plain::render(shown, &Moments::now()),
        }
    }

    /// Tells when all that was shown so far is printed; an error, that it never will be.
    pub(crate) async fn printed(&self) -> oneshot::Receiver<()> {
        let (printed, all) = oneshot::channel();
        let _unread = self.prints.send(Print::Flush(printed)).await;
        all
    }

    /// Whether objects are printed, which programs read.
    pub(crate) fn is_for_programs(&self) -> bool {
        self.json
    }

    /// Whether a person edits lines here.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// A way to print what needs no rendering.
    pub(crate) fn prints(&self) -> mpsc::Sender<Print> {
        self.prints.clone()
    }

    /// Prints what is left and gives the terminal back as it was.
    pub(crate) async fn close(self) {
        if let Some(terminal) = &self.terminal {
            // Somebody may be typing: without this their shell would not show what they type.
            let _gone = tcsetattr(io::stdin(), OptionalActions::Now, terminal);
        }
        let printed = async {
            let (printed, all) = oneshot::channel();
            if self.prints.send(Print::Flush(printed)).await.is_ok() {
                let _ended = all.await;
            }
        };
        let _late = tokio::time::timeout(PATIENCE, printed).await;
    }
}

/// An editor for this terminal, if it can have one.
fn edit() -> Option<(LineEditor, impl ExternalPrinter + Send + 'static)> {
    let config = rustyline::Config::default();
    let mut editor = LineEditor::with_history(config, MemHistory::new()).ok()?;
    let printer = editor.create_external_printer().ok()?;
    Some((editor, printer))
}

fn print_beside(prints: mpsc::Receiver<Print>, mut printer: impl ExternalPrinter) {
    print_all(prints, |text| printer.print(text).is_ok());
}

fn print_plainly(prints: mpsc::Receiver<Print>) {
    let mut out = io::stdout().lock();
    print_all(prints, |text| out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok());
}

/// Ends when nobody prints any more or nobody reads.
fn print_all(mut prints: mpsc::Receiver<Print>, mut print: impl FnMut(String) -> bool) {
    let mut is_bar_last = false;
    while let Some(next) = prints.blocking_recv() {
        match next {
            Print::Text(text) => {
                is_bar_last = false;
                if !print(text) {
                    return;
                }
            }
            Print::Bar(text) => {
                let place = if is_bar_last { LINE_ABOVE } else { "" };
                is_bar_last = true;
                if !print(format!("{place}{text}")) {
                    return;
                }
            }
            Print::LeaveBar => is_bar_last = false,
            Print::Flush(printed) => drop(printed.send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_takes_the_place_of_the_one_before_it_unless_something_stands_between() {
        let (prints, waiting) = mpsc::channel(PRINTS_MAX);
        let bar = |text: &str| Print::Bar(text.to_owned());
        let text = Print::Text("said".to_owned());
        for print in [bar("1"), bar("2"), text, bar("3"), bar("4"), Print::LeaveBar, bar("5")] {
            prints.try_send(print).unwrap();
        }
        drop(prints);
        let mut printed = Vec::new();
        print_all(waiting, |text| {
            printed.push(text);
            true
        });
        let above = |text: &str| format!("{LINE_ABOVE}{text}");
        assert_eq!(printed, ["1", &above("2"), "said", "3", &above("4"), "5"]);
    }
}
