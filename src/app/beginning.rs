//! What is there before anything is served: listeners, the journal, and the word of the Weir
//! before.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Api;
use crate::assembly::{Legacy, Store, cache_workers};
use crate::cache::Bound;
use crate::cli::Run;
use crate::config::Config;
use crate::handover::{self, Asked, Bell};
use crate::inherited::Inherited;
use crate::journal::JournalError;
use crate::traffic::Listen;

/// How long a journal may still belong to a process that has let go of it, or was killed: the time
/// in which the system ends it, and in which another one that has no chance tries it.
const OWNED_MAX: Duration = Duration::from_secs(5);

/// Pause between two tries.
const OWNED_PAUSE: Duration = Duration::from_millis(20);

/// What a program begins with.
pub(super) struct Beginning {
    pub(super) legacy: Legacy,
    pub(super) store: Store,
    pub(super) api: Api,
    pub(super) caches: Bound,
    pub(super) bell: Option<Bell>,
}

impl Beginning {
    /// Opens what there is to open. With `--replace` the Weir that runs gives it.
    pub(super) async fn make(
        run: &Run,
        config: &Config,
        mut inherited: Inherited,
    ) -> anyhow::Result<Self> {
        let wanted = listens(config);
        if let Some(listen) = inherited.unwanted(&wanted).first() {
            bail!(
                "the service manager hands over a socket at {listen}, and nothing listens there; \
                 write listen = \"{listen}\" in the file, or take the address out of the .socket \
                 unit"
            );
        }
        let journal = config.state.path.as_deref();
        let asked = if run.replace { ask(journal).await? } else { Asked::Nobody };
        let (predecessor, theirs) = match asked {
            Asked::HandsOver(predecessor, theirs) => (predecessor, theirs),
            Asked::Gone(_) | Asked::Nobody => {
                let store = match journal {
                    // Whoever has just gone may not have ended yet.
                    Some(journal) if run.replace => patiently(journal).await?,
                    Some(journal) => Store::open(journal)?,
                    None => Store::memory(),
                };
                if let Asked::Gone(gone) = &asked {
                    gone.ends().await;
                }
                let api = Api::bind(config, &mut inherited).await?;
                let caches = caches(config, &mut inherited)?;
                let bell = bell(journal, &mut inherited);
                let legacy = Legacy { inherited, ..Legacy::default() };
                return Ok(Self { legacy, store, api, caches, bell });
            }
        };
        for listen in theirs.unwanted(&wanted) {
            tracing::warn!(%listen, "nothing listens there any more");
        }
        inherited.extend(theirs);
        // What can fail comes before the journal.
        let api = Api::bind(config, &mut inherited).await?;
        let caches = caches(config, &mut inherited)?;
        predecessor.releases().await?;
        let store = patiently(journal.unwrap_or(Path::new(""))).await?;
        let lowered = predecessor.lets_go().await?;
        let bell = bell(journal, &mut inherited);
        let legacy = Legacy { inherited, lowered, predecessor: Some(predecessor) };
        Ok(Self { legacy, store, api, caches, bell })
    }
}

/// The ports of caches are there before the first request: an app that is asked something asks them,
/// and waits until it is known which part is its own.
fn caches(config: &Config, inherited: &mut Inherited) -> anyhow::Result<Bound> {
    Ok(Bound::new(&config.caches, cache_workers(config), inherited)?)
}

async fn ask(journal: Option<&Path>) -> anyhow::Result<Asked> {
    let journal = journal.context(
        "--replace: a journal in memory cannot change hands; keep it with [state] path or --state",
    )?;
    let asked = handover::ask(journal).await?;
    match &asked {
        Asked::HandsOver(predecessor, _) => {
            tracing::info!("taking over from process {}", predecessor.process());
        }
        Asked::Gone(_) => tracing::warn!("the weir that ran has gone; starting"),
        Asked::Nobody => tracing::info!("no weir runs that could be replaced; starting"),
    }
    Ok(asked)
}

/// Opens a journal that is about to be free.
async fn patiently(journal: &Path) -> anyhow::Result<Store> {
    let since = Instant::now();
    loop {
        match Store::open(journal) {
            Err(error) if is_owned(&error) && since.elapsed() < OWNED_MAX => {
                tokio::time::sleep(OWNED_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

fn is_owned(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(JournalError::Owned { .. }))
}

/// Where this program can be asked to hand over. It serves also where it cannot.
fn bell(journal: Option<&Path>, inherited: &mut Inherited) -> Option<Bell> {
    let hung = Bell::hang(journal?, inherited);
    if let Err(error) = &hung {
        tracing::warn!("`weir run --replace` will not work: no socket beside the journal: {error}");
    }
    hung.ok()
}

/// Where the program listens for clients and for orders.
fn listens(config: &Config) -> BTreeSet<Listen> {
    let tiers = config.tiers.iter().map(|tier| tier.tier.listener.listen.clone());
    let ports = config.caches.iter().flat_map(|cache| &cache.ports).map(|port| port.listen.into());
    tiers.chain(ports).chain([config.admin.listen.into()]).collect()
}

/// Says where what is served.
pub(super) fn announce(config: &Config) {
    for tier in &config.tiers {
        tracing::info!(tier = %tier.tier.name, listen = %tier.tier.listener.listen, "serving");
    }
    for cache in &config.caches {
        for port in &cache.ports {
            tracing::info!(cache = %cache.name, version = %port.version, listen = %port.listen, "serving");
        }
    }
    tracing::info!(admin = %config.admin.listen, "`weir status` tells how things stand");
}
