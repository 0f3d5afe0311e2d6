//! What holds in every moment of a rollout over tiers.

use std::collections::{BTreeMap, BTreeSet};

use weir::analysis::Verdict;
use weir::rollout::runbook::{
    Action, Ending as StepEnding, OnFailure, OnInterrupt, Step, StepName, When,
};
use weir::rollout::{
    Actor, Change, Command, Direction, Ending, Event, Facts, Input, Item, Order, RolloutId, Scope,
    Shift, State, Upgrade, Wait, step, waits_for,
};
use weir::time::Timestamp;
use weir::traffic::{TierName, Version, Weight};

use super::instances::{Runs, are_one, is_later};
use super::{ordered, outcome};

/// What the events told, kept apart from what the program makes of them.
#[derive(Debug, Default)]
pub struct Told {
    /// Who served before the rollout over tiers, where nobody has changed that behind its back.
    olds: BTreeMap<TierName, Version>,
    /// The steps that have begun, by their place among the items.
    begun: BTreeSet<usize>,
    /// The steps, shifts and trials that are done.
    done: BTreeSet<usize>,
    /// The instances of workers of which a step to the new version has begun, until they are back.
    moved: BTreeSet<String>,
    /// Those whose switch a person has left out.
    skipped: BTreeSet<String>,
    /// The trials whose jobs have raised the alarm.
    alarmed: BTreeSet<usize>,
    /// What instances run.
    runs: Runs,
}

impl Told {
    /// `event` happens to `state`.
    pub fn hear(&mut self, state: &State, event: &Event) {
        self.runs.hear(event);
        match &event.change {
            Change::UpgradeStarted { agreed } => {
                let old = |tier: &TierName| (tier.clone(), state.tiers[tier].stable.clone());
                *self = Self { olds: agreed.targets.keys().map(old).collect(), ..Self::default() };
            }
            Change::TurnedBack { .. } => {
                self.begun.clear();
                self.done.clear();
            }
            // What was begun so far is as it is; what follows is done anew.
            Change::Recalled { at, .. } => {
                self.begun.retain(|place| place < at);
                self.done = (0..*at).collect();
            }
            Change::Adopted { .. } => {
                event.tier.as_ref().map(|tier| self.olds.remove(tier));
            }
            _ => {}
        }
        let Some(upgrade) = state.upgrade.as_ref().filter(|u| event.rollout == Some(u.id)) else {
            return;
        };
        let is_confirm = |at: usize| matches!(&upgrade.items[at], Item::Step(step) if matches!(step.action, Action::Confirm));
        match &event.change {
            Change::StepBegan { step, .. } => {
                self.moved.extend(switched(step).filter(|(_, back)| !back).map(|(name, _)| name));
            }
            Change::StepEnded { step, .. } | Change::StepSkipped { step } if ends_well(event) => {
                match switched(step) {
                    Some((instance, true)) => _ = self.moved.remove(&instance),
                    Some((instance, false))
                        if matches!(event.change, Change::StepSkipped { .. }) =>
                    {
                        self.skipped.insert(instance);
                    }
                    Some(_) | None => {}
                }
            }
            _ => {}
        }
        match &event.change {
            Change::Tried { workers, instance, .. } => {
                let of = |at: &usize| matches!(&upgrade.items[*at], Item::Trial(trial) if trial.workers == *workers && trial.instance == *instance);
                self.done.extend((upgrade.at..upgrade.items.len()).find(of));
            }
            Change::Froze { .. } => {
                let trial = event.tier.as_ref().and_then(|workers| upgrade.trial(workers));
                self.alarmed.extend(trial.map(|trial| trial.at));
            }
            Change::Shifted { .. } => self.done.extend(shift(upgrade, event)),
            Change::StepBegan { step, .. } => self.begun.extend(place(upgrade, step)),
            Change::StepSkipped { step } => self.done.extend(place(upgrade, step)),
            Change::Approved { step } => {
                self.done.extend(place(upgrade, step).filter(|at| is_confirm(*at)));
            }
            Change::StepEnded { step, outcome }
                if outcome.succeeded() && upgrade.still_running.as_ref() != Some(step) =>
            {
                self.done.extend(place(upgrade, step));
            }
            _ => {}
        }
    }

