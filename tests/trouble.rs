//! Behaviour under trouble: too many clients, slow ones, and what honest ones see of it.

mod attacks;
mod lingering;
mod patience;
mod rest;
mod room;
mod shortage;

use std::time::Duration;

/// Whether only what is quick is wanted; says that a test was left out.
fn quick() -> bool {
    crate::support::quick::is_quick("a test of trouble")
}

/// How long an attack goes on.
fn attack_time() -> Duration {
    let long = std::env::var_os("WEIR_LONG").is_some();
    if long { Duration::from_mins(1) } else { Duration::from_secs(6) }
}
