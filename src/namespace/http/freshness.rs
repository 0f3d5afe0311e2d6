//! Whether an answer may be kept, and for how long it may be used (RFC 9111, sections 3 and 4).

use std::time::Duration;

use http::header::{AGE, AUTHORIZATION, COOKIE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::date;
use super::directives::{self, Directives};
use super::key;

/// Statuses whose rules are known here, for answers that want them known (`must-understand`).
const UNDERSTOOD: [u16; 15] =
    [200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 404, 405, 410, 414, 451];

/// What the operator says of answers that say nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency {
    /// For how long a stale answer is used while it is asked for.
    pub stale_while_revalidate: Duration,
    /// For how long a stale answer is used where the service gives none.
    pub stale_if_error: Duration,
}

/// What of a request says for whom the answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// It has Authorization.
    pub authorized: bool,
    /// It has a cookie of the app.
    pub known: bool,
}

impl Asker {
    /// That of a request. `own` is a cookie that is no app's.
    pub fn of(headers: &HeaderMap, own: &str) -> Self {
        let app = |line: &HeaderValue| {
            let pairs = line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let mut others = pairs.filter(|pair| {
                let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
                !pair.is_empty() && name != own.as_bytes()
            });
            others.next().is_some()
        };
        Self {
            authorized: headers.contains_key(AUTHORIZATION),
            known: headers.get_all(COOKIE).iter().any(app),
        }
    }

    /// Whether the answer may be for this user alone, unless it says otherwise.
    pub const fn is_somebody(self) -> bool {
        self.authorized || self.known
    }
}

/// How an answer that is kept may be used. Spans only: who keeps it knows since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How old it was when it came.
    pub initial_age: Duration,
    /// How old it may become.
    pub lifetime: Duration,
    /// It is never used without asking.
    pub no_cache: bool,
    /// For how long it may be used stale while it is asked for.
    pub while_revalidate: Duration,
    /// For how long it may be used stale where there is nothing else.
    pub if_error: Duration,
    /// A client may take it stale.
    pub may_be_stale: bool,
    /// It is for everybody, and says so.
    pub is_public: bool,
}

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unkept {
    /// The request is none whose answer could be.
    Request,
    /// It says so, or it is for one user, or says nothing.
    Answer,
    /// It may be for who asked alone; for somebody without a name it would be.
    Asker,
}

/// What may be done with what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is given.
    Fresh,
    /// It is given, and asked for meanwhile.
    StaleWhileRevalidate,
    /// It is asked for first.
    Ask,
}

/// Whether the answer to a GET by `asker` that came at `now` (seconds since 1970) after `delay` may
/// be kept.
///
/// # Errors
/// Why not.
pub fn policy(
    asker: Asker,
    request: &Directives,
    (status, answer): (StatusCode, &HeaderMap),
    (now, delay): (u64, Duration),
    leniency: Leniency,
) -> Result<Policy, Unkept> {
    if request.no_store {
        return Err(Unkept::Request);
    }
    let (says, targeted) = Directives::of_answer(answer);
    let understood = UNDERSTOOD.contains(&status.as_u16());
    let partial = status == StatusCode::PARTIAL_CONTENT || status == StatusCode::NOT_MODIFIED;
    let stored = !says.no_store || (says.must_understand && understood);
    let shared = says.public || says.s_maxage.is_some() || says.must_revalidate || targeted;
    // A failure is for the judge to see, each time.
    if status.is_informational()
        || status.is_server_error()
        || partial
        || !stored
        || says.private
        || (says.must_understand && !understood)
        || answer.contains_key(SET_COOKIE)
        || key::varies_by_everything(answer)
    {
        return Err(Unkept::Answer);
    }
    let lifetime = lifetime(&says, targeted, answer, now);
    let validator = answer.contains_key(ETAG) || answer.contains_key(LAST_MODIFIED);
    let (lifetime, always_asks) = match lifetime {
        Some(lifetime) => (lifetime, says.no_cache),
        None if says.no_cache || says.public => (Duration::ZERO, true),
        None => return Err(Unkept::Answer),
    };
    if (lifetime.is_zero() || always_asks) && !validator {
        return Err(Unkept::Answer);
    }
    if asker.is_somebody() && !shared {
        return Err(Unkept::Asker);
    }
    let strict =
        says.must_revalidate || says.proxy_revalidate || says.s_maxage.is_some() || says.no_cache;
    let stale = |said: Option<Duration>, usual: Duration| match said {
        _ if strict => Duration::ZERO,
        Some(said) => said,
        None => usual,
    };
    Ok(Policy {
        initial_age: initial_age(answer, now, delay),
        lifetime,
        no_cache: always_asks,
        while_revalidate: stale(says.stale_while_revalidate, leniency.stale_while_revalidate),
        if_error: stale(says.stale_if_error, leniency.stale_if_error),
        may_be_stale: !strict,
        is_public: shared,
    })
}

