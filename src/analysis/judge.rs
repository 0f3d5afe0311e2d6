//! The judge: takes windows, keeps the evidence, decides.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::warmth::Warmth;
use super::{
    check::{Check, Heard},
    dispersion::{Bins, Spread},
    evidence::{Harm, Mass, Onsets, Proof, Tolerance},
    exact,
    outage::Outage,
    report::{MetricReport, Report},
    settings::{OnFail, SLOW, Settings, WATCH, WhenUnproven},
    verdict::{Decision, Verdict, Why, say},
    window::{Block, Counts, Window},
};

/// Minutes of calibration that are kept: a day.
const CALIBRATION_MAX: usize = 24 * 60;
/// The least next weight margins are scaled by: one bucket of users.
const WEIGHT_MIN: f64 = 0.0001;
/// Stable is silent after missing this many requests it should have had: e^-10 by chance.
const SILENT_REQUESTS: f64 = 10.0;

/// Judges one rollout of one tier. Its serialised form is the evidence row: a restart goes on
/// with the same numbers to the last bit, since a fresh start would spend the bound on false
/// roll backs a second time.
///
/// ```
/// use std::time::Duration;
/// use weir::analysis::{Counts, Judge, Settings, Verdict, Window};
///
/// let mut judge = Judge::new(Settings::default());
/// judge.start_stage(0.0, 0.25, Duration::from_secs(60)); // at 5 %, next is 25 %
/// let window = Window {
///     stable: Counts { requests: 95, ..Counts::default() },
///     canary: Counts { requests: 5, errors: 5, ..Counts::default() },
///     cold: false,
/// };
/// let failed = (1..60).find(|second| {
///     matches!(judge.observe(f64::from(*second), &window), Verdict::Fail { .. })
/// });
/// assert_eq!(failed, Some(3));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    settings: Settings,
    metrics: Vec<Metric>,
    calibration: Vec<Counts>,
    calibration_minutes: usize,
    /// The clock of the rollout, in observed seconds.
    clock: Clock,
    #[serde(with = "exact")]
    next_weight: f64,
    #[serde(with = "exact")]
    bake: f64,
    /// Windows since both versions were last asked.
    open: Window,
    /// All windows of this stage.
    stage: Window,
    /// All windows of the rollout.
    rollout: Window,
    bins: Bins,
    onsets: Onsets,
    outage: Outage,
    cold: bool,
    #[serde(default)]
    warmth: Warmth,
    #[serde(default)]
    checks: Vec<Check>,
    /// The signals that say nothing, each a sentence.
    #[serde(default)]
    blind: Vec<String>,
}

/// Moments in observed seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Clock {
    begun: bool,
    #[serde(with = "exact")]
    began: f64,
    #[serde(with = "exact")]
    stage: f64,
    #[serde(with = "exact")]
    now: f64,
    /// When stable last had a request.
    #[serde(with = "exact")]
    stable: f64,
}

/// What is known of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Metric {
    harm: Harm,
    proof: Proof,
    spread: Spread,
    /// The evidence from before the canary's caches went cold.
    warm: Option<(Harm, Proof)>,
}

impl Metric {
    fn new(settings: &Settings, index: usize) -> Self {
        let proof = Proof::new(settings.metric(index), 1.0);
        Self { harm: Harm::new(), proof, spread: Spread::new(), warm: None }
    }

    /// While the caches are cold the evidence is gathered aside: it holds the advance, and is
    /// forgotten when they are warm. Leaving out blocks for a reason that is known before
    /// their outcomes keeps the guarantee.
    fn turn(&mut self, cold: bool) {
        match (cold, self.warm.take()) {
            (true, None) => self.warm = Some((self.harm.clone(), self.proof.clone())),
            (true, kept) => self.warm = kept,
            (false, Some((harm, proof))) => (self.harm, self.proof) = (harm, proof),
            (false, None) => {}
        }
    }

