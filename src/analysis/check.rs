//! A number from outside against its threshold, with hysteresis.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::settings::OnFail;
use super::words::short;

/// Samples a check can look back on: with one every few seconds a quarter of an hour.
pub const SAMPLES_MAX: usize = 100;

/// A number that must not go beyond a limit on the canary. It stands beside the statistics: a limit
/// that a person chose has no part in the bound on false roll backs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckSettings {
    /// As the operator calls it.
    pub name: String,
    /// What happens when it is beyond its limit.
    #[serde(default)]
    pub on_fail: OnFail,
    /// Where the limit is.
    pub limit: Limit,
    /// So many of the last `samples` must be beyond the limit; at least 1.
    pub beyond: usize,
    /// Samples that are looked at; at most [`SAMPLES_MAX`].
    pub samples: usize,
}

/// Which side of which number is bad.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// What is above it.
    Above(f64),
    /// What is below it.
    Below(f64),
}

impl Limit {
    /// The number.
    pub const fn number(self) -> f64 {
        match self {
            Self::Above(number) | Self::Below(number) => number,
        }
    }

    fn is_broken_by(self, value: f64) -> bool {
        match self {
            Self::Above(limit) => value > limit,
            Self::Below(limit) => value < limit,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Above(limit) => format!("above {}", short(limit)),
            Self::Below(limit) => format!("below {}", short(limit)),
        }
    }
}

/// What signals from outside said since the last window, beside their counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// New samples of each check, in the order of the settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
    /// The signals that say nothing, each a sentence: "jobs of 1.1.0: no answer for 30 s".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blind: Vec<String>,
}

impl Heard {
    /// Nothing new, and nothing missed.
    pub fn is_none(&self) -> bool {
        self.blind.is_empty() && self.samples.iter().all(|sample| *sample == Sample::default())
    }
}

/// One number, as both versions have it; none: nothing new of that version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Of who served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<f64>,
    /// Of the new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<f64>,
}

/// What is known of one check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Check {
    now: Sample,
    /// Whether each of the last samples of the canary was beyond the limit, oldest first.
    last: VecDeque<bool>,
    failing: bool,
}

impl Check {
    /// Fails once `beyond` of the last `samples` are beyond the limit, and is well again once the
    /// last `beyond` are all within it: in between it stays what it was.
    pub(super) fn hear(&mut self, settings: &CheckSettings, sample: Sample) {
        let finite = |value: &f64| value.is_finite();
        self.now.stable = sample.stable.filter(finite).or(self.now.stable);
        let Some(value) = sample.canary.filter(finite) else { return };
        self.now.canary = Some(value);
        self.last.push_back(settings.limit.is_broken_by(value));
        while self.last.len() > settings.samples.clamp(1, SAMPLES_MAX) {
            self.last.pop_front();
        }
        let needed = settings.beyond.clamp(1, settings.samples.max(1));
        let within = self.last.iter().rev().take_while(|beyond| !**beyond).count();
        if self.beyond() >= needed {
            self.failing = true;
        } else if within >= needed {
            self.failing = false;
        }
    }

    fn beyond(&self) -> usize {
        self.last.iter().filter(|beyond| **beyond).count()
    }

    pub(super) const fn is_failing(&self) -> bool {
        self.failing
    }

    pub(super) fn report(&self, settings: &CheckSettings) -> CheckReport {
        CheckReport {
            name: settings.name.clone(),
            on_fail: settings.on_fail,
            limit: settings.limit,
            needed: settings.beyond,
            samples: settings.samples,
            beyond: self.beyond(),
            known: self.last.len(),
            stable: self.now.stable,
            canary: self.now.canary,
            failing: self.failing,
        }
    }
}

/// One check of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// As the operator calls it.
    pub name: String,
    /// What it does when it fails.
    pub on_fail: OnFail,
    /// Where the limit is.
    pub limit: Limit,
    /// So many samples beyond the limit make it fail.
    pub needed: usize,
    /// Among so many.
    pub samples: usize,
    /// So many are beyond it now.
    pub beyond: usize,
    /// So many are known.
    pub known: usize,
    /// The last number of stable.
    pub stable: Option<f64>,
    /// The last number of the canary.
    pub canary: Option<f64>,
    /// Whether it fails.
    pub failing: bool,
}

impl CheckReport {
    /// "canary 42, stable 3; 2 of the last 5 above 30, rolls back at 3".
    pub(super) fn words(&self) -> String {
        let shown = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), short);
        let act = match self.on_fail {
            OnFail::Rollback => "rolls back",
            OnFail::Hold => "holds",
        };
        format!(
            "canary {}, stable {}; {} of the last {} {}, {act} at {} of {}",
            shown(self.canary),
            shown(self.stable),
            self.beyond,
            self.known,
            self.limit.words(),
            self.needed,
            self.samples,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: Limit, beyond: usize, samples: usize) -> CheckSettings {
        let (name, on_fail) = ("latency".into(), OnFail::Hold);
        CheckSettings { name, on_fail, limit, beyond, samples }
    }

    fn failing(settings: &CheckSettings, values: &[f64]) -> Vec<bool> {
        let mut check = Check::default();
        let hear = |value: &f64| {
            check.hear(settings, Sample { stable: None, canary: Some(*value) });
            check.is_failing()
        };
        values.iter().map(hear).collect()
    }

    #[test]
    fn three_of_five_samples_beyond_fail_and_three_within_in_a_row_mend() {
        let settings = check(Limit::Above(30.0), 3, 5);
        let values = [40.0, 10.0, 40.0, 30.0, 40.0, 10.0, 10.0, 40.0, 10.0, 10.0, 10.0];
        let expected = [false, false, false, false, true, true, true, true, true, true, false];
        assert_eq!(failing(&settings, &values), expected);
    }

    #[test]
    fn one_peak_is_no_failure_and_what_is_no_number_is_no_sample() {
        let settings = check(Limit::Below(5.0), 2, 3);
        let values = [1.0, f64::NAN, f64::INFINITY, 6.0, 7.0, 1.0, 1.0];
        assert_eq!(failing(&settings, &values), [false, false, false, false, false, false, true]);
    }

    #[test]
    fn stable_is_shown_and_not_judged() {
        let settings = check(Limit::Above(1.0), 1, 1);
        let mut check = Check::default();
        check.hear(&settings, Sample { stable: Some(9.0), canary: None });
        assert!(!check.is_failing());
        let words = check.report(&settings).words();
        assert_eq!(words, "canary unknown, stable 9; 0 of the last 0 above 1, holds at 1 of 1");
    }
}
