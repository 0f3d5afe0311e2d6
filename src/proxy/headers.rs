//! What is refused of a request's head, what is removed, and what is added on the way.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, FORWARDED, HOST,
    HeaderName, LOCATION, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};

use super::added::{Added, Own};
use super::framing;
use super::line::Line;
use super::random;
use super::seen::{Field, Seen};
use crate::traffic::{Preview, Tier};

/// Which instances of Weir a request passed; one that comes back to us runs in a circle.
pub const HOP: HeaderName = HeaderName::from_static("x-weir-hop");
/// Which part of the caches is that of the version that a request goes to.
pub const CACHE_NAMESPACE: HeaderName = HeaderName::from_static("x-weir-cache-namespace");
/// The version that a request goes to or an answer comes from.
pub const WEIR_VERSION: HeaderName = HeaderName::from_static("x-weir-version");
/// The identifier of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Who the client is: its address, after those of the proxies behind it.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The Host that the client asked for.
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Whether it came by HTTP or HTTPS.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// An older way to say how long a connection lasts.
pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// Another way to say who the client is.
pub const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Where a request stands in a trace; `traced` says when it is changed.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What other systems of tracing say there; it means nothing without the other.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Longest identifier of a request that is taken over from outside, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Longest list of hops in bytes; a request with a longer one runs in a circle of others.
const HOPS_BYTES_MAX: usize = 512;

/// Fields that Connection may not name: to remove them would change what the request means, or
/// who it seems to come from.
const PROTECTED: [HeaderName; 14] = [
    AUTHORIZATION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    COOKIE,
    FORWARDED,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
    HOST,
    REAL_IP,
    REQUEST_ID,
    SET_COOKIE,
    TRACEPARENT,
    TRANSFER_ENCODING,
];

/// Why a request is refused: what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The reason.
    pub reason: &'static str,
}

