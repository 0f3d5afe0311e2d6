//! Everything the judge knows, as numbers for programs and as text for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::warmth::HitRatios;
use super::{
    check::CheckReport,
    dispersion::CALIBRATION_MIN,
    settings::{OnFail, WhenUnproven},
    verdict::{Verdict, Why, afterwards, bound, bursts, threshold},
    window::Counts,
    words::{count, odds, percent, points, short, span},
};

/// The judge at one moment: what explain, status, metrics and the dashboard show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the evidence says.
    pub verdict: Verdict,
    /// Observed seconds since the rollout began.
    pub elapsed: f64,
    /// Stable's counts in this stage.
    pub stage_stable: Counts,
    /// The canary's counts in this stage.
    pub stage_canary: Counts,
    /// Requests that failed on the canary since the rollout began.
    pub canary_failed: u64,
    /// Errors, slow, then the watches and the signals in the order of the settings.
    pub metrics: Vec<MetricReport>,
    /// Numbers from outside that have a limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckReport>,
    /// The signals that say nothing, each a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blind: Vec<String>,
    /// Observed seconds of this stage.
    pub soak: f64,
    /// Least seconds of this stage.
    pub bake: f64,
    /// Seconds after which `when_unproven` decides.
    pub give_up: f64,
    /// What happens then.
    pub when_unproven: WhenUnproven,
    /// The share of users the margins are for: the next stage's, 1 after the last.
    pub next_weight: f64,
    /// P(a good version is rolled back), over the whole rollout.
    pub false_rollback: f64,
    /// P(a stage is called proven although the canary is worse than its margin).
    pub false_advance: f64,
    /// Odds of harm above which nothing advances.
    pub suspicion: f64,
    /// Stable itself is failing more than usual.
    pub outage: bool,
    /// Stable's error rate of the last minute.
    pub stable_failing: f64,
    /// The canary's caches are cold: *slow* holds instead of failing.
    pub cold: bool,
    /// The share of lookups in caches that found something, once enough is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_ratios: Option<HitRatios>,
    /// Seconds of grace still to come.
    pub grace_left: f64,
    /// The share of bad requests forgiven meanwhile.
    pub grace_delta: f64,
    /// Minutes of stable before the rollout.
    pub calibration_minutes: usize,
    /// Seconds until the stage is likely proven at this pace; none if there is no telling.
    pub eta_seconds: Option<f64>,
}

/// One metric of a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// `errors`, `slow`, or the name of a watch or signal.
    pub name: String,
    /// The part of the bound on false roll backs that is this metric's.
    pub share: f64,
    /// Requests of stable in this stage, or what a signal counted instead.
    #[serde(default)]
    pub stable_total: u64,
    /// Requests of the canary in this stage, or what a signal counted instead.
    #[serde(default)]
    pub canary_total: u64,
    /// Bad events of stable in this stage.
    pub stable_events: u64,
    /// Bad events of the canary in this stage.
    pub canary_events: u64,
    /// Bad events per request (or event) of stable in this stage.
    pub stable_rate: f64,
    /// Bad events per request (or event) of the canary in this stage.
    pub canary_rate: f64,
    /// No harm up to `ratio0 * stable + delta0`.
    pub ratio0: f64,
    /// No harm up to `ratio0 * stable + delta0`.
    pub delta0: f64,
    /// E: odds against "no harm", over the whole rollout.
    pub odds: f64,
    /// ln E.
    pub log_e: f64,
    /// The ln E at which the metric fails.
    pub log_e_rollback_at: f64,
    /// The odds at which the metric fails.
    pub rollback_at_odds: f64,
    /// ln of the evidence that the margin of this stage is kept.
    pub log_e_advance: f64,
    /// The `log_e_advance` that proves it.
    pub advance_at: f64,
    /// The most the canary's rate may be above stable's, in this stage, at any time valid.
    pub upper_bound: f64,
    /// The margin of this stage, added: enough proof if `upper_bound` is below it.
    pub limit: f64,
    /// The margin of this stage, as a multiple of stable's rate; the larger one counts.
    pub limit_ratio: f64,
    /// Evidence is divided by this, because events come in bursts.
    pub phi: f64,
    /// An advance needs its proof; a watch can only fail or hold.
    pub needed_for_advance: bool,
    /// What it does when it fails.
    pub on_fail: OnFail,
    /// Seconds until it is likely proven at this pace; none if there is no telling.
    pub eta_seconds: Option<f64>,
}

