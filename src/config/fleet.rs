//! Reads how instances are moved one at a time by commands: of `[[worker]]`, and of `[tier.rolling]`.

use std::ops::Range;
use std::time::Duration;

use super::diagnostic::{Code, Level};
use super::keys;
use super::program::BAKE_MAX;
use super::reader::Reader;
use super::runbook::{RunbookDraft, command};
use super::section::{At, Section};
use super::tier::Draft;
use super::values::{self, Mistake, quoted};
use crate::rollout::runbook::{OnFailure, Run, StepName};
use crate::rollout::{Fleet, INSTANCES_MAX, Instance, users_of};
use crate::time::in_words;
use crate::traffic::{Address, TierName};

/// What is under way for longer than a day is not waited for.
const DRAIN: (Duration, Duration) = (Duration::from_mins(5), Duration::from_hours(24));

/// An instance that needs longer than an hour to be well is not.
const READY: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// How long one command may take, and at most.
const TIMEOUT: (Duration, Duration) = (Duration::from_mins(2), Duration::from_hours(1));

/// How long an instance must be well before the next one is moved.
const BAKE: Duration = Duration::from_mins(1);

/// How instances are moved, whatever they do.
#[derive(Clone)]
pub(super) struct Moving {
    quiet: Option<Run>,
    busy: Option<Run>,
    switch: Option<Run>,
    health: Option<Run>,
    reports: Option<Run>,
    drain: Duration,
    ready: Duration,
    timeout: Duration,
    bake: Duration,
    on_failure: OnFailure,
}

impl Moving {
    /// Reads the keys of `section` that say so.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        section.need("switch", "switch = [\"ssh\", \"{instance}\", \"deploy\", \"{version}\"]");
        let mut run = |key| command(section, key, false);
        let (quiet, busy, switch) = (run("quiet"), run("busy"), run("switch"));
        let (health, reports) = (run("health"), run("reports"));
        if let (Some(run), Some(span)) = (&switch, section.key_span("switch"))
            && let Some(mistake) = unfilled(run)
        {
            section.remark("switch", span, mistake);
        }
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
        Self { quiet, busy, switch, health, reports, drain, ready, timeout, bake, on_failure }
    }

    /// The fleet `name` of `instances`; none: nothing switches them.
    pub(super) fn fleet(
        self,
        name: TierName,
        instances: Vec<String>,
        environment: Option<String>,
    ) -> Option<Fleet> {
        let Self { quiet, busy, health, reports, drain, ready, timeout, bake, on_failure, .. } =
            self;
        let switch = self.switch?;
        Some(Fleet {
            name,
            instances,
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
            environment,
        })
    }
}

/// What a command that switches does not say, though it should differ by that.
fn unfilled(run: &Run) -> Option<Mistake> {
    let misses = |word: &&str| !run.command.iter().any(|text| text.contains(*word));
    let word = ["{instance}", "{version}"].into_iter().find(misses)?;
    let (same, help) = match word {
        "{instance}" => ("for every instance", "the name of the one that is moved stands for it"),
        _ => ("forward and back", "on the way back it is the version before; WEIR_VERSION is not"),
    };
    let message = format!("`switch` has no {word}, and does the same {same}");
    Some(Mistake::new(message, format!("add {word}: {help}")))
}

/// `[tier.rolling]` as far as it could be read.
pub(super) struct RollingDraft {
    path: String,
    pub(super) instances: Vec<Spot>,
    moving: Moving,
    /// Where the file says how long an instance may take to be well, or what the instances are.
    ready: Option<Range<usize>>,
}

/// An instance and the places of what it says.
pub(super) struct Spot {
    pub(super) instance: Instance,
    pub(super) name: Range<usize>,
    pub(super) address: Range<usize>,
}

