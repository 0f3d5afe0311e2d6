//! A client's connection and the request on it, as the sweep sees them.
//!
//! No request has a timer of its own. Handler and bodies write down here what goes on; the sweep
//! looks at every line a few times a second, and cuts what has taken too long.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::io::Pulse;
use super::random;
use super::tally::Tally;
use super::view::TierView;
use crate::metrics::{Handshake, TierCells};
use crate::traffic::{Limits, Listen, Timeouts};

/// Frames of HTTP/2 that carry nothing, between two sweeps: a client needs a few a second.
const IDLE_FRAMES_MAX: u32 = 500;

/// Windows that are opened between two sweeps: a fast download needs some thousand a second.
const WINDOWS_MAX: u32 = 20_000;

/// Streams that are taken back between two sweeps: a browser that goes to another page takes back
/// all that are open.
const RESETS_MAX: u32 = 300;

/// Streams that may be taken back on a connection before most must be left to their end.
const RESETS_TRUSTED: u64 = 500;

/// How long a request that was cut may stay: one whose client does not read cannot be told.
const STUCK: Duration = Duration::from_secs(1);

/// A client's connection.
#[derive(Debug)]
pub struct Line {
    /// The listener it came in at.
    pub listen: Listen,
    /// The address at its other end; behind a load balancer that says so, the client's.
    pub peer: Cell<IpAddr>,
    /// The same as X-Forwarded-For wants it.
    pub peer_text: RefCell<HeaderValue>,
    /// What moves on its socket.
    pub pulse: Arc<Pulse>,
    /// Its place in the worker's list.
    pub place: Cell<usize>,
    /// Requests so far.
    pub requests: Cell<u64>,
    /// The requests under way; with HTTP/1.1 one at most.
    pub exchanges: RefCell<Vec<Rc<Exchange>>>,
    /// Tunnels that are open on it.
    pub tunnels: Cell<usize>,
    /// The table shall close it after the request under way.
    pub last: Cell<bool>,
    leaving: Cell<bool>,
    /// Whether it is encrypted.
    pub secure: Cell<bool>,
    /// Whether it speaks HTTP/2, and carries many requests at once.
    pub multiplexed: Cell<bool>,
    /// Streams that the client took back.
    resets: Cell<u64>,
    cells: Arc<TierCells>,
    heading: Cell<bool>,
    since: Cell<Instant>,
    shut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Line {
    /// A connection that was just accepted, and counted in `cells`.
    pub fn new(listen: Listen, peer: IpAddr, pulse: Arc<Pulse>, cells: Arc<TierCells>) -> Self {
        let line = Self {
            listen,
            peer: Cell::new(peer),
            peer_text: RefCell::new(HeaderValue::from_static("unknown")),
            pulse,
            place: Cell::new(0),
            requests: Cell::new(0),
            exchanges: RefCell::default(),
            tunnels: Cell::new(0),
            last: Cell::new(false),
            leaving: Cell::new(false),
            secure: Cell::new(false),
            multiplexed: Cell::new(false),
            resets: Cell::new(0),
            cells,
            heading: Cell::new(true),
            since: Cell::new(Instant::now()),
            shut: Cell::new(false),
            waker: RefCell::default(),
        };
        line.comes_from(peer);
        line
    }

    /// The client is at `peer`.
    pub fn comes_from(&self, peer: IpAddr) {
        let peer = peer.to_canonical();
        self.peer.set(peer);
        if let Ok(text) = HeaderValue::from_str(&peer.to_string()) {
            *self.peer_text.borrow_mut() = text;
        }
    }

    /// Waits for `future`, but not longer than the line lasts.
    pub async fn unless_shut<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if self.attend(cx.waker()) {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// The same, but not longer than the line may begin something new either.
    pub async fn unless_closing<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        self.unless_shut(std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.last.get() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }))
        .await
        .flatten()
    }

    /// It is encrypted from `now` on; a request may take its whole time from here.
    pub fn encrypted(&self, now: Instant) {
        self.secure.set(true);
        self.since.set(now);
    }

    /// It speaks HTTP/2.
    pub fn multiplexes(&self) {
        self.multiplexed.set(true);
    }

    /// Counts how its TLS handshake went.
    pub fn shook(&self, handshake: Handshake) {
        self.cells.shook(handshake);
    }

    /// Keeps the waker of the task that serves this line; says whether it shall end at once.
    pub fn attend(&self, waker: &Waker) -> bool {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
        self.shut.get()
    }

    /// Has the task look at what was written down here.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ends the connection.
    pub fn shut(&self) {
        self.shut.set(true);
        self.wake();
    }

    /// Ends the connection after the request under way.
    pub fn close_soon(&self) {
        if !self.last.replace(true) {
            self.wake();
        }
    }

    /// The next answer on it is the last; until then it stays open.
    pub fn leave(&self) {
        self.leaving.set(true);
    }

    /// Ends the connection as soon as nobody notices: after the request under way, or once it has
    /// been idle for `linger`. HTTP/2 can say so at once, and loses no request by it.
    pub fn finish(&self, now: Instant, linger: Duration) {
        self.leave();
        let idle = self.exchanges.borrow().is_empty() && self.tunnels.get() == 0;
        let lingers = now.saturating_duration_since(self.since.get()) <= linger;
        if !(idle && lingers) || self.multiplexed.get() {
            self.close_soon();
        }
    }

    /// A request begins.
    pub fn begins(&self, exchange: &Rc<Exchange>) {
        self.requests.set(self.requests.get() + 1);
        self.exchanges.borrow_mut().push(Rc::clone(exchange));
    }

    /// `exchange` is over.
    pub fn ends(&self, exchange: &Rc<Exchange>, now: Instant) {
        let mut exchanges = self.exchanges.borrow_mut();
        let place = exchanges.iter().position(|current| Rc::ptr_eq(current, exchange));
        if let Some(place) = place {
            exchanges.swap_remove(place);
            if exchanges.is_empty() {
                self.pulse.take_read();
                self.heading.set(false);
                self.since.set(now);
            }
        }
    }

    /// Looks whether something took too long.
    pub fn sweep(&self, now: Instant, timeouts: &Timeouts) {
        if self.multiplexed.get() {
            self.sweep_frames();
        }
        let exchanges = self.exchanges.borrow();
        if exchanges.is_empty() && self.tunnels.get() == 0 {
            return self.sweep_idle(now, timeouts);
        }
        let pulse = Some(&*self.pulse).filter(|_| !self.multiplexed.get());
        for exchange in exchanges.iter() {
            match exchange.sweep(now, pulse) {
                Swept::InTime => {}
                Swept::Cut if self.multiplexed.get() => exchange.wake(),
                Swept::Cut => self.wake(),
                Swept::Stuck => self.shut(),
            }
        }
    }

    /// Looks whether the client floods the connection with what carries nothing.
    fn sweep_frames(&self) {
        let (idle, resets, windows) = self.pulse.take_frames();
        let total = self.resets.get() + u64::from(resets);
        self.resets.set(total);
        let mostly = total > RESETS_TRUSTED && total * 2 > self.requests.get();
        let flood = idle > IDLE_FRAMES_MAX || windows > WINDOWS_MAX;
        if flood || mostly || resets > RESETS_MAX {
            self.cells.floods.fetch_add(1, Ordering::Relaxed);
            self.shut();
        }
    }

    fn sweep_idle(&self, now: Instant, timeouts: &Timeouts) {
        let still = now.saturating_duration_since(self.since.get());
        if self.multiplexed.get() {
            // Pings keep a connection alive, but not busy.
            if still > timeouts.client_idle + timeouts.request_head {
                self.shut();
            } else if still > timeouts.client_idle && !self.last.get() {
                self.close_soon();
            }
            return;
        }
        if self.pulse.take_read() && !self.heading.replace(true) {
            self.since.set(now);
            return;
        }
        let limit = if self.heading.get() { timeouts.request_head } else { timeouts.client_idle };
        if still > limit {
            self.shut();
        }
    }

    /// Whether this was the last request that the line may carry.
    pub fn is_used_up(&self, limits: &Limits) -> bool {
        self.leaving.get() || self.requests.get() >= limits.requests_per_connection
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cells.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a look at a request has come to.
enum Swept {
    /// Nothing took too long.
    InTime,
    /// It was cut just now.
    Cut,
    /// It was cut before, and is still there: its connection must go.
    Stuck,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A connection to the upstream is being made.
    Connecting,
    /// It is with the upstream, or on its way there.
    Waiting,
    /// The answer is on its way to the client.
    Answering,
}

/// Why a request was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The upstream took too long to connect, to answer, or to go on.
    Upstream,
    /// The client did not go on.
    Client,
    /// It took too long as a whole.
    Total,
    /// An event stream of a release that lost ends here.
    Stream,
}

