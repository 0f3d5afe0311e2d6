//! The data wing: takes requests in, splits them between two releases, and counts how they fare.
//!
//! N workers, each a thread with its own runtime, listeners (`SO_REUSEPORT`), connections to
//! upstreams and cells; they read the table from the board and never wait for control. A keeper
//! thread opens listeners and checks the health of upstreams.

mod added;
mod assets;
mod body;
mod caching;
mod choice;
mod client;
mod connect;
mod cookies;
mod dial;
mod downstream;
mod ending;
mod forward;
mod framing;
mod gate;
mod handler;
mod handshake;
mod headers;
mod health;
mod http2;
mod interim;
mod io;
mod line;
mod linger;
mod listener;
mod names;
mod opening;
mod overlay;
mod pipe;
mod place;
mod pool;
mod random;
mod respond;
mod room;
mod seen;
mod stack;
mod tally;
mod traced;
mod upgrade;
mod view;
mod warming;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};

use crate::cache::http::HttpCaches;
use crate::inherited::Inherited;
use crate::machine;
use crate::metrics::Register;
use crate::tls::{Keyring, Protocols};
use crate::traffic::{Board, Listen, Table, TierName};
pub use client::UpstreamClient;
use health::Checks;
use listener::{Opened, Ports, Unbound};
use names::{Lookups, Names};
use warming::Warmings;
use worker::{Birth, Farewell, Order};

pub use names::{LookUp, Resolver};

/// Pause between two tries to listen at an address that somebody else has.
const BIND_AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked how much memory is in use: a burst of requests fills some MiB meanwhile.
const WEIGH: Duration = Duration::from_millis(100);

/// How often names of upstreams are looked up where nothing else is said: as often as a name that
/// moves in a fail-over is usually allowed to be kept.
pub const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// What is spoken inside TLS.
pub const PROTOCOLS: Protocols =
    Protocols { server: &[b"h2", b"http/1.1"], client: dial::PROTOCOLS };

/// How the proxy runs. What it serves is in the table.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worker threads; 0: one a core. Board and register are made for as many.
    pub workers: usize,
    /// Whose HTTP/1.1 is spoken with upstreams.
    pub client: UpstreamClient,
    /// How often names of upstreams are looked up.
    pub resolve_every: Duration,
    /// What stands before the version in namespaces.
    pub environment: Option<String>,
    /// Where.
    pub resolver: Resolver,
    /// What is kept of answers.
    pub caches: Arc<HttpCaches>,
    /// Memory in bytes above which new requests are refused; none: as much as there is.
    pub memory: Option<u64>,
    /// Whether that is a share of what the control group may have, and so counts all that it has.
    pub memory_of_group: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let client = UpstreamClient::default();
        let resolver = Resolver::System;
        Self {
            workers: 0,
            client,
            resolve_every: RESOLVE_EVERY,
            environment: None,
            resolver,
            caches: Arc::default(),
            memory: None,
            memory_of_group: false,
        }
    }
}

impl Settings {
    /// The number of workers these settings mean.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers => workers,
        }
    }
}

/// Why the proxy cannot start.
#[derive(Debug, Error)]
pub enum Error {
    /// An address cannot be bound.
    #[error("cannot listen at {listen}: {source}; {hint}")]
    Bind {
        /// The address.
        listen: Listen,
        /// What to do.
        hint: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The lock of an address cannot be had.
    #[error("cannot lock {listen} against a second weir: {source}; choose another `listen`")]
    Lock {
        /// The address.
        listen: Listen,
        /// Why.
        source: std::io::Error,
    },
    /// Another Weir has the address.
    #[error(
        "{listen} is already served by another weir{holder}; stop it, or choose another `listen`"
    )]
    Taken {
        /// The address.
        listen: Listen,
        /// The other's process.
        holder: String,
    },
    /// A thread cannot be had.
    #[error("cannot start a thread of the proxy: {0}; raise the limit of threads or memory")]
    Thread(std::io::Error),
}

