//! The protocol of comm as pure state machines: no I/O, no clock, no threads, no system randomness.
//!
//! [`node::Node`] is a relay, [`agent::Agent`] is a person's end. A host drives each the same way:
//! one input, then drain every output, then sleep until the next input or the named time.

pub mod acknowledgement;
pub mod address;
pub mod agent;
pub mod card;
pub mod contact;
pub mod content;
pub mod conversation;
pub mod digest;
pub mod envelope;
pub mod file;
pub mod grant;
pub mod identity;
pub mod identity_file;
pub mod key;
pub mod link;
pub mod lookup;
pub mod message;
pub mod network_size;
pub mod node;
pub mod payload;
pub mod prekey;
pub mod profile;
pub mod receipt;
pub mod rejection;
pub mod relay_list;
pub mod room;
pub mod sealing;
pub mod signed_bytes;
pub mod store;
pub mod succession;
pub mod table;
pub mod time;
pub mod verified;
pub mod wire;
