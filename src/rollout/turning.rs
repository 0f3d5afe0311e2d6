//! How a rollout over tiers goes back: users first, then what was done beside the weights.

use super::event::{Blame, Change, Event, RolloutId};
use super::facts::Facts;
use super::runbook::Step;
use super::state::State;
use super::step::{is_gone, place_taken};
use super::upgrade::{Ending, Item, Scope, Upgrade};
use super::upgrading::whole;
use crate::time::Timestamp;
use crate::traffic::TierName;

/// A tier has failed.
pub(super) fn failed(
    upgrade: &Upgrade,
    name: &TierName,
    cause: Blame,
    state: &State,
    facts: &Facts,
    now: Timestamp,
) -> Vec<Event> {
    if upgrade.past_no_return {
        let frozen = upgrade.held.is_some();
        let change = Change::Froze { cause };
        let event = Event { tier: Some(name.clone()), ..whole(upgrade.id, change, now) };
        return if frozen { vec![] } else { vec![event] };
    }
    match upgrade.on_failure {
        Scope::Rollout => turn_back(upgrade, state, facts, &cause, Some(name), now),
        // What workers run goes back with all tiers: it must fit them.
        Scope::Tier if !upgrade.undoing().is_empty() => {
            turn_back(upgrade, state, facts, &cause, Some(name), now)
        }
        Scope::Tier => stop(upgrade, name, &cause, state, facts, now),
    }
}

/// Everybody back, in all tiers that `upgrade` has touched, the last one first; then what is done
/// on the way back.
pub(super) fn turn_back(
    upgrade: &Upgrade,
    state: &State,
    facts: &Facts,
    cause: &Blame,
    failed: Option<&TierName>,
    now: Timestamp,
) -> Vec<Event> {
    // On the way back the items are steps alone: then any order of the tiers is as good.
    let mut touched: Vec<&TierName> = Vec::new();
    let in_order = upgrade.items.iter().flat_map(Item::tiers);
    in_order.chain(upgrade.targets.keys()).for_each(|tier| {
        if !touched.contains(&tier) {
            touched.push(tier);
        }
    });
    let (mut events, mut later): (Vec<Event>, Vec<TierName>) = (Vec::new(), Vec::new());
    for name in touched.into_iter().rev() {
        match falls(name, upgrade.id, state, facts, &blame(cause, failed, name)) {
            Fall::AtOnce(change) => {
                let tier = Some(name.clone());
                events.push(Event { tier, ..whole(upgrade.id, change, now) });
            }
            Fall::Later => later.push(name.clone()),
            Fall::Not => {}
        }
    }
    if upgrade.goes_back() && upgrade.ended.is_none() {
        return events;
    }
    let items = way_back(upgrade, later, state, facts);
    let runs = upgrade.running().is_some() || upgrade.still_running.is_some();
    let nothing_left = items.is_empty() && !runs;
    events.push(whole(upgrade.id, Change::TurnedBack { cause: cause.clone(), items }, now));
    if nothing_left {
        events.pop();
        let ending = Ending::RolledBack;
        events.push(whole(upgrade.id, Change::UpgradeEnded { ending }, now));
    }
    events
}

/// What is done on the way back, beside the weights that fall at once. Where no instance of a tier
/// has the version before, one is brought back first and its users follow: those of `later`.
fn way_back(upgrade: &Upgrade, later: Vec<TierName>, state: &State, facts: &Facts) -> Vec<Item> {
    let (mut first, mut undoing) = (Vec::new(), upgrade.undoing());
    undoing.retain(|(tier, _)| upgrade.ended.is_none() || is_left(tier, upgrade.id, state, facts));
    undoing.retain(|(_, items)| is_known(items, facts));
    for tier in later {
        if let Some(place) = undoing.iter().position(|(of, _)| *of == tier) {
            first.extend(undoing.remove(place).1);
            first.push(Item::Home { tier, now: false });
        }
    }
    let rest = undoing.into_iter().flat_map(|(_, items)| items);
    let steps = steps_back(upgrade).into_iter().map(|step| Item::Step(Box::new(step.clone())));
    first.into_iter().chain(rest).chain(steps).collect()
}

