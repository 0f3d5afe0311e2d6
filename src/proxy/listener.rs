//! Sockets to listen at: one a worker and address, and the lock that keeps a second Weir out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::runtime::Builder;

use super::Error;
use super::io::Socket as Stream;
use crate::traffic::{Listen, Listener, Table, TierName};

/// Connections that wait to be accepted, a worker; more than the kernel's own limit is cut to it.
const BACKLOG: i32 = 4096;

/// What a name in the abstract namespace may have (`sockaddr_un` less its leading zero).
const LOCK_BYTES_MAX: usize = 107;

/// The addresses that are listened at.
#[derive(Debug, Default)]
pub struct Ports {
    bound: BTreeMap<Listen, Port>,
}

#[derive(Debug)]
struct Port {
    /// The real address, where the table says port 0.
    local: Listen,
    /// The tiers that listen there.
    tiers: Vec<TierName>,
    /// Held, never accepted from.
    _lock: UnixListener,
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Listen::Unix(path) = &self.local {
            _ = std::fs::remove_file(path);
        }
    }
}

/// A socket that clients are accepted from.
#[derive(Debug)]
pub enum Door {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A [`Door`] as one worker has it.
#[derive(Debug)]
pub enum Entrance {
    /// A TCP socket.
    Tcp(tokio::net::TcpListener),
    /// A Unix socket.
    Unix(tokio::net::UnixListener),
}

impl Entrance {
    /// Must be called inside a runtime.
    pub fn new(door: Door) -> io::Result<Self> {
        Ok(match door {
            Door::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Door::Unix(listener) => Self::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }

    /// The next connection and the address it comes from; a Unix socket has none, and stands for
    /// this machine.
    pub async fn accept(&self) -> io::Result<(Stream, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok((Stream::Tcp(socket), peer.ip()))
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok((Stream::Unix(socket), Ipv4Addr::LOCALHOST.into()))
            }
        }
    }

