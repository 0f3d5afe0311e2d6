//! One test binary.

mod admin;
mod assets;
mod cli;
mod config;
mod control;
mod cookies;
mod django;
mod handover;
mod house;
mod http2;
mod journals;
mod judge;
mod proxy;
mod real_app;
mod recovery;
mod redis;
mod reload;
mod rollouts;
mod simulation;
mod strictness;
mod support;
mod tls;
mod trouble;
mod upstreams;
mod warming;
mod web_sockets;
