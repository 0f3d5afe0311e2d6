//! The head of an answer: read by httparse, and then strictly (RFC 9112, section 6).
//!
//! What httparse lets pass is what hyper lets pass: a bare line feed ends a line of a head, folded
//! lines and control characters are refused.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, StatusCode};
use httparse::{Header, ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use thiserror::Error;

use super::desk::{Kind, Names};
use crate::proxy::framing;

/// Fields that are read without memory from the heap; more are rare, and allowed by
/// `limits.headers` only.
const FIELDS: usize = 100;

/// The greatest length: above it hyper keeps marks of its own, and refuses.
const LENGTH_MAX: u64 = u64::MAX - 2;

/// What came in is not HTTP, or HTTP with two meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("its answer is not HTTP: {0}")]
pub struct Malformed(pub &'static str);

/// What the first bytes that came in are.
#[derive(Debug)]
pub enum Reading {
    /// The beginning of a head.
    Partial,
    /// A head before the one that counts (1xx), so many bytes long; its fields are written to a map.
    Interim(usize, StatusCode),
    /// The head of the answer.
    Answer(Head),
}

/// The head of an answer; its fields are written to a map.
#[derive(Debug)]
pub struct Head {
    /// How many bytes long it is.
    pub length: usize,
    /// The status.
    pub status: StatusCode,
    /// The words behind it, if they are others than usual.
    pub reason: Option<ReasonPhrase>,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the connection cannot be used again.
    pub last: bool,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none: another protocol begins.
    Upgrade,
    /// After so many bytes.
    Length(u64),
    /// After its last chunk.
    Chunked,
    /// With the connection.
    UntilEnd,
}

/// Reads a head at the beginning of `bytes`, with at most `most` fields, and adds them to
/// `fields`. `bodiless`: the request says that no body follows (HEAD).
pub fn read(
    bytes: &Bytes,
    bodiless: bool,
    most: usize,
    names: &mut Names,
    fields: &mut HeaderMap,
) -> Result<Reading, Malformed> {
    let mut few = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS];
    let mut many;
    let slots = if most <= FIELDS {
        &mut few[..most]
    } else {
        many = vec![MaybeUninit::uninit(); most];
        &mut many[..]
    };
    let mut parsed = httparse::Response::new(&mut []);
    let parser = ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, bytes, slots) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(Reading::Partial),
        Err(error) => return Err(Malformed(said(error))),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed("there is no such status"))?;
    let is_interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
    let mut lines = Lines::default();
    // And one more, such as Connection: a map with one too many grows to twice its size.
    fields.reserve(parsed.headers.len() + 1);
    for field in parsed.headers.iter() {
        let found = names.find(field.name.as_bytes());
        let (name, kind) = found.ok_or(Malformed("a field has no name"))?;
        if !is_interim {
            lines.see(kind, field.value)?;
        }
        // SAFETY: httparse lets no byte pass that a value may not have: no controls but the tab.
        let value =
            unsafe { HeaderValue::from_maybe_shared_unchecked(bytes.slice_ref(field.value)) };
        if fields.try_append(name.clone(), value).is_err() {
            return Err(Malformed("it has too many fields"));
        }
    }
    if is_interim {
        return Ok(Reading::Interim(length, status));
    }
    if let (true, Some(length)) = (lines.many_lengths, lines.length) {
        // One meaning, one line.
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let old = parsed.version != Some(1);
    let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    let framing = lines.framing(status, bodiless, old)?;
    Ok(Reading::Answer(Head {
        length,
        status,
        reason: reason.and_then(|reason| ReasonPhrase::try_from(reason).ok()),
        framing,
        last: old || lines.last(framing),
    }))
}

/// Whether a head may end among the bytes from `from` on: cheaper than to read it again each time
/// that some come.
pub fn may_end(bytes: &[u8], from: usize) -> bool {
    // A line feed, and not two bytes before it another, has all of "\n\n" and "\n\r\n".
    let from = from.saturating_sub(2);
    let mut feeds = memchr::memchr_iter(b'\n', &bytes[from..]);
    let mut before = feeds.next();
    feeds.any(|feed| {
        let last = before.replace(feed);
        last.is_some_and(|last| feed - last <= 2)
    })
}

/// What the lines say that frame a body.
#[derive(Debug, Default)]
struct Lines {
    close: bool,
    coding: Option<bool>,
    length: Option<u64>,
    many_lengths: bool,
}

impl Lines {
    fn see(&mut self, kind: Kind, value: &[u8]) -> Result<(), Malformed> {
        match kind {
            Kind::Other => {}
            Kind::Connection => {
                let mut tokens = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                self.close |= tokens.any(|token| token.eq_ignore_ascii_case(b"close"));
            }
            Kind::Coding => {
                // Once, and nothing else: a coding we do not know hides where the body ends.
                let only = self.coding.is_none() && value.eq_ignore_ascii_case(b"chunked");
                self.coding = Some(only);
            }
            Kind::Length => self.see_length(value)?,
        }
        Ok(())
    }

