//! What the file says, as far as the rollout is concerned, in the words of the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use weir::analysis::{Settings, WhenUnproven};
use weir::rollout::runbook::{Action, OnFailure, OnInterrupt, Run, Step, StepName, When};
use weir::rollout::{
    CacheFacts, Calendar, Facts, Fleet, JobsSettings, JobsSource, OnRollback, PastDecision, Plan,
    ReleaseFacts, Scope, Stage, Stages, TierFacts, UpgradeFacts, Workers,
};
use weir::time::Zone;
use weir::traffic::{Listen, Salt, Sticky, TierName, Version};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    tier: Vec<Tier>,
    #[serde(default)]
    rollout: Rollout,
    #[serde(default)]
    analysis: Analysis,
    #[serde(default)]
    cache: Vec<Cache>,
    #[serde(default)]
    step: Vec<StepLine>,
    #[serde(default)]
    worker: Vec<WorkerLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    name: String,
    ports: BTreeMap<String, String>,
    #[serde(default)]
    tiers: Vec<String>,
    on_rollback: Option<String>,
    stale_after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    name: String,
    stable: String,
    #[serde(default)]
    sticky: Option<String>,
    /// Requests per second of the last hour.
    rate: Option<f64>,
    /// Its own stages.
    stages: Option<Vec<Rung>>,
    releases: Vec<Release>,
    rolling: Option<RollingLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollingLine {
    instances: Vec<String>,
    quiet: Option<Vec<String>>,
    switch: Vec<String>,
    health: Option<Vec<String>>,
    #[serde(default)]
    on_failure: OnFailure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    version: String,
    #[serde(default)]
    upstreams: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollout {
    stages: Option<Vec<Rung>>,
    rollback_over: Option<String>,
    name: Option<String>,
    #[serde(default)]
    order: Vec<Tiers>,
    #[serde(default)]
    on_failure: Scope,
    decide_by: Option<String>,
    #[serde(default)]
    past_decision: PastDecision,
    #[serde(default)]
    hours: Vec<String>,
    #[serde(default)]
    freeze: Vec<String>,
    no_return: Option<String>,
    #[serde(default)]
    hops: Vec<Version>,
}

/// A step of the order.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tiers {
    One(TierName),
    Together(Vec<TierName>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepLine {
    name: StepName,
    when: When,
    confirm: Option<String>,
    #[serde(default)]
    run: Vec<String>,
    undoes: Option<StepName>,
    #[serde(default)]
    on_interrupt: OnInterrupt,
    #[serde(default)]
    on_failure: OnFailure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkerLine {
    name: TierName,
    follows: TierName,
    instances: Vec<String>,
    quiet: Option<Vec<String>>,
    switch: Vec<String>,
    health: Option<Vec<String>>,
    #[serde(default)]
    on_failure: OnFailure,
    jobs: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rung {
    weight: String,
    bake: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Analysis {
    give_up: Option<String>,
    when_unproven: Option<WhenUnproven>,
}

/// A span such as `90s`, `5m`, `2h`.
pub fn span(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("{text} is no span"));
    match unit {
        "s" => Duration::from_secs(number),
        "m" => Duration::from_mins(number),
        "h" => Duration::from_hours(number),
        _ => panic!("{text} is no span"),
    }
}

impl File {
    pub fn parse(text: &str) -> Self {
        toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The facts, with the releases in `down` not answering.
    pub fn facts(&self, down: &BTreeSet<String>, observe: bool) -> Facts {
        let stages = self.rollout.stages.as_deref().map_or(Stages::Auto, listed);
        let tiers = self.tier.iter().map(|tier| self.tier(tier, &stages, down));
        let own = ["127.0.0.1:8080", "127.0.0.1:7700"];
        let own = own.map(|text| Listen::Socket(text.parse().unwrap())).to_vec();
        let caches = self.cache.iter().map(cache).collect();
        let salt = Salt::new(*b"a secret of ours");
        let upgrade = self.upgrade();
        Facts { tiers: tiers.collect(), own, salt, observe, caches, upgrade }
    }

    fn upgrade(&self) -> UpgradeFacts {
        let rollout = &self.rollout;
        let order = rollout.order.iter().map(|tiers| match tiers {
            Tiers::One(tier) => vec![tier.clone()],
            Tiers::Together(tiers) => tiers.clone(),
        });
        UpgradeFacts {
            name: rollout.name.clone(),
            order: order.collect(),
            steps: self.step.iter().map(step).collect(),
            workers: self.worker.iter().map(workers).collect(),
            rolling: self.tier.iter().filter_map(rolling).collect(),
            on_failure: rollout.on_failure,
            decide_by: rollout.decide_by.as_ref().map(|text| text.parse().unwrap()),
            past_decision: rollout.past_decision,
            no_return: rollout.no_return.as_ref().map(|name| name.parse().unwrap()),
            calendar: Calendar {
                zone: Some(Zone::UTC),
                hours: rollout.hours.iter().map(|text| text.parse().unwrap()).collect(),
                freeze: rollout.freeze.iter().map(|text| text.parse().unwrap()).collect(),
            },
            hops: rollout.hops.clone(),
        }
    }

    fn tier(&self, tier: &Tier, stages: &Stages, down: &BTreeSet<String>) -> TierFacts {
        let mut analysis = Settings::default();
        if let Some(give_up) = &self.analysis.give_up {
            analysis.give_up = span(give_up);
        }
        analysis.when_unproven = self.analysis.when_unproven.unwrap_or_default();
        let release = |release: &Release| ReleaseFacts {
            version: version(&release.version),
            addresses: release.upstreams.iter().map(|a| a.parse().unwrap()).collect(),
            healthy: !down.contains(&format!("{} {}", tier.name, release.version)),
        };
        TierFacts {
            name: tier.name.parse().unwrap(),
            stable: version(&tier.stable),
            releases: tier.releases.iter().map(release).collect(),
            stages: tier.stages.as_deref().map_or_else(|| stages.clone(), listed),
            analysis,
            rollback_over: self.rollout.rollback_over.as_deref().map(span).unwrap_or_default(),
            sticky: match tier.sticky.as_deref() {
                None => Sticky::Own,
                Some("address") => Sticky::Address,
                Some(other) => panic!("sticky {other} is not for scripts"),
            },
            rate: tier.rate,
            unwell: unwell(tier, down),
            named_upstreams_healthy: !down.contains(&format!("{} named", tier.name)),
        }
    }
}

fn unwell(tier: &Tier, down: &BTreeSet<String>) -> Vec<String> {
    let instances = tier.rolling.iter().flat_map(|rolling| &rolling.instances);
    instances.filter(|name| down.contains(&format!("{} {name}", tier.name))).cloned().collect()
}

fn listed(rungs: &[Rung]) -> Stages {
    let stage =
        |rung: &Rung| Stage { weight: rung.weight.parse().unwrap(), bake: span(&rung.bake) };
    Stages::Listed(Plan::new(rungs.iter().map(stage).collect()).unwrap())
}

fn step(line: &StepLine) -> Step {
    let action = match line.run.as_slice() {
        [] => Action::Confirm,
        command => Action::Run(run(command)),
    };
    Step {
        confirm: line.confirm.clone(),
        on_interrupt: line.on_interrupt,
        on_failure: line.on_failure,
        undoes: line.undoes.clone(),
        ..Step::new(line.name.clone(), line.when.clone(), action)
    }
}

fn run(command: &[String]) -> Run {
    Run { command: command.to_vec(), shell: false, expect: None }
}

fn workers(line: &WorkerLine) -> Workers {
    let (quiet, health) = (line.quiet.as_deref(), line.health.as_deref());
    let commands = [quiet, Some(&line.switch), health];
    Workers {
        fleet: fleet(&line.name, &line.instances, commands, line.on_failure),
        follows: line.follows.clone(),
        jobs: line
            .jobs
            .clone()
            .map(|cache| JobsSettings { source: JobsSource::Cache(cache), least: 20 }),
    }
}

fn rolling(tier: &Tier) -> Option<Fleet> {
    let line = tier.rolling.as_ref()?;
    let (quiet, health) = (line.quiet.as_deref(), line.health.as_deref());
    let commands = [quiet, Some(&line.switch), health];
    let fleet = fleet(&tier.name.parse().unwrap(), &line.instances, commands, line.on_failure);
    Some(Fleet { bake: span("1m"), ..fleet })
}

fn fleet(
    name: &TierName,
    instances: &[String],
    [quiet, switch, health]: [Option<&[String]>; 3],
    on_failure: OnFailure,
) -> Fleet {
    Fleet {
        name: name.clone(),
        instances: instances.to_vec(),
        quiet: quiet.map(run),
        busy: None,
        switch: run(switch.unwrap()),
        health: health.map(run),
        reports: None,
        drain: Duration::ZERO,
        ready: Duration::ZERO,
        timeout: span("10m"),
        bake: Duration::ZERO,
        on_failure,
        environment: None,
    }
}

fn cache(cache: &Cache) -> CacheFacts {
    CacheFacts {
        name: cache.name.clone(),
        versions: cache.ports.keys().map(|text| version(text)).collect(),
        tiers: cache.tiers.iter().map(|tier| tier.parse().unwrap()).collect(),
        on_rollback: match cache.on_rollback.as_deref() {
            None | Some("drop") => OnRollback::Drop,
            Some("keep") => OnRollback::Keep,
            Some(other) => panic!("on_rollback {other}"),
        },
        stale_after: match cache.stale_after.as_deref() {
            None => Some(Duration::from_mins(10)),
            Some("none") => None,
            Some(text) => Some(span(text)),
        },
    }
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}