impl Report {
    /// The share of this stage's requests that the canary really got.
    pub fn canary_share(&self) -> f64 {
        let all = self.stage_stable.requests as f64 + self.stage_canary.requests as f64;
        if all > 0.0 { self.stage_canary.requests as f64 / all } else { 0.0 }
    }

    /// The whole story for an operator: verdict, counts, rates, odds, thresholds, what would
    /// change the verdict and when (section "How to read weir explain" of docs/analysis.md).
    pub fn explain(&self) -> String {
        let mut text = String::new();
        line(&mut text, "verdict", self.verdict.reason());
        line(&mut text, "would change", &self.would_change());
        line(&mut text, "requests", &self.requests());
        for metric in &self.metrics {
            let shown = [metric.counts(), metric.harm(self), metric.proof(self)];
            line(&mut text, &metric.name, &shown[0]);
            shown[1..].iter().for_each(|more| line(&mut text, "", more));
        }
        self.checks.iter().for_each(|check| line(&mut text, &check.name, &check.words()));
        self.blind.iter().for_each(|silent| line(&mut text, "blind", silent));
        if let Some(ratios) = &self.hit_ratios {
            line(&mut text, "caches", &ratios.words());
        }
        line(&mut text, "time", &self.time());
        self.notes().iter().for_each(|note| line(&mut text, "note", note));
        text
    }

    fn requests(&self) -> String {
        format!(
            "canary {}, stable {} in this stage ({} to the canary); {} failed on the canary so far",
            self.stage_canary.requests,
            self.stage_stable.requests,
            percent(self.canary_share()),
            self.canary_failed,
        )
    }

    fn time(&self) -> String {
        let (soak, bake, give_up) = (span(self.soak), span(self.bake), span(self.give_up));
        let then = afterwards(self.when_unproven);
        format!("{soak} in this stage; bakes {bake}; unproven after {give_up}: {then}")
    }

    /// What has to happen for another verdict, and how long that may take.
    fn would_change(&self) -> String {
        match &self.verdict {
            Verdict::Fail { .. } => "nothing: the evidence does not expire".into(),
            Verdict::Pass { .. } => self.fails_at(),
            Verdict::Inconclusive { why, .. } => match why {
                Why::Soaking | Why::NotEnough => {
                    format!("{}; {}", self.passes_in(), self.fails_at())
                }
                Why::Suspicious => format!(
                    "good requests: advances below {}:1; {}",
                    short(self.suspicion),
                    self.fails_at()
                ),
                Why::Outage => "stable's errors back to usual".into(),
                Why::NoStable => "requests to stable".into(),
                Why::ColdCache => "warm caches: slow is then judged afresh".into(),
                Why::Blind => format!("hearing of it again; {}", self.fails_at()),
                Why::WatchHolds => "a person: advance, promote or roll back".into(),
                Why::Unproven => {
                    format!("a person, or more requests: {}; {}", self.passes_in(), self.fails_at())
                }
            },
        }
    }

    fn passes_in(&self) -> String {
        match self.eta_seconds {
            Some(seconds) => format!("advances in about {} at this pace", span(seconds)),
            None => "no telling yet when it advances".into(),
        }
    }

    fn fails_at(&self) -> String {
        let at: Vec<String> = (self.metrics.iter())
            .filter(|metric| metric.on_fail == OnFail::Rollback)
            .map(|metric| format!("{} {}", metric.name, odds(metric.log_e_rollback_at)))
            .collect();
        format!("rolls back at {}", at.join(", "))
    }

