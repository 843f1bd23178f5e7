//! Refusals as gRPC statuses (PROTOCOL §8): a code for gRPC, words for programs, a sentence for
//! people.
//!
//! Entry function is [`status`]. The trailers `comm-code` and `comm-retry` say what gRPC's sixteen
//! codes cannot.

use comm_proto::node::Event;
use comm_proto::rejection::{Rejection, Retry};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::{metrics, refusal};

/// The trailer with the stable word.
pub(super) const CODE_KEY: &str = "comm-code";
/// The trailer that says whether trying again can help.
pub(super) const RETRY_KEY: &str = "comm-retry";

/// The status of a refusal that the node has made and counted.
pub(super) fn status(reason: &Rejection) -> Status {
    let status = Status::new(code(reason), reason.to_string());
    with_words(status, reason.name(), reason.retry())
}

/// The status of a refusal that is made here, and counted.
pub(super) fn refused(reason: &Rejection) -> Status {
    metrics::record(&Event::Refused { reason: reason.clone() });
    status(reason)
}

/// A status with its words.
pub(super) fn with_words(mut status: Status, word: &'static str, retry: Retry) -> Status {
    let metadata = status.metadata_mut();
    metadata.insert(CODE_KEY, MetadataValue::from_static(word));
    metadata.insert(RETRY_KEY, MetadataValue::from_static(retry_word(retry)));
    status
}

/// A status that gRPC made itself, counted and with the nearest words.
pub(super) fn worded(status: Status) -> Status {
    if status.metadata().contains_key(CODE_KEY) {
        return status;
    }
    refusal::count(&status);
    let (word, retry) = refusal::words(status.code());
    with_words(status, word, retry)
}

pub(super) const fn retry_word(retry: Retry) -> &'static str {
    match retry {
        Retry::Never => "never",
        Retry::Later => "later",
    }
}

const fn code(reason: &Rejection) -> Code {
    match reason {
        Rejection::Malformed(_) | Rejection::Version | Rejection::Size => Code::InvalidArgument,
        Rejection::TooLarge(_) => Code::OutOfRange,
        Rejection::Expired
        | Rejection::TtlTooLong
        | Rejection::FromFuture
        | Rejection::StaleCard => Code::FailedPrecondition,
        Rejection::Signature
        | Rejection::NotTheMailbox
        | Rejection::NotGranted
        | Rejection::OtherNetwork => Code::PermissionDenied,
        Rejection::Unknown => Code::NotFound,
        Rejection::StoreFull | Rejection::Busy => Code::ResourceExhausted,
        Rejection::ShuttingDown | Rejection::Unreachable | Rejection::Leaving => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trailers_say_what_the_refusal_says() {
        let status = status(&Rejection::StoreFull);
        assert_eq!(status.code(), Code::ResourceExhausted);
        let word = |key| status.metadata().get(key).and_then(|word| word.to_str().ok());
        assert_eq!(word(CODE_KEY), Some("store-full"));
        assert_eq!(word(RETRY_KEY), Some("later"));
    }

    #[test]
    fn words_that_are_there_stay() {
        let status = worded(status(&Rejection::Unknown));
        assert_eq!(status.metadata().get(CODE_KEY).unwrap(), "unknown");
        let status = worded(Status::out_of_range("frame"));
        assert_eq!(status.metadata().get(CODE_KEY).unwrap(), "too-large");
    }
}
