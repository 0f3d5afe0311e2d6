//! Both wings put together: what `weir run` and the demo share.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::cache::http::HttpCaches;
use crate::clock;
use crate::config::{self, Config, MemoryLimit};
use crate::control::{self, Control, Handle};
use crate::handover::{Answers, Predecessor};
use crate::hooks;
use crate::inherited::Inherited;
use crate::journal::{self, Journal, Kept, Shelf};
use crate::machine;
use crate::metrics::Register;
use crate::proxy::{self, Proxy};
use crate::rollout::Event;
use crate::signals::{self, Sources};
use crate::tls::{Keyring, TlsError, acme};
use crate::traffic::{Board, ClientTls, Listen, ServerTls};

/// A running Weir without its admin: what `run` and the demo share.
pub struct Weir {
    handle: Handle,
    register: Arc<Register>,
    certificates: Arc<Certificates>,
    board: Arc<Board>,
    http_caches: Arc<HttpCaches>,
    shelf: Shelf,
    proxy: Proxy,
    /// None once it has ended unasked.
    control: Option<JoinHandle<()>>,
    stop: oneshot::Sender<()>,
}

/// What a Weir begins with that is not its first.
#[derive(Debug, Default)]
pub struct Legacy {
    /// Listeners and locks that were handed over.
    pub inherited: Inherited,
    /// What was lowered since the journal was given away.
    pub lowered: Vec<Event>,
    /// The process before, which follows the tables of this one until it has drained.
    pub predecessor: Option<Predecessor>,
}

/// An open journal and what it holds.
pub struct Store {
    journal: Journal,
    kept: Kept,
    lost: Option<String>,
}

impl Store {
    /// A journal that is gone with the process.
    pub fn memory() -> Self {
        Self { journal: Journal::memory(), kept: Kept::default(), lost: None }
    }

    /// The journal at `path`. One that is damaged or foreign is set aside, and a new one begins.
    /// While the new one holds nothing, the one set aside is still what was lost: the program may
    /// have been killed between the two.
    ///
    /// # Errors
    /// It cannot be opened, belongs to a running Weir, or was written by a newer one.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let error = match Journal::open(path) {
            Ok((journal, kept)) => {
                let earlier = if kept.records.is_empty() { journal::earlier(path) } else { None };
                let lost = earlier
                    .map(|earlier| format!("an earlier journal lies at {}", earlier.display()));
                if let Some(lost) = &lost {
                    tracing::error!("{lost}");
                }
                return Ok(Self { journal, kept, lost });
            }
            Err(error) => error,
        };
        if !error.can_be_set_aside() {
            return Err(error.into());
        }
        let aside = journal::set_aside(path, clock::wall())
            .with_context(|| format!("{error}, and it cannot be set aside"))?;
        let lost = format!("{error}; it is kept as {}", aside.display());
        tracing::error!("{lost}");
        let (journal, kept) = Journal::open(path)?;
        Ok(Self { journal, kept, lost: Some(lost) })
    }
}

impl Weir {
    /// Starts both wings: what is remembered is published before the first connection is taken.
    ///
    /// # Errors
    /// A port cannot be had, or the file of `--record` cannot be written.
    pub fn start(
        settings: control::Settings,
        tls: &TlsSettings,
        store: Store,
        proxy: &proxy::Settings,
    ) -> anyhow::Result<Self> {
        Self::succeed(Legacy::default(), settings, tls, store, proxy)
    }

