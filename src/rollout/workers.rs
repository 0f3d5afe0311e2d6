//! Workers: instances that no weight splits, moved one at a time by commands.

use std::time::Duration;

use super::fleet::{Fleet, Move, Seen};
use super::trial::Trial;
use super::upgrade::Item;
use crate::traffic::{TierName, Version};

/// What the file says of a tier of workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Its instances, and how they are moved.
    pub fleet: Fleet,
    /// The tier whose versions they run: they move in its rollouts.
    pub follows: TierName,
    /// Where their jobs are seen, and how many must be; none: they are not judged.
    pub jobs: Option<JobsSettings>,
}

/// How the jobs of workers are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsSettings {
    /// Where they are counted.
    pub source: JobsSource,
    /// Jobs that the new version must have done before the next instance is moved.
    pub least: u64,
}

/// Where the jobs of workers are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobsSource {
    /// At the ports of a cache that is observed, through which they get them.
    Cache(String),
    /// By a signal from outside.
    Signal {
        /// Its name.
        name: String,
        /// After this long without a word it is blind.
        silent_after: Duration,
    },
}

impl JobsSource {
    /// The cache, if it is one.
    pub fn cache(&self) -> Option<&str> {
        match self {
            Self::Cache(name) => Some(name),
            Self::Signal { .. } => None,
        }
    }

    /// What the file calls it.
    pub fn name(&self) -> &str {
        match self {
            Self::Cache(name) | Self::Signal { name, .. } => name,
        }
    }
}

impl Workers {
    /// What the tier is called.
    pub const fn name(&self) -> &TierName {
        &self.fleet.name
    }

    /// Every instance to `new`, in order. What takes one back to `old` belongs to its first step.
    pub(super) fn moves(&self, old: Option<&Version>, new: &Version) -> Vec<Item> {
        let moved = |(place, instance): (usize, &String)| {
            let trial = self.trial(place, old, new);
            let seen = if trial.is_some() { Seen::ByJobs } else { Seen::Not };
            let onward = Move { fleet: &self.fleet, instance, version: new, back: false, seen };
            let mut steps = onward.steps();
            if let (Some(first), Some(version)) = (steps.first_mut(), old) {
                let back = Move { version, back: true, ..onward };
                first.undo = back.steps();
            }
            // It is at work while its jobs are looked at, and must still be well then.
            let still = steps.pop_if(|step| step.name.as_str().ends_with("-still"));
            let [before, after] = [steps, Vec::from_iter(still)]
                .map(|steps| steps.into_iter().map(|step| Item::Step(Box::new(step))));
            before.chain(trial.map(Item::Trial)).chain(after).collect::<Vec<Item>>()
        };
        self.fleet.instances.iter().enumerate().flat_map(moved).collect()
    }

