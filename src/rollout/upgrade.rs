//! A rollout over tiers: what is done, one after the other, and how far it has come.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::{Blame, Cause, Change, Event, RolloutId};
use super::plan::Stage;
use super::runbook::{Action, Outcome, Step, StepName};
use super::trial::Trial;
use crate::time::{Timestamp, in_words};
use crate::traffic::{Address, Salt, TierName, Version, Weight};

/// An open rollout over tiers. It begins with the steps before the first tier, and ends once
/// everybody has the new version everywhere, or everybody and everything is back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upgrade {
    /// Its number, that of the rollouts of its tiers.
    pub id: RolloutId,
    /// What the file calls it.
    pub name: Option<String>,
    /// What each tier gets.
    pub targets: BTreeMap<TierName, Target>,
    /// The secret from which the buckets of all its tiers follow.
    pub salt: Salt,
    /// What is done, in order.
    pub items: Vec<Item>,
    /// Which item it has come to, counted from 0; as many as there are: all is done.
    pub at: usize,
    /// How it stands with that item, if it is a step.
    pub turn: Turn,
    /// The tiers of the last stage that have passed it, and on what ground.
    pub passed: BTreeMap<TierName, Cause>,
    /// The tiers in which everybody has the new version.
    pub given: BTreeSet<TierName>,
    /// How much goes back where one tier fails.
    pub on_failure: Scope,
    /// When it must be decided.
    pub decide_by: Option<Timestamp>,
    /// What happens then.
    pub past_decision: PastDecision,
    /// The step after which nothing goes back by itself.
    pub no_return: Option<StepName>,
    /// Whether that step was done.
    pub past_no_return: bool,
    /// Whether progress is stopped by an order.
    pub paused: bool,
    /// Why it waits for a person's word to go on, if it does.
    pub held: Option<String>,
    /// The workers whose jobs have raised the alarm past the point of no return, and the item that
    /// was their newest trial then: once a person knows it, it is not raised again for that one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alarmed: BTreeMap<TierName, usize>,
    /// Whether it was said that its decision time comes soon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reminded: bool,
    /// The trial of which it was said that it lasts longer than it may without a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue: Option<usize>,
    /// Which way it goes.
    pub course: Course,
    /// A step that ran when everything went back, and still runs.
    pub still_running: Option<StepName>,
    /// What to do on the way back, beside the weights.
    pub way_back: Vec<Step>,
    /// When it was opened.
    pub started: Timestamp,
    /// When it came to the item it is at.
    pub entered: Timestamp,
    /// How it ended, and when; none: it is open.
    pub ended: Option<(Ending, Timestamp)>,
}

/// What a tier gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The version.
    pub version: Version,
    /// Where it runs, if the order said so; empty: where the file says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<Address>,
}

/// What was agreed on when a rollout over tiers was opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreed {
    /// What the file calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What each tier gets.
    pub targets: BTreeMap<TierName, Target>,
    /// The secret from which the buckets of all its tiers follow.
    pub salt: Salt,
    /// What is done, in order.
    pub items: Vec<Item>,
    /// What is done on the way back, beside the weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub way_back: Vec<Step>,
    /// How much goes back where one tier fails.
    #[serde(default)]
    pub on_failure: Scope,
    /// When it must be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decide_by: Option<Timestamp>,
    /// What happens then.
    #[serde(default)]
    pub past_decision: PastDecision,
    /// The step after which nothing goes back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_return: Option<StepName>,
}

/// One thing of a rollout over tiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Everybody gets the new version in these tiers.
    Everybody {
        /// Where.
        tiers: Vec<TierName>,
    },
    /// These tiers rise to a weight and stay there until each is proven.
    Stage {
        /// Where; they move together.
        tiers: Vec<TierName>,
        /// To which weight, and for how long at least.
        stage: Stage,
    },
    /// On the way back: everybody goes back in a tier of which an instance has the version before
    /// again.
    Home {
        /// Where.
        tier: TierName,
        /// Whether upgraded connections are closed at once then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        now: bool,
    },
    /// An instance is taken out of a version, or into one.
    Shift(Shift),
    /// A step of the runbook.
    Step(Box<Step>),
    /// Workers that were moved do jobs, which are judged.
    Trial(Trial),
}

/// An instance of a tier with traffic is taken out of the version it has, or into one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The tier.
    pub tier: TierName,
    /// What the instance is called.
    pub instance: String,
    /// Into which version; none: out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// Whether it belongs to the way back of this instance.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub back: bool,
    /// What is done, in order, where this was done and the instance goes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<Item>,
}

