//! What a marked cookie holds: the app's value, and the attributes that it was set with. A browser
//! does not say them again, and without them a cookie can neither be renamed nor taken away.

use super::super::set_cookie::{self, SetCookie};
use crate::time::Timestamp;

/// Behind the attributes: a value follows.
const VALUE: u8 = b'|';

/// Behind the attributes: there was no cookie.
const NOTHING: u8 = b'!';

/// Between two attributes.
const AND: u8 = b'&';

/// What stands before the time at which a cookie ends, in seconds since 1970.
const UNTIL: &[u8] = b"max-age=@";

/// What a marked cookie holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held<'a> {
    attributes: Vec<Vec<u8>>,
    /// The value of the app; none: it has none, whatever the plain cookie says.
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Held<'a> {
    /// Reads the value of a marked cookie; none if it was not written here.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr2(VALUE, NOTHING, text)?;
        let value = (text[end] == VALUE).then_some(&text[end + 1..]);
        let parts = text[..end].split(|byte| *byte == AND).filter(|part| !part.is_empty());
        let attributes = parts.map(unescape).collect::<Option<_>>()?;
        Some(Self { attributes, value })
    }

    /// Writes `value` with the attributes of `set`, which comes `now`.
    pub(super) fn write(set: &SetCookie<'_>, value: Option<&[u8]>, now: Timestamp) -> Vec<u8> {
        let mut text = Vec::with_capacity(set.rest.len() + value.map_or(0, <[u8]>::len) + 16);
        for part in set.attributes() {
            if !text.is_empty() {
                text.push(AND);
            }
            match set_cookie::max_age(part) {
                Some(age) => {
                    text.extend_from_slice(UNTIL);
                    let until = now.plus(age).millis() / 1_000;
                    text.extend_from_slice(until.to_string().as_bytes());
                }
                None => escape(part, &mut text),
            }
        }
        text.push(if value.is_some() { VALUE } else { NOTHING });
        text.extend_from_slice(value.unwrap_or_default());
        text
    }

    /// The attributes as a Set-Cookie has them, for as long as there is left `now`.
    pub(super) fn attributes(&self, now: Timestamp) -> Vec<u8> {
        let mut text = Vec::new();
        for part in &self.attributes {
            text.extend_from_slice(b"; ");
            let until = part.strip_prefix(UNTIL).map(std::str::from_utf8);
            match until.and_then(|digits| digits.ok()?.parse::<u64>().ok()) {
                Some(until) => {
                    let left = until.saturating_sub(now.millis() / 1_000);
                    text.extend_from_slice(format!("Max-Age={left}").as_bytes());
                }
                None => text.extend_from_slice(part),
            }
        }
        text
    }

    /// The attributes of a Set-Cookie that takes the cookie away.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for part in self.attributes.iter().filter(|part| !set_cookie::is_time(part)) {
            text.extend_from_slice(b"; ");
            text.extend_from_slice(part);
        }
        text.extend_from_slice(b"; Max-Age=0");
        text
    }
}

/// Attributes of a Set-Cookie that takes away what was not written here.
pub(super) fn end_of_unknown(name: &[u8]) -> Vec<u8> {
    let secure = name.starts_with(b"__Host-") || name.starts_with(b"__Secure-");
    let attributes: &[u8] =
        if secure { b"; Path=/; Secure; Max-Age=0" } else { b"; Path=/; Max-Age=0" };
    attributes.to_vec()
}

/// Whether `byte` may stand in a cookie, and means nothing here.
fn stays(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\%&|!".contains(&byte)
}

fn escape(part: &[u8], text: &mut Vec<u8>) {
    for byte in part {
        if stays(*byte) {
            text.push(*byte);
        } else {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

/// What `escape` was given; none if it has not written this.
fn unescape(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut part = Vec::with_capacity(text.len());
    loop {
        match text {
            [] => return Some(part),
            [b'%', digits @ ..] => {
                let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
                let byte = u8::from_str_radix(digits, 16).ok()?;
                // One attribute must not become two.
                if byte == b';' || digits.starts_with('+') {
                    return None;
                }
                part.push(byte);
                text = &text[3..];
            }
            [byte, rest @ ..] => {
                part.push(*byte);
                text = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_value_and_its_attributes_come_back() {
        let line = b"s=a|b!c; Path=/; Max-Age=100; SameSite=Lax; HttpOnly";
        let set = SetCookie::parse(line).unwrap();
        let text = Held::write(&set, Some(set.value), NOW);
        assert_eq!(
            String::from_utf8_lossy(&text),
            "Path=/&max-age=@1800000100&SameSite=Lax&HttpOnly|a|b!c"
        );
        let held = Held::read(&text).unwrap();
        assert_eq!(held.value, Some(b"a|b!c".as_slice()));
        let later = NOW.plus(Duration::from_secs(40));
        let attributes = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            attributes(held.attributes(later)),
            "; Path=/; Max-Age=60; SameSite=Lax; HttpOnly"
        );
        assert_eq!(attributes(held.end()), "; Path=/; SameSite=Lax; HttpOnly; Max-Age=0");
    }

    #[test]
    fn what_was_not_written_here_is_not_read() {
        for strange in ["", "abc", "Path=/", "a%3Bb|x", "a%|x", "a%zz|x", "%+1|x"] {
            assert_eq!(Held::read(strange.as_bytes()), None, "{strange}");
        }
        let nothing = SetCookie::parse(b"s=x").unwrap();
        let text = Held::write(&nothing, None, NOW);
        assert_eq!(Held::read(&text).unwrap().value, None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            value in prop::collection::vec(any::<u8>(), 0..20),
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..4),
        ) {
            let line = [b"s=".as_slice(), &parts.iter().fold(Vec::new(), |mut line, part| {
                line.extend_from_slice(b"; ");
                line.extend(part.iter().filter(|byte| **byte != b';'));
                line
            })].concat();
            let set = SetCookie::parse(&line).unwrap();
            let text = Held::write(&set, Some(&value), NOW);
            let held = Held::read(&text).unwrap();
            prop_assert_eq!(held.value, Some(value.as_slice()));
            let given: Vec<u8> = set.attributes().fold(Vec::new(), |mut line, part| {
                line.extend_from_slice(b"; ");
                line.extend_from_slice(part);
                line
            });
            prop_assert_eq!(held.attributes(NOW), given);
        }

        #[test]
        fn no_text_is_too_strange(text: Vec<u8>) {
            if let Some(held) = Held::read(&text) {
                let _ = (held.attributes(NOW), held.end());
            }
        }
    }
}
