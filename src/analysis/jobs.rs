//! What the judge says where it was fed with the jobs of workers instead of requests.

use super::{
    report::{MetricReport, Report, line},
    settings::ERRORS,
    verdict::{Verdict, Why},
    words::{odds, percent, span},
};

/// What a verdict on jobs is about.
const JOBS: &str = "jobs";

/// Workers tell of their jobs in lumps, seconds apart, and one lump is one block at most: it takes a
/// while until the odds follow. Meanwhile a share of failures above so many times the old version's...
const WORSE_RATIO: f64 = 1.5;

/// ... and so much more looks worse. That holds, and takes nobody back.
const WORSE: f64 = 0.05;

impl Report {
    /// The same where requests were jobs: the verdict on them, and their evidence alone.
    #[must_use]
    pub fn about_jobs(mut self) -> Self {
        self.verdict = self.of_jobs();
        self.metrics.truncate(ERRORS + 1);
        self.metrics.iter_mut().for_each(|jobs| JOBS.clone_into(&mut jobs.name));
        self
    }

    /// What `weir explain` says where requests were jobs.
    pub fn explain_jobs(&self) -> String {
        let mut text = String::new();
        line(&mut text, "verdict", self.verdict.reason());
        for jobs in &self.metrics {
            line(&mut text, &jobs.name, &jobs.counts());
            line(&mut text, "", &jobs.harm(self));
        }
        self.blind.iter().for_each(|silent| line(&mut text, "blind", silent));
        let (soak, bake) = (span(self.soak), span(self.bake));
        line(&mut text, "time", &format!("{soak} on trial, at least {bake}"));
        text
    }

    /// The verdict in the words of jobs: the old version is *stable*, the new one the *canary*.
    pub fn of_jobs(&self) -> Verdict {
        let Some(jobs) = self.metrics.get(ERRORS) else { return self.verdict.clone() };
        let (seen, metric) = (seen(jobs), Some(JOBS.to_owned()));
        match &self.verdict {
            Verdict::Fail { .. } => {
                let reason = format!("jobs fail more often after {}: {seen}", span(self.elapsed));
                Verdict::Fail { metric: JOBS.into(), reason }
            }
            Verdict::Pass { proven: false, .. } if looks_worse(jobs) => {
                let (why, reason) = (Why::Suspicious, format!("they look worse: {seen}"));
                Verdict::Inconclusive { why, metric, reason }
            }
            Verdict::Pass { proven, .. } => Verdict::Pass { proven: *proven, reason: seen },
            Verdict::Inconclusive { why, reason: said, .. } => {
                let is_open = matches!(why, Why::NotEnough | Why::Unproven);
                let why = if is_open && looks_worse(jobs) { Why::Suspicious } else { *why };
                let reason = match why {
                    Why::Soaking => format!("{} of {}: {seen}", span(self.soak), span(self.bake)),
                    Why::Suspicious => format!("they look worse: {seen}"),
                    Why::Outage => {
                        format!("the old version fails more often than usual, too: {seen}")
                    }
                    Why::NoStable => format!("the old version does none to compare with: {seen}"),
                    Why::Blind => said.clone(),
                    Why::ColdCache | Why::NotEnough | Why::Unproven | Why::WatchHolds => seen,
                };
                Verdict::Inconclusive { why, metric, reason }
            }
        }
    }
}

/// Whether so far more of them fail on the new version than on the old one.
fn looks_worse(jobs: &MetricReport) -> bool {
    jobs.stable_total > 0 && jobs.canary_rate > WORSE_RATIO * jobs.stable_rate + WORSE
}

/// "20 of 20 failed on the new version (100 %), 0 of 35 on the old one (0 %); odds 1900:1 that it does
/// harm, back at 133:1".
fn seen(jobs: &MetricReport) -> String {
    format!(
        "{} of {} failed on the new version ({}), {} of {} on the old one ({}); odds {} that it does \
         harm, back at {}",
        jobs.canary_events,
        jobs.canary_total,
        percent(jobs.canary_rate),
        jobs.stable_events,
        jobs.stable_total,
        percent(jobs.stable_rate),
        odds(jobs.log_e),
        odds(jobs.log_e_rollback_at),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Counts, Judge, Settings, Window};
    use super::*;

    #[test]
    fn while_the_odds_do_not_follow_yet_jobs_that_look_worse_hold() {
        let mut judge = Judge::new(Settings::default());
        judge.start_stage(0.0, 1.0, Duration::ZERO);
        let counts = |requests, errors| Counts { requests, errors, ..Counts::default() };
        let window = Window { stable: counts(200, 0), canary: counts(80, 40), cold: false };
        judge.observe(5.0, &window);
        let report = judge.report();
        let why = |verdict: &Verdict| match verdict {
            Verdict::Inconclusive { why, .. } => *why,
            Verdict::Fail { .. } | Verdict::Pass { .. } => panic!("{verdict:?}"),
        };
        assert_eq!(why(&report.verdict), Why::NotEnough, "one block is never enough");
        assert_eq!(why(&report.of_jobs()), Why::Suspicious);
    }

    #[test]
    fn what_is_told_of_jobs_is_about_jobs_alone() {
        let mut judge = Judge::new(Settings::default());
        judge.start_stage(0.0, 1.0, Duration::from_mins(1));
        let counts = |requests, errors| Counts { requests, errors, ..Counts::default() };
        let window = Window { stable: counts(10, 0), canary: counts(5, 5), cold: false };
        judge.observe(1.0, &window);
        let report = judge.report().about_jobs();
        let names: Vec<&str> = report.metrics.iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(names, ["jobs"]);
        let told = report.explain_jobs();
        assert!(told.starts_with("verdict       1 s of 1m00s: 5 of 5 failed on the new"), "{told}");
        assert!(told.contains("jobs          canary 5/5 (100 %) vs stable 0/10 (0 %)"), "{told}");
        assert!(told.contains("stable + 0.05 pp\"; roll back at 133:1"), "{told}");
        assert!(told.ends_with("time          1 s on trial, at least 1m00s\n"), "{told}");
        assert!(!told.contains("slow") && !told.contains("errors"), "{told}");
    }

    #[test]
    fn a_verdict_on_jobs_says_how_many_failed_on_which_version() {
        let mut judge = Judge::new(Settings::default());
        judge.start_stage(0.0, 1.0, Duration::from_mins(1));
        let counts = |requests, errors| Counts { requests, errors, ..Counts::default() };
        let window = Window { stable: counts(10, 0), canary: counts(5, 5), cold: false };
        judge.observe(1.0, &window);
        let soaking = judge.report().of_jobs();
        assert!(
            soaking.reason().starts_with("1 s of 1m00s: 5 of 5 failed on the new"),
            "{soaking:?}"
        );
        let failed = (2..60).find(|second| {
            judge.observe(f64::from(*second), &window);
            matches!(judge.report().of_jobs(), Verdict::Fail { .. })
        });
        assert!(failed.is_some_and(|second| second < 10), "{failed:?}");
        let Verdict::Fail { metric, reason } = judge.report().of_jobs() else { panic!() };
        assert_eq!(metric, "jobs");
        assert!(reason.contains("failed on the new version (100 %), 0 of "), "{reason}");
    }
}
