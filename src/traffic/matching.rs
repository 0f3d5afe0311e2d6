//! The three small patterns of the configuration: text with `*`, networks, and statuses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// Text in which `*` stands for any text, also none. Matching never backtracks over more than
/// the last `*`, so it takes at most pattern times text steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// The pattern written as `text`.
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().into())
    }

    /// Whether the whole of `text` fits.
    pub fn matches(&self, text: &[u8]) -> bool {
        let pattern = &self.0;
        let (mut at, mut seen) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while seen < text.len() {
            if pattern.get(at) == Some(&b'*') {
                star = Some((at + 1, seen));
                at += 1;
            } else if pattern.get(at) == Some(&text[seen]) {
                at += 1;
                seen += 1;
            } else if let Some((after, from)) = star {
                star = Some((after, from + 1));
                at = after;
                seen = from + 1;
            } else {
                return false;
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// An address or a block of addresses: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// The addresses by which a machine reaches itself.
    pub const LOOPBACK: [Self; 2] = [
        Self { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
        Self { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
    ];

    /// Whether `address` lies in it. An IPv4 address in its IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let differing = u32::from(ours) ^ u32::from(theirs);
                differing.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let differing = u128::from(ours) ^ u128::from(theirs);
                differing.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

/// A text that is no network.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not an address or network; write \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\""
)]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.chars().take(60).collect());
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(digits) => digits.parse().map_err(|_| wrong())?,
        };
        if prefix > widest { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

/// A status or a class of statuses: `302`, `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusPattern {
    /// All statuses of one hundred, 1..=5.
    Class(u16),
    /// One status.
    One(u16),
}

impl StatusPattern {
    /// Whether `status` is meant.
    pub const fn matches(self, status: u16) -> bool {
        match self {
            Self::Class(class) => status / 100 == class,
            Self::One(one) => status == one,
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(out, "{class}xx"),
            Self::One(one) => one.fmt(out),
        }
    }
}

/// A text that is no status.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a status; write \"302\" or a class such as \"4xx\"")]
pub struct StatusError(String);

impl FromStr for StatusPattern {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        let wrong = || StatusError(text.chars().take(20).collect());
        // A number may begin with a sign, a status does not.
        if text.starts_with('+') {
            return Err(wrong());
        }
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().map_err(|_| wrong())?;
            return if (1..=5).contains(&class) { Ok(Self::Class(class)) } else { Err(wrong()) };
        }
        let status = text.parse().map_err(|_| wrong())?;
        if (100..=599).contains(&status) { Ok(Self::One(status)) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let fits = |pattern, text: &str| Pattern::new(pattern).matches(text.as_bytes());
        assert!(fits("/login*", "/login") && fits("/login*", "/login?next=/"));
        assert!(fits("*bot*", "some bot here") && fits("*", ""));
        assert!(fits("a*b*c", "aXbXbc") && !fits("a*b*c", "aXbXb"));
        assert!(!fits("/login", "/login/") && !fits("", "x"));
    }

    #[test]
    fn networks_contain_what_they_say() {
        let inside =
            |net: &str, ip: &str| net.parse::<Network>().unwrap().contains(ip.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.200.0.1") && !inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "1.2.3.4") && inside("192.0.2.7", "::ffff:192.0.2.7"));
        assert!(inside("2001:db8::/32", "2001:db8:1::1") && !inside("::1", "::2"));
        for wrong in ["10.0.0.0/33", "x", "10.0.0/8", "::/129", "1.2.3.4/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn statuses_are_one_or_a_class() {
        assert_eq!("302".parse(), Ok(StatusPattern::One(302)));
        assert_eq!("5xx".parse(), Ok(StatusPattern::Class(5)));
        assert!("5xx".parse::<StatusPattern>().unwrap().matches(503));
        for wrong in ["9xx", "xx", "99", "600", "teapot", "+302", "+5xx"] {
            assert!(wrong.parse::<StatusPattern>().is_err(), "{wrong}");
        }
    }
}
