//! The only place that decides.

use std::time::Duration;

use super::caches::emptied;
use super::closure;
use super::command::{Actor, Refusal};
use super::desk::{Desk, listed};
use super::event::{Adoption, Blame, Cause, Change, Event, RolloutId};
use super::facts::{Facts, TierFacts};
use super::input::Input;
use super::plan::{Plan, Stages};
use super::state::{Receding, Rollout, State, Tier};
use super::stepping::{interrupted, step_ended};
use super::trial::jobs_seen;
use super::turning::failed;
use super::upgrade::Target;
use super::upgrading::{of_upgrade, passed, rerouted, ticked};
use crate::analysis::{Verdict, Why};
use crate::time::Timestamp;
use crate::traffic::{Salt, TierName, Version};

/// The longest time over which users go back: a version that may keep them for longer is not rolled
/// back.
pub const ROLLBACK_OVER_MAX: Duration = Duration::from_hours(1);

/// Decides what follows from `input`: the events to remember, in order, or why an order is
/// refused. No event and no refusal: nothing changes.
///
/// # Errors
/// The order cannot be carried out; the text says why and what to do instead.
pub fn step(
    state: &State,
    input: &Input,
    facts: &Facts,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let mut events = match input {
        Input::Command(command) => Desk { state, facts, now, command }.decide()?,
        Input::Due { tier, ordered } => {
            closure::due(state, tier.as_ref(), *ordered, now).into_iter().collect()
        }
        Input::File { reload: true, .. } => {
            may_reload(state, facts)?;
            let rerouted = rerouted(state, facts, now)?;
            read_file(state, facts, None, now).into_iter().chain(rerouted).collect()
        }
        Input::File { journal_lost, .. } => {
            let rerouted = rerouted(state, facts, now).unwrap_or_default();
            let mut events = read_file(state, facts, journal_lost.as_deref(), now);
            events.extend(rerouted);
            events.extend(interrupted(state, facts, now));
            events
        }
        Input::StepEnded { rollout, step, outcome } => {
            step_ended(*rollout, step, outcome, state, facts, now)
        }
        Input::Jobs { workers, rollout, verdict, done, looked } => {
            jobs_seen(workers, *rollout, (verdict, *done, *looked), state, facts, now)
        }
        Input::Tick => ticked(state, facts, now),
        Input::Receded { tier } => receded(state, tier, now).into_iter().collect(),
        Input::Unhealthy { tier, reason } => {
            let blame = Blame::Unhealthy { reason: reason.clone() };
            guard(state, facts, tier, blame, now)
        }
        Input::Verdict { tier, rollout, verdict } => {
            judged(state, facts, tier, *rollout, verdict, now)
        }
    };
    if !events.is_empty() {
        events.extend(emptied(state, &events, facts, now));
    }
    Ok(events)
}

/// An event that Weir decides by itself.
fn by_weir(tier: &TierName, rollout: Option<RolloutId>, change: Change, now: Timestamp) -> Event {
    Event { at: now, by: Actor::weir(), because: None, tier: Some(tier.clone()), rollout, change }
}

/// Nobody is left on the canary: the end of an order that somebody gave before.
fn receded(state: &State, name: &TierName, now: Timestamp) -> Option<Event> {
    let tier = state.tiers.get(name)?;
    let rollout = tier.rollout.as_ref()?;
    let Receding { by, because, .. } = rollout.receding.clone()?;
    let (from, to) = (rollout.release.clone(), tier.stable.clone());
    let change = Change::RolledBack { from, to, cause: Blame::Order, now: false };
    Some(Event { by, because, ..by_weir(name, Some(rollout.id), change, now) })
}

