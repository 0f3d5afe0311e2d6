//! What keeps a client on its version: the key that its bucket is computed from.

use std::fmt;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::COOKIE;

/// The name of Weir's own cookie: 128 random bits as 32 lower-case hexadecimal digits.
pub const OWN_COOKIE: &str = "weir";

/// Longest key of a client that is read, in bytes; a longer cookie or header counts as absent.
pub const KEY_BYTES_MAX: usize = 4 * 1024;

/// What keeps a client on its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sticky {
    /// The client's address (IPv6 by /64).
    Address,
    /// A cookie of the app; while it is absent, Weir's own.
    Cookie(String),
    /// A request header, lower case; while it is absent, Weir's own cookie.
    Header(String),
    /// Nothing: every request is drawn anew.
    Nothing,
    /// Weir's own cookie.
    #[default]
    Own,
}

impl Sticky {
    /// The client's key in the request, as far as the app's own cookie or header gives one.
    pub fn key<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let key = match self {
            Self::Cookie(name) => cookie(headers, name.as_bytes())?,
            Self::Header(name) => headers.get(name)?.as_bytes(),
            Self::Address | Self::Nothing | Self::Own => return None,
        };
        (1..=KEY_BYTES_MAX).contains(&key.len()).then_some(key)
    }

    /// Whether clients without a key get Weir's cookie.
    pub const fn uses_own_cookie(&self) -> bool {
        match self {
            Self::Cookie(_) | Self::Header(_) | Self::Own => true,
            Self::Address | Self::Nothing => false,
        }
    }
}

/// As the file has it.
impl fmt::Display for Sticky {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => out.write_str("address"),
            Self::Cookie(name) => write!(out, "{{ cookie = {name:?} }}"),
            Self::Header(name) => write!(out, "{{ header = {name:?} }}"),
            Self::Nothing => out.write_str("none"),
            Self::Own => out.write_str("cookie"),
        }
    }
}

/// Weir's own cookie in the request, if it is there and well-formed.
pub fn own_cookie(headers: &HeaderMap) -> Option<&[u8]> {
    let hexadecimal = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    cookie(headers, OWN_COOKIE.as_bytes())
        .filter(|value| value.len() == 32 && value.iter().all(hexadecimal))
}

/// The first cookie `name` of a request (RFC 6265, section 4.2.1), over all Cookie lines.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    headers.get_all(COOKIE).iter().find_map(|line| cookie_in(line.as_bytes(), name))
}

fn cookie_in<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let pair = &rest[..end];
        if pair.len() > name.len() && pair[name.len()] == b'=' && pair.starts_with(name) {
            return Some(pair[name.len() + 1..].trim_ascii_end());
        }
        rest = rest.get(end + 1..)?;
    }
}

/// The key of a client that is placed by its address: IPv4 whole, IPv6 by its /64, since a
/// household or a phone changes the rest at will.
pub fn address_key(address: IpAddr) -> [u8; 8] {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 4]
        }
        IpAddr::V6(v6) => {
            let mut prefix = [0; 8];
            prefix.copy_from_slice(&v6.octets()[..8]);
            prefix
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookies(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, line.parse().unwrap())).collect()
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let headers = with_cookies(&["xuid=1; uid=abc; uid=second", "last=9"]);
        assert_eq!(cookie(&headers, b"uid"), Some(b"abc".as_slice()));
        assert_eq!(cookie(&headers, b"last"), Some(b"9".as_slice()));
        assert_eq!(cookie(&headers, b"ui"), None);
        assert_eq!(cookie(&HeaderMap::new(), b"uid"), None);
    }

    #[test]
    fn an_ill_formed_own_cookie_counts_as_absent() {
        let good = "weir=00112233445566778899aabbccddeeff";
        assert!(own_cookie(&with_cookies(&[good])).is_some());
        for bad in ["weir=1", "weir=00112233445566778899AABBCCDDEEFF", "weir="] {
            assert_eq!(own_cookie(&with_cookies(&[bad])), None, "{bad}");
        }
    }

    #[test]
    fn addresses_of_one_household_share_a_key() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::3"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::3"), key("2001:db8:1:3::3"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
