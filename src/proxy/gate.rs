//! What becomes of requests while their tier is closed: a page, or a wait.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, HeaderValue, RETRY_AFTER, VARY};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Body;
use serde_json::json;

use super::body::ResponseBody;
use super::line::{Exchange, Stage};
use super::place;
use super::respond::{self, About, After};
use super::worker::Worker;
use crate::clock;
use crate::metrics::{Waited, Waiting};
use crate::time::Timestamp;
use crate::traffic::{Access, Closing};

/// What a request takes in memory while it waits, beside its head: its task and its connection.
const WAITING_BYTES: u64 = 4 * 1024;

/// What of a body is read ahead, about; the rest waits at the client.
const BODY_BYTES: u64 = 16 * 1024;

/// When who was not let wait may come again, where no end of the hold is known: it is meant for a
/// cut of seconds.
const RETRY_AFTER_HOLD: Duration = Duration::from_secs(5);

/// The page that Weir has of its own. It loads nothing, and `{{...}}` is replaced.
const PAGE: &str = include_str!("gate.html");

/// Whether `client` comes in although the tier is closed: by its address, or by the secret.
pub fn lets_in(closing: &Closing, client: IpAddr, headers: &HeaderMap) -> bool {
    closing.allow.iter().any(|network| network.contains(client))
        || closing.bypass.as_ref().is_some_and(|bypass| place::has_secret(bypass, headers))
}

/// Has a request whose tier is held wait until it is its turn.
///
/// # Errors
/// It cannot wait, or not for so long; how the tier is closed then.
pub async fn wait<B: Body>(
    worker: &Rc<Worker>,
    exchange: &Rc<Exchange>,
    request: &Request<B>,
) -> Result<(), Access> {
    let tier = &exchange.tier;
    let (name, hold) = (&tier.table.tier.name, tier.table.tier.closing.hold);
    let (waiting, bytes) = (&tier.cells.waiting, weight(request));
    let Some(number) = waiting.enter(bytes, hold.requests, hold.bytes) else {
        return Err(tier.table.access.clone());
    };
    let mut seat = Seat { waiting, number, bytes, outcome: Waited::Abandoned };
    let since = Instant::now();
    exchange.enters(Stage::Held, since);
    loop {
        // Before the look at the table, so that no later one is missed.
        let moved = worker.moved.notified();
        let access = worker.view().tier(name).map_or(Access::Open, |t| t.table.access.clone());
        let now = Instant::now();
        let until = match &access {
            _ if worker.is_draining() => {
                seat.outcome = Waited::TurnedAway;
                return Err(Access::Hold { until: None });
            }
            Access::Maintenance { .. } => {
                seat.outcome = Waited::TurnedAway;
                return Err(access);
            }
            Access::Hold { .. } => {
                waiting.stop();
                since + hold.wait
            }
            Access::Open => waiting.turn(number, hold.pace, now),
        };
        if until <= now {
            let served = access.is_open();
            seat.outcome = if served { Waited::Served } else { Waited::Expired };
            return if served { Ok(()) } else { Err(access) };
        }
        let event = async {
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        };
        if exchange.unless_cut(std::pin::pin!(event)).await.is_err() {
            seat.outcome = Waited::Expired;
            return Err(access);
        }
    }
}

/// Bytes that `request` takes while it waits, about.
fn weight<B: Body>(request: &Request<B>) -> u64 {
    let line = |(name, value): (&http::HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    let head: usize = request.headers().iter().map(line).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let body = if request.body().is_end_stream() { 0 } else { BODY_BYTES };
    WAITING_BYTES + body + (head + target) as u64
}

/// A request's place among those that wait, given up when it waits no more, however that ends.
struct Seat<'a> {
    waiting: &'a Waiting,
    number: u64,
    bytes: u64,
    outcome: Waited,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.waiting.leave(self.number, self.bytes, self.outcome);
    }
}

