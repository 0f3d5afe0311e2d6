//! What keeps a client on its version: the key that its bucket is computed from.

use std::fmt;
use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

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
    /// The client's keys in a request. `cookies`: whether it has any.
    pub fn keys<'a>(&self, headers: &'a HeaderMap, cookies: bool) -> Keys<'a> {
        let own = OWN_COOKIE.as_bytes();
        let in_cookies = |names| if cookies { pick(headers, names) } else { [None; 2] };
        let (app, own) = match self {
            Self::Address | Self::Nothing => return Keys::default(),
            Self::Cookie(name) => in_cookies([name.as_bytes(), own]).into(),
            Self::Header(name) => {
                (headers.get(name).map(HeaderValue::as_bytes), in_cookies([b"", own])[1])
            }
            Self::Own => (None, in_cookies([b"", own])[1]),
        };
        Keys {
            app: app.filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len())),
            own: own.filter(|key| is_own(key)),
        }
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

/// The keys of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys<'a> {
    /// What the app's own cookie or header gives.
    pub app: Option<&'a [u8]>,
    /// Weir's cookie, if it is well-formed.
    pub own: Option<&'a [u8]>,
}

fn is_own(value: &[u8]) -> bool {
    let hexadecimal = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    value.len() == 32 && value.iter().all(hexadecimal)
}

/// The first cookie `name` of a request (RFC 6265, section 4.2.1), over all Cookie lines.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let [found] = pick(headers, [name]);
    found
}

/// The first cookie of each name, all in one walk; an empty name is nobody's.
fn pick<'a, const N: usize>(headers: &'a HeaderMap, names: [&[u8]; N]) -> [Option<&'a [u8]>; N] {
    let mut found = [None; N];
    for line in headers.get_all(COOKIE) {
        let mut rest = line.as_bytes();
        loop {
            rest = rest.trim_ascii_start();
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            let pair = &rest[..end];
            for (name, found) in names.iter().zip(&mut found) {
                if pair.get(name.len()) == Some(&b'=')
                    && !name.is_empty()
                    && pair.starts_with(name)
                    && found.is_none()
                {
                    *found = Some(pair[name.len() + 1..].trim_ascii_end());
                }
            }
            match rest.get(end + 1..) {
                Some(more) if found.contains(&None) => rest = more,
                Some(_) | None => break,
            }
        }
    }
    found
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
    use proptest::prelude::*;

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
        let own = |line| Sticky::Own.keys(&with_cookies(&[line]), true).own.is_some();
        assert!(own("weir=00112233445566778899aabbccddeeff"));
        for bad in ["weir=1", "weir=00112233445566778899AABBCCDDEEFF", "weir="] {
            assert!(!own(bad), "{bad}");
        }
    }

    #[test]
    fn both_keys_are_found_in_one_walk() {
        let own = "00112233445566778899aabbccddeeff";
        let line = format!("a=1; weir={own}; uid=abc; weir=1; uid=2");
        let headers = with_cookies(&["b=2", &line]);
        let keys = |sticky: &Sticky| sticky.keys(&headers, true);
        let (app, own) = (Some(b"abc".as_slice()), Some(own.as_bytes()));
        assert_eq!(keys(&Sticky::Cookie("uid".into())), Keys { app, own });
        assert_eq!(keys(&Sticky::Cookie("id".into())), Keys { app: None, own });
        assert_eq!(keys(&Sticky::Header("x-key".into())), Keys { app: None, own });
        assert_eq!(keys(&Sticky::Own), Keys { app: None, own });
        assert_eq!(keys(&Sticky::Address), Keys::default());
        let long = format!("uid={}", "k".repeat(KEY_BYTES_MAX + 1));
        assert_eq!(Sticky::Cookie("uid".into()).keys(&with_cookies(&[&long]), true).app, None);
    }

    #[test]
    fn addresses_of_one_household_share_a_key() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::3"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::3"), key("2001:db8:1:3::3"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    /// The first value of `name`, as slowly as it can be said.
    fn naive(lines: &[String], name: &str) -> Option<String> {
        let pairs = lines.iter().flat_map(|line| line.split(';'));
        let mut values = pairs.filter_map(|pair| {
            let (key, value) = pair.trim_start().split_once('=')?;
            (key == name).then(|| value.trim_end().to_owned())
        });
        values.next()
    }

    proptest! {
        #[test]
        fn cookies_are_found_as_a_slow_reader_finds_them(
            lines in prop::collection::vec("[abx=; \"\t]{0,24}", 0..4),
            name in "[abx]{1,2}",
        ) {
            let headers = lines.iter().map(|line| (COOKIE, line.parse().unwrap())).collect();
            let found = cookie(&headers, name.as_bytes());
            let found = found.map(|value| String::from_utf8_lossy(value).into_owned());
            prop_assert_eq!(found, naive(&lines, &name));
        }

        #[test]
        fn no_cookie_is_too_strange(line in prop::collection::vec(any::<u8>(), 0..60), name: Vec<u8>) {
            if let Ok(line) = line.try_into() {
                let headers: HeaderMap = [(COOKIE, line)].into_iter().collect();
                let _ = cookie(&headers, &name);
                let _ = Sticky::Own.keys(&headers, true);
            }
        }
    }
}
