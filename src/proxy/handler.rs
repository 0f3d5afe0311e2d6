//! The life of a request.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::header::{MAX_FORWARDS, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;

use super::added::Own;
use super::body::{Lease, Outbound, RequestBody, ResponseBody};
use super::caching::{self, Served};
use super::client;
use super::cookies::{self, Plan};
use super::downstream;
use super::forward::{self, Answer, Failure};
use super::gate;
use super::headers::{self, Checked, Refusal, WEIR_VERSION, Way};
use super::http2;
use super::line::{Exchange, Fault, Line, Stage};
use super::overlay;
use super::place::Place;
use super::respond::{self, About, After};
use super::seen::{self, Field, Seen};
use super::tally::Tally;
use super::traced::{Known, Traced};
use super::upgrade::{self, Wish};
use super::view::TierView;
use super::worker::Worker;
use crate::cache::http::Reading;
use crate::traffic::{Access, TableTier, Track};

/// Where an authority asks whether a name is ours (RFC 8555, section 8.3). What it asks of the app
/// goes to the app.
const PROOFS: &str = "/.well-known/acme-challenge/";

/// When who was sent away for want of connections, or because there were too many requests, may come
/// again, in seconds: what is full now is seldom full for long.
const RETRY_WHEN_FULL: HeaderValue = HeaderValue::from_static("1");

/// The same for want of memory, which the answers under way have to give back first.
const RETRY_WHEN_SHORT: HeaderValue = HeaderValue::from_static("5");

/// Answers one request: refuses what no proxy may pass on, places the rest by the table, forwards
/// it, counts it.
pub async fn answer(
    worker: Rc<Worker>,
    line: Rc<Line>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let begun = Instant::now();
    let checked = match headers::check(&mut request, &worker.instance) {
        Ok(checked) => checked,
        Err(refusal) => return Ok(malformed(&line, &request, refusal)),
    };
    if let Some(response) = proof(&worker, &line, &request) {
        return Ok(response);
    }
    let view = worker.view();
    let Some(listener) = view.listener(&line.listen) else {
        return Ok(nobody(&line, &request, StatusCode::SERVICE_UNAVAILABLE, After::Close));
    };
    let host = checked.host.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
    let Some(tier) = listener.tier(host, request.uri().path()) else {
        return Ok(nobody(&line, &request, StatusCode::NOT_FOUND, After::KeepAlive));
    };
    if worker.register.memory().is_short() {
        tier.cells.shed.fetch_add(1, Ordering::Relaxed);
        let reason = "there is no memory for more requests";
        return Ok(send_away(&line, &request, reason, RETRY_WHEN_SHORT));
    }
    if line.is_crowded(&tier.table.tier.limits) {
        let reason = "there are too many requests";
        return Ok(send_away(&line, &request, reason, RETRY_WHEN_FULL));
    }
    let passage = Passage::new(&worker, &line, tier, &request, &checked, begun);
    if let Some(response) = passage.ends_here(&request) {
        return Ok(response);
    }
    let access = &tier.table.access;
    let (mut place, plan) = passage.place(&request);
    let exchange = passage.begin(&place, &request);
    let wish = headers::asks_upgrade(&request, checked.seen)
        .then(|| Box::new(Wish::of(request.headers())));
    let upgrade = wish.is_some().then(|| hyper::upgrade::on(&mut request));
    exchange.wish.replace(wish);
    let (request, asked) = passage.prepare(request, &exchange);
    if passage.is_too_large(&request) {
        exchange.tally.forget();
        return Ok(passage.fail(Failure::Fault(Fault::TooLarge), &exchange, &asked));
    }
    let under_way = UnderWay { line: &line, exchange: &exchange };
    if let Access::Hold { .. } = access
        && !place.insider
        && let Err(access) = Box::pin(gate::wait(&worker, &exchange, &request)).await
    {
        std::mem::forget(under_way);
        exchange.tally.forget();
        return Ok(passage.turn_away(&access, &request, &exchange, &asked));
    }
    let outcome = match &tier.cache {
        Some(cache) if upgrade.is_none() => {
            Box::pin(caching::serve(&worker, cache, &exchange, &mut place, request)).await
        }
        Some(_) | None => {
            forward::forward(&worker, &exchange, &mut place, request).await.map(Served::Upstream)
        }
    };
    std::mem::forget(under_way);
    Ok(match outcome {
        Ok(Served::Upstream(answer)) => {
            passage.finish(answer, &place, &exchange, plan, upgrade, &asked)
        }
        Ok(Served::Cache(response)) => passage.give(*response, &place, &exchange, plan, &asked),
        Err(failure) => passage.fail(failure, &exchange, &asked),
    })
}

