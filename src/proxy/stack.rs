//! What stands around the handler: hyper's servers, and which of them a connection gets.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::io::AsyncReadExt;

use super::frames::Frames;
use super::handler;
use super::io::{CHUNK_BYTES_MAX, Io};
use super::line::Line;
use super::worker::Worker;
use crate::traffic::Limits;

/// What each connection of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are read before the protocol is known: most heads are shorter.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// Requests at once on one connection of HTTP/2.
const STREAMS_MAX: u32 = 100;

/// Bytes of a request's body that a client of HTTP/2 may send ahead; it bounds what waits for an
/// upstream that does not read.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The same over all requests of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Streams that a client may take back before hyper has looked at them (rapid reset,
/// CVE-2023-44487).
const UNSEEN_RESETS_MAX: usize = 20;

/// Streams that a client may make Weir itself take back ("made you reset", CVE-2025-8671).
const OWN_RESETS_MAX: usize = 64;

/// Serves the requests of one connection until it ends or is ended.
pub async fn serve(worker: &Rc<Worker>, line: &Rc<Line>, mut io: Io, limits: &Limits) {
    let Some(protocol) = protocol(line, &mut io).await else {
        return;
    };
    let (worker, inner) = (Rc::clone(worker), Rc::clone(line));
    let service =
        service_fn(move |request| handler::answer(Rc::clone(&worker), Rc::clone(&inner), request));
    match protocol {
        Protocol::Http1 => {
            let connection = http1(limits).serve_connection(io, service).with_upgrades();
            attend(line, connection, http1::UpgradeableConnection::graceful_shutdown).await;
        }
        Protocol::Http2 => {
            line.multiplexes();
            io.frames = Some(Frames::new(PREFACE.len()));
            let connection = http2(limits).serve_connection(io, service);
            attend(line, connection, http2::Connection::graceful_shutdown).await;
        }
    }
}

enum Protocol {
    Http1,
    Http2,
}

/// What the client speaks: as agreed upon with TLS, else as its first bytes say. None if it says
/// nothing.
async fn protocol(line: &Line, io: &mut Io) -> Option<Protocol> {
    match io.socket.agreed() {
        Some(b"h2") => return Some(Protocol::Http2),
        Some(_) => return Some(Protocol::Http1),
        None => {}
    }
    let mut early = BytesMut::with_capacity(FIRST_READ_BYTES);
    loop {
        let read = line.unless_closing(io.socket.read_buf(&mut early)).await?.ok()?;
        let known = early.len().min(PREFACE.len());
        let is_preface = early[..known] == PREFACE[..known];
        if read == 0 {
            return None;
        }
        if !is_preface || known == PREFACE.len() {
            io.early = early.freeze();
            return Some(if is_preface { Protocol::Http2 } else { Protocol::Http1 });
        }
    }
}

/// Drives `connection` until it ends or `line` is shut; has `finish` end it once the request under
/// way is to be the last.
async fn attend<C: Future>(line: &Line, connection: C, finish: impl Fn(Pin<&mut C>)) {
    let mut connection = pin!(connection);
    let mut told = false;
    std::future::poll_fn(|cx| {
        if line.attend(cx.waker()) {
            return Poll::Ready(());
        }
        // First what has come in already: a request that was sent in time is answered.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !line.last.get() || told {
            return Poll::Pending;
        }
        told = true;
        finish(connection.as_mut());
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // A client that goes away must be noticed, so that its request is taken back.
    builder.half_close(false);
    builder.max_buf_size(CHUNK_BYTES_MAX.max(limits.head_bytes));
    builder.max_header_size(limits.head_bytes);
    if limits.headers != Limits::default().headers {
        builder.max_headers(limits.headers);
    }
    builder
}

fn http2(limits: &Limits) -> http2::Builder<OnThisThread> {
    let mut builder = http2::Builder::new(OnThisThread);
    builder
        .enable_connect_protocol()
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(OWN_RESETS_MAX)
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_send_buf_size(CHUNK_BYTES_MAX);
    builder
}

/// Runs the streams of HTTP/2 where their connection runs.
#[derive(Clone, Copy, Debug)]
struct OnThisThread;

impl<F: Future + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { drop(future.await) });
    }
}
