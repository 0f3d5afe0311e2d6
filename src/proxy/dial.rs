//! How a socket to an upstream is made.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::io::Socket;
use crate::traffic::{Address, Spot};

/// Connects to `address`; for a name says which of its addresses worked. `last` is the one that
/// worked before, used while the resolver fails.
pub async fn connect(
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
