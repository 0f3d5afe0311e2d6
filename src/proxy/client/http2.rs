//! HTTP/2 (RFC 9113): one connection carries many requests at once, each on a stream of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::header::{
    CONNECTION, HOST, HeaderName, SEC_WEBSOCKET_KEY, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::{Body, Broken, Cause, Duplex, Upgraded};
use crate::proxy::body::{BodyError, Outbound, RequestBody};
use crate::proxy::interim::INTERIM_MAX;
use crate::proxy::io::Socket;
use crate::proxy::line::Exchange;
use crate::traffic::Limits;

/// Streams that are opened before the upstream has said how many it takes: none, or it would have
/// to refuse what is too much. It says so with its first bytes (section 3.4).
const STREAMS_BEFORE_SETTINGS: usize = 0;

/// Bytes of one answer that the upstream may send ahead of a slow client; with it nobody waits on
/// links of 100 Mbit/s and 10 ms.
const STREAM_WINDOW: u32 = 128 * 1024;

/// The same for all answers on a connection: more than its streams can take together, or one slow
/// client would hold up all others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Longest frame that is taken: few for a long body, and no other stream waits long for its turn.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// How long a connection that is over may take to say goodbye.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Bytes of a request's body that are kept so that it can be sent once more if the upstream says
/// that it did nothing with it.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// A hold on an open connection.
#[derive(Debug)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    wire: Rc<Wire>,
    is_tls: bool,
    headers_max: usize,
}

/// What all holds and streams of a connection share. When the last is dropped it ends.
#[derive(Debug)]
struct Wire {
    streams: Cell<usize>,
    /// Heads and pieces of answers that came.
    moves: Cell<u64>,
    retired: Cell<bool>,
    task: Rc<Task>,
}

/// What is known of the task that moves the bytes.
#[derive(Debug, Default)]
struct Task {
    ended: Cell<bool>,
    leaving: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// An answer on its way.
#[derive(Debug)]
pub struct Calling(State);

/// What came of waiting for an answer.
type Answered = Result<Response<RecvStream>, Cause>;

#[derive(Debug)]
enum State {
    /// It was not even sent.
    Broken(Box<Broken>),
    Over,
    Waiting(Box<Waiting>),
}

#[derive(Debug)]
struct Waiting {
    response: ResponseFuture,
    /// What was said before the answer, and who hears it.
    interims: usize,
    exchange: Rc<Exchange>,
    sent: Sent,
    pump: Option<Pump>,
    /// What goes up, where a WebSocket was asked for.
    upload: Option<SendStream<Bytes>>,
    headers_max: usize,
    stream: Stream,
}

/// The request as it was, so that it can be sent again.
#[derive(Debug)]
struct Sent {
    head: Parts,
    body: Rc<RefCell<Option<RequestBody>>>,
}

/// The body of an answer.
#[derive(Debug)]
pub struct Incoming {
    receive: RecvStream,
    /// It has no content, whatever follows: so its status says.
    is_bodiless: bool,
    is_data_over: bool,
    /// Trailers with more fields are too many.
    headers_max: usize,
    /// What goes up, where it is no body but a tunnel.
    upload: Option<SendStream<Bytes>>,
    _pump: Option<Pump>,
    stream: Stream,
}

/// The task that sends a request's body; it ends with the answer.
#[derive(Debug)]
struct Pump(AbortHandle);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One stream, counted until it is dropped.
#[derive(Debug)]
pub struct Stream {
    wire: Rc<Wire>,
    /// What had moved on the connection before it.
    moves_before: u64,
}

impl Stream {
    fn new(wire: &Rc<Wire>) -> Self {
        wire.streams.set(wire.streams.get() + 1);
        Self { wire: Rc::clone(wire), moves_before: wire.moves.get() }
    }

    fn moves(&self) {
        self.wire.moves.set(self.wire.moves.get().wrapping_add(1));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.wire.streams.set(self.wire.streams.get().saturating_sub(1));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.leaving.set(true);
        if let Some(waker) = self.task.waker.take() {
            waker.wake();
        }
    }
}

fn builder(limits: &Limits) -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    builder
}

