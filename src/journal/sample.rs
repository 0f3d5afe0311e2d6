//! Numbers over time, beside the events: what a report is drawn from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rollout::RolloutId;
use crate::time::{Timestamp, as_millis};
use crate::traffic::{TierName, Version, Weight};

/// Samples that are kept, the newest: some 20 MiB, and six weeks of one tier with a rollout open.
pub(super) const SAMPLES_MAX: i64 = 120_000;

/// Samples that wait for the disk; one that hangs longer costs the oldest.
pub(super) const SAMPLES_WAITING_MAX: usize = 4_096;

/// What one version of a tier did in a minute of a rollout, or less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Of which rollout.
    pub rollout: RolloutId,
    /// Where.
    pub tier: TierName,
    /// Which version.
    pub version: Version,
    /// Whether it was the canary.
    pub canary: bool,
    /// When the time ended in which this was counted.
    pub at: Timestamp,
    /// How long that time was.
    #[serde(with = "as_millis")]
    pub span: Duration,
    /// The canary's share of the clients meanwhile.
    pub weight: Weight,
    /// Judged requests.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// The latency that half of the answers stayed below, in microseconds; none: too few.
    pub p50: Option<u64>,
    /// The same for 95 of 100.
    pub p95: Option<u64>,
}
