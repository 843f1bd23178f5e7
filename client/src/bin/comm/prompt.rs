//! Asking for a secret on a terminal.
//!
//! Entry function is [`ask`]. The terminal stops showing what is typed before the question appears,
//! so that whoever answers at once, or pastes, shows nothing either.

use std::io::{self, Stdin, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// The longest answer in bytes; nobody types more.
const ANSWER_MAX: usize = 4_096;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const KILL_LINE: u8 = 0x15;

/// Asks `question` on the terminal that standard input is.
///
/// # Errors
/// When the terminal fails, or the person interrupts or ends the input.
pub(crate) fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let hidden = Hidden::begin()?;
    eprint!("{question}");
    io::stderr().flush()?;
    let answer = read_answer(|| hidden.key());
    eprintln!();
    answer
}

/// A terminal that shows nothing and hands over each key; as it was again when this is dropped.
struct Hidden {
    terminal: Stdin,
    before: Termios,
}

impl Hidden {
    fn begin() -> io::Result<Self> {
        let terminal = io::stdin();
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        // Without signals too: one would end the program and leave the terminal like this.
        let modes = LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        hidden.local_modes.remove(modes);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
        Ok(Self { terminal, before })
    }

    /// The next byte; none when the terminal is gone. Not through the buffer of standard input: what
    /// is typed after the answer belongs to whoever reads next.
    fn key(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        loop {
            match rustix::io::read(&self.terminal, &mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(byte[0])),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _gone = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

fn read_answer(mut key: impl FnMut() -> io::Result<Option<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    // Never grows: growing would leave copies behind.
    let mut answer = Zeroizing::new(Vec::with_capacity(ANSWER_MAX));
    loop {
        match key()? {
            Some(b'\n' | b'\r') => return Ok(answer),
            None | Some(END) if answer.is_empty() => {
                return Err(io::Error::other("no secret was given"));
            }
            None => return Ok(answer),
            Some(INTERRUPT) => return Err(io::Error::other("interrupted")),
            Some(KILL_LINE) => answer.clear(),
            Some(byte) if BACKSPACE.contains(&byte) => remove_character(&mut answer),
            Some(byte) if byte < b' ' => {}
            Some(_) if answer.len() == ANSWER_MAX => {
                return Err(io::Error::other("the secret is too long to be typed"));
            }
            Some(byte) => answer.push(byte),
        }
    }
}

/// Removes the last character with all its bytes.
fn remove_character(answer: &mut Vec<u8>) {
    while let Some(byte) = answer.pop() {
        let continues = byte & 0b1100_0000 == 0b1000_0000;
        if !continues {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str) -> Result<String, String> {
        let mut keys = keys.bytes();
        let answer = read_answer(|| Ok(keys.next())).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(answer.to_vec()).unwrap())
    }

    #[test]
    fn an_answer_ends_with_its_line() {
        assert_eq!(typed("pass word\rmore"), Ok("pass word".to_owned()));
        assert_eq!(typed("pass"), Ok("pass".to_owned()));
        assert_eq!(typed("\n"), Ok(String::new()));
    }

    #[test]
    fn mistakes_can_be_corrected() {
        assert_eq!(typed("aü\u{7f}b\n"), Ok("ab".to_owned()));
        assert_eq!(typed("\u{8}a\n"), Ok("a".to_owned()));
        assert_eq!(typed("wrong\u{15}right\n"), Ok("right".to_owned()));
    }

    #[test]
    fn whoever_does_not_want_to_answer_need_not() {
        assert!(typed("pa\u{3}").unwrap_err().contains("interrupted"));
        assert!(typed("\u{4}").unwrap_err().contains("no secret"));
        assert!(typed("").unwrap_err().contains("no secret"));
        assert!(typed(&"x".repeat(ANSWER_MAX + 1)).unwrap_err().contains("too long"));
    }
}
