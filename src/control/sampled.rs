//! What is written down of an open rollout each minute, for the report afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::journal::{Sample, Shelf};
use crate::metrics::{BUCKETS, Register, Totals, quantile};
use crate::rollout::{RolloutId, State};
use crate::time::Timestamp;
use crate::traffic::{TierName, Version, Weight};

/// The time of one sample; one ends earlier where the weight changes.
const SAMPLE: Duration = Duration::from_mins(1);

/// A shorter time after a change of the weight says nothing.
const SAMPLE_MIN: Duration = Duration::from_millis(200);

/// Counts each tier with an open rollout.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    open: BTreeMap<TierName, Open>,
}

/// A sample that is not closed yet.
#[derive(Debug)]
struct Open {
    since: Timestamp,
    rollout: RolloutId,
    weight: Weight,
    /// Both versions with what they had counted when it began; the canary is the second.
    versions: [(Version, Totals); 2],
}

impl Sampler {
    /// Looks at all tiers at `now`: closes what is over, and begins anew.
    pub(super) fn look(
        &mut self,
        state: &State,
        register: &Register,
        now: Timestamp,
        kept: &Shelf,
    ) {
        let wanted: BTreeMap<&TierName, (RolloutId, Weight, [&Version; 2])> = state
            .open()
            .map(|(name, tier, rollout)| {
                (name, (rollout.id, rollout.weight, [&tier.stable, &rollout.release]))
            })
            .collect();
        let mut samples = Vec::new();
        self.open.retain(|name, open| {
            let goes_on = wanted.get(name).is_some_and(|(id, weight, versions)| {
                open.rollout == *id
                    && open.weight == *weight
                    && open.versions.each_ref().map(|(version, _)| version) == *versions
            });
            let keeps = goes_on && now.since(open.since) < SAMPLE;
            if !keeps {
                samples.extend(open.close(name, register, now));
            }
            keeps
        });
        for (name, (rollout, weight, versions)) in wanted {
            self.open.entry(name.clone()).or_insert_with(|| Open {
                since: now,
                rollout,
                weight,
                versions: versions.map(|version| {
                    (version.clone(), register.totals(register.release(name, version)))
                }),
            });
        }
        if !samples.is_empty() {
            kept.add(samples);
        }
    }
}

impl Open {
    fn close(&self, tier: &TierName, register: &Register, now: Timestamp) -> Vec<Sample> {
        let span = now.since(self.since);
        if span < SAMPLE_MIN {
            return Vec::new();
        }
        let sample = |(place, (version, before)): (usize, &(Version, Totals))| {
            let totals = register.totals(register.release(tier, version));
            let latency: [u64; BUCKETS] =
                std::array::from_fn(|at| totals.latency[at].saturating_sub(before.latency[at]));
            let requests = totals.requests.saturating_sub(before.requests);
            Sample {
                rollout: self.rollout,
                tier: tier.clone(),
                version: version.clone(),
                canary: place == 1,
                at: now,
                span,
                weight: self.weight,
                requests,
                errors: totals.errors.saturating_sub(before.errors).min(requests),
                p50: quantile(&latency, 0.5),
                p95: quantile(&latency, 0.95),
            }
        };
        self.versions.iter().enumerate().map(sample).collect()
    }
}
