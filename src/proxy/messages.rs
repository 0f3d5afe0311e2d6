//! Messages of HTTP/1.1, for tests: honest bodies, and what a broken or hostile peer makes of them.

use std::fmt;

use http::HeaderMap;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What damage is made of: bytes that end something, and lines that say where a body ends.
const PARTS: [&[u8]; 46] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b":",
    b";",
    b",",
    b"0",
    b"1",
    b"5",
    b"f",
    b"+",
    b"-",
    b"x",
    b"\"",
    b"#",
    b"0\r\n\r\n",
    b"00",
    b"ffffffffffffffff",
    b"fffffffffffffffe",
    b"18446744073709551615",
    b"GET / HTTP/1.1\r\nhost: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0",
    b"\r\ncontent-length: 3",
    b"\r\nContent-Length:0",
    b"\r\ncontent-length: 3, 3",
    b"\r\ncontent-length: +3",
    b"\r\ntransfer-encoding: chunked",
    b"\r\nTransfer-Encoding:\tchunked",
    b"\r\ntransfer-encoding: gzip, chunked",
    b"\r\ntransfer-encoding: identity",
    b"\r\ntransfer-encoding : chunked",
    b"\r\n folded",
    b"\r\nconnection: close",
    b"\r\nconnection: keep-alive",
    b"\r\nupgrade: x\r\nconnection: upgrade",
    b"\r\nexpect: 100-continue",
];

/// A body as it is framed, and what is meant by it.
#[derive(Clone, Debug, Default)]
pub struct Framed {
    /// The field that says how; none if none does.
    pub field: Option<String>,
    /// What stands behind the head.
    pub bytes: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
    /// The fields behind it.
    pub trailers: Vec<String>,
}

/// A body in any framing, none included.
pub fn framed() -> impl Strategy<Value = Framed> {
    // Bytes that would end something, were they not in a body.
    let byte = prop_oneof![4 => select(&b"\r\n0:; GET"[..]), 1 => any::<u8>()];
    let small = prop::collection::vec(byte, 0..40);
    let large = (any::<u8>(), 4_000_usize..140_000).prop_map(|(byte, length)| vec![byte; length]);
    let body = prop_oneof![40 => small, 1 => large].boxed();
    let length = select(&["content-length: ", "Content-Length:", "CONTENT-LENGTH: \t00"][..]);
    let sized = |(name, body): (&str, Vec<u8>)| Framed {
        field: Some(format!("{name}{}", body.len())),
        bytes: body.clone(),
        body,
        trailers: vec![],
    };
    let coding = select(&["transfer-encoding: chunked", "Transfer-Encoding:\tCHUNKED "][..]);
    let behind = select(&["", ";a=b", " ", ";a=\"\u{fc}\";b", "\t ;a"][..]);
    let chunk = (body.clone().prop_filter("the last", |chunk| !chunk.is_empty()), behind);
    let trailer = select(&["x-sum: 1", "X-Sum:", "content-length: 5"][..]);
    let chunks = (coding, prop::collection::vec(chunk, 0..4), prop::collection::vec(trailer, 0..3));
    prop_oneof![
        2 => Just(Framed::default()),
        3 => (length, body).prop_map(sized),
        3 => chunks.prop_map(|(field, chunks, trailers)| in_chunks(field, chunks, &trailers)),
    ]
}

fn in_chunks(field: &str, chunks: Vec<(Vec<u8>, &str)>, trailers: &[&str]) -> Framed {
    let mut framed = Framed { field: Some(field.to_owned()), ..Framed::default() };
    for (chunk, behind) in chunks {
        framed.bytes.extend_from_slice(format!("{:x}{behind}\r\n", chunk.len()).as_bytes());
        framed.bytes.extend_from_slice(&chunk);
        framed.bytes.extend_from_slice(b"\r\n");
        framed.body.extend_from_slice(&chunk);
    }
    framed.bytes.extend_from_slice(b"000\r\n");
    for trailer in trailers {
        framed.bytes.extend_from_slice(trailer.as_bytes());
        framed.bytes.extend_from_slice(b"\r\n");
        framed.trailers.push(meant(trailer));
    }
    framed.bytes.extend_from_slice(b"\r\n");
    framed
}

/// What a line of a head means.
pub fn meant(line: &str) -> String {
    let (name, value) = line.split_once(':').unwrap();
    format!("{}: {}", name.to_lowercase(), value.trim())
}

/// The lines of a map.
pub fn lines(fields: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    fields.iter().map(line).collect()
}

/// Bytes that are shown as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" ({} bytes)",
            self.0[..self.0.len().min(2_000)].escape_ascii(),
            self.0.len()
        )
    }
}

/// What `honest` gives, with up to three pieces of damage.
pub fn damaged(honest: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Text> {
    (honest, prop::collection::vec(Damage::any(), 1..4)).prop_map(|(mut bytes, damage)| {
        for damage in damage {
            damage.apply(&mut bytes);
        }
        Text(bytes)
    })
}

/// One piece of damage.
#[derive(Clone, Debug)]
enum Damage {
    /// These bytes come in between.
    Put(Index, &'static [u8]),
    /// This byte stands in place of another.
    Replace(Index, u8),
    /// So many bytes are missing.
    Miss(Index, usize),
    /// What stands between two places comes twice.
    Repeat(Index, Index),
    /// All from here on is missing.
    Cut(Index),
}

impl Damage {
    /// Any damage; mostly the kinds that leave something to be read.
    fn any() -> impl Strategy<Value = Self> {
        let place = any::<Index>;
        let part = || select(&PARTS[..]);
        prop_oneof![
            6 => (place(), part()).prop_map(|(at, part)| Self::Put(at, part)),
            3 => (place(), part()).prop_map(|(at, part)| Self::Replace(at, part[0])),
            1 => (place(), any::<u8>()).prop_map(|(at, byte)| Self::Replace(at, byte)),
            3 => (place(), 1_usize..4).prop_map(|(at, count)| Self::Miss(at, count)),
            1 => (place(), place()).prop_map(|(from, to)| Self::Repeat(from, to)),
            1 => place().prop_map(Self::Cut),
        ]
    }

    /// Does it to `bytes`.
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: &Index| at.index(bytes.len() + 1);
        match self {
            Self::Put(at, part) => {
                let at = place(at);
                bytes.splice(at..at, part.iter().copied());
            }
            Self::Replace(at, byte) => {
                let at = place(at);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Self::Miss(at, count) => {
                let at = place(at);
                let end = (at + count).min(bytes.len());
                bytes.drain(at..end);
            }
            Self::Repeat(from, to) => {
                let (from, to) = (place(from), place(to));
                let (from, to) = (from.min(to), from.max(to));
                let again = bytes[from..to].to_vec();
                bytes.splice(to..to, again);
            }
            Self::Cut(at) => {
                let at = place(at);
                bytes.truncate(at);
            }
        }
    }
}

/// `bytes` as they come in, cut at `places`; no piece is empty.
pub fn pieces(bytes: &[u8], places: &[Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = places.iter().map(|at| at.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.dedup();
    places.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec()).collect()
}

/// How many cases a property is tried with: `few` unless `WEIR_LONG` wants more; `WEIR_CASES`
/// says how many.
pub fn cases(few: u32) -> ProptestConfig {
    let long = std::env::var_os("WEIR_LONG").is_some();
    let said = std::env::var("WEIR_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = said.unwrap_or(if long { few * 40 } else { few });
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
