//! What is counted of a tier as a whole: connections, handshakes, the keys seen lately.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::keys::Sketch;
use super::recent::{Recent, WarmUp};
use super::waiting::Waiting;

/// How a TLS handshake with a client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// It broke off: no version or cipher in common, no certificate, or no TLS.
    Failed,
    /// It went through, with a certificate.
    Full,
    /// It took too long.
    Late,
    /// The client spoke something else than TLS.
    Plain,
    /// An authority looked whether a name is ours.
    Proof,
    /// It went on with an earlier session.
    Resumed,
}

impl Handshake {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Failed, Self::Full, Self::Late, Self::Plain, Self::Proof, Self::Resumed];

    /// The label of the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Full => "full",
            Self::Late => "timeout",
            Self::Plain => "plain",
            Self::Proof => "proof",
            Self::Resumed => "resumed",
        }
    }
}

/// What a client of HTTP/2 floods Weir with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// DATA frames that carry nothing or next to nothing.
    Data,
    /// Heads without an end, or many times larger than allowed.
    Heads,
    /// Frames that nobody has asked for: PRIORITY, GOAWAY, unknown ones.
    Other,
    /// PING frames.
    Pings,
    /// Requests that are taken back, or that it makes Weir take back.
    Resets,
    /// SETTINGS frames.
    Settings,
    /// `WINDOW_UPDATE` frames.
    Windows,
}

impl Flood {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Data,
        Self::Heads,
        Self::Other,
        Self::Pings,
        Self::Resets,
        Self::Settings,
        Self::Windows,
    ];

    /// The label of the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Heads => "heads",
            Self::Other => "other",
            Self::Pings => "pings",
            Self::Resets => "resets",
            Self::Settings => "settings",
            Self::Windows => "windows",
        }
    }
}

/// What a connection was doing that had to make way for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Displaced {
    /// Sending the body of a request, slowly.
    Body,
    /// Sending the head of a request.
    Head,
    /// Nothing: it was between two requests.
    Idle,
    /// Reading an answer, slowly.
    Read,
}

impl Displaced {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Body, Self::Head, Self::Idle, Self::Read];

    /// The label of the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Read => "read",
        }
    }
}

/// What a client was too slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// The body of a request.
    Body,
    /// The head of a request.
    Head,
    /// Reading an answer.
    Read,
}

impl Slow {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Body, Self::Head, Self::Read];

    /// The label of the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Head => "head",
            Self::Read => "read",
        }
    }
}

/// What became of a file that a version did not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallthrough {
    /// The other version has it.
    Found,
    /// The other has it neither.
    Missed,
    /// The other could not be asked, or gave no answer.
    Unasked,
}

impl Fallthrough {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Found, Self::Missed, Self::Unasked];

    /// The label of the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Missed => "missed",
            Self::Unasked => "unasked",
        }
    }
}

/// What is known of one tier as a whole.
#[derive(Debug)]
pub struct TierCells {
    /// Client connections that are open, over all workers.
    pub connections: AtomicUsize,
    /// Those of them on which nothing happens, and which keep no more than their socket.
    pub resting: AtomicUsize,
    /// Client connections closed at once because there were too many.
    pub refused_connections: AtomicU64,
    /// Requests on their way that came by HTTP/2, over all workers.
    pub streams: AtomicUsize,
    /// Requests by HTTP/2 refused because there were too many.
    pub refused_streams: AtomicU64,
    /// Requests that no proxy may pass on: no HTTP, or HTTP with two meanings.
    pub refused_requests: AtomicU64,
    /// Requests refused because memory was short.
    pub shed: AtomicU64,
    /// Requests answered with 503 because the tier was in maintenance.
    pub maintained: AtomicU64,
    /// Requests that wait because it is held.
    pub waiting: Waiting,
    /// Cookies of the app that were set beside stable's.
    pub cookies_aside: AtomicU64,
    /// Cookies of the app that there was no room for beside stable's.
    pub cookies_without_room: AtomicU64,
    /// What a canary can be warmed with.
    pub recent: Recent,
    /// How the last warm-up goes, or went.
    pub warm_up: Mutex<WarmUp>,
    assets: [AtomicU64; Fallthrough::ALL.len()],
    displaced: [AtomicU64; Displaced::ALL.len()],
    floods: [AtomicU64; Flood::ALL.len()],
    handshakes: [AtomicU64; Handshake::ALL.len()],
    slow: [AtomicU64; Slow::ALL.len()],
    pub(super) sketches: Box<[Mutex<Sketch>]>,
}

impl TierCells {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            resting: AtomicUsize::new(0),
            refused_connections: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            refused_streams: AtomicU64::new(0),
            refused_requests: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            maintained: AtomicU64::new(0),
            waiting: Waiting::default(),
            cookies_aside: AtomicU64::new(0),
            cookies_without_room: AtomicU64::new(0),
            recent: Recent::default(),
            warm_up: Mutex::default(),
            assets: Default::default(),
            displaced: Default::default(),
            floods: Default::default(),
            handshakes: Default::default(),
            slow: Default::default(),
            sketches: (0..workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// Counts a connection that made way for another; how many there were of all kinds.
    pub fn displace(&self, was: Displaced) -> u64 {
        self.displaced[was as usize].fetch_add(1, Ordering::Relaxed);
        Displaced::ALL.iter().map(|was| self.displaced(*was)).sum()
    }

    /// Connections that made way for others while they did so.
    pub fn displaced(&self, was: Displaced) -> u64 {
        self.displaced[was as usize].load(Ordering::Relaxed)
    }

    /// Counts a file that a version did not have.
    pub fn falls_through(&self, outcome: Fallthrough) {
        self.assets[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Files that a version did not have, and of which this became.
    pub fn fallthroughs(&self, outcome: Fallthrough) -> u64 {
        self.assets[outcome as usize].load(Ordering::Relaxed)
    }

    /// Counts a client that was cut off because it was too slow.
    pub fn was_slow(&self, with: Slow) {
        self.slow[with as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Clients that were cut off because they were too slow with it.
    pub fn slow(&self, with: Slow) -> u64 {
        self.slow[with as usize].load(Ordering::Relaxed)
    }

    /// Counts a TLS handshake.
    pub fn shook(&self, handshake: Handshake) {
        self.handshakes[handshake as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// TLS handshakes that went so.
    pub fn handshakes(&self, handshake: Handshake) -> u64 {
        self.handshakes[handshake as usize].load(Ordering::Relaxed)
    }

    /// Counts a connection that was cut off for a flood; how many there were of its kind.
    pub fn flooded(&self, flood: Flood) -> u64 {
        self.floods[flood as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Connections that were cut off for a flood.
    pub fn floods(&self, flood: Flood) -> u64 {
        self.floods[flood as usize].load(Ordering::Relaxed)
    }

    /// Publishes the keys that `worker` saw lately.
    pub fn publish_keys(&self, worker: usize, sketch: Sketch) {
        *self.sketches[worker].lock().unwrap_or_else(PoisonError::into_inner) = sketch;
    }
}
