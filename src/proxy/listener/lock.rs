//! The lock on an address: two programs of one user could both bind with `SO_REUSEPORT`, and each
//! would silently get half of the clients, or one of them those of an address that is a part of the
//! other's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};

use socket2::{Domain, Socket, Type};
use tokio::runtime::Builder;

use crate::proxy::Error;
use crate::traffic::Listen;

/// What a name in the abstract namespace may have (`sockaddr_un` less its leading zero).
const LOCK_BYTES_MAX: usize = 107;

/// What the names of locks begin with.
const PREFIX: &str = "weir/";

/// Where the kernel lists the names of all Unix sockets of this network namespace, which has the
/// ports as well (proc(5)).
const NAMES: &str = "/proc/net/unix";

/// Holds the name `weir/<address>` in the abstract namespace of Unix sockets, where nobody else holds
/// one of an address that overlaps; `own_locks` are those of this process and of the one before.
pub fn lock(listen: &Listen, own_locks: &BTreeSet<Vec<u8>>) -> Result<UnixListener, Error> {
    let wrong = |source| Error::Lock { listen: listen.clone(), source };
    let name = UnixAddress::from_abstract_name(lock_name(listen)).map_err(wrong)?;
    let lock = match UnixListener::bind_addr(&name) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let holder = holder(&name).map_or(String::new(), |process| format!(" ({process})"));
            return Err(Error::Taken { listen: listen.clone(), holder });
        }
        Err(error) => return Err(wrong(error)),
    };
    // Only now: of two that start at the same moment at least one sees the other.
    if let Some(address) = listen.socket()
        && let Some(other) = overlapping(address, &names(listen), own_locks, is_dual)
    {
        let name = UnixAddress::from_abstract_name(lock_name(&other.into())).map_err(wrong)?;
        let process = holder(&name).map_or(String::new(), |process| format!("{process}, "));
        let holder = format!(" ({process}at {other})");
        return Err(Error::Taken { listen: listen.clone(), holder });
    }
    Ok(lock)
}

/// The names of all Unix sockets, as the kernel lists them; they are bytes of anybody's choice.
fn names(listen: &Listen) -> Vec<u8> {
    fs::read(NAMES).unwrap_or_else(|error| {
        tracing::warn!(
            %listen,
            "cannot read {NAMES}: {error}; whether another weir has an address of which this one is a \
             part is not known, only that none has the same; mount /proc, and let it be read"
        );
        Vec::new()
    })
}

/// The name of the lock on `listen`.
pub fn lock_name(listen: &Listen) -> Vec<u8> {
    let mut text = format!("{PREFIX}{listen}").into_bytes();
    // Of a long path the end tells more.
    text.drain(..text.len().saturating_sub(LOCK_BYTES_MAX));
    text
}

/// An address in `names`, as the kernel lists them, that overlaps with `address`, is another and not
/// one of `own_locks`. `is_dual`: whether the unspecified address of IPv6 is that of IPv4 as well.
fn overlapping(
    address: SocketAddr,
    names: &[u8],
    own_locks: &BTreeSet<Vec<u8>>,
    is_dual: impl Fn() -> bool,
) -> Option<SocketAddr> {
    let name = |line: &[u8]| {
        let start = line.iter().rposition(|byte| *byte == b' ')? + 1;
        line.get(start..)?.strip_prefix(b"@").map(<[u8]>::to_vec)
    };
    let locks = names.split(|byte| *byte == b'\n').filter_map(name);
    let others = locks.filter(|name| !own_locks.contains(name));
    let address_of = |name: Vec<u8>| {
        let text = name.strip_prefix(PREFIX.as_bytes())?;
        std::str::from_utf8(text).ok()?.parse::<SocketAddr>().ok()
    };
    let addresses: Vec<SocketAddr> = others.filter_map(address_of).collect();
    let whole = |address: &SocketAddr| address.ip().is_unspecified() && address.is_ipv6();
    let dual = (whole(&address) || addresses.iter().any(whole)) && is_dual();
    let mut addresses = addresses.into_iter();
    addresses.find(|other| *other != address && overlaps(address, *other, dual))
}

