//! What becomes of a key: the namespace and its generation in front, and never more than the
//! server takes, or it would read a value as commands.

use sha2::{Digest as _, Sha256};

use super::generation::{DIGITS, Generation};
use crate::namespace::{NAMESPACE_BYTES_MAX, Namespace};

/// Longest key of memcached, in bytes as they are sent.
pub const KEY_MAX: usize = 250;

/// Longest key in base64 with its padding.
const BASE64_MAX: usize = KEY_MAX / 4 * 4;

/// What stands for the end of a key that would be too long: 128 bits are met by chance never.
const HASH_DIGITS: usize = 32;

/// What tells a key with a hash from one that only looks like it: it is the only one that long.
const HASH_MARK: &[u8] = b":h:";

/// Longest prefix: a namespace, a generation, what ends both, and what makes it divisible by 3.
const PREFIX_MAX: usize = NAMESPACE_BYTES_MAX + 1 + DIGITS + 2 + 1;

/// A key as a client has named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// As it is.
    Plain(Vec<u8>),
    /// In base64.
    Base64(Vec<u8>),
}

/// Whether the server's key still is the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The prefix was put in front.
    Whole,
    /// Its end is a hash: the client's must be remembered for the answer.
    Hashed,
}

/// What stands before all keys of one generation. A multiple of three bytes, so that base64 of it
/// stands before base64 of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    generation: Generation,
    plain: Vec<u8>,
    base64: Vec<u8>,
    /// Bytes of `plain` that every generation has.
    name: usize,
}

/// How the key of an answer stands to the client's.
#[derive(Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// It is this.
    Key(&'a [u8]),
    /// It had this hash.
    Hash(&'a [u8]),
    /// It had this hash if it was in base64, of which the server has told what it stands for. Else
    /// it is this.
    Either([u8; HASH_DIGITS], &'a [u8]),
}

impl Prefix {
    /// That of `generation`.
    pub fn new(namespace: &Namespace, generation: Generation) -> Self {
        let name = namespace.prefix();
        if name.is_empty() {
            return Self { generation, plain: Vec::new(), base64: Vec::new(), name: 0 };
        }
        let width = DIGITS + (3 - (name.len() + DIGITS + 1) % 3) % 3;
        let plain = [name, &generation.digits(width), b":"].concat();
        Self { generation, base64: base64(&plain), plain, name: name.len() }
    }

    /// The key under which the server keeps which generation lives. No client can name it: theirs
    /// have a generation behind the name.
    pub fn record(namespace: &Namespace) -> Vec<u8> {
        namespace.add(b"_generation")
    }

    /// Whose it is.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.plain
    }

    /// Writes `key` as the server has it.
    pub fn put(&self, key: &[u8], out: &mut Vec<u8>) -> Fit {
        // A key of full length is a hash, so that no other is taken for one.
        if self.plain.is_empty() || self.plain.len() + key.len() < KEY_MAX {
            out.extend_from_slice(&self.plain);
            out.extend_from_slice(key);
            return Fit::Whole;
        }
        let kept = KEY_MAX - self.plain.len() - HASH_MARK.len() - HASH_DIGITS;
        out.extend_from_slice(&self.plain);
        out.extend_from_slice(&key[..kept]);
        out.extend_from_slice(HASH_MARK);
        out.extend_from_slice(&hash(key));
        Fit::Hashed
    }

    /// The same with a key in base64.
    pub fn put_base64(&self, key: &[u8], out: &mut Vec<u8>) -> Fit {
        if !self.plain.is_empty() && !is_base64(key) {
            // Behind base64 the server would take it for some key.
            out.push(b'!');
            return Fit::Whole;
        }
        out.extend_from_slice(&self.base64);
        if self.plain.is_empty() || self.base64.len() + key.len() < BASE64_MAX {
            out.extend_from_slice(key);
            return Fit::Whole;
        }
        let kept = BASE64_MAX - self.base64.len() - HASH_DIGITS;
        out.extend_from_slice(&key[..kept]);
        out.extend_from_slice(&hash(key));
        Fit::Hashed
    }

    /// The client's key of one in an answer, of whatever generation.
    pub fn strip<'a>(&self, key: &'a [u8]) -> Told<'a> {
        let (front, full) = if key.starts_with(&self.plain[..self.name]) {
            (self.plain.len(), KEY_MAX)
        } else {
            (self.base64.len(), BASE64_MAX)
        };
        if self.name > 0 && key.len() == full {
            return Told::Hash(&key[full - HASH_DIGITS..]);
        }
        let rest = key.get(front..).unwrap_or_default();
        if full == KEY_MAX && self.name > 0 && key.len() == BASE64_MAX / 4 * 3 {
            let mut digits = [0; HASH_DIGITS];
            digits.copy_from_slice(&base64(key)[BASE64_MAX - HASH_DIGITS..]);
            return Told::Either(digits, rest);
        }
        Told::Key(rest)
    }

    /// Whether `key` can be named on a line in every namespace.
    pub fn can_delete(key: &Key) -> bool {
        match key {
            Key::Plain(key) => {
                key.iter().copied().all(is_named) || key.len() <= BASE64_MAX / 4 * 3 - PREFIX_MAX
            }
            Key::Base64(_) => true,
        }
    }

    /// The command that deletes `key`, without a word on what became of it. None: its name can
    /// stand on no line.
    pub fn deletion(&self, key: &Key) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        match key {
            Key::Plain(key) if key.iter().copied().all(is_named) => {
                line.extend_from_slice(b"delete ");
                self.put(key, &mut line);
                line.extend_from_slice(b" noreply\r\n");
            }
            // Of the binary protocol.
            Key::Plain(key) => {
                let mut whole = Vec::new();
                self.put(key, &mut whole);
                let whole = base64(&whole);
                if whole.len() > KEY_MAX {
                    return None;
                }
                line = [b"md ", &whole[..], b" b q\r\n"].concat();
            }
            Key::Base64(key) => {
                line.extend_from_slice(b"md ");
                self.put_base64(key, &mut line);
                line.extend_from_slice(b" b q\r\n");
            }
        }
        Some(line)
    }
}

