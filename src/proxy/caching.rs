//! The step at which a request meets the cache of its tier: given from it, waiting for another that
//! wants the same, or asked of the service, whose answer is kept.
//!
//! - The judge sees what the service answers, whoever asked for it and whoever got it; what comes out
//!   of the cache counts for nobody.
//! - An answer is kept for the release that gave it. A request that goes to another one on its way
//!   (a rescue, a new table) passes by the cache.

mod asked;
mod giving;
mod pump;
mod refresh;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::{
    CONTENT_LENGTH, CONTENT_LOCATION, IF_RANGE, LOCATION, RANGE, SET_COOKIE, TRAILER,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::body::{Lease, Outbound, RequestBody};
use super::forward::{self, Answer, Failure};
use super::line::{Exchange, Stage};
use super::place::Place;
use super::seen::Field;
use super::traced::Found;
use super::worker::Worker;
use crate::cache::http::{
    Fill, Head, HttpCache, Kept, Key, Landing, Lead, Reading, Seat, Space, Ticket, Wait,
};
use crate::clock;
use crate::namespace::http::directives::Directives;
use crate::namespace::http::freshness::{self, Asker, Leniency, Policy, Unkept, Use};
use crate::namespace::http::key::Purge;
use crate::namespace::http::{head, key};
use crate::traffic::affinity::OWN_COOKIE;
use giving::Said;
use pump::Pump;

/// How long a request waits for one that asks for the same: a service that takes longer is asked by
/// each for itself, so that one that hangs does not hold up all.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How often a request waits anew: after that it asks for itself.
const WAITS_MAX: usize = 4;

/// Answers that say that the service is in trouble (RFC 5861, section 4).
const TROUBLE: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Answers that say nothing of what others get: parts, and refusals of one client.
const OF_ONE: [StatusCode; 6] = [
    StatusCode::PARTIAL_CONTENT,
    StatusCode::NOT_MODIFIED,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_ACCEPTABLE,
    StatusCode::TOO_MANY_REQUESTS,
];

/// Who has answered.
#[derive(Debug)]
pub enum Served {
    /// The service.
    Upstream(Box<Answer>),
    /// The cache, or the service through it; counted already.
    Cache(Box<Response<Reading>>),
}

/// Answers `request` from the cache, or by the service at `place`.
pub async fn serve(
    worker: &Rc<Worker>,
    cache: &Arc<HttpCache>,
    exchange: &Rc<Exchange>,
    place: &mut Place,
    mut request: Outbound,
) -> Result<Served, Failure> {
    place.release.tag_mark.take(request.headers_mut());
    exchange.conditions_of.set(Some(place.release.release.slot));
    let visit = Visit::new(worker, cache, exchange, place, &request);
    let served = match visit {
        Some(visit) if is_asked_for(&request) && visit.is_clear() => {
            exchange.looks_up(Found::Miss);
            visit.serve(place, request).await
        }
        Some(visit) => {
            exchange.looks_up(Found::Bypassed);
            visit.pass(place, request).await
        }
        None => {
            exchange.looks_up(Found::Bypassed);
            forward::forward(worker, exchange, place, request).await.map(Served::Upstream)
        }
    };
    served.map(|mut served| {
        place.release.tag_mark.put(match &mut served {
            Served::Upstream(answer) => answer.response.headers_mut(),
            Served::Cache(response) => response.headers_mut(),
        });
        served
    })
}

/// Whether the answer may be one that is kept.
fn is_asked_for(request: &Request<RequestBody>) -> bool {
    [Method::GET, Method::HEAD].contains(request.method()) && request.body().is_none()
}

/// What does not change while a request is answered.
#[derive(Clone)]
struct Visit {
    worker: Rc<Worker>,
    cache: Arc<HttpCache>,
    exchange: Rc<Exchange>,
    space: Arc<Space>,
    key: Key,
    asker: Asker,
    says: Directives,
    method: Method,
    /// What the client asks by.
    client: HeaderMap,
}

impl Visit {
    /// None: the release has no part of the cache.
    fn new(
        worker: &Rc<Worker>,
        cache: &Arc<HttpCache>,
        exchange: &Rc<Exchange>,
        place: &Place,
        request: &Request<RequestBody>,
    ) -> Option<Self> {
        let space = place.release.space.clone()?;
        let mut client = request.headers().clone();
        exchange.added.borrow().put_into(&mut client);
        Some(Self {
            worker: Rc::clone(worker),
            cache: Arc::clone(cache),
            exchange: Rc::clone(exchange),
            key: Key {
                namespace: Arc::clone(&space.namespace),
                url: asked::url(request.uri(), &client).into(),
            },
            space,
            asker: Asker::of(&client, OWN_COOKIE),
            says: Directives::of_request(&client),
            method: request.method().clone(),
            client,
        })
    }

