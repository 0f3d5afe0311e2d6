//! HTTP/2 with clients: many requests on one connection, each a stream with a task of its own, and
//! bounds to what a client can make of that.

mod frames;
mod heads;
mod streams;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http2;
use hyper::service::service_fn;

use super::body::ResponseBody;
use super::handler;
use super::io::Io;
use super::line::Line;
use super::stack;
use super::worker::Worker;
use crate::metrics::Flood;
use crate::traffic::Limits;
use frames::Frames;
use streams::Streams;

pub use frames::PREFACE;
pub use heads::from_upgrade;
pub use streams::Stream;

/// Bytes of a request's body that a client may send ahead; with 100 ms there and back it sends
/// 2.6 MB a second at most.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The same over all requests of a connection. It bounds what waits for upstreams that do not
/// read.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes of an answer that wait to be sent, besides the piece that is being read.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// Mistakes of a client over the life of its connection by which Weir must reset a stream. Those
/// that cost a request on its way are bounded far closer, see [`Line::ends`].
const MISTAKES_MAX: usize = 1024;

/// Small frames of bodies that are read before those to whom they go have their turn: hyper's server
/// takes some thousands that nobody has looked at for a flood.
const SMALL_AT_ONCE: usize = 32;

/// Serves the requests of one connection until it ends or is ended. `early` is what was read of it
/// before it was known to be HTTP/2.
pub async fn serve(worker: Rc<Worker>, line: Rc<Line>, io: Io, early: Bytes, limits: &Limits) {
    let now = Instant::now();
    line.multiplexes(limits, now);
    let said = Rc::<Cell<Option<Flood>>>::default();
    let (frames, words) = (Frames::new(now), Rc::clone(&said));
    let io = Followed { io, early, frames, words, line: Rc::clone(&line) };
    let (fields, inner) = (limits.headers, Rc::clone(&line));
    let service =
        service_fn(move |request| answer(Rc::clone(&worker), Rc::clone(&inner), request, fields));
    let mut connection = builder(&line, limits).serve_connection(io, service);
    let ended = stack::attend(&line, &mut connection, http2::Connection::graceful_shutdown).await;
    if let Some(Err(error)) = ended
        && is_flood(&error)
    {
        line.flooded(said.get().unwrap_or(Flood::Other));
    }
}

fn builder(line: &Rc<Line>, limits: &Limits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams { line: Rc::clone(line) });
    builder
        .enable_connect_protocol()
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(MISTAKES_MAX)
        // Those that were taken back before anybody looked at them: all there may be at once.
        .max_pending_accept_reset_streams(limits.streams as usize)
        .max_send_buf_size(SEND_BYTES_MAX);
    builder
}

async fn answer(
    worker: Rc<Worker>,
    line: Rc<Line>,
    mut request: Request<Incoming>,
    fields: usize,
) -> std::result::Result<Response<ResponseBody>, Infallible> {
    unless_taken_back(&line).await;
    match heads::to_http1(&mut request, fields) {
        Ok(()) => handler::answer(worker, line, request).await,
        Err(refusal) => Ok(handler::malformed(&line, &request, refusal)),
    }
}

/// Lets hyper look whether the client has taken the request back already, and then comes no
/// further: what comes with its own reset shall cost no connection to an upstream.
async fn unless_taken_back(line: &Line) {
    let unseen = Unseen(line);
    let mut looked = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut looked, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    std::mem::forget(unseen);
}

/// A request for which nothing was done so far; if it is dropped it was taken back.
struct Unseen<'a>(&'a Line);

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        self.0.is_taken_back();
    }
}

/// Whether hyper's server has ended a connection for a flood.
fn is_flood(error: &hyper::Error) -> bool {
    let cause =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.is_library() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    })
}

/// Which flood hyper's server ends a connection for, if that is what `written` ends with: the words
/// of its GOAWAY are all that says it. A body may end with them as well, so they count only once
/// the connection has ended.
fn farewell(written: &[u8]) -> Option<Flood> {
    let words: [(&[u8], Flood); 5] = [
        (b"too_many_data_frames", Flood::Data),
        (b"too_many_continuations", Flood::Heads),
        (b"header_list_way_too_large", Flood::Heads),
        (b"too_many_resets", Flood::Resets),
        (b"too_many_internal_resets", Flood::Resets),
    ];
    words.into_iter().find(|(words, _)| written.ends_with(words)).map(|(_, flood)| flood)
}

/// A client's socket, and the frames that come in on it.
struct Followed {
    io: Io,
    early: Bytes,
    frames: Frames,
    /// What the bytes that were written say of a flood.
    words: Rc<Cell<Option<Flood>>>,
    line: Rc<Line>,
}

/// Follows `bytes`, of which the first so many go on as it says; an error ends the connection.
fn follow(frames: &mut Frames, line: &Line, bytes: &mut [u8]) -> Result<usize> {
    let now = Instant::now();
    let passed = frames.pass(bytes, now);
    line.is_within_head(frames.is_within_head(), now);
    passed.map_err(|flood| {
        line.flooded(flood);
        ErrorKind::ConnectionAborted.into()
    })
}

impl Read for Followed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        let Self { io, early, frames, line, .. } = &mut *self;
        if frames.take_small() > SMALL_AT_ONCE {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if early.has_remaining() {
            let mut part = early.split_to(early.len().min(cursor.remaining())).to_vec();
            let kept = follow(frames, line, &mut part)?;
            cursor.put_slice(&part[..kept]);
            return Poll::Ready(Ok(()));
        }
        let mut followed = Ok(());
        let see = |bytes: &mut [u8]| {
            follow(frames, line, bytes).unwrap_or_else(|error| {
                followed = Err(error);
                0
            })
        };
        ready!(io.poll_fill(cx, cursor, see))?;
        Poll::Ready(followed)
    }
}

impl Followed {
    fn listen(&self, written: &[u8]) {
        if let Some(flood) = farewell(written) {
            self.words.set(Some(flood));
        }
    }

    fn sent(&mut self, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.frames.sent(*bytes);
        }
        written
    }
}

impl Write for Followed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.listen(bytes);
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.sent(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        slices.last().into_iter().for_each(|last| self.listen(last));
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.sent(written)
    }
}
