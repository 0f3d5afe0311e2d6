//! Is stable itself failing more than it usually does?

use serde::{Deserialize, Serialize};

use super::{exact, window::Counts};

/// What "the last minute" forgets by.
const RECENT: f64 = 60.0;
/// What "usual" forgets by.
const USUAL: f64 = 1800.0;
/// Above this share of failures nothing advances, however usual it has become: an outage that
/// lasts would otherwise teach the judge that outages are usual.
const ALWAYS: f64 = 0.25;

/// Stable's error rate of the last minute beside that of the last half hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outage {
    /// Requests and errors of the last minute.
    #[serde(with = "exact")]
    recent: [f64; 2],
    /// Requests and errors of the last half hour; begins with the calibration.
    #[serde(with = "exact")]
    usual: [f64; 2],
}

impl Outage {
    pub(super) fn new() -> Self {
        Self { recent: [0.0; 2], usual: [0.0; 2] }
    }

    /// Takes the hour before as half an hour of the usual, so that an outage which begins with
    /// the rollout is seen.
    pub(super) fn calibrate(&mut self, minutes: &[Counts]) {
        let requests: f64 = minutes.iter().map(|minute| minute.requests as f64).sum();
        let errors: f64 = minutes.iter().map(|minute| minute.errors as f64).sum();
        if requests > 0.0 {
            let half_hour = 30.0 * requests / minutes.len() as f64;
            self.usual = [half_hour, half_hour * errors / requests];
        }
    }

    /// Both rates forget exponentially, then learn this window of stable.
    pub(super) fn add(&mut self, seconds: f64, stable: &Counts) {
        let new = [stable.requests as f64, stable.errors as f64];
        for (rate, memory) in [(&mut self.recent, RECENT), (&mut self.usual, USUAL)] {
            let kept = (-seconds / memory).exp();
            *rate = [rate[0] * kept + new[0], rate[1] * kept + new[1]];
        }
    }

    /// Stable's error rate of the last minute.
    pub(super) fn recent(&self) -> f64 {
        if self.recent[0] > 0.0 { self.recent[1] / self.recent[0] } else { 0.0 }
    }

    /// The last minute's rate is above `floor + 3 x usual`, or above a quarter.
    pub(super) fn is_on(&self, floor: f64) -> bool {
        let usual = self.usual[1] / self.usual[0].max(1.0);
        self.recent() > (floor + 3.0 * usual).min(ALWAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(seconds: u32, errors: u64) -> Outage {
        let mut outage = Outage::new();
        outage.calibrate(&vec![Counts { requests: 6000, errors: 6, ..Counts::default() }; 60]);
        for _ in 0..seconds {
            outage.add(1.0, &Counts { requests: 100, errors, ..Counts::default() });
        }
        outage
    }

    #[test]
    fn a_failing_stable_is_an_outage() {
        assert!(!seen(60, 0).is_on(0.05));
        assert!(seen(60, 30).is_on(0.05));
    }

    #[test]
    fn what_lasts_becomes_usual_but_never_a_stable_that_fails_often() {
        assert!(!seen(3600, 20).is_on(0.05));
        assert!(seen(36_000, 30).is_on(0.05));
    }
}
