//! Workers under watch: the jobs of both versions, and the judge that compares them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Control;
use crate::analysis::{Counts, Heard, History, Judge, Report, Settings, Tally, Window};
use crate::clock;
use crate::journal::{Evidence, Kept};
use crate::metrics::{Register, Wanted};
use crate::rollout::{Has, Input, JobsSource, RolloutId, Standing, State, Trial, Workers};
use crate::time::as_millis;
use crate::traffic::{TierName, Version};

/// The usual window.
const WINDOW: Duration = Duration::from_secs(1);

/// A longer window is lost: the machine slept, or the loop stood still.
const WINDOW_MAX: Duration = Duration::from_secs(10);

/// What is seen of the jobs of one tier of workers.
pub(super) struct Crew {
    seen: Row,
    /// What had been done when the open window began, by version: the old one, and the new one.
    base: Option<[(Version, Tally); 2]>,
    since: Instant,
}

/// The evidence row.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Row {
    /// The last hour of the version that all had before.
    history: History,
    judged: Option<Judged>,
}

/// A trial and its judge.
#[derive(Clone, Serialize, Deserialize)]
struct Judged {
    rollout: RolloutId,
    /// From which item on the workers are moved.
    from: usize,
    /// Which item is the trial that the judge knows.
    at: usize,
    /// How long its jobs were looked at, while nobody had it wait.
    #[serde(default, with = "as_millis")]
    looked: Duration,
    judge: Judge,
}

impl Default for Crew {
    fn default() -> Self {
        Self { seen: Row::default(), base: None, since: Instant::now() }
    }
}

impl Crew {
    /// From what was kept in the journal.
    pub(super) fn restore(body: &str) -> Result<Self, serde_json::Error> {
        Ok(Self { seen: serde_json::from_str(body)?, ..Self::default() })
    }

    /// What is kept of it in the journal.
    pub(super) fn body(&self, name: &TierName) -> Option<String> {
        let complain =
            |error| tracing::error!(tier = %name, %error, "evidence cannot be written down");
        serde_json::to_string(&self.seen).map_err(complain).ok()
    }

    /// Throws the open window away: somebody else may have looked meanwhile.
    pub(super) fn forget_open_window(&mut self) {
        self.base = None;
    }

    /// What is known of the jobs; none: no instance is on trial.
    pub(super) fn report(&self) -> Option<Report> {
        Some(self.seen.judged.as_ref()?.judge.report().about_jobs())
    }

    /// Closes the window if it is time, and asks the judge if the workers are on trial.
    fn look(&mut self, scene: &Scene<'_>, minute: u64) -> Option<Input> {
        let Scene { workers, state, settings, .. } = scene;
        let upgrade = state.open_upgrade();
        let standing =
            upgrade.and_then(|upgrade| Some((upgrade.id, upgrade.trial(workers.name())?)));
        self.follow(standing.as_ref().map(|(id, standing)| (*id, standing)), settings);
        let span = self.since.elapsed();
        let versions = match &standing {
            Some((_, Standing { trial, .. })) => [trial.before.clone(), trial.version.clone()],
            None => [(); 2].map(|()| scene.version().clone()),
        };
        let same = |base: &[(Version, Tally); 2]| {
            base.iter().map(|(version, _)| version).eq(versions.iter())
        };
        if self.base.as_ref().is_some_and(same) && span < WINDOW {
            return None;
        }
        let standing = standing.as_ref().map(|(rollout, standing)| (*rollout, standing));
        let (now, blind) = scene.done(&versions, standing.map(|(_, standing)| standing))?;
        let base = self.base.replace(now.clone()).filter(same);
        self.since = Instant::now();
        let base = base.filter(|_| span <= WINDOW_MAX)?;
        let [stable, canary] = [0, 1].map(|side| counts(now[side].1, base[side].1));
        self.seen.history.add(minute, &stable);
        let (rollout, _) = standing?;
        let Judged { judge, looked, .. } = self.seen.judged.as_mut()?;
        if upgrade.is_some_and(|upgrade| !upgrade.paused && upgrade.held.is_none()) {
            *looked += span;
        }
        judge.hear(&Heard { samples: vec![], blind });
        let until = judge.now() + span.as_secs_f64();
        judge.observe(until, &Window { stable, canary, cold: false });
        let report = judge.report();
        let (workers, done, looked) =
            (workers.name().clone(), report.stage_canary.requests, *looked);
        Some(Input::Jobs { workers, rollout, verdict: report.of_jobs(), done, looked })
    }

