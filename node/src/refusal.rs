//! Refusals that gRPC makes by itself, before a message is read: of frames that are too large or no
//! messages, and of calls that do not exist.
//!
//! Entry functions are [`words`], which finds the nearest words of ours, and [`count`]. What a node
//! refuses for reasons of its own is a [`comm_proto::rejection::Rejection`] instead.

use comm_proto::rejection::Retry;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

use crate::metrics;

/// The nearest words to a code that gRPC gave itself.
pub(crate) fn words(code: Code) -> (&'static str, Retry) {
    match code {
        Code::OutOfRange => ("too-large", Retry::Never),
        Code::Unimplemented => ("unimplemented", Retry::Never),
        Code::Cancelled | Code::DeadlineExceeded => ("unreachable", Retry::Later),
        Code::ResourceExhausted => ("busy", Retry::Later),
        Code::Unavailable => ("shutting-down", Retry::Later),
        _ => ("malformed", Retry::Never),
    }
}

/// Counts the refusal, if there is one, in an answer that carries none of ours.
pub(crate) fn count_in(headers: &HeaderMap) {
    if let Some(status) = Status::from_header_map(headers) {
        count(&status);
    }
}

/// Counts a mistake that gRPC has found in what it was sent. A connection that broke is none.
pub(crate) fn count(status: &Status) {
    let is_mistake =
        matches!(status.code(), Code::OutOfRange | Code::Unimplemented | Code::Internal);
    if is_mistake && std::error::Error::source(status).is_none() {
        metrics::refused(words(status.code()).0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_reading_can_give_has_its_own_words() {
        let words = [Code::OutOfRange, Code::Unimplemented, Code::Internal].map(words);
        assert_eq!(words.map(|(word, _)| word), ["too-large", "unimplemented", "malformed"]);
        assert!(words.iter().all(|(_, retry)| *retry == Retry::Never));
    }
}
