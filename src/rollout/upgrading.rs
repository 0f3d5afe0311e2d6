//! What a rollout over tiers does next, and what it waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::calendar::{Calendar, DecisionTime};
use super::command::{Actor, Refusal};
use super::event::{Blame, Cause, Change, Event, RolloutId};
use super::facts::{Facts, TierFacts};
use super::fleet::Fleet;
use super::plan::{Plan, Stage, Stages};
use super::runbook::{OnRollback, Step, StepName, When};
use super::state::{State, Tier};
use super::step::{may_raise, opening};
use super::trial::{Trial, tried};
use super::turning::turn_back;
use super::upgrade::{Agreed, Ending, Item, PastDecision, Scope, Target, Turn, Upgrade};
use super::wait::{Wait, WayBack};
use super::workers::Workers;
use crate::time::Timestamp;
use crate::traffic::{Salt, TierName, Version};

/// So long before the decision time people are told that it comes.
const REMINDED_BEFORE: Duration = Duration::from_mins(15);

/// What the file says of a rollout over tiers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpgradeFacts {
    /// What it is called.
    pub name: Option<String>,
    /// The tiers in order; those of one step move together. Empty: all at once.
    pub order: Vec<Vec<TierName>>,
    /// The steps of the runbook.
    pub steps: Vec<Step>,
    /// The tiers of workers, whose names are no other tier's.
    pub workers: Vec<Workers>,
    /// The tiers with traffic whose instances are moved one at a time.
    pub rolling: Vec<Fleet>,
    /// How much goes back where one tier fails.
    pub on_failure: Scope,
    /// When it must be decided.
    pub decide_by: Option<DecisionTime>,
    /// What happens then.
    pub past_decision: PastDecision,
    /// The step after which nothing goes back by itself.
    pub no_return: Option<StepName>,
    /// When it may go on by itself.
    pub calendar: Calendar,
    /// The versions to climb, one rollout after the other, none left out. Empty: any.
    pub hops: Vec<Version>,
}

impl UpgradeFacts {
    /// Whether the file asks for more than tiers that go each its own way.
    pub fn is_wanted(&self) -> bool {
        let calendar = !self.calendar.hours.is_empty() || !self.calendar.freeze.is_empty();
        let moved = !self.workers.is_empty() || !self.rolling.is_empty();
        let runbook = !self.steps.is_empty() || moved;
        let agreed = self.name.is_some() || self.decide_by.is_some() || !self.hops.is_empty();
        !self.order.is_empty() || runbook || agreed || calendar
    }

    /// How the instances of `tier` are moved, if it is one with traffic that has some.
    pub fn rolling(&self, tier: &TierName) -> Option<&Fleet> {
        self.rolling.iter().find(|fleet| fleet.name == *tier)
    }

    /// Whether a rollback breaks `step` off.
    pub fn stops(&self, step: &StepName) -> bool {
        let fleets = self.workers.iter().map(|workers| &workers.fleet).chain(&self.rolling);
        let of_file = |line: &Step| line.name == *step && line.on_rollback == OnRollback::Stop;
        self.steps.iter().any(of_file) || fleets.into_iter().any(|fleet| fleet.looks(step))
    }

    /// The order of `tiers`, those that it does not name at its end.
    fn order_of(&self, tiers: &[TierName]) -> Vec<Vec<TierName>> {
        let of = |step: &Vec<TierName>| -> Vec<TierName> {
            step.iter().filter(|tier| tiers.contains(tier)).cloned().collect()
        };
        let mut order: Vec<Vec<TierName>> = self.order.iter().map(of).collect();
        let unnamed = |tier: &&TierName| !self.order.iter().flatten().any(|named| named == *tier);
        order.push(tiers.iter().filter(unnamed).cloned().collect());
        order.retain(|step| !step.is_empty());
        order
    }

    /// The steps of the runbook whose place `is_meant` means.
    fn steps_where(&self, is_meant: impl Fn(&When) -> bool) -> impl Iterator<Item = Item> {
        let meant = self.steps.iter().filter(move |step| is_meant(&step.when));
        meant.map(|step| Item::Step(Box::new(step.clone())))
    }

