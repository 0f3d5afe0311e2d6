//! Cookies of the app while two of its versions are live: each version writes where the other does
//! not read.
//!
//! Stable's cookie keeps its name, `session`. What any other release writes is called
//! `session~1a2b3c4d`, after the release and not after its track, so that a promotion changes nothing
//! in the browser: only from then on what stable finds under its own mark is given the plain name
//! back. The mark stands behind the name, so that `__Host-` and `__Secure-` keep their meaning.

mod held;
mod scribe;

use http::HeaderValue;

use super::tier::Version;
use super::weight::Salt;
use held::Held;
pub use scribe::{Answered, Answering};

/// Between the name of a cookie and the mark of a release.
const TILDE: u8 = b'~';

/// Digits of a mark: among the few releases of a tier no two have the same.
const MARK_BYTES: usize = 8;

/// What marks are computed with. It is no secret: marks are the same for every Weir, now and later.
const MARKS: Salt = Salt::new(*b"weir cookie mark");

/// What becomes of a cookie that is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Each version reads its own only.
    Isolate,
    /// A version reads stable's until it has written its own; no other reads that.
    Overlay,
}

impl Keeping {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Isolate => "isolate",
            Self::Overlay => "overlay",
        }
    }
}

/// The cookies of a tier that are not shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookies(Vec<(String, Keeping)>);

/// What stands behind the names of a release's cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; MARK_BYTES]);

impl Mark {
    /// That of `version`.
    pub fn of(version: &Version) -> Self {
        let number = MARKS.number(version.as_str().as_bytes());
        let digit = |place: usize| b"0123456789abcdef"[(number >> (4 * place) & 15) as usize];
        Self(std::array::from_fn(digit))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let hexadecimal = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        text.iter().all(hexadecimal).then(|| text.try_into().map(Self).ok()).flatten()
    }
}

/// Who is asked, and who the others are.
#[derive(Clone, Debug)]
pub struct Side {
    /// The release that is asked.
    pub own: Mark,
    /// The release that serves.
    pub stable: Mark,
    /// The one of the open rollout.
    pub canary: Option<Mark>,
    /// The one that stable has replaced, as long as everybody may go back to it.
    pub replaced: Option<Mark>,
    /// All of these and those of other tiers: what they have written is not thrown away.
    pub live: Vec<Mark>,
}

impl Side {
    fn is_stable(&self) -> bool {
        self.own == self.stable
    }
}

/// One of the cookies in a request.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    /// Which of the list.
    cookie: usize,
    /// Whose; none: it has its plain name.
    mark: Option<Mark>,
    value: &'a [u8],
}

impl Seen<'_> {
    fn is(&self, cookie: usize, mark: Option<Mark>) -> bool {
        self.cookie == cookie && self.mark == mark
    }
}

/// Where that what the app reads comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Marked(Mark),
    Nothing,
    Plain,
}

impl Cookies {
    /// Those in `list`.
    pub const fn new(list: Vec<(String, Keeping)>) -> Self {
        Self(list)
    }

    /// Whether all are shared.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The cookies that are not shared.
    pub fn iter(&self) -> impl Iterator<Item = &(String, Keeping)> {
        self.0.iter()
    }

    fn name(&self, cookie: usize) -> &[u8] {
        self.0[cookie].0.as_bytes()
    }

    fn keeping(&self, cookie: usize) -> Keeping {
        self.0[cookie].1
    }

    fn named(&self, name: &[u8]) -> Option<usize> {
        self.0.iter().position(|(known, _)| known.as_bytes() == name)
    }

    /// The Cookie line that `side` shall get in place of those that were `asked` with, empty if it
    /// shall get none; nothing if they can stay.
    pub fn request(&self, asked: &[HeaderValue], side: &Side) -> Option<Vec<u8>> {
        let seen = self.seen(asked);
        if seen.is_empty() {
            return None;
        }
        let sources: Vec<Source> =
            (0..self.0.len()).map(|cookie| self.source(cookie, &seen, side)).collect();
        let (mut line, mut changed) = (Vec::new(), false);
        for pair in pairs(asked) {
            let Some(cookie) = self.sort(pair) else {
                push(&mut line, &[pair]);
                continue;
            };
            match (sources[cookie.cookie], cookie.mark) {
                (Source::Plain, None) => push(&mut line, &[pair]),
                (Source::Marked(shown), Some(mark)) if shown == mark => {
                    changed = true;
                    if let Some(value) = Held::read(cookie.value).and_then(|held| held.value) {
                        push(&mut line, &[self.name(cookie.cookie), b"=", value]);
                    }
                }
                (Source::Marked(_) | Source::Nothing | Source::Plain, _) => changed = true,
            }
        }
        changed.then_some(line)
    }

    fn source(&self, cookie: usize, seen: &[Seen<'_>], side: &Side) -> Source {
        let has = |mark: Mark| {
            let is = |seen: &&Seen<'_>| seen.is(cookie, Some(mark));
            seen.iter().filter(is).any(|seen| Held::read(seen.value).is_some())
        };
        if has(side.own) {
            return Source::Marked(side.own);
        }
        match self.keeping(cookie) {
            // Stable was promoted, and this client has not been back to it since.
            Keeping::Overlay if !side.is_stable() && has(side.stable) => {
                Source::Marked(side.stable)
            }
            Keeping::Isolate if !side.is_stable() => Source::Nothing,
            // The plain name is still that of the release before.
            Keeping::Isolate if side.replaced.is_some_and(|mark| !has(mark)) => Source::Nothing,
            Keeping::Isolate | Keeping::Overlay => Source::Plain,
        }
    }

    fn seen<'a>(&self, asked: &'a [HeaderValue]) -> Vec<Seen<'a>> {
        pairs(asked).filter_map(|pair| self.sort(pair)).collect()
    }

    /// Which cookie `pair` is, if it is one of these.
    fn sort<'a>(&self, pair: &'a [u8]) -> Option<Seen<'a>> {
        let equals = memchr::memchr(b'=', pair)?;
        let name = pair[..equals].trim_ascii_end();
        let value = pair[equals + 1..].trim_ascii_start();
        let is = |(cookie, (known, _)): (usize, &(String, Keeping))| {
            let mark = match name.strip_prefix(known.as_bytes())? {
                [] => None,
                [TILDE, mark @ ..] => Some(Mark::parse(mark)?),
                _ => return None,
            };
            Some(Seen { cookie, mark, value })
        };
        self.0.iter().enumerate().find_map(is)
    }
}

/// The pairs of all Cookie lines: HTTP/2 may send one in each.
fn pairs(lines: &[HeaderValue]) -> impl Iterator<Item = &[u8]> {
    let pairs = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn push(line: &mut Vec<u8>, parts: &[&[u8]]) {
    if !line.is_empty() {
        line.extend_from_slice(b"; ");
    }
    for part in parts {
        line.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests;