/// A refusal.
pub const fn refuse(status: StatusCode, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

/// What is known of a head that has passed [`check`].
#[derive(Debug)]
pub struct Checked {
    /// The fields it has.
    pub seen: Seen,
    /// Its Host; HTTP/1.0 may have none.
    pub host: Option<HeaderValue>,
}

/// Refuses what has more than one meaning, or none, and brings the rest into one form: target in
/// origin-form, one Host. hyper has refused before what is no HTTP at all.
pub fn check<B>(request: &mut Request<B>, instance: &str) -> Result<Checked, Refusal> {
    let bad = |reason| Err(refuse(StatusCode::BAD_REQUEST, reason));
    if *request.method() == Method::CONNECT || *request.method() == Method::TRACE {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "this method is not served here"));
    }
    let seen = Seen::of(request.headers());
    let headers = request.headers();
    if seen.has(Field::Imitation) {
        return bad("a field seems to frame the body and does not");
    }
    if seen.has(Field::TransferEncoding) && !is_chunked(headers) {
        return bad("Transfer-Encoding must be \"chunked\", once");
    }
    if seen.has(Field::Expect) && headers.get_all(EXPECT).iter().any(is_unmet) {
        return Err(refuse(StatusCode::EXPECTATION_FAILED, "Expect must be \"100-continue\""));
    }
    // All of it beside an absolute target, too (RFC 9112, section 3.2).
    let host = headers.get(HOST).cloned();
    match &host {
        Some(_) if seen.has(Field::SecondHost) => return bad("there must be one Host"),
        Some(host) if !is_host(host.as_bytes()) => return bad("Host is no host"),
        None if request.version() >= Version::HTTP_11 => return bad("Host is missing"),
        Some(_) | None => {}
    }
    let host = match request.uri().authority() {
        Some(_) => Some(from_absolute(request)?),
        None => host,
    };
    let headers = request.headers();
    let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    if !target.is_ascii() {
        return bad("the target must be written in ASCII, other bytes as %XX");
    }
    let asterisk = target == "*" && *request.method() == Method::OPTIONS;
    if !asterisk && !target.starts_with('/') {
        return bad("the target must be a path");
    }
    if seen.has(Field::Ours) && is_loop(headers, instance) {
        let reason = "the request has come back to where it was sent from";
        return Err(refuse(StatusCode::LOOP_DETECTED, reason));
    }
    Ok(Checked { seen, host })
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next().is_some_and(|only| only.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

fn is_unmet(expectation: &HeaderValue) -> bool {
    !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// An absolute target: its authority is the Host, whatever Host says (RFC 9112, section 3.2.2).
/// Returns that.
fn from_absolute<B>(request: &mut Request<B>) -> Result<HeaderValue, Refusal> {
    let wrong = || refuse(StatusCode::BAD_REQUEST, "the target is not allowed");
    let parts = request.uri().clone().into_parts();
    if !parts.scheme.is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(&scheme)) {
        return Err(wrong());
    }
    let authority = parts.authority.filter(|authority| is_host(authority.as_str().as_bytes()));
    let authority = authority.ok_or_else(wrong)?;
    let target = parts.path_and_query.ok_or_else(wrong)?;
    let target = origin_form(target).ok_or_else(wrong)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
    *request.uri_mut() = target;
    request.headers_mut().insert(HOST, host.clone());
    Ok(host)
}

/// What an absolute target asks for: without a path the root (RFC 9112, section 3.2.1).
fn origin_form(target: PathAndQuery) -> Option<Uri> {
    if target.as_str().starts_with('?') {
        return format!("/{}", target.as_str()).parse().ok();
    }
    let uri = Uri::from(target);
    Some(if uri.path().is_empty() { Uri::from_static("/") } else { uri })
}

/// The bytes that may stand in the name of a Host.
const HOST_BYTES: [bool; 256] = {
    let bytes = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789\
        .-_~!$&'()*+;=%";
    let mut allowed = [false; 256];
    let mut place = 0;
    while place < bytes.len() {
        allowed[bytes[place] as usize] = true;
        place += 1;
    }
    allowed
};

/// Whether it is a name or an address, with a port or without (RFC 9112, section 3.2). With
/// anything else apps differ in what they take for the name.
fn is_host(host: &[u8]) -> bool {
    let (is_named, port) = match host {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b']').unwrap_or(rest.len());
            let address = std::str::from_utf8(&rest[..end]);
            let is_address = address.is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
            (is_address, rest.get(end + 1..))
        }
        name => {
            let end = name.iter().position(|byte| !HOST_BYTES[usize::from(*byte)]);
            let end = end.unwrap_or(name.len());
            (end > 0, name.get(end..))
        }
    };
    let is_port = |port: &[u8]| match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_named && port.is_some_and(is_port)
}

/// Whether the request has been here before, or in too many places.
fn is_loop(headers: &HeaderMap, instance: &str) -> bool {
    headers.get_all(HOP).iter().any(|hops| {
        let text = hops.to_str().unwrap_or_default();
        text.len() > HOPS_BYTES_MAX || text.split(", ").any(|hop| hop == instance)
    })
}

/// The address of the client behind a peer that is trusted: as far back as trusted ones say it.
pub fn client(line: &Line, tier: &Tier, headers: &HeaderMap) -> IpAddr {
    let trusts = |address| tier.trusted_proxies.iter().any(|network| network.contains(address));
    let mut client = line.peer.get();
    let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops {
        let text = std::str::from_utf8(hop.trim_ascii()).unwrap_or_default();
        match text.parse() {
            Ok(address) => client = address,
            Err(_) => break,
        }
        if !trusts(client) {
            break;
        }
    }
    client
}

/// What is known of a request beside its head.
#[derive(Debug)]
pub struct Way<'a> {
    /// The connection it came on.
    pub line: &'a Line,
    /// The tier it came to.
    pub tier: &'a Tier,
    /// Whether the peer's word about the client counts.
    pub trusted: bool,
    /// Whether the client asks for another protocol and may have it.
    pub upgrade: bool,
    /// What [`check`] has found.
    pub checked: &'a Checked,
    /// This instance of Weir.
    pub instance: &'a str,
    /// The same as the first hop.
    pub hop: &'a HeaderValue,
}

