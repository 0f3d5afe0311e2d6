//! One test binary.

mod config;
mod house;
mod judge;
mod rollouts;
mod support;
