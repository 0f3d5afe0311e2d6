//! The data wing's other half: ports at which each version finds its own part of a shared cache.
//!
//! A port belongs to a release for its whole life. Threads of their own serve them, so that a
//! cache under load and the proxy under load do not wait for each other.

mod allotment;
mod door;
mod dump;
mod encrypted;
mod generations;
pub mod http;
mod line;
mod link;
mod prefixed;
mod reap;
mod relay;
mod repeat;
mod session;
mod survey;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::inherited::Inherited;
use crate::metrics::{CacheCounts, CacheEntry, CacheLedger};
use crate::namespace::Namespace;
use crate::namespace::memcached;
use crate::namespace::redis::{Commands, Databases};
use crate::namespace::sharing::Sharing;
use crate::traffic::{Board, Generation, TierName, Version, Weight};
use allotment::{Allotment, Role};
use door::Door;
pub use encrypted::Encrypted;
use generations::Keeper;
pub use link::{Server, ServerError};
use repeat::Repeats;
pub use survey::Holding;
use worker::Order;

/// What the file says of one cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// What is spoken there.
    pub kind: Kind,
    /// How versions are kept apart.
    pub mode: Mode,
    /// Which namespaces a deletion concerns.
    pub invalidate: Invalidate,
    /// What stands before the version in namespaces, if something does.
    pub environment: Option<String>,
    /// Patterns of keys that are not shared after all.
    pub isolate: Vec<String>,
    /// Patterns of keys that all versions share.
    pub share: Vec<String>,
    /// Patterns of the queues that jobs are fetched from, where versions are only observed.
    pub queues: Vec<String>,
    /// The canary's share of the jobs; none: whatever it fetches.
    pub jobs: Option<Weight>,
    /// The tiers that use it; none: all.
    pub tiers: Vec<TierName>,
    /// One for each release that uses it.
    pub ports: Vec<Port>,
}

/// Where one release finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The release.
    pub version: Version,
    /// Where Weir listens.
    pub listen: SocketAddr,
    /// What stands before its keys, where something does.
    pub namespace: Namespace,
    /// The databases of the server that are its own, where it does not have all.
    pub databases: Option<Databases>,
    /// The server behind.
    pub server: Server,
}

/// What is spoken with a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The protocol of Redis.
    #[default]
    Redis,
    /// Those of memcached.
    Memcached,
}

impl Kind {
    /// As the file has it, and URLs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Memcached => "memcached",
        }
    }

    /// The usual port.
    pub const fn port(self) -> u16 {
        match self {
            Self::Redis => 6379,
            Self::Memcached => 11211,
        }
    }
}

/// How versions are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By what stands before their keys.
    Prefix,
    /// Each has databases of its own.
    Db,
    /// Each has a server of its own.
    Instance,
    /// Not at all: they are only counted.
    Observe,
}

impl Mode {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Db => "db",
            Self::Instance => "instance",
            Self::Observe => "observe",
        }
    }
}

/// Which namespaces a deletion concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Invalidate {
    /// Those of all ports: or users of one version would keep what those of the other have
    /// changed.
    #[default]
    All,
    /// The one in which it was done.
    Own,
}

/// What one port has counted, and what its namespace holds.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// The port.
    pub entry: CacheEntry,
    /// What its namespace holds; none where it has none, or why it is not known.
    pub holding: Option<Result<Holding, String>>,
}

/// Why a cache cannot be served.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Its port cannot be had.
    #[error(
        "cannot listen at {listen} for the cache {cache}, version {version}: {source}; choose \
         another port, or stop the program that has it"
    )]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// The cache.
        cache: String,
        /// Whose port.
        version: Version,
        /// Why.
        source: io::Error,
    },
    /// A thread cannot be had.
    #[error("cannot start a thread for caches: {0}; raise the limit of threads or memory")]
    Thread(io::Error),
}

/// Threads that serve caches: none before there is a cache.
#[derive(Debug)]
struct Workers {
    wanted: usize,
    running: Mutex<Vec<(mpsc::UnboundedSender<Order>, JoinHandle<()>)>>,
}

/// The caches with their ports bound, before they are served.
#[derive(Debug)]
pub struct Bound {
    workers: Workers,
    caches: Vec<Cache>,
    prepared: Prepared,
}

