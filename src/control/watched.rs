//! One tier under watch: its counters, its judge, and what both remember.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::heard::{self, Said, Sides};
use super::observe::{Memory, counts, latency_since};
use super::settings::TierSettings;
use super::tape::Tape;
use crate::analysis::{
    Counts, Heard, History, Judge, Line, Lookups, Report, Settings, WatchSettings, Window,
};
use crate::metrics::HealthState;
use crate::metrics::{Register, Totals};
use crate::rollout::{CacheFacts, Change, Input, Rollout, RolloutId, Tier};
use crate::traffic::{Release, TableTier, TierName, Watch, Weight};

/// The usual window.
const WINDOW: Duration = Duration::from_secs(1);

/// The window while the canary answers more than `BUSY_RATE` requests per second.
const BUSY_WINDOW: Duration = Duration::from_millis(240);

/// Requests per second of the canary above which windows are short.
const BUSY_RATE: f64 = 50.0;

/// A window longer than this is lost, not guessed: the machine slept, or the loop stood still.
const WINDOW_MAX: Duration = Duration::from_secs(10);

/// One tier at the moment it is looked at.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) tier: &'a Tier,
    pub(super) file: &'a TierSettings,
    pub(super) table: &'a TableTier,
    pub(super) register: &'a Register,
    pub(super) caches: &'a [CacheFacts],
}

impl Scene<'_> {
    /// Whether the tier uses `cache`.
    fn uses(&self, cache: &str) -> bool {
        let known = self.caches.iter().find(|facts| facts.name == cache);
        known.is_none_or(|facts| facts.is_used_by(&self.file.tier.name))
    }
}

/// What is seen of one tier.
pub(super) struct Watched {
    memory: Memory,
    judge: Option<(RolloutId, Judge)>,
    /// Counters of stable and of the canary when the open window began.
    base: Option<Reading>,
    since: Instant,
    /// The weight that the judge believes in.
    weight: Option<Weight>,
    /// Requests per second of the canary in the last window.
    canary_rate: f64,
    down_since: Option<Instant>,
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            memory: Memory::default(),
            judge: None,
            base: None,
            since: Instant::now(),
            weight: None,
            canary_rate: 0.0,
            down_since: None,
        }
    }
}

/// The counters of stable and of the canary at one moment.
#[derive(Clone)]
struct Reading {
    stable: Counters,
    canary: Option<Counters>,
}

/// The counters of one release at one moment, with its slot.
#[derive(Clone)]
struct Counters {
    slot: usize,
    totals: Totals,
    lookups: Lookups,
    said: Said,
}

/// What was seen in one window.
struct Seen {
    window: Window,
    heard: Heard,
    span: Duration,
}

/// The evidence row.
#[derive(Serialize, Deserialize)]
struct Row {
    memory: Memory,
    rollout: Option<RolloutId>,
    judge: Option<Judge>,
    /// The weight that the judge believes in.
    #[serde(default)]
    weight: Option<Weight>,
}

impl Watched {
    /// What is kept of it in the journal.
    pub(super) fn body(&self, name: &TierName) -> Option<String> {
        let (rollout, judge) = self.judge.clone().unzip();
        let (memory, weight) = (self.memory.clone(), self.weight);
        let complain =
            |error| tracing::error!(tier = %name, %error, "evidence cannot be written down");
        serde_json::to_string(&Row { memory, rollout, judge, weight }).map_err(complain).ok()
    }

    /// From what was kept. Evidence of another rollout than the open one is nobody's.
    pub(super) fn restore(body: &str, tier: &Tier) -> Result<Self, serde_json::Error> {
        let row: Row = serde_json::from_str(body)?;
        let open = tier.rollout.as_ref().map(|rollout| rollout.id);
        let judge = row.rollout.filter(|id| Some(*id) == open).zip(row.judge);
        Ok(Self { memory: row.memory, judge, weight: row.weight, ..Self::default() })
    }