    /// The same, after another one.
    ///
    /// # Errors
    /// A port cannot be had, or the file of `--record` cannot be written.
    pub fn succeed(
        legacy: Legacy,
        settings: control::Settings,
        tls: &TlsSettings,
        store: Store,
        proxy: &proxy::Settings,
    ) -> anyhow::Result<Self> {
        let Legacy { inherited, lowered, predecessor } = legacy;
        let certificates = Certificates::start(tls)?;
        let workers = proxy.worker_count();
        // The process before is one more worker, far away.
        let board = match &predecessor {
            Some(_) => Board::with_guest(workers),
            None => Board::new(workers),
        };
        let board = Arc::new(board);
        let register = Arc::new(Register::new(workers));
        let record = settings.record.clone();
        let shelf = store.journal.shelf();
        let (mut control, handle) = Control::start(
            settings,
            store.journal,
            store.kept,
            store.lost,
            Arc::clone(&board),
            Arc::clone(&register),
            Arc::clone(certificates.keyring()),
        )
        .with_context(|| format!("cannot record to {}", record.unwrap_or_default().display()))?;
        let (stop, stopped) = oneshot::channel();
        let keyring = Arc::clone(certificates.keyring());
        control.catch_up(&lowered);
        let settings = proxy::Settings { workers, ..proxy.clone() };
        let (theirs, counts) = (Arc::clone(&board), Arc::clone(&register));
        let http_caches = Arc::clone(&settings.caches);
        let proxy = proxy::start_at(inherited, &settings, theirs, counts, keyring)?;
        if let Some(predecessor) = predecessor {
            let (handle, board) = (handle.clone(), Arc::clone(&board));
            let keyring = certificates.keyring();
            let answers = Answers { owed: keyring.proofs(), followed: keyring.echo() };
            // Before anything is ordered.
            answers.followed.send_replace(Some(BTreeMap::new()));
            tokio::spawn(predecessor.is_followed(handle, board, workers, answers));
        }
        let control = Some(tokio::spawn(control.run(stopped)));
        let certificates = Arc::new(certificates);
        Ok(Self { handle, register, certificates, board, http_caches, shelf, proxy, control, stop })
    }

    /// The way to the control wing.
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Begins to hear what `config` names.
    pub fn hear(&self, config: &Config) -> Sources {
        Sources::start(signal_settings(config), &self.register, self.certificates.keyring())
    }

    /// What the workers count.
    pub const fn register(&self) -> &Arc<Register> {
        &self.register
    }

    /// Where the table is published.
    pub const fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// What is kept of answers.
    pub const fn http_caches(&self) -> &Arc<HttpCaches> {
        &self.http_caches
    }

    /// What is kept beside the events.
    pub const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// The certificates that are served and ordered.
    pub const fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Waits until the control task or a thread of the proxy has ended that nobody told to, and
    /// says which. What is left serves the last split for ever, and nobody could roll it back:
    /// stop it, and start anew from the journal.
    pub async fn broken(&mut self) -> String {
        let control = async {
            match &mut self.control {
                Some(task) => task.await,
                None => Ok(()),
            }
        };
        tokio::select! {
            ended = control => {
                self.control = None;
                let why = ended.err().map_or_else(String::new, |error| format!(": {error}"));
                format!("the control task has ended{why}")
            }
            name = self.proxy.broken() => format!("the thread {name} of the proxy has ended"),
        }
    }

    /// The tiers that are not listened for, each with the reason as a sentence.
    pub fn unbound(&self) -> watch::Receiver<Vec<String>> {
        self.proxy.unbound()
    }

    /// What gives copies of all listeners, and of the locks on their addresses.
    pub fn lender(&self) -> impl Fn() -> io::Result<Vec<OwnedFd>> + Send + Sync + use<> {
        self.proxy.lender()
    }

    /// What asks the workers whether they live.
    pub fn pulse(&self) -> proxy::Pulse {
        self.proxy.pulse()
    }

    /// Stops accepting, lets requests finish for up to `drain`, writes what is left.
    pub async fn stop(self, drain: Duration) {
        self.end(move |proxy| proxy.drain(drain), std::future::ready(())).await;
    }

    /// The same, while another process serves; what it still orders here, until `admin` has ended,
    /// is told to that process. Gives how many connections were cut.
    pub async fn retire(self, drain: Duration, admin: impl Future<Output = ()>) -> usize {
        self.end(move |proxy| proxy.retire(drain), admin).await
    }