/// The caches, served. They end when this is dropped.
#[derive(Debug)]
pub struct Caches {
    workers: Workers,
    /// Where it is published which beginning the part of a release is.
    board: Arc<Board>,
    /// By name.
    served: Mutex<BTreeMap<String, Served>>,
    ledger: Arc<CacheLedger>,
}

/// One cache.
#[derive(Debug)]
struct Served {
    shared: Arc<Shared>,
    ports: BTreeMap<Version, Open>,
}

/// A port that is served.
#[derive(Debug)]
struct Open {
    place: Arc<Place>,
    door: Door,
    /// Dropped, it closes the door.
    _close: watch::Sender<()>,
}

/// What the connections of one cache share.
#[derive(Debug)]
struct Shared {
    name: String,
    mode: Mode,
    invalidate: Invalidate,
    environment: Option<String>,
    dialect: Dialect,
    repeats: Repeats,
    board: Arc<Board>,
    ledger: Arc<CacheLedger>,
    /// The ports as they are served.
    ports: Mutex<Vec<Port>>,
    /// Told when the part of a release begins anew.
    turned: watch::Sender<()>,
    /// The queues that jobs are fetched from.
    queues: Arc<Sharing>,
    /// What the canary may fetch of them.
    allotment: Allotment,
    /// The tiers that use the cache; none: all.
    tiers: Mutex<Vec<TierName>>,
}

/// What connections share of what is spoken.
#[derive(Debug)]
enum Dialect {
    Redis(Commands),
    Memcached(Keeper),
}

/// What the connections of one port share.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    port: Port,
    counts: Arc<CacheCounts>,
}

/// Ports that are bound and not yet served.
#[derive(Debug, Default)]
pub struct Prepared {
    doors: BTreeMap<SocketAddr, Door>,
}

impl Bound {
    /// Binds the ports of `caches`, to be served by `workers` threads. Sockets that were handed over
    /// are used.
    ///
    /// # Errors
    /// A port or a thread cannot be had.
    pub fn new(
        caches: &[Cache],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, CacheError> {
        let prepared = bind(&BTreeMap::new(), caches, inherited)?;
        let workers = Workers { wanted: workers, running: Mutex::default() };
        workers.start(caches)?;
        Ok(Self { workers, caches: caches.to_vec(), prepared })
    }

    /// Serves them, and counts in `ledger`; the generations are those of the tables on `board`.
    pub fn serve(self, board: &Arc<Board>, ledger: &Arc<CacheLedger>) -> Caches {
        let Self { workers, caches, prepared } = self;
        let (board, ledger) = (Arc::clone(board), Arc::clone(ledger));
        let started = Caches { workers, board, served: Mutex::default(), ledger };
        started.follow(&caches, prepared);
        started
    }
}

impl Caches {
    fn begin(&self, cache: &Cache) -> Served {
        let (repeats, queue) = Repeats::new();
        let (keeper, wishes) = Keeper::new();
        let shared = Arc::new(Shared {
            name: cache.name.clone(),
            mode: cache.mode,
            invalidate: cache.invalidate,
            environment: cache.environment.clone(),
            dialect: match cache.kind {
                Kind::Redis => Dialect::Redis(Commands::default()),
                Kind::Memcached => Dialect::Memcached(keeper),
            },
            repeats,
            board: Arc::clone(&self.board),
            ledger: Arc::clone(&self.ledger),
            ports: Mutex::default(),
            turned: watch::channel(()).0,
            queues: Arc::new(Sharing::new(&[], &cache.queues)),
            allotment: Allotment::default(),
            tiers: Mutex::default(),
        });
        if let Some((worker, _)) = self.workers.running().first() {
            _ = worker.send(Order::Repeat { shared: Arc::downgrade(&shared), queue });
            if cache.mode == Mode::Prefix {
                _ = worker.send(match cache.kind {
                    Kind::Redis => Order::Reap(Arc::downgrade(&shared)),
                    // There the server itself throws away what is not asked for.
                    Kind::Memcached => Order::Keep(wishes),
                });
            }
        }
        Served { shared, ports: BTreeMap::new() }
    }

    /// What there is, and what has been counted.
    pub const fn ledger(&self) -> &Arc<CacheLedger> {
        &self.ledger
    }

    /// Binds what `caches` has beyond what is served.
    ///
    /// # Errors
    /// A port or a thread cannot be had. Nothing has changed.
    pub fn prepare(&self, caches: &[Cache]) -> Result<Prepared, CacheError> {
        self.workers.start(caches)?;
        bind(&self.served(), caches, &mut Inherited::default())
    }

