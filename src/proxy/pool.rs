//! A worker's connections to an upstream: idle ones in a stack, shared ones, those who wait for
//! one, and the requests on their way.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::client::Connection;
use super::dial::Dial;
use super::view::{ReleaseView, UpstreamView};
use crate::metrics::UpstreamCells;
use crate::traffic::Limits;

/// The connections of one worker to one upstream.
#[derive(Debug, Default)]
pub struct Pool {
    /// Idle ones; the one used last is on top.
    idle: RefCell<Vec<Kept>>,
    /// Those that carry many requests at once, whether idle or not.
    shared: RefCell<Vec<Kept>>,
    /// Requests that wait until a connection is free or may be opened, the first in front.
    line: RefCell<VecDeque<Rc<Ticket>>>,
    /// Whose they are.
    worker: usize,
    /// Connections that are open.
    open: Cell<usize>,
    /// Connections that are being opened.
    opening: Cell<usize>,
    /// Whether the one that was opened last carries many requests at once.
    shares: Cell<bool>,
    /// Whether its upstream has left the table: nothing is kept any more.
    left: Cell<bool>,
}

/// An open connection, or a hold on a shared one.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub connection: Connection,
    seat: Rc<Seat>,
}

/// One of the connections that an upstream may have, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    cells: Arc<UpstreamCells>,
    pool: Weak<Pool>,
    /// The client it was opened for, where a PROXY header has told the upstream.
    client: Option<IpAddr>,
    /// The address that the upstream's name had.
    remote: Cell<Option<SocketAddr>>,
}

/// A connection that was used before.
#[derive(Debug)]
struct Kept {
    link: Link,
    since: Instant,
}

/// A connection that may take a request.
#[derive(Debug)]
pub struct Found {
    /// The connection.
    pub link: Link,
    /// How long it has been idle.
    pub idle: Duration,
    /// Whether it carries nothing else: should it break, that was most likely before.
    pub is_alone: bool,
}

/// What kind of connection is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The client that the upstream is told of, if it is.
    pub client: Option<IpAddr>,
    /// Whether it shall carry one request at a time, which may change protocol.
    pub single: bool,
}

impl Seat {
    /// A connection more to `upstream`, unless there are as many as there may be.
    pub fn take(
        upstream: &Rc<UpstreamView>,
        client: Option<IpAddr>,
        limits: &Limits,
    ) -> Option<Rc<Self>> {
        let opens = upstream.cells.open(limits.upstream_connections);
        opens.then(|| {
            let (cells, pool) = (Arc::clone(&upstream.cells), Rc::downgrade(&upstream.pool));
            upstream.pool.open.set(upstream.pool.open.get() + 1);
            Rc::new(Self { cells, pool, client, remote: Cell::new(None) })
        })
    }

    /// It leads to `remote`.
    pub fn leads_to(&self, remote: Option<SocketAddr>) {
        self.remote.set(remote);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.cells.close();
        if let Some(pool) = self.pool.upgrade() {
            pool.open.set(pool.open.get().saturating_sub(1));
            pool.call_next();
        }
    }
}

impl Link {
    /// `connection` in its `seat`.
    pub const fn new(connection: Connection, seat: Rc<Seat>) -> Self {
        Self { connection, seat }
    }

    /// What is left when the connection has changed protocol: its seat.
    pub fn part(self) -> (Connection, Rc<Seat>) {
        (self.connection, self.seat)
    }

    fn share(&self) -> Option<Self> {
        let connection = self.connection.share()?;
        Some(Self { connection, seat: Rc::clone(&self.seat) })
    }

    /// Whether it leads to an address that the upstream's name has no more.
    fn is_astray(&self, dial: &Dial) -> bool {
        self.seat.remote.get().is_some_and(|remote| !dial.leads_to(remote))
    }
}

/// A request on its way: counts at its upstream and its release until it is dropped.
#[derive(Debug)]
pub struct Busy {
    /// The upstream.
    pub upstream: Rc<UpstreamView>,
    release: Rc<ReleaseView>,
}

