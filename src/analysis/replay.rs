//! Judging a recorded rollout again: the same judge, the trace's own weights.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    judge::Judge,
    settings::Settings,
    trace::Line,
    verdict::Decision,
    window::Window,
    words::{percent, span},
};

/// The weights of a trace in the order of its stages. They must be known before the trace is
/// judged, since the margin of a stage depends on the next one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ladder(Vec<f64>);

impl Ladder {
    /// Takes the weight of the next line.
    pub fn add(&mut self, line: &Line) {
        if !line.is_calibration() && self.0.last() != Some(&line.weight) {
            self.0.push(line.weight);
        }
    }

    /// Takes the stages that a rollout with these weights would still have come to.
    fn plan(&mut self, weights: impl IntoIterator<Item = f64>) {
        for weight in weights {
            if self.0.last().is_none_or(|last| *last < weight) {
                self.0.push(weight);
            }
        }
    }

    fn after(&self, stage: usize) -> f64 {
        self.0.get(stage + 1).copied().unwrap_or(1.0)
    }
}

impl<'a> FromIterator<&'a Line> for Ladder {
    fn from_iter<I: IntoIterator<Item = &'a Line>>(lines: I) -> Self {
        let mut ladder = Self::default();
        lines.into_iter().for_each(|line| ladder.add(line));
        ladder
    }
}

/// How a replayed rollout ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The judge would have let every stage end.
    Promote,
    /// The judge rolls back.
    Revert,
    /// The trace ends first.
    Undecided,
}

/// What the judge makes of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ends.
    pub verdict: Ending,
    /// When: the window that rolls back, or the last one.
    pub t: f64,
    /// Requests that had failed on the canary by then.
    pub canary_failed: u64,
    /// For each weight the first time at which its stage might have ended.
    pub advance_at: BTreeMap<String, f64>,
    /// The weights of these that passed without proof.
    pub unproven: Vec<f64>,
    /// The metric that rolls back or stands in the way.
    pub metric: Option<String>,
    /// The sentence of the last verdict.
    pub reason: String,
}

/// An [`Outcome`] with the name of its file, in the order of keys a reader expects.
#[derive(Serialize)]
struct Named<'a> {
    file: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

impl Outcome {
    /// One line of JSON: file, verdict, t, `canary_failed`, `advance_at`, unproven, metric,
    /// reason.
    pub fn json(&self, file: &str) -> String {
        serde_json::to_string(&Named { file, outcome: self }).unwrap_or_default()
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        let end = span(self.t);
        match self.verdict {
            Ending::Revert => self.reason.clone(),
            Ending::Promote => format!("PROMOTE after {end} - {}", self.passed()),
            Ending::Undecided if self.advance_at.is_empty() => {
                format!("UNDECIDED after {end} - no stage passed; {}", self.reason)
            }
            Ending::Undecided => {
                format!("UNDECIDED after {end} - {}; {}", self.passed(), self.reason)
            }
        }
    }

    fn passed(&self) -> String {
        let stages: Vec<String> = (self.advance_at.iter())
            .filter_map(|(weight, t)| Some((weight.parse::<f64>().ok()?, t)))
            .map(|(weight, t)| {
                let mark = if self.unproven.contains(&weight) { " unproven" } else { "" };
                format!("{} at {}{mark}", percent(weight), span(*t))
            })
            .collect();
        format!("passed {}", stages.join(", "))
    }
}

/// Judges a trace line by line. The trace follows its own weights, whatever the judge says.
#[derive(Debug, Clone)]
pub struct Replay {
    judge: Judge,
    ladder: Ladder,
    weight: Option<f64>,
    stage: usize,
    stages: Vec<(f64, Duration)>,
    bake: Duration,
    outcome: Outcome,
}

impl Replay {
    /// Ready for the first line of a trace with these stages.
    pub fn new(ladder: Ladder, settings: &Settings) -> Self {
        Self::planned(ladder, settings, Vec::new())
    }

    /// The same under a plan, weights and least times: stages that the trace did not come to
    /// belong to the rollout, too, and a weight that is not in the plan bakes as `settings` say.
    pub fn planned(mut ladder: Ladder, settings: &Settings, stages: Vec<(f64, Duration)>) -> Self {
        ladder.plan(stages.iter().map(|(weight, _)| *weight));
        let outcome = Outcome {
            verdict: Ending::Undecided,
            t: 0.0,
            canary_failed: 0,
            advance_at: BTreeMap::new(),
            unproven: Vec::new(),
            metric: None,
            reason: String::new(),
        };
        let judge = Judge::new(settings.clone());
        Self { judge, ladder, weight: None, stage: 0, stages, bake: settings.bake, outcome }
    }

    /// Judges the next line; after a roll back there is nothing left to judge.
    pub fn judge(&mut self, line: &Line) {
        if self.outcome.verdict == Ending::Revert {
            return;
        }
        self.outcome.t = line.t;
        if line.is_calibration() {
            self.judge.calibrate(&line.stable);
            return;
        }
        self.enter(line);
        self.outcome.canary_failed = self.outcome.canary_failed.saturating_add(line.canary.errors);
        let (stable, canary) = (line.stable.clone(), line.canary.clone());
        self.judge.hear(&line.heard);
        self.judge.take(line.t, &Window { stable, canary, cold: false });
        match self.judge.decide() {
            Decision::Fail(_) | Decision::Beyond(_) => {
                self.outcome.verdict = Ending::Revert;
                self.say();
            }
            Decision::Proven => self.passed(line, true),
            Decision::Clean(_) => self.passed(line, false),
            Decision::ColdCache(_)
            | Decision::WatchHolds(_)
            | Decision::BeyondHolds(_)
            | Decision::Blind
            | Decision::Soaking
            | Decision::Suspicious(_)
            | Decision::Outage
            | Decision::NoStable
            | Decision::GaveUp(_)
            | Decision::NotEnough(_) => {}
        }
    }