    /// Serves the ports of `caches` from now on, with what was prepared for them. Where a port, or a
    /// whole cache, is gone nobody new comes in; who is in stays.
    pub fn follow(&self, caches: &[Cache], mut prepared: Prepared) {
        let mut served = self.served();
        served.retain(|name, _| caches.iter().any(|cache| cache.name == *name));
        for cache in caches {
            let known = served.entry(cache.name.clone());
            let Served { shared, ports } = known.or_insert_with(|| self.begin(cache));
            shared.allotment.becomes(cache.jobs);
            lock(&shared.tiers).clone_from(&cache.tiers);
            let wanted = |place: &Place| cache.ports.contains(&place.port);
            ports.retain(|_, open| wanted(&open.place));
            for port in &cache.ports {
                if let Some(door) = prepared.doors.remove(&port.listen) {
                    let place = Arc::new(Place {
                        shared: Arc::clone(shared),
                        port: port.clone(),
                        counts: Arc::default(),
                    });
                    ports.insert(port.version.clone(), self.serve(place, door));
                }
            }
            shared.ports().clone_from(&cache.ports);
        }
        let places = served.values().flat_map(|served| served.ports.values());
        self.ledger.set(places.map(|open| entry(&open.place)).collect());
    }

    /// Lets clients in at `door`.
    fn serve(&self, place: Arc<Place>, door: Door) -> Open {
        let (close, closed) = watch::channel(());
        for (worker, _) in &*self.workers.running() {
            match door.try_clone() {
                Ok(door) => {
                    let (place, closed) = (Arc::clone(&place), closed.clone());
                    _ = worker.send(Order::Serve { place, door, closed });
                }
                Err(error) => tracing::error!(listen = %place.port.listen, %error, "cannot listen"),
            }
        }
        Open { place, door, _close: close }
    }

    /// Lets nobody new in; who is in stays.
    pub fn close(&self) {
        self.served().values_mut().for_each(|served| served.ports.clear());
    }

    /// Looks through the servers for what each namespace holds.
    pub async fn survey(&self) -> Vec<Surveyed> {
        let mut surveyed = Vec::new();
        for place in self.places() {
            let holding = if place.shared.mode == Mode::Prefix {
                let Place { shared, port, .. } = &*place;
                let namespace = shared.namespace(port);
                let look = match &shared.dialect {
                    Dialect::Redis(_) => {
                        let credentials = shared.repeats.credentials(&port.server);
                        survey::look(&port.server, credentials.as_ref(), &namespace).await
                    }
                    Dialect::Memcached(keeper) => keeper.look(shared, port).await,
                };
                Some(look.map_err(|error| error.to_string()))
            } else {
                None
            };
            surveyed.push(Surveyed { entry: entry(&place), holding });
        }
        surveyed
    }

    /// Deletes all keys of `namespace`, of each generation, whether it has a port or not, on every
    /// server where versions are kept apart by what stands before their keys. Gives how many there
    /// were, if that is known.
    ///
    /// # Errors
    /// As a sentence: a server is not reached or refuses. Some keys may be gone.
    pub async fn empty(&self, namespace: &Namespace) -> Result<Option<u64>, String> {
        let mut seen: Vec<Server> = Vec::new();
        let mut deleted = Some(0);
        for place in self.places() {
            let Place { shared, port, .. } = &*place;
            if shared.mode != Mode::Prefix || seen.contains(&port.server) {
                continue;
            }
            seen.push(port.server.clone());
            let emptied = match &shared.dialect {
                Dialect::Redis(_) => {
                    let credentials = shared.repeats.credentials(&port.server);
                    survey::empty(&port.server, credentials.as_ref(), namespace).await.map(Some)
                }
                Dialect::Memcached(keeper) => keeper.empty(shared, &port.server, namespace).await,
            };
            let emptied = emptied.map_err(|error| error.to_string())?;
            deleted = deleted.zip(emptied).map(|(one, other)| one + other);
        }
        if seen.is_empty() {
            return Err("no [[cache]] has mode = \"prefix\", so there are no namespaces".into());
        }
        Ok(deleted)
    }

    fn places(&self) -> Vec<Arc<Place>> {
        let served = self.served();
        let open = served.values().flat_map(|served| served.ports.values());
        open.map(|open| Arc::clone(&open.place)).collect()
    }

