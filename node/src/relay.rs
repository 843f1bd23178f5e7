//! A whole node: everything opened, bound and started in order, and stopped in reverse.
//!
//! Entry types are [`Relay`], for programs that have a node inside, and [`run`], for one that is
//! nothing else. It only connects the parts; what each does is in its own module.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use comm_proto::key::{KeyPair, PublicKey};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::{InvalidValue, NodeConfig};
use crate::data_dir::{DataDir, DataDirError};
use crate::driver::inbox::{Inbox, InboxLimits};
use crate::driver::{Driver, DriverError, Host, Running};
use crate::links::accept::{AcceptLimits, Door};
use crate::links::dial::{DialLimits, Peers};
use crate::links::gate::SourceLimits;
use crate::links::link::Standstill;
use crate::links::tls::{Credentials, CredentialsError};
use crate::links::{Network, bootstrap};
use crate::metrics::{self, ExportError, Exporter};
use crate::service::PeerService;
use crate::store::upkeep::Upkeep;
use crate::store::{OpenError, RocksStore};
