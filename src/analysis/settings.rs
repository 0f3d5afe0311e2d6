//! What the judge tolerates, how sure it must be, and how long it may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{CheckSettings, SAMPLES_MAX};

/// Watches and signals beside errors and slow: each takes a part of the same bound, and twenty parts are dust.
pub const WATCHES_MAX: usize = 20;

/// Everything the judge can be told. `Settings::default()` is the judge's study, docs/analysis.md.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// P(a good version is rolled back), over the whole rollout, all stages, all looks.
    pub false_rollback: f64,
    /// P(a stage is called proven although the canary is worse than its margin), per stage.
    pub false_advance: f64,
    /// Failed requests.
    pub errors: MetricSettings,
    /// Requests slower than a threshold that was fixed before the window.
    pub slow: MetricSettings,
    /// Figures of the operator's own; they can stop a rollout, never prove one.
    pub watches: Vec<WatchSettings>,
    /// The same from outside: bad events among those of its own kind, such as jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<WatchSettings>,
    /// Numbers from outside that have a limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckSettings>,
    /// The first seconds of a new version, in which it is forgiven `grace_delta`.
    pub grace: Duration,
    /// The extra share of bad requests forgiven during the grace.
    pub grace_delta: f64,
    /// The first seconds in which the caches, compilers and pools of the canary count as cold:
    /// *slow* holds instead of failing. The study knows no such time, hence 0 here; the
    /// configuration has its own default.
    pub warm_up: Duration,
    /// Least time a stage lasts, unless the stage says otherwise.
    pub bake: Duration,
    /// After this long in one stage without proof, `when_unproven` decides.
    pub give_up: Duration,
    /// What happens to a stage that nothing speaks against but that is not proven.
    pub when_unproven: WhenUnproven,
    /// The most evidence of harm one block may add, in nats; 3 means at least three blocks.
    pub cap_nats: f64,
    /// How often "it began to be bad just now" joins the hypotheses.
    pub restart: Duration,
    /// Odds of harm above which nothing advances.
    pub suspicion: f64,
    /// No advance while stable's error rate of the last minute is above this plus 3 x its usual.
    pub outage_floor: f64,
    /// Weight of "errors are independent" in the estimate of dispersion.
    pub dispersion_prior: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            false_rollback: 0.01,
            false_advance: 0.05,
            errors: MetricSettings::ERRORS,
            slow: MetricSettings::SLOW,
            watches: Vec::new(),
            signals: Vec::new(),
            checks: Vec::new(),
            grace: Duration::from_mins(1),
            grace_delta: 0.10,
            warm_up: Duration::ZERO,
            bake: Duration::from_mins(1),
            give_up: Duration::from_mins(30),
            when_unproven: WhenUnproven::Hold,
            cap_nats: 3.0,
            restart: Duration::from_secs(30),
            suspicion: 5.0,
            outage_floor: 0.05,
            dispersion_prior: 20.0,
        }
    }
}

/// What one metric tolerates. All shares: 0.005 is half a percentage point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricSettings {
    /// No harm up to `ratio0 * stable + delta0`: the factor.
    pub ratio0: f64,
    /// No harm up to `ratio0 * stable + delta0`: the extra share.
    pub delta0: f64,
    /// Proven good enough: all users together see at most this much more, or `ratio_margin`.
    pub margin: f64,
    /// Proven good enough: at most this many times stable's rate, or `margin`.
    pub ratio_margin: f64,
}

impl MetricSettings {
    /// Failed requests: no harm up to 1.1 x + 0.05 pp; proven within +0.5 pp or x 1.5.
    pub const ERRORS: Self =
        Self { ratio0: 1.10, delta0: 0.0005, margin: 0.005, ratio_margin: 1.5 };
    /// Slow requests: no harm up to 1.25 x + 0.1 pp; proven within +1 pp or x 2.
    pub const SLOW: Self = Self { ratio0: 1.25, delta0: 0.001, margin: 0.01, ratio_margin: 2.0 };
}

impl Default for MetricSettings {
    fn default() -> Self {
        Self::ERRORS
    }
}