/// A pause stops progress, never the guard: a failing canary is rolled back even while paused.
fn guard(
    state: &State,
    facts: &Facts,
    name: &TierName,
    cause: Blame,
    now: Timestamp,
) -> Vec<Event> {
    let Some(tier) = state.tiers.get(name) else { return vec![] };
    let Some(rollout) = &tier.rollout else { return vec![] };
    // What is left of one that was stopped goes each its own way, but not past its point of no
    // return.
    if let Some(upgrade) = &state.upgrade
        && !facts.observe
        && upgrade.id == rollout.id
        && (upgrade.ended.is_none() || upgrade.past_no_return)
    {
        return failed(upgrade, name, cause, state, facts, now);
    }
    let change = match (facts.observe, rollout.warned) {
        (false, _) => Change::RolledBack {
            from: rollout.release.clone(),
            to: tier.stable.clone(),
            cause,
            now: false,
        },
        (true, false) => Change::WouldHaveRolledBack { cause },
        (true, true) => return vec![],
    };
    vec![by_weir(name, Some(rollout.id), change, now)]
}

fn judged(
    state: &State,
    facts: &Facts,
    name: &TierName,
    id: RolloutId,
    verdict: &Verdict,
    now: Timestamp,
) -> Vec<Event> {
    let Some(tier) = state.tiers.get(name) else { return vec![] };
    let Some(rollout) = tier.rollout.as_ref().filter(|rollout| rollout.id == id) else {
        return vec![];
    };
    let change = match verdict {
        Verdict::Fail { metric, reason } => {
            let cause = Blame::Verdict { metric: metric.clone(), reason: reason.clone() };
            return guard(state, facts, name, cause, now);
        }
        Verdict::Inconclusive { .. } | Verdict::Pass { .. } if rollout.receding.is_some() => {
            return vec![];
        }
        Verdict::Inconclusive { why: Why::Unproven, reason, .. } if !rollout.held => {
            Change::Held { reason: reason.clone() }
        }
        Verdict::Inconclusive { .. } => return vec![],
        Verdict::Pass { .. } if facts.observe || rollout.paused => return vec![],
        Verdict::Pass { .. } if missing_line(name, tier, facts).is_some() => return vec![],
        Verdict::Pass { proven, reason } => {
            let reason = reason.clone();
            let cause = if *proven { Cause::Proven { reason } } else { Cause::Unproven { reason } };
            if of_upgrade(state, name).is_some_and(|upgrade| upgrade.id == id) {
                return passed(name, &cause, state, facts, now);
            }
            onward(tier, rollout, cause)
        }
    };
    vec![by_weir(name, Some(rollout.id), change, now)]
}

/// The next stage, or everybody after the last.
fn onward(tier: &Tier, rollout: &Rollout, cause: Cause) -> Change {
    match rollout.plan.after(rollout.weight) {
        Some(stage) => Change::Advanced { weight: stage.weight, cause },
        None => promoted(tier, rollout, cause),
    }
}

pub(super) fn promoted(tier: &Tier, rollout: &Rollout, cause: Cause) -> Change {
    let (release, replaced) = (rollout.release.clone(), tier.stable.clone());
    Change::Promoted { release, replaced, cause }
}

/// A release in use whose line the file has lost, if there is one: nothing is raised then.
fn missing_line(name: &TierName, tier: &Tier, facts: &Facts) -> Option<Refusal> {
    let in_file = |version: &Version| {
        let named_by_order = tier.addresses.get(version).is_some_and(|known| !known.listed);
        named_by_order || facts.tier(name).is_some_and(|f| f.release(version).is_some())
    };
    let version =
        [Some(&tier.stable), tier.canary()].into_iter().flatten().find(|v| !in_file(v))?.clone();
    Some(Refusal::LineMissing { tier: name.clone(), version })
}

