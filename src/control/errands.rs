//! The step of the runbook that runs: begun once the journal has it, watched beside everything else.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock;
use crate::hooks::{Hooks, Occasion, Running, Settings};
use crate::rollout::runbook::{Ending, Outcome, Output, StepName};
use crate::rollout::{Blame, Course, Input, Item, RolloutId, Upgrade};
use crate::traffic::{TierName, Version, Weight};

/// Lines of a running step that are shown: a screen.
const LINES_SHOWN: usize = 20;

/// A step that runs.
pub(super) struct Errand {
    rollout: RolloutId,
    step: StepName,
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
        let mut scene = self.views.borrow().scene(&self.settings.outline);
        scene.closed = self.settings.upgrade.calendar.closed(clock::wall());
        let occasion = self.occasion(upgrade);
        let (place, keyring) = (self.settings.hooks.clone(), self.keyring.clone());
        let hooks = Hooks::new(Settings { place, keyring });
        let running = hooks.start(step.clone(), occasion, scene);
        let (rollout, step) = (upgrade.id, step.name.clone());
        self.errand = Some(Errand { rollout, step, running, lines: VecDeque::new() });
    }

    /// For what the step is done whose turn it is.
    fn occasion(&self, upgrade: &Upgrade) -> Occasion {
        let (tier, stage) = place(upgrade);
        let of = tier.clone().or_else(|| upgrade.targets.keys().next().cloned());
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

/// The tier that was raised last before the item it has come to, or comes next, and to which
/// weight.
fn place(upgrade: &Upgrade) -> (Option<TierName>, Option<Weight>) {
    let before = upgrade.items.iter().take(upgrade.at).rev();
    let after = upgrade.items.iter().skip(upgrade.at);
    let at = |item: &Item| {
        let weight = match item {
            Item::Everybody { .. } => Weight::ALL,
            Item::Stage { stage, .. } => stage.weight,
            Item::Step(_) => return None,
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
