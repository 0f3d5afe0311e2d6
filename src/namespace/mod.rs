//! What keeps the caches of two versions apart: the name that stands before every key of one.
//!
//! Pure: bytes in, bytes out. `redis` and `memcached` know where each command keeps its keys.
//!
//! ```
//! use weir::namespace::Namespace;
//! let namespace: Namespace = "production:1.0.0".parse().unwrap();
//! assert_eq!(namespace.prefix(), b"production:1.0.0:");
//! assert!("1.*".parse::<Namespace>().is_err(), "patterns would match it");
//! ```

pub mod edits;
pub mod http;
pub mod memcached;
pub mod reading;
pub mod redis;
pub mod resp;
pub mod sharing;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sharing::Sharing;
use thiserror::Error;

/// Bytes of a namespace without its generation: memcached allows 250 for a whole key.
pub const NAMESPACE_BYTES_MAX: usize = 32;

/// What stands between a name and its generation.
const GENERATION: &str = ".g";

/// What stands before the keys of one release: 1 to 32 of `[A-Za-z0-9._:-]`. Nothing in it means
/// anything in a pattern of Redis, or ends a key of memcached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace {
    /// With the colon that ends it.
    prefix: Arc<str>,
    /// Keys that it does not stand before.
    sharing: Arc<Sharing>,
}

/// Why a text is no namespace.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} cannot stand before keys; use 1 to {NAMESPACE_BYTES_MAX} letters, digits, dots, \
     colons, underscores and hyphens"
)]
pub struct NamespaceError(String);

impl Namespace {
    /// The namespace of a release, in an environment if there are several.
    ///
    /// # Errors
    /// Both together are too long, or have something in them that keys must not begin with.
    pub fn of(environment: Option<&str>, release: &str) -> Result<Self, NamespaceError> {
        let name = match environment {
            Some(environment) => format!("{environment}:{release}"),
            None => release.to_owned(),
        };
        if name.len() > NAMESPACE_BYTES_MAX { Err(NamespaceError(name)) } else { name.parse() }
    }

    /// The same, begun anew: what is in any other generation is not seen.
    #[must_use]
    pub fn generation(&self, number: u64) -> Self {
        let prefix = format!("{self}{GENERATION}{number}:").into();
        Self { prefix, sharing: Arc::clone(&self.sharing) }
    }

    /// Which generation of this namespace `key` is in, if it is in one: 0 is the first.
    pub fn generation_of(&self, key: &[u8]) -> Option<u64> {
        let rest = key.strip_prefix(self.as_str().as_bytes())?;
        let name = &rest[..memchr::memchr(b':', rest)?];
        if name.is_empty() { Some(0) } else { number(name.strip_prefix(GENERATION.as_bytes())?) }
    }

    /// Nothing before any key.
    pub fn nothing() -> Self {
        Self { prefix: "".into(), sharing: Arc::default() }
    }

    /// The same, but for the keys that are shared.
    #[must_use]
    pub fn but_for(self, sharing: Sharing) -> Self {
        Self { sharing: Arc::new(sharing), ..self }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.prefix.strip_suffix(':').unwrap_or_default()
    }

    /// What is put before a key.
    pub fn prefix(&self) -> &[u8] {
        self.prefix.as_bytes()
    }

    /// Whether keys must be seen to know whether the prefix stands before them.
    pub fn has_shared(&self) -> bool {
        !self.sharing.is_empty()
    }

    /// Whether all versions share `key`.
    pub fn shares(&self, key: &[u8]) -> bool {
        self.has_shared() && self.sharing.shares(key)
    }

    /// What is put before `key`.
    pub fn before(&self, key: &[u8]) -> &[u8] {
        if self.shares(key) { b"" } else { self.prefix() }
    }

    /// `key` as the server has it.
    pub fn add(&self, key: &[u8]) -> Vec<u8> {
        [self.before(key), key].concat()
    }

    /// The app's key of `key`, if it is in this namespace.
    pub fn strip<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.strip_prefix(self.prefix())
    }

    /// Whether a key of one of the two may be a key of the other: `a` has all keys of `a:b`.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (self.prefix(), other.prefix());
        one.starts_with(two) || two.starts_with(one)
    }
}

impl FromStr for Namespace {
    type Err = NamespaceError;

    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        let name = without_generation(text);
        if (1..=NAMESPACE_BYTES_MAX).contains(&name.len()) && text.chars().all(allowed) {
            return Ok(Self { prefix: format!("{text}:").into(), sharing: Arc::default() });
        }
        Err(NamespaceError(text.chars().take(NAMESPACE_BYTES_MAX * 2).collect()))
    }
}

/// `1.0.0` of `1.0.0.g5`, which is a name of its own only where no release is called `1.0.0`.
pub fn without_generation(text: &str) -> &str {
    let parts = text.rsplit_once(GENERATION);
    parts.filter(|(_, digits)| number(digits.as_bytes()).is_some()).map_or(text, |(name, _)| name)
}

/// The number of a generation, written as it is written by [`Namespace::generation`].
fn number(digits: &[u8]) -> Option<u64> {
    let written = digits.first().is_some_and(|first| (b'1'..=b'9').contains(first));
    let text = std::str::from_utf8(digits).ok().filter(|_| written)?;
    text.parse().ok()
}

impl fmt::Display for Namespace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(text: &str) -> Namespace {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_added_is_stripped() {
        let one = namespace("1.0.0");
        assert_eq!(one.add(b"key"), b"1.0.0:key");
        assert_eq!(one.strip(b"1.0.0:key"), Some(&b"key"[..]));
        assert_eq!(one.strip(&one.add(b"")), Some(&b""[..]));
        assert_eq!(one.strip(b"1.0.1:key"), None);
    }

    #[test]
    fn nothing_that_means_something_elsewhere_is_in_a_name() {
        for wrong in ["", "a b", "a*", "[a]", "a\n", "a+b", "é", &"x".repeat(33)] {
            let error = wrong.parse::<Namespace>().unwrap_err().to_string();
            assert!(error.contains("cannot stand before keys"), "{error}");
        }
        assert_eq!(namespace(&"x".repeat(32)).as_str().len(), 32);
    }

    #[test]
    fn a_generation_is_a_namespace_of_its_own_and_known_as_one_of_the_name() {
        let name = namespace("blue:1.0.0");
        let later = name.generation(1_772_334_720);
        assert_eq!(later.as_str(), "blue:1.0.0.g1772334720");
        assert!(!name.overlaps(&later) && !later.overlaps(&name.generation(17)));
        assert_eq!(name.generation_of(&later.add(b"key")), Some(1_772_334_720));
        assert_eq!(name.generation_of(&name.add(b"key")), Some(0));
        for other in [
            "blue:1.0.0",
            "blue:1.0.0.g5",
            "blue:1.0.0.g:key",
            "blue:1.0.0.g05:key",
            "blue:1.0.0.g+5:key",
            "blue:1.0.0.g5.g6:key",
            "blue:1.0.0-rc:key",
            "blue:1.0.00:key",
        ] {
            assert_eq!(name.generation_of(other.as_bytes()), None, "{other}");
        }
        let longest = namespace(&"x".repeat(32)).generation(u64::MAX);
        assert_eq!(longest.as_str().parse(), Ok(longest.clone()), "it can be named, too");
    }

    #[test]
    fn a_name_inside_another_is_noticed() {
        assert!(namespace("a").overlaps(&namespace("a:b")));
        assert!(namespace("a").overlaps(&namespace("a")));
        assert!(!namespace("a").overlaps(&namespace("ab")));
        assert!(!namespace("a:1").overlaps(&namespace("a:2")));
    }
}