/// Makes of the head that came in what of it goes to an upstream, and says what is added to it.
pub fn to_upstream(headers: &mut HeaderMap, way: &Way<'_>, added: &mut Added) {
    let seen = way.checked.seen;
    let hops = seen.has(Field::Ours).then(|| take_ours(headers)).flatten();
    if seen.has(Field::HopByHop) || seen.has(Field::Expect) {
        let trailers = headers.get(TE).is_some_and(|te| has_token(te, "trailers"));
        strip(headers, way.upgrade);
        headers.remove(EXPECT);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.append(CONNECTION, HeaderValue::from_static("TE"));
        }
    } else if seen.has(Field::Connection) {
        strip_connection(headers);
    }
    for secret in way.tier.preview.iter().chain(&way.tier.closing.bypass) {
        remove_secret(headers, secret);
    }
    forwarded(headers, way, added);
    let continued = |before| HeaderValue::try_from(format!("{before}, {}", way.instance)).ok();
    added.set(Own::Hop, hops.and_then(continued).unwrap_or_else(|| way.hop.clone()));
    added.set(Own::RequestId, request_id(headers, seen));
}

/// How many more proxies `request` may pass, where that is said and counts (RFC 9110, section 7.6.2).
pub fn forwards_left<B>(request: &Request<B>) -> Option<u64> {
    // TRACE, for which it counts as well, goes nowhere.
    let left = (*request.method() == Method::OPTIONS)
        .then(|| request.headers().get(MAX_FORWARDS))
        .flatten()?;
    framing::number(left.as_bytes())
}

fn take_ours(headers: &mut HeaderMap) -> Option<String> {
    let hops = headers.get(HOP).and_then(|hops| hops.to_str().ok()).map(str::to_owned);
    remove_where(headers, |name| name.starts_with("x-weir-"));
    hops
}