/// How long it stays fresh; none: it does not say, and nothing is guessed.
fn lifetime(says: &Directives, targeted: bool, answer: &HeaderMap, now: u64) -> Option<Duration> {
    if let Some(span) = says.s_maxage.or(says.max_age) {
        return Some(span);
    }
    let mut expires = answer.get_all(EXPIRES).iter();
    let first = expires.next().filter(|_| !targeted)?;
    // What is no date is in the past, and so are two of them.
    let until = date::parse(first.as_bytes()).filter(|_| expires.next().is_none()).unwrap_or(0);
    Some(Duration::from_secs(until.saturating_sub(made(answer).unwrap_or(now))))
}

fn made(answer: &HeaderMap) -> Option<u64> {
    answer.get(DATE).and_then(|date| date::parse(date.as_bytes()))
}

/// How old it is when it comes (RFC 9111, section 4.2.3). Of several ages the first counts, and one
/// that is no number counts for nothing (section 5.1).
fn initial_age(answer: &HeaderMap, now: u64, delay: Duration) -> Duration {
    let first = |line: &HeaderValue| {
        let first = line.as_bytes().split(|byte| *byte == b',').next();
        directives::seconds(first.unwrap_or_default().trim_ascii())
    };
    let said = answer.get(AGE).and_then(first).map(|age| Duration::from_secs(age) + delay);
    let apparent = made(answer).map_or(0, |made| now.saturating_sub(made));
    said.unwrap_or_default().max(Duration::from_secs(apparent))
}

impl Policy {
    /// How old it is after it was kept for `resident`.
    pub fn age(&self, resident: Duration) -> Duration {
        self.initial_age + resident
    }

    /// What may be done with it for a request.
    pub fn allows(&self, resident: Duration, request: &Directives) -> Use {
        let age = self.age(resident);
        let too_old = request.max_age.is_some_and(|most| age > most)
            || request.max_age.is_some_and(|most| most.is_zero());
        if self.no_cache || request.no_cache || request.no_store || too_old {
            return Use::Ask;
        }
        let wanted = age + request.min_fresh.unwrap_or_default();
        if wanted < self.lifetime {
            return Use::Fresh;
        }
        let stale = age.saturating_sub(self.lifetime);
        if request.min_fresh.is_some() {
            return Use::Ask;
        }
        if self.may_be_stale && request.max_stale.is_some_and(|most| stale <= most) {
            return Use::Fresh;
        }
        if stale < self.while_revalidate { Use::StaleWhileRevalidate } else { Use::Ask }
    }

    /// Whether it may be given where there is nothing else.
    pub fn allows_on_error(&self, resident: Duration) -> bool {
        !self.no_cache && self.age(resident).saturating_sub(self.lifetime) < self.if_error
    }

    /// Whether it is asked for each time, each time by whoever wants it.
    pub fn always_asks(&self) -> bool {
        self.no_cache || self.lifetime.is_zero()
    }

    /// Whether those who wait for it may have it without asking.
    pub fn is_for_waiters(&self, resident: Duration) -> bool {
        !self.no_cache && self.age(resident) < self.lifetime
    }

    /// For how many seconds it stays fresh; less than nothing once it is stale.
    pub fn ttl(&self, resident: Duration) -> i64 {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime) - seconds(self.age(resident))
    }
}

/// Whether a request with `method` leaves everything as it is (RFC 9110, section 9.2.1).
pub fn is_safe(method: &Method) -> bool {
    let safe = ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"];
    safe.contains(&method.as_str())
}