    fn cold_note(&self) -> String {
        let holds = "slow holds instead of rolling back";
        match self.hit_ratios.filter(|ratios| ratios.cold) {
            Some(ratios) => {
                let left = span(ratios.excuse_left);
                let ratios = ratios.words();
                format!("the canary's caches are cold: {ratios}; {holds}, for {left} more at most")
            }
            None => format!("the canary's caches are cold: {holds}"),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.outage {
            let rate = percent(self.stable_failing);
            notes.push(format!("stable itself fails {rate} of requests: no advance meanwhile"));
        }
        if self.cold {
            notes.push(self.cold_note());
        } else if let Some(ratios) = self.hit_ratios.filter(|ratios| ratios.cold) {
            notes.push(format!(
                "the canary's caches are cold: {}, for so long that it is no excuse any more",
                ratios.words()
            ));
        }
        if self.grace_left > 0.0 {
            let (left, delta) = (span(self.grace_left), points(self.grace_delta));
            notes.push(format!("grace for {left} more: {delta} is forgiven, nothing is proven"));
        }
        if self.calibration_minutes < CALIBRATION_MIN {
            notes.push(format!(
                "only {} of stable before the rollout (needs {CALIBRATION_MIN}): bursts of errors \
                 are known less well, a false roll back is likelier",
                count(self.calibration_minutes as u64, "minute"),
            ));
        }
        for metric in &self.metrics {
            let said = bursts(metric).map(|said| format!("{}: {said}", metric.name));
            notes.extend(said);
        }
        notes
    }
}

impl HitRatios {
    /// "canary 12 % hits, stable 93 %".
    fn words(&self) -> String {
        let whole = |ratio: f64| format!("{:.0} %", 100.0 * ratio);
        format!("canary {} hits, stable {}", whole(self.canary), whole(self.stable))
    }
}

impl MetricReport {
    pub(super) fn is_proven(&self) -> bool {
        self.log_e_advance >= self.advance_at
    }

    /// "canary 4/158 (2.53 %) vs stable 0/3082 (0 %)".
    pub(super) fn counts(&self) -> String {
        format!(
            "canary {}/{} ({}) vs stable {}/{} ({})",
            self.canary_events,
            self.canary_total,
            percent(self.canary_rate),
            self.stable_events,
            self.stable_total,
            percent(self.stable_rate),
        )
    }

    /// "canary <= 1.1 x stable + 0.05 pp".
    pub(super) fn tolerance(&self) -> String {
        format!("canary <= {} x stable + {} pp", short(self.ratio0), short(100.0 * self.delta0))
    }

    /// What there is more of on a bad canary.
    pub(super) fn noun(&self) -> &str {
        if self.name == "slow" { "slow requests" } else { &self.name }
    }

    /// "errors look worse on the canary"; a watch is one thing.
    pub(super) fn worse(&self, plural: &str, singular: &str) -> String {
        let verb = if self.needed_for_advance { plural } else { singular };
        format!("{} {verb} worse on the canary", self.noun())
    }

    pub(super) fn harm(&self, report: &Report) -> String {
        format!(
            "odds {} against \"{}\"; {} ({} of the {} bound)",
            odds(self.log_e),
            self.tolerance(),
            threshold(self),
            percent(self.share),
            percent(report.false_rollback),
        )
    }

    fn proof(&self, report: &Report) -> String {
        if !self.needed_for_advance {
            return format!("{}; a watch, not needed to advance", bound(report, self));
        }
        let state = if self.is_proven() { "proven" } else { "not proven yet" };
        format!(
            "{}; {state} for {}: {}, needs {}",
            bound(report, self),
            percent(report.next_weight),
            odds(self.log_e_advance),
            odds(self.advance_at),
        )
    }
}

pub(super) fn line(text: &mut String, head: &str, body: &str) {
    let _ = writeln!(text, "{head:<13} {body}");
}
