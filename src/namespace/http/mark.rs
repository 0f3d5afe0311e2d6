//! Tells the entity tags of versions apart: two versions that name two texts alike would else let a client
//! keep that of the other (a 304 for something it does not have).
//!
//! The release that a tier began with leaves its tags as they are; those of every later one are
//! marked on their way to the client (`"abc"` becomes `"abc;w=1f3a9c2e5b7d8a60"`), and the mark is
//! taken off on the way back. What has another's mark, or should have one and has not, is dropped
//! from the question: then the answer comes whole. An answer of a later release that has nothing but
//! Last-Modified gets a tag for its mark, since dates cannot be marked.

use std::hash::Hasher as _;

use http::header::{
    ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use siphasher::sip::SipHasher24;

/// What stands before the name of a mark.
const SIGN: &[u8] = b";w=";

/// Digits of a mark.
const DIGITS: usize = 16;

/// The tag of an answer that has none of its own.
const DATED: &[u8] = b"dated";

/// The mark of one release; none for the release that a tier began with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagMark(Option<Box<[u8]>>);

/// Whose a tag is, and the tag without its mark.
enum Owner {
    Own(Vec<u8>),
    /// Own, and made of a date.
    Date,
    Other,
}

impl TagMark {
    /// None.
    pub const fn none() -> Self {
        Self(None)
    }

    /// That of the release with this namespace.
    pub fn of(namespace: &str) -> Self {
        let mut hash = SipHasher24::new();
        hash.write(namespace.as_bytes());
        let name = format!("{:016x}", hash.finish());
        Self(Some([SIGN, name.as_bytes()].concat().into()))
    }

    /// Marks the tag of an answer on its way to the client.
    pub fn put(&self, answer: &mut HeaderMap) {
        let Some(mark) = &self.0 else { return };
        let tag = match answer.get(ETAG) {
            // One that is not quoted cannot be told apart later.
            Some(tag) => {
                opaque(tag.as_bytes()).map(|(begin, text)| (begin.to_vec(), text.to_vec()))
            }
            None if answer.contains_key(LAST_MODIFIED) => Some((b"W/".to_vec(), DATED.to_vec())),
            None => return,
        };
        let tag = tag.map(|(begin, text)| [&begin, &b"\""[..], &text, mark, b"\""].concat());
        match tag.and_then(|tag| HeaderValue::from_bytes(&tag).ok()) {
            Some(tag) => _ = answer.insert(ETAG, tag),
            None => _ = answer.remove(ETAG),
        }
    }

    /// Takes marks off the conditions of a request, and drops what was said of other releases.
    pub fn take(&self, request: &mut HeaderMap) {
        if request.contains_key(IF_MATCH) {
            // Who changes something means what is changed, whichever version showed it.
            let bare = |tag: &[u8]| unmarked(tag).map_or_else(|| tag.to_vec(), |(bare, _)| bare);
            let tags: Vec<_> = tags(request, &IF_MATCH).map(bare).collect();
            replace(request, &IF_MATCH, &tags);
        }
        if request.contains_key(IF_NONE_MATCH) {
            self.take_none_match(request);
        } else if self.0.is_some() {
            request.remove(IF_MODIFIED_SINCE);
        }
        match request.get(IF_RANGE).map(|condition| self.owner(condition.as_bytes())) {
            Some(Owner::Own(tag)) => replace(request, &IF_RANGE, &[tag]),
            Some(Owner::Date | Owner::Other) => {
                request.remove(IF_RANGE);
                request.remove(RANGE);
            }
            None => {}
        }
    }

    fn take_none_match(&self, request: &mut HeaderMap) {
        let (mut kept, mut dated) = (Vec::new(), false);
        for tag in tags(request, &IF_NONE_MATCH) {
            match self.owner(tag) {
                _ if tag == b"*" => kept.push(tag.to_vec()),
                Owner::Own(tag) => kept.push(tag),
                Owner::Date => dated = true,
                Owner::Other => {}
            }
        }
        if kept.is_empty() && !dated {
            request.remove(IF_MODIFIED_SINCE);
        }
        replace(request, &IF_NONE_MATCH, &kept);
    }

    fn owner(&self, tag: &[u8]) -> Owner {
        match (&self.0, unmarked(tag)) {
            (None, None) => Owner::Own(tag.to_vec()),
            (Some(own), Some((bare, mark))) if **own == *mark => {
                let is_date = opaque(&bare).is_some_and(|(_, text)| text == DATED);
                if is_date { Owner::Date } else { Owner::Own(bare) }
            }
            (None, Some(_)) | (Some(_), None | Some(_)) => Owner::Other,
        }
    }
}

/// The tags of a condition.
fn tags<'a>(request: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = request.get_all(name).iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn replace(request: &mut HeaderMap, name: &HeaderName, tags: &[Vec<u8>]) {
    request.remove(name);
    if !tags.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&tags.join(&b", "[..]))
    {
        request.insert(name.clone(), value);
    }
}

/// What stands before a tag's quotes, and between them.
fn opaque(tag: &[u8]) -> Option<(&[u8], &[u8])> {
    let begin = if tag.starts_with(b"W/") { 2 } else { 0 };
    let (begin, rest) = tag.split_at(begin);
    let text = rest.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!text.contains(&b'"')).then_some((begin, text))
}

/// A tag without its mark, and the mark; none if it has none.
fn unmarked(tag: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (begin, text) = opaque(tag)?;
    let (text, mark) = text.split_at_checked(text.len().checked_sub(SIGN.len() + DIGITS)?)?;
    let name = mark.strip_prefix(SIGN)?;
    let bare = || [begin, b"\"", text, b"\""].concat();
    name.iter().all(u8::is_ascii_hexdigit).then(|| (bare(), mark.to_vec()))
}