/// How it stands with a step whose turn has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Its question was answered with yes.
    Approved,
    /// It waits for the answer to its question.
    Asked,
    /// It has failed for the last time.
    Failed {
        /// What was seen.
        reason: String,
        /// In which run, counted from 1.
        run: u32,
    },
    /// Weir was interrupted while it ran, and nobody knows how far it came.
    Interrupted {
        /// In which run, counted from 1.
        run: u32,
    },
    /// It runs.
    Running {
        /// Which run it is, counted from 1.
        run: u32,
    },
    /// Nothing was done for it yet.
    #[default]
    Waiting,
}

/// Which way a rollout over tiers goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Back, and why.
    Back {
        /// Why everybody went back.
        cause: Blame,
    },
    /// Onward.
    #[default]
    Onward,
}

/// How much goes back where one tier fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every tier that this rollout has touched.
    #[default]
    Rollout,
    /// The tier that failed; the rollout ends there.
    Tier,
}

/// What happens at the decision time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PastDecision {
    /// Nothing is raised any more until a person says so.
    Hold,
    /// Everybody goes back.
    #[default]
    Rollback,
}

/// How a rollout over tiers ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Everybody has the new version everywhere.
    Promoted,
    /// Everybody and everything is back.
    RolledBack,
    /// One tier went back alone.
    Stopped {
        /// Which.
        tier: TierName,
    },
}

impl Upgrade {
    pub(super) fn new(id: RolloutId, agreed: &Agreed, at: Timestamp) -> Self {
        let agreed = agreed.clone();
        Self {
            id,
            name: agreed.name,
            targets: agreed.targets,
            salt: agreed.salt,
            items: agreed.items,
            at: 0,
            turn: Turn::Waiting,
            passed: BTreeMap::new(),
            given: BTreeSet::new(),
            on_failure: agreed.on_failure,
            decide_by: agreed.decide_by,
            past_decision: agreed.past_decision,
            no_return: agreed.no_return,
            past_no_return: false,
            paused: false,
            held: None,
            reminded: false,
            overdue: None,
            alarmed: BTreeMap::new(),
            course: Course::Onward,
            still_running: None,
            way_back: agreed.way_back,
            started: at,
            entered: at,
            ended: None,
        }
    }

    /// The item it has come to.
    pub fn item(&self) -> Option<&Item> {
        self.items.get(self.at)
    }

    /// The step whose turn it is.
    pub fn step(&self) -> Option<&Step> {
        match self.item()? {
            Item::Step(step) => Some(step),
            Item::Everybody { .. }
            | Item::Home { .. }
            | Item::Shift(_)
            | Item::Stage { .. }
            | Item::Trial(_) => None,
        }
    }

    /// The step that runs, and which run it is.
    pub fn running(&self) -> Option<(&Step, u32)> {
        match &self.turn {
            Turn::Running { run } => Some((self.step()?, *run)),
            Turn::Approved
            | Turn::Asked
            | Turn::Failed { .. }
            | Turn::Interrupted { .. }
            | Turn::Waiting => None,
        }
    }

    /// Which run of its step is, or was, the last; 0: none.
    fn run(&self) -> u32 {
        match &self.turn {
            Turn::Failed { run, .. } | Turn::Interrupted { run } | Turn::Running { run } => *run,
            Turn::Approved | Turn::Asked | Turn::Waiting => 0,
        }
    }