    fn bet(&mut self, block: Block, tolerance: Tolerance, mass: Mass, grace: bool) {
        let phi = self.spread.phi();
        self.harm.bet(block, tolerance, phi, mass);
        if !grace {
            self.proof.bet(block, phi);
        }
    }
}

impl Judge {
    /// A judge that has seen nothing. The settings are taken as checked (`Settings::check`).
    pub fn new(settings: Settings) -> Self {
        let metrics = (0..settings.metrics()).map(|index| Metric::new(&settings, index)).collect();
        let clock = Clock { begun: false, began: 0.0, stage: 0.0, now: 0.0, stable: 0.0 };
        Self {
            metrics,
            calibration: Vec::new(),
            calibration_minutes: 0,
            clock,
            next_weight: 1.0,
            bake: settings.bake.as_secs_f64(),
            open: Window::default(),
            stage: Window::default(),
            rollout: Window::default(),
            bins: Bins::new(),
            onsets: Onsets::new(),
            outage: Outage::new(),
            cold: false,
            warmth: Warmth::default(),
            checks: settings.checks.iter().map(|_| Check::default()).collect(),
            blind: Vec::new(),
            settings,
        }
    }

    /// Learns a one-minute bin of stable from before the rollout, oldest first; ignored once
    /// the first stage has begun. Twenty minutes are needed, an hour is meant: of all
    /// protections against false roll backs this one is worth most (the judge's study,
    /// docs/analysis.md).
    pub fn calibrate(&mut self, minute: &Counts) {
        if self.clock.begun || minute.requests == 0 {
            return;
        }
        if self.calibration.len() == CALIBRATION_MAX {
            self.calibration.remove(0);
        }
        let Settings { watches, signals, .. } = &self.settings;
        self.calibration.push(minute.clamped(watches.len(), signals.len()));
        self.calibration_minutes = self.calibration.len();
    }

    /// Begins a stage, and must be told of *every* change of the split: a block never mixes two
    /// splits. `now` is in observed seconds since the rollout began; `next_weight` is the share
    /// this stage leads to (1 after the last), which sets the margin to prove. Evidence of harm
    /// is carried over, proof begins anew (section "Stages" of docs/analysis.md).
    pub fn start_stage(&mut self, now: f64, next_weight: f64, bake: Duration) {
        let now = if now.is_finite() { now } else { self.clock.now };
        if !self.clock.begun {
            self.begin(now);
        }
        self.clock.stage = now.max(self.clock.began);
        self.clock.stable = self.clock.stage;
        let known = if next_weight.is_nan() { 1.0 } else { next_weight };
        self.next_weight = known.clamp(WEIGHT_MIN, 1.0);
        self.bake = bake.as_secs_f64();
        for (index, metric) in self.metrics.iter_mut().enumerate() {
            metric.proof = Proof::new(self.settings.metric(index), self.next_weight);
            if let Some((_, proof)) = &mut metric.warm {
                *proof = metric.proof.clone();
            }
        }
        self.onsets.expect();
        self.open = Window::default();
        self.stage = Window::default();
    }

    fn begin(&mut self, now: f64) {
        self.clock.begun = true;
        self.clock.began = now;
        self.clock.now = now;
        self.bins.restart(now);
        let minutes = std::mem::take(&mut self.calibration);
        for (index, metric) in self.metrics.iter_mut().enumerate() {
            metric.spread.calibrate(&minutes, index);
        }
        if minutes.len() >= super::dispersion::CALIBRATION_MIN {
            self.outage.calibrate(&minutes);
        }
    }

    /// The least time of the present stage, where the plan was changed meanwhile.
    pub const fn rebake(&mut self, bake: Duration) {
        self.bake = bake.as_secs_f64();
    }

    /// Lets the stage bake anew from now on, with all evidence kept: after a downtime nobody knows
    /// what the canary did meanwhile.
    pub fn bake_anew(&mut self) {
        self.clock.stage = self.clock.now;
    }