    /// Whether `event` may happen to `state`.
    pub fn may_happen(
        &self,
        state: &State,
        event: &Event,
        input: &Input,
        facts: &Facts,
        wall: u64,
    ) {
        let Some(upgrade) = state.upgrade.as_ref().filter(|u| event.rollout == Some(u.id)) else {
            return;
        };
        let by_itself = event.by == Actor::weir();
        if by_itself && falls(event) {
            let gone = upgrade.past_no_return && !upgrade.goes_back();
            assert!(!gone, "went back by itself past the point of no return");
        }
        if let Change::TurnedBack { items, .. } = &event.change {
            self.undoes_what_was_done(upgrade, items);
        }
        if let (Change::Froze { .. }, Some(workers)) = (&event.change, &event.tier)
            && let Some(trial) = upgrade.trial(workers)
        {
            assert!(!self.alarmed.contains(&trial.at), "the same alarm of {workers} again");
        }
        let Some(index) = enters(upgrade, event) else { return };
        if let Item::Shift(shift) = &upgrade.items[index]
            && shift.to.is_none()
            && !shift.back
        {
            others_serve(shift, state, facts);
        }
        if upgrade.ended.is_some() {
            return; // What is left of it goes each its own way.
        }
        self.all_before(index, upgrade, state);
        if let Change::StepBegan { step, .. } = &event.change {
            let Item::Step(line) = &upgrade.items[index] else { panic!("{step} is no step") };
            let again = match input {
                Input::Command(Command { order: Order::RetryStep { .. }, .. }) => true,
                Input::File { reload: false, .. } => line.on_interrupt == OnInterrupt::Retry,
                _ => false,
            };
            assert!(again || !self.begun.contains(&index), "{step} begins twice");
        }
        if by_itself && !upgrade.undoes() && !matches!(input, Input::File { .. }) {
            // Who was taken out of the traffic is taken in.
            if !is_out(state) {
                assert!(!upgrade.paused, "raised in a pause");
                assert_eq!(upgrade.held, None, "raised while held");
            }
            let now = Timestamp::from_millis(wall);
            let is_open = facts.upgrade.calendar.is_open(now);
            assert!(is_open || is_between(index, upgrade, state), "raised outside its hours");
            // Where all have the new version nothing is left to decide, and the steps go on.
            let moves = |item: &Item| match item {
                Item::Step(step) => matches!(step.when, When::InTier(_)),
                Item::Everybody { .. }
                | Item::Home { .. }
                | Item::Shift(_)
                | Item::Stage { .. }
                | Item::Trial(_) => true,
            };
            let is_open = upgrade.items[index..].iter().any(moves);
            let is_late = upgrade.decide_by.is_some_and(|by| now >= by);
            assert!(!is_open || !is_late, "raised past the decision time");
            for tier in upgrade.items[index].tiers() {
                let rollout = state.tiers[tier].rollout.as_ref();
                assert!(!rollout.is_some_and(|r| r.paused), "{tier} raised in its own pause");
            }
        }
    }

    /// What undoes a step is among `items` where that has begun or counts as done, the last one first.
    fn undoes_what_was_done(&self, upgrade: &Upgrade, items: &[Item]) {
        let place = |name: &StepName| {
            let of = |item: &Item| matches!(item, Item::Step(step) if step.name == *name);
            upgrade.items.iter().position(of)
        };
        let is_begun = |at: &usize| self.begun.contains(at) || self.done.contains(at);
        let undone = |step: &Step| step.undoes.as_ref().and_then(place).filter(is_begun);
        let steps = items
            .iter()
            .filter_map(|item| if let Item::Step(step) = item { Some(&**step) } else { None });
        let found: Option<Vec<_>> =
            steps.filter(|step| step.undoes.is_some()).map(undone).collect();
        let mut wanted: Vec<_> = upgrade.way_back.iter().filter_map(undone).collect();
        wanted.sort_by(|one, other| other.cmp(one));
        assert_eq!(
            found,
            Some(wanted),
            "steps are undone that were not begun, or in another order"
        );
    }