/// A request without an answer: with HTTP/2 its client may take it back, and this is dropped.
struct UnderWay<'a> {
    line: &'a Rc<Line>,
    exchange: &'a Rc<Exchange>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.line.ends(self.exchange, Instant::now(), true);
    }
}

/// The answer to an authority of whom Weir has ordered a certificate.
fn proof(
    worker: &Worker,
    line: &Rc<Line>,
    request: &Request<Incoming>,
) -> Option<Response<ResponseBody>> {
    let token = request.uri().path().strip_prefix(PROOFS)?;
    let proof = worker.keyring.answer(token)?;
    let about = About { line, exchange: None, method: request.method(), id: None };
    Some(respond::text(StatusCode::OK, proof, &about, After::Close))
}

/// The answer to a request that no proxy may pass on, which is counted.
pub fn malformed(
    line: &Rc<Line>,
    request: &Request<Incoming>,
    refusal: Refusal,
) -> Response<ResponseBody> {
    line.refuses(&refusal.reason);
    refuse(line, request, refusal)
}

/// The answer to a request that is not placed.
fn refuse(
    line: &Rc<Line>,
    request: &Request<Incoming>,
    Refusal { status, reason }: Refusal,
) -> Response<ResponseBody> {
    let about = About { line, exchange: None, method: request.method(), id: None };
    respond::page(status, reason, &about, After::Close)
}

/// The answer to a request that there is no room for now, and that may come again after `retry`.
fn send_away(
    line: &Rc<Line>,
    request: &Request<Incoming>,
    reason: &'static str,
    retry: HeaderValue,
) -> Response<ResponseBody> {
    let refusal = headers::refuse(StatusCode::SERVICE_UNAVAILABLE, reason);
    let mut response = refuse(line, request, refusal);
    response.headers_mut().insert(RETRY_AFTER, retry);
    response
}

/// No tier takes the request: its listener has left the table, or no route leads on from there.
fn nobody(
    line: &Rc<Line>,
    request: &Request<Incoming>,
    status: StatusCode,
    after: After,
) -> Response<ResponseBody> {
    let about = About { line, exchange: None, method: request.method(), id: None };
    // A body that nobody reads would be taken for the next request.
    let after = if request.body().is_end_stream() { after } else { After::Close };
    respond::page(status, "nothing is served at this host and path", &about, after)
}

/// What a request is called, once its head has gone to the upstream.
struct Asked {
    method: http::Method,
    /// Whether it is a WebSocket that is one of HTTP/1.1 only towards the upstream.
    translated: bool,
    /// Whether a page in the answer is marked for the caches on its way.
    marked: bool,
}

/// What does not change during the life of a request.
struct Passage<'a> {
    worker: &'a Rc<Worker>,
    line: &'a Rc<Line>,
    tier: &'a Rc<TierView>,
    client: std::net::IpAddr,
    checked: &'a Checked,
    trusted: bool,
    secure: bool,
    begun: Instant,
    path: Option<Box<str>>,
}

