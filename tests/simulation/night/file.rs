//! A random file: tiers, their order, a runbook, hours, a decision time.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom, SliceRandom};
use weir::analysis::Settings;
use weir::rollout::runbook::{Action, OnFailure, OnInterrupt, Run, Step, StepName, When};
use weir::rollout::{
    Calendar, Facts, Fleet, JobsSettings, JobsSource, PastDecision, Plan, ReleaseFacts, Scope,
    Stage, Stages, TierFacts, UpgradeFacts, Workers,
};
use weir::time::Zone;
use weir::traffic::{Salt, Sticky, TierName, Version, Weight};

/// Releases of each tier.
pub const VERSIONS: u16 = 4;

pub fn version(number: u16) -> Version {
    format!("1.{number}").parse().unwrap()
}

pub fn random(chance: &mut StdRng) -> Facts {
    let names = ["admin", "web", "worker", "api"];
    let names = &names[..chance.random_range(2..=4)];
    let plan = plan(chance);
    let tier = |(number, name): (usize, &&str)| TierFacts {
        name: name.parse().unwrap(),
        stable: version(0),
        releases: (0..VERSIONS).map(|n| release(number, n)).collect(),
        stages: Stages::Listed(plan.clone()),
        analysis: Settings::default(),
        rollback_over: Duration::ZERO,
        sticky: Sticky::Own,
        rate: None,
        named_upstreams_healthy: true,
        unwell: vec![],
    };
    let mut tiers: Vec<TierFacts> = names.iter().enumerate().map(tier).collect();
    let names: Vec<TierName> = tiers.iter().map(|tier| tier.name.clone()).collect();
    let mut steps = steps(&names, &plan, chance);
    let workers = workers(&names, chance);
    let rolling = rolling(&names, chance);
    for tier in tiers.iter_mut().filter(|tier| rolling.iter().any(|fleet| fleet.name == tier.name))
    {
        // Instances stay where they are, whatever they run.
        let addresses = tier.releases[0].addresses.clone();
        tier.releases.iter_mut().for_each(|release| release.addresses.clone_from(&addresses));
    }
    let onward: Vec<StepName> = steps
        .iter()
        .filter(|step| step.when != When::OnRollback)
        .map(|step| step.name.clone())
        .collect();
    for step in steps.iter_mut().filter(|step| step.when == When::OnRollback) {
        step.undoes = onward.choose(chance).filter(|_| chance.random_bool(0.6)).cloned();
    }
    let is_judged = workers.iter().any(|crew| crew.jobs.is_some());
    let onward: Vec<&Step> = steps.iter().filter(|step| step.when != When::OnRollback).collect();
    let no_return = onward.choose(chance).filter(|_| chance.random_bool(0.4));
    let mut no_return = no_return.map(|step| step.name.clone());
    if is_judged && chance.random_bool(0.3) {
        // Then all workers are moved where nothing goes back by itself.
        let early = Step::new("early".parse().unwrap(), When::BeforeRollout, Action::Run(run()));
        no_return = Some(early.name.clone());
        steps.push(early);
    }
    let upgrade = UpgradeFacts {
        name: Some("rails-4.2".into()),
        order: order(&names, (&workers, &rolling), chance),
        on_failure: if chance.random_bool(0.7) { Scope::Rollout } else { Scope::Tier },
        decide_by: chance.random_bool(0.3).then(|| "04:30".parse().unwrap()),
        past_decision: if chance.random() { PastDecision::Hold } else { PastDecision::Rollback },
        no_return,
        calendar: calendar(chance),
        hops: if chance.random_bool(0.3) { (1..VERSIONS).map(version).collect() } else { vec![] },
        steps,
        workers,
        rolling,
    };
    let salt = Salt::new([7; 16]);
    Facts { tiers, own: vec![], salt, observe: false, caches: vec![], upgrade }
}

fn release(tier: usize, number: u16) -> ReleaseFacts {
    let address = format!("127.0.0.1:{}", 9_000 + 100 * tier + usize::from(number));
    ReleaseFacts {
        version: version(number),
        addresses: vec![address.parse().unwrap()],
        healthy: true,
    }
}