    fn see_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        if self.length.is_none()
            && let Some(length) = number(value)
        {
            self.length = Some(length);
            return Ok(());
        }
        self.many_lengths = true;
        for part in value.split(|byte| *byte == b',') {
            let length = number(part.trim_ascii());
            let length = length.ok_or(Malformed("its Content-Length is no number"))?;
            if *self.length.get_or_insert(length) != length {
                return Err(Malformed("it has two lengths"));
            }
        }
        Ok(())
    }

    fn framing(&self, status: StatusCode, bodiless: bool, old: bool) -> Result<Framing, Malformed> {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Framing::Upgrade);
        }
        match self.coding {
            Some(false) => return Err(Malformed("its Transfer-Encoding is not \"chunked\"")),
            Some(true) if old => return Err(Malformed("HTTP/1.0 knows no Transfer-Encoding")),
            Some(true) | None => {}
        }
        let empty = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        Ok(match (self.coding, self.length) {
            _ if bodiless || empty => Framing::Length(0),
            (Some(_), _) => Framing::Chunked,
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::UntilEnd,
        })
    }

    /// Whether the connection cannot be used again. A length beside a coding may be an attempt to
    /// split the answer (RFC 9112, section 6.3): the chunks count, and nothing behind them.
    fn last(&self, framing: Framing) -> bool {
        let two = self.coding.is_some() && self.length.is_some();
        self.close || two || matches!(framing, Framing::Upgrade | Framing::UntilEnd)
    }
}

/// A length that hyper would take, too.
fn number(text: &[u8]) -> Option<u64> {
    framing::number(text).filter(|number| *number <= LENGTH_MAX)
}

const fn said(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "the name of a field is wrong",
        httparse::Error::HeaderValue => "the value of a field is wrong",
        httparse::Error::NewLine => "a line does not end as it should",
        httparse::Error::Status => "its status line is wrong",
        httparse::Error::Token => "a token is wrong",
        httparse::Error::TooManyHeaders => "it has too many fields",
        httparse::Error::Version => "its version is not known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<(Head, HeaderMap), Malformed> {
        let mut fields = HeaderMap::new();
        let bytes = Bytes::from(text.to_owned());
        match read(&bytes, false, 100, &mut Names::default(), &mut fields)? {
            Reading::Answer(head) => Ok((head, fields)),
            other @ (Reading::Partial | Reading::Interim(..)) => panic!("{other:?}"),
        }
    }

    fn framing(lines: &str) -> Result<(Framing, bool), Malformed> {
        head(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).map(|(head, _)| (head.framing, head.last))
    }

    #[test]
    fn a_head_is_read() {
        let text = "HTTP/1.1 404 Not Found\r\nServer: x\r\nset-cookie: a\r\nSet-Cookie:b \r\n\r\nx";
        let (head, fields) = head(text).unwrap();
        assert_eq!((head.status, head.length), (StatusCode::NOT_FOUND, text.len() - 1));
        assert!(head.reason.is_none());
        assert_eq!(fields.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(fields["server"], "x");
    }

    #[test]
    fn unusual_words_are_kept() {
        let (head, _) = head("HTTP/1.1 200 Fine\r\n\r\n").unwrap();
        assert_eq!(head.reason.unwrap().as_bytes(), b"Fine");
    }

    #[test]
    fn a_body_has_one_end() {
        let both = "transfer-encoding: chunked\r\ncontent-length: 3\r\n";
        for (lines, expected) in [
            ("", (Framing::UntilEnd, true)),
            ("content-length: 0\r\n", (Framing::Length(0), false)),
            ("content-length: 0012\r\n", (Framing::Length(12), false)),
            ("content-length: 12\r\nContent-Length: 12\r\n", (Framing::Length(12), false)),
            ("content-length: 12, 12\r\n", (Framing::Length(12), false)),
            ("transfer-encoding: Chunked\r\n", (Framing::Chunked, false)),
            ("connection: x, Close\r\ncontent-length: 1\r\n", (Framing::Length(1), true)),
            (both, (Framing::Chunked, true)),
        ] {
            assert_eq!(framing(lines), Ok(expected), "{lines}");
        }
        let (_, fields) = head("HTTP/1.1 200 OK\r\ncontent-length: 7, 7\r\n\r\n").unwrap();
        assert_eq!(fields.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["7"]);
    }

    #[test]
    fn two_meanings_are_refused() {
        for lines in [
            "content-length: 1\r\ncontent-length: 2\r\n",
            "content-length: 1, 2\r\n",
            "content-length: +1\r\n",
            "content-length: -1\r\n",
            "content-length: 0x1\r\n",
            "content-length: 1 1\r\n",
            "content-length:\r\n",
            "content-length: 1,\r\n",
            "content-length: 18446744073709551615\r\n",
            "content-length: 18446744073709551616\r\n",
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding:\r\n",
            "x: y\r\n folded\r\n",
            "x : y\r\n",
            "x: \0\r\n",
            "x: a\rb\r\n",
            ": y\r\n",
        ] {
            assert!(framing(lines).is_err(), "{lines:?}");
        }
        for line in ["HTTP/1.2 200 OK", "HTTP/1.1 20 OK", "HTTP/2 200 OK", "HTTP/1.1 099 OK"] {
            assert!(head(&format!("{line}\r\n\r\n")).is_err(), "{line}");
        }
        assert!(head("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn an_end_is_seen_however_it_is_cut() {
        for text in ["a: b\r\n\r\n", "a: b\n\n", "a: b\n\r\n", "a: b\r\n\n"] {
            for cut in 1..text.len() {
                let ends = may_end(text.as_bytes(), cut);
                assert!(ends, "{text:?} from {cut}");
                assert!(
                    !may_end(&text.as_bytes()[..cut], 0) || cut == text.len(),
                    "{text:?} {cut}"
                );
            }
        }
    }
}
