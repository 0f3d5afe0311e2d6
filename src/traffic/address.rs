//! Where an upstream listens, and what is spoken there.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where an upstream listens and what is spoken there, which together are what it is: `app:3000`,
/// `h2c://10.0.0.7:50051`, `https://app.internal:443`, `unix:/run/app.sock`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// What is spoken there.
    pub scheme: Scheme,
    /// Where it is.
    pub spot: Spot,
}

/// What is spoken with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// HTTP/2 from the first byte, without TLS.
    H2c,
    /// HTTP/1.1 without TLS; what is meant where nothing is said.
    Http,
    /// TLS, and inside HTTP/2 where the upstream speaks it, else HTTP/1.1.
    Https,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spot {
    /// A host name, which is looked up again and again, and its port.
    Name(String, u16),
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why a text is no address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not an address; write \"host:port\", \"127.0.0.1:3000\", \"[::1]:3000\" or \
     \"unix:/run/app.sock\", with h2c:// or https:// before it where that is spoken"
)]
pub struct AddressError(String);

impl Scheme {
    const ALL: [Self; 3] = [Self::H2c, Self::Http, Self::Https];

    /// As it is written before `://`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H2c => "h2c",
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Address {
    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::Https
    }
}

impl From<Spot> for Address {
    /// Plain HTTP at `spot`.
    fn from(spot: Spot) -> Self {
        Self { scheme: Scheme::Http, spot }
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        Spot::Socket(socket).into()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.chars().take(80).collect());
        let (scheme, spot) = match text.split_once("://") {
            None => (Scheme::Http, text),
            Some((name, spot)) => {
                let known = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name);
                (known.ok_or_else(wrong)?, spot.strip_suffix('/').unwrap_or(spot))
            }
        };
        let spot = Spot::parse(spot).ok_or_else(wrong)?;
        Ok(Self { scheme, spot })
    }
}

impl Spot {
    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            // sockaddr_un holds 107 bytes and a zero.
            let fits = path.starts_with('/') && path.len() <= 107 && !path.contains('\0');
            return fits.then(|| Self::Unix(path.into()));
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return (socket.port() != 0).then_some(Self::Socket(socket));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
        let label = |l: &str| {
            !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        // Digits and dots only would be a mistyped IPv4 address.
        let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let fits = !numeric && host.len() <= 253 && host.split('.').all(label);
        fits.then(|| Self::Name(host.to_ascii_lowercase(), port))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// The shortest text that reads back as the same: `http://` is left out, as old journals have it.
impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Http => self.spot.fmt(out),
            Scheme::H2c | Scheme::Https => write!(out, "{}://{}", self.scheme.name(), self.spot),
        }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(host, port) => write!(out, "{host}:{port}"),
            Self::Socket(socket) => socket.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_written() {
        for text in [
            "127.0.0.1:3000",
            "[::1]:3000",
            "unix:/run/app.sock",
            "app-1.local:80",
            "h2c://app:50051",
            "h2c://unix:/run/app.sock",
            "https://[::1]:443",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "app",
            "app:0",
            "app:70000",
            "10.0.0:80",
            "1.2.3.4.5:1",
            "unix:app.sock",
            "https://app",
            "https://app:443/path",
            "ftp://app:21",
            "HTTP://app:80",
            "h2c://h2c://app:80",
            "://app:80",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn plain_http_is_one_address_however_it_is_written() {
        let plain: Address = "app:80".parse().unwrap();
        assert_eq!("http://app:80/".parse::<Address>().unwrap(), plain);
        assert_eq!(plain.to_string(), "app:80");
        assert_ne!("https://app:80".parse::<Address>().unwrap(), plain);
    }
}
