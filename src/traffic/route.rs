//! Which requests of a listener belong to a tier: by host, and by how the path begins.

use std::cmp::Reverse;
use std::fmt;

use thiserror::Error;

/// Longest path of a route, in bytes.
const PATH_BYTES_MAX: usize = 1_024;

/// Longest host of a route, in bytes: as long as a name may be (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// What a request must have to belong to a tier. The default is every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    host: Option<Host>,
    path: Option<Box<str>>,
}

/// A host, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Exactly(Box<str>),
    /// What comes after the star, with its dot.
    Below(Box<str>),
}

/// Why a text is no part of a route.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouteError {
    /// No host.
    #[error("{0:?} is no host of a route; write \"api.example.org\" or \"*.example.org\", no port")]
    Host(String),
    /// No path.
    #[error("{0:?} is no path of a route; write how it begins: \"/v1/\", no query")]
    Path(String),
}

impl Route {
    /// A route by `host` and by how the path begins.
    ///
    /// # Errors
    /// A host with a port or with letters that no host has; a path without its slash.
    pub fn new(host: Option<&str>, path: Option<&str>) -> Result<Self, RouteError> {
        let path = path.map(|path| checked_path(path).map(Into::into)).transpose()?;
        Ok(Self { host: host.map(Host::new).transpose()?, path })
    }

    /// The host it wants, as it is written.
    pub fn host(&self) -> Option<String> {
        self.host.as_ref().map(|host| match host {
            Host::Exactly(name) => name.to_string(),
            Host::Below(end) => format!("*{end}"),
        })
    }

    /// How its paths begin.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Whether every request belongs to it.
    pub const fn is_everything(&self) -> bool {
        self.host.is_none() && self.path.is_none()
    }

    /// Whether a request to `host`, as its Host says, for `path` belongs to it. A path of
    /// `/v1/` takes what begins so; `/v1` takes itself and what is below, not `/v10`.
    pub fn takes(&self, host: &[u8], path: &str) -> bool {
        let hosted = self.host.as_ref().is_none_or(|own| own.is(without_port(host)));
        hosted && self.path.as_deref().is_none_or(|own| begins(path, own))
    }

    /// The order in which routes are asked: the most particular first.
    pub fn order(&self) -> impl Ord + use<> {
        let (kind, host) = match &self.host {
            Some(Host::Exactly(name)) => (0, name.len()),
            Some(Host::Below(end)) => (1, end.len()),
            None => (2, 0),
        };
        (kind, Reverse(host), Reverse(self.path.as_ref().map_or(0, |path| path.len())))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.host().as_deref().unwrap_or("any host"))?;
        if let Some(path) = &self.path {
            write!(out, " {path}")?;
        }
        Ok(())
    }
}

impl Host {
    fn new(text: &str) -> Result<Self, RouteError> {
        let lower = text.to_ascii_lowercase();
        let (below, name) = match lower.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, lower.as_str()),
        };
        let label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let literal = !below && name.parse::<std::net::IpAddr>().is_ok();
        let bracketed = !below
            && name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'))
                .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
        let named = name.len() <= HOST_BYTES_MAX && name.split('.').all(label);
        if !(named || literal && !name.contains(':') || bracketed) {
            return Err(RouteError::Host(text.chars().take(80).collect()));
        }
        Ok(if below { Self::Below(lower[1..].into()) } else { Self::Exactly(lower.into()) })
    }

    fn is(&self, host: &[u8]) -> bool {
        match self {
            Self::Exactly(name) => host.eq_ignore_ascii_case(name.as_bytes()),
            Self::Below(end) => host
                .len()
                .checked_sub(end.len())
                .is_some_and(|at| at > 0 && host[at..].eq_ignore_ascii_case(end.as_bytes())),
        }
    }
}

fn checked_path(path: &str) -> Result<&str, RouteError> {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if path.starts_with('/') && plain && path.len() <= PATH_BYTES_MAX {
        return Ok(path);
    }
    Err(RouteError::Path(path.chars().take(80).collect()))
}

