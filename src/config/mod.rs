//! The file: read whole, every mistake at once, each with its place and what is allowed.
//!
//! ```
//! let text = "[[tier]]\nnmae = 'web'";
//! let report = weir::config::parse("weir.toml", text, ".".as_ref()).unwrap_err();
//! assert_eq!(report.diagnostics().last().unwrap().help(), "did you mean `name`?");
//! ```

mod cache;
mod caching;
mod certificates;
mod check;
mod checks;
mod closing;
mod cookies;
mod describe;
mod descriptors;
mod diagnostic;
mod difference;
mod environment;
mod fleet;
mod judging;
mod keys;
mod kinds;
mod listener;
mod mask;
mod notify;
mod outlook;
mod preview;
mod program;
mod reader;
mod rollout;
mod runbook;
mod scene;
mod section;
mod signals;
mod stages;
mod tier;
mod tls;
mod values;
mod without_file;
mod workers;

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

pub use certificates::{certificates, ordered};
pub use diagnostic::{Code, Diagnostic, Level, Report};
pub use difference::{Change, Class, differences};
pub use environment::CacheEnvironment;
pub use keys::{Key, Keys, SECTIONS};
pub use runbook::RunbookConfig;
pub use tls::AcmeConfig;
pub use without_file::{ArgumentError, may_be_asked_there, without_file};

use crate::analysis;
use crate::cache::Cache;
use crate::control::Feeds;
use crate::proxy::{RESOLVE_EVERY, UpstreamClient};
use crate::rollout::runbook::Step;
use crate::rollout::{CacheFacts, Instance, Stages, UpgradeFacts};
use crate::signals::Signal;
use crate::traffic::{Address, ClientTls, Closing, Tier, Version};
use cache::CacheDraft;
use diagnostic::Source;
use listener::ListenerDraft;
use notify::NotifyDraft;
use reader::Reader;
use runbook::RunbookDraft;
use section::Section;
use tier::Draft;
use values::Mistake;

/// Longest file, in bytes: what is longer is no configuration.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Tiers of a file.
pub const TIERS_MAX: usize = 64;

/// Listeners of a file that say more than their address.
const LISTENERS_MAX: usize = 64;

/// Caches of a file.
const CACHES_MAX: usize = 64;

/// Everything a file says, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where Weir is asked and ordered.
    pub admin: AdminSettings,
    /// What Weir remembers.
    pub state: StateSettings,
    /// How bytes are moved.
    pub proxy: ProxyConfig,
    /// What is written to standard error.
    pub log: LogSettings,
    /// From whom certificates are ordered; there where a listener orders some.
    pub acme: Option<AcmeConfig>,
    /// The tiers, in the order of the file; at least one.
    pub tiers: Vec<TierConfig>,
    /// The caches, in the order of the file.
    pub caches: Vec<Cache>,
    /// What is heard of the tiers from outside, in the order of the file.
    pub signals: Vec<SignalConfig>,
    /// Where statsd is listened for; none: nowhere.
    pub statsd: Option<SocketAddr>,
    /// When the parts of releases in them begin anew.
    pub lives: Vec<CacheFacts>,
    /// How a rollout goes from 0 % to everybody.
    pub rollout: RolloutConfig,
    /// What is done beside the weights.
    pub runbook: RunbookConfig,
    /// Who is told what happens.
    pub notify: crate::notify::Settings,
    /// What is allowed and rarely meant, in the order of the lines.
    pub warnings: Vec<Diagnostic>,
}

/// How bytes are moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Threads that move bytes; none: one for each processor.
    pub workers: Option<usize>,
    /// Whose HTTP/1.1 is spoken with upstreams.
    pub upstream_client: UpstreamClient,
    /// How often names of upstreams are looked up.
    pub resolve_every: Duration,
    /// Memory above which new requests are refused.
    pub memory: MemoryLimit,
    /// What stands before the version in namespaces, where several installations share caches.
    pub environment: Option<String>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            workers: None,
            upstream_client: UpstreamClient::default(),
            resolve_every: RESOLVE_EVERY,
            memory: MemoryLimit::Auto,
            environment: None,
        }
    }
}

/// Memory that the process may have before it refuses new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// A share of what there is.
    Auto,
    /// So many bytes.
    Bytes(u64),
    /// As much as there is.
    None,
}

/// Where Weir is asked and ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Address of the API and of `/metrics`.
    pub listen: SocketAddr,
    /// File of the tokens; none: beside the journal.
    pub tokens_file: Option<PathBuf>,
    /// Further names in Host that are answered, lower case.
    pub hosts: Vec<String>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 7700));
        Self { listen, tokens_file: None, hosts: Vec::new() }
    }
}