impl Http2 {
    /// Begins to speak HTTP/2 on `socket`.
    pub async fn begin(socket: Socket, limits: &Limits) -> io::Result<Self> {
        let is_tls = matches!(socket, Socket::Tls(_));
        let handshake = builder(limits).handshake(socket).await;
        let (sender, mut connection) = handshake.map_err(io::Error::other)?;
        settled(&sender, &mut connection)
            .await
            .map_err(|error| io::Error::other(format!("no HTTP/2 is spoken there: {error}")))?;
        let task = Rc::new(Task::default());
        tokio::task::spawn_local(drive(connection, Rc::clone(&task)));
        let wire =
            Wire { streams: Cell::new(0), moves: Cell::new(0), retired: Cell::new(false), task };
        Ok(Self { sender, wire: Rc::new(wire), is_tls, headers_max: limits.headers })
    }

    /// Another hold on the same connection.
    pub fn share(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            wire: Rc::clone(&self.wire),
            is_tls: self.is_tls,
            headers_max: self.headers_max,
        }
    }

    /// Whether the upstream takes another stream now.
    pub fn has_room(&self) -> bool {
        self.wire.streams.get() < self.sender.current_max_send_streams()
    }

    /// Whether nothing is under way on it.
    pub fn is_idle(&self) -> bool {
        self.wire.streams.get() == 0
    }

    /// Whether it takes no request any more, as far as is known: it broke, the upstream is about
    /// to leave (GOAWAY), or an answer on it never came.
    pub fn is_closed(&self) -> bool {
        let gone = || {
            let mut sender = self.sender.clone();
            matches!(
                sender.poll_ready(&mut Context::from_waker(Waker::noop())),
                Poll::Ready(Err(_))
            )
        };
        self.wire.retired.get() || self.wire.task.ended.get() || gone()
    }

    /// Whether the upstream takes tunnels (RFC 8441, section 3).
    pub fn tunnels(&self) -> bool {
        self.sender.is_extended_connect_protocol_enabled()
    }

    /// Takes no further request: an answer on it did not come in time, and what is wrong may be
    /// the connection.
    pub fn retire(&self) {
        self.wire.retired.set(true);
    }

    /// Waits until it can take a request.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<Broken>>> {
        let broken = |error| Box::new(Broken::new(error, None));
        self.sender.poll_ready(cx).map_err(broken)
    }

    /// Looks whether it is still open: what has come in until now is read, an end as well.
    pub async fn look(&self) -> bool {
        // See `HyperHttp1::look`.
        tokio::task::yield_now().await;
        !self.is_closed()
    }

    /// Sends `request`.
    pub fn call(&mut self, request: Request<RequestBody>) -> Calling {
        let (head, mut body) = request.into_parts();
        let exchange = Rc::clone(body.exchange());
        let tunnels = exchange.asks_web_socket();
        let is_over = body.is_end_stream() && !tunnels;
        body.keep_first(KEPT_BYTES_MAX);
        let mut asked = translated(head.clone(), self.is_tls);
        if tunnels {
            connect(&mut asked);
        }
        let opened = self.sender.send_request(asked, is_over);
        let (response, upload) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let request = Some(Box::new(Request::from_parts(head, body)));
                return Calling(State::Broken(Box::new(Broken::new(error, request))));
            }
        };
        let body = Rc::new(RefCell::new(Some(body)));
        let (pump, upload) = match upload {
            upload if tunnels => (None, Some(upload)),
            _ if is_over => (None, None),
            upload => {
                let task = tokio::task::spawn_local(pump(Rc::clone(&body), upload));
                (Some(Pump(task.abort_handle())), None)
            }
        };
        Calling(State::Waiting(Box::new(Waiting {
            response,
            interims: 0,
            exchange,
            sent: Sent { head, body },
            pump,
            upload,
            headers_max: self.headers_max,
            stream: Stream::new(&self.wire),
        })))
    }
}