fn plan(chance: &mut StdRng) -> Plan {
    let all = ["5%", "25%", "50%"];
    let mut weights: Vec<Weight> =
        all.iter().filter(|_| chance.random_bool(0.6)).map(|w| w.parse().unwrap()).collect();
    if weights.is_empty() {
        weights.push("25%".parse().unwrap());
    }
    let stage = |weight| Stage { weight, bake: Duration::from_secs(10) };
    Plan::new(weights.into_iter().map(stage).collect()).unwrap()
}

/// Tiers of workers, each following some tier.
fn workers(names: &[TierName], chance: &mut StdRng) -> Vec<Workers> {
    let number = [0, 1, 1, 2].choose(chance).copied().expect("a number");
    (0..number).map(|number| a_crew(number, names, chance)).collect()
}

fn run() -> Run {
    Run { command: vec!["true".into()], shell: false, expect: None }
}

fn fleet(name: &str, instances: usize, chance: &mut StdRng) -> Fleet {
    let maybe = |chance: &mut StdRng| chance.random_bool(0.3).then(run);
    Fleet {
        name: name.parse().unwrap(),
        instances: (0..instances).map(|n| format!("i{n}")).collect(),
        quiet: maybe(chance),
        busy: maybe(chance),
        switch: run(),
        health: maybe(chance),
        reports: maybe(chance),
        drain: Duration::from_secs(10),
        ready: Duration::from_secs(10),
        timeout: Duration::from_mins(1),
        bake: Duration::from_secs(chance.random_range(0..2) * 10),
        on_failure: *[OnFailure::Hold, OnFailure::Rollback].choose(chance).expect("one"),
        environment: None,
    }
}

fn a_crew(number: usize, names: &[TierName], chance: &mut StdRng) -> Workers {
    let instances = chance.random_range(1..=3);
    Workers {
        fleet: fleet(&format!("crew-{number}"), instances, chance),
        follows: names.choose(chance).expect("a tier").clone(),
        jobs: chance
            .random_bool(0.6)
            .then(|| JobsSettings { source: JobsSource::Cache("jobs".into()), least: 20 }),
    }
}

/// Tiers with traffic whose instances are moved.
fn rolling(names: &[TierName], chance: &mut StdRng) -> Vec<Fleet> {
    let number = [0, 0, 1, 1, 2].choose(chance).copied().expect("a number");
    let names: Vec<&TierName> = names.sample(chance, number).collect();
    let a_fleet = |name: &TierName| {
        let instances = chance.random_range(2..=4);
        fleet(name.as_str(), instances, chance)
    };
    names.into_iter().map(a_fleet).collect()
}

/// Some tiers together, some alone, some not named. Who is moved has an entry of its own.
fn order(
    names: &[TierName],
    (workers, rolling): (&[Workers], &[Fleet]),
    chance: &mut StdRng,
) -> Vec<Vec<TierName>> {
    let is_rolling = |name: &TierName| rolling.iter().any(|fleet| fleet.name == *name);
    let mut names = names.to_vec();
    names.shuffle(chance);
    let mut order: Vec<Vec<TierName>> = Vec::new();
    for name in names {
        match (order.last_mut(), chance.random_range(0..10)) {
            (_, 0) => {}
            (Some(last), 1..5) if !is_rolling(&name) && !is_rolling(&last[0]) => last.push(name),
            (_, _) => order.push(vec![name]),
        }
    }
    for crew in workers {
        if order.is_empty() || chance.random_bool(0.2) {
            continue;
        }
        let at = chance.random_range(0..=order.len());
        order.insert(at, vec![crew.name().clone()]);
    }
    order
}

fn steps(names: &[TierName], plan: &Plan, chance: &mut StdRng) -> Vec<Step> {
    let number = chance.random_range(0..7);
    (0..number).map(|number| a_step(number, names, plan, chance)).collect()
}

fn a_step(number: usize, names: &[TierName], plan: &Plan, chance: &mut StdRng) -> Step {
    let tier = names.choose(chance).expect("a tier").clone();
    let stage = plan.stages().choose(chance).expect("a stage").weight;
    let when = match chance.random_range(0..9) {
        0 => When::BeforeRollout,
        1 | 2 => When::BeforeTier(tier),
        3 | 4 => When::AfterTier(tier),
        5 => When::AfterStage { weight: stage, tier: chance.random_bool(0.5).then_some(tier) },
        6 => When::AfterRollout,
        _ => When::OnRollback,
    };
    let is_question = chance.random_bool(0.3);
    let action = if is_question { Action::Confirm } else { Action::Run(run()) };
    let name = format!("step-{number}").parse().unwrap();
    Step {
        confirm: (is_question || chance.random_bool(0.3)).then(|| "is it well?".into()),
        on_interrupt: *[OnInterrupt::Ask, OnInterrupt::Fail, OnInterrupt::Retry]
            .choose(chance)
            .expect("one"),
        on_failure: *[OnFailure::Continue, OnFailure::Hold, OnFailure::Rollback]
            .choose(chance)
            .expect("one"),
        ..Step::new(name, when, action)
    }
}