    /// Whether all that says where the client asked is what answers are found by.
    fn is_clear(&self) -> bool {
        asked::is_clear(&self.client, |name| self.cache.caching().forwarded.contains(name))
    }

    async fn serve(&self, place: &mut Place, request: Outbound) -> Result<Served, Failure> {
        let mut waits = 0;
        loop {
            let kept = self.find();
            if let Some(kept) = &kept {
                let now = Instant::now();
                match kept.head.policy.allows(kept.head.resident(now), &self.says) {
                    Use::Fresh => return Ok(self.hit(kept)),
                    Use::StaleWhileRevalidate => {
                        self.refresh(place, &request, kept);
                        return Ok(self.hit(kept));
                    }
                    Use::Ask => {}
                }
            }
            if self.says.only_if_cached {
                self.exchange.tally.forget();
                return Ok(Served::Cache(Box::new(giving::unkept())));
            }
            if waits == WAITS_MAX || !self.may_wait(kept.as_ref()) {
                return self.ask(place, request, kept, None).await;
            }
            match self.cache.join(&self.key, &self.client) {
                Seat::Lead(lead) => return self.ask(place, request, kept, Some(lead)).await,
                Seat::Wait(wait) => match self.wait(wait).await? {
                    Landing::Comes(fill) => {
                        if let Some(served) = self.collapsed(&fill) {
                            return Ok(served);
                        }
                    }
                    Landing::Again => {}
                    Landing::Alone => return self.ask(place, request, kept, None).await,
                },
            }
            waits += 1;
        }
    }

    /// The answer that is kept for it.
    fn find(&self) -> Option<Arc<Kept>> {
        self.cache.find(&self.key, &self.client).filter(|kept| self.may_have(&kept.head.policy))
    }

    /// What is not for everybody is not for whoever has a name.
    const fn may_have(&self, policy: &Policy) -> bool {
        !self.asker.authorized || policy.is_public
    }

    /// Whether another's answer would do, as far as can be known.
    fn may_wait(&self, kept: Option<&Arc<Kept>>) -> bool {
        let says = &self.says;
        let wants_its_own = says.no_cache || says.no_store || says.max_age.is_some();
        let is_part = self.client.contains_key(RANGE) || self.method == Method::HEAD;
        let is_known = match kept {
            // Asked for each time, each time by whoever wants it.
            Some(kept) if kept.head.policy.always_asks() => return false,
            Some(kept) => kept.head.policy.is_public,
            None if head::is_conditional(&self.client) => return false,
            None => false,
        };
        let is_open = is_known || !self.asker.is_somebody();
        is_open && !wants_its_own && !is_part && !self.cache.passes(&self.key, Instant::now())
    }

    async fn wait(&self, wait: Wait) -> Result<Landing, Failure> {
        self.exchange.enters(Stage::Waiting, Instant::now());
        let landing = Box::pin(tokio::time::timeout(WAIT_MAX, wait.landing()));
        let landing = self.exchange.unless_cut(landing).await;
        self.exchange.enters(Stage::Connecting, Instant::now());
        match landing {
            Ok(landing) => Ok(landing.unwrap_or(Landing::Alone)),
            Err(_) => Err(Failure::Late),
        }
    }

    /// The answer that comes in for somebody else, if it is for this request, too.
    fn collapsed(&self, fill: &Arc<Fill>) -> Option<Served> {
        let head = &fill.head;
        // One that was asked for before a reload may not differ by enough.
        let caching = self.cache.caching();
        let same = caching.forwarded.iter().all(|name| head.vary.contains(name))
            && key::variant(&head.vary, &self.client) == head.variant;
        let is_for_it = same && self.may_have(&head.policy);
        let reader = is_for_it.then(|| fill.read()).flatten()?;
        self.exchange.tally.forget();
        self.exchange.looks_up(Found::Hit);
        count(&self.space.counts.collapsed);
        Some(Served::Cache(Box::new(giving::coming(self, head, reader, &Said::Collapsed))))
    }

    fn hit(&self, kept: &Arc<Kept>) -> Served {
        self.exchange.tally.forget();
        self.exchange.looks_up(Found::Hit);
        let ttl = kept.head.policy.ttl(kept.head.resident(Instant::now()));
        let counts = &self.space.counts;
        count(if ttl > 0 { &counts.hits } else { &counts.stale });
        Served::Cache(Box::new(giving::kept(self, kept, &Said::Hit { ttl })))
    }

