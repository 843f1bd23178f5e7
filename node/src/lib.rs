//! A relay of the comm network, as a program and as a library.
//!
//! The node itself is a state machine without a clock or a disk, [`comm_proto::node::Node`]. This
//! crate is the world around it: [`driver`] hands it inputs and does what it says, [`store`] is its
//! disk, [`links`] and [`service`] are its ways to and from other nodes, [`api`] is where programs
//! come in. [`relay`] puts them together, [`backup`] copies what they leave on the disk,
//! [`drain`] hands it over to others. Whoever runs it meets [`metrics`], [`telemetry`], [`status`],
//! [`top`], [`doctor`], [`reload`] and [`service_manager`]; what it may cost them in traffic is [`traffic`]'s.
//!
//! # A node inside a program
//!
//! ```no_run
//! # async fn example() -> Result<(), comm_node::RelayError> {
//! use comm_node::config::NodeConfig;
//!
//! let config = NodeConfig { leaf: true, ..NodeConfig::default() };
//! let relay = comm_node::Relay::start(config).await?;
//! let channel = relay.embedded().channel();
//! // ... calls of the client API over `channel` ...
//! relay.stop().await
//! # }
//! ```

pub mod api;
pub mod backup;
pub mod blocking;
pub mod bootstrap;
mod chance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod doctor;
pub mod drain;
pub mod driver;
pub mod examination;
pub mod figures;
pub mod links;
pub mod logging;
pub mod metrics;
mod open_files;
pub mod owner;
pub mod port_mapping;
mod refusal;
pub mod relay;
pub mod reload;
pub mod rpc;
pub mod service;
pub mod service_manager;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod top;
pub mod traffic;
pub mod verify;

pub use relay::{Relay, RelayError, run};
