//! A request under way: where it stands, what it has moved, and why it was cut.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};

use super::Line;
use super::rescue::Chance;
use crate::proxy::added::Added;
use crate::proxy::client::Connection;
use crate::proxy::ending::Ending;
use crate::proxy::http2::Stream;
use crate::proxy::interim;
use crate::proxy::io::Pulse;
use crate::proxy::overlay::Asked;
use crate::proxy::pool::Pool;
use crate::proxy::tally::Tally;
use crate::proxy::traced::{Found, Traced};
use crate::proxy::upgrade::Wish;
use crate::proxy::view::TierView;

/// How long the client of a call below `timeouts.long_polls` may say nothing before the answer begins:
/// events that come every few minutes are usual, and a client that is gone gives its place back.
const CALL_SILENCE_MAX: Duration = Duration::from_mins(15);

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A connection to the upstream is being made.
    Connecting,
    /// It waits, since its tier is held; whoever has it wait times it.
    Held,
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
    /// A canary answers nothing at all, and stable may be asked as well.
    Hanging,
    /// It took too long as a whole.
    Total,
    /// A stream of a release that lost ends here.
    Stream,
}

impl Cut {
    /// Whether an upstream was waited for in vain.
    pub const fn is_of_upstream(self) -> bool {
        match self {
            Self::Hanging | Self::Total | Self::Upstream => true,
            Self::Client | Self::Stream => false,
        }
    }
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
    /// Its task, with HTTP/2; with HTTP/1.1 that of the line is its own.
    stream: Option<Rc<Stream>>,
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
    /// Bytes of the body that is on its way.
    pub carried: Cell<u64>,
    /// For how long its client was waited for.
    pub(super) owed: Cell<Duration>,
    /// When the sweep last looked.
    pub(super) looked: Cell<Instant>,
    /// Whether the request's body waits for the client.
    pub client_owes: Cell<bool>,
    /// Whether the answer's body waits for the upstream.
    pub upstream_owes: Cell<bool>,
    /// What is added to its head on the way to the upstream.
    pub added: RefCell<Added>,
    /// The other protocol that the client asks for.
    pub wish: RefCell<Option<Box<Wish>>>,
    /// The slot of the release that its conditions are about, where that is known.
    pub conditions_of: Cell<Option<usize>>,
    /// The Host that it asked for, once a release has been told another.
    pub host: RefCell<Option<HeaderValue>>,
    /// What it asked with, where versions do not share all cookies.
    pub cookies: RefCell<Option<Asked>>,
    /// Whether the answer may go on for ever: an event stream, or a call of gRPC.
    pub is_stream: Cell<bool>,
    /// The connections among which that of such an answer is.
    pub streams_by: RefCell<Option<Rc<Pool>>>,
    /// Whether it is a call of gRPC.
    pub is_grpc: Cell<bool>,
    /// Whether it came as a call of gRPC, and its upstream can take one: its client may send a little
    /// now and then for hours before anything is answered.
    pub is_call: Cell<bool>,
    /// Whom stable is asked instead of, where nothing is answered in time.
    pub(super) chance: RefCell<Option<Chance>>,
    /// What the client did wrong.
    pub fault: Cell<Option<Fault>>,
    /// When it is to end, because its release has lost.
    pub(super) ending: Ending,
    /// Why it was cut, if it was.
    pub cut: Cell<Option<Cut>>,
    /// The connection on which its client may be told what comes before the answer.
    pub hears: Option<Weak<Line>>,
    /// Whether its client comes in also where the tier is closed.
    pub insider: bool,
    /// What is noted of it, if it is traced.
    pub traced: Option<Box<Traced>>,
    /// How it is counted.
    pub tally: Tally,
    /// The tier, as it was when the request came.
    pub tier: Rc<TierView>,
    /// The address of the client.
    pub client: IpAddr,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(handed) = self.handed.get()
            && self.tally.is_open()
        {
            self.tally.abandons(handed.elapsed());
        }
    }
}

