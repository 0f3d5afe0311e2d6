//! Sockets to listen at: one a worker and address, and the lock that keeps a second Weir out. What
//! was handed over is used before anything is opened.

mod lock;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::Error;
use super::dial::keepalive;
use super::io::Socket as Stream;
use crate::inherited::Inherited;
use crate::traffic::{Listen, Listener, Table, TierName};
use lock::{lock, lock_name};

/// Connections that wait to be accepted, a worker; more than the kernel's own limit is cut to it.
const BACKLOG: i32 = 4096;

/// The addresses that are listened at.
#[derive(Debug, Default)]
pub struct Ports {
    bound: BTreeMap<Listen, Port>,
    inherited: Inherited,
    /// The names of the locks that were handed over: the process before has them as long as it drains.
    kin: BTreeSet<Vec<u8>>,
}

#[derive(Debug)]
struct Port {
    /// The real address, where the table says port 0.
    local: Listen,
    /// The tiers that listen there.
    tiers: Vec<TierName>,
    /// The sockets themselves; the workers have copies.
    sockets: Vec<Door>,
    /// Held, never accepted from.
    lock: UnixListener,
    /// Whether the path of a Unix socket goes with this process: it made it, and nobody else has
    /// the socket.
    own: bool,
}

impl Drop for Port {
    fn drop(&mut self) {
        if let (Listen::Unix(path), true) = (&self.local, self.own) {
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

impl Door {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }
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

/// New sockets.
#[derive(Debug)]
pub struct Opened {
    /// The address as the table has it.
    pub listen: Listen,
    /// The sockets of each worker.
    pub doors: Vec<Vec<Door>>,
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
    /// Nothing is listened at yet; `inherited` is used where its addresses are wanted.
    pub fn new(inherited: Inherited) -> Self {
        let kin = inherited.locks().map(<[u8]>::to_vec).collect();
        Self { bound: BTreeMap::new(), inherited, kin }
    }

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
            let mut own = self.kin.clone();
            own.extend(self.bound.values().map(|port| lock_name(&port.local)));
            match open(listener, workers, &mut self.inherited, &tiers, &own) {
                Ok((port, doors)) => {
                    opened.push(Opened { listen: listen.clone(), doors });
                    self.bound.insert(listen.clone(), port);
                }
                Err(error) => unbound.push(Unbound { tiers, error }),
            }
        }
        (opened, unbound)
    }

    /// Closes what was handed over and is not wanted.
    pub fn forgo(&mut self) {
        self.inherited = Inherited::default();
    }

    /// Where each tier is listened for.
    pub fn local(&self) -> Vec<(TierName, Listen)> {
        let ports = self.bound.values();
        ports
            .flat_map(|port| port.tiers.iter().map(|tier| (tier.clone(), port.local.clone())))
            .collect()
    }

    /// Copies of all sockets and locks, for the process that takes over.
    pub fn lend(&self) -> io::Result<Vec<OwnedFd>> {
        let mut lent = Vec::new();
        for port in self.bound.values() {
            lent.push(port.lock.try_clone()?.into());
            for socket in &port.sockets {
                lent.push(match socket.try_clone()? {
                    Door::Tcp(listener) => listener.into(),
                    Door::Unix(listener) => listener.into(),
                });
            }
        }
        Ok(lent)
    }

    /// Keeps nothing open but the locks; the workers close their own sockets.
    pub fn close(&mut self) {
        self.bound.values_mut().for_each(|port| port.sockets.clear());
    }

    /// The same, and leaves the paths of Unix sockets to another process, which has the sockets.
    pub fn leave(&mut self) {
        self.bound.values_mut().for_each(|port| port.own = false);
        self.close();
    }
}

/// An open address, the lock on it, and its sockets.
type Bound = (Listen, UnixListener, Vec<Door>);

fn open(
    listener: &Listener,
    workers: usize,
    inherited: &mut Inherited,
    tiers: &[TierName],
    own_locks: &BTreeSet<Vec<u8>>,
) -> Result<(Port, Vec<Vec<Door>>), Error> {
    let listen = &listener.listen;
    let given = inherited.take(listen);
    let own = given.is_empty();
    let (local, lock, sockets) = match listen {
        _ if !own => adopt(listen, given, inherited, own_locks)?,
        Listen::Socket(address) => open_tcp(*address, workers, own_locks)?,
        Listen::Unix(path) => open_unix(path, listener.mode, own_locks)?,
    };
    let doors = deal(&sockets, workers);
    let doors = doors.map_err(|source| Error::Bind {
        listen: listen.clone(),
        hint: hint(&source),
        source,
    })?;
    Ok((Port { local, tiers: tiers.to_vec(), sockets, lock, own }, doors))
}

/// Copies of `sockets` for each of the workers: none of the sockets is left out, since connections
/// wait in each, and no worker.
fn deal(sockets: &[Door], workers: usize) -> io::Result<Vec<Vec<Door>>> {
    let mut doors: Vec<Vec<Door>> = std::iter::repeat_with(Vec::new).take(workers).collect();
    for turn in 0..sockets.len().max(workers) {
        doors[turn % workers].push(sockets[turn % sockets.len()].try_clone()?);
    }
    Ok(doors)
}

/// Makes sockets that were handed over ready for use, and takes their lock, too.
fn adopt(
    listen: &Listen,
    given: Vec<OwnedFd>,
    inherited: &mut Inherited,
    own_locks: &BTreeSet<Vec<u8>>,
) -> Result<Bound, Error> {
    let wrong = |source| Error::Bind { listen: listen.clone(), hint: hint(&source), source };
    let ready = |socket: OwnedFd| -> io::Result<Door> {
        SockRef::from(&socket).set_nonblocking(true)?;
        Ok(match listen {
            Listen::Socket(_) => {
                // Accepted sockets inherit it.
                SockRef::from(&socket).set_tcp_nodelay(true)?;
                SockRef::from(&socket).set_tcp_keepalive(&keepalive())?;
                Door::Tcp(socket.into())
            }
            Listen::Unix(_) => Door::Unix(socket.into()),
        })
    };
    let sockets: io::Result<Vec<Door>> = given.into_iter().map(ready).collect();
    let held = match inherited.take_lock(&lock_name(listen)) {
        Some(held) => {
            // Whoever is kept out is told the process that listens: from now on this one.
            SockRef::from(&held).listen(1).map_err(wrong)?;
            held
        }
        None => lock(listen, own_locks)?,
    };
    Ok((listen.clone(), held, sockets.map_err(wrong)?))
}

fn open_tcp(
    address: SocketAddr,
    workers: usize,
    own_locks: &BTreeSet<Vec<u8>>,
) -> Result<Bound, Error> {
    // With port 0 the lock comes second, since the address is not known before.
    let early = if address.port() == 0 { None } else { Some(lock(&address.into(), own_locks)?) };
    let wrong = |source| Error::Bind { listen: address.into(), hint: hint(&source), source };
    let first = bind(address).map_err(wrong)?;
    let local = first.local_addr().map_err(wrong)?;
    let mut sockets = vec![Door::Tcp(first)];
    for _ in 1..workers {
        sockets.push(Door::Tcp(bind(local).map_err(wrong)?));
    }
    let lock = match early {
        Some(lock) => lock,
        None => lock(&local.into(), own_locks)?,
    };
    Ok((local.into(), lock, sockets))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A Unix socket; all workers accept from the same one.
fn open_unix(path: &Path, mode: u32, own_locks: &BTreeSet<Vec<u8>>) -> Result<Bound, Error> {
    let listen = Listen::Unix(path.to_owned());
    let lock = lock(&listen, own_locks)?;
    let wrong = |source| Error::Bind { listen: listen.clone(), hint: hint(&source), source };
    let socket = bind_unix(path, mode).map_err(wrong)?;
    Ok((listen, lock, vec![Door::Unix(socket)]))
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
