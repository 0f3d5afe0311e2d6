//! What an app deletes in its own namespace is gone in the others, too: what the canary's users
//! have changed would stay old for stable's. Clients never wait for it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::line::Line;
use super::link::{Link, Server};
use super::{Dialect, Place, Port, Shared};
use crate::metrics::CacheCounts;
use crate::namespace::memcached::{Key, Prefix};
use crate::namespace::redis::{Credentials, Deleted};
use crate::namespace::resp::{self, Value};
use crate::traffic::Version;

/// Deletions that wait: some seconds of the busiest site; more are counted as failed.
const WAITING_MAX: usize = 10_000;

/// Deletions that are sent together.
const BATCH_MAX: usize = 128;

/// Tries to repeat a batch before it has failed.
const TRIES_MAX: u32 = 3;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the server may take for a batch.
const ANSWERS_MAX: Duration = Duration::from_secs(10);

/// Deletions of one cache on their way.
pub type Queue = mpsc::Receiver<Repeat>;

/// What an app has deleted.
#[derive(Debug)]
pub enum Deletion {
    Redis(Deleted),
    Memcached(Key),
}

impl Deletion {
    /// Whether it has come to pass at `now`, in milliseconds since 1970.
    pub fn is_done(&self, now: u64) -> bool {
        match self {
            Self::Redis(deleted) => deleted.is_done(now),
            Self::Memcached(_) => true,
        }
    }
}

/// A deletion that is to be repeated.
#[derive(Debug)]
pub struct Repeat {
    /// Whose part it was done in already.
    done: Version,
    deleted: Deletion,
    server: Server,
    counts: Arc<CacheCounts>,
}

/// The way to the others.
#[derive(Debug)]
pub struct Repeats {
    queue: mpsc::Sender<Repeat>,
    /// What the last app was let in with; the file's come first.
    credentials: Mutex<Option<Credentials>>,
}

impl Repeats {
    /// A way and its end.
    pub fn new() -> (Self, Queue) {
        let (queue, end) = mpsc::channel(WAITING_MAX);
        (Self { queue, credentials: Mutex::default() }, end)
    }

    /// Remembers what the server has let an app in with.
    pub fn lets_in(&self, credentials: &Credentials) {
        *locked(&self.credentials) = Some(credentials.clone());
    }

    /// What Weir says to `server` itself.
    pub fn credentials(&self, server: &Server) -> Option<Credentials> {
        server.credentials.clone().or_else(|| locked(&self.credentials).clone())
    }

