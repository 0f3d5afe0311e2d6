//! One worker: a thread with its own runtime, listeners, connections and cells. It shares nothing
//! with its siblings but the board and the register.

mod admission;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::client::UpstreamClient;
use super::handshake::Handshakes;
use super::line::{Exchange, Line};
use super::listener::{Door, Entrance};
use super::names::Names;
use super::room::Room;
use super::upgrade::{self, Chunk, Tunnel};
use super::view::{Kept, Shared, TierView, View};
use crate::alloc;
use crate::cache::http::HttpCaches;
use crate::metrics::Register;
use crate::metrics::keys::ErrorKeys;
use crate::tls::Keyring;
use crate::traffic::{Board, Limits, Listen, Timeouts};
use admission::Newcomer;

/// Time between two looks at everything that may take too long. Deadlines are late by it at most,
/// which matters to nobody, and a request needs no timer.
const SWEEP: Duration = Duration::from_millis(250);

/// Sweeps after which the keys seen lately are published and forgotten: ten seconds.
const SWEEPS_PER_SKETCH: u32 = 40;

/// Sweeps after which memory that is not used is given back: two seconds.
const SWEEPS_PER_GIVE_BACK: u32 = 8;

/// Pause between two looks whether everything has ended.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    /// Serve the clients that come in at these sockets.
    Listen {
        /// The address as the table has it.
        listen: Listen,
        /// The sockets.
        doors: Vec<Door>,
    },
    /// Finish, and say how many connections were cut.
    Drain {
        /// How long requests may go on.
        limit: Duration,
        /// What comes after.
        farewell: Farewell,
        /// Where to say it.
        reply: oneshot::Sender<usize>,
    },
    /// Say that it lives.
    Live {
        /// Where to say it.
        reply: oneshot::Sender<()>,
    },
}

/// What comes after a worker has drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing: what waits at the doors is still let in.
    Stop,
    /// Another process, which has the same sockets: what waits there is its.
    Succession,
}

impl Farewell {
    /// How long a connection of HTTP/1.1 that was in use stays open for one more request, whose
    /// answer says that it was the last: closed at once it might meet a request halfway, and its
    /// client would see that fail.
    const fn linger(self) -> Duration {
        match self {
            Self::Stop => Duration::from_millis(500),
            Self::Succession => Duration::from_secs(5),
        }
    }
}

/// What happens to a worker beside its connections.
enum Occasion {
    Changed,
    Ordered(Option<Order>),
    Swept,
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Whose HTTP/1.1 it speaks with upstreams.
    pub client: UpstreamClient,
    /// This instance of Weir, for requests that come back.
    pub instance: String,
    /// The same as a header.
    pub hop: HeaderValue,
    /// Keys whose errors have been counted lately.
    pub error_keys: Rc<RefCell<ErrorKeys>>,
    /// The memory that its tunnels read into.
    pub chunk: Chunk,
    /// Tells requests that wait that the table has moved, or that it finishes.
    pub moved: Notify,
    /// The tunnels that are open.
    pub tunnels: RefCell<Vec<Rc<Tunnel>>>,
    /// The TLS handshakes under way.
    pub handshakes: Rc<Handshakes>,
    /// What TLS handshakes share.
    pub keyring: Arc<Keyring>,
    index: usize,
    environment: Option<String>,
    board: Arc<Board>,
    /// Where it counts.
    pub register: Arc<Register>,
    names: Arc<Names>,
    caches: Arc<HttpCaches>,
    /// What it takes into caches just now.
    pub fetches: Fetches,
    view: RefCell<Rc<View>>,
    kept: RefCell<Kept>,
    lines: RefCell<Vec<Rc<Line>>>,
    room: RefCell<Room>,
    /// Newcomers for whom there is no room yet, one at most for each door.
    waiting: RefCell<Vec<Newcomer>>,
    /// Since when there is none for anybody.
    full_since: Cell<Option<Instant>>,
    draining: Cell<bool>,
}

