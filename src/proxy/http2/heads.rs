//! What differs between a request of HTTP/2 and the same in HTTP/1.1. A request is translated when
//! it comes in, and from there on all are alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, response};
use hyper::body::Body;
use hyper::ext::Protocol;

use crate::proxy::framing;
use crate::proxy::headers::{Refusal, refuse};
use crate::proxy::random;

/// Makes of a request of HTTP/2 what it is in HTTP/1.1 (RFC 9113, section 8.3; RFC 8441 for
/// web sockets), with at most `most` fields.
///
/// hyper has refused before, by ending the stream: fields that concern a connection, pseudo-fields
/// that are unknown, doubled, or stand where none may be, names in upper case, control characters,
/// a length that the body does not have, a path that is empty or has a space in it.
///
/// # Errors
/// What HTTP/1.1 would read differently; too many fields; a tunnel to anything but a WebSocket.
pub fn to_http1<B: Body>(request: &mut Request<B>, most: usize) -> Result<(), Refusal> {
    let bad = |reason| Err(refuse(StatusCode::BAD_REQUEST, reason));
    if request.uri().scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return bad("the scheme must be http or https");
    }
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    // Without its scheme a target that is nothing but a fragment has no path at all.
    let target = request.uri().path_and_query().cloned().map(Uri::from);
    let is_path = |target: &Uri| {
        !target.path().is_empty()
            && !target.path_and_query().is_some_and(|it| it.as_str().starts_with('?'))
    };
    if target.is_some_and(|target| !is_path(&target)) {
        return bad("the target must be a path");
    }
    let headers = request.headers();
    let differs = |authority: &str| {
        let is = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        !headers.get_all(HOST).iter().all(is)
    };
    if authority.is_some_and(differs) {
        return bad("Host is not the authority");
    }
    let host = authority.filter(|_| !headers.contains_key(HOST));
    let host = host.and_then(|host| HeaderValue::from_str(host).ok());
    if headers.values().any(is_padded) {
        return bad("a field begins or ends with a blank");
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return bad("there must be one Content-Length");
    }
    if length.is_some_and(|length| framing::number(length.as_bytes()).is_none()) {
        return bad("Content-Length is no number");
    }
    // Or a body of GET would be taken for none.
    let chunked = length.is_none() && !request.body().is_end_stream();
    join_cookies(request.headers_mut());
    if request.headers().len() > most {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(refuse(status, "there are too many fields"));
    }
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    if chunked {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    *request.version_mut() = Version::HTTP_11;
    if *request.method() == Method::CONNECT
        && let Some(protocol) = request.extensions().get::<Protocol>()
    {
        if protocol.as_str() != "websocket" {
            let reason = "no protocol but \"websocket\" is tunnelled here";
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, reason));
        }
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_KEY, key());
    }
    Ok(())
}

/// Makes of the answer that changes protocol, as was asked for, the one that a client of HTTP/2
/// understands.
pub fn from_upgrade(head: &mut response::Parts) {
    head.status = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        head.headers.remove(name);
    }
}

/// RFC 9113, section 8.2.1; a reader of HTTP/1.1 would strip it off.
fn is_padded(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| byte.is_some_and(|byte| *byte == b' ' || *byte == b'\t');
    blank(value.as_bytes().first()) || blank(value.as_bytes().last())
}

