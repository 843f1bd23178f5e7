//! What is left to chance outside of the protocol.
//!
//! Entry function is [`shuffle`].

use rand_core::RngCore;

/// Puts them into an order of which each is as likely.
pub(crate) fn shuffle<T>(all: &mut [T], rng: &mut impl RngCore) {
    for place in (1..all.len()).rev() {
        all.swap(place, (rng.next_u64() % (place as u64 + 1)) as usize);
    }
}
