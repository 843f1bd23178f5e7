//! Whole networks on virtual time: the production state machine of `comm-proto`, and everything that
//! may befall it.
//!
//! A [`plan::Plan`] says what one experiment is and [`measured::Measured`] what was seen in one of its
//! networks.

pub mod measure;
pub mod measured;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod statistics;
