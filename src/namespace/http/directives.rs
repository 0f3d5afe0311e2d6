//! What Cache-Control and CDN-Cache-Control say.

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

/// For caches of the origin's own (RFC 9213): it replaces Cache-Control and Expires here.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The directives of a head. What is not understood is left out; a number that is none counts as 0,
/// since it was meant to limit something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive that is there or not")]
pub struct Directives {
    /// Nothing of it is kept.
    pub no_store: bool,
    /// It is not used without asking.
    pub no_cache: bool,
    /// It is for one user.
    pub private: bool,
    /// It is for everybody.
    pub public: bool,
    /// It is not used stale.
    pub must_revalidate: bool,
    /// The same for shared caches.
    pub proxy_revalidate: bool,
    /// It is only kept by whoever knows its status.
    pub must_understand: bool,
    /// Only what is kept is wanted.
    pub only_if_cached: bool,
    /// How old it may be.
    pub max_age: Option<Duration>,
    /// The same for shared caches.
    pub s_maxage: Option<Duration>,
    /// For how long it may be used stale while it is asked for.
    pub stale_while_revalidate: Option<Duration>,
    /// For how long it may be used stale where there is nothing else.
    pub stale_if_error: Option<Duration>,
    /// For how long it must still be fresh.
    pub min_fresh: Option<Duration>,
    /// For how long it may be stale.
    pub max_stale: Option<Duration>,
    /// Fields that are not kept.
    pub unkept: Vec<HeaderName>,
}

/// Longer than anything is kept: 68 years, as RFC 9111 (section 1.2.2) has it.
const LONGEST: u64 = 1 << 31;

/// What a directive is set to.
enum Value<'a> {
    Nothing,
    Text(&'a str),
}

impl Directives {
    /// Those of a request. Pragma counts where there is no Cache-Control.
    pub fn of_request(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        directives.read(headers);
        if !headers.contains_key(CACHE_CONTROL) {
            let asks = |line: &http::HeaderValue| line.as_bytes().eq_ignore_ascii_case(b"no-cache");
            directives.no_cache = headers.get_all(PRAGMA).iter().any(asks);
        }
        directives
    }

    /// Those of an answer, and whether they are for caches like this one in particular.
    pub fn of_answer(headers: &HeaderMap) -> (Self, bool) {
        if headers.contains_key(CDN_CACHE_CONTROL)
            && let Some(targeted) = Self::targeted(headers)
        {
            return (targeted, true);
        }
        let mut directives = Self::default();
        directives.read(headers);
        (directives, false)
    }

    fn read(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(CACHE_CONTROL) {
            let text = String::from_utf8_lossy(line.as_bytes());
            for member in members(&text) {
                let (name, value) = match member.split_once('=') {
                    Some((name, value)) => (name, Value::Text(unquoted(value))),
                    None => (member, Value::Nothing),
                };
                self.take(&name.to_ascii_lowercase(), &value);
            }
        }
    }

    fn take(&mut self, name: &str, value: &Value<'_>) {
        let flag = match name {
            "no-cache" | "private" if self.names_fields(value) => return,
            "no-store" => &mut self.no_store,
            "no-cache" => &mut self.no_cache,
            "private" => &mut self.private,
            "public" => &mut self.public,
            "must-revalidate" => &mut self.must_revalidate,
            "proxy-revalidate" => &mut self.proxy_revalidate,
            "must-understand" => &mut self.must_understand,
            "only-if-cached" => &mut self.only_if_cached,
            _ => return self.take_span(name, value),
        };
        *flag = true;
    }

    /// `no-cache="a, b"` concerns these fields only.
    fn names_fields(&mut self, value: &Value<'_>) -> bool {
        let Value::Text(names) = value else { return false };
        let names = names.split(',').map(|name| HeaderName::from_bytes(name.trim().as_bytes()));
        let Ok(names) = names.collect::<Result<Vec<_>, _>>() else { return false };
        self.unkept.extend(names);
        true
    }

