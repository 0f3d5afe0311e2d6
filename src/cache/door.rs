//! A port of a cache: bound, or handed over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::inherited::Inherited;
use crate::traffic::Listen;

/// Connections that wait to be accepted: a pool that opens all of its connections at once.
const BACKLOG: i32 = 1024;

/// A socket that clients are accepted from; all workers have copies of the same one, so that the
/// least busy takes the next.
#[derive(Debug)]
pub struct Door(TcpListener);

impl Door {
    /// Listens at `listen`.
    pub fn open(listen: SocketAddr, inherited: &mut Inherited) -> io::Result<Self> {
        let socket = match inherited.take(&Listen::Socket(listen)).pop() {
            Some(socket) => Socket::from(socket),
            None => bound(listen)?,
        };
        let given = SockRef::from(&socket);
        given.set_nonblocking(true)?;
        // Accepted sockets inherit it.
        given.set_tcp_nodelay(true)?;
        given.set_keepalive(true)?;
        Ok(Self(socket.into()))
    }

    /// The same door for another worker.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Must be called inside a runtime.
    pub fn entrance(self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.0)
    }
}

impl From<Door> for OwnedFd {
    fn from(door: Door) -> Self {
        door.0.into()
    }
}

fn bound(listen: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