    /// Sees to it that a trial has its judge, which knows how far it has come.
    fn follow(&mut self, standing: Option<(RolloutId, &Standing<'_>)>, settings: &Settings) {
        let Some((rollout, Standing { from, at, trial })) = standing else {
            self.seen.judged = None;
            return;
        };
        let same = |judged: &Judged| judged.rollout == rollout && judged.from == *from;
        let mut judged = self.seen.judged.take().filter(same).unwrap_or_else(|| {
            let mut judge = Judge::new(settings.clone());
            self.seen.history.minutes().for_each(|minute| judge.calibrate(minute));
            begin(&mut judge, trial);
            self.base = None;
            Judged { rollout, from: *from, at: *at, looked: Duration::ZERO, judge }
        });
        if judged.at != *at {
            judged.at = *at;
            judged.looked = Duration::ZERO;
            begin(&mut judged.judge, trial);
            self.base = None;
        }
        self.seen.judged = Some(judged);
    }
}

/// The share of the jobs is another one from here on.
fn begin(judge: &mut Judge, trial: &Trial) {
    judge.start_stage(judge.now(), trial.next_share(), trial.bake);
}

/// What was done since `base`.
fn counts(now: Tally, base: Tally) -> Counts {
    let Tally { total, bad } = now.since(base);
    Counts { requests: total, errors: bad.min(total), ..Counts::default() }
}

/// What two versions have done, and which signal of which of them is silent.
type Done = ([(Version, Tally); 2], Vec<String>);

/// One tier of workers at the moment it is looked at.
struct Scene<'a> {
    workers: &'a Workers,
    state: &'a State,
    register: &'a Register,
    settings: Settings,
}

impl Scene<'_> {
    /// The version that all of them have while none is on trial.
    fn version(&self) -> &Version {
        let Workers { follows, .. } = self.workers;
        let tier = &self.state.tiers[follows];
        let new = self.state.open_upgrade().and_then(|upgrade| upgrade.targets.get(follows));
        let before = tier.previous.as_ref().map(|(version, _)| version);
        // Where the tier has the new version already, its workers have not.
        let is_ahead = new.is_some_and(|target| target.version == tier.stable);
        before.filter(|_| is_ahead).unwrap_or(&tier.stable)
    }

    /// What was done of the jobs of these `versions`, the old one and the new one, and which of them
    /// are silent though they are compared.
    fn done(&self, versions: &[Version; 2], standing: Option<&Standing<'_>>) -> Option<Done> {
        let ledger = self.register.signals();
        let workers = self.workers.name();
        let (name, silent_after) = match &self.workers.jobs.as_ref()?.source {
            JobsSource::Cache(cache) => {
                ledger.want(workers, &[], &[]);
                let caches = self.register.caches();
                let done = versions.each_ref().map(|version| {
                    let done = caches.jobs(version, |name| name == cache);
                    (version.clone(), done.unwrap_or_default())
                });
                return Some((done, vec![]));
            }
            JobsSource::Signal { name, silent_after } => (name, *silent_after),
        };
        let wanted = |(has, version): (Has, &Version)| {
            let places = self.places(has);
            let is_wanted = !places.is_empty() && (has == Has::Old || standing.is_some());
            is_wanted.then(|| Wanted { version: version.clone(), places })
        };
        let wanted: Vec<Wanted> =
            [Has::Old, Has::New].into_iter().zip(versions).filter_map(wanted).collect();
        ledger.want(workers, &[(name, silent_after)], &wanted);
        let moment = Instant::now();
        // After the last instance nobody is left to be compared with.
        let compared = standing.map_or([false; 2], |it| [it.trial.moved < it.trial.of, true]);
        let mut blind = Vec::new();
        let done = [0, 1].map(|side| {
            let version: &Version = &versions[side];
            let entry = ledger.entry(workers, name, version);
            let silence = entry.as_ref().and_then(|entry| entry.silence(moment));
            let silence = silence.filter(|_| compared[side]);
            blind.extend(silence.map(|why| format!("{name} of {version}: {why}")));
            (version.clone(), entry.map(|entry| entry.tally).unwrap_or_default())
        });
        Some((done, blind))
    }

    /// The instances that have the old version, or the new one.
    fn places(&self, has: Has) -> Vec<String> {
        let fleet = &self.workers.fleet;
        let upgrade = self.state.open_upgrade();
        let own = |instance: &&String| {
            upgrade.map_or(Has::Old, |upgrade| upgrade.has(fleet, instance)) == has
        };
        fleet.instances.iter().filter(own).cloned().collect()
    }
}

