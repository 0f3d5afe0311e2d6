//! Bodies on their way: they stream with back-pressure, and tell the exchange what they do.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error as Failure;

use super::client;
use super::headers;
use super::line::{Cut, Exchange, Fault, Line};
use super::pipe::Conduit;
use super::pool::{Busy, Link};
use crate::cache::http::Reading;

/// Bytes of an answer that are handed to HTTP/2 at once: those of its frames, unless the client
/// wants larger ones (RFC 9113, section 4.2). At 60 s for each a client may be as slow as 270
/// bytes a second.
const PIECE_BYTES: usize = 16 * 1024;

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, Failure)]
pub enum BodyError {
    /// The other side broke off.
    #[error("the body was cut short")]
    Broken,
    /// The client sent more than allowed.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// It took too long.
    #[error("the body took too long")]
    TooLate,
}

type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// The body of a request on its way to an upstream.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    exchange: Rc<Exchange>,
    left: Option<u64>,
    kept: Option<Box<Kept>>,
    /// Whether something was taken that was not kept.
    is_lost: bool,
}

/// A request on its way to an upstream. It goes from hand to hand, and to move all of it each time
/// would cost more than its place on the heap.
pub type Outbound = Box<Request<RequestBody>>;

/// What has been taken of a body that may have to be sent once more.
#[derive(Debug, Default)]
struct Kept {
    pieces: Vec<Bytes>,
    /// How many more bytes are kept; beyond, the body cannot be sent again.
    room: usize,
    /// How many of the pieces are yet to be sent again.
    again: usize,
}

impl RequestBody {
    /// No body.
    pub const fn none(exchange: Rc<Exchange>) -> Self {
        Self { incoming: None, exchange, left: None, kept: None, is_lost: false }
    }

    /// A body that the client sends, of at most `most` bytes.
    pub fn of(incoming: Incoming, exchange: Rc<Exchange>, most: Option<u64>) -> Self {
        let incoming = Some(incoming).filter(|incoming| !incoming.is_end_stream());
        Self { incoming, exchange, left: most, kept: None, is_lost: false }
    }

    /// The request that it belongs to.
    pub const fn exchange(&self) -> &Rc<Exchange> {
        &self.exchange
    }

    /// Whether there is no body.
    pub fn is_none(&self) -> bool {
        self.incoming.is_none() && self.again() == 0
    }

    /// Keeps the first `most` bytes, so that the body can be sent once more as long as no more
    /// than that has been taken.
    pub fn keep_first(&mut self, most: usize) {
        if self.kept.is_none() && self.incoming.is_some() {
            self.kept = Some(Box::new(Kept { room: most, ..Kept::default() }));
        }
    }

    /// Keeps nothing any more: it will not be sent once more.
    pub fn keep_nothing(&mut self) {
        (self.kept, self.is_lost) = (None, true);
    }

    /// The body from its beginning, if all that was taken of it was kept.
    pub fn rewound(mut self) -> Option<Self> {
        if let Some(kept) = &mut self.kept {
            kept.again = kept.pieces.len();
        }
        (!self.is_lost).then_some(self)
    }

