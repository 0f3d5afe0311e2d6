//! A request that is traced: what is noted of it until it ends, then put where spans wait.
//!
//! Whether it is: where `traceparent` comes from a trusted proxy, by what that says; else by chance. It
//! then goes on to the upstream with the span of Weir; what is not traced passes as it came, since an
//! app that hears of a trace which nobody samples records nothing (W3C Trace Context, level 1,
//! section 2.2.5).

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};

use super::headers::{TRACEPARENT, TRACESTATE};
use super::place::Place;
use super::random;
use super::view::ReleaseView;
use crate::clock;
use crate::metrics::Register;
use crate::traces::{Context, Kind, Span, SpanId, Value};
use crate::traffic::{TierName, Track};

/// What a span is called whose method nobody knows.
const OTHER: &str = "HTTP";

/// A request that is traced.
#[derive(Debug)]
pub struct Traced {
    register: Arc<Register>,
    context: Context,
    parent: Option<SpanId>,
    method: Method,
    begun: Instant,
    start: u64,
    known: RefCell<Vec<(&'static str, Value)>>,
    attempts: Cell<u32>,
    rescued: Cell<bool>,
    status: Cell<Option<StatusCode>>,
    /// What the cache of answers had.
    found: Cell<Option<Found>>,
    /// Who was asked last, or who answered.
    at: RefCell<Option<(Rc<ReleaseView>, Track)>>,
}

/// What the cache of answers had for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was not asked: of a method that is not kept, or of a release without a part of it.
    Bypassed,
    /// What the client got.
    Hit,
    /// Nothing that would do by itself.
    Miss,
}

impl Found {
    const fn name(self) -> &'static str {
        match self {
            Self::Bypassed => "bypass",
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// What is known of a request before it goes anywhere.
pub struct Known<'a> {
    /// Its tier.
    pub tier: &'a TierName,
    /// Its client.
    pub client: IpAddr,
    /// Whether it comes from a proxy whose words are believed.
    pub trusted: bool,
    /// Whether it came by HTTPS.
    pub secure: bool,
    /// Its Host.
    pub host: Option<&'a HeaderValue>,
    /// When its head had been read.
    pub begun: Instant,
}

impl Traced {
    /// Begins, if `request` is one of those that are traced.
    pub fn begin<B>(
        register: &Arc<Register>,
        request: &Request<B>,
        known: &Known<'_>,
    ) -> Option<Box<Self>> {
        let tracer = register.tracer();
        let before = said(request.headers());
        let sampled = match before {
            Some(before) if known.trusted => before.sampled,
            Some(_) | None => tracer.samples(random::number()),
        };
        if !sampled {
            return None;
        }
        let trace = before.map_or_else(
            || (u128::from(random::number()) << 64 | u128::from(random::number())).to_be_bytes(),
            |before| before.trace,
        );
        let context = Context { trace, span: random::number().to_be_bytes(), sampled: true };
        let now = Instant::now();
        let age = u64::try_from(now.saturating_duration_since(known.begun).as_nanos());
        Some(Box::new(Self {
            register: Arc::clone(register),
            context,
            parent: before.map(|before| before.span),
            method: request.method().clone(),
            begun: known.begun,
            start: clock::nanoseconds().saturating_sub(age.unwrap_or(0)),
            known: RefCell::new(attributes(request, known)),
            attempts: Cell::new(0),
            rescued: Cell::new(false),
            status: Cell::new(None),
            found: Cell::new(None),
            at: RefCell::new(None),
        }))
    }