    async fn end(
        self,
        drain: impl FnOnce(Proxy) -> usize + Send + 'static,
        admin: impl Future<Output = ()>,
    ) -> usize {
        let proxy = self.proxy;
        let (cut, ()) = tokio::join!(tokio::task::spawn_blocking(move || drain(proxy)), admin);
        let cut = cut.unwrap_or(0);
        if cut > 0 {
            tracing::warn!(cut, "connections were cut at the end of the drain");
        }
        let _ = self.stop.send(());
        if let Some(control) = self.control {
            let _ = control.await;
        }
        cut
    }
}

/// What of a file concerns TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    servers: Vec<Arc<ServerTls>>,
    clients: Vec<Arc<ClientTls>>,
    acme: Option<acme::Settings>,
}

/// The certificates that are served, and the task that orders some of them.
#[derive(Debug)]
pub struct Certificates {
    keyring: Arc<Keyring>,
    ordered: watch::Sender<Option<acme::Settings>>,
    task: JoinHandle<()>,
}

impl Certificates {
    fn start(settings: &TlsSettings) -> Result<Self, TlsError> {
        let keyring = Keyring::new(proxy::PROTOCOLS)?;
        keyring.prepare(&settings.servers, &settings.clients)?;
        acme::restore(&keyring, settings.acme.as_ref());
        let (ordered, wanted) = watch::channel(settings.acme.clone());
        let task = tokio::spawn(acme::keep(Arc::clone(&keyring), wanted));
        Ok(Self { keyring, ordered, task })
    }

    /// What handshakes share.
    pub const fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Makes what `settings` need, before they are published.
    ///
    /// # Errors
    /// A certificate cannot be used, or no authority is trusted.
    pub fn prepare(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        self.keyring.prepare(&settings.servers, &settings.clients)
    }

    /// Takes over `settings`, which are published.
    pub fn follow(&self, settings: TlsSettings) {
        self.keyring.retain(&settings.servers, &settings.clients);
        acme::restore(&self.keyring, settings.acme.as_ref());
        self.ordered.send_replace(settings.acme);
    }
}

impl Certificates {
    /// Orders nothing more: another process does, at whose door the authority knocks. What this one
    /// has serves it to its end.
    pub fn retire(&self) {
        self.task.abort();
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        self.retire();
    }
}

/// What of the file concerns TLS.
pub fn tls_settings(config: &Config) -> TlsSettings {
    let servers = config.tiers.iter().filter_map(|tier| tier.tier.listener.tls.clone());
    let releases = config.tiers.iter().flat_map(|tier| &tier.releases);
    TlsSettings {
        servers: servers.collect(),
        clients: releases.filter_map(|release| release.tls.clone()).collect(),
        acme: config::ordered(config),
    }
}

/// What the data wing needs of the file beside the table. `workers`: threads where the file does
/// not say; 0: one a core.
pub fn proxy_settings(config: &Config, workers: usize) -> proxy::Settings {
    let config::ProxyConfig {
        workers: written,
        upstream_client,
        resolve_every,
        memory,
        environment,
    } = config.proxy.clone();
    let (had, is_auto) = (machine::memory(), memory == MemoryLimit::Auto);
    proxy::Settings {
        workers: written.unwrap_or(workers),
        client: upstream_client,
        resolve_every,
        environment,
        memory: match memory {
            MemoryLimit::Auto => had.map(machine::Memory::usual),
            MemoryLimit::Bytes(bytes) => Some(bytes),
            MemoryLimit::None => None,
        },
        memory_of_group: is_auto && matches!(had, Some(machine::Memory::Group(_))),
        ..proxy::Settings::default()
    }
}

/// What is heard from outside.
pub fn signal_settings(config: &Config) -> signals::Settings {
    let signals = config.signals.iter().map(|config| config.signal.clone()).collect();
    signals::Settings { statsd: config.statsd, signals }
}

/// Threads that serve caches: as many as the proxy has.
pub fn cache_workers(config: &Config) -> usize {
    proxy_settings(config, 0).worker_count()
}

