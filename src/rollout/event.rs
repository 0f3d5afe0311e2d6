//! What happened: facts in the past tense, for ever. Add variants, never change one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::closure::{Opening, Purpose};
use super::command::Actor;
use super::plan::Plan;
use super::runbook::{Outcome, StepName};
use super::upgrade::{Agreed, Ending, Item, PastDecision};
use crate::analysis::{Settings, WhenUnproven};
use crate::time::Timestamp;
use crate::traffic::{Address, Salt, TierName, Version, Weight};

/// The number of a rollout, counted from 1 over all tiers.
pub type RolloutId = u64;

/// One line of the journal: what changed, in which tier, when, by whom, and why they said so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it was decided.
    pub at: Timestamp,
    /// Who decided.
    pub by: Actor,
    /// The reason somebody gave, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Where; none: in no tier alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierName>,
    /// In which rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// What.
    pub change: Change,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A version was taken as the one that serves.
    Adopted {
        /// The version that serves.
        stable: Version,
        /// Where it runs.
        addresses: Vec<Address>,
        /// On whose word.
        why: Adoption,
    },
    /// The canary's weight rose.
    Advanced {
        /// To this.
        weight: Weight,
        /// On what ground.
        cause: Cause,
    },
    /// Users are kept out: of the event's tier, or of all.
    Closed {
        /// What for.
        purpose: Purpose,
        /// When it ends by itself; none: by an order alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// What users are told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Whether connections that are open beyond their request are closed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        close: bool,
    },
    /// A person said yes to the question of a step.
    Approved {
        /// Which.
        step: StepName,
    },
    /// The turn of a step has come that a person must say yes to.
    Asked {
        /// Which.
        step: StepName,
        /// What is asked.
        question: String,
    },
    /// Upgraded connections of the release that was left are closed at once after all.
    Cut,
    /// The decision time comes soon, and it is not decided.
    DecisionNears {
        /// When that is, in the zone of the file.
        said: String,
        /// What happens then.
        past: PastDecision,
    },
    /// The decision time has passed, and nothing is raised until a person says so.
    DecisionPassed,
    /// The part of a release in caches began anew, empty.
    Emptied {
        /// The release.
        release: Version,
        /// The caches, by name.
        caches: Vec<String>,
        /// On what ground.
        why: Emptying,
    },
    /// What would have been rolled back stays as it is, since the point of no return is passed.
    Froze {
        /// Why it would have gone back.
        cause: Blame,
    },
    /// The time for a proof is over and the rollout waits for a person.
    Held {
        /// What is missing.
        reason: String,
    },
    /// Weir was interrupted while a step ran, and nobody knows how far it came.
    Interrupted {
        /// Which.
        step: StepName,
    },
    /// A release stands at other addresses.
    Moved {
        /// The release.
        version: Version,
        /// Where it runs now.
        addresses: Vec<Address>,
    },
    /// Users are let in again: into the event's tier, or into all.
    Opened {
        /// What it was closed for.
        purpose: Purpose,
        /// On what ground.
        cause: Opening,
    },
    /// The jobs of workers that were moved are looked at for long, and are not enough.
    Overdue {
        /// The tier of workers.
        workers: TierName,
        /// The instance that was moved last.
        instance: String,
        /// How long they were looked at.
        #[serde(with = "crate::time::as_millis")]
        looked: Duration,
        /// What is known of them.
        reason: String,
    },
    /// A tier has passed a stage, and waits for what comes between it and the next.
    Passed {
        /// The weight of the stage.
        weight: Weight,
        /// On what ground.
        cause: Cause,
    },
    /// Progress was stopped by an order.
    Paused,
    /// Everybody has the new version.
    Promoted {
        /// The version that serves from now on.
        release: Version,
        /// The version that served before.
        replaced: Version,
        /// On what ground.
        cause: Cause,
    },
    /// The patience of the judge was changed.
    Reanalysed {
        /// The new time for a proof.
        #[serde(with = "crate::time::as_millis")]
        give_up: Duration,
        /// What happens after it.
        when_unproven: WhenUnproven,
    },
    /// An order was not carried out; nothing changed.
    Refused {
        /// The order, in words.
        order: String,
        /// Why, and the way out.
        why: String,
        /// How many refusals before it were not written, since there were too many.
        #[serde(default)]
        more: u32,
    },
    /// The stages to come were changed.
    Replanned {
        /// The new plan.
        plan: Plan,
    },
    /// Some instances of workers go back alone, and the rest waits for a person.
    Recalled {
        /// Why.
        cause: Blame,
        /// Which item is next, counted from 0.
        at: usize,
        /// All that is done, with the way back of these, from there on.
        items: Vec<Item>,
    },
    /// What is done in a rollout over tiers was changed from here on.
    Rerouted {
        /// All of it.
        items: Vec<Item>,
    },
    /// A pause ended by an order.
    Resumed,
    /// Users of the canary go back to stable in steps, by an order.
    Receding {
        /// From this weight.
        from: Weight,
        /// Over this time.
        #[serde(with = "crate::time::as_millis")]
        over: Duration,
    },
    /// Everybody is back on the old version.
    RolledBack {
        /// The version that was left.
        from: Version,
        /// The version that serves.
        to: Version,
        /// On what ground.
        cause: Blame,
        /// Whether upgraded connections were closed at once instead of over the drain time.
        #[serde(default)]
        now: bool,
    },
    /// An instance was taken out of the version it had, or into one.
    Shifted {
        /// Which.
        instance: String,
        /// Into which; none: out, and it gets no requests.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Version>,
    },
    /// A rollout was opened.
    Started {
        /// The canary.
        release: Version,
        /// Which try of this version it is, counted from 1.
        attempt: u32,
        /// Its stages; the first is entered at once.
        plan: Plan,
        /// What the judge tolerates.
        analysis: Box<Settings>,
        /// The secret from which the buckets follow.
        salt: Salt,
        /// Where the canary runs.
        addresses: Vec<Address>,
        /// Whether the file lists the release; otherwise the order named its addresses.
        listed: bool,
        /// What keeps clients on their version, as the file has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sticky: Option<String>,
    },
    /// A step of the runbook began.
    StepBegan {
        /// Which.
        step: StepName,
        /// Which run of it, counted from 1.
        run: u32,
    },
    /// A step of the runbook ended.
    StepEnded {
        /// Which.
        step: StepName,
        /// How.
        outcome: Outcome,
    },
    /// A step of the runbook counts as done.
    StepSkipped {
        /// Which.
        step: StepName,
    },
    /// The jobs of workers that were moved were looked at for long enough.
    Tried {
        /// The tier of workers.
        workers: TierName,
        /// The instance that was moved last.
        instance: String,
        /// On what ground it goes on.
        cause: Cause,
    },
    /// A rollout over tiers goes back: users are back already.
    TurnedBack {
        /// Why.
        cause: Blame,
        /// What is done on the way back.
        items: Vec<Item>,
    },
    /// A rollout over tiers is over.
    UpgradeEnded {
        /// How.
        ending: Ending,
    },
    /// A rollout over tiers was opened.
    UpgradeStarted {
        /// What was agreed on.
        agreed: Box<Agreed>,
    },
    /// In observe mode: what would have been rolled back.
    WouldHaveRolledBack {
        /// On what ground.
        cause: Blame,
    },
}

