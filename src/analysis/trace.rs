//! Recorded rollouts, one window a line (NDJSON): reading, writing, and judging them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    judge::Judge,
    settings::Settings,
    verdict::Decision,
    window::{Counts, Window},
    words::{percent, span},
};

/// Bytes of one line; a window with every watch there may be is far below.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Lines of one trace: four months of seconds.
pub const LINES_MAX: usize = 10_000_000;

/// One window of a trace. Fields it does not know are passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// End of the window, in seconds since the rollout began; 0 and before: calibration.
    pub t: f64,
    /// Length of the window in seconds; 60 for calibration.
    pub dur: f64,
    /// The canary's share of users, 0 to 1; 0: calibration.
    pub weight: f64,
    /// What stable answered.
    pub stable: Counts,
    /// What the canary answered.
    #[serde(default)]
    pub canary: Counts,
}

impl Line {
    /// The line a recorder writes, without the line break. None if it is no valid line, which
    /// is so only for a time or weight that is no number.
    ///
    /// ```
    /// use weir::analysis::{Counts, Line};
    /// let stable = Counts { requests: 99, ..Counts::default() };
    /// let line = Line { t: 1.0, dur: 1.0, weight: 0.01, stable, canary: Counts::default() };
    /// assert_eq!(
    ///     line.json().unwrap(),
    ///     r#"{"t":1.0,"dur":1.0,"weight":0.01,"stable":{"requests":99,"errors":0,"slow":0},"canary":{"requests":0,"errors":0,"slow":0}}"#
    /// );
    /// ```
    pub fn json(&self) -> Option<String> {
        self.check(f64::NEG_INFINITY).ok()?;
        serde_json::to_string(self).ok()
    }

    /// From before the rollout: stable alone.
    fn is_calibration(&self) -> bool {
        self.t <= 0.0 || self.weight == 0.0
    }

    fn check(&self, earlier: f64) -> Result<(), Problem> {
        if !self.t.is_finite() || self.t < earlier {
            return Err(Problem::Time { t: self.t, earlier });
        }
        if !(self.dur >= 0.0 && self.dur.is_finite()) {
            return Err(Problem::Duration(self.dur));
        }
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(Problem::Weight(self.weight));
        }
        check_counts("stable", &self.stable)?;
        check_counts("canary", &self.canary)
    }
}

fn check_counts(track: &'static str, counts: &Counts) -> Result<(), Problem> {
    let watches = counts.watches.iter().map(|events| ("watches", *events));
    let outcomes = [("errors", counts.errors), ("slow", counts.slow)].into_iter().chain(watches);
    let requests = counts.requests;
    for (outcome, events) in outcomes {
        if events > requests {
            return Err(Problem::Outcome { track, outcome, events, requests });
        }
    }
    Ok(())
}

/// A line that is no window.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TraceError {
    /// Its number, beginning with 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Not JSON, or not the fields expected.
    #[error("{0}")]
    Json(String),
    /// Longer than [`LINE_BYTES_MAX`].
    #[error("{0} bytes; a line has at most {LINE_BYTES_MAX}")]
    TooLong(usize),
    /// More than [`LINES_MAX`].
    #[error("a trace has at most {LINES_MAX} lines")]
    TooMany,
    /// Nothing to judge.
    #[error("the trace has no windows")]
    Empty,
    /// Time is no number or runs backwards.
    #[error("t is {t} after {earlier}; windows are in the order of time")]
    Time {
        /// The time of this line.
        t: f64,
        /// The time of the line before.
        earlier: f64,
    },
    /// Not a length of time.
    #[error("dur is {0}; use the window's length in seconds, 0 or more")]
    Duration(f64),
    /// Not a share.
    #[error("weight is {0}; use 0 to 1")]
    Weight(f64),
    /// More outcomes than requests.
    #[error("{track} has {events} {outcome} of {requests} requests; outcomes are among requests")]
    Outcome {
        /// Whose counts.
        track: &'static str,
        /// Which outcome.
        outcome: &'static str,
        /// How many.
        events: u64,
        /// Of how many.
        requests: u64,
    },
}

/// Reads a trace line by line, knowing the number of each; holds no more than one line.
#[derive(Debug, Clone)]
pub struct Reader {
    line: usize,
    earlier: f64,
}

impl Default for Reader {
    fn default() -> Self {
        Self { line: 0, earlier: f64::NEG_INFINITY }
    }
}

impl Reader {
    /// The next line of text; none if it is blank.
    pub fn read(&mut self, text: &str) -> Result<Option<Line>, TraceError> {
        self.line = self.line.saturating_add(1);
        let read = self.parse(text);
        read.map_err(|problem| TraceError { line: self.line, problem })
    }

