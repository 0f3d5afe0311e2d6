//! A client's connection and the request on it, as the sweep sees them.
//!
//! No request has a timer of its own. Handler and bodies write down here what goes on; the sweep
//! looks at every line a few times a second, and cuts what has taken too long.

mod exchange;
mod parting;
mod rescue;
mod standing;

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::http2::Stream;
use super::io::{Pulse, Socket};
use crate::metrics::{Flood, Handshake, Slow, TierCells};
use crate::traffic::{Limits, Listen, Timeouts};
pub use exchange::{Cut, Exchange, Fault, Stage};
pub use standing::Waste;

/// Requests that a client of HTTP/2 may take back, for each that may be under way at once: a browser
/// that goes to another page takes back all of them, and at once those of the next.
const RESETS_PER_STREAM: u32 = 2;

/// How long a connection is still until it rests: waking up costs a little, and most who ask for more
/// do so within this time.
const REST_AFTER: Duration = Duration::from_secs(1);

/// Longest address as it is written, in bytes: eight groups of four digits, and colons between them.
const ADDRESS_BYTES_MAX: usize = 39;

/// Calls of gRPC whose clients may say little, on one connection at once: each holds its place among
/// `limits.connections`, and an app streams up a few at once. What is more is a body like any other.
const CALLS_MAX: usize = 16;

/// So few may be under way at once, and still as many as this may be taken back.
const STREAMS_MIN: u32 = 100;

/// How many of them are forgotten by each sweep.
const RESETS_FORGOTTEN: u32 = 5;