/// What the client did wrong in the body of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not HTTP, or it ended early.
    Broken,
    /// It is larger than allowed.
    TooLarge,
}

/// A request under way.
#[derive(Debug)]
pub struct Exchange {
    /// Whether it shares its connection with others.
    multiplexed: bool,
    /// When its head had been read.
    pub begun: Instant,
    /// When all of it had been given to the upstream.
    pub handed: Cell<Option<Instant>>,
    /// Where it stands.
    pub stage: Cell<Stage>,
    /// When it came there, or when bytes of a body last moved.
    pub since: Cell<Instant>,
    /// Whether bytes of a body moved since the last sweep.
    pub moved: Cell<bool>,
    /// Whether the request's body waits for the client.
    pub client_owes: Cell<bool>,
    /// Whether the answer's body waits for the upstream.
    pub upstream_owes: Cell<bool>,
    /// Whether the client asks for another protocol.
    pub asks_upgrade: Cell<bool>,
    /// Whether the answer is an event stream.
    pub is_stream: Cell<bool>,
    /// What the client did wrong.
    pub fault: Cell<Option<Fault>>,
    /// When it is to end, because its release has lost.
    pub close_at: Cell<Option<Instant>>,
    /// Why it was cut, if it was.
    pub cut: Cell<Option<Cut>>,
    /// The task of its stream, with HTTP/2.
    waker: RefCell<Option<Waker>>,
    cut_at: Cell<Option<Instant>>,
    /// How it is counted.
    pub tally: Tally,
    /// The tier, as it was when the request came.
    pub tier: Rc<TierView>,
    /// The address of the client.
    pub client: IpAddr,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(handed) = self.handed.get() {
            self.tally.abandons(handed.elapsed());
        }
    }
}