    /// Takes one window (some 250 ms to 60 s) that ended at `now`, and decides. Time never goes
    /// backwards: an earlier `now` counts as the last one. Before the first stage nothing is
    /// judged.
    pub fn observe(&mut self, now: f64, window: &Window) -> Verdict {
        self.take(now, window);
        self.report().verdict
    }

    /// Takes what signals said, before the window it belongs to. While one of them says nothing the
    /// stage holds: nothing is assumed of silence, and what was known before goes on counting.
    pub fn hear(&mut self, heard: &Heard) {
        let samples = heard.samples.iter().zip(&self.settings.checks);
        for (check, (sample, settings)) in self.checks.iter_mut().zip(samples) {
            check.hear(settings, *sample);
        }
        self.blind.clone_from(&heard.blind);
    }

    /// The only settings a reload may change while a rollout is open.
    pub fn restate(&mut self, give_up: Duration, when_unproven: WhenUnproven) {
        self.settings.give_up = give_up;
        self.settings.when_unproven = when_unproven;
    }

    /// The last observed time.
    pub fn now(&self) -> f64 {
        self.clock.now
    }

    /// Minutes of stable learned before the rollout.
    pub fn calibration_minutes(&self) -> usize {
        self.calibration_minutes
    }

    /// The settings it judges by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn take(&mut self, now: f64, window: &Window) {
        if !self.clock.begun {
            return;
        }
        let before = self.clock.now;
        if now.is_finite() {
            self.clock.now = now.max(before);
        }
        let Settings { watches, signals, .. } = &self.settings;
        let mut window = window.clamped(watches.len(), signals.len());
        let warm_up = self.settings.warm_up.as_secs_f64();
        window.cold |= self.clock.now - self.clock.began < warm_up;
        window.cold |= self.warmth.is_excused();
        self.warmth.add(self.clock.now - before, &window);
        self.outage.add(self.clock.now - before, &window.stable);
        if window.stable.requests > 0 {
            self.clock.stable = self.clock.now;
        }
        self.cold = window.cold;
        for sum in [&mut self.rollout, &mut self.stage, &mut self.open] {
            sum.add(&window);
        }
        if let Some(block) = self.open.take_whole() {
            self.bet(&block);
            self.settle(&block);
        }
    }

    fn in_grace(&self) -> bool {
        self.clock.now - self.clock.began <= self.settings.grace.as_secs_f64()
    }

    /// Turns one block into evidence.
    fn bet(&mut self, window: &Window) {
        let settings = &self.settings;
        let (grace, graced) = (self.in_grace(), !settings.grace.is_zero());
        let restart = settings.restart.as_secs_f64();
        if !window.cold && self.metrics.get(SLOW).is_some_and(|slow| slow.warm.is_some()) {
            // Slow is judged afresh from here on.
            self.onsets.expect();
        }
        let mass = self.onsets.next(self.clock.now, grace, graced, restart);
        for (index, metric) in self.metrics.iter_mut().enumerate() {
            let tolerated = settings.metric(index);
            let forgiven = if grace { settings.grace_delta } else { 0.0 };
            let delta = tolerated.delta0.max(forgiven);
            let tolerance = Tolerance { ratio: tolerated.ratio0, delta, cap: settings.cap_nats };
            if index == SLOW {
                metric.turn(window.cold);
            }
            metric.bet(window.block(index), tolerance, mass, grace);
        }
    }

    /// Learns the dispersion from the block; used from the next one on. The grace
    /// teaches none, nor do cold caches: both are no burst.
    fn settle(&mut self, window: &Window) {
        let (now, metrics) = (self.clock.now, &mut self.metrics);
        if now - self.clock.began <= self.settings.grace.as_secs_f64() {
            self.bins.restart(now);
        } else {
            self.bins.add(now, window, |h, bin| {
                for (index, metric) in metrics.iter_mut().enumerate() {
                    if index != SLOW || !bin.cold {
                        metric.spread.bin(h, bin.block(index));
                    }
                }
            });
        }
        let seconds = now - self.clock.began;
        for (index, metric) in self.metrics.iter_mut().enumerate() {
            let Block { n0, n1, .. } = self.stage.block(index);
            let weight = if n0 + n1 > 0.0 { n1 / (n0 + n1) } else { 0.0 };
            let Block { n0, x0, n1, .. } = self.rollout.block(index);
            let a_minute = if seconds > 0.0 { (n0 + n1) / seconds * 60.0 } else { 0.0 };
            let events = a_minute * (x0 / n0.max(1.0));
            metric.spread.settle(self.settings.dispersion_prior, events, weight);
        }
    }
}