    /// Asks the service, on behalf of all if it has the `lead`.
    async fn ask(
        &self,
        place: &mut Place,
        mut request: Outbound,
        kept: Option<Arc<Kept>>,
        lead: Option<Lead>,
    ) -> Result<Served, Failure> {
        let ticket = self.cache.ticket(&self.key);
        let kept = kept.filter(|_| self.method == Method::GET);
        let fields = kept.as_ref().map(|kept| &kept.head.fields);
        let asks =
            fields.is_some_and(|kept| head::ask_whether_changed(request.headers_mut(), kept));
        if asks {
            request.headers_mut().remove(RANGE);
            request.headers_mut().remove(IF_RANGE);
        }
        let (sent, slot) = (Instant::now(), place.release.release.slot);
        let outcome = forward::forward(&self.worker, &self.exchange, place, request).await;
        let stale = kept
            .as_ref()
            .filter(|kept| kept.head.policy.allows_on_error(kept.head.resident(Instant::now())));
        let answer = match (outcome, stale) {
            (Ok(answer), _) => answer,
            (Err(failure), stale) => {
                lead.into_iter().for_each(Lead::is_alone);
                let stale = stale.filter(|_| failure.is_of_service());
                let stale = stale.map(|kept| self.stale(kept, None));
                return stale.ok_or(failure);
            }
        };
        let status = answer.response.status();
        // A file that the release does not have may be another's.
        let is_lent = !place.release.has(&answer.lease.busy.upstream);
        if place.release.release.slot != slot || is_lent {
            lead.into_iter().for_each(Lead::is_alone);
            return Ok(passed(answer, &Said::Bypass));
        }
        let delay = sent.elapsed();
        match (kept.as_ref(), stale) {
            (Some(kept), _) if status == StatusCode::NOT_MODIFIED && asks => {
                // What it gives to this client alone it gives to no other.
                let cookies = answer.response.headers().get_all(SET_COOKIE).into_iter();
                let cookies: Vec<_> = cookies.map(|line| (SET_COOKIE, line.clone())).collect();
                let kept = self.renew(place, &ticket, kept, answer, delay, lead);
                count(&self.space.counts.revalidated);
                let mut given = giving::kept(self, &kept, &Said::Stale(Some(status)));
                for (name, line) in cookies {
                    given.headers_mut().append(name, line);
                }
                Ok(Served::Cache(Box::new(given)))
            }
            (_, Some(kept)) if TROUBLE.contains(&status) => {
                lead.into_iter().for_each(Lead::is_alone);
                forward::count(&self.exchange, place, &answer, Instant::now());
                self.exchange.tally.ends(true);
                Ok(self.stale(kept, Some(status)))
            }
            (_, _) => Ok(self.take(place, ticket, (answer, delay), asks, lead)),
        }
    }

    /// What is kept, for want of anything newer.
    fn stale(&self, kept: &Arc<Kept>, status: Option<StatusCode>) -> Served {
        self.exchange.cut.set(None);
        count(&self.space.counts.stale);
        Served::Cache(Box::new(giving::kept(self, kept, &Said::Stale(status))))
    }

    /// What is kept has not changed.
    fn renew(
        &self,
        place: &Place,
        ticket: &Ticket,
        kept: &Arc<Kept>,
        answer: Box<Answer>,
        delay: Duration,
        lead: Option<Lead>,
    ) -> Arc<Kept> {
        forward::count(&self.exchange, place, &answer, Instant::now());
        self.exchange.tally.ends(true);
        let now = clock::wall().millis() / 1_000;
        let fields = head::renewed(&kept.head.fields, answer.response.headers(), now);
        give_back(answer.lease, &self.exchange);
        let head = self.head(kept.head.status, &fields, Asker::default(), (now, delay));
        let is_kept = head.is_ok();
        let head = head.unwrap_or_else(|_| Head { fields, ..kept.head.clone() });
        let waits = is_kept && head.policy.is_for_waiters(Duration::ZERO);
        let kept = self.cache.renew(ticket, kept, head);
        if !is_kept {
            self.cache.remove(&self.key);
        }
        lead.into_iter().filter(|_| !waits).for_each(Lead::is_alone);
        kept
    }

