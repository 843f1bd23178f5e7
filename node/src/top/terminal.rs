//! The terminal: raw and on a screen of its own while somebody watches, and as it was before when
//! they leave.
//!
//! Entry types are [`Terminal`] and [`keys`]. What is shown is put together in memory and written
//! at once, so that nothing flickers.

use std::io::{self, Read, Write};
use std::thread;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Attribute, Color, ContentStyle, PrintStyledContent, Stylize};
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use rustix::termios::tcgetwinsize;
use tokio::sync::mpsc;

use super::screen::{Piece, Tone, View};

/// Keys that nobody has looked at yet; whoever leans on the keyboard waits.
const KEYS_MAX: usize = 16;
/// How large a terminal is that does not say so.
const USUAL: (u16, u16) = (80, 24);

/// A terminal that is this program's until it is dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Terminal(());

impl Terminal {
    pub(super) fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on it is put right again, whatever happens.
        let terminal = Self(());
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(terminal)
    }

    /// Shows as much of `view` as there is room for.
    pub(super) fn show(&mut self, view: &View) -> io::Result<()> {
        let (columns, lines) = size();
        let mut bytes = Vec::with_capacity(8_192);
        let rows = view.rows(usize::from(columns), usize::from(lines));
        for (row, line) in rows.iter().zip(0..lines) {
            queue!(bytes, MoveTo(0, line))?;
            for Piece { text, tone } in clipped(row, usize::from(columns)) {
                queue!(bytes, PrintStyledContent(style(tone).apply(text)))?;
            }
            queue!(bytes, Clear(ClearType::UntilNewLine))?;
        }
        if rows.len() < usize::from(lines) {
            let below = u16::try_from(rows.len()).unwrap_or(lines);
            queue!(bytes, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        }
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// Columns and lines of the terminal that is written to, which need not be the one that controls the
/// program.
fn size() -> (u16, u16) {
    let size = tcgetwinsize(io::stdout()).map(|size| (size.ws_col, size.ws_row));
    size.ok().filter(|(columns, lines)| *columns > 0 && *lines > 0).unwrap_or(USUAL)
}

/// The bytes that are typed; none any more when the terminal is gone.
pub(super) fn keys() -> io::Result<mpsc::Receiver<u8>> {
    let (send, keys) = mpsc::channel(KEYS_MAX);
    // Reading cannot be broken off: the thread ends with the program.
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        for byte in io::stdin().lock().bytes() {
            let Ok(byte) = byte else { return };
            if send.blocking_send(byte).is_err() {
                return;
            }
        }
    })?;
    Ok(keys)
}

/// As many characters as there are columns. What takes two columns, as in a warning, is cut by the
/// terminal, which does not wrap lines now.
fn clipped(row: &[Piece], columns: usize) -> Vec<Piece> {
    let mut left = columns;
    let mut pieces = Vec::with_capacity(row.len());
    for Piece { text, tone } in row {
        let text: String = text.chars().take(left).collect();
        left -= text.chars().count();
        pieces.push(Piece { text, tone: *tone });
    }
    pieces
}

fn style(tone: Tone) -> ContentStyle {
    let plain = ContentStyle::new();
    match tone {
        Tone::Plain => plain,
        Tone::Strong => plain.attribute(Attribute::Bold),
        Tone::Faint => plain.attribute(Attribute::Dim),
        Tone::Good => plain.with(Color::Green),
        Tone::Bad => plain.with(Color::Red).attribute(Attribute::Bold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_never_longer_than_the_terminal_is_wide() {
        let row = ["ab", "cdé", "f"].map(Piece::plain);
        for columns in 0..8 {
            let text: String = clipped(&row, columns).into_iter().map(|piece| piece.text).collect();
            assert_eq!(text, "abcdéf".chars().take(columns).collect::<String>());
        }
    }
}
