//! The runbook: what is done beside the weights, when, and by whom.

mod check;
mod outcome;
mod secrets;
mod url;
mod when;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::time::{as_millis, in_words};

pub use check::{Check, Reach, bytes};
pub use outcome::{Ending, OUTPUT_BYTES_MAX, Outcome, Output};
pub use secrets::{is_secret_name, tells_a_secret};
pub use url::{Url, UrlError};
pub use when::{When, WhenError};

/// Steps of one runbook, the checks of the preflight among them; nobody reads a longer one at
/// night.
pub const STEPS_MAX: usize = 100;

/// Longest name of a step, in bytes: it stands in sentences, variables and names of files.
pub const STEP_NAME_BYTES_MAX: usize = 64;

/// Words of a command with its arguments.
pub const COMMAND_WORDS_MAX: usize = 128;

/// Characters of a question: it must fit a screen.
pub const QUESTION_CHARS_MAX: usize = 500;

/// How long a step may take that does not say.
pub const STEP_TIMEOUT: Duration = Duration::from_mins(10);

/// Tries after the first.
pub const RETRIES_MAX: u32 = 100;

/// The pause before a step is tried again that does not say.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The name of a step (`post-migrate`): 1..=64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepName(String);

/// Why a text is no name of a step.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "step name {0:?} is not allowed; use 1 to {STEP_NAME_BYTES_MAX} letters, digits and ._-, such \
     as \"post-migrate\""
)]
pub struct StepNameError(String);

/// One line of the runbook. It is journalled when a rollout opens, so it holds no secrets: those
/// stand in variables or files and are read when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is called; no two of a runbook share a name.
    pub name: StepName,
    /// When its turn comes. Those of one moment follow each other in the order of the file.
    pub when: When,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// A question that a person answers with yes before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// What is done.
    pub action: Action,
    /// How long one try may take.
    #[serde(with = "as_millis")]
    pub timeout: Duration,
    /// Tries after the first.
    #[serde(default)]
    pub retries: u32,
    /// The pause before each of them.
    #[serde(with = "as_millis")]
    pub retry_after: Duration,
    /// What follows where Weir itself was interrupted during the step.
    #[serde(default)]
    pub on_interrupt: OnInterrupt,
    /// What follows where the last try failed.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What becomes of it where everything goes back while it runs.
    #[serde(default, skip_serializing_if = "OnRollback::waits")]
    pub on_rollback: OnRollback,
    /// On a rollback: the step that it undoes. Where that one has not begun it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<StepName>,
    /// What is done, in order, where it has begun and everything goes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<Step>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A check of the world; it changes nothing.
    Check(Check),
    /// Nothing: the answer to its question is all.
    Confirm,
    /// An HTTP request.
    Http(Http),
    /// A command on this machine.
    Run(Run),
}

/// A command on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The program and its arguments, or, with `shell`, one text for `/bin/sh -c`; never empty.
    pub command: Vec<String>,
    /// Whether a shell reads it.
    #[serde(default)]
    pub shell: bool,
    /// The version that its output must have, as a whole word; none: its exit code is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Its method, in capitals.
    pub method: String,
    /// Where it goes.
    pub url: Url,
    /// Names and values of headers. A value `env:NAME` is what the variable says when it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Its body. `{version}` and its like stand for what the `WEIR_*` variables say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The status that is success; none: 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u16>,
}

/// What follows where Weir itself was interrupted (killed, restarted) during a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInterrupt {
    /// A person says whether it is done, to be done again, or failed.
    #[default]
    Ask,
    /// It counts as failed.
    Fail,
    /// It is done again: for what may be done twice.
    Retry,
}

/// What follows where the last try of a step failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The rollout goes on; the failure is written down.
    Continue,
    /// The rollout stays where it is until a person decides.
    #[default]
    Hold,
    /// The rollout is rolled back.
    Rollback,
}

/// What becomes of a step that runs when everything goes back. Users go back at once; what is done
/// besides comes after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRollback {
    /// It is broken off.
    Stop,
    /// It is waited for.
    #[default]
    Wait,
}

