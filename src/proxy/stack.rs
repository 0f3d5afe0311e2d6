//! What stands around the handler: hyper's server, and the refusals that any proxy has.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::body::ResponseBody;
use super::handler;
use super::headers::{self, Refusal};
use super::io::{CHUNK_BYTES_MAX, Io};
use super::line::Line;
use super::respond::{self, About, After};
use super::worker::Worker;
use crate::traffic::Limits;

/// Where an authority asks whether a name is ours (RFC 8555, section 8.3). What it asks of the app
/// goes to the app.
const PROOFS: &str = "/.well-known/acme-challenge/";

/// Serves the requests of one connection until it ends or is ended.
pub async fn serve(worker: &Rc<Worker>, line: &Rc<Line>, io: Io, limits: &Limits) {
    let service = service_fn(|request| answer(Rc::clone(worker), Rc::clone(line), request));
    let connection = builder(limits).serve_connection(io, service).with_upgrades();
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

/// Refuses what no proxy may pass on; the rest is for the handler.
async fn answer(
    worker: Rc<Worker>,
    line: Rc<Line>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    if let Some(response) = refusal(&worker, &line, &mut request) {
        return Ok(response);
    }
    if let Some(response) = proof(&worker, &line, &request) {
        return Ok(response);
    }
    Ok(handler::handle(worker, line, request).await)
}

/// The answer to an authority of whom Weir has ordered a certificate.
fn proof(
    worker: &Worker,
    line: &Rc<Line>,
    request: &Request<Incoming>,
) -> Option<Response<ResponseBody>> {
    let token = request.uri().path().strip_prefix(PROOFS)?;
    let proof = worker.keyring.answer(token)?;
    let about = About { line, exchange: None, method: request.method(), id: None };
    Some(respond::text(StatusCode::OK, proof, &about, After::Close))
}

fn refusal(
    worker: &Worker,
    line: &Rc<Line>,
    request: &mut Request<Incoming>,
) -> Option<Response<ResponseBody>> {
    let refused = headers::check(request).err();
    let looping = || {
        let reason = "the request has come back to where it was sent from";
        headers::is_loop(request.headers(), &worker.instance)
            .then_some(Refusal { status: StatusCode::LOOP_DETECTED, reason })
    };
    let Refusal { status, reason } = refused.or_else(looping)?;
    let about = About { line, exchange: None, method: request.method(), id: None };
    Some(respond::page(status, reason, &about, After::Close))
}
