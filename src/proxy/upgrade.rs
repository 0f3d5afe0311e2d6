//! Upgraded connections (web sockets and the like): bytes both ways until one side ends, or the
//! release has lost. Then a WebSocket is told so: 1001, going away, to both sides, behind the frame
//! that is under way.

mod frames;
mod pump;
mod wish;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::client::Upgrading;
use super::ending::Ending;
use super::io::{Io, Socket};
use super::line::Line;
use super::place::Place;
use super::pool::{Busy, Pool, Seat};
use super::view::View;
use super::worker::Worker;
use crate::traffic::TierName;
use pump::Pump;
pub use pump::{Chunk, chunk};
pub use wish::Wish;

/// How long one side may say nothing after the other has ended.
const HALF_OPEN_MAX: Duration = Duration::from_secs(10);

/// How long a frame that is under way may take to its end once the tunnel is to be closed. Whoever
/// needs longer for one frame loses it, and is not told why: a goodbye in the middle of it would be
/// taken for a part of it.
const FRAME_MAX: Duration = Duration::from_secs(5);

/// How long the sides have to say goodbye in turn. A client that is busy or far away must first
/// read what was on its way to it: a connection that is closed earlier may be reset, and then it
/// never reads why.
const REPLY_MAX: Duration = Duration::from_secs(10);

/// An upgraded connection.
#[derive(Debug)]
pub struct Tunnel {
    tier: TierName,
    release: usize,
    /// The connections among which it began.
    pool: Rc<Pool>,
    preview: bool,
    insider: bool,
    line: Rc<Line>,
    ending: Ending,
    stage: Cell<Stage>,
    /// Since when one side has ended, or when the other has last said something after that.
    half_since: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
}

/// How far a tunnel has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It passes bytes.
    Open,
    /// Since then it waits for the frames under way to end, and says goodbye.
    Parting(Instant),
    /// Since then both sides have been told.
    Told(Instant),
    /// Nobody is waited for any more.
    Over,
}

impl Tunnel {
    /// Gives it an end if its release has lost by the table of `view`, if its upstream has left it, or
    /// if its tier is closed and
    /// nothing shall stay open.
    pub fn follow(&self, view: &View, now: Instant) {
        let over = match view.tier(&self.tier) {
            None => Duration::ZERO,
            Some(tier) if tier.table.access.closes() && !self.insider => {
                tier.table.tier.timeouts.drain
            }
            Some(tier) if self.pool.has_left() => tier.table.close_over,
            Some(tier) if tier.serves(self.release) => return,
            Some(tier)
                if self.preview
                    && tier.releases().any(|kept| kept.release.slot == self.release) =>
            {
                return;
            }
            Some(tier) => tier.table.close_over,
        };
        self.close_within(over, now);
    }

    /// Closes it at a random time within `span`, sooner than it would otherwise be.
    pub fn close_within(&self, span: Duration, now: Instant) {
        if self.ending.within(span, now) <= now {
            self.close(now);
        }
    }

    /// Closes it.
    pub fn close(&self, now: Instant) {
        if self.stage.get() == Stage::Open {
            self.enters(Stage::Parting(now));
        }
    }

    /// Closes it if it is time.
    pub fn sweep(&self, now: Instant) {
        let is_longer = |since, limit| now.saturating_duration_since(since) > limit;
        match self.stage.get() {
            Stage::Open => {
                let half = |since| is_longer(since, HALF_OPEN_MAX);
                let due = self.ending.at().is_some_and(|at| now >= at);
                if due || self.half_since.get().is_some_and(half) {
                    self.close(now);
                }
            }
            Stage::Parting(since) if is_longer(since, FRAME_MAX) => self.enters(Stage::Over),
            Stage::Told(since) if is_longer(since, REPLY_MAX) => self.enters(Stage::Over),
            Stage::Parting(_) | Stage::Told(_) | Stage::Over => {}
        }
    }

    fn enters(&self, stage: Stage) {
        self.stage.set(stage);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Pumps between `client` and `upstream` once both have changed protocol.
pub fn start(
    worker: &Rc<Worker>,
    line: &Rc<Line>,
    place: &Place,
    client: OnUpgrade,
    upstream: Upgrading,
    held: (Busy, Rc<Seat>),
    websocket: bool,
) {
    line.tunnels.set(line.tunnels.get() + 1);
    let tunnel = Rc::new(Tunnel {
        tier: place.tier.table.tier.name.clone(),
        release: place.release.release.slot,
        pool: Rc::clone(&held.0.upstream.pool),
        preview: place.preview,
        insider: place.insider,
        line: Rc::clone(line),
        ending: Ending::default(),
        stage: Cell::new(Stage::Open),
        half_since: Cell::new(None),
        waker: RefCell::default(),
    });
    worker.tunnels.borrow_mut().push(Rc::clone(&tunnel));
    let open = Open { worker: Rc::clone(worker), tunnel, place: place.clone() };
    place.release.writer.upgrade_opened();
    // The table may have moved since the request was sent.
    open.tunnel.follow(&worker.view(), Instant::now());
    tokio::task::spawn_local(async move {
        if let (Ok(client), Some(upstream)) = (client.await, upstream.finish().await) {
            let (client, early) = match client.downcast::<Io>() {
                Ok(parts) => (parts.io.socket, parts.read_buf),
                Err(stream) => (Socket::Stream(Box::new(TokioIo::new(stream))), Bytes::new()),
            };
            let (client, _hold) = ((client, &*early), upstream.hold);
            let upstream = (upstream.socket, &*upstream.early);
            let pump = Pump::new(&open.worker.chunk, client, upstream, websocket);
            pump.run(&open.tunnel).await;
        }
        drop((open, held));
    });
}

/// Counts a tunnel as open until its task ends, however it ends.
struct Open {
    worker: Rc<Worker>,
    tunnel: Rc<Tunnel>,
    place: Place,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.place.release.writer.upgrade_closed();
        let mut tunnels = self.worker.tunnels.borrow_mut();
        tunnels.retain(|tunnel| !Rc::ptr_eq(tunnel, &self.tunnel));
        let line = &self.tunnel.line;
        line.tunnels.set(line.tunnels.get().saturating_sub(1));
    }
}