/// What Weir remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSettings {
    /// File of the journal; none: in memory.
    pub path: Option<PathBuf>,
}

/// What is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Shape of the lines.
    pub format: LogFormat,
    /// A level, or a list such as `info,weir::proxy=debug`.
    pub level: String,
    /// Variables whose values no output of a step shows, besides those whose names say so.
    pub secrets: Vec<String>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned(), secrets: Vec::new() }
    }
}

/// Shape of the lines of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// An object a line.
    Json,
    /// For people.
    Text,
}

/// What the file says of a tier.
#[derive(Clone, Debug, PartialEq)]
pub struct TierConfig {
    /// How its traffic is treated.
    pub tier: Arc<Tier>,
    /// The version that serves while the journal is new; one of `releases`.
    pub stable: Version,
    /// The releases that exist, in the order of the file; at least one.
    pub releases: Vec<ReleaseConfig>,
    /// The instances of a tier whose releases have no upstreams of their own, in the order in which
    /// they are moved.
    pub instances: Vec<Instance>,
    /// How long a canary may be without a healthy upstream until it is rolled back.
    pub canary_down: Duration,
    /// The stages of its rollouts; none: those of `[rollout]`.
    pub stages: Option<Stages>,
    /// What the judge tolerates: `[analysis]`, overridden by the tier's own.
    pub analysis: analysis::Settings,
    /// Where it stands in the file.
    pub lines: TierLines,
}

/// What the file says of a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalConfig {
    /// Where it comes from.
    pub signal: Signal,
    /// What becomes of it.
    pub feeds: Feeds,
    /// After this long without a word it is blind.
    pub silent_after: Duration,
}

/// Where a tier stands in the file, in lines from 1; 0 without a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierLines {
    /// Its header.
    pub tier: usize,
    /// Its `listen`.
    pub listen: usize,
    /// Its `stable`.
    pub stable: usize,
}

/// What the file says of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseConfig {
    /// Its identity.
    pub version: Version,
    /// Where it runs; none where the tier has instances, else at least one.
    pub upstreams: Vec<Address>,
    /// The Host sent to it; none: the client's.
    pub host: Option<String>,
    /// How its upstreams are spoken to by TLS; none: they are not.
    pub tls: Option<Arc<ClientTls>>,
    /// Whether each connection to it begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Its line in the file, from 1; 0 without a file.
    pub line: usize,
}

/// How a rollout goes from 0 % to everybody.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutConfig {
    /// The stages of tiers that do not say their own.
    pub stages: Stages,
    /// Least time of a listed stage that does not say its own.
    pub bake: Duration,
    /// Over which time users go back where an order does not say; zero: at once.
    pub rollback_over: Duration,
    /// What is done over the tiers, and what was agreed on.
    pub upgrade: UpgradeFacts,
}

/// Whether a secret stands in the text of a file.
pub fn holds_secrets(text: &str) -> bool {
    let (table, _mistakes) = DeTable::parse_recoverable(text);
    mask::masked(text, table.get_ref()) != text
}

/// Reads the file at `path`.
pub fn load(path: &Path) -> Result<Config, Report> {
    let name = path.display().to_string();
    let refuse = |message: String, help: &str| Err(file_report(&name, Mistake::new(message, help)));
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = read {
        return refuse(format!("{name} cannot be read: {error}"), "is the path right?");
    }
    let base = path.parent().unwrap_or(Path::new(""));
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(&name, text, base),
        Err(_) if bytes.len() > FILE_BYTES_MAX => parse(&name, &" ".repeat(bytes.len()), base),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.split(|byte| *byte == b'\n').count();
            refuse(format!("{name} is not UTF-8 text: line {line}"), "write it as UTF-8")
        }
    }
}

/// Reads `text`, the file `name`; relative paths in it are relative to `base`.
pub fn parse(name: &str, text: &str, base: &Path) -> Result<Config, Report> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("{name} is larger than {}", values::size_text(FILE_BYTES_MAX as u64));
        return Err(file_report(name, Mistake::new(message, "is it the right file?")));
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let source = Arc::new(Source::new(name, mask::masked(text, table.get_ref())));
    let reader = Reader::new(source, &errors);
    let config = read(&reader, table.get_ref(), base);
    let report = Report::new(reader.finish());
    match config {
        Some(config) if !report.has_errors() => {
            Ok(Config { warnings: report.diagnostics().to_vec(), ..config })
        }
        None if !report.has_errors() => {
            let message = format!("{name} could not be understood");
            Err(file_report(name, Mistake::new(message, "start from deploy/weir.toml")))
        }
        _ => Err(report),
    }
}

