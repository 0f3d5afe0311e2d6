//! How far events come in bursts: the factor phi by which evidence is divided.
//!
//! phi is computed from earlier blocks only and is at least 1, so by Jensen's inequality it can
//! only make the judge more careful (the judge's study, docs/analysis.md).

use serde::{Deserialize, Serialize};

use super::{
    exact,
    window::{Block, Counts, Tally, Window},
};

/// Lengths of the bins in which bursts are looked for, in seconds.
const BINS: [f64; 2] = [10.0, 60.0];
/// Bins of one length before they say anything.
const BINS_MIN: u32 = 3;
/// Minutes of calibration before they say anything.
pub(super) const CALIBRATION_MIN: usize = 20;
/// Keeps phi a number whatever was counted; evidence divided by this is none.
const PHI_MAX: f64 = 1e12;

/// The windows of the current bins, shared by all metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Bins {
    open: [Window; BINS.len()],
    #[serde(with = "exact")]
    since: [f64; BINS.len()],
}

impl Bins {
    pub(super) fn new() -> Self {
        Self { open: Default::default(), since: [0.0; BINS.len()] }
    }

    /// Begins all bins at this moment.
    pub(super) fn restart(&mut self, now: f64) {
        self.since = [now; BINS.len()];
    }

    /// Adds a block; hands every finished bin, with the number of its length, to `done`.
    pub(super) fn add(&mut self, now: f64, window: &Window, mut done: impl FnMut(usize, &Window)) {
        for (h, length) in BINS.iter().enumerate() {
            self.open[h].add(window);
            if now - self.since[h] >= *length {
                done(h, &std::mem::take(&mut self.open[h]));
                self.since[h] = now;
            }
        }
    }
}

/// The dispersion of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    #[serde(with = "exact")]
    squares: [f64; BINS.len()],
    #[serde(with = "exact")]
    variance: [f64; BINS.len()],
    #[serde(with = "exact")]
    canary: [f64; BINS.len()],
    #[serde(with = "exact")]
    stable: [f64; BINS.len()],
    /// Bins it has learned from: those of cold caches taught it nothing.
    learned: [u32; BINS.len()],
    /// Squared coefficient of variation of stable's rate from minute to minute, beyond chance.
    #[serde(with = "exact")]
    cv2: f64,
    #[serde(with = "exact")]
    phi: f64,
}

impl Spread {
    pub(super) fn new() -> Self {
        let zero = [0.0; BINS.len()];
        let (squares, variance, canary, stable) = (zero, zero, zero, zero);
        Self { squares, variance, canary, stable, learned: [0; BINS.len()], cv2: 0.0, phi: 1.0 }
    }

    /// The factor for the next block.
    pub(super) fn phi(&self) -> f64 {
        self.phi
    }

    /// Learns from the hour before: `cv^2 = max(0, mean of 1/2 (p_{i+1} - p_i)^2 - p(1-p)/n) /
    /// p^2`, n the harmonic mean of requests. Differences of neighbours, so that a slow
    /// (daily) drift is not taken for noise.
    pub(super) fn calibrate(&mut self, minutes: &[Counts], index: usize) {
        let tallies = minutes.iter().map(|minute| minute.tally(index));
        let minutes: Vec<Tally> = tallies.filter(|tally| tally.total > 0).collect();
        if minutes.len() < CALIBRATION_MIN {
            return;
        }
        let shares: Vec<f64> = minutes.iter().map(|minute| minute.share()).collect();
        let count = shares.len() as f64;
        let mean = shares.iter().sum::<f64>() / count;
        if mean <= 0.0 {
            return;
        }
        let steps: f64 = shares.windows(2).map(|pair| 0.5 * (pair[1] - pair[0]).powi(2)).sum();
        let inverse: f64 = minutes.iter().map(|minute| 1.0 / minute.total as f64).sum();
        let chance = mean * (1.0 - mean) / (count / inverse);
        self.cv2 = (steps / (count - 1.0) - chance).max(0.0) / mean.powi(2);
    }

    /// Learns from a finished bin: how far the canary's part of the events was from what the
    /// ratio of the bins before foretold. The local ratio keeps a real, steady regression from
    /// looking like noise: `rho = (A+.5)/(C+.5)`, `th = q rho / (1 - q + q rho)`,
    /// `RS += (y1 - m th)^2`, `V += m th (1 - th)`.
    pub(super) fn bin(&mut self, h: usize, bin: Block) {
        if bin.is_empty() {
            return;
        }
        let Block { n0, x0, n1, x1 } = bin;
        let rho = (self.canary[h] + 0.5) / (self.stable[h] + 0.5);
        let q = n1 / (n0 + n1);
        let theta = q * rho / (1.0 - q + q * rho);
        let events = x0 + x1;
        self.squares[h] += (x1 - events * theta).powi(2);
        self.variance[h] += events * theta * (1.0 - theta);
        self.canary[h] = 0.8 * self.canary[h] + x1 * n0 / (n0 + n1);
        self.stable[h] = 0.8 * self.stable[h] + x0 * n1 / (n0 + n1);
        self.learned[h] = self.learned[h].saturating_add(1);
    }

    /// phi for the next block: the greatest of 1, `(prior + RS)/(prior + V)` of each length of
    /// bin, and from the hour before `1 + 2 cv^2 M w (1 - w)`, M being events a minute over
    /// both versions at stable's rate and w the canary's share of requests in this stage.
    pub(super) fn settle(&mut self, prior: f64, events_a_minute: f64, weight: f64) {
        let mut phi: f64 = 1.0;
        for h in 0..BINS.len() {
            if self.learned[h] >= BINS_MIN {
                phi = phi.max((prior + self.squares[h]) / (prior + self.variance[h]));
            }
        }
        if self.cv2 > 0.0 {
            phi = phi.max(1.0 + 2.0 * self.cv2 * events_a_minute * weight * (1.0 - weight));
        }
        self.phi = phi.min(PHI_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(errors: impl Fn(u64) -> u64) -> Vec<Counts> {
        let minute = |i| Counts { requests: 1000, errors: errors(i), ..Counts::default() };
        (0..60).map(minute).collect()
    }

    fn cv2(minutes: &[Counts]) -> f64 {
        let mut spread = Spread::new();
        spread.calibrate(minutes, 0);
        spread.cv2
    }

    #[test]
    fn an_even_hour_and_a_slow_drift_are_not_noise() {
        assert!(cv2(&hour(|_| 10)) < 1e-12);
        assert!(cv2(&hour(|i| 10 + i)) < 1e-12);
    }

    #[test]
    fn bursts_in_the_hour_before_are_noise() {
        assert!(cv2(&hour(|i| if i % 5 == 0 { 50 } else { 0 })) > 1.0);
    }

    #[test]
    fn too_few_minutes_say_nothing() {
        assert!(cv2(&hour(|i| if i % 5 == 0 { 50 } else { 0 })[..19]) < 1e-12);
    }
}