/// Whether the file has the instance that `items` take back: nobody is sent to another.
fn is_known(items: &[Item], facts: &Facts) -> bool {
    let Some(Item::Shift(shift)) = items.last() else { return true };
    let fleet = facts.upgrade.rolling(&shift.tier);
    fleet.is_some_and(|fleet| fleet.instances.contains(&shift.instance))
}

/// Whether `name`, or the tier that it follows, still is as rollout `id` left it: one that was adopted
/// since has an origin of its own, and of instances that were renamed nobody knows what they run.
fn is_left(name: &TierName, id: RolloutId, state: &State, facts: &Facts) -> bool {
    let mut workers = facts.upgrade.workers.iter();
    let name = workers.find(|one| one.name() == name).map_or(name, |one| &one.follows);
    let Some(tier) = state.tiers.get(name) else { return false };
    let fleet = facts.upgrade.rolling(name);
    let mut moved = tier.instances.keys();
    moved.all(|instance| fleet.is_some_and(|fleet| fleet.instances.contains(instance)))
        && tier.previous.as_ref().is_some_and(|(_, of)| *of == id)
}

/// The steps of the way back: what undoes those that have begun, the last one first, and then the
/// others, in the order of the file.
fn steps_back(upgrade: &Upgrade) -> Vec<&Step> {
    let mut steps: Vec<&Step> = Vec::new();
    for item in upgrade.items.iter().take(upgrade.begun()).rev() {
        let Item::Step(begun) = item else { continue };
        let undoes = |step: &&Step| step.undoes.as_ref() == Some(&begun.name);
        for step in upgrade.way_back.iter().filter(undoes) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
    }
    steps.extend(upgrade.way_back.iter().filter(|step| step.undoes.is_none()));
    steps
}

/// How a tier goes back.
pub(super) enum Fall {
    /// At once.
    AtOnce(Change),
    /// Once one of its instances has the version before again.
    Later,
    /// It is there.
    Not,
}

/// How `name` goes back, if rollout `id` has brought it anywhere.
pub(super) fn falls(
    name: &TierName,
    id: RolloutId,
    state: &State,
    facts: &Facts,
    cause: &Blame,
) -> Fall {
    let Some(tier) = state.tiers.get(name) else { return Fall::Not };
    if place_taken(name, tier, facts).is_some() {
        return Fall::Not;
    }
    let (from, to) = match (&tier.rollout, &tier.previous) {
        (Some(rollout), _) if rollout.id == id => (&rollout.release, &tier.stable),
        (None, Some((previous, of))) if *of == id => (&tier.stable, previous),
        (Some(_) | None, _) => return Fall::Not,
    };
    if is_gone(name, tier, to, facts) {
        return Fall::Later;
    }
    let (from, to) = (from.clone(), to.clone());
    Fall::AtOnce(Change::RolledBack { from, to, cause: cause.clone(), now: false })
}

/// The tier that failed goes back for its own reason, the others together with it.
fn blame(cause: &Blame, failed: Option<&TierName>, name: &TierName) -> Blame {
    match (cause, failed) {
        (Blame::Unhealthy { reason } | Blame::Verdict { reason, .. }, Some(failed))
            if failed != name =>
        {
            Blame::Together { tier: failed.clone(), reason: reason.clone() }
        }
        _ => cause.clone(),
    }
}

/// One tier back; the rollout over tiers ends there, and nothing of it rises any more by itself.
pub(super) fn stop(
    upgrade: &Upgrade,
    name: &TierName,
    cause: &Blame,
    state: &State,
    facts: &Facts,
    now: Timestamp,
) -> Vec<Event> {
    let of_tier = |tier: &TierName, change| Event {
        tier: Some(tier.clone()),
        ..whole(upgrade.id, change, now)
    };
    let back = match falls(name, upgrade.id, state, facts, cause) {
        Fall::AtOnce(change) => Some(of_tier(name, change)),
        Fall::Later | Fall::Not => None,
    };
    let others = state.open().filter(|(other, _, rollout)| {
        rollout.id == upgrade.id && *other != name && !rollout.paused
    });
    let mut events: Vec<Event> = back.into_iter().collect();
    events.extend(others.map(|(other, ..)| of_tier(other, Change::Paused)));
    let ending = Ending::Stopped { tier: name.clone() };
    events.push(whole(upgrade.id, Change::UpgradeEnded { ending }, now));
    events
}