/// What a worker is made from.
#[derive(Debug)]
pub struct Birth {
    /// Its number.
    pub index: usize,
    /// Whose HTTP/1.1 it speaks with upstreams.
    pub client: UpstreamClient,
    /// What stands before the version in namespaces.
    pub environment: Option<String>,
    /// This instance of Weir.
    pub instance: String,
    /// Where the table is published.
    pub board: Arc<Board>,
    /// Where it counts.
    pub register: Arc<Register>,
    /// What TLS handshakes share.
    pub keyring: Arc<Keyring>,
    /// What is known of names.
    pub names: Arc<Names>,
    /// What is kept of answers.
    pub caches: Arc<HttpCaches>,
    /// What it is told.
    pub orders: mpsc::UnboundedReceiver<Order>,
}

/// Runs a worker on this thread until it has been drained.
pub fn run(birth: Birth) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(Worker::live(birth));
    Ok(())
}

impl Worker {
    async fn live(birth: Birth) {
        let Birth { index, client, environment, instance, board, register, keyring, .. } = birth;
        let (names, caches) = (birth.names, birth.caches);
        let mut orders = birth.orders;
        let changed = Arc::new(Notify::new());
        let waker = Arc::clone(&changed);
        board.set_waker(index, Box::new(move || waker.notify_one()));
        let hop = HeaderValue::from_str(&instance);
        let worker = Rc::new(Self {
            client,
            hop: hop.unwrap_or(HeaderValue::from_static("weir")),
            instance,
            error_keys: Rc::new(RefCell::new(ErrorKeys::new(Instant::now()))),
            chunk: upgrade::chunk(),
            moved: Notify::new(),
            tunnels: RefCell::default(),
            handshakes: Rc::default(),
            keyring,
            index,
            environment,
            board,
            register,
            names,
            caches,
            fetches: Fetches::default(),
            view: RefCell::default(),
            kept: RefCell::default(),
            lines: RefCell::default(),
            room: RefCell::default(),
            waiting: RefCell::default(),
            full_since: Cell::new(None),
            draining: Cell::new(false),
        });
        worker.follow();
        let mut doors = BTreeMap::new();
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps = 0_u32;
        loop {
            match Self::next(&changed, &mut orders, &mut ticks).await {
                Occasion::Changed => {
                    worker.view();
                    worker.close_doors(&mut doors);
                }
                Occasion::Ordered(Some(Order::Listen { listen, doors: new })) => {
                    worker.open_doors(&mut doors, &listen, new);
                }
                Occasion::Ordered(Some(Order::Drain { limit, farewell, reply })) => {
                    let cut = worker.drain(&mut doors, limit, farewell).await;
                    // It places no request any more, by whatever table.
                    worker.board.acknowledge(worker.index, u64::MAX);
                    _ = reply.send(cut);
                    return;
                }
                Occasion::Ordered(Some(Order::Live { reply })) => _ = reply.send(()),
                Occasion::Ordered(None) => return,
                Occasion::Swept => {
                    sweeps = sweeps.wrapping_add(1);
                    worker.sweep(Instant::now());
                    if sweeps.is_multiple_of(SWEEPS_PER_GIVE_BACK) {
                        alloc::give_back();
                    }
                    if sweeps.is_multiple_of(SWEEPS_PER_SKETCH) {
                        worker.publish_keys();
                    }
                }
            }
        }
    }

    async fn next(
        changed: &Notify,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        ticks: &mut Interval,
    ) -> Occasion {
        tokio::select! {
            biased;
            () = changed.notified() => Occasion::Changed,
            order = orders.recv() => Occasion::Ordered(order),
            _ = ticks.tick() => Occasion::Swept,
        }
    }

    /// The table of the latest epoch.
    pub fn view(&self) -> Rc<View> {
        if self.board.epoch() != self.view.borrow().epoch {
            self.follow();
        }
        Rc::clone(&self.view.borrow())
    }

    /// Idle connections to one upstream that this worker keeps at most: no more than its share of
    /// those that there may be, or others would find none left.
    pub fn idle_max(&self, limits: &Limits) -> usize {
        let share = limits.upstream_connections.map(|most| most / self.board.workers().max(1));
        limits.upstream_idle.min(share.unwrap_or(usize::MAX))
    }

