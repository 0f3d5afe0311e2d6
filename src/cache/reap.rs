//! What the part of a release held before it began anew is out of reach at once, and deleted here
//! by and by. What there is to delete follows from the table: a Weir that was killed meanwhile
//! finishes after its next start.

use std::collections::BTreeMap;
use std::io;
use std::sync::Weak;
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

/// How long the server may take for an answer: a page of keys, or their deletion.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Until then the last connections have turned or are closed, and nobody writes to the old part.
const SETTLED: Duration = Duration::from_secs(5);

/// Pause until a server is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Which beginning the part of each release is that ever began anew.
type Current = BTreeMap<Version, Generation>;

/// Tells the connections of one cache of each part that begins anew, for as long as there is one of
/// them or it is served: those that wait for the server see nothing themselves.
pub async fn tell(shared: Weak<Shared>) {
    let mut known: Option<(u64, Current)> = None;
    while let Some(shared) = shared.upgrade() {
        let epoch = shared.board.epoch();
        if known.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let now = shared.generations();
            if known.replace((epoch, now.clone())).is_some_and(|(_, before)| before != now) {
                shared.turned.send_replace(());
            }
        }
        drop(shared);
        sleep(LOOK_EVERY).await;
    }
}

/// Follows the parts of one cache for as long as it is served.
pub async fn run(shared: Weak<Shared>) {
    let first = shared.upgrade().map(|shared| (shared.board.epoch(), shared.generations()));
    let Some((mut epoch, mut current)) = first else { return };
    // What was begun anew before this process lived has settled.
    let mut since = Instant::now().checked_sub(SETTLED);
    let (mut clean, mut deleted, mut told) = (current.is_empty(), Deleted::new(), false);
    loop {
        sleep(LOOK_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.board.epoch() != epoch {
            epoch = shared.board.epoch();
            let now = shared.generations();
            if now != current {
                (current, since, clean) = (now, Some(Instant::now()), false);
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

/// A release, the name of its part without a generation, and the generation that lives.
type Part = (Version, Namespace, u64);

/// Whose the key is that has been out of reach since that part began anew. One of a later generation
/// is not: while a pass lasts the part may begin anew again.
fn old(parts: &[Part], key: &[u8]) -> Option<usize> {
    parts.iter().position(|(_, namespace, number)| {
        namespace.generation_of(key).is_some_and(|of| of < *number)
    })
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
    let parts: Vec<Part> = current.iter().filter_map(name).collect();
    let credentials = shared.repeats.credentials(server);
    let (mut link, mut found) = (server.connect_as(credentials.as_ref()).await?, Deleted::new());
    for database in timeout(ANSWER_MAX, databases(&mut link)).await?? {
        let open = Pages::open(&mut link, database, prefix);
        let mut pages = timeout(ANSWER_MAX, open).await??;
        loop {
            let page = timeout(ANSWER_MAX, pages.next(&mut link)).await?;
            let Some(keys) = page? else { break };
            for (place, (version, ..)) in parts.iter().enumerate() {
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                let keys = keys.into_iter().filter(|key| old(&parts, key) == Some(place));
                let gone = timeout(ANSWER_MAX, delete(&mut link, keys)).await??;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_older_than_the_living_part_is_deleted() {
        let part = |version: &str, number| {
            let namespace = Namespace::of(Some("shop"), version).unwrap();
            (version.parse().unwrap(), namespace, number)
        };
        let parts = [part("1.0.0", 5), part("2.0.0", 7)];
        let old = |key: &str| old(&parts, key.as_bytes());
        assert_eq!(old("shop:1.0.0:key"), Some(0), "before it ever began anew");
        assert_eq!(old("shop:1.0.0.g4:key"), Some(0));
        assert_eq!(old("shop:2.0.0.g5:key"), Some(1));
        assert_eq!(old("shop:1.0.0.g5:key"), None, "it lives");
        assert_eq!(old("shop:1.0.0.g6:key"), None, "it has begun meanwhile");
        assert_eq!(old("shop:3.0.0.g1:key"), None, "nobody's");
    }
}
