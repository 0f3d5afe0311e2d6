//! Files of a page that only its own version has: a script, a style sheet, a picture with a digest in
//! its name. A page of one version asks for them, and the split may send that to the other.
//!
//! What is not found there is asked of the other live version, and of the one that was left a while
//! ago, whose pages are still open in browsers. The first answer waits meanwhile, and is given if no
//! better one comes soon.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::time::timeout;
use tower::Service as _;

use super::body::{Lease, RequestBody};
use super::connect::Seeker;
use super::forward::{Answer, Spare, address};
use super::headers;
use super::line::{Exchange, Stage};
use super::place::Place;
use super::pool::Busy;
use super::view::ReleaseView;
use super::worker::Worker;
use crate::clock;
use crate::metrics::Fallthrough;

/// How long the other version may take until the first answer is given: a file is quickly found.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a version is left in peace that took too long, so that it holds nobody up.
const PAUSE: Duration = Duration::from_secs(5);

/// Bytes of an answer that is not wanted which are read to keep its connection: more than a page that
/// says 404 has.
const DRAINED_BYTES_MAX: usize = 64 * 1024;

/// What an HTML page must not stand for.
const ENDINGS: [&str; 3] = [".css", ".js", ".mjs"];

/// Until when a release is not asked for files of other versions' pages.
#[derive(Debug, Default)]
pub struct Peace(Cell<Option<Instant>>);

impl Peace {
    fn holds(&self, now: Instant) -> bool {
        self.0.get().is_some_and(|until| now < until)
    }
}

/// A copy of `request`, if it asks for a file that another version may have.
pub fn copy(place: &Place, request: &Request<RequestBody>) -> Option<Box<Spare>> {
    let prefixes = &place.tier.table.tier.assets;
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let path = request.uri().path();
    let is = |prefix: &String| path.starts_with(prefix.as_str());
    let is = reads && request.body().is_none() && prefixes.iter().any(is);
    is.then(|| Spare::of(request))
}

/// The answer to the request of `spare`: the `first`, from the release at `place`, or that of another
/// release, if the first does not have the file and the other does.
pub async fn find(
    worker: &Worker,
    exchange: &Rc<Exchange>,
    place: &Place,
    spare: &Spare,
    mut first: Box<Answer>,
) -> Box<Answer> {
    if !misses(&first, spare.path()) {
        return first;
    }
    let mut outcome = None;
    for other in others(place) {
        let now = Instant::now();
        if other.peace.holds(now) {
            outcome = outcome.or(Some(Fallthrough::Unasked));
            continue;
        }
        let asked = ask(worker, exchange, place, &other, spare);
        let asked = timeout(PATIENCE, asked).await;
        if asked.is_err() {
            other.peace.0.set(Some(now + PAUSE));
        }
        // The time that a connection may take has nothing to do with the answer that is there.
        exchange.cut.set(None);
        match asked.ok().flatten() {
            Some(answer) if is_found(&answer, spare.path()) => {
                place.tier.cells.falls_through(Fallthrough::Found);
                exchange.tally.forget();
                tokio::task::spawn_local(drain(first));
                return answer;
            }
            Some(answer) => {
                outcome = Some(Fallthrough::Missed);
                tokio::task::spawn_local(drain(answer));
            }
            None => outcome = outcome.or(Some(Fallthrough::Unasked)),
        }
    }
    if let Some(outcome) = outcome {
        place.tier.cells.falls_through(outcome);
        // It may be there tomorrow, or by another way.
        first.response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    first
}

/// The releases that may have what that at `place` has not.
fn others(place: &Place) -> Vec<Rc<ReleaseView>> {
    let tier = &place.tier;
    let left = tier.table.left.as_ref().filter(|left| left.until > clock::wall());
    let left = left.and_then(|left| tier.version(&left.version));
    let mut others: Vec<Rc<ReleaseView>> = Vec::new();
    for other in std::iter::once(&tier.stable).chain(&tier.canary).chain(left) {
        let slot = other.release.slot;
        let is_known = |known: &Rc<ReleaseView>| known.release.slot == slot;
        if !is_known(&place.release) && !others.iter().any(is_known) {
            others.push(Rc::clone(other));
        }
    }
    others
}

/// Whether the release does not have the file: it says so, or gives a page for a script.
fn misses(answer: &Answer, path: &str) -> bool {
    match answer.response.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => true,
        StatusCode::OK => {
            let kind = answer.response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            let kind = kind.and_then(|kind| kind.get(..9)).unwrap_or_default();
            kind.eq_ignore_ascii_case(b"text/html")
                && ENDINGS.iter().any(|ending| path.ends_with(ending))
        }
        _ => false,
    }
}

fn is_found(answer: &Answer, path: &str) -> bool {
    let status = answer.response.status();
    (status.is_success() || status == StatusCode::NOT_MODIFIED) && !misses(answer, path)
}

/// What a healthy upstream of `other` answers; nothing if there is none, or if it fails.
async fn ask(
    worker: &Worker,
    exchange: &Rc<Exchange>,
    place: &Place,
    other: &Rc<ReleaseView>,
    spare: &Spare,
) -> Option<Box<Answer>> {
    let there = place.at(other);
    // Again with a connection that cannot have died while it was idle.
    for fresh in [false, true] {
        let now = Instant::now();
        let upstream = other.choose(now, Duration::ZERO, false, |_| true).cloned()?;
        let mut request = spare.clone().request(exchange);
        address(&mut request, &there, &upstream, exchange);
        // They are for the other version.
        request.headers_mut().remove(COOKIE);
        request.headers_mut().remove(AUTHORIZATION);
        let busy = Busy::new(other, &upstream);
        let seeker =
            Seeker { worker, exchange, place: &there, request: &request, upstream: &upstream };
        let (mut link, reused) = seeker.connect(fresh, now).await.ok()?;
        // The first answer is there: this cannot hang.
        exchange.enters(Stage::Answering, Instant::now());
        let mut response = match exchange.unless_cut(link.connection.call(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) if reused => continue,
            Ok(Err(_)) | Err(_) => return None,
        };
        let seen = headers::to_client(response.headers_mut(), false)?;
        response.headers_mut().remove(SET_COOKIE);
        *response.version_mut() = Version::HTTP_11;
        let most = worker.idle_max(&place.tier.table.tier.limits);
        return Some(Box::new(Answer { response, seen, lease: Lease { link, busy, most } }));
    }
    None
}

/// Reads what nobody wants, so that its connection can be used again.
async fn drain(answer: Box<Answer>) {
    let Answer { response, lease: Lease { link, busy, most }, .. } = *answer;
    let mut body = response.into_body();
    let read = async {
        let mut left = DRAINED_BYTES_MAX;
        while !body.is_end_stream() {
            let Some(frame) = body.frame().await else { break };
            let length = frame.ok()?.data_ref().map_or(0, bytes::Bytes::len);
            left = left.checked_sub(length)?;
        }
        Some(())
    };
    if let Ok(Some(())) = timeout(PATIENCE, read).await {
        busy.upstream.pool.keep(link, Instant::now(), most);
    }
}
