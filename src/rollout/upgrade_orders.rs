//! What an operator orders of a rollout over tiers.

use std::collections::BTreeMap;

use super::command::Refusal;
use super::desk::Desk;
use super::event::{Blame, Cause, Change, Event, RolloutId};
use super::facts::Facts;
use super::runbook::{Step, StepName};
use super::shifting::may_leave;
use super::state::{Outcome, State, Tier};
use super::step::{may_raise, opening, promoted};
use super::trial::tried;
use super::turning::{stop, turn_back};
use super::upgrade::{Ending, Item, Shift, Target, Turn, Upgrade};
use super::upgrading::{began, of_upgrade, onward, plan_in, step_before};
use super::wait::Wait;
use crate::traffic::{Address, TierName, Version, Weight};

impl Desk<'_> {
    /// An event of the whole rollout over tiers.
    pub(super) fn whole(&self, id: RolloutId, change: Change) -> Event {
        Event {
            at: self.now,
            by: self.command.by.clone(),
            because: self.command.because.clone(),
            tier: None,
            rollout: Some(id),
            change,
        }
    }

    /// What follows from the order, in the name of who gave it.
    fn in_their_name(&self, events: Vec<Event>) -> Vec<Event> {
        let theirs = |event| {
            let (by, because) = (self.command.by.clone(), self.command.because.clone());
            Event { by, because, ..event }
        };
        events.into_iter().map(theirs).collect()
    }

    /// The open rollout over tiers that an order of `tier`, or of no tier, is about.
    pub(super) fn upgrade(&self, tier: Option<&TierName>) -> Option<&Upgrade> {
        match tier {
            None => self.state.open_upgrade(),
            Some(tier) => of_upgrade(self.state, tier),
        }
    }

    pub(super) fn start_upgrade(
        &self,
        name: Option<&TierName>,
        version: Option<&Version>,
        upstreams: &[Address],
        again: bool,
    ) -> Result<Vec<Event>, Refusal> {
        if let Some(upgrade) = self.state.open_upgrade() {
            let tiers: Vec<String> = upgrade.targets.keys().map(ToString::to_string).collect();
            return Err(Refusal::UpgradeOpen { id: upgrade.id, tiers: tiers.join(", ") });
        }
        let version = self.hop(name, version)?;
        let targets = self.targets(name, version.as_ref(), upstreams, again)?;
        let file = &self.facts.upgrade;
        let agreed = file.agreed(targets, self.facts.salt, self.state, self.facts, self.now);
        if let Some(passed) = agreed.decide_by.filter(|decide_by| *decide_by <= self.now) {
            return Err(Refusal::DecisionPassed { said: file.calendar.zone().say(passed) });
        }
        let id = self.state.latest + 1;
        let mut events = vec![self.whole(id, Change::UpgradeStarted { agreed: Box::new(agreed) })];
        let mut after = self.state.clone();
        after.apply(&events[0]);
        let opened = after.open_upgrade().map(|upgrade| self.follow(upgrade, &after));
        match opened {
            // The first tiers cannot begin: say so now, rather than open what waits for it.
            Some(Err(Wait::Refused(refusal))) => Err(*refusal),
            Some(Ok(next)) => {
                events.extend(next);
                Ok(events)
            }
            Some(Err(_)) | None => Ok(events),
        }
    }

    /// The version that comes next on a chain; none is left out.
    fn hop(
        &self,
        name: Option<&TierName>,
        version: Option<&Version>,
    ) -> Result<Option<Version>, Refusal> {
        let hops = &self.facts.upgrade.hops;
        let Some(next) = climbed(self.state, self.facts, name) else {
            return Ok(version.cloned());
        };
        match (version.and_then(|version| hops.iter().position(|hop| hop == version)), version) {
            (Some(wanted), Some(version)) if wanted > next => {
                Err(Refusal::HopLeftOut { version: version.clone(), next: hops[next].clone() })
            }
            (_, Some(version)) => Ok(Some(version.clone())),
            (_, None) => match hops.get(next) {
                Some(hop) => Ok(Some(hop.clone())),
                None => Err(Refusal::ChainClimbed { last: hops[hops.len() - 1].clone() }),
            },
        }
    }

    fn follow(&self, upgrade: &Upgrade, state: &State) -> Result<Vec<Event>, Wait> {
        Ok(self.in_their_name(onward(upgrade, state, self.facts, self.now)?))
    }

    /// What each tier gets; its upstreams may still be down where its turn comes later.
    fn targets(
        &self,
        name: Option<&TierName>,
        version: Option<&Version>,
        upstreams: &[Address],
        again: bool,
    ) -> Result<BTreeMap<TierName, Target>, Refusal> {
        if let ([_, _, ..], [address, ..], None) = (&self.facts.tiers[..], upstreams, name) {
            return Err(Refusal::UpstreamWithoutTier { address: address.clone() });
        }
        let named = |facts: &&super::TierFacts| name.is_none_or(|name| facts.name == *name);
        if let Some(name) = name {
            self.known(name)?;
        }
        let mut targets = BTreeMap::new();
        let mut nothing = None;
        for facts in self.facts.tiers.iter().filter(named) {
            let tier = self.known(&facts.name)?;
            let target = match self.start_tier(&facts.name, tier, version, upstreams, again) {
                Ok(event) => target(&event.change),
                Err(Refusal::Unhealthy { version, .. }) if upstreams.is_empty() => {
                    Some(Target { version, named: vec![] })
                }
                Err(
                    refusal @ (Refusal::NothingNew { .. }
                    | Refusal::UnknownVersion { .. }
                    | Refusal::AlreadyStable { .. }),
                ) if name.is_none() || again => {
                    nothing = nothing.or(Some(refusal));
                    None
                }
                Err(refusal) => return Err(refusal),
            };
            targets.extend(target.map(|target| (facts.name.clone(), target)));
        }
        if version.is_none() && upstreams.is_empty() {
            self.again(name, again, &mut targets)?;
        }
        match nothing {
            Some(refusal) if targets.is_empty() => Err(refusal),
            _ => Ok(targets),
        }
    }

    /// A tier that has nothing new may have been rolled back from what the others get, or, where
    /// none gets anything, from what it got last: it is tried there again, or the order refused.
    fn again(
        &self,
        name: Option<&TierName>,
        again: bool,
        targets: &mut BTreeMap<TierName, Target>,
    ) -> Result<(), Refusal> {
        let others: Vec<Version> = targets.values().map(|target| target.version.clone()).collect();
        let mut more = Vec::new();
        for facts in self.facts.tiers.iter().filter(|f| name.is_none_or(|name| f.name == *name)) {
            let tier = self.known(&facts.name)?;
            if targets.contains_key(&facts.name) {
                continue;
            }
            let lost = tier.versions.iter().filter(|(version, fate)| {
                fate.outcome == Outcome::RolledBack && facts.release(version).is_some()
            });
            let newest = if others.is_empty() && again {
                lost.max_by_key(|(_, fate)| fate.at)
            } else {
                lost.into_iter().find(|(version, _)| others.contains(version))
            };
            let Some((version, fate)) = newest else { continue };
            if !again {
                let (tier, version) = (facts.name.clone(), version.clone());
                return Err(Refusal::RolledBackBefore { tier, version, why: fate.why.clone() });
            }
            more.push((facts.name.clone(), Target { version: version.clone(), named: vec![] }));
        }
        targets.extend(more);
        Ok(())
    }

    pub(super) fn advance_upgrade(
        &self,
        upgrade: &Upgrade,
        to: Option<Weight>,
    ) -> Result<Vec<Event>, Refusal> {
        if let (Some(Item::Trial(trial)), None) = (upgrade.item(), to) {
            let enough = tried(upgrade, trial, Cause::Order, self.now);
            return Ok(self.in_their_name(vec![enough]));
        }
        // The alarm came between two trials, or after the last: whoever goes on knows it.
        let is_alarmed = upgrade.past_no_return && upgrade.held.is_some() && to.is_none();
        if is_alarmed && upgrade.step().is_some() {
            return Ok(vec![self.whole(upgrade.id, Change::Resumed)]);
        }
        if to.is_none()
            && let Some(next) = self.next(upgrade)?
        {
            return Ok(vec![next]);
        }
        let Some(Item::Stage { tiers, stage }) = upgrade.item() else {
            return Err(first_comes(upgrade));
        };
        if let Some(tier) = tiers.iter().find(|tier| to.is_some() && upgrade.shifts(tier)) {
            return Err(Refusal::ByInstances { tier: tier.clone() });
        }
        let weights = tiers.iter().map(|tier| self.state.weight(tier));
        let weight = weights.min().unwrap_or(Weight::NONE);
        let tier = tiers.first().cloned();
        let to = match (to, tier) {
            (Some(Weight::ALL), Some(tier)) => return Err(Refusal::ToEverybody { tier }),
            (Some(to), Some(tier)) if to <= weight => {
                return Err(Refusal::NotHigher { tier, weight });
            }
            (Some(to), Some(tier)) if weight == Weight::NONE && to < stage.weight => {
                return Err(Refusal::BelowFirstStage { tier, first: stage.weight });
            }
            (Some(to), _) => {
                let beyond = |item: &Item| match item {
                    Item::Stage { stage, .. } => stage.weight > to,
                    Item::Everybody { .. } => true,
                    Item::Home { .. } | Item::Shift(_) | Item::Step(_) | Item::Trial(_) => false,
                };
                if let Some(step) = step_before(upgrade, beyond)
                    && next_stage(upgrade).is_some_and(|next| next <= to)
                {
                    return Err(Refusal::StepBetween { step });
                }
                to
            }
            (None, _) if weight < stage.weight => stage.weight,
            (None, tier) => match upgrade.items.get(upgrade.at + 1) {
                Some(Item::Stage { stage, .. }) => stage.weight,
                Some(Item::Shift(shift)) => {
                    let next = self.shifts(upgrade, shift)?;
                    return Ok(self.enough(upgrade, tiers, next));
                }
                Some(Item::Step(step)) => {
                    let next = self.whole(upgrade.id, began(step));
                    return Ok(self.enough(upgrade, tiers, next));
                }
                Some(Item::Everybody { .. } | Item::Home { .. } | Item::Trial(_)) | None => {
                    let Some(tier) = tier else { return Ok(vec![]) };
                    let target = upgrade.targets.get(&tier);
                    let release = target.map(|target| target.version.clone());
                    return Err(match release {
                        Some(release) => Refusal::LastStage { tier, weight, release },
                        None => self.unknown_tier(&tier),
                    });
                }
            },
        };
        tiers.iter().map(|name| self.raise(upgrade, name, to)).collect()
    }

    fn raise(&self, upgrade: &Upgrade, name: &TierName, to: Weight) -> Result<Event, Refusal> {
        let tier = self.known(name)?;
        may_raise(name, tier, self.facts)?;
        let change = match (&tier.rollout, upgrade.targets.get(name)) {
            (Some(_), _) => Change::Advanced { weight: to, cause: Cause::Order },
            (None, Some(target)) => {
                let plan = plan_in(upgrade, name);
                opening(name, tier, self.facts, target, plan, upgrade.salt)?
            }
            (None, None) => return Err(self.unknown_tier(name)),
        };
        Ok(self.event(name, Some(upgrade.id), change))
    }

    /// A step whose turn has come and that nobody must approve any more, or an instance that is taken
    /// out or in: neither raises anything by itself, and they wait for hours or with `--observe` only.
    fn next(&self, upgrade: &Upgrade) -> Result<Option<Event>, Refusal> {
        let Some(item) = upgrade.item().filter(|_| upgrade.still_running.is_none()) else {
            return Ok(None);
        };
        Ok(match (item, &upgrade.turn) {
            (Item::Shift(shift), _) => Some(self.shifts(upgrade, shift)?),
            (Item::Step(step), Turn::Waiting) => Some(self.whole(upgrade.id, began(step))),
            (Item::Step(step), Turn::Approved) => {
                let begun = Change::StepBegan { step: step.name.clone(), run: 1 };
                Some(self.whole(upgrade.id, begun))
            }
            (
                Item::Step(_),
                Turn::Asked | Turn::Failed { .. } | Turn::Interrupted { .. } | Turn::Running { .. },
            )
            | (
                Item::Everybody { .. } | Item::Home { .. } | Item::Stage { .. } | Item::Trial(_),
                _,
            ) => None,
        })
    }

    fn shifts(&self, upgrade: &Upgrade, shift: &Shift) -> Result<Event, Refusal> {
        may_leave(shift, upgrade, self.state, self.facts, self.now)?;
        Ok(self.event(&shift.tier, Some(upgrade.id), shift.change()))
    }

    /// The stage is enough without a proof; what comes next goes on by itself. Where it was enough
    /// already, and what comes next waits for hours, nobody waits any more.
    fn enough(&self, upgrade: &Upgrade, tiers: &[TierName], next: Event) -> Vec<Event> {
        let left = tiers.iter().filter(|tier| !upgrade.passed.contains_key(*tier));
        let enough = |tier: &TierName| {
            let change = Change::Passed { weight: self.state.weight(tier), cause: Cause::Order };
            self.event(tier, Some(upgrade.id), change)
        };
        let events: Vec<Event> = left.map(enough).collect();
        if events.is_empty() { vec![next] } else { events }
    }

    pub(super) fn promote_upgrade(&self, upgrade: &Upgrade) -> Result<Vec<Event>, Refusal> {
        let Some(Item::Stage { tiers, .. } | Item::Everybody { tiers }) = upgrade.item() else {
            return Err(first_comes(upgrade));
        };
        let everybody = |item: &Item| matches!(item, Item::Everybody { .. });
        let mut between = upgrade.items.iter().skip(upgrade.at).take_while(|item| !everybody(item));
        if let Some(Item::Shift(shift)) = between.find(|item| matches!(item, Item::Shift(_))) {
            return Err(Refusal::ByInstances { tier: shift.tier.clone() });
        }
        if let Some(step) = step_before(upgrade, everybody) {
            return Err(Refusal::StepBetween { step });
        }
        let mut events = Vec::new();
        for name in tiers {
            let tier = self.known(name)?;
            may_raise(name, tier, self.facts)?;
            if let Some(rollout) = &tier.rollout {
                let change = promoted(tier, rollout, Cause::Order);
                events.push(self.event(name, Some(upgrade.id), change));
            }
        }
        if events.is_empty() { Err(Refusal::NoneOpen(String::new())) } else { Ok(events) }
    }

    pub(super) fn approve(&self, name: Option<&StepName>) -> Result<Vec<Event>, Refusal> {
        let (upgrade, step) = self.waiting(name, |turn| matches!(turn, Turn::Asked))?;
        Ok(vec![self.whole(upgrade.id, Change::Approved { step: step.name.clone() })])
    }

    pub(super) fn retry(&self, name: Option<&StepName>) -> Result<Vec<Event>, Refusal> {
        let over = |turn: &Turn| matches!(turn, Turn::Failed { .. } | Turn::Interrupted { .. });
        let (upgrade, step) = self.waiting(name, over)?;
        let run = match &upgrade.turn {
            Turn::Failed { run, .. } | Turn::Interrupted { run } => run.saturating_add(1),
            Turn::Approved | Turn::Asked | Turn::Running { .. } | Turn::Waiting => 1,
        };
        Ok(vec![self.whole(upgrade.id, Change::StepBegan { step: step.name.clone(), run })])
    }

    pub(super) fn skip(&self, name: Option<&StepName>) -> Result<Vec<Event>, Refusal> {
        let idle = |turn: &Turn| !matches!(turn, Turn::Running { .. });
        let (upgrade, step) = self.waiting(name, idle)?;
        Ok(vec![self.whole(upgrade.id, Change::StepSkipped { step: step.name.clone() })])
    }

    /// The step whose turn it is, if it is the one that is meant and stands as `wanted`.
    fn waiting(
        &self,
        name: Option<&StepName>,
        wanted: impl Fn(&Turn) -> bool,
    ) -> Result<(&Upgrade, &Step), Refusal> {
        let none = "no rollout over tiers is open; `weir start` opens one";
        let Some(upgrade) = self.state.open_upgrade() else {
            return Err(Refusal::StepNotWaiting { now: none.into() });
        };
        let meant = upgrade.step().filter(|step| name.is_none_or(|name| step.name == *name));
        if let Some(step) = meant.filter(|_| wanted(&upgrade.turn)) {
            return Ok((upgrade, step));
        }
        let wait = onward(upgrade, self.state, self.facts, self.now).err();
        let now = wait.map_or_else(
            || "the rollout goes on at once".into(),
            |wait| format!("the rollout waits for {wait}"),
        );
        Err(Refusal::StepNotWaiting { now })
    }

    /// The way back of a rollout over tiers. None: the order is about no such rollout.
    pub(super) fn roll_back_upgrade(
        &self,
        name: Option<&TierName>,
        at_once: bool,
        past_no_return: bool,
    ) -> Result<Option<Vec<Event>>, Refusal> {
        let Some(upgrade) = self.state.upgrade.as_ref() else { return Ok(None) };
        let concerned = match &upgrade.ended {
            None => true,
            Some((Ending::Promoted, _)) => {
                upgrade.id == self.state.latest && self.state.open().next().is_none()
            }
            Some((Ending::RolledBack | Ending::Stopped { .. }, _)) => false,
        };
        let named = name.is_none_or(|name| upgrade.targets.contains_key(name));
        if !concerned || !named || (upgrade.goes_back() && upgrade.ended.is_none()) {
            return Ok(None);
        }
        if let Some(name) = name {
            self.known(name)?;
        }
        if upgrade.past_no_return && !past_no_return {
            return Err(past_the_point(upgrade));
        }
        // What workers run goes back with all tiers.
        let alone = name.filter(|_| upgrade.targets.len() > 1 && upgrade.undoing().is_empty());
        let (state, facts) = (self.state, self.facts);
        let events = match alone {
            // It is over: the tier goes back as any other.
            Some(_) if upgrade.ended.is_some() => return Ok(None),
            Some(name) => stop(upgrade, name, &Blame::Order, state, facts, self.now),
            None => turn_back(upgrade, state, facts, &Blame::Order, None, self.now),
        };
        let fell = |event: &Event| {
            if let Change::TurnedBack { items, .. } = &event.change {
                return items.iter().any(|item| matches!(item, Item::Home { .. }));
            }
            matches!(event.change, Change::RolledBack { .. })
        };
        if upgrade.ended.is_some() && !events.iter().any(fell) {
            return Ok(None);
        }
        let mut events = self.in_their_name(events);
        for event in &mut events {
            cut(&mut event.change, at_once);
        }
        // Whatever else is open goes back, too.
        if name.is_none() {
            let others = state.tiers.iter().filter(|(_, tier)| other_rollout(tier, upgrade.id));
            events.extend(others.filter_map(|(name, tier)| self.back(name, tier, at_once, None)));
        }
        Ok(Some(events))
    }

    /// Whether the newest rollout over tiers went back, though nobody had the new version yet.
    pub(super) fn is_back(&self, name: Option<&TierName>) -> bool {
        let upgrade = self.state.upgrade.as_ref().filter(|u| u.id == self.state.latest);
        upgrade.is_some_and(|upgrade| match &upgrade.ended {
            Some((Ending::RolledBack, _)) => {
                name.is_none_or(|name| upgrade.targets.contains_key(name))
            }
            Some((Ending::Stopped { tier }, _)) => name.is_none_or(|name| name == tier),
            Some((Ending::Promoted, _)) => false,
            None => upgrade.goes_back(),
        })
    }
}

