//! The program: config, journal, control, wings, admin; signals; drain.

mod asked;
mod beginning;
mod service;

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::admin::{self, Program, Reload, ReloadError, TokenFile, Tokens};
use crate::assembly::{
    self, Certificates, Weir, control_settings, proxy_settings, signal_settings, tls_settings,
};
use crate::cache::Caches;
use crate::cli::{self, Run};
use crate::config::{self, Config, LogFormat};
use crate::control::{ANSWER_MAX, Answer, Handle, OrderError, Settings};
use crate::handover::{self, Estate, Succession};
use crate::hooks::{self, Hooks};
use crate::inherited::Inherited;
use crate::metrics::exposition::Reloads;
use crate::notify::Notifier;
use crate::rollout::{Actor, Command, Order, Refusal};
use crate::signals::Sources;
use crate::traffic::Listen;
use crate::{clock, demo, machine, systemd};
use asked::{admin_caches, admin_http_caches, admin_notifications, admin_preflight, notifier};
use beginning::{Beginning, announce};

/// Without a file: pause between two tries to start the rollout.
const CANARY_RETRY: Duration = Duration::from_millis(500);

/// How often the log says what that start waits for.
const CANARY_SAID_EVERY: Duration = Duration::from_mins(1);

/// How long a reload that adds a tier looks whether its address could be bound.
const BOUND_MAX: Duration = Duration::from_millis(250);

/// How long requests to the admin may take to end when the program stops.
const ADMIN_DRAIN: Duration = Duration::from_secs(2);

/// How long requests may go on when the program is broken: its split is nobody's any more.
const BROKEN_DRAIN_MAX: Duration = Duration::from_secs(2);

/// Threads for what is not on the way of a request: control, admin, checks.
const SIDE_THREADS: usize = 2;

/// Runs until SIGTERM or SIGINT, or until another process has taken over. Call it before there is
/// a second thread.
///
/// # Errors
/// The configuration is wrong, a port or the journal cannot be had.
pub fn serve(run: &Run) -> anyhow::Result<()> {
    let inherited = systemd::sockets()?;
    let config = configured(run).map_err(anyhow::Error::msg)?;
    let level = logging(&config)?;
    for warning in &config.warnings {
        let line = warning.line().unwrap_or_default();
        tracing::warn!("{}:{line}: {}; {}", warning.file(), warning.message(), warning.help());
    }
    if let Err(error) = machine::raise_descriptors() {
        tracing::warn!(%error, "cannot raise the limit of file descriptors");
    }
    if let Some(short) = config.short_of_descriptors(machine::descriptors_max()) {
        tracing::warn!("{short}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SIDE_THREADS)
        .thread_name("side")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let outcome = runtime.block_on(program(run, config, level, inherited));
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

/// Why the program ends.
enum End {
    Told,
    Broken(String),
    Replaced(Succession),
}

async fn program(
    run: &Run,
    config: Config,
    level: Level,
    inherited: Inherited,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let begun = tokio::select! {
        begun = Beginning::make(run, &config, inherited) => begun?,
        () = signals.stop() => return Ok(()),
    };
    let Beginning { legacy, store, api, caches, bell } = begun;
    let mut weir = Weir::succeed(
        legacy,
        settings(run, &config),
        &tls_settings(&config),
        store,
        &proxy_settings(&config, 0),
    )?;
    let caches = Arc::new(caches.serve(weir.board(), weir.register().caches()));
    let notifier = Arc::new(notifier(&config, &weir));
    let (theirs, told) = (Arc::clone(&caches), Arc::clone(&notifier));
    let reloading = Reloading::new(run.clone(), config.clone(), level, &weir, theirs, told);
    let reloading = Arc::new(reloading);
    let estate = api.estate(&weir, &caches);
    let api = api.serve(&config, &weir, &reloading);
    announce(&config);
    service::attend(weir.handle(), weir.pulse());
    if starts_by_itself(run) {
        tokio::spawn(start_at_once(weir.handle().clone()));
    }
    let mut giver = tokio::spawn(async move {
        match bell {
            Some(bell) => handover::keep(bell, Arc::new(estate)).await,
            None => std::future::pending().await,
        }
    });
    let end = tokio::select! {
        () = signals.attend(&reloading) => End::Told,
        what = weir.broken() => End::Broken(what),
        outcome = &mut giver => match outcome {
            Ok(Ok(succession)) => End::Replaced(succession),
            Ok(Err(error)) => End::Broken(format!("the hand-over socket broke: {error}")),
            Err(error) => End::Broken(format!("the hand-over task has ended: {error}")),
        },
    };
    giver.abort();
    if let End::Replaced(_) = &end {
        // Who comes now is the other process's.
        caches.close();
        notifier.stop();
        reloading.sources.close();
        weir.certificates().retire();
    }
    // The caches end with the process: requests that may finish ask them.
    end.come(weir, api, drain(&reloading.config())).await
}

/// The signals that the program heeds.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
    upgrade: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the word to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Does what the signals say until one says to stop.
    async fn attend(&mut self, reloading: &Arc<Reloading>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    let reloading = Arc::clone(reloading);
                    // A task of its own: a reload that waits for a disk keeps nobody from stopping.
                    tokio::spawn(async move { reloading.told().await });
                }
                _ = self.upgrade.recv() => service::start_successor(),
            }
        }
    }
}