/// The proxy, running. It stops at once when it is dropped; [`drain`](Self::drain) stops gently.
#[derive(Debug)]
pub struct Proxy {
    orders: Vec<mpsc::UnboundedSender<Order>>,
    workers: Vec<JoinHandle<()>>,
    keeper: Option<(channel::Sender<()>, JoinHandle<()>)>,
    ports: Arc<Mutex<Ports>>,
    ended: watch::Receiver<Option<String>>,
    unbound: watch::Sender<Vec<String>>,
}

/// Starts the proxy: listens where the published table says, and follows the tables to come.
///
/// # Errors
/// An address that cannot be bound, or that another Weir serves.
pub fn start(
    settings: &Settings,
    board: Arc<Board>,
    register: Arc<Register>,
    keyring: Arc<Keyring>,
) -> Result<Proxy, Error> {
    start_at(Inherited::default(), settings, board, register, keyring)
}

/// The same, with sockets that were handed over.
///
/// # Errors
/// An address that cannot be bound, or that another Weir serves.
pub fn start_at(
    inherited: Inherited,
    settings: &Settings,
    board: Arc<Board>,
    register: Arc<Register>,
    keyring: Arc<Keyring>,
) -> Result<Proxy, Error> {
    let count = settings.worker_count().min(board.workers());
    let (epoch, table) = board.current();
    register.memory().may_have(settings.memory);
    settings.caches.follow(&table);
    let mut ports = Ports::new(inherited);
    let (opened, unbound) = ports.follow(&table, count);
    ports.forgo();
    if let Some(unbound) = unbound.into_iter().next() {
        return Err(unbound.error);
    }
    let instance = String::from_utf8_lossy(&random::identifier()[..16]).into_owned();
    let (end, ended) = watch::channel(None);
    let (end, names) = (Arc::new(end), Arc::new(Names::default()));
    let mut proxy = Proxy {
        ended,
        orders: Vec::with_capacity(count),
        workers: Vec::with_capacity(count),
        keeper: None,
        ports: Arc::new(Mutex::new(ports)),
        unbound: watch::Sender::new(Vec::new()),
    };
    for index in 0..count {
        let (sender, orders) = mpsc::unbounded_channel();
        let birth = Birth {
            index,
            client: settings.client,
            environment: settings.environment.clone(),
            instance: instance.clone(),
            board: Arc::clone(&board),
            register: Arc::clone(&register),
            keyring: Arc::clone(&keyring),
            names: Arc::clone(&names),
            caches: Arc::clone(&settings.caches),
            orders,
        };
        proxy.orders.push(sender);
        proxy.workers.push(spawn(format!("weir-{index}"), &end, move || {
            if let Err(error) = worker::run(birth) {
                tracing::error!(%error, "a worker cannot run");
            }
        })?);
    }
    hand_out(&proxy.orders, opened);
    let keeper = Keeper {
        epoch,
        board,
        register,
        keyring,
        names,
        settings: settings.clone(),
        orders: proxy.orders.clone(),
        ports: Arc::clone(&proxy.ports),
        unbound: proxy.unbound.clone(),
    };
    let (stop, stopped) = channel::channel();
    let thread = spawn("weir-keeper".to_owned(), &end, move || keeper.run(&stopped))?;
    proxy.keeper = Some((stop, thread));
    Ok(proxy)
}

/// Starts a thread whose end is told, whichever way it ends.
fn spawn(
    name: String,
    end: &Arc<watch::Sender<Option<String>>>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let tell = TellEnd { name: name.clone(), end: Arc::clone(end) };
    let told = move || {
        let _tell = tell;
        run();
    };
    std::thread::Builder::new().name(name).spawn(told).map_err(Error::Thread)
}

/// Tells that a thread has ended when it is dropped: a panic drops it, too.
struct TellEnd {
    name: String,
    end: Arc<watch::Sender<Option<String>>>,
}

