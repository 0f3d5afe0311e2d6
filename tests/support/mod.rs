//! What the tests drive.

pub mod client;
pub mod upstream;