    /// Has `deleted` repeated, which was done at `place`.
    pub fn push(&self, place: &Place, deleted: Vec<Deletion>) {
        if !others(&place.shared.ports(), &place.port.version) {
            return;
        }
        for deleted in deleted {
            let can = match &deleted {
                Deletion::Redis(_) => true,
                Deletion::Memcached(key) => Prefix::can_delete(key),
            };
            let repeat = Repeat {
                done: place.port.version.clone(),
                deleted,
                server: place.port.server.clone(),
                counts: Arc::clone(&place.counts),
            };
            if !can || self.queue.try_send(repeat).is_err() {
                place.counts.failed_repeats.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Whether there are others than `done`, which may have no port any more itself.
fn others(ports: &[Port], done: &Version) -> bool {
    ports.iter().any(|port| port.version != *done)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats what comes through `queue` until it ends, with the cache.
pub async fn run(shared: Weak<Shared>, mut queue: Queue) {
    let mut way = None;
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut tries = 0;
        let failed = loop {
            tries += 1;
            // With the last connection there is nobody left whose deletions they are.
            let Some(shared) = shared.upgrade() else { break true };
            let delivery = deliver(&mut way, &shared, &batch);
            let late = |_| Err(io::ErrorKind::TimedOut.into());
            match timeout(ANSWERS_MAX, delivery).await.unwrap_or_else(late) {
                Ok(()) => break false,
                Err(error) => {
                    way = None;
                    tracing::warn!(cache = %shared.name, %error, "deletions are not repeated yet");
                }
            }
            if tries == TRIES_MAX {
                break true;
            }
            tokio::time::sleep(PAUSE).await;
        };
        for repeat in batch.drain(..) {
            let Repeat { counts, .. } = repeat;
            let count = if failed { &counts.failed_repeats } else { &counts.repeats };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A connection.
enum Way {
    /// And the database that it is in.
    Redis(Link, u32),
    Memcached(Line),
}

async fn deliver(way: &mut Option<Way>, shared: &Shared, batch: &[Repeat]) -> io::Result<()> {
    let Some(server) = batch.first().map(|first| &first.server) else { return Ok(()) };
    let mut open = match (way.take(), &shared.dialect) {
        (Some(open), _) => open,
        (None, Dialect::Redis(_)) => {
            let credentials = shared.repeats.credentials(server);
            Way::Redis(server.connect_as(credentials.as_ref()).await?, 0)
        }
        (None, Dialect::Memcached(_)) => Way::Memcached(Line::to(server).await?),
    };
    match &mut open {
        Way::Redis(link, database) => unlink(link, database, shared, batch).await?,
        Way::Memcached(line) => delete(line, shared, batch).await?,
    }
    *way = Some(open);
    Ok(())
}

/// In a memcached, of which only errors are heard.
async fn delete(line: &mut Line, shared: &Shared, batch: &[Repeat]) -> io::Result<()> {
    let Dialect::Memcached(keeper) = &shared.dialect else { return Ok(()) };
    let (ports, mut questions) = (shared.ports().clone(), Vec::new());
    for port in ports {
        let living = keeper.living(&port.namespace, &port.server).await?;
        let prefix = Prefix::new(&port.namespace, living.now().max(shared.at_least(&port)));
        for Repeat { done, deleted, .. } in batch {
            let Deletion::Memcached(key) = deleted else { continue };
            if *done != port.version {
                questions.extend(prefix.deletion(key).unwrap_or_default());
            }
        }
    }
    questions.extend_from_slice(b"version\r\n");
    line.send(&questions).await?;
    while !line.next().await?.starts_with(b"VERSION") {}
    Ok(())
}

/// In a Redis.
async fn unlink(
    link: &mut Link,
    database: &mut u32,
    shared: &Shared,
    batch: &[Repeat],
) -> io::Result<()> {
    let (ports, mut asked, mut questions) = (shared.ports().clone(), 0, Vec::new());
    for Repeat { done, deleted, .. } in batch {
        let Deletion::Redis(deleted) = deleted else { continue };
        for port in ports.iter().filter(|port| port.version != *done) {
            let wanted = match port.databases {
                None => Some(deleted.database),
                Some(own) => own.on_server(deleted.database.into()),
            };
            // The other has fewer of them.
            let Some(wanted) = wanted else { continue };
            if wanted != *database {
                *database = wanted;
                questions.extend(resp::command(&["SELECT", &wanted.to_string()]));
                asked += 1;
            }
            let namespace = shared.namespace(port);
            let keys = deleted.keys.iter().map(|key| namespace.add(key));
            let words: Vec<Vec<u8>> = std::iter::once(b"UNLINK".to_vec()).chain(keys).collect();
            questions.extend(resp::command(&words));
            asked += 1;
        }
    }
    link.write_all(&questions).await?;
    link.flush().await?;
    answers(link, asked).await
}

/// Reads `count` answers, none of which may be an error.
async fn answers(link: &mut Link, mut count: usize) -> io::Result<()> {
    let mut waiting = Vec::new();
    while count > 0 {
        let read = link.read_buf(&mut waiting).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while count > 0
            && let Some((value, taken)) = Value::parse(&waiting).map_err(io::Error::other)?
        {
            if let Value::Error(error) = value {
                return Err(io::Error::other(String::from_utf8_lossy(&error).into_owned()));
            }
            waiting.drain(..taken);
            count -= 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_are_those_of_another_version() {
        let port = |version: &str| Port {
            version: version.parse().unwrap(),
            listen: "127.0.0.1:1".parse().unwrap(),
            namespace: version.parse().unwrap(),
            databases: None,
            server: "redis://127.0.0.1:1".parse().unwrap(),
        };
        let others = |ports: &[Port]| others(ports, &"1.0.0".parse().unwrap());
        assert!(!others(&[port("1.0.0")]));
        assert!(others(&[port("1.0.0"), port("2.0.0")]));
        assert!(others(&[port("2.0.0")]), "who has deleted it has no port any more");
        assert!(!others(&[]));
    }

    #[tokio::test]
    async fn it_ends_with_the_cache() {
        let (repeats, queue) = Repeats::new();
        let gone = Weak::new();
        drop(repeats);
        timeout(PAUSE, run(gone, queue)).await.unwrap();
    }
}