impl Drop for TellEnd {
    fn drop(&mut self) {
        self.end.send_replace(Some(std::mem::take(&mut self.name)));
    }
}

fn hand_out(orders: &[mpsc::UnboundedSender<Order>], opened: Vec<Opened>) {
    for Opened { listen, doors } in opened {
        for (worker, doors) in orders.iter().zip(doors) {
            _ = worker.send(Order::Listen { listen: listen.clone(), doors });
        }
    }
}

impl Proxy {
    /// Where each tier is listened for; the port is the real one where the table says 0.
    pub fn local_addresses(&self) -> Vec<(TierName, Listen)> {
        self.ports().local()
    }

    /// Waits until a thread has ended that nobody told to, and gives its name.
    pub async fn broken(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(name) => name.clone().unwrap_or_default(),
            // All threads are gone, and each tells before it goes.
            Err(_) => "all".to_owned(),
        }
    }

    /// The tiers that are not listened for, each with the reason as a sentence.
    pub fn unbound(&self) -> watch::Receiver<Vec<String>> {
        self.unbound.subscribe()
    }

    /// Stops: accepts nothing more, lets requests go on for up to `limit`, closes what is idle and
    /// what was upgraded. Returns how many connections were cut. Blocks the thread.
    pub fn drain(mut self, limit: Duration) -> usize {
        self.stop(limit, Farewell::Stop)
    }

    /// The same, but leaves what waits at the doors, and the paths of Unix sockets, to the process
    /// that has the sockets from [`lender`](Self::lender).
    pub fn retire(mut self, limit: Duration) -> usize {
        self.stop(limit, Farewell::Succession)
    }

    /// What gives copies of all sockets that are listened at, and of the locks on their addresses.
    pub fn lender(&self) -> impl Fn() -> std::io::Result<Vec<OwnedFd>> + Send + Sync + use<> {
        let ports = Arc::clone(&self.ports);
        move || ports.lock().unwrap_or_else(PoisonError::into_inner).lend()
    }

    /// What asks the workers whether they live.
    pub fn pulse(&self) -> Pulse {
        Pulse { workers: self.orders.clone() }
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&mut self, limit: Duration, farewell: Farewell) -> usize {
        if let Some((stop, thread)) = self.keeper.take() {
            drop(stop);
            _ = thread.join();
        }
        match farewell {
            Farewell::Stop => self.ports().close(),
            Farewell::Succession => self.ports().leave(),
        }
        let mut replies = Vec::new();
        for worker in self.orders.drain(..) {
            let (reply, answer) = oneshot::channel();
            _ = worker.send(Order::Drain { limit, farewell, reply });
            replies.push(answer);
        }
        for worker in self.workers.drain(..) {
            _ = worker.join();
        }
        replies.into_iter().map(|mut reply| reply.try_recv().unwrap_or(0)).sum()
    }
}

/// Asks the workers whether they live.
#[derive(Clone, Debug)]
pub struct Pulse {
    workers: Vec<mpsc::UnboundedSender<Order>>,
}

impl Pulse {
    /// Ends once every worker has answered; one that is stuck, or gone, never does.
    pub async fn beats(&self) {
        for worker in &self.workers {
            let (reply, answer) = oneshot::channel();
            let asked = worker.send(Order::Live { reply });
            if asked.is_err() || answer.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop(Duration::ZERO, Farewell::Stop);
    }
}

/// The thread that does what is no worker's: opening listeners, checking health, looking up names.
struct Keeper {
    settings: Settings,
    epoch: u64,
    board: Arc<Board>,
    register: Arc<Register>,
    keyring: Arc<Keyring>,
    names: Arc<Names>,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    ports: Arc<Mutex<Ports>>,
    unbound: watch::Sender<Vec<String>>,
}

impl Keeper {
    fn run(mut self, stopped: &channel::Receiver<()>) {
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => {
                runtime.block_on(self.keep(stopped));
                // A resolver that hangs must not hold up the end.
                runtime.shutdown_background();
            }
            Err(error) => tracing::error!(%error, "health checks cannot run"),
        }
    }

