//! What a rollout over tiers waits for, in words.

use std::fmt;

use super::command::Refusal;
use super::runbook::StepName;
use super::upgrade::and;
use crate::time::Timestamp;
use crate::traffic::TierName;

/// How a rollout over tiers goes back from where it is by an order, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayBack {
    /// It goes back already.
    Going,
    /// `weir rollback`.
    Open,
    /// The same, said twice.
    PastNoReturn,
}

impl WayBack {
    /// The order that goes back, after others.
    const fn order(self) -> &'static str {
        match self {
            Self::Going => "",
            Self::Open => ", `weir rollback`",
            Self::PastNoReturn => ", `weir rollback --past-no-return`",
        }
    }
}

/// What a rollout over tiers waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// A person's yes.
    Answer {
        /// To the question of this step.
        step: StepName,
        /// The question.
        question: String,
    },
    /// A person's word on a step that failed.
    Failed {
        /// Which.
        step: StepName,
        /// What was seen.
        reason: String,
        /// How it goes back.
        back: WayBack,
    },
    /// A person's word.
    Held {
        /// Why.
        why: String,
        /// How it goes back.
        back: WayBack,
    },
    /// The hours in which it may go on by itself.
    Hours {
        /// When they come; none within a year.
        until: Option<Timestamp>,
        /// That moment as people there say it.
        said: String,
    },
    /// A person's word on a step during which Weir was interrupted.
    Interrupted {
        /// Which.
        step: StepName,
        /// How it goes back.
        back: WayBack,
    },
    /// What the jobs of workers say.
    Jobs {
        /// The tier of workers.
        workers: TierName,
        /// The instance that was moved last.
        instance: String,
    },
    /// Nothing: the program only observes.
    Observing,
    /// The end of a pause.
    Paused,
    /// The judge.
    Proof {
        /// In these tiers.
        tiers: Vec<TierName>,
    },
    /// What would refuse an order, too.
    Refused(Box<Refusal>),
    /// A step that runs.
    Running {
        /// Which.
        step: StepName,
    },
}

impl Wait {
    /// Whether a person must say or do something before it goes on.
    pub const fn needs_person(&self) -> bool {
        match self {
            Self::Answer { .. }
            | Self::Failed { .. }
            | Self::Held { .. }
            | Self::Interrupted { .. }
            | Self::Observing
            | Self::Paused
            | Self::Refused(_) => true,
            Self::Hours { .. } | Self::Jobs { .. } | Self::Proof { .. } | Self::Running { .. } => {
                false
            }
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { step, question } => {
                write!(out, "a person: {question} (`weir approve {step}`)")
            }
            Self::Failed { step, reason, back } => write!(
                out,
                "a person: step {step} failed: {reason} (`weir step retry {step}`, `weir step skip \
                 {step}`{})",
                back.order()
            ),
            Self::Held { why, back } => {
                write!(out, "a person: {why} (`weir resume`{})", back.order())
            }
            Self::Hours { until: Some(_), said } => write!(out, "its hours, which come at {said}"),
            Self::Hours { until: None, .. } => out.write_str(
                "its hours, none of which comes within a year; look at `hours` and `freeze`",
            ),
            Self::Interrupted { step, back } => write!(
                out,
                "a person: Weir was interrupted during step {step} (`weir step retry {step}`, \
                 `weir step skip {step}` if it is done{})",
                back.order()
            ),
            Self::Jobs { workers, instance } => write!(
                out,
                "the jobs of {workers}, {instance} moved last (`weir advance` goes on without)"
            ),
            Self::Observing => out.write_str("nothing: `--observe` raises nothing by itself"),
            Self::Paused => out.write_str("the end of the pause (`weir resume`)"),
            Self::Proof { tiers } => write!(out, "the judge of {} (`weir explain`)", and(tiers)),
            Self::Refused(refusal) => refusal.fmt(out),
            Self::Running { step } => write!(out, "step {step}, which runs"),
        }
    }
}
