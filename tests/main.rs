//! One test binary.

mod config;
mod judge;
mod support;
