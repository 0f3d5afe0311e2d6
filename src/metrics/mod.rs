//! Counts: the data wing writes them, the control wing reads them.

mod caches;
pub mod curves;
mod deliveries;
mod events;
pub mod exposition;
mod http_caches;
pub mod keys;
pub mod latency;
mod memory;
mod recent;
pub mod recorder;
mod rollouts;
mod signals;
mod spans;
mod tiers;
mod upstream;
mod waiting;

pub use caches::{CacheCounts, CacheEntry, CacheLedger, JobCounts};
pub use deliveries::{DeliveryCounts, DeliveryEntry, DeliveryLedger, Trouble};
pub use events::EventLedger;
pub use http_caches::{HttpCacheCounts, HttpCacheEntry};
pub use latency::{BUCKETS, bucket_edges, quantile};
pub use memory::MemoryCells;
pub use recent::{Recent, Request as Replayed, WarmUp};
pub use recorder::{Attempts, Outcome, Register, Shown, Totals, TrackShown, WATCHES_MAX, Writer};
pub use signals::{SignalEntry, SignalLedger, StatsdCounts, Wanted};
pub use tiers::{Displaced, Fallthrough, Flood, Handshake, Slow, TierCells};
pub use upstream::{Health, HealthState, UpstreamCells, UpstreamShown};
pub use waiting::{Waited, Waiting};