    /// Whether a later table than that of `tier` was published.
    pub fn has_moved(&self, tier: &TierView) -> bool {
        self.board.epoch() != tier.epoch
    }

    /// Reads the table, says so, and parts with what has lost by it.
    fn follow(&self) {
        let (epoch, table) = self.board.current();
        let shared = Shared {
            worker: self.index,
            register: &self.register,
            keyring: &self.keyring,
            names: &self.names,
            caches: &self.caches,
            environment: self.environment.as_deref(),
        };
        let view = View::new(&table, epoch, &shared, &mut self.kept.borrow_mut());
        *self.view.borrow_mut() = Rc::new(view);
        self.board.acknowledge(self.index, epoch);
        self.part(Instant::now());
        self.moved.notify_waiters();
    }

    /// Whether it finishes.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Gives tunnels and event streams an end, on releases that serve no more, on upstreams that have
    /// left, and where nothing shall stay open.
    fn part(&self, now: Instant) {
        let view = Rc::clone(&self.view.borrow());
        for tunnel in self.tunnels.borrow().iter() {
            tunnel.follow(&view, now);
        }
        for line in self.lines.borrow().iter() {
            for exchange in line.exchanges.borrow().iter().filter(|one| one.is_endless()) {
                if part(&view, exchange, Duration::ZERO, now) {
                    exchange.wake(line);
                }
            }
        }
    }

    /// The answer of `exchange` has begun: if it is a stream, and the table has moved since the request
    /// was placed, it is given its end like those that had begun before.
    pub fn part_late(&self, exchange: &Exchange, now: Instant) {
        if exchange.is_stream.get() && self.has_moved(&exchange.tier) {
            // A call that took its time has most often no more than one answer, which is coming.
            let stream_after = exchange.tier.table.tier.timeouts.stream_after;
            let least = if exchange.is_grpc.get() { stream_after } else { Duration::ZERO };
            part(&self.view(), exchange, least, now);
        }
    }

    fn sweep(&self, now: Instant) {
        let view = self.view();
        let fallback = Timeouts::default();
        let lines = self.lines.borrow().clone();
        for line in lines {
            let listener = view.listener(&line.listen);
            let first = listener.map(|listener| &listener.first.table.tier);
            line.sweep(now, first.map_or(&fallback, |tier| &tier.timeouts));
        }
        self.give_way(&view);
        let tunnels = self.tunnels.borrow().clone();
        for tunnel in tunnels {
            tunnel.sweep(now);
        }
        for tier in &view.tiers {
            let limit = tier.table.tier.timeouts.upstream_idle;
            for release in tier.releases() {
                let floor = tier.warmth(release);
                for upstream in &release.upstreams {
                    upstream.pool.sweep(now, limit, floor, &upstream.dial);
                }
            }
        }
    }

    fn publish_keys(&self) {
        for tier in &self.view().tiers {
            tier.cells.publish_keys(self.index, tier.sketch.take());
        }
    }

    fn open_doors(self: &Rc<Self>, doors: &mut Doors, listen: &Listen, new: Vec<Door>) {
        let mut opened = Vec::with_capacity(new.len());
        for door in new {
            let entrance = match Entrance::new(door) {
                Ok(entrance) => Rc::new(entrance),
                Err(error) => {
                    tracing::error!(%listen, %error, "cannot listen");
                    continue;
                }
            };
            let (worker, place, inner) = (Rc::clone(self), listen.clone(), Rc::clone(&entrance));
            let task = tokio::task::spawn_local(async move { worker.accept(&place, &inner).await });
            opened.push((task, entrance));
        }
        let before = doors.insert(listen.clone(), opened);
        before.into_iter().flatten().for_each(|(task, _)| task.abort());
    }

    /// Stops to listen where the table has no tier any more.
    fn close_doors(&self, doors: &mut Doors) {
        let view = self.view();
        doors.retain(|listen, open| {
            let stays = view.listener(listen).is_some();
            if !stays {
                for (task, _) in open {
                    task.abort();
                }
            }
            stays
        });
    }

