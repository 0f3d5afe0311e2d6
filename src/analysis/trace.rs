//! Recorded rollouts, one window a line (NDJSON): reading and writing.

use serde::{Deserialize, Serialize};

use super::check::Heard;
use super::window::{Counts, Tally};

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
    /// What signals said beside their counts.
    #[serde(default, skip_serializing_if = "Heard::is_none")]
    pub heard: Heard,
}

impl Line {
    /// The line a recorder writes, without the line break. None if it is no valid line, which
    /// is so only for a time or weight that is no number.
    ///
    /// ```
    /// use weir::analysis::{Counts, Heard, Line};
    /// let stable = Counts { requests: 99, ..Counts::default() };
    /// let (canary, heard) = (Counts::default(), Heard::default());
    /// let line = Line { t: 1.0, dur: 1.0, weight: 0.01, stable, canary, heard };
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
    pub(super) fn is_calibration(&self) -> bool {
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
    if let Some(Tally { total: requests, bad: events }) =
        counts.signals.iter().copied().find(|tally| tally.bad > tally.total)
    {
        return Err(Problem::Outcome { track, outcome: "signals", events, requests });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(t: f64, weight: f64, failing: bool) -> Line {
        let canary =
            Counts { requests: 5, errors: if failing { 5 } else { 0 }, ..Counts::default() };
        let stable = Counts { requests: 95, ..Counts::default() };
        Line { t, dur: 1.0, weight, stable, canary, heard: Heard::default() }
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
}