    /// `item`, and what stands after it where it is a stage.
    fn with_steps(&self, item: Item) -> Vec<Item> {
        let Item::Stage { tiers, stage } = &item else { return vec![item] };
        let is_after = |when: &When| {
            matches!(when, When::AfterStage { weight, tier }
                if *weight == stage.weight && tier.as_ref().is_none_or(|tier| tiers.contains(tier)))
        };
        let after: Vec<Item> = self.steps_where(is_after).collect();
        [item].into_iter().chain(after).collect()
    }

    /// What is done to bring `targets` to everybody, tiers that move together by one `plan`.
    fn items(
        &self,
        targets: &BTreeMap<TierName, Target>,
        plan: impl Fn(&[TierName]) -> Plan,
        state: &State,
    ) -> Vec<Item> {
        let workers = self.workers.iter().filter(|workers| targets.contains_key(&workers.follows));
        let names: Vec<TierName> =
            targets.keys().chain(workers.map(Workers::name)).cloned().collect();
        let mut hops: Vec<&Version> = targets.values().map(|target| &target.version).collect();
        hops.sort();
        hops.dedup();
        let mut items = Vec::new();
        let add = |items: &mut Vec<Item>, when: &When| {
            items.extend(self.steps_where(|place| place == when));
        };
        for hop in &hops {
            add(&mut items, &When::BeforeHop((*hop).clone()));
        }
        add(&mut items, &When::BeforeRollout);
        for group in self.order_of(&names) {
            let is_split =
                |name: &TierName| targets.contains_key(name) && self.rolling(name).is_none();
            let (tiers, fleets): (Vec<TierName>, Vec<TierName>) =
                group.into_iter().partition(is_split);
            for tier in &tiers {
                add(&mut items, &When::BeforeTier(tier.clone()));
            }
            if !tiers.is_empty() {
                let plan = plan(&tiers);
                let item = |stage: &Stage| Item::Stage { tiers: tiers.clone(), stage: *stage };
                let stages = plan.stages().iter().map(item);
                items.extend(stages.flat_map(|stage| self.with_steps(stage)));
                items.push(Item::Everybody { tiers: tiers.clone() });
            }
            for tier in tiers {
                add(&mut items, &When::AfterTier(tier));
            }
            for name in fleets {
                add(&mut items, &When::BeforeTier(name.clone()));
                let moves = self.moves(&name, targets, state).into_iter();
                items.extend(moves.flat_map(|item| self.with_steps(item)));
                add(&mut items, &When::AfterTier(name));
            }
        }
        add(&mut items, &When::AfterRollout);
        for hop in &hops {
            add(&mut items, &When::AfterHop((*hop).clone()));
        }
        items
    }

    /// What brings the instances of `name` to the version that it gets, or the tier that they follow.
    fn moves(
        &self,
        name: &TierName,
        targets: &BTreeMap<TierName, Target>,
        state: &State,
    ) -> Vec<Item> {
        if let (Some(fleet), Some(target)) = (self.rolling(name), targets.get(name)) {
            let old = replaced(state, name, &target.version);
            return old.map(|old| fleet.rolled(old, &target.version)).unwrap_or_default();
        }
        let workers = self.workers.iter().find(|workers| workers.name() == name);
        let moves = workers.and_then(|workers| {
            let new = &targets.get(&workers.follows)?.version;
            Some(workers.moves(replaced(state, &workers.follows, new), new))
        });
        moves.unwrap_or_default()
    }

    /// What is agreed on when `targets` are opened at `now`.
    pub(super) fn agreed(
        &self,
        targets: BTreeMap<TierName, Target>,
        salt: Salt,
        state: &State,
        facts: &Facts,
        now: Timestamp,
    ) -> Agreed {
        let back = self.steps.iter().filter(|step| step.when == When::OnRollback);
        let decide_by = self.decide_by.as_ref();
        Agreed {
            name: self.name.clone(),
            items: self.items(&targets, |tiers| plan_of(tiers, facts), state),
            targets,
            salt,
            way_back: back.cloned().collect(),
            on_failure: self.on_failure,
            decide_by: decide_by.and_then(|time| time.after(now, self.calendar.zone())),
            past_decision: self.past_decision,
            no_return: self.no_return.clone(),
        }
    }
}

/// The version of tier `name` whose place `new` takes, or took.
fn replaced<'a>(state: &'a State, name: &TierName, new: &Version) -> Option<&'a Version> {
    let tier = state.tiers.get(name)?;
    if tier.stable != *new {
        return Some(&tier.stable);
    }
    tier.previous.as_ref().map(|(version, _)| version)
}