    /// How many pieces are yet to be sent again.
    fn again(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.again)
    }

    /// The next piece that is to be sent again.
    fn repeat(&mut self) -> Option<Bytes> {
        let kept = self.kept.as_mut().filter(|kept| kept.again > 0)?;
        let piece = kept.pieces.get(kept.pieces.len() - kept.again).cloned();
        kept.again -= 1;
        if self.incoming.is_none() && self.again() == 0 {
            self.done();
        }
        piece
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if let Some(kept) = &mut self.kept
            && let Some(data) = frame.data_ref()
            && data.len() <= kept.room
        {
            kept.room -= data.len();
            // A copy: the piece itself would hold on to all that was read with it.
            kept.pieces.push(Bytes::copy_from_slice(data));
        } else {
            self.keep_nothing();
        }
    }

    fn fault(&self, fault: Fault, error: BodyError) -> Polled<BodyError> {
        self.exchange.fault.set(Some(fault));
        Poll::Ready(Some(Err(error)))
    }

    fn done(&mut self) {
        self.incoming = None;
        self.exchange.hand_over(Instant::now());
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<BodyError> {
        let this = &mut *self;
        if let Some(piece) = this.repeat() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(incoming).poll_frame(cx);
        this.exchange.client_owes.set(polled.is_pending());
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                this.done();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => this.fault(Fault::Broken, BodyError::Broken),
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.exchange.carries(length);
                let length = length as u64;
                match this.left.map(|left| left.checked_sub(length)) {
                    Some(None) => return this.fault(Fault::TooLarge, BodyError::TooLarge),
                    Some(left) => this.left = left,
                    None => {}
                }
                let most = this.exchange.tier.table.tier.limits.headers;
                if frame.trailers_ref().is_some_and(|trailers| trailers.len() > most) {
                    return this.fault(Fault::Broken, BodyError::Broken);
                }
                this.keep(&frame);
                if frame.is_trailers() || this.incoming.as_ref().is_some_and(Body::is_end_stream) {
                    this.done();
                }
                let trailers = |mut trailers| {
                    headers::keep_trailers(&mut trailers);
                    Frame::trailers(trailers)
                };
                let frame = frame.into_trailers().map_or_else(|frame| frame, trailers);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.again() == 0 && self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.again() > 0 {
            return SizeHint::default();
        }
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of an answer on its way to the client. When it is dropped the request is over.
#[derive(Debug)]
pub struct ResponseBody {
    content: Content,
    line: Rc<Line>,
    exchange: Option<Rc<Exchange>>,
}

#[derive(Debug)]
enum Content {
    Page(Option<Bytes>),
    /// The upstream broke off.
    Broken,
    /// It is kept, or just comes in for others, too.
    Cached {
        reading: Reading,
        rest: Bytes,
        whole: bool,
    },
    Upstream {
        incoming: client::Body,
        rest: Bytes,
        whole: bool,
        lease: Option<Lease>,
    },
}

/// The connection that an answer comes from, and where it goes afterwards.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub link: Link,
    /// Its upstream, busy as long as the answer lasts.
    pub busy: Busy,
    /// Idle connections that are kept at most.
    pub most: usize,
}

impl ResponseBody {
    /// An answer of our own.
    pub const fn page(page: Bytes, line: Rc<Line>, exchange: Option<Rc<Exchange>>) -> Self {
        Self { content: Content::Page(Some(page)), line, exchange }
    }

    /// The answer of an upstream.
    pub const fn of(
        incoming: client::Body,
        lease: Lease,
        line: Rc<Line>,
        exchange: Rc<Exchange>,
    ) -> Self {
        let rest = Bytes::new();
        let content = Content::Upstream { incoming, rest, whole: false, lease: Some(lease) };
        Self { content, line, exchange: Some(exchange) }
    }
}

impl ResponseBody {
    /// What is read out of a cache.
    pub const fn cached(reading: Reading, line: Rc<Line>, exchange: Rc<Exchange>) -> Self {
        let content = Content::Cached { reading, rest: Bytes::new(), whole: false };
        Self { content, line, exchange: Some(exchange) }
    }

    /// Reads on in a cache; its answers count for nobody, or were counted by who asked for them.
    fn poll_cached(&mut self, cx: &mut Context<'_>) -> Polled<BodyError> {
        let (Content::Cached { reading, rest, whole }, Some(exchange)) =
            (&mut self.content, &self.exchange)
        else {
            return Poll::Ready(None);
        };
        if exchange.cut.get().is_some() {
            return Poll::Ready(Some(Err(BodyError::TooLate)));
        }
        if rest.is_empty() {
            let polled = reading.poll(cx);
            exchange.upstream_owes.set(polled.is_pending());
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    *whole = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Ok(data))) => *rest = data,
                Poll::Ready(Some(Err(_))) => {
                    exchange.cut.set(Some(Cut::Upstream));
                    self.content = Content::Broken;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        let piece = if exchange.is_multiplexed() { piece(rest) } else { std::mem::take(rest) };
        exchange.carries(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<BodyError> {
        let this = &mut *self;
        let (incoming, rest, whole, exchange) = match (&mut this.content, &this.exchange) {
            (Content::Page(page), _) => {
                let page = page.take().filter(|page| !page.is_empty());
                return Poll::Ready(page.map(|page| Ok(Frame::data(page))));
            }
            (Content::Broken, exchange) => {
                // What came before is sent first: an error makes hyper drop what it has not sent. A
                // client that takes too long for that is cut as at any other time.
                let open = exchange.as_ref().filter(|exchange| exchange.cut.get().is_none());
                if let Some(exchange) = open {
                    if !this.line.multiplexed.get() && this.line.pulse.owes_a_flush() {
                        return Poll::Pending;
                    }
                    exchange.cut.set(Some(Cut::Upstream));
                }
                return Poll::Ready(Some(Err(BodyError::Broken)));
            }
            (Content::Cached { .. }, _) => return this.poll_cached(cx),
            (Content::Upstream { .. }, None) => return Poll::Ready(None),
            (Content::Upstream { incoming, rest, whole, .. }, Some(exchange)) => {
                (incoming, rest, whole, exchange)
            }
        };
        match exchange.cut.get() {
            None => {}
            Some(Cut::Stream) => return Poll::Ready(farewell(exchange, whole)),
            Some(cut) => {
                if cut == Cut::Upstream {
                    exchange.tally.ends(false);
                }
                return Poll::Ready(Some(Err(BodyError::TooLate)));
            }
        }
        if !rest.is_empty() {
            let piece = piece(rest);
            exchange.carries(piece.len());
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        // With HTTP/2 the frames of many bodies go out in another order than they came in.
        let conduit = this.line.pulse.conduit().filter(|_| !this.line.multiplexed.get());
        let passed_by = conduit.and_then(|conduit| incoming.poll_pass(cx, conduit));
        let polled = passed_by.unwrap_or_else(|| Pin::new(incoming).poll_frame(cx));
        // What waits in a pipe the client has not taken, and there may be no room for more.
        let owes = polled.is_pending() && !conduit.is_some_and(Conduit::waits);
        exchange.upstream_owes.set(owes);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                *whole = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                *whole = frame.is_trailers();
                let frame = passed(frame, exchange, rest);
                exchange.carries(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => {
                exchange.tally.ends(false);
                // Before this is asked again hyper sends what it can.
                this.content = Content::Broken;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Broken => false,
            Content::Page(page) => page.as_ref().is_none_or(Bytes::is_empty),
            Content::Cached { reading, rest, whole } => {
                *whole || rest.is_empty() && reading.is_at_end()
            }
            Content::Upstream { incoming, rest, .. } => rest.is_empty() && incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Page(page) => {
                SizeHint::with_exact(page.as_ref().map_or(0, |page| page.len() as u64))
            }
            Content::Cached { reading, rest, .. } => {
                let left = reading.left().map(|left| left + rest.len() as u64);
                left.map_or(SizeHint::default(), SizeHint::with_exact)
            }
            Content::Upstream { incoming, rest, .. } if rest.is_empty() => incoming.size_hint(),
            Content::Broken | Content::Upstream { .. } => SizeHint::default(),
        }
    }
}

/// What of a frame of an answer goes to the client. Over HTTP/2 it goes in pieces, each of which
/// waits for the client alone: so it shows whether a stream moves, and no client can have much
/// wait for it.
fn passed(frame: Frame<Bytes>, exchange: &Exchange, rest: &mut Bytes) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(data) if exchange.is_multiplexed() && data.len() > PIECE_BYTES => {
            *rest = data;
            Frame::data(piece(rest))
        }
        Ok(data) => Frame::data(data),
        Err(frame) => match frame.into_trailers() {
            Ok(mut trailers) => {
                exchange.tally.says(&trailers);
                headers::keep_trailers(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        },
    }
}

fn piece(rest: &mut Bytes) -> Bytes {
    rest.split_to(rest.len().min(PIECE_BYTES))
}

/// The end of a stream whose release has lost. A call of gRPC needs an outcome, and that of a
/// server that goes away has clients try again.
fn farewell(exchange: &Exchange, whole: &mut bool) -> Option<Result<Frame<Bytes>, BodyError>> {
    if !exchange.is_grpc.get() || std::mem::replace(whole, true) {
        return None;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("14"));
    trailers.insert("grpc-message", HeaderValue::from_static("this version is going away"));
    Some(Ok(Frame::trailers(trailers)))
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.line.pulse.is_answered();
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        let now = Instant::now();
        let ended = match &mut self.content {
            Content::Broken | Content::Cached { .. } | Content::Page(_) => self.is_end_stream(),
            Content::Upstream { incoming, rest, whole, lease } => {
                let parted = exchange.cut.get() == Some(Cut::Stream);
                let whole = !parted && rest.is_empty() && (*whole || incoming.is_end_stream());
                if whole {
                    exchange.tally.ends(true);
                }
                if let Some(Lease { link, busy, most }) = lease.take()
                    && whole
                    && exchange.handed.get().is_some()
                {
                    busy.upstream.pool.keep(link, now, most);
                }
                whole
            }
        };
        self.line.ends(&exchange, now, !ended && exchange.cut.get().is_none());
    }
}
