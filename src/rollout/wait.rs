//! What a rollout over tiers waits for, in words.

use std::fmt;

use super::command::Refusal;
use super::runbook::StepName;
use super::upgrade::and;
use crate::time::Timestamp;
use crate::traffic::{TierName, Version};

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
    /// What a person may do, with the order that goes back: `` `weir resume`, or `weir rollback` ``.
    fn or(self, ways: &[String]) -> String {
        let back = match self {
            Self::Going => None,
            Self::Open => Some("`weir rollback`"),
            Self::PastNoReturn => Some("`weir rollback --past-no-return`"),
        };
        let ways: Vec<&str> = ways.iter().map(String::as_str).chain(back).collect();
        match ways.as_slice() {
            [first @ .., last] if !first.is_empty() => format!("{}, or {last}", first.join(", ")),
            ways => ways.concat(),
        }
    }
}

/// What a rollout over tiers waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// Another instance that serves while one is out.
    Another {
        /// Of this tier.
        tier: TierName,
        /// With this version.
        version: Version,
        /// While this one is out.
        instance: String,
    },
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
            Self::Another { .. }
            | Self::Answer { .. }
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
            Self::Another { tier, version, instance } => write!(
                out,
                "another instance of {tier} that is healthy with {version}, or nobody serves while \
                 {instance} is moved"
            ),
            Self::Answer { step, question } => {
                write!(out, "a person: {question} (`weir approve {step}`)")
            }
            Self::Failed { step, reason, back } => {
                let ways =
                    [format!("`weir step retry {step}`"), format!("`weir step skip {step}`")];
                write!(out, "a person: step {step} failed: {reason} ({})", back.or(&ways))
            }
            Self::Held { why, back } => {
                write!(out, "a person: {why} ({})", back.or(&["`weir resume`".into()]))
            }
            Self::Hours { until: Some(_), said } => write!(out, "its hours, which come at {said}"),
            Self::Hours { until: None, .. } => out.write_str(
                "its hours, none of which comes within a year; look at `hours` and `freeze`",
            ),
            Self::Interrupted { step, back } => {
                let skip = format!("`weir step skip {step}` if it is done");
                let ways = back.or(&[format!("`weir step retry {step}`"), skip]);
                write!(out, "a person: Weir was interrupted during step {step} ({ways})")
            }
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
