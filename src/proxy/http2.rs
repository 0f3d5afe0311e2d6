//! What differs between a request of HTTP/2 and the same in HTTP/1.1. A request is translated when
//! it comes in, and from there on all are alike.

use http::header::{CONNECTION, COOKIE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, response};
use hyper::ext::Protocol;

use super::headers::{Refusal, refuse};
use super::random;

/// Makes of a request of HTTP/2 what it is in HTTP/1.1 (RFC 9113, section 8.3; RFC 8441 for
/// web sockets); leaves others alone.
///
/// hyper has refused before: fields that concern a connection, pseudo-fields where none may be,
/// names in upper case, a length that the body does not have.
///
/// # Errors
/// An authority that is not the Host; a tunnel to anything but a WebSocket.
pub fn to_http1<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    if request.version() != Version::HTTP_2 {
        return Ok(());
    }
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = request.headers().get(HOST);
    if let (Some(authority), Some(host)) = (authority, host)
        && !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
    {
        return Err(refuse(StatusCode::BAD_REQUEST, "Host is not the authority"));
    }
    *request.version_mut() = Version::HTTP_11;
    join_cookies(request.headers_mut());
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

/// Makes of the answer that changes protocol the one that a client of HTTP/2 understands.
pub fn from_upgrade(head: &mut response::Parts) {
    head.status = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        head.headers.remove(name);
    }
}

/// HTTP/2 may cut the cookie into pieces (RFC 9113, section 8.2.3); HTTP/1.1 knows one line.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// A nonce as web sockets of HTTP/1.1 want one (RFC 6455, section 4.1): 16 bytes in base64. Nobody
/// checks the answer to it: the frames are the client's, who has none.
fn key() -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u64| DIGITS[(bits & 63) as usize];
    let mut text = [b'='; 24];
    let (mut high, mut low) = (random::number(), random::number());
    for place in &mut text[..10] {
        *place = digit(high);
        high >>= 6;
    }
    for place in &mut text[10..21] {
        *place = digit(low);
        low >>= 6;
    }
    // The last digit stands for two bits; the others of it are nought.
    text[21] = digit(high << 4);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().version(Version::HTTP_2).uri("http://app.example/a?b");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_cookie_in_crumbs_is_one_line() {
        let mut crumbs = request(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        to_http1(&mut crumbs).unwrap();
        assert_eq!(crumbs.version(), Version::HTTP_11);
        let lines: Vec<_> = crumbs.headers().get_all(COOKIE).iter().collect();
        assert_eq!(lines, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn the_host_must_be_the_authority() {
        assert!(to_http1(&mut request(&[("host", "app.example")])).is_ok());
        assert!(to_http1(&mut request(&[("host", "other.example")])).is_err());
    }

    #[test]
    fn a_tunnel_becomes_a_web_socket_and_nothing_else() {
        let connect = |protocol: &'static str| {
            let mut connect = request(&[("sec-websocket-version", "13")]);
            *connect.method_mut() = Method::CONNECT;
            connect.extensions_mut().insert(Protocol::from_static(protocol));
            let translated = to_http1(&mut connect);
            (translated.map(|()| connect.method().clone()), connect)
        };
        let (method, socket) = connect("websocket");
        assert_eq!(method, Ok(Method::GET));
        assert_eq!(socket.headers()[UPGRADE], "websocket");
        let key = socket.headers()[SEC_WEBSOCKET_KEY].to_str().unwrap();
        assert_eq!((key.len(), key.ends_with("==")), (24, true), "{key}");
        assert!("AQgw".contains(&key[21..22]), "the spare bits are nought: {key}");
        assert_eq!(connect("connect-udp").0.unwrap_err().status, StatusCode::NOT_IMPLEMENTED);
    }
}
