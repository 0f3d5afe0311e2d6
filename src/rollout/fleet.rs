//! A fleet: instances that are moved to another version one at a time, by commands.

use std::time::Duration;

use super::plan::Stage;
use super::runbook::{
    Action, Check, OnFailure, OnInterrupt, OnRollback, Run, Step, StepName, StepNameError, When,
};
use super::upgrade::{Item, Shift};
use crate::namespace::Namespace;
use crate::traffic::{Address, TierName, Version, Weight};

/// Instances of one tier: each is some steps of a rollout, which must fit the journal.
pub const INSTANCES_MAX: usize = 32;

/// How often it is asked whether something is under way, and whether an instance is well.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Health checks need a moment to be made at all.
const WELL_MIN: Duration = Duration::from_secs(10);

/// What is left for a pause to end in after its time.
const LATE: Duration = Duration::from_mins(1);

/// What the verbs of the steps of an instance are.
const VERBS: [&str; 10] =
    ["quiet", "idle", "drain", "switch", "health", "reports", "well", "bake", "still", "again"];

/// Those that only look and wait: a rollback breaks them off.
const LOOKS: [&str; 5] = ["idle", "drain", "health", "reports", "well"];

/// What the file says of instances and how they are moved. In the words of the commands
/// `{instance}`, `{version}` and `{namespace}` stand for those of the move. All may be done twice:
/// after an interruption they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// The tier that they are.
    pub name: TierName,
    /// What is moved, one after the other.
    pub instances: Vec<String>,
    /// Has an instance take no more work.
    pub quiet: Option<Run>,
    /// Succeeds once nothing is under way in an instance.
    pub busy: Option<Run>,
    /// Brings an instance to a version.
    pub switch: Run,
    /// Succeeds once an instance is well.
    pub health: Option<Run>,
    /// Prints the version that an instance runs.
    pub reports: Option<Run>,
    /// How long what is under way is waited for.
    pub drain: Duration,
    /// How long an instance may take to be well.
    pub ready: Duration,
    /// How long one command may take.
    pub timeout: Duration,
    /// How long an instance must be well before the next one is moved.
    pub bake: Duration,
    /// What follows where an instance cannot be moved.
    pub on_failure: OnFailure,
    /// What stands before the version in namespaces.
    pub environment: Option<String>,
}

/// An instance that has traffic, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it is called.
    pub name: String,
    /// Where it listens, whatever version it runs.
    pub address: Address,
}

/// How it is seen that an instance that was moved does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nobody looks: there is a pause.
    Not,
    /// Its jobs are looked at.
    ByJobs,
    /// It has a part of the traffic of its tier.
    ByTraffic,
}

/// One instance on its way to a version.
pub(super) struct Move<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) instance: &'a str,
    pub(super) version: &'a Version,
    /// Whether it is the way back.
    pub(super) back: bool,
    pub(super) seen: Seen,
}

impl Fleet {
    /// Every instance of a tier with traffic from `old` to `new`, in order. Each is taken out of the
    /// old version, moved, and taken into the new one, whose weight follows: so many of the users
    /// as of the instances. Before the last one leaves the old version, everybody has the new one.
    pub(super) fn rolled(&self, old: &Version, new: &Version) -> Vec<Item> {
        let (tiers, of) = (vec![self.name.clone()], self.instances.len());
        let mut items = Vec::new();
        for (place, instance) in self.instances.iter().enumerate() {
            let (moved, onward) = (place + 1, self.onward(instance, old, new));
            if moved == of {
                items.push(Item::Everybody { tiers: tiers.clone() });
                items.extend(onward);
            } else {
                let stage = Stage { weight: users_of(moved, of), bake: self.bake };
                items.extend(onward);
                items.push(Item::Stage { tiers: tiers.clone(), stage });
            }
        }
        items
    }

    /// One instance from `old` to `new`; what takes it back belongs to its first item.
    fn onward(&self, instance: &str, old: &Version, new: &Version) -> Vec<Item> {
        let mut undo = self.passage(instance, old, true);
        let mut items = self.passage(instance, new, false);
        if let Some(Item::Shift(first)) = items.first_mut() {
            first.undo.append(&mut undo);
        }
        items
    }

    /// Out, by steps to `version`, and in.
    fn passage(&self, instance: &str, version: &Version, back: bool) -> Vec<Item> {
        let seen = Seen::ByTraffic;
        let steps = Move { fleet: self, instance, version, back, seen }.steps();
        let shift = |to: Option<&Version>| {
            let (tier, instance) = (self.name.clone(), instance.to_owned());
            Item::Shift(Shift { tier, instance, to: to.cloned(), back, undo: Vec::new() })
        };
        let steps = steps.into_iter().map(|step| Item::Step(Box::new(step)));
        [shift(None)].into_iter().chain(steps).chain([shift(Some(version))]).collect()
    }

