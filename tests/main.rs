//! One test binary.

mod house;
mod judge;
mod rollouts;
mod support;
