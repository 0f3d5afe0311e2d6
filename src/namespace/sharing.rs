//! Which keys all versions share: patterns, and which of several counts.

/// Patterns of keys that are shared, and of those that are not after all. A key that none of them
/// matches is isolated.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharing {
    /// The one that counts first.
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    /// `*` stands for anything.
    text: Box<str>,
    shared: bool,
}

impl Sharing {
    /// Of several patterns that match a key the one with the most letters counts; of two alike, to
    /// isolate.
    pub fn new(isolate: &[String], share: &[String]) -> Self {
        let of = |texts: &[String], shared| -> Vec<Pattern> {
            texts.iter().map(|text| Pattern { text: text.as_str().into(), shared }).collect()
        };
        let mut patterns = [of(isolate, false), of(share, true)].concat();
        let letters = |pattern: &Pattern| pattern.text.bytes().filter(|byte| *byte != b'*').count();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(letters(pattern)));
        Self { patterns }
    }

    /// Whether no key is shared.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether `key` is shared.
    pub fn shares(&self, key: &[u8]) -> bool {
        let first = self.patterns.iter().find(|pattern| matches(pattern.text.as_bytes(), key));
        first.is_some_and(|pattern| pattern.shared)
    }
}

/// A star matches as little as it can, and more where the rest does not match behind it.
fn matches(pattern: &[u8], key: &[u8]) -> bool {
    let (mut at, mut here, mut star) = (0, 0, None);
    while here < key.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, here));
                at += 1;
            }
            Some(byte) if *byte == key[here] => (at, here) = (at + 1, here + 1),
            Some(_) | None => {
                let Some((behind, from)) = star else { return false };
                star = Some((behind, from + 1));
                (at, here) = (behind, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharing(isolate: &[&str], share: &[&str]) -> Sharing {
        let owned =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Sharing::new(&owned(isolate), &owned(share))
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, key, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("queue:*", "queue:", true),
            ("queue:*", "queue", false),
            ("*:lock", "a:b:lock", true),
            ("*:lock", "a:lock:b", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "acb", false),
            ("retry", "retry", true),
            ("retry", "retry2", false),
            ("a?", "ab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), key.as_bytes()), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn the_longest_pattern_counts() {
        let some = sharing(&["queue:cache:*"], &["queue:*", "retry"]);
        assert!(some.shares(b"queue:mail") && some.shares(b"retry"));
        assert!(!some.shares(b"queue:cache:1") && !some.shares(b"page"));
        let all_but = sharing(&["cache:*"], &["*"]);
        assert!(all_but.shares(b"page") && !all_but.shares(b"cache:page"));
        assert!(!sharing(&["a*"], &["*a"]).shares(b"aa"), "in doubt a key is isolated");
        assert!(!sharing(&[], &[]).shares(b"a"));
    }
}
