//! What the part of a release held before it began anew is out of reach at once, and deleted here
//! by and by. What there is to delete follows from the table: a Weir that was killed meanwhile
//! finishes after its next start.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::link::Server;
use super::survey::{Pages, databases, delete};
use crate::namespace::Namespace;
use crate::traffic::{Generation, Version};

/// How often it is looked whether a part has begun anew.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Pause between two pages of keys: 20 000 keys a second, a few percent of what Redis can do.
const PAGE_PAUSE: Duration = Duration::from_millis(50);

/// How long a page may take.
const PAGE_MAX: Duration = Duration::from_secs(30);

/// Until then the last connections have turned or are closed, and nobody writes to the old part.
const SETTLED: Duration = Duration::from_secs(5);

/// Pause until a server is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Which beginning the part of each release is that ever began anew.
type Current = BTreeMap<Version, Generation>;

/// Follows the parts of one cache for as long as it is served.
pub async fn run(shared: Arc<Shared>) {
    let mut epoch = shared.board.epoch();
    let mut current = shared.generations();
    // What was begun anew before this process lived has settled.
    let mut since = Instant::now().checked_sub(SETTLED);
    let (mut clean, mut deleted, mut told) = (current.is_empty(), Deleted::new(), false);
    loop {
        sleep(LOOK_EVERY).await;
        if shared.board.epoch() != epoch {
            epoch = shared.board.epoch();
            let now = shared.generations();
            if now != current {
                (current, since, clean) = (now, Some(Instant::now()), false);
                shared.turned.send_replace(());
            }
        }
        let Some((server, prefix)) = shared.keyspace().filter(|_| !clean) else { continue };
        let began = Instant::now();
        match pass(&shared, &server, &prefix, &current).await {
            Ok(found) if found.is_empty() => {
                let settled = since.is_none_or(|since| began.duration_since(since) >= SETTLED);
                if settled {
                    for (version, keys) in std::mem::take(&mut deleted) {
                        tracing::info!(
                            cache = %shared.name, %version, keys,
                            "what it had before it began anew is deleted"
                        );
                    }
                    (clean, told) = (true, false);
                } else {
                    sleep(SETTLED).await;
                }
            }
            Ok(found) => {
                for (version, keys) in found {
                    *deleted.entry(version).or_default() += keys;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        cache = %shared.name, %error,
                        "old keys are not deleted yet; it is tried again every {} s",
                        TRY_AGAIN.as_secs()
                    );
                }
                sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Keys that were deleted, by release.
type Deleted = BTreeMap<Version, u64>;

/// Looks through the server once and deletes what is in no part any more.
async fn pass(
    shared: &Shared,
    server: &Server,
    prefix: &[u8],
    current: &Current,
) -> io::Result<Deleted> {
    let name = |(version, generation): (&Version, &Generation)| {
        let namespace = Namespace::of(shared.environment.as_deref(), version.as_str()).ok()?;
        Some((version.clone(), namespace, generation.number()))
    };
    let parts: Vec<(Version, Namespace, u64)> = current.iter().filter_map(name).collect();
    let old = |key: &[u8]| {
        parts.iter().position(|(_, namespace, number)| {
            namespace.generation_of(key).is_some_and(|of| of != *number)
        })
    };
    let credentials = shared.repeats.credentials(server);
    let (mut link, mut found) = (server.connect_as(credentials.as_ref()).await?, Deleted::new());
    for database in databases(&mut link).await? {
        let mut pages = Pages::open(&mut link, database, prefix).await?;
        loop {
            let page = timeout(PAGE_MAX, pages.next(&mut link)).await?;
            let Some(keys) = page? else { break };
            for (place, (version, ..)) in parts.iter().enumerate() {
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                let keys = keys.into_iter().filter(|key| old(key) == Some(place));
                let gone = timeout(PAGE_MAX, delete(&mut link, keys)).await??;
                if gone > 0 {
                    *found.entry(version.clone()).or_default() += gone;
                    shared.ledger.reaped(&shared.name, version, gone);
                }
            }
            sleep(PAGE_PAUSE).await;
        }
    }
    Ok(found)
}