/// Deciding, and telling.
impl Judge {
    fn soak(&self) -> f64 {
        self.clock.now - self.clock.stage
    }

    /// *slow* is gathered aside, or is about to be.
    fn is_cold(&self) -> bool {
        self.cold || self.metrics.get(SLOW).is_some_and(|slow| slow.warm.is_some())
    }

    /// Harm first; then what holds; then, after the bake, proof, or the end of patience.
    pub(super) fn decide(&self) -> Decision {
        let over =
            |index: &usize| self.metrics[*index].harm.log_e() >= self.settings.rollback_at(*index);
        let holds = |index: &usize| *index == SLOW && self.is_cold();
        let rolls_back =
            |index: &usize| self.settings.on_fail(*index) == OnFail::Rollback && !holds(index);
        let all = 0..self.metrics.len();
        if let Some(index) = all.clone().filter(over).find(rolls_back) {
            return Decision::Fail(index);
        }
        let beyond = |on_fail: OnFail| {
            let mut checks = self.checks.iter().zip(&self.settings.checks);
            checks.position(|(check, known)| check.is_failing() && known.on_fail == on_fail)
        };
        if let Some(index) = beyond(OnFail::Rollback) {
            return Decision::Beyond(index);
        }
        if let Some(index) = all.clone().find(over) {
            return if index == SLOW {
                Decision::ColdCache(index)
            } else {
                Decision::WatchHolds(index)
            };
        }
        if let Some(index) = beyond(OnFail::Hold) {
            return Decision::BeyondHolds(index);
        }
        if !self.blind.is_empty() {
            return Decision::Blind;
        }
        if !self.clock.begun || self.soak() < self.bake {
            return Decision::Soaking;
        }
        self.decide_after_the_bake()
    }

    fn decide_after_the_bake(&self) -> Decision {
        let suspicion = self.settings.suspicion.ln();
        let suspect = self.metrics.iter().position(|metric| metric.harm.log_e() > suspicion);
        if let Some(index) = suspect {
            return Decision::Suspicious(index);
        }
        if self.outage.is_on(self.settings.outage_floor) {
            return Decision::Outage;
        }
        if self.is_stable_silent() {
            return Decision::NoStable;
        }
        let needed = self.settings.advance_at();
        let Some(weak) = (0..WATCH).find(|index| self.metrics[*index].proof.log_e() < needed)
        else {
            return Decision::Proven;
        };
        match self.settings.when_unproven {
            _ if self.soak() < self.settings.give_up.as_secs_f64() => Decision::NotEnough(weak),
            WhenUnproven::Hold => Decision::GaveUp(weak),
            WhenUnproven::Advance => Decision::Clean(weak),
        }
    }

    /// No request in this stage, or none for so long that ten should have come.
    fn is_stable_silent(&self) -> bool {
        let requests = self.stage.stable.requests as f64;
        let active = self.clock.stable - self.clock.stage;
        let silent = self.clock.now - self.clock.stable;
        requests == 0.0 || silent * requests > SILENT_REQUESTS * active.max(1.0)
    }