    /// How the jobs are judged once the instance at `place` was moved; not where there is nothing
    /// to compare them with.
    fn trial(&self, place: usize, old: Option<&Version>, new: &Version) -> Option<Trial> {
        let (jobs, before) = (self.jobs.as_ref()?, old?.clone());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let Fleet { name, instances, bake, on_failure, .. } = &self.fleet;
        Some(Trial {
            workers: name.clone(),
            instance: instances.get(place)?.clone(),
            version: new.clone(),
            before,
            moved: count(place + 1),
            of: count(instances.len()),
            bake: *bake,
            least: jobs.least,
            on_failure: *on_failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::runbook::{OnFailure, Run, Step};
    use super::super::trial::Has;
    use super::super::upgrade::{Agreed, PastDecision, Scope, Turn, Upgrade};
    use super::*;
    use crate::time::Timestamp;
    use crate::traffic::Salt;

    fn run(words: &str) -> Run {
        let command = words.split(' ').map(str::to_owned).collect();
        Run { command, shell: false, expect: None }
    }

    fn fleet() -> Fleet {
        Fleet {
            name: "worker".parse().unwrap(),
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
            environment: Some("blue".into()),
        }
    }

    fn workers() -> Workers {
        Workers { fleet: fleet(), follows: "web".parse().unwrap(), jobs: None }
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
    fn an_instance_has_neither_version_from_the_beginning_of_its_switch_to_the_end() {
        let (old, new) = versions();
        let items = workers().moves(Some(&old), &new);
        let agreed = Agreed {
            name: None,
            targets: std::collections::BTreeMap::new(),
            salt: Salt::new([7; 16]),
            items: items.clone(),
            way_back: vec![],
            on_failure: Scope::Rollout,
            decide_by: None,
            past_decision: PastDecision::Hold,
            no_return: None,
        };
        let mut upgrade = Upgrade::new(1, &agreed, Timestamp::from_millis(1));
        let mut at = |place: usize, turn: Turn| {
            (upgrade.at, upgrade.turn) = (place, turn);
            ["work-1", "work-2"].map(|instance| upgrade.has(&fleet(), instance))
        };
        let (failed, run) = (Turn::Failed { reason: String::new(), run: 1 }, 1);
        assert_eq!(at(0, Turn::Waiting), [Has::Old, Has::Old]);
        assert_eq!(at(1, Turn::Running { run }), [Has::Old, Has::Old], "it is drained");
        assert_eq!(at(2, Turn::Waiting), [Has::Old, Has::Old]);
        assert_eq!(at(2, Turn::Running { run }), [Has::Neither, Has::Old]);
        assert_eq!(at(2, failed), [Has::Neither, Has::Old]);
        assert_eq!(at(3, Turn::Waiting), [Has::New, Has::Old]);
        assert_eq!(at(7, Turn::Waiting), [Has::New, Has::Old], "the next one waits for its hours");
        assert_eq!(at(14, Turn::Waiting), [Has::New, Has::New]);
        // One goes back alone, and is moved anew.
        let moved = steps(&workers(), &old, &new);
        let undo = moved[7].undo.iter().cloned().map(|step| Item::Step(Box::new(step)));
        upgrade.items.splice(14..14, undo);
        upgrade.items.extend(items[7..].iter().cloned());
        let mut at = |place: usize, turn: Turn| {
            (upgrade.at, upgrade.turn) = (place, turn);
            ["work-1", "work-2"].map(|instance| upgrade.has(&fleet(), instance))
        };
        assert_eq!(at(16, Turn::Running { run }), [Has::New, Has::Neither]);
        assert_eq!(at(17, Turn::Waiting), [Has::New, Has::Old]);
        assert_eq!(at(22, Turn::Waiting), [Has::New, Has::New]);
        // Of a way back only what is still to do is known.
        upgrade.items = upgrade.items[14..19].to_vec();
        (upgrade.at, upgrade.turn) = (0, Turn::Waiting);
        let has = ["work-1", "work-2"].map(|instance| upgrade.has(&fleet(), instance));
        assert_eq!(has, [Has::Old, Has::Neither]);
    }

    #[test]
    fn what_the_file_does_not_say_is_not_done() {
        let (old, new) = versions();
        let bare = Fleet {
            quiet: None,
            busy: None,
            health: None,
            reports: None,
            bake: Duration::ZERO,
            ..fleet()
        };
        let bare = Workers { fleet: bare, ..workers() };
        let steps = steps(&bare, &old, &new);
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["worker-work-1-switch", "worker-work-2-switch"]);
        assert!(steps.iter().all(|step| step.undo.len() == 1));
    }

    #[test]
    fn jobs_are_looked_at_instead_of_a_pause() {
        let (old, new) = versions();
        let jobs = Some(JobsSettings { source: JobsSource::Cache("queue".into()), least: 20 });
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
        assert!(fleet().names("work-1").is_ok());
        assert!(fleet().names(&"x".repeat(60)).is_err());
    }
}
