//! From a request to an answer: which upstream, which connection, and what if that fails.
//!
//! A kept-alive connection that turns out to be dead costs a request that may be repeated nothing
//! but a fresh connection. A request that may not be repeated only takes one that was in use a
//! moment ago or was looked at just now; if even that breaks it counts as reset, since the release
//! has almost surely broken it (were it forgiven, a canary that dies of every POST would pass).

use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::time::Instant;

use http::header::{
    ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE, TE,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use tower::Service;

use super::added::Own;
use super::assets;
use super::body::{Lease, Outbound, RequestBody};
use super::client::{Body, Broken, Calling, Cause};
use super::connect::{Seeker, Unreached};
use super::headers;
use super::line::{Cut, Exchange, Fault, Stage};
use super::overlay;
use super::place::Place;
use super::pool::{Busy, Link};
use super::seen::{self, Field, Seen};
use super::view::UpstreamView;
use super::worker::Worker;
use crate::metrics::{HealthState, Outcome};
use crate::traffic::Track;

/// Upstreams of one release that a request is sent to at most.
const UPSTREAMS_TRIED_MAX: usize = 2;

/// What is wrong with an upstream whose head says two things, or nothing.
const NO_HTTP: &str = "its answer is not HTTP that can be passed on";

/// What is wrong with one whose WebSocket no browser would take.
const NOT_ASKED_FOR: &str = "it changes to a protocol that was not asked for, or by no valid key";

/// What is wrong with one that cannot have a WebSocket.
const NO_TUNNEL: &str = "it speaks HTTP/2 and takes no WebSockets by it (RFC 8441); let it announce \
                         SETTINGS_ENABLE_CONNECT_PROTOCOL, or name it as http://";

/// An answer, where it comes from, and the connection it comes on. It goes from hand to hand in a box,
/// like an [`Outbound`].
#[derive(Debug)]
pub struct Answer {
    /// The answer, as the upstream sent it.
    pub response: Response<Body>,
    /// The fields that its head had.
    pub seen: Seen,
    /// Its connection.
    pub lease: Lease,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client's body is at fault.
    Fault(Fault),
    /// The client did not go on with its body.
    ClientLate,
    /// All upstreams have as many connections and waiting requests as they may have.
    Full,
    /// The upstream did not answer in time.
    Late,
    /// No upstream is healthy.
    Nobody,
    /// The upstream cannot be reached, broke off, or does not speak HTTP.
    Unreachable,
}

impl Failure {
    /// Whether it is the service that gave no answer.
    pub const fn is_of_service(self) -> bool {
        match self {
            Self::Full | Self::Late | Self::Nobody | Self::Unreachable => true,
            Self::ClientLate | Self::Fault(_) => false,
        }
    }
}

/// Counts the head of an answer, which came `now`.
pub fn count(exchange: &Exchange, place: &Place, answer: &Answer, now: Instant) {
    let Answer { response, seen, .. } = answer;
    let handed = exchange.handed.get().unwrap_or(now);
    let latency = now.saturating_duration_since(handed);
    let location = seen.has(Field::Location).then(|| response.headers().get(LOCATION));
    let location = location.flatten().map(HeaderValue::as_bytes);
    let watches = &place.tier.table.tier.watches;
    exchange.tally.answers(response.status().as_u16(), latency, location, watches);
}

/// An attempt that failed.
struct Failed {
    failure: Failure,
    outcome: Outcome,
    /// The request, if it may be sent again.
    request: Option<Outbound>,
    upstream: Option<Rc<UpstreamView>>,
    /// Whether it failed because the release has only just started.
    excused: bool,
}

/// Sends `request` to `place`, and if that fails, to another upstream of the release; and from a
/// failing canary to stable, so that the user is spared while the judge still learns. `place` says
/// afterwards who answered.
pub async fn forward(
    worker: &Worker,
    exchange: &Rc<Exchange>,
    place: &mut Place,
    mut request: Outbound,
) -> Result<Box<Answer>, Failure> {
    let mut tried: Option<Rc<UpstreamView>> = None;
    let mut count = 0;
    place.release.budget.earn(place.tier.table.tier.limits.retries);
    let assets = !place.tier.table.tier.assets.is_empty();
    let asset = if assets { assets::copy(place, &request) } else { None };
    loop {
        if let Some(traced) = &exchange.traced {
            traced.tries(place);
        }
        let failed = match attempt(worker, exchange, place, request, tried.as_ref()).await {
            Ok(answer) => {
                return Ok(match asset {
                    None => answer,
                    // Boxed, since few requests need it, and none shall carry its weight.
                    Some(spare) => {
                        Box::pin(assets::find(worker, exchange, place, &spare, answer)).await
                    }
                });
            }
            Err(failed) => failed,
        };
        let ended = exchange.cut.get() == Some(Cut::Stream);
        if ended || matches!(failed.failure, Failure::Fault(_) | Failure::ClientLate) {
            exchange.tally.forget();
            return Err(failed.failure);
        }
        exchange.tally.fails(failed.outcome, failed.excused);
        count += 1;
        let next = match (failed.request, failed.upstream) {
            (Some(again), Some(upstream))
                if count < UPSTREAMS_TRIED_MAX && may_retry(place, &upstream) =>
            {
                tried = Some(upstream);
                again
            }
            (Some(again), _) if place.track == Track::Canary && !place.preview => {
                if let Some(traced) = &exchange.traced {
                    traced.is_rescued();
                }
                place.rescue();
                (tried, count) = (None, 0);
                again
            }
            _ => {
                exchange.tally.gives_up();
                return Err(failed.failure);
            }
        };
        request = next;
        exchange.starts_anew();
    }
}

/// Whether a request that failed at `upstream` may be sent to another of the release.
fn may_retry(place: &Place, upstream: &Rc<UpstreamView>) -> bool {
    let may = place.release.has_other(upstream, Instant::now()) && place.release.may_repeat();
    if may {
        place.release.writer.retried();
    }
    may
}

/// A copy of a request that may be sent once more, where the connection would not give it back.
fn spare_of(
    request: &Request<RequestBody>,
    link: &Link,
    reused: bool,
    place: &Place,
) -> Option<Box<Spare>> {
    let may_retry = reused || place.track == Track::Canary || place.release.upstreams.len() > 1;
    let copies = may_retry && !link.connection.gives_back() && repeats(request);
    copies.then(|| Spare::of(request))
}

/// Sends `request` to one upstream of the release at `place`.
async fn attempt(
    worker: &Worker,
    exchange: &Rc<Exchange>,
    place: &mut Place,
    mut request: Outbound,
    tried: Option<&Rc<UpstreamView>>,
) -> Result<Box<Answer>, Failed> {
    let mut fresh = false;
    let mut full: Vec<Rc<UpstreamView>> = Vec::new();
    loop {
        // From here to the choice nothing waits: a table that is acknowledged is obeyed.
        place.renew(&worker.view());
        exchange.tally.tries(place);
        let now = Instant::now();
        let Some(upstream) = choose(place, now, tried, &full) else {
            return Err(Failed::unsent(nobody(&full), request));
        };
        let busy = Busy::new(&place.release, &upstream);
        let seeker = Seeker { worker, exchange, place, request: &request, upstream: &upstream };
        let (mut link, reused) = match seeker.connect(fresh, now).await {
            Ok(found) => found,
            Err(Unreached::Full) => {
                full.push(upstream);
                continue;
            }
            Err(Unreached::Failed(error)) => {
                return Err(unreachable(place, upstream, request, &error));
            }
        };
        if worker.has_moved(&place.tier) {
            upstream.pool.keep(link, Instant::now(), usize::MAX);
            continue;
        }
        if !exchange.may_have(&link.connection, request.body().is_none()) {
            return Err(untunnelled(upstream, link, request));
        }
        let spare = spare_of(&request, &link, reused, place);
        note(exchange, place, &upstream, &request, &link);
        address(&mut request, place, &upstream, exchange);
        let now = if reused { now } else { Instant::now() };
        exchange.enters(Stage::Waiting, now);
        if request.body().is_none() {
            exchange.hand_over(now);
        }
        let mut calling = link.connection.call(request);
        match exchange.unless_cut(&mut calling).await {
            Ok(Ok(response)) => {
                let most = worker.idle_max(&place.tier.table.tier.limits);
                return answered(place, exchange, response, Lease { link, busy, most }, spare);
            }
            Ok(Err(broken)) => {
                if let Some(fault) = exchange.fault.get() {
                    return Err(Failed::by_client(Failure::Fault(fault)));
                }
                let Broken { cause, request: back, unsent } = *broken;
                // On a connection that others use as well it may be anybody's fault.
                let unused = unsent && back.is_some() && link.connection.is_shared() && !fresh;
                let back = back.filter(|request| unsent || repeats(request));
                match back.or_else(|| spare.map(|spare| spare.request(exchange))) {
                    // The kept-alive connection had died: Weir's matter, not an outcome. Where
                    // something was answered, and badly, it is one.
                    Some(again) if unused || (reused && !cause.is_parse()) => {
                        place.release.writer.stale_connection();
                        place.release.writer.retried();
                        exchange.handed.set(None);
                        request = again;
                        fresh = true;
                    }
                    again => return Err(broke(place, upstream, again, &cause)),
                }
            }
            Err(cut) => {
                blame(cut, &calling, &link);
                let back = calling.take_back();
                let back = back.or_else(|| spare.map(|spare| spare.request(exchange)));
                return Err(cut_off(cut, exchange, place, &upstream, back));
            }
        }
    }
}

/// The upstream of the release at `place` that gets the request: not the one it was `tried` at, nor
/// any that is `full`.
fn choose(
    place: &Place,
    now: Instant,
    tried: Option<&Rc<UpstreamView>>,
    full: &[Rc<UpstreamView>],
) -> Option<Rc<UpstreamView>> {
    let last_resort = place.track == Track::Stable;
    let slow_start = place.tier.table.tier.health.slow_start;
    let fits = |one: &Rc<UpstreamView>| {
        !tried.into_iter().chain(full).any(|passed| Rc::ptr_eq(one, passed))
    };
    place.release.choose(now, slow_start, last_resort, fits).cloned()
}

/// Whether the request may be sent twice: it means the same, and has no body that is gone.
pub fn repeats(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_none()
}

/// Notes what the sweep has to know of `request`, which goes to `upstream` of `place` through `link`.
fn note(
    exchange: &Exchange,
    place: &Place,
    upstream: &Rc<UpstreamView>,
    request: &Request<RequestBody>,
    link: &Link,
) {
    // It changes nothing, so it does no harm if the canary does it after all.
    let may_be_rescued = place.track == Track::Canary
        && !place.preview
        && request.method().is_safe()
        && request.body().is_none()
        && !exchange.asks_upgrade()
        && !asks_stream(request.headers());
    if may_be_rescued {
        exchange.may_be_rescued(&place.release, upstream);
    } else {
        exchange.is_answered();
    }
    let kind = || request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    // As every client of gRPC asks; what cannot be answered in trailers is none.
    let te = || request.headers().get(TE).is_some_and(|te| headers::has_token(te, "trailers"));
    let is_call = exchange.is_multiplexed()
        && link.connection.is_shared()
        && request.method() == Method::POST
        && te()
        && kind().is_some_and(seen::is_grpc);
    exchange.is_call.set(is_call);
}

/// Whether an event stream is asked for, which begins when there is an event.
fn asks_stream(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|line| headers::has_token(line, seen::EVENT_STREAM))
}

