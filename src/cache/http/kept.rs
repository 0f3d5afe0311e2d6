//! An answer that is kept, and what is read of one.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};

use super::Space;
use super::budget::{Budget, Weight};
use super::fill::{BrokenOff, Reader};
use crate::namespace::http::freshness::Policy;
use crate::namespace::http::head;

/// Bytes that an answer takes beside its URL, head and body: its place in the cache.
const OVERHEAD: usize = 1_024;

/// The head of an answer, and how it may be used.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: HeaderMap,
    /// How it may be used.
    pub policy: Policy,
    /// The fields of requests that it varies by.
    pub vary: Vec<HeaderName>,
    /// What its request said in them.
    pub variant: Box<[u8]>,
    /// When it came.
    pub since: Instant,
}

impl Head {
    /// For how long it has been kept.
    pub fn resident(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

/// The body of an answer, whole.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) pieces: Box<[Bytes]>,
    pub(super) length: u64,
    pub(super) weight: Weight,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Kept {
    /// Its head.
    pub head: Head,
    pub(super) tags: Box<[Box<str>]>,
    pub(super) body: Arc<Body>,
    pub(super) space: Arc<Space>,
    weight: Weight,
}

impl Kept {
    pub(super) fn new(head: Head, body: Arc<Body>, space: Arc<Space>, weight: Weight) -> Self {
        Self { tags: head::tags(&head.fields), head, body, space, weight }
    }

    pub(super) fn renewed(&self, head: Head, url: &str, budget: &Arc<Budget>) -> Self {
        let weight = budget.take(weight(&head, url));
        Self::new(head, Arc::clone(&self.body), Arc::clone(&self.space), weight)
    }

    /// How long its body is.
    pub fn length(&self) -> u64 {
        self.body.length
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.weight.bytes() + self.body.weight.bytes()
    }
}

/// Bytes that an answer takes without its body. Variants share their URL; each counts it all the same.
pub(super) fn weight(head: &Head, url: &str) -> u64 {
    let bytes = OVERHEAD + url.len() + head::weight(&head.fields) + head.variant.len();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A body on its way to a client.
#[derive(Debug)]
pub enum Reading {
    /// None.
    Nothing,
    /// A part of one that is kept.
    Kept {
        /// The answer.
        kept: Arc<Kept>,
        /// The bytes that are still to come.
        left: Range<u64>,
        /// The piece that they begin in, and where it begins.
        at: (usize, u64),
    },
    /// One that just comes in.
    Coming(Reader),
}

impl Reading {
    /// The bytes `part` of `kept`.
    pub const fn of(kept: Arc<Kept>, part: Range<u64>) -> Self {
        Self::Kept { kept, left: part, at: (0, 0) }
    }

    /// How many bytes are still to come, if that is known.
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Nothing => Some(0),
            Self::Kept { left, .. } => Some(left.end - left.start),
            Self::Coming(reader) => reader.left(),
        }
    }

    /// Whether nothing more will come.
    pub fn is_at_end(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Kept { left, .. } => left.start >= left.end,
            Self::Coming(reader) => reader.is_at_end(),
        }
    }

    /// Reads on.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        match self {
            Self::Nothing => Poll::Ready(None),
            Self::Coming(reader) => reader.poll(cx),
            Self::Kept { kept, left, at } => Poll::Ready(next(kept, left, at).map(Ok)),
        }
    }
}

fn next(kept: &Kept, left: &mut Range<u64>, at: &mut (usize, u64)) -> Option<Bytes> {
    while left.start < left.end {
        let piece = kept.body.pieces.get(at.0)?;
        let end = at.1 + piece.len() as u64;
        if left.start < end {
            let place = |offset: u64| usize::try_from(offset - at.1).unwrap_or(piece.len());
            let part = piece.slice(place(left.start)..place(left.end.min(end)));
            left.start += part.len() as u64;
            return Some(part);
        }
        *at = (at.0 + 1, end);
    }
    None
}
