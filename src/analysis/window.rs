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
    /// What was counted outside for each signal, in the order of the settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Tally>,
    /// What its caches were asked for meanwhile.
    #[serde(default, skip_serializing_if = "Lookups::is_none")]
    pub lookups: Lookups,
}

/// Events of one kind, and the bad ones among them: jobs and those that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All of them.
    pub total: u64,
    /// The bad ones.
    pub bad: u64,
}

impl Tally {
    const fn add(&mut self, other: Self) {
        self.total = self.total.saturating_add(other.total);
        self.bad = self.bad.saturating_add(other.bad);
    }

    /// What was counted since an earlier reading of the same counters; never below zero.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            bad: self.bad.saturating_sub(earlier.bad),
        }
    }

    /// The bad ones among all; 0 of none.
    pub(super) fn share(self) -> f64 {
        if self.total == 0 { 0.0 } else { self.bad as f64 / self.total as f64 }
    }
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
        if self.signals.len() < other.signals.len() {
            self.signals.resize(other.signals.len(), Tally::default());
        }
        for (sum, more) in self.signals.iter_mut().zip(&other.signals) {
            sum.add(*more);
        }
    }

    /// What was counted since an earlier reading of the same counters; never below zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let then = |index: usize| earlier.watches.get(index).copied().unwrap_or(0);
        let heard = |index: usize| earlier.signals.get(index).copied().unwrap_or_default();
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            slow: self.slow.saturating_sub(earlier.slow),
            watches: (self.watches.iter().enumerate())
                .map(|(index, now)| now.saturating_sub(then(index)))
                .collect(),
            signals: (self.signals.iter().enumerate())
                .map(|(index, now)| now.since(heard(index)))
                .collect(),
            lookups: self.lookups.since(earlier.lookups),
        }
    }

    /// The same with no outcome above its total, and as many watches and signals as the judge has.
    pub(super) fn clamped(&self, watches: usize, signals: usize) -> Self {
        let most = self.requests;
        let watch = |index: usize| self.watches.get(index).copied().unwrap_or(0).min(most);
        let signal = |index: usize| {
            let Tally { total, bad } = self.signals.get(index).copied().unwrap_or_default();
            Tally { total, bad: bad.min(total) }
        };
        Self {
            requests: most,
            errors: self.errors.min(most),
            slow: self.slow.min(most),
            watches: (0..watches).map(watch).collect(),
            signals: (0..signals).map(signal).collect(),
            lookups: self.lookups,
        }
    }

    /// What was counted of the metric with this index. Once clamped, the watches are as many as
    /// the judge has, and the signals come after them.
    pub(super) fn tally(&self, index: usize) -> Tally {
        let total = self.requests;
        match index {
            ERRORS => Tally { total, bad: self.errors },
            SLOW => Tally { total, bad: self.slow },
            further => {
                let watch = self.watches.get(further - WATCH);
                let signal = || further - WATCH - self.watches.len();
                let heard = || self.signals.get(signal()).copied().unwrap_or_default();
                watch.map_or_else(heard, |bad| Tally { total, bad: *bad })
            }
        }
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

    /// Takes out what can be judged: the requests if both versions had some, and each signal that
    /// counted something for both. The rest waits; none where nothing can be.
    pub(super) fn take_whole(&mut self) -> Option<Self> {
        let asked = self.stable.requests > 0 && self.canary.requests > 0;
        let mut whole = if asked {
            std::mem::take(self)
        } else {
            let mut whole = Self { cold: self.cold, ..Self::default() };
            whole.stable.signals = std::mem::take(&mut self.stable.signals);
            whole.canary.signals = std::mem::take(&mut self.canary.signals);
            whole
        };
        let signals = whole.stable.signals.len().min(whole.canary.signals.len());
        self.stable.signals.resize(signals, Tally::default());
        self.canary.signals.resize(signals, Tally::default());
        let mut any = asked;
        for index in 0..signals {
            let sides = [&whole.stable.signals[index], &whole.canary.signals[index]];
            if sides.iter().all(|tally| tally.total > 0) {
                any = true;
            } else {
                self.stable.signals[index] = std::mem::take(&mut whole.stable.signals[index]);
                self.canary.signals[index] = std::mem::take(&mut whole.canary.signals[index]);
            }
        }
        any.then_some(whole)
    }

    pub(super) fn clamped(&self, watches: usize, signals: usize) -> Self {
        let clamped = |counts: &Counts| counts.clamped(watches, signals);
        Self { stable: clamped(&self.stable), canary: clamped(&self.canary), cold: self.cold }
    }

    /// One metric of this window as numbers to calculate with.
    pub(super) fn block(&self, index: usize) -> Block {
        let (stable, canary) = (self.stable.tally(index), self.canary.tally(index));
        Block {
            n0: stable.total as f64,
            x0: stable.bad as f64,
            n1: canary.total as f64,
            x1: canary.bad as f64,
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

impl Block {
    /// One version had nothing: there is nothing to compare.
    pub(super) fn is_empty(&self) -> bool {
        self.n0 <= 0.0 || self.n1 <= 0.0
    }
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
                .clamped(2, 0);
        assert_eq!(
            counts,
            Counts { requests: 2, errors: 2, slow: 2, watches: vec![2, 0], ..Counts::default() }
        );
    }

    #[test]
    fn a_signal_waits_for_the_other_version_and_the_requests_do_not_wait_for_it() {
        let counts = |requests, total| {
            let signals = vec![Tally { total, bad: 1 }];
            Counts { requests, signals, ..Counts::default() }
        };
        let mut open = Window { stable: counts(9, 4), canary: counts(1, 0), cold: false };
        let whole = open.take_whole().unwrap();
        assert_eq!((whole.block(ERRORS).n0, whole.block(WATCH).n0), (9.0, 0.0));
        open.add(&Window { stable: counts(0, 1), canary: counts(0, 3), cold: false });
        let whole = open.take_whole().unwrap();
        let Block { n0, x0, n1, x1 } = whole.block(WATCH);
        assert_eq!((n0, x0, n1, x1), (5.0, 2.0, 3.0, 2.0));
        assert!(whole.block(ERRORS).is_empty());
        assert_eq!(open.take_whole(), None, "nothing is judged twice");
    }
}