    async fn keep(&mut self, stopped: &channel::Receiver<()>) {
        let Settings { resolver, resolve_every, environment, .. } = &self.settings;
        let environment = environment.clone();
        let mut lookups = Lookups::new(Arc::clone(&self.names), resolver.clone(), *resolve_every);
        let (mut checks, mut warmings) = (Checks::default(), Warmings::default());
        let mut follow = |table: &Table, keeper: &Self| {
            lookups.follow(table, &keeper.register);
            let world = (&*keeper.register, &*keeper.keyring, &*keeper.names);
            checks.follow(table, world);
            warmings.follow(table, world, environment.as_deref());
        };
        follow(&self.board.current().1, self);
        let (mut tried, mut weighed) = (Instant::now(), Instant::now());
        while stopped.try_recv() == Err(channel::TryRecvError::Empty) {
            let published = self.board.since(self.epoch);
            // Who lost its users and why is only seen from one table to the next.
            for (_, table) in &published {
                self.settings.caches.follow(table);
            }
            let moved = published.last();
            if let Some((epoch, table)) = moved {
                self.epoch = *epoch;
                follow(table, self);
            }
            let missing = !self.unbound.borrow().is_empty();
            if moved.is_some() || (missing && tried.elapsed() >= BIND_AGAIN) {
                tried = Instant::now();
                self.listen();
            }
            if weighed.elapsed() >= WEIGH {
                weighed = Instant::now();
                self.weigh();
            }
            tokio::time::sleep(health::FOLLOW).await;
        }
    }

    /// Looks how much memory is in use, and says when that begins to be too much, or ceases.
    fn weigh(&self) {
        let memory = self.register.memory();
        let used = machine::used(self.settings.memory_of_group);
        let told = used.and_then(|used| memory.uses(used));
        if memory.is_short() {
            // Better to keep less than to send users away.
            self.settings.caches.give_way();
        }
        let Some(told) = told else { return };
        let (used, limit) = (memory.used(), memory.limit().unwrap_or(u64::MAX));
        if told {
            tracing::warn!(used, limit, "memory is short, new requests are refused; proxy.memory");
        } else {
            tracing::info!(used, limit, "memory is not short any more");
        }
    }

    /// Listens where the table says, and says where that cannot be had.
    fn listen(&self) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let (opened, unbound) = ports.follow(&self.board.current().1, self.orders.len());
        hand_out(&self.orders, opened);
        let said = |Unbound { tiers, error }: &Unbound| {
            let tiers: Vec<&str> = tiers.iter().map(TierName::as_str).collect();
            format!("{} is not served: {error}", tiers.join(", "))
        };
        let said: Vec<String> = unbound.iter().map(said).collect();
        self.unbound.send_if_modified(|before| {
            let differs = *before != said;
            if differs {
                for line in &said {
                    tracing::error!("{line}");
                }
                *before = said;
            }
            differs
        });
    }
}

#[cfg(test)]
mod messages;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_tells_its_end() {
        let (end, ended) = watch::channel(None);
        let end = Arc::new(end);
        let (go, gone) = channel::channel::<()>();
        let thread = spawn("weir-7".to_owned(), &end, move || {
            gone.recv().expect("a word");
            panic!("as the test wants it");
        });
        let mut proxy = Proxy {
            orders: vec![],
            workers: vec![thread.unwrap()],
            keeper: None,
            ports: Arc::default(),
            ended,
            unbound: watch::Sender::default(),
        };
        let early = tokio::time::timeout(Duration::from_millis(50), proxy.broken()).await;
        assert!(early.is_err(), "it lives");
        go.send(()).unwrap();
        assert_eq!(proxy.broken().await, "weir-7");
        assert_eq!(
            proxy.stop(Duration::ZERO, Farewell::Stop),
            0,
            "what is left can still be stopped"
        );
    }
}
