//! The step of the runbook that runs: begun once the journal has it, watched beside everything else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::hooks::{Hooks, Occasion, Running, Settings};
use crate::rollout::runbook::{Ending, OnRollback, Outcome, Output, StepName, When};
use crate::rollout::{Blame, Course, Input, Item, RolloutId, Upgrade};
use crate::traffic::{TierName, Version, Weight};

/// Lines of a running step that are shown: a screen.
pub(super) const LINES_SHOWN: usize = 20;

/// A step that runs.
pub(super) struct Errand {
    rollout: RolloutId,
    step: StepName,
    on_rollback: OnRollback,
    running: Running,
    /// The last lines of what it wrote.
    lines: VecDeque<String>,
}

impl Errand {
    /// What came of it.
    pub(super) async fn ended(&mut self) -> Input {
        let outcome = (&mut self.running.outcome).await.unwrap_or_else(|_| lost());
        Input::StepEnded { rollout: self.rollout, step: self.step.clone(), outcome }
    }

    /// Reads what it has written since.
    pub(super) fn listen(&mut self) {
        while let Ok(line) = self.running.lines.try_recv() {
            tracing::info!(step = %self.step, "{line}");
            self.lines.push_back(line);
        }
        let surplus = self.lines.len().saturating_sub(LINES_SHOWN);
        self.lines.drain(..surplus);
    }

    /// The last lines of what it wrote.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

impl super::Control {
    /// Begins the step whose turn the journal has, unless it runs.
    pub(super) fn run_errand(&mut self) {
        if self.errand.is_some() || self.giving.is_some() {
            return;
        }
        let Some(upgrade) = self.state.open_upgrade() else { return };
        let Some((step, _)) = upgrade.running() else { return };
        if upgrade.undoes() && self.leftovers.in_the_way().is_some() {
            return;
        }
        let (views, outline) = (self.views.subscribe(), self.settings.outline.clone());
        let calendar = self.settings.upgrade.calendar.clone();
        let board = Arc::clone(&self.board);
        let look = move || {
            let mut scene = views.borrow().scene(&outline);
            scene.has_elder = board.has_guest();
            scene.closed = calendar.closed(clock::wall());
            scene
        };
        let occasion = self.occasion(upgrade);
        let running = self.hooks().start(step.clone(), occasion, look);
        let (rollout, on_rollback, step) = (upgrade.id, step.on_rollback, step.name.clone());
        self.errand = Some(Errand { rollout, step, on_rollback, running, lines: VecDeque::new() });
    }

    /// Breaks off what the way back waits for, where the file would have it so: the step that runs,
    /// and what another Weir began.
    pub(super) fn break_off(&mut self) {
        let Some(upgrade) = self.state.open_upgrade().filter(|upgrade| upgrade.goes_back()) else {
            return;
        };
        if let Some(errand) = &self.errand
            && errand.on_rollback == OnRollback::Stop
            && upgrade.still_running.as_ref() == Some(&errand.step)
        {
            errand.running.cancel();
        }
        let hooks = self.hooks();
        self.leftovers.stop(&hooks, |step| self.settings.upgrade.stops(step));
    }

    /// A step that is waited for, and that never began: everything went back while its beginning was on
    /// its way to the disk.
    pub(super) fn unbegun_errand(&self) -> Option<Input> {
        let upgrade = self.state.open_upgrade()?;
        let step = upgrade.still_running.clone()?;
        let idle = self.errand.is_none() && self.pending.is_none() && self.giving.is_none();
        if !idle || self.leftovers.in_the_way().is_some() {
            return None;
        }
        let why = "it was taken back before it had begun".into();
        let outcome = Outcome { why, ..lost() };
        Some(Input::StepEnded { rollout: upgrade.id, step, outcome })
    }

    /// A step has ended. That is written down whatever else is on its way to the disk.
    pub(super) async fn errand_ended(&mut self, input: Input) {
        if let Some(mut errand) = self.errand.take() {
            errand.listen();
        }
        self.decide_alone(&input).await;
        self.show();
    }