impl Exchange {
    /// A request of `client` whose head was read at `begun`, with HTTP/2 on a stream of its own. One
    /// that is on no line is timed by who makes it.
    pub fn new(
        stream: Option<Rc<Stream>>,
        begun: Instant,
        tally: Tally,
        tier: Rc<TierView>,
        client: IpAddr,
    ) -> Self {
        Self {
            stream,
            begun,
            handed: Cell::new(None),
            stage: Cell::new(Stage::Connecting),
            since: Cell::new(begun),
            moved: Cell::new(false),
            carried: Cell::new(0),
            owed: Cell::default(),
            looked: Cell::new(begun),
            client_owes: Cell::new(false),
            upstream_owes: Cell::new(false),
            added: RefCell::default(),
            wish: RefCell::default(),
            conditions_of: Cell::new(None),
            host: RefCell::default(),
            cookies: RefCell::default(),
            is_stream: Cell::new(false),
            streams_by: RefCell::default(),
            is_grpc: Cell::new(false),
            is_call: Cell::new(false),
            chance: RefCell::default(),
            fault: Cell::new(None),
            ending: Ending::default(),
            cut: Cell::new(None),
            hears: None,
            insider: false,
            traced: None,
            tally,
            tier,
            client,
        }
    }

    /// Whether the client asks for another protocol.
    pub fn asks_upgrade(&self) -> bool {
        self.wish.borrow().is_some()
    }

    /// Whether the client asks for a WebSocket.
    pub fn asks_web_socket(&self) -> bool {
        self.wish.borrow().as_ref().is_some_and(|wish| wish.is_web_socket())
    }

    /// Whether an answer with `headers` that changes protocol does what the client asks for.
    pub fn is_granted(&self, headers: &HeaderMap) -> bool {
        self.wish.borrow().as_ref().is_some_and(|wish| wish.is_granted(headers))
    }

    /// Whether that can be had through `connection`, by a request that is `whole` with its head.
    pub fn may_have(&self, connection: &Connection, whole: bool) -> bool {
        let wish = self.wish.borrow();
        // Any other protocol may be left alone, and is.
        let granted = |wish: &Wish| !wish.is_web_socket() || (connection.tunnels() && whole);
        !connection.is_shared() || wish.as_deref().is_none_or(granted)
    }

    /// Makes `headers` those of an answer that grants it.
    pub fn accept(&self, headers: &mut HeaderMap) {
        if let Some(wish) = &*self.wish.borrow() {
            wish.accept(headers);
        }
    }

    /// It comes to `stage`.
    pub fn enters(&self, stage: Stage, now: Instant) {
        if stage == Stage::Answering {
            // Another body, and no longer what the client was slow with before.
            self.carried.set(0);
            self.owed.set(Duration::ZERO);
            self.looked.set(now);
        }
        self.stage.set(stage);
        self.since.set(now);
    }

    /// Bytes of a body have moved.
    pub fn carries(&self, bytes: usize) {
        self.moved.set(true);
        self.carried.set(self.carried.get().saturating_add(bytes as u64));
    }

    /// All of the request was given to the upstream.
    pub fn hand_over(&self, now: Instant) {
        self.handed.set(Some(now));
    }

    /// The cache of answers was looked into for it, or passed by.
    pub fn looks_up(&self, found: Found) {
        if let Some(traced) = &self.traced {
            traced.looks_up(found);
        }
    }

    /// Its upstream says something before the answer (1xx).
    pub fn foretells(&self, status: StatusCode, fields: HeaderMap) {
        self.is_answered();
        if let Some(line) = self.hears.as_ref().and_then(Weak::upgrade)
            && let Some(head) = interim::head(status, fields)
        {
            line.foretells(&head);
        }
    }

    /// Waits for `future`, but not beyond a cut. It is pinned by the caller, since an `async fn`
    /// would hold it twice, and what holds it is moved about for each request.
    pub fn unless_cut<F: Future + Unpin>(
        &self,
        mut future: F,
    ) -> impl Future<Output = Result<F::Output, Cut>> {
        std::future::poll_fn(move |cx| match self.cut.get() {
            Some(cut) => Poll::Ready(Err(cut)),
            None => Pin::new(&mut future).poll(cx).map(Ok),
        })
    }