impl End {
    async fn come(self, weir: Weir, api: ServingApi, drain: Duration) -> anyhow::Result<()> {
        match self {
            End::Told => {
                tracing::info!("stopping; requests may finish");
                systemd::stopping();
                weir.stop(drain).await;
                api.stop().await;
                Ok(())
            }
            End::Broken(what) => {
                tracing::error!("{what}; stopping, so that a restart mends it");
                systemd::stopping();
                weir.stop(drain.min(BROKEN_DRAIN_MAX)).await;
                api.stop().await;
                Err(anyhow::anyhow!("{what}; start weir again, the journal knows the split"))
            }
            End::Replaced(succession) => {
                systemd::replaced(succession.process());
                let (tell, drained) = oneshot::channel();
                let following = tokio::spawn(succession.drains(drain, drained));
                let _ = tell.send(weir.retire(drain, api.stop()).await);
                let _ = following.await;
                Ok(())
            }
        }
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
}

impl Api {
    async fn bind(config: &Config, inherited: &mut Inherited) -> anyhow::Result<Self> {
        let listen = config.admin.listen;
        let listener = match inherited.take(&Listen::Socket(listen)).pop() {
            Some(socket) => adopt(socket),
            None => TcpListener::bind(listen).await,
        };
        let listener = listener.with_context(|| {
            format!("cannot listen at {listen} for the admin; set [admin] listen or --admin")
        })?;
        let tokens = match (&config.admin.tokens_file, &config.state.path) {
            (Some(path), _) => Tokens::open(TokenFile::new(path)),
            (None, Some(journal)) => Tokens::open(TokenFile::beside(journal)),
            (None, None) => Tokens::fleeting(listen.port()),
        };
        Ok(Self { listener, tokens: tokens? })
    }

    /// What can be handed over.
    fn estate(&self, weir: &Weir, caches: &Arc<Caches>) -> Estate {
        let admin = self.listener.as_fd().try_clone_to_owned();
        let admin = admin.inspect_err(|error| tracing::warn!(%error, "no copy of a socket")).ok();
        let (lender, caches) = (weir.lender(), Arc::clone(caches));
        let lend = move || {
            let mut sockets = lender()?;
            sockets.extend(caches.lend()?);
            if let Some(admin) = &admin {
                sockets.push(admin.try_clone()?);
            }
            Ok(sockets)
        };
        let (handle, board) = (weir.handle().clone(), Arc::clone(weir.board()));
        let keyring = Arc::clone(weir.certificates().keyring());
        let answer = move |proofs| keyring.answer_as(proofs);
        Estate { handle, board, lend: Box::new(lend), answer: Box::new(answer) }
    }

