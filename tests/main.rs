//! One test binary.

mod judge;
mod rollouts;