    /// It is sent once more.
    pub fn starts_anew(&self) {
        self.cut.set(None);
        self.handed.set(None);
    }

    /// Whether it shares its connection with others.
    pub const fn is_multiplexed(&self) -> bool {
        self.stream.is_some()
    }

    /// Has its task on `line` look at what was written down here.
    pub fn wake(&self, line: &Line) {
        match &self.stream {
            None => line.wake(),
            Some(stream) if self.cut.get().is_some() && self.stage.get() == Stage::Answering => {
                stream.end();
            }
            Some(stream) => stream.wake(),
        }
    }

    /// Cuts what took too long; says whether it did. Counts what hangs and what streams. `pulse` is
    /// that of the connection, where no other request moves it.
    pub(super) fn sweep(&self, now: Instant, pulse: Option<&Pulse>) -> bool {
        let moved = pulse.is_some_and(|pulse| pulse.take_written() | pulse.take_read());
        if moved | self.moved.take() {
            self.since.set(now);
        }
        let still = now.saturating_duration_since(self.since.get());
        let timeouts = &self.tier.table.tier.timeouts;
        let cut = match self.stage.get() {
            Stage::Connecting => (still > timeouts.connect).then_some(Cut::Upstream),
            Stage::Held => None,
            Stage::Waiting => self.sweep_waiting(now),
            Stage::Answering => {
                if now.saturating_duration_since(self.begun) > timeouts.stream_after {
                    self.tally.streams();
                }
                let owing = if self.upstream_owes.get() { Cut::Upstream } else { Cut::Client };
                // Silence is the nature of some answers; of dead peers the kernel knows.
                let rests =
                    owing == Cut::Upstream && (self.is_stream.get() || self.tally.is_long());
                (still > timeouts.body_idle && !rests).then_some(owing)
            }
        };
        let age = now.saturating_duration_since(self.begun);
        let overdue = timeouts.total.is_some_and(|total| age > total).then_some(Cut::Total);
        let parted = self.has_parted(now).then_some(Cut::Stream);
        let behind = self.clock(now);
        let cut = cut.or(behind).or(overdue).or(parted).filter(|_| self.cut.get().is_none());
        if cut.is_some() {
            self.cut.set(cut);
            self.slow().into_iter().for_each(|with| self.tier.cells.was_slow(with));
        }
        cut.is_some()
    }

    fn sweep_waiting(&self, now: Instant) -> Option<Cut> {
        let Some(handed) = self.handed.get() else {
            let owing = if self.client_owes.get() { Cut::Client } else { Cut::Upstream };
            let still = now.saturating_duration_since(self.since.get());
            let body_idle = self.tier.table.tier.timeouts.body_idle;
            let talks = self.is_call.get() && self.tally.is_long();
            return (still > silence_max(body_idle, talks)).then_some(owing);
        };
        if self.tally.is_long() {
            return None;
        }
        let waiting = now.saturating_duration_since(handed);
        let timeouts = &self.tier.table.tier.timeouts;
        if waiting > timeouts.first_byte {
            self.tally.hangs();
            if self.is_to_be_rescued() {
                return Some(Cut::Hanging);
            }
        }
        (waiting > timeouts.response_head).then_some(Cut::Upstream)
    }
}

/// How long the body of a request may pause; that of one who `talks`, now and then, for longer.
fn silence_max(body_idle: Duration, talks: bool) -> Duration {
    if talks { body_idle.max(CALL_SILENCE_MAX) } else { body_idle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_may_pause_for_minutes_and_not_for_ever() {
        let minutes = Duration::from_mins;
        assert_eq!(silence_max(minutes(1), false), minutes(1));
        assert_eq!(silence_max(minutes(1), true), CALL_SILENCE_MAX);
        assert_eq!(silence_max(minutes(60), true), minutes(60), "it never takes away");
        assert!(CALL_SILENCE_MAX >= minutes(5) && CALL_SILENCE_MAX < minutes(60));
    }
}
