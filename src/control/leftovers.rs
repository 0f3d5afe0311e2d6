//! Commands that another Weir began and that outlived it: how it stands with them, until a person
//! has decided.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::errands::LINES_SHOWN;
use crate::hooks::{Hooks, Interrupted, Standing};
use crate::rollout::Turn;
use crate::rollout::runbook::StepName;

/// How often the disk is looked at: a person reads it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is left of another Weir.
pub(super) struct Leftovers {
    /// The step of which a person must decide.
    open: watch::Sender<Option<StepName>>,
    /// None: nobody has looked yet.
    found: watch::Receiver<Option<Vec<Interrupted>>>,
    /// The processes that were told to end.
    told: BTreeSet<u32>,
}

impl Default for Leftovers {
    /// Looks at nothing.
    fn default() -> Self {
        let (open, found) = (watch::Sender::new(None), watch::channel(None).1);
        Self { open, found, told: BTreeSet::new() }
    }
}

impl Leftovers {
    /// Looks at what `hooks` finds until none of it is left; that of the step `open` stays.
    pub(super) fn follow(hooks: Hooks, open: Option<StepName>) -> Self {
        let (open, found) = (watch::Sender::new(open), watch::Sender::new(None));
        let leftovers = Self { open, found: found.subscribe(), told: BTreeSet::new() };
        tokio::spawn(look(hooks, leftovers.open.subscribe(), found));
        leftovers
    }

    /// Of `open` a person must decide now.
    pub(super) fn wait_for(&self, open: Option<StepName>) {
        self.open.send_if_modified(|before| {
            let other = *before != open;
            *before = open;
            other
        });
    }

    /// Ends what still runs of the steps that `stops` means, each once.
    pub(super) fn stop(&mut self, hooks: &Hooks, stops: impl Fn(&StepName) -> bool) {
        for left in self.found.borrow().iter().flatten() {
            if let Standing::Running(id) = left.standing
                && stops(&left.step)
                && self.told.insert(id)
            {
                tracing::warn!(step = %left.step, process = id, "told to end: everything goes back");
                let (hooks, left) = (hooks.clone(), left.clone());
                tokio::spawn(async move { hooks.end(&left).await });
            }
        }
    }

    /// How it stands with the command of `step`, in words.
    pub(super) fn standing(&self, step: &StepName) -> Option<String> {
        let found = self.found.borrow();
        let left = found.iter().flatten().rev().find(|left| left.step == *step)?;
        Some(match left.standing {
            Standing::Ended => "its command has ended, and how nobody knows".into(),
            Standing::Running(id) => format!("its command still runs, as process {id}"),
            Standing::Unknown => "whether its command had begun is not known".into(),
        })
    }

    /// What still runs and is in the way of what undoes it, in words.
    pub(super) fn in_the_way(&self) -> Option<String> {
        let found = self.found.borrow();
        let Some(found) = found.as_ref() else { return Some("it is looked what runs".into()) };
        found.iter().find_map(|left| match left.standing {
            Standing::Running(id) => {
                let told = if self.told.contains(&id) { ", which was told to end" } else { "" };
                Some(format!("it begins at the end of process {id}, step {}{told}", left.step))
            }
            Standing::Ended | Standing::Unknown => None,
        })
    }

    /// The last lines of what the command of `step` wrote.
    pub(super) fn lines(&self, step: &StepName) -> Vec<String> {
        let found = self.found.borrow();
        let mut left = found.iter().flatten().rev();
        let Some(left) = left.find(|left| left.step == *step) else { return vec![] };
        let output = &left.output;
        let lines: Vec<&str> = output.head.lines().chain(output.tail.lines()).collect();
        let from = lines.len().saturating_sub(LINES_SHOWN);
        lines[from..].iter().map(|line| (*line).to_owned()).collect()
    }
}

/// Looks again and again. What has ended, and of which nobody must decide, is forgotten.
async fn look(
    hooks: Hooks,
    open: watch::Receiver<Option<StepName>>,
    found: watch::Sender<Option<Vec<Interrupted>>>,
) {
    while open.has_changed().is_ok() {
        let (hooks, open) = (hooks.clone(), open.borrow().clone());
        let read = move || {
            let (left, over): (Vec<Interrupted>, Vec<Interrupted>) = hooks
                .interrupted()
                .into_iter()
                .partition(|left| left.is_running() || open.as_ref() == Some(&left.step));
            for over in &over {
                hooks.forget(over);
            }
            left
        };
        let left = spawn_blocking(read).await.unwrap_or_default();
        let none = left.is_empty();
        found.send_replace(Some(left));
        if none {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

impl super::Control {
    /// The step during which Weir was interrupted, until a person has decided of it.
    pub(super) fn interrupted_step(&self) -> Option<StepName> {
        let upgrade = self.state.open_upgrade()?;
        let asked = matches!(upgrade.turn, Turn::Interrupted { .. });
        upgrade.step().filter(|_| asked).map(|step| step.name.clone())
    }
}
