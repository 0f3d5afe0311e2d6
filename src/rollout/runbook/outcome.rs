//! What came of a step: what the journal keeps of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StepName;
use crate::time::{as_millis, in_words};

/// Bytes of output that are kept from the beginning, and as many from the end: what went wrong
/// stands in one of both, and the journal is read by people.
pub const OUTPUT_BYTES_MAX: usize = 8 << 10;

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// How often it was tried.
    pub tries: u32,
    /// How long all of them took, with the pauses.
    #[serde(with = "as_millis")]
    pub took: Duration,
    /// What is to be said of it, as `exit code 2`, `200 OK` or `12 GiB free on /var`.
    pub why: String,
    /// What the last try wrote, without secrets.
    #[serde(default, skip_serializing_if = "Output::is_empty")]
    pub output: Output,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Somebody, or a rollback, broke it off.
    Cancelled,
    /// It failed, also at its last try.
    Failed,
    /// It succeeded.
    Succeeded,
    /// It took too long at its last try, and was ended.
    TimedOut,
}

/// What was written: all of it, or its beginning and its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The beginning, at most `OUTPUT_BYTES_MAX`.
    pub head: String,
    /// Bytes left out after it.
    #[serde(default)]
    pub cut: u64,
    /// The end, at most `OUTPUT_BYTES_MAX`.
    #[serde(default)]
    pub tail: String,
}

impl Outcome {
    /// Whether the step did what it was to do.
    pub const fn succeeded(&self) -> bool {
        matches!(self.ending, Ending::Succeeded)
    }

    /// The sentence: `step backup failed after 3 tries in 12 s: exit code 2`.
    pub fn sentence(&self, step: &StepName) -> String {
        let tries = match self.tries {
            0 | 1 => String::new(),
            tries => format!(" after {tries} tries"),
        };
        let (ending, took, why) = (self.ending.words(), in_words(self.took), &self.why);
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        format!("step {step} {ending}{tries} in {took}{why}")
    }
}

impl Ending {
    /// As a sentence has it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Cancelled => "was broken off",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
            Self::TimedOut => "took too long and was ended",
        }
    }
}

impl Output {
    /// Whether nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.head.is_empty() && self.cut == 0 && self.tail.is_empty()
    }

    /// Adds `text` at the end.
    pub fn push(&mut self, text: &str) {
        let mut text = text;
        if self.cut == 0 && self.tail.is_empty() {
            let at = floor(text, OUTPUT_BYTES_MAX - self.head.len().min(OUTPUT_BYTES_MAX));
            self.head.push_str(&text[..at]);
            text = &text[at..];
        }
        self.tail.push_str(text);
        let over = self.tail.len().saturating_sub(OUTPUT_BYTES_MAX);
        if over > 0 {
            let at = self.tail.len() - floor_back(&self.tail, OUTPUT_BYTES_MAX);
            self.cut += at as u64;
            self.tail.drain(..at);
        }
    }
}

/// Where a text of at most `bytes` ends.
fn floor(text: &str, bytes: usize) -> usize {
    let mut at = bytes.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// How long the end of `text` is that has at most `bytes`.
fn floor_back(text: &str, bytes: usize) -> usize {
    let mut at = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    text.len() - at
}

/// Writes what was kept, and between its beginning and its end how much was left out.
impl fmt::Display for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.head)?;
        if self.cut > 0 {
            write!(out, "\n[{} bytes left out]\n", self.cut)?;
        }
        out.write_str(&self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_much_output_the_beginning_and_the_end_are_kept() {
        let mut output = Output::default();
        assert!(output.is_empty());
        for number in 0..10_000 {
            output.push(&format!("line {number} ä\n"));
        }
        assert!(output.head.starts_with("line 0 ä\n") && output.tail.ends_with("line 9999 ä\n"));
        assert!(output.head.len() <= OUTPUT_BYTES_MAX && output.tail.len() <= OUTPUT_BYTES_MAX);
        let all: usize = (0..10_000).map(|number| format!("line {number} ä\n").len()).sum();
        assert_eq!(
            output.head.len() + output.tail.len() + usize::try_from(output.cut).unwrap(),
            all
        );
        assert!(output.to_string().contains(&format!("[{} bytes left out]", output.cut)));
    }

    #[test]
    fn little_output_is_kept_whole() {
        let mut output = Output::default();
        output.push(&"x".repeat(OUTPUT_BYTES_MAX));
        output.push("yz");
        assert_eq!((output.cut, output.tail.as_str()), (0, "yz"));
        assert!(output.to_string().ends_with("xyz"));
    }

    #[test]
    fn an_outcome_is_a_sentence() {
        let outcome = Outcome {
            ending: Ending::Failed,
            tries: 3,
            took: Duration::from_secs(12),
            why: "exit code 2".into(),
            output: Output::default(),
        };
        let said = outcome.sentence(&"backup".parse().unwrap());
        assert_eq!(said, "step backup failed after 3 tries in 12 s: exit code 2");
        let json = serde_json::to_string(&outcome).unwrap();
        assert!(!json.contains("output"), "{json}");
        assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome);
    }
}