    /// What stands before an item is done.
    fn all_before(&self, index: usize, upgrade: &Upgrade, state: &State) {
        let is_step = matches!(upgrade.items[index], Item::Shift(_) | Item::Step(_));
        for (place, item) in upgrade.items[..index].iter().enumerate() {
            match item {
                Item::Step(step) => {
                    assert!(self.done.contains(&place), "step {} was left out", step.name);
                }
                Item::Everybody { tiers } => {
                    let mut known = tiers.iter().filter(|tier| self.olds.contains_key(*tier));
                    let left = known.find(|tier| !has_all(tier, upgrade, state));
                    assert_eq!(left, None, "left behind");
                }
                Item::Stage { tiers, stage } if is_step => {
                    for tier in tiers.iter().filter(|tier| self.olds.contains_key(*tier)) {
                        assert!(share(tier, upgrade, state) >= stage.weight, "{tier}: too low");
                    }
                }
                Item::Trial(trial) => {
                    assert!(
                        self.done.contains(&place),
                        "the jobs of {} were left out",
                        trial.workers
                    );
                }
                Item::Shift(shift) => assert!(self.done.contains(&place), "{shift} was left out"),
                Item::Home { .. } | Item::Stage { .. } => {}
            }
        }
    }

    fn everybody_is_back(&self, upgrade: &Upgrade, state: &State) {
        for name in upgrade.targets.keys().filter(|name| !is_later(name, state)) {
            let tier = &state.tiers[name];
            let open = tier.rollout.as_ref().is_some_and(|rollout| rollout.id == upgrade.id);
            assert!(!open, "{name} still has users on the new version");
            if let Some(old) = self.olds.get(name) {
                assert_eq!(tier.stable, *old, "{name} is not on its old version");
            }
        }
    }
}

/// The instance that the step `name` switches, and whether back.
pub fn switched(name: &StepName) -> Option<(String, bool)> {
    let name = name.as_str().strip_suffix("-switch")?;
    let back = name.strip_suffix("-back");
    Some((back.unwrap_or(name).to_owned(), back.is_some()))
}

pub fn ends_well(event: &Event) -> bool {
    !matches!(&event.change, Change::StepEnded { outcome, .. } if !outcome.succeeded())
}

/// Where the step stands that an event means.
fn place(upgrade: &Upgrade, name: &StepName) -> Option<usize> {
    (upgrade.at..upgrade.items.len())
        .find(|at| matches!(&upgrade.items[*at], Item::Step(step) if step.name == *name))
}

/// Where the shift stands that an event is.
fn shift(upgrade: &Upgrade, event: &Event) -> Option<usize> {
    let Change::Shifted { instance, to } = &event.change else { return None };
    let is_it = |item: &Item| {
        matches!(item, Item::Shift(shift) if Some(&shift.tier) == event.tier.as_ref()
            && shift.instance == *instance && shift.to == *to)
    };
    (upgrade.at..upgrade.items.len()).find(|at| is_it(&upgrade.items[*at]))
}

/// While an instance is out another serves its users, or, where it has none, those of the others.
fn others_serve(shift: &Shift, state: &State, facts: &Facts) {
    let tier = &state.tiers[&shift.tier];
    let has = tier.instances[&shift.instance].as_ref().expect("it is in");
    let version = if tier.serves(has) { has } else { &tier.stable };
    let unwell = &facts.tier(&shift.tier).expect("its tier").unwell;
    let mut others = tier.instances.iter().filter(|(name, _)| **name != shift.instance);
    let serves = others.any(|(name, has)| has.as_ref() == Some(version) && !unwell.contains(name));
    assert!(serves, "{}: nobody serves while {} is out", shift.tier, shift.instance);
}

