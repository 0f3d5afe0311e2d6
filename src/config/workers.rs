//! Reads `[[worker]]`: tiers without HTTP, whose instances are moved one at a time by commands.

use std::time::Duration;

use super::cache::{CacheDraft, not_observed};
use super::diagnostic::{Code, Level};
use super::keys;
use super::program::BAKE_MAX;
use super::reader::Reader;
use super::runbook::{RunbookDraft, command, no_such_tier};
use super::section::{At, Section};
use super::tier::Draft;
use super::values::{Mistake, quoted};
use super::{ProxyConfig, TIERS_MAX};
use crate::rollout::runbook::{OnFailure, StepName};
use crate::rollout::{INSTANCES_MAX, JobsSettings, Workers};
use crate::traffic::TierName;

/// Jobs under way that take longer than a day are not waited for.
const DRAIN: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(24));

/// An instance that needs longer than an hour to be well is not.
const READY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// How long one command may take, and at most.
const TIMEOUT: (Duration, Duration) = (Duration::from_mins(2), Duration::from_hours(1));

/// How long an instance must be well before the next one is moved.
const BAKE: Duration = Duration::from_mins(1);

/// Jobs of the new version before the next instance is moved: a version that fails them all is found
/// by less, whatever the old one did.
const JOBS_LEAST: u64 = 20;

/// Who waits for more jobs than a million waits for ever.
const JOBS_LEAST_MAX: u64 = 1_000_000;

/// Reads every `[[worker]]`, and what they say against `tiers`, the steps and each other.
pub(super) fn workers(
    root: &mut Section<'_>,
    tiers: &[Draft],
    runbook: &RunbookDraft,
    (proxy, caches): (&ProxyConfig, &[CacheDraft]),
) -> Vec<Workers> {
    let tiers: Vec<&TierName> =
        tiers.iter().filter_map(|tier| tier.name.as_ref()).map(|at| &at.value).collect();
    let mut read: Vec<Workers> = Vec::new();
    for section in root.tables("worker", TIERS_MAX, &keys::WORKER) {
        let taken: Vec<&TierName> =
            tiers.iter().copied().chain(read.iter().map(|workers| &workers.name)).collect();
        let around = (proxy.environment.as_ref(), caches);
        let workers = one(section, &tiers, &taken, runbook, around);
        read.extend(workers);
    }
    read
}

fn one(
    mut section: Section<'_>,
    tiers: &[&TierName],
    taken: &[&TierName],
    runbook: &RunbookDraft,
    (environment, caches): (Option<&String>, &[CacheDraft]),
) -> Option<Workers> {
    section.need("name", "name = \"worker\"");
    section.need("instances", "instances = [\"work-1\", \"work-2\"]");
    section.need("switch", "switch = [\"ssh\", \"{instance}\", \"deploy\", \"{version}\"]");
    if tiers.len() > 1 {
        section.need("follows", "follows = \"web\", the tier whose versions they run");
    }
    let name = section.text("name", "write text: \"worker\"", tier_name);
    if let Some(at) = &name {
        section.rename(format!("worker.{}", at.value));
        if taken.contains(&&at.value) {
            let message = format!("another tier is called {}", at.value);
            let mistake = Mistake::new(message, "give each a name of its own");
            section.conflict("name", at.span.clone(), mistake, Vec::new());
        }
    }
    let follows = section.text("follows", "write text: \"web\"", tier_name);
    if let Some(at) = follows.as_ref().filter(|at| !tiers.contains(&&at.value)) {
        let mistake = no_such_tier(&at.value, tiers);
        section.conflict("follows", at.span.clone(), mistake, Vec::new());
    }
    let instances = instances(&mut section);
    let mut run = |key| command(&mut section, key, false);
    let (quiet, busy, switch) = (run("quiet"), run("busy"), run("switch"));
    let (health, reports) = (run("health"), run("reports"));
    let mut within = |key, range: (Duration, Duration), least| {
        let mut value = range.0;
        section.duration(key, least..=range.1, &mut value);
        value
    };
    let second = Duration::from_secs(1);
    let drain = within("drain", DRAIN, Duration::ZERO);
    let ready = within("ready", READY, Duration::ZERO);
    let timeout = within("timeout", TIMEOUT, second);
    let bake = within("bake", (BAKE, BAKE_MAX), Duration::ZERO);
    let mut on_failure = OnFailure::Rollback;
    let words = [("rollback", OnFailure::Rollback), ("hold", OnFailure::Hold)];
    section.word("on_failure", &words, &mut on_failure);
    let jobs = jobs(&mut section, caches, &instances);
    let only = tiers.first().copied().cloned();
    let workers = name.zip(switch).and_then(|(name, switch)| {
        let follows = follows.map_or(only, |at| Some(at.value))?;
        let environment = environment.cloned();
        let values = instances.iter().map(|at| at.value.clone()).collect();
        Some(Workers {
            name: name.value,
            follows,
            instances: values,
            quiet,
            busy,
            switch,
            health,
            reports,
            drain,
            ready,
            timeout,
            bake,
            on_failure,
            jobs,
            environment,
        })
    });
    if let Some(workers) = &workers {
        for at in &instances {
            fits(&section, workers, at, runbook);
        }
    }
    section.finish();
    workers
}

