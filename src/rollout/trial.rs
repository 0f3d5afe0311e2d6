//! Workers on trial: their jobs say whether the next instance follows, or whether they go back.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Blame, Cause, Change, Event, RolloutId};
use super::facts::Facts;
use super::fleet::{Fleet, step_name};
use super::runbook::{Action, OnFailure, QUESTION_CHARS_MAX, Step, When};
use super::state::State;
use super::turning::turn_back;
use super::upgrade::{Item, Shift, Turn, Upgrade};
use super::upgrading::whole;
use crate::analysis::{Verdict, Why};
use crate::time::{Timestamp, as_millis, in_words};
use crate::traffic::{TierName, Version};

/// Room for what was seen in a question that a screen must hold.
const SEEN_CHARS_MAX: usize = QUESTION_CHARS_MAX - 200;

/// An instance of workers at work for a while: meanwhile the jobs of its version are compared with
/// those of the version before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The tier of workers.
    pub workers: TierName,
    /// The instance that was moved last.
    pub instance: String,
    /// The version it has.
    pub version: Version,
    /// The version of those that were not moved yet.
    pub before: Version,
    /// How many have the new version by now.
    pub moved: u32,
    /// How many there are.
    pub of: u32,
    /// How long it lasts at least.
    #[serde(with = "as_millis")]
    pub bake: Duration,
    /// Jobs that the new version must have done meanwhile.
    pub least: u64,
    /// What follows where they fail.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Trial {
    /// The share of the instances that the next move leads to.
    pub fn next_share(&self) -> f64 {
        let next = (self.moved + 1).min(self.of);
        f64::from(next) / f64::from(self.of.max(1))
    }

    /// Whether nothing speaks against the new version, as far as it can be told. Proof is not asked
    /// for: few workers do so many jobs in a night.
    fn is_passed(&self, verdict: &Verdict, done: u64) -> bool {
        let clean = match verdict {
            Verdict::Fail { .. } => false,
            Verdict::Pass { .. } => true,
            Verdict::Inconclusive { why, .. } => match why {
                Why::NotEnough | Why::Unproven => true,
                // With the last instance nobody is left to compare with.
                Why::NoStable => self.moved >= self.of,
                Why::Blind
                | Why::ColdCache
                | Why::Outage
                | Why::Soaking
                | Why::Suspicious
                | Why::WatchHolds => false,
            },
        };
        clean && done >= self.least
    }
}

/// Writes `worker: the jobs of work-1 on 4.2, for 1 min and 20 jobs at least`.
impl fmt::Display for Trial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, instance, version, .. } = self;
        let bake = in_words(self.bake);
        write!(out, "{workers}: the jobs of {instance} on {version}, for {bake}")?;
        match self.least {
            0 => Ok(()),
            1 => out.write_str(" and 1 job at least"),
            least => write!(out, " and {least} jobs at least"),
        }
    }
}

/// Where the trial of workers stands in a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// From which item on they are moved: a trial after a way back is another one.
    pub from: usize,
    /// Which item the newest trial is.
    pub at: usize,
    /// The newest trial that was begun.
    pub trial: &'a Trial,
}

/// Which version an instance of workers has while a rollout moves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// It is being switched, or that failed.
    Neither,
    /// The new one.
    New,
    /// The one before.
    Old,
}

