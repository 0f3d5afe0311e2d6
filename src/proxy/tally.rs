//! How one request is counted: once, with its outcome, when the outcome is known.
//!
//! - The first attempt is the outcome. If a later attempt serves the request, the first one still
//!   counts as an error of its release, and the release that helped out counts nothing. If stable
//!   fails too what it was to rescue, it counts for neither: the request itself is at fault.
//! - An answer counts at its end, so that one that is cut short is an error; one that streams for
//!   longer than `stream_after` counts by its head, and never as slow. So does an upgrade.
//! - A request without an answer after `first_byte` is an error at that moment, and stays one: also
//!   if stable fails it too where it is asked instead, since nobody knew that when it was counted.
//! - A client that goes away before the head of the answer is no error, since its patience is no
//!   property of the release; but it waited, and counts as an answer that took as long as it
//!   waited. So a canary that hangs is seen as slow also where no client waits for `first_byte`.
//!   Before all of its request was given to the upstream it counts for nobody. One that goes
//!   away later counts by the head it got.
//! - A long poll takes as long as it likes: it is never slow nor hanging, and nobody waits for it
//!   in vain.
//! - Previewers and ignored requests are shown, not judged.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};

use super::place::Place;
use super::view::ReleaseView;
use crate::metrics::keys::ErrorKeys;
use crate::metrics::{Outcome, WATCHES_MAX};
use crate::traffic::{Track, Watch};

/// Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
const GRPC_ERRORS: [&[u8]; 6] = [b"2", b"4", b"12", b"13", b"14", b"15"];

/// How one request is counted.
#[derive(Debug)]
pub struct Tally {
    error_keys: Rc<RefCell<ErrorKeys>>,
    judged: bool,
    preview: bool,
    long: bool,
    key: Option<u64>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    release: Rc<ReleaseView>,
    track: Track,
    first: Option<First>,
    head: Option<Head>,
    settled: bool,
    shown: bool,
}

/// The first attempt, which failed.
#[derive(Clone, Debug)]
struct First {
    release: Rc<ReleaseView>,
    judged: bool,
}

/// The head of the answer.
#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    latency: Duration,
    watches: u8,
    grpc: Grpc,
}

/// What is known of the outcome of a call of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grpc {
    /// It is none, or has been answered.
    Answered,
    /// It has failed.
    Failed,
    /// Nothing was said so far.
    Silent,
}

impl Tally {
    /// A request that goes to `place`; `long`: a long poll.
    pub fn new(
        error_keys: &Rc<RefCell<ErrorKeys>>,
        place: &Place,
        judged: bool,
        long: bool,
    ) -> Self {
        let state = State {
            release: Rc::clone(&place.release),
            track: place.track,
            first: None,
            head: None,
            settled: false,
            shown: false,
        };
        Self {
            error_keys: Rc::clone(error_keys),
            judged: judged && !place.preview,
            preview: place.preview,
            long,
            key: place.key,
            state: RefCell::new(state),
        }
    }

    /// A request like this one, that goes to `place` on its behalf.
    pub fn again(&self, place: &Place) -> Self {
        Self::new(&self.error_keys, place, self.judged, self.long)
    }

    /// An attempt goes to `place`.
    pub fn tries(&self, place: &Place) {
        let mut state = self.state.borrow_mut();
        if state.release.release.slot != place.release.release.slot {
            state.release = Rc::clone(&place.release);
        }
        state.track = place.track;
    }

    /// The attempt failed. `excused`: its release has only just started, so it is not judged.
    pub fn fails(&self, outcome: Outcome, excused: bool) {
        let mut state = self.state.borrow_mut();
        state.release.writer.attempt(state.track, outcome);
        if state.first.is_none() {
            let release = Rc::clone(&state.release);
            state.first = Some(First { release, judged: !excused });
        }
    }

    /// The request has waited for too long: an error now, whatever comes later.
    pub fn hangs(&self) {
        let mut state = self.state.borrow_mut();
        if state.settled || state.head.is_some() {
            return;
        }
        state.settled = true;
        if state.first.is_none() {
            self.judge(&state.release, true, 0, None);
        }
    }

    /// The head of the answer that the user will see. `location` is its Location.
    pub fn answers(
        &self,
        status: u16,
        latency: Duration,
        location: Option<&[u8]>,
        watches: &[Watch],
    ) {
        let mut state = self.state.borrow_mut();
        state.release.writer.response(state.track, status, latency);
        if let Some(first) = state.first.clone() {
            state.show(Outcome::Answered(status));
            let same = Rc::ptr_eq(&first.release, &state.release);
            if !same {
                first.release.writer.rescued();
            }
            if first.judged && !state.settled && (same || status < 500) {
                self.judge(&first.release, true, 0, None);
            }
            state.settled = true;
            return;
        }
        let matches = |(_, watch): &(usize, &Watch)| watch.matches(status, location);
        let watches = watches.iter().take(WATCHES_MAX).enumerate().filter(matches);
        let watches = watches.fold(0, |bits, (place, _)| bits | 1 << place);
        state.head = Some(Head { status, latency, watches, grpc: Grpc::Answered });
    }