/// A figure of the operator's own: bad events among the requests of each version, or among those
/// of a signal.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WatchSettings {
    /// As the operator calls it.
    pub name: String,
    /// What happens when it is clearly worse on the canary.
    #[serde(default)]
    pub on_fail: OnFail,
    /// What it tolerates; like errors unless told otherwise.
    #[serde(default)]
    pub metric: MetricSettings,
}

/// What a metric does when the canary is clearly worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// Everybody goes back to stable.
    Rollback,
    /// The rollout stays where it is.
    #[default]
    Hold,
}

/// What happens after `give_up` to a stage that nothing speaks against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnproven {
    /// It waits for a person.
    #[default]
    Hold,
    /// It goes on, and says that nothing was proven.
    Advance,
}

/// A setting no judge can work with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A number outside its range.
    #[error("{name} is {value}; use {low} to {high}")]
    OutOfRange {
        /// The key.
        name: String,
        /// What it was set to.
        value: f64,
        /// Least value.
        low: f64,
        /// Greatest value.
        high: f64,
    },
    /// More watches than the bound can be shared among.
    #[error("{0} watches share one bound on false roll backs; use at most {WATCHES_MAX}")]
    TooManyWatches(usize),
    /// A watch without a name of its own.
    #[error("watch {0:?} needs a name that no other metric has")]
    Name(String),
}

/// Index of the metric *errors*.
pub(super) const ERRORS: usize = 0;
/// Index of the metric *slow*.
pub(super) const SLOW: usize = 1;
/// Index of the first watch.
pub(super) const WATCH: usize = 2;

impl Settings {
    /// Refuses what the formulas cannot carry, naming the key, the value and the range.
    ///
    /// ```
    /// use weir::analysis::Settings;
    /// let settings = Settings { false_rollback: 2.0, ..Settings::default() };
    /// assert_eq!(
    ///     settings.check().unwrap_err().to_string(),
    ///     "false_rollback is 2; use 0.000001 to 0.5"
    /// );
    /// ```
    pub fn check(&self) -> Result<(), SettingsError> {
        within("false_rollback", self.false_rollback, 1e-6, 0.5)?;
        within("false_advance", self.false_advance, 1e-6, 0.5)?;
        within("grace_delta", self.grace_delta, 0.0, 1.0)?;
        within("cap_nats", self.cap_nats, 0.1, 1000.0)?;
        within("restart", self.restart.as_secs_f64(), 1.0, 86_400.0)?;
        within("suspicion", self.suspicion, 1.0, 1e6)?;
        within("outage_floor", self.outage_floor, 0.0, 1.0)?;
        within("dispersion_prior", self.dispersion_prior, 1.0, 1e6)?;
        if self.further().count() > WATCHES_MAX {
            return Err(SettingsError::TooManyWatches(self.further().count()));
        }
        for index in 0..self.metrics() {
            self.check_metric(index)?;
        }
        for (index, check) in self.checks.iter().enumerate() {
            let name = &check.name;
            let metric = (0..self.metrics()).any(|index| self.name(index) == name);
            let taken = metric || self.checks[..index].iter().any(|other| other.name == *name);
            if name.is_empty() || taken {
                return Err(SettingsError::Name(name.clone()));
            }
            within(&format!("{name}.limit"), check.limit.number(), f64::MIN, f64::MAX)?;
            within(&format!("{name}.samples"), check.samples as f64, 1.0, SAMPLES_MAX as f64)?;
            let samples = check.samples as f64;
            within(&format!("{name}.beyond"), check.beyond as f64, 1.0, samples)?;
        }
        Ok(())
    }

    /// The watches, then the signals: the metrics beside errors and slow, in their order.
    fn further(&self) -> impl Iterator<Item = &WatchSettings> {
        self.watches.iter().chain(&self.signals)
    }

    fn check_metric(&self, index: usize) -> Result<(), SettingsError> {
        let name = self.name(index);
        if name.is_empty() || (0..index).any(|other| self.name(other) == name) {
            return Err(SettingsError::Name(name.to_owned()));
        }
        let metric = self.metric(index);
        within(&format!("{name}.ratio0"), metric.ratio0, 1.0, 100.0)?;
        within(&format!("{name}.delta0"), metric.delta0, 0.0, 1.0)?;
        within(&format!("{name}.margin"), metric.margin, 1e-6, 1.0)?;
        within(&format!("{name}.ratio_margin"), metric.ratio_margin, 1.0, 100.0)
    }

