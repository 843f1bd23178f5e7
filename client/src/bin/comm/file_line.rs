//! What a person types about files.
//!
//! Entry type is [`FileLine`]. A path may have spaces; a lone `~` in front of it is the home directory.

use std::path::PathBuf;

use comm_proto::agent::MessageNumber;

use crate::line::{Group, LineError, Who, number, who};
use crate::room_order::split;

/// Every command about files.
pub(crate) const GROUP: Group = (
    "files",
    &[
        ("/send NAME PATH", "offer the file at PATH to NAME, who takes it or not"),
        ("/files", "every file that was offered, and how far it has come"),
        ("/take ID [NAME]", "take the file that #ID offers, under NAME; or go on with it"),
        ("/stop ID", "refuse the file of #ID, give it up, or do not give yours any more"),
    ],
);

/// A line about files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileLine {
    Send { to: Who, path: PathBuf },
    List,
    Take { number: MessageNumber, name: Option<String> },
    Stop(MessageNumber),
}

/// Reads what stands behind one of these commands.
pub(crate) fn parse(command: &str, rest: &str) -> Result<FileLine, LineError> {
    let (first, rest) = split(rest);
    let rest = rest.trim_end();
    match (command, number(first)) {
        ("send", _) if !first.is_empty() && !rest.is_empty() => {
            Ok(FileLine::Send { to: who(first), path: at_home(rest) })
        }
        ("send", _) => Err(LineError::Usage("/send NAME PATH")),
        ("take", Some(number)) => {
            let name = Some(rest.to_owned()).filter(|name| !name.is_empty());
            Ok(FileLine::Take { number, name })
        }
        ("take", None) => Err(LineError::Usage("/take ID [NAME]")),
        (_, Some(number)) if rest.is_empty() => Ok(FileLine::Stop(number)),
        _ => Err(LineError::Usage("/stop ID")),
    }
}

/// What shells do for words that they read.
fn at_home(path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    match path.strip_prefix("~/").and_then(|rest| Some(home()?.join(rest))) {
        Some(path) => path,
        None => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Line;

    fn parsed(line: &str) -> Result<FileLine, String> {
        match line.parse() {
            Ok(Line::File(line)) => Ok(line),
            Ok(other) => panic!("{line}: {other:?}"),
            Err(error) => Err(LineError::to_string(&error)),
        }
    }

    #[test]
    fn a_path_and_a_name_may_have_spaces() {
        let to = Who::Name("bob".to_owned());
        let path = PathBuf::from("/tmp/my cat.jpg");
        assert_eq!(parsed("/send bob /tmp/my cat.jpg "), Ok(FileLine::Send { to, path }));
        let number = MessageNumber(7);
        let take = |name: Option<&str>| FileLine::Take { number, name: name.map(str::to_owned) };
        assert_eq!(parsed("/take 7"), Ok(take(None)));
        assert_eq!(parsed("/take #7 her cat.jpg"), Ok(take(Some("her cat.jpg"))));
        assert_eq!(parsed("/stop 7"), Ok(FileLine::Stop(number)));
        assert_eq!(parsed("/files"), Ok(FileLine::List));
    }

    #[test]
    fn what_is_written_wrongly_is_answered_with_how_to_write_it() {
        for (line, usage) in [
            ("/send", "usage: /send NAME PATH"),
            ("/send bob", "usage: /send NAME PATH"),
            ("/take", "usage: /take ID [NAME]"),
            ("/take cat", "usage: /take ID [NAME]"),
            ("/stop", "usage: /stop ID"),
            ("/stop 7 8", "usage: /stop ID"),
        ] {
            assert_eq!(parsed(line), Err(usage.to_owned()), "{line}");
        }
    }
}
