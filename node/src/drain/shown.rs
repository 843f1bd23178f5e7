//! What `comm-node drain` says of a handing over, to people and to programs.
//!
//! Entry type is [`Report`].

use std::fmt;

use comm_proto::wire::client::{DrainResponse, DrainState};
use serde::Serialize;

/// How far handing over is, or what has become of it. All counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `under-way`, `complete`, `incomplete` or `cancelled`.
    pub state: &'static str,
    /// Envelopes that the node held when it began.
    pub envelopes: u64,
    /// Of these, those whose turn is now or later.
    pub left: u64,
    /// Those for which other relays have given receipts.
    pub handed_over: u64,
    /// Of those, with fewer receipts than are wanted.
    pub few: u64,
    /// Receipts: each of one relay for one envelope.
    pub receipts: u64,
    /// Those that were read or expired meanwhile.
    pub ended: u64,
    /// Those that no relay had room for.
    pub no_room: u64,
    /// Those that were refused for other reasons.
    pub refused: u64,
    /// Those for which no relay answered.
    pub unanswered: u64,
    /// Acknowledgements that others were told.
    pub acknowledgements_told: u64,
    /// Acknowledgements that nobody could be told.
    pub acknowledgements_untold: u64,
}

impl Report {
    pub(super) fn of(response: &DrainResponse) -> Self {
        let DrainResponse { envelopes, handed_over, ended, no_room, refused, unanswered, .. } =
            *response;
        let settled = handed_over + ended + no_room + refused + unanswered;
        Self {
            state: match response.state() {
                DrainState::UnderWay => "under-way",
                DrainState::Complete => "complete",
                DrainState::Cancelled => "cancelled",
                DrainState::Incomplete | DrainState::Unspecified => "incomplete",
            },
            envelopes,
            left: envelopes.saturating_sub(settled),
            handed_over,
            few: response.few,
            receipts: response.receipts,
            ended,
            no_room,
            refused,
            unanswered,
            acknowledgements_told: response.endings_told,
            acknowledgements_untold: response.endings_untold,
        }
    }

    /// Whether everything is handed over.
    pub fn is_complete(&self) -> bool {
        self.state == "complete"
    }

    /// Whether it goes on.
    pub fn is_under_way(&self) -> bool {
        self.state == "under-way"
    }

    /// One line for whoever waits.
    pub fn progress(&self) -> String {
        let Self { left, handed_over, receipts, .. } = self;
        format!("{left} envelopes left, {handed_over} handed over, {receipts} receipts")
    }
}

/// What has become of it, in a few lines.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { envelopes, left, handed_over, few, receipts, ended, .. } = self;
        writeln!(
            f,
            "{handed_over} of {envelopes} envelopes handed over, with {receipts} receipts of other relays"
        )?;
        let mut some = |count: u64, what: &str| match count {
            0 => Ok(()),
            count => writeln!(f, "{count} {what}"),
        };
        some(*few, "of them have fewer receipts than are wanted: fewer relays were to be had")?;
        some(*ended, "ended or expired meanwhile")?;
        some(self.no_room, "NOT handed over: no relay that they belong to had room")?;
        some(self.refused, "NOT handed over: the relays that they belong to refused them")?;
        some(self.unanswered, "NOT handed over: no relay that they belong to answered")?;
        some(*left, "NOT handed over: their turn had not come")?;
        some(self.acknowledgements_told, "acknowledgements told to others")?;
        some(self.acknowledgements_untold, "acknowledgements that nobody could be told")?;
        match self.state {
            "complete" => writeln!(f, "The relay has ended. Others have all that was on its disk."),
            "cancelled" => writeln!(f, "It was cancelled: the relay goes on as before."),
            _ => writeln!(
                f,
                "The relay goes on as before and keeps everything. Try again later, or stop it and keep its \
                 data."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: DrainState) -> Report {
        let (envelopes, handed_over, few, receipts) = (9, 5, 1, 14);
        Report::of(&DrainResponse {
            state: state.into(),
            envelopes,
            handed_over,
            few,
            receipts,
            ended: 1,
            no_room: 2,
            ..<_>::default()
        })
    }

    #[test]
    fn what_has_stayed_behind_is_said_with_the_reason() {
        let text = report(DrainState::Incomplete).to_string();
        assert!(text.starts_with("5 of 9 envelopes handed over, with 14 receipts"), "{text}");
        assert!(text.contains("\n2 NOT handed over: no relay that they belong to had room\n"));
        assert!(text.contains("\n1 NOT handed over: their turn had not come\n"), "{text}");
        assert!(!text.contains("acknowledgements") && text.contains("keeps everything"), "{text}");
    }

    #[test]
    fn whoever_waits_sees_what_is_left() {
        let line = report(DrainState::UnderWay).progress();
        assert_eq!(line, "1 envelopes left, 5 handed over, 14 receipts");
    }
}
