//! Clients to upstreams: one connection, whichever protocol it speaks, takes a request and gives
//! an answer.

mod hyper_http1;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::upgrade::OnUpgrade;
use tower::Service;

use super::body::{BodyError, RequestBody};
use super::dial;
use super::io::{Io, Socket};
use super::view::UpstreamView;
use crate::traffic::Limits;
use hyper_http1::HyperHttp1;

/// An open connection to an upstream.
#[derive(Debug)]
pub enum Connection {
    /// HTTP/1.1 by hyper.
    HyperHttp1(HyperHttp1),
}

/// An answer on its way.
#[derive(Debug)]
pub enum Calling {
    /// By hyper's HTTP/1.1.
    HyperHttp1(hyper_http1::Calling),
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// By hyper.
    Hyper(Incoming),
}

/// Why a connection gave no answer.
#[derive(Debug)]
pub struct Broken {
    /// What is wrong.
    pub cause: Cause,
    /// The request, if nothing of it was sent.
    pub request: Option<Request<RequestBody>>,
}

/// What is wrong with a connection.
#[derive(Debug)]
pub enum Cause {
    /// What hyper says.
    Hyper(hyper::Error),
}

/// A connection that has changed protocol.
#[derive(Debug)]
pub struct Upgraded {
    /// Its socket.
    pub socket: Socket,
    /// What had come in already behind the head of the answer.
    pub early: Bytes,
}

/// A connection that is about to change protocol.
#[derive(Debug)]
pub enum Upgrading {
    /// By hyper, whose task hands the socket over; the connection lasts until then.
    Hyper(OnUpgrade, Connection),
}

impl Connection {
    /// Opens a connection to `upstream`.
    pub async fn open(upstream: &UpstreamView, limits: &Limits) -> io::Result<Self> {
        let last = upstream.resolved.get();
        let (socket, resolved) =
            dial::connect(&upstream.address, last, upstream.tls.as_ref()).await?;
        upstream.resolved.set(resolved);
        Ok(Self::HyperHttp1(HyperHttp1::begin(socket, limits).await?))
    }

    /// Another hold on the same connection, if its protocol carries many requests at once.
    pub const fn share(&self) -> Option<Self> {
        match self {
            Self::HyperHttp1(_) => None,
        }
    }

    /// Whether it can take a request now.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::HyperHttp1(connection) => connection.is_ready(),
        }
    }

    /// Whether it is closed, as far as is known.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::HyperHttp1(connection) => connection.is_closed(),
        }
    }

    /// Waits until it can take a request; false if it is closed.
    pub async fn ready(&mut self) -> bool {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await.is_ok()
    }

    /// Looks whether it is still open: what has come in until now is read, an end as well.
    pub async fn look(&self) -> bool {
        match self {
            Self::HyperHttp1(connection) => connection.look().await,
        }
    }

    /// Gives up the connection, which has answered with `response` that it changes protocol.
    pub fn upgrade(self, response: &mut Response<Body>) -> Upgrading {
        match self {
            Self::HyperHttp1(_) => Upgrading::Hyper(hyper::upgrade::on(response), self),
        }
    }
}

impl Service<Request<RequestBody>> for Connection {
    type Response = Response<Body>;
    type Error = Box<Broken>;
    type Future = Calling;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<Broken>>> {
        match self {
            Self::HyperHttp1(connection) => connection.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<RequestBody>) -> Calling {
        match self {
            Self::HyperHttp1(connection) => Calling::HyperHttp1(connection.call(request)),
        }
    }
}

impl Future for Calling {
    type Output = Result<Response<Body>, Box<Broken>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::HyperHttp1(calling) => Pin::new(calling).poll(cx),
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
            Self::Hyper(incoming) => {
                Pin::new(incoming).poll_frame(cx).map_err(|_| BodyError::Broken)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(incoming) => incoming.size_hint(),
        }
    }
}

impl Cause {
    /// Whether what came in is not HTTP.
    pub fn is_parse(&self) -> bool {
        match self {
            Self::Hyper(error) => error.is_parse(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hyper(error) => error.fmt(f),
        }
    }
}

impl Upgrading {
    /// Waits for the socket; none if the connection broke.
    pub async fn finish(self) -> Option<Upgraded> {
        match self {
            Self::Hyper(upgrading, connection) => {
                let parts = upgrading.await.ok()?.downcast::<Io>().ok()?;
                drop(connection);
                Some(Upgraded { socket: parts.io.socket, early: parts.read_buf })
            }
        }
    }
}
