//! One test binary.

mod admin;
mod config;
mod house;
mod judge;
mod rollouts;
mod support;
