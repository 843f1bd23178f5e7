//! The tests of the protocol crate that look at it from outside: one program, one module a subject.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests run on a host: they read files, and stop at what they do not expect"
)]

mod acknowledging;
mod clocks;
mod collecting;
mod costs;
mod counting;
mod deafening;
mod delivering;
mod dialling_back;
mod draining;
mod durability;
mod features;
mod fences;
mod gathering;
mod hostile;
mod memory;
mod outages;
mod people;
mod relaying;
mod room;
mod rooms;
mod routing;
mod shares;
mod tidy;
mod trace;
mod upgrading;
mod vectors;
mod wire;
mod world;
