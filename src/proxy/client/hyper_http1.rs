//! HTTP/1.1 by hyper: each connection has a task of its own.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::client::conn::http1::{self, SendRequest};

use super::{Body, Broken, Cause, answer_bytes_max};
use crate::proxy::body::RequestBody;
use crate::proxy::io::{Io, Socket};
use crate::traffic::Limits;

/// An open connection.
#[derive(Debug)]
pub struct HyperHttp1 {
    sender: SendRequest<RequestBody>,
}

/// How hyper reads answers.
pub fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(answer_bytes_max(limits));
    if limits.headers != Limits::default().headers {
        builder.max_headers(limits.headers);
    }
    builder
}

type Outcome = Result<Response<Body>, Box<Broken>>;

/// An answer on its way; boxed, since hyper's future has no name.
pub struct Calling(Pin<Box<dyn Future<Output = Outcome>>>);

impl HyperHttp1 {
    /// Begins to speak HTTP on `socket`.
    pub async fn begin(socket: Socket, limits: &Limits) -> io::Result<Self> {
        let (sender, connection) =
            builder(limits).handshake(Io::new(socket)).await.map_err(io::Error::other)?;
        // Its own task: it notices when an idle connection is closed.
        tokio::task::spawn_local(async move { _ = connection.with_upgrades().await });
        Ok(Self { sender })
    }

    /// Whether it can take a request now.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it is closed, as far as is known.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until it can take a request.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<Broken>>> {
        let broken =
            |error| Box::new(Broken { cause: Cause::Hyper(error), request: None, unsent: true });
        self.sender.poll_ready(cx).map_err(broken)
    }

    /// Looks whether it is still open: what has come in until now is read, an end as well.
    pub async fn look(&self) -> bool {
        // The runtime asks the kernel before it comes back here, and the connection's own task,
        // woken by then, stands before this one in the queue.
        tokio::task::yield_now().await;
        !self.is_closed()
    }

    /// Sends `request`.
    pub fn call(&mut self, request: Request<RequestBody>) -> Calling {
        let sent = self.sender.try_send_request(request);
        Calling(Box::pin(async move {
            match sent.await {
                Ok(response) => Ok(response.map(Body::Hyper)),
                Err(mut failed) => {
                    let request = failed.take_message().map(Box::new);
                    let (cause, unsent) = (Cause::Hyper(failed.into_error()), request.is_some());
                    Err(Box::new(Broken { cause, request, unsent }))
                }
            }
        }))
    }
}

impl Future for Calling {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calling").finish_non_exhaustive()
    }
}