    /// The answer is that of a call of gRPC: it has to say what the call has come to.
    pub fn is_call(&self) {
        if let Some(head) = &mut self.state.borrow_mut().head
            && head.status == 200
        {
            head.grpc = Grpc::Silent;
        }
    }

    /// What a call of gRPC has come to, in `fields` of the head or of the trailers: an error where
    /// HTTP would have answered 5xx (google.rpc.Code), an answer otherwise.
    pub fn says(&self, fields: &HeaderMap) {
        let Some(status) = fields.get("grpc-status").map(HeaderValue::as_bytes) else {
            return;
        };
        if let Some(head) = &mut self.state.borrow_mut().head {
            let failed = GRPC_ERRORS.contains(&status);
            head.grpc = if failed { Grpc::Failed } else { Grpc::Answered };
        }
    }

    /// The answer goes on for long: it counts by its head.
    pub fn streams(&self) {
        self.settle_by_head(false, false);
    }

    /// The answer is over, `whole` or cut short by the upstream. A call of gRPC that has come to
    /// its end and to nothing else is unknown to its client (status 2).
    pub fn ends(&self, whole: bool) {
        if let Some(head) = &mut self.state.borrow_mut().head
            && whole
            && head.grpc == Grpc::Silent
        {
            head.grpc = Grpc::Failed;
        }
        if !whole {
            self.state.borrow_mut().show(Outcome::Reset);
        }
        self.settle_by_head(!whole, true);
    }

    /// The client went away in the middle of the answer.
    pub fn leaves(&self) {
        self.settle_by_head(false, true);
    }

    /// Whether nothing is known of the outcome.
    pub fn is_open(&self) -> bool {
        let state = self.state.borrow();
        !state.settled && state.head.is_none() && state.first.is_none()
    }

    /// The client went away after it had `waited` for the head of the answer.
    pub fn abandons(&self, waited: Duration) {
        if !self.is_open() {
            return;
        }
        let mut state = self.state.borrow_mut();
        state.settled = true;
        state.release.writer.abandoned();
        if !self.long {
            self.judge(&state.release, false, 0, Some(waited));
        }
    }

    /// Whether another release failed it before.
    pub fn is_rescued(&self) -> bool {
        let state = self.state.borrow();
        state.first.as_ref().is_some_and(|first| !Rc::ptr_eq(&first.release, &state.release))
    }

    /// Nothing answered.
    pub fn gives_up(&self) {
        let mut state = self.state.borrow_mut();
        if let Some(first) = state.first.clone()
            && first.judged
            && !state.settled
            && Rc::ptr_eq(&first.release, &state.release)
        {
            self.judge(&first.release, true, 0, None);
        }
        state.settled = true;
    }

    /// Nothing to count: the client itself is at fault.
    pub fn forget(&self) {
        self.state.borrow_mut().settled = true;
    }

    /// The slot of the release that the request is at.
    pub fn release(&self) -> usize {
        self.state.borrow().release.release.slot
    }

    /// Whether it is a long poll.
    pub const fn is_long(&self) -> bool {
        self.long
    }

    /// Whether a tester asked for it.
    pub const fn is_preview(&self) -> bool {
        self.preview
    }

    fn settle_by_head(&self, cut_short: bool, may_be_slow: bool) {
        let mut state = self.state.borrow_mut();
        if let Some(head) = state.head {
            state.show(Outcome::Answered(head.status));
        }
        if let Some(head) = state.head
            && !state.settled
        {
            let failed = head.grpc == Grpc::Failed;
            let error = cut_short || failed || Outcome::Answered(head.status).is_error();
            let latency = Some(head.latency).filter(|_| may_be_slow && !self.long);
            self.judge(&state.release, error, head.watches, latency);
            state.settled = true;
        }
    }

    fn judge(&self, release: &ReleaseView, error: bool, watches: u8, latency: Option<Duration>) {
        if !self.judged {
            return;
        }
        if error && let Some(key) = self.key {
            let counts =
                self.error_keys.borrow_mut().counts(key, release.release.slot, Instant::now());
            if !counts {
                return;
            }
        }
        release.writer.judged(error, watches, latency);
    }
}

impl State {
    /// Counts the attempt that answered for the metrics, once.
    fn show(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.shown, true) {
            self.release.writer.attempt(self.track, outcome);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.leaves();
        let state = self.state.get_mut();
        if !state.settled && state.head.is_none() {
            state.release.writer.abandoned();
        }
    }
}
