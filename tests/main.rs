//! One test binary.

mod config;
mod control;
mod house;
mod journals;
mod judge;
mod rollouts;
mod simulation;
mod support;
