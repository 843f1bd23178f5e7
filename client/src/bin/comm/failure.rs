//! Why the program ends with something else than 0.
//!
//! Entry type is [`Failure`].

use std::fmt;
use std::process::ExitCode;

/// What went wrong, in one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The program was called wrongly.
    Misused(String),
    /// Anything else.
    Failed(String),
}

impl Failure {
    /// For an error of the world.
    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// For an error of whoever called.
    pub(crate) fn misused(error: impl fmt::Display) -> Self {
        Self::Misused(error.to_string())
    }

    /// What the program ends with.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Misused(_) => misused(),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// What the program ends with when it was called wrongly.
pub(crate) fn misused() -> ExitCode {
    ExitCode::from(2)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misused(text) => write!(f, "{text}; see comm --help"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}