    fn serve(self, config: &Config, weir: &Weir, reloading: &Arc<Reloading>) -> ServingApi {
        let (stop, stopped) = oneshot::channel::<()>();
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
            keyring: Arc::clone(weir.certificates().keyring()),
            caches: admin_caches(&reloading.caches),
            http_caches: admin_http_caches(weir.http_caches()),
            notifications: admin_notifications(&reloading.notifier),
            shelf: weir.shelf().clone(),
            preflight: admin_preflight(reloading),
            not_ready: weir.unbound(),
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
        ServingApi { stop, task }
    }
}

impl ServingApi {
    async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// A socket that was handed over.
fn adopt(socket: OwnedFd) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The file of this run; none for a run with `--listen`.
fn file(run: &Run) -> Option<PathBuf> {
    if run.listen.is_some() { None } else { run.config.clone().or_else(cli::usual_file) }
}

fn configured(run: &Run) -> Result<Config, String> {
    let mut config = if let (Some(listen), Some(stable)) = (&run.listen, &run.stable) {
        named_where_kept(run)?;
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
    config.proxy.workers = run.workers.map(usize::from).or(config.proxy.workers);
    config::may_be_asked_there(&config).map_err(|error| error.to_string())?;
    Ok(config)
}

/// A journal that is kept knows versions by their names: "new" would be another build at the next
/// deploy, and everybody would be sent there untested.
fn named_where_kept(run: &Run) -> Result<(), String> {
    let versions = [("--stable", &run.stable), ("--canary", &run.canary)];
    let unnamed = |(_, named): &(&str, &Option<cli::Named>)| {
        named.as_ref().is_some_and(|named| named.version.is_none())
    };
    let unnamed = versions.into_iter().find(unnamed).filter(|_| run.state.is_some());
    let Some((argument, Some(named))) = unnamed else { return Ok(()) };
    Err(format!(
        "{argument}: with --state the journal outlives the program and knows versions by name; \
         write {argument} VERSION={named}, with a new VERSION for each build"
    ))
}

fn settings(run: &Run, config: &Config) -> Settings {
    let mut settings = control_settings(config, run.observe, run.record.clone(), remarks(run));
    settings.starts_by_itself = starts_by_itself(run);
    settings.hooks = assembly::hooks(config, &folder(run));
    settings
}

/// Where the file stands.
fn folder(run: &Run) -> PathBuf {
    let file = file(run);
    let folder = file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

/// Whether the rollout begins without an order.
fn starts_by_itself(run: &Run) -> bool {
    file(run).is_none() && run.canary.is_some()
}

/// The way to another level of the log.
type Level = Box<dyn Fn(&str) -> anyhow::Result<()> + Send + Sync>;

/// The level that overrides the file's.
fn level_of_environment() -> Option<String> {
    std::env::var("WEIR_LOG").ok()
}

/// Logs go to standard error, as the file says; `WEIR_LOG` overrides the level.
fn logging(config: &Config) -> anyhow::Result<Level> {
    let level = level_of_environment().unwrap_or_else(|| config.log.level.clone());
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(&level)?)
        .with_ansi(coloured)
        .with_writer(std::io::stderr);
    Ok(match config.log.format {
        LogFormat::Json => {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |level| Ok(handle.reload(filter(level)?)?))
        }
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |level| Ok(handle.reload(filter(level)?)?))
        }
    })
}

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(level)
        .with_context(|| format!("log level {level:?}; use error, warn, info, debug or trace"))
}

/// The longest drain any tier allows.
fn drain(config: &Config) -> Duration {
    config.tiers.iter().map(|tier| tier.tier.timeouts.drain).max().unwrap_or_default()
}

