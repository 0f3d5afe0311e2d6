//! One test binary.

mod config;
mod house;
mod journals;
mod judge;
mod rollouts;
mod support;
