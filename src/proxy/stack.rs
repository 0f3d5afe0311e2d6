//! What stands around the handler: hyper's server.

use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::handler;
use super::io::{CHUNK_BYTES_MAX, Io};
use super::line::Line;
use super::worker::Worker;
use crate::traffic::Limits;

/// Serves the requests of one connection until it ends or is ended.
pub async fn serve(worker: &Rc<Worker>, line: &Rc<Line>, io: Io, limits: &Limits) {
    let answer = |request| handler::answer(Rc::clone(worker), Rc::clone(line), request);
    let connection = builder(limits).serve_connection(io, service_fn(answer)).with_upgrades();
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
        connection.as_mut().graceful_shutdown();
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
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