impl RollingDraft {
    /// Reads `section`, if it is there.
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        if !section.is_there() {
            return None;
        }
        section
            .need("instances", "instances = [{ name = \"api-1\", address = \"10.0.0.11:3000\" }]");
        let sections = section.tables("instances", INSTANCES_MAX, &keys::INSTANCE);
        let (count, whole) = (sections.len(), section.key_span("instances"));
        let instances: Vec<Spot> = sections.into_iter().filter_map(instance).collect();
        if let Some(span) = whole.clone().filter(|_| count < 2) {
            let help = "list two or more; one alone is not moved without users noticing: give each \
                        release `upstreams` of its own instead";
            let message =
                format!("`instances` has {count}, and the others serve while one is moved");
            section.wrong("instances", span, Mistake::new(message, help));
        }
        for (index, spot) in instances.iter().enumerate() {
            let before = &instances[..index];
            let (name, address) = (&spot.instance.name, spot.instance.address.plain());
            if let Some(first) = before.iter().find(|first| first.instance.name == *name) {
                let mistake = Mistake::new(
                    format!("two instances are called {name}"),
                    "give each a name of its own",
                );
                let others = vec![(first.name.clone(), "the first".to_owned())];
                section.conflict("instances", spot.name.clone(), mistake, others);
            }
            let same = |first: &&Spot| first.instance.address.plain() == address;
            if let Some(first) = before.iter().find(same) {
                let mistake = Mistake::new(
                    format!("{} is in two instances", spot.instance.address),
                    "each listens at an address of its own",
                );
                let others = vec![(first.address.clone(), "the first".to_owned())];
                section.conflict("instances", spot.address.clone(), mistake, others);
            }
        }
        if let Some(span) = section.key_span("instances").filter(|_| count > 1) {
            section.remark("instances", span, peak(count));
        }
        let moving = Moving::read(&mut section);
        if let (None, Some(span)) = (&moving.reports, section.key_span("switch")) {
            let message = "nobody asks an instance which version it runs, once it was switched";
            let help = "add reports = [\"ssh\", \"{instance}\", \"cat\", \"/srv/shop/VERSION\"], or what \
                        else prints it";
            section.remark("reports", span, Mistake::new(message, help));
        }
        let path = section.path_of("instances");
        let ready = section.key_span("ready").or(whole);
        section.finish();
        Some(Self { path, instances, moving, ready })
    }

    /// The instances.
    pub(super) fn instances(&self) -> Vec<Instance> {
        self.instances.iter().map(|spot| spot.instance.clone()).collect()
    }

    /// The same with their places in the file.
    pub(super) fn places(&self) -> Vec<At<Address>> {
        let place = |spot: &Spot| {
            let (value, span) = (spot.instance.address.clone(), spot.address.clone());
            At { value, span }
        };
        self.instances.iter().map(place).collect()
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.instances.iter().map(|spot| &spot.instance.address)
    }

    fn fleet(&self, name: &TierName, environment: Option<&String>) -> Option<Fleet> {
        let names = self.instances.iter().map(|spot| spot.instance.name.clone()).collect();
        self.moving.clone().fleet(name.clone(), names, environment.cloned())
    }
}

/// What the last instance with the version before must bear, of so many.
fn peak(count: usize) -> Mistake {
    if count == 2 {
        let message = "while one of the two is moved the other carries everybody";
        let help = "see that it can, or add a third; `hours` can say when that is done";
        return Mistake::new(message, help);
    }
    let share = users_of(2, count);
    let message = format!(
        "while the last but one of the {count} is moved, one alone carries {share} of the users, and \
         everybody where it goes back then"
    );
    Mistake::new(message, "see that it can; `hours` can say when that is done")
}

fn instance(mut section: Section<'_>) -> Option<Spot> {
    section.need("name", "name = \"api-1\"");
    section.need("address", "address = \"10.0.0.11:3000\"");
    let name = section.text("name", "write text: \"api-1\"", instance_name);
    let address = section.text("address", "write text: \"10.0.0.11:3000\"", values::upstream);
    section.finish();
    let (name, address) = name.zip(address)?;
    let instance = Instance { name: name.value, address: address.value };
    Some(Spot { instance, name: name.span, address: address.span })
}

