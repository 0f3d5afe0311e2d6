//! Connections to upstreams: a stack of idle ones per upstream and worker, and how one is made.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tower::Service;

use super::body::RequestBody;
use super::io::{Io, Socket};
use super::view::{ReleaseView, UpstreamView};
use crate::traffic::{Address, Limits};

/// Most bytes that are read or written in one piece on a connection.
pub const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// An open connection to an upstream.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<RequestBody>,
    idle_since: Instant,
}

/// Why a connection gave no answer.
#[derive(Debug)]
pub struct Broken {
    /// What hyper says.
    pub error: hyper::Error,
    /// The request, if nothing of it was sent.
    pub request: Option<Request<RequestBody>>,
}

impl Connection {
    /// Opens a connection to `upstream`.
    pub async fn open(upstream: &UpstreamView, limits: &Limits) -> io::Result<Self> {
        let (socket, resolved) = connect(&upstream.address, upstream.resolved.get()).await?;
        upstream.resolved.set(resolved);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(CHUNK_BYTES_MAX.max(limits.head_bytes));
        if limits.headers != Limits::default().headers {
            builder.max_headers(limits.headers);
        }
        let (sender, connection) =
            builder.handshake(Io::new(socket)).await.map_err(io::Error::other)?;
        // Its own task: it notices when an idle connection is closed.
        tokio::task::spawn_local(async move { _ = connection.with_upgrades().await });
        Ok(Self { sender, idle_since: Instant::now() })
    }

    /// Whether it can take a request now.
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it is closed, as far as is known.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How long it has been idle.
    pub fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }

    /// Waits until it can take a request; false if it is closed.
    pub async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Looks whether it is still open: what has come in until now is read, an end as well.
    pub async fn look(&self) -> bool {
        // The runtime asks the kernel before it comes back here, and the connection's own task,
        // woken by then, stands before this one in the queue.
        tokio::task::yield_now().await;
        !self.is_closed()
    }
}

impl Service<Request<RequestBody>> for Connection {
    type Response = Response<Incoming>;
    type Error = Box<Broken>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Box<Broken>>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<Broken>>> {
        let broken = |error| Box::new(Broken { error, request: None });
        self.sender.poll_ready(cx).map_err(broken)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let sent = self.sender.try_send_request(request);
        Box::pin(async move {
            sent.await.map_err(|mut failed| {
                let request = failed.take_message();
                Box::new(Broken { error: failed.into_error(), request })
            })
        })
    }
}

/// Connects to `address`; for a name says which of its addresses worked. `last` is the one that
/// worked before, used while the resolver fails.
pub async fn connect(
    address: &Address,
    last: Option<SocketAddr>,
) -> io::Result<(Socket, Option<SocketAddr>)> {
    match address {
        Address::Socket(address) => Ok((tcp(*address).await?, None)),
        Address::Unix(path) => Ok((Socket::Unix(UnixStream::connect(path).await?), None)),
        Address::Name(host, port) => {
            let addresses = match (lookup_host((host.as_str(), *port)).await, last) {
                (Ok(addresses), _) => addresses.collect(),
                (Err(_), Some(last)) => vec![last],
                (Err(error), None) => return Err(error),
            };
            let mut failure = io::Error::other("the name has no address");
            for address in addresses {
                match tcp(address).await {
                    Ok(socket) => return Ok((socket, Some(address))),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        }
    }
}

async fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(Socket::Tcp(socket))
}

/// A request on its way: counts at its upstream and its release until it is dropped.
#[derive(Debug)]
pub struct Busy {
    /// The upstream.
    pub upstream: Rc<UpstreamView>,
    release: Rc<ReleaseView>,
}

impl Busy {
    /// A request of `release` goes to `upstream`.
    pub fn new(release: &Rc<ReleaseView>, upstream: &Rc<UpstreamView>) -> Self {
        upstream.busy.set(upstream.busy.get() + 1);
        release.writer.begins();
        Self { upstream: Rc::clone(upstream), release: Rc::clone(release) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.upstream.busy.set(self.upstream.busy.get().saturating_sub(1));
        self.release.writer.ends();
    }
}

impl UpstreamView {
    /// The connection that was idle for the shortest time, if one is open.
    pub fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps `connection` for the next request, unless there are `most` already.
    pub fn keep(&self, mut connection: Connection, now: Instant, most: usize) {
        let mut idle = self.idle.borrow_mut();
        if !connection.is_closed() && idle.len() < most {
            connection.idle_since = now;
            idle.push(connection);
        }
    }

    /// Closes what has been idle for longer than `limit`.
    pub fn sweep(&self, now: Instant, limit: Duration) {
        self.idle.borrow_mut().retain(|kept| !kept.is_closed() && kept.idle(now) <= limit);
    }
}
