//! An answer that comes in: one writes it, any number of clients read it meanwhile.
//!
//! What is to be kept is held from its beginning on, so that each reader goes at its own pace. What
//! turns out too large is held no longer than until all who read it have had it, and its service is
//! read no faster than by the slowest of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;

use super::budget::Weight;
use super::kept::{Body, Head, Kept, weight};
use super::{HttpCache, Space, Ticket};

/// Bytes held of an answer that is not kept: as much as a socket holds, too.
const WINDOW: usize = 64 * 1024;

/// Bytes that a piece takes beside its own.
const PIECE_OVERHEAD: usize = 64;

/// Pieces of this size and less are put together, once all have come.
const PIECE_SMALL: u64 = 4 * 1024;

/// Bytes that are put together at most: a piece of memory of that size is easily found.
const PIECE_MAX: usize = 64 * 1024;

/// Whoever wrote the answer broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenOff;

/// An answer that comes in.
#[derive(Debug)]
pub struct Fill {
    /// Its head.
    pub head: Head,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pieces: VecDeque<Bytes>,
    /// Pieces that came before and are not held any more.
    gone: usize,
    held: usize,
    length: u64,
    /// Whether it is to be kept.
    kept: bool,
    /// What it takes of the cache.
    weight: Weight,
    end: Option<Result<(), BrokenOff>>,
    /// What was kept of it: counted as long as somebody reads.
    body: Option<Arc<Body>>,
    /// How far each reader has come.
    readers: BTreeMap<u64, usize>,
    numbers: u64,
    waiting: BTreeMap<u64, Waker>,
    writer: Option<Waker>,
}

/// Who writes it. If it is dropped before the end, the answer is broken off.
#[derive(Debug)]
pub struct Writer {
    fill: Arc<Fill>,
    cache: Arc<HttpCache>,
    space: Arc<Space>,
    ticket: Ticket,
    most: u64,
}

/// Who reads it.
#[derive(Debug)]
pub struct Reader {
    fill: Arc<Fill>,
    number: u64,
    read: u64,
}

pub(super) fn begin(
    cache: Arc<HttpCache>,
    space: Arc<Space>,
    ticket: Ticket,
    head: Head,
) -> (Writer, Reader) {
    let most = cache.caching().object;
    let weight = cache.reserve(weight(&head, &ticket.key.url));
    let state = State {
        pieces: VecDeque::new(),
        gone: 0,
        held: 0,
        length: 0,
        kept: weight.is_some(),
        weight: weight.unwrap_or_else(|| cache.budget.take(0)),
        end: None,
        body: None,
        readers: BTreeMap::from([(0, 0)]),
        numbers: 1,
        waiting: BTreeMap::new(),
        writer: None,
    };
    let fill = Arc::new(Fill { head, state: Mutex::new(state) });
    let reader = Reader { fill: Arc::clone(&fill), number: 0, read: 0 };
    (Writer { fill, cache, space, ticket, most }, reader)
}

