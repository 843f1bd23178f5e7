//! The protocol of comm as pure state machines: no I/O, no clock, no threads, no system randomness.
//!
//! [`node::Node`] is a relay, [`agent::Agent`] is a person's end. A host drives each the same way:
//! one input, then drain every output, then sleep until the next input or the named time.

pub mod time;
pub mod address;
pub mod key;
pub mod signed_bytes;
pub mod verified;
pub mod contact;
pub mod table;
pub mod lookup;
pub mod network_size;
pub mod envelope;
pub mod acknowledgement;
pub mod receipt;
pub mod grant;
pub mod identity;
pub mod conversation;
pub mod prekey;
pub mod card;
pub mod payload;
pub mod sealing;
pub mod digest;
pub mod rejection;
pub mod message;
pub mod store;
pub mod wire;
pub mod node;
pub mod agent;