impl Exchange {
    /// A request whose head was read at `begun`.
    pub fn new(
        begun: Instant,
        tally: Tally,
        tier: Rc<TierView>,
        client: IpAddr,
        multiplexed: bool,
    ) -> Self {
        Self {
            multiplexed,
            begun,
            handed: Cell::new(None),
            stage: Cell::new(Stage::Connecting),
            since: Cell::new(begun),
            moved: Cell::new(false),
            client_owes: Cell::new(false),
            upstream_owes: Cell::new(false),
            asks_upgrade: Cell::new(false),
            is_stream: Cell::new(false),
            fault: Cell::new(None),
            close_at: Cell::new(None),
            cut: Cell::new(None),
            waker: RefCell::default(),
            cut_at: Cell::new(None),
            tally,
            tier,
            client,
        }
    }

    /// It comes to `stage`.
    pub fn enters(&self, stage: Stage, now: Instant) {
        self.stage.set(stage);
        self.since.set(now);
    }

    /// Ends it, an event stream, at a random time within `span`.
    pub fn end_within(&self, span: Duration, now: Instant) {
        let at = now + random::part_of(span);
        if self.close_at.get().is_none_or(|before| at < before) {
            self.close_at.set(Some(at));
        }
        if span.is_zero() {
            self.cut.set(Some(Cut::Stream));
        }
    }

    /// All of the request was given to the upstream.
    pub fn hand_over(&self, now: Instant) {
        self.handed.set(Some(now));
    }

    /// Waits for `future`, but not beyond a cut.
    pub async fn unless_cut<F: Future>(&self, future: F) -> Result<F::Output, Cut> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            self.attend(cx.waker());
            match self.cut.get() {
                Some(cut) => Poll::Ready(Err(cut)),
                None => future.as_mut().poll(cx).map(Ok),
            }
        })
        .await
    }

    /// It is sent once more.
    pub fn starts_anew(&self) {
        self.cut.set(None);
        self.cut_at.set(None);
        self.handed.set(None);
    }

    /// Keeps the waker of the stream's task; with HTTP/1.1 that of the line will do.
    pub fn attend(&self, waker: &Waker) {
        if self.multiplexed {
            let mut kept = self.waker.borrow_mut();
            if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
                *kept = Some(waker.clone());
            }
        }
    }

    /// Has the stream's task look at what was written down here.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Cuts what took too long. Counts what hangs and what streams. `pulse` is that of the
    /// connection, where no other request moves it.
    fn sweep(&self, now: Instant, pulse: Option<&Pulse>) -> Swept {
        if let Some(at) = self.cut_at.get() {
            let stuck = self.multiplexed && now.saturating_duration_since(at) > STUCK;
            return if stuck { Swept::Stuck } else { Swept::InTime };
        }
        let moved = pulse.is_some_and(|pulse| pulse.take_written() | pulse.take_read());
        if moved | self.moved.take() {
            self.since.set(now);
        }
        let still = now.saturating_duration_since(self.since.get());
        let timeouts = &self.tier.table.tier.timeouts;
        let cut = match self.stage.get() {
            Stage::Connecting => (still > timeouts.connect).then_some(Cut::Upstream),
            Stage::Waiting => self.sweep_waiting(now),
            Stage::Answering => {
                if now.saturating_duration_since(self.begun) > timeouts.stream_after {
                    self.tally.streams();
                }
                let owing = if self.upstream_owes.get() { Cut::Upstream } else { Cut::Client };
                (still > timeouts.body_idle).then_some(owing)
            }
        };
        let age = now.saturating_duration_since(self.begun);
        let overdue = timeouts.total.is_some_and(|total| age > total).then_some(Cut::Total);
        let parted = self.close_at.get().is_some_and(|at| now >= at).then_some(Cut::Stream);
        let cut = cut.or(overdue).or(parted).filter(|_| self.cut.get().is_none());
        if cut.is_none() {
            return Swept::InTime;
        }
        self.cut.set(cut);
        self.cut_at.set(Some(now));
        Swept::Cut
    }

    fn sweep_waiting(&self, now: Instant) -> Option<Cut> {
        let Some(handed) = self.handed.get() else {
            let owing = if self.client_owes.get() { Cut::Client } else { Cut::Upstream };
            let still = now.saturating_duration_since(self.since.get());
            return (still > self.tier.table.tier.timeouts.body_idle).then_some(owing);
        };
        let waiting = now.saturating_duration_since(handed);
        let timeouts = &self.tier.table.tier.timeouts;
        if waiting > timeouts.first_byte {
            self.tally.hangs();
        }
        (waiting > timeouts.response_head).then_some(Cut::Upstream)
    }
}
