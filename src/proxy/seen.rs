//! Which fields a head has. One walk says it, and costs less than three lookups.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, FORWARDED, HOST, LOCATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::downstream;
use super::framing;
use super::headers::{
    FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, KEEP_ALIVE, REAL_IP, REQUEST_ID,
};

/// The media type of server-sent events, which never end.
pub const EVENT_STREAM: &str = "text/event-stream";

/// A field, or fields that are treated alike.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// Cookie.
    Cookie,
    /// Connection.
    Connection,
    /// A Content-Length that is no number, or not the first.
    DoubtfulLength,
    /// A Content-Type of server-sent events.
    EventStream,
    /// Expect.
    Expect,
    /// Whatever says who the client is.
    Forwarded,
    /// X-Forwarded-For.
    ForwardedFor,
    /// X-Forwarded-Host.
    ForwardedHost,
    /// X-Forwarded-Proto.
    ForwardedProto,
    /// A Content-Type of gRPC.
    Grpc,
    /// What a call of gRPC has come to.
    GrpcStatus,
    /// Whatever else is meant for one hop only.
    HopByHop,
    /// Host.
    Host,
    /// What an app that cannot tell `_` from `-` takes for the length or the coding of a body.
    Imitation,
    /// Content-Length.
    Length,
    /// Location.
    Location,
    /// Weir's own.
    Ours,
    /// A Content-Type of a page.
    Page,
    /// X-Request-Id.
    RequestId,
    /// More than one Host.
    SecondHost,
    /// Transfer-Encoding.
    TransferEncoding,
    /// Upgrade.
    Upgrade,
}

/// The fields that a head has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u32);

impl Seen {
    /// Walks through `headers`.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            seen.see(name, value);
        }
        seen
    }

    /// Whether `field` is among them.
    pub const fn has(self, field: Field) -> bool {
        self.0 & 1 << field as u32 != 0
    }

    const fn note(&mut self, field: Field, is: bool) {
        self.0 |= (is as u32) << field as u32;
    }

    fn see(&mut self, name: &HeaderName, value: &HeaderValue) {
        let text = name.as_str().as_bytes();
        match text[0] {
            b'c' => match *name {
                CONNECTION => self.note(Field::Connection, true),
                CONTENT_LENGTH => {
                    let number = framing::number(value.as_bytes());
                    self.note(Field::DoubtfulLength, self.has(Field::Length) || number.is_none());
                    self.note(Field::Length, true);
                }
                CONTENT_TYPE => {
                    let kind = value.as_bytes();
                    self.note(Field::EventStream, kind.starts_with(EVENT_STREAM.as_bytes()));
                    self.note(Field::Grpc, is_grpc(kind));
                    self.note(Field::Page, downstream::is_page(kind));
                }
                COOKIE => self.note(Field::Cookie, true),
                _ => self.note(Field::Imitation, text == b"content_length"),
            },
            b'e' => self.note(Field::Expect, *name == EXPECT),
            b'f' => self.note(Field::Forwarded, *name == FORWARDED),
            b'g' => self.note(Field::GrpcStatus, text == b"grpc-status"),
            b'h' => {
                let host = *name == HOST;
                self.note(Field::SecondHost, host && self.has(Field::Host));
                self.note(Field::Host, host);
            }
            b'k' => self.note(Field::HopByHop, *name == KEEP_ALIVE),
            b'l' => self.note(Field::Location, *name == LOCATION),
            b'p' => self.note(Field::HopByHop, text.starts_with(b"proxy-")),
            b't' => {
                self.note(Field::HopByHop, *name == TE);
                self.note(Field::TransferEncoding, *name == TRANSFER_ENCODING);
                self.note(Field::Imitation, text == b"transfer_encoding");
            }
            b'u' => {
                self.note(Field::HopByHop, *name == UPGRADE);
                self.note(Field::Upgrade, *name == UPGRADE);
            }
            b'x' => self.see_extension(name, text),
            _ => {}
        }
    }

    fn see_extension(&mut self, name: &HeaderName, text: &[u8]) {
        self.note(Field::Ours, text.starts_with(b"x-weir-"));
        self.note(Field::RequestId, *name == REQUEST_ID);
        let forwarded = text.starts_with(b"x-forwarded-");
        if forwarded {
            self.note(Field::ForwardedFor, *name == FORWARDED_FOR);
            self.note(Field::ForwardedHost, *name == FORWARDED_HOST);
            self.note(Field::ForwardedProto, *name == FORWARDED_PROTO);
        }
        // An app that reads them through CGI cannot tell `_` from `-`.
        let written = forwarded || *name == REAL_IP || text.contains(&b'_');
        self.note(Field::Forwarded, written);
    }
}

