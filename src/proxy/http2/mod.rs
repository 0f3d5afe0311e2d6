//! HTTP/2 with clients: many requests on one connection, each a stream with a task of its own, and
//! bounds to what a client can make of that.

mod frames;
mod heads;
mod streams;

use std::convert::Infallible;
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

/// Serves the requests of one connection until it ends or is ended. `early` is what was read of it
/// before it was known to be HTTP/2.
pub async fn serve(worker: Rc<Worker>, line: Rc<Line>, io: Io, early: Bytes, limits: &Limits) {
    let now = Instant::now();
    line.multiplexes(limits, now);
    let io = Followed { io, early, frames: Frames::new(now), line: Rc::clone(&line) };
    let (fields, inner) = (limits.headers, Rc::clone(&line));
    let service =
        service_fn(move |request| answer(Rc::clone(&worker), Rc::clone(&inner), request, fields));
    let mut connection = builder(&line, limits).serve_connection(io, service);
    let ended = stack::attend(&line, &mut connection, http2::Connection::graceful_shutdown).await;
    if let Some(Err(error)) = ended
        && let Some(flood) = flood(&error)
    {
        line.flooded(flood);
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
    match heads::to_http1(&mut request, fields) {
        Ok(()) => handler::answer(worker, line, request).await,
        Err(refusal) => Ok(handler::refuse(&line, &request, refusal)),
    }
}

/// What hyper's server has ended a connection for, where that is a flood: it says so in the GOAWAY
/// (`ENHANCE_YOUR_CALM`), whose words are all that can be known of it here.
fn flood(error: &hyper::Error) -> Option<Flood> {
    let text = std::error::Error::source(error)?.to_string();
    let says = |word: &str| text.contains(word);
    if says("too_many_data_frames") {
        Some(Flood::Data)
    } else if says("too_many_continuations") || says("header_list_way_too_large") {
        Some(Flood::Heads)
    } else if says("too_many_resets") || says("too_many_internal_resets") {
        Some(Flood::Resets)
    } else {
        None
    }
}

/// A client's socket, and the frames that come in on it.
struct Followed {
    io: Io,
    early: Bytes,
    frames: Frames,
    line: Rc<Line>,
}

/// Follows `bytes`; an error ends the connection.
fn follow(frames: &mut Frames, line: &Line, bytes: &[u8]) -> Result<()> {
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
        let Self { io, early, frames, line } = &mut *self;
        if early.has_remaining() {
            let part = early.split_to(early.len().min(cursor.remaining()));
            cursor.put_slice(&part);
            return Poll::Ready(follow(frames, line, &part));
        }
        let mut followed = Ok(());
        let see = |bytes: &[u8]| followed = follow(frames, line, bytes);
        ready!(io.poll_fill(cx, cursor, see))?;
        Poll::Ready(followed)
    }
}

impl Followed {
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
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.sent(written)
    }
}