fn remove_where(headers: &mut HeaderMap, wrong: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| wrong(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Does what [`strip`] does where nothing but Connection is meant for one hop only. Mostly it names no
/// field, but says whether the connection lasts.
fn strip_connection(headers: &mut HeaderMap) {
    let names_nothing = |line: &HeaderValue| {
        let line = line.as_bytes();
        line.eq_ignore_ascii_case(b"keep-alive") || line.eq_ignore_ascii_case(b"close")
    };
    if headers.get_all(CONNECTION).iter().all(names_nothing) {
        headers.remove(CONNECTION);
    } else {
        strip(headers, false);
    }
}

/// Removes what is meant for one hop only (RFC 9110, section 7.6.1).
pub fn strip(headers: &mut HeaderMap, upgrade: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !PROTECTED.contains(name) && *name != UPGRADE)
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    for name in [KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE] {
        headers.remove(name);
    }
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
}

/// Keeps of the trailers of a message what may be one (RFC 9110, section 6.5.1): nothing that says
/// how the message is framed, where it goes, or who sent it. Servers add trailers to the head.
pub fn keep_trailers(trailers: &mut HeaderMap) {
    let seen = Seen::of(trailers);
    let doubtful = [
        Field::Connection,
        Field::Cookie,
        Field::Expect,
        Field::Forwarded,
        Field::ForwardedFor,
        Field::ForwardedHost,
        Field::ForwardedProto,
        Field::HopByHop,
        Field::Host,
        Field::Location,
        Field::Ours,
        Field::RequestId,
        Field::TransferEncoding,
    ];
    if doubtful.into_iter().any(|field| seen.has(field)) {
        strip(trailers, false);
        remove_where(trailers, |name| name.starts_with("x-weir-") || is_forwarded(name));
        for name in [COOKIE, EXPECT, HOST, LOCATION, REQUEST_ID, TRANSFER_ENCODING] {
            trailers.remove(name);
        }
    }
    for name in [AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRAILER] {
        trailers.remove(name);
    }
}

/// Whether a list such as Connection has `token`.
pub fn has_token(line: &HeaderValue, token: &str) -> bool {
    let parts = line.as_bytes().split(|byte| *byte == b',');
    parts.into_iter().any(|part| {
        let part = part.split(|byte| *byte == b';').next().unwrap_or_default();
        part.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
    })
}

/// Whether the client asks for another protocol, and may: another HTTP in a tunnel would get past
/// everything that is checked and written anew here.
pub fn asks_upgrade<B>(request: &Request<B>, seen: Seen) -> bool {
    let headers = request.headers();
    let is_http = |line: &HeaderValue| {
        let line = line.as_bytes().to_ascii_lowercase();
        line.split(|byte| *byte == b',').any(|protocol| {
            let protocol = protocol.trim_ascii();
            protocol.starts_with(b"h2") || protocol.starts_with(b"http")
        })
    };
    seen.has(Field::Upgrade)
        && !headers.get_all(UPGRADE).iter().any(is_http)
        && request.version() == Version::HTTP_11
        && headers.get_all(CONNECTION).iter().any(|line| has_token(line, "upgrade"))
}

/// Removes what carries a secret of Weir.
fn remove_secret(headers: &mut HeaderMap, preview: &Preview) {
    if let Some(name) = &preview.header {
        headers.remove(name.as_str());
    }
    if let Some(name) = &preview.cookie
        && crate::traffic::affinity::cookie(headers, name.as_bytes()).is_some()
    {
        remove_cookie(headers, name.as_bytes());
    }
}

fn remove_cookie(headers: &mut HeaderMap, name: &[u8]) {
    let other = |pair: &&[u8]| {
        let pair = pair.trim_ascii_start();
        !(pair.starts_with(name) && pair.get(name.len()) == Some(&b'='))
    };
    let kept: Vec<Vec<u8>> = headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';').filter(other))
        .map(|pair| pair.trim_ascii().to_vec())
        .filter(|pair| !pair.is_empty())
        .collect();
    headers.remove(COOKIE);
    if !kept.is_empty()
        && let Ok(line) = HeaderValue::from_bytes(&kept.join(b"; ".as_slice()))
    {
        headers.insert(COOKIE, line);
    }
}

/// X-Forwarded-For, -Proto and -Host: continued where the peer is trusted, else begun anew.
fn forwarded(headers: &mut HeaderMap, way: &Way<'_>, added: &mut Added) {
    let seen = way.checked.seen;
    let said = |field| way.trusted && seen.has(field);
    let mut peers = way.line.peer_text.borrow().clone();
    if said(Field::ForwardedFor) {
        let before: Vec<&[u8]> =
            headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
        let joined = [before.join(b", ".as_slice()).as_slice(), peers.as_bytes()].join(&b", "[..]);
        peers = HeaderValue::from_bytes(&joined).unwrap_or(peers);
        headers.remove(FORWARDED_FOR);
    }
    if seen.has(Field::Forwarded) && !way.trusted {
        remove_where(headers, is_forwarded);
    }
    added.set(Own::ForwardedFor, peers);
    if !said(Field::ForwardedProto) {
        let proto = if way.line.secure.get() { "https" } else { "http" };
        added.set(Own::ForwardedProto, HeaderValue::from_static(proto));
    }
    if !said(Field::ForwardedHost)
        && let Some(host) = way.checked.host.clone()
    {
        added.set(Own::ForwardedHost, host);
    }
}

/// Whether a field of this name says who the client is, or seems to.
fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || name == "forwarded"
        || name == "x-real-ip"
        || (name.contains('_')
            && ["x_forwarded", "x_weir", "x_real"]
                .iter()
                .any(|start| name.replace('-', "_").starts_with(start)))
}