    /// Makes sure that an open rollout has a judge, and that it knows the stage: the events are
    /// newer than the evidence if the program was killed between the two.
    pub(super) fn resume(&mut self, tier: &Tier, downtime: bool) {
        let Some(rollout) = &tier.rollout else {
            self.judge = None;
            return;
        };
        match &mut self.judge {
            Some((_, judge)) => {
                judge.restate(rollout.analysis.give_up, rollout.analysis.when_unproven);
                judge.rebake(rollout.plan.bake(rollout.weight));
                if self.weight != Some(rollout.weight) || leads_elsewhere(judge, rollout) {
                    enter(judge, rollout);
                    self.weight = Some(rollout.weight);
                } else if downtime {
                    judge.bake_anew();
                }
            }
            None => self.begin(rollout),
        }
    }

    /// Goes on after a time in which nobody looked, in which another process may have decided.
    pub(super) fn go_on(&mut self, tier: &Tier) {
        let open = tier.rollout.as_ref().map(|rollout| rollout.id);
        self.judge.take_if(|(id, _)| Some(*id) != open);
        self.down_since = None;
        self.forget_open_window();
        self.resume(tier, false);
    }

    fn begin(&mut self, rollout: &Rollout) {
        let mut judge = Judge::new(rollout.analysis.clone());
        self.memory.history.minutes().for_each(|minute| judge.calibrate(minute));
        enter(&mut judge, rollout);
        self.judge = Some((rollout.id, judge));
        self.weight = Some(rollout.weight);
    }

    /// Follows what was decided.
    pub(super) fn follow(&mut self, change: &Change, tier: &Tier) {
        match change {
            Change::Adopted { .. } | Change::Promoted { .. } | Change::RolledBack { .. } => {
                self.judge = None;
                self.down_since = None;
            }
            Change::Advanced { .. } | Change::Replanned { .. } => {
                if let (Some(rollout), Some((_, judge))) = (&tier.rollout, &mut self.judge) {
                    // A change of a later stage leaves the present one alone.
                    judge.rebake(rollout.plan.bake(rollout.weight));
                    if self.weight != Some(rollout.weight) || leads_elsewhere(judge, rollout) {
                        enter(judge, rollout);
                        self.weight = Some(rollout.weight);
                    }
                }
            }
            Change::Reanalysed { give_up, when_unproven } => {
                if let Some((_, judge)) = &mut self.judge {
                    judge.restate(*give_up, *when_unproven);
                }
            }
            Change::Started { .. } => {
                if let Some(rollout) = &tier.rollout {
                    self.begin(rollout);
                }
            }
            Change::Approved { .. }
            | Change::Asked { .. }
            | Change::Closed { .. }
            | Change::Cut
            | Change::DecisionNears { .. }
            | Change::Overdue { .. }
            | Change::DecisionPassed
            | Change::Emptied { .. }
            | Change::Froze { .. }
            | Change::Held { .. }
            | Change::Interrupted { .. }
            | Change::Moved { .. }
            | Change::Opened { .. }
            | Change::Passed { .. }
            | Change::Paused
            | Change::Receding { .. }
            | Change::Recalled { .. }
            | Change::Refused { .. }
            | Change::Rerouted { .. }
            | Change::Resumed
            | Change::Shifted { .. }
            | Change::StepBegan { .. }
            | Change::StepEnded { .. }
            | Change::StepSkipped { .. }
            | Change::Tried { .. }
            | Change::TurnedBack { .. }
            | Change::UpgradeEnded { .. }
            | Change::UpgradeStarted { .. }
            | Change::WouldHaveRolledBack { .. } => {}
        }
    }

    /// Nobody is served for now, or nobody but operators: nothing is observed, and its time does not
    /// count.
    pub(super) fn rest(&mut self) {
        self.base = None;
        self.down_since = None;
        self.canary_rate = 0.0;
    }

    /// Throws the open window away: never mix two splits in a block.
    pub(super) fn forget_open_window(&mut self) {
        self.base = None;
    }

    pub(super) fn history(&self) -> &History {
        &self.memory.history
    }

    pub(super) fn report(&self) -> Option<Report> {
        self.judge.as_ref().map(|(_, judge)| judge.report())
    }

    /// The time of the judge: the end of the last window it knows.
    pub(super) fn judged_until(&self) -> Option<f64> {
        self.judge.as_ref().map(|(_, judge)| judge.now())
    }

