//! Sockets to listen at: one a worker and address, and the lock that keeps a second Weir out.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Builder;

use super::Error;
use crate::traffic::{Table, TierName};

/// Connections that wait to be accepted, a worker; more than the kernel's own limit is cut to it.
const BACKLOG: i32 = 4096;

/// The addresses that are listened at.
#[derive(Debug, Default)]
pub struct Ports {
    bound: BTreeMap<(TierName, SocketAddr), Port>,
}

#[derive(Debug)]
struct Port {
    local: SocketAddr,
    /// Held, never accepted from.
    _lock: UnixListener,
}

/// New sockets of a tier, one a worker.
#[derive(Debug)]
pub struct Opened {
    /// The tier.
    pub tier: TierName,
    /// The address as the table has it.
    pub listen: SocketAddr,
    /// The sockets.
    pub sockets: Vec<TcpListener>,
}

/// A tier that is not listened for.
#[derive(Debug)]
pub struct Unbound {
    /// The tier.
    pub tier: TierName,
    /// Why.
    pub error: Error,
}

impl Ports {
    /// Opens what `table` has beyond what is open, and forgets what it has no more (the workers
    /// close their sockets themselves). What cannot be opened does not keep the rest from it.
    pub fn follow(&mut self, table: &Table, workers: usize) -> (Vec<Opened>, Vec<Unbound>) {
        let wanted: Vec<(TierName, SocketAddr)> =
            table.tiers.iter().map(|tier| (tier.tier.name.clone(), tier.tier.listen)).collect();
        self.bound.retain(|key, _| wanted.contains(key));
        let (mut opened, mut unbound) = (Vec::new(), Vec::new());
        for key in wanted {
            if self.bound.contains_key(&key) {
                continue;
            }
            match open(key.1, workers) {
                Ok((port, sockets)) => {
                    opened.push(Opened { tier: key.0.clone(), listen: key.1, sockets });
                    self.bound.insert(key, port);
                }
                Err(error) => unbound.push(Unbound { tier: key.0, error }),
            }
        }
        (opened, unbound)
    }

    /// Where each tier is listened for.
    pub fn local(&self) -> Vec<(TierName, SocketAddr)> {
        self.bound.iter().map(|((tier, _), port)| (tier.clone(), port.local)).collect()
    }
}

fn open(listen: SocketAddr, workers: usize) -> Result<(Port, Vec<TcpListener>), Error> {
    // With port 0 the lock comes second, since the address is not known before.
    let early = if listen.port() == 0 { None } else { Some(lock(listen)?) };
    let wrong = |source| Error::Bind { listen, hint: hint(&source), source };
    let first = bind(listen).map_err(wrong)?;
    let local = first.local_addr().map_err(wrong)?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(bind(local).map_err(wrong)?);
    }
    let lock = match early {
        Some(lock) => lock,
        None => lock(local)?,
    };
    Ok((Port { local, _lock: lock }, sockets))
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

fn hint(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == ErrorKind::AddrInUse {
        "stop the program that has it, or choose another `listen`"
    } else if kind == ErrorKind::PermissionDenied {
        "ports below 1024 need CAP_NET_BIND_SERVICE; grant it, or choose a higher port"
    } else if kind == ErrorKind::AddrNotAvailable {
        "no interface of this machine has it; choose another `listen`"
    } else {
        "choose another `listen`"
    }
}

/// Holds the name `weir/<address>` in the abstract namespace of Unix sockets: two programs of one
/// user could both bind with `SO_REUSEPORT`, and each would silently get half of the clients.
fn lock(address: SocketAddr) -> Result<UnixListener, Error> {
    let wrong = |source| Error::Lock { listen: address, source };
    let name = UnixAddress::from_abstract_name(format!("weir/{address}")).map_err(wrong)?;
    match UnixListener::bind_addr(&name) {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(Error::Taken { listen: address, holder: holder(&name) })
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
