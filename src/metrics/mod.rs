//! Counts: the data wing writes them, the control wing reads them.

pub mod exposition;
pub mod keys;
pub mod latency;
pub mod recorder;

pub use latency::{BUCKETS, bucket_edges};
pub use recorder::{
    Attempts, Handshake, Health, HealthState, Outcome, Register, Shown, TierCells, Totals,
    TrackShown, UpstreamCells, WATCHES_MAX, Writer,
};
