//! Weir: canary rollouts for services that do not run on Kubernetes.
//!
//! The modules in reading order: the pure ground floor, one outside thing each, the data wing,
//! the control wing, the roof. `tests/house.rs` holds the table of who may use whom.

pub mod time;

pub mod analysis;
pub mod namespace;
pub mod rollout;
pub mod traffic;

pub mod alloc;
pub mod clock;
pub mod hooks;
pub mod inherited;
pub mod journal;
pub mod machine;
pub mod metrics;
pub mod report;
pub mod signals;
pub mod systemd;
pub mod tls;
pub mod traces;

pub mod cache;
pub mod proxy;

pub mod control;
pub mod notify;

pub mod admin;
pub mod app;
pub mod assembly;
pub mod cli;
pub mod config;
pub mod demo;
pub mod handover;
