//! What people call a room (PROTOCOL §4.14).

use std::fmt;

use thiserror::Error;

/// The longest name in characters.
pub const NAME_MAX: usize = 64;
/// No character takes more bytes in UTF-8.
pub(super) const NAME_BYTES_MAX: usize = NAME_MAX * 4;

/// 1 to [`NAME_MAX`] characters on one line, without spaces at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomName(String);

/// Why a text is no name of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Its length.
    #[error("a room's name has 1 to {NAME_MAX} characters, this has {0}")]
    Length(usize),
    /// It would not stay on its line, or looks like another.
    #[error("a room's name is one line without spaces at either end")]
    Shape,
}

impl RoomName {
    /// A name.
    ///
    /// # Errors
    /// When the text is empty, too long, or would not stay on its line.
    pub fn new(text: String) -> Result<Self, NameError> {
        let length = text.chars().count();
        if !(1..=NAME_MAX).contains(&length) {
            return Err(NameError::Length(length));
        }
        if text.trim() != text || text.chars().any(|c| c.is_control() || is_line_break(c)) {
            return Err(NameError::Shape);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters that end a line or turn its direction, and are no control characters.
const fn is_line_break(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_that_looks_like_no_other() {
        let name = |text: &str| RoomName::new(text.to_owned()).map(|name| name.to_string());
        assert_eq!(name("book club"), Ok("book club".to_owned()));
        assert_eq!(name(&"ä".repeat(64)), Ok("ä".repeat(64)));
        assert_eq!(name(""), Err(NameError::Length(0)));
        assert_eq!(name(&"x".repeat(65)), Err(NameError::Length(65)));
        for text in [" x", "x ", "a\nb", "a\tb", "a\u{202e}b", "\u{1b}[2J", "a\u{2028}b"] {
            assert_eq!(name(text), Err(NameError::Shape), "{text:?}");
        }
    }
}
