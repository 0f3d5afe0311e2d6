//! The runbook: commands with all that they start, requests, checks.

mod commands;
mod preflight;
mod questions;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::hooks::{Hooks, Occasion, Place, Running, Scene, Secrets, Settings};
use weir::rollout::runbook::{Action, Outcome, Run, Step, When};
use weir::tls::{Keyring, Protocols};

/// How long anything may take on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_mins(2);

/// What does steps in `folder`; no output may show `secret`.
fn hooks(folder: &Path, secret: &str) -> Hooks {
    Hooks::new(Settings {
        place: Place {
            folder: folder.to_owned(),
            ledger: folder.join("weir.steps"),
            secrets: Secrets::new([secret.to_owned()], [], &[]),
        },
        keyring: keyring(),
    })
}

fn keyring() -> Arc<Keyring> {
    Keyring::new(Protocols { server: &[], client: &[] }).unwrap()
}

fn step(action: Action) -> Step {
    let mut step = Step::new("migrate".parse().unwrap(), When::BeforeRollout, action);
    (step.timeout, step.retry_after) = (PATIENCE, Duration::from_millis(10));
    step
}

/// A step that has a shell read `text`.
fn shell(text: &str) -> Step {
    step(Action::Run(Run { command: vec![text.to_owned()], shell: true, expect: None }))
}

/// What comes of `step` in `folder`, and the lines that are heard of it.
async fn done(folder: &Path, step: Step) -> (Outcome, Vec<String>) {
    let occasion = Occasion { new: Some("1.1.0".parse().unwrap()), ..Occasion::default() };
    let running = hooks(folder, "hunter2-hunter2").start(step, occasion, Scene::default);
    ended(running).await
}

async fn ended(mut running: Running) -> (Outcome, Vec<String>) {
    let mut lines = Vec::new();
    while let Some(line) = running.lines.recv().await {
        lines.push(line);
    }
    (running.outcome.await.expect("an outcome"), lines)
}

/// Waits until `what` is there.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The number that stands in the file `name`.
fn number(folder: &Path, name: &str) -> u32 {
    until(name, || std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok())
}

/// Whether a process is there and no zombie.
fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}
