//! The program: config, journal, control, wings, admin; signals; drain.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, Program, Reload, ReloadError, TokenFile, Tokens};
use crate::assembly::{Store, Weir, control_settings};
use crate::cli::{self, Run};
use crate::config::{self, Config, LogFormat};
use crate::control::{Answer, Handle, OrderError};
use crate::metrics::exposition::Reloads;
use crate::rollout::{Actor, Command, Order, Refusal};
use crate::{clock, demo};

/// How long `--listen --stable --canary` waits for the canary's health before it gives up.
const CANARY_WAIT_MAX: Duration = Duration::from_mins(5);

/// Pause between two tries to start it.
const CANARY_RETRY: Duration = Duration::from_millis(500);

/// How long requests to the admin may take to end when the program stops.
const ADMIN_DRAIN: Duration = Duration::from_secs(2);

/// How long requests may go on when the program is broken: its split is nobody's any more.
const BROKEN_DRAIN_MAX: Duration = Duration::from_secs(2);

/// Threads for what is not on the way of a request: control, admin, checks.
const SIDE_THREADS: usize = 2;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration is wrong, a port or the journal cannot be had.
pub fn serve(run: &Run) -> anyhow::Result<()> {
    let config = configured(run).map_err(anyhow::Error::msg)?;
    logging(&config)?;
    for warning in &config.warnings {
        let line = warning.line().unwrap_or_default();
        tracing::warn!("{}:{line}: {}; {}", warning.file(), warning.message(), warning.help());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SIDE_THREADS)
        .thread_name("side")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let outcome = runtime.block_on(program(run, config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Shows Weir at work.
///
/// # Errors
/// A port cannot be had, a rollout does not end as it should, or nobody reads.
pub fn demo(demo: &cli::Demo) -> anyhow::Result<()> {
    let settings = demo::Settings {
        seed: demo.seed.unwrap_or_else(|| rand::random_range(0..10_000)),
        bad: demo.bad || !demo.good,
        good: demo.good || !demo.bad,
        json: demo.json,
    };
    demo::run(settings, &mut |line| cli::print::line(line))
}

async fn program(run: &Run, config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let store = match &config.state.path {
        None => Store::memory(),
        Some(path) => Store::open(path)?,
    };
    let api = Api::bind(&config).await?;
    let settings = control_settings(&config, run.observe, run.record.clone(), remarks(run));
    let mut weir = Weir::start(settings, store, workers(&config))?;
    let handle = weir.handle().clone();
    let reloading = Arc::new(Reloading::new(run.clone(), config.clone(), handle.clone()));
    let api = api.serve(&config, &weir, &reloading);
    announce(&config);
    if file(run).is_none() && run.canary.is_some() {
        tokio::spawn(start_at_once(handle));
    }
    let broken = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            what = weir.broken() => break Some(what),
            _ = hangup.recv() => reloading.told().await,
        }
    };
    let drain = drain(&config);
    match &broken {
        None => tracing::info!("stopping; requests may finish"),
        Some(what) => tracing::error!("{what}; stopping, so that a restart mends it"),
    }
    weir.stop(if broken.is_some() { drain.min(BROKEN_DRAIN_MAX) } else { drain }).await;
    api.stop().await;
    match broken {
        None => Ok(()),
        Some(what) => Err(anyhow::anyhow!("{what}; start weir again, the journal knows the split")),
    }
}

/// The admin API before it serves: its port and its tokens are there.
struct Api {
    listener: TcpListener,
    tokens: Tokens,
}

/// The admin API while it serves.
struct ServingApi {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _ready: watch::Sender<Vec<String>>,
}

impl Api {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let listen = config.admin.listen;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen at {listen} for the admin; set [admin] listen or --admin")
        })?;
        let tokens = match (&config.admin.tokens_file, &config.state.path) {
            (Some(path), _) => Tokens::open(TokenFile::new(path)),
            (None, Some(journal)) => Tokens::open(TokenFile::beside(journal)),
            (None, None) => Tokens::fleeting(listen.port()),
        };
        Ok(Self { listener, tokens: tokens? })
    }

    fn serve(self, config: &Config, weir: &Weir, reloading: &Arc<Reloading>) -> ServingApi {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, not_ready) = watch::channel(vec![]);
        let theirs = Arc::clone(reloading);
        let program = Program {
            handle: weir.handle().clone(),
            register: Arc::clone(weir.register()),
            tokens: self.tokens,
            reload: Reload::new(move || {
                let reloading = Arc::clone(&theirs);
                async move { reloading.reload().await }
            }),
            reloads: Arc::clone(&reloading.reloads),
            not_ready,
        };
        let settings = admin::Settings {
            listen: config.admin.listen,
            hosts: config.admin.hosts.clone(),
            drain: ADMIN_DRAIN,
        };
        let shutdown = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(admin::serve(self.listener, settings, program, shutdown));
        ServingApi { stop, task, _ready: ready }
    }
}

