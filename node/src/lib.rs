//! A relay of the comm network, as a program and as a library.

pub mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod logging;
pub mod metrics;
pub mod store;
pub mod api;
pub mod driver;
pub mod links;
pub mod rpc;
pub mod service;