impl OnRollback {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Wait => "wait",
        }
    }

    /// Whether it is waited for.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    const fn waits(&self) -> bool {
        matches!(self, Self::Wait)
    }
}

impl OnInterrupt {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Fail => "fail",
            Self::Retry => "retry",
        }
    }
}

impl OnFailure {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Hold => "hold",
            Self::Rollback => "rollback",
        }
    }
}

impl Step {
    /// A step of `name` that does `action`, all else as where the file says nothing.
    pub fn new(name: StepName, when: When, action: Action) -> Self {
        Self {
            name,
            when,
            owner: None,
            confirm: None,
            action,
            timeout: STEP_TIMEOUT,
            retries: 0,
            retry_after: RETRY_AFTER,
            on_interrupt: OnInterrupt::default(),
            on_failure: OnFailure::default(),
            on_rollback: OnRollback::default(),
            undoes: None,
            undo: Vec::new(),
        }
    }

    /// Whether `weir preflight` runs it: a check that stands before the rollout.
    pub fn is_preflight(&self) -> bool {
        let checks = matches!(self.action, Action::Check(_) | Action::Confirm);
        self.when == When::BeforeRollout && checks
    }
}

impl StepName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StepName {
    type Err = StepNameError;

    fn from_str(text: &str) -> Result<Self, StepNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if (1..=STEP_NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(StepNameError(text.chars().take(STEP_NAME_BYTES_MAX).collect()))
    }
}

impl TryFrom<String> for StepName {
    type Error = StepNameError;

    fn try_from(text: String) -> Result<Self, StepNameError> {
        text.parse()
    }
}

impl From<StepName> for String {
    fn from(name: StepName) -> Self {
        name.0
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// Writes `backup (before rollout, Ada): run pg_dump -Fc shop`.
impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}", self.name, self.when)?;
        if let Some(owner) = &self.owner {
            write!(out, ", {owner}")?;
        }
        write!(out, "): {}", self.action)?;
        if self.retries > 0 {
            let pause = in_words(self.retry_after);
            write!(out, ", tried up to {} times, {pause} apart", self.retries.saturating_add(1))?;
        }
        Ok(())
    }
}

/// Writes `run pg_dump shop`, `POST https://chat.example/hook`, `check 10 GiB free on /var`.
impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(check) => write!(out, "check {check}"),
            Self::Confirm => out.write_str("a person's word"),
            Self::Http(http) => write!(out, "{} {}", http.method, http.url),
            Self::Run(run) => {
                write!(out, "run {}", run.command.join(" "))?;
                run.expect.iter().try_for_each(|version| write!(out, " and expect {version}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_back_from_the_journal_and_prints_as_a_line() {
        let run =
            Run { command: vec!["pg_dump".into(), "shop".into()], shell: false, expect: None };
        let name = "backup".parse().unwrap();
        let mut step = Step::new(name, When::BeforeRollout, Action::Run(run));
        step.owner = Some("Ada".into());
        step.retries = 2;
        let line = "backup (before rollout, Ada): run pg_dump shop, tried up to 3 times, 5 s apart";
        assert_eq!(step.to_string(), line);
        let json = serde_json::to_string(&step).unwrap();
        assert_eq!(serde_json::from_str::<Step>(&json).unwrap(), step, "{json}");
        // What an older version wrote, without what came later.
        let old = r#"{"name":"a","when":"after stage 25%","action":"confirm","timeout":1000,
            "retry_after":0}"#;
        let old: Step = serde_json::from_str(old).unwrap();
        assert_eq!(old.on_interrupt, OnInterrupt::Ask);
        assert_eq!(old.on_rollback, OnRollback::Wait);
        let stops = Step { on_rollback: OnRollback::Stop, ..old.clone() };
        let json = serde_json::to_string(&stops).unwrap();
        assert_eq!(serde_json::from_str::<Step>(&json).unwrap(), stops, "{json}");
        assert_eq!(old.when.to_string(), "after stage 25%");
    }

    #[test]
    fn a_name_fits_sentences_and_files() {
        assert!("post-migrate_2.0".parse::<StepName>().is_ok());
        for wrong in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(wrong.parse::<StepName>().is_err(), "{wrong}");
        }
    }
}
