//! Proof by type that a signature was checked.
//!
//! Checking signatures needs no state, so it happens before the core and in parallel
//! (invariant 9 of ARCHITECTURE.md); what the core then takes is a [`Verified`] value and nothing
//! else. Only this crate can make one, and only where the check stands.

use std::ops::Deref;

/// A signed object whose signature and form have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Marks `object` as checked. To be called only behind the check itself.
    pub(crate) fn new(object: T) -> Self {
        Self(object)
    }

    /// The object without its mark.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
