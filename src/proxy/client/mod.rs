//! Clients to upstreams: one connection, whichever protocol it speaks, takes a request and gives
//! an answer.

mod decoder;
mod desk;
mod http1;
pub mod http2;
mod hyper_http1;
mod request;
mod response;
mod tunnel;
mod wire;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::upgrade::OnUpgrade;
use tower::Service;

use super::body::{BodyError, Outbound, RequestBody};
use super::dial::{Dialed, Protocol};
use super::io::CHUNK_BYTES_MAX;
use super::io::{Io, Socket};
use super::pipe::Conduit;
use crate::traffic::Limits;
use http1::Http1;
use http2::Http2;
use hyper_http1::HyperHttp1;
pub use tunnel::Duplex;
use wire::Fault;

/// Whose HTTP/1.1 is spoken with upstreams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamClient {
    /// hyper's.
    Hyper,
    /// Weir's own.
    #[default]
    Weir,
}

/// Longest head of an answer, in bytes: the same for either client.
fn answer_bytes_max(limits: &Limits) -> usize {
    CHUNK_BYTES_MAX.max(limits.head_bytes)
}

/// An open connection to an upstream.
#[derive(Debug)]
pub enum Connection {
    /// HTTP/1.1 of our own.
    Http1(Http1<RequestBody>),
    /// HTTP/2.
    Http2(Http2),
    /// HTTP/1.1 by hyper.
    HyperHttp1(HyperHttp1),
}

/// An answer on its way.
#[derive(Debug)]
pub enum Calling {
    /// By our own HTTP/1.1.
    Http1(http1::Calling<RequestBody>),
    /// By HTTP/2.
    Http2(http2::Calling),
    /// By hyper's HTTP/1.1.
    HyperHttp1(hyper_http1::Calling),
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// By our own HTTP/1.1.
    Http1(http1::Answer<RequestBody>),
    /// By HTTP/2.
    Http2(http2::Incoming),
    /// By hyper.
    Hyper(Incoming),
}

/// Why a connection gave no answer.
#[derive(Debug)]
pub struct Broken<B = RequestBody> {
    /// What is wrong.
    pub cause: Cause,
    /// The request, if it can be had back.
    pub request: Option<Box<Request<B>>>,
    /// Nothing of it was sent, or the upstream says that it did nothing with it.
    pub unsent: bool,
}

/// What is wrong with a connection.
#[derive(Debug)]
pub enum Cause {
    /// What our own HTTP/1.1 says.
    Http1(Fault),
    /// What the upstream or the protocol says.
    Http2(h2::Error),
    /// What hyper says.
    Hyper(hyper::Error),
    /// The answer has more header lines than allowed.
    TooManyHeaders,
    /// More is said before the answer than allowed.
    TooManyInterims,
}

/// A connection that has changed protocol.
#[derive(Debug)]
pub struct Upgraded {
    /// Its socket.
    pub socket: Socket,
    /// What had come in already behind the head of the answer.
    pub early: Bytes,
    /// Counts its stream as one that is open, with HTTP/2, and holds its connection.
    pub hold: Option<http2::Stream>,
}

/// A connection that is about to change protocol.
#[derive(Debug)]
pub enum Upgrading {
    /// By our own HTTP/1.1, or by HTTP/2.
    Own(Option<Upgraded>),
    /// By hyper, whose task hands the socket over; the connection lasts until then.
    Hyper(OnUpgrade, Connection),
}

impl Connection {
    /// Begins to speak on a socket.
    pub async fn begin(
        dialed: Dialed,
        limits: &Limits,
        client: UpstreamClient,
    ) -> io::Result<Self> {
        let socket = dialed.socket;
        match (dialed.protocol, client) {
            (Protocol::Http1, UpstreamClient::Hyper) => {
                HyperHttp1::begin(socket, limits).await.map(Self::HyperHttp1)
            }
            (Protocol::Http1, UpstreamClient::Weir) => {
                Ok(Self::Http1(Http1::begin(socket, limits)))
            }
            (Protocol::Http2, _) => Http2::begin(socket, limits).await.map(Self::Http2),
        }
    }

