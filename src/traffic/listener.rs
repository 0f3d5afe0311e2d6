//! Where clients come in, and how a listener treats their connections.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::matching::Network;
use super::{Address, ServerTls, Spot, overlap};

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// An IP address and a port; port 0 is drawn by the system.
    Socket(SocketAddr),
    /// A Unix socket. Whoever connects there counts as 127.0.0.1.
    Unix(PathBuf),
}

impl Listen {
    /// Whether two listeners would take each other's clients.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Socket(here), Self::Socket(there)) => overlap(*here, *there),
            (Self::Unix(here), Self::Unix(there)) => here == there,
            (Self::Socket(_), Self::Unix(_)) | (Self::Unix(_), Self::Socket(_)) => false,
        }
    }

    /// The address of a TCP listener.
    pub const fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The same place as an upstream would be written.
    pub fn address(&self) -> Address {
        match self {
            Self::Socket(address) => Spot::Socket(*address).into(),
            Self::Unix(path) => Spot::Unix(path.clone()).into(),
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(out)
    }
}

/// A listener. Tiers that listen at one address share it, and are told apart by their routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub listen: Listen,
    /// Peers that begin each connection with a PROXY protocol header; from all others none is
    /// expected.
    pub proxy_from: Vec<Network>,
    /// How it speaks TLS; none: it does not.
    pub tls: Option<Arc<ServerTls>>,
    /// Permissions of a Unix socket.
    pub mode: u32,
}

impl Listener {
    /// Permissions of a Unix socket where nothing else is said: its owner and its group.
    pub const MODE: u32 = 0o660;

    /// A listener that does nothing special.
    pub fn plain(listen: impl Into<Listen>) -> Self {
        Self { listen: listen.into(), proxy_from: Vec::new(), tls: None, mode: Self::MODE }
    }
}