impl Upgrade {
    /// How far the trial of `workers` has come, if their jobs are judged now.
    pub fn trial(&self, workers: &TierName) -> Option<Standing<'_>> {
        if self.goes_back() || self.ended.is_some() {
            return None;
        }
        let begun = self.items.get(..(self.at + 1).min(self.items.len()))?;
        let from = self.round(workers)?;
        // Where one instance went back alone the others are judged on.
        let is_moved = |index| is_move(&self.items[index], workers) && !self.is_back(index);
        if !(from..self.begun().min(self.items.len())).any(is_moved) {
            return None;
        }
        begun.iter().enumerate().skip(from).rev().find_map(|(at, item)| match item {
            Item::Trial(trial) if trial.workers == *workers => Some(Standing { from, at, trial }),
            Item::Everybody { .. }
            | Item::Home { .. }
            | Item::Shift(_)
            | Item::Stage { .. }
            | Item::Step(_)
            | Item::Trial(_) => None,
        })
    }

    /// Which version `instance` of `fleet` has, by the steps that were begun.
    pub fn has(&self, fleet: &Fleet, instance: &str) -> Has {
        let [onward, back] =
            [false, true].map(|back| step_name(&fleet.name, instance, "switch", back));
        let (begun, to_come) = self.items.split_at(self.begun().min(self.items.len()));
        let switched = |item: &Item| is_called(item, &onward) || is_called(item, &back);
        match begun.iter().rposition(switched) {
            Some(last) if last >= self.at => Has::Neither,
            Some(last) if is_called(&self.items[last], &onward) => Has::New,
            // Of the way there nothing is known any more on the way back.
            None if to_come.iter().any(|item| is_called(item, &back)) => Has::Neither,
            Some(_) | None => Has::Old,
        }
    }

    /// From which item on `workers` are moved now: after all went back they are moved anew.
    fn round(&self, workers: &TierName) -> Option<usize> {
        let first = self.items.iter().find(|item| is_move(item, workers))?;
        let begun = self.items.get(..(self.at + 1).min(self.items.len()))?;
        begun.iter().rposition(|item| item == first)
    }

    /// Whether what the item at `index` did was taken back since.
    fn is_back(&self, index: usize) -> bool {
        let done = self.items.get(index..self.at).unwrap_or_default();
        match self.items.get(index) {
            Some(Item::Shift(shift)) => {
                shift.undo.last().is_some_and(|last| done.iter().any(|item| item == last))
            }
            Some(Item::Step(step)) => step.undo.last().is_some_and(|last| {
                done.iter().any(|item| matches!(item, Item::Step(step) if step.name == last.name))
            }),
            Some(
                Item::Everybody { .. } | Item::Home { .. } | Item::Stage { .. } | Item::Trial(_),
            )
            | None => false,
        }
    }

    /// Whether it goes onward and some instances were taken back before.
    pub(super) fn has_recalled(&self) -> bool {
        !self.goes_back() && self.items.iter().any(is_undoing)
    }

    /// What was agreed on, without that by which some instances went back and are moved again.
    pub(super) fn agreed(&self) -> Vec<Item> {
        once(&self.items)
    }

    /// Whether what is done now undoes something, so that what is undone must have ended.
    pub fn undoes(&self) -> bool {
        self.goes_back() || self.item().is_some_and(is_undoing)
    }

    /// How many items were begun.
    pub(super) const fn begun(&self) -> usize {
        match &self.turn {
            Turn::Failed { .. } | Turn::Interrupted { .. } | Turn::Running { .. } => self.at + 1,
            Turn::Approved | Turn::Asked | Turn::Waiting => self.at,
        }
    }

    /// What takes back what was begun of it, the last one first: by instances, each with its tier.
    pub(super) fn undoing(&self) -> Vec<(TierName, Vec<Item>)> {
        self.undoing_from(0)
    }

    /// The same for the items from `from` on. What was taken back already is left out.
    fn undoing_from(&self, from: usize) -> Vec<(TierName, Vec<Item>)> {
        let indices = (from..self.begun().min(self.items.len())).rev();
        let left = indices.filter(|index| !self.is_back(*index));
        left.filter_map(|index| self.undo_at(index)).collect()
    }

    /// What takes back the instance that begins to be moved with the item at `index`, and its tier.
    /// One with traffic that still is as it was, only out, is taken in again.
    fn undo_at(&self, index: usize) -> Option<(TierName, Vec<Item>)> {
        let item = self.items.get(index)?;
        let (tier, mut items) = undo(item)?;
        if let Item::Shift(shift) = item
            && self.is_as_it_was(index, shift)
        {
            items.drain(..items.len().saturating_sub(1));
        }
        Some((tier, items))
    }

    /// Whether the instance that the item at `index` took out was neither switched since nor told to
    /// take no more work, which the switch alone undoes.
    fn is_as_it_was(&self, index: usize, shift: &Shift) -> bool {
        let verbs = ["quiet", "switch"];
        let names = verbs.map(|verb| step_name(&shift.tier, &shift.instance, verb, false));
        let begun = self.items.get(index..self.begun().min(self.items.len()));
        let mut begun = begun.unwrap_or_default().iter();
        !begun.any(|item| names.iter().any(|name| is_called(item, name)))
    }

    /// The last item before `end` with which an instance of `workers` begins to be moved.
    fn first_of_move(&self, workers: &TierName, end: usize) -> Option<usize> {
        self.items.get(..end)?.iter().rposition(|item| is_move(item, workers))
    }
}

/// What takes back the instance that begins to be moved with `item`, and its tier.
fn undo(item: &Item) -> Option<(TierName, Vec<Item>)> {
    match item {
        Item::Shift(shift) if !shift.undo.is_empty() => {
            Some((shift.tier.clone(), shift.undo.clone()))
        }
        Item::Step(step) if !step.undo.is_empty() => {
            let When::InTier(tier) = &step.when else { return None };
            let steps = step.undo.iter().cloned().map(|step| Item::Step(Box::new(step)));
            Some((tier.clone(), steps.collect()))
        }
        Item::Everybody { .. }
        | Item::Home { .. }
        | Item::Shift(_)
        | Item::Stage { .. }
        | Item::Step(_)
        | Item::Trial(_) => None,
    }
}