/// Whether it can stand in a key on a line.
const fn is_named(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// The digits by which a key that was sent as a hash is known again.
pub fn hash(key: &[u8]) -> [u8; HASH_DIGITS] {
    let digest = Sha256::digest(key);
    let mut digits = [0; HASH_DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    digits
}

/// What `text` stands for, which is base64.
pub fn decoded(text: &[u8]) -> Vec<u8> {
    let value = |byte: &u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = text.split(|byte| *byte == b'=').next().unwrap_or_default();
    let mut out = Vec::new();
    for four in text.chunks(4) {
        let bits = four.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(value(byte)));
        let bits = bits << (6 * (4 - four.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    out
}

/// Whether it is base64 of something.
fn is_base64(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let whole = !text.is_empty() && text.len().is_multiple_of(4);
    whole && padding <= 2 && text[..text.len() - padding].iter().all(digit)
}

/// With padding.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            let there = digit <= three.len();
            out.push(if there { DIGITS[value as usize] } else { b'=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(namespace: &str) -> Prefix {
        Prefix::new(&namespace.parse().unwrap(), Generation(1_796_000_000_000_000))
    }

    fn put(prefix: &Prefix, key: &[u8]) -> (Vec<u8>, Fit) {
        let mut out = Vec::new();
        let fit = prefix.put(key, &mut out);
        (out, fit)
    }

    #[test]
    fn base64_of_a_prefix_stands_before_base64_of_a_key() {
        assert_eq!(base64(b"Ma"), b"TWE=");
        assert_eq!(base64(b"Man"), b"TWFu");
        for text in ["", "a", "any", "key\0", "\u{ff}\u{3fe}~"] {
            assert_eq!(decoded(&base64(text.as_bytes())), text.as_bytes());
        }
        for length in 1..=32 {
            let prefix = prefix(&"n".repeat(length));
            let mut put = Vec::new();
            prefix.put_base64(&base64(b"any key\0"), &mut put);
            assert_eq!(put, base64(&[&prefix.plain, &b"any key\0"[..]].concat()));
            assert_eq!(prefix.strip(&put), Told::Key(&base64(b"any key\0")));
        }
    }

    #[test]
    fn no_key_is_ever_too_long_and_none_is_taken_for_a_hash() {
        for namespace in ["1", "production:1.0.0", &"n".repeat(32)] {
            let prefix = prefix(namespace);
            for length in 1..=KEY_MAX {
                let key = vec![b'k'; length];
                let (whole, fit) = put(&prefix, &key);
                assert!(whole.len() <= KEY_MAX, "{length}");
                assert_eq!(fit == Fit::Hashed, whole.len() == KEY_MAX, "{length}");
                match prefix.strip(&whole) {
                    Told::Key(told) | Told::Either(_, told) => assert_eq!(told, key),
                    Told::Hash(told) => assert_eq!(told, hash(&key)),
                }
                let (mut whole, key) = (Vec::new(), vec![b'A'; length]);
                let fit = prefix.put_base64(&key, &mut whole);
                assert!(whole.len() <= KEY_MAX, "{length}");
                if length % 4 != 0 {
                    assert_eq!(whole, b"!", "no base64");
                    continue;
                }
                match prefix.strip(&whole) {
                    Told::Key(told) => assert_eq!((told, fit), (&key[..], Fit::Whole)),
                    Told::Hash(told) => assert_eq!((told, fit), (&hash(&key)[..], Fit::Hashed)),
                    Told::Either(..) => panic!("it is told in base64"),
                }
                // As the server tells it if it has forgotten that it was in base64.
                match prefix.strip(&decoded(&whole)) {
                    Told::Either(told, _) if fit == Fit::Hashed => assert_eq!(told, hash(&key)),
                    Told::Key(told) => assert_eq!((told, fit), (&*decoded(&key), Fit::Whole)),
                    other @ (Told::Hash(_) | Told::Either(..)) => panic!("{length}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn keys_that_differ_at_the_end_only_stay_apart() {
        let prefix = prefix("1.0.0");
        let (one, two) = ([vec![b'k'; 240], b"1".to_vec()], [vec![b'k'; 240], b"2".to_vec()]);
        assert_ne!(put(&prefix, &one.concat()).0, put(&prefix, &two.concat()).0);
    }

    #[test]
    fn a_deletion_is_one_line_whatever_the_key() {
        let prefix = prefix("1.0.0");
        let line = |key: Key| prefix.deletion(&key).unwrap();
        assert!(line(Key::Plain(b"k".to_vec())).ends_with(b":k noreply\r\n"));
        for key in [Key::Plain(b"a b\nflush_all".to_vec()), Key::Base64(b"QUJD".to_vec())] {
            let line = line(key);
            assert!(line.starts_with(b"md ") && line.ends_with(b" b q\r\n"));
            assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        }
        assert_eq!(prefix.deletion(&Key::Plain(vec![0; 200])), None);
        assert!(!Prefix::can_delete(&Key::Plain(vec![0; 200])));
        for (length, prefix) in (1..=200).map(|length| (length, self::prefix(&"n".repeat(32)))) {
            let key = Key::Plain(vec![0; length]);
            assert!(!Prefix::can_delete(&key) || prefix.deletion(&key).is_some(), "{length}");
        }
    }
}