    /// Everything explain, status, metrics and the dashboard show.
    pub fn report(&self) -> Report {
        let settings = &self.settings;
        let elapsed = self.clock.now - self.clock.began;
        let metrics: Vec<_> = (0..self.metrics.len()).map(|index| self.metric(index)).collect();
        let mut report = Report {
            verdict: Verdict::Inconclusive {
                why: Why::Soaking,
                metric: None,
                reason: String::new(),
            },
            elapsed,
            stage_stable: self.stage.stable.clone(),
            stage_canary: self.stage.canary.clone(),
            canary_failed: self.rollout.canary.errors,
            eta_seconds: self.eta(&metrics),
            metrics,
            checks: (self.checks.iter().zip(&settings.checks))
                .map(|(check, settings)| check.report(settings))
                .collect(),
            blind: self.blind.clone(),
            soak: self.soak(),
            bake: self.bake,
            give_up: settings.give_up.as_secs_f64(),
            when_unproven: settings.when_unproven,
            next_weight: self.next_weight,
            false_rollback: settings.false_rollback,
            false_advance: settings.false_advance,
            suspicion: settings.suspicion,
            outage: self.outage.is_on(settings.outage_floor),
            stable_failing: self.outage.recent(),
            cold: self.is_cold(),
            hit_ratios: self.warmth.ratios(),
            grace_left: (settings.grace.as_secs_f64() - elapsed).max(0.0),
            grace_delta: settings.grace_delta,
            calibration_minutes: self.calibration_minutes,
        };
        report.verdict = say(self.decide(), &report);
        report
    }

    fn metric(&self, index: usize) -> MetricReport {
        let (settings, Metric { harm, proof, spread, .. }) = (&self.settings, &self.metrics[index]);
        let tolerated = settings.metric(index);
        let (stable, canary) = (self.stage.stable.tally(index), self.stage.canary.tally(index));
        let (log_e, rollback_at) = (harm.log_e(), settings.rollback_at(index));
        MetricReport {
            name: settings.name(index).to_owned(),
            share: settings.share(index),
            stable_total: stable.total,
            canary_total: canary.total,
            stable_events: stable.bad,
            canary_events: canary.bad,
            stable_rate: stable.share(),
            canary_rate: canary.share(),
            ratio0: tolerated.ratio0,
            delta0: tolerated.delta0,
            odds: log_e.min(LOG_MAX).exp(),
            log_e,
            log_e_rollback_at: rollback_at,
            rollback_at_odds: rollback_at.exp(),
            log_e_advance: proof.log_e(),
            advance_at: settings.advance_at(),
            upper_bound: proof.upper_bound(settings.false_advance),
            limit: proof.margin(),
            limit_ratio: proof.ratio(),
            phi: spread.phi(),
            needed_for_advance: index < WATCH,
            on_fail: settings.on_fail(index),
            eta_seconds: self.proof_eta(proof),
        }
    }

    /// Seconds until proof if evidence goes on growing as it did since the grace: a guess.
    fn proof_eta(&self, proof: &Proof) -> Option<f64> {
        let grace_end = self.clock.began + self.settings.grace.as_secs_f64();
        let so_far = (self.clock.now - self.clock.stage.max(grace_end)).max(0.0);
        let growth = proof.growth(self.settings.advance_at())?;
        Some((growth - 1.0) * so_far).filter(|seconds| seconds.is_finite())
    }

    /// Seconds until the stage may end: bake and all needed proofs.
    fn eta(&self, metrics: &[MetricReport]) -> Option<f64> {
        let bake = (self.bake - self.soak()).max(0.0);
        let needed = metrics.iter().filter(|metric| metric.needed_for_advance);
        needed.map(|metric| metric.eta_seconds).try_fold(bake, |most, eta| Some(most.max(eta?)))
    }
}

/// e to this is still a number.
const LOG_MAX: f64 = 700.0;
