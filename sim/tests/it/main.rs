//! The simulator from outside.

mod experiments;