    /// Copies of all sockets that are listened at, for the process that takes over.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn lend(&self) -> io::Result<Vec<OwnedFd>> {
        let served = self.served();
        let open = served.values().flat_map(|served| served.ports.values());
        open.map(|open| open.door.try_clone().map(OwnedFd::from)).collect()
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<String, Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// What the version is to the tiers that use the cache.
    fn role(&self) -> Role {
        let Shared { board, tiers, .. } = &*self.shared;
        Role::of(&self.port.version, &lock(tiers), &board.current().1)
    }

    /// Whether fetches of jobs may have to wait here.
    fn holds_fetches(&self) -> bool {
        self.shared.mode == Mode::Observe && self.shared.allotment.share().is_some()
    }

    /// Whether what passes here as it is has deletions in it that are repeated elsewhere.
    fn repeats_what_it_watches(&self) -> bool {
        self.shared.mode == Mode::Instance && self.shared.invalidate == Invalidate::All
    }
}

fn entry(place: &Place) -> CacheEntry {
    let Place { shared, port, counts } = place;
    let namespace = (shared.mode == Mode::Prefix).then(|| shared.namespace(port).to_string());
    CacheEntry {
        cache: shared.name.clone(),
        version: port.version.clone(),
        namespace,
        mode: shared.mode.name(),
        is_apart: shared.mode != Mode::Observe,
        listen: port.listen,
        counts: Arc::clone(counts),
    }
}

fn bind(
    served: &BTreeMap<String, Served>,
    caches: &[Cache],
    inherited: &mut Inherited,
) -> Result<Prepared, CacheError> {
    let mut doors = BTreeMap::new();
    let mut open = |cache: &Cache, port: &Port| {
        let mut open = served.values().flat_map(|served| served.ports.values());
        let open = open.find(|open| open.place.port.listen == port.listen);
        match open {
            Some(open) if open.place.port == *port && open.place.shared.name == cache.name => {
                Ok(None)
            }
            // It changes hands.
            Some(open) => open.door.try_clone().map(Some),
            None => Door::open(port.listen, inherited).map(Some),
        }
    };
    for cache in caches {
        for port in &cache.ports {
            let door = open(cache, port).map_err(|source| CacheError::Bind {
                listen: port.listen,
                cache: cache.name.clone(),
                version: port.version.clone(),
                source,
            })?;
            doors.extend(door.map(|door| (port.listen, door)));
        }
    }
    Ok(Prepared { doors })
}

impl Shared {
    /// What stands before the keys of `port` now.
    fn namespace(&self, port: &Port) -> Namespace {
        let (_, table) = self.board.current();
        let generation = table.generations.of(&self.name, &port.version);
        match generation.filter(|_| self.mode == Mode::Prefix) {
            Some(generation) => port.namespace.generation(generation.number()),
            None => port.namespace.clone(),
        }
    }

    /// The generation that keys of `port` in a memcached are in at least.
    fn at_least(&self, port: &Port) -> memcached::Generation {
        let (_, table) = self.board.current();
        let generation = table.generations.of(&self.name, &port.version);
        let number = generation.map(Generation::number);
        number.map_or_else(memcached::Generation::default, memcached::Generation::of_second)
    }

    /// Which beginning the part of each release is that ever began anew.
    fn generations(&self) -> BTreeMap<Version, Generation> {
        self.board.current().1.generations.in_cache(&self.name)
    }

    /// The server of all parts, and with what the keys of all begin.
    fn keyspace(&self) -> Option<(Server, Vec<u8>)> {
        let server = self.ports().first()?.server.clone();
        let prefix = self.environment.as_ref().map(|environment| format!("{environment}:"));
        Some((server, prefix.unwrap_or_default().into_bytes()))
    }

    fn ports(&self) -> MutexGuard<'_, Vec<Port>> {
        lock(&self.ports)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// Has them run, if there are `caches`.
    fn start(&self, caches: &[Cache]) -> Result<(), CacheError> {
        let mut running = self.running();
        if running.is_empty() && !caches.is_empty() {
            let started = (0..self.wanted).map(worker::start).collect::<io::Result<Vec<_>>>();
            *running = started.map_err(CacheError::Thread)?;
        }
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Vec<(mpsc::UnboundedSender<Order>, JoinHandle<()>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (orders, thread) in self.running().drain(..) {
            drop(orders);
            _ = thread.join();
        }
    }
}