impl Control {
    /// Looks at all workers whose jobs are seen.
    pub(super) async fn look_at_jobs(&mut self) {
        let minute = clock::wall().millis() / 60_000;
        let mut said = Vec::new();
        let judged = |name: &TierName| {
            let mut file = self.settings.upgrade.workers.iter();
            file.any(|workers| workers.name() == name && workers.jobs.is_some())
        };
        for name in self.crews.keys().filter(|name| !judged(name)) {
            self.register.signals().want(name, &[], &[]);
        }
        self.crews.retain(|name, _| judged(name));
        for workers in self.settings.upgrade.workers.iter().filter(|w| w.jobs.is_some()) {
            let known = self.state.tiers.contains_key(&workers.follows);
            let Some(file) = self.settings.tier(&workers.follows).filter(|_| known) else {
                continue;
            };
            let scene = Scene {
                workers,
                state: &self.state,
                register: &self.register,
                settings: Settings {
                    watches: vec![],
                    signals: vec![],
                    checks: vec![],
                    ..file.analysis.clone()
                },
            };
            let crew = self.crews.entry(workers.name().clone()).or_default();
            said.extend(crew.look(&scene, minute));
        }
        for input in said {
            self.decide_alone(&input).await;
        }
    }
}

/// What was kept of workers whose tiers are not those of `state`.
pub(super) fn restored(kept: &Kept, state: &State) -> BTreeMap<TierName, Crew> {
    let others = kept.evidence.iter().filter(|(name, _)| !state.tiers.contains_key(*name));
    let crew = |(name, evidence): (&TierName, &Evidence)| {
        let crew = Crew::restore(&evidence.body).unwrap_or_else(|error| {
            tracing::warn!(tier = %name, %error, "evidence cannot be read; it begins anew");
            Crew::default()
        });
        (name.clone(), crew)
    };
    others.map(crew).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(moved: u32) -> Trial {
        Trial {
            workers: "worker".parse().unwrap(),
            instance: format!("work-{moved}"),
            version: "4.2".parse().unwrap(),
            before: "3.2".parse().unwrap(),
            moved,
            of: 4,
            bake: Duration::from_secs(5),
            least: 20,
            on_failure: crate::rollout::runbook::OnFailure::Rollback,
        }
    }

    #[test]
    fn evidence_is_kept_over_a_restart_and_to_the_next_instance_but_not_over_a_way_back() {
        let mut crew = Crew::default();
        let (first, second) = (trial(1), trial(2));
        let settings = Settings::default();
        crew.follow(Some((7, &Standing { from: 0, at: 4, trial: &first })), &settings);
        let window = Window {
            stable: Counts { requests: 10, ..Counts::default() },
            canary: Counts { requests: 10, errors: 10, ..Counts::default() },
            cold: false,
        };
        let odds = |crew: &Crew| crew.seen.judged.as_ref().unwrap().judge.report().metrics[0].odds;
        crew.seen.judged.as_mut().unwrap().judge.observe(1.0, &window);
        let before = odds(&crew);
        assert!(before > 1.0);
        let mut crew = Crew::restore(&crew.body(&first.workers).unwrap()).unwrap();
        assert!((odds(&crew) - before).abs() < 1e-9);
        crew.follow(Some((7, &Standing { from: 0, at: 9, trial: &second })), &settings);
        assert!((odds(&crew) - before).abs() < 1e-9, "what the first did still counts");
        assert_eq!(crew.seen.judged.as_ref().unwrap().judge.report().stage_canary.requests, 0);
        crew.follow(Some((7, &Standing { from: 8, at: 12, trial: &first })), &settings);
        assert!(odds(&crew) < before, "they were taken back, and are tried anew");
        crew.follow(None, &settings);
        assert!(crew.report().is_none());
    }
}