fn overlaps(one: SocketAddr, other: SocketAddr, dual: bool) -> bool {
    let (here, there) = (one.ip().to_canonical(), other.ip().to_canonical());
    let covers = |all: IpAddr, part: IpAddr| {
        all.is_unspecified() && (all.is_ipv4() == part.is_ipv4() || (all.is_ipv6() && dual))
    };
    let scope = |address: SocketAddr| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    let same = here == there && scope(one) == scope(other);
    one.port() == other.port() && (same || covers(here, there) || covers(there, here))
}

/// Whether sockets at the unspecified address of IPv6 take clients of IPv4, too, as this machine is set
/// up (ipv6(7), `bindv6only`).
fn is_dual() -> bool {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None);
    socket.and_then(|socket| socket.only_v6()).is_ok_and(|only| !only)
}

/// The process that holds the lock `name`, in words; none if it cannot be learned.
fn holder(name: &UnixAddress) -> Option<String> {
    let process = || -> io::Result<Option<i32>> {
        let stream = UnixStream::connect_addr(name)?;
        stream.set_nonblocking(true)?;
        // Nothing runs on it: tokio is asked only because it knows the call.
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let _inside = runtime.enter();
        Ok(tokio::net::UnixStream::from_std(stream)?.peer_cred()?.pid())
    };
    process().ok().flatten().map(|process| format!("process {process}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 8] = [
        "127.0.0.1:80",
        "0.0.0.0:80",
        "[::]:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "127.0.0.2:80",
        "0.0.0.0:81",
        "[fe80::1%2]:80",
    ];

    /// Which of [`ALL`] overlap with the one at `place`, itself among them.
    fn with(place: usize, dual: bool) -> Vec<&'static str> {
        let address = |text: &str| text.parse().unwrap();
        let one = address(ALL[place]);
        let both = |other: &&str| {
            let other = address(other);
            assert_eq!(overlaps(one, other, dual), overlaps(other, one, dual), "{one} {other}");
            overlaps(one, other, dual)
        };
        ALL.into_iter().filter(|other| both(other)).collect()
    }

    #[test]
    fn addresses_overlap_where_one_is_all_of_them() {
        assert_eq!(with(0, false), [ALL[0], ALL[1], ALL[4]]);
        assert_eq!(with(0, true), [ALL[0], ALL[1], ALL[2], ALL[4]]);
        assert_eq!(with(1, false), [ALL[0], ALL[1], ALL[4], ALL[5]]);
        assert_eq!(with(1, true), [ALL[0], ALL[1], ALL[2], ALL[4], ALL[5]]);
        assert_eq!(with(2, false), [ALL[2], ALL[3], ALL[7]]);
        assert_eq!(with(2, true), [ALL[0], ALL[1], ALL[2], ALL[3], ALL[4], ALL[5], ALL[7]]);
        assert_eq!(with(3, true), [ALL[2], ALL[3]]);
        assert_eq!(with(6, true), [ALL[6]]);
        assert_eq!(with(7, false), [ALL[2], ALL[7]]);
    }

    #[test]
    fn locks_are_found_among_the_names_of_all_sockets() {
        let names = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 11 /run/weir/0.0.0.0:80\n\
                     0000000000000000: 00000003 00000000 00000000 0001 03 12\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 13 @weir/unix:/a:80\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 16 /run/\xff\xfe\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 17 @weir/\xff\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 14 @weir/127.0.0.1:80\n\
                     0000000000000000: 00000002 00000000 00010000 0001 01 15 @weir/[::]:80\n";
        let found = |address: &str, own: &[&[u8]], dual| {
            let own = own.iter().map(|name| name.to_vec()).collect();
            let found = overlapping(address.parse().unwrap(), names, &own, || dual);
            found.map(|found| found.to_string())
        };
        assert_eq!(found("0.0.0.0:80", &[], true).as_deref(), Some("127.0.0.1:80"));
        let own: &[&[u8]] = &[b"weir/127.0.0.1:80"];
        assert_eq!(found("0.0.0.0:80", own, true).as_deref(), Some("[::]:80"));
        assert_eq!(found("0.0.0.0:80", own, false), None);
        assert_eq!(found("127.0.0.1:80", &[], false), None, "its own");
        assert_eq!(found("0.0.0.0:81", &[], true), None);
    }
}
