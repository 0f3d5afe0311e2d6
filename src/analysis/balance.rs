//! How far the evidence is on its way in both directions: what a bar shows, and what it means in
//! words.

use super::report::{MetricReport, Report};
use super::settings::OnFail;
use super::words::{odds, percentage_points, short};

/// Where one metric stands between "worse than stable" and "proven not to be".
#[derive(Debug, Clone, PartialEq)]
pub struct Balance<'a> {
    /// The metric.
    pub metric: &'a MetricReport,
    /// How far it is from even odds to the odds at which it fails, on a scale of logarithms: 0 to 1.
    pub against: f64,
    /// How far it is to the proof that the margin of the stage is kept: 0 to 1.
    pub proven: f64,
    /// "12:1 against; rolled back at 133:1".
    pub words_against: String,
    /// "at most +0.43 percentage points worse; needs +0.50".
    pub words_for: String,
}

impl Report {
    /// All metrics, on their way.
    pub fn balances(&self) -> Vec<Balance<'_>> {
        self.metrics.iter().map(MetricReport::balance).collect()
    }
}

impl MetricReport {
    fn balance(&self) -> Balance<'_> {
        Balance {
            metric: self,
            against: way(self.log_e, self.log_e_rollback_at),
            proven: if self.is_proven() { 1.0 } else { way(self.log_e_advance, self.advance_at) },
            words_against: self.words_against(),
            words_for: self.words_for(),
        }
    }

    fn words_against(&self) -> String {
        let act = match self.on_fail {
            OnFail::Rollback => "rolled back",
            OnFail::Hold => "held",
        };
        let limit = odds(self.log_e_rollback_at);
        if self.log_e <= 0.0 {
            return format!("nothing against; {act} at {limit}");
        }
        format!("{} against; {act} at {limit}", odds(self.log_e))
    }

    fn words_for(&self) -> String {
        let (most, limit) = (percentage_points(self.upper_bound), percentage_points(self.limit));
        if !self.needed_for_advance {
            return "not needed to advance".into();
        }
        if self.is_proven() && self.upper_bound > self.limit {
            return format!("proven: within {} times stable or {limit}", short(self.limit_ratio));
        }
        if self.upper_bound >= 1.0 {
            return format!("how much worse is not known yet; needs at most {limit}");
        }
        // The same unit twice is said once.
        let limit = limit.trim_end_matches(" percentage points");
        if self.is_proven() {
            return format!("proven: at most {most} worse; needed {limit}");
        }
        let sure = if self.upper_bound > self.limit {
            String::new()
        } else {
            format!(
                ", and to be surer of it: {}, needs {}",
                odds(self.log_e_advance),
                odds(self.advance_at)
            )
        };
        format!("at most {most} worse; needs {limit}{sure}")
    }
}

/// How far `log` is from nothing to `limit`.
fn way(log: f64, limit: f64) -> f64 {
    let way = log / limit;
    // No number: there is no evidence, or no limit.
    if way.is_nan() { 0.0 } else { way.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judge;
    use super::super::settings::Settings;
    use super::super::window::{Counts, Window};

    fn judged(stable: (u64, u64), canary: (u64, u64), seconds: u32) -> Judge {
        let mut judge = Judge::new(Settings::default());
        judge.start_stage(0.0, 0.25, std::time::Duration::from_mins(1));
        let counts = |(requests, errors)| Counts { requests, errors, ..Counts::default() };
        for second in 1..=seconds {
            let window = Window { stable: counts(stable), canary: counts(canary), cold: false };
            let _ = judge.observe(f64::from(second), &window);
        }
        judge
    }

    #[test]
    fn a_failing_canary_goes_one_way_and_a_good_one_the_other() {
        let said = |judge: &Judge| {
            let report = judge.report();
            let errors = report.balances().remove(0);
            assert_eq!(errors.metric.name, "errors");
            (errors.against, errors.proven, errors.words_against.clone(), errors.words_for.clone())
        };
        let (against, proven, words, _) = said(&judged((95, 0), (5, 5), 60));
        assert!((against - 1.0).abs() < 1e-9 && proven < 1.0, "{against} {proven}");
        assert!(words.contains(" against; rolled back at 133:1"), "{words}");

        let (against, proven, words, then) = said(&judged((950, 0), (50, 0), 600));
        assert!(against < 0.01 && (proven - 1.0).abs() < 1e-9, "{against} {proven}");
        assert_eq!(words, "nothing against; rolled back at 133:1");
        assert!(then.starts_with("proven: at most +") && then.contains("; needed +"), "{then}");

        let (_, proven, _, then) = said(&judged((95, 0), (5, 0), 20));
        assert!(proven < 1.0, "{proven}");
        assert!(then.contains("needs "), "{then}");
    }

    #[test]
    fn what_is_no_number_is_nothing() {
        let ways =
            [super::way(f64::NAN, 4.0), super::way(0.0, 0.0), super::way(f64::NEG_INFINITY, 4.0)];
        assert!(ways.iter().all(|way| way.abs() < f64::EPSILON), "{ways:?}");
        assert!((super::way(f64::INFINITY, 4.0) - 1.0).abs() < f64::EPSILON);
    }
}