    /// Requests per second of the last hour, if there was one.
    pub(super) fn rate(&self) -> Option<f64> {
        Some(self.memory.history.rate()).filter(|rate| *rate > 0.0)
    }

    /// Closes the window if it is time. Gives what the judge or the health of the canary
    /// has to say.
    pub(super) fn look(
        &mut self,
        scene: &Scene<'_>,
        minute: u64,
        tape: Option<&mut Tape>,
    ) -> Option<Input> {
        let Scene { tier, file, table, register, .. } = *scene;
        let span = self.since.elapsed();
        let whole = if self.canary_rate > BUSY_RATE { BUSY_WINDOW } else { WINDOW };
        let canary = table.canary.as_ref().map(|release| release.slot);
        let same = |reading: &Reading| {
            reading.stable.slot == table.stable.slot
                && reading.canary.as_ref().map(|counters| counters.slot) == canary
        };
        if self.base.as_ref().is_some_and(same) && span < whole {
            return None;
        }
        let read = |release: &Arc<Release>| {
            let lookups = register.caches().lookups(&release.version, |cache| scene.uses(cache));
            let (slot, said) = (release.slot, heard::said(scene, &release.version));
            Counters { slot, totals: register.totals(slot), lookups, said }
        };
        heard::want(scene);
        let now = Reading { stable: read(&table.stable), canary: table.canary.as_ref().map(read) };
        let base = self.base.replace(now.clone()).filter(same);
        self.since = Instant::now();
        let base = base.filter(|_| span <= WINDOW_MAX)?;
        let mut window = self.window(&base, &now, file, span, minute);
        let rollout = tier.rollout.as_ref()?;
        let (counted, judged) = (&scene.file.tier.watches, &rollout.analysis.watches);
        window.stable.watches = by_name(&window.stable.watches, counted, judged);
        window.canary.watches = by_name(&window.canary.watches, counted, judged);
        let analysis = &rollout.analysis;
        for counts in [&mut window.stable, &mut window.canary] {
            counts.signals = heard::by_name(&counts.signals, &file.signals, analysis);
        }
        let heard = hear(scene, &now, &base, analysis);
        self.judged(scene, rollout, Seen { window, heard, span }, tape)
    }

    fn window(
        &mut self,
        base: &Reading,
        now: &Reading,
        file: &TierSettings,
        span: Duration,
        minute: u64,
    ) -> Window {
        let watches = file.tier.watches.len();
        let from = self.memory.slow.begins_at(self.memory.history.rate());
        let since = |now: &Counters, base: &Counters| {
            let lookups = now.lookups.since(base.lookups);
            let counted = counts(&now.totals, &base.totals, watches, from);
            let mut counts = Counts { lookups, ..counted };
            heard::count(&file.signals, &now.said, &base.said, &mut counts);
            counts
        };
        let stable = since(&now.stable, &base.stable);
        let canary = match (&now.canary, &base.canary) {
            (Some(now), Some(base)) => since(now, base),
            (None, _) | (_, None) => Counts::default(),
        };
        self.memory.history.add(minute, &stable);
        self.memory.slow.add(&latency_since(&now.stable.totals, &base.stable.totals), span);
        self.canary_rate = canary.requests as f64 / span.as_secs_f64();
        Window { stable, canary, cold: false }
    }

    fn judged(
        &mut self,
        scene: &Scene<'_>,
        rollout: &Rollout,
        Seen { window, heard, span }: Seen,
        tape: Option<&mut Tape>,
    ) -> Option<Input> {
        let name = &scene.file.tier.name;
        if let Some(reason) = self.down(scene) {
            return Some(Input::Unhealthy { tier: name.clone(), reason });
        }
        let (id, judge) = self.judge.as_mut()?;
        // Time counts only while both versions could be served.
        let is_served = |release: &Arc<Release>| !is_down(release, scene.register);
        let served =
            is_served(&scene.table.stable) && scene.table.canary.as_ref().is_some_and(is_served);
        // Nor while the canary is warmed and has no users.
        let served = served && scene.table.warming.is_none();
        let now = judge.now() + if served { span.as_secs_f64() } else { 0.0 };
        // In a trace the time before the first served second is calibration.
        if let Some(tape) = tape.filter(|_| now > 0.0) {
            let (stable, canary) = (window.stable.clone(), window.canary.clone());
            let (dur, weight) = (span.as_secs_f64(), rollout.weight.share());
            let heard = heard.clone();
            tape.window(name, &Line { t: now, dur, weight, stable, canary, heard });
        }
        judge.hear(&heard);
        let verdict = judge.observe(now, &window);
        Some(Input::Verdict { tier: name.clone(), rollout: *id, verdict })
    }