/// How long a client of HTTP/2 has to leave once it was told to: it must say that it has heard
/// (RFC 9113, section 6.8), and may be gone.
const GOODBYE: Duration = Duration::from_secs(2);

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
    /// Whether its client may still be sending when it is closed, with HTTP/1.1.
    pub lingers: Cell<bool>,
    /// Whether it is encrypted.
    pub secure: Cell<bool>,
    /// Whether it speaks HTTP/2, and carries many requests at once.
    pub multiplexed: Cell<bool>,
    /// The stream that runs just now, with HTTP/2.
    stream: RefCell<Option<Rc<Stream>>>,
    /// Requests that were taken back, less those that came to their end and those forgotten.
    resets: Cell<u32>,
    resets_most: Cell<u32>,
    /// Since when the client owes the rest of a head, with HTTP/2.
    head_since: Cell<Option<Instant>>,
    /// When the client was told to leave, with HTTP/2.
    told: Cell<Option<Instant>>,
    cells: Arc<TierCells>,
    heading: Cell<bool>,
    since: Cell<Instant>,
    shut: Cell<bool>,
    /// Whether it shall rest until something comes in.
    rests: Cell<bool>,
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
            lingers: Cell::new(false),
            secure: Cell::new(false),
            multiplexed: Cell::new(false),
            stream: RefCell::default(),
            resets: Cell::new(0),
            resets_most: Cell::new(0),
            head_since: Cell::new(None),
            told: Cell::new(None),
            cells,
            heading: Cell::new(true),
            since: Cell::new(Instant::now()),
            shut: Cell::new(false),
            rests: Cell::new(false),
            waker: RefCell::default(),
        };
        line.comes_from(peer);
        line
    }

    /// The client is at `peer`.
    pub fn comes_from(&self, peer: IpAddr) {
        let peer = peer.to_canonical();
        self.peer.set(peer);
        let mut text = [0; ADDRESS_BYTES_MAX];
        let mut rest = &mut text[..];
        if write!(rest, "{peer}").is_ok() {
            let left = rest.len();
            if let Ok(text) = HeaderValue::from_bytes(&text[..ADDRESS_BYTES_MAX - left]) {
                *self.peer_text.borrow_mut() = text;
            }
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

    /// It speaks HTTP/2 from `now` on.
    pub fn multiplexes(&self, limits: &Limits, now: Instant) {
        self.multiplexed.set(true);
        self.resets_most.set(limits.streams.max(STREAMS_MIN) * RESETS_PER_STREAM);
        self.heading.set(false);
        self.head_since.set(Some(now));
        self.since.set(now);
    }

    /// Whether the client owes the rest of a head, with HTTP/2.
    pub fn is_within_head(&self, is: bool, now: Instant) {
        let since = is.then(|| self.head_since.get().unwrap_or(now));
        self.head_since.set(since);
    }

    /// `stream` runs from here on.
    pub fn runs(&self, stream: Option<Rc<Stream>>) {
        *self.stream.borrow_mut() = stream;
    }

    /// The stream that runs just now, with HTTP/2.
    pub fn stream(&self) -> Option<Rc<Stream>> {
        self.stream.borrow().clone()
    }

    /// Whether there are too many requests of HTTP/2 on their way to take one more: they are
    /// bounded like connections, each of which is one request with HTTP/1.1.
    pub fn is_crowded(&self, limits: &Limits) -> bool {
        let crowded = self.multiplexed.get()
            && self.cells.streams.load(Ordering::Relaxed) >= limits.connections;
        if crowded {
            self.cells.refused_streams.fetch_add(1, Ordering::Relaxed);
        }
        crowded
    }

    /// The client floods it: it ends, and that is counted.
    pub fn flooded(&self, flood: Flood) {
        if self.shut.get() {
            return;
        }
        let count = self.cells.flooded(flood);
        let (listen, peer, with) = (&self.listen, self.peer.get(), flood.name());
        // At 1, 2, 4, 8 ..: seen at once, and never a flood of its own.
        if count.is_power_of_two() {
            tracing::warn!(%listen, %peer, with, count, "a client floods Weir by HTTP/2; cut off");
        }
        self.shut();
    }

    /// What came in is no request that may be passed on, for this `reason`.
    pub fn refuses(&self, reason: &dyn Display) {
        let count = self.cells.refused_requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (listen, peer) = (&self.listen, self.peer.get());
        // See `flooded`.
        if count.is_power_of_two() {
            tracing::info!(%listen, %peer, %reason, count, "a request was refused");
        }
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

    /// An upstream says something before its answer, with HTTP/1.1.
    pub fn foretells(&self, head: &[u8]) {
        if self.pulse.foretell(head) {
            // hyper writes it the next time it looks.
            self.wake();
        }
    }

    /// A request begins.
    pub fn begins(&self, exchange: &Rc<Exchange>) {
        self.requests.set(self.requests.get() + 1);
        self.lingers.set(false);
        self.exchanges.borrow_mut().push(Rc::clone(exchange));
        if self.multiplexed.get() {
            self.cells.streams.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `exchange` is over; `taken_back` if the client did not wait for the end.
    ///
    /// Who takes back most of what it asks for makes work and waits for nothing: rapid reset
    /// (CVE-2023-44487), or "made you reset" (CVE-2025-8671), where it has Weir do it.
    pub fn ends(&self, exchange: &Rc<Exchange>, now: Instant, taken_back: bool) {
        let mut exchanges = self.exchanges.borrow_mut();
        let place = exchanges.iter().position(|current| Rc::ptr_eq(current, exchange));
        let Some(place) = place else {
            return;
        };
        exchanges.swap_remove(place);
        if exchange.handed.get().is_none() {
            self.lingers.set(true);
        }
        if exchanges.is_empty() {
            self.pulse.take_read();
            self.heading.set(false);
            self.since.set(now);
        }
        if !self.multiplexed.get() {
            return;
        }
        self.cells.streams.fetch_sub(1, Ordering::Relaxed);
        if taken_back {
            self.is_taken_back();
        } else {
            self.resets.set(self.resets.get().saturating_sub(1));
        }
    }

    /// One more request was taken back, with HTTP/2.
    pub fn is_taken_back(&self) {
        self.resets.set(self.resets.get() + 1);
        if self.resets.get() > self.resets_most.get() {
            self.flooded(Flood::Resets);
        }
    }

    /// Looks whether something took too long.
    pub fn sweep(&self, now: Instant, timeouts: &Timeouts) {
        let many = self.multiplexed.get();
        let exchanges = self.exchanges.borrow();
        // Bytes on a connection that others share say nothing of a request.
        let pulse = Some(&*self.pulse).filter(|_| !many);
        let mut calls = 0;
        for exchange in exchanges.iter() {
            calls += usize::from(exchange.is_calling());
            if calls > CALLS_MAX {
                exchange.is_call.set(false);
            }
            if exchange.sweep(now, pulse) {
                exchange.wake(self);
            }
        }
        let idle = exchanges.is_empty() && self.tunnels.get() == 0;
        drop(exchanges);
        if many {
            self.sweep_streams(now, timeouts, idle);
        } else if idle {
            self.sweep_idle(now, timeouts);
        }
    }

    fn sweep_streams(&self, now: Instant, timeouts: &Timeouts, idle: bool) {
        self.resets.set(self.resets.get().saturating_sub(RESETS_FORGOTTEN));
        let for_longer = |since, limit| now.saturating_duration_since(since) > limit;
        if self.head_since.get().is_some_and(|since| for_longer(since, timeouts.request_head)) {
            self.cells.was_slow(Slow::Head);
            return self.shut();
        }
        // Pings keep a connection alive, but not busy.
        if idle && for_longer(self.since.get(), timeouts.client_idle) && !self.last.get() {
            self.close_soon();
        }
        if self.last.get() {
            let told = self.told.get().unwrap_or(now);
            self.told.set(Some(told));
            if idle && for_longer(told, GOODBYE) {
                self.shut();
            }
        }
    }

    fn sweep_idle(&self, now: Instant, timeouts: &Timeouts) {
        if self.pulse.take_read() && !self.heading.replace(true) {
            self.since.set(now);
        }
        let limit = if self.heading.get() { timeouts.request_head } else { timeouts.client_idle };
        let still = now.saturating_duration_since(self.since.get());
        if still > limit && !self.shut.get() {
            if self.heading.get() {
                self.cells.was_slow(Slow::Head);
            }
            self.shut();
        } else if still > REST_AFTER && self.pulse.is_still() && !self.rests.replace(true) {
            self.wake();
        }
    }

    /// Whether it has been still for so long that all it holds but its socket can be given back.
    pub fn rests(&self) -> bool {
        if !self.rests.get() {
            return false;
        }
        let idle = self.exchanges.borrow().is_empty() && self.tunnels.get() == 0;
        let rests = idle && self.pulse.is_still() && !self.shut.get() && !self.last.get();
        self.rests.set(rests);
        rests
    }

    /// Rests until something comes in on `socket`; says whether it did.
    pub async fn rest(&self, socket: &Socket) -> bool {
        let _resting = Resting::new(&self.cells);
        let comes = self.unless_closing(std::future::poll_fn(|cx| socket.poll_comes(cx)));
        let comes = comes.await.is_some();
        self.rests.set(false);
        comes
    }

    /// Whether this was the last request that the line may carry.
    pub fn is_used_up(&self, limits: &Limits) -> bool {
        self.leaving.get() || self.requests.get() >= limits.requests_per_connection
    }
}

/// A connection at rest, counted until it is dropped.
struct Resting<'a>(&'a TierCells);

impl<'a> Resting<'a> {
    fn new(cells: &'a TierCells) -> Self {
        cells.resting.fetch_add(1, Ordering::Relaxed);
        Self(cells)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.resting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cells.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