    fn parse(&mut self, text: &str) -> Result<Option<Line>, Problem> {
        if self.line > LINES_MAX {
            return Err(Problem::TooMany);
        }
        if text.len() > LINE_BYTES_MAX {
            return Err(Problem::TooLong(text.len()));
        }
        if text.trim().is_empty() {
            return Ok(None);
        }
        let line: Line = serde_json::from_str(text).map_err(|error| {
            Problem::Json(error.to_string().replace(" at line 1 column ", " at column "))
        })?;
        line.check(self.earlier)?;
        self.earlier = line.t;
        Ok(Some(line))
    }

    /// A whole text at once.
    pub fn read_all(text: &str) -> Result<Vec<Line>, TraceError> {
        let mut reader = Self::default();
        let lines = text.lines().filter_map(|line| reader.read(line).transpose());
        let lines: Vec<Line> = lines.collect::<Result<_, _>>()?;
        if lines.is_empty() {
            return Err(TraceError { line: 1, problem: Problem::Empty });
        }
        Ok(lines)
    }
}

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
    bake: std::time::Duration,
    outcome: Outcome,
}

impl Replay {
    /// Ready for the first line of a trace with these stages.
    pub fn new(ladder: Ladder, settings: &Settings) -> Self {
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
        Self { judge, ladder, weight: None, stage: 0, bake: settings.bake, outcome }
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
        self.judge.take(line.t, &Window { stable, canary, cold: false });
        match self.judge.decide() {
            Decision::Fail(_) => {
                self.outcome.verdict = Ending::Revert;
                self.say();
            }
            Decision::Proven => self.passed(line, true),
            Decision::Clean(_) => self.passed(line, false),
            Decision::ColdCache(_)
            | Decision::WatchHolds(_)
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
        self.judge.start_stage(line.t - line.dur, next_weight, self.bake);
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

    fn line(t: f64, weight: f64, failing: bool) -> Line {
        let canary =
            Counts { requests: 5, errors: if failing { 5 } else { 0 }, ..Counts::default() };
        let stable = Counts { requests: 95, ..Counts::default() };
        Line { t, dur: 1.0, weight, stable, canary }
    }

    fn problem(text: &str) -> String {
        Reader::read_all(text).unwrap_err().to_string()
    }

    #[test]
    fn lines_come_back_as_written() {
        let lines = [line(1.0, 0.05, false), line(2.0, 0.05, true)];
        let text: Vec<String> = lines.iter().filter_map(Line::json).collect();
        assert_eq!(Reader::read_all(&text.join("\n\n")).unwrap(), lines);
    }

    #[test]
    fn unknown_fields_are_passed_over_and_slow_and_canary_may_be_missing() {
        let text = r#"{"t":1,"dur":1,"weight":0,"stable":{"requests":3,"errors":1},"note":"x"}"#;
        let lines = Reader::read_all(text).unwrap();
        assert_eq!((lines[0].stable.requests, lines[0].canary.requests), (3, 0));
    }

    #[test]
    fn an_error_says_which_line_and_what_is_wrong() {
        let good = line(5.0, 0.05, false).json().unwrap();
        let with = |from: &str, to: &str| format!("{good}\n{}", good.replace(from, to));
        let cases = [
            (
                with("\"t\":5.0", "\"t\":4"),
                "line 2: t is 4 after 5; windows are in the order of time",
            ),
            (with("\"t\":5.0", "\"t\":NaN"), "line 2: expected value at column 6"),
            (with("\"t\":5.0", "\"t\":1e999"), "line 2: number out of range at column 10"),
            (
                with("\"dur\":1.0", "\"dur\":-1"),
                "line 2: dur is -1; use the window's length in seconds, 0 or more",
            ),
            (with("0.05", "1.5"), "line 2: weight is 1.5; use 0 to 1"),
            (
                with("\"errors\":0", "\"errors\":99"),
                "line 2: stable has 99 errors of 95 requests; outcomes are among requests",
            ),
            (with("95", "-95"), "line 2: invalid value: integer `-95`, expected u64 at column 5"),
            (with("\"dur\":1.0,", ""), "line 2: missing field `dur`"),
            (with("}", &format!("}}{}", " ".repeat(LINE_BYTES_MAX))), "line 2: "),
            ("\n\n".into(), "line 1: the trace has no windows"),
        ];
        for (text, expected) in cases {
            let found = problem(&text);
            assert!(found.starts_with(expected), "{found:?} instead of {expected:?}");
        }
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
    fn a_trace_of_calibration_only_is_undecided() {
        let outcome = replay(&[line(-60.0, 0.0, false)], &Settings::default());
        assert_eq!(outcome.verdict, Ending::Undecided);
    }
}
