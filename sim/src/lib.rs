//! Whole networks on virtual time: the production state machine of `comm-proto`, and everything that
//! may befall it.
//!
//! A [`plan::Plan`] says what one experiment is, [`experiment::run`] plays it on one network, and
//! [`measured::Measured`] is what was seen there. Inside, [`world::World`] hosts nodes as `comm-node`
//! does, on a clock that only it moves; adversaries are the same nodes behind a
//! [`behaviour::Behaviour`].
//!
//! Around it, [`scenario::Scenario`] reads a plan and what it must show from a file, and a
//! [`report::Report`] says what many networks showed together.

pub mod behaviour;
mod cast;
mod copies;
mod disk;
pub mod experiment;
pub mod host;
mod ip_plan;
pub mod measure;
pub mod measured;
mod people;
mod placement;
pub mod plan;
mod queue;
pub mod regions;
pub mod report;
pub mod scenario;
pub mod sessions;
pub mod statistics;
mod streams;
pub mod swarm;
mod trace;
mod weibull;
pub mod world;
