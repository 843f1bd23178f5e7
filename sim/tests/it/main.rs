//! The simulator from outside.

mod cli;
mod experiments;
mod swarm;
