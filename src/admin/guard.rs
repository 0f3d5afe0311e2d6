//! Who is let in: the Host a browser was told, and the token that came along.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api::{Kind, Trouble};
use super::tokens::{Login, Role, Tokens};

/// Wrong tokens that are answered and logged one by one within [`FAILURES_SPAN`]. More come from a
/// broken script or a guesser; 256 random bits are not guessed, so the limit is for the log.
const FAILURES_MAX: usize = 20;

/// The span in which wrong tokens are counted.
const FAILURES_SPAN: Duration = Duration::from_mins(1);

/// Who is let in.
#[derive(Debug)]
pub(super) struct Guard {
    listen: SocketAddr,
    hosts: Vec<String>,
    tokens: Tokens,
    failures: Mutex<VecDeque<Instant>>,
}

impl Guard {
    pub(super) fn new(listen: SocketAddr, hosts: &[String], tokens: Tokens) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { listen, hosts, tokens, failures: Mutex::default() }
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

    fn is_ours(&self, host: &str) -> bool {
        let bare = without_port(host).to_ascii_lowercase();
        let listen = match self.listen {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        ["localhost", "127.0.0.1", "[::1]", &listen].contains(&bare.as_str())
            || self.hosts.iter().any(|ours| *ours == bare || ours == host)
    }

    /// The login of a request; none without a token.
    async fn login(&self, authorization: Option<HeaderValue>) -> Result<Option<Login>, Trouble> {
        let Some(given) = authorization else {
            return Ok(None);
        };
        let given = given.to_str().unwrap_or_default();
        let token = given.split_once(' ').filter(|(way, _)| way.eq_ignore_ascii_case("bearer"));
        let login = match token {
            Some((_, token)) => self.tokens.login(token.trim()).await,
            None => None,
        };
        // A right token is let in however many wrong ones came before: a roll back is never
        // delayed by somebody else's mistakes.
        if login.is_some() { Ok(login) } else { Err(self.failed()) }
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

fn without_port(host: &str) -> &str {
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

/// On what only looks: open on a loopback address, else for every token.
pub(super) async fn read(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let open = guard.listen.ip().to_canonical().is_loopback();
    match guard.login(authorization(&request)).await {
        Ok(None) if !open => Trouble::new(Kind::Unauthorised, NO_TOKEN).into_response(),
        Ok(login) => {
            if let Some(login) = login {
                request.extensions_mut().insert(Asker(login));
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
    match guard.login(authorization(&request)).await {
        Ok(Some(login)) if login.role == Role::Operator => {
            request.extensions_mut().insert(Asker(login));
            next.run(request).await
        }
        Ok(Some(login)) => {
            let error = format!("{} is a viewer's token; orders need an operator's", login.name);
            Trouble::new(Kind::Forbidden, error).into_response()
        }
        Ok(None) => Trouble::new(Kind::Unauthorised, NO_TOKEN).into_response(),
        Err(trouble) => trouble.into_response(),
    }
}

fn authorization(request: &Request) -> Option<HeaderValue> {
    request.headers().get(header::AUTHORIZATION).cloned()
}

const NO_TOKEN: &str = "this needs a token: send `Authorization: Bearer TOKEN`; the command line \
                        reads WEIR_TOKEN_FILE, or operator.token beside the journal";

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

    #[tokio::test]
    async fn wrong_tokens_run_into_a_limit_and_right_ones_never() {
        let (folder, guard) = guard("127.0.0.1:7700", &[]);
        let headers = |token: &str| format!("Bearer {token}").parse().ok();
        let mut kinds = Vec::new();
        for _ in 0..=FAILURES_MAX {
            kinds.push(guard.login(headers("weir_12")).await.unwrap_err().kind);
        }
        assert_eq!(kinds[FAILURES_MAX - 1], Kind::Unauthorised);
        assert_eq!(kinds[FAILURES_MAX], Kind::TooMany);
        let right = std::fs::read_to_string(folder.path().join("operator.token")).unwrap();
        assert!(guard.login(headers(right.trim())).await.unwrap().is_some());
        assert_eq!(guard.login(None).await, Ok(None));
    }
}