/// What a request without a body is made from once more. Its fields are a plain list: hardly ever
/// does anybody need them again, and a map costs five times as much to copy.
#[derive(Clone, Debug)]
pub struct Spare {
    method: Method,
    uri: Uri,
    version: Version,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Spare {
    /// A copy of `request`, which has no body.
    pub fn of(request: &Request<RequestBody>) -> Box<Self> {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| (name.clone(), value.clone());
        Box::new(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            fields: request.headers().iter().map(pair).collect(),
        })
    }

    /// Its path.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The request once more.
    pub fn request(self, exchange: &Rc<Exchange>) -> Outbound {
        let mut request = Box::new(Request::new(RequestBody::none(Rc::clone(exchange))));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        for (name, value) in self.fields {
            request.headers_mut().append(name, value);
        }
        request
    }
}

/// Writes on the request which release it goes to.
pub fn address(
    request: &mut Request<RequestBody>,
    place: &Place,
    upstream: &UpstreamView,
    exchange: &Exchange,
) {
    if !place.tier.table.tier.cookies.is_empty() {
        overlay::present(request, place, exchange);
    }
    let old = request.version() < Version::HTTP_11;
    let headers = request.headers_mut();
    if exchange.conditions_of.get().is_some_and(|slot| slot != place.release.release.slot) {
        // They are about what another release has said.
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
            headers.remove(name);
        }
    }
    let added = &mut *exchange.added.borrow_mut();
    added.set(Own::Version, place.release.version.clone());
    if let Some(namespace) = &place.release.namespace {
        added.set(Own::CacheNamespace, namespace.clone());
    }
    if let Some(host) = &place.release.host {
        let before = headers.insert(HOST, host.clone());
        exchange.host.borrow_mut().get_or_insert_with(|| before.unwrap_or(host.clone()));
    } else if let Some(host) = exchange.host.borrow().clone() {
        headers.insert(HOST, host);
    } else if old && !headers.contains_key(HOST) {
        // HTTP/1.0 knows no Host, HTTP/1.1 needs one.
        let host = HeaderValue::try_from(upstream.address.spot.to_string());
        headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
    }
    *request.version_mut() = Version::HTTP_11;
}