impl<'a> Passage<'a> {
    fn new(
        worker: &'a Rc<Worker>,
        line: &'a Rc<Line>,
        tier: &'a Rc<TierView>,
        request: &Request<Incoming>,
        checked: &'a Checked,
        begun: Instant,
    ) -> Self {
        let settings = &tier.table.tier;
        let (peer, headers) = (line.peer.get(), request.headers());
        let trusted = settings.trusted_proxies.iter().any(|network| network.contains(peer));
        let said = |field| trusted && checked.seen.has(field);
        let behind = || headers::client(line, settings, headers);
        let client = if said(Field::ForwardedFor) { behind() } else { peer };
        Self {
            worker,
            line,
            tier,
            client,
            checked,
            trusted,
            secure: line.secure.get() || said(Field::ForwardedProto) && headers::is_https(headers),
            begun,
            path: settings.access_log.then(|| request.uri().path().into()),
        }
    }

    /// The answer to a request that Weir has the last word on.
    fn ends_here(&self, request: &Request<Incoming>) -> Option<Response<ResponseBody>> {
        if let Some(response) = self.goes_no_further(request) {
            return Some(response);
        }
        let table = &self.tier.table;
        let is_closed = matches!(table.access, Access::Maintenance { .. });
        let stays =
            is_closed && !gate::lets_in(&table.tier.closing, self.client, request.headers());
        stays.then(|| self.maintain(request))
    }

    /// The answer to OPTIONS that no proxy may pass on (RFC 9110, section 7.6.2): how the client is
    /// seen from here, so that `weir doctor` can tell what a proxy in front says of it.
    fn goes_no_further(&self, request: &Request<Incoming>) -> Option<Response<ResponseBody>> {
        headers::forwards_left(request).filter(|left| *left == 0)?;
        let forwarded = match (self.checked.seen.has(Field::ForwardedFor), self.trusted) {
            (false, _) => "absent",
            (true, true) => "believed",
            (true, false) => "not believed",
        };
        self.log_answer(request.method(), None, StatusCode::OK, None);
        let scheme = if self.secure { "https" } else { "http" };
        let (tier, client) = (&self.tier.table.tier.name, self.client);
        // Where a trusted proxy stands is nobody's matter.
        let peer =
            if self.trusted { String::new() } else { format!("peer: {}\n", self.line.peer.get()) };
        let text = format!(
            "weir\ntier: {tier}\n{peer}client: {client}\nx-forwarded-for: {forwarded}\nscheme: \
             {scheme}\n"
        );
        let about = About { line: self.line, exchange: None, method: request.method(), id: None };
        let whole = request.body().is_end_stream();
        let after = if whole { After::KeepAlive } else { After::Close };
        Some(respond::text(StatusCode::OK, text, &about, after))
    }

    fn place(&self, request: &Request<Incoming>) -> (Place, Plan) {
        let place = Place::of(self.tier, request.headers(), self.checked.seen, self.client);
        let plan = cookies::plan(request, &place, self.secure);
        if let Some(key) = place.key {
            self.tier.sketch.borrow_mut().add(key);
        }
        if place.preview {
            place.release.writer.previewed();
        }
        if plan == Plan::Forget {
            place.release.writer.switched();
        }
        (place, plan)
    }

    fn begin(&self, place: &Place, request: &Request<Incoming>) -> Rc<Exchange> {
        let ignore = &self.tier.table.tier.ignore;
        let covers = || {
            let agent = request.headers().get(http::header::USER_AGENT);
            let agent = agent.map(HeaderValue::as_bytes).unwrap_or_default();
            ignore.covers(request.uri().path(), self.client, agent)
        };
        // Who comes in while it is closed, or has waited for that, tells nothing of a version.
        let judged = self.tier.table.access.is_open() && (ignore.is_empty() || !covers());
        let long = &self.tier.table.tier.timeouts.long_polls;
        let path = request.uri().path().as_bytes();
        let is_long = !long.is_empty() && long.iter().any(|pattern| pattern.matches(path));
        if self.tier.table.tier.warm.is_some() && judged && !is_long {
            self.remember(place, request);
        }
        let tally = Tally::new(&self.worker.error_keys, place, judged, is_long);
        let tier = Rc::clone(self.tier);
        let stream = self.line.stream();
        let mut exchange = Rc::new(Exchange::new(stream, self.begun, tally, tier, self.client));
        // Nobody else has it yet.
        if let Some(new) = Rc::get_mut(&mut exchange) {
            new.insider = place.insider;
            // HTTP/1.0 knows no answer before the answer (RFC 9110, section 15.2).
            let hears = request.version() == Version::HTTP_11 && !new.is_multiplexed();
            new.hears = hears.then(|| Rc::downgrade(self.line));
            if self.worker.register.tracer().is_on() {
                new.traced = self.trace(request);
            }
        }
        self.line.begins(&exchange);
        exchange
    }

