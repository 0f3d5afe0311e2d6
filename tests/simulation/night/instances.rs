//! What holds of the instances of tiers with traffic: no user comes to one that is being switched, or
//! to one that runs something else.

use std::collections::BTreeMap;

use weir::rollout::runbook::StepName;
use weir::rollout::{Change, Event, Facts, Item, State, Tier, Upgrade};
use weir::traffic::{TierName, Version, Weight};

use super::laws::{ends_well, switched};

/// What the instances run, as the events of their commands told it.
#[derive(Debug, Default)]
pub struct Runs {
    /// Whether the last switch of an instance brought it back; none: it has not ended, or not well.
    last: BTreeMap<String, Option<bool>>,
}

impl Runs {
    /// `event` happens.
    pub fn hear(&mut self, event: &Event) {
        match &event.change {
            Change::UpgradeStarted { .. } => self.last.clear(),
            Change::StepBegan { step, .. } => {
                self.last.extend(switched(step).map(|(instance, _)| (instance, None)));
            }
            Change::StepEnded { step, .. } | Change::StepSkipped { step } if ends_well(event) => {
                self.last.extend(switched(step).map(|(instance, back)| (instance, Some(back))));
            }
            _ => {}
        }
    }

    /// What holds in every moment, where `olds` served before.
    pub fn hold(&self, state: &State, olds: &BTreeMap<TierName, Version>, facts: &Facts) {
        let Some(upgrade) = &state.upgrade else { return };
        for (name, target) in &upgrade.targets {
            let (Some(old), tier) = (olds.get(name), &state.tiers[name]) else { continue };
            if tier.instances.is_empty() {
                continue;
            }
            let out = tier.instances.values().filter(|has| has.is_none()).count();
            assert!(out < 2, "{out} instances of {name} are out");
            let Some(fleet) = facts.upgrade.rolling(name) else { continue };
            // What is published: the places of the file, each in the release of its version.
            for instance in &fleet.instances {
                // What one is that came to the file after they were moved a person sees to.
                let Some(has) = tier.instances.get(instance) else { continue };
                assert_eq!(tier.version_of(instance), has.as_ref());
                let runs = match self.last.get(&format!("{name}-{instance}")) {
                    None | Some(Some(true)) => Some(old),
                    Some(Some(false)) => Some(&target.version),
                    Some(None) => None,
                };
                if let Some(has) = has {
                    assert_eq!(Some(has), runs, "{instance} of {name} runs what it does not get");
                }
            }
            assert!(tier.runs(&tier.stable, &fleet.instances), "nobody runs what serves in {name}");
            follows(name, tier, upgrade);
            is_out(name, tier, upgrade);
        }
    }
}

/// Never more of the users than of the instances.
fn follows(name: &TierName, tier: &Tier, upgrade: &Upgrade) {
    let Some(rollout) = tier.rollout.as_ref().filter(|rollout| rollout.id == upgrade.id) else {
        return;
    };
    let new = tier.instances.values().filter(|has| has.as_ref() == Some(&rollout.release)).count();
    let share = Weight::basis_points(u16::try_from(10_000 * new / tier.instances.len()).unwrap());
    assert!(rollout.weight <= share.unwrap(), "{name}: {} on {new} instances", rollout.weight);
}

/// While anything is done with an instance it gets no requests.
fn is_out(name: &TierName, tier: &Tier, upgrade: &Upgrade) {
    let running = upgrade.running().map(|(step, _)| &step.name);
    let of =
        |step: &StepName, instance: &str| step.as_str().starts_with(&format!("{name}-{instance}-"));
    for step in running.into_iter().chain(&upgrade.still_running) {
        let mut here = tier.instances.iter().filter(|(instance, _)| of(step, instance));
        let served = here.find(|(_, has)| has.is_some());
        assert_eq!(served, None, "{name}: gets requests during {step}");
    }
}

/// All instances have the version that serves.
pub fn are_one(state: &State, upgrade: &Upgrade, olds: &BTreeMap<TierName, Version>) {
    for name in upgrade.targets.keys().filter(|name| olds.contains_key(*name)) {
        let tier = &state.tiers[name];
        let other = tier.instances.iter().find(|(_, has)| has.as_ref() != Some(&tier.stable));
        assert_eq!(other, None, "{name}: not {}", tier.stable);
    }
}

/// Whether the users of `tier` go back once an instance is back.
pub fn is_later(tier: &TierName, state: &State) -> bool {
    state.open_upgrade().is_some_and(|upgrade| {
        let mut left = upgrade.items.iter().skip(upgrade.at);
        let is_its = |item: &Item| matches!(item, Item::Home { tier: of, .. } if of == tier);
        upgrade.goes_back() && left.any(is_its)
    })
}