    /// How long an instance may take to pass the health checks of its tier.
    pub fn well_within(&self) -> Duration {
        self.ready.max(WELL_MIN)
    }

    /// Whether `name` is a step of an instance, on its way, that a rollback breaks off.
    pub(super) fn looks(&self, name: &StepName) -> bool {
        let of = |instance: &String| {
            let called = |verb| step_name(&self.name, instance, verb, false) == name.as_str();
            LOOKS.into_iter().any(called)
        };
        self.instances.iter().any(of)
    }

    /// What the steps of `instance` are called, on the way and on the way back, by what they do.
    ///
    /// # Errors
    /// They do not fit the name of a step.
    pub fn names(&self, instance: &str) -> Result<Vec<StepName>, StepNameError> {
        let ways = [false, true].map(|back| move |verb| (verb, back));
        let all = ways.iter().flat_map(|way| VERBS.into_iter().map(way));
        all.map(|(verb, back)| step_name(&self.name, instance, verb, back).parse()).collect()
    }
}

/// The share of the users that `moved` of so many instances get.
pub fn users_of(moved: usize, of: usize) -> Weight {
    let points = 10_000 * moved / of.max(1);
    let points = u16::try_from(points).unwrap_or(10_000);
    Weight::basis_points(points).unwrap_or(Weight::ALL)
}

/// What the step is called that does `verb` with an instance of `tier`.
pub(super) fn step_name(tier: &TierName, instance: &str, verb: &str, back: bool) -> String {
    format!("{tier}-{instance}-{}{verb}", if back { "back-" } else { "" })
}

