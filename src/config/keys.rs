//! Every key of the file: its kind, default, meaning, and what a reload does with it. The reader
//! refuses keys that are not here, the reload is classed by it, and docs/config.md prints it.

mod cache;
mod caching;
mod closing;
mod list;
mod notify;
mod rollouts;
mod runbook;
mod signals;
mod tls;
mod workers;

pub(super) use cache::CACHE;
pub(super) use caching::CACHING;
pub(super) use closing::{BYPASS, HOLD, MAINTENANCE};
pub use list::SECTIONS;
pub(super) use list::{
    ADMIN, HEALTH, LIMITS, LISTENER, LOG, PREVIEW, PROXY, RELEASE, ROOT, ROUTE, STATE, STICKY,
    TIER, TIMEOUTS, WARM,
};
pub(super) use notify::{ALERTMANAGER, NOTIFY, NOTIFY_MAIL, NOTIFY_WEBHOOK, TRACING};
pub(super) use rollouts::{ANALYSIS, ERRORS, IGNORE, ROLLOUT, SLOW, STAGE, WATCH};
pub(super) use runbook::{PREFLIGHT, STEP, STEP_CHECK, STEP_HTTP};
pub(super) use signals::{SIGNAL, STATSD};
pub(super) use tls::{ACME, CERTIFICATE, LISTENER_TLS, RELEASE_TLS};
pub(super) use workers::{INSTANCE, ROLLING, WORKER};

use super::difference::Class;

/// A key of a section.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: &'static str,
    /// Its value where the file has none, as it would be written; "" where there is none.
    pub default: &'static str,
    /// What a reload does with a change of it.
    pub class: Class,
    /// One sentence.
    pub meaning: &'static str,
}

/// A section and its keys.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// How its header is written: `[tier.health]`.
    pub title: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Keys {
    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|key| key == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().map(|key| key.name)
    }

    pub(super) fn class(&self, name: &str) -> Class {
        let key = self.keys.iter().find(|key| key.name == name);
        assert!(key.is_some(), "key {name} of {} is not in the list of keys", self.title);
        key.map_or(Class::Live, |key| key.class)
    }
}

/// The name that was probably meant by `wrong`: at most two slips away, and not another word.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong: String = wrong.chars().take(64).collect::<String>().to_lowercase().replace('-', "_");
    let allowed = (wrong.len() / 2).min(2);
    names
        .map(|name| (strsim::osa_distance(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// What to do about the unknown key `name`.
pub(super) fn advice(name: &str, section: &Keys, near: Option<&str>) -> String {
    match (section.title, name) {
        ("[[tier.releases]]", "upstream" | "address" | "backend" | "backends" | "target") => {
            return "a release has a list of them: upstreams = [\"127.0.0.1:9101\"]".to_owned();
        }
        ("[[tier]]", "upstream" | "upstreams" | "backends" | "version") => {
            return "they belong to a release: releases = [{ version = \"1.0.0\", upstreams = [\"127.0.0.1:9101\"] }]"
                .to_owned();
        }
        ("[[tier]]", "canary") => {
            return "the canary is chosen by `weir start`; list its release in `releases`"
                .to_owned();
        }
        ("[[tier]]", "kind" | "strategy" | "instances") => {
            return "what has no HTTP is no [[tier]]: write it as [[worker]]".to_owned();
        }
        ("the file", "tiers" | "service" | "services") => {
            return "write [[tier]] above each tier".to_owned();
        }
        ("[analysis]", "signal") => {
            return "write [[analysis.signal]] for the whole file, and name its tier".to_owned();
        }
        _ => {}
    }
    if let Some(near) = near {
        return format!("did you mean `{near}`?");
    }
    let elsewhere = SECTIONS.iter().find(|other| other.title != section.title && other.has(name));
    if let Some(other) = elsewhere {
        return format!("it belongs to {}", other.title);
    }
    let names: Vec<&str> = section.names().collect();
    format!("known are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let near = |wrong: &str| nearest(wrong, TIER.names());
        assert_eq!(near("lisen"), Some("listen"));
        assert_eq!(near("access-log"), Some("access_log"));
        assert_eq!(near("Name"), Some("name"));
        assert_eq!(near("x"), None);
        assert_eq!(near("bind"), None);
    }

    #[test]
    fn no_key_stands_twice() {
        for section in SECTIONS {
            for (index, key) in section.keys.iter().enumerate() {
                let twice = section.keys[..index].iter().any(|other| other.name == key.name);
                assert!(!twice, "{} in {}", key.name, section.title);
                assert!(key.meaning.ends_with('.'), "{}", key.meaning);
            }
        }
    }
}