/// `application/grpc` and what may follow it; `application/grpc-web` carries its trailers in the
/// body, where nobody looks.
pub fn is_grpc(kind: &[u8]) -> bool {
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.first().is_none_or(|byte| b"+; ".contains(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(names: &[&'static str]) -> Seen {
        let mut headers = HeaderMap::new();
        for name in names {
            let value = HeaderValue::from_static("text/event-stream; charset=utf-8");
            headers.append(HeaderName::from_static(name), value);
        }
        Seen::of(&headers)
    }

    #[test]
    fn each_field_is_seen_by_its_name_and_no_other() {
        let cases: &[(&'static str, &[Field])] = &[
            ("connection", &[Field::Connection]),
            ("content-type", &[Field::EventStream]),
            ("content-length", &[Field::DoubtfulLength, Field::Length]),
            ("content_length", &[Field::Imitation]),
            ("cookie", &[Field::Cookie]),
            ("expect", &[Field::Expect]),
            ("forwarded", &[Field::Forwarded]),
            ("grpc-status", &[Field::GrpcStatus]),
            ("host", &[Field::Host]),
            ("keep-alive", &[Field::HopByHop]),
            ("location", &[Field::Location]),
            ("proxy-authorization", &[Field::HopByHop]),
            ("te", &[Field::HopByHop]),
            ("traceparent", &[]),
            ("transfer-encoding", &[Field::TransferEncoding]),
            ("transfer_encoding", &[Field::Imitation]),
            ("upgrade", &[Field::HopByHop, Field::Upgrade]),
            ("x-forwarded-for", &[Field::Forwarded, Field::ForwardedFor]),
            ("x-forwarded-host", &[Field::Forwarded, Field::ForwardedHost]),
            ("x-forwarded-proto", &[Field::Forwarded, Field::ForwardedProto]),
            ("x-forwarded-server", &[Field::Forwarded]),
            ("x-real-ip", &[Field::Forwarded]),
            ("x_forwarded_for", &[Field::Forwarded]),
            ("x-request-id", &[Field::RequestId]),
            ("x-weir-hop", &[Field::Ours]),
            ("accept", &[]),
            ("user-agent", &[]),
            ("x-requested-with", &[]),
        ];
        for (name, fields) in cases {
            let expected = fields.iter().fold(0, |bits, field| bits | 1 << *field as u32);
            assert_eq!(seen(&[name]), Seen(expected), "{name}");
        }
        let all: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
        assert!(!seen(&all).has(Field::SecondHost));
    }

    #[test]
    fn a_call_of_grpc_is_told_by_its_kind() {
        let seen = |kind| {
            let kind = HeaderValue::from_static(kind);
            Seen::of(&HeaderMap::from_iter([(CONTENT_TYPE, kind)])).has(Field::Grpc)
        };
        assert!(seen("application/grpc") && seen("application/grpc+proto"));
        assert!(seen("application/grpc;charset=utf-8"));
        assert!(!seen("application/grpc-web+proto") && !seen("application/json"));
    }

    #[test]
    fn a_page_is_told_by_its_kind() {
        let seen = |kind| {
            let kind = HeaderValue::from_static(kind);
            Seen::of(&HeaderMap::from_iter([(CONTENT_TYPE, kind)])).has(Field::Page)
        };
        assert!(seen("text/html; charset=utf-8") && seen("Text/HTML"));
        assert!(!seen("text/event-stream") && !seen("application/json"));
    }

    #[test]
    fn a_length_is_one_number() {
        let seen = |values: &[&'static str]| {
            let field = |value: &&'static str| (CONTENT_LENGTH, HeaderValue::from_static(value));
            let mut headers = HeaderMap::new();
            for (name, value) in values.iter().map(field) {
                headers.append(name, value);
            }
            let seen = Seen::of(&headers);
            (seen.has(Field::Length), seen.has(Field::DoubtfulLength))
        };
        assert_eq!(seen(&["12"]), (true, false));
        for doubtful in [&["12", "12"][..], &["12, 12"], &[""], &["+1"]] {
            assert_eq!(seen(doubtful), (true, true), "{doubtful:?}");
        }
    }

    #[test]
    fn a_second_host_is_seen() {
        assert!(seen(&["host", "accept", "host"]).has(Field::SecondHost));
    }
}