    fn trace(&self, request: &Request<Incoming>) -> Option<Box<Traced>> {
        let known = Known {
            tier: &self.tier.table.tier.name,
            client: self.client,
            trusted: self.trusted,
            secure: self.secure,
            host: self.checked.host.as_ref(),
            begun: self.begun,
        };
        Traced::begin(&self.worker.register, request, &known)
    }

    /// Remembers a request of stable that anybody could have made, to warm a canary with.
    fn remember(&self, place: &Place, request: &Request<Incoming>) {
        let seen = self.checked.seen;
        let personal =
            [Field::Cookie, Field::Expect, Field::Upgrade, Field::Length, Field::TransferEncoding];
        let headers = request.headers();
        let anybodys = *request.method() == http::Method::GET
            && place.track == Track::Stable
            && !place.preview
            && !personal.into_iter().any(|field| seen.has(field))
            && !headers.contains_key(http::header::AUTHORIZATION)
            && !headers.contains_key(http::header::RANGE)
            && headers.get(http::header::ACCEPT).is_none_or(|kind| kind != seen::EVENT_STREAM);
        let host = self.checked.host.as_ref().and_then(|host| host.to_str().ok());
        let target = request.uri().path_and_query().map(http::uri::PathAndQuery::as_str);
        if let (true, Some(host), Some(target)) = (anybodys, host, target) {
            self.tier.cells.recent.add(host, target, self.secure);
        }
    }

    fn prepare(&self, request: Request<Incoming>, exchange: &Rc<Exchange>) -> (Outbound, Asked) {
        let most = self.tier.table.tier.limits.body_bytes;
        let mut request =
            Box::new(request.map(|body| RequestBody::of(body, Rc::clone(exchange), most)));
        let way = Way {
            line: self.line,
            tier: &self.tier.table.tier,
            trusted: self.trusted,
            upgrade: exchange.asks_upgrade(),
            checked: self.checked,
            instance: &self.worker.instance,
            hop: &self.worker.hop,
        };
        if let Some(left) = headers::forwards_left(&request) {
            request.headers_mut().insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
        }
        headers::to_upstream(request.headers_mut(), &way, &mut exchange.added.borrow_mut());
        if let Some(traced) = &exchange.traced {
            traced.tell(request.headers_mut());
        }
        let method = request.method().clone();
        let translated = exchange.is_multiplexed() && exchange.asks_upgrade();
        let marked = downstream::concerns(&request, &self.tier.table);
        (request, Asked { method, translated, marked })
    }

    fn is_too_large(&self, request: &Request<RequestBody>) -> bool {
        let most = self.tier.table.tier.limits.body_bytes;
        most.is_some_and(|most| request.body().size_hint().lower() > most)
    }