/// Whether an instance is out of the traffic.
fn is_out(state: &State) -> bool {
    state.tiers.values().flat_map(|tier| tier.instances.values()).any(Option::is_none)
}

/// Whether an instance has nothing to do until the item at `index` is done.
fn is_between(index: usize, upgrade: &Upgrade, state: &State) -> bool {
    let pair = index.checked_sub(1).map(|before| &upgrade.items[before..=index]);
    is_out(state)
        || matches!(
            pair,
            Some([Item::Shift(_), Item::Stage { .. }] | [Item::Everybody { .. }, Item::Shift(_)])
        )
}

/// The item that begins with `event`.
fn enters(upgrade: &Upgrade, event: &Event) -> Option<usize> {
    let stage = |weight: Weight| {
        let tier = event.tier.as_ref()?;
        upgrade.items.iter().rposition(|item| {
            matches!(item, Item::Stage { tiers, stage }
                if tiers.contains(tier) && stage.weight <= weight)
        })
    };
    match &event.change {
        Change::Started { plan, .. } => stage(plan.first().weight),
        Change::Advanced { weight, .. } => stage(*weight),
        Change::Promoted { .. } => {
            let tier = event.tier.as_ref()?;
            upgrade
                .items
                .iter()
                .position(|item| matches!(item, Item::Everybody { tiers } if tiers.contains(tier)))
        }
        Change::Asked { step, .. } | Change::StepBegan { step, .. } => place(upgrade, step),
        Change::Shifted { .. } => shift(upgrade, event),
        _ => None,
    }
}

fn falls(event: &Event) -> bool {
    matches!(
        event.change,
        Change::Recalled { .. } | Change::RolledBack { .. } | Change::TurnedBack { .. }
    )
}

fn has_all(tier: &TierName, upgrade: &Upgrade, state: &State) -> bool {
    let tier_state = &state.tiers[tier];
    tier_state.rollout.is_none() && tier_state.stable == upgrade.targets[tier].version
}

/// The share of the clients in `tier` that `upgrade` has given the new version.
fn share(tier: &TierName, upgrade: &Upgrade, state: &State) -> Weight {
    if has_all(tier, upgrade, state) { Weight::ALL } else { state.weight(tier) }
}