/// On whose word a version was taken as the one that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adoption {
    /// The file's, since the journal was new.
    FirstStart,
    /// An operator's.
    Order,
    /// The file's, since the journal could not be read; raises wait for an operator's word.
    Recovered {
        /// What was wrong with the journal.
        what: String,
    },
}

/// Why the part of a release in a cache began anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emptying {
    /// It is tried again after it was rolled back: its app may have written since.
    Again,
    /// It was rolled back.
    RolledBack,
    /// Users come back to it after others have changed its records.
    Stale {
        /// For how long it had no users.
        #[serde(with = "crate::time::as_millis")]
        away: Duration,
    },
}

/// Why the weight rose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An operator said so.
    Order,
    /// The judge proved that the canary is not worse.
    Proven {
        /// The judge's words.
        reason: String,
    },
    /// Time passed without evidence of harm, and the plan allows to go on.
    Unproven {
        /// The judge's words.
        reason: String,
    },
}

/// Why everybody went back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The decision time passed.
    DecisionTime,
    /// An operator said so.
    Order,
    /// A step of the runbook failed.
    Step {
        /// Which.
        step: StepName,
        /// What was seen.
        reason: String,
    },
    /// Another tier of the same rollout went back.
    Together {
        /// Which.
        tier: TierName,
        /// Why it did.
        reason: String,
    },
    /// No upstream of the canary was healthy.
    Unhealthy {
        /// What was seen.
        reason: String,
    },
    /// The judge found the canary worse.
    Verdict {
        /// The metric that failed.
        metric: String,
        /// The judge's words.
        reason: String,
    },
}

/// Whether events put more users on something new, or only take them off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Acts first, is written afterwards; never refused or delayed.
    Lower,
    /// Is written first, acts afterwards.
    Raise,
}