/// A reload is refused whole where the file has lost a line in use, has changed passed stages, or
/// would place the clients of an open rollout anew.
/// A tier that left the file altogether is in nobody's way unless a rollout of it is open.
fn may_reload(state: &State, facts: &Facts) -> Result<(), Refusal> {
    for (name, tier) in &state.tiers {
        let file = facts.tier(name);
        if let Some(refusal) = missing_line(name, tier, facts)
            && (file.is_some() || tier.rollout.is_some())
        {
            return Err(refusal);
        }
        if let Some(instance) = instance_lost(name, tier, state, facts) {
            return Err(Refusal::InstanceLost { tier: name.clone(), instance });
        }
        // What the open rollout has promoted may have to go back, too.
        let of_open = |(_, id): &&(Version, RolloutId)| {
            state.open_upgrade().is_some_and(|upgrade| upgrade.id == *id)
        };
        if tier.previous.as_ref().is_some_and(|previous| of_open(&previous))
            && let Some(refusal) = place_taken(name, tier, facts)
        {
            return Err(refusal);
        }
        if let (Some(file), Some(rollout)) = (file, &tier.rollout)
            && changes_passed_stages(file, rollout, facts)
        {
            return Err(Refusal::PassedStages { tier: name.clone(), weight: rollout.weight });
        }
        if let (Some(file), Some(rollout)) = (file, &tier.rollout)
            && let Some(was) = rollout.other_sticky(&file.sticky)
        {
            let (was, now) = (was.to_owned(), file.sticky.to_string());
            return Err(Refusal::StickyChanged { tier: name.clone(), was, now });
        }
    }
    Ok(())
}

/// An instance that the open rollout moves, on its way or back, and that the file does not have.
fn instance_lost(name: &TierName, tier: &Tier, state: &State, facts: &Facts) -> Option<String> {
    of_upgrade(state, name)?;
    let fleet = facts.upgrade.rolling(name);
    let has = |instance: &&String| fleet.is_some_and(|fleet| fleet.instances.contains(instance));
    tier.instances.keys().find(|instance| !has(instance)).cloned()
}

fn changes_passed_stages(file: &TierFacts, rollout: &Rollout, facts: &Facts) -> bool {
    let Stages::Listed(plan) = &file.stages else { return false };
    // The stages of a tier whose instances are moved follow from those.
    facts.upgrade.rolling(&file.name).is_none() && !plan.agrees_up_to(rollout.weight, &rollout.plan)
}

/// Takes over what the file says: new tiers, moved releases, later stages, patience. At a start
/// the open rollout keeps its plan where the file has changed passed stages.
fn read_file(
    state: &State,
    facts: &Facts,
    journal_lost: Option<&str>,
    now: Timestamp,
) -> Vec<Event> {
    let mut events = Vec::new();
    for file in &facts.tiers {
        let Some(tier) = state.tiers.get(&file.name) else {
            let why = match journal_lost {
                None => Adoption::FirstStart,
                Some(what) => Adoption::Recovered { what: what.into() },
            };
            events.push(by_weir(&file.name, None, adopted(file, why), now));
            continue;
        };
        events.extend(moved(file, tier, now));
        if let Some(rollout) = &tier.rollout {
            events.extend(replanned(file, rollout, facts, now));
        }
    }
    events
}

fn adopted(file: &TierFacts, why: Adoption) -> Change {
    let addresses = file.release(&file.stable).map(|r| r.addresses.clone()).unwrap_or_default();
    Change::Adopted { stable: file.stable.clone(), addresses, why }
}

/// The releases in use that the file has at other addresses than the journal.
fn moved(file: &TierFacts, tier: &Tier, now: Timestamp) -> Vec<Event> {
    let id = tier.rollout.as_ref().map(|rollout| rollout.id);
    let change = |release: &super::ReleaseFacts| {
        let known = tier.addresses.get(&release.version)?;
        let (version, addresses) = (release.version.clone(), release.addresses.clone());
        (known.addresses != addresses).then_some(Change::Moved { version, addresses })
    };
    let changes = file.releases.iter().filter_map(change);
    changes.map(|change| by_weir(&file.name, id, change, now)).collect()
}