    /// Whether it moves the instances of `tier`, from which the weight follows.
    pub(super) fn shifts(&self, tier: &TierName) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Shift(shift) if shift.tier == *tier))
    }

    /// Whether it has been taken back.
    pub fn goes_back(&self) -> bool {
        matches!(self.course, Course::Back { .. })
    }

    /// The first item from here on that `wanted` means.
    fn find(&self, wanted: impl Fn(&Item) -> bool) -> Option<usize> {
        (self.at..self.items.len()).find(|index| wanted(&self.items[*index]))
    }

    fn reach(&mut self, index: usize, event: &Event) {
        if index != self.at {
            self.at = index;
            self.entered = event.at;
            self.turn = Turn::Waiting;
        }
    }

    fn reach_step(&mut self, name: &StepName, event: &Event) {
        let named = |item: &Item| matches!(item, Item::Step(step) if step.name == *name);
        if let Some(index) = self.find(named) {
            self.reach(index, event);
        }
    }

    /// Remembers what `event` changes in it. The event is of this rollout.
    pub(super) fn apply(&mut self, event: &Event) {
        match &event.change {
            Change::Advanced { weight, .. } => self.risen(*weight, event),
            Change::Started { plan, .. } => self.risen(plan.first().weight, event),
            Change::Asked { step, .. } => {
                self.reach_step(step, event);
                self.turn = Turn::Asked;
            }
            Change::Approved { step } => self.approved(step, event),
            Change::Froze { .. } => {
                self.held = Some("a person must decide, past the point of no return".into());
                let trial = |workers: &TierName| Some((workers.clone(), self.trial(workers)?.at));
                self.alarmed.extend(event.tier.as_ref().and_then(trial));
            }
            Change::Interrupted { step } => {
                if self.still_running.as_ref() == Some(step) {
                    self.still_running = None;
                } else {
                    self.turn = Turn::Interrupted { run: self.run() };
                }
            }
            Change::Passed { cause, .. } => {
                if let Some(tier) = &event.tier {
                    self.passed.insert(tier.clone(), cause.clone());
                }
            }
            Change::DecisionNears { .. } => self.reminded = true,
            Change::DecisionPassed => {
                self.decide_by = None;
                self.held = Some("its decision time has passed".into());
            }
            Change::Overdue { .. } => self.overdue = Some(self.at),
            Change::Paused => self.paused = true,
            Change::Promoted { .. } => self.given(event),
            Change::Recalled { at, items, .. } => self.recall(*at, items, event),
            Change::Rerouted { items } => self.items.clone_from(items),
            Change::RolledBack { .. } => self.home(event),
            Change::Resumed => {
                self.paused = false;
                self.held = None;
            }
            Change::Shifted { instance, to } => self.shifted(instance, to.as_ref(), event),
            Change::StepBegan { step, run } => {
                self.reach_step(step, event);
                self.turn = Turn::Running { run: *run };
            }
            Change::StepEnded { step, outcome } => self.ended(step, outcome, event),
            Change::StepSkipped { step } => {
                self.reach_step(step, event);
                self.done(step, event);
            }
            Change::Tried { workers, instance, .. } => self.tried(workers, instance, event),
            Change::TurnedBack { cause, items } => self.turn_back(cause, items, event),
            Change::Adopted { .. }
            | Change::Cut
            | Change::Emptied { .. }
            | Change::Held { .. }
            | Change::Moved { .. }
            | Change::Reanalysed { .. }
            | Change::Receding { .. }
            | Change::Closed { .. }
            | Change::Opened { .. }
            | Change::Refused { .. }
            | Change::Replanned { .. }
            | Change::UpgradeStarted { .. }
            | Change::WouldHaveRolledBack { .. } => {}
            Change::UpgradeEnded { ending } => self.ended = Some((ending.clone(), event.at)),
        }
    }

    /// What runs now, or is waited for already, is waited for before anything is undone.
    fn await_running(&mut self) {
        if let Some((step, _)) = self.running() {
            self.still_running = Some(step.name.clone());
        }
    }

    fn turn_back(&mut self, cause: &Blame, items: &[Item], event: &Event) {
        self.await_running();
        self.course = Course::Back { cause: cause.clone() };
        self.ended = None;
        self.items = items.to_vec();
        self.held = None;
        self.paused = false;
        self.decide_by = None;
        self.at = 0;
        self.turn = Turn::Waiting;
        self.entered = event.at;
        self.passed.clear();
    }

    /// Some instances go back alone: a step that runs is waited for.
    fn recall(&mut self, at: usize, items: &[Item], event: &Event) {
        self.await_running();
        self.items = items.to_vec();
        self.at = at;
        self.turn = Turn::Waiting;
        self.entered = event.at;
    }

    /// The jobs of an instance are enough: a person who was waited for has said so.
    fn tried(&mut self, workers: &TierName, instance: &str, event: &Event) {
        let of = |item: &Item| {
            matches!(item, Item::Trial(trial)
                if trial.workers == *workers && trial.instance == instance)
        };
        if let Some(index) = self.find(of) {
            self.held = None;
            self.reach(index + 1, event);
        }
    }

    /// Everybody is back in a tier that waited for an instance.
    fn home(&mut self, event: &Event) {
        let of = |tier: &TierName| event.tier.as_ref() == Some(tier);
        if matches!(self.item(), Some(Item::Home { tier, .. }) if of(tier)) {
            self.reach(self.at + 1, event);
        }
    }

    /// An instance was taken out or in.
    fn shifted(&mut self, instance: &str, to: Option<&Version>, event: &Event) {
        let of = |item: &Item| {
            matches!(item, Item::Shift(shift) if event.tier.as_ref() == Some(&shift.tier)
                && shift.instance == instance && shift.to.as_ref() == to)
        };
        if let Some(index) = self.find(of) {
            self.reach(index + 1, event);
        }
    }

    /// A tier has risen: it has come to the highest stage that is not above it.
    fn risen(&mut self, weight: Weight, event: &Event) {
        let Some(tier) = &event.tier else { return };
        let reached = (self.at..self.items.len()).rev().find(|index| match &self.items[*index] {
            Item::Stage { tiers, stage } => tiers.contains(tier) && stage.weight <= weight,
            Item::Everybody { .. }
            | Item::Home { .. }
            | Item::Shift(_)
            | Item::Step(_)
            | Item::Trial(_) => false,
        });
        // Who rises has left behind what it had passed, also where a step has led to the stage before.
        let is_new = |index: &usize| *index != self.at || self.passed.contains_key(tier);
        if let Some(index) = reached.filter(is_new) {
            self.passed.clear();
            self.reach(index, event);
        }
    }

    /// A tier has the new version: once all have, this item is done.
    fn given(&mut self, event: &Event) {
        let Some(tier) = &event.tier else { return };
        let of_tier =
            |item: &Item| matches!(item, Item::Everybody { tiers } if tiers.contains(tier));
        let Some(index) = self.find(of_tier) else { return };
        self.reach(index, event);
        self.given.insert(tier.clone());
        if self.items[index].tiers().iter().all(|tier| self.given.contains(tier)) {
            self.passed.clear();
            self.reach(index + 1, event);
        }
    }

    fn ended(&mut self, step: &StepName, outcome: &Outcome, event: &Event) {
        if self.still_running.as_ref() == Some(step) {
            self.still_running = None;
            return;
        }
        if self.step().is_none_or(|now| now.name != *step) {
            return;
        }
        if outcome.succeeded() {
            self.done(step, event);
        } else {
            self.turn = Turn::Failed { reason: outcome.why.clone(), run: self.run() };
        }
    }

    fn approved(&mut self, name: &StepName, event: &Event) {
        match self.step() {
            Some(step) if matches!(step.action, Action::Confirm) => self.done(name, event),
            Some(_) | None => self.turn = Turn::Approved,
        }
    }

    fn done(&mut self, step: &StepName, event: &Event) {
        self.past_no_return |= !self.goes_back() && self.no_return.as_ref() == Some(step);
        self.reach(self.at + 1, event);
    }
}

