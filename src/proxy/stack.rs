//! What stands around the handler: hyper's servers, and which of them a connection gets.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::framing::Framing;
use super::handler;
use super::http2;
use super::io::{CHUNK_BYTES_MAX, Io, Socket};
use super::line::Line;
use super::linger::linger;
use super::worker::Worker;
use crate::traffic::Limits;

/// What became of a connection of HTTP/1.1.
enum Outcome {
    /// It has ended.
    Ended,
    /// Nothing has happened on it for a while.
    Rests(Io),
    /// It turned out to speak HTTP/2, and so much was read of it.
    Second(Io, Bytes),
}

/// Serves the requests of one connection until it ends or is ended: by the protocol that was agreed
/// upon with TLS, else by the one that its first bytes say.
///
/// A connection is taken for HTTP/1.1 until it turns out to begin with the preface of HTTP/2, so
/// that HTTP/1.1 pays nothing for the choice. What serves is boxed, and a connection on which
/// nothing happens keeps no more than its socket, until something does.
pub async fn serve(worker: &Rc<Worker>, line: &Rc<Line>, mut io: Io, limits: &Limits) {
    let agreed = io.socket.agreed();
    if agreed == Some(b"h2".as_slice()) {
        return second(worker, line, io, Bytes::new(), limits).await;
    }
    io.awaits_preface = agreed.is_none();
    io.framing = Some(Framing::default());
    if let Socket::Tcp(_) = io.socket {
        io.pulse.lets_pass();
    }
    loop {
        match Box::pin(http1(worker, line, io, limits)).await {
            Outcome::Rests(resting) if line.rest(&resting.socket).await => io = resting,
            Outcome::Ended | Outcome::Rests(_) => return,
            Outcome::Second(io, early) => return second(worker, line, io, early, limits).await,
        }
    }
}

async fn second(worker: &Rc<Worker>, line: &Rc<Line>, io: Io, early: Bytes, limits: &Limits) {
    let (worker, line) = (Rc::clone(worker), Rc::clone(line));
    Box::pin(http2::serve(worker, line, io, early, limits)).await;
}

/// Serves HTTP/1.1.
async fn http1(worker: &Rc<Worker>, line: &Rc<Line>, io: Io, limits: &Limits) -> Outcome {
    let may_be_second = io.awaits_preface;
    let service =
        service_fn(|request| handler::answer(Rc::clone(worker), Rc::clone(line), request));
    let mut connection = builder(limits).serve_connection(io, service).with_upgrades();
    let finish = http1::UpgradeableConnection::graceful_shutdown;
    let Some(ended) = attend(line, &mut connection, finish).await else {
        let parts = if line.rests() { connection.into_parts() } else { None };
        return parts.map_or(Outcome::Ended, |parts| Outcome::Rests(parts.io));
    };
    let error = ended.err();
    let is_preface = error.as_ref().is_some_and(hyper::Error::is_parse_version_h2);
    if is_preface && may_be_second && line.requests.get() == 0 {
        let parts = connection.into_parts();
        return parts.map_or(Outcome::Ended, |parts| Outcome::Second(parts.io, parts.read_buf));
    }
    // hyper answers by itself what it cannot read, with an empty page.
    let refused = error.filter(|error| error.is_parse() || error.is_parse_too_large());
    if let Some(error) = &refused {
        line.refuses(error);
    }
    if (refused.is_some() || line.lingers.get())
        && let Some(parts) = connection.into_parts()
    {
        Box::pin(linger(line, parts.io.socket)).await;
    }
    Outcome::Ended
}

/// Drives `connection` until it ends, or `line` is shut or rests; has `finish` end it once the request
/// under way is to be the last.
pub async fn attend<C: Future + Unpin>(
    line: &Line,
    connection: &mut C,
    finish: impl Fn(Pin<&mut C>),
) -> Option<C::Output> {
    let mut connection = Pin::new(connection);
    let mut told = false;
    std::future::poll_fn(|cx| {
        if line.attend(cx.waker()) {
            return Poll::Ready(None);
        }
        // First what has come in already: a request that was sent in time is answered.
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        if line.rests() {
            return Poll::Ready(None);
        }
        if !line.last.get() || told {
            return Poll::Pending;
        }
        told = true;
        finish(connection.as_mut());
        connection.as_mut().poll(cx).map(Some)
    })
    .await
}

fn builder(limits: &Limits) -> http1::Builder {
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
