//! Every number of the reference after every window, and the same after a restart.

use serde::Deserialize;
use weir::analysis::{Judge, Verdict, Window};

use super::{MINUTE, advancing, counts, window};

#[derive(Deserialize)]
struct Case {
    name: String,
    calibrate: Vec<[u64; 3]>,
    stages: Vec<[f64; 2]>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    t: f64,
    stable: [u64; 3],
    canary: [u64; 3],
    kind: String,
    proven: bool,
    metric: String,
    #[serde(rename = "logE")]
    log_e: [f64; 2],
    #[serde(rename = "logA")]
    log_a: [f64; 2],
    phi: [f64; 2],
    upper: [f64; 2],
}

impl Row {
    fn window(&self) -> Window {
        let of = |[requests, errors, slow]: [u64; 3]| counts(requests, errors, slow);
        window(of(self.stable), of(self.canary))
    }

    /// The verdict in the reference's words.
    fn assert_verdict(&self, verdict: &Verdict, at: &str) {
        let (kind, proven) = match verdict {
            Verdict::Fail { .. } => ("revert", true),
            Verdict::Inconclusive { .. } => ("hold", false),
            Verdict::Pass { proven, .. } => ("advance", *proven),
        };
        let found = (kind, proven, verdict.metric().unwrap_or_default());
        assert_eq!(found, (self.kind.as_str(), self.proven, self.metric.as_str()), "{at}");
    }

    fn assert_numbers(&self, judge: &Judge, at: &str) {
        for (index, metric) in judge.report().metrics.iter().enumerate() {
            assert_near(metric.log_e, self.log_e[index], &format!("{at}: logE {index}"));
            assert_near(metric.log_e_advance, self.log_a[index], &format!("{at}: logA {index}"));
            assert_near(metric.phi, self.phi[index], &format!("{at}: phi {index}"));
            assert_near(metric.upper_bound, self.upper[index], &format!("{at}: upper {index}"));
        }
    }
}

fn assert_near(found: f64, expected: f64, what: &str) {
    let limit = 1e-9 * expected.abs().max(1.0);
    assert!((found - expected).abs() <= limit, "{what}: {found} instead of {expected}");
}

/// Begins the stages the reference began before this window.
fn enter(judge: &mut Judge, stages: &mut std::slice::Iter<[f64; 2]>, t: f64) {
    while stages.as_slice().first().is_some_and(|[start, _]| *start < t) {
        let [start, next_weight] = stages.next().expect("a stage");
        judge.start_stage(*start, *next_weight, MINUTE);
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("vectors.json")).expect("vectors.json")
}

fn judge_of(case: &Case) -> Judge {
    let mut judge = Judge::new(advancing());
    for [requests, errors, slow] in &case.calibrate {
        judge.calibrate(&counts(*requests, *errors, *slow));
    }
    judge
}

#[test]
fn every_number_is_the_reference_s() {
    let cases = cases();
    assert_eq!(cases.len(), 6);
    for case in &cases {
        let mut judge = judge_of(case);
        let mut stages = case.stages.iter();
        for row in &case.rows {
            let at = format!("{} at {}", case.name, row.t);
            enter(&mut judge, &mut stages, row.t);
            row.assert_verdict(&judge.observe(row.t, &row.window()), &at);
            row.assert_numbers(&judge, &at);
        }
    }
}

#[test]
fn a_restart_after_every_window_changes_nothing() {
    for case in &cases() {
        let mut judge = judge_of(case);
        let mut restarted = judge.clone();
        let (mut stages, mut again) = (case.stages.iter(), case.stages.iter());
        for row in &case.rows {
            enter(&mut judge, &mut stages, row.t);
            enter(&mut restarted, &mut again, row.t);
            let verdict = judge.observe(row.t, &row.window());
            assert_eq!(restarted.observe(row.t, &row.window()), verdict);
            let row = serde_json::to_string(&restarted).expect("an evidence row");
            restarted = serde_json::from_str(&row).expect("the same judge");
            assert_eq!(restarted, judge);
            assert_eq!(restarted.report(), judge.report());
        }
    }
}