/// The plan of tiers that move together; the file was refused where theirs differ. `auto` goes by
/// the one with the least traffic.
fn plan_of(names: &[TierName], facts: &Facts) -> Plan {
    let tiers: Vec<&TierFacts> = names.iter().filter_map(|name| facts.tier(name)).collect();
    let listed = tiers.iter().find_map(|tier| match &tier.stages {
        Stages::Auto => None,
        Stages::Listed(plan) => Some(plan.clone()),
    });
    listed.unwrap_or_else(|| {
        let least = tiers.iter().filter_map(|tier| tier.rate).min_by(f64::total_cmp);
        Plan::auto(least)
    })
}

/// What follows for the open rollout over tiers, and what it waits for where nothing does.
///
/// # Errors
/// What it waits for.
pub(super) fn onward(
    upgrade: &Upgrade,
    state: &State,
    facts: &Facts,
    now: Timestamp,
) -> Result<Vec<Event>, Wait> {
    Road { upgrade, state, facts, now }.next()
}

/// What the open rollout over tiers waits for; none: none is open, or it goes on at once.
pub fn waits_for(state: &State, facts: &Facts, now: Timestamp) -> Option<Wait> {
    onward(state.open_upgrade()?, state, facts, now).err()
}

/// An open rollout over tiers, and what is true when it is decided how it goes on.
pub(super) struct Road<'a> {
    pub(super) upgrade: &'a Upgrade,
    pub(super) state: &'a State,
    pub(super) facts: &'a Facts,
    pub(super) now: Timestamp,
}

