//! What an upstream says before its answer (1xx): passed on to the client, since a proxy must (RFC
//! 9110, section 15.2), but for what concerns the upstream's own connection.
//!
//! hyper's servers have no way to say it: a service gives one answer. With HTTP/1.1 the head is
//! written below hyper, between two messages; with HTTP/2 it is left out.

use http::header::{CONTENT_LENGTH, SET_COOKIE, TRAILER};
use http::{HeaderMap, StatusCode};

use super::headers;

/// Heads before the one that counts: apps send one or two, an endless row is an attack.
pub const INTERIM_MAX: usize = 32;

/// Bytes of such heads that wait for a client who does not read. What is more is left out, since
/// nothing depends on it.
pub const INTERIM_BYTES_MAX: usize = 16 * 1024;

/// The head that a client of HTTP/1.1 gets; none if it is not for the client: Weir itself has said
/// 100, and a protocol is changed by an answer.
pub fn head(status: StatusCode, mut fields: HeaderMap) -> Option<Vec<u8>> {
    if [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS].contains(&status) {
        return None;
    }
    headers::to_client(&mut fields, false)?;
    // Nothing is framed here, and what is set is set by the answer (RFC 8297, section 2).
    for name in [CONTENT_LENGTH, SET_COOKIE, TRAILER] {
        fields.remove(name);
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in &fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    Some(head)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{CONNECTION, LINK, TRANSFER_ENCODING};

    use super::*;

    fn said(status: u16, fields: &HeaderMap) -> Option<String> {
        let head = head(StatusCode::from_u16(status).unwrap(), fields.clone());
        head.map(|head| String::from_utf8(head).unwrap())
    }

    #[test]
    fn a_hint_is_passed_without_what_would_frame_it() {
        let mut fields = HeaderMap::new();
        fields.append(LINK, HeaderValue::from_static("</a.css>; rel=preload"));
        fields.append(LINK, HeaderValue::from_static("</b.js>; rel=preload"));
        fields.insert(CONNECTION, HeaderValue::from_static("close, x-hop"));
        fields.insert("x-hop", HeaderValue::from_static("1"));
        fields.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        fields.insert(SET_COOKIE, HeaderValue::from_static("a=b"));
        let lines = "link: </a.css>; rel=preload\r\nlink: </b.js>; rel=preload\r\n\r\n";
        assert_eq!(said(103, &fields).unwrap(), format!("HTTP/1.1 103 Early Hints\r\n{lines}"));
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        assert_eq!(said(199, &fields).unwrap(), format!("HTTP/1.1 199 \r\n{lines}"));
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(said(103, &fields), None, "nobody knows what that would be");
    }

    #[test]
    fn what_is_between_weir_and_the_upstream_stays_there() {
        assert_eq!(said(100, &HeaderMap::new()), None);
        assert_eq!(said(101, &HeaderMap::new()), None);
        assert!(said(102, &HeaderMap::new()).is_some());
    }
}