    fn take_span(&mut self, name: &str, value: &Value<'_>) {
        let span = match name {
            "max-age" => &mut self.max_age,
            "s-maxage" => &mut self.s_maxage,
            "stale-while-revalidate" => &mut self.stale_while_revalidate,
            "stale-if-error" => &mut self.stale_if_error,
            "min-fresh" => &mut self.min_fresh,
            "max-stale" => &mut self.max_stale,
            _ => return,
        };
        let said = match value {
            Value::Text(text) => seconds(text.as_bytes()).unwrap_or(0),
            Value::Nothing if name == "max-stale" => LONGEST,
            Value::Nothing => 0,
        };
        // Said twice, it is the shorter one: nobody is harmed by that.
        let said = Duration::from_secs(said);
        *span = Some(span.map_or(said, |before| before.min(said)));
    }

    /// CDN-Cache-Control is a dictionary of structured fields (RFC 8941); none if it is broken or
    /// empty, and then it counts for nothing.
    fn targeted(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(CDN_CACHE_CONTROL).iter();
        let lines: Option<Vec<&str>> = lines.map(|line| line.to_str().ok()).collect();
        let text = lines?.join(",");
        let mut directives = Self::default();
        let mut rest = text.trim_matches(' ');
        if rest.is_empty() {
            return None;
        }
        loop {
            let (name, after) = key(rest)?;
            let (value, after) = match after.strip_prefix('=') {
                Some(after) => {
                    let (item, after) = item(after)?;
                    (Some(item), after)
                }
                None => (None, after),
            };
            rest = parameters(after)?.trim_start_matches([' ', '\t']);
            match value {
                None | Some("?1") => directives.take(name, &Value::Nothing),
                Some(value) if value.starts_with(|c: char| c.is_ascii_digit()) => {
                    directives.take(name, &Value::Text(value));
                }
                // Of a kind that the directive does not have.
                Some(_) => {}
            }
            if rest.is_empty() {
                return Some(directives);
            }
            rest = rest.strip_prefix(',')?.trim_start_matches([' ', '\t']);
        }
    }
}

/// What stands between commas, and not in quotes.
fn members(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c| {
        let ends = c == ',' && !quoted;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && quoted && !escaped;
        ends
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// Whole seconds, at most 68 years; none if it is no number.
pub fn seconds(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let more = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add((digit - b'0').into());
    digits.then(|| text.iter().fold(0, more).min(LONGEST))
}

/// The name of a member of a dictionary, and what follows.
fn key(text: &str) -> Option<(&str, &str)> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
    let end = text.find(|c| !fits(c)).unwrap_or(text.len());
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
    begins.then(|| text.split_at(end))
}

/// An item of structured fields as it stands there, and what follows.
fn item(text: &str) -> Option<(&str, &str)> {
    let all = |fits: &dyn Fn(char) -> bool| {
        let end = text.find(|c| !fits(c)).unwrap_or(text.len());
        text.split_at(end)
    };
    match text.chars().next()? {
        '"' => {
            let mut escaped = false;
            let end = text[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })?;
            Some(text.split_at(end + 2))
        }
        '?' if matches!(text.get(..2), Some("?0" | "?1")) => Some(text.split_at(2)),
        '-' | '0'..='9' => {
            let (number, rest) = all(&|c| c.is_ascii_digit() || c == '.' || c == '-');
            number.parse::<f64>().is_ok().then_some((number, rest))
        }
        'a'..='z' | 'A'..='Z' | '*' => {
            let marks = "!#$%&'*+-.^_`|~:/";
            Some(all(&|c| c.is_ascii_alphanumeric() || marks.contains(c)))
        }
        ':' => {
            let end = text[1..].find(':')?;
            Some(text.split_at(end + 2))
        }
        '(' => {
            let end = text.find(')')?;
            Some(text.split_at(end + 1))
        }
        _ => None,
    }
}

/// Passes over parameters, which no directive has.
fn parameters(mut text: &str) -> Option<&str> {
    while let Some(rest) = text.strip_prefix(';') {
        let (_, rest) = key(rest.trim_start_matches(' '))?;
        text = match rest.strip_prefix('=') {
            Some(value) => item(value)?.1,
            None => rest,
        };
    }
    Some(text)
}
