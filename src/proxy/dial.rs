//! How a socket to an upstream is made: which address, a PROXY header, TLS.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxy_header::{ProxiedAddress, ProxyHeader};
use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::io::Socket;
use super::names::{Known, Names, Seen};
use crate::tls::{self, Keyring};
use crate::traffic::{Address, ClientTls, Listen, Scheme, Spot};

/// After how long without a byte the kernel asks the other side whether it is still there.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// How long it waits until it asks again.
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(15);

/// What is spoken inside TLS with upstreams, the one that is liked best first.
pub const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// How long an address of a name that refused is only tried after the others.
const SHUNNED_FOR: Duration = Duration::from_secs(10);

/// How sockets to one upstream are made.
#[derive(Debug)]
pub struct Dial {
    address: Address,
    tls: Option<Tls>,
    names: Option<Seen>,
    turn: Cell<usize>,
    shunned: RefCell<Vec<(SocketAddr, Instant)>>,
}

/// What one socket shall be.
#[derive(Debug)]
pub struct Wish {
    /// What it begins with: a PROXY header.
    pub header: Option<Vec<u8>>,
    /// Whether it shall carry one request at a time, which may change protocol.
    pub single: bool,
    /// How long it may take in all; an address that hangs is given only a part of it.
    pub patience: Duration,
}

/// A socket, and what is to be spoken on it.
#[derive(Debug)]
pub struct Dialed {
    /// The socket.
    pub socket: Socket,
    /// The address that it leads to, for a name.
    pub remote: Option<SocketAddr>,
    /// What is spoken.
    pub protocol: Protocol,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
}

impl Dial {
    /// To `address`, with `tls` if it is to be.
    pub fn new(address: &Address, tls: Option<Tls>, names: &Names) -> Self {
        let names = match &address.spot {
            Spot::Name(host, port) => Some(names.of(host, *port)),
            Spot::Socket(_) | Spot::Unix(_) => None,
        };
        let (turn, shunned) = (Cell::new(0), RefCell::default());
        Self { address: address.clone(), tls, names, turn, shunned }
    }

    /// Whether TLS is spoken as `tls` says.
    pub fn is_by(&self, tls: Option<&Tls>) -> bool {
        self.tls.as_ref() == tls
    }

    /// Whether the name still leads to `remote`, as far as is known.
    pub fn leads_to(&self, remote: SocketAddr) -> bool {
        match self.names.as_ref().and_then(|names| names.borrow().clone()) {
            Some(Ok(addresses)) => addresses.contains(&remote),
            Some(Err(_)) | None => true,
        }
    }

    /// Connects. Of the addresses of a name each gets its turn; one that refuses is passed over.
    ///
    /// # Errors
    /// As a sentence: who refused, or what is wrong with its certificate.
    pub async fn connect(&self, wish: &Wish) -> io::Result<Dialed> {
        let (mut socket, remote) = match &self.address.spot {
            Spot::Socket(address) => (tcp(*address).await?, None),
            Spot::Unix(path) => (Socket::Unix(UnixStream::connect(path).await?), None),
            Spot::Name(..) => {
                let (socket, remote) = self.by_name(wish.patience).await?;
                (socket, Some(remote))
            }
        };
        if let Some(header) = &wish.header {
            socket.write_all(header).await?;
        }
        let (socket, protocol) = match (&self.tls, self.address.scheme) {
            (Some(tls), _) => tls.begin(&self.address, socket, wish.single).await?,
            (None, Scheme::H2c) => (socket, Protocol::Http2),
            (None, Scheme::Http | Scheme::Https) => (socket, Protocol::Http1),
        };
        Ok(Dialed { socket, remote, protocol })
    }

    async fn by_name(&self, patience: Duration) -> io::Result<(Socket, SocketAddr)> {
        let addresses = self.addresses().await?;
        let share = patience / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut failure = io::Error::other("the name has no address");
        for address in addresses {
            let refused = match within(share, tcp(address)).await {
                Ok(socket) => return Ok((socket, address)),
                Err(error) => error,
            };
            self.shunned.borrow_mut().push((address, Instant::now()));
            failure = io::Error::new(refused.kind(), format!("{address}: {refused}"));
        }
        Err(failure)
    }

    /// The addresses of the name in the order in which they are to be tried. Waits only where none
    /// was ever known.
    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let Some(mut names) = self.names.clone() else { return Ok(Vec::new()) };
        let gone = |_| io::Error::other("the name is no longer looked up");
        let known: Option<Known> = names.wait_for(Option::is_some).await.map_err(gone)?.clone();
        let known = known.unwrap_or_else(|| Err("the name is not known".into()));
        let mut addresses = known.map_err(|error| io::Error::other(error.to_string()))?.to_vec();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let count = addresses.len().max(1);
        addresses.rotate_left(turn % count);
        let mut shunned = self.shunned.borrow_mut();
        shunned.retain(|(_, since)| since.elapsed() < SHUNNED_FOR);
        addresses.sort_by_key(|address| shunned.iter().any(|(other, _)| other == address));
        Ok(addresses)
    }
}

