//! What a reload changes, key by key, and when it may.

use std::fmt;

use super::describe::{Entry, SECRET, entries};
use super::{Config, TierConfig};
use crate::traffic::TierName;

/// What a reload does with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Applied at once, whether a rollout is open or not.
    Live,
    /// Applied at once, also to an open rollout: an event says so. Of the stages only the later
    /// ones; whoever knows the stage refuses a change of the passed ones.
    Open,
    /// Refused while a rollout of the tier is open.
    RefusedWhileOpen,
    /// Needs a restart.
    Restart,
}

impl Class {
    /// What a reload does, in the words of the reference.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Live => "at once",
            Self::Open => "at once, an event in an open rollout",
            Self::RefusedWhileOpen => "refused while a rollout is open",
            Self::Restart => "needs a restart",
        }
    }
}

/// One key that differs. Prints as lines of a diff, `- key old` and `+ key new`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The whole path of the key.
    pub key: String,
    /// Its value before; none: it was not there.
    pub old: Option<String>,
    /// Its value after; none: it is gone.
    pub new: Option<String>,
    /// The tier it concerns; none: the whole program.
    pub tier: Option<TierName>,
    /// When it may be applied.
    pub class: Class,
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let old = self.old.as_ref().map(|old| format!("- {} {old}", self.key));
        let new = self.new.as_ref().map(|new| format!("+ {} {new}", self.key));
        let lines: Vec<String> = old.into_iter().chain(new).collect();
        out.write_str(&lines.join("\n"))
    }
}

/// Every key that differs between `old` and `new`, in the order of the keys. Secrets are not
/// shown.
pub fn differences(old: &Config, new: &Config) -> Vec<Change> {
    let (before, after) = (entries(old), entries(new));
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let change = |key: &String| {
        let (was, will) = (before.get(key), after.get(key));
        let entry = was.or(will)?;
        let (tier, class) = (entry.tier.clone(), class_of((key, entry), was.is_none(), old, new));
        let mut change =
            Change { key: key.clone(), old: value(was), new: value(will), tier, class };
        if change.old.as_deref() == Some(SECRET)
            && change.old == change.new
            && secrets_differ(&change, old, new)
        {
            change.new = Some("(changed)".to_owned());
        }
        (change.old != change.new).then_some(change)
    };
    keys.into_iter().filter_map(change).collect()
}

fn value(entry: Option<&Entry>) -> Option<String> {
    entry.map(|entry| entry.value.clone())
}

fn found<'a>(config: &'a Config, name: Option<&TierName>) -> Option<&'a TierConfig> {
    config.tiers.iter().find(|tier| Some(&tier.tier.name) == name)
}

/// A new tier and a new release concern no open rollout; a tier that leaves concerns its own. A cache
/// comes and goes as a whole.
fn class_of((key, entry): (&str, &Entry), is_new: bool, old: &Config, new: &Config) -> Class {
    let tier = entry.tier.as_ref();
    match (tier, found(old, tier).is_some(), found(new, tier).is_some()) {
        (Some(_), false, _) => Class::Live,
        (Some(_), true, false) => Class::RefusedWhileOpen,
        _ if is_new && entry.is_release => Class::Live,
        _ if cache_of(key, old) != cache_of(key, new) => Class::Live,
        _ => entry.class,
    }
}

/// The cache that `key` is of, if there is one.
fn cache_of<'a>(key: &str, config: &'a Config) -> Option<&'a str> {
    let rest = key.strip_prefix("cache.")?;
    let of = |name: &&str| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    config.caches.iter().map(|cache| &*cache.name).find(of)
}

fn secrets_differ(change: &Change, old: &Config, new: &Config) -> bool {
    let secrets = |config| {
        let tier = &found(config, change.tier.as_ref())?.tier;
        let own = if change.key.ends_with("bypass.secret") {
            &tier.closing.bypass
        } else {
            &tier.preview
        };
        own.as_ref().map(|own| own.secret.clone())
    };
    secrets(old) != secrets(new)
}
