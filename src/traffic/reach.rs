//! Which addresses lead to the same place, as far as they tell.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Address, Listen, Spot};

impl Address {
    /// Whether a connection to it arrives at `listen`, as far as the address tells.
    pub fn leads_to(&self, listen: &Listen) -> bool {
        match listen {
            Listen::Socket(listen) => self.leads_to_socket(*listen),
            Listen::Unix(path) => self.spot == Spot::Unix(path.clone()),
        }
    }

    fn leads_to_socket(&self, listen: SocketAddr) -> bool {
        // On all addresses of this machine: of which other ones there are the file tells nothing.
        let own = |ip: IpAddr| {
            let far = listen.ip().is_unspecified() && !ip.is_loopback();
            !far && overlap(SocketAddr::new(ip, listen.port()), listen)
        };
        match &self.spot {
            Spot::Unix(_) => false,
            Spot::Name(host, port) => {
                let local = host == "localhost" || host.ends_with(".localhost");
                local
                    && *port == listen.port()
                    && (own(Ipv4Addr::LOCALHOST.into()) || listen.ip().is_loopback())
            }
            Spot::Socket(socket) if socket.port() != listen.port() => false,
            // A connection to the unspecified address goes to this machine.
            Spot::Socket(socket) if socket.ip().to_canonical().is_unspecified() => {
                own(Ipv4Addr::LOCALHOST.into()) || listen.ip().is_loopback()
            }
            Spot::Socket(socket) => own(socket.ip().to_canonical()),
        }
    }

    /// One spelling for one place, where the address tells, whatever is spoken there.
    #[must_use]
    pub fn plain(&self) -> Self {
        let spot = match &self.spot {
            Spot::Socket(socket) => {
                let ip = socket.ip().to_canonical();
                let ip = if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip };
                Spot::Socket(SocketAddr::new(ip, socket.port()))
            }
            Spot::Name(host, port) if host == "localhost" => {
                Spot::Socket(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port))
            }
            other @ (Spot::Name(..) | Spot::Unix(_)) => other.clone(),
        };
        spot.into()
    }
}

/// Whether two listeners would take each other's port. Port 0 is drawn by the system.
pub fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: IpAddr, other: IpAddr| match wide {
        IpAddr::V4(v4) => v4.is_unspecified() && other.is_ipv4(),
        // Without further ado a listener on [::] takes IPv4 too.
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    let (here, there) = (a.ip().to_canonical(), b.ip().to_canonical());
    a.port() == b.port()
        && a.port() != 0
        && (here == there || covers(here, there) || covers(there, here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_overlap_where_one_covers_the_other() {
        let overlap = |a: &str, b: &str| overlap(a.parse().unwrap(), b.parse().unwrap());
        assert!(overlap("127.0.0.1:80", "127.0.0.1:80") && overlap("0.0.0.0:80", "127.0.0.1:80"));
        assert!(overlap("[::]:80", "10.0.0.1:80") && overlap("[::1]:80", "[::]:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80") && !overlap("0.0.0.0:80", "0.0.0.0:81"));
        assert!(!overlap("0.0.0.0:80", "[::1]:80") && !overlap("127.0.0.1:0", "127.0.0.1:0"));
    }

    #[test]
    fn loops_are_seen_in_every_spelling() {
        let reaches =
            |a: &str, b: &str| a.parse::<Address>().unwrap().leads_to_socket(b.parse().unwrap());
        for address in [
            "127.0.0.1:80",
            "localhost:80",
            "0.0.0.0:80",
            "https://[::]:80",
            "h2c://[::ffff:127.0.0.1]:80",
        ] {
            assert!(
                reaches(address, "127.0.0.1:80") && reaches(address, "0.0.0.0:80"),
                "{address}"
            );
        }
        assert!(reaches("[::1]:80", "[::]:80") && reaches("localhost:80", "[::1]:80"));
        assert!(!reaches("192.0.2.1:80", "0.0.0.0:80") && reaches("192.0.2.1:80", "192.0.2.1:80"));
        for address in ["127.0.0.1:81", "app:80", "unix:/run/app.sock", "127.0.0.2:80"] {
            assert!(!reaches(address, "127.0.0.1:80"), "{address}");
        }
    }
}
