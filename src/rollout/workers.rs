//! Workers: instances that no weight splits, moved one at a time by commands.

use std::time::Duration;

use super::runbook::{Action, OnFailure, OnInterrupt, Run, Step, StepName, When};
use super::trial::Trial;
use super::upgrade::Item;
use crate::namespace::Namespace;
use crate::traffic::{TierName, Version};

/// Instances of one tier of workers: each is some steps of a rollout, which must fit the journal.
pub const INSTANCES_MAX: usize = 32;

/// How often it is asked whether jobs are under way, and whether an instance is well.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// What is left for a pause to end in after its time.
const LATE: Duration = Duration::from_mins(1);

/// What the file says of a tier of workers. In the words of the commands `{instance}`, `{version}`
/// and `{namespace}` stand for those of the move. All may be done twice: after an interruption
/// they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// What the tier is called.
    pub name: TierName,
    /// The tier whose versions they run: they move in its rollouts.
    pub follows: TierName,
    /// What is moved, one after the other.
    pub instances: Vec<String>,
    /// Has an instance take no more jobs.
    pub quiet: Option<Run>,
    /// Succeeds once nothing is under way in an instance.
    pub busy: Option<Run>,
    /// Brings an instance to a version.
    pub switch: Run,
    /// Succeeds once an instance is well.
    pub health: Option<Run>,
    /// Prints the version that an instance runs.
    pub reports: Option<Run>,
    /// How long `busy` is waited for.
    pub drain: Duration,
    /// How long `health` and `reports` are waited for.
    pub ready: Duration,
    /// How long one command may take.
    pub timeout: Duration,
    /// How long an instance must be well before the next one is moved.
    pub bake: Duration,
    /// What follows where an instance cannot be moved, or its jobs fail.
    pub on_failure: OnFailure,
    /// Where their jobs are seen, and how many must be; none: they are not judged.
    pub jobs: Option<JobsSettings>,
    /// What stands before the version in namespaces.
    pub environment: Option<String>,
}

/// How the jobs of workers are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsSettings {
    /// The cache that is observed, and through which they get them.
    pub cache: String,
    /// Jobs that the new version must have done before the next instance is moved.
    pub least: u64,
}

/// One instance on its way to a version.
struct Move<'a> {
    workers: &'a Workers,
    instance: &'a str,
    version: &'a Version,
    /// Whether it is the way back.
    back: bool,
    /// Whether its jobs are looked at, instead of a pause.
    trial: bool,
}

impl Workers {
    /// Every instance to `new`, in order. What takes one back to `old` belongs to its first step.
    pub(super) fn moves(&self, old: Option<&Version>, new: &Version) -> Vec<Item> {
        let moved = |(place, instance): (usize, &String)| {
            let trial = self.trial(place, old, new);
            let onward =
                Move { workers: self, instance, version: new, back: false, trial: trial.is_some() };
            let mut steps = onward.steps();
            if let (Some(first), Some(version)) = (steps.first_mut(), old) {
                first.undo = Move { version, back: true, ..onward }.steps();
            }
            // It is at work while its jobs are looked at, and must still be well then.
            let still = steps.pop_if(|step| step.name.as_str().ends_with("-still"));
            let [before, after] = [steps, Vec::from_iter(still)]
                .map(|steps| steps.into_iter().map(|step| Item::Step(Box::new(step))));
            before.chain(trial.map(Item::Trial)).chain(after).collect::<Vec<Item>>()
        };
        self.instances.iter().enumerate().flat_map(moved).collect()
    }

    /// How the jobs are judged once the instance at `place` was moved; not where there is nothing
    /// to compare them with.
    fn trial(&self, place: usize, old: Option<&Version>, new: &Version) -> Option<Trial> {
        let (jobs, before) = (self.jobs.as_ref()?, old?.clone());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Some(Trial {
            workers: self.name.clone(),
            instance: self.instances.get(place)?.clone(),
            version: new.clone(),
            before,
            moved: count(place + 1),
            of: count(self.instances.len()),
            bake: self.bake,
            least: jobs.least,
            on_failure: self.on_failure,
        })
    }