    /// Tells the upstream where it stands.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::try_from(self.context.written()) {
            headers.insert(TRACEPARENT, value);
        }
        if self.parent.is_none() {
            // It belongs to a trace that nobody could read (W3C Trace Context, section 3.3).
            headers.remove(TRACESTATE);
        }
    }

    /// It is sent to an upstream of the release at `place`.
    pub fn tries(&self, place: &Place) {
        self.attempts.set(self.attempts.get() + 1);
        *self.at.borrow_mut() = Some((Rc::clone(&place.release), place.track));
    }

    /// Stable helps out.
    pub fn is_rescued(&self) {
        self.rescued.set(true);
        if let Some((release, _)) = &*self.at.borrow() {
            let version = Value::text(release.release.version.as_str());
            self.known.borrow_mut().push(("weir.rescued_from", version));
        }
    }

    /// The cache of answers was looked into, or passed by.
    pub fn looks_up(&self, found: Found) {
        self.found.set(Some(found));
    }

    /// The client gets this answer, of `place` if of any.
    pub fn answers(&self, status: StatusCode, place: Option<&Place>) {
        if self.status.replace(Some(status)).is_some() {
            return;
        }
        if let Some(place) = place {
            *self.at.borrow_mut() = Some((Rc::clone(&place.release), place.track));
            if place.preview {
                self.known.borrow_mut().push(("weir.preview", Value::Flag(true)));
            }
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let mut attributes = std::mem::take(self.known.get_mut());
        if let Some((release, track)) = self.at.get_mut().take() {
            attributes.push(("weir.version", Value::text(release.release.version.as_str())));
            attributes.push(("weir.track", track.name().into()));
        }
        if let Some(found) = self.found.get() {
            attributes.push(("weir.cache", found.name().into()));
        }
        attributes.push(("weir.attempts", Value::Number(self.attempts.get().into())));
        attributes.push(("weir.rescued", Value::Flag(self.rescued.get())));
        let failed = match self.status.get() {
            Some(status) => {
                let number = i64::from(status.as_u16());
                attributes.push(("http.response.status_code", Value::Number(number)));
                status.is_server_error().then(|| status.as_str().to_owned())
            }
            // The client went away, or took it back.
            None => Some("canceled".to_owned()),
        };
        if let Some(what) = &failed {
            attributes.push(("error.type", Value::text(what)));
        }
        let lasted = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.register.tracer().put(Span {
            context: self.context,
            parent: self.parent,
            is_parent_remote: true,
            kind: Kind::Server,
            name: name(&self.method).into(),
            start: self.start,
            end: self.start.saturating_add(lasted),
            attributes,
            failed: failed.map(|_| String::new()),
        });
    }
}

/// What the request says of where it stands; twice is not at all.
fn said(headers: &HeaderMap) -> Option<Context> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let first = values.next()?;
    Context::read(first.as_bytes()).filter(|_| values.next().is_none())
}

/// The methods that there are; others would make names without end.
fn name(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or(OTHER)
}

/// By the semantic conventions for HTTP, and our own. The query is not among them: it may hold secrets.
fn attributes<B>(request: &Request<B>, known: &Known<'_>) -> Vec<(&'static str, Value)> {
    let version = match request.version() {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    let method = name(request.method());
    let mut attributes = vec![
        ("http.request.method", if method == OTHER { "_OTHER" } else { method }.into()),
        ("url.path", Value::text(request.uri().path())),
        ("url.scheme", if known.secure { "https" } else { "http" }.into()),
        ("network.protocol.version", version.into()),
        ("client.address", Value::text(&known.client.to_string())),
        ("weir.tier", Value::text(known.tier.as_str())),
    ];
    if method == OTHER {
        let original = Value::text(request.method().as_str());
        attributes.push(("http.request.method_original", original));
    }
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    if let Some(host) = known.host.and_then(text) {
        let is_port = |(_, port): &(&str, &str)| port.bytes().all(|digit| digit.is_ascii_digit());
        let (name, port) = host.rsplit_once(':').filter(is_port).unwrap_or((&host, ""));
        attributes.push(("server.address", Value::text(name)));
        if let Ok(port) = port.parse() {
            attributes.push(("server.port", Value::Number(port)));
        }
    }
    if let Some(agent) = request.headers().get(USER_AGENT).and_then(text) {
        attributes.push(("user_agent.original", Value::text(&agent)));
    }
    attributes
}