/// Waits until the upstream has said how it wants to be spoken to.
async fn settled(
    sender: &SendRequest<Bytes>,
    connection: &mut client::Connection<Socket, Bytes>,
) -> Result<(), h2::Error> {
    poll_fn(|cx| {
        let over = Pin::new(&mut *connection).poll(cx);
        let settled = sender.current_max_send_streams() > STREAMS_BEFORE_SETTINGS;
        match over {
            Poll::Pending if !settled => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) => Poll::Ready(Err(Reason::NO_ERROR.into())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    })
    .await
}

/// Moves the bytes of a connection until it ends, or until nobody holds it any more.
async fn drive(mut connection: client::Connection<Socket, Bytes>, task: Rc<Task>) {
    let left = poll_fn(|cx| {
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        if task.leaving.get() {
            return Poll::Ready(true);
        }
        *task.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    });
    if left.await {
        // It sees for itself that nobody is there, and takes its leave.
        _ = tokio::time::timeout(GOODBYE_MAX, connection).await;
    }
    task.ended.set(true);
}

/// The head as HTTP/2 wants it: the target in one piece, nothing of the connection (RFC 9113,
/// sections 8.2.2 and 8.3.1).
fn translated(mut head: Parts, is_tls: bool) -> Request<()> {
    const OF_THE_CONNECTION: [HeaderName; 6] = [
        CONNECTION,
        HeaderName::from_static("http2-settings"),
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in OF_THE_CONNECTION {
        head.headers.remove(name);
    }
    if head.headers.get(TE).is_some_and(|te| te != "trailers") {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
    let authority = head.headers.get(HOST);
    let authority = authority.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    // A Host that is no authority stays what it is, which HTTP/2 allows as well.
    if let Some(authority) = authority
        && let Ok(uri) =
            Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()
    {
        head.headers.remove(HOST);
        head.uri = uri;
        head.version = Version::HTTP_2;
    } else {
        head.version = Version::HTTP_11;
    }
    Request::from_parts(head, ())
}

/// Makes of a request for a WebSocket what it is in HTTP/2 (RFC 8441, section 5).
fn connect(request: &mut Request<()>) {
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request.headers_mut().remove(SEC_WEBSOCKET_KEY);
}

/// Sends the body as fast as the upstream takes it.
async fn pump(body: Rc<RefCell<Option<RequestBody>>>, mut send: SendStream<Bytes>) {
    let is_over = || body.borrow().as_ref().is_some_and(RequestBody::is_end_stream);
    while let Some(frame) = next(&body, &mut send).await {
        let Ok(frame) = frame else {
            return send.send_reset(Reason::CANCEL);
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    _ = send.send_trailers(trailers);
                }
                return;
            }
        };
        let is_last = is_over();
        while !data.is_empty() {
            send.reserve_capacity(data.len());
            let Some(Ok(room)) = poll_fn(|cx| send.poll_capacity(cx)).await else { return };
            let part = data.split_to(room.min(data.len()));
            let ends = is_last && data.is_empty();
            if send.send_data(part, ends).is_err() || ends {
                return;
            }
        }
    }
    if is_over() {
        _ = send.send_data(Bytes::new(), true);
    }
}

/// The next piece; none at the end, or if the upstream wants no more, or if the body was taken
/// back.
async fn next(
    body: &RefCell<Option<RequestBody>>,
    send: &mut SendStream<Bytes>,
) -> Option<Result<Frame<Bytes>, BodyError>> {
    poll_fn(|cx| {
        if send.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        match &mut *body.borrow_mut() {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    })
    .await
}

impl Future for Calling {
    type Output = Result<Response<Body>, Box<Broken>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        let answered = match state {
            State::Waiting(waiting) => Some(ready!(waiting.poll(cx))),
            State::Broken(_) | State::Over => None,
        };
        match (std::mem::replace(state, State::Over), answered) {
            (State::Waiting(waiting), Some(answered)) => Poll::Ready(waiting.ends(answered)),
            (State::Broken(broken), _) => Poll::Ready(Err(broken)),
            (State::Over | State::Waiting(_), _) => Poll::Pending,
        }
    }
}

impl Calling {
    /// Whether anything came for others on its connection meanwhile.
    pub fn is_overtaken(&self) -> bool {
        match &self.0 {
            State::Waiting(waiting) => {
                waiting.stream.wire.moves.get() != waiting.stream.moves_before
            }
            State::Broken(_) | State::Over => false,
        }
    }
}

impl Waiting {
    /// The answer, or that too much was said before it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answered> {
        while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            self.interims += 1;
            if self.interims > INTERIM_MAX {
                return Poll::Ready(Err(Cause::TooManyInterims));
            }
            let (head, ()) = interim.into_parts();
            self.exchange.foretells(head.status, head.headers);
        }
        Pin::new(&mut self.response).poll(cx).map_err(Cause::Http2)
    }

    /// What the answer comes to.
    fn ends(self, answered: Answered) -> Result<Response<Body>, Box<Broken>> {
        let Self { sent, pump, upload, exchange, headers_max, stream, .. } = self;
        stream.moves();
        match answered {
            Ok(response) if response.headers().len() > headers_max => {
                Err(Box::new(Broken { cause: Cause::TooManyHeaders, request: None, unsent: false }))
            }
            Ok(mut response) => {
                sent.forget();
                // A refusal is an answer like any other.
                let upload = upload.filter(|_| response.status().is_success());
                if upload.is_some() {
                    exchange.accept(response.headers_mut());
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                }
                // RFC 9110, section 6.4.1; HTTP/1.1 would read what follows as the next answer.
                let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
                let is_bodiless = bodiless.contains(&response.status());
                let incoming = |receive| Incoming {
                    receive,
                    is_bodiless,
                    is_data_over: false,
                    headers_max,
                    upload,
                    _pump: pump,
                    stream,
                };
                Ok(response.map(|receive| Body::Http2(incoming(receive))))
            }
            Err(Cause::Http2(error)) => {
                let request = if is_unused(&error) { sent.back() } else { None };
                Err(Box::new(Broken::new(error, request)))
            }
            Err(cause) => Err(Box::new(Broken { cause, request: None, unsent: false })),
        }
    }
}