/// A report of one mistake that concerns the whole file.
fn file_report(name: &str, Mistake { message, help }: Mistake) -> Report {
    let source = Arc::new(Source::new(name, String::new()));
    let (key, others) = (String::new(), Vec::new());
    let (level, code) = (Level::Error, Code::File);
    Report::new(vec![Diagnostic { level, code, key, message, help, span: None, others, source }])
}

fn read<'a>(reader: &'a Reader, table: &'a DeTable<'a>, base: &Path) -> Option<Config> {
    let mut root = Section::new(reader, &keys::ROOT, String::new(), Some(table), 0..0);
    let (admin, admin_span) = program::admin(&mut root, base);
    let state = program::state(&mut root, base);
    let proxy = program::proxy(&mut root);
    let log = program::log(&mut root);
    let draft = rollout::rollout(&mut root);
    let (judging, signals) = judging::global(&mut root, draft.bake(), base);
    let statsd = signals::statsd(&mut root);
    let maintenance = root.table("maintenance", &keys::MAINTENANCE);
    let closing = closing::read(maintenance, base, &Closing::default());
    let sections = root.tables("tier", TIERS_MAX, &keys::TIER);
    let drafts: Vec<Draft> = sections
        .into_iter()
        .map(|section| Draft::read(section, (&judging, &closing), draft.bake(), base))
        .collect();
    let sections = root.tables("listener", LISTENERS_MAX, &keys::LISTENER);
    let listeners: Vec<ListenerDraft> =
        sections.into_iter().map(|section| ListenerDraft::read(section, base)).collect();
    let acme = tls::acme(&mut root, base);
    if acme.is_none() && root.key_span("acme").is_none() {
        let drafts = listeners.iter().filter_map(|listener| listener.tls.as_ref());
        drafts.for_each(|draft| tls::ordered_from_nobody(reader, draft));
    }
    let listeners = listener::listeners(reader, listeners, &drafts);
    need_tier(reader, &root);
    let sections = root.tables("cache", CACHES_MAX, &keys::CACHE);
    let caches: Vec<CacheDraft> =
        sections.into_iter().map(|section| CacheDraft::read(section, base)).collect();
    let runbook = RunbookDraft::read(&mut root, base);
    let workers = workers::workers(&mut root, &drafts, &runbook, (&proxy, &caches, &signals));
    let rolling = fleet::rolling(reader, &drafts, &runbook, proxy.environment.as_ref());
    let notify = NotifyDraft::read(&mut root, base);
    root.finish();
    runbook.check(reader, &drafts, &workers, &draft);
    draft.check(reader, &drafts, &workers, &rolling, &runbook);
    notify.check(reader, &drafts);
    cache::check(reader, &caches, &drafts, &proxy, admin.listen);
    signals::check(reader, &signals, (&drafts, &workers), statsd.as_ref(), &caches);
    check::tiers(reader, &drafts, admin.listen, admin_span.as_ref());
    let gates: Vec<Step> = drafts.iter().flat_map(Draft::gates).cloned().collect();
    let lives = caches.iter().filter_map(CacheDraft::life).collect();
    let caches = caches
        .iter()
        .map(|cache| cache.finish(proxy.environment.as_deref()))
        .collect::<Option<Vec<_>>>()?;
    let tiers = drafts.into_iter().map(|draft| draft.finish(&listeners, |span| reader.line(span)));
    let mut tiers = tiers.collect::<Option<Vec<_>>>()?;
    let signals = signals::attach(signals, &mut tiers, &workers);
    if tiers.is_empty() {
        return None;
    }
    let (mut runbook, warnings) = (runbook.finish(), Vec::new());
    runbook.steps.extend(gates);
    let rollout = draft.finish(&mut runbook, (workers, rolling), &tiers);
    Some(Config {
        admin,
        state,
        proxy,
        log,
        acme,
        tiers,
        caches,
        signals,
        statsd: statsd.map(|at| at.value),
        lives,
        rollout,
        runbook,
        notify: notify.finish(),
        warnings,
    })
}

/// A file without a tier serves nobody.
fn need_tier(reader: &Reader, root: &Section<'_>) {
    if root.key_span("tier").is_none() || root.is_empty_list("tier") {
        let help = "add [[tier]] with name, listen, stable and releases";
        reader.note_file(Code::Missing, Mistake::new("there is no tier", help));
    }
}