/// What holds after all events of one decision.
pub fn after(
    before: &State,
    state: &State,
    input: &Input,
    events: &[Event],
    facts: &Facts,
    told: &Told,
) {
    if events.iter().any(falls) {
        assert_eq!(Event::direction(events), Direction::Lower, "a fall waits for a disk");
    }
    if events.iter().any(|event| matches!(event.change, Change::Recalled { .. })) {
        let users = |state: &State| -> Vec<_> {
            state.tiers.values().map(|tier| (tier.stable.clone(), tier.weight())).collect()
        };
        assert_eq!(users(before), users(state), "workers went back alone, and users with them");
    }
    if let Some(upgrade) = before.open_upgrade()
        && is_failure(upgrade, before, input)
        && !facts.observe
        && !upgrade.past_no_return
    {
        told.everybody_is_back(upgrade, state);
    }
    if let Input::Command(Command { order: Order::Advance { to: Some(to), .. }, .. }) = input {
        for tier in state.tiers.keys().filter(|tier| state.weight(tier) > before.weight(tier)) {
            assert!(state.weight(tier) <= *to, "{tier} has more than was ordered");
        }
    }
    let Some(upgrade) = &state.upgrade else { return };
    match &upgrade.ended {
        Some((Ending::RolledBack, _)) if before.open_upgrade().is_some() => {
            told.everybody_is_back(upgrade, state);
            // Nobody knows what workers had before of a tier that was adopted in between.
            let stays = |instance: &&String| {
                let mut crews = facts.upgrade.workers.iter();
                let crew = crews.find(|crew| instance.starts_with(&format!("{}-", crew.name())));
                crew.is_some_and(|crew| !told.olds.contains_key(&crew.follows))
            };
            let left = told.moved.iter().find(|instance| !stays(instance));
            assert_eq!(left, None, "not every instance is back");
            are_one(state, upgrade, &told.olds);
        }
        Some((Ending::Promoted, _)) if before.open_upgrade().is_some() => {
            for item in &upgrade.items {
                let Item::Step(step) = item else { continue };
                if let Some((instance, _)) = switched(&step.name) {
                    let skipped = told.skipped.contains(&instance);
                    assert!(skipped || told.moved.contains(&instance), "{instance}: left behind");
                }
            }
            for tier in upgrade.targets.keys().filter(|tier| told.olds.contains_key(*tier)) {
                assert!(has_all(tier, upgrade, state), "{tier} was left behind");
            }
            are_one(state, upgrade, &told.olds);
        }
        None if upgrade.goes_back() => told.everybody_is_back(upgrade, state),
        None => {
            for item in &upgrade.items {
                let known = item.tiers().iter().filter(|tier| told.olds.contains_key(*tier));
                let shares: BTreeSet<Weight> =
                    known.map(|tier| share(tier, upgrade, state)).collect();
                assert!(shares.len() < 2, "those of one step differ: {shares:?}");
            }
        }
        Some(_) => {}
    }
}

/// Whether all must go back at once.
fn is_failure(upgrade: &Upgrade, state: &State, input: &Input) -> bool {
    let all_with = |tier: &TierName| {
        let rollout = state.tiers[tier].rollout.as_ref();
        upgrade.on_failure == Scope::Rollout && rollout.is_some_and(|r| r.id == upgrade.id)
    };
    match input {
        Input::Unhealthy { tier, .. }
        | Input::Verdict { tier, verdict: Verdict::Fail { .. }, .. } => all_with(tier),
        Input::Jobs { workers, rollout, verdict: Verdict::Fail { .. }, .. } => {
            let trial = upgrade.trial(workers).filter(|_| *rollout == upgrade.id);
            trial.is_some_and(|standing| standing.trial.on_failure == OnFailure::Rollback)
        }
        Input::StepEnded { step, outcome, .. } => {
            let running = upgrade.running().filter(|(line, _)| line.name == *step);
            running.is_some_and(|(line, _)| line.on_failure == OnFailure::Rollback)
                && !outcome.succeeded()
        }
        Input::File { reload: false, .. } => upgrade.running().is_some_and(|(line, _)| {
            line.on_interrupt == OnInterrupt::Fail && line.on_failure == OnFailure::Rollback
        }),
        _ => false,
    }
}