/// Whether `item` is the step `name`.
fn is_called(item: &Item, name: &str) -> bool {
    matches!(item, Item::Step(step) if step.name.as_str() == name)
}

/// Whether with `item` an instance of `tier` begins to be moved.
fn is_move(item: &Item, tier: &TierName) -> bool {
    undo(item).is_some_and(|(of, _)| of == *tier)
}

/// Each of `items` once, but for what took instances back, and the question what then.
fn once(items: &[Item]) -> Vec<Item> {
    let is_question = |item: &Item| {
        matches!(item, Item::Step(step)
            if matches!((&step.when, &step.action), (When::InTier(_), Action::Confirm)))
    };
    let mut once: Vec<Item> = Vec::new();
    for item in items {
        if !is_undoing(item) && !is_question(item) && !once.contains(item) {
            once.push(item.clone());
        }
    }
    once
}

/// Whether `item` takes an instance back while the rollout goes onward, or everything goes back.
pub(super) fn is_undoing(item: &Item) -> bool {
    match item {
        Item::Home { .. } => true,
        Item::Shift(shift) => shift.back,
        Item::Step(step) => step.when == When::OnRollback,
        Item::Everybody { .. } | Item::Stage { .. } | Item::Trial(_) => false,
    }
}

/// What was seen of the jobs of `workers`: of the new version `done` in this trial.
pub(super) fn jobs_seen(
    workers: &TierName,
    id: RolloutId,
    (verdict, done, looked): (&Verdict, u64, Duration),
    state: &State,
    facts: &Facts,
    now: Timestamp,
) -> Vec<Event> {
    let upgrade = state.open_upgrade().filter(|upgrade| upgrade.id == id && !facts.observe);
    let Some(upgrade) = upgrade else { return vec![] };
    let Some(Standing { from, at, trial }) = upgrade.trial(workers) else { return vec![] };
    let is_now = matches!(upgrade.item(), Some(Item::Trial(now)) if now == trial);
    let Verdict::Fail { metric, reason } = verdict else {
        let goes_on = is_now && !upgrade.paused && upgrade.held.is_none();
        let passed = goes_on && trial.is_passed(verdict, done);
        let reason = verdict.reason().to_owned();
        let cause = match verdict {
            Verdict::Pass { proven: true, .. } => Cause::Proven { reason },
            Verdict::Fail { .. } | Verdict::Inconclusive { .. } | Verdict::Pass { .. } => {
                Cause::Unproven { reason }
            }
        };
        if passed {
            return vec![tried(upgrade, trial, cause, now)];
        }
        let late = goes_on && is_overdue(upgrade, trial, facts, looked);
        return late
            .then(|| overdue(upgrade.id, trial, (verdict, done, looked), now))
            .into_iter()
            .collect();
    };
    let cause = Blame::Verdict { metric: metric.clone(), reason: reason.clone() };
    if upgrade.past_no_return {
        // Who goes on all the same is not stopped again before the next instance is on trial.
        let alarm = upgrade.held.is_none() && upgrade.alarmed.get(workers) != Some(&at);
        let event = Event {
            tier: Some(workers.clone()),
            ..whole(upgrade.id, Change::Froze { cause }, now)
        };
        return if alarm { vec![event] } else { vec![] };
    }
    match trial.on_failure {
        OnFailure::Rollback => turn_back(upgrade, state, facts, &cause, Some(workers), now),
        OnFailure::Continue | OnFailure::Hold => {
            // After the last of them nothing is left to compare with, and nothing new is known.
            let of_tier = |step: &Step| step.when == When::InTier(workers.clone());
            if !is_now && !upgrade.step().is_some_and(of_tier) {
                return vec![];
            }
            let first = (from..upgrade.items.len())
                .find(|index| upgrade.first_of_move(workers, index + 1) == Some(*index));
            recalled(upgrade, first, &cause, now).into_iter().collect()
        }
    }
}

/// Whether a trial was `looked` at for longer than the stage of a tier may last without a proof, and
/// nobody was told.
fn is_overdue(upgrade: &Upgrade, trial: &Trial, facts: &Facts, looked: Duration) -> bool {
    let mut file = facts.upgrade.workers.iter();
    let follows = file.find(|one| *one.name() == trial.workers).map(|one| &one.follows);
    let tier = follows.and_then(|follows| facts.tier(follows));
    let after = tier.map(|tier| tier.analysis.give_up.max(trial.bake));
    upgrade.overdue != Some(upgrade.at) && after.is_some_and(|after| looked >= after)
}