/// How many hops of the chain have been climbed, in tier `name` or in all that climb it; none: there
/// is no chain.
pub fn climbed(state: &State, facts: &Facts, name: Option<&TierName>) -> Option<usize> {
    let hops = &facts.upgrade.hops;
    let tiers = state.tiers.iter().filter(|(tier, _)| name.is_none_or(|name| name == *tier));
    let climbed = tiers.filter_map(|(name, tier)| {
        let lists =
            |hop: &&Version| facts.tier(name).is_some_and(|facts| facts.release(hop).is_some());
        // Who serves may stand beside the chain: a patch of a hop, which it was climbed to before.
        let was = |hop: &Version| {
            let outcome = tier.versions.get(hop).map(|fate| fate.outcome);
            matches!(outcome, Some(Outcome::Adopted | Outcome::Promoted))
        };
        let serves = hops.iter().position(|hop| *hop == tier.stable);
        let place = serves.or_else(|| hops.iter().rposition(was));
        // A tier that no hop is of does not climb.
        hops.iter().any(|hop| lists(&hop)).then(|| place.map_or(0, |index| index + 1))
    });
    // A tier that has been left behind comes first.
    climbed.min()
}

/// What stands before anything may rise by an order.
fn first_comes(upgrade: &Upgrade) -> Refusal {
    if let Some(step) = upgrade.still_running.clone() {
        return Refusal::StepBetween { step };
    }
    match upgrade.item() {
        Some(Item::Step(step)) => Refusal::StepBetween { step: step.name.clone() },
        Some(Item::Trial(trial)) => Refusal::JobsBetween { workers: trial.workers.clone() },
        Some(Item::Shift(shift)) => Refusal::ByInstances { tier: shift.tier.clone() },
        Some(Item::Everybody { .. } | Item::Home { .. } | Item::Stage { .. }) | None => {
            Refusal::NoneOpen(String::new())
        }
    }
}