impl Move<'_> {
    pub(super) fn steps(&self) -> Vec<Step> {
        let Fleet { quiet, busy, switch, health, reports, drain, ready, bake, .. } = self.fleet;
        let run = |run: &Run| Action::Run(self.filled(run));
        let reports = reports.as_ref().map(|run| {
            let expect = Some(self.version.to_string());
            Action::Run(Run { expect, ..self.filled(run) })
        });
        let well = health.as_ref().map(run);
        let pause = (!self.back && self.seen == Seen::Not && !bake.is_zero()).then(|| {
            let command = vec!["sleep".into(), bake.as_secs_f64().to_string()];
            Action::Run(Run { command, shell: false, expect: None })
        });
        let is_tried = self.seen == Seen::ByJobs && !self.back;
        let still = well.clone().filter(|_| pause.is_some() || is_tried);
        let (tier, instance) = (self.fleet.name.clone(), self.instance.to_owned());
        let checks = (self.seen == Seen::ByTraffic).then(|| {
            let idle = Check::Idle { tier: tier.clone(), instance: instance.clone() };
            [idle, Check::Well { tier, instance, version: self.version.clone() }]
        });
        let [idle, fit] = checks.map_or([None, None], |checks| checks.map(Some));
        let once = Duration::ZERO;
        let steps = [
            ("quiet", quiet.as_ref().map(run), once),
            ("idle", idle.map(Action::Check), *drain),
            ("drain", busy.as_ref().map(run), *drain),
            ("switch", Some(run(switch)), once),
            ("health", well, *ready),
            ("reports", reports, *ready),
            ("well", fit.map(Action::Check), self.fleet.well_within()),
            ("bake", pause, once),
            ("still", still, once),
        ];
        let step = |(verb, action, within): (&str, Option<Action>, Duration)| {
            self.step(verb, action?, within)
        };
        steps.into_iter().filter_map(step).collect()
    }

    /// A step that is tried until `within` is over.
    fn step(&self, verb: &str, action: Action, within: Duration) -> Option<Step> {
        let fleet = self.fleet;
        // The file was refused where its names do not fit.
        let name = step_name(&fleet.name, self.instance, verb, self.back).parse().ok()?;
        let when = if self.back { When::OnRollback } else { When::InTier(fleet.name.clone()) };
        let retries = within.as_secs() / ASK_EVERY.as_secs();
        let on_failure = match verb {
            // Users who take longer than that are cut off, as at every other drain.
            "idle" => OnFailure::Continue,
            // Jobs that do not end are no reason to leave an instance where it fails.
            "quiet" | "drain" if self.back => OnFailure::Continue,
            _ if self.back => OnFailure::Hold,
            _ => fleet.on_failure,
        };
        let stops = !self.back && LOOKS.contains(&verb);
        Some(Step {
            on_rollback: if stops { OnRollback::Stop } else { OnRollback::Wait },
            timeout: if verb == "bake" { fleet.bake + LATE } else { fleet.timeout },
            retries: u32::try_from(retries).unwrap_or(u32::MAX),
            retry_after: ASK_EVERY,
            on_interrupt: OnInterrupt::Retry,
            on_failure,
            ..Step::new(name, when, action)
        })
    }

    fn filled(&self, run: &Run) -> Run {
        let version = self.version.as_str();
        // A version that makes no namespace has none, nor does its app see one elsewhere.
        let namespace = Namespace::of(self.fleet.environment.as_deref(), version);
        let namespace = namespace.map(|namespace| namespace.to_string()).unwrap_or_default();
        let fill = |word: &String| {
            word.replace("{instance}", self.instance)
                .replace("{version}", version)
                .replace("{namespace}", &namespace)
        };
        Run { command: run.command.iter().map(fill).collect(), ..run.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(instances: &[&str]) -> Fleet {
        let run = |words: &str| {
            let command = words.split(' ').map(str::to_owned).collect();
            Run { command, shell: false, expect: None }
        };
        Fleet {
            name: "api".parse().unwrap(),
            instances: instances.iter().map(|name| (*name).to_owned()).collect(),
            quiet: None,
            busy: None,
            switch: run("deploy {instance} {version}"),
            health: None,
            reports: Some(run("ask {instance}")),
            drain: Duration::from_secs(20),
            ready: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            bake: Duration::from_mins(2),
            on_failure: OnFailure::Rollback,
            environment: None,
        }
    }

    fn rolled(instances: &[&str]) -> Vec<Item> {
        fleet(instances).rolled(&"3.2".parse().unwrap(), &"4.2".parse().unwrap())
    }

    #[test]
    fn an_instance_is_out_while_it_is_moved_and_the_weight_follows_it() {
        let lines: Vec<String> = rolled(&["a", "b"]).iter().map(ToString::to_string).collect();
        let expected = [
            "api: a gets no more requests",
            "api-a-idle (in tier api): check that nothing is under way at a, tried up to 11 times, 2 s \
             apart",
            "api-a-switch (in tier api): run deploy a 4.2",
            "api-a-reports (in tier api): run ask a and expect 4.2, tried up to 6 times, 2 s apart",
            "api-a-well (in tier api): check that a is healthy with 4.2, tried up to 6 times, 2 s apart",
            "api: a gets those of 4.2",
            "api: 50% for 2 min",
            "api: everybody",
            "api: b gets no more requests",
        ];
        assert_eq!(lines[..9], expected);
        assert_eq!(lines.len(), 14);
    }

    #[test]
    fn the_way_back_of_an_instance_is_the_same_and_belongs_to_its_first_item() {
        let items = rolled(&["a", "b"]);
        let Item::Shift(first) = &items[0] else { panic!("{}", items[0]) };
        let lines: Vec<String> = first.undo.iter().map(ToString::to_string).collect();
        assert_eq!(lines[0], "api: a gets no more requests");
        assert!(lines[2].ends_with("run deploy a 3.2"), "{lines:?}");
        assert_eq!(lines.last().unwrap(), "api: a gets those of 3.2");
        let shifts = first.undo.iter().filter(|item| matches!(item, Item::Shift(s) if s.back));
        assert_eq!((shifts.count(), lines.len()), (2, 6));
        let failures = first.undo.iter().filter_map(|item| {
            if let Item::Step(step) = item { Some(step.on_failure) } else { None }
        });
        let (go, hold) = (OnFailure::Continue, OnFailure::Hold);
        assert_eq!(failures.collect::<Vec<_>>(), [go, hold, hold, hold]);
        let json = serde_json::to_string(&items).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Item>>(&json).unwrap(), items);
    }

    #[test]
    fn what_only_looks_and_waits_is_broken_off_where_everything_goes_back() {
        let items = rolled(&["a", "b"]);
        let stops = items[..6].iter().filter_map(|item| {
            let Item::Step(step) = item else { return None };
            assert_eq!(fleet(&["a"]).looks(&step.name), step.on_rollback == OnRollback::Stop);
            (step.on_rollback == OnRollback::Stop).then(|| step.name.as_str())
        });
        assert_eq!(stops.collect::<Vec<_>>(), ["api-a-idle", "api-a-reports", "api-a-well"]);
        let Item::Shift(first) = &items[0] else { panic!("{}", items[0]) };
        let back = first.undo.iter().filter_map(|item| {
            if let Item::Step(step) = item { Some(step.on_rollback) } else { None }
        });
        assert!(back.into_iter().all(|on_rollback| on_rollback == OnRollback::Wait));
    }

    #[test]
    fn each_instance_adds_its_share_and_the_last_one_comes_after_everybody() {
        let items = rolled(&["a", "b", "c", "d", "e", "f"]);
        let weights = items.iter().filter_map(|item| {
            if let Item::Stage { stage, .. } = item { Some(stage.weight.to_string()) } else { None }
        });
        let weights: Vec<String> = weights.collect();
        assert_eq!(weights, ["16.66%", "33.33%", "50%", "66.66%", "83.33%"]);
    }
}