/// The answer to a request with the head `accept` that does not come in, since its tier is closed as
/// `access` says.
pub fn turn_away(
    access: &Access,
    closing: &Closing,
    accept: &HeaderMap,
    about: &About<'_>,
    after: After,
) -> Response<ResponseBody> {
    let left = access.until().map(|until| until.since(clock::wall()));
    let (message, otherwise) = match access {
        Access::Maintenance { message, .. } => (message.as_deref(), closing.retry_after),
        Access::Hold { .. } | Access::Open => (None, RETRY_AFTER_HOLD),
    };
    let seconds = left.unwrap_or(otherwise).as_millis().div_ceil(1_000).max(1);
    let (kind, text) = if wants_json(accept) {
        ("application/json", in_json(access, message, seconds))
    } else {
        let own = closing.page.as_deref();
        ("text/html; charset=utf-8", in_html(own.unwrap_or(PAGE), message, left))
    };
    let kind = HeaderValue::from_static(kind);
    let mut response = respond::whole(StatusCode::SERVICE_UNAVAILABLE, kind, text, about, after);
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(seconds) = HeaderValue::try_from(seconds.to_string()) {
        headers.insert(RETRY_AFTER, seconds);
    }
    response
}

/// Whether the client would rather have JSON than a page. One that takes anything gets the page.
fn wants_json(headers: &HeaderMap) -> bool {
    let mut best = (0.0, false);
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    for choice in lines.flat_map(|line| line.split(',')) {
        let mut parts = choice.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let json = kind == "application/json" || kind.ends_with("+json");
        let html = kind == "text/html" || kind == "application/xhtml+xml";
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        let quality: f64 = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        if (json || html) && quality > best.0 {
            best = (quality, json);
        }
    }
    best.1
}

fn in_json(access: &Access, message: Option<&str>, seconds: u128) -> String {
    let error = match access {
        Access::Maintenance { .. } => "maintenance",
        Access::Hold { .. } | Access::Open => "unavailable",
    };
    let mut object = json!({ "error": error, "retry_after": u64::try_from(seconds).ok() });
    if let Some(message) = message {
        object["message"] = message.into();
    }
    if let Some(until) = access.until().map(Timestamp::millis) {
        object["until"] = until.into();
    }
    format!("{object}\n")
}

fn in_html(page: &str, message: Option<&str>, left: Option<Duration>) -> String {
    let message = message.unwrap_or("We are working on the site. Please try again in a moment.");
    let expected = left.map(|left| match left.as_secs().div_ceil(60) {
        0 | 1 => "We expect to be back within a minute.".to_owned(),
        minutes @ 2..120 => format!("We expect to be back in about {minutes} minutes."),
        minutes => format!("We expect to be back in about {} hours.", minutes.div_ceil(60)),
    });
    let expected = expected.unwrap_or_default();
    page.replace("{{expected}}", &expected).replace("{{message}}", &escaped(message))
}

/// `text` as it may stand in HTML.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(accept: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        wants_json(&headers)
    }

    #[test]
    fn who_would_rather_have_json_gets_it_and_everybody_else_the_page() {
        for json in [
            "application/json",
            "application/json, text/plain, */*",
            "application/vnd.api+json",
            "text/html;q=0.5, application/problem+json",
            "application/json, text/html",
        ] {
            assert!(asks(json), "{json}");
        }
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for page in
            ["", "*/*", browser, "text/html, application/json;q=0.9", "application/json;q=x"]
        {
            assert!(!asks(page), "{page}");
        }
        assert!(!wants_json(&HeaderMap::new()));
    }

    #[test]
    fn the_page_has_what_users_are_told_and_no_markup_of_it() {
        let page = in_html(PAGE, Some("<b>back & \"soon\""), Some(Duration::from_mins(25)));
        assert!(page.contains("&lt;b&gt;back &amp; &quot;soon&quot;"), "{page}");
        assert!(page.contains("in about 25 minutes") && !page.contains("{{"), "{page}");
        assert!(!page.contains("http:") && !page.contains("https:"), "it loads nothing");
        assert_eq!(in_html("own", None, None), "own");
    }

    #[test]
    fn an_end_is_told_in_words_that_fit() {
        let said = |seconds| in_html("{{expected}}", None, Some(Duration::from_secs(seconds)));
        assert!(said(0).ends_with("within a minute."));
        assert!(said(61).ends_with("about 2 minutes."));
        assert!(said(3 * 3_600).ends_with("about 3 hours."));
    }
}
