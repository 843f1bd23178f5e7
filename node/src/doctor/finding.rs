//! What is found of a relay, and how it is shown.
//!
//! Entry types are [`Finding`] and [`Diagnosis`]. Nothing is found here.

use std::fmt;

use serde::Serialize;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// It cannot be told.
    Unknown,
    /// Worth knowing; the relay works.
    Notice,
    /// To be mended.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a stable name for programs.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it, if anything.
    pub advice: Option<String>,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Of this program.
    pub version: &'static str,
    /// The worst of the findings' states.
    pub state: State,
    /// One for each thing that was looked at, in the order in which they are shown.
    pub findings: Vec<Finding>,
}

/// How findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without colours, for files and other programs.
    Plain,
    /// With colours, for terminals.
    Coloured,
}

/// A diagnosis in words.
#[derive(Debug)]
pub struct Shown<'a>(&'a Diagnosis, Style);

impl Finding {
    pub(super) fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Good, found: found.into(), advice: None }
    }

    pub(super) fn unknown(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Unknown, found: found.into(), advice: None }
    }

    pub(super) fn notice(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Notice, found: found.into(), advice: None }
    }

    pub(super) fn problem(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Problem, found: found.into(), advice: None }
    }

    pub(super) fn with(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl Diagnosis {
    pub(super) fn of(findings: Vec<Finding>) -> Self {
        let state = findings.iter().map(|one| one.state).max().unwrap_or(State::Unknown);
        Self { version: env!("CARGO_PKG_VERSION"), state, findings }
    }

    /// In words: a line for each finding, and below it what to do.
    pub const fn shown(&self, style: Style) -> Shown<'_> {
        Shown(self, style)
    }
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Notice => "notice",
            Self::Problem => "PROBLEM",
        }
    }

    /// As terminals are told colours: green, none, yellow, bold red.
    const fn colour(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Unknown => "\x1b[0m",
            Self::Notice => "\x1b[33m",
            Self::Problem => "\x1b[1;31m",
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(diagnosis, style) = self;
        for Finding { check, state, found, advice } in &diagnosis.findings {
            let (before, after) = match style {
                Style::Plain => ("", ""),
                Style::Coloured => (state.colour(), "\x1b[0m"),
            };
            writeln!(f, "{before}{:<8}{after} {check:<15} {found}", state.word())?;
            if let Some(advice) = advice {
                writeln!(f, "{:<24} -> {advice}", "")?;
            }
        }
        let count = |wanted| diagnosis.findings.iter().filter(|one| one.state == wanted).count();
        let (problems, notices) = (count(State::Problem), count(State::Notice));
        let many = |count, what| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        writeln!(f, "{}, {}", many(problems, "problem"), many(notices, "notice"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis() -> Diagnosis {
        let found = vec![
            Finding::good("clock", "agrees"),
            Finding::problem("ipv4", "nobody reaches it").with("open the port"),
            Finding::notice("metrics", "open to all"),
        ];
        Diagnosis::of(found)
    }

    #[test]
    fn the_worst_finding_says_how_it_is() {
        assert_eq!(diagnosis().state, State::Problem);
        assert_eq!(Diagnosis::of(vec![Finding::good("clock", "agrees")]).state, State::Good);
        assert!(State::Good < State::Unknown && State::Notice < State::Problem);
    }

    #[test]
    fn each_finding_is_a_line_and_colours_are_for_terminals_alone() {
        let plain = diagnosis().shown(Style::Plain).to_string();
        let lines: Vec<_> = plain.lines().collect();
        assert_eq!(lines.len(), 5, "{plain}");
        assert_eq!(lines[0], "good     clock           agrees");
        assert_eq!(lines[1], "PROBLEM  ipv4            nobody reaches it");
        assert_eq!(lines[2].trim(), "-> open the port");
        assert_eq!(lines[4], "1 problem, 1 notice");
        assert!(plain.is_ascii() && !plain.contains('\x1b'));
        assert!(diagnosis().shown(Style::Coloured).to_string().contains("\x1b[1;31mPROBLEM"));
    }

    #[test]
    fn programs_read_stable_words() {
        let json = serde_json::to_value(diagnosis()).unwrap();
        assert_eq!(json["state"], "problem");
        assert_eq!(json["findings"][1]["check"], "ipv4");
        assert_eq!(json["findings"][1]["advice"], "open the port");
        assert_eq!(json["findings"][0]["advice"], serde_json::Value::Null);
    }
}
