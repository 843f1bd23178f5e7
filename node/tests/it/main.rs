//! Tests of the node from outside: its store, its configuration, its program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod backup;
mod beginnings;
mod blocking;
mod budget;
mod clock_set;
mod config;
mod crash;
mod data_dir;
mod doctor;
mod draining;
mod footprint;
mod hosted;
mod hostile;
mod links;
mod node_process;
mod operated;
mod power;
mod program;
mod python_example;
mod relay;
mod store;
mod telemetry;
mod top;
mod troubles;
mod upkeep;
mod verifying;
