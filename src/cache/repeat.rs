//! What an app deletes in its own namespace is gone in the others, too: what the canary's users
//! have changed would stay old for stable's. Clients never wait for it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::line::Line;
use super::link::{Link, Server};
use super::{Dialect, Mode, Place, Port, Shared, lock};
use crate::metrics::CacheCounts;
use crate::namespace::memcached::{Generation, Key, Prefix};
use crate::namespace::redis::{Credentials, Deleted};
use crate::namespace::resp::{self, Value};
use crate::traffic::Version;

/// Deletions that wait: some seconds of the busiest site; more are counted as failed.
const WAITING_MAX: usize = 10_000;

/// Bytes of their keys: so many have 6 KiB each, and names of keys are shorter.
const WAITING_BYTES_MAX: usize = 64 << 20;

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

    /// Bytes of its keys.
    fn bytes(&self) -> usize {
        match self {
            Self::Redis(deleted) => deleted.keys.iter().map(Vec::len).sum(),
            Self::Memcached(Key::Plain(key) | Key::Base64(key)) => key.len(),
        }
    }
}

/// A deletion that is to be repeated.
#[derive(Debug)]
pub struct Repeat {
    /// Whose part it was done in already.
    done: Version,
    deleted: Deletion,
    counts: Arc<CacheCounts>,
    /// Its share of what may wait.
    _room: OwnedSemaphorePermit,
}

/// The way to the others.
#[derive(Debug)]
pub struct Repeats {
    queue: mpsc::Sender<Repeat>,
    /// Bytes that may wait besides.
    room: Arc<Semaphore>,
    /// What the last app was let in with at each server; the file's come first.
    credentials: Mutex<Vec<(Server, Credentials)>>,
}

impl Repeats {
    /// A way and its end.
    pub fn new() -> (Self, Queue) {
        let (queue, end) = mpsc::channel(WAITING_MAX);
        let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        (Self { queue, room, credentials: Mutex::default() }, end)
    }

    /// Remembers what `server` has let an app in with.
    pub fn lets_in(&self, server: &Server, credentials: Credentials) {
        let mut known = lock(&self.credentials);
        known.retain(|(other, _)| other != server);
        known.push((server.clone(), credentials));
    }

    /// What Weir says to `server` itself.
    pub fn credentials(&self, server: &Server) -> Option<Credentials> {
        let known = lock(&self.credentials);
        let of_app = || known.iter().find(|(other, _)| other == server);
        server.credentials.clone().or_else(|| of_app().map(|(_, known)| known.clone()))
    }

    /// Has `deleted` repeated, which was done at `place`.
    pub fn push(&self, place: &Place, deleted: Vec<Deletion>) {
        if !others(&place.shared.ports(), &place.port.version) {
            return;
        }
        for deleted in deleted {
            if self.queued(place, deleted).is_none() {
                place.counts.failed_repeats.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// None: it cannot be repeated, or too many wait.
    fn queued(&self, place: &Place, deleted: Deletion) -> Option<()> {
        let can = match &deleted {
            Deletion::Redis(_) => true,
            Deletion::Memcached(key) => Prefix::can_delete(key),
        };
        let bytes = u32::try_from(deleted.bytes()).ok().filter(|_| can)?;
        let repeat = Repeat {
            done: place.port.version.clone(),
            deleted,
            counts: Arc::clone(&place.counts),
            _room: Arc::clone(&self.room).try_acquire_many_owned(bytes).ok()?,
        };
        self.queue.try_send(repeat).ok()
    }
}

/// Whether there are others than `done`, which may have no port any more itself.
fn others(ports: &[Port], done: &Version) -> bool {
    ports.iter().any(|port| port.version != *done)
}

/// Repeats what comes through `queue` until it ends, with the cache.
pub async fn run(shared: Weak<Shared>, mut queue: Queue) {
    let (mut ways, mut batch) = (Ways::new(), Vec::new());
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let repeated = repeat(&mut ways, &shared, &batch).await;
        for Repeat { counts, .. } in batch.drain(..) {
            let count = if repeated { &counts.repeats } else { &counts.failed_repeats };
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

/// Connections that are kept.
type Ways = Vec<(Server, Way)>;

/// Gives whether all of `batch` has come to pass, on each server.
async fn repeat(ways: &mut Ways, shared: &Weak<Shared>, batch: &[Repeat]) -> bool {
    let mut done: Vec<Server> = Vec::new();
    for again in 0..TRIES_MAX {
        if again > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        // With the last connection there is nobody left whose deletions they are.
        let Some(shared) = shared.upgrade() else { return false };
        let (parts, mut failed) = (by_server(&shared.ports()), false);
        ways.retain(|(server, _)| parts.iter().any(|(other, _)| other == server));
        for (server, ports) in parts {
            let concerned = batch.iter().any(|repeat| others(&ports, &repeat.done));
            if !concerned || done.contains(&server) {
                continue;
            }
            let place = ways.iter().position(|(other, _)| *other == server);
            let open = place.map(|place| ways.swap_remove(place).1);
            let delivery = deliver(open, &server, &shared, (&ports, batch));
            let late = |_| Err(io::ErrorKind::TimedOut.into());
            match timeout(ANSWERS_MAX, delivery).await.unwrap_or_else(late) {
                Ok(way) => {
                    ways.push((server.clone(), way));
                    done.push(server);
                }
                Err(error) => {
                    failed = true;
                    tracing::warn!(cache = %shared.name, %error, "deletions are not repeated yet");
                }
            }
        }
        if !failed {
            return true;
        }
    }
    false
}

/// The ports behind each server.
fn by_server(ports: &[Port]) -> Vec<(Server, Vec<Port>)> {
    let mut servers: Vec<(Server, Vec<Port>)> = Vec::new();
    for port in ports {
        match servers.iter_mut().find(|(server, _)| *server == port.server) {
            Some((_, ports)) => ports.push(port.clone()),
            None => servers.push((port.server.clone(), vec![port.clone()])),
        }
    }
    servers
}

/// By the connection that is `open`, or by another one; gives it back.
async fn deliver(
    open: Option<Way>,
    server: &Server,
    shared: &Shared,
    what: (&[Port], &[Repeat]),
) -> io::Result<Way> {
    let mut way = match (open, &shared.dialect) {
        (Some(open), _) => open,
        (None, Dialect::Redis(_)) => {
            let credentials = shared.repeats.credentials(server);
            Way::Redis(server.connect_as(credentials.as_ref()).await?, 0)
        }
        (None, Dialect::Memcached(_)) => Way::Memcached(Line::to(server).await?),
    };
    match &mut way {
        Way::Redis(link, database) => unlink(link, database, shared, what).await?,
        Way::Memcached(line) => delete(line, shared, what).await?,
    }
    Ok(way)
}

/// In a memcached, of which only errors are heard.
async fn delete(
    line: &mut Line,
    shared: &Shared,
    (ports, batch): (&[Port], &[Repeat]),
) -> io::Result<()> {
    let Dialect::Memcached(keeper) = &shared.dialect else { return Ok(()) };
    let mut questions = Vec::new();
    for port in ports {
        let generation = if shared.mode == Mode::Prefix {
            let living = keeper.living(&port.namespace, &port.server).await?;
            living.now().max(shared.at_least(port))
        } else {
            Generation::default()
        };
        let prefix = Prefix::new(&port.namespace, generation);
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
    (ports, batch): (&[Port], &[Repeat]),
) -> io::Result<()> {
    let (mut asked, mut questions) = (0, Vec::new());
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