/// What people hear then.
fn overdue(
    id: RolloutId,
    trial: &Trial,
    (verdict, done, looked): (&Verdict, u64, Duration),
    now: Timestamp,
) -> Event {
    let said = verdict.reason();
    let reason = match trial.least {
        least if done < least => format!("{done} of {least} jobs, {said}"),
        _ => said.to_owned(),
    };
    let (workers, instance) = (trial.workers.clone(), trial.instance.clone());
    whole(id, Change::Overdue { workers, instance, looked, reason }, now)
}

/// The jobs are enough.
pub(super) fn tried(upgrade: &Upgrade, trial: &Trial, cause: Cause, now: Timestamp) -> Event {
    let (workers, instance) = (trial.workers.clone(), trial.instance.clone());
    whole(upgrade.id, Change::Tried { workers, instance, cause }, now)
}

/// A step of `tier` has failed, and what was moved last goes back alone. None: nothing has.
pub(super) fn withdrawn(
    upgrade: &Upgrade,
    tier: &TierName,
    cause: &Blame,
    now: Timestamp,
) -> Option<Event> {
    recalled(upgrade, upgrade.first_of_move(tier, upgrade.begun()), cause, now)
}

/// The instances of a tier that were moved from item `first` on go back, the last one first; then a
/// person is asked whether they are moved again.
fn recalled(
    upgrade: &Upgrade,
    first: Option<usize>,
    cause: &Blame,
    now: Timestamp,
) -> Option<Event> {
    let first = first?;
    let back: Vec<Item> =
        upgrade.undoing_from(first).into_iter().flat_map(|(_, items)| items).collect();
    let (moved, tier) = match upgrade.items.get(first)? {
        Item::Shift(shift) => (format!("{}-{}", shift.tier, shift.instance), &shift.tier),
        Item::Step(step) => {
            let When::InTier(tier) = &step.when else { return None };
            (step.name.as_str().rsplit_once('-').map(|(moved, _)| moved.to_owned())?, tier)
        }
        Item::Everybody { .. } | Item::Home { .. } | Item::Stage { .. } | Item::Trial(_) => {
            return None;
        }
    };
    let when = When::InTier(tier.clone());
    let fault = match cause {
        Blame::Step { step, reason } => format!("step {step} failed: {reason}"),
        Blame::Together { reason, .. }
        | Blame::Unhealthy { reason }
        | Blame::Verdict { reason, .. } => reason.clone(),
        Blame::DecisionTime | Blame::Order => String::new(),
    };
    let fault: String = fault.chars().take(SEEN_CHARS_MAX).collect();
    let again = Step {
        confirm: Some(format!("what was moved is back ({fault}); go on with {moved} once more?")),
        ..Step::new(format!("{moved}-again").parse().ok()?, when.clone(), Action::Confirm)
    };
    if back.is_empty() {
        return None;
    }
    let at = upgrade.begun();
    let done = upgrade.items.iter().take(at).cloned();
    let again = back.into_iter().chain([Item::Step(Box::new(again))]);
    // Each is done once more, also what went back before.
    let rest = once(upgrade.items.get(first..).unwrap_or_default());
    let items = done.chain(again).chain(rest).collect();
    Some(whole(upgrade.id, Change::Recalled { cause: cause.clone(), at, items }, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(moved: u32) -> Trial {
        Trial {
            workers: "worker".parse().unwrap(),
            instance: "work-1".into(),
            version: "4.2".parse().unwrap(),
            before: "3.2".parse().unwrap(),
            moved,
            of: 2,
            bake: Duration::from_mins(1),
            least: 20,
            on_failure: OnFailure::Rollback,
        }
    }

    fn held(why: Why) -> Verdict {
        Verdict::Inconclusive { why, metric: None, reason: String::new() }
    }

    #[test]
    fn a_trial_is_passed_where_nothing_speaks_against_it_and_enough_was_done() {
        let passed = Verdict::Pass { proven: true, reason: String::new() };
        assert!(trial(1).is_passed(&passed, 20));
        assert!(!trial(1).is_passed(&passed, 19));
        assert!(trial(1).is_passed(&held(Why::NotEnough), 20));
        for why in [Why::Soaking, Why::Suspicious, Why::Outage] {
            assert!(!trial(2).is_passed(&held(why), 1_000), "{why:?}");
        }
        assert!(!trial(1).is_passed(&held(Why::NoStable), 1_000), "others could be compared with");
        assert!(trial(2).is_passed(&held(Why::NoStable), 20), "nobody is left to compare with");
    }

    #[test]
    fn a_trial_leads_to_the_share_of_the_next_instance() {
        assert!((trial(1).next_share() - 1.0).abs() < 1e-9);
        let of_four = Trial { of: 4, ..trial(1) };
        assert!((of_four.next_share() - 0.5).abs() < 1e-9);
        let said = "worker: the jobs of work-1 on 4.2, for 1 min and 20 jobs at least";
        assert_eq!(trial(1).to_string(), said);
    }
}