impl Fill {
    /// Reads it from its beginning; none if that is not held any more.
    pub fn read(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.state();
        if !state.kept && state.length > 0 {
            return None;
        }
        let number = state.numbers;
        state.numbers += 1;
        state.readers.insert(number, 0);
        Some(Reader { fill: Arc::clone(self), number, read: 0 })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_readers(&mut self) {
        std::mem::take(&mut self.waiting).into_values().for_each(Waker::wake);
    }

    /// Lets go of what all have read, where it is not kept.
    fn let_go(&mut self) {
        if self.kept {
            return;
        }
        let slowest = self.readers.values().min().copied().unwrap_or(usize::MAX);
        while self.gone < slowest
            && let Some(piece) = self.pieces.pop_front()
        {
            self.gone += 1;
            self.held -= piece.len();
            self.weight.give_back(piece_weight(&piece));
        }
        if self.held < WINDOW || self.readers.is_empty() {
            self.writer.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// What a piece takes.
const fn piece_weight(piece: &[u8]) -> u64 {
    (piece.len() + PIECE_OVERHEAD) as u64
}

impl Writer {
    /// What is written.
    pub const fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }

    /// Writes; a copy, for the piece itself would hold on to all that was read with it.
    pub fn write(&self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        let bytes = piece_weight(piece);
        let fits = self.fill.state().length + piece.len() as u64 <= self.most;
        let room = if fits { self.cache.reserve(bytes) } else { None };
        let mut state = self.fill.state();
        state.kept &= room.is_some();
        state.weight.absorb(room.unwrap_or_else(|| self.cache.budget.take(bytes)));
        state.pieces.push_back(Bytes::copy_from_slice(piece));
        state.held += piece.len();
        state.length += piece.len() as u64;
        state.let_go();
        state.wake_readers();
    }

    /// Waits until more may be written; false if nobody wants it any more.
    pub async fn ready(&self) -> bool {
        std::future::poll_fn(|cx| {
            let mut state = self.fill.state();
            if state.kept || (state.held < WINDOW && !state.readers.is_empty()) {
                return Poll::Ready(true);
            }
            if state.readers.is_empty() {
                return Poll::Ready(false);
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// All of it has come: it is kept, unless it was too large or was thrown away meanwhile; says
    /// whether it was not too large.
    pub fn finish(self) -> bool {
        let mut state = self.fill.state();
        let body = state.kept.then(|| {
            let weight = std::mem::replace(&mut state.weight, self.cache.budget.take(0));
            let pieces = put_together(state.pieces.iter(), state.length);
            Arc::new(Body { pieces, length: state.length, weight })
        });
        state.end = Some(Ok(()));
        state.body.clone_from(&body);
        state.wake_readers();
        drop(state);
        if let Some(body) = &body {
            let (head, space) = (self.fill.head.clone(), Arc::clone(&self.space));
            let kept = Kept::new(head, Arc::clone(body), space, self.cache.budget.take(0));
            self.cache.keep(&self.ticket, kept);
        }
        body.is_some()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.fill.state();
        state.end.get_or_insert(Err(BrokenOff));
        state.wake_readers();
    }
}

fn put_together<'a>(pieces: impl ExactSizeIterator<Item = &'a Bytes>, length: u64) -> Box<[Bytes]> {
    if pieces.len() < 2 || length / pieces.len() as u64 > PIECE_SMALL {
        return pieces.cloned().collect();
    }
    let (mut all, mut block) = (Vec::new(), Vec::new());
    for piece in pieces {
        if block.len() + piece.len() > PIECE_MAX && !block.is_empty() {
            all.push(Bytes::from(std::mem::take(&mut block)));
        }
        block.extend_from_slice(piece);
    }
    block.shrink_to_fit();
    all.push(Bytes::from(block));
    all.into()
}

impl Reader {
    /// How many bytes are still to come, if that is known.
    pub fn left(&self) -> Option<u64> {
        let state = self.fill.state();
        if state.end == Some(Ok(())) {
            return Some(state.length - self.read);
        }
        let said = self.fill.head.fields.get(CONTENT_LENGTH)?;
        let said: u64 = said.to_str().ok()?.parse().ok()?;
        said.checked_sub(self.read)
    }

    /// Whether nothing more will come.
    pub fn is_at_end(&self) -> bool {
        let state = self.fill.state();
        state.end == Some(Ok(())) && state.length == self.read
    }

    /// Reads on.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut state = self.fill.state();
        let place = state.readers.get(&self.number).copied().unwrap_or_default();
        if let Some(piece) = state.pieces.get(place - state.gone).cloned() {
            state.readers.insert(self.number, place + 1);
            self.read += piece.len() as u64;
            state.let_go();
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => {
                state.waiting.insert(self.number, cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.fill.state();
        state.readers.remove(&self.number);
        state.waiting.remove(&self.number);
        state.let_go();
    }
}