    /// Errors, slow, the watches, and the signals.
    pub(super) fn metrics(&self) -> usize {
        WATCH + self.watches.len() + self.signals.len()
    }

    pub(super) fn name(&self, index: usize) -> &str {
        match index {
            ERRORS => "errors",
            SLOW => "slow",
            further => self.further().nth(further - WATCH).map_or("", |watch| &watch.name),
        }
    }

    pub(super) fn metric(&self, index: usize) -> MetricSettings {
        match index {
            ERRORS => self.errors,
            SLOW => self.slow,
            further => {
                self.further().nth(further - WATCH).map(|watch| watch.metric).unwrap_or_default()
            }
        }
    }

    pub(super) fn on_fail(&self, index: usize) -> OnFail {
        match index {
            ERRORS | SLOW => OnFail::Rollback,
            further => {
                self.further().nth(further - WATCH).map(|watch| watch.on_fail).unwrap_or_default()
            }
        }
    }

    /// The part of `false_rollback` one metric may spend: 0.75 and 0.25 for errors and slow;
    /// with k watches and signals 0.60, 0.20 and 0.20/k each. They sum to one, so the union bound gives
    /// `false_rollback` for all metrics together.
    pub(super) fn share(&self, index: usize) -> f64 {
        let watches = self.further().count();
        match (index, watches) {
            (ERRORS, 0) => 0.75,
            (SLOW, 0) => 0.25,
            (ERRORS, _) => 0.60,
            (SLOW, _) => 0.20,
            _ => 0.20 / watches.max(1) as f64,
        }
    }

    /// ln(1 / (share * `false_rollback`)): the log odds at which a metric fails (Ville 1939).
    pub(super) fn rollback_at(&self, index: usize) -> f64 {
        (1.0 / (self.share(index) * self.false_rollback)).ln()
    }

    /// ln(1 / `false_advance`): the log evidence that proves a stage (Ville 1939).
    pub(super) fn advance_at(&self) -> f64 {
        (1.0 / self.false_advance).ln()
    }
}

fn within(name: &str, value: f64, low: f64, high: f64) -> Result<(), SettingsError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(SettingsError::OutOfRange { name: name.to_owned(), value, low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(names: &[&str]) -> Settings {
        let watch =
            |name: &&str| WatchSettings { name: (*name).into(), ..WatchSettings::default() };
        Settings { watches: names.iter().map(watch).collect(), ..Settings::default() }
    }

    #[test]
    fn the_defaults_are_fit_to_use() {
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn the_shares_of_the_bound_sum_to_one() {
        let mut heard = watched(&["jobs"]);
        heard.signals = watched(&["orders"]).watches;
        let three = watched(&["jobs", "orders", "mails"]);
        for settings in [watched(&[]), watched(&["jobs"]), three, heard] {
            let sum: f64 = (0..settings.metrics()).map(|index| settings.share(index)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
        assert!((Settings::default().rollback_at(ERRORS).exp() - 133.333).abs() < 0.001);
        assert!((Settings::default().rollback_at(SLOW).exp() - 400.0).abs() < 0.001);
    }

    #[test]
    fn a_watch_needs_a_name_of_its_own() {
        for names in [&["errors"][..], &["jobs", "jobs"], &[""]] {
            assert!(matches!(watched(names).check(), Err(SettingsError::Name(_))), "{names:?}");
        }
    }

    #[test]
    fn not_a_number_is_refused() {
        let settings = Settings { suspicion: f64::NAN, ..Settings::default() };
        assert!(settings.check().is_err());
    }

    #[test]
    fn settings_survive_json_and_may_be_partial() {
        let settings = watched(&["jobs"]);
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
        let partial: Settings = serde_json::from_str(r#"{"false_rollback":0.02}"#).unwrap();
        assert_eq!(partial, Settings { false_rollback: 0.02, ..Settings::default() });
    }
}