fn replanned(file: &TierFacts, rollout: &Rollout, facts: &Facts, now: Timestamp) -> Vec<Event> {
    let mut changes = Vec::new();
    if let Stages::Listed(plan) = &file.stages
        && *plan != rollout.plan
        && facts.upgrade.rolling(&file.name).is_none()
        && !changes_passed_stages(file, rollout, facts)
    {
        changes.push(Change::Replanned { plan: plan.clone() });
    }
    let (old, new) = (&rollout.analysis, &file.analysis);
    if (old.give_up, old.when_unproven) != (new.give_up, new.when_unproven) {
        let (give_up, when_unproven) = (new.give_up, new.when_unproven);
        changes.push(Change::Reanalysed { give_up, when_unproven });
    }
    changes.into_iter().map(|c| by_weir(&file.name, Some(rollout.id), c, now)).collect()
}

/// Raises wait for a confirmed journal and for the lines of the releases in use.
pub(super) fn may_raise(name: &TierName, tier: &Tier, facts: &Facts) -> Result<(), Refusal> {
    if let Some(what) = &tier.unconfirmed {
        let (tier, stable, what) = (name.clone(), tier.stable.clone(), what.clone());
        return Err(Refusal::Unconfirmed { tier, stable, what });
    }
    if let (Some(rollout), Some(_)) = (&tier.rollout, tier.receding()) {
        let (tier, release) = (name.clone(), rollout.release.clone());
        return Err(Refusal::GoingBack { tier, release });
    }
    missing_line(name, tier, facts).map_or(Ok(()), Err)
}

/// What opens a rollout of `target` by `plan`.
pub(super) fn opening(
    name: &TierName,
    tier: &Tier,
    facts: &Facts,
    target: &Target,
    plan: Plan,
    salt: Salt,
) -> Result<Change, Refusal> {
    let unknown = || {
        let known = listed(facts.tiers.iter().map(|facts| &facts.name));
        Refusal::UnknownTier { tier: name.clone(), known }
    };
    let file = facts.tier(name).ok_or_else(unknown)?;
    let release = target.version.clone();
    let line = file.release(&release);
    let listed = target.named.is_empty();
    let (addresses, healthy) = match line {
        Some(line) if listed => (line.addresses.clone(), line.healthy),
        // Whether they answer was asked when they were named.
        Some(_) | None if !listed => (target.named.clone(), true),
        Some(_) | None => {
            let known = self::listed(file.releases.iter().map(|release| &release.version));
            return Err(Refusal::UnknownVersion { tier: name.clone(), version: release, known });
        }
    };
    if !healthy {
        return Err(Refusal::Unhealthy { tier: name.clone(), version: release });
    }
    let attempt = tier.versions.get(&release).map_or(0, |fate| fate.attempts) + 1;
    let analysis = Box::new(file.analysis.clone());
    let sticky = Some(file.sticky.to_string());
    Ok(Change::Started { release, attempt, plan, analysis, salt, addresses, listed, sticky })
}

/// Whether `tier` is one of instances, as the file has it now, of which none has `version`.
pub(super) fn is_gone(name: &TierName, tier: &Tier, version: &Version, facts: &Facts) -> bool {
    facts.upgrade.rolling(name).is_some_and(|fleet| !tier.runs(version, &fleet.instances))
}

/// The version that served before, if it left the file and another release has its address
/// now: whoever went back to it would land on that other release.
pub(super) fn place_taken(name: &TierName, tier: &Tier, facts: &Facts) -> Option<Refusal> {
    if facts.upgrade.rolling(name).is_some() {
        // An instance stays where it is, whatever it runs.
        return None;
    }
    let (previous, _) = tier.previous.as_ref().filter(|_| tier.rollout.is_none())?;
    let file = facts.tier(name).filter(|file| file.release(previous).is_none())?;
    let known = tier.addresses.get(previous)?;
    let (address, now_of) =
        known.addresses.iter().find_map(|address| Some((address, file.at(address)?)))?;
    let (tier, version) = (name.clone(), previous.clone());
    let (address, now_of) = (address.clone(), now_of.clone());
    Some(Refusal::PlaceTaken { tier, version, address, now_of })
}
