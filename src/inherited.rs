//! Listening sockets that were handed to this process: by the service manager, or by the Weir that
//! it replaces.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockRef, Type};
use thiserror::Error;

use crate::traffic::Listen;

/// Sockets that wait for whoever is to listen at their address. What nobody takes is closed.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(Sort, OwnedFd)>,
}

/// What a socket is for, told by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sort {
    /// Clients or orders come in there.
    Listen(Listen),
    /// It keeps a second Weir off an address: a name in the abstract namespace.
    Lock(Vec<u8>),
    /// A Weir that is to take over asks there.
    Handover(PathBuf),
}

/// A socket that cannot be used.
#[derive(Debug, Error)]
#[error("the socket {name} that was handed over cannot be used: {what}")]
pub struct Unusable {
    /// Its name or number.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
}

impl Inherited {
    /// Takes `sockets` in, each with the name that a complaint calls it.
    ///
    /// # Errors
    /// One is no listening stream socket.
    pub fn new(sockets: impl IntoIterator<Item = (OwnedFd, String)>) -> Result<Self, Unusable> {
        let known = |(socket, name): (OwnedFd, String)| match sort(&socket) {
            Ok(Ok(sort)) => Ok((sort, socket)),
            Ok(Err(what)) => Err(Unusable { name, what: what.into() }),
            Err(error) => Err(Unusable { name, what: error.to_string() }),
        };
        let sockets: Result<Vec<_>, _> = sockets.into_iter().map(known).collect();
        Ok(Self { sockets: sockets? })
    }

    /// Takes in what `other` has, too.
    pub fn extend(&mut self, other: Self) {
        self.sockets.extend(other.sockets);
    }

    /// The sockets that listen at `listen`: one, or one for each worker of the process before.
    pub fn take(&mut self, listen: &Listen) -> Vec<OwnedFd> {
        let listens = |sort: &Sort| matches!(sort, Sort::Listen(there) if there == listen);
        let taken = self.sockets.extract_if(.., |(sort, _)| listens(sort));
        taken.map(|(_, socket)| socket).collect()
    }

    /// The lock called `name`.
    pub fn take_lock(&mut self, name: &[u8]) -> Option<UnixListener> {
        let place = self.sockets.iter().position(|(sort, _)| *sort == Sort::Lock(name.to_vec()))?;
        Some(self.sockets.swap_remove(place).1.into())
    }

    /// The names of the locks.
    pub fn locks(&self) -> impl Iterator<Item = &[u8]> {
        self.sockets.iter().filter_map(|(sort, _)| match sort {
            Sort::Lock(name) => Some(&name[..]),
            Sort::Listen(_) | Sort::Handover(_) => None,
        })
    }

    /// The socket at `path` where a hand-over is asked for.
    pub fn take_handover(&mut self, path: &Path) -> Option<UnixListener> {
        let wanted = Sort::Handover(path.to_owned());
        let place = self.sockets.iter().position(|(sort, _)| *sort == wanted)?;
        Some(self.sockets.swap_remove(place).1.into())
    }

    /// The addresses that are not in `wanted`.
    pub fn unwanted(&self, wanted: &BTreeSet<Listen>) -> BTreeSet<Listen> {
        let listens = |(sort, _): &(Sort, OwnedFd)| match sort {
            Sort::Listen(listen) => Some(listen.clone()),
            Sort::Lock(_) | Sort::Handover(_) => None,
        };
        self.sockets.iter().filter_map(listens).filter(|there| !wanted.contains(there)).collect()
    }
}

fn sort(socket: &OwnedFd) -> io::Result<Result<Sort, &'static str>> {
    let socket = SockRef::from(socket);
    if !socket.is_listener()? {
        return Ok(Err("it does not listen; use ListenStream="));
    }
    let (local, kind) = (socket.local_addr()?, socket.r#type()?);
    let path = local.as_pathname().map(Path::to_owned);
    Ok(if kind == Type::STREAM {
        let listen = local.as_socket().map(Listen::Socket).or(path.map(Listen::Unix));
        let lock = || local.as_abstract_namespace().map(|name| Sort::Lock(name.to_vec()));
        listen.map(Sort::Listen).or_else(lock).ok_or("it has no address")
    } else if kind == Type::SEQPACKET && local.domain() == Domain::UNIX {
        path.map(Sort::Handover).ok_or("it has no path")
    } else {
        Err("it is no stream socket; use ListenStream=")
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use super::*;

    fn named<T: Into<OwnedFd>>(socket: T) -> (OwnedFd, String) {
        (socket.into(), "weir.socket".into())
    }

    #[test]
    fn sockets_are_known_by_their_address() {
        let folder = tempfile::tempdir().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: Listen = tcp.local_addr().unwrap().into();
        let second = tcp.try_clone().unwrap();
        let path = folder.path().join("app.sock");
        let unix = UnixListener::bind(&path).unwrap();
        let name = format!("weir/test-{}", std::process::id()).into_bytes();
        let lock = SocketAddr::from_abstract_name(&name).unwrap();
        let lock = UnixListener::bind_addr(&lock).unwrap();
        let all = [named(tcp), named(unix), named(second), named(lock)];
        let mut inherited = Inherited::new(all).unwrap();
        let path = Listen::Unix(path);
        assert_eq!(inherited.unwanted(&BTreeSet::from([address.clone()])), [path.clone()].into());
        assert_eq!(inherited.take(&address).len(), 2);
        assert_eq!(inherited.take(&address).len(), 0);
        assert_eq!(inherited.take(&path).len(), 1);
        assert!(inherited.take_lock(&name).is_some() && inherited.take_lock(&name).is_none());
        assert!(inherited.unwanted(&BTreeSet::new()).is_empty());
    }

    #[test]
    fn what_nobody_can_listen_at_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = Inherited::new([named(connected)]).unwrap_err().to_string();
        assert!(error.contains("weir.socket") && error.contains("ListenStream="), "{error}");
        assert!(Inherited::new([named(UdpSocket::bind("127.0.0.1:0").unwrap())]).is_err());
        assert!(Inherited::new([named(std::fs::File::open("/dev/null").unwrap())]).is_err());
    }
}
