//! HTTP/1.1 of our own: no task, no timer and no memory for an idle connection, and strict about
//! where an answer ends (RFC 9112).

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::timeout;

use super::decoder::Decoder;
use super::desk::Desk;
use super::request::{self, Framing, Outgoing};
use super::response::Head;
use super::wire::{Fault, Part, Stage, Wire};
use super::{Broken, Cause, Upgraded};
use crate::proxy::added::Added;
use crate::proxy::body::BodyError;
use crate::proxy::io::Socket;
use crate::proxy::line::Exchange;
use crate::proxy::pipe::Conduit;
use crate::traffic::Limits;

/// How long the rest of a request may stand still that was answered before its end. Meanwhile the
/// client's own deadlines run; this one is for an upstream that does not read.
const REST_STILL_MAX: Duration = Duration::from_mins(1);

type Shared<B> = Rc<RefCell<Wire<B>>>;

/// An open connection.
#[derive(Debug)]
pub struct Http1<B> {
    wire: Shared<B>,
}

impl<B: Body<Data = Bytes> + Unpin + 'static> Http1<B> {
    /// Begins to speak HTTP on `socket`.
    pub fn begin(socket: Socket, limits: &Limits) -> Self {
        Self { wire: Rc::new(RefCell::new(Wire::new(socket, limits))) }
    }

    /// Whether it can take a request now.
    pub fn is_ready(&self) -> bool {
        matches!(self.wire.borrow().stage, Stage::Idle)
    }

    /// Whether it can take a request, or why not.
    pub fn ready(&self) -> Result<(), Box<Broken<B>>> {
        if self.is_ready() {
            return Ok(());
        }
        Err(Box::new(Broken { cause: Cause::Http1(Fault::Busy), request: None, unsent: true }))
    }

    /// Whether it is closed, as far as is known. Asks the kernel only if something came in.
    pub fn is_closed(&self) -> bool {
        !self.wire.borrow().is_open()
    }

    /// Asks the kernel whether it is still open.
    pub fn look(&self) -> bool {
        self.is_ready() && self.wire.borrow().socket.is_quiet_now()
    }

    /// Sends `request`: a head without a body at once, everything else as the answer is waited
    /// for. Its head has what is `added`, too.
    pub fn call(&mut self, request: Box<Request<B>>, added: &Added) -> Calling<B> {
        let wire = &mut *self.wire.borrow_mut();
        let bodiless = *request.method() == Method::HEAD;
        let is_idle = matches!(wire.stage, Stage::Idle);
        let sent = if is_idle { begin(wire, &request, added) } else { Err(Fault::Busy) };
        let (request, fault) = match sent {
            Ok(Framing::Nothing) => (Some(request), None),
            Ok(framing) => {
                let (head, body) = (*request).into_parts();
                Desk::with(|desk| {
                    let written = std::mem::take(&mut desk.out);
                    wire.outgoing = Outgoing::new(written, Some(body), framing);
                    desk.take_back_fields(head.headers);
                });
                (None, None)
            }
            Err(fault) => {
                wire.stage = Stage::Closed;
                (Some(request), Some(fault))
            }
        };
        Calling { wire: Rc::clone(&self.wire), request, bodiless, unsent: fault, hears: None }
    }

    /// Gives up the connection, which has changed protocol.
    pub fn upgrade(self) -> Option<Upgraded> {
        let wire = Rc::into_inner(self.wire)?.into_inner();
        let upgraded = matches!(wire.stage, Stage::Upgraded);
        upgraded.then_some(Upgraded { socket: wire.socket, early: wire.input, hold: None })
    }
}

/// Writes the head of `request`, and sends it if no body follows.
fn begin<B: Body<Data = Bytes> + Unpin>(
    wire: &mut Wire<B>,
    request: &Request<B>,
    added: &Added,
) -> Result<Framing, Fault> {
    Desk::with(|desk| {
        desk.out.clear();
        let framing = request::write_head(request, added, &mut desk.out);
        if matches!(framing, Framing::Nothing) {
            let sent = match wire.socket.try_write(&desk.out) {
                Ok(sent) => sent,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(Fault::Broken(error)),
            };
            if sent < desk.out.len() {
                let rest = desk.out[sent..].to_vec();
                wire.outgoing = Outgoing::new(rest, None, Framing::Nothing);
            }
        }
        wire.stage = Stage::Head;
        Ok(framing)
    })
}

/// An answer on its way. If it is dropped before it is there, the connection cannot be used again.
#[derive(Debug)]
pub struct Calling<B> {
    wire: Shared<B>,
    /// The request, if it has no body: until there is an answer it may have to be sent again.
    request: Option<Box<Request<B>>>,
    bodiless: bool,
    /// Why nothing of it was sent.
    unsent: Option<Fault>,
    /// Who hears what comes before the answer.
    hears: Option<Rc<Exchange>>,
}