impl ServingApi {
    async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// The file of this run; none for a run with `--listen`.
fn file(run: &Run) -> Option<PathBuf> {
    if run.listen.is_some() { None } else { run.config.clone().or_else(cli::usual_file) }
}

fn configured(run: &Run) -> Result<Config, String> {
    let mut config = if let (Some(listen), Some(stable)) = (&run.listen, &run.stable) {
        let canary = run.canary.as_ref().map(ToString::to_string);
        config::without_file(*listen, &stable.to_string(), canary.as_deref())
            .map_err(|error| error.to_string())?
    } else {
        let path = file(run).ok_or(
            "no file at ./weir.toml or /etc/weir/weir.toml; name one with --config, or run \
             without: weir run --listen ADDR --stable ADDR --canary ADDR",
        )?;
        config::load(&path).map_err(|report| report.to_string())?
    };
    if let Some(path) = &run.state {
        config.state.path = Some(path.clone());
    }
    if let Some(listen) = run.admin {
        config.admin.listen = listen;
    }
    config.workers = run.workers.map(usize::from).or(config.workers);
    Ok(config)
}

/// Logs go to standard error, as the file says; `WEIR_LOG` overrides the level.
fn logging(config: &Config) -> anyhow::Result<()> {
    let level = std::env::var("WEIR_LOG").unwrap_or_else(|_| config.log.level.clone());
    let filter = tracing_subscriber::EnvFilter::try_new(&level)
        .with_context(|| format!("log level {level:?}; use error, warn, info, debug or trace"))?;
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(coloured)
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.init(),
    }
    Ok(())
}

fn workers(config: &Config) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    config.workers.unwrap_or_else(processors)
}

/// The longest drain any tier allows.
fn drain(config: &Config) -> Duration {
    config.tiers.iter().map(|tier| tier.tier.timeouts.drain).max().unwrap_or_default()
}

/// What an operator should know about a program that runs without a file.
fn remarks(run: &Run) -> Vec<String> {
    let mut remarks = Vec::new();
    if file(run).is_none() {
        if run.state.is_none() {
            remarks.push("no file and no --state: the journal is gone with the process".into());
        }
        if run.canary.is_some() {
            remarks.push(
                "no file: the rollout starts by itself as soon as the canary is healthy".into(),
            );
        }
    }
    if run.observe {
        remarks
            .push("observing: stages move by order alone, verdicts are only written down".into());
    }
    remarks
}

/// Without a file the rollout starts at once, as soon as the canary is healthy.
async fn start_at_once(handle: Handle) {
    let since = Instant::now();
    let order = Order::Start { tier: None, version: None, upstreams: vec![], again: false };
    let command = Command { order, by: Actor::weir(), because: Some("run without a file".into()) };
    loop {
        match handle.order(command.clone(), false).await {
            Err(OrderError::Refused(Refusal::Unhealthy { .. }))
                if since.elapsed() < CANARY_WAIT_MAX =>
            {
                tokio::time::sleep(CANARY_RETRY).await;
            }
            Err(OrderError::Refused(refusal)) => return tracing::warn!("{refusal}"),
            Err(error) => return tracing::error!("{error}"),
            Ok(_) => return,
        }
    }
}

/// Reads the file again and takes over what may change while the program runs.
struct Reloading {
    run: Run,
    config: Mutex<Config>,
    handle: Handle,
    reloads: Arc<Reloads>,
}

impl Reloading {
    fn new(run: Run, config: Config, handle: Handle) -> Self {
        let reloads = Arc::new(Reloads::new(clock::wall()));
        Self { run, config: Mutex::new(config), handle, reloads }
    }

    /// A reload by SIGHUP: the log is the answer.
    async fn told(&self) {
        match self.reload().await {
            Ok(answer) if answer.sentences.is_empty() => tracing::info!("reload: nothing changed"),
            Ok(answer) => tracing::info!("reloaded\n{}", answer.sentences.join("\n")),
            Err(error) => tracing::error!("reload: nothing was changed: {error}"),
        }
    }

    /// All or nothing. The answer's sentences are the changes, like a diff, and what follows.
    async fn reload(&self) -> Result<Answer, ReloadError> {
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(_) => self.reloads.worked(clock::wall()),
            Err(_) => self.reloads.failed(),
        }
        outcome
    }

    async fn try_reload(&self) -> Result<Answer, ReloadError> {
        if file(&self.run).is_none() {
            let what = "weir runs without a file; there is nothing to reload";
            return Err(ReloadError::File(what.into()));
        }
        let mut current = self.config.lock().await;
        let wanted = configured(&self.run).map_err(ReloadError::File)?;
        let changes = config::differences(&current, &wanted);
        self.may_change(&changes).map_err(ReloadError::File)?;
        let (run, record) = (&self.run, self.run.record.clone());
        let settings = control_settings(&wanted, run.observe, record, remarks(run));
        let mut answer = self.handle.reload(settings).await?;
        *current = wanted;
        let lines = changes.iter().map(ToString::to_string);
        answer.sentences = lines.chain(answer.sentences).collect();
        Ok(answer)
    }

    fn may_change(&self, changes: &[config::Change]) -> Result<(), String> {
        let view = self.handle.view();
        let open = |change: &config::Change| {
            let concerns = |name| change.tier.as_ref().is_none_or(|tier| tier == name);
            view.tiers.iter().find(|tier| tier.rollout.is_some() && concerns(&tier.name))
        };
        let refusal = |change: &config::Change| match (change.class, open(change)) {
            (config::Class::Restart, _) => Some(format!("{change}\n  needs a restart")),
            (config::Class::RefusedWhileOpen, Some(tier)) => {
                Some(format!("{change}\n  cannot change while a rollout of {} is open", tier.name))
            }
            (config::Class::RefusedWhileOpen, None)
            | (config::Class::Live | config::Class::Open, _) => None,
        };
        let refusals: Vec<String> = changes.iter().filter_map(refusal).collect();
        if refusals.is_empty() { Ok(()) } else { Err(refusals.join("\n")) }
    }
}

fn announce(config: &Config) {
    for tier in &config.tiers {
        tracing::info!(tier = %tier.tier.name, listen = %tier.tier.listen, "serving");
    }
    tracing::info!(admin = %config.admin.listen, "`weir status` tells how things stand");
}
