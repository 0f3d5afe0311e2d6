//! Logins of browsers: a cookie that stands for a token, so that no script of the page has to keep
//! the token itself.
//!
//! Sessions are in memory alone: they end with the program, when they are not used for long, and with
//! their token. A cookie goes along with requests that a page of a stranger makes a browser send; so
//! what changes something by a cookie must say that it comes from our page ([`check_page`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use super::api::{Kind, Trouble, Whoami};
use super::commands::whole;
use super::guard::{self, Guard};
use super::tokens::{Fingerprint, Secret};

/// Sessions at once: a browser or two for everybody with a token. One more ends the one that was not
/// used for the longest time.
const SESSIONS_MAX: usize = 256;

/// A session that is not used for so long is over: a night, and the morning after.
const IDLE_MAX: Duration = Duration::from_hours(12);

/// A session is over after so long, however often it is used: a tab that is forgotten at a shared desk
/// asks on by itself.
const AGE_MAX: Duration = Duration::from_hours(7 * 24);

/// What the cookie's name begins with; the port follows, since cookies do not know ports and two
/// programs on one machine would end each other's sessions.
const COOKIE: &str = "weir_session";

/// Where browsers send the cookie: not to an app that listens on the same host, unless it has this
/// path, too.
const COOKIE_PATH: &str = "/api/v1";

/// The header by which our page says that it is ours. A page from elsewhere may not send it: its
/// browser would ask first, and get no leave.
const PAGE_HEADER: &str = "x-weir-page";

/// The sessions of a running program.
#[derive(Debug)]
pub(super) struct Sessions {
    cookie: String,
    open: Mutex<BTreeMap<Fingerprint, Session>>,
}

struct Session {
    token: Fingerprint,
    began: Instant,
    used: Instant,
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Session(..)")
    }
}

impl Sessions {
    /// None yet, of the program that listens at `port`.
    pub(super) fn new(port: u16) -> Self {
        Self { cookie: format!("{COOKIE}_{port}"), open: Mutex::default() }
    }

    /// Opens one for `token`; gives what the cookie holds.
    fn open(&self, token: Fingerprint, now: Instant) -> Secret {
        let key = Secret::draw();
        let mut open = self.lock();
        open.retain(|_, session| !session.is_over(now));
        if open.len() >= SESSIONS_MAX {
            let oldest = open.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                open.remove(&oldest);
            }
        }
        open.insert(Fingerprint::of(key.reveal()), Session { token, began: now, used: now });
        key
    }

    /// The token of a session that is open.
    pub(super) fn token(&self, key: &Fingerprint, now: Instant) -> Option<Fingerprint> {
        let open = self.lock();
        let session = open.get(key).filter(|session| !session.is_over(now))?;
        Some(session.token.clone())
    }

    /// A request came by it, which keeps it open. That a stream goes on is none.
    pub(super) fn used(&self, key: &Fingerprint, now: Instant) {
        if let Some(session) = self.lock().get_mut(key).filter(|session| !session.is_over(now)) {
            session.used = now;
        }
    }

    /// Ends one.
    pub(super) fn end(&self, key: &Fingerprint) {
        self.lock().remove(key);
    }

    /// What the request's cookie stands for, whether it is open or not.
    pub(super) fn key(&self, headers: &HeaderMap) -> Option<Fingerprint> {
        let cookies = headers.get_all(header::COOKIE).iter();
        let cookies =
            cookies.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
        let mut named = cookies.filter_map(|cookie| cookie.trim().split_once('='));
        let (_, value) = named.find(|(name, _)| *name == self.cookie)?;
        Some(Fingerprint::of(value))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Fingerprint, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cookie's line.
    fn cookie(&self, value: &str, more: &str, secure: bool) -> HeaderValue {
        let secure = if secure { "; Secure" } else { "" };
        let (name, path) = (&self.cookie, COOKIE_PATH);
        let line = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Strict{more}{secure}");
        let mut line = HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static(""));
        line.set_sensitive(true);
        line
    }
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) >= IDLE_MAX
            || now.saturating_duration_since(self.began) >= AGE_MAX
    }
}

