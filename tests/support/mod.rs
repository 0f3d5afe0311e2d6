//! What the tests drive, and what drives them.

pub mod client;
pub mod disk;
pub mod http2;
pub mod program;
pub mod upstream;
