//! The life of a request.

use std::rc::Rc;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;

use super::body::{Lease, RequestBody, ResponseBody};
use super::client;
use super::cookies::{self, Plan};
use super::forward::{self, Answer, Failure};
use super::headers::{self, WEIR_VERSION, Way};
use super::line::{Exchange, Fault, Line, Stage};
use super::place::Place;
use super::respond::{self, About, After};
use super::tally::Tally;
use super::upgrade;
use super::view::TierView;
use super::worker::Worker;
use crate::traffic::Track;

/// When who was sent away for want of connections may come again, in seconds: what is full now is
/// seldom full for long.
const RETRY_WHEN_FULL: HeaderValue = HeaderValue::from_static("1");

/// Answers one request: reads the table, places the request, forwards it, counts it.
pub async fn handle(
    worker: Rc<Worker>,
    line: Rc<Line>,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let begun = Instant::now();
    let view = worker.view();
    let Some(listener) = view.listener(&line.listen) else {
        return nobody(&line, &request, StatusCode::SERVICE_UNAVAILABLE, After::Close);
    };
    let Some(tier) = listener.tier(headers::host(&request), request.uri().path()) else {
        return nobody(&line, &request, StatusCode::NOT_FOUND, After::KeepAlive);
    };
    let passage = Passage::new(&worker, &line, tier, &request, begun);
    let (place, plan) = passage.place(&request);
    let exchange = passage.begin(&place, &request);
    let upgrade = headers::asks_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
    let request = passage.prepare(request, &exchange, upgrade.is_some());
    let about = Asked::of(&request);
    if passage.is_too_large(&request) {
        exchange.tally.forget();
        return passage.fail(Failure::Fault(Fault::TooLarge), &exchange, &about);
    }
    match forward::forward(&worker, &exchange, place, request).await {
        Ok(answer) => passage.finish(answer, &exchange, plan, upgrade, &about),
        Err(failure) => passage.fail(failure, &exchange, &about),
    }
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
    id: HeaderValue,
}

impl Asked {
    fn of(request: &Request<RequestBody>) -> Self {
        let id = request.headers().get(headers::REQUEST_ID);
        let id = id.cloned().unwrap_or(HeaderValue::from_static(""));
        Self { method: request.method().clone(), id }
    }
}

/// What does not change during the life of a request.
struct Passage<'a> {
    worker: &'a Rc<Worker>,
    line: &'a Rc<Line>,
    tier: &'a Rc<TierView>,
    client: std::net::IpAddr,
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
        begun: Instant,
    ) -> Self {
        let settings = &tier.table.tier;
        let trusted =
            settings.trusted_proxies.iter().any(|network| network.contains(line.peer.get()));
        let headers = request.headers();
        Self {
            worker,
            line,
            tier,
            client: headers::client(line, settings, headers),
            trusted,
            secure: line.secure.get() || headers::is_https(headers, trusted),
            begun,
            path: settings.access_log.then(|| request.uri().path().into()),
        }
    }

    fn place(&self, request: &Request<Incoming>) -> (Place, Plan) {
        let place = Place::of(self.tier, request.headers(), self.client);
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
        let agent = request.headers().get(http::header::USER_AGENT);
        let agent = agent.map(HeaderValue::as_bytes).unwrap_or_default();
        let judged = ignore.is_empty() || !ignore.covers(request.uri().path(), self.client, agent);
        let tally = Tally::new(&self.worker.error_keys, place, judged);
        let exchange = Rc::new(Exchange::new(self.begun, tally, Rc::clone(self.tier), self.client));
        self.line.begins(&exchange);
        exchange
    }

    fn prepare(
        &self,
        request: Request<Incoming>,
        exchange: &Rc<Exchange>,
        upgrade: bool,
    ) -> Request<RequestBody> {
        let settings = &self.tier.table.tier;
        let (mut head, body) = request.into_parts();
        let way = Way {
            line: self.line,
            tier: settings,
            trusted: self.trusted,
            upgrade,
            instance: &self.worker.instance,
            hop: &self.worker.hop,
        };
        headers::to_upstream(&mut head.headers, &way);
        let body = RequestBody::of(body, Rc::clone(exchange), settings.limits.body_bytes);
        Request::from_parts(head, body)
    }

    fn is_too_large(&self, request: &Request<RequestBody>) -> bool {
        let length = request.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
        let length: Option<u64> = length.and_then(|text| text.parse().ok());
        let most = self.tier.table.tier.limits.body_bytes;
        length.zip(most).is_some_and(|(length, most)| length > most)
    }

    fn finish(
        &self,
        answer: Answer,
        exchange: &Rc<Exchange>,
        plan: Plan,
        upgrade: Option<OnUpgrade>,
        asked: &Asked,
    ) -> Response<ResponseBody> {
        let Answer { mut response, lease, place } = answer;
        let now = Instant::now();
        let status = response.status();
        let table = &place.tier.table;
        let handed = exchange.handed.get().unwrap_or(now);
        let latency = now.saturating_duration_since(handed);
        let location = response.headers().get(LOCATION).map(HeaderValue::as_bytes);
        exchange.tally.answers(status.as_u16(), latency, location, &table.tier.watches);
        exchange.enters(Stage::Answering, now);
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        exchange.is_stream.set(kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")));
        cookies::carry_out(plan, response.headers_mut(), table, place.track);
        if table.tier.show_version || place.preview {
            response.headers_mut().insert(WEIR_VERSION, place.release.version.clone());
        }
        self.log(asked, status, Some(&place));
        if status == StatusCode::SWITCHING_PROTOCOLS {
            exchange.tally.ends(true);
            return match upgrade {
                Some(client) => self.tunnel(response, lease, &place, client, exchange),
                None => self.fail(Failure::Unreachable, exchange, asked),
            };
        }
        let (mut head, incoming) = response.into_parts();
        if self.line.is_used_up(&table.tier.limits) || self.line.last.get() {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let body = ResponseBody::of(incoming, lease, Rc::clone(self.line), Rc::clone(exchange));
        Response::from_parts(head, body)
    }

    fn tunnel(
        &self,
        mut response: Response<client::Body>,
        lease: Lease,
        place: &Place,
        client: OnUpgrade,
        exchange: &Rc<Exchange>,
    ) -> Response<ResponseBody> {
        let Lease { link, busy, .. } = lease;
        let (connection, seat) = link.part();
        let upstream = connection.upgrade(&mut response);
        let (head, _) = response.into_parts();
        let websocket = head.headers.get(http::header::UPGRADE);
        let websocket =
            websocket.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
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
        self.log(asked, status, None);
        let about = About {
            line: self.line,
            exchange: Some(exchange),
            method: &asked.method,
            id: Some(&asked.id),
        };
        let mut response = respond::page(status, sentence, &about, after);
        if failure == Failure::Full {
            response.headers_mut().insert(RETRY_AFTER, RETRY_WHEN_FULL);
        }
        response
    }

    /// A line of the access log. No query and no header but the identifier: both hold secrets.
    fn log(&self, asked: &Asked, status: StatusCode, place: Option<&Place>) {
        let Some(path) = &self.path else {
            return;
        };
        tracing::info!(
            target: "access",
            tier = %self.tier.table.tier.name,
            client = %self.client,
            method = %asked.method,
            path = %path,
            status = status.as_u16(),
            version = place.map(|place| place.release.release.version.as_str()),
            track = place.map(|place| place.track).map(Track::name),
            milliseconds = self.begun.elapsed().as_secs_f64() * 1_000.0,
            request = %asked.id.to_str().unwrap_or_default(),
        );
    }
}