    /// Another hold on the same connection, if its protocol carries many requests at once.
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Http2(connection) => Some(Self::Http2(connection.share())),
            Self::Http1(_) | Self::HyperHttp1(_) => None,
        }
    }

    /// Whether its protocol carries many requests at once.
    pub const fn is_shared(&self) -> bool {
        match self {
            Self::Http2(_) => true,
            Self::Http1(_) | Self::HyperHttp1(_) => false,
        }
    }

    /// Whether a request without a body comes back when it gets no answer.
    pub const fn gives_back(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(_) | Self::HyperHttp1(_) => false,
        }
    }

    /// Whether it can take one more request beside those it carries.
    pub fn has_room(&self) -> bool {
        match self {
            Self::Http2(connection) => connection.has_room(),
            Self::Http1(_) | Self::HyperHttp1(_) => false,
        }
    }

    /// Whether no request is under way on it, for one that carries many.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Http2(connection) => connection.is_idle(),
            Self::Http1(_) | Self::HyperHttp1(_) => true,
        }
    }

    /// An answer did not come in time: takes no further request, whoever holds it.
    pub fn retire(&self) {
        match self {
            Self::Http2(connection) => connection.retire(),
            Self::Http1(_) | Self::HyperHttp1(_) => {}
        }
    }

    /// Whether it can take a request now.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_ready(),
            Self::Http2(_) => true,
            Self::HyperHttp1(connection) => connection.is_ready(),
        }
    }

    /// Whether it is closed, as far as is known.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_closed(),
            Self::Http2(connection) => connection.is_closed(),
            Self::HyperHttp1(connection) => connection.is_closed(),
        }
    }

    /// Whether it can take no request any more, as far as is known from those that it took: whether it
    /// was closed meanwhile is looked at when it is needed.
    pub fn is_spent(&self) -> bool {
        match self {
            Self::Http1(connection) => !connection.is_ready(),
            Self::Http2(_) | Self::HyperHttp1(_) => self.is_closed(),
        }
    }

    /// Waits until it can take a request; false if it is closed.
    pub async fn ready(&mut self) -> bool {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await.is_ok()
    }

    /// Looks whether it is still open: what has come in until now is read, an end as well.
    pub async fn look(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.look(),
            Self::Http2(connection) => connection.look().await,
            Self::HyperHttp1(connection) => connection.look().await,
        }
    }

    /// Whether a WebSocket may go through it: over HTTP/2 the upstream must have said so (RFC 8441).
    pub fn tunnels(&self) -> bool {
        match self {
            Self::Http2(connection) => connection.tunnels(),
            Self::Http1(_) | Self::HyperHttp1(_) => true,
        }
    }

    /// Gives up the connection, which has answered with `response` that it changes protocol; of
    /// HTTP/2 a stream.
    pub fn upgrade(self, response: &mut Response<Body>) -> Upgrading {
        match self {
            Self::Http1(connection) => Upgrading::Own(connection.upgrade()),
            Self::Http2(_) => Upgrading::Own(response.body_mut().take_tunnel()),
            Self::HyperHttp1(_) => Upgrading::Hyper(hyper::upgrade::on(response), self),
        }
    }
}

impl Service<Outbound> for Connection {
    type Response = Response<Body>;
    type Error = Box<Broken>;
    type Future = Calling;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<Broken>>> {
        match self {
            Self::Http1(connection) => Poll::Ready(connection.ready()),
            Self::Http2(connection) => connection.poll_ready(cx),
            Self::HyperHttp1(connection) => connection.poll_ready(cx),
        }
    }

    fn call(&mut self, mut request: Outbound) -> Calling {
        let exchange = Rc::clone(request.body().exchange());
        let added = exchange.added.borrow();
        match self {
            Self::Http1(connection) => {
                let calling = connection.call(request, &added);
                Calling::Http1(calling.heard_by(Rc::clone(&exchange)))
            }
            Self::Http2(connection) => {
                added.put_into(request.headers_mut());
                Calling::Http2(connection.call(*request))
            }
            Self::HyperHttp1(connection) => {
                added.put_into(request.headers_mut());
                Calling::HyperHttp1(connection.call(*request))
            }
        }
    }
}

