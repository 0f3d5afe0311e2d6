//! How a socket to an upstream is made.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::io::Socket;
use crate::tls::{self, Keyring};
use crate::traffic::{Address, ClientTls, Spot};

/// How an upstream is spoken to by TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    settings: Arc<ClientTls>,
    /// What keeps it from being spoken to, as a sentence.
    config: Result<Arc<ClientConfig>, String>,
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
        let config = keyring.calling(settings).map_err(|error| error.to_string());
        Self { settings: Arc::clone(settings), config }
    }

    async fn begin(&self, address: &Address, socket: Socket) -> io::Result<Socket> {
        let config = self.config.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let name = tls::server_name(address, &self.settings).ok_or_else(|| {
            io::Error::other(format!("{address} has no name; set tls = {{ name = \"...\" }}"))
        })?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, socket).await.map_err(|error| {
            let sentence = tls::explain(&error, &address.to_string());
            let broken = || format!("{address} broke off the TLS handshake: {error}");
            io::Error::new(error.kind(), sentence.unwrap_or_else(broken))
        })?;
        Ok(Socket::Tls(Box::new(stream.into())))
    }
}

/// Connects to `address`; for a name says which of its addresses worked. `last` is the one that
/// worked before, used while the resolver fails.
pub async fn connect(
    address: &Address,
    last: Option<SocketAddr>,
    tls: Option<&Tls>,
) -> io::Result<(Socket, Option<SocketAddr>)> {
    let (socket, resolved) = plain(address, last).await?;
    match tls {
        None => Ok((socket, resolved)),
        Some(tls) => Ok((tls.begin(address, socket).await?, resolved)),
    }
}

async fn plain(
    address: &Address,
    last: Option<SocketAddr>,
) -> io::Result<(Socket, Option<SocketAddr>)> {
    match &address.spot {
        Spot::Socket(address) => Ok((tcp(*address).await?, None)),
        Spot::Unix(path) => Ok((Socket::Unix(UnixStream::connect(path).await?), None)),
        Spot::Name(host, port) => {
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