impl Busy {
    /// A request of `release` goes to `upstream`.
    pub fn new(release: &Rc<ReleaseView>, upstream: &Rc<UpstreamView>) -> Self {
        upstream.busy.set(upstream.busy.get() + 1);
        release.writer.begins();
        Self { upstream: Rc::clone(upstream), release: Rc::clone(release) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.upstream.busy.set(self.upstream.busy.get().saturating_sub(1));
        self.release.writer.ends();
        self.upstream.pool.call_next();
    }
}

/// A request that waits for a connection, until it is dropped: it counts as pending, and stands in
/// line if it has to.
#[derive(Debug)]
pub struct Waiting {
    upstream: Rc<UpstreamView>,
    ticket: RefCell<Option<Rc<Ticket>>>,
    listens: Cell<bool>,
}

/// A place in line.
#[derive(Debug, Default)]
struct Ticket {
    waker: RefCell<Option<Waker>>,
}

impl Waiting {
    /// Waits at `upstream`, unless as many do as there may be.
    pub fn at(upstream: &Rc<UpstreamView>, limits: &Limits) -> Option<Self> {
        let waits = upstream.cells.waits(limits.upstream_pending);
        waits.then(|| Self {
            upstream: Rc::clone(upstream),
            ticket: RefCell::default(),
            listens: Cell::new(false),
        })
    }

    /// Whether nobody stands before this one.
    pub fn is_first(&self) -> bool {
        let line = self.upstream.pool.line.borrow();
        match (&*self.ticket.borrow(), line.front()) {
            (_, None) => true,
            (Some(own), Some(first)) => Rc::ptr_eq(own, first),
            (None, Some(_)) => false,
        }
    }

    /// Stands in line, and has `waker` woken when it may be its turn.
    pub fn stand(&self, waker: &Waker) {
        let mut ticket = self.ticket.borrow_mut();
        let ticket = ticket.get_or_insert_with(|| {
            let ticket = Rc::<Ticket>::default();
            self.upstream.pool.line.borrow_mut().push_back(Rc::clone(&ticket));
            ticket
        });
        *ticket.waker.borrow_mut() = Some(waker.clone());
    }

    /// Leaves the line, since its turn has come; it still waits for a connection to be opened.
    pub fn advance(&self) {
        if self.listens.take() {
            self.upstream.cells.forget(self.upstream.pool.worker);
        }
        if let Some(own) = self.ticket.take() {
            self.upstream.pool.line.borrow_mut().retain(|ticket| !Rc::ptr_eq(ticket, &own));
            self.upstream.pool.call_next();
        }
    }

    /// Has `waker` woken too when any worker closes a connection.
    pub fn listen(&self, waker: &Waker) {
        let pool = &self.upstream.pool;
        self.upstream.cells.listen(pool.worker, pool.open.get(), waker);
        self.listens.set(true);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.advance();
        self.upstream.cells.waited();
        self.upstream.pool.call_next();
    }
}

/// A connection that is being opened, until it is dropped.
#[derive(Debug)]
pub struct Opening(Rc<UpstreamView>);

impl Opening {
    /// One to `upstream`.
    pub fn new(upstream: &Rc<UpstreamView>) -> Self {
        upstream.pool.opening.set(upstream.pool.opening.get() + 1);
        Self(Rc::clone(upstream))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.pool.opening.set(self.0.pool.opening.get().saturating_sub(1));
        self.0.pool.call_next();
    }
}

impl Pool {
    /// Wakes who stands first in line.
    fn call_next(&self) {
        if let Some(first) = self.line.borrow().front()
            && let Some(waker) = first.waker.take()
        {
            waker.wake();
        }
    }

    /// The pool of `worker` for an upstream; `shares`: its connections carry many requests at once.
    pub fn new(worker: usize, shares: bool) -> Rc<Self> {
        Rc::new(Self { worker, shares: Cell::new(shares), ..Self::default() })
    }

