//! What the judge says, and the sentence it says it in.

use serde::{Deserialize, Serialize};

use super::{
    report::{MetricReport, Report},
    settings::{OnFail, WhenUnproven},
    words::{count, odds, percent, points, short, span},
};

/// What the evidence says of the canary now. `reason` is a whole sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// The canary is worse than tolerated: everybody goes back to stable.
    Fail {
        /// Which metric.
        metric: String,
        /// Why.
        reason: String,
    },
    /// Neither: the stage goes on.
    Inconclusive {
        /// What stands in the way.
        why: Why,
        /// Of which metric, if it is one metric's matter.
        metric: Option<String>,
        /// Why.
        reason: String,
    },
    /// The stage may end.
    Pass {
        /// Shown to be within the margin; otherwise only "no evidence of harm until `give_up`".
        proven: bool,
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// The sentence for people.
    pub fn reason(&self) -> &str {
        match self {
            Self::Fail { reason, .. }
            | Self::Inconclusive { reason, .. }
            | Self::Pass { reason, .. } => reason,
        }
    }

    /// The metric it is about, if it is about one.
    pub fn metric(&self) -> Option<&str> {
        match self {
            Self::Fail { metric, .. } => Some(metric),
            Self::Inconclusive { metric, .. } => metric.as_deref(),
            Self::Pass { .. } => None,
        }
    }
}

/// What keeps a stage from ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The stage is younger than its bake time.
    Soaking,
    /// Too few requests to prove the margin.
    NotEnough,
    /// A metric looks worse, not yet clearly enough to fail.
    Suspicious,
    /// Stable itself is failing more than usual.
    Outage,
    /// Stable gets no requests to compare with.
    NoStable,
    /// *slow* would fail, but the canary's caches are cold.
    ColdCache,
    /// A watch that holds is clearly worse, or a number beyond its limit.
    WatchHolds,
    /// A signal from outside says nothing.
    Blind,
    /// `give_up` has passed without proof, and `when_unproven` is to hold.
    Unproven,
}

/// A verdict before it is put into words; a number is the index of a metric, beyond a limit that of
/// a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Fail(usize),
    ColdCache(usize),
    WatchHolds(usize),
    Beyond(usize),
    BeyondHolds(usize),
    Blind,
    Soaking,
    Proven,
    Clean(usize),
    Suspicious(usize),
    Outage,
    NoStable,
    GaveUp(usize),
    NotEnough(usize),
}

/// Puts a decision into the words of the judge's study.
pub(super) fn say(decision: Decision, report: &Report) -> Verdict {
    use Decision as D;
    let of = |index: usize| &report.metrics[index];
    match decision {
        D::Fail(index) => {
            Verdict::Fail { metric: of(index).name.clone(), reason: fail(report, of(index)) }
        }
        D::Proven => Verdict::Pass { proven: true, reason: proven(report) },
        D::Clean(index) => Verdict::Pass {
            proven: false,
            reason: format!(
                "ADVANCE to {} UNPROVEN: {}.",
                percent(report.next_weight),
                unproven(report, of(index))
            ),
        },
        D::ColdCache(index) => hold(Why::ColdCache, Some(of(index)), &cold(of(index))),
        D::WatchHolds(index) => hold(Why::WatchHolds, Some(of(index)), &watch(of(index))),
        D::Beyond(index) => {
            let check = &report.checks[index];
            let reason = format!(
                "ROLL BACK after {} - {}: {}",
                span(report.elapsed),
                check.name,
                check.words()
            );
            Verdict::Fail { metric: check.name.clone(), reason }
        }
        D::BeyondHolds(index) => {
            let check = &report.checks[index];
            let reason = format!("HOLD - {}: {}", check.name, check.words());
            Verdict::Inconclusive { why: Why::WatchHolds, metric: Some(check.name.clone()), reason }
        }
        D::Blind => hold(Why::Blind, None, &blind(report)),
        D::Suspicious(index) => hold(Why::Suspicious, Some(of(index)), &suspicious(of(index))),
        D::NotEnough(index) => {
            hold(Why::NotEnough, Some(of(index)), &not_enough(report, of(index)))
        }
        D::GaveUp(index) => hold(
            Why::Unproven,
            Some(of(index)),
            &format!("{}; a person decides", unproven(report, of(index))),
        ),
        D::Soaking => hold(Why::Soaking, None, &soaking(report)),
        D::Outage => hold(Why::Outage, report.metrics.first(), &outage(report)),
        D::NoStable => hold(Why::NoStable, None, NO_STABLE),
    }
}

const NO_STABLE: &str = "stable gets no requests: there is nothing to compare with";

fn hold(why: Why, metric: Option<&MetricReport>, text: &str) -> Verdict {
    let metric = metric.map(|metric| metric.name.clone());
    Verdict::Inconclusive { why, metric, reason: format!("HOLD - {text}") }
}

