//! One thread of the caches: connections of clients, each with its own connection to the server.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::door::Door;
use super::generations::Wishes;
use super::repeat::{self, Queue};
use super::{Mode, Place, Shared, generations, prefixed, reap, relay};

/// Connections of one port and worker: as many as Redis takes by default.
const CONNECTIONS_MAX: usize = 10_000;

/// How long to rest when the system gives no connection (no more descriptors).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    /// Serve who comes in at this door, until it closes.
    Serve {
        /// What is served there.
        place: Arc<Place>,
        /// The door.
        door: Door,
        /// Ends with the port.
        closed: watch::Receiver<()>,
    },
    /// Keep which generation of each namespace lives.
    Keep(Wishes),
    /// Delete what the parts of releases held before they began anew.
    Reap(Weak<Shared>),
    /// Repeat deletions in the other namespaces.
    Repeat {
        /// The cache.
        shared: Weak<Shared>,
        /// The deletions.
        queue: Queue,
    },
}

/// Starts a worker; it ends with the sender of its orders.
pub fn start(index: usize) -> io::Result<(mpsc::UnboundedSender<Order>, JoinHandle<()>)> {
    let (sender, orders) = mpsc::unbounded_channel();
    let runtime =
        move || Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let thread = std::thread::Builder::new().name(format!("weir-cache-{index}"));
    let thread = thread.spawn(move || match runtime() {
        Ok(runtime) => runtime.block_on(live(orders)),
        Err(error) => tracing::error!(%error, "a worker of the caches cannot run"),
    })?;
    Ok((sender, thread))
}

async fn live(mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Serve { place, door, closed } => match door.entrance() {
                Ok(entrance) => _ = tokio::task::spawn_local(accept(place, entrance, closed)),
                Err(error) => tracing::error!(%error, "cannot listen for a cache"),
            },
            Order::Keep(wishes) => _ = tokio::task::spawn_local(generations::run(wishes)),
            Order::Reap(shared) => {
                _ = tokio::task::spawn_local(reap::tell(Weak::clone(&shared)));
                _ = tokio::task::spawn_local(reap::run(shared));
            }
            Order::Repeat { shared, queue } => {
                _ = tokio::task::spawn_local(repeat::run(shared, queue));
            }
        }
    }
}

async fn accept(
    place: Arc<Place>,
    entrance: tokio::net::TcpListener,
    mut closed: watch::Receiver<()>,
) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        let accepted = tokio::select! {
            accepted = entrance.accept() => accepted,
            _ = closed.changed() => return,
        };
        match accepted {
            Ok(_) if open.get() >= CONNECTIONS_MAX => {
                tracing::warn!(listen = %place.port.listen, "too many connections to a cache");
            }
            Ok((client, _)) => {
                let guest = Guest::new(&place, &open);
                tokio::task::spawn_local(async move { guest.stay(client).await });
            }
            Err(error) => {
                tracing::warn!(listen = %place.port.listen, %error, "no connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// A client that is in, counted for as long as it is.
struct Guest {
    place: Arc<Place>,
    open: Rc<Cell<usize>>,
}

impl Guest {
    fn new(place: &Arc<Place>, open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        place.counts.connections.fetch_add(1, Ordering::Relaxed);
        Self { place: Arc::clone(place), open: Rc::clone(open) }
    }

    async fn stay(&self, client: TcpStream) {
        let place = &self.place;
        let server = match place.port.server.connect().await {
            Ok(server) => server,
            // Nothing is invented: the client sees what it would see without Weir.
            Err(error) => {
                place.counts.unreached.fetch_add(1, Ordering::Relaxed);
                let Place { shared, port, .. } = &**place;
                tracing::warn!(cache = %shared.name, version = %port.version, "{error}");
                return;
            }
        };
        let outcome = match place.shared.mode {
            Mode::Prefix | Mode::Db => prefixed::talk(client, server, place).await,
            Mode::Observe if place.holds_fetches() => prefixed::talk(client, server, place).await,
            Mode::Instance | Mode::Observe => relay::pass(client, server, place).await,
        };
        if let Err(error) = outcome {
            tracing::debug!(cache = %place.shared.name, %error, "a connection has ended");
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
        self.place.counts.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
