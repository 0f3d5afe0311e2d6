//! What tells answers apart: the URL, and the fields of the request that an answer varies by.

use http::header::{ACCEPT_LANGUAGE, FORWARDED, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that an answer may vary by; with more of them hardly any two requests are alike.
pub const VARY_MAX: usize = 16;

/// What is to be thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// The answers of one URL, in all versions.
    Url(String),
    /// All answers with a tag, in all versions.
    Tag(String),
    /// All answers of one version.
    Namespace(String),
}

/// A URL as caches tell it apart: `http://app.example/path?query`.
pub fn url(scheme: &str, host: &[u8], target: &str) -> String {
    let host = String::from_utf8_lossy(host).to_ascii_lowercase();
    format!("{scheme}://{host}{target}")
}

/// A URL as an operator writes it, as [`url`] has it; none if it is no URL with a host.
pub fn written(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    let known = ["http", "https"].contains(&scheme.as_str());
    let slash = if target.starts_with('/') { "" } else { "/" };
    (known && !host.is_empty()).then(|| url(&scheme, host.as_bytes(), &format!("{slash}{target}")))
}

/// Where `reference` leads from `base`, if it stays with the same host and scheme: from elsewhere
/// nobody may say what has changed here (RFC 9111, section 4.4).
pub fn same_origin(base: &str, reference: &[u8]) -> Option<String> {
    let reference = std::str::from_utf8(reference).ok()?.split('#').next()?;
    let (scheme, rest) = base.split_once("://")?;
    let host = rest.split('/').next()?;
    let origin = format!("{scheme}://{host}");
    if reference.contains("://") {
        let whole = written(reference)?;
        let stays = whole.strip_prefix(&origin).is_some_and(|target| target.starts_with('/'));
        return stays.then_some(whole);
    }
    if let Some(elsewhere) = reference.strip_prefix("//") {
        return same_origin(base, format!("{scheme}://{elsewhere}").as_bytes());
    }
    if reference.starts_with('/') {
        return Some(format!("{origin}{reference}"));
    }
    let path = base.split('?').next().unwrap_or(base);
    if reference.is_empty() {
        return Some(base.to_owned());
    }
    let folder = path.rfind('/').map_or(path, |end| &path[..=end]);
    Some(if reference.starts_with('?') {
        format!("{path}{reference}")
    } else {
        format!("{folder}{reference}")
    })
}

/// Whether an answer varies by more than its request says.
pub fn varies_by_everything(answer: &HeaderMap) -> bool {
    vary(answer).is_none()
}

/// The fields that an answer varies by, in the order of their names; none: by everything.
pub fn vary(answer: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in answer.get_all(VARY) {
        for name in line.as_bytes().split(|byte| *byte == b',') {
            match name.trim_ascii() {
                b"" => {}
                b"*" => return None,
                name => names.push(HeaderName::from_bytes(name).ok()?),
            }
        }
    }
    names.sort_by(|one, two| one.as_str().cmp(two.as_str()));
    names.dedup();
    (names.len() <= VARY_MAX).then_some(names)
}

/// `names` and `more`, in the order of their names.
pub fn with(mut names: Vec<HeaderName>, more: &[HeaderName]) -> Vec<HeaderName> {
    names.extend(more.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
    names.sort_by(|one, two| one.as_str().cmp(two.as_str()));
    names
}

/// What a request says in the fields `names`, in a form in which those that mean the same are the
/// same: lines joined, spaces around commas gone.
pub fn variant(names: &[HeaderName], request: &HeaderMap) -> Box<[u8]> {
    let mut variant = Vec::new();
    for name in names {
        variant.extend_from_slice(name.as_str().as_bytes());
        if request.contains_key(name) {
            variant.push(b':');
            let lines = request.get_all(name).iter().map(HeaderValue::as_bytes);
            let members = lines.flat_map(|line| line.split(|byte| *byte == b','));
            for (place, member) in members.enumerate() {
                if place > 0 {
                    variant.push(b',');
                }
                let member = member.trim_ascii();
                if *name == ACCEPT_LANGUAGE {
                    variant.extend(member.iter().map(u8::to_ascii_lowercase));
                } else if *name == FORWARDED {
                    variant.extend(without_client(member));
                } else {
                    variant.extend_from_slice(member);
                }
            }
        }
        variant.push(b'\n');
    }
    variant.into()
}

/// A member of `Forwarded` (RFC 7239) but for the client, by whom no answers differ. Only a plain
/// address is taken for one: what could be read in two ways stays.
fn without_client(member: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-[]".contains(byte);
    let is_client = |pair: &[u8]| {
        let pair = pair.trim_ascii();
        let named = pair.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"for="));
        let value = pair.get(4..).unwrap_or_default();
        let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        named && bare.unwrap_or(value).iter().all(is_plain)
    };
    let (mut kept, mut quotes) = (Vec::new(), 0);
    for pair in member.split(|byte| *byte == b';') {
        if quotes % 2 == 1 || !is_client(pair) {
            kept.extend_from_slice(pair);
            kept.push(b';');
        }
        quotes += memchr::memchr_iter(b'"', pair).count();
    }
    kept
}