fn fail(report: &Report, metric: &MetricReport) -> String {
    let failed = report.canary_failed;
    format!(
        "ROLL BACK at {} of requests after {} - {}; a good version is rolled back in at most {} \
         of rollouts). {} failed on the canary.",
        percent(report.canary_share()),
        span(report.elapsed),
        compared(metric),
        percent(report.false_rollback),
        count(failed, "user request"),
    )
}

fn watch(metric: &MetricReport) -> String {
    format!("{})", compared(metric))
}

/// Counts, odds and threshold; the bracket stays open.
fn compared(metric: &MetricReport) -> String {
    format!(
        "{}: {} in this stage. Odds {} against \"{}\"{} ({}",
        metric.name,
        metric.counts(),
        odds(metric.log_e),
        metric.tolerance(),
        bursts(metric).map(|said| format!(", {said}")).unwrap_or_default(),
        threshold(metric),
    )
}

/// Said when it matters that evidence was divided.
pub(super) fn bursts(metric: &MetricReport) -> Option<String> {
    let (phi, noun) = (short(metric.phi), metric.noun());
    (metric.phi > 1.5).then(|| format!("evidence divided by {phi} because {noun} come in bursts"))
}

/// "roll back at 133:1" or, of a watch that only holds, "hold at 133:1".
pub(super) fn threshold(metric: &MetricReport) -> String {
    let act = match metric.on_fail {
        OnFail::Rollback => "roll back",
        OnFail::Hold => "hold",
    };
    format!("{act} at {}", odds(metric.log_e_rollback_at))
}

fn proven(report: &Report) -> String {
    let needed = report.metrics.iter().filter(|metric| metric.needed_for_advance);
    let parts: Vec<String> = needed
        .map(|metric| format!("{}: {}, {}", metric.name, metric.counts(), bound(report, metric)))
        .collect();
    format!("ADVANCE to {} - {}", percent(report.next_weight), parts.join("; "))
}

/// What is known of the difference. Proof may come from the ratio instead of the sum; then the
/// bound on the sum may be wider than its limit.
pub(super) fn bound(report: &Report, metric: &MetricReport) -> String {
    let sure = percent(1.0 - report.false_advance);
    let (most, limit) = (points(metric.upper_bound), points(metric.limit));
    if metric.is_proven() && metric.upper_bound > metric.limit {
        let ratio = short(metric.limit_ratio);
        return format!("within {ratio} x stable or {limit} ({sure}, anytime)");
    }
    if metric.upper_bound >= 1.0 {
        return format!("how much worse it may be is not known yet (limit here {limit})");
    }
    format!("at most {most} worse ({sure}, anytime; limit here {limit})")
}

fn unproven(report: &Report, metric: &MetricReport) -> String {
    format!(
        "{} passed without evidence of harm, but {} can only rule out {} for {} (needed: {})",
        span(report.soak),
        count(report.stage_canary.requests, "canary request"),
        points(metric.upper_bound),
        metric.noun(),
        points(metric.limit),
    )
}

fn cold(metric: &MetricReport) -> String {
    format!(
        "{} ({}, {}), but its caches are cold: not rolled back for that",
        metric.worse("are", "is"),
        odds(metric.log_e),
        threshold(metric)
    )
}

fn suspicious(metric: &MetricReport) -> String {
    let look = metric.worse("look", "looks");
    format!("{look} ({}, {})", odds(metric.log_e), threshold(metric))
}

fn not_enough(report: &Report, metric: &MetricReport) -> String {
    if report.stage_canary.requests == 0 {
        return "not enough evidence yet: the canary has had no request in this stage".into();
    }
    let pace = match metric.eta_seconds {
        Some(seconds) => format!("about {} more at this pace", span(seconds)),
        None => "no end in sight at this pace".into(),
    };
    let (most, limit) = (points(metric.upper_bound), points(metric.limit));
    if metric.upper_bound <= metric.limit {
        let (found, needed) = (odds(metric.log_e_advance), odds(metric.advance_at));
        let noun = metric.noun();
        return format!(
            "not enough evidence yet: {noun} within {limit} {found}, need {needed}; {pace}"
        );
    }
    let noun = metric.noun();
    format!(
        "not enough evidence yet: {noun} could still be up to {most} worse, need {limit} or less; \
         {pace}"
    )
}

fn soaking(report: &Report) -> String {
    format!("soaking, {} of {}", span(report.soak), span(report.bake))
}

fn blind(report: &Report) -> String {
    format!("blind, nothing is assumed of silence: {}", report.blind.join("; "))
}

fn outage(report: &Report) -> String {
    let rate = percent(report.stable_failing);
    format!("stable itself is failing more than usual ({rate}): not advancing during an outage")
}

/// What `give_up` leads to, for the line about time.
pub(super) fn afterwards(when_unproven: WhenUnproven) -> &'static str {
    match when_unproven {
        WhenUnproven::Hold => "hold for a person",
        WhenUnproven::Advance => "advance, marked unproven",
    }
}