/// How the kernel finds out that the other side of a silent connection is gone.
pub const fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_AGAIN)
}

async fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&keepalive())?;
    Ok(Socket::Tcp(socket))
}

async fn within<T>(limit: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(ErrorKind::TimedOut, "took too long to connect");
    timeout(limit, future).await.map_err(late)?
}

/// How upstreams are spoken to by TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    settings: Arc<ClientTls>,
    /// For any protocol, and for HTTP/1.1 only; or what keeps both from being had, as a sentence.
    configs: Result<[Arc<ClientConfig>; 2], String>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for Tls {}

impl Tls {
    /// By `settings`.
    pub fn new(settings: &Arc<ClientTls>, keyring: &Keyring) -> Self {
        let configs = keyring.calling(settings).map_err(|error| error.to_string()).map(|any| {
            let mut single = ClientConfig::clone(&any);
            single.alpn_protocols = PROTOCOLS[1..].iter().map(|name| name.to_vec()).collect();
            [any, Arc::new(single)]
        });
        Self { settings: Arc::clone(settings), configs }
    }

    async fn begin(
        &self,
        address: &Address,
        socket: Socket,
        single: bool,
    ) -> io::Result<(Socket, Protocol)> {
        let configs = self.configs.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let name = tls::server_name(address, &self.settings).ok_or_else(|| {
            io::Error::other(format!("{address} has no name; set tls = {{ name = \"...\" }}"))
        })?;
        let connector = TlsConnector::from(Arc::clone(&configs[usize::from(single)]));
        let stream = connector.connect(name, socket).await.map_err(|error| {
            let sentence = tls::explain(&error, &address.spot.to_string());
            let broken = || format!("{} broke off the TLS handshake: {error}", address.spot);
            io::Error::new(error.kind(), sentence.unwrap_or_else(broken))
        })?;
        let agreed = stream.get_ref().1.alpn_protocol();
        let protocol = if agreed == Some(PROTOCOLS[0]) { Protocol::Http2 } else { Protocol::Http1 };
        Ok((Socket::Tls(Box::new(stream.into())), protocol))
    }
}

/// A PROXY protocol header, version 2, for a connection that carries requests of `client`, who
/// came in at `listen`; none: a connection of Weir's own. The client's port is not told: requests
/// of all its connections share this one.
pub fn proxy_header(client: Option<(IpAddr, &Listen)>) -> Vec<u8> {
    let header = match client {
        None => ProxyHeader::with_local(),
        Some((client, listen)) => {
            let client = client.to_canonical();
            let (ip, port) = listen.socket().map_or((client, 0), |at| (at.ip(), at.port()));
            let unspecified = match client {
                IpAddr::V4(_) => IpAddr::from([0_u8; 4]),
                IpAddr::V6(_) => IpAddr::from([0_u16; 8]),
            };
            let here = Some(ip.to_canonical()).filter(|ip| ip.is_ipv4() == client.is_ipv4());
            let here = SocketAddr::new(here.unwrap_or(unspecified), port);
            let source = SocketAddr::new(client, 0);
            ProxyHeader::with_address(ProxiedAddress::stream(source, here))
        }
    };
    let mut bytes = Vec::new();
    let encoded = header.encode_v2(&mut bytes);
    // Only extensions can make it too long, and there are none.
    assert!(encoded.is_ok(), "a PROXY header of addresses");
    bytes
}

#[cfg(test)]
mod tests {
    use proxy_header::ParseConfig;

    use super::*;

    #[test]
    fn a_proxy_header_names_the_client_whatever_family_the_listener_is_of() {
        let read = |client: &str, listen: &Listen| {
            let header = proxy_header(Some((client.parse().unwrap(), listen)));
            let (parsed, length) = ProxyHeader::parse(&header, ParseConfig::default()).unwrap();
            assert_eq!(length, header.len());
            let address = parsed.proxied_address().unwrap();
            format!("{} {}", address.source, address.destination)
        };
        let four = Listen::Socket("192.0.2.1:80".parse().unwrap());
        assert_eq!(read("198.51.100.7", &four), "198.51.100.7:0 192.0.2.1:80");
        assert_eq!(read("::ffff:198.51.100.7", &four), "198.51.100.7:0 192.0.2.1:80");
        assert_eq!(read("2001:db8::7", &four), "[2001:db8::7]:0 [::]:80");
        assert_eq!(read("127.0.0.1", &Listen::Unix("/run/x".into())), "127.0.0.1:0 127.0.0.1:0");
        let own = proxy_header(None);
        let (parsed, _) = ProxyHeader::parse(&own, ParseConfig::default()).unwrap();
        assert!(parsed.proxied_address().is_none());
    }
}