/// Upgraded connections are closed `at_once` with what `change` brings back, also where its users
/// follow later.
fn cut(change: &mut Change, at_once: bool) {
    if let Change::RolledBack { now, .. } = change {
        *now = at_once;
    } else if let Change::TurnedBack { items, .. } = change {
        for item in items {
            if let Item::Home { now, .. } = item {
                *now = at_once;
            }
        }
    }
}

fn past_the_point(upgrade: &Upgrade) -> Refusal {
    let step = upgrade.no_return.as_ref().map(ToString::to_string).unwrap_or_default();
    let versions = upgrade.targets.values().map(|target| target.version.to_string());
    let mut versions: Vec<String> = versions.collect();
    versions.dedup();
    Refusal::PastNoReturn { step, released: versions.join(", ") }
}

fn other_rollout(tier: &Tier, id: RolloutId) -> bool {
    tier.rollout.as_ref().is_some_and(|rollout| rollout.id != id)
}

fn target(change: &Change) -> Option<Target> {
    let Change::Started { release, addresses, listed, .. } = change else { return None };
    let named = if *listed { vec![] } else { addresses.clone() };
    Some(Target { version: release.clone(), named })
}

/// The weight of the next stage after the one it has come to.
fn next_stage(upgrade: &Upgrade) -> Option<Weight> {
    upgrade.items.iter().skip(upgrade.at + 1).find_map(|item| match item {
        Item::Stage { stage, .. } => Some(stage.weight),
        Item::Everybody { .. }
        | Item::Home { .. }
        | Item::Shift(_)
        | Item::Step(_)
        | Item::Trial(_) => None,
    })
}
