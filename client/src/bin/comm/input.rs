//! The lines that somebody types or a pipe brings.
//!
//! Entry type is [`Input`]. It has a thread of its own, which nobody waits for: a read cannot be
//! called off. The channel ends when the input does.

use std::io::{self, BufRead, Read};
use std::thread;

use rustyline::Editor;
use rustyline::history::MemHistory;
use tokio::sync::{mpsc, oneshot};

/// The longest line: more than a message with a name before it.
const LINE_MAX: u64 = 256 << 10;
/// Lines that wait to be obeyed.
const LINES_MAX: usize = 64;
const PROMPT: &str = "> ";

/// An editor that keeps what was typed in memory only.
pub(crate) type LineEditor = Editor<(), MemHistory>;

/// Where lines come from.
pub(crate) enum Input {
    /// A person on a terminal.
    Editor(Box<LineEditor>),
    /// Standard input as it is.
    Pipe,
}

/// What was typed, or why it is no line. The next prompt appears when this is dropped.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) line: Result<String, String>,
    _obeyed: Option<oneshot::Sender<()>>,
}

impl Input {
    /// Begins to read; on a terminal the prompt appears.
    pub(crate) fn read(self) -> mpsc::Receiver<Typed> {
        match self {
            Self::Editor(editor) => from_editor(*editor),
            Self::Pipe => from_pipe(),
        }
    }
}

/// Lines of a person, until they end the input.
fn from_editor(mut editor: LineEditor) -> mpsc::Receiver<Typed> {
    let (lines, typed) = mpsc::channel(LINES_MAX);
    // Detached: the process ends without it.
    let _reader = thread::spawn(move || {
        while let Ok(line) = editor.readline(PROMPT) {
            let _unkept = editor.add_history_entry(&line);
            let (obeyed, wait) = oneshot::channel();
            if lines.blocking_send(Typed { line: Ok(line), _obeyed: Some(obeyed) }).is_err() {
                return;
            }
            // Dropped, never sent.
            let _obeyed = wait.blocking_recv();
        }
    });
    typed
}

/// Lines of standard input, until it ends.
fn from_pipe() -> mpsc::Receiver<Typed> {
    let (lines, typed) = mpsc::channel(LINES_MAX);
    // Detached: the process ends without it.
    let _reader = thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Ok(Some(line)) = next_line(&mut input) {
            if lines.blocking_send(Typed { line, _obeyed: None }).is_err() {
                return;
            }
        }
    });
    typed
}

fn next_line(input: &mut impl BufRead) -> io::Result<Option<Result<String, String>>> {
    let mut line = Vec::new();
    input.take(LINE_MAX + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() as u64 > LINE_MAX && !line.ends_with(b"\n") {
        skip_line(input)?;
        return Ok(Some(Err(format!("a line has at most {LINE_MAX} bytes"))));
    }
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = String::from_utf8(line.to_vec());
    Ok(Some(text.map_err(|_| "the line is not UTF-8".to_owned())))
}

/// Reads to the end of the line without keeping it.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(bytes.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() || used == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut bytes: &[u8]) -> Vec<Result<String, String>> {
        std::iter::from_fn(|| next_line(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn the_last_line_needs_no_end() {
        let line = |text: &str| Ok(text.to_owned());
        assert_eq!(
            lines(b"one\r\n\n two \nlast"),
            [line("one"), line(""), line(" two "), line("last")]
        );
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_bad_line_does_not_spoil_the_next() {
        let long = vec![b'x'; LINE_MAX as usize + 7];
        let input = [&long[..], b"\n\xff\xfe\ngood\n", &long].concat();
        let lines = lines(&input);
        assert_eq!(lines.len(), 4);
        assert!(lines[0].is_err() && lines[1].is_err() && lines[3].is_err());
        assert_eq!(lines[2], Ok("good".to_owned()));
    }

    #[test]
    fn the_longest_line_is_taken() {
        let line = "x".repeat(LINE_MAX as usize);
        assert_eq!(lines(format!("{line}\nnext").as_bytes()), [Ok(line), Ok("next".to_owned())]);
    }
}