/// What an instance may be called.
pub(super) fn instance_name(text: &str) -> Result<String, Mistake> {
    let help = "use a name of letters, digits and ._-";
    text.parse::<StepName>()
        .map(|_| text.to_owned())
        .map_err(|_| Mistake::new(format!("{} is no instance", quoted(text)), help))
}

/// The tiers with traffic whose instances are moved.
pub(super) fn rolling(
    reader: &Reader,
    tiers: &[Draft],
    runbook: &RunbookDraft,
    environment: Option<&String>,
) -> Vec<Fleet> {
    let mut fleets = Vec::new();
    for tier in tiers {
        let (Some(name), Some(draft)) = (tier.name.as_ref(), tier.rolling()) else { continue };
        let Some(fleet) = draft.fleet(&name.value, environment) else { continue };
        if let Some(at) = tier.stages.as_ref() {
            let message = "the weight follows from how many instances were moved";
            let help = "leave `stages` out; `bake` of [tier.rolling] says how long each is watched";
            let place = (format!("tier.{}.stages", name.value), at.span.clone());
            let mistake = Mistake::new(message, help);
            reader.note((Level::Error, Code::Conflict), place, mistake, Vec::new());
        }
        let health = tier.health();
        let least = health.interval.saturating_mul(health.rise);
        if let Some(span) = draft.ready.clone().filter(|_| least > fleet.well_within()) {
            let message = format!(
                "an instance is well after {} health checks, {} apart: longer than `ready`",
                health.rise,
                in_words(health.interval)
            );
            let help = format!("let `ready` be more than {}, or check more often", in_words(least));
            let place = (format!("tier.{}.rolling.ready", name.value), span);
            let mistake = Mistake::new(message, help);
            reader.note((Level::Warning, Code::Remark), place, mistake, Vec::new());
        }
        for spot in &draft.instances {
            let Some(mistake) = misfit(&fleet, &spot.instance.name, runbook) else { continue };
            let place = (draft.path.clone(), spot.name.clone());
            reader.note((Level::Error, Code::Conflict), place, mistake, Vec::new());
        }
        fleets.push(fleet);
    }
    fleets
}

/// What is wrong with the names that the steps of an instance have.
pub(super) fn misfit(fleet: &Fleet, instance: &str, runbook: &RunbookDraft) -> Option<Mistake> {
    match fleet.names(instance) {
        Err(_) => {
            let message = format!("{} and {instance} are too long together", fleet.name);
            let help = "their steps are called worker-work-1-switch: shorten one";
            Some(Mistake::new(message, help))
        }
        Ok(names) => names.iter().find(|name| runbook.has(name)).map(|name| {
            let message = format!("a [[step]] is called {name}, as a step of this instance is");
            Mistake::new(message, "give the [[step]] another name")
        }),
    }
}

/// Instances have no weight to choose, so they move together with nobody.
pub(super) fn alone<'a>(
    reader: &Reader,
    fleets: impl Iterator<Item = &'a TierName>,
    order: &At<Vec<Vec<TierName>>>,
) {
    let fleets: Vec<&TierName> = fleets.collect();
    for group in order.value.iter().filter(|group| group.len() > 1) {
        if let Some(name) = group.iter().find(|name| fleets.contains(name)) {
            let message =
                format!("{name} moves one instance at a time and cannot move together with others");
            let help = "let it be an entry of its own: order = [\"web\", \"worker\"]";
            let place = ("rollout.order".to_owned(), order.span.clone());
            let mistake = Mistake::new(message, help);
            reader.note((Level::Error, Code::Conflict), place, mistake, Vec::new());
        }
    }
}

/// What a `[tier.rolling]` is in the way of, in the section of a release.
pub(super) fn no_upstreams(section: &Section<'_>) {
    if let Some(span) = section.key_span("upstreams") {
        let help = "leave it out: each instance of [tier.rolling] takes every version where it is";
        let mistake = Mistake::new("the tier has instances, and a release no `upstreams`", help);
        section.wrong("upstreams", span, mistake);
    }
}