impl Calling {
    /// The request, if it can be had back from an upstream that does not answer.
    pub fn take_back(&mut self) -> Option<Outbound> {
        match self {
            Self::Http1(calling) => calling.take_back(),
            Self::Http2(_) | Self::HyperHttp1(_) => None,
        }
    }

    /// Whether others on its connection got answers while it waited: the connection is well.
    pub fn is_overtaken(&self) -> bool {
        match self {
            Self::Http2(calling) => calling.is_overtaken(),
            Self::Http1(_) | Self::HyperHttp1(_) => false,
        }
    }
}

impl Future for Calling {
    type Output = Result<Response<Body>, Box<Broken>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Http1(calling) => {
                Pin::new(calling).poll(cx).map_ok(|response| response.map(Body::Http1))
            }
            Self::Http2(calling) => Pin::new(calling).poll(cx),
            Self::HyperHttp1(calling) => Pin::new(calling).poll(cx),
        }
    }
}

impl Body {
    /// The next part past this process, by way of `conduit`; none where it is to be read.
    pub fn poll_pass(&self, cx: &mut Context<'_>, conduit: &Conduit) -> Option<wire::Part> {
        match self {
            Self::Http1(answer) => answer.poll_pass(cx, conduit),
            Self::Http2(_) | Self::Hyper(_) => None,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(answer) => Pin::new(answer).poll_frame(cx),
            Self::Http2(incoming) => incoming.poll_frame(cx),
            Self::Hyper(incoming) => {
                Pin::new(incoming).poll_frame(cx).map_err(|_| BodyError::Broken)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(answer) => answer.is_end_stream(),
            Self::Http2(incoming) => incoming.is_end_stream(),
            Self::Hyper(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(answer) => answer.size_hint(),
            Self::Http2(incoming) => incoming.size_hint(),
            Self::Hyper(incoming) => incoming.size_hint(),
        }
    }
}

impl Body {
    /// The stream of HTTP/2 that has become a tunnel, and nothing left of the body.
    fn take_tunnel(&mut self) -> Option<Upgraded> {
        match std::mem::replace(self, Self::Http1(http1::Answer::Whole(Bytes::new()))) {
            Self::Http2(incoming) => incoming.tunnel(),
            Self::Http1(_) | Self::Hyper(_) => None,
        }
    }
}

impl Cause {
    /// Whether what came in is not HTTP.
    pub fn is_parse(&self) -> bool {
        match self {
            // What this side found wrong, as opposed to what the other side or the wire did.
            Self::Http2(error) => error.is_library() && !error.is_io(),
            Self::Http1(fault) => matches!(fault, Fault::Malformed(_)),
            Self::Hyper(error) => error.is_parse(),
            Self::TooManyHeaders | Self::TooManyInterims => true,
        }
    }

    /// Whether the upstream says that it did nothing with the request.
    pub fn is_unused(&self) -> bool {
        match self {
            Self::Http2(error) => http2::is_unused(error),
            Self::Http1(_) | Self::Hyper(_) | Self::TooManyHeaders | Self::TooManyInterims => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http1(fault) => fault.fmt(f),
            Self::Http2(error) => error.fmt(f),
            Self::Hyper(error) => error.fmt(f),
            Self::TooManyHeaders => f.write_str("its answer has too many header lines"),
            Self::TooManyInterims => f.write_str("its answer begins too often (1xx)"),
        }
    }
}

impl Upgrading {
    /// Waits for the socket; none if the connection broke.
    pub async fn finish(self) -> Option<Upgraded> {
        match self {
            Self::Own(upgraded) => upgraded,
            Self::Hyper(upgrading, connection) => {
                let parts = upgrading.await.ok()?.downcast::<Io>().ok()?;
                drop(connection);
                Some(Upgraded { socket: parts.io.socket, early: parts.read_buf, hold: None })
            }
        }
    }
}

#[cfg(test)]
mod tests;