fn calendar(chance: &mut StdRng) -> Calendar {
    let hours = match chance.random_range(0..3) {
        0 => vec!["03:00-05:00".parse().unwrap(), "22:00-01:00".parse().unwrap()],
        _ => vec![],
    };
    Calendar { zone: Some(Zone::UTC), hours, freeze: vec![] }
}

/// One thing of the file becomes different.
pub fn edit(facts: &mut Facts, chance: &mut StdRng) {
    let names: Vec<TierName> = facts.tiers.iter().map(|tier| tier.name.clone()).collect();
    match chance.random_range(0..14) {
        12 => {
            let Some(fleet) = some_fleet(facts, chance) else { return };
            let number = chance.random_range(100..1_000_000_000);
            *fleet.instances.choose_mut(chance).expect("one") = format!("i{number}");
        }
        13 => {
            let Some(fleet) = some_fleet(facts, chance) else { return };
            if fleet.instances.len() > 2 {
                let at = chance.random_range(0..fleet.instances.len());
                fleet.instances.remove(at);
            }
        }
        0 => {
            let UpgradeFacts { workers, rolling, .. } = &facts.upgrade;
            facts.upgrade.order = order(&names, (workers, rolling), chance);
        }
        9 => {
            let Some(fleet) = some_fleet(facts, chance) else { return };
            let number = chance.random_range(100..1_000_000_000);
            fleet.instances.push(format!("i{number}"));
        }
        10 => {
            let Some(crew) = facts.upgrade.workers.choose_mut(chance) else { return };
            let jobs = JobsSettings { source: JobsSource::Cache("jobs".into()), least: 20 };
            crew.jobs = if crew.jobs.is_none() { Some(jobs) } else { None };
        }
        11 => {
            let Some(fleet) = some_fleet(facts, chance) else { return };
            fleet.on_failure = match fleet.on_failure {
                OnFailure::Rollback => OnFailure::Hold,
                OnFailure::Continue | OnFailure::Hold => OnFailure::Rollback,
            };
        }
        1 => facts.upgrade.calendar = calendar(chance),
        2 => {
            let plan = plan(chance);
            let listed = |tier: &mut TierFacts| tier.stages = Stages::Listed(plan.clone());
            facts.tiers.iter_mut().for_each(listed);
        }
        3 => facts.upgrade.steps.truncate(1),
        4 | 5 => {
            let Stages::Listed(plan) = facts.tiers[0].stages.clone() else { return };
            // No two share a name.
            let number = chance.random_range(100..1_000_000_000);
            facts.upgrade.steps.push(a_step(number, &names, &plan, chance));
        }
        6 => facts.upgrade.steps.shuffle(chance),
        _ => {
            for release in facts.tiers.iter_mut().flat_map(|tier| &mut tier.releases) {
                release.healthy = chance.random_bool(0.9);
            }
            for fleet in &facts.upgrade.rolling {
                let mut tiers = facts.tiers.iter_mut();
                let tier = tiers.find(|tier| tier.name == fleet.name).expect("its tier");
                let unwell = fleet.instances.iter().filter(|_| chance.random_bool(0.2));
                tier.unwell = unwell.cloned().collect();
            }
        }
    }
}

fn some_fleet<'a>(facts: &'a mut Facts, chance: &mut StdRng) -> Option<&'a mut Fleet> {
    let UpgradeFacts { workers, rolling, .. } = &mut facts.upgrade;
    let crews = workers.iter_mut().map(|crew| &mut crew.fleet);
    let mut all: Vec<&mut Fleet> = crews.chain(rolling).collect();
    let at = chance.random_range(0..all.len().max(1));
    (at < all.len()).then(|| all.swap_remove(at))
}
