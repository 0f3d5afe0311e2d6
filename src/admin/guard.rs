//! Who is let in: the Host a browser was told, and the token or the session that came along.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Version, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api::{Kind, Trouble};
use super::sessions::{self, Sessions};
use super::tokens::{Fingerprint, Login, Role, Tokens};

/// Wrong tokens that are answered and logged one by one within [`FAILURES_SPAN`]. More come from a
/// broken script or a guesser; 256 random bits are not guessed, so the limit is for the log.
const FAILURES_MAX: usize = 20;

/// The span in which wrong tokens are counted.
const FAILURES_SPAN: Duration = Duration::from_mins(1);

/// What proxies add to a request that they pass on.
const PASSED_ON: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// Who is let in.
#[derive(Debug)]
pub(super) struct Guard {
    listen: SocketAddr,
    hosts: Vec<String>,
    tokens: Tokens,
    failures: Mutex<VecDeque<Instant>>,
    pub(super) sessions: Sessions,
}

impl Guard {
    pub(super) fn new(listen: SocketAddr, hosts: &[String], tokens: Tokens) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let sessions = Sessions::new(listen.port());
        Self { listen, hosts, tokens, failures: Mutex::default(), sessions }
    }

    /// A page of a stranger can make a browser send requests here by pointing its own name at
    /// this address; its name then stands in Host.
    fn check_host(&self, request: &Request) -> Result<(), Trouble> {
        let named = request.headers().get_all(header::HOST).iter();
        let named = named.map(|host| host.to_str().unwrap_or_default());
        let mut named: Vec<&str> =
            named.chain(request.uri().authority().map(Authority::as_str)).collect();
        named.dedup();
        match named.as_slice() {
            [one] if self.is_ours(one) => Ok(()),
            [] => Err(Trouble::new(Kind::MisdirectedHost, "the request names no host")),
            [one, ..] => {
                let shown: String = one.chars().take(100).collect();
                let error = format!(
                    "host {shown:?} is none of this program's; if it should be, add it to \
                     `[admin] hosts`"
                );
                Err(Trouble::new(Kind::MisdirectedHost, error))
            }
        }
    }

    /// Whether a request comes from this machine itself: to a loopback address, by a name that only
    /// leads there, and not through a proxy, which may let in whom it likes. nginx that is told
    /// nothing else adds no field, and speaks HTTP/1.0.
    fn is_near(&self, request: &Request) -> bool {
        let passed = |name| request.headers().contains_key(name);
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let named =
            host.or(request.uri().host()).map(|host| without_port(host).to_ascii_lowercase());
        self.listen.ip().to_canonical().is_loopback()
            && named.is_some_and(|host| self.is_own_address(&host))
            && !PASSED_ON.into_iter().any(passed)
            && request.version() >= Version::HTTP_11
    }

    /// Whether `host`, in small letters, is how this machine calls itself.
    fn is_own_address(&self, host: &str) -> bool {
        let listen = match self.listen {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        ["localhost", "127.0.0.1", "[::1]", &listen].contains(&host)
    }

    fn is_ours(&self, host: &str) -> bool {
        let bare = without_port(host).to_ascii_lowercase();
        self.is_own_address(&bare) || self.hosts.iter().any(|ours| *ours == bare || ours == host)
    }

    /// Who sends a request, and by what; none without a token and an open session.
    async fn asker(&self, headers: &HeaderMap) -> Result<Option<(Login, Shown)>, Trouble> {
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            let given = given.to_str().unwrap_or_default();
            let token = given.split_once(' ').filter(|(way, _)| way.eq_ignore_ascii_case("bearer"));
            let (_, token) = token.ok_or_else(|| self.failed())?;
            let (login, token) = self.login(token.trim()).await?;
            return Ok(Some((login, Shown::Token(token))));
        }
        let Some(key) = self.sessions.key(headers) else { return Ok(None) };
        self.sessions.used(&key, Instant::now());
        let shown = Shown::Session(key);
        // A session that is over, as after a restart, is as good as none.
        Ok(self.recall(&shown).await.map(|login| (login, shown)))
    }

    /// Whose token this is, and what may be kept of it.
    pub(super) async fn login(&self, token: &str) -> Result<(Login, Fingerprint), Trouble> {
        let token = Fingerprint::of(token);
        // A right token is let in however many wrong ones came before: a roll back is never
        // delayed by somebody else's mistakes.
        let login = self.tokens.recall(&token).await.ok_or_else(|| self.failed())?;
        Ok((login, token))
    }

    /// Who has shown this, if it still counts.
    async fn recall(&self, shown: &Shown) -> Option<Login> {
        match shown {
            Shown::Token(token) => self.tokens.recall(token).await,
            Shown::Session(key) => {
                let token = self.sessions.token(key, Instant::now())?;
                let login = self.tokens.recall(&token).await;
                if login.is_none() {
                    self.sessions.end(key);
                }
                login
            }
        }
    }

    /// That a request by a cookie comes from our page.
    pub(super) fn check_page(&self, headers: &HeaderMap) -> Result<(), Trouble> {
        let is_ours = |name: &str| {
            let name = name.to_ascii_lowercase();
            self.hosts.iter().any(|ours| without_port(ours) == name)
        };
        sessions::check_page(headers, is_ours)
    }

    fn failed(&self) -> Trouble {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|at| now.duration_since(*at) < FAILURES_SPAN);
        if failures.len() >= FAILURES_MAX {
            return Trouble::new(Kind::TooMany, "too many wrong tokens; try again in a minute");
        }
        failures.push_back(now);
        tracing::warn!(in_a_minute = failures.len(), "admin: a wrong token was refused");
        let error = "the token was refused: it is wrong or was revoked; `weir token list` shows \
                     the names, `weir token add NAME` makes a new one";
        Trouble::new(Kind::Unauthorised, error)
    }
}

pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => host,
    }
}

/// On every request: the Host is one of ours.
pub(super) async fn host(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(trouble) => trouble.into_response(),
    }
}

/// On what only looks: open for who is on this machine, else for every token.
pub(super) async fn read(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let open = guard.is_near(&request);
    match guard.asker(request.headers()).await {
        Ok(None) if !open => Trouble::new(Kind::Unauthorised, NO_TOKEN).into_response(),
        Ok(asker) => {
            if let Some((login, shown)) = asker {
                request.extensions_mut().insert(Asker(login));
                request.extensions_mut().insert(Pass { guard, shown });
            }
            next.run(request).await
        }
        Err(trouble) => trouble.into_response(),
    }
}

/// On what changes something: for operators.
pub(super) async fn change(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.may_change(request.headers()).await {
        Ok(login) => {
            request.extensions_mut().insert(Asker(login));
            next.run(request).await
        }
        Err(trouble) => trouble.into_response(),
    }
}

impl Guard {
    async fn may_change(&self, headers: &HeaderMap) -> Result<Login, Trouble> {
        let Some((login, shown)) = self.asker(headers).await? else {
            let was_logged_in = self.sessions.key(headers).is_some();
            let error = if was_logged_in { SESSION_OVER } else { NO_TOKEN };
            return Err(Trouble::new(Kind::Unauthorised, error));
        };
        match shown {
            // A cookie comes along whoever made the browser ask.
            Shown::Session(_) => self.check_page(headers)?,
            Shown::Token(_) => {}
        }
        if login.role != Role::Operator {
            let error = format!("{} is a viewer's token; orders need an operator's", login.name);
            return Err(Trouble::new(Kind::Forbidden, error));
        }
        Ok(login)
    }
}

/// What a request has shown.
#[derive(Clone)]
enum Shown {
    Session(Fingerprint),
    Token(Fingerprint),
}

/// By what a request was let in that lasts for long.
#[derive(Clone)]
pub(super) struct Pass {
    guard: Arc<Guard>,
    shown: Shown,
}

impl Pass {
    /// Whether it still counts.
    pub(super) async fn holds(&self) -> bool {
        self.guard.recall(&self.shown).await.is_some()
    }
}

const NO_TOKEN: &str = "this needs a token: send `Authorization: Bearer TOKEN`; the command line \
                        reads WEIR_TOKEN_FILE, or operator.token beside the journal";

const SESSION_OVER: &str = "the session is over: weir was started again, nobody used it for 12 hours, \
                            or its token was revoked; log in again";

/// Who sent the request, for the handler.
#[derive(Clone, Debug)]
pub(super) struct Asker(pub(super) Login);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tokens::TokenFile;

    fn guard(listen: &str, hosts: &[&str]) -> (tempfile::TempDir, Guard) {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(TokenFile::new(folder.path().join("weir.tokens"))).unwrap();
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        (folder, Guard::new(listen.parse().unwrap(), &hosts, tokens))
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let (_folder, guard) = guard("10.0.0.7:7700", &["Weir.example.com"]);
        for ours in ["localhost", "LOCALHOST:7700", "127.0.0.1:1", "[::1]:7700", "[::1]"] {
            assert!(guard.is_ours(ours), "{ours}");
        }
        assert!(guard.is_ours("10.0.0.7:7700") && guard.is_ours("weir.example.com:7700"));
        for strange in
            ["", "evil.example", "localhost.evil.example:7700", "127.0.0.1.evil", ":7700"]
        {
            assert!(!guard.is_ours(strange), "{strange}");
        }
    }

    #[test]
    fn who_comes_through_a_proxy_is_not_near() {
        let near = |listen: &str, fields: &[(&str, &str)]| {
            let (_folder, guard) = guard(listen, &["weir.example.com"]);
            let mut request = http::Request::builder();
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            guard.is_near(&request.body(axum::body::Body::empty()).unwrap())
        };
        let loopback = "127.0.0.1:7700";
        for host in ["127.0.0.1:7700", "localhost", "LOCALHOST:17700", "[::1]:7700"] {
            assert!(near(loopback, &[("host", host)]), "{host}");
            assert!(!near("10.0.0.7:7700", &[("host", host)]), "{host}");
        }
        assert!(!near(loopback, &[("host", "weir.example.com")]));
        for name in PASSED_ON {
            assert!(!near(loopback, &[("host", "127.0.0.1:7700"), (name, "anything")]), "{name}");
        }
        assert!(!near(loopback, &[]));
        let (_folder, guard) = guard(loopback, &[]);
        let old = http::Request::builder().version(Version::HTTP_10).header("host", "localhost");
        assert!(!guard.is_near(&old.body(axum::body::Body::empty()).unwrap()));
    }

    #[tokio::test]
    async fn wrong_tokens_run_into_a_limit_and_right_ones_never() {
        let (folder, guard) = guard("127.0.0.1:7700", &[]);
        let login = async |token: &str| guard.login(token).await;
        let mut kinds = Vec::new();
        for _ in 0..=FAILURES_MAX {
            kinds.push(login("weir_12").await.unwrap_err().kind);
        }
        assert_eq!(kinds[FAILURES_MAX - 1], Kind::Unauthorised);
        assert_eq!(kinds[FAILURES_MAX], Kind::TooMany);
        let right = std::fs::read_to_string(folder.path().join("operator.token")).unwrap();
        assert!(login(right.trim()).await.is_ok());
        assert!(guard.asker(&HeaderMap::new()).await.is_ok_and(|asker| asker.is_none()));
    }
}