/// What an operator should know about a program that runs without a file.
fn remarks(run: &Run) -> Vec<String> {
    let mut remarks = Vec::new();
    if file(run).is_none() && run.state.is_none() {
        remarks.push("no file and no --state: the journal is gone with the process".into());
    }
    if run.observe {
        remarks
            .push("observing: stages move by order alone, verdicts are only written down".into());
    }
    remarks
}

/// Without a file the rollout starts at once, as soon as the canary is healthy.
async fn start_at_once(handle: Handle) {
    let mut said: Option<Instant> = None;
    let order = Order::Start { tier: None, version: None, upstreams: vec![], again: false };
    let command = Command { order, by: Actor::weir(), because: Some("run without a file".into()) };
    loop {
        let waits = match handle.order(command.clone(), false).await {
            Err(OrderError::Refused(refusal @ Refusal::Unhealthy { .. })) => refusal.to_string(),
            Err(OrderError::Journal(error)) => error.to_string(),
            Err(error @ OrderError::HandingOver { .. }) => error.to_string(),
            Err(OrderError::Refused(refusal)) => return tracing::warn!("{refusal}"),
            Err(error) => return tracing::error!("{error}"),
            Ok(_) => return,
        };
        // A canary that boots is given the first minute.
        let since = *said.get_or_insert_with(Instant::now);
        if since.elapsed() >= CANARY_SAID_EVERY {
            said = Some(Instant::now());
            tracing::warn!("the rollout has not started yet, and is tried again: {waits}");
        }
        tokio::time::sleep(CANARY_RETRY).await;
    }
}

/// Reads the file again and takes over what may change while the program runs.
struct Reloading {
    run: Run,
    /// What is applied. Never held across a wait.
    config: Mutex<Arc<Config>>,
    /// One reload after the other.
    turn: tokio::sync::Mutex<()>,
    handle: Handle,
    certificates: Arc<Certificates>,
    caches: Arc<Caches>,
    notifier: Arc<Notifier>,
    sources: Sources,
    level: Level,
    unbound: watch::Receiver<Vec<String>>,
    reloads: Arc<Reloads>,
}

impl Reloading {
    fn new(
        run: Run,
        config: Config,
        level: Level,
        weir: &Weir,
        caches: Arc<Caches>,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self {
            sources: weir.hear(&config),
            run,
            config: Mutex::new(Arc::new(config)),
            turn: tokio::sync::Mutex::default(),
            handle: weir.handle().clone(),
            certificates: Arc::clone(weir.certificates()),
            caches,
            notifier,
            level,
            unbound: weir.unbound(),
            reloads: Arc::new(Reloads::new(clock::wall())),
        }
    }

    /// What is applied now.
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What does the steps of `config`.
    fn hooks(&self, config: &Config) -> Hooks {
        let place = assembly::hooks(config, &folder(&self.run));
        let keyring = Arc::clone(self.certificates.keyring());
        Hooks::new(hooks::Settings { place, keyring })
    }

    /// A reload by SIGHUP: the log is the answer.
    async fn told(self: &Arc<Self>) {
        match self.reload().await {
            Ok(answer) if answer.sentences.is_empty() => tracing::info!("reload: nothing changed"),
            Ok(answer) => tracing::info!("reloaded\n{}", answer.sentences.join("\n")),
            Err(error @ ReloadError::NoAnswer) => tracing::warn!("reload: {error}"),
            Err(error) => tracing::error!("reload: nothing was changed: {error}"),
        }
    }