impl<B> Calling<B> {
    /// The request, where it has no body and no answer came; the connection is of no use any more.
    pub fn take_back(&mut self) -> Option<Box<Request<B>>> {
        self.request.take()
    }

    /// The same; `exchange` hears what comes before the answer.
    pub fn heard_by(mut self, exchange: Rc<Exchange>) -> Self {
        self.hears = Some(exchange);
        self
    }
}

impl<B: Body<Data = Bytes> + Unpin + 'static> Future for Calling<B> {
    type Output = Result<Response<Answer<B>>, Box<Broken<B>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let unsent = this.unsent.is_some();
        let outcome = match this.unsent.take() {
            Some(fault) => Err(fault),
            None => ready!(this.poll_answer(cx)),
        };
        Poll::Ready(outcome.map_err(|fault| {
            this.wire.borrow_mut().stage = Stage::Closed;
            let request = this.request.take();
            Box::new(Broken { cause: Cause::Http1(fault), request, unsent })
        }))
    }
}

impl<B: Body<Data = Bytes> + Unpin + 'static> Calling<B> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Answer<B>>, Fault>> {
        let wire = &mut *self.wire.borrow_mut();
        if !wire.outgoing.is_done() {
            // The answer may come before the end of the request.
            let _: Poll<()> = wire.poll_send(cx)?;
        }
        let on_interim = |status, fields| {
            if let Some(exchange) = &self.hears {
                exchange.foretells(status, fields);
            }
        };
        let (head, fields) = ready!(wire.poll_head(cx, self.bodiless, on_interim))?;
        if !wire.outgoing.is_done() {
            let rest = tokio::task::spawn_local(send_rest(Rc::clone(&self.wire)));
            wire.sender = Some(rest.abort_handle());
        }
        let body = match wire.take_whole() {
            Some(whole) => Answer::Whole(whole),
            None if wire.decoder().is_some() => Answer::Coming(Rc::clone(&self.wire)),
            None => Answer::Whole(Bytes::new()),
        };
        let Head { status, reason, .. } = head;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        if let Some(mut request) = self.request.take() {
            Desk::with(|desk| desk.take_back_fields(std::mem::take(request.headers_mut())));
        }
        if let Some(reason) = reason {
            response.extensions_mut().insert(reason);
        }
        Poll::Ready(Ok(response))
    }
}

/// Sends the rest of a request that was answered before its end, as the client may need: many
/// send all before they read.
async fn send_rest<B: Body<Data = Bytes> + Unpin>(wire: Shared<B>) {
    loop {
        let before = wire.borrow().outgoing.sent();
        let sent = std::future::poll_fn(|cx| wire.borrow_mut().poll_send(cx));
        let outcome = timeout(REST_STILL_MAX, sent).await;
        let wire = &mut *wire.borrow_mut();
        match outcome {
            Ok(Ok(())) => {
                wire.sender = None;
                return;
            }
            // As long as the answer goes on, its own deadlines do.
            Err(_) if matches!(wire.stage, Stage::Body(_)) => {}
            Err(_) if wire.outgoing.sent() > before => {}
            Ok(Err(_)) | Err(_) => return wire.break_off(),
        }
    }
}

/// The body of an answer. If it is dropped before its end, so is the connection.
#[derive(Debug)]
pub enum Answer<B> {
    /// All of it that is left.
    Whole(Bytes),
    /// It comes on this connection.
    Coming(Shared<B>),
}

impl<B: Body<Data = Bytes> + Unpin> Answer<B> {
    /// The next part by way of `conduit`; none where it is to be read.
    pub fn poll_pass(&self, cx: &mut Context<'_>, conduit: &Conduit) -> Option<Part> {
        match self {
            Self::Whole(_) => None,
            Self::Coming(wire) => wire.borrow_mut().poll_pass(cx, conduit),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let (frame, over) = match this {
            Self::Whole(whole) => {
                let whole = std::mem::take(whole);
                return Poll::Ready((!whole.is_empty()).then(|| Ok(Frame::data(whole))));
            }
            Self::Coming(wire) => {
                let wire = &mut *wire.borrow_mut();
                let frame = ready!(wire.poll_body(cx));
                (frame, !matches!(wire.stage, Stage::Body(_)))
            }
        };
        if over {
            *this = Self::Whole(Bytes::new());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Self::Coming(wire) => match wire.borrow().decoder().map(Decoder::left) {
                Some(Some(left)) => SizeHint::with_exact(left),
                Some(None) => SizeHint::default(),
                None => SizeHint::with_exact(0),
            },
        }
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        if let Self::Coming(wire) = self {
            let wire = &mut *wire.borrow_mut();
            if let Stage::Body(_) = wire.stage {
                wire.stage = Stage::Closed;
                if let Some(sender) = wire.sender.take() {
                    sender.abort();
                }
            }
        }
    }
}