    /// A change of weight begins a stage.
    fn enter(&mut self, line: &Line) {
        if self.weight == Some(line.weight) {
            return;
        }
        self.stage = self.weight.map_or(0, |_| self.stage + 1);
        self.weight = Some(line.weight);
        let next_weight = self.ladder.after(self.stage);
        let planned = self.stages.iter().find(|(weight, _)| (weight - line.weight).abs() < 1e-9);
        let bake = planned.map_or(self.bake, |(_, bake)| *bake);
        self.judge.start_stage(line.t - line.dur, next_weight, bake);
    }

    fn passed(&mut self, line: &Line, proven: bool) {
        let weight = key(line.weight);
        if self.outcome.advance_at.contains_key(&weight) {
            return;
        }
        self.outcome.advance_at.insert(weight, line.t);
        if !proven {
            self.outcome.unproven.push(line.weight);
        }
        self.say();
    }

    fn say(&mut self) {
        let verdict = self.judge.report().verdict;
        self.outcome.metric = verdict.metric().map(str::to_owned);
        verdict.reason().clone_into(&mut self.outcome.reason);
    }

    /// The trace is over.
    pub fn finish(mut self) -> Outcome {
        if self.outcome.verdict == Ending::Revert {
            return self.outcome;
        }
        let last = self.ladder.0.last().copied().map(key);
        if last.is_some_and(|weight| self.outcome.advance_at.contains_key(&weight)) {
            self.outcome.verdict = Ending::Promote;
        } else {
            self.say();
        }
        self.outcome
    }
}

/// A weight as the key of a stage: 0.01, 1.0.
fn key(weight: f64) -> String {
    format!("{weight:?}")
}

/// Judges a whole trace. For traces too long to hold, feed [`Ladder`] and then [`Replay`].
pub fn replay(lines: &[Line], settings: &Settings) -> Outcome {
    let mut replay = Replay::new(lines.iter().collect(), settings);
    for line in lines {
        replay.judge(line);
    }
    replay.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Heard;
    use crate::analysis::window::Counts;

    fn line(t: f64, weight: f64, failing: bool) -> Line {
        let canary =
            Counts { requests: 5, errors: if failing { 5 } else { 0 }, ..Counts::default() };
        let stable = Counts { requests: 95, ..Counts::default() };
        Line { t, dur: 1.0, weight, stable, canary, heard: Heard::default() }
    }

    #[test]
    fn a_failing_canary_reverts_and_says_so_in_one_line_of_json() {
        let lines: Vec<Line> = (1..=60).map(|t| line(f64::from(t), 0.05, true)).collect();
        let outcome = replay(&lines, &Settings::default());
        assert_eq!((outcome.verdict, outcome.canary_failed), (Ending::Revert, 15));
        let start = r#"{"file":"a.ndjson","verdict":"revert","t":3.0,"canary_failed":15,"advance_at":{},"unproven":[],"metric":"errors","reason":"ROLL BACK at 5 % of requests after 3 s - errors: canary 15/15"#;
        let json = outcome.json("a.ndjson");
        assert!(json.starts_with(start), "{json}");
        assert_eq!(outcome.sentence(), outcome.reason);
    }

    #[test]
    fn a_good_canary_is_promoted_stage_by_stage() {
        let stage =
            |from: i32, weight| (from..from + 600).map(move |t| line(t.into(), weight, false));
        let lines: Vec<Line> = stage(1, 0.05).chain(stage(601, 0.5)).collect();
        let outcome = replay(&lines, &Settings::default());
        let stages: Vec<_> = outcome.advance_at.keys().map(String::as_str).collect();
        assert_eq!((outcome.verdict, stages), (Ending::Promote, vec!["0.05", "0.5"]));
        assert!(outcome.sentence().starts_with("PROMOTE after 20m00s - passed 5 % at "));
        let cut = replay(&lines[..700], &Settings::default());
        assert_eq!(cut.verdict, Ending::Undecided);
        assert!(cut.sentence().contains("HOLD - not enough evidence yet"), "{}", cut.sentence());
    }

    #[test]
    fn a_plan_has_its_own_least_times_and_the_stages_that_the_trace_did_not_come_to() {
        let lines: Vec<Line> = (1..=400).map(|t| line(f64::from(t), 0.25, false)).collect();
        let settings = Settings { grace: Duration::from_secs(2), ..Settings::default() };
        let judged = |bakes: &[(f64, u64)]| {
            let stages = bakes.iter().map(|(weight, bake)| (*weight, Duration::from_secs(*bake)));
            let mut replay = Replay::planned(lines.iter().collect(), &settings, stages.collect());
            for line in &lines {
                replay.judge(line);
            }
            replay.finish()
        };
        let (short, long) = (judged(&[(0.25, 10)]), judged(&[(0.25, 300)]));
        assert!(short.advance_at["0.25"] < 300.0, "{short:?}");
        assert!((long.advance_at["0.25"] - 300.0).abs() < 1.1, "{long:?}");
        assert_eq!((short.verdict, long.verdict), (Ending::Promote, Ending::Promote));
        let further = judged(&[(0.25, 10), (0.5, 10)]);
        assert_eq!(further.verdict, Ending::Undecided);
        assert!(further.advance_at["0.25"] < short.advance_at["0.25"], "{further:?}");
    }

    #[test]
    fn a_trace_of_calibration_only_is_undecided() {
        let outcome = replay(&[line(-60.0, 0.0, false)], &Settings::default());
        assert_eq!(outcome.verdict, Ending::Undecided);
    }
}