    fn finish(
        &self,
        answer: Box<Answer>,
        place: &Place,
        exchange: &Rc<Exchange>,
        plan: Plan,
        upgrade: Option<OnUpgrade>,
        asked: &Asked,
    ) -> Response<ResponseBody> {
        let now = Instant::now();
        forward::count(exchange, place, &answer, now);
        let Answer { mut response, lease, seen } = *answer;
        let (status, table) = (response.status(), &place.tier.table);
        if seen.has(Field::Grpc) {
            exchange.is_grpc.set(true);
            exchange.tally.is_call();
            exchange.tally.says(response.headers());
        }
        exchange.enters(Stage::Answering, now);
        let is_stream = seen.has(Field::EventStream) || seen.has(Field::Grpc);
        exchange.is_stream.set(is_stream);
        if is_stream {
            *exchange.streams_by.borrow_mut() = Some(Rc::clone(&lease.busy.upstream.pool));
            self.worker.part_late(exchange, now);
        }
        let marked = asked.marked && seen.has(Field::Page);
        Self::dress(response.headers_mut(), place, exchange, plan, marked);
        self.log(asked, exchange, status, Some(place));
        if status == StatusCode::SWITCHING_PROTOCOLS {
            exchange.tally.ends(true);
            return match upgrade {
                Some(client) => self.tunnel(response, lease, place, client, exchange, asked),
                None => self.fail(Failure::Unreachable, exchange, asked),
            };
        }
        if asked.translated && status.is_success() {
            // To a client of HTTP/2 a success would be the tunnel that there is not.
            return self.fail(Failure::Unreachable, exchange, asked);
        }
        if self.line.is_used_up(&table.tier.limits) || self.line.last.get() {
            respond::last(self.line, response.headers_mut());
        }
        let (line, exchange) = (Rc::clone(self.line), Rc::clone(exchange));
        response.map(|incoming| ResponseBody::of(incoming, lease, line, exchange))
    }

    /// Puts on an answer what is for this client alone, and Weir's own. It comes behind the cache, so
    /// that none of it is ever kept. `marked`: it is a page, and shared caches must not mix versions.
    fn dress(
        headers: &mut HeaderMap,
        place: &Place,
        exchange: &Exchange,
        plan: Plan,
        marked: bool,
    ) {
        let table = &place.tier.table;
        if marked {
            downstream::mark(headers, &table.tier);
        }
        if !table.tier.cookies.is_empty() {
            overlay::answer(headers, place, exchange);
        }
        cookies::carry_out(plan, headers, table, place.track);
        if table.tier.show_version || place.preview {
            headers.insert(WEIR_VERSION, place.release.version.clone());
        }
    }

    /// Gives what comes out of the cache.
    fn give(
        &self,
        mut response: Response<Reading>,
        place: &Place,
        exchange: &Rc<Exchange>,
        plan: Plan,
        asked: &Asked,
    ) -> Response<ResponseBody> {
        let table = &place.tier.table;
        exchange.enters(Stage::Answering, Instant::now());
        let marked = asked.marked && Seen::of(response.headers()).has(Field::Page);
        Self::dress(response.headers_mut(), place, exchange, plan, marked);
        self.log(asked, exchange, response.status(), Some(place));
        if self.line.is_used_up(&table.tier.limits) || self.line.last.get() {
            respond::last(self.line, response.headers_mut());
        }
        let (line, exchange) = (Rc::clone(self.line), Rc::clone(exchange));
        response.map(|reading| ResponseBody::cached(reading, line, exchange))
    }

    fn tunnel(
        &self,
        mut response: Response<client::Body>,
        lease: Lease,
        place: &Place,
        client: OnUpgrade,
        exchange: &Rc<Exchange>,
        asked: &Asked,
    ) -> Response<ResponseBody> {
        if !self.line.pulse.becomes_tunnel() {
            return self.fail(Failure::Fault(Fault::Broken), exchange, asked);
        }
        let Lease { link, busy, .. } = lease;
        let (connection, seat) = link.part();
        let upstream = connection.upgrade(&mut response);
        let (mut head, _) = response.into_parts();
        let websocket = head.headers.get(http::header::UPGRADE);
        let websocket =
            websocket.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if asked.translated {
            http2::from_upgrade(&mut head);
        }
        upgrade::start(self.worker, self.line, place, client, upstream, (busy, seat), websocket);
        let body = ResponseBody::page(
            bytes::Bytes::new(),
            Rc::clone(self.line),
            Some(Rc::clone(exchange)),
        );
        Response::from_parts(head, body)
    }

