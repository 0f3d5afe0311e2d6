//! Idle connections, a stack per upstream and worker, and the requests on their way to it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::client::Connection;
use super::view::{ReleaseView, UpstreamView};

/// A connection that was used before.
#[derive(Debug)]
pub struct Kept {
    /// The connection.
    pub connection: Connection,
    since: Instant,
}

impl Kept {
    /// How long it has been idle.
    pub fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
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
    }
}

impl UpstreamView {
    /// The connection that was idle for the shortest time, if one is open. One that carries many
    /// requests at once stays where it is.
    pub fn take(&self) -> Option<Kept> {
        let mut idle = self.idle.borrow_mut();
        while let Some(kept) = idle.pop() {
            if kept.connection.is_closed() {
                continue;
            }
            if let Some(connection) = kept.connection.share() {
                idle.push(Kept { connection, since: kept.since });
            }
            return Some(kept);
        }
        None
    }

    /// Keeps `connection` for the next request, unless there are `most` already.
    pub fn keep(&self, connection: Connection, now: Instant, most: usize) {
        let mut idle = self.idle.borrow_mut();
        if !connection.is_closed() && idle.len() < most {
            idle.push(Kept { connection, since: now });
        }
    }

    /// Closes what has been idle for longer than `limit`.
    pub fn sweep(&self, now: Instant, limit: Duration) {
        self.idle
            .borrow_mut()
            .retain(|kept| !kept.connection.is_closed() && kept.idle(now) <= limit);
    }
}
