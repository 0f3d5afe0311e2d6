//! Tells others what happens: webhooks and mail, and silences of alerts while a rollout is open.
//!
//! A companion of the control wing that only reads: it follows the published records, so nothing
//! that is decided ever waits for it. Each target has a task of its own and is told in order, at
//! least once: how far it was told stands beside the events and is written after it was told.

mod collector;
mod decisions;
mod deliver;
mod letter;
mod mail;
mod settings;
mod silences;
mod smtp;
mod template;
mod webhook;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use settings::{
    Alertmanager, Collector, Confidential, Encryption, Mail, Matcher, MatcherError, Settings,
    Target, Way, Webhook,
};
pub use template::{Template, TemplateError};

use crate::control::View;
use crate::journal::Shelf;
use crate::metrics::{DeliveryLedger, Register};
use crate::tls::Keyring;
use collector::Teller;
use deliver::Courier;
use letter::Letter;

/// What came of a test message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// The target.
    pub name: String,
    /// Why it did not arrive, if it did not.
    pub trouble: Option<String>,
}

/// Who tells others.
#[derive(Debug)]
pub struct Notifier {
    views: watch::Receiver<Arc<View>>,
    shelf: Shelf,
    keyring: Arc<Keyring>,
    ledger: Arc<DeliveryLedger>,
    register: Arc<Register>,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    settings: Settings,
    /// They end with it.
    tasks: JoinSet<()>,
}

impl Notifier {
    /// Begins to tell what is in `views`. A target that was never told anything is told what
    /// happens after the journal was opened.
    pub fn start(
        settings: Settings,
        views: watch::Receiver<Arc<View>>,
        shelf: Shelf,
        keyring: Arc<Keyring>,
        register: Arc<Register>,
    ) -> Self {
        let (ledger, running) = (Arc::default(), Mutex::default());
        let notifier = Self { views, shelf, keyring, ledger, register, running };
        let begin = notifier.shelf.opened_at();
        notifier.run(settings, begin);
        notifier
    }

    /// What is counted.
    pub const fn ledger(&self) -> &Arc<DeliveryLedger> {
        &self.ledger
    }

    /// Takes over `settings`. A new target is told what happens from now on; one that is changed
    /// goes on where it was.
    pub fn follow(&self, settings: Settings) {
        if self.running().settings != settings {
            let latest = self.views.borrow().records.last().map_or(0, |record| record.seq);
            self.run(settings, latest);
        }
    }

    /// Tells nothing more.
    pub fn stop(&self) {
        self.running().tasks = JoinSet::new();
    }

    fn run(&self, settings: Settings, begin: u64) {
        let mut running = self.running();
        let mut tasks = JoinSet::new();
        self.ledger.set(&settings.names());
        for target in &settings.targets {
            let courier = Courier {
                counts: self.ledger.counts(&target.name),
                target: target.clone(),
                shelf: self.shelf.clone(),
                keyring: Arc::clone(&self.keyring),
            };
            tasks.spawn(courier.run(self.views.clone(), begin));
        }
        if let Some(alertmanager) = settings.alertmanager.clone() {
            let counts = self.ledger.counts(settings::ALERTMANAGER);
            let keyring = Arc::clone(&self.keyring);
            tasks.spawn(silences::keep(alertmanager, self.views.clone(), keyring, counts));
        }
        let tracer = self.register.tracer();
        tracer.follow(settings.collector.as_ref().map(|collector| collector.ratio));
        if let Some(collector) = settings.collector.clone() {
            let register = Arc::clone(&self.register);
            tasks.spawn(decisions::tell(self.views.clone(), Arc::clone(&register), begin));
            let (keyring, instance) = (Arc::clone(&self.keyring), self.instance());
            tasks.spawn(Teller { settings: collector, register, keyring, instance }.run());
        }
        // What ran before ends here, between two of its words.
        *running = Running { settings, tasks };
    }

    /// Which Weir it is: its journal, and when it started.
    fn instance(&self) -> String {
        let view = self.views.borrow();
        let journal = view.journal.as_deref().unwrap_or("memory");
        format!("{journal} {}", view.started.millis())
    }

    /// Sends a test message to the target `name`, or to all. Nothing is counted or remembered.
    pub async fn test(&self, name: Option<&str>, by: &str) -> Vec<Tested> {
        let targets = self.running().settings.targets.clone();
        let mut tests = JoinSet::new();
        for (place, target) in targets.into_iter().enumerate() {
            if name.is_some_and(|name| name != target.name) {
                continue;
            }
            let (keyring, letter) = (Arc::clone(&self.keyring), Letter::test(by));
            tests.spawn(async move {
                let sent = deliver::send(&target, &letter, &keyring).await;
                let trouble = sent.err().map(|trouble| trouble.what);
                (place, Tested { name: target.name, trouble })
            });
        }
        let mut tested = Vec::new();
        while let Some(test) = tests.join_next().await {
            tested.extend(test.ok());
        }
        tested.sort_by_key(|(place, _)| *place);
        tested.into_iter().map(|(_, tested)| tested).collect()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    /// A sentence without secrets.
    what: String,
    /// Whether the message itself is refused, and would be again.
    is_final: bool,
    /// When to try again, as the target says.
    after: Option<std::time::Duration>,
}

impl Trouble {
    fn passing(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_final: false, after: None }
    }

    fn refused(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_final: true, after: None }
    }
}