    fn fail(
        &self,
        failure: Failure,
        exchange: &Rc<Exchange>,
        asked: &Asked,
    ) -> Response<ResponseBody> {
        let (status, sentence, after) = match failure {
            Failure::Fault(Fault::Broken) => {
                (StatusCode::BAD_REQUEST, "the body of the request is broken", After::Close)
            }
            Failure::Fault(Fault::TooLarge) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body of the request is too large",
                After::Close,
            ),
            Failure::ClientLate => {
                (StatusCode::REQUEST_TIMEOUT, "the body of the request did not come", After::Close)
            }
            Failure::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                "the service took too long to answer",
                After::KeepAlive,
            ),
            Failure::Full => {
                (StatusCode::SERVICE_UNAVAILABLE, "the service is busy", After::KeepAlive)
            }
            Failure::Nobody => {
                (StatusCode::SERVICE_UNAVAILABLE, "the service is not available", After::KeepAlive)
            }
            Failure::Unreachable => {
                (StatusCode::BAD_GATEWAY, "the service cannot be reached", After::KeepAlive)
            }
        };
        self.log(asked, exchange, status, None);
        // A page can take too long, too.
        exchange.cut.set(None);
        exchange.enters(Stage::Answering, Instant::now());
        let added = exchange.added.borrow();
        let about = About {
            line: self.line,
            exchange: Some(exchange),
            method: &asked.method,
            id: added.of(Own::RequestId),
        };
        let mut response = respond::page(status, sentence, &about, after);
        if failure == Failure::Full {
            response.headers_mut().insert(RETRY_AFTER, RETRY_WHEN_FULL);
        }
        response
    }

    /// The answer to a request whose tier is in maintenance.
    fn maintain(&self, request: &Request<Incoming>) -> Response<ResponseBody> {
        let TableTier { access, tier, .. } = &self.tier.table;
        self.tier.cells.maintained.fetch_add(1, Ordering::Relaxed);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        self.log_answer(request.method(), None, status, None);
        let about = About { line: self.line, exchange: None, method: request.method(), id: None };
        // A body that nobody reads would be taken for the next request.
        let is_whole = request.body().is_end_stream();
        let after = if is_whole { After::KeepAlive } else { After::Close };
        gate::turn_away(access, &tier.closing, request.headers(), &about, after)
    }

    /// The answer to a request that may not wait, or not any longer.
    fn turn_away(
        &self,
        access: &Access,
        request: &Request<RequestBody>,
        exchange: &Rc<Exchange>,
        asked: &Asked,
    ) -> Response<ResponseBody> {
        if let Access::Maintenance { .. } = access {
            self.tier.cells.maintained.fetch_add(1, Ordering::Relaxed);
        }
        self.log(asked, exchange, StatusCode::SERVICE_UNAVAILABLE, None);
        exchange.cut.set(None);
        exchange.enters(Stage::Answering, Instant::now());
        let added = exchange.added.borrow();
        let (exchange, id) = (Some(exchange), added.of(Own::RequestId));
        let about = About { line: self.line, exchange, method: &asked.method, id };
        let after = if request.body().is_none() { After::KeepAlive } else { After::Close };
        let closing = &self.tier.table.tier.closing;
        gate::turn_away(access, closing, request.headers(), &about, after)
    }

    /// A line of the access log. No query and no header but the identifier: both hold secrets.
    fn log(&self, asked: &Asked, exchange: &Exchange, status: StatusCode, place: Option<&Place>) {
        if let Some(traced) = &exchange.traced {
            traced.answers(status, place);
        }
        if self.path.is_some() {
            let added = exchange.added.borrow();
            self.log_answer(&asked.method, added.of(Own::RequestId), status, place);
        }
    }

    fn log_answer(
        &self,
        method: &http::Method,
        id: Option<&HeaderValue>,
        status: StatusCode,
        place: Option<&Place>,
    ) {
        let Some(path) = &self.path else {
            return;
        };
        let id = id.and_then(|id| id.to_str().ok());
        tracing::info!(
            target: "access",
            tier = %self.tier.table.tier.name,
            client = %self.client,
            method = %method,
            path = %path,
            status = status.as_u16(),
            version = place.map(|place| place.release.release.version.as_str()),
            track = place.map(|place| place.track).map(Track::name),
            milliseconds = self.begun.elapsed().as_secs_f64() * 1_000.0,
            request = id.unwrap_or_default(),
        );
    }
}
