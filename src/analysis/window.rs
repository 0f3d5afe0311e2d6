//! What was counted: requests of a version, and how many of them went wrong in which way.

use serde::{Deserialize, Serialize};

use super::settings::{ERRORS, SLOW, WATCH};

/// Requests of one version in one span of time, and the bad ones among them.
///
/// Sums saturate; an outcome above the requests counts as "all of them".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that were answered, failed or given up.
    pub requests: u64,
    /// Failed ones.
    pub errors: u64,
    /// Ones slower than a threshold fixed before the window.
    #[serde(default)]
    pub slow: u64,
    /// Bad events of each watch, in the order of the settings; missing ones are zero.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watches: Vec<u64>,
    /// What its caches were asked for meanwhile.
    #[serde(default, skip_serializing_if = "Lookups::is_none")]
    pub lookups: Lookups,
}

/// What caches were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookups {
    /// Values that were there.
    pub hits: u64,
    /// Values that were not.
    pub misses: u64,
}

impl Lookups {
    fn add(&mut self, other: Self) {
        self.hits = self.hits.saturating_add(other.hits);
        self.misses = self.misses.saturating_add(other.misses);
    }

    /// What was asked for since an earlier reading of the same counters; never below zero.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
        }
    }

    /// Nothing was asked for.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Counts {
    /// Adds another span of the same version; stops at the greatest number instead of wrapping.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.slow = self.slow.saturating_add(other.slow);
        self.lookups.add(other.lookups);
        if self.watches.len() < other.watches.len() {
            self.watches.resize(other.watches.len(), 0);
        }
        for (sum, more) in self.watches.iter_mut().zip(&other.watches) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// What was counted since an earlier reading of the same counters; never below zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let then = |index: usize| earlier.watches.get(index).copied().unwrap_or(0);
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            slow: self.slow.saturating_sub(earlier.slow),
            watches: (self.watches.iter().enumerate())
                .map(|(index, now)| now.saturating_sub(then(index)))
                .collect(),
            lookups: self.lookups.since(earlier.lookups),
        }
    }

    /// The same with no outcome above the requests and as many watches as the judge has.
    pub(super) fn clamped(&self, watches: usize) -> Self {
        let most = self.requests;
        let watch = |index: usize| self.watches.get(index).copied().unwrap_or(0).min(most);
        Self {
            requests: most,
            errors: self.errors.min(most),
            slow: self.slow.min(most),
            watches: (0..watches).map(watch).collect(),
            lookups: self.lookups,
        }
    }

    /// Bad events of the metric with this index.
    pub(super) fn events(&self, index: usize) -> u64 {
        match index {
            ERRORS => self.errors,
            SLOW => self.slow,
            watch => self.watches.get(watch - WATCH).copied().unwrap_or(0),
        }
    }

    /// Bad events per request of the metric with this index; 0 without requests.
    pub(super) fn share(&self, index: usize) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        self.events(index) as f64 / self.requests as f64
    }
}

/// Both versions over the same span of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Who served before.
    pub stable: Counts,
    /// The new version.
    pub canary: Counts,
    /// The canary's caches are cold: `slow` holds instead of failing.
    #[serde(default)]
    pub cold: bool,
}

impl Window {
    /// Adds a later window of the same split.
    pub(super) fn add(&mut self, other: &Self) {
        self.stable.add(&other.stable);
        self.canary.add(&other.canary);
        self.cold |= other.cold;
    }

    /// Both versions were asked: the window can be judged.
    pub(super) fn is_whole(&self) -> bool {
        self.stable.requests > 0 && self.canary.requests > 0
    }

    pub(super) fn clamped(&self, watches: usize) -> Self {
        let (stable, canary) = (self.stable.clamped(watches), self.canary.clamped(watches));
        Self { stable, canary, cold: self.cold }
    }

    /// One metric of this window as numbers to calculate with.
    pub(super) fn block(&self, index: usize) -> Block {
        Block {
            n0: self.stable.requests as f64,
            x0: self.stable.events(index) as f64,
            n1: self.canary.requests as f64,
            x1: self.canary.events(index) as f64,
        }
    }
}

/// One metric of one window in the letters of the formulas: n requests, x bad events; 0 is
/// stable, 1 the canary. Sums are made in `u64` first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub n0: f64,
    pub x0: f64,
    pub n1: f64,
    pub x1: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stop_at_the_greatest_number() {
        let mut sum =
            Counts { requests: u64::MAX, errors: 3, slow: 0, watches: vec![], ..Counts::default() };
        sum.add(&Counts { requests: 5, errors: 2, slow: 1, watches: vec![7], ..Counts::default() });
        let expected = Counts {
            requests: u64::MAX,
            errors: 5,
            slow: 1,
            watches: vec![7],
            ..Counts::default()
        };
        assert_eq!(sum, expected);
    }

    #[test]
    fn a_counter_that_went_back_counts_nothing() {
        let earlier =
            Counts { requests: 10, errors: 4, slow: 0, watches: vec![9], ..Counts::default() };
        let now =
            Counts { requests: 12, errors: 1, slow: 2, watches: vec![4, 6], ..Counts::default() };
        let expected =
            Counts { requests: 2, errors: 0, slow: 2, watches: vec![0, 6], ..Counts::default() };
        assert_eq!(now.since(&earlier), expected);
    }

    #[test]
    fn no_outcome_is_above_the_requests() {
        let counts =
            Counts { requests: 2, errors: 9, slow: 3, watches: vec![8], ..Counts::default() }
                .clamped(2);
        assert_eq!(
            counts,
            Counts { requests: 2, errors: 2, slow: 2, watches: vec![2, 0], ..Counts::default() }
        );
    }
}