impl Road<'_> {
    fn next(&self) -> Result<Vec<Event>, Wait> {
        let at = self.upgrade.at;
        if let Some(step) = &self.upgrade.still_running {
            return Err(Wait::Running { step: step.clone() });
        }
        match self.upgrade.item() {
            Some(Item::Step(step)) => self.step(step),
            Some(Item::Trial(trial)) => self.trial(trial),
            Some(Item::Stage { tiers, stage }) if self.is_entered(tiers, *stage) => {
                let left = tiers.iter().filter(|tier| !self.upgrade.passed.contains_key(tier));
                let tiers: Vec<TierName> = left.cloned().collect();
                if tiers.is_empty() {
                    return self.begin(at + 1);
                }
                self.is_free()?;
                self.none_is_paused(&tiers)?;
                Err(Wait::Proof { tiers })
            }
            Some(
                Item::Everybody { .. } | Item::Home { .. } | Item::Shift(_) | Item::Stage { .. },
            )
            | None => self.begin(at),
        }
    }

    fn is_entered(&self, tiers: &[TierName], stage: Stage) -> bool {
        tiers.iter().all(|tier| self.state.weight(tier) >= stage.weight)
    }

    fn step(&self, step: &Step) -> Result<Vec<Event>, Wait> {
        let name = step.name.clone();
        match &self.upgrade.turn {
            Turn::Approved => {
                self.may_go_on(self.upgrade.at)?;
                Ok(vec![self.event(Change::StepBegan { step: name, run: 1 })])
            }
            Turn::Asked => {
                let question = step.confirm.clone().unwrap_or_default();
                Err(Wait::Answer { step: name, question })
            }
            Turn::Failed { reason, .. } => {
                let (reason, back) = (reason.clone(), self.way_back());
                Err(Wait::Failed { step: name, reason, back })
            }
            Turn::Interrupted { .. } => {
                Err(Wait::Interrupted { step: name, back: self.way_back() })
            }
            Turn::Running { .. } => Err(Wait::Running { step: name }),
            Turn::Waiting => self.begin(self.upgrade.at),
        }
    }

    pub(super) fn begin(&self, index: usize) -> Result<Vec<Event>, Wait> {
        let Some(item) = self.upgrade.items.get(index) else {
            let back = self.upgrade.goes_back();
            let ending = if back { Ending::RolledBack } else { Ending::Promoted };
            return Ok(vec![self.event(Change::UpgradeEnded { ending })]);
        };
        self.may_go_on(index)?;
        self.none_is_paused(item.tiers())?;
        match item {
            Item::Home { tier, now } => self.home(tier, *now, index),
            Item::Shift(shift) => self.shift(shift),
            Item::Everybody { tiers } => {
                let left = tiers.iter().filter(|tier| !self.upgrade.given.contains(*tier));
                left.map(|tier| self.promote(tier)).collect()
            }
            Item::Stage { tiers, stage } => {
                let below = tiers.iter().filter(|tier| self.state.weight(tier) < stage.weight);
                below.map(|tier| self.raise(tier, *stage)).collect()
            }
            Item::Step(step) => Ok(vec![self.event(began(step))]),
            Item::Trial(trial) => self.trial(trial),
        }
    }

    fn trial(&self, trial: &Trial) -> Result<Vec<Event>, Wait> {
        self.is_free()?;
        let file = &self.facts.upgrade.workers;
        if !file.iter().any(|one| *one.name() == trial.workers && one.jobs.is_some()) {
            // After a way back such a file is taken over; nobody would ever look.
            let reason = "the file has them not judged any more".to_owned();
            return Ok(vec![tried(self.upgrade, trial, Cause::Unproven { reason }, self.now)]);
        }
        let (workers, instance) = (trial.workers.clone(), trial.instance.clone());
        Err(Wait::Jobs { workers, instance })
    }

    fn way_back(&self) -> WayBack {
        match (self.upgrade.goes_back(), self.upgrade.past_no_return) {
            (true, _) => WayBack::Going,
            (false, false) => WayBack::Open,
            (false, true) => WayBack::PastNoReturn,
        }
    }

    /// Whether no person's word is waited for.
    pub(super) fn is_free(&self) -> Result<(), Wait> {
        match &self.upgrade.held {
            Some(why) => Err(Wait::Held { why: why.clone(), back: self.way_back() }),
            None if self.upgrade.paused => Err(Wait::Paused),
            None => Ok(()),
        }
    }

    /// Those of one step move together: the pause of one is that of all.
    pub(super) fn none_is_paused(&self, tiers: &[TierName]) -> Result<(), Wait> {
        let rollout = |tier| self.state.tiers.get(tier)?.rollout.as_ref();
        let paused = tiers.iter().filter_map(rollout).any(|rollout| rollout.paused);
        if paused { Err(Wait::Paused) } else { Ok(()) }
    }

    /// Whether an instance is out, or has a version that nobody is sent to it for, until the item at
    /// `index` is done. Its users are with the others: that is no state to wait in.
    fn is_between(&self, index: usize) -> bool {
        let item = |index: usize| self.upgrade.items.get(index);
        let before = index.checked_sub(1).and_then(item);
        self.state.tiers.values().any(Tier::is_moving)
            || matches!((before, item(index)), (Some(Item::Shift(_)), Some(Item::Stage { .. })))
            || matches!((before, item(index)), (Some(Item::Everybody { .. }), Some(Item::Shift(_))))
    }

    /// Whether the item at `index` may begin by itself now. On the way back nothing is waited for,
    /// also where some instances go back alone.
    fn may_go_on(&self, index: usize) -> Result<(), Wait> {
        if self.upgrade.undoes() {
            return Ok(());
        }
        if self.facts.observe {
            return Err(Wait::Observing);
        }
        if self.state.tiers.values().any(Tier::is_moving) {
            return Ok(());
        }
        self.is_free()?;
        let calendar = &self.facts.upgrade.calendar;
        if self.is_between(index) || calendar.is_open(self.now) {
            return Ok(());
        }
        let until = calendar.opens_after(self.now);
        let said = until.map(|until| calendar.zone().say(until)).unwrap_or_default();
        Err(Wait::Hours { until, said })
    }

    fn raise(&self, name: &TierName, stage: Stage) -> Result<Event, Wait> {
        let tier = self.tier(name)?;
        may_raise(name, tier, self.facts).map_err(refused)?;
        if tier.rollout.is_some() {
            let cause = self.ground(name);
            return Ok(self.of_tier(name, Change::Advanced { weight: stage.weight, cause }));
        }
        let Some(target) = self.upgrade.targets.get(name) else {
            return Err(self.unknown(name));
        };
        let plan = plan_in(self.upgrade, name);
        let salt = self.upgrade.salt;
        let change = opening(name, tier, self.facts, target, plan, salt).map_err(refused)?;
        Ok(self.of_tier(name, change))
    }

    fn promote(&self, name: &TierName) -> Result<Event, Wait> {
        let tier = self.tier(name)?;
        may_raise(name, tier, self.facts).map_err(refused)?;
        let Some(rollout) = &tier.rollout else { return Err(self.unknown(name)) };
        let (release, replaced) = (rollout.release.clone(), tier.stable.clone());
        let change = Change::Promoted { release, replaced, cause: self.ground(name) };
        Ok(self.of_tier(name, change))
    }

    fn ground(&self, name: &TierName) -> Cause {
        self.upgrade.passed.get(name).cloned().unwrap_or(Cause::Order)
    }

    pub(super) fn tier(&self, name: &TierName) -> Result<&Tier, Wait> {
        self.state.tiers.get(name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &TierName) -> Wait {
        let known: Vec<String> = self.facts.tiers.iter().map(|t| t.name.to_string()).collect();
        refused(Refusal::UnknownTier { tier: name.clone(), known: known.join(", ") })
    }

    fn event(&self, change: Change) -> Event {
        whole(self.upgrade.id, change, self.now)
    }

    pub(super) fn of_tier(&self, name: &TierName, change: Change) -> Event {
        Event { tier: Some(name.clone()), ..self.event(change) }
    }
}