    /// Gives an answer to the client, and keeps it if it may be kept. `asks`: what the client asks by
    /// was not said to the service.
    fn take(
        &self,
        place: &Place,
        ticket: Ticket,
        (answer, delay): (Box<Answer>, Duration),
        asks: bool,
        lead: Option<Lead>,
    ) -> Served {
        let response = &answer.response;
        let (status, fields) = (response.status(), response.headers());
        let length = fields.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length = length.and_then(|length| length.parse::<u64>().ok());
        let is_large = length.is_some_and(|length| length > self.cache.caching().object);
        let is_stream = answer.seen.has(Field::EventStream) || answer.seen.has(Field::Grpc);
        let now = clock::wall().millis() / 1_000;
        let is_kept =
            self.method == Method::GET && !is_large && !is_stream && !fields.contains_key(TRAILER);
        let head = if is_kept {
            self.head(status, fields, self.asker, (now, delay))
        } else {
            Err(Unkept::Answer)
        };
        let head = match head {
            Ok(head) => head,
            Err(why) => {
                self.is_unkept(status, why);
                lead.into_iter().for_each(Lead::is_alone);
                return passed(answer, &Said::Forwarded(status));
            }
        };
        count(&self.space.counts.misses);
        forward::count(&self.exchange, place, &answer, Instant::now());
        let Answer { response, lease, .. } = *answer;
        let (writer, reader) = self.cache.fill(&self.space, ticket, head.clone());
        let lead = match lead {
            Some(lead) if head.policy.is_for_waiters(Duration::ZERO) => {
                lead.comes(writer.fill());
                Some(lead)
            }
            lead => {
                lead.into_iter().for_each(Lead::is_alone);
                None
            }
        };
        let patience = place.tier.table.tier.timeouts.body_idle;
        let pump = Pump { visit: self.clone(), writer, lease, lead, patience };
        let (parts, incoming) = response.into_parts();
        tokio::task::spawn_local(pump.run(incoming));
        let mut given = giving::coming(self, &head, reader, &Said::Stored { status, asks });
        if given.status() == status {
            // The one who asked gets all of it, also what is kept for nobody.
            *given.headers_mut() = parts.headers;
            giving::say(given.headers_mut(), &Said::Stored { status, asks });
        }
        Served::Cache(Box::new(given))
    }

    /// The head of an answer as it is kept, if it may be.
    fn head(
        &self,
        status: StatusCode,
        answer: &HeaderMap,
        asker: Asker,
        came: (u64, Duration),
    ) -> Result<Head, Unkept> {
        let caching = self.cache.caching();
        let leniency = Leniency {
            stale_while_revalidate: caching.stale_while_revalidate,
            stale_if_error: caching.stale_if_error,
        };
        let policy = freshness::policy(asker, &self.says, (status, answer), came, leniency)?;
        let vary = key::vary(answer).unwrap_or_default();
        let vary = key::with(vary, &caching.forwarded);
        let variant = key::variant(&vary, &self.client);
        let fields = head::kept(answer, came.0);
        Ok(Head { status, fields, policy, vary, variant, since: Instant::now() })
    }

    /// Nobody need wait for such an answer again soon, and what was kept before is outdated.
    fn is_unkept(&self, status: StatusCode, why: Unkept) {
        if why == Unkept::Answer && self.method == Method::GET && !OF_ONE.contains(&status) {
            self.cache.pass(&self.key, Instant::now());
            if !status.is_server_error() {
                self.cache.remove(&self.key);
            }
        }
        count(&self.space.counts.passed);
    }

    /// A request that passes by the cache, and may change what is in it.
    async fn pass(&self, place: &mut Place, request: Outbound) -> Result<Served, Failure> {
        let said = if is_asked_for(&request) { Said::Bypass } else { Said::Method };
        let answer = forward::forward(&self.worker, &self.exchange, place, request).await?;
        let status = answer.response.status();
        let is_done = status.is_success() || status.is_redirection();
        if is_done && !freshness::is_safe(&self.method) {
            self.changes(answer.response.headers());
        }
        count(&self.space.counts.passed);
        Ok(passed(answer, &said))
    }

    /// What was asked for has changed, and what the answer names (RFC 9111, section 4.4); in all
    /// versions, for they share what is behind them.
    fn changes(&self, answer: &HeaderMap) {
        let named = [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| answer.get(name));
        let named = named.filter_map(|to| key::same_origin(&self.key.url, to.as_bytes()));
        for url in std::iter::once(self.key.url.to_string()).chain(named) {
            self.cache.purge(&Purge::Url(url));
        }
    }
}

/// An answer that the client gets as its service gave it.
fn passed(mut answer: Box<Answer>, said: &Said) -> Served {
    giving::say(answer.response.headers_mut(), said);
    Served::Upstream(answer)
}

/// The connection that an answer came on can be used again.
fn give_back(lease: Lease, exchange: &Exchange) {
    let Lease { link, busy, most } = lease;
    if exchange.handed.get().is_some() {
        busy.upstream.pool.keep(link, Instant::now(), most);
    }
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
