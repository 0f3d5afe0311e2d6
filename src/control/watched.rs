//! One tier under watch: its counters, its judge, and what both remember.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::observe::{Memory, counts, latency_since};
use super::settings::TierSettings;
use super::tape::Tape;
use crate::analysis::{Counts, History, Judge, Line, Report, WatchSettings, Window};
use crate::metrics::recorder::HealthState;
use crate::metrics::{Register, Totals};
use crate::rollout::{Change, Input, Rollout, RolloutId, Tier};
use crate::traffic::{Release, TableTier, TierName, Watch};

/// The usual window.
const WINDOW: Duration = Duration::from_secs(1);

/// The window while the canary answers more than `BUSY_RATE` requests per second.
const BUSY_WINDOW: Duration = Duration::from_millis(240);

/// Requests per second of the canary above which windows are short.
const BUSY_RATE: f64 = 50.0;

/// A window longer than this is lost, not guessed: the machine slept, or the loop stood still.
const WINDOW_MAX: Duration = Duration::from_secs(10);

/// What is seen of one tier.
pub(super) struct Watched {
    memory: Memory,
    judge: Option<(RolloutId, Judge)>,
    /// Counters of stable and of the canary when the open window began.
    base: Option<Reading>,
    since: Instant,
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
            canary_rate: 0.0,
            down_since: None,
        }
    }
}

/// The counters of stable and of the canary at one moment, with their slots.
#[derive(Clone)]
struct Reading {
    stable: (usize, Totals),
    canary: Option<(usize, Totals)>,
}

/// The evidence row.
#[derive(Serialize, Deserialize)]
struct Row {
    memory: Memory,
    rollout: Option<RolloutId>,
    judge: Option<Judge>,
}

impl Watched {
    /// What is kept of it in the journal.
    pub(super) fn body(&self, name: &TierName) -> Option<String> {
        let (rollout, judge) = self.judge.clone().unzip();
        let row = Row { memory: self.memory.clone(), rollout, judge };
        let complain =
            |error| tracing::error!(tier = %name, %error, "evidence cannot be written down");
        serde_json::to_string(&row).map_err(complain).ok()
    }

    /// From what was kept. Evidence of another rollout than the open one is nobody's.
    pub(super) fn restore(body: &str, tier: &Tier) -> Result<Self, serde_json::Error> {
        let row: Row = serde_json::from_str(body)?;
        let open = tier.rollout.as_ref().map(|rollout| rollout.id);
        let judge = row.rollout.filter(|id| Some(*id) == open).zip(row.judge);
        Ok(Self { memory: row.memory, judge, ..Self::default() })
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
                let next = next_share(rollout);
                judge.restate(rollout.analysis.give_up, rollout.analysis.when_unproven);
                if (judge.report().next_weight - next).abs() > 1e-9 {
                    judge.start_stage(judge.now(), next, rollout.plan.bake(rollout.weight));
                } else if downtime {
                    judge.bake_anew();
                }
            }
            None => self.begin(rollout),
        }
    }

    fn begin(&mut self, rollout: &Rollout) {
        let mut judge = Judge::new(rollout.analysis.clone());
        self.memory.history.minutes().for_each(|minute| judge.calibrate(minute));
        judge.start_stage(0.0, next_share(rollout), rollout.plan.bake(rollout.weight));
        self.judge = Some((rollout.id, judge));
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
                    let bake = rollout.plan.bake(rollout.weight);
                    judge.start_stage(judge.now(), next_share(rollout), bake);
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
            Change::Held { .. }
            | Change::Moved { .. }
            | Change::Paused
            | Change::Resumed
            | Change::WouldHaveRolledBack { .. } => {}
        }
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

    /// Requests per second of the last hour, if there was one.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.memory.history.minutes().len() > 0).then(|| self.memory.history.rate())
    }

    /// Closes the window if it is time. Gives what the judge or the health of the canary
    /// has to say.
    pub(super) fn look(
        &mut self,
        tier: &Tier,
        file: &TierSettings,
        table: &TableTier,
        register: &Register,
        minute: u64,
        tape: Option<&mut Tape>,
    ) -> Option<Input> {
        let span = self.since.elapsed();
        let whole = if self.canary_rate > BUSY_RATE { BUSY_WINDOW } else { WINDOW };
        let canary = table.canary.as_ref().map(|release| release.slot);
        let same = |reading: &Reading| {
            reading.stable.0 == table.stable.slot
                && reading.canary.as_ref().map(|(slot, _)| *slot) == canary
        };
        if self.base.as_ref().is_some_and(same) && span < whole {
            return None;
        }
        let read = |slot| (slot, register.totals(slot));
        let now = Reading { stable: read(table.stable.slot), canary: canary.map(read) };
        let base = self.base.replace(now.clone()).filter(same);
        self.since = Instant::now();
        let base = base.filter(|_| span <= WINDOW_MAX)?;
        let mut window = self.window(&base, &now, file, span, minute);
        let rollout = tier.rollout.as_ref()?;
        let judged = &rollout.analysis.watches;
        window.stable.watches = by_name(&window.stable.watches, &file.tier.watches, judged);
        window.canary.watches = by_name(&window.canary.watches, &file.tier.watches, judged);
        self.judged(&window, rollout, tier, file, table, register, span, tape)
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
        let stable = counts(&now.stable.1, &base.stable.1, watches, from);
        let canary = match (&now.canary, &base.canary) {
            (Some((_, now)), Some((_, base))) => counts(now, base, watches, from),
            (None, _) | (_, None) => Counts::default(),
        };
        self.memory.history.add(minute, &stable);
        self.memory.slow.add(&latency_since(&now.stable.1, &base.stable.1), span);
        self.canary_rate = canary.requests as f64 / span.as_secs_f64();
        Window { stable, canary, cold: false }
    }

    #[expect(clippy::too_many_arguments, reason = "one caller; everything seen of one window")]
    fn judged(
        &mut self,
        window: &Window,
        rollout: &Rollout,
        tier: &Tier,
        file: &TierSettings,
        table: &TableTier,
        register: &Register,
        span: Duration,
        tape: Option<&mut Tape>,
    ) -> Option<Input> {
        let name = &file.tier.name;
        if let Some(reason) = self.down(tier, file, table, register) {
            return Some(Input::Unhealthy { tier: name.clone(), reason });
        }
        let (id, judge) = self.judge.as_mut()?;
        // Time counts only while both versions could be served.
        let served = !is_down(&table.stable, register)
            && table.canary.as_ref().is_some_and(|canary| !is_down(canary, register));
        let now = judge.now() + if served { span.as_secs_f64() } else { 0.0 };
        if let Some(tape) = tape {
            tape.window(
                name,
                &Line {
                    t: now,
                    dur: span.as_secs_f64(),
                    weight: rollout.weight.share(),
                    stable: window.stable.clone(),
                    canary: window.canary.clone(),
                },
            );
        }
        let verdict = judge.observe(now, window);
        Some(Input::Verdict { tier: name.clone(), rollout: *id, verdict })
    }

    /// The hard stop beside the statistics: no healthy upstream of the canary for too long,
    /// while stable is healthy. What is unknown after a start is not bad.
    fn down(
        &mut self,
        tier: &Tier,
        file: &TierSettings,
        table: &TableTier,
        register: &Register,
    ) -> Option<String> {
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
