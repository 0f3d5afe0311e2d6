//! Reads `[[worker]]`: tiers without HTTP, whose instances are moved one at a time by commands.

use super::cache::{CacheDraft, not_observed};
use super::fleet::{Moving, instance_name, misfit};
use super::keys;
use super::runbook::{RunbookDraft, no_such_tier};
use super::section::{At, Section};
use super::signals::SignalDraft;
use super::tier::Draft;
use super::values::{Mistake, quoted};
use super::{ProxyConfig, TIERS_MAX};
use crate::rollout::{INSTANCES_MAX, JobsSettings, JobsSource, Workers};
use crate::traffic::TierName;

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
    (proxy, caches, signals): (&ProxyConfig, &[CacheDraft], &[SignalDraft]),
) -> Vec<Workers> {
    let tiers: Vec<&TierName> =
        tiers.iter().filter_map(|tier| tier.name.as_ref()).map(|at| &at.value).collect();
    let mut read: Vec<Workers> = Vec::new();
    for section in root.tables("worker", TIERS_MAX, &keys::WORKER) {
        let taken: Vec<&TierName> =
            tiers.iter().copied().chain(read.iter().map(Workers::name)).collect();
        let around = (proxy.environment.as_ref(), caches, signals);
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
    (environment, caches, signals): (Option<&String>, &[CacheDraft], &[SignalDraft]),
) -> Option<Workers> {
    section.need("name", "name = \"worker\"");
    section.need("instances", "instances = [\"work-1\", \"work-2\"]");
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
    let moving = Moving::read(&mut section);
    let counters = Counters { workers: name.as_ref().map(|at| &at.value), caches, signals };
    let jobs = jobs(&mut section, counters, &instances);
    let only = tiers.first().copied().cloned();
    let workers = name.and_then(|name| {
        let follows = follows.map_or(only, |at| Some(at.value))?;
        let values = instances.iter().map(|at| at.value.clone()).collect();
        let fleet = moving.fleet(name.value, values, environment.cloned())?;
        Some(Workers { fleet, follows, jobs })
    });
    if let Some(workers) = &workers {
        for at in &instances {
            if let Some(mistake) = misfit(&workers.fleet, &at.value, runbook) {
                section.conflict("instances", at.span.clone(), mistake, Vec::new());
            }
        }
    }
    section.finish();
    workers
}

/// Where their jobs are seen, if they are judged.
fn jobs(
    section: &mut Section<'_>,
    counters: Counters<'_>,
    instances: &[At<String>],
) -> Option<JobsSettings> {
    let source = section.text("jobs", "write text: \"jobs\"", |text| counters.named(text));
    let mut least = JOBS_LEAST;
    section.integer("jobs_least", 0..=JOBS_LEAST_MAX, &mut least);
    if let (None, Some(span)) = (section.key_span("jobs"), section.key_span("jobs_least")) {
        let help =
            "add jobs = \"jobs\", the [[cache]] through which they get their jobs, or a signal";
        section.wrong("jobs_least", span, Mistake::new("jobs are not looked at", help));
    }
    if let (Some(at), [_]) = (&source, instances) {
        let message = "with one instance the old version does no job beside the new one";
        let help =
            "name a second instance, or nothing is compared and nothing goes back for its jobs";
        section.remark("jobs", at.span.clone(), Mistake::new(message, help));
    }
    source.map(|at| JobsSettings { source: at.value, least })
}

/// What may count the jobs of workers.
#[derive(Clone, Copy)]
struct Counters<'a> {
    /// Whose.
    workers: Option<&'a TierName>,
    caches: &'a [CacheDraft],
    signals: &'a [SignalDraft],
}

impl Counters<'_> {
    /// That which the file calls `name`.
    fn named(self, name: &str) -> Result<JobsSource, Mistake> {
        let no_cache = not_observed(name, self.caches);
        let is_called = |cache: &CacheDraft| cache.is_called(name);
        let signal = self.workers.and_then(|workers| {
            self.signals.iter().find_map(|signal| signal.silent_after(workers, name))
        });
        match (no_cache, signal) {
            (None, None) => Ok(JobsSource::Cache(name.to_owned())),
            (Some(_), Some(silent_after)) => {
                Ok(JobsSource::Signal { name: name.to_owned(), silent_after })
            }
            (None, Some(_)) => Err(Mistake::new(
                format!("a [[cache]] and a signal are called {}", quoted(name)),
                "give one of the two another name",
            )),
            (Some(mistake), None) if self.caches.iter().any(is_called) => Err(mistake),
            (Some(_), None) => Err(Mistake::new(
                format!("nothing called {} counts their jobs", quoted(name)),
                "name a [[cache]] with kind = \"redis\" and mode = \"observe\", through whose ports they \
                 get their jobs, or an [[analysis.signal]] whose tier they are",
            )),
        }
    }
}

fn tier_name(text: &str) -> Result<TierName, Mistake> {
    let help = "use letters, digits and ._-";
    text.parse().map_err(|_| Mistake::new(format!("{} is no tier name", quoted(text)), help))
}

fn instances(section: &mut Section<'_>) -> Vec<At<String>> {
    let example = "[\"work-1\", \"work-2\"]";
    let read = section.list("instances", INSTANCES_MAX, example, instance_name);
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
