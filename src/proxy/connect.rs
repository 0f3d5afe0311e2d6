//! A connection for a request: one that is kept, one that is shared, one that was waited for, or a
//! new one, within what an upstream may have of them.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use http::Request;

use super::body::RequestBody;
use super::client::Connection;
use super::dial::{self, Wish};
use super::forward::repeats;
use super::line::{Exchange, Stage};
use super::place::Place;
use super::pool::{Found, Kind, Link, Opening, Seat, Waiting};
use super::view::UpstreamView;
use super::worker::Worker;
use crate::traffic::Scheme;

/// Why there is no connection.
#[derive(Debug)]
pub enum Unreached {
    /// The upstream has as many connections as it may, and as many requests wait for one.
    Full,
    /// It cannot be reached.
    Failed(io::Error),
}

impl From<io::Error> for Unreached {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// What waiting came to.
enum Turn {
    Kept(Found),
    New(Rc<Seat>),
}

/// A request on its way to a connection.
#[derive(Debug)]
pub struct Seeker<'a> {
    /// Who seeks.
    pub worker: &'a Worker,
    /// The request under way.
    pub exchange: &'a Exchange,
    /// Where it goes.
    pub place: &'a Place,
    /// The request.
    pub request: &'a Request<RequestBody>,
    /// Whose connections are asked for.
    pub upstream: &'a Rc<UpstreamView>,
}

impl Seeker<'_> {
    /// A connection, and whether it may have been dead already: it was used before and was idle.
    /// `fresh` wants a new one, if one may be opened.
    ///
    /// # Errors
    /// There are too many, or none can be opened in time.
    pub async fn connect(&self, fresh: bool, now: Instant) -> Result<(Link, bool), Unreached> {
        self.exchange.enters(Stage::Connecting, now);
        match self.kept(fresh, now) {
            Some(found) if !self.is_doubtful(&found) && found.link.connection.is_ready() => {
                Ok((found.link, found.is_alone))
            }
            // Boxed, since few requests need it, and none shall carry its weight.
            first => Box::pin(self.search(first, fresh, now)).await,
        }
    }

    /// The same with `first`, which has to be looked at or waited for, and whatever comes next.
    async fn search(
        &self,
        first: Option<Found>,
        fresh: bool,
        now: Instant,
    ) -> Result<(Link, bool), Unreached> {
        let kind = self.kind();
        let mut next = first;
        while let Some(found) = next {
            if let Some(usable) = self.usable(found).await? {
                return Ok(usable);
            }
            next = self.kept(fresh, now);
        }
        let waiting = Waiting::at(self.upstream, self.limits()).ok_or(Unreached::Full)?;
        loop {
            let turn = pin!(self.turn(&waiting, kind, fresh));
            match self.exchange.unless_cut(turn).await.map_err(late)? {
                Turn::Kept(found) => {
                    if let Some((link, reused)) = self.usable(found).await? {
                        // Were it taken for dead once more, there would be no end.
                        return Ok((link, reused && !fresh));
                    }
                }
                Turn::New(seat) => {
                    waiting.advance();
                    let opened = pin!(self.open(seat, kind));
                    let opened = self.exchange.unless_cut(opened).await;
                    return Ok((opened.map_err(late)??, false));
                }
            }
        }
    }

    fn kind(&self) -> Kind {
        let told = self.place.release.release.proxy_protocol;
        // Who speaks HTTP/2 alone may take a WebSocket by it, who speaks both is asked by HTTP/1.1.
        let single = self.exchange.asks_upgrade() && self.upstream.address.scheme != Scheme::H2c;
        Kind { client: told.then_some(self.exchange.client), single }
    }

    fn limits(&self) -> &crate::traffic::Limits {
        &self.place.tier.table.tier.limits
    }

    /// A connection that was used before, unless others wait for one or it must be `fresh`.
    fn kept(&self, fresh: bool, now: Instant) -> Option<Found> {
        let pool = &self.upstream.pool;
        if fresh || pool.has_line() { None } else { pool.take(self.kind(), now) }
    }

    /// Whether it has to be looked at first: a request that may not be repeated takes none without
    /// that which was idle for long.
    fn is_doubtful(&self, found: &Found) -> bool {
        found.idle > self.place.tier.table.tier.timeouts.reuse_idle && !repeats(self.request)
    }

    /// A connection that was used before, if it is still good for this request.
    async fn usable(&self, mut found: Found) -> Result<Option<(Link, bool)>, Unreached> {
        let doubtful = self.is_doubtful(&found);
        let connection = &mut found.link.connection;
        let open = (!doubtful || connection.look().await)
            && (connection.is_ready()
                || self.exchange.unless_cut(pin!(connection.ready())).await.map_err(late)?);
        if open {
            return Ok(Some((found.link, found.is_alone)));
        }
        self.place.release.writer.stale_connection();
        Ok(None)
    }

    /// Waits in line until a connection is there, or one may be opened.
    async fn turn(&self, waiting: &Waiting, kind: Kind, fresh: bool) -> Turn {
        let (upstream, pool) = (self.upstream, &self.upstream.pool);
        poll_fn(|cx| {
            if waiting.is_first() {
                let kept = || pool.take(kind, Instant::now()).map(Turn::Kept);
                let new = || Seat::take(upstream, kind.client, self.limits()).map(Turn::New);
                // What is about to be there may be shared.
                let awaits = pool.awaits_shared() && !kind.single && !fresh;
                let found = if fresh { new().or_else(kept) } else { kept() };
                let found = found.or_else(|| if awaits { None } else { new() });
                if let Some(turn) = found {
                    return Poll::Ready(turn);
                }
                waiting.listen(cx.waker());
                // Again: one may have been closed before this one listened.
                if let Some(turn) = (!awaits).then(new).flatten() {
                    return Poll::Ready(turn);
                }
            }
            waiting.stand(cx.waker());
            Poll::Pending
        })
        .await
    }

    async fn open(&self, seat: Rc<Seat>, kind: Kind) -> Result<Link, Unreached> {
        let _opening = Opening::new(self.upstream);
        let listen = &self.place.tier.table.tier.listener.listen;
        let wish = Wish {
            header: kind.client.map(|client| dial::proxy_header(Some((client, listen)))),
            single: kind.single,
            patience: self.place.tier.table.tier.timeouts.connect,
        };
        let dialed = self.upstream.dial.connect(&wish).await?;
        seat.leads_to(dialed.remote);
        let link =
            Link::new(Connection::begin(dialed, self.limits(), self.worker.client).await?, seat);
        self.upstream.pool.opened(&link, Instant::now());
        Ok(link)
    }
}

fn late<T>(_: T) -> Unreached {
    Unreached::Failed(io::Error::new(ErrorKind::TimedOut, "took too long to connect"))
}