impl Broken {
    fn new(error: h2::Error, request: Option<Outbound>) -> Self {
        let unsent = request.is_some();
        Self { cause: Cause::Http2(error), request, unsent }
    }
}

/// Whether the upstream says that it has done nothing with the request: it may be sent again,
/// whatever it means (RFC 9113, section 8.7).
pub fn is_unused(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away()
            || (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)))
}

impl Sent {
    /// It will not be sent again.
    fn forget(self) {
        if let Some(body) = &mut *self.body.borrow_mut() {
            body.keep_nothing();
        }
    }

    /// The request, if all that was taken of its body is still there.
    fn back(self) -> Option<Outbound> {
        let body = self.body.borrow_mut().take()?.rewound()?;
        Some(Box::new(Request::from_parts(self.head, body)))
    }
}

impl Incoming {
    /// Both directions of its stream, if it has become a tunnel.
    pub fn tunnel(self) -> Option<Upgraded> {
        let socket = Socket::Duplex(Box::new(Duplex::new(self.upload?, self.receive)));
        Some(Upgraded { socket, early: Bytes::new(), hold: Some(self.stream) })
    }

    /// The next piece.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_bodiless {
            return Poll::Ready(None);
        }
        if !self.is_data_over {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => {
                    _ = self.receive.flow_control().release_capacity(data.len());
                    self.stream.moves();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(broken_off(&error)),
                None => self.is_data_over = true,
            }
        }
        match ready!(self.receive.poll_trailers(cx)) {
            Ok(Some(trailers)) if trailers.len() > self.headers_max => {
                Poll::Ready(Some(Err(BodyError::Broken)))
            }
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(broken_off(&error)),
        }
    }

    /// Whether nothing more will come.
    pub fn is_end_stream(&self) -> bool {
        self.is_bodiless || self.receive.is_end_stream()
    }

    /// How much will come; the head says it better.
    pub fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

/// A stream that is reset without an error is whole: the upstream only wants no more of the
/// request (RFC 9113, section 8.1).
fn broken_off(error: &h2::Error) -> Option<Result<Frame<Bytes>, BodyError>> {
    let is_whole = error.is_reset() && error.reason() == Some(Reason::NO_ERROR);
    if is_whole { None } else { Some(Err(BodyError::Broken)) }
}

/// The status with which `socket` answers a GET of `uri` with `fields` and without a body, which
/// Weir itself asks for.
pub async fn status(socket: Socket, uri: Uri, fields: HeaderMap) -> io::Result<u16> {
    let handshake = builder(&Limits::default()).handshake(socket).await;
    let (mut sender, mut connection) = handshake.map_err(io::Error::other)?;
    settled(&sender, &mut connection).await.map_err(io::Error::other)?;
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields;
    let (response, _) = sender.send_request(request, true).map_err(io::Error::other)?;
    drop(sender);
    let mut connection = std::pin::pin!(connection);
    let mut response = std::pin::pin!(response);
    let answered = poll_fn(|cx| {
        // The answer may be there when the connection is already over.
        let over = connection.as_mut().poll(cx).is_ready();
        match response.as_mut().poll(cx) {
            Poll::Pending if over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
        }
    });
    match answered.await {
        Some(Ok(response)) => Ok(response.status().as_u16()),
        Some(Err(error)) => Err(io::Error::other(error)),
        None => Err(io::Error::other("the connection ended without an answer")),
    }
}
