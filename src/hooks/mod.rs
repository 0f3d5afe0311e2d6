//! Does the steps of a runbook: runs commands, asks URLs, makes checks.
//!
//! Each step runs on a task of its own and can be broken off at any moment, so that it is never in
//! the way of a rollback.

mod checks;
mod command;
mod ledger;
mod masking;
mod occasion;
mod reading;
mod scene;
mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::rollout::runbook::{Action, Ending, Outcome, Output, Step, StepName, Url};
use crate::time::in_words;
use crate::tls::Keyring;

pub use ledger::{Interrupted, Standing};
pub use masking::Secrets;
pub use occasion::Occasion;
pub use scene::{CacheScene, InstanceScene, ReleaseScene, Scene, TierScene, UpstreamScene};

use ledger::Ledger;

/// Lines on their way to a terminal; who reads more slowly misses some.
const LINES_MAX: usize = 256;

/// How often it is looked whether a process that another Weir began still runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What hooks need to know of the program.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the file says.
    pub place: Place,
    /// For `https://`.
    pub keyring: Arc<Keyring>,
}

/// What hooks need to know of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Where commands run.
    pub folder: PathBuf,
    /// Where is written what runs, so that the next start knows of it.
    pub ledger: PathBuf,
    /// What must not stand in any output.
    pub secrets: Secrets,
}

/// Does steps.
#[derive(Clone, Debug)]
pub struct Hooks {
    settings: Arc<Settings>,
    ledger: Ledger,
}

/// A step that is being done. Dropping it does not end the step; the end of the program does not
/// either: whoever runs then is known of at the next start.
#[derive(Debug)]
pub struct Running {
    /// Its output, line by line, without secrets; lines are left out while nobody reads.
    pub lines: mpsc::Receiver<String>,
    /// What came of it.
    pub outcome: oneshot::Receiver<Outcome>,
    cancel: watch::Sender<bool>,
}

impl Running {
    /// Breaks it off: a command gets SIGTERM with all that it started, and later SIGKILL. Does not
    /// wait for it; the outcome comes when it has ended.
    pub fn cancel(&self) {
        self.cancel.send_replace(true);
    }
}

/// What a check of the preflight found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The step.
    pub name: StepName,
    /// What is looked at.
    pub what: String,
    /// How it looks.
    pub mark: Mark,
    /// What was found, what is wrong, or what is asked.
    pub why: String,
}

/// How a check of the preflight looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A person is asked when the rollout opens.
    Asked,
    /// It is not as it should be.
    Failed,
    /// It is as it should be.
    Passed,
    /// It cannot be said now.
    Unknown,
}

/// How one try ended.
struct Try {
    ending: Ending,
    why: String,
    output: Output,
}

impl Try {
    fn failed(why: impl Into<String>) -> Self {
        Self { ending: Ending::Failed, why: why.into(), output: Output::default() }
    }
}

impl Hooks {
    /// What does the steps under `settings`.
    pub fn new(settings: Settings) -> Self {
        let ledger = Ledger::new(settings.place.ledger.clone());
        Self { settings: Arc::new(settings), ledger }
    }

    /// Begins `step` on a task of its own. `look` is what the program knows, for checks: each try
    /// looks anew.
    pub fn start(
        &self,
        step: Step,
        occasion: Occasion,
        look: impl Fn() -> Scene + Send + 'static,
    ) -> Running {
        let occasion = Occasion { caches: look().variables(occasion.new.as_ref()), ..occasion };
        let (hear, lines) = mpsc::channel(LINES_MAX);
        let (tell, outcome) = oneshot::channel();
        let (cancel, cancelled) = watch::channel(false);
        let hooks = self.clone();
        tokio::spawn(async move {
            let outcome = hooks.perform(&step, &occasion, look, &hear, cancelled).await;
            let _ = tell.send(outcome);
        });
        Running { lines, outcome, cancel }
    }

    /// Makes the checks among `steps`, all at once; of questions it says that they are asked.
    pub async fn preflight(
        &self,
        steps: &[Step],
        occasion: &Occasion,
        scene: &Scene,
    ) -> Vec<Finding> {
        let mut made = JoinSet::new();
        for (place, step) in steps.iter().cloned().enumerate() {
            let (hooks, occasion, scene) = (self.clone(), occasion.clone(), scene.clone());
            made.spawn(async move { (place, hooks.finding(&step, &occasion, &scene).await) });
        }
        let mut findings: Vec<(usize, Finding)> = Vec::new();
        while let Some(found) = made.join_next().await {
            findings.extend(found.ok());
        }
        findings.sort_by_key(|(place, _)| *place);
        findings.into_iter().map(|(_, finding)| finding).collect()
    }

    /// Asks one upstream of `release` for `path`, or connects only; what it says, or what is
    /// wrong with it.
    ///
    /// # Errors
    /// A sentence: nobody answers there, or not with success.
    pub async fn visit(
        &self,
        release: &ReleaseScene,
        upstream: &UpstreamScene,
        path: Option<&str>,
    ) -> Result<String, String> {
        checks::visit(release, upstream, path, &self.settings.keyring).await
    }

    /// Asks whoever stands last in the way to `url` and understands it how the client looks from
    /// there: OPTIONS that goes no further, which a Weir answers. What it says, in lines.
    ///
    /// # Errors
    /// A sentence: nobody answers, or not a Weir.
    pub async fn seen_behind(&self, url: &Url) -> Result<String, String> {
        web::seen_behind(url, &self.settings.keyring).await
    }