/// The stages of `name` as `upgrade` has them.
pub(super) fn plan_in(upgrade: &Upgrade, name: &TierName) -> Plan {
    let stage = |item: &Item| match item {
        Item::Stage { tiers, stage } if tiers.contains(name) => Some(*stage),
        Item::Everybody { .. }
        | Item::Home { .. }
        | Item::Shift(_)
        | Item::Stage { .. }
        | Item::Step(_)
        | Item::Trial(_) => None,
    };
    let stages = upgrade.items.iter().filter_map(stage).collect();
    Plan::new(stages).unwrap_or_else(|_| Plan::auto(None))
}

fn refused(refusal: Refusal) -> Wait {
    Wait::Refused(Box::new(refusal))
}

/// What happens when the turn of `step` has come.
pub(super) fn began(step: &Step) -> Change {
    let name = step.name.clone();
    match &step.confirm {
        Some(question) => Change::Asked { step: name, question: question.clone() },
        None => Change::StepBegan { step: name, run: 1 },
    }
}

/// An event of the whole rollout over tiers that Weir decides by itself.
pub(super) fn whole(id: RolloutId, change: Change, now: Timestamp) -> Event {
    let (by, because, tier, rollout) = (Actor::weir(), None, None, Some(id));
    Event { at: now, by, because, tier, rollout, change }
}

/// Time has passed.
pub(super) fn ticked(state: &State, facts: &Facts, now: Timestamp) -> Vec<Event> {
    let Some(upgrade) = state.open_upgrade() else { return vec![] };
    let decide_by = upgrade.decide_by.filter(|_| !facts.observe && !is_decided(upgrade));
    let past = match upgrade.past_decision {
        PastDecision::Rollback if !upgrade.past_no_return => PastDecision::Rollback,
        PastDecision::Hold | PastDecision::Rollback => PastDecision::Hold,
    };
    let Some(decide_by) = decide_by else {
        return onward(upgrade, state, facts, now).unwrap_or_default();
    };
    let left = decide_by.since(now);
    if left.is_zero() {
        return match past {
            PastDecision::Rollback => {
                turn_back(upgrade, state, facts, &Blame::DecisionTime, None, now)
            }
            PastDecision::Hold => vec![whole(upgrade.id, Change::DecisionPassed, now)],
        };
    }
    // Who opened it later than that knows.
    let is_old = decide_by.since(upgrade.started) > REMINDED_BEFORE;
    if left <= REMINDED_BEFORE && is_old && !upgrade.reminded && !upgrade.goes_back() {
        let said = facts.upgrade.calendar.zone().say(decide_by);
        return vec![whole(upgrade.id, Change::DecisionNears { said, past }, now)];
    }
    onward(upgrade, state, facts, now).unwrap_or_default()
}

/// Whether everybody and all workers have the new version, and only steps are left.
fn is_decided(upgrade: &Upgrade) -> bool {
    let is_after = |item: &Item| match item {
        Item::Step(step) => !matches!(step.when, When::InTier(_) | When::OnRollback),
        Item::Everybody { .. }
        | Item::Home { .. }
        | Item::Shift(_)
        | Item::Stage { .. }
        | Item::Trial(_) => false,
    };
    !upgrade.goes_back() && upgrade.items.iter().skip(upgrade.at).all(is_after)
}

