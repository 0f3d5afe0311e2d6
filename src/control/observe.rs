//! What the control wing sees: counts of a tier, window by window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::analysis::{Counts, History, Lookups};
use crate::metrics::{BUCKETS, Totals};

/// Half-life of what is remembered of stable's latency, in seconds of traffic.
const LATENCY_HALF_LIFE: f64 = 600.0;

/// Below this rate (requests per second) the 99th percentile is a single request; p95 is used.
const P99_RATE_MIN: f64 = 10.0;

/// Fewer remembered answers than this say nothing about what is slow.
const LATENCY_ANSWERS_MIN: f64 = 20.0;

/// Which answers of a tier are slow: those above stable's 99th percentile (95th below 10
/// requests per second) as it was before the window, rounded up to the edge of its bucket
/// (docs/analysis.md, latency).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Slow {
    /// Answers of stable by bucket, decayed.
    remembered: Vec<f64>,
}

impl Slow {
    /// The first bucket that counts as slow; none while too little is known.
    pub(super) fn begins_at(&self, rate: f64) -> Option<usize> {
        let all: f64 = self.remembered.iter().sum();
        if all < LATENCY_ANSWERS_MIN {
            return None;
        }
        let quantile = if rate >= P99_RATE_MIN { 0.99 } else { 0.95 };
        let mut below = 0.0;
        let holds = |answers: &f64| {
            below += answers;
            below >= all * quantile
        };
        self.remembered.iter().position(holds).map(|bucket| bucket + 1)
    }

    /// Remembers a window of stable.
    pub(super) fn add(&mut self, latency: &[u64; BUCKETS], span: Duration) {
        self.remembered.resize(BUCKETS, 0.0);
        let fading = 0.5_f64.powf(span.as_secs_f64() / LATENCY_HALF_LIFE);
        for (remembered, now) in self.remembered.iter_mut().zip(latency) {
            *remembered = *remembered * fading + *now as f64;
        }
    }
}

/// The counts of `now - before`, with what is slow by `from_bucket`.
pub(super) fn counts(
    now: &Totals,
    before: &Totals,
    watches: usize,
    from_bucket: Option<usize>,
) -> Counts {
    let latency = latency_since(now, before);
    let slow = from_bucket.map_or(0, |from| latency.get(from..).unwrap_or_default().iter().sum());
    let requests = now.requests.saturating_sub(before.requests);
    let watch = |(now, before): (&u64, &u64)| now.saturating_sub(*before).min(requests);
    Counts {
        requests,
        errors: now.errors.saturating_sub(before.errors).min(requests),
        slow: requests.min(slow),
        lookups: Lookups::default(),
        signals: vec![],
        watches: now.watches.iter().zip(&before.watches).take(watches).map(watch).collect(),
    }
}

/// The answers by bucket of `now - before`.
pub(super) fn latency_since(now: &Totals, before: &Totals) -> [u64; BUCKETS] {
    std::array::from_fn(|at| now.latency[at].saturating_sub(before.latency[at]))
}

/// What the judge keeps of a tier beside its own state: written with the evidence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Stable's last hour.
    pub(super) history: History,
    /// What is slow.
    pub(super) slow: Slow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_begins_above_the_bucket_that_holds_the_percentile() {
        let mut slow = Slow::default();
        assert_eq!(slow.begins_at(100.0), None);
        let mut latency = [0; BUCKETS];
        latency[10] = 970;
        latency[20] = 30;
        slow.add(&latency, Duration::from_secs(1));
        assert_eq!(slow.begins_at(100.0), Some(21));
        assert_eq!(slow.begins_at(1.0), Some(11));
    }

    #[test]
    fn what_is_remembered_fades() {
        let mut slow = Slow::default();
        let mut latency = [0; BUCKETS];
        latency[5] = 1_000;
        slow.add(&latency, Duration::from_secs(1));
        slow.add(&[0; BUCKETS], Duration::from_mins(10));
        assert!((slow.remembered[5] - 500.0).abs() < 1.0);
    }
}