/// What holds between two decisions.
pub fn at_rest(state: &State, facts: &Facts, now: Timestamp, told: &Told) {
    told.runs.hold(state, &told.olds, facts);
    rollback_takes_all_back(state, facts, now, told);
    // Alone it goes on until it waits, and says for what.
    let mut state = state.clone();
    let mut ticks = 0;
    while state.open_upgrade().is_some() {
        let events = step(&state, &Input::Tick, facts, now).unwrap();
        if events.is_empty() {
            break;
        }
        for event in &events {
            state.apply(event);
        }
        ticks += 1;
        assert!(ticks < 500, "it never comes to rest: {events:?}");
    }
    let Some(upgrade) = state.open_upgrade() else { return };
    let wait = waits_for(&state, facts, now).expect("it stands still and waits for nothing");
    let obeyed = |order: Order| match step(&state, &ordered(order), facts, now) {
        Ok(events) => assert!(!events.is_empty(), "nothing follows, though it waits for {wait}"),
        Err(refusal) => panic!("{refusal}, though it waits for {wait}"),
    };
    match &wait {
        Wait::Another { tier, .. } => another_counts(&state, tier, facts, now),
        Wait::Answer { step, .. } => obeyed(Order::Approve { step: Some(step.clone()) }),
        Wait::Failed { step, .. } | Wait::Interrupted { step, .. } => {
            obeyed(Order::RetryStep { step: Some(step.clone()) });
            obeyed(Order::SkipStep { step: Some(step.clone()) });
        }
        Wait::Held { .. } | Wait::Paused => {
            assert!(
                !is_out(&state) || upgrade.undoes(),
                "an instance that is out waits for {wait}"
            );
            obeyed(Order::Resume { tier: None });
        }
        Wait::Hours { until, .. } => {
            assert!(!is_out(&state), "an instance that is out waits for hours");
            let until = until.expect("hours on every day");
            assert!(until > now, "{until:?} has come");
            let events = step(&state, &Input::Tick, facts, until).unwrap();
            let still = matches!(waits_for(&state, facts, until), Some(Wait::Hours { .. }));
            assert!(!events.is_empty() || !still, "its hours have come and nothing follows");
        }
        Wait::Jobs { .. } => obeyed(Order::Advance { tier: None, to: None }),
        Wait::Proof { tiers } => {
            assert!(!tiers.is_empty(), "waits for the judge of nothing");
            for tier in tiers {
                a_proof_counts(&state, tier, facts, now);
            }
        }
        Wait::Refused(refusal) => {
            let said = refusal.to_string();
            let known = ["no upstream", "is healthy", "going back", "no line"];
            assert!(known.iter().any(|words| said.contains(words)), "waits for {said}");
        }
        Wait::Running { step: name } => {
            let input = Input::StepEnded {
                rollout: upgrade.id,
                step: name.clone(),
                outcome: outcome(StepEnding::Succeeded),
            };
            assert_ne!(step(&state, &input, facts, now), Ok(vec![]), "{name} is not waited for");
        }
        Wait::Observing => panic!("nobody said --observe"),
    }
}

/// While no other instance could serve none is taken out, and once one can it is.
fn another_counts(state: &State, tier: &TierName, facts: &Facts, now: Timestamp) {
    let order = ordered(Order::Advance { tier: None, to: None });
    let refused = step(state, &order, facts, now);
    assert!(refused.is_err(), "an instance is taken out by an order, without another");
    let mut well = facts.clone();
    let tier = well.tiers.iter_mut().find(|facts| facts.name == *tier).expect("a tier");
    assert!(!tier.unwell.is_empty(), "all are well");
    tier.unwell.clear();
    assert_ne!(step(state, &Input::Tick, &well, now), Ok(vec![]), "nothing follows");
}

fn a_proof_counts(state: &State, tier: &TierName, facts: &Facts, now: Timestamp) {
    let rollout: RolloutId =
        state.tiers[tier].rollout.as_ref().map(|rollout| rollout.id).expect("a judge of nothing");
    let verdict = Verdict::Pass { proven: true, reason: "so it looks".into() };
    let input = Input::Verdict { tier: tier.clone(), rollout, verdict };
    let events = step(state, &input, facts, now).unwrap();
    assert!(!events.is_empty(), "{tier} is proven and nothing follows");
}

/// One order takes everybody back at any time, and the same order again changes nothing.
fn rollback_takes_all_back(state: &State, facts: &Facts, now: Timestamp, told: &Told) {
    let Some(upgrade) = state.open_upgrade() else { return };
    let order = Order::Rollback { tier: None, now: false, over: None, past_no_return: true };
    let input = ordered(order);
    let events = step(state, &input, facts, now).expect("a roll back is never refused");
    let mut after = state.clone();
    for event in &events {
        after.apply(event);
    }
    told.everybody_is_back(upgrade, &after);
    let second = step(&after, &input, facts, now);
    assert_eq!(second, Ok(vec![]), "a second roll back");
}
