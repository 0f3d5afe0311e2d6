//! Malformed requests: a table written by hand, every byte in every place, and damage by chance.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A request and where it comes from.
#[derive(Clone, Debug)]
pub struct Case {
    /// The group it belongs to.
    pub group: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Where every byte is tried, `{}` being its place.
const PLACES: [&str; 12] = [
    "G{}T / HTTP/1.1\r\nHost: app\r\n\r\n",
    "GET{}/ HTTP/1.1\r\nHost: app\r\n\r\n",
    "GET /a{}b HTTP/1.1\r\nHost: app\r\n\r\n",
    "GET / HTTP/1.1{}\r\nHost: app\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a{}b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: app:8{}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: app\r\nX{}Y: z\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: app\r\nX: y{}z\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 5{}\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding:{}chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5{}\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5;a{}\r\nhello\r\n0\r\n\r\n",
];

/// What is damaged by chance.
const HONEST: [&str; 4] = [
    "GET /a?b=c HTTP/1.1\r\nHost: app\r\nX-Y: z\r\nCookie: a=b; c=d\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: app:80\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    "POST /a HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "PUT http://app/a HTTP/1.1\r\nHost: app\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
];

/// What stands in the table.
pub fn table() -> Vec<Case> {
    let (mut cases, mut frame) = (Vec::new(), ("", ""));
    for line in include_str!("requests.txt").lines() {
        if line.starts_with(";;") || line.is_empty() {
            continue;
        }
        if let Some(group) = line.strip_prefix("= ") {
            frame = group.split_once(": ").expect("a name and a frame");
            assert!(frame.1.contains("{}"), "{line}");
            continue;
        }
        let bytes = unescape(&frame.1.replace("{}", line));
        cases.push(Case { group: frame.0.to_owned(), bytes });
    }
    cases
}

/// Every byte in every place that matters.
pub fn bytes() -> Vec<Case> {
    let case = |place: &str, byte: u8| {
        let (before, behind) = place.split_once("{}").unwrap();
        let bytes = [before.as_bytes(), &[byte], behind.as_bytes()].concat();
        Case { group: format!("any byte: {}", place.escape_default()), bytes }
    };
    PLACES.iter().flat_map(|place| (0..=u8::MAX).map(move |byte| case(place, byte))).collect()
}

/// Honest requests with damage, always the same.
pub fn damaged(count: usize) -> Vec<Case> {
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let honest = proptest::sample::select(&HONEST[..]);
    let parts = proptest::sample::select(
        &[
            "\r",
            "\n",
            "\r\n",
            "\n\n",
            "\r\n\r\n",
            "\0",
            " ",
            "\t",
            "\x0b",
            ":",
            ";",
            ",",
            "0",
            "5",
            "f",
            "+",
            "-",
            "\"",
            "#",
            "/",
            "%",
            "@",
            "[",
            "]",
            "Host: b\r\n",
            "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: x\r\n",
            "HTTP/1.0",
            "0\r\n\r\n",
            " x: y\r\n",
            "GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n",
            "\u{80}",
            "\u{ff}",
            "\x7f",
        ][..],
    );
    let damage = (proptest::prelude::any::<proptest::sample::Index>(), 0_usize..3, parts);
    let cases = (honest, proptest::collection::vec(damage, 1..4)).prop_map(|(honest, damage)| {
        let mut bytes = honest.as_bytes().to_vec();
        for (at, gone, part) in damage {
            let at = at.index(bytes.len() + 1);
            let end = (at + gone).min(bytes.len());
            // One byte a character.
            bytes.splice(at..end, part.chars().map(|c| u8::try_from(c).unwrap()));
        }
        Case { group: "damage".to_owned(), bytes }
    });
    (0..count).map(|_| cases.new_tree(&mut runner).unwrap().current()).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let (kind, behind) = rest.split_first().expect("something behind a backslash");
        rest = behind;
        bytes.push(match kind {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let (digits, behind) = rest.split_at(2);
                rest = behind;
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).expect("two digits")
            }
            other => panic!("\\{} in {text}", char::from(*other)),
        });
    }
    bytes
}
