//! Counts: the data wing writes them, the control wing reads them.

pub mod exposition;
mod handshake;
pub mod keys;
pub mod latency;
pub mod recorder;

pub use handshake::Handshake;
pub use latency::{BUCKETS, bucket_edges};
pub use recorder::{
    Attempts, Health, HealthState, Outcome, Register, Shown, TierCells, Totals, TrackShown,
    UpstreamCells, WATCHES_MAX, Writer,
};