    /// What does the steps.
    pub(super) fn hooks(&self) -> Hooks {
        let (place, keyring) = (self.settings.hooks.clone(), self.keyring.clone());
        Hooks::new(Settings { place, keyring })
    }

    /// Whether a step runs, or is about to.
    pub(super) fn is_busy(&self) -> bool {
        let running = |upgrade: &Upgrade| upgrade.running().is_some();
        self.errand.is_some() || self.state.open_upgrade().is_some_and(running)
    }

    /// For what the step is done whose turn it is.
    fn occasion(&self, upgrade: &Upgrade) -> Occasion {
        let (tier, stage) = place(upgrade);
        // Workers get what the tier gets that they follow.
        let workers =
            self.settings.upgrade.workers.iter().find(|w| Some(w.name()) == tier.as_ref());
        let of = workers.map(|workers| workers.follows.clone()).or_else(|| tier.clone());
        let of = of.or_else(|| upgrade.targets.keys().next().cloned());
        let new = of.as_ref().and_then(|tier| upgrade.targets.get(tier)).map(|t| t.version.clone());
        let number = upgrade.id.to_string();
        Occasion {
            rollout: Some(upgrade.name.clone().unwrap_or(number)),
            tier,
            stage,
            old: of.as_ref().and_then(|tier| self.old(tier, new.as_ref())),
            new,
            reason: match &upgrade.course {
                Course::Back { cause } => Some(reason(cause)),
                Course::Onward => None,
            },
            ..Occasion::default()
        }
    }

    /// The version of `tier` that `new` takes the place of, or took.
    fn old(&self, tier: &TierName, new: Option<&Version>) -> Option<Version> {
        let tier = self.state.tiers.get(tier)?;
        let replaced = tier.previous.as_ref().map(|(version, _)| version);
        let old = if Some(&tier.stable) == new { replaced? } else { &tier.stable };
        Some(old.clone())
    }
}

/// The tier that the step is before or after, else the one that was raised last, or comes next;
/// and to which weight it was raised.
fn place(upgrade: &Upgrade) -> (Option<TierName>, Option<Weight>) {
    match upgrade.step().map(|step| &step.when) {
        Some(When::BeforeTier(tier)) => return (Some(tier.clone()), None),
        Some(When::AfterTier(tier)) => return (Some(tier.clone()), Some(Weight::ALL)),
        Some(
            When::AfterHop(_)
            | When::AfterRollout
            | When::AfterStage { .. }
            | When::BeforeHop(_)
            | When::BeforeRollout
            // Its commands name their instance and version themselves.
            | When::InTier(_)
            | When::OnRollback,
        )
        | None => {}
    }
    let before = upgrade.items.iter().take(upgrade.at).rev();
    let after = upgrade.items.iter().skip(upgrade.at);
    let at = |item: &Item| {
        let weight = match item {
            Item::Everybody { .. } => Weight::ALL,
            Item::Stage { stage, .. } => stage.weight,
            Item::Home { .. } | Item::Shift(_) | Item::Step(_) | Item::Trial(_) => return None,
        };
        Some((item.tiers().first().cloned(), Some(weight)))
    };
    let next = after.clone().find_map(at).map(|(tier, _)| (tier, None));
    before.into_iter().find_map(at).or(next).unwrap_or_default()
}

fn reason(cause: &Blame) -> String {
    match cause {
        Blame::DecisionTime => "the decision time has passed".into(),
        Blame::Order => "ordered".into(),
        Blame::Step { reason, .. }
        | Blame::Together { reason, .. }
        | Blame::Unhealthy { reason }
        | Blame::Verdict { reason, .. } => reason.clone(),
    }
}

fn lost() -> Outcome {
    Outcome {
        ending: Ending::Failed,
        tries: 1,
        took: Duration::ZERO,
        why: "what runs it has ended without a word".into(),
        output: Output::default(),
    }
}
