//! One test binary.

mod config;
mod house;
mod judge;
mod proxy;
mod rollouts;
mod support;