    /// What the steps of `instance` are called, on the way and on the way back, by what they do.
    ///
    /// # Errors
    /// They do not fit the name of a step.
    pub fn names(&self, instance: &str) -> Result<Vec<StepName>, super::runbook::StepNameError> {
        let ways = [false, true].map(|back| move |verb| (verb, back));
        let verbs = ["quiet", "drain", "switch", "health", "reports", "bake", "still", "again"];
        let all = ways.iter().flat_map(|way| verbs.into_iter().map(way));
        all.map(|(verb, back)| step_name(&self.name, instance, verb, back).parse()).collect()
    }
}

fn step_name(tier: &TierName, instance: &str, verb: &str, back: bool) -> String {
    format!("{tier}-{instance}-{}{verb}", if back { "back-" } else { "" })
}

impl Move<'_> {
    fn steps(&self) -> Vec<Step> {
        let Workers { quiet, busy, switch, health, reports, drain, ready, bake, .. } = self.workers;
        let reports = reports.as_ref().map(|run| self.filled(run)).map(|run| {
            let expect = Some(self.version.to_string());
            Run { expect, ..run }
        });
        let well = health.as_ref().map(|run| self.filled(run));
        let pause = (!self.back && !self.trial && !bake.is_zero()).then(|| Run {
            command: vec!["sleep".into(), bake.as_secs_f64().to_string()],
            shell: false,
            expect: None,
        });
        let still = well.clone().filter(|_| pause.is_some() || (self.trial && !self.back));
        let once = Duration::ZERO;
        let steps = [
            ("quiet", quiet.as_ref().map(|run| self.filled(run)), once),
            ("drain", busy.as_ref().map(|run| self.filled(run)), *drain),
            ("switch", Some(self.filled(switch)), once),
            ("health", well, *ready),
            ("reports", reports, *ready),
            ("bake", pause, once),
            ("still", still, once),
        ];
        steps.into_iter().filter_map(|(verb, run, within)| self.step(verb, run?, within)).collect()
    }

    /// A step that is tried until `within` is over.
    fn step(&self, verb: &str, run: Run, within: Duration) -> Option<Step> {
        let workers = self.workers;
        // The file was refused where its names do not fit.
        let name = step_name(&workers.name, self.instance, verb, self.back).parse().ok()?;
        let when = if self.back { When::OnRollback } else { When::InTier(workers.name.clone()) };
        let retries = within.as_secs() / ASK_EVERY.as_secs();
        let on_failure = match verb {
            // Jobs that do not end are no reason to leave an instance where it fails.
            "quiet" | "drain" if self.back => OnFailure::Continue,
            _ if self.back => OnFailure::Hold,
            _ => workers.on_failure,
        };
        Some(Step {
            timeout: if verb == "bake" { workers.bake + LATE } else { workers.timeout },
            retries: u32::try_from(retries).unwrap_or(u32::MAX),
            retry_after: ASK_EVERY,
            on_interrupt: OnInterrupt::Retry,
            on_failure,
            ..Step::new(name, when, Action::Run(run))
        })
    }

    fn filled(&self, run: &Run) -> Run {
        let version = self.version.as_str();
        // A version that makes no namespace has none, nor does its app see one elsewhere.
        let namespace = Namespace::of(self.workers.environment.as_deref(), version);
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

    fn run(words: &str) -> Run {
        let command = words.split(' ').map(str::to_owned).collect();
        Run { command, shell: false, expect: None }
    }

    fn workers() -> Workers {
        Workers {
            name: "worker".parse().unwrap(),
            follows: "web".parse().unwrap(),
            instances: vec!["work-1".into(), "work-2".into()],
            quiet: Some(run("ssh {instance} kill -TSTP")),
            busy: Some(run("idle {instance}")),
            switch: run("ssh {instance} deploy {version} {namespace} {other}"),
            health: Some(run("well {instance}")),
            reports: Some(run("ask {instance}")),
            drain: Duration::from_mins(5),
            ready: Duration::from_secs(20),
            timeout: Duration::from_secs(30),
            bake: Duration::from_mins(2),
            on_failure: OnFailure::Rollback,
            jobs: None,
            environment: Some("blue".into()),
        }
    }

    fn steps(workers: &Workers, old: &Version, new: &Version) -> Vec<Step> {
        let step = |item| if let Item::Step(step) = item { *step } else { panic!("{item}") };
        workers.moves(Some(old), new).into_iter().map(step).collect()
    }

    fn versions() -> (Version, Version) {
        ("3.2".parse().unwrap(), "4.2".parse().unwrap())
    }

    #[test]
    fn an_instance_is_quieted_drained_switched_and_looked_at_before_the_next_is() {
        let (old, new) = versions();
        let lines: Vec<String> =
            steps(&workers(), &old, &new).iter().map(ToString::to_string).collect();
        let first = [
            "worker-work-1-quiet (in tier worker): run ssh work-1 kill -TSTP",
            "worker-work-1-drain (in tier worker): run idle work-1, tried up to 151 times, 2 s apart",
            "worker-work-1-switch (in tier worker): run ssh work-1 deploy 4.2 blue:4.2 {other}",
            "worker-work-1-health (in tier worker): run well work-1, tried up to 11 times, 2 s apart",
            "worker-work-1-reports (in tier worker): run ask work-1 and expect 4.2, tried up to 11 \
             times, 2 s apart",
            "worker-work-1-bake (in tier worker): run sleep 120",
            "worker-work-1-still (in tier worker): run well work-1",
        ];
        assert_eq!(lines[..7], first);
        assert_eq!(lines.len(), 14);
        assert!(lines[7].starts_with("worker-work-2-quiet"), "{}", lines[7]);
    }

    #[test]
    fn the_way_back_is_the_same_with_the_old_version_and_belongs_to_the_first_step() {
        let (old, new) = versions();
        let steps = steps(&workers(), &old, &new);
        let back: Vec<&str> = steps[0].undo.iter().map(|step| step.name.as_str()).collect();
        let verbs = ["quiet", "drain", "switch", "health", "reports"];
        assert_eq!(back, verbs.map(|verb| format!("worker-work-1-back-{verb}")));
        assert!(steps[0].undo[2].to_string().ends_with("deploy 3.2 blue:3.2 {other}"));
        assert!(steps[1..7].iter().all(|step| step.undo.is_empty()));
        let failures: Vec<OnFailure> = steps[0].undo.iter().map(|step| step.on_failure).collect();
        let (go, hold) = (OnFailure::Continue, OnFailure::Hold);
        assert_eq!(failures, [go, go, hold, hold, hold]);
    }

    #[test]
    fn what_the_file_does_not_say_is_not_done() {
        let (old, new) = versions();
        let bare = Workers {
            quiet: None,
            busy: None,
            health: None,
            reports: None,
            bake: Duration::ZERO,
            ..workers()
        };
        let steps = steps(&bare, &old, &new);
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["worker-work-1-switch", "worker-work-2-switch"]);
        assert!(steps.iter().all(|step| step.undo.len() == 1));
    }

    #[test]
    fn jobs_are_looked_at_instead_of_a_pause() {
        let (old, new) = versions();
        let jobs = Some(JobsSettings { cache: "queue".into(), least: 20 });
        let items = Workers { jobs, ..workers() }.moves(Some(&old), &new);
        let lines: Vec<String> = items.iter().map(ToString::to_string).collect();
        let expected = [
            "worker: the jobs of work-1 on 4.2, for 2 min and 20 jobs at least",
            "worker-work-1-still (in tier worker): run well work-1",
            "worker-work-2-quiet (in tier worker): run ssh work-2 kill -TSTP",
        ];
        assert_eq!(lines[5..8], expected);
        assert_eq!(items.len(), 14);
    }

    #[test]
    fn names_that_are_too_long_for_steps_are_known() {
        assert!(workers().names("work-1").is_ok());
        assert!(workers().names(&"x".repeat(60)).is_err());
    }
}
