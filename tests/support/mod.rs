//! What the tests drive, and what drives them.

pub mod certificates;
pub mod client;
pub mod disk;
pub mod program;
pub mod upstream;
