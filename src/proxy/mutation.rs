//! Damage to bytes, for tests: what a broken or hostile peer makes of an honest message.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::Index;

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

/// Bytes that are shown as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
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
        let part = || prop::sample::select(&PARTS[..]);
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
