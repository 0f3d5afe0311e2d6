//! Counts: the data wing writes them, the control wing reads them.

pub mod exposition;
pub mod keys;
pub mod latency;
pub mod recorder;
mod tiers;

pub use latency::{BUCKETS, bucket_edges};
pub use recorder::{
    Attempts, Health, HealthState, Outcome, Register, Shown, Totals, TrackShown, UpstreamCells,
    WATCHES_MAX, Writer,
};
pub use tiers::{Flood, Handshake, TierCells};