/// Where and with what the steps of the runbook of `config`, the file in `folder`, are done.
pub fn hooks(config: &Config, folder: &Path) -> hooks::Place {
    let ledger = match &config.state.path {
        Some(journal) => journal.with_extension("steps"),
        None => std::env::temp_dir().join(format!("weir-{}.steps", std::process::id())),
    };
    hooks::Place { folder: folder.to_owned(), ledger, secrets: config.secrets(std::env::vars()) }
}

/// What the control wing needs of the file.
pub fn control_settings(
    config: &Config,
    observe: bool,
    record: Option<PathBuf>,
    remarks: Vec<String>,
) -> control::Settings {
    let release = |release: &config::ReleaseConfig| control::ReleaseSettings {
        version: release.version.clone(),
        upstreams: release.upstreams.clone(),
        host: release.host.clone(),
        tls: release.tls.clone(),
        proxy_protocol: release.proxy_protocol,
    };
    let tier = |tier: &config::TierConfig| control::TierSettings {
        tier: Arc::clone(&tier.tier),
        stable: tier.stable.clone(),
        releases: tier.releases.iter().map(release).collect(),
        instances: tier.instances.clone(),
        canary_down: tier.canary_down,
        stages: config.stages(tier).clone(),
        analysis: tier.analysis.clone(),
        signals: (config.signals.iter())
            .filter(|config| config.signal.tier == tier.tier.name)
            .map(|config| control::Signal {
                name: config.signal.name.clone(),
                feeds: config.feeds,
                silent_after: config.silent_after,
            })
            .collect(),
    };
    let tiers = config.tiers.iter().map(tier).collect();
    let listens = config.tiers.iter().map(|tier| tier.tier.listener.listen.clone());
    let own = listens.chain([Listen::Socket(config.admin.listen)]).collect();
    control::Settings {
        tiers,
        rollback_over: config.rollout.rollback_over,
        caches: config.lives.clone(),
        own,
        upgrade: config.rollout.upgrade.clone(),
        starts_by_itself: false,
        observe,
        record,
        outline: config.scene(),
        hooks: hooks::Place::default(),
        remarks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[[tier]]
name     = "web"
listen   = "127.0.0.1:0"
stable   = "1.0.0"
releases = [{ version = "1.0.0", upstreams = ["127.0.0.1:9"] }]
"#;

    #[tokio::test]
    async fn the_end_of_the_control_task_is_noticed() {
        let config = config::parse("weir.toml", FILE, Path::new("")).map_err(|e| e.to_string());
        let settings = control_settings(&config.unwrap(), false, None, vec![]);
        let proxy = proxy::Settings { workers: 1, ..proxy::Settings::default() };
        let mut weir =
            Weir::start(settings, &TlsSettings::default(), Store::memory(), &proxy).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), weir.broken()).await;
        assert!(early.is_err(), "it lives");
        weir.control.as_ref().unwrap().abort();
        let what = weir.broken().await;
        assert!(what.starts_with("the control task has ended: "), "{what}");
        assert_eq!(weir.broken().await, "the control task has ended");
        weir.stop(Duration::ZERO).await;
    }

    #[test]
    fn a_journal_set_aside_is_lost_until_the_new_one_holds_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir.db");
        std::fs::write(&path, "no database, and longer than a header".repeat(40)).unwrap();
        let first = Store::open(&path).unwrap();
        assert!(first.lost.unwrap().contains("set-aside"));
        first.journal.close();
        // Killed before it wrote anything.
        let second = Store::open(&path).unwrap();
        let lost = second.lost.unwrap();
        assert!(lost.starts_with("an earlier journal lies at "), "{lost}");
        assert!(lost.contains("weir.db.set-aside-"), "{lost}");
        let records = include_str!("../tests/journals/0.1.jsonl");
        let record: journal::Record =
            serde_json::from_str(records.lines().next().unwrap()).unwrap();
        let batch = journal::Batch { events: vec![record.event], ..journal::Batch::default() };
        second.journal.append(batch).blocking_recv().unwrap().unwrap();
        second.journal.close();
        assert_eq!(Store::open(&path).unwrap().lost, None);
    }
}