fn begins(path: &str, start: &str) -> bool {
    let rest = path.strip_prefix(start);
    rest.is_some_and(|rest| start.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

/// The host without its port and without the dot of the root.
fn without_port(host: &[u8]) -> &[u8] {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let end = colon.filter(|at| host[at + 1..].iter().all(u8::is_ascii_digit));
    // The colons of an address in brackets are not before a port.
    let end = end.filter(|at| !host[*at..].contains(&b']')).unwrap_or(host.len());
    host[..end].strip_suffix(b".").unwrap_or(&host[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(host: &str, path: &str) -> Route {
        let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
        Route::new(some(leak(host)), some(leak(path))).unwrap()
    }

    #[test]
    fn a_host_is_taken_whatever_its_case_and_its_port() {
        let api = route("API.example.org", "");
        for host in
            ["api.example.org", "Api.Example.Org", "api.example.org:8080", "api.example.org."]
        {
            assert!(api.takes(host.as_bytes(), "/"), "{host}");
        }
        for host in ["example.org", "xapi.example.org", "api.example.org.evil", ""] {
            assert!(!api.takes(host.as_bytes(), "/"), "{host}");
        }
        let below = route("*.example.org", "");
        assert!(below.takes(b"a.example.org", "/") && below.takes(b"a.b.example.org:1", "/"));
        assert!(!below.takes(b"example.org", "/") && !below.takes(b".example.org", "/"));
        assert!(route("[::1]", "").takes(b"[::1]:8080", "/"));
    }

    #[test]
    fn a_path_is_taken_by_how_it_begins() {
        let v1 = route("", "/v1/");
        assert!(v1.takes(b"", "/v1/") && v1.takes(b"", "/v1/users"));
        assert!(!v1.takes(b"", "/v1") && !v1.takes(b"", "/v10/"));
        let v1 = route("", "/v1");
        assert!(v1.takes(b"", "/v1") && v1.takes(b"", "/v1/users") && !v1.takes(b"", "/v10"));
    }

    #[test]
    fn the_most_particular_route_is_asked_first() {
        let mut routes = [
            route("", ""),
            route("*.example.org", ""),
            route("", "/v1/"),
            route("api.example.org", ""),
            route("*.a.example.org", ""),
            route("api.example.org", "/v1/"),
        ];
        routes.sort_by_key(Route::order);
        let texts: Vec<String> = routes.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "api.example.org /v1/",
                "api.example.org",
                "*.a.example.org",
                "*.example.org",
                "any host /v1/",
                "any host",
            ]
        );
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for host in ["", "a b", "api.example.org:80", "https://a", "*", "a.*.org", "a..b", "[::1"] {
            assert!(Route::new(Some(host), None).is_err(), "{host}");
        }
        for path in ["", "v1", "/a?b", "/a b", "/ü"] {
            assert!(Route::new(None, Some(path)).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_route_takes_what_a_slow_reader_says(
            own in prop::option::of("(\\*\\.)?[ab]{1,2}(\\.[ab]{1,2}){0,2}"),
            start in prop::option::of("/([ab]{1,2}/?){0,2}"),
            host in "[abAB]{1,2}(\\.[ab]{1,2}){0,3}\\.?(:[0-9]{0,3})?",
            path in "/([ab]{1,2}/?){0,3}",
        ) {
            let route = Route::new(own.as_deref(), start.as_deref()).unwrap();
            let name = host.split(':').next().unwrap().to_lowercase();
            let name = name.strip_suffix('.').unwrap_or(&name);
            let hosted = own.is_none_or(|own| match own.strip_prefix('*') {
                Some(end) => name.ends_with(end) && name.len() > end.len(),
                None => name == own,
            });
            let below = |start: &str| format!("{}/", start.strip_suffix('/').unwrap_or(start));
            let begun = start.is_none_or(|start| {
                path.starts_with(&below(&start)) || path == start
            });
            prop_assert_eq!(route.takes(host.as_bytes(), &path), hosted && begun);
        }

        #[test]
        fn no_host_and_no_path_is_too_strange(
            own in ".{0,20}", start in ".{0,20}", host: Vec<u8>, path in ".{0,20}",
        ) {
            let own = Route::new(Some(&own), None);
            let start = Route::new(None, Some(&start));
            for route in [own, start].into_iter().flatten() {
                route.takes(&host, &path);
                let again = Route::new(route.host().as_deref(), route.path());
                prop_assert_eq!(again, Ok(route));
            }
        }
    }
}
