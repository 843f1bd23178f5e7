//! The tests of the chat: its store, and whole programs that talk to each other on loopback.

#![cfg(all(feature = "embedded", feature = "program"))]
#![allow(clippy::unwrap_used, reason = "tests stop at what they do not expect")]

mod acquainting;
mod alone;
mod chatting;
mod conversing;
mod cut;
mod demo;
mod filing;
mod identities;
mod keeping;
mod keys;
mod library;
mod person;
mod restarting;
mod rooms;
mod running_node;
mod store;
mod succeeding;
mod terminal;
mod town;
mod watching;
