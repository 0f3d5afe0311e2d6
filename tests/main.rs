//! One test binary.

mod config;
mod house;
mod judge;
mod real_app;
mod rollouts;
mod support;