/// Where their jobs are seen, if they are judged.
fn jobs(
    section: &mut Section<'_>,
    caches: &[CacheDraft],
    instances: &[At<String>],
) -> Option<JobsSettings> {
    let cache = section.text("jobs", "write text: \"jobs\"", |text| {
        not_observed(text, caches).map_or_else(|| Ok(text.to_owned()), Err)
    });
    let mut least = JOBS_LEAST;
    section.integer("jobs_least", 0..=JOBS_LEAST_MAX, &mut least);
    if let (None, Some(span)) = (section.key_span("jobs"), section.key_span("jobs_least")) {
        let help = "add jobs = \"jobs\", the [[cache]] through which they get their jobs";
        section.wrong("jobs_least", span, Mistake::new("jobs are not looked at", help));
    }
    if let (Some(at), [_]) = (&cache, instances) {
        let message = "with one instance the old version does no job beside the new one";
        let help =
            "name a second instance, or nothing is compared and nothing goes back for its jobs";
        section.remark("jobs", at.span.clone(), Mistake::new(message, help));
    }
    cache.map(|at| JobsSettings { cache: at.value, least })
}

fn tier_name(text: &str) -> Result<TierName, Mistake> {
    let help = "use letters, digits and ._-";
    text.parse().map_err(|_| Mistake::new(format!("{} is no tier name", quoted(text)), help))
}

fn instances(section: &mut Section<'_>) -> Vec<At<String>> {
    let example = "[\"work-1\", \"work-2\"]";
    let read = section.list("instances", INSTANCES_MAX, example, |text| {
        let help = "use a name of letters, digits and ._-";
        text.parse::<StepName>()
            .map(|_| text.to_owned())
            .map_err(|_| Mistake::new(format!("{} is no instance", quoted(text)), help))
    });
    if section.is_empty_list("instances")
        && let Some(span) = section.key_span("instances")
    {
        let mistake = Mistake::new("`instances` is empty", format!("list them: {example}"));
        section.wrong("instances", span, mistake);
    }
    let read = read.unwrap_or_default();
    for (index, at) in read.iter().enumerate() {
        if let Some(first) = read[..index].iter().find(|first| first.value == at.value) {
            let message = format!("{} stands twice in the list", at.value);
            let others = vec![(first.span.clone(), "the first".to_owned())];
            let mistake = Mistake::new(message, "name each instance once");
            section.conflict("instances", at.span.clone(), mistake, others);
        }
    }
    read
}

/// Whether the steps of an instance have names, and names of their own.
fn fits(section: &Section<'_>, workers: &Workers, at: &At<String>, runbook: &RunbookDraft) {
    let mistake = match workers.names(&at.value) {
        Err(_) => {
            let message = format!("{} and {} are too long together", workers.name, at.value);
            Mistake::new(message, "their steps are called worker-work-1-switch: shorten one")
        }
        Ok(names) => match names.iter().find(|name| runbook.has(name)) {
            None => return,
            Some(name) => {
                let message = format!("a [[step]] is called {name}, as a step of this instance is");
                Mistake::new(message, "give the [[step]] another name")
            }
        },
    };
    section.conflict("instances", at.span.clone(), mistake, Vec::new());
}

/// Workers have no weight, so they move together with nobody.
pub(super) fn alone(reader: &Reader, workers: &[Workers], order: &At<Vec<Vec<TierName>>>) {
    let is_worker = |name: &&TierName| workers.iter().any(|workers| workers.name == **name);
    for group in order.value.iter().filter(|group| group.len() > 1) {
        if let Some(name) = group.iter().find(is_worker) {
            let message = format!("{name} has no weight and cannot move together with others");
            let help = "let it be an entry of its own: order = [\"web\", \"worker\"]";
            let place = ("rollout.order".to_owned(), order.span.clone());
            let mistake = Mistake::new(message, help);
            reader.note((Level::Error, Code::Conflict), place, mistake, Vec::new());
        }
    }
}