/// A tier is proven at its weight. None: it is in no open rollout over tiers, or has no part in
/// the stage that this has come to.
pub(super) fn passed(
    name: &TierName,
    cause: &Cause,
    state: &State,
    facts: &Facts,
    now: Timestamp,
) -> Vec<Event> {
    let Some(upgrade) = state.open_upgrade() else { return vec![] };
    let Some(Item::Stage { tiers, .. }) = upgrade.item() else { return vec![] };
    if !tiers.contains(name) || upgrade.passed.contains_key(name) {
        return vec![];
    }
    let change = Change::Passed { weight: state.weight(name), cause: cause.clone() };
    let event = Event { tier: Some(name.clone()), ..whole(upgrade.id, change, now) };
    let mut after = state.clone();
    after.apply(&event);
    let raises =
        |event: &Event| matches!(event.change, Change::Advanced { .. } | Change::Promoted { .. });
    let next = ticked(&after, facts, now);
    // Where it rises at once, what it has passed stands in that event.
    if next.iter().any(raises) && tiers.len() == 1 { next } else { vec![event] }
}

/// Whether `tier` belongs to the open rollout over tiers.
pub(super) fn of_upgrade<'a>(state: &'a State, tier: &TierName) -> Option<&'a Upgrade> {
    state.open_upgrade().filter(|upgrade| upgrade.targets.contains_key(tier))
}

/// What the file says now of what is still to come, where that has changed.
///
/// # Errors
/// It changes what was done already.
pub(super) fn rerouted(
    state: &State,
    facts: &Facts,
    now: Timestamp,
) -> Result<Option<Event>, Refusal> {
    // Where workers were taken back the list is no longer that of any file.
    let stays = |upgrade: &&Upgrade| !upgrade.goes_back() && !upgrade.has_recalled();
    let Some(upgrade) = state.open_upgrade().filter(stays) else {
        return Ok(None);
    };
    let Some(items) = listed(upgrade, state, facts) else { return Ok(None) };
    if items == upgrade.items {
        return Ok(None);
    }
    let done = (upgrade.at + 1).min(upgrade.items.len());
    if items.get(..done) != Some(&upgrade.items[..done]) {
        let what = upgrade.item().map_or_else(|| "the end".into(), ToString::to_string);
        return Err(Refusal::PassedItems { what });
    }
    Ok(Some(whole(upgrade.id, Change::Rerouted { items }, now)))
}

/// What the file says now of what `upgrade` does.
fn listed(upgrade: &Upgrade, state: &State, facts: &Facts) -> Option<Vec<Item>> {
    if !upgrade.targets.keys().any(|name| facts.tier(name).is_some()) {
        return None;
    }
    // What was made of the traffic at the start stays.
    let plan = |tiers: &[TierName]| match tiers.iter().find_map(|name| facts.tier(name)) {
        Some(tier) if matches!(tier.stages, Stages::Auto) => plan_in(upgrade, &tier.name),
        Some(_) | None => plan_of(tiers, facts),
    };
    Some(facts.upgrade.items(&upgrade.targets, plan, state))
}

/// That the file says something else of what is still to come and nobody follows it, in a sentence.
pub fn unheeded(state: &State, facts: &Facts) -> Option<String> {
    let upgrade = state.open_upgrade().filter(|upgrade| upgrade.has_recalled())?;
    let shifted = |item: &Item| matches!(item, Item::Shift(shift) if shift.back);
    let who = if upgrade.items.iter().any(shifted) { "instances" } else { "workers" };
    (listed(upgrade, state, facts)? != upgrade.agreed()).then(|| {
        format!(
            "rollout {}: {who} were taken back, so what is still to come stays as it was agreed \
             on; what the file says of it now is for the next rollout",
            upgrade.id
        )
    })
}

/// The step that stands between the item it has come to and one that `wanted` means.
pub(super) fn step_before(upgrade: &Upgrade, wanted: impl Fn(&Item) -> bool) -> Option<StepName> {
    let rest = upgrade.items.iter().skip(upgrade.at);
    rest.skip(1).take_while(|item| !wanted(item)).find_map(|item| match item {
        Item::Step(step) => Some(step.name.clone()),
        Item::Everybody { .. }
        | Item::Home { .. }
        | Item::Shift(_)
        | Item::Stage { .. }
        | Item::Trial(_) => None,
    })
}
