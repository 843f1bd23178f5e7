//! Bounds of lists, checked before anything in a list is looked at.
//!
//! Entry functions are [`at_most`] and [`at_least_one`]. What a list holds is not their business.

use crate::rejection::Rejection;

/// The list, if it has at most `max` items.
pub(super) fn at_most<'a, T>(
    items: &'a [T],
    max: usize,
    what: &'static str,
) -> Result<&'a [T], Rejection> {
    if items.len() > max { Err(Rejection::TooLarge(what)) } else { Ok(items) }
}

/// The list, if it has any item: some questions without one mean nothing.
pub(super) fn at_least_one<'a, T>(
    items: &'a [T],
    what: &'static str,
) -> Result<&'a [T], Rejection> {
    if items.is_empty() { Err(Rejection::Malformed(what)) } else { Ok(items) }
}
