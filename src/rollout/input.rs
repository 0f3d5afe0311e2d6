//! What the core is told: orders, verdicts, and what has ended.

use std::time::Duration;

use super::command::Command;
use super::event::RolloutId;
use super::runbook::{Outcome, StepName};
use crate::analysis::Verdict;
use crate::time::Timestamp;
use crate::traffic::TierName;

/// What the control wing hands to `step`.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// An order.
    Command(Command),
    /// The time of what was closed is up, by a clock that does not jump.
    Due {
        /// Where; none: what closed all tiers.
        tier: Option<TierName>,
        /// When that was ordered.
        ordered: Timestamp,
    },
    /// The program starts or the file was read again: what it says now is in the facts.
    File {
        /// What was wrong with a journal that had to be set aside.
        journal_lost: Option<String>,
        /// Whether the program runs already, so that a file that lost a line is refused; a start
        /// must go on with it.
        reload: bool,
    },
    /// The jobs of workers were judged.
    Jobs {
        /// The tier of workers.
        workers: TierName,
        /// In which rollout.
        rollout: RolloutId,
        /// What they say.
        verdict: Verdict,
        /// Jobs of the new version since the last instance was moved.
        done: u64,
        /// How long they were looked at since then.
        looked: Duration,
    },
    /// Of those who go back in steps nobody is left on the canary.
    Receded {
        /// Where.
        tier: TierName,
    },
    /// A run of a step has ended.
    StepEnded {
        /// In which rollout.
        rollout: RolloutId,
        /// Which step.
        step: StepName,
        /// How.
        outcome: Outcome,
    },
    /// Time has passed.
    Tick,
    /// No upstream of the canary has been healthy for too long, while stable is.
    Unhealthy {
        /// Where.
        tier: TierName,
        /// What was seen.
        reason: String,
    },
    /// The judge has looked at a window.
    Verdict {
        /// Where.
        tier: TierName,
        /// In which rollout.
        rollout: RolloutId,
        /// What it says.
        verdict: Verdict,
    },
}