impl Shift {
    /// What happens when its turn has come.
    pub(super) fn change(&self) -> Change {
        Change::Shifted { instance: self.instance.clone(), to: self.to.clone() }
    }
}

impl Item {
    /// The tiers that it raises.
    pub fn tiers(&self) -> &[TierName] {
        match self {
            Self::Everybody { tiers } | Self::Stage { tiers, .. } => tiers,
            Self::Home { .. } | Self::Shift(_) | Self::Step(_) | Self::Trial(_) => &[],
        }
    }
}

/// Writes `web and api: 5% for 1 min`, `web: everybody`, `backup (before rollout, Ada): ...`.
impl fmt::Display for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody { tiers } => write!(out, "{}: everybody", and(tiers)),
            Self::Stage { tiers, stage } => {
                write!(out, "{}: {} for {}", and(tiers), stage.weight, in_words(stage.bake))
            }
            Self::Home { tier, .. } => write!(out, "{tier}: everybody goes back"),
            Self::Shift(shift) => shift.fmt(out),
            Self::Step(step) => step.fmt(out),
            Self::Trial(trial) => trial.fmt(out),
        }
    }
}

/// Writes `api: api-1 gets no more requests`, `api: api-1 gets those of 4.2`.
impl fmt::Display for Shift {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tier, instance, to, .. } = self;
        match to {
            None => write!(out, "{tier}: {instance} gets no more requests"),
            Some(version) => write!(out, "{tier}: {instance} gets those of {version}"),
        }
    }
}

/// `web`, `web and api`, `web, api and admin`.
pub(super) fn and(tiers: &[TierName]) -> String {
    let names: Vec<&str> = tiers.iter().map(TierName::as_str).collect();
    match names.as_slice() {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
