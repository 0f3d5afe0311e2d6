//! Figures of jobs and of business from outside: statsd that comes in, pages of Prometheus metrics
//! and answers of a Prometheus that are asked for.
//!
//! Every source writes into [`SignalLedger`], for the versions that are wanted there, and decides
//! nothing. What cannot be had or understood is trouble of the signal, never an end of the task.

mod growth;
mod jobs;
mod page;
mod prometheus_text;
mod promql;
mod scrape;
mod statsd;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::metrics::{Register, SignalLedger};
use crate::tls::Keyring;
use crate::traffic::{TierName, Version};

pub use page::{Endpoint, EndpointError};
pub use prometheus_text::{Selector, SelectorError};
pub use statsd::{Pattern, PatternError};

/// What stands for the version in names, questions and addresses.
pub const VERSION: &str = "{version}";

/// Sources as the file names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where statsd is listened for, by UDP and TCP.
    pub statsd: Option<SocketAddr>,
    /// The signals.
    pub signals: Vec<Signal>,
}

/// One signal of one tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The tier.
    pub tier: TierName,
    /// Its name.
    pub name: String,
    /// How often it is asked for, or summed up.
    pub every: Duration,
    /// Where it comes from.
    pub source: Source,
}

/// Where a signal comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// What workers say of their jobs to a Redis that is observed.
    Jobs {
        /// The cache, as the file calls it.
        cache: String,
    },
    /// A Prometheus answers questions.
    Promql {
        /// Where it is, with what stands before `/api/v1/query`.
        endpoint: Endpoint,
        /// The token it asks for.
        token: Option<Token>,
        /// The questions, with [`VERSION`].
        figure: Figure<String>,
    },
    /// Pages of metrics are read.
    Scrape {
        /// The address of the page, with `{address}` or `{host}` of each place of the version, or
        /// with [`VERSION`].
        url: String,
        /// The label that says the version, where a page tells of several.
        version_label: Option<String>,
        /// The series.
        figure: Figure<Selector>,
    },
    /// Statsd comes in.
    Statsd {
        /// The tag that says the version, where the name does not.
        version_tag: Option<String>,
        /// The names.
        figure: Figure<Pattern>,
        /// Timings above this are bad: each counts, and `total` and `bad` name the same.
        slower_than: Option<Duration>,
    },
}

/// What is wanted of a source: things of its own kind that name figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figure<T> {
    /// Counters that rise.
    Counts {
        /// All events.
        total: T,
        /// The bad ones.
        bad: T,
    },
    /// A number.
    Number(T),
}

/// Where a token is read from, each time anew; it is never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A variable of the environment.
    Environment(String),
    /// A file.
    File(PathBuf),
}

/// The tasks of all sources. They end when this is dropped.
#[derive(Debug)]
pub struct Sources {
    settings: watch::Sender<Settings>,
    tasks: [JoinHandle<()>; 2],
}

impl Sources {
    /// Starts what `settings` name.
    pub fn start(settings: Settings, register: &Arc<Register>, keyring: &Arc<Keyring>) -> Self {
        let (settings, told) = watch::channel(settings);
        let ledger = Arc::clone(register.signals());
        let listening = tokio::spawn(statsd::listen(told.clone(), ledger));
        let asking = tokio::spawn(ask(told, Arc::clone(register), Arc::clone(keyring)));
        Self { settings, tasks: [listening, asking] }
    }

    /// Goes on with other settings. The address of statsd stays until a restart.
    pub fn follow(&self, settings: Settings) {
        self.settings.send_if_modified(|known| {
            let settings = Settings { statsd: known.statsd, ..settings };
            let differs = *known != settings;
            *known = settings;
            differs
        });
    }
}

impl Sources {
    /// Hears nothing any more, and lets go of the address of statsd.
    pub fn close(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.close();
    }
}

/// Asks each source in its own time, and begins anew whenever the settings change.
async fn ask(
    mut settings: watch::Receiver<Settings>,
    register: Arc<Register>,
    keyring: Arc<Keyring>,
) {
    loop {
        let signals = settings.borrow_and_update().signals.clone();
        let mut tasks = tokio::task::JoinSet::new();
        for signal in signals {
            let asker = Asker {
                signal,
                register: Arc::clone(&register),
                client: page::Client::new(&keyring),
            };
            match asker.signal.source.clone() {
                Source::Jobs { cache } => {
                    tasks.spawn(jobs::ask(asker, cache));
                }
                Source::Promql { endpoint, token, figure } => {
                    tasks.spawn(promql::ask(asker, endpoint, token, figure));
                }
                Source::Scrape { url, version_label, figure } => {
                    tasks.spawn(scrape::ask(asker, url, version_label, figure));
                }
                Source::Statsd { .. } => {}
            }
        }
        if settings.changed().await.is_err() {
            return;
        }
    }
}

/// What a task has that asks for one signal.
struct Asker {
    signal: Signal,
    register: Arc<Register>,
    client: page::Client,
}

impl Asker {
    fn trouble(&self, version: &Version, why: &str) {
        self.ledger().trouble(&self.signal.tier, &self.signal.name, version, why);
    }

    fn ledger(&self) -> &SignalLedger {
        self.register.signals()
    }

    fn ticks(&self) -> tokio::time::Interval {
        let mut ticks = tokio::time::interval(self.signal.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    }
}