    async fn finding(&self, step: &Step, occasion: &Occasion, scene: &Scene) -> Finding {
        let finding = |mark, why| Finding {
            name: step.name.clone(),
            what: step.action.to_string(),
            mark,
            why,
        };
        let check = match &step.action {
            Action::Check(check) => check,
            Action::Confirm => {
                return finding(Mark::Asked, step.confirm.clone().unwrap_or_default());
            }
            Action::Http(_) | Action::Run(_) => {
                return finding(Mark::Unknown, "a rollout does it".to_owned());
            }
        };
        if check.needs_program() && !scene.is_live {
            return finding(Mark::Unknown, "only the running weir knows".to_owned());
        }
        let made = timeout(step.timeout, checks::check(check, occasion, scene, &self.settings));
        match made.await {
            Ok((mark, why)) => finding(mark, self.settings.place.secrets.masked(&why)),
            Err(_) => finding(Mark::Failed, format!("no answer in {}", in_words(step.timeout))),
        }
    }

    /// What another Weir has begun, which was killed, restarted or is handing over, and how it
    /// stands with it. Reads files.
    pub fn interrupted(&self) -> Vec<Interrupted> {
        self.ledger.interrupted(&self.settings.place.secrets)
    }

    /// Waits until the process of `interrupted` has ended; how it ended nobody knows.
    pub async fn outlive(&self, interrupted: &Interrupted) {
        while interrupted.is_running() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends the process of `interrupted` with all that it started: by SIGTERM, and by SIGKILL where
    /// that is not enough in time.
    pub async fn end(&self, interrupted: &Interrupted) {
        for signal in [Signal::TERM, Signal::KILL] {
            interrupted.signal(signal);
            if timeout(command::GRACE, self.outlive(interrupted)).await.is_ok() {
                return;
            }
        }
    }

    /// Forgets `interrupted`, of which somebody has decided; it is not ended.
    pub fn forget(&self, interrupted: &Interrupted) {
        self.ledger.forget(interrupted);
    }

    /// Waits until no command of `step` runs that another Weir has begun, for as long as the step
    /// may take; then it fails.
    async fn alone(
        &self,
        step: &Step,
        hear: &mpsc::Sender<String>,
        cancelled: &mut watch::Receiver<bool>,
    ) {
        let (begun, mut said) = (Instant::now(), false);
        while let Some(id) = self.still_running(&step.name).await
            && begun.elapsed() < step.timeout
        {
            if !said {
                let _ = hear.try_send(format!("waits for the end of process {id}, an earlier try"));
                said = true;
            }
            if pause(LOOK_EVERY, cancelled).await {
                return;
            }
        }
    }

    async fn still_running(&self, step: &StepName) -> Option<u32> {
        let (ledger, step) = (self.ledger.clone(), step.clone());
        spawn_blocking(move || ledger.still_running(&step)).await.ok().flatten()
    }

    /// Tries until one succeeds or none is left.
    async fn perform(
        &self,
        step: &Step,
        occasion: &Occasion,
        look: impl Fn() -> Scene,
        hear: &mpsc::Sender<String>,
        mut cancelled: watch::Receiver<bool>,
    ) -> Outcome {
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let occasion = Occasion { attempt: tries, ..occasion.clone() };
            let done = self.once(step, &occasion, &look(), hear, &mut cancelled).await;
            let again = matches!(done.ending, Ending::Failed | Ending::TimedOut);
            if !again || tries > step.retries || pause(step.retry_after, &mut cancelled).await {
                let ending =
                    if again && *cancelled.borrow() { Ending::Cancelled } else { done.ending };
                let why = self.settings.place.secrets.masked(&done.why);
                return Outcome { ending, tries, took: begun.elapsed(), why, output: done.output };
            }
            let _ = hear.try_send(format!("{}; try {} follows", done.why, tries + 1));
        }
    }

    async fn once(
        &self,
        step: &Step,
        occasion: &Occasion,
        scene: &Scene,
        hear: &mpsc::Sender<String>,
        cancelled: &mut watch::Receiver<bool>,
    ) -> Try {
        let asked = async {
            match &step.action {
                Action::Check(check) => {
                    match checks::check(check, occasion, scene, &self.settings).await {
                        (Mark::Failed, why) => Err(why),
                        // What there is nothing to look at for holds nobody up, and is said.
                        (Mark::Asked | Mark::Passed | Mark::Unknown, why) => Ok(why),
                    }
                }
                Action::Confirm => Ok("nothing more is to be done".to_owned()),
                Action::Http(http) => web::request(http, occasion, step, &self.settings).await,
                Action::Run(_) => Err("a command is not asked".to_owned()),
            }
        };
        if let Action::Run(run) = &step.action {
            self.alone(step, hear, cancelled).await;
            let order = command::Order { run, step, occasion };
            return command::run(order, &self.settings, &self.ledger, hear, cancelled).await;
        }
        let late = || Try {
            ending: Ending::TimedOut,
            why: "no answer in time".to_owned(),
            output: Output::default(),
        };
        tokio::select! {
            biased;
            () = told(cancelled) => Try { ending: Ending::Cancelled, ..Try::failed("") },
            asked = timeout(step.timeout, asked) => match asked {
                Ok(Ok(why)) => Try { ending: Ending::Succeeded, ..Try::failed(why) },
                Ok(Err(why)) => Try::failed(why),
                Err(_) => late(),
            },
        }
    }
}

/// Waits for the word to break off; for ever where nobody can give it any more.
async fn told(cancelled: &mut watch::Receiver<bool>) {
    if cancelled.wait_for(|told| *told).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether the pause was broken off.
async fn pause(span: Duration, cancelled: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        () = told(cancelled) => true,
        () = sleep(span) => false,
    }
}
