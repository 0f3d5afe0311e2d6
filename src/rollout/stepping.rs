//! What follows where a step of the runbook ends, or was interrupted.

use super::event::{Blame, Change, Event, RolloutId};
use super::facts::Facts;
use super::runbook::{self, OnFailure, OnInterrupt, Outcome, Output, Step, StepName, When};
use super::state::State;
use super::trial::withdrawn;
use super::turning::turn_back;
use super::upgrade::Upgrade;
use super::upgrading::whole;
use crate::time::Timestamp;

/// A run of a step has ended.
pub(super) fn step_ended(
    id: RolloutId,
    name: &StepName,
    outcome: &Outcome,
    state: &State,
    facts: &Facts,
    now: Timestamp,
) -> Vec<Event> {
    let Some(upgrade) = state.open_upgrade().filter(|upgrade| upgrade.id == id) else {
        return vec![];
    };
    let change = Change::StepEnded { step: name.clone(), outcome: outcome.clone() };
    let ended = whole(id, change, now);
    let running = upgrade.running().filter(|(step, _)| step.name == *name);
    let Some((step, _)) = running else {
        let awaited = upgrade.still_running.as_ref() == Some(name);
        return if awaited { vec![ended] } else { vec![] };
    };
    if outcome.succeeded() {
        return vec![ended];
    }
    match step.on_failure {
        OnFailure::Continue => {
            vec![ended, whole(id, Change::StepSkipped { step: name.clone() }, now)]
        }
        OnFailure::Rollback if !upgrade.goes_back() && !upgrade.past_no_return => {
            let mut after = state.clone();
            after.apply(&ended);
            let Some(upgrade) = after.open_upgrade() else { return vec![ended] };
            let reason = outcome.why.clone();
            let cause = Blame::Step { step: name.clone(), reason };
            let back = turn_back(upgrade, &after, facts, &cause, None, now);
            [ended].into_iter().chain(back).collect()
        }
        OnFailure::Hold if is_moved(upgrade, step) => {
            let mut after = state.clone();
            after.apply(&ended);
            let cause = Blame::Step { step: name.clone(), reason: outcome.why.clone() };
            let back = match (&step.when, after.open_upgrade()) {
                (When::InTier(workers), Some(upgrade)) => withdrawn(upgrade, workers, &cause, now),
                (_, Some(_) | None) => None,
            };
            [ended].into_iter().chain(back).collect()
        }
        OnFailure::Hold | OnFailure::Rollback => vec![ended],
    }
}

/// Whether `step` has left an instance of workers where neither version may be well: it goes back
/// alone. One that takes no more jobs, or ends those it has, runs the version before.
fn is_moved(upgrade: &Upgrade, step: &Step) -> bool {
    let name = step.name.as_str();
    let moved = !name.ends_with("-quiet") && !name.ends_with("-drain");
    let onward = !upgrade.goes_back() && !upgrade.past_no_return;
    onward && moved && matches!(step.when, When::InTier(_))
}

/// The program starts and a step was running.
pub(super) fn interrupted(state: &State, facts: &Facts, now: Timestamp) -> Vec<Event> {
    let Some(upgrade) = state.open_upgrade() else { return vec![] };
    let event = |change| whole(upgrade.id, change, now);
    if let Some(step) = upgrade.still_running.clone() {
        return vec![event(Change::Interrupted { step })];
    }
    let Some((step, run)) = upgrade.running() else { return vec![] };
    let name = step.name.clone();
    let interrupted = event(Change::Interrupted { step: name.clone() });
    match step.on_interrupt {
        OnInterrupt::Ask => vec![interrupted],
        // As any other failure: what follows may be that everybody goes back.
        OnInterrupt::Fail => {
            let outcome = Outcome {
                ending: runbook::Ending::Failed,
                tries: 1,
                took: now.since(upgrade.entered),
                why: "Weir was interrupted while it ran".into(),
                output: Output::default(),
            };
            step_ended(upgrade.id, &name, &outcome, state, facts, now)
        }
        OnInterrupt::Retry => {
            vec![interrupted, event(Change::StepBegan { step: name, run: run.saturating_add(1) })]
        }
    }
}