impl Change {
    /// Its name, as the journal has it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Adopted { .. } => "adopted",
            Self::Advanced { .. } => "advanced",
            Self::Approved { .. } => "approved",
            Self::Asked { .. } => "asked",
            Self::Closed { .. } => "closed",
            Self::Cut => "cut",
            Self::DecisionNears { .. } => "decision_nears",
            Self::DecisionPassed => "decision_passed",
            Self::Emptied { .. } => "emptied",
            Self::Froze { .. } => "froze",
            Self::Held { .. } => "held",
            Self::Interrupted { .. } => "interrupted",
            Self::Moved { .. } => "moved",
            Self::Opened { .. } => "opened",
            Self::Overdue { .. } => "overdue",
            Self::Passed { .. } => "passed",
            Self::Paused => "paused",
            Self::Promoted { .. } => "promoted",
            Self::Reanalysed { .. } => "reanalysed",
            Self::Receding { .. } => "receding",
            Self::Refused { .. } => "refused",
            Self::Replanned { .. } => "replanned",
            Self::Recalled { .. } => "recalled",
            Self::Rerouted { .. } => "rerouted",
            Self::Resumed => "resumed",
            Self::RolledBack { .. } => "rolled_back",
            Self::Shifted { .. } => "shifted",
            Self::Started { .. } => "started",
            Self::StepBegan { .. } => "step_began",
            Self::StepEnded { .. } => "step_ended",
            Self::StepSkipped { .. } => "step_skipped",
            Self::Tried { .. } => "tried",
            Self::TurnedBack { .. } => "turned_back",
            Self::UpgradeEnded { .. } => "upgrade_ended",
            Self::UpgradeStarted { .. } => "upgrade_started",
            Self::WouldHaveRolledBack { .. } => "would_have_rolled_back",
        }
    }

    /// Whether this may act before it is written.
    pub const fn direction(&self) -> Direction {
        match self {
            // An empty cache puts nobody on anything new, nor does a page.
            Self::Closed { .. }
            | Self::Cut
            | Self::DecisionNears { .. }
            | Self::Overdue { .. }
            | Self::DecisionPassed
            | Self::Emptied { .. }
            | Self::Froze { .. }
            | Self::Paused
            | Self::Recalled { .. }
            | Self::Receding { .. }
            | Self::Refused { .. }
            | Self::RolledBack { .. }
            // Where it failed, everything may go back with it, or nothing: what is known of it must
            // not be lost behind a raise that is on its way.
            | Self::StepEnded { .. }
            | Self::StepSkipped { .. }
            | Self::TurnedBack { .. }
            | Self::UpgradeEnded { .. } => Direction::Lower,
            Self::Adopted { .. }
            | Self::Advanced { .. }
            | Self::Approved { .. }
            | Self::Asked { .. }
            | Self::Held { .. }
            | Self::Interrupted { .. }
            | Self::Moved { .. }
            | Self::Opened { .. }
            | Self::Passed { .. }
            | Self::Promoted { .. }
            | Self::Reanalysed { .. }
            | Self::Replanned { .. }
            | Self::Rerouted { .. }
            | Self::Resumed
            | Self::Shifted { .. }
            | Self::Started { .. }
            | Self::StepBegan { .. }
            | Self::Tried { .. }
            | Self::UpgradeStarted { .. }
            | Self::WouldHaveRolledBack { .. } => Direction::Raise,
        }
    }
}

impl Event {
    /// The same with the salt struck out (zeros), for eyes outside the program: whoever knows it
    /// can compute who is on the canary.
    #[must_use]
    pub fn without_secret(&self) -> Self {
        let mut event = self.clone();
        if let Change::Started { salt, .. } = &mut event.change {
            *salt = Salt::new([0; 16]);
        }
        if let Change::UpgradeStarted { agreed } = &mut event.change {
            agreed.salt = Salt::new([0; 16]);
        }
        event
    }

    /// The direction of several events decided together: they act first only if all of them may.
    pub fn direction(events: &[Self]) -> Direction {
        let lower = |event: &Self| event.change.direction() == Direction::Lower;
        if events.iter().all(lower) { Direction::Lower } else { Direction::Raise }
    }

    /// Whether somebody, or Weir, begins to go back with it, also where no user has anything yet. The
    /// end of a way back, which Weir comes to by itself, does not.
    pub fn goes_back(&self) -> bool {
        let ends = matches!(
            self.change,
            Change::UpgradeEnded { ending: Ending::RolledBack | Ending::Stopped { .. } }
        );
        matches!(self.change, Change::RolledBack { .. } | Change::TurnedBack { .. })
            || (ends && self.by != Actor::weir())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::event_names;

    #[test]
    fn a_step_that_failed_and_is_skipped_waits_for_no_raise() {
        let step: StepName = "vacuum".parse().unwrap();
        let ending = crate::rollout::runbook::Ending::Failed;
        let outcome = Outcome {
            ending,
            tries: 1,
            took: Duration::ZERO,
            why: "exit code 1".into(),
            output: crate::rollout::runbook::Output::default(),
        };
        let ended = Change::StepEnded { step: step.clone(), outcome };
        for change in [ended, Change::StepSkipped { step }] {
            assert_eq!(change.direction(), Direction::Lower, "{change:?}");
        }
    }

    #[test]
    fn a_change_is_called_what_the_journal_calls_it() {
        let changes = [
            Change::Paused,
            Change::Cut,
            Change::Held { reason: String::new() },
            Change::WouldHaveRolledBack { cause: Blame::Order },
            Change::UpgradeEnded { ending: Ending::Promoted },
        ];
        for change in changes {
            let written = serde_json::to_value(&change).unwrap();
            let name = written.as_str().map(str::to_owned);
            let name = name.or_else(|| written.as_object()?.keys().next().cloned());
            assert_eq!(name.as_deref(), Some(change.kind()));
            assert!(event_names().contains(&change.kind()));
        }
    }
}