/// What an upstream's answer says of it.
fn answered(
    place: &Place,
    exchange: &Rc<Exchange>,
    mut response: Response<Body>,
    lease: Lease,
    spare: Option<Box<Spare>>,
) -> Result<Box<Answer>, Failed> {
    exchange.is_answered();
    lease.busy.upstream.cells.speaks();
    let status = response.status();
    let upgrade = status == StatusCode::SWITCHING_PROTOCOLS;
    let granted = !upgrade || exchange.is_granted(response.headers());
    let seen = headers::to_client(response.headers_mut(), upgrade);
    let Some(seen) = seen.filter(|_| granted) else {
        let upstream = Rc::clone(&lease.busy.upstream);
        hurt(place, &upstream, if granted { NO_HTTP } else { NOT_ASKED_FOR });
        return Err(Failed {
            failure: Failure::Unreachable,
            outcome: Outcome::Other,
            request: spare.map(|spare| spare.request(exchange)),
            upstream: Some(upstream),
            excused: false,
        });
    };
    if status == StatusCode::NO_CONTENT {
        // Whoever believed it would take what follows for a body (RFC 9110, section 8.6).
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    *response.version_mut() = Version::HTTP_11;
    let unwell =
        [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
    if unwell.contains(&status) {
        hurt(place, &lease.busy.upstream, status.as_str());
    } else {
        lease.busy.upstream.cells.success();
    }
    Ok(Box::new(Answer { response, seen, lease }))
}

/// A failure of `upstream`; after some in a row it is left out, if it may be.
fn hurt(place: &Place, upstream: &Rc<UpstreamView>, error: &str) {
    let now = Instant::now();
    let health = &place.tier.table.tier.health;
    upstream.cells.failed(error);
    if upstream.cells.failure() >= health.eject_after {
        let _one_at_a_time = upstream.cells.ejecting();
        if place.release.may_eject(upstream, now, health.eject_max) {
            upstream.cells.eject(now, now + health.eject_for);
        }
    }
}

fn unreachable(
    place: &Place,
    upstream: Rc<UpstreamView>,
    request: Outbound,
    error: &io::Error,
) -> Failed {
    let excused = upstream.cells.state(Instant::now()) == HealthState::Unknown;
    hurt(place, &upstream, &error.to_string());
    let (failure, outcome) = if error.kind() == ErrorKind::TimedOut {
        (Failure::Late, Outcome::TimedOut)
    } else {
        (Failure::Unreachable, Outcome::Refused)
    };
    let (request, upstream) = (Some(request), Some(upstream));
    Failed { failure, outcome, request, upstream, excused }
}

/// Why there is no upstream to be had, where these are full.
const fn nobody(full: &[Rc<UpstreamView>]) -> Failure {
    if full.is_empty() { Failure::Nobody } else { Failure::Full }
}

/// Who speaks HTTP/2 alone and opens no tunnels by it is well, and still of no use for this request.
fn untunnelled(upstream: Rc<UpstreamView>, link: Link, request: Outbound) -> Failed {
    upstream.cells.failed(NO_TUNNEL);
    upstream.pool.keep(link, Instant::now(), usize::MAX);
    let (failure, outcome) = (Failure::Unreachable, Outcome::Other);
    let (request, upstream) = (Some(request), Some(upstream));
    Failed { failure, outcome, request, upstream, excused: false }
}

fn broke(
    place: &Place,
    upstream: Rc<UpstreamView>,
    request: Option<Outbound>,
    cause: &Cause,
) -> Failed {
    hurt(place, &upstream, &cause.to_string());
    let outcome = if cause.is_parse() {
        Outcome::Other
    } else if cause.is_unused() {
        Outcome::Refused
    } else {
        Outcome::Reset
    };
    Failed {
        failure: Failure::Unreachable,
        outcome,
        request,
        upstream: Some(upstream),
        excused: false,
    }
}

/// What is wrong may be the connection, unless others got answers on it.
fn blame(cut: Cut, calling: &Calling, link: &Link) {
    if cut.is_of_upstream() && !calling.is_overtaken() {
        link.connection.retire();
    }
}

/// The request was cut before its answer; `back` is the request, if it could be had back.
fn cut_off(
    cut: Cut,
    exchange: &Exchange,
    place: &Place,
    upstream: &Rc<UpstreamView>,
    back: Option<Outbound>,
) -> Failed {
    match cut {
        Cut::Client => Failed::by_client(Failure::ClientLate),
        Cut::Stream => Failed::by_client(Failure::Full),
        Cut::Hanging | Cut::Total | Cut::Upstream => {
            // Stable is not to blame for the time that a canary took of the whole.
            if cut != Cut::Total || !exchange.tally.is_rescued() {
                hurt(place, upstream, "took too long to answer");
            }
            Failed {
                failure: Failure::Late,
                outcome: Outcome::TimedOut,
                request: back.filter(|_| cut == Cut::Hanging),
                // It goes to no other of a canary, which may hang like this one.
                upstream: None,
                excused: false,
            }
        }
    }
}

impl Failed {
    /// Nobody could even be asked.
    fn unsent(failure: Failure, request: Outbound) -> Self {
        let outcome = if failure == Failure::Full { Outcome::Full } else { Outcome::Refused };
        let request = Some(request);
        Self { failure, outcome, request, upstream: None, excused: false }
    }

    fn by_client(failure: Failure) -> Self {
        let outcome = Outcome::Other;
        Self { failure, outcome, request: None, upstream: None, excused: false }
    }
}