/// That a request which the browser may have sent on a stranger's behalf comes from our page.
/// `is_ours`: whether browsers may reach us under this name, without a port.
pub(super) fn check_page(
    headers: &HeaderMap,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), Trouble> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let refused = |error: String| Err(Trouble::new(Kind::Forbidden, error));
    if text(PAGE_HEADER) != Some("1") {
        return refused(format!(
            "with a cookie this needs the header `{PAGE_HEADER}: 1`; scripts send `Authorization: \
             Bearer TOKEN` instead"
        ));
    }
    if let Some(site) = text("sec-fetch-site").filter(|site| *site != "same-origin") {
        return refused(format!("this came from a page elsewhere (Sec-Fetch-Site: {})", cut(site)));
    }
    let Some(origin) = text("origin") else { return Ok(()) };
    let authority = origin.split_once("://").map(|(scheme, authority)| match scheme {
        "http" => authority.strip_suffix(":80").unwrap_or(authority),
        "https" => authority.strip_suffix(":443").unwrap_or(authority),
        _ => "",
    });
    let authority = authority.unwrap_or_default();
    let host = text("host").unwrap_or_default();
    let is_host = !authority.is_empty() && authority.eq_ignore_ascii_case(host);
    if is_host || is_ours(guard::without_port(authority)) {
        return Ok(());
    }
    refused(format!(
        "this came from a page at {}, and the Host is {}; a proxy before weir must pass the Host \
         on, or its name must be in `[admin] hosts`",
        cut(origin),
        cut(host)
    ))
}

