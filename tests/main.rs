//! One test binary.

mod admin;
mod cli;
mod config;
mod house;
mod judge;
mod rollouts;
mod support;