/// HTTP/2 may cut the cookie into pieces (RFC 9113, section 8.2.3); HTTP/1.1 knows one line.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let crumbs: Vec<&[u8]> = crumbs.filter(|crumb| !crumb.is_empty()).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// A nonce as web sockets of HTTP/1.1 want one (RFC 6455, section 4.1).
fn key() -> HeaderValue {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&random::number().to_be_bytes());
    nonce[8..].copy_from_slice(&random::number().to_be_bytes());
    HeaderValue::try_from(STANDARD.encode(nonce)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 100;

    fn request(lines: &[(&str, &str)]) -> Request<String> {
        let mut request = Request::builder().version(Version::HTTP_2).uri("http://app.example/a?b");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(String::new()).unwrap()
    }

    fn status(lines: &[(&str, &str)]) -> Option<StatusCode> {
        to_http1(&mut request(lines), MOST).err().map(|refusal| refusal.status)
    }

    #[test]
    fn a_cookie_in_crumbs_is_one_line() {
        let cookies = [("cookie", ""), ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
        let mut crumbs = request(&cookies);
        to_http1(&mut crumbs, 1).unwrap();
        assert_eq!(crumbs.version(), Version::HTTP_11);
        let lines: Vec<_> = crumbs.headers().get_all(COOKIE).iter().collect();
        assert_eq!(lines, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn the_host_must_be_the_authority() {
        assert_eq!(status(&[("host", "App.example")]), None);
        let bad = Some(StatusCode::BAD_REQUEST);
        assert_eq!(status(&[("host", "other.example")]), bad);
        assert_eq!(status(&[("host", "app.example"), ("host", "other.example")]), bad);
    }

    #[test]
    fn what_http1_reads_differently_is_refused() {
        let bad = Some(StatusCode::BAD_REQUEST);
        assert_eq!(status(&[("content-length", "5"), ("content-length", "5")]), bad);
        for padded in [" 1", "1 ", "\t1", "1\t", " "] {
            assert_eq!(status(&[("x-one", padded)]), bad, "{padded:?}");
        }
        assert_eq!(status(&[("x-one", "1 2"), ("x-two", "")]), None);
        let mut file = request(&[]);
        *file.uri_mut() = "file://app.example/a".parse().unwrap();
        assert_eq!(to_http1(&mut file, MOST).err().map(|refusal| refusal.status), bad);
        let many = [("a", "1"); MOST + 1];
        assert_eq!(status(&many), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        assert_eq!(status(&many[1..]), None);
    }

    #[test]
    fn a_target_is_a_path() {
        let mut query = request(&[]);
        *query.uri_mut() = "http://app.example?x".parse().unwrap();
        assert!(to_http1(&mut query, MOST).is_err());
    }

    #[test]
    fn a_body_is_framed_as_http1_frames_it() {
        let translated = |method: Method, lines: &[(&str, &str)], body: &str| {
            let mut request = request(lines).map(|_| body.to_owned());
            *request.method_mut() = method;
            to_http1(&mut request, MOST).map(|()| request.headers().clone())
        };
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let whole = translated(method.clone(), &[], "hello").unwrap();
            assert_eq!(whole[TRANSFER_ENCODING], "chunked", "{method}");
            let sized = translated(method.clone(), &[("content-length", "5")], "hello").unwrap();
            assert!(!sized.contains_key(TRANSFER_ENCODING), "{method}");
            let empty = translated(method, &[], "").unwrap();
            assert!(!empty.contains_key(TRANSFER_ENCODING) && !empty.contains_key(CONTENT_LENGTH));
        }
        for length in ["", "+5", "5, 5", "0x5", "5 5", "18446744073709551616"] {
            assert!(translated(Method::POST, &[("content-length", length)], "hello").is_err());
        }
    }

    #[test]
    fn a_tunnel_becomes_a_web_socket_and_nothing_else() {
        let connect = |protocol: &'static str| {
            let mut connect = request(&[("sec-websocket-version", "13")]);
            *connect.method_mut() = Method::CONNECT;
            connect.extensions_mut().insert(Protocol::from_static(protocol));
            let translated = to_http1(&mut connect, MOST);
            (translated.map(|()| connect.method().clone()), connect)
        };
        let (method, socket) = connect("websocket");
        assert_eq!(method, Ok(Method::GET));
        assert_eq!(socket.headers()[UPGRADE], "websocket");
        let key = socket.headers()[SEC_WEBSOCKET_KEY].to_str().unwrap();
        assert_eq!((key.len(), key.ends_with("==")), (24, true), "{key}");
        assert_eq!(connect("connect-udp").0.unwrap_err().status, StatusCode::NOT_IMPLEMENTED);
    }

    #[test]
    fn a_granted_web_socket_is_a_success_of_http2() {
        let answer = http::Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", "x")
            .header("sec-websocket-protocol", "chat");
        let mut head = answer.body(()).unwrap().into_parts().0;
        from_upgrade(&mut head);
        assert_eq!(head.status, StatusCode::OK);
        let names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["sec-websocket-protocol"]);
    }
}
