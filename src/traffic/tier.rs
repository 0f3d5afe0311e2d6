//! What the file says of a tier: its releases, their addresses, and how its traffic is treated.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::access::Closing;
use super::address::Address;
use super::affinity::Sticky;
use super::listener::Listener;
use super::matching::{Network, Pattern, StatusPattern};
use super::overlay::Cookies;
use super::route::Route;
use super::tls::ClientTls;

/// Longest name of a tier or a version, in bytes: both become labels of metrics.
pub const NAME_BYTES_MAX: usize = 64;

/// The name of a tier (`web`, `api`): 1..=64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TierName(Arc<str>);

/// A version of a tier (`1.1.0`), the identity of a release: 1..=64 of `[A-Za-z0-9._+-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(Arc<str>);

/// Why a text is no name of a tier or of a version.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} {text:?} is not allowed; use 1 to {NAME_BYTES_MAX} letters, digits and {marks}")]
pub struct VersionError {
    what: &'static str,
    text: String,
    marks: &'static str,
}

fn checked(text: &str, what: &'static str, marks: &'static str) -> Result<Arc<str>, VersionError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || (c != ' ' && marks.contains(c));
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.into());
    }
    let text = text.chars().take(NAME_BYTES_MAX).collect();
    Err(VersionError { what, text, marks })
}

macro_rules! name {
    ($type:ident, $what:literal, $marks:literal) => {
        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = VersionError;

            fn from_str(text: &str) -> Result<Self, VersionError> {
                checked(text, $what, $marks).map(Self)
            }
        }

        impl TryFrom<String> for $type {
            type Error = VersionError;

            fn try_from(text: String) -> Result<Self, VersionError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }
    };
}

name!(TierName, "tier name", "._-");
name!(Version, "version", "._+-");

/// One address we forward to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: Address,
    /// Its place in the register of the metrics; one address of one release keeps it for good.
    pub slot: usize,
}

/// One version of a tier, with its upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its identity.
    pub version: Version,
    /// Where it runs; never empty.
    pub upstreams: Vec<Upstream>,
    /// The Host to send instead of the client's, if the file says so.
    pub host: Option<String>,
    /// How those of its upstreams are spoken to where TLS is.
    pub tls: Option<Arc<ClientTls>>,
    /// Whether each connection to it begins with a PROXY protocol header, version 2, with the
    /// client's address.
    pub proxy_protocol: bool,
    /// Its place in the register of the metrics; one version of one tier keeps it for good.
    pub slot: usize,
    /// Whether the tier began with it: no other release had users before.
    pub is_first: bool,
}

/// A layer of the product (web, api, admin) and how its traffic is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: TierName,
    /// Where its clients come in.
    pub listener: Arc<Listener>,
    /// Which of the requests there are its own.
    pub route: Route,
    /// What keeps a client on its version.
    pub sticky: Sticky,
    /// How upstreams are asked whether they are well.
    pub health: HealthCheck,
    /// How testers reach either release at any weight.
    pub preview: Option<Preview>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much there may be of things.
    pub limits: Limits,
    /// Peers whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<Network>,
    /// Requests that are not judged.
    pub ignore: Ignore,
    /// Outcomes that are counted besides errors, in the order of the judge's settings.
    pub watches: Vec<Watch>,
    /// Whether answers tell the client its version (`X-Weir-Version`). Off: only when the
    /// request asks by the preview secret.
    pub show_version: bool,
    /// Whether each request is written to the access log.
    pub access_log: bool,
    /// The app's cookies that its versions do not share.
    pub cookies: Cookies,
    /// Where the app logs out: whatever cookie it writes there ends that of the other version.
    pub logout: Vec<Pattern>,
    /// How the paths begin of files that are asked of the other version where one has them not.
    pub assets: Vec<String>,
    /// What is said of pages to caches on their way while there are two versions.
    pub shared_caches: SharedCaches,
    /// How long after a promotion or a roll back the release that was left still counts.
    pub keep_warm: Duration,
    /// What a canary is warmed with before it gets users.
    pub warm: Option<Warm>,
    /// How answers are kept, if they are.
    pub caching: Option<Caching>,
    /// How users are kept out while it is closed.
    pub closing: Closing,
}

/// Requests that stable had lately, put to a canary before it gets users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warm {
    /// How many, the most frequent ones.
    pub requests: usize,
    /// How long users may wait for the canary meanwhile.
    pub within: Duration,
}