    /// All or nothing. The answer's sentences are the changes, like a diff, and what follows.
    ///
    /// Done in a task of its own: whoever asked gets an answer in time, and what is applied when
    /// a hanging disk is back is known here, however long ago the asker left.
    async fn reload(self: &Arc<Self>) -> Result<Answer, ReloadError> {
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            systemd::reloading();
            let outcome = this.try_reload().await;
            systemd::ready();
            match &outcome {
                Ok(_) => this.reloads.worked(clock::wall()),
                Err(_) => this.reloads.failed(),
            }
            outcome
        });
        match tokio::time::timeout(ANSWER_MAX, task).await {
            Ok(outcome) => outcome.unwrap_or(Err(OrderError::Stopping.into())),
            Err(_) => Err(ReloadError::NoAnswer),
        }
    }

    async fn try_reload(&self) -> Result<Answer, ReloadError> {
        if file(&self.run).is_none() {
            let what = "weir runs without a file; there is nothing to reload";
            return Err(ReloadError::File(what.into()));
        }
        let _turn = self.turn.lock().await;
        let current = self.config();
        let wanted = configured(&self.run).map_err(ReloadError::File)?;
        let changes = config::differences(&current, &wanted);
        self.may_change(&changes).map_err(ReloadError::File)?;
        let tls = tls_settings(&wanted);
        self.certificates.prepare(&tls).map_err(|error| ReloadError::File(error.to_string()))?;
        let doors = self.caches.prepare(&wanted.caches);
        let doors = doors.map_err(|error| ReloadError::File(error.to_string()))?;
        let mut answer = self.handle.reload(settings(&self.run, &wanted)).await?;
        self.caches.follow(&wanted.caches, doors);
        self.sources.follow(signal_settings(&wanted));
        self.certificates.follow(tls);
        self.notifier.follow(wanted.notify.clone());
        if level_of_environment().is_none()
            && let Err(error) = (self.level)(&wanted.log.level)
        {
            answer.sentences.push(format!("the level of the log stays: {error:#}"));
        }
        let lines = changes.iter().map(ToString::to_string);
        answer.sentences = lines.chain(answer.sentences).collect();
        if wanted.tiers.iter().any(|tier| !has_tier(&current, tier)) {
            answer.sentences.extend(self.unbound().await);
        }
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(wanted);
        Ok(answer)
    }

    /// The tiers that turn out not to be listened for.
    async fn unbound(&self) -> Vec<String> {
        let mut unbound = self.unbound.clone();
        let seen = tokio::time::timeout(BOUND_MAX, unbound.wait_for(|none| !none.is_empty())).await;
        let again = |line: &String| format!("{line}; it is tried again each second");
        match seen {
            Ok(Ok(unbound)) => unbound.iter().map(again).collect(),
            Ok(Err(_)) | Err(_) => vec![],
        }
    }

    fn may_change(&self, changes: &[config::Change]) -> Result<(), String> {
        let view = self.handle.view();
        let open = |change: &config::Change| {
            let concerns = |name| change.tier.as_ref().is_none_or(|tier| tier == name);
            let mut tiers = view.tiers.iter().filter(|tier| tier.rollout.is_some());
            let tier = tiers.find(|tier| concerns(&tier.name));
            // What belongs to no tier with traffic is judged between its tiers, too.
            let upgrade = view.upgrade.as_ref().filter(|_| change.tier.is_none());
            tier.map(|tier| format!("a rollout of {}", tier.name))
                .or_else(|| upgrade.map(|upgrade| format!("rollout {}", upgrade.id)))
        };
        let refusal = |change: &config::Change| match (change.class, open(change)) {
            (config::Class::Restart, _) => Some(format!("{change}\n  needs a restart")),
            (config::Class::RefusedWhileOpen, Some(open)) => {
                Some(format!("{change}\n  cannot change while {open} is open"))
            }
            (config::Class::RefusedWhileOpen, None)
            | (config::Class::Live | config::Class::Open, _) => None,
        };
        let refusals: Vec<String> = changes.iter().filter_map(refusal).collect();
        if refusals.is_empty() { Ok(()) } else { Err(refusals.join("\n")) }
    }
}

fn has_tier(config: &Config, tier: &config::TierConfig) -> bool {
    config.tiers.iter().any(|known| known.tier.name == tier.tier.name)
}