/// Whether the browser speaks TLS, with a proxy before us.
fn is_secure(headers: &HeaderMap) -> bool {
    let begins = |name: &str, with: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    begins("origin", "https://") || begins("x-forwarded-proto", "https")
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A token.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginShape {
    /// As `weir token add` printed it, or from the file `operator.token`.
    token: String,
}

/// Logs a browser in: the answer sets a cookie that counts as the token, until it is not used for
/// 12 hours, a week is over, the token is revoked or the program ends. Needs the header `X-Weir-Page: 1`.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "session", request_body = LoginShape,
    responses(
        (status = 200, description = "The token's name and role", body = Whoami),
        (status = 400, description = "Not understood", body = Trouble),
        (status = 401, description = "A wrong token", body = Trouble),
        (status = 403, description = "From a page elsewhere", body = Trouble),
        (status = 429, description = "Too many wrong tokens", body = Trouble),
    )
)]
pub(super) async fn log_in(
    Extension(guard): Extension<Arc<Guard>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Trouble> {
    guard.check_page(&headers)?;
    let bytes = whole(body).await?;
    // What is wrong is not repeated: it may be a token.
    let wrong =
        |_| Trouble::new(Kind::BadRequest, "not understood; send {\"token\": \"weir_...\"}");
    let LoginShape { token } = serde_json::from_slice(&bytes).map_err(wrong)?;
    let (login, token) = guard.login(token.trim()).await?;
    let sessions = &guard.sessions;
    if let Some(before) = sessions.key(&headers) {
        sessions.end(&before);
    }
    let key = sessions.open(token, Instant::now());
    tracing::info!(by = %login.name, role = %login.role, "admin: a browser has logged in");
    let cookie = sessions.cookie(key.reveal(), "", is_secure(&headers));
    let who = Whoami { name: login.name.to_string(), role: login.role };
    Ok(([(header::SET_COOKIE, cookie)], Json(who)).into_response())
}

/// Logs a browser out. Needs the header `X-Weir-Page: 1`.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "session",
    responses(
        (status = 204, description = "The session is over, if there was one"),
        (status = 403, description = "From a page elsewhere", body = Trouble),
    )
)]
pub(super) async fn log_out(
    Extension(guard): Extension<Arc<Guard>>,
    headers: HeaderMap,
) -> Result<Response, Trouble> {
    guard.check_page(&headers)?;
    let sessions = &guard.sessions;
    if let Some(key) = sessions.key(&headers) {
        sessions.end(&key);
    }
    let cookie = sessions.cookie("", "; Max-Age=0", is_secure(&headers));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_session_ends_when_it_is_not_used() {
        let (sessions, now) = (Sessions::new(7700), Instant::now());
        let token = Fingerprint::of("weir_1");
        let key = Fingerprint::of(sessions.open(token.clone(), now).reveal());
        let hours = |hours| now + Duration::from_hours(hours);
        assert_eq!(sessions.token(&key, hours(11)), Some(token.clone()));
        sessions.used(&key, hours(11));
        assert_eq!(sessions.token(&key, hours(22)), Some(token.clone()), "it was used meanwhile");
        assert_eq!(sessions.token(&key, hours(23)), None, "looking is no use of it");
        (11..200).for_each(|hour| sessions.used(&key, hours(hour)));
        assert_eq!(sessions.token(&key, hours(7 * 24 - 1)), Some(token));
        assert_eq!(sessions.token(&key, hours(7 * 24)), None, "however often it is used");
        assert_eq!(sessions.token(&Fingerprint::of("weir_1"), now), None);
    }

    #[test]
    fn one_session_too_many_ends_the_one_that_rested_longest() {
        let (sessions, now) = (Sessions::new(7700), Instant::now());
        let at = |seconds: usize| now + Duration::from_secs(seconds as u64);
        let open =
            |second| Fingerprint::of(sessions.open(Fingerprint::of("weir_1"), at(second)).reveal());
        let keys: Vec<Fingerprint> = (0..SESSIONS_MAX).map(open).collect();
        sessions.used(&keys[0], at(1_000));
        let newest = open(1_001);
        let is_open = |key: &Fingerprint| sessions.token(key, at(1_002)).is_some();
        assert!(is_open(&keys[0]) && is_open(&newest) && is_open(&keys[2]) && !is_open(&keys[1]));
        assert_eq!(sessions.lock().len(), SESSIONS_MAX);
    }

    #[test]
    fn the_cookie_is_told_from_others_and_out_of_reach_of_scripts() {
        let sessions = Sessions::new(7700);
        let cookie = sessions.cookie("weir_1", "", true);
        assert_eq!(
            cookie.to_str().unwrap(),
            "weir_session_7700=weir_1; Path=/api/v1; HttpOnly; SameSite=Strict; Secure"
        );
        assert!(!format!("{cookie:?}").contains("weir_1"), "{cookie:?}");
        let key = |cookie| sessions.key(&headers(&[("cookie", cookie)]));
        let wanted = Some(Fingerprint::of("weir_1"));
        assert_eq!(key("a=b; weir_session_7700=weir_1"), wanted);
        assert_eq!(key("weir_session_7701=weir_1; weir_session=weir_1"), None);
        let secure = |lines: &[(&'static str, &'static str)]| is_secure(&headers(lines));
        assert!(secure(&[("origin", "https://weir.example")]));
        assert!(secure(&[("x-forwarded-proto", "https, http")]));
        assert!(!secure(&[("origin", "http://localhost:7700")]) && !secure(&[]));
    }

    #[test]
    fn only_our_page_changes_something_by_a_cookie() {
        let page = ("x-weir-page", "1");
        let (host, named) = (("host", "localhost:7700"), ("host", "weir.example"));
        let cases: [(&[(&'static str, &'static str)], bool); 13] = [
            (&[page, host], true),
            (&[host], false),
            (&[("x-weir-page", "0"), host], false),
            (&[page, host, ("origin", "http://localhost:7700")], true),
            (&[page, host, ("origin", "http://localhost:8080")], false),
            (&[page, host, ("origin", "http://evil.example")], false),
            (&[page, host, ("origin", "null")], false),
            (&[page, named, ("origin", "https://weir.example:443")], true),
            // Behind a proxy that says another Host.
            (&[page, host, ("origin", "https://ours.example")], true),
            (&[page, host, ("sec-fetch-site", "same-origin")], true),
            (&[page, host, ("sec-fetch-site", "same-site")], false),
            (&[page, host, ("sec-fetch-site", "cross-site")], false),
            (&[page, ("origin", "")], false),
        ];
        for (lines, wanted) in cases {
            let checked = check_page(&headers(lines), |name| name == "ours.example");
            assert_eq!(checked.is_ok(), wanted, "{lines:?} {checked:?}");
        }
    }
}