impl Default for Warm {
    fn default() -> Self {
        Self { requests: 200, within: Duration::from_mins(1) }
    }
}

/// How answers are kept for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caching {
    /// Bytes of all of them: bodies, heads, and what it takes to find them.
    pub size: u64,
    /// Bytes of the body of one.
    pub object: u64,
    /// For how long a stale one is given while it is asked for, where it does not say.
    pub stale_while_revalidate: Duration,
    /// For how long a stale one is given where the service gives none, where it does not say.
    pub stale_if_error: Duration,
    /// Fields in which a proxy says more of where the client asked, and by which answers differ.
    pub forwarded: Vec<HeaderName>,
}

/// What is said of pages to caches between here and the clients while there are two versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedCaches {
    /// Only the client's own may keep them.
    #[default]
    Private,
    /// Nothing but what the app says.
    Untouched,
    /// They differ by what the split goes by.
    Vary,
}

impl SharedCaches {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Private, Self::Vary, Self::Untouched];

    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Untouched => "untouched",
            Self::Vary => "vary",
        }
    }
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path that is asked with GET; none: a connection that opens is well.
    pub path: Option<String>,
    /// Time between two checks of one upstream.
    pub interval: Duration,
    /// Longest a check may take.
    pub timeout: Duration,
    /// Failed checks in a row that make an upstream unhealthy.
    pub fall: u32,
    /// Passed checks in a row that make it healthy again.
    pub rise: u32,
    /// How long after a start the health of a release is unknown rather than bad.
    pub boot_grace: Duration,
    /// Failures in a row seen in traffic that take an upstream out (passive ejection).
    pub eject_after: u32,
    /// How long it stays out.
    pub eject_for: Duration,
    /// The share of a release's upstreams that may be out at once, in hundredths of a percent. The
    /// last one that is well never is.
    pub eject_max: u16,
    /// How long an upstream that is new or comes back gets less than its share, at first a tenth.
    pub slow_start: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            fall: 3,
            rise: 1,
            boot_grace: Duration::from_mins(1),
            eject_after: 5,
            eject_for: Duration::from_secs(10),
            eject_max: 5_000,
            slow_start: Duration::from_secs(10),
        }
    }
}

/// A header or cookie with a secret by which testers choose a release:
/// `name: <secret>` or `<secret>:canary` goes to the canary (or, with no rollout open, to the
/// newest available release), `<secret>:stable` to stable, `<secret>:<version>` to that version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// Name of the header, lower case.
    pub header: Option<String>,
    /// Name of the cookie.
    pub cookie: Option<String>,
    /// The secret.
    pub secret: TokenBytes,
}

/// A secret from the configuration: compared in constant time, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenBytes(Box<[u8]>);

impl TokenBytes {
    /// Keeps `secret`.
    pub fn new(secret: &str) -> Self {
        Self(secret.as_bytes().into())
    }

    /// Whether `other` is the secret; takes the same time wherever they differ.
    pub fn is(&self, other: &[u8]) -> bool {
        self.0.len() == other.len()
            && self.0.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }

    /// The secret, to take it out of what is shown.
    pub const fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Length of the secret in bytes.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the secret is empty; the configuration refuses such a one.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for TokenBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenBytes(..)")
    }
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A client's request head, from its first byte (and a new connection's first byte).
    pub request_head: Duration,
    /// A kept-alive client connection without a request.
    pub client_idle: Duration,
    /// No byte moving in either direction of a body.
    pub body_idle: Duration,
    /// Opening a connection to an upstream.
    pub connect: Duration,
    /// From the end of the request to the head of the answer; beyond `first_byte` it also counts
    /// as an error of the release, once.
    pub response_head: Duration,
    /// Age at which a request without an answer counts as an error (hanging).
    pub first_byte: Duration,
    /// Paths whose answers may be long in coming, head or body: long polls.
    pub long_polls: Vec<Pattern>,
    /// A whole request, bodies included; none: no limit (downloads, event streams).
    pub total: Option<Duration>,
    /// Age at which an answer still streaming is counted by its head.
    pub stream_after: Duration,
    /// An idle connection to an upstream.
    pub upstream_idle: Duration,
    /// Idle time after which a connection is not used for a request that may not be repeated
    /// without looking whether it is still open.
    pub reuse_idle: Duration,
    /// How long a client may fall short of the rates of bodies.
    pub rate_grace: Duration,
    /// How long requests may go on after SIGTERM, and upgraded connections on a release that lost.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            request_head: seconds(10),
            client_idle: seconds(75),
            body_idle: seconds(60),
            connect: seconds(3),
            response_head: seconds(60),
            first_byte: seconds(10),
            long_polls: Vec::new(),
            total: None,
            stream_after: seconds(10),
            upstream_idle: seconds(30),
            reuse_idle: seconds(1),
            rate_grace: seconds(20),
            drain: seconds(30),
        }
    }
}