/// Whether a trusted peer says that the client came by HTTPS.
pub fn is_https(headers: &HeaderMap) -> bool {
    headers.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https")
}

/// The identifier that a request has, which is taken out, or else a new one.
fn request_id(headers: &mut HeaderMap, seen: Seen) -> HeaderValue {
    let valid = |id: &HeaderValue| {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let said = seen.has(Field::RequestId).then(|| headers.remove(REQUEST_ID)).flatten();
    let new = || HeaderValue::from_bytes(&random::identifier()).ok();
    said.filter(valid).or_else(new).unwrap_or(HeaderValue::from_static(""))
}

/// Makes of an upstream's head the head that goes to the client, and says which fields it had.
/// None if it is not HTTP that can be passed on.
pub fn to_client(headers: &mut HeaderMap, upgrade: bool) -> Option<Seen> {
    let seen = Seen::of(headers);
    if seen.has(Field::TransferEncoding) {
        if !is_chunked(headers) {
            return None;
        }
        // The body is framed anew; a length beside the coding would contradict it.
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH);
    } else if seen.has(Field::DoubtfulLength) {
        let length = one_length(headers)?;
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if seen.has(Field::HopByHop) || upgrade && seen.has(Field::Connection) {
        strip(headers, upgrade);
    } else if seen.has(Field::Connection) {
        strip_connection(headers);
    }
    Some(seen)
}

/// The length that all lines say, and all parts of a line (RFC 9110, section 8.6).
fn one_length(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(CONTENT_LENGTH).iter();
    let parts = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut lengths = parts.map(|part| framing::number(part.trim_ascii()));
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// The fields of these lines.
#[cfg(test)]
pub fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    lines.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(target: &str, lines: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::builder().uri(target).body(()).unwrap();
        *request.headers_mut() = map(lines);
        request
    }

    #[test]
    fn an_absolute_target_overrules_the_host() {
        let mut request = request("http://one.example/path?q", &[("host", "two.example")]);
        assert_eq!(check(&mut request, "me").unwrap().host.unwrap(), "one.example");
        assert_eq!(request.headers()[HOST], "one.example");
        assert_eq!(request.uri(), "/path?q");
        for (target, expected) in [("http://a", "/"), ("http://a?q", "/?q"), ("http://a/?", "/?")] {
            let mut request = self::request(target, &[("host", "a")]);
            check(&mut request, "me").unwrap();
            assert_eq!((request.uri().path(), request.uri().to_string().as_str()), ("/", expected));
        }
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        let refused = |lines| check(&mut request("/", lines), "me").is_err();
        assert!(refused(&[]));
        assert!(refused(&[("host", "a"), ("host", "a")]));
        assert!(refused(&[("host", "a/b")]) && refused(&[("host", "a b")]));
        assert!(refused(&[("host", "a"), ("transfer-encoding", "chunked, chunked")]));
        assert!(refused(&[("host", "a"), ("transfer-encoding", "gzip, chunked")]));
        assert!(!refused(&[("host", "[::1]:80"), ("transfer-encoding", "Chunked")]));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port() {
        for host in ["a", "a.", "a_b.c-d:80", "a:", "127.0.0.1:1", "[::1]", "[::1]:", "[::1]:80"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":",
            ":80",
            "a:b",
            "a:b:c",
            "a:80:80",
            "a:+80",
            "::1",
            "[::1",
            "::1]",
            "[::1]a",
            "[::1]a:80",
            "[::1]:b",
            "[]",
            "[a]",
            "a[::1]",
            "a b",
            "a,b",
            "me@a",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "\u{e4}",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_target_is_a_path_in_ascii_or_has_a_host_of_its_own() {
        let refused = |target| check(&mut request(target, &[("host", "a")]), "me").is_err();
        assert!(!refused("/%c3%a4?b=%zz") && !refused("http://b/") && !refused("https://b:1"));
        for target in ["/\u{e4}", "/?\u{e4}", "ftp://a/", "http://a:b/", "http://me@a/", "a:80"] {
            assert!(refused(target), "{target}");
        }
        let wrong_beside =
            |host| check(&mut request("http://a/", &[("host", host)]), "me").is_err();
        assert!(wrong_beside("") && wrong_beside("a b") && wrong_beside("a:b"));
    }

    #[test]
    fn connection_removes_what_it_names_but_nothing_that_matters() {
        let mut headers = map(&[
            ("connection", "x-one, host, cookie, keep-alive"),
            ("x-one", "1"),
            ("host", "a"),
            ("cookie", "b=c"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
        ]);
        strip(&mut headers, false);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cookie", "host"]);
    }

    #[test]
    fn a_preview_cookie_is_taken_out_of_its_line() {
        let mut headers = map(&[("cookie", "a=1; weir-preview=s3cret; b=2"), ("cookie", "c=3")]);
        remove_cookie(&mut headers, b"weir-preview");
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        let mut headers = map(&[("cookie", "weir-preview=s3cret")]);
        remove_cookie(&mut headers, b"weir-preview");
        assert!(headers.is_empty());
    }

    #[test]
    fn an_identifier_is_kept_if_well_formed() {
        let mut headers = map(&[("x-request-id", "abc-1")]);
        let seen = Seen::of(&headers);
        assert_eq!(request_id(&mut headers, seen), "abc-1");
        let mut headers = map(&[("x-request-id", "a b")]);
        let seen = Seen::of(&headers);
        assert_eq!(request_id(&mut headers, seen).len(), 32);
    }

    #[test]
    fn an_answer_is_framed_anew() {
        let mut headers = map(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
        assert!(to_client(&mut headers, false).is_some() && headers.is_empty());
        let coded = [("transfer-encoding", "gzip, chunked")];
        assert!(to_client(&mut map(&coded), false).is_none());
    }

    #[test]
    fn a_circle_is_noticed() {
        assert!(is_loop(&map(&[("x-weir-hop", "one, two")]), "two"));
        assert!(!is_loop(&map(&[("x-weir-hop", "one, two")]), "tw"));
    }

    proptest! {
        #[test]
        fn a_cookie_that_is_taken_out_is_gone_and_the_others_stay(
            lines in prop::collection::vec("[abx=; \"]{0,24}", 1..4),
            name in "[abx]{1,2}",
        ) {
            let mut headers: HeaderMap =
                lines.iter().map(|line| (COOKIE, line.parse().unwrap())).collect();
            let pairs = |headers: &HeaderMap| -> Vec<String> {
                let lines = headers.get_all(COOKIE).iter().map(|line| line.to_str().unwrap());
                let pairs = lines.flat_map(|line| line.split(';')).map(str::trim);
                pairs.filter(|pair| !pair.is_empty()).map(str::to_owned).collect()
            };
            let mut kept = pairs(&headers);
            kept.retain(|pair| pair.split_once('=').is_none_or(|(key, _)| key != name));
            remove_cookie(&mut headers, name.as_bytes());
            prop_assert_eq!(crate::traffic::affinity::cookie(&headers, name.as_bytes()), None);
            prop_assert_eq!(pairs(&headers), kept);
        }

        #[test]
        fn a_host_is_what_a_slow_reader_takes_for_one(host in "[a.\\[\\]:0-9%x@ -]{0,12}") {
            let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            let (name, port) = if let Some((address, port)) = bracketed {
                (address.parse::<Ipv6Addr>().is_ok(), port)
            } else {
                let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
                (!name.is_empty() && !name.contains(['[', ']', '@', ' ']), port)
            };
            let digits = |port: &str| port.chars().all(|c| c.is_ascii_digit());
            let port = port.is_empty() || port.strip_prefix(':').is_some_and(digits);
            prop_assert_eq!(is_host(host.as_bytes()), name && port);
        }
    }
}