    /// The hard stop beside the statistics: no healthy upstream of the canary for too long,
    /// while stable is healthy. What is unknown after a start is not bad.
    fn down(&mut self, scene: &Scene<'_>) -> Option<String> {
        let Scene { tier, file, table, register, .. } = *scene;
        let canary = table.canary.as_ref()?;
        if !is_down(canary, register) {
            self.down_since = None;
            return None;
        }
        let since = *self.down_since.get_or_insert_with(Instant::now);
        let failed_checks = canary
            .upstreams
            .iter()
            .all(|upstream| register.health(upstream.slot).state == HealthState::Unhealthy);
        let long = failed_checks || since.elapsed() >= file.canary_down;
        let healthy = |release: &Release| {
            release.upstreams.iter().any(|u| register.health(u.slot).state == HealthState::Healthy)
        };
        if !long || !healthy(&table.stable) {
            return None;
        }
        let error = canary.upstreams.iter().find_map(|u| {
            register.health(u.slot).error.map(|error| format!("{}: {error}", u.address))
        });
        Some(format!(
            "no upstream of {} is healthy ({}), while {} is",
            canary.version,
            error.unwrap_or_else(|| "checks fail".into()),
            tier.stable
        ))
    }
}

/// What signals said of both versions since the window began.
fn hear(scene: &Scene<'_>, now: &Reading, base: &Reading, judged: &Settings) -> Heard {
    let (table, signals) = (scene.table, &scene.file.signals);
    let canary = now.canary.as_ref().zip(base.canary.as_ref()).zip(table.canary.as_ref());
    let Some(((canary, before), release)) = canary else { return Heard::default() };
    let stable = (&table.stable.version, &now.stable.said, &base.stable.said);
    let canary = (&release.version, &canary.said, &before.said);
    heard::heard(signals, judged, &Sides { stable, canary })
}

/// What was counted for the watches of the file, in the order of those that the open rollout began
/// with: a watch that left the file counts nothing, a new one waits for the next rollout.
fn by_name(counted: &[u64], file: &[Watch], judged: &[WatchSettings]) -> Vec<u64> {
    let count = |judged: &WatchSettings| {
        let place = file.iter().position(|watch| watch.name == judged.name);
        place.and_then(|place| counted.get(place)).copied().unwrap_or(0)
    };
    judged.iter().map(count).collect()
}

/// Whether no upstream of `release` may get requests.
fn is_down(release: &Release, register: &Register) -> bool {
    release.upstreams.iter().all(|upstream| {
        matches!(
            register.health(upstream.slot).state,
            HealthState::Unhealthy | HealthState::Ejected
        )
    })
}

/// Begins the stage that `rollout` stands at.
fn enter(judge: &mut Judge, rollout: &Rollout) {
    judge.start_stage(judge.now(), next_share(rollout), rollout.plan.bake(rollout.weight));
}

/// Whether the stage leads to another share than the judge believes: other margins then.
fn leads_elsewhere(judge: &Judge, rollout: &Rollout) -> bool {
    (judge.report().next_weight - next_share(rollout)).abs() > 1e-9
}

/// The share of users the next step leads to.
fn next_share(rollout: &Rollout) -> f64 {
    rollout.plan.after(rollout.weight).map_or(1.0, |stage| stage.weight.share())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_counted_by_name_not_by_place() {
        let file = |name: &str| Watch { name: name.into(), status: vec![], location: None };
        let judged = |name: &str| WatchSettings { name: name.into(), ..WatchSettings::default() };
        let (file, judged) = ([file("new"), file("pay")], [judged("pay"), judged("gone")]);
        assert_eq!(by_name(&[7, 2], &file, &judged), [2, 0]);
        assert_eq!(by_name(&[7], &file, &judged), [0, 0], "too few are no reason to fall");
    }
}
