//! Tests of the node from outside: its store, its configuration, its program.

mod config;
mod data_dir;
mod program;
mod store;
mod upkeep;