/// How much there may be of things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at once, over all workers; as many requests at once by HTTP/2.
    pub connections: usize,
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Header lines of a request or an answer.
    pub headers: usize,
    /// Bytes of a request body; none: no limit.
    pub body_bytes: Option<u64>,
    /// Least bytes a second of a request's body, while its client is waited for; none: no limit.
    pub body_rate: Option<u64>,
    /// Least bytes a second of an answer that a client takes; none: no limit.
    pub read_rate: Option<u64>,
    /// Requests on one client connection.
    pub requests_per_connection: u64,
    /// Requests at once on one client connection that speaks HTTP/2.
    pub streams: u32,
    /// Idle connections kept to one upstream by one worker.
    pub upstream_idle: usize,
    /// Open connections to one upstream, over all workers; none: no limit.
    pub upstream_connections: Option<usize>,
    /// Requests that wait for a connection to one upstream, over all workers.
    pub upstream_pending: usize,
    /// The share of a release's requests that may be sent again to another of its upstreams, in
    /// hundredths of a percent.
    pub retries: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            head_bytes: 64 * 1024,
            headers: 100,
            body_bytes: None,
            // Far below what the slowest mobile networks carry, far above what attackers care for.
            body_rate: Some(240),
            read_rate: Some(240),
            requests_per_connection: 100_000,
            streams: 100,
            upstream_idle: 256,
            upstream_connections: None,
            upstream_pending: 1_024,
            retries: 2_000,
        }
    }
}

/// Requests that are forwarded but not judged: monitors that hit one version only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    /// Paths (without the query), `*` for any text.
    pub paths: Vec<Pattern>,
    /// Client addresses.
    pub addresses: Vec<Network>,
    /// User agents, `*` for any text.
    pub agents: Vec<Pattern>,
}

impl Ignore {
    /// Whether a request for `path` from `client` with `agent` is left out of the judgement.
    pub fn covers(&self, path: &str, client: IpAddr, agent: &[u8]) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path.as_bytes()))
            || self.addresses.iter().any(|network| network.contains(client))
            || self.agents.iter().any(|pattern| pattern.matches(agent))
    }

    /// Whether nothing is left out, so that requests need not be looked at.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.addresses.is_empty() && self.agents.is_empty()
    }
}

/// An outcome that is counted besides errors, such as being thrown out to the login page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What it is called, in sentences and as a label.
    pub name: String,
    /// The statuses that count, any of them.
    pub status: Vec<StatusPattern>,
    /// The Location that counts, if the answer must have one.
    pub location: Option<Pattern>,
}

impl Watch {
    /// Whether an answer with `status` and `location` is such an outcome.
    pub fn matches(&self, status: u16, location: Option<&[u8]>) -> bool {
        self.status.iter().any(|pattern| pattern.matches(status))
            && match &self.location {
                None => true,
                Some(pattern) => location.is_some_and(|text| pattern.matches(text)),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        assert!("web-1".parse::<TierName>().is_ok());
        assert!("4.2.0+build".parse::<Version>().is_ok());
        let error = "1.0 beta".parse::<Version>().unwrap_err().to_string();
        assert_eq!(
            error,
            "version \"1.0 beta\" is not allowed; use 1 to 64 letters, digits and ._+-"
        );
        assert!("x".repeat(65).parse::<Version>().is_err());
    }

    #[test]
    fn a_watch_needs_its_status_and_its_location() {
        let watch = Watch {
            name: "thrown out".into(),
            status: vec!["302".parse().unwrap(), "401".parse().unwrap()],
            location: Some(Pattern::new("/login*")),
        };
        assert!(watch.matches(302, Some(b"/login?next=/")));
        assert!(!watch.matches(302, Some(b"/home")));
        assert!(!watch.matches(302, None));
        assert!(!watch.matches(200, Some(b"/login")));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = TokenBytes::new("hunter2");
        assert!(secret.is(b"hunter2"));
        assert!(!secret.is(b"hunter3"));
        assert_eq!(format!("{secret:?}"), "TokenBytes(..)");
    }
}
