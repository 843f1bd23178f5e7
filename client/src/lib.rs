//! Chat over the comm network from a program.
//!
//! Entry type is [`Client`]: a person's [`comm_proto::agent::Agent`] with a disk ([`store`]), a node
//! ([`link`]) and a clock. Keys and texts never leave this process; the node sees sealed envelopes.
//! The package feature `embedded` (on by default) lets the node run in the same process; without it
//! a running `comm-node` is needed and no RocksDB is built. The program `comm` is one user of this
//! library and has no access that others lack.
//!
//! ```no_run
//! use comm::{Client, Config, Event, Message, Node};
//! use comm_proto::identity::Identity;
//!
//! # async fn chat() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = Identity::derive(b"a long secret that nobody guesses")?;
//! let config = Config {
//!     data_dir: "ann".into(),
//!     node: Node::Remote("/run/comm/api.sock".parse()?),
//! };
//! let client = Client::start(identity, config).await?;
//! let mut events = client.events();
//! let friend = "44751799925b964a00bae3863cc4236f9bb8d519".parse()?;
//! client.send(Message::text(friend, "hello")).await?;
//! while let Some(event) = events.next().await {
//!     if let Event::Agent(event) = &*event {
//!         println!("{event:?}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod client;
mod clock;
pub mod files;
pub mod identity_file;
pub mod link;
pub mod reach;
mod rpc;
pub mod store;

pub use client::{Client, ClientError, Config, Event, Events, Message, Pages, StartError};
pub use files::FileProblem;
pub use link::{Endpoint, Node, NodeStatus, PeerLine};
pub use reach::Reach;