    /// A connection that already waits.
    pub async fn accept_waiting(&self) -> Option<io::Result<(Stream, IpAddr)>> {
        let mut accept = std::pin::pin!(self.accept());
        std::future::poll_fn(|cx| match accept.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}

/// New sockets, one a worker.
#[derive(Debug)]
pub struct Opened {
    /// The address as the table has it.
    pub listen: Listen,
    /// The sockets.
    pub doors: Vec<Door>,
}

/// An address that cannot be listened at.
#[derive(Debug)]
pub struct Unbound {
    /// The tiers that are not served for it.
    pub tiers: Vec<TierName>,
    /// Why.
    pub error: Error,
}

impl Ports {
    /// Opens what `table` has beyond what is open, and forgets what it has no more (the workers
    /// close their sockets themselves). What cannot be opened does not keep the rest from it.
    pub fn follow(&mut self, table: &Table, workers: usize) -> (Vec<Opened>, Vec<Unbound>) {
        let listeners: Vec<&Arc<Listener>> =
            table.tiers.iter().map(|tier| &tier.tier.listener).collect();
        let wanted: BTreeSet<&Listen> = listeners.iter().map(|one| &one.listen).collect();
        self.bound.retain(|listen, _| wanted.contains(listen));
        let (mut opened, mut unbound) = (Vec::new(), Vec::new());
        for listener in listeners {
            let listen = &listener.listen;
            let here = table.tiers.iter().filter(|tier| tier.tier.listener.listen == *listen);
            let tiers: Vec<TierName> = here.map(|tier| tier.tier.name.clone()).collect();
            if let Some(port) = self.bound.get_mut(listen) {
                port.tiers = tiers;
                continue;
            }
            match open(listener, workers) {
                Ok((local, lock, doors)) => {
                    opened.push(Opened { listen: listen.clone(), doors });
                    self.bound.insert(listen.clone(), Port { local, tiers, _lock: lock });
                }
                Err(error) => unbound.push(Unbound { tiers, error }),
            }
        }
        (opened, unbound)
    }

    /// Where each tier is listened for.
    pub fn local(&self) -> Vec<(TierName, Listen)> {
        let ports = self.bound.values();
        ports
            .flat_map(|port| port.tiers.iter().map(|tier| (tier.clone(), port.local.clone())))
            .collect()
    }
}

type Bound = (Listen, UnixListener, Vec<Door>);

fn open(listener: &Listener, workers: usize) -> Result<Bound, Error> {
    match &listener.listen {
        Listen::Socket(address) => open_tcp(*address, workers),
        Listen::Unix(path) => open_unix(path, listener.mode, workers),
    }
}

fn open_tcp(address: SocketAddr, workers: usize) -> Result<Bound, Error> {
    // With port 0 the lock comes second, since the address is not known before.
    let early = if address.port() == 0 { None } else { Some(lock(&address.into())?) };
    let wrong = |source| Error::Bind { listen: address.into(), hint: hint(&source), source };
    let first = bind(address).map_err(wrong)?;
    let local = first.local_addr().map_err(wrong)?;
    let mut doors = vec![Door::Tcp(first)];
    for _ in 1..workers {
        doors.push(Door::Tcp(bind(local).map_err(wrong)?));
    }
    let lock = match early {
        Some(lock) => lock,
        None => lock(&local.into())?,
    };
    Ok((local.into(), lock, doors))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A Unix socket; all workers accept from the same one.
fn open_unix(path: &Path, mode: u32, workers: usize) -> Result<Bound, Error> {
    let listen = Listen::Unix(path.to_owned());
    let lock = lock(&listen)?;
    let wrong = |source| Error::Bind { listen: listen.clone(), hint: hint(&source), source };
    let first = bind_unix(path, mode).map_err(wrong)?;
    let mut doors = Vec::with_capacity(workers);
    for _ in 1..workers {
        doors.push(Door::Unix(first.try_clone().map_err(wrong)?));
    }
    doors.push(Door::Unix(first));
    Ok((listen, lock, doors))
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(ErrorKind::AddrInUse.into()),
        // What a process left behind that was killed.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before anybody can connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn hint(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == ErrorKind::AddrInUse {
        "stop the program that has it, or choose another `listen`"
    } else if kind == ErrorKind::PermissionDenied {
        "ports below 1024 need CAP_NET_BIND_SERVICE, a socket's folder must be writable; grant it, \
         or choose another `listen`"
    } else if kind == ErrorKind::AddrNotAvailable {
        "no interface of this machine has it; choose another `listen`"
    } else {
        "choose another `listen`"
    }
}

/// Holds the name `weir/<address>` in the abstract namespace of Unix sockets: two programs of one
/// user could both bind with `SO_REUSEPORT`, and each would silently get half of the clients.
fn lock(listen: &Listen) -> Result<UnixListener, Error> {
    let wrong = |source| Error::Lock { listen: listen.clone(), source };
    let mut text = format!("weir/{listen}").into_bytes();
    // Of a long path the end tells more.
    text.drain(..text.len().saturating_sub(LOCK_BYTES_MAX));
    let name = UnixAddress::from_abstract_name(text).map_err(wrong)?;
    match UnixListener::bind_addr(&name) {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(Error::Taken { listen: listen.clone(), holder: holder(&name) })
        }
        Err(error) => Err(wrong(error)),
    }
}

/// The process that holds the lock `name`, in words; empty if it cannot be learned.
fn holder(name: &UnixAddress) -> String {
    let process = || -> io::Result<Option<i32>> {
        let stream = UnixStream::connect_addr(name)?;
        stream.set_nonblocking(true)?;
        // Nothing runs on it: tokio is asked only because it knows the call.
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let _inside = runtime.enter();
        Ok(tokio::net::UnixStream::from_std(stream)?.peer_cred()?.pid())
    };
    match process() {
        Ok(Some(process)) => format!(" (process {process})"),
        Ok(None) | Err(_) => String::new(),
    }
}
