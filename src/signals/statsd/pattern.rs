//! Names of statsd with the version in them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::signals::VERSION;

/// Bytes of a pattern, as of a name.
const PATTERN_BYTES_MAX: usize = 512;

/// A name: `*` is any text, `{version}` the version, in which every sign that is neither letter nor
/// digit is the same: `4.2`, `4-2` and `4_2` are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
}

/// What is no pattern of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write a name of statsd, of at most {PATTERN_BYTES_MAX} bytes: \"app.{{version}}.job.*\"")]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = text.is_empty()
            || text.len() > PATTERN_BYTES_MAX
            || text.matches(VERSION).count() > 1
            || text.replace(VERSION, "").contains(|c: char| {
                c.is_control() || c.is_whitespace() || [':', '|', '@', '{', '}'].contains(&c)
            });
        if wrong { Err(PatternError) } else { Ok(Self { text: text.to_owned() }) }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Pattern {
    /// Whether the version stands in it.
    pub fn has_version(&self) -> bool {
        self.text.contains(VERSION)
    }

    /// Whether `name` is meant, of `version`.
    pub fn fits(&self, name: &str, version: &str) -> bool {
        let Some((before, after)) = self.text.split_once(VERSION) else {
            return glob(self.text.as_bytes(), &[], &[], name.as_bytes());
        };
        glob(before.as_bytes(), version.as_bytes(), after.as_bytes(), name.as_bytes())
    }
}

/// Whether both are the same version.
pub fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| alike(a, b))
}

fn alike(a: u8, b: u8) -> bool {
    a.eq_ignore_ascii_case(&b) || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric())
}

/// Whether `name` is `before`, then something like `version`, then `after`. The last star is the
/// only one that is ever tried again, so a name takes no longer than its length times the pattern's.
fn glob(before: &[u8], version: &[u8], after: &[u8], name: &[u8]) -> bool {
    let length = before.len() + version.len() + after.len();
    // What stands at a place of the pattern, and whether it is of the version.
    let at = |place: usize| match place.checked_sub(before.len()) {
        None => (before[place], false),
        Some(inside) => version
            .get(inside)
            .map_or_else(|| (after[inside - version.len()], false), |byte| (*byte, true)),
    };
    let (mut place, mut read, mut star) = (0, 0, None);
    while read < name.len() {
        if place < length {
            let (byte, is_version) = at(place);
            if byte == b'*' && !is_version {
                star = Some((place, read));
                place += 1;
                continue;
            }
            if byte == name[read] || (is_version && alike(byte, name[read])) {
                place += 1;
                read += 1;
                continue;
            }
        }
        let Some((starred, from)) = star else { return false };
        star = Some((starred, from + 1));
        place = starred + 1;
        read = from + 1;
    }
    (place..length).all(|place| at(place) == (b'*', false))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, name: &str, version: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().fits(name, version)
    }

    #[test]
    fn the_version_is_known_however_its_parts_are_divided() {
        let pattern = "app.rails-{version}.job.*";
        assert!(fits(pattern, "app.rails-4-2.job.done", "4.2"));
        assert!(fits(pattern, "app.rails-4.2.job.", "4.2"));
        assert!(fits(pattern, "app.rails-4_2-RC1.job.x", "4.2-rc1"));
        assert!(!fits(pattern, "app.rails-4-20.job.done", "4.2"));
        assert!(!fits(pattern, "app.rails-402.job.done", "4.2"));
        assert!(!fits(pattern, "app-rails-4-2-job-done", "4.2"));
        assert!(fits("*.{version}.done", "a.b.4-2.done", "4.2"));
        assert!(fits("*", "", "1") && fits("a**b*", "axxb", "1") && !fits("a*b", "ab.", "1"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in ["", "a b", "a:b", "a|b", "{version}{version}", "{vers}", &"x".repeat(513)] {
            assert_eq!(wrong.parse::<Pattern>(), Err(PatternError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_what_it_is_made_of(
            before in "[a-c.*]{0,5}", after in "[a-c.*]{0,5}", version in "[0-9][0-9.]{0,4}",
            any in "[a-c.]{0,3}", name in "[a-c0-9.-]{0,12}",
        ) {
            let pattern = format!("{before}{{version}}{after}");
            let fill = |text: &str| text.replace('*', &any);
            let made = format!("{}{}{}", fill(&before), version.replace('.', "-"), fill(&after));
            prop_assert!(fits(&pattern, &made, &version), "{pattern} {made}");
            let _ = fits(&pattern, &name, &version);
        }
    }
}