    /// Its upstream has left the table: what is idle is closed, what is in use once it is not.
    pub fn leave(&self) {
        self.left.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    /// Whether its upstream has left the table.
    pub const fn has_left(&self) -> bool {
        self.left.get()
    }

    /// Connections that are open.
    pub const fn open(&self) -> usize {
        self.open.get()
    }

    /// Whether somebody waits for a connection, who came first.
    pub fn has_line(&self) -> bool {
        !self.line.borrow().is_empty()
    }

    /// Whether a connection that will carry many requests is about to be there.
    pub fn awaits_shared(&self) -> bool {
        self.shares.get() && self.opening.get() > 0
    }

    /// The connection of `kind` that was idle for the shortest time, or one that has room.
    pub fn take(&self, kind: Kind, now: Instant) -> Option<Found> {
        if !kind.single
            && let Some(found) = self.take_shared(kind, now)
        {
            return Some(found);
        }
        let mut idle = self.idle.borrow_mut();
        let next = |idle: &mut Vec<Kept>| match kind.client {
            None => idle.pop(),
            client @ Some(_) => {
                let fits = |kept: &Kept| kept.link.seat.client == client;
                idle.iter().rposition(fits).map(|at| idle.remove(at))
            }
        };
        while let Some(kept) = next(&mut idle) {
            // Its client may have been told, until the file said otherwise.
            if !kept.link.connection.is_closed() && kept.link.seat.client == kind.client {
                let idle = now.saturating_duration_since(kept.since);
                return Some(Found { link: kept.link, idle, is_alone: true });
            }
        }
        None
    }

    fn take_shared(&self, kind: Kind, now: Instant) -> Option<Found> {
        let mut shared = self.shared.borrow_mut();
        if shared.is_empty() {
            return None;
        }
        shared.retain(|kept| !kept.link.connection.is_closed());
        let fits = |kept: &&mut Kept| {
            kept.link.seat.client == kind.client && kept.link.connection.has_room()
        };
        let kept = shared.iter_mut().find(fits)?;
        let (idle, is_alone) =
            (now.saturating_duration_since(kept.since), kept.link.connection.is_idle());
        kept.since = now;
        let idle = if is_alone { idle } else { Duration::ZERO };
        Some(Found { link: kept.link.share()?, idle, is_alone })
    }

    /// A connection has just been opened: one that carries many requests can be had by others too.
    pub fn opened(&self, link: &Link, now: Instant) {
        let shared = link.share();
        self.shares.set(shared.is_some());
        if let Some(link) = shared.filter(|_| !self.left.get()) {
            self.shared.borrow_mut().push(Kept { link, since: now });
        }
    }

    /// Keeps `link` for the next request, unless there are `most` already, or another worker needs
    /// its seat more.
    pub fn keep(&self, link: Link, now: Instant, most: usize) {
        if link.connection.is_spent() || self.left.get() {
            return;
        }
        if link.connection.is_shared() {
            let mut shared = self.shared.borrow_mut();
            let is_wanted = link.seat.cells.is_wanted(self.worker, shared.len(), self.has_line());
            let own = |kept: &Kept| Rc::ptr_eq(&kept.link.seat, &link.seat);
            if let Some(place) = shared.iter().position(own) {
                shared[place].since = now;
                if is_wanted {
                    link.connection.retire();
                    shared.swap_remove(place);
                }
            }
            return;
        }
        if link.seat.cells.is_wanted(self.worker, self.open.get(), self.has_line()) {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < most {
            idle.push(Kept { link, since: now });
        } else if link.seat.client.is_some() && !idle.is_empty() {
            // That of the client who has not come for longest is of the least use.
            idle.remove(0);
            idle.push(Kept { link, since: now });
        }
    }

    /// Closes what has been idle for longer than `limit`, except for the `floor` used last; what
    /// leads where the name of `dial` leads no more; and all where another worker waits for it.
    pub fn sweep(&self, now: Instant, limit: Duration, floor: usize, dial: &Dial) {
        let is_due = |kept: &Kept| now.saturating_duration_since(kept.since) > limit;
        let is_gone = |kept: &Kept| kept.link.connection.is_closed() || kept.link.is_astray(dial);
        let mut idle = self.idle.borrow_mut();
        let wanted = idle.first().is_some_and(|kept| {
            !self.has_line() && kept.link.seat.cells.is_wanted(self.worker, 0, false)
        });
        let mut newer = idle.len();
        idle.retain(|kept| {
            newer -= 1;
            let stays = newer < floor || !is_due(kept);
            stays && !wanted && !is_gone(kept)
        });
        self.shared.borrow_mut().retain(|kept| {
            let rests = kept.link.connection.is_idle() && is_due(kept);
            !is_gone(kept) && (floor > 0 || !rests)
        });
    }
}