    /// Accepts what already waits, unless somebody else does, then nothing more; waits for requests
    /// and tunnels to end.
    async fn drain(
        self: &Rc<Self>,
        doors: &mut Doors,
        limit: Duration,
        farewell: Farewell,
    ) -> usize {
        self.draining.set(true);
        self.moved.notify_waiters();
        let end = Instant::now() + limit;
        for (listen, open) in std::mem::take(doors) {
            for (task, entrance) in open {
                task.abort();
                while farewell == Farewell::Stop
                    && let Some(Ok((socket, peer))) = entrance.accept_waiting().await
                {
                    self.admit_now(Newcomer { listen: listen.clone(), socket, peer });
                }
            }
        }
        for newcomer in self.waiting.take() {
            self.admit_now(newcomer);
        }
        for line in self.lines.borrow().iter() {
            for exchange in line.exchanges.borrow().iter().filter(|one| one.is_endless()) {
                exchange.end_within(limit / 2, Instant::now());
            }
        }
        for tunnel in self.tunnels.borrow().iter() {
            tunnel.close_within(limit / 2, Instant::now());
        }
        let mut ticks = interval(DRAIN_TICK);
        while self.open() > 0 && Instant::now() < end {
            ticks.tick().await;
            self.sweep(Instant::now());
            let linger = farewell.linger();
            self.lines.borrow().iter().for_each(|line| line.finish(Instant::now(), linger));
        }
        let cut = self.open();
        self.lines.borrow().iter().for_each(|line| line.shut());
        self.tunnels.borrow().iter().for_each(|tunnel| tunnel.close(Instant::now()));
        // Once more around, so that the tasks can close what they hold.
        ticks.tick().await;
        cut
    }

    fn open(&self) -> usize {
        self.lines.borrow().len() + self.tunnels.borrow().len() + self.fetches.0.get()
    }
}

/// Gives `exchange` an end where its release serves no more by `view`, its upstream has left, or nothing
/// shall stay open, over `least` at least; says whether it did.
fn part(view: &View, exchange: &Exchange, least: Duration, now: Instant) -> bool {
    let Some(tier) = view.tier(&exchange.tier.table.tier.name) else { return false };
    let closes = tier.table.access.closes() && !exchange.insider;
    let lost = !tier.serves(exchange.tally.release()) && !exchange.tally.is_preview()
        || exchange.streams_by.borrow().as_ref().is_some_and(|pool| pool.has_left());
    if closes {
        exchange.end_within(tier.table.tier.timeouts.drain.max(least), now);
    } else if lost {
        exchange.end_within(tier.table.close_over.max(least), now);
    }
    closes || lost
}

/// How many answers are on their way into a cache: a client of another worker may read one.
#[derive(Clone, Debug, Default)]
pub struct Fetches(Rc<Cell<usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Fetching(Fetches);

impl Fetches {
    /// One more.
    pub fn begin(&self) -> Fetching {
        self.0.set(self.0.get() + 1);
        Fetching(self.clone())
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        let Fetches(count) = &self.0;
        count.set(count.get() - 1);
    }
}

/// Where clients come in, and who lets them in.
type Doors = BTreeMap<Listen, Vec<(JoinHandle<()>, Rc<Entrance>)>>;

/// A line's place in its worker's list, given up when its task ends, however it ends.
struct Listed {
    worker: Rc<Worker>,
    line: Rc<Line>,
}

impl Listed {
    fn new(worker: &Rc<Worker>, line: &Rc<Line>) -> Self {
        let mut lines = worker.lines.borrow_mut();
        line.place.set(lines.len());
        lines.push(Rc::clone(line));
        Self { worker: Rc::clone(worker), line: Rc::clone(line) }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut lines = self.worker.lines.borrow_mut();
        let place = self.line.place.get();
        if place < lines.len() {
            lines.swap_remove(place);
        }
        if let Some(moved) = lines.get(place) {
            moved.place.set(place);
        }
    }
}
